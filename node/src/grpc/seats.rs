//! Seats: when they are free, why they are not, what closes them, and what they show.

use std::collections::BTreeSet;

use carrel_domain::query::SeatSearch;
use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, Need, Place};
use carrel_domain::state::State;
use carrel_domain::text::{Slug, Title};
use carrel_proto::v1::seat_service_server::SeatService;
use carrel_proto::v1::{
    CloseSeatsRequest, CloseSeatsResponse, ExplainAvailabilityRequest, ExplainAvailabilityResponse,
    GetPresenceCodeRequest, GetPresenceCodeResponse, GetSeatRequest, GetSeatResponse, ReopenSeatsRequest,
    ReopenSeatsResponse, RotatePresenceKeyRequest, RotatePresenceKeyResponse, SearchSeatsRequest, SearchSeatsResponse,
    WatchSeatMapRequest,
};
use tonic::{Request, Response, Status};

use crate::convert::invalid::Invalid;
use crate::convert::refusal::{failing_rule, no_codes_yet, out_of_order, to_status};
use crate::convert::time::to_timestamp;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{names, presence_code, reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::seat_map::{SeatMapStream, SeatMapWatch, SeatMaps};
use crate::grpc::session;
use crate::grpc::watch::Patience;
use crate::replica::Freshness;

/// Words named beside one that is not known.
const KNOWN_AMENITIES_MAX: usize = 20;

#[derive(Debug)]
pub struct Seats<L> {
    pub front: Front<L>,
    pub maps: SeatMaps,
    pub patience: Patience,
}

#[tonic::async_trait]
impl<L: Library> SeatService for Seats<L> {
    async fn search_seats(
        &self,
        request: Request<SearchSeatsRequest>,
    ) -> Result<Response<SearchSeatsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let (wish, limit) = (request::search_seats(&message)?, request::page_size(message.page_size)?);
        let (token, read) = (std::mem::take(&mut message.page_token), message.read.take());
        message.page_size = 0;
        let (view, _) = self.front.read_as(session, read).await?;
        // After an import the seat that a page began behind may be elsewhere.
        let list = ListKey::new(&message, "seats", view.catalog().revision);
        let after = page_cursor(list, &token)?;
        let request::SeatWish { branch, area, amenities, interval } = wish;
        let (accessible, available_only) = (message.accessible, message.available_only);
        let search = SeatSearch { branch, area, amenities, accessible, interval, available_only, after, limit };
        let page = view.search_seats(&search).map_err(to_status)?;
        if page.items.is_empty() && after.is_none() {
            unknown_amenity(&view, &search.branch, &search.amenities).map_or(Ok(()), Err)?;
        }
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|seat| page_token(list, &seat.id)).unwrap_or_default();
        Ok(Response::new(SearchSeatsResponse { seats: page.items.iter().map(reply::seat).collect(), next_page_token }))
    }

    async fn get_seat(&self, request: Request<GetSeatRequest>) -> Result<Response<GetSeatResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let GetSeatRequest { name, read } = request.into_inner();
        let name = names::parse_seat("name", &name)?;
        let (view, _) = self.front.read_as(session, read).await?;
        let timetable = view.seat_timetable(&name).map_err(to_status)?;
        Ok(Response::new(reply::timetable(&timetable)))
    }

    type WatchSeatMapStream = SeatMapStream;

    async fn watch_seat_map(&self, request: Request<WatchSeatMapRequest>) -> Result<Response<SeatMapStream>, Status> {
        let session = session::named_by(request.metadata())?;
        let message = request.into_inner();
        let (branch, area) = request::watch_seat_map(&message)?;
        let after = request::after(&message.after)?;
        // Linearizable, so that a session that was begun on another node is known here.
        let mut view = self.front.library.read(Freshness::Linearizable).await?;
        if let Some(token) = after {
            view = self.front.reach(view, token).await?;
        }
        view.session_user(session).map_err(to_status)?;
        if let Some(area) = &area {
            view.catalog().find_area(branch.as_str(), area.as_str()).ok_or_else(|| to_status(Refusal::AreaNotFound))?;
        }
        let area = area.map(|area| names::area(&branch, &area));
        let (front, maps, patience) = (self.front.clone(), self.maps.clone(), self.patience);
        let after = after.map(|token| token.position.index);
        let watch = SeatMapWatch { front, maps, patience, session, branch, area, after };
        Ok(Response::new(watch.begin(&view)?))
    }

    async fn explain_availability(
        &self,
        request: Request<ExplainAvailabilityRequest>,
    ) -> Result<Response<ExplainAvailabilityResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let wish = request::explain_availability(&message)?;
        let (view, user) = self.front.read_as(session, message.read.take()).await?;
        let explanation = view.explain(user, &wish).map_err(|refusal| {
            unknown_amenity_of(&view, refusal, &wish.need).map_or_else(|| to_status(refusal), Status::from)
        })?;
        Ok(Response::new(ExplainAvailabilityResponse {
            rules: explanation.failing.iter().map(|&refusal| failing_rule(refusal)).collect(),
            alternatives: explanation.alternatives.iter().map(reply::alternative).collect(),
        }))
    }

    async fn close_seats(&self, request: Request<CloseSeatsRequest>) -> Result<Response<CloseSeatsResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.front.write(&call, request::close_seats(&call.message)?).await?;
        Ok(Response::new(reply::closed(done.closure()?, done.commit)))
    }

    async fn reopen_seats(
        &self,
        request: Request<ReopenSeatsRequest>,
    ) -> Result<Response<ReopenSeatsResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.front.write(&call, request::reopen_seats(&call.message)?).await?;
        Ok(Response::new(reply::reopened(done.closure()?, done.commit)))
    }

    async fn get_presence_code(
        &self,
        request: Request<GetPresenceCodeRequest>,
    ) -> Result<Response<GetPresenceCodeResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let GetPresenceCodeRequest { seat, read } = request.into_inner();
        let seat = names::parse_seat("seat", &seat)?;
        let (view, user) = self.front.read_as(session, read).await?;
        let code = view.shown_code(user, &seat).map_err(to_status)?.ok_or_else(no_codes_yet)?;
        Ok(Response::new(GetPresenceCodeResponse {
            code: presence_code::shown(&code.secret, code.seat, code.shown_at),
            expire_time: Some(to_timestamp(code.until)),
        }))
    }

    async fn rotate_presence_key(
        &self,
        request: Request<RotatePresenceKeyRequest>,
    ) -> Result<Response<RotatePresenceKeyResponse>, Status> {
        let call = Call::of_session(request)?;
        let secret = presence_code::draw_secret().map_err(|_| out_of_order())?;
        let done = self.front.write(&call, Action::SetPresenceKey { secret }).await?;
        Ok(Response::new(RotatePresenceKeyResponse { commit: done.commit }))
    }
}

/// Of a need that no seat answers: the word that no seat of the branch has, if that is why.
pub(super) fn unknown_amenity_of(view: &State, refusal: Refusal, need: &Need<Place<Slug>>) -> Option<Invalid> {
    let is_none_found = refusal == Refusal::SeatNotFound;
    is_none_found.then(|| unknown_amenity(view, need.place.branch(), &need.amenities)).flatten()
}

/// Asked only where nothing was found: whether that is because of a word that no seat of the branch has.
fn unknown_amenity(view: &State, branch: &Slug, wanted: &[Title]) -> Option<Invalid> {
    let catalog = view.catalog();
    let id = catalog.find_branch(branch.as_str())?;
    let seats = catalog.seats().map(|(_, seat)| seat).filter(|seat| seat.branch == id && !seat.retired);
    let known: BTreeSet<&Title> = seats.flat_map(|seat| &seat.amenities).collect();
    let unknown = wanted.iter().find(|amenity| !known.contains(amenity))?;
    let shown: Vec<&Title> = known.into_iter().take(KNOWN_AMENITIES_MAX).collect();
    Some(request::unknown_amenity(unknown, branch, &shown))
}
