//! Waiting for a seat, and the offers that end it.

use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, Place};
use carrel_proto::v1::waitlist_service_server::WaitlistService;
use carrel_proto::v1::{
    AcceptOfferRequest, AcceptOfferResponse, DeclineOfferRequest, DeclineOfferResponse, JoinWaitlistRequest,
    JoinWaitlistResponse, LeaveWaitlistRequest, LeaveWaitlistResponse, ListWaitlistEntriesRequest,
    ListWaitlistEntriesResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::to_status;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::{seats, session};

#[derive(Debug)]
pub struct Waitlist<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> WaitlistService for Waitlist<L> {
    async fn join_waitlist(
        &self,
        request: Request<JoinWaitlistRequest>,
    ) -> Result<Response<JoinWaitlistResponse>, Status> {
        let call = Call::of_session(request)?;
        let (need, interval) = request::join_waitlist(&call.message)?;
        let answer = self.0.ask(&call, Action::JoinWaitlist { need: need.clone(), interval, minutes: None }).await?;
        let done = self.0.done(answer).map_err(|refusal| {
            let (Place::Seat { branch, .. } | Place::Area { branch, .. } | Place::Branch { branch }) = &need.place;
            let unknown = (refusal == Refusal::SeatNotFound)
                .then(|| seats::unknown_amenity(&self.0.library.view(), branch, &need.amenities));
            unknown.flatten().map_or_else(|| to_status(refusal), Status::from)
        })?;
        Ok(Response::new(JoinWaitlistResponse { entry: done.entry()?, commit: Some(done.commit) }))
    }

    async fn leave_waitlist(
        &self,
        request: Request<LeaveWaitlistRequest>,
    ) -> Result<Response<LeaveWaitlistResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::leave_waitlist(&call.message)?).await?;
        Ok(Response::new(LeaveWaitlistResponse { entry: done.entry()?, commit: Some(done.commit) }))
    }

    async fn list_waitlist_entries(
        &self,
        request: Request<ListWaitlistEntriesRequest>,
    ) -> Result<Response<ListWaitlistEntriesResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let ListWaitlistEntriesRequest { page_size, page_token: token, read } = request.into_inner();
        let limit = request::page_size(page_size)?;
        let list = ListKey::new(&(), "waitlist", 0);
        let after = page_cursor(list, &token)?;
        let (view, user) = self.0.read_as(session, read).await?;
        let page = view.waits(user, after, limit);
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|view| page_token(list, &view.wait.id)).unwrap_or_default();
        let entries = page.items.iter().map(reply::wait).collect();
        Ok(Response::new(ListWaitlistEntriesResponse { entries, next_page_token }))
    }

    async fn accept_offer(
        &self,
        request: Request<AcceptOfferRequest>,
    ) -> Result<Response<AcceptOfferResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::accept_offer(&call.message)?).await?;
        Ok(Response::new(AcceptOfferResponse { reservation: done.reservation()?, commit: Some(done.commit) }))
    }

    async fn decline_offer(
        &self,
        request: Request<DeclineOfferRequest>,
    ) -> Result<Response<DeclineOfferResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::decline_offer(&call.message)?).await?;
        Ok(Response::new(DeclineOfferResponse { reservation: done.reservation()?, commit: Some(done.commit) }))
    }
}
