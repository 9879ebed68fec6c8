//! Reservations: who sits where and when.

use carrel_domain::claim::{Claim, StateName};
use carrel_domain::id::{ClaimId, SeatId, UserId};
use carrel_domain::presence::Proof;
use carrel_domain::query::{ClaimView, Page};
use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::time::{DAY_US, Interval};
use carrel_proto::v1::batch_create_reservations_response;
use carrel_proto::v1::reservation_service_server::ReservationService;
use carrel_proto::v1::{
    BatchCreateReservationsRequest, BatchCreateReservationsResponse, CancelReservationRequest,
    CancelReservationResponse, CheckInRequest, CheckInResponse, CheckOutRequest, CheckOutResponse,
    ConfirmReservationRequest, ConfirmReservationResponse, CreateGroupReservationRequest,
    CreateGroupReservationResponse, CreateReservationRequest, CreateReservationResponse, ExtendReservationRequest,
    ExtendReservationResponse, GetQuotaRequest, GetQuotaResponse, GetReservationRequest, GetReservationResponse,
    HoldSeatRequest, HoldSeatResponse, ListReservationsRequest, ListReservationsResponse, ListSeatReservationsRequest,
    ListSeatReservationsResponse, ReportEmptySeatRequest, ReportEmptySeatResponse, RescheduleReservationRequest,
    RescheduleReservationResponse, StepAwayRequest, StepAwayResponse, WalkInRequest, WalkInResponse,
};
use tonic::{Request, Response, Status};

