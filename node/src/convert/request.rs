//! What clients ask, as the rules understand it. Everything is checked here once; what leaves this file means
//! something.

use carrel_domain::account::{PasswordHash, Role};
use carrel_domain::claim::StateName;
use carrel_domain::id::{Position, RequestId};
use carrel_domain::inbox::RECIPIENTS_MAX;
use carrel_domain::request::{Action, Need, Place, Wish};
use carrel_domain::text::{Glob, MessageText, Slug, Title, UserName};
use carrel_domain::time::Interval;
use carrel_proto::v1;
use uuid::Uuid;

use crate::convert::catalog::shown;
use crate::convert::invalid::{Fields, Invalid};
use crate::convert::names;
use crate::convert::time::{from_duration, from_interval};
use crate::convert::token::ResumeToken;
use crate::replica::Freshness;

const PAGE_SIZE_DEFAULT: usize = 100;
/// Larger wishes are cut to it.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// A seat has no more, so that a wish for more has no answer.
const AMENITIES_MAX: usize = carrel_domain::catalog::AMENITIES_PER_SEAT_MAX;
/// Nobody looks after more branches than there may be.
const BRANCHES_MAX: usize = carrel_domain::catalog::BRANCHES_MAX;
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Longer ones would only cost time: the hash is no longer for it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

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

// === Accounts ===

/// The name and the password to hash for it.
pub fn register(request: v1::RegisterRequest) -> Result<(UserName, String), Invalid> {
    let v1::RegisterRequest { request_id: _, user_id, password } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::user_id("user_id", &user_id));
    let length = password.len();
    let password = fields.take(if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&length) {
        Ok(password)
    } else {
        let problem = format!("it must be {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes long, and has {length}");
        Err(Invalid::field("password", problem))
    });
    match (name, password) {
        (Some(name), Some(password)) => Ok((name, password)),
        _ => Err(fields.into_invalid()),
    }
}

#[must_use]
pub fn registration(name: UserName, password: PasswordHash) -> Action {
    Action::Register { name, password }
}

pub fn users_glob(filter: &str) -> Result<Glob, Invalid> {
    let filter = if filter.is_empty() { "*" } else { filter };
    Glob::new(filter).map_err(|problem| {
        Invalid::field("filter", format!("{}: {problem}; '*' stands for any run, '?' for one character", shown(filter)))
    })
}

pub fn delete_user(request: &v1::DeleteUserRequest) -> Result<Action, Invalid> {
    Ok(Action::DeleteUser { name: names::parse_user("name", &request.name)? })
}

pub fn set_user_role(request: &v1::SetUserRoleRequest) -> Result<Action, Invalid> {
    let v1::SetUserRoleRequest { request_id: _, name, role, branches } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::parse_user("name", name));
    let role = fields.take(self::role(*role, branches));
    match (name, role) {
        (Some(name), Some(role)) => Ok(Action::SetRole { name, role }),
        _ => Err(fields.into_invalid()),
    }
}

