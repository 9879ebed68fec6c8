//! What is in a mail: what happened, where and when, and nothing that somebody has written. It says where to look, and
//! has no links: nobody should get used to logging in behind one.

use carrel_domain::id::{ClaimId, UserId};
use carrel_domain::mail::{MailContent, MailDue};
use carrel_domain::query::ItemSubject;
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::Timestamp;
use jiff::tz::TimeZone;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};

use crate::calendar;
use crate::convert::mail_code;

/// # Errors
/// If the address is one that this end cannot write to.
pub(super) fn letter(
    view: &State,
    user: UserId,
    due: &MailDue,
    from: &Mailbox,
    id: &str,
) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
    let (subject, text) = words(view, user, due);
    let name = view.user_name(user).map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "Hello {name},\n\n{text}\n\nThis was sent by your library's seat reservations, which read no answers. What \
         you are told by e-mail, and whether, is yours to say: carrel mail --help\n"
    );
    let sent_at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(due.at.time.0.max(0).unsigned_abs());
    // No machine answers a machine.
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, due.address.as_str().parse()?))
        .subject(subject)
        .message_id(Some(format!("<{id}>")))
        .date(sent_at)
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN)
        .body(text)?;
    Ok(message)
}

fn words(view: &State, user: UserId, due: &MailDue) -> (String, String) {
    let item = match &due.what {
        MailContent::Code(code) => {
            let code = mail_code::shown(*code);
            let text = format!(
                "somebody who is logged in as you wants to be told of their reservations at this address. If that is \
                 you, say so with this code, which is good for a day:\n\n    {code}\n\n(carrel mail confirm \
                 {code})\n\nIf it is not, do nothing: nothing else will come."
            );
            return ("Your code for the library".to_owned(), text);
        }
        MailContent::Item(item) => item,
    };
    let who = |name: &Option<UserName>| name.as_ref().map_or_else(|| "Somebody".to_owned(), ToString::to_string);
    let claim = |claim: &ClaimId| place_and_time(view, user, *claim);
    let until = |at: &Timestamp| at_some_branch(view, *at);
    let (subject, text) = match &item.subject {
        ItemSubject::Message { sender, text: _ } => (
            format!("{} has written to you", who(sender)),
            "there is a letter for you: carrel inbox. Until you have read it, no mail comes for others.".to_owned(),
        ),
        ItemSubject::Announcement { sender: _, text: _ } => {
            ("An announcement of the library".to_owned(), "there is an announcement: carrel inbox.".to_owned())
        }
        ItemSubject::OfferMade { claim: id } => {
            let deadline = view.reservation(user, *id).ok().and_then(|found| found.claim.deadline());
            let by = deadline.map(|at| format!(" It is kept for you until {}.", clock_of(view, user, *id, at)));
            (
                "A seat is free for you".to_owned(),
                format!(
                    "what you waited for is there: {}.{} Take it: carrel offers accept {}",
                    claim(id),
                    by.unwrap_or_default(),
                    id.0
                ),
            )
        }
        ItemSubject::OfferExpired { claim: id } => {
            ("An offer has lapsed".to_owned(), format!("nobody took the seat that was kept for you: {}.", claim(id)))
        }
        ItemSubject::NoShow { claim: id } => {
            let text = format!("you were not there in time, and the seat was given on: {}.", claim(id));
            ("You missed a reservation".to_owned(), text)
        }
        ItemSubject::Displaced { claim: id } => (
            "Your seat is closed".to_owned(),
            format!("the library has to close the seat, and found no other one like it: {}.", claim(id)),
        ),
        ItemSubject::CancelledByStaff { claim: id } => {
            ("Your reservation was cancelled".to_owned(), format!("staff has cancelled it: {}.", claim(id)))
        }
        ItemSubject::Suspended { until: end } => {
            ("You cannot book for a while".to_owned(), format!("your account is suspended until {}.", until(end)))
        }
        ItemSubject::WaitExpired { wait } => (
            "Nothing became free".to_owned(),
            format!("the time that you waited for is over (waitlistEntries/{}).", wait.0),
        ),
        ItemSubject::HoldExpired { claim: id } => {
            ("A seat is kept no longer".to_owned(), format!("it was not confirmed in time: {}.", claim(id)))
        }
        ItemSubject::Released { claim: id } => {
            ("Your seat was given on".to_owned(), format!("you were away for too long: {}.", claim(id)))
        }
        ItemSubject::Moved { claim: id } => {
            ("Your reservation was moved".to_owned(), format!("it is now {}.", claim(id)))
        }
        ItemSubject::BookedForYou { claim: id } => (
            "A seat was booked for you".to_owned(),
            format!("{}. To see it: carrel reservation show {}", claim(id), id.0),
        ),
        ItemSubject::SeatReported { claim: id, until: end } => (
            "Are you at your seat?".to_owned(),
            format!(
                "it was found empty: {}. Check in again until {}, or it is given on.",
                claim(id),
                clock_of(view, user, *id, *end)
            ),
        ),
        ItemSubject::CancelledLate { claim: id } => {
            ("Cancelled late".to_owned(), format!("so late that it counts: {}.", claim(id)))
        }
        ItemSubject::StrikeWaived { claim: id } => {
            ("A strike was waived".to_owned(), format!("it does not count any more: {}.", claim(id)))
        }
        ItemSubject::Unsent { .. } => ("Taken back".to_owned(), "a letter to you was taken back.".to_owned()),
        ItemSubject::Reported { .. } => (
            "A letter was reported".to_owned(),
            "somebody thinks that admins should see a letter: carrel inbox.".to_owned(),
        ),
    };
    (subject, text)
}

