//! Getting a seat, having it, and closing it.

use carrel_domain::claim::StateName;
use carrel_domain::group::{GROUP_MAX, WISHES_MAX};
use carrel_domain::id::ClaimId;
use carrel_domain::presence::Proof;
use carrel_domain::request::{Action, Behalf, Closing, GroupSeat, Need, SeatName, Wish};
use carrel_domain::text::{Slug, UserName};
use carrel_domain::time::{Interval, Timestamp};
use carrel_proto::v1;

use super::{NO_TARGET, instant, minute, optional_user, place_of_area, place_of_branch, place_of_seat};
use crate::convert::invalid::{Fields, Invalid};
use crate::convert::names;
use crate::convert::time::from_interval;

/// What is wished for, in either form.
pub fn create_reservation(request: &v1::CreateReservationRequest) -> Result<Wish, Invalid> {
    let v1::CreateReservationRequest { request_id: _, seat, interval, wish, validate_only: _ } = request;
    if let Some(wish) = wish {
        if !seat.is_empty() || interval.is_some() {
            return Err(Invalid::field("wish", "it is instead of seat and interval: leave them out"));
        }
        return self::wish("wish", Some(wish));
    }
    let mut fields = Fields::default();
    let seat = fields.take(names::parse_seat("seat", seat));
    let interval = fields.take(from_interval("interval", *interval));
    match (seat, interval) {
        (Some(seat), Some(interval)) => Ok(Wish::of_seat(seat, interval)),
        _ => Err(fields.into_invalid()),
    }
}

pub fn hold_seat(request: &v1::HoldSeatRequest) -> Result<Wish, Invalid> {
    wish("wish", request.wish.as_ref())
}

pub fn explain_availability(request: &v1::ExplainAvailabilityRequest) -> Result<Wish, Invalid> {
    wish("wish", request.wish.as_ref())
}

pub fn batch_create_reservations(request: &v1::BatchCreateReservationsRequest) -> Result<Vec<Wish>, Invalid> {
    let wishes = &request.wishes;
    if wishes.is_empty() || wishes.len() > WISHES_MAX as usize {
        let problem = format!("1 to {WISHES_MAX} can be asked for at once, and these are {}", wishes.len());
        return Err(Invalid::field("wishes", problem));
    }
    let mut fields = Fields::default();
    let of = |(index, wish)| self::wish(&format!("wishes[{index}]"), Some(wish));
    let read: Vec<_> = wishes.iter().enumerate().filter_map(|wish| fields.take(of(wish))).collect();
    if read.len() == wishes.len() { Ok(read) } else { Err(fields.into_invalid()) }
}

fn wish(field: &str, wish: Option<&v1::Wish>) -> Result<Wish, Invalid> {
    use v1::wish::Target;
    let Some(wish) = wish else {
        return Err(Invalid::field(field, "it is missing: say which seat and when"));
    };
    let v1::Wish { target, amenities, accessible, interval, on_behalf_of, reason, exempt } = wish;
    let within = |part: &str| format!("{field}.{part}");
    let mut fields = Fields::default();
    let place = fields.take(match target {
        Some(Target::Seat(name)) => place_of_seat(&within("seat"), name),
        Some(Target::Area(name)) => place_of_area(&within("area"), name),
        Some(Target::Branch(name)) => place_of_branch(&within("branch"), name),
        None => Err(Invalid::field(within("target"), NO_TARGET)),
    });
    let amenities = fields.take(super::amenities(&within("amenities"), amenities));
    let interval = fields.take(from_interval(&within("interval"), *interval));
    let behalf = fields.take(behalf(field, on_behalf_of, reason, *exempt));
    match (place, amenities, interval, behalf) {
        (Some(place), Some(amenities), Some(interval), Some(behalf)) => {
            Ok(Wish { need: Need { place, amenities, accessible: *accessible }, interval, behalf })
        }
        _ => Err(fields.into_invalid()),
    }
}

fn behalf(field: &str, on_behalf_of: &str, reason: &str, exempt: bool) -> Result<Option<Behalf>, Invalid> {
    if on_behalf_of.is_empty() {
        if !reason.is_empty() || exempt {
            let problem = "it is missing: a reason and an exemption are for a booking on behalf of somebody";
            return Err(Invalid::field(format!("{field}.on_behalf_of"), problem));
        }
        return Ok(None);
    }
    let mut fields = Fields::default();
    let person = fields.take(names::parse_user(&format!("{field}.on_behalf_of"), on_behalf_of));
    let reason = fields.take(super::reason(&format!("{field}.reason"), reason));
    match (person, reason) {
        (Some(person), Some(reason)) => Ok(Some(Behalf { person, reason, exempt })),
        _ => Err(fields.into_invalid()),
    }
}

