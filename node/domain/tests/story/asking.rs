//! What a line asks for.

use carrel_domain::account::{Role, RoleName};
use carrel_domain::catalog::Draft;
use carrel_domain::id::{Position, UserId, WaitId};
use carrel_domain::presence::{self, PresenceSecret, Proof};
use carrel_domain::request::{
    Action, Audience, Behalf, Caller, Closing, GroupSeat, Need, Place, Request, SeatName, Wish,
};
use carrel_domain::text::Slug;
use carrel_domain::time::{DAY_US, Timestamp};

use crate::library::{self, BERLIN, slug, title};

use crate::story::Story;
use crate::story::names::{claim_id, home, message, name, person, place_name, register, seat_name, words_title};

impl Story {
    /// Nothing if the line only reads.
    pub fn request(&mut self, words: &[&str]) -> Result<Option<Request>, String> {
        let action = match words {
            ["tick"] => return Ok(Some(Request::system(Action::Tick))),
            ["again"] => return Ok(self.last.clone()),
            [_, "looks", ..] | [_, "lists", ..] | [_, "asks", ..] => return Ok(None),
            [who, "registers"] => {
                return Ok(Some(Request { caller: Caller::Anonymous, retry: None, action: register(person(who)) }));
            }
            [who, "logs", "in"] => return Ok(Some(self.start_session(who))),
            [_, "logs", "out"] => Action::EndSession,
            [_, "deletes", "account", person] => Action::DeleteUser { name: name(person) },
            [_, "makes", person, role @ ..] => Action::SetRole { name: name(person), role: parse_role(role) },
            [_, "imports", changes @ ..] => {
                Action::ImportCatalog { draft: Box::new(changed_draft(changes)), expected_revision: None }
            }
            [_, "reserves", place, when @ ..] => Action::Reserve { wish: self.wish(place, when)? },
            [_, "holds", place, when @ ..] => Action::Hold { wish: self.wish(place, when)? },
            [_, "confirms", claim] => Action::Confirm { claim: claim_id(claim) },
            [_, "sits", "down", "at", seat, "until", end, proof @ ..] => {
                Action::WalkIn { seat: seat_name(seat), end: self.ending(end), person: None, proof: self.proof(proof) }
            }
            [_, "seats", person, "at", seat, "until", end] => {
                let person = Some(name(person));
                Action::WalkIn { seat: seat_name(seat), end: self.ending(end), person, proof: None }
            }
            [_, "books", seats, when @ ..] => {
                let member = |pair: &str| {
                    let (seat, person) = pair.split_once(':').expect("A1:amy");
                    GroupSeat { seat: seat_name(seat), person: name(person) }
                };
                let seats = seats.split(',').map(member).collect();
                Action::ReserveGroup { seats, interval: self.interval(BERLIN, when)? }
            }
            [_, "repeats", seat, span, "on", dates] => {
                let wish = |date: &str| self.wish(seat, &[date, span]);
                Action::ReserveMany { wishes: dates.split(',').map(wish).collect::<Result<_, _>>()? }
            }
            [_, "checks", "in", claim, proof @ ..] => {
                Action::CheckIn { claim: claim_id(claim), proof: self.proof(proof) }
            }
            [_, "checks", "out", claim] => Action::CheckOut { claim: claim_id(claim) },
            [_, "steps", "away", claim] => Action::StepAway { claim: claim_id(claim) },
            [_, "reports", seat] => Action::ReportEmptySeat { seat: seat_name(seat) },
            [_, "cancels", claim, reason @ ..] => {
                Action::Cancel { claim: claim_id(claim), reason: (!reason.is_empty()).then(|| words_title(reason)) }
            }
            [_, "extends", claim, "until", end] => Action::Extend { claim: claim_id(claim), end: self.ending(end) },
            [_, "moves", claim, "to", seat, when @ ..] => {
                let interval = self.interval(home(seat).1, when)?;
                Action::Reschedule { claim: claim_id(claim), seat: seat_name(seat), interval }
            }
            [_, "closes", place, span, "for", reason @ ..] => {
                let closing = if reason == ["maintenance"] { Closing::Maintenance } else { Closing::Closure };
                let interval = self.interval(home(place).1, &[span])?;
                Action::CloseSeats { place: place_name(place), interval, closing, reason: words_title(reason) }
            }
            [_, "reopens", place, span] => {
                let interval = self.interval(home(place).1, &[span])?;
                Action::ReopenSeats { place: place_name(place), interval, reason: title("mended") }
            }
            [_, "suspends", person, "for", days, "days"] => {
                let until = self.state.at().time.plus_us(days.parse::<i64>().expect("days") * DAY_US);
                Action::Suspend { name: name(person), until, reason: title("loud") }
            }
            [_, "forgives", person] => Action::Unsuspend { name: name(person), reason: title("sorry") },
            [_, "waives", claim, "of", person] => {
                Action::WaiveStrike { name: name(person), claim: claim_id(claim), reason: title("ill") }
            }
            [_, "notes", person, "needs", "accessible"] => {
                Action::SetAccessibility { name: name(person), needs_accessible: true }
            }
            [_, "draws", "a", "key"] => Action::SetPresenceKey { secret: PresenceSecret([7; 32]) },
            [_, "waits", "for", place, when @ ..] => self.join(place, when)?,
            [_, "leaves", wait] => Action::LeaveWaitlist { wait: self.wait_id(wait) },
            [_, "accepts", claim] => Action::AcceptOffer { claim: claim_id(claim) },
            [_, "declines", claim] => Action::DeclineOffer { claim: claim_id(claim) },
            [_, "sends", to, text @ ..] => {
                Action::SendMessage { recipients: to.split(',').map(name).collect(), text: message(text) }
            }
            [_, "broadcasts", text @ ..] => Action::Broadcast { text: message(text) },
            [_, "tells", audience, text @ ..] => {
                let audience = match *audience {
                    "patrons" => Audience::Role(RoleName::Patron),
                    "librarians" => Audience::Role(RoleName::Librarian),
                    branch => Audience::Branch(slug(branch)),
                };
                Action::Announce { audience, text: message(text) }
            }
            [_, "follows", branches] => {
                let named = branches.split(',').filter(|branch| *branch != "nothing");
                Action::SetFollowed { branches: named.map(slug).collect() }
            }
            [_, "blocks", person] => Action::Block { name: name(person) },
            [_, "unblocks", person] => Action::Unblock { name: name(person) },
            [_, "reports", message, "as", reason @ ..] => {
                Action::ReportMessage { message: self.message(message), reason: words_title(reason) }
            }
            [_, "deletes", message] => Action::DeleteMessage { message: self.message(message) },
            [who, "reads"] => {
                let user = self.user(who);
                Action::AdvanceReadCursor { up_to: self.state.newest_item(user) }
            }
            [_, "reads", "up", "to", message] => Action::AdvanceReadCursor { up_to: self.message(message) },
            [_, "claims", "to", "have", "read", "everything"] => {
                Action::AdvanceReadCursor { up_to: Position::end_of(u64::MAX) }
            }
            other => panic!("nobody knows how to '{}'", other.join(" ")),
        };
        Ok(Some(self.by(words[0], action)))
    }

