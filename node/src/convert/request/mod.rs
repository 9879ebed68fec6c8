//! What clients ask, as the rules understand it. Everything is checked here once; what leaves this file means
//! something.

mod accounts;
mod reservations;
mod messages;

pub use accounts::{
    PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, change_password, delete_user, list_audit_events, list_strikes, register,
    registration, revoke_session, set_accessibility, set_user_role, suspend_user, unsuspend_user, users_glob,
    waive_strike,
};
pub use messages::{
    With, block_user, broadcast, delete_message, list_messages, report_message, send_message, unblock_user,
    update_mail_delivery, update_notification_preferences,
};
pub use reservations::{
    Exchange, WalkIn, batch_create_reservations, cancel_reservation, check_in, check_out, checked_in, close_seats,
    confirm_reservation, create_group_reservation, create_reservation, explain_availability, extend_reservation,
    get_quota, hold_seat, reopen_seats, report_empty_seat, reschedule_reservation, state_filter, step_away, walk_in,
};

use carrel_domain::id::{Position, RequestId};
use carrel_domain::request::{Action, Need, Place, SeatName};
use carrel_domain::text::{Slug, Title, UserName};
use carrel_domain::time::{Interval, MINUTE_US, Timestamp};
use carrel_proto::v1;
use uuid::Uuid;

use crate::convert::catalog::shown;
use crate::convert::invalid::{Fields, Invalid};
use crate::convert::names;
use crate::convert::time::{from_duration, from_interval, from_timestamp};
use crate::convert::token::ResumeToken;
use crate::replica::Freshness;

const PAGE_SIZE_DEFAULT: usize = 100;
/// Larger wishes are cut to it.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// A seat has no more, so that a wish for more has no answer.
const AMENITIES_MAX: usize = carrel_domain::catalog::AMENITIES_PER_SEAT_MAX;

/// None: the outcome need not be remembered.
pub fn request_id(text: &str) -> Result<Option<RequestId>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    match Uuid::try_parse(text) {
        Ok(id) => Ok(Some(RequestId(id.as_u128()))),
        Err(_) => {
            let problem = format!("{} is not a UUID like 1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b", shown(text));
            Err(Invalid::field("request_id", problem))
        }
    }
}

pub fn freshness(read: Option<v1::ReadOptions>) -> Result<Freshness, Invalid> {
    use v1::read_options::Freshness as Wish;
    match read.and_then(|read| read.freshness) {
        None | Some(Wish::Linearizable(_)) => Ok(Freshness::Linearizable),
        Some(Wish::AtLeast(token)) => {
            let ResumeToken { lineage, position } = ResumeToken::decode("read.at_least", &token)?;
            Ok(Freshness::AtLeast { lineage, index: position.index })
        }
        Some(Wish::MaxStaleness(duration)) => {
            Ok(Freshness::MaxStaleness(from_duration("read.max_staleness", duration)?))
        }
    }
}

pub fn page_size(wish: i32) -> Result<usize, Invalid> {
    match usize::try_from(wish) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(wish) => Ok(wish.min(PAGE_SIZE_MAX)),
        Err(_) => {
            Err(Invalid::field("page_size", format!("{wish} is less than nothing: leave it out for the default")))
        }
    }
}

// === Seats ===

/// Where and what to search for; which page is for the caller to know.
#[derive(Debug)]
pub struct SeatWish {
    pub branch: Slug,
    pub area: Option<Slug>,
    pub amenities: Vec<Title>,
    pub interval: Option<Interval>,
}

pub fn search_seats(request: &v1::SearchSeatsRequest) -> Result<SeatWish, Invalid> {
    let v1::SearchSeatsRequest {
        branch,
        area,
        amenities,
        accessible: _,
        interval,
        available_only: _,
        page_size: _,
        page_token: _,
        read: _,
    } = request;
    let mut fields = Fields::default();
    let place = fields.take(branch_and_area(branch, area));
    let amenities = fields.take(self::amenities("amenities", amenities));
    let interval = fields.take(interval.map(|interval| from_interval("interval", Some(interval))).transpose());
    match (place, amenities, interval) {
        (Some((branch, area)), Some(amenities), Some(interval)) => Ok(SeatWish { branch, area, amenities, interval }),
        _ => Err(fields.into_invalid()),
    }
}

/// The branch, and the area if not all of it.
pub fn watch_seat_map(request: &v1::WatchSeatMapRequest) -> Result<(Slug, Option<Slug>), Invalid> {
    branch_and_area(&request.branch, &request.area)
}

fn branch_and_area(branch: &str, area: &str) -> Result<(Slug, Option<Slug>), Invalid> {
    let branch = names::parse_branch("branch", branch)?;
    if area.is_empty() {
        return Ok((branch, None));
    }
    let (of, area) = names::parse_area("area", area)?;
    if of == branch {
        Ok((branch, Some(area)))
    } else {
        Err(Invalid::field("area", format!("it is an area of branch '{of}', not of '{branch}'")))
    }
}

fn amenities(field: &str, wanted: &[String]) -> Result<Vec<Title>, Invalid> {
    if wanted.len() > AMENITIES_MAX {
        return Err(Invalid::field(field, format!("more than {AMENITIES_MAX}: no seat has so many")));
    }
    let mut fields = Fields::default();
    let of = |(index, text): (usize, &String)| {
        let problem = |problem| Invalid::field(format!("{field}[{index}]"), format!("{}: {problem}", shown(text)));
        // In a catalogue they are lower-case.
        Title::new(&text.to_lowercase()).map_err(problem)
    };
    let read: Vec<_> = wanted.iter().enumerate().filter_map(|wanted| fields.take(of(wanted))).collect();
    if read.len() == wanted.len() { Ok(read) } else { Err(fields.into_invalid()) }
}

