//! Resource names: "branches/main/seats/r-101", "reservations/17", "users/amy".

use carrel_domain::id::{ClaimId, Position, TokenDigest, UserId, WaitId, WebhookId};
use carrel_domain::request::SeatName;
use carrel_domain::text::{Slug, TextError, UserName};

use crate::convert::catalog::shown;
use crate::convert::invalid::Invalid;

/// In place of the name of somebody whose account is gone.
pub const NOBODY: &str = "users/-";

// === To the wire ===

pub fn branch(branch: &Slug) -> String {
    ["branches/", branch.as_str()].concat()
}

pub fn area(branch: &Slug, area: &Slug) -> String {
    ["branches/", branch.as_str(), "/areas/", area.as_str()].concat()
}

pub fn seat(branch: &Slug, seat: &Slug) -> String {
    ["branches/", branch.as_str(), "/seats/", seat.as_str()].concat()
}

pub fn user(user: &UserName) -> String {
    format!("users/{user}")
}

pub fn user_or_nobody(name: Option<&UserName>) -> String {
    name.map_or_else(|| NOBODY.to_owned(), user)
}

pub fn reservation(id: ClaimId) -> String {
    format!("reservations/{}", id.0)
}

pub fn wait(id: WaitId) -> String {
    format!("waitlistEntries/{}", id.0)
}

pub fn message(position: Position) -> String {
    format!("messages/{}-{}", position.index, position.ordinal)
}

pub fn inbox_item(owner: &UserName, position: Position) -> String {
    format!("users/{owner}/inboxItems/{}-{}", position.index, position.ordinal)
}