pub fn confirm_reservation(request: &v1::ConfirmReservationRequest) -> Result<Action, Invalid> {
    Ok(Action::Confirm { claim: names::parse_reservation("name", &request.name)? })
}

/// Somebody who sits down; the code that they have typed is looked at by whoever knows the key.
#[derive(Clone, Debug)]
pub struct WalkIn {
    pub seat: SeatName,
    pub end: Timestamp,
    pub person: Option<UserName>,
}

impl WalkIn {
    #[must_use]
    pub fn proven_by(&self, proof: Option<Proof>) -> Action {
        let Self { seat, end, person } = self.clone();
        Action::WalkIn { seat, end, person, proof }
    }
}

pub fn walk_in(request: &v1::WalkInRequest) -> Result<WalkIn, Invalid> {
    let v1::WalkInRequest { request_id: _, seat, end_time, on_behalf_of, presence_code: _, validate_only: _ } = request;
    let mut fields = Fields::default();
    let seat = fields.take(names::parse_seat("seat", seat));
    let end = fields.take(minute("end_time", *end_time));
    let person = fields.take(optional_user("on_behalf_of", on_behalf_of));
    match (seat, end, person) {
        (Some(seat), Some(end), Some(person)) => Ok(WalkIn { seat, end, person }),
        _ => Err(fields.into_invalid()),
    }
}

/// The reservation that is checked in to.
pub fn check_in(request: &v1::CheckInRequest) -> Result<ClaimId, Invalid> {
    names::parse_reservation("name", &request.name)
}

#[must_use]
pub fn checked_in(claim: ClaimId, proof: Option<Proof>) -> Action {
    Action::CheckIn { claim, proof }
}

pub fn create_group_reservation(
    request: &v1::CreateGroupReservationRequest,
) -> Result<(Vec<GroupSeat>, Interval), Invalid> {
    let v1::CreateGroupReservationRequest { request_id: _, places, interval, validate_only: _ } = request;
    if places.is_empty() || places.len() > GROUP_MAX as usize {
        let problem = format!("a group has 1 to {GROUP_MAX} places, and this one {}", places.len());
        return Err(Invalid::field("places", problem));
    }
    let mut fields = Fields::default();
    let mut seats = Vec::with_capacity(places.len());
    for (index, v1::create_group_reservation_request::Place { seat, user }) in places.iter().enumerate() {
        let seat = fields.take(names::parse_seat(&format!("places[{index}].seat"), seat));
        let person = fields.take(names::parse_user(&format!("places[{index}].user"), user));
        seats.extend(seat.zip(person).map(|(seat, person)| GroupSeat { seat, person }));
    }
    let interval = fields.take(from_interval("interval", *interval));
    match interval {
        Some(interval) if seats.len() == places.len() => Ok((seats, interval)),
        _ => Err(fields.into_invalid()),
    }
}

pub fn check_out(request: &v1::CheckOutRequest) -> Result<Action, Invalid> {
    Ok(Action::CheckOut { claim: names::parse_reservation("name", &request.name)? })
}

pub fn step_away(request: &v1::StepAwayRequest) -> Result<Action, Invalid> {
    Ok(Action::StepAway { claim: names::parse_reservation("name", &request.name)? })
}

pub fn extend_reservation(request: &v1::ExtendReservationRequest) -> Result<(ClaimId, Timestamp), Invalid> {
    let v1::ExtendReservationRequest { request_id: _, name, end_time, validate_only: _ } = request;
    let mut fields = Fields::default();
    let claim = fields.take(names::parse_reservation("name", name));
    let end = fields.take(minute("end_time", *end_time));
    match (claim, end) {
        (Some(claim), Some(end)) => Ok((claim, end)),
        _ => Err(fields.into_invalid()),
    }
}

/// What is to become of a reservation; none: as it is.
#[derive(Debug)]
pub struct Exchange {
    pub claim: ClaimId,
    pub seat: Option<SeatName>,
    pub interval: Option<Interval>,
}

