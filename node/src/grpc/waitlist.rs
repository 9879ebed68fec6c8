//! Waiting for a seat, and the offers that end it.

use std::ops::RangeInclusive;

use carrel_domain::query::WaitView;
use carrel_domain::request::Action;
use carrel_domain::state::State;
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
use crate::grpc::front::{Done, Front, Refused};
use crate::grpc::library::Library;
use crate::grpc::{seats, session};
use crate::replica::Freshness;

#[derive(Debug)]
pub struct Waitlist<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> WaitlistService for Waitlist<L> {
    async fn join_waitlist(
        &self,
        request: Request<JoinWaitlistRequest>,
    ) -> Result<Response<JoinWaitlistResponse>, Status> {
        let call = Call::of_session(request)?;
        let action = request::join_waitlist(&call.message)?;
        let decision = self.0.ask(&call, action.clone()).await?;
        let done = match decision.granted() {
            Ok(done) => done,
            Err(refused) => return Err(self.refused(&call, &action, refused).await),
        };
        let mut entry = done.entry()?;
        if let (Some(entry), Some(place)) = (&mut entry, self.place_of(&done).await?) {
            (entry.best_place, entry.worst_place) = (reply::count(*place.start()), reply::count(*place.end()));
        }
        Ok(Response::new(JoinWaitlistResponse { entry, commit: done.commit }))
    }

    async fn leave_waitlist(
        &self,
        request: Request<LeaveWaitlistRequest>,
    ) -> Result<Response<LeaveWaitlistResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::leave_waitlist(&call.message)?).await?;
        Ok(Response::new(LeaveWaitlistResponse { entry: done.entry()?, commit: done.commit }))
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
        let with_place = |item: &WaitView| reply::wait(item, view.place_in_line(item.wait.id));
        let entries = page.items.iter().map(with_place).collect();
        Ok(Response::new(ListWaitlistEntriesResponse { entries, next_page_token }))
    }

    async fn accept_offer(
        &self,
        request: Request<AcceptOfferRequest>,
    ) -> Result<Response<AcceptOfferResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::accept_offer(&call.message)?).await?;
        Ok(Response::new(AcceptOfferResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn decline_offer(
        &self,
        request: Request<DeclineOfferRequest>,
    ) -> Result<Response<DeclineOfferResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::decline_offer(&call.message)?).await?;
        Ok(Response::new(DeclineOfferResponse { reservation: done.reservation()?, commit: done.commit }))
    }
}

impl<L: Library> Waitlist<L> {
    /// What stands against waiting, every rule of it, and what could be had at once instead.
    async fn refused(&self, call: &Call<JoinWaitlistRequest>, action: &Action, refused: Refused) -> Status {
        let Action::JoinWaitlist { need, interval, minutes } = action else { return to_status(refused.refusal) };
        match seats::unknown_amenity_of(&self.0.library.view(), refused.refusal, need) {
            Some(unknown) => unknown.into(),
            None => {
                let why = |view: &State, user| view.explain_wait(user, need, *interval, *minutes);
                self.0.unmet(call, refused, Some(*interval), why).await
            }
        }
    }

    /// Where somebody who has just joined stands, if this node knows by now.
    async fn place_of(&self, done: &Done) -> Result<Option<RangeInclusive<u32>>, Status> {
        let (Some(index), id) = (done.index, done.wait()?.wait.id) else { return Ok(None) };
        let lineage = self.0.library.lineage();
        let view = self.0.library.read(Freshness::AtLeast { lineage, index }).await;
        Ok(view.ok().and_then(|view| view.place_in_line(id)))
    }
}