use crate::calendar::DATES_MAX;
use crate::convert::invalid::Invalid;
use crate::convert::refusal::{failing_rules, history_unavailable, to_status};
use crate::convert::request::Exchange;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{names, presence_code, reply, request};
use crate::grpc::call::{Call, Mutation};
use crate::grpc::explaining;
use crate::grpc::front::{Done, Front};
use crate::grpc::library::Library;
use crate::grpc::{seats, session};
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
        let wish = request::create_reservation(&call.message)?;
        let done = self.grant(&call, &wish, Action::Reserve { wish: wish.clone() }).await?;
        Ok(Response::new(CreateReservationResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn hold_seat(&self, request: Request<HoldSeatRequest>) -> Result<Response<HoldSeatResponse>, Status> {
        let call = Call::of_session(request)?;
        let wish = request::hold_seat(&call.message)?;
        let done = self.grant(&call, &wish, Action::Hold { wish: wish.clone() }).await?;
        Ok(Response::new(HoldSeatResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn confirm_reservation(
        &self,
        request: Request<ConfirmReservationRequest>,
    ) -> Result<Response<ConfirmReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::confirm_reservation(&call.message)?).await?;
        Ok(Response::new(ConfirmReservationResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn walk_in(&self, request: Request<WalkInRequest>) -> Result<Response<WalkInResponse>, Status> {
        let call = Call::of_session(request)?;
        let walk_in = request::walk_in(&call.message)?;
        let seat = |view: &State, _| find_seat(view, &walk_in.seat);
        let proof = self.proof(&call, &call.message.presence_code, seat).await?;
        let decision = self.0.ask(&call, walk_in.proven_by(proof)).await?;
        let done = match decision.granted() {
            Ok(done) => done,
            Err(refused) => {
                let request::WalkIn { seat, end, person } = &walk_in;
                let why = |view: &State, user| view.explain_walk_in(user, seat, *end, person.as_ref());
                return Err(self.0.unmet(&call, refused, None, why).await);
            }
        };
        Ok(Response::new(WalkInResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn create_group_reservation(
        &self,
        request: Request<CreateGroupReservationRequest>,
    ) -> Result<Response<CreateGroupReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let (seats, interval) = request::create_group_reservation(&call.message)?;
        let decision = self.0.ask(&call, Action::ReserveGroup { seats: seats.clone(), interval }).await?;
        let done = match decision.granted() {
            Ok(done) => done,
            Err(refused) => {
                let why = |view: &State, user| view.explain_group(user, &seats, interval);
                return Err(self.0.unmet(&call, refused, Some(interval), why).await);
            }
        };
        Ok(Response::new(CreateGroupReservationResponse { reservations: done.reservations()?, commit: done.commit }))
    }

    async fn batch_create_reservations(
        &self,
        request: Request<BatchCreateReservationsRequest>,
    ) -> Result<Response<BatchCreateReservationsResponse>, Status> {
        let call = Call::of_session(request)?;
        let wishes = request::batch_create_reservations(&call.message)?;
        let done = self.0.write(&call, Action::ReserveMany { wishes: wishes.clone() }).await?;
        let mut outcomes = done.outcomes()?;
        self.explain_refused(&call, &wishes, &done, &mut outcomes).await;
        Ok(Response::new(BatchCreateReservationsResponse { outcomes, commit: done.commit }))
    }

    async fn get_reservation(
        &self,
        request: Request<GetReservationRequest>,
    ) -> Result<Response<GetReservationResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let GetReservationRequest { name, read } = request.into_inner();
        let id = names::parse_reservation("name", &name)?;
        let (view, user) = self.0.read_as(session, read).await?;
        let claim = if view.is_let_go(id) {
            let found = self.0.record()?.claim(id).await.map_err(|trouble| history_unavailable(&trouble))?;
            view.reservation_of_history(user, found.as_ref())
        } else {
            view.reservation(user, id)
        };
        let reservation = Some(reply::reservation(&claim.map_err(to_status)?));
        Ok(Response::new(GetReservationResponse { reservation }))
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
        let mut page = view.reservations(user, matching, before, limit);
        let wants_older = !message.upcoming_only && state.is_none_or(is_over);
        if let Some(older) = view.newest_let_go(user).filter(|_| wants_older && !page.more) {
            let from = before.map_or(older, |before| older.min(ClaimId(before.0.saturating_sub(1))));
            if page.items.is_empty() {
                page = self.older(&view, user, from, state, limit).await?;
            } else {
                // What the state holds is told whether the record can be read or not.
                page.more = true;
            }
        }
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|view| page_token(list, &view.claim.id)).unwrap_or_default();
        let reservations = page.items.iter().map(reply::reservation).collect();
        Ok(Response::new(ListReservationsResponse { reservations, next_page_token }))
    }

    async fn list_seat_reservations(
        &self,
        request: Request<ListSeatReservationsRequest>,
    ) -> Result<Response<ListSeatReservationsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let ListSeatReservationsRequest { seat, read } = request.into_inner();
        let seat = names::parse_seat("seat", &seat)?;
        let (view, user) = self.0.read_as(session, read).await?;
        let claims = view.claims_on(user, &seat).map_err(to_status)?;
        let reservations = claims.iter().map(reply::reservation).collect();
        Ok(Response::new(ListSeatReservationsResponse { reservations }))
    }

    async fn get_quota(&self, request: Request<GetQuotaRequest>) -> Result<Response<GetQuotaResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let ((branch, area), time) = request::get_quota(&message)?;
        let (view, user) = self.0.read_as(session, message.read.take()).await?;
        let time = time.unwrap_or(view.at().time);
        if time.0.abs_diff(view.at().time.0) > DAY_US.unsigned_abs() * DATES_MAX as u64 {
            // No calendar will ever reach it: to try again would not help.
            return Err(Invalid::field("time", "it is further away than anybody may book").into());
        }
        let catalog = view.catalog();
        let branch = catalog.find_branch(branch.as_str()).map(|_| branch).ok_or(Refusal::BranchNotFound);
        let area =
            branch.and_then(|branch| catalog.find_area(branch.as_str(), area.as_str()).ok_or(Refusal::AreaNotFound));
        let quotas = area.and_then(|area| view.quotas(user, area, time));
        Ok(Response::new(reply::quotas(&quotas.map_err(to_status)?)))
    }

    async fn check_in(&self, request: Request<CheckInRequest>) -> Result<Response<CheckInResponse>, Status> {
        let call = Call::of_session(request)?;
        let claim = request::check_in(&call.message)?;
        let seat = |view: &State, user| view.reservation(user, claim).ok().map(|view| view.claim.seat);
        let proof = self.proof(&call, &call.message.presence_code, seat).await?;
        let done = self.0.write(&call, request::checked_in(claim, proof)).await?;
        Ok(Response::new(CheckInResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn step_away(&self, request: Request<StepAwayRequest>) -> Result<Response<StepAwayResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::step_away(&call.message)?).await?;
        Ok(Response::new(StepAwayResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn extend_reservation(
        &self,
        request: Request<ExtendReservationRequest>,
    ) -> Result<Response<ExtendReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let (claim, end) = request::extend_reservation(&call.message)?;
        let decision = self.0.ask(&call, Action::Extend { claim, end }).await?;
        let done = match decision.granted() {
            Ok(done) => done,
            Err(refused) => {
                let longer = |view: &State, user| {
                    let start = view.reservation(user, claim)?.claim.interval.start();
                    let interval = Interval::new(start, end).map_err(|_| refused.refusal)?;
                    view.explain_change(user, claim, None, interval)
                };
                return Err(self.0.unmet(&call, refused, None, longer).await);
            }
        };
        Ok(Response::new(ExtendReservationResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn reschedule_reservation(
        &self,
        request: Request<RescheduleReservationRequest>,
    ) -> Result<Response<RescheduleReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let exchange = request::reschedule_reservation(&call.message)?;
        let (claim, seat, interval) = self.completed(&call, exchange).await?;
        let decision = self.0.ask(&call, Action::Reschedule { claim, seat: seat.clone(), interval }).await?;
        let done = match decision.granted() {
            Ok(done) => done,
            Err(refused) => {
                let change = |view: &State, user| view.explain_change(user, claim, Some(&seat), interval);
                return Err(self.0.unmet(&call, refused, Some(interval), change).await);
            }
        };
        Ok(Response::new(RescheduleReservationResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn report_empty_seat(
        &self,
        request: Request<ReportEmptySeatRequest>,
    ) -> Result<Response<ReportEmptySeatResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::report_empty_seat(&call.message)?).await?;
        Ok(Response::new(ReportEmptySeatResponse { commit: done.commit }))
    }

    async fn check_out(&self, request: Request<CheckOutRequest>) -> Result<Response<CheckOutResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::check_out(&call.message)?).await?;
        Ok(Response::new(CheckOutResponse { reservation: done.reservation()?, commit: done.commit }))
    }

    async fn cancel_reservation(
        &self,
        request: Request<CancelReservationRequest>,
    ) -> Result<Response<CancelReservationResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::cancel_reservation(&call.message)?).await?;
        Ok(Response::new(CancelReservationResponse { reservation: done.reservation()?, commit: done.commit }))
    }
}

impl<L: Library> Reservations<L> {
    /// From the record alone.
    async fn older(
        &self,
        view: &State,
        user: UserId,
        from: ClaimId,
        state: Option<StateName>,
        limit: usize,
    ) -> Result<Page<ClaimView>, Status> {
        let found = self.0.record()?.claims_of(user, from, state, limit + 1).await;
        let found = found.map_err(|trouble| history_unavailable(&trouble))?;
        let items = found.iter().take(limit).filter_map(|claim| view.reservation_of_history(user, Some(claim)).ok());
        Ok(Page { items: items.collect(), more: found.len() > limit })
    }

    /// Granted, or told why not.
    async fn grant<M: Mutation>(&self, call: &Call<M>, wish: &Wish, action: Action) -> Result<Done, Status> {
        match self.0.ask(call, action).await?.granted() {
            Ok(done) => Ok(done),
            Err(refused) => {
                if let Some(unknown) = seats::unknown_amenity_of(&self.0.library.view(), refused.refusal, &wish.need) {
                    return Err(unknown.into());
                }
                let why = |view: &State, user| view.explain(user, wish);
                Err(self.0.unmet(call, refused, Some(wish.interval), why).await)
            }
        }
    }

    /// Says of each wish that was refused what else stands against it, and what could be had instead: as far as there
    /// is time, and as things are with the others granted.
    async fn explain_refused<M: Mutation>(
        &self,
        call: &Call<M>,
        wishes: &[Wish],
        done: &Done,
        outcomes: &mut [batch_create_reservations_response::Outcome],
    ) {
        let refusals = done.refusals();
        let Some(session) = call.session().filter(|_| refusals.iter().any(Option::is_some)) else { return };
        let lineage = self.0.library.lineage();
        let freshness = done.index.map_or(Freshness::Linearizable, |index| Freshness::AtLeast { lineage, index });
        let Ok(view) = self.0.library.read(freshness).await else { return };
        let Ok(user) = view.session_user(session) else { return };
        for ((wish, outcome), refusal) in wishes.iter().zip(outcomes).zip(refusals) {
            let Some(refusal) = refusal else { continue };
            let Some(Ok(explanation)) = explaining::explain(|| view.explain(user, wish)) else { continue };
            outcome.rules = failing_rules(refusal, &explanation.failing);
            outcome.alternatives = explanation.alternatives.iter().map(reply::alternative).collect();
        }
    }

    /// What the code proves that somebody has typed. Without one there is nothing to look up.
    async fn proof<M: Mutation>(
        &self,
        call: &Call<M>,
        typed: &str,
        seat: impl FnOnce(&State, UserId) -> Option<SeatId>,
    ) -> Result<Option<Proof>, Status> {
        let Some(session) = call.session().filter(|_| !typed.is_empty()) else { return Ok(None) };
        let (view, user) = self.0.read_as(session, None).await?;
        let seat = seat(&view, user);
        Ok(presence_code::recognized("presence_code", typed, view.presence_key(), seat, view.at().time)?)
    }

    /// With what the reservation has where nothing else is asked for.
    async fn completed<M: Mutation>(
        &self,
        call: &Call<M>,
        exchange: Exchange,
    ) -> Result<(ClaimId, SeatName, Interval), Status> {
        let Exchange { claim, seat, interval } = exchange;
        if let (Some(seat), Some(interval)) = (&seat, interval) {
            return Ok((claim, seat.clone(), interval));
        }
        let session = call.session().ok_or_else(|| to_status(Refusal::SessionExpired))?;
        let (view, user) = self.0.read_as(session, None).await?;
        let now = view.reservation(user, claim).map_err(to_status)?;
        Ok((claim, seat.unwrap_or(now.seat), interval.unwrap_or(now.claim.interval)))
    }
}

/// What is live is never in the record alone.
fn is_over(state: StateName) -> bool {
    use StateName as S;
    !matches!(state, S::Held | S::Confirmed | S::CheckedIn | S::Away)
}

fn find_seat(view: &State, name: &SeatName) -> Option<SeatId> {
    let branch = view.catalog().find_branch(name.branch.as_str())?;
    let slug = view.catalog().branch(branch).slug.as_str();
    view.catalog().find_seat(slug, name.seat.as_str())
}