pub fn reschedule_reservation(request: &v1::RescheduleReservationRequest) -> Result<Exchange, Invalid> {
    let v1::RescheduleReservationRequest { request_id: _, name, seat, interval, validate_only: _ } = request;
    let mut fields = Fields::default();
    let claim = fields.take(names::parse_reservation("name", name));
    let is_empty = seat.is_empty();
    let seat = fields.take(if is_empty { Ok(None) } else { names::parse_seat("seat", seat).map(Some) });
    let interval = fields.take(interval.map(|interval| from_interval("interval", Some(interval))).transpose());
    match (claim, seat, interval) {
        (Some(_), Some(None), Some(None)) => Err(Invalid::field("seat", "it is missing: name another seat, or a time")),
        (Some(claim), Some(seat), Some(interval)) => Ok(Exchange { claim, seat, interval }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn cancel_reservation(request: &v1::CancelReservationRequest) -> Result<Action, Invalid> {
    let v1::CancelReservationRequest { request_id: _, name, reason } = request;
    let mut fields = Fields::default();
    let claim = fields.take(names::parse_reservation("name", name));
    let reason = fields.take(if reason.is_empty() { Ok(None) } else { super::reason("reason", reason).map(Some) });
    match (claim, reason) {
        (Some(claim), Some(reason)) => Ok(Action::Cancel { claim, reason }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn report_empty_seat(request: &v1::ReportEmptySeatRequest) -> Result<Action, Invalid> {
    Ok(Action::ReportEmptySeat { seat: names::parse_seat("seat", &request.seat)? })
}

/// The area, and when; none: now.
pub fn get_quota(request: &v1::GetQuotaRequest) -> Result<((Slug, Slug), Option<Timestamp>), Invalid> {
    let v1::GetQuotaRequest { area, time, read: _ } = request;
    let mut fields = Fields::default();
    let area = fields.take(names::parse_area("area", area));
    let time = fields.take(time.map(|time| instant("time", time)).transpose());
    match (area, time) {
        (Some(area), Some(time)) => Ok((area, time)),
        _ => Err(fields.into_invalid()),
    }
}

// === Closed seats ===

pub fn close_seats(request: &v1::CloseSeatsRequest) -> Result<Action, Invalid> {
    use v1::close_seats_request::Target;
    let v1::CloseSeatsRequest { request_id: _, target, interval, closing, reason, validate_only: _ } = request;
    let mut fields = Fields::default();
    let place = fields.take(match target {
        Some(Target::Seat(name)) => place_of_seat("seat", name),
        Some(Target::Area(name)) => place_of_area("area", name),
        Some(Target::Branch(name)) => place_of_branch("branch", name),
        None => Err(Invalid::field("target", NO_TARGET)),
    });
    let interval = fields.take(from_interval("interval", *interval));
    let closing = fields.take(match v1::Closing::try_from(*closing) {
        Ok(v1::Closing::Maintenance) => Ok(Closing::Maintenance),
        Ok(v1::Closing::Closure) => Ok(Closing::Closure),
        Ok(v1::Closing::Unspecified) | Err(_) => Err(Invalid::field("closing", "it is MAINTENANCE or CLOSURE")),
    });
    let reason = fields.take(super::reason("reason", reason));
    match (place, interval, closing, reason) {
        (Some(place), Some(interval), Some(closing), Some(reason)) => {
            Ok(Action::CloseSeats { place, interval, closing, reason })
        }
        _ => Err(fields.into_invalid()),
    }
}

pub fn reopen_seats(request: &v1::ReopenSeatsRequest) -> Result<Action, Invalid> {
    use v1::reopen_seats_request::Target;
    let v1::ReopenSeatsRequest { request_id: _, target, interval, reason, validate_only: _ } = request;
    let mut fields = Fields::default();
    let place = fields.take(match target {
        Some(Target::Seat(name)) => place_of_seat("seat", name),
        Some(Target::Area(name)) => place_of_area("area", name),
        Some(Target::Branch(name)) => place_of_branch("branch", name),
        None => Err(Invalid::field("target", NO_TARGET)),
    });
    let interval = fields.take(from_interval("interval", *interval));
    let reason = fields.take(super::reason("reason", reason));
    match (place, interval, reason) {
        (Some(place), Some(interval), Some(reason)) => Ok(Action::ReopenSeats { place, interval, reason }),
        _ => Err(fields.into_invalid()),
    }
}

/// The state to list; none: any.
pub fn state_filter(number: i32) -> Result<Option<StateName>, Invalid> {
    use v1::reservation::State;
    match State::try_from(number) {
        Ok(State::Unspecified) => Ok(None),
        Ok(State::Held) => Ok(Some(StateName::Held)),
        Ok(State::Confirmed) => Ok(Some(StateName::Confirmed)),
        Ok(State::CheckedIn) => Ok(Some(StateName::CheckedIn)),
        Ok(State::Away) => Ok(Some(StateName::Away)),
        Ok(State::Expired) => Ok(Some(StateName::Expired)),
        Ok(State::Cancelled) => Ok(Some(StateName::Cancelled)),
        Ok(State::Displaced) => Ok(Some(StateName::Displaced)),
        Ok(State::NoShow) => Ok(Some(StateName::NoShow)),
        Ok(State::Released) => Ok(Some(StateName::Released)),
        Ok(State::Completed) => Ok(Some(StateName::Completed)),
        Err(_) => Err(Invalid::field("state", format!("there is no state of number {number}"))),
    }
}