/// Of a digest: it opens nothing.
pub fn session(token: TokenDigest) -> String {
    token.0.iter().fold("sessions/".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

pub fn webhook(id: WebhookId) -> String {
    format!("webhooks/{:032x}", id.0)
}

/// In place of a name to whoever is not to see names.
pub fn person(id: UserId) -> String {
    format!("people/{}", id.0)
}

pub fn audit_event(position: Position) -> String {
    format!("auditEvents/{}-{}", position.index, position.ordinal)
}

// === From the wire ===

pub fn parse_session(field: &str, name: &str) -> Result<TokenDigest, Invalid> {
    let digest = |digits: &str| {
        let bytes = digits.as_bytes();
        if bytes.len() != 32 || !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        Some(TokenDigest(u128::from_str_radix(digits, 16).ok()?.to_be_bytes()))
    };
    match parts(name).as_slice() {
        ["sessions", digits] if let Some(token) = digest(digits) => Ok(token),
        _ => Err(not_a(field, name, "a session", "sessions/00112233445566778899aabbccddeeff")),
    }
}

pub fn parse_webhook(field: &str, name: &str) -> Result<WebhookId, Invalid> {
    let is_hex = |digits: &str| digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match parts(name).as_slice() {
        ["webhooks", digits]
            if is_hex(digits)
                && let Ok(id) = u128::from_str_radix(digits, 16) =>
        {
            Ok(WebhookId(id))
        }
        _ => Err(not_a(field, name, "a webhook", "webhooks/67e5504410b1426f9247bb680e5fe0c8")),
    }
}

pub fn parse_branch(field: &str, name: &str) -> Result<Slug, Invalid> {
    match parts(name).as_slice() {
        ["branches", branch] => slug(field, branch),
        _ => Err(not_a(field, name, "a branch", "branches/main")),
    }
}

/// The branch and the area.
pub fn parse_area(field: &str, name: &str) -> Result<(Slug, Slug), Invalid> {
    match parts(name).as_slice() {
        ["branches", branch, "areas", area] => Ok((slug(field, branch)?, slug(field, area)?)),
        _ => Err(not_a(field, name, "an area", "branches/main/areas/reading-room")),
    }
}

pub fn parse_seat(field: &str, name: &str) -> Result<SeatName, Invalid> {
    match parts(name).as_slice() {
        ["branches", branch, "seats", seat] => Ok(SeatName { branch: slug(field, branch)?, seat: slug(field, seat)? }),
        _ => Err(not_a(field, name, "a seat", "branches/main/seats/r-101")),
    }
}

pub fn parse_user(field: &str, name: &str) -> Result<UserName, Invalid> {
    match parts(name).as_slice() {
        ["users", user] => user_id(field, user),
        _ => Err(not_a(field, name, "a user", "users/amy")),
    }
}

/// A user's name without the prefix.
pub fn user_id(field: &str, id: &str) -> Result<UserName, Invalid> {
    UserName::new(id).map_err(|problem| about(field, id, problem))
}

pub fn parse_reservation(field: &str, name: &str) -> Result<ClaimId, Invalid> {
    match parts(name).as_slice() {
        ["reservations", id] if let Some(id) = number(id) => Ok(ClaimId(id)),
        _ => Err(not_a(field, name, "a reservation", "reservations/17")),
    }
}

pub fn parse_wait(field: &str, name: &str) -> Result<WaitId, Invalid> {
    match parts(name).as_slice() {
        ["waitlistEntries", id] if let Some(id) = number(id) => Ok(WaitId(id)),
        _ => Err(not_a(field, name, "a waitlist entry", "waitlistEntries/5")),
    }
}

pub fn parse_message(field: &str, name: &str) -> Result<Position, Invalid> {
    match parts(name).as_slice() {
        ["messages", id] if let Some(position) = parse_position(id) => Ok(position),
        _ => Err(not_a(field, name, "a message", "messages/1207-0")),
    }
}

/// "1207-0".
fn parse_position(text: &str) -> Option<Position> {
    let (index, ordinal) = text.split_once('-')?;
    Some(Position { index: number(index)?, ordinal: u32::try_from(number(ordinal)?).ok()? })
}

/// Plain digits: one name for one thing, so no sign and no leading zero.
fn number(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if is_plain { digits.parse().ok() } else { None }
}

fn parts(name: &str) -> Vec<&str> {
    // One more than the longest name has, so that longer ones match none.
    name.splitn(5, '/').collect()
}

fn slug(field: &str, id: &str) -> Result<Slug, Invalid> {
    Slug::new(id).map_err(|problem| about(field, id, problem))
}

fn about(field: &str, text: &str, problem: TextError) -> Invalid {
    match problem {
        TextError::Empty => Invalid::field(field, problem),
        TextError::TooLong { .. }
        | TextError::NotAUserName
        | TextError::NotASlug
        | TextError::NotAMailAddress
        | TextError::NotAWebhookUrl
        | TextError::ControlCharacter
        | TextError::BidiOverride => Invalid::field(field, format_args!("{}: {problem}", shown(text))),
    }
}

fn not_a(field: &str, name: &str, what: &str, example: &str) -> Invalid {
    if name.is_empty() {
        return Invalid::field(field, format_args!("it is empty: name {what} like {example}"));
    }
    Invalid::field(field, format_args!("{} is not the name of {what}, which looks like {example}", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        let slug = |text| Slug::new(text).expect("an id");
        let r101 = parse_seat("seat", "branches/main/seats/r-101").expect("a seat");
        assert_eq!(seat(&r101.branch, &r101.seat), "branches/main/seats/r-101");
        assert_eq!(parse_area("area", &area(&slug("main"), &slug("hall"))), Ok((slug("main"), slug("hall"))));
        assert_eq!(parse_reservation("name", &reservation(ClaimId(17))), Ok(ClaimId(17)));
        let token = TokenDigest([0x0a; 16]);
        assert_eq!(parse_session("name", &session(token)), Ok(token));
        assert!(parse_session("name", "sessions/0A").is_err());
        let position = Position { index: 1207, ordinal: 3 };
        assert_eq!(parse_message("name", &message(position)), Ok(position));
    }

    #[test]
    fn other_names_are_refused_with_an_example() {
        for bad in ["", "17", "reservations/", "reservations/017", "reservations/+1", "reservations/1/2", "users/amy"] {
            let invalid = parse_reservation("name", bad).expect_err(bad);
            assert!(invalid.fields[0].problem.contains("reservations/17"), "{invalid:?}");
        }
        assert!(parse_user("name", NOBODY).is_err());
        assert!(parse_user("name", &format!("users/{}", "a".repeat(300))).is_err());
    }
}
