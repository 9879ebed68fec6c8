//! Reservations: who sits where and when.

use carrel_domain::claim::Claim;
use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, Place, SeatName, Wish};
use carrel_proto::v1::reservation_service_server::ReservationService;
use carrel_proto::v1::{
    CancelReservationRequest, CancelReservationResponse, CheckInRequest, CheckInResponse, CheckOutRequest,
    CheckOutResponse, CreateReservationRequest, CreateReservationResponse, GetReservationRequest,
    GetReservationResponse, ListReservationsRequest, ListReservationsResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::{seat_taken, to_status};
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{names, reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;
use crate::replica::Freshness;

#[derive(Debug)]
pub struct Reservations<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> ReservationService for Reservations<L> {
    async fn create_reservation(
        &self,
        request: Request<CreateReservationRequest>,
    ) -> Result<Response<CreateReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let action = request::create_reservation(&call.message)?;
        let answer = self.0.ask(&call, action.clone()).await?;
        let index = answer.at.index;
        match self.0.done(answer) {
            Ok(done) => Ok(Response::new(CreateReservationResponse {
                reservation: done.reservation()?,
                commit: Some(done.commit),
            })),
            Err(Refusal::SeatTaken) => Err(self.taken(&action, index).await),
            Err(refusal) => Err(to_status(refusal)),
        }
    }

    async fn get_reservation(
        &self,
        request: Request<GetReservationRequest>,
    ) -> Result<Response<GetReservationResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let GetReservationRequest { name, read } = request.into_inner();
        let id = names::parse_reservation("name", &name)?;
        let (view, user) = self.0.read_as(session, read).await?;
        let claim = view.reservation(user, id).map_err(to_status)?;
        Ok(Response::new(GetReservationResponse { reservation: Some(reply::reservation(&claim)) }))
    }

    async fn list_reservations(
        &self,
        request: Request<ListReservationsRequest>,
    ) -> Result<Response<ListReservationsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let (state, limit) = (request::state_filter(message.state)?, request::page_size(message.page_size)?);
        let (token, read) = (std::mem::take(&mut message.page_token), message.read.take());
        message.page_size = 0;
        let list = ListKey::new(&message, "reservations", 0);
        let before = page_cursor(list, &token)?;
        let (view, user) = self.0.read_as(session, read).await?;
        let matching = |claim: &Claim| {
            state.is_none_or(|state| claim.state.name() == state)
                && (!message.upcoming_only || claim.state.is_blocking())
        };
        let page = view.reservations(user, matching, before, limit);
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|view| page_token(list, &view.claim.id)).unwrap_or_default();
        let reservations = page.items.iter().map(reply::reservation).collect();
        Ok(Response::new(ListReservationsResponse { reservations, next_page_token }))
    }

    async fn check_in(&self, request: Request<CheckInRequest>) -> Result<Response<CheckInResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::check_in(&call.message)?).await?;
        Ok(Response::new(CheckInResponse { reservation: done.reservation()?, commit: Some(done.commit) }))
    }

    async fn check_out(&self, request: Request<CheckOutRequest>) -> Result<Response<CheckOutResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::check_out(&call.message)?).await?;
        Ok(Response::new(CheckOutResponse { reservation: done.reservation()?, commit: Some(done.commit) }))
    }

    async fn cancel_reservation(
        &self,
        request: Request<CancelReservationRequest>,
    ) -> Result<Response<CancelReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::cancel_reservation(&call.message)?).await?;
        Ok(Response::new(CancelReservationResponse { reservation: done.reservation()?, commit: Some(done.commit) }))
    }
}

impl<L: Library> Reservations<L> {
    /// With seats that are free instead, as far as this node can tell: they are looked up afresh each time and promise
    /// nothing.
    async fn taken(&self, action: &Action, index: u64) -> Status {
        let Action::Reserve { wish: Wish { need, interval, .. } } = action else {
            return to_status(Refusal::SeatTaken);
        };
        let Place::Seat { branch, seat } = need.place.clone() else { return to_status(Refusal::SeatTaken) };
        let seat = SeatName { branch, seat };
        let lineage = self.0.library.lineage();
        let view = self.0.library.read(Freshness::AtLeast { lineage, index }).await;
        seat_taken(&view.map(|view| view.alternatives(&seat, *interval)).unwrap_or_default())
    }
}
