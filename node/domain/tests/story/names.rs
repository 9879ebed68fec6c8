//! The words of stories for the things of a library.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::id::{ClaimId, RequestId};
use carrel_domain::query::ClaimView;
use carrel_domain::request::{Action, Place, RetryKey, SeatName};
use carrel_domain::text::{MessageText, Slug, Title, UserName};

use crate::library::{BERLIN, LONDON, Zone, slug, title};

/// "amy@phone" is amy.
pub fn person(who: &str) -> &str {
    who.split('@').next().expect("a name")
}

pub fn name(text: &str) -> UserName {
    UserName::new(text).expect("a name")
}

pub fn password(who: &str) -> PasswordHash {
    PasswordHash(Arc::from(format!("hash of {who}'s password")))
}

pub fn message(words: &[&str]) -> MessageText {
    MessageText::new(&words.join(" ")).expect("a text")
}

pub fn register(who: &str) -> Action {
    Action::Register { name: name(who), password: password(who) }
}

pub fn claim_id(label: &str) -> ClaimId {
    ClaimId(label.strip_prefix('r').and_then(|id| id.parse::<u64>().ok()).expect("r1"))
}

pub fn claim_label(id: ClaimId) -> String {
    format!("r{}", id.0)
}

/// The branch of a seat, area or branch, and its zone.
pub fn home(place: &str) -> (&'static str, Zone) {
    if place.starts_with('X') || matches!(place, "annex" | "hall") { ("annex", LONDON) } else { ("main", BERLIN) }
}

pub fn zone_of(view: &ClaimView) -> Zone {
    if view.seat.branch.as_str() == "annex" { LONDON } else { BERLIN }
}

pub fn retry_key(key: &str, words: &[&str]) -> RetryKey {
    let fold = |text: &str| text.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    RetryKey { id: RequestId(u128::from(fold(key))), digest: fold(&words.join(" ")) }
}

/// "GraceElapsed" is "grace elapsed".
pub fn words_of(camel: &str) -> String {
    let mut words = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

pub fn seat_name(seat: &str) -> SeatName {
    SeatName { branch: slug(home(seat).0), seat: slug(&seat.to_lowercase()) }
}

pub fn place_name(place: &str) -> Place<Slug> {
    let branch = slug(home(place).0);
    match place {
        "main" | "annex" => Place::Branch { branch },
        "reading-room" | "night" | "hall" => Place::Area { branch, area: slug(place) },
        seat => Place::Seat { branch, seat: slug(&seat.to_lowercase()) },
    }
}

pub fn words_title(words: &[&str]) -> Title {
    title(&words.join(" "))
}
