//! Seats, and when they are free.

use std::collections::BTreeSet;

use carrel_domain::query::SeatSearch;
use carrel_domain::state::State;
use carrel_domain::text::{Slug, Title};
use carrel_proto::v1::seat_service_server::SeatService;
use carrel_proto::v1::{GetSeatRequest, GetSeatResponse, SearchSeatsRequest, SearchSeatsResponse};
use tonic::{Request, Response, Status};

use crate::convert::invalid::Invalid;
use crate::convert::refusal::to_status;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{names, reply, request};
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

/// Words named beside one that is not known.
const KNOWN_AMENITIES_MAX: usize = 20;

#[derive(Debug)]
pub struct Seats<L>(pub Front<L>);

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
        let (view, _) = self.0.read_as(session, read).await?;
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
        let (view, _) = self.0.read_as(session, read).await?;
        let timetable = view.seat_timetable(&name).map_err(to_status)?;
        Ok(Response::new(reply::timetable(&timetable)))
    }
}

/// Asked only where nothing was found: whether that is because of a word that no seat of the branch has.
pub(super) fn unknown_amenity(view: &State, branch: &Slug, wanted: &[Title]) -> Option<Invalid> {
    let catalog = view.catalog();
    let id = catalog.find_branch(branch.as_str())?;
    let seats = catalog.seats().map(|(_, seat)| seat).filter(|seat| seat.branch == id && !seat.retired);
    let known: BTreeSet<&Title> = seats.flat_map(|seat| &seat.amenities).collect();
    let unknown = wanted.iter().find(|amenity| !known.contains(amenity))?;
    let shown: Vec<&Title> = known.into_iter().take(KNOWN_AMENITIES_MAX).collect();
    Some(request::unknown_amenity(unknown, branch, &shown))
}