fn role(number: i32, branches: &[String]) -> Result<Role<Slug>, Invalid> {
    let role = match v1::Role::try_from(number) {
        Ok(v1::Role::Librarian) => {
            if branches.is_empty() || branches.len() > BRANCHES_MAX {
                let problem = format!("a librarian looks after 1 to {BRANCHES_MAX} branches: name them");
                return Err(Invalid::field("branches", problem));
            }
            let of = |(index, name): (usize, &String)| names::parse_branch(&format!("branches[{index}]"), name);
            let read = branches.iter().enumerate().map(of).collect::<Result<_, _>>()?;
            return Ok(Role::Librarian(read));
        }
        Ok(v1::Role::Patron) => Role::Patron,
        Ok(v1::Role::Admin) => Role::Admin,
        Ok(v1::Role::Auditor) => Role::Auditor,
        Ok(v1::Role::Kiosk) => Role::Kiosk,
        Ok(v1::Role::Unspecified) | Err(_) => {
            let problem = "there is no such role: it is one of PATRON, LIBRARIAN, ADMIN, AUDITOR, KIOSK";
            return Err(Invalid::field("role", problem));
        }
    };
    if branches.is_empty() {
        Ok(role)
    } else {
        Err(Invalid::field("branches", "only a librarian looks after branches: leave them out"))
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
    let amenities = fields.take(self::amenities(amenities));
    let interval = fields.take(interval.map(|interval| from_interval("interval", Some(interval))).transpose());
    match (place, amenities, interval) {
        (Some((branch, area)), Some(amenities), Some(interval)) => Ok(SeatWish { branch, area, amenities, interval }),
        _ => Err(fields.into_invalid()),
    }
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

fn amenities(wanted: &[String]) -> Result<Vec<Title>, Invalid> {
    if wanted.len() > AMENITIES_MAX {
        return Err(Invalid::field("amenities", format!("more than {AMENITIES_MAX}: no seat has so many")));
    }
    let mut fields = Fields::default();
    let of = |(index, text): (usize, &String)| {
        let problem = |problem| Invalid::field(format!("amenities[{index}]"), format!("{}: {problem}", shown(text)));
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

// === Reservations ===

pub fn create_reservation(request: &v1::CreateReservationRequest) -> Result<Action, Invalid> {
    let v1::CreateReservationRequest { request_id: _, seat, interval } = request;
    let mut fields = Fields::default();
    let seat = fields.take(names::parse_seat("seat", seat));
    let interval = fields.take(from_interval("interval", *interval));
    match (seat, interval) {
        (Some(seat), Some(interval)) => Ok(Action::Reserve { wish: Wish::of_seat(seat, interval) }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn check_in(request: &v1::CheckInRequest) -> Result<Action, Invalid> {
    Ok(Action::CheckIn { claim: names::parse_reservation("name", &request.name)?, proof: None })
}

pub fn check_out(request: &v1::CheckOutRequest) -> Result<Action, Invalid> {
    Ok(Action::CheckOut { claim: names::parse_reservation("name", &request.name)? })
}

pub fn cancel_reservation(request: &v1::CancelReservationRequest) -> Result<Action, Invalid> {
    Ok(Action::Cancel { claim: names::parse_reservation("name", &request.name)?, reason: None })
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

// === The waitlist ===

pub fn join_waitlist(request: &v1::JoinWaitlistRequest) -> Result<(Need<Place<Slug>>, Interval), Invalid> {
    use v1::join_waitlist_request::Target;
    let v1::JoinWaitlistRequest { request_id: _, target, amenities, accessible, interval } = request;
    let mut fields = Fields::default();
    let place = fields.take(match target {
        Some(Target::Seat(name)) => {
            names::parse_seat("seat", name).map(|seat| Place::Seat { branch: seat.branch, seat: seat.seat })
        }
        Some(Target::Area(name)) => names::parse_area("area", name).map(|(branch, area)| Place::Area { branch, area }),
        Some(Target::Branch(name)) => names::parse_branch("branch", name).map(|branch| Place::Branch { branch }),
        None => Err(Invalid::field("target", "it is missing: name a seat, an area or a branch")),
    });
    let amenities = fields.take(self::amenities(amenities));
    let interval = fields.take(from_interval("interval", *interval));
    match (place, amenities, interval) {
        (Some(place), Some(amenities), Some(interval)) => {
            Ok((Need { place, amenities, accessible: *accessible }, interval))
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

// === Messages ===

pub fn send_message(request: &v1::SendMessageRequest) -> Result<Action, Invalid> {
    let v1::SendMessageRequest { request_id: _, recipients, text } = request;
    let mut fields = Fields::default();
    let recipients = fields.take(self::recipients(recipients));
    let text = fields.take(message_text(text));
    match (recipients, text) {
        (Some(recipients), Some(text)) => Ok(Action::SendMessage { recipients, text }),
        _ => Err(fields.into_invalid()),
    }
}

fn recipients(names: &[String]) -> Result<Vec<UserName>, Invalid> {
    if names.is_empty() || names.len() > RECIPIENTS_MAX {
        let problem = format!("a message goes to 1 to {RECIPIENTS_MAX} people, and this one to {}", names.len());
        return Err(Invalid::field("recipients", problem));
    }
    let mut fields = Fields::default();
    let of = |(index, name): (usize, &String)| names::parse_user(&format!("recipients[{index}]"), name);
    let read: Vec<_> = names.iter().enumerate().filter_map(|name| fields.take(of(name))).collect();
    if read.len() == names.len() { Ok(read) } else { Err(fields.into_invalid()) }
}

pub fn broadcast(request: &v1::BroadcastRequest) -> Result<Action, Invalid> {
    Ok(Action::Broadcast { text: message_text(&request.text)? })
}

fn message_text(text: &str) -> Result<MessageText, Invalid> {
    MessageText::new(text).map_err(|problem| Invalid::field("text", problem))
}

pub fn delete_message(request: &v1::DeleteMessageRequest) -> Result<Action, Invalid> {
    Ok(Action::DeleteMessage { message: names::parse_message("name", &request.name)? })
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

    #[test]
    fn everything_wrong_with_a_request_is_told_at_once() {
        let request = v1::SendMessageRequest {
            recipients: vec!["users/amy".to_owned(), "ben".to_owned(), "users/".to_owned()],
            text: "a\u{7}b".to_owned(),
            ..Default::default()
        };
        let invalid = send_message(&request).expect_err("three things are wrong");
        let fields: Vec<_> = invalid.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(fields, ["recipients[1]", "recipients[2]", "text"]);
    }

    #[test]
    fn only_librarians_have_branches() {
        let branches = ["branches/main".to_owned()];
        assert!(role(v1::Role::Librarian.into(), &branches).is_ok());
        assert!(role(v1::Role::Librarian.into(), &[]).is_err());
        assert!(role(v1::Role::Patron.into(), &branches).is_err());
        assert!(role(v1::Role::Unspecified.into(), &[]).is_err());
        assert!(role(99, &[]).is_err());
    }
}