/// "seat A-001 in Night hall, Library Lindenhof, 2027-03-01 10:00 to 12:00"
fn place_and_time(view: &State, user: UserId, id: ClaimId) -> String {
    let Ok(found) = view.reservation(user, id) else { return format!("reservation {}", id.0) };
    let (catalog, claim) = (view.catalog(), &found.claim);
    let seat = catalog.seat(claim.seat);
    let branch = catalog.branch(seat.branch);
    let zone = zone_of(view, user, id);
    let (start, end) = (local(&zone, claim.interval.start()), local(&zone, claim.interval.end()));
    let area = &catalog.area(seat.area).title;
    let times = format!("{} to {}", start.strftime("%Y-%m-%d %H:%M"), end.strftime("%H:%M"));
    format!("seat {} in {area}, {}, {times} (reservation {})", seat.label, branch.title, id.0)
}

fn zone_of(view: &State, user: UserId, id: ClaimId) -> TimeZone {
    let found = view.reservation(user, id).ok();
    let branch = found.map(|found| view.catalog().branch(view.catalog().seat(found.claim.seat).branch));
    // Imports are checked where they come in, so this machine knows the zone unless its data is older.
    branch.and_then(|branch| calendar::zone(branch.time_zone.as_str()).ok()).unwrap_or(TimeZone::UTC)
}

fn local(zone: &TimeZone, at: Timestamp) -> jiff::Zoned {
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone())
}

fn clock_of(view: &State, user: UserId, id: ClaimId, at: Timestamp) -> String {
    local(&zone_of(view, user, id), at).strftime("%H:%M").to_string()
}

/// What concerns no branch in particular is said in words that are true everywhere.
fn at_some_branch(view: &State, at: Timestamp) -> String {
    let zones: Vec<_> = view.catalog().branches().map(|(_, branch)| branch.time_zone.to_string()).collect();
    let zone = match zones.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => calendar::zone(first).ok(),
        _ => None,
    };
    match zone {
        Some(zone) => local(&zone, at).strftime("%Y-%m-%d %H:%M").to_string(),
        None => local(&TimeZone::UTC, at).strftime("%Y-%m-%d %H:%M UTC").to_string(),
    }
}