/// No seat of the branch has this; what they have instead helps to find the right word.
#[must_use]
pub fn unknown_amenity(amenity: &Title, branch: &Slug, known: &[&Title]) -> Invalid {
    let known: Vec<&str> = known.iter().map(|title| title.as_str()).collect();
    let known = if known.is_empty() { "nothing special".to_owned() } else { known.join(", ") };
    Invalid::field("amenities", format!("no seat of branch '{branch}' has '{amenity}'; what seats have there: {known}"))
}

// === The waitlist ===

pub fn join_waitlist(request: &v1::JoinWaitlistRequest) -> Result<Action, Invalid> {
    use v1::join_waitlist_request::Target;
    let v1::JoinWaitlistRequest {
        request_id: _,
        target,
        amenities,
        accessible,
        interval,
        stay_minutes,
        validate_only: _,
    } = request;
    let mut fields = Fields::default();
    let place = fields.take(match target {
        Some(Target::Seat(name)) => place_of_seat("seat", name),
        Some(Target::Area(name)) => place_of_area("area", name),
        Some(Target::Branch(name)) => place_of_branch("branch", name),
        None => Err(Invalid::field("target", NO_TARGET)),
    });
    let amenities = fields.take(self::amenities("amenities", amenities));
    let interval = fields.take(from_interval("interval", *interval));
    let minutes = fields.take(match u32::try_from(*stay_minutes) {
        Ok(0) => Ok(None),
        Ok(minutes) => Ok(Some(minutes)),
        Err(_) => Err(Invalid::field("stay_minutes", "it is less than nothing: leave it out for the whole interval")),
    });
    match (place, amenities, interval, minutes) {
        (Some(place), Some(amenities), Some(interval), Some(minutes)) => {
            Ok(Action::JoinWaitlist { need: Need { place, amenities, accessible: *accessible }, interval, minutes })
        }
        _ => Err(fields.into_invalid()),
    }
}

pub fn leave_waitlist(request: &v1::LeaveWaitlistRequest) -> Result<Action, Invalid> {
    Ok(Action::LeaveWaitlist { wait: names::parse_wait("name", &request.name)? })
}

pub fn accept_offer(request: &v1::AcceptOfferRequest) -> Result<Action, Invalid> {
    Ok(Action::AcceptOffer { claim: names::parse_reservation("reservation", &request.reservation)? })
}

pub fn decline_offer(request: &v1::DeclineOfferRequest) -> Result<Action, Invalid> {
    Ok(Action::DeclineOffer { claim: names::parse_reservation("reservation", &request.reservation)? })
}

// === What several have ===

const NO_TARGET: &str = "it is missing: name a seat, an area or a branch";

fn place_of_seat(field: &str, name: &str) -> Result<Place<Slug>, Invalid> {
    names::parse_seat(field, name).map(|SeatName { branch, seat }| Place::Seat { branch, seat })
}

fn place_of_area(field: &str, name: &str) -> Result<Place<Slug>, Invalid> {
    names::parse_area(field, name).map(|(branch, area)| Place::Area { branch, area })
}

fn place_of_branch(field: &str, name: &str) -> Result<Place<Slug>, Invalid> {
    names::parse_branch(field, name).map(|branch| Place::Branch { branch })
}

/// What staff say of why, for the audit.
fn reason(field: &str, text: &str) -> Result<Title, Invalid> {
    if text.is_empty() {
        return Err(Invalid::field(field, "it is missing: say why, for whoever asks later"));
    }
    Title::new(text).map_err(|problem| Invalid::field(field, format!("{}: {problem}", shown(text))))
}

fn optional_user(field: &str, name: &str) -> Result<Option<UserName>, Invalid> {
    if name.is_empty() { Ok(None) } else { names::parse_user(field, name).map(Some) }
}

fn instant(field: &str, time: prost_types::Timestamp) -> Result<Timestamp, Invalid> {
    from_timestamp(time).map_err(|problem| Invalid::field(field, problem))
}

fn minute(field: &str, time: Option<prost_types::Timestamp>) -> Result<Timestamp, Invalid> {
    let time = time.ok_or_else(|| Invalid::field(field, "it is missing"))?;
    let time = instant(field, time)?;
    if time.0.rem_euclid(MINUTE_US) == 0 { Ok(time) } else { Err(Invalid::field(field, "it is not a whole minute")) }
}

// === The inbox ===

/// After which position; none: no token was given.
pub fn after(token: &str) -> Result<Option<ResumeToken>, Invalid> {
    if token.is_empty() { Ok(None) } else { ResumeToken::decode("after", token).map(Some) }
}

/// Up to where everything was read. The token must not be empty.
pub fn read_up_to(request: &v1::AdvanceReadCursorRequest) -> Result<ResumeToken, Invalid> {
    ResumeToken::decode("resume_token", &request.resume_token)
}

#[must_use]
pub fn advance_read_cursor(up_to: Position) -> Action {
    Action::AdvanceReadCursor { up_to }
}

// === The catalogue ===

/// None: whatever it is.
pub fn expected_revision(expected: Option<i64>) -> Result<Option<u64>, Invalid> {
    let problem = |_| Invalid::field("expected_revision", "it must not be negative");
    expected.map(u64::try_from).transpose().map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_size_that_somebody_can_want() {
        assert_eq!(page_size(0), Ok(100));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(1_000));
        assert!(page_size(-1).is_err());
    }

    #[test]
    fn a_request_id_is_a_uuid_or_missing() {
        assert_eq!(request_id(""), Ok(None));
        assert_eq!(request_id("00000000-0000-0000-0000-000000000007"), Ok(Some(RequestId(7))));
        assert!(request_id("7").is_err());
    }
}