    /// "10:00-12:00", then "for amy", then "beyond the rules".
    pub fn wish(&self, place: &str, words: &[&str]) -> Result<Wish, String> {
        let end = words.iter().position(|word| matches!(*word, "for" | "with" | "accessible")).unwrap_or(words.len());
        let (when, rest) = words.split_at(end);
        let behalf = match rest {
            ["for", person, rest @ ..] => {
                Some(Behalf { person: name(person), reason: title("asked at the desk"), exempt: !rest.is_empty() })
            }
            _ => None,
        };
        let wishes = if behalf.is_some() { &[] } else { rest };
        Ok(Wish { need: need(place, wishes), interval: self.interval(home(place).1, when)?, behalf })
    }

    /// "10:00-14:00 of 60" is any hour between ten and two.
    pub fn join(&self, place: &str, words: &[&str]) -> Result<Action, String> {
        let end = words.iter().position(|word| matches!(*word, "with" | "accessible")).unwrap_or(words.len());
        let (when, wishes) = words.split_at(end);
        let (when, minutes) = match when {
            [when @ .., "of", minutes] => (when, Some(minutes.parse().expect("minutes"))),
            when => (when, None),
        };
        let need = need(place, wishes);
        Ok(Action::JoinWaitlist { need, interval: self.interval(home(place).1, when)?, minutes })
    }

    /// A time of today.
    pub fn ending(&self, time: &str) -> Timestamp {
        self.instant(BERLIN, time).expect("a time that exists")
    }

    /// "code of A1", as the seat shows it now; "code of A1 from 10:00:30", as it showed it then.
    pub fn proof(&self, words: &[&str]) -> Option<Proof> {
        let (seat, instant) = match words {
            ["code", "of", seat] => (seat, self.state.at().time),
            ["code", "of", seat, "from", time] => (seat, self.instant(BERLIN, time).expect("a time that exists")),
            [] => return None,
            other => panic!("no proof: {other:?}"),
        };
        let shown_at = presence::codes_at(instant)[0];
        let SeatName { branch, seat } = seat_name(seat);
        let seat = self.state.catalog().find_seat(branch.as_str(), seat.as_str()).expect("a seat");
        Some(Proof { seat, shown_at, key_revision: self.state.presence_key().map_or(0, |key| key.revision) })
    }

    pub fn wait_id(&self, label: &str) -> WaitId {
        self.waits[label[1..].parse::<usize>().expect("w1") - 1]
    }

    pub fn message(&self, label: &str) -> Position {
        self.messages[label[1..].parse::<usize>().expect("m1") - 1]
    }

    pub fn user(&self, who: &str) -> UserId {
        self.state.find_user(&name(person(who))).expect("somebody with an account")
    }
}

pub fn need(place: &str, wishes: &[&str]) -> Need<Place<Slug>> {
    let accessible = wishes.contains(&"accessible");
    let amenities = wishes.iter().filter(|word| !matches!(**word, "with" | "and" | "accessible"));
    Need { place: place_name(place), amenities: amenities.map(|word| title(word)).collect(), accessible }
}

pub fn parse_role(words: &[&str]) -> Role<Slug> {
    match words {
        ["patron"] => Role::Patron,
        ["librarian", "of", branches] => Role::Librarian(branches.split(',').map(slug).collect()),
        ["admin"] => Role::Admin,
        ["auditor"] => Role::Auditor,
        ["kiosk"] => Role::Kiosk,
        other => panic!("no such role: {other:?}"),
    }
}

/// The catalogue of the library, but "without A2", "without annex", "with A2 in night", "main open 10:00-18:00",
/// "grid 60"; joined by "and".
pub fn changed_draft(words: &[&str]) -> Draft {
    let mut draft = library::draft();
    for change in words.split(|word| *word == "and") {
        match change {
            ["everything"] => {}
            ["without", place] => {
                let gone = slug(&place.to_lowercase());
                draft.branches.retain(|branch| branch.id != gone);
                for branch in &mut draft.branches {
                    branch.areas.retain(|area| area.id != gone);
                    for area in &mut branch.areas {
                        area.seats.retain(|seat| seat.id != gone);
                    }
                }
            }
            ["with", seat, "in", area] => {
                let (id, area) = (slug(&seat.to_lowercase()), slug(area));
                for branch in &mut draft.branches {
                    for other in &mut branch.areas {
                        other.seats.retain(|seat| seat.id != id);
                        if other.id == area {
                            other.seats.push(library::seat(id.as_str(), &[], false));
                        }
                    }
                }
            }
            [branch, "open", hours] => {
                let minute = |time: &str| {
                    let (hour, minute) = time.split_once(':').expect("a time");
                    hour.parse::<u16>().expect("an hour") * 60 + minute.parse::<u16>().expect("a minute")
                };
                let (open, close) = hours.split_once('-').expect("from and to");
                let branch = draft.branches.iter_mut().find(|other| other.id.as_str() == *branch).expect("a branch");
                branch.hours = library::weekly(minute(open), minute(close));
            }
            [field, value] => {
                let value = value.parse().expect("a number");
                for policy in &mut draft.policies {
                    match *field {
                        "grid" => policy.rules.grid_minutes = value,
                        "window" => policy.rules.window_days = value,
                        "reservations" => policy.rules.max_reservations = value,
                        "longest" => policy.rules.max_minutes = value,
                        "shortest" => policy.rules.min_minutes = value,
                        "offer" => policy.rules.offer_minutes = value,
                        "grace" => policy.rules.grace_minutes = value,
                        "notice" => policy.rules.notice_minutes = value,
                        "buffer" => policy.rules.buffer_minutes = value,
                        "accessible" => policy.rules.accessible_minutes = value,
                        "proof" => policy.rules.proof_required = value > 0,
                        "future" => policy.rules.max_future = value,
                        "weekly" => policy.rules.max_minutes_per_week = value,
                        "daily-count" => policy.rules.max_per_day = value,
                        "weekly-count" => policy.rules.max_per_week = value,
                        "late" => policy.rules.late_cancel_minutes = value,
                        "staff-window" => policy.rules.staff_window_days = value,
                        "strikes" => policy.rules.strikes_to_suspend = value,
                        other => panic!("no such field: {other}"),
                    }
                }
            }
            other => panic!("no such change: {other:?}"),
        }
    }
    draft
}
