//! What was changed, by whom and why.

use carrel_proto::v1;
use carrel_proto::v1::audit_event::Change;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::context::{Context, Zones};
use super::errors::{Failure, with_times_in};
use super::names::{self, short};
use super::pages::{self, PAGE_SIZE};
use super::table::{plain, words};
use super::time::shown;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what was changed, by whom and why: with a reservation, all that became of it
    #[command(after_help = "\
Patrons see what concerns them, librarians their branches, admins and auditors everything.

Examples:
  carrel audit 17            (why was reservation 17 marked as a no-show?)
  carrel audit --user amy    (staff)")]
    Audit(Audit),
}

#[derive(Args, Debug)]
pub(super) struct Audit {
    /// Number of a reservation, for example 17
    #[arg(value_name = "R", value_parser = names::reservation)]
    reservation: Option<String>,
    /// Only what concerns this person
    #[arg(long, value_name = "USER", value_parser = names::user)]
    user: Option<String>,
}

pub(super) async fn run(context: &Context, Command::Audit(audit): Command) -> Result<(), Failure> {
    let Audit { reservation, user } = audit;
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let (user, reservation) = (user.clone().unwrap_or_default(), reservation.clone().unwrap_or_default());
        let request = v1::ListAuditEventsRequest { user, reservation, page_size: PAGE_SIZE, page_token, read: None };
        context.wait(client.list_audit_events(request)).await
    });
    let response = response.await?;
    let zones = context.zones_for_text().await;
    context.answer(&response, || {
        if response.events.is_empty() {
            return "Nothing was changed, or it was too long ago.".into();
        }
        told(&response.events, zones).join("\n")
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

/// As it happened: the newest last, where the eye is. What is of one place is told on the clock there; what is of
/// several is told on the clock of this computer, each line on the same.
fn told(newest_first: &[v1::AuditEvent], zones: &Zones) -> Vec<String> {
    let mut events: Vec<&v1::AuditEvent> = newest_first.iter().rev().collect();
    let seconds = |event: &v1::AuditEvent| event.time.map_or((0, 0), |time| (time.seconds, time.nanos));
    events.sort_by_key(|event| seconds(event));
    let seats = events.iter().flat_map(|event| &event.changes).filter(|change| change.field == "seat");
    let clock = zones.shared_by(seats.map(|change| change.after.as_str()));
    let mut lines = Vec::new();
    for (nth, event) in events.iter().enumerate() {
        // A strike is told with what it was for, which the same moment has brought.
        let goes_with = |other: &v1::AuditEvent| {
            other.resource == event.resource && seconds(other) == seconds(event) && other.user == event.user
        };
        if is_new_strike(event) && events.iter().any(|other| goes_with(other) && cause(other, &[], &clock).is_some()) {
            continue;
        }
        let has_strike = events.iter().any(|other| is_new_strike(other) && goes_with(other));
        lines.push(line(event, &events[..nth], has_strike, &clock));
    }
    lines
}

fn is_new_strike(event: &v1::AuditEvent) -> bool {
    event.changes.iter().any(|change| change.field == "strike" && change.before.is_empty())
}

fn change<'a>(event: &'a v1::AuditEvent, field: &str) -> Option<&'a Change> {
    event.changes.iter().find(|change| change.field == field)
}

/// Of what time alone has done: what nobody had done until then.
fn cause(event: &v1::AuditEvent, earlier: &[&v1::AuditEvent], clock: &TimeZone) -> Option<String> {
    let state = change(event, "state").filter(|_| event.action == "TIME_PASSED")?;
    let deadline: Option<Timestamp> = change(event, "deadline").and_then(|change| change.before.parse().ok());
    let by = deadline.map(|deadline| format!(" by {}", deadline.to_zoned(clock.clone()).strftime("%H:%M")));
    let by = by.unwrap_or_default();
    Some(match (state.before.as_str(), state.after.as_str()) {
        ("CONFIRMED", "NO_SHOW") => {
            let of = earlier.iter().rev().filter(|one| one.resource == event.resource);
            let start: Option<Timestamp> =
                of.filter_map(|one| change(one, "start_time")).next().and_then(|change| change.after.parse().ok());
            let minutes = deadline.zip(start).map(|(deadline, start)| (deadline.as_second() - start.as_second()) / 60);
            let after = match minutes {
                Some(minutes) if minutes >= 0 => format!(", {minutes} minutes after the start"),
                _ => String::new(),
            };
            format!("nobody had checked in{by}{after}: no-show")
        }
        ("AWAY", "RELEASED") => format!("nobody was back{by}: released"),
        ("HELD", "EXPIRED") => format!("nobody had taken it{by}: expired"),
        ("CHECKED_IN", "COMPLETED") => "the time was over: completed".to_owned(),
        _ => return None,
    })
}

/// All on one clock: that of the place, or of this computer.
fn line(event: &v1::AuditEvent, earlier: &[&v1::AuditEvent], has_strike: bool, clock: &TimeZone) -> String {
    let what = event.resource.replace("reservations/", "reservation ").replace("waitlistEntries/", "waitlist entry ");
    let cause = cause(event, earlier, clock);
    let is_told = |change: &&Change| cause.is_none() || !matches!(change.field.as_str(), "state" | "deadline");
    let mut text = format!("{}  {what}: ", shown(event.time.as_ref(), clock));
    match &cause {
        Some(cause) => {
            text += cause;
            text += if has_strike { ", a strike" } else { "" };
        }
        None => {
            let state = change(event, "state");
            let is_offer = state.is_some_and(|state| {
                matches!((state.before.as_str(), state.after.as_str()), ("", "HELD") | ("WAITING", "OFFERED"))
            });
            text += &match event.actor.as_str() {
                "time" => format!("{}, by itself", words(&event.action, "")),
                // Somebody who gives a seat up does nothing to whoever gets it.
                "users/-" if is_offer => "offered, as somebody else has given the seat up".to_owned(),
                "users/-" => format!("{}, by somebody else", words(&event.action, "")),
                actor => format!("{}, by {}", words(&event.action, ""), short(actor)),
            };
        }
    }
    if !event.user.is_empty() && event.user != event.actor && event.user != event.resource {
        text += &format!(", for {}", short(&event.user));
    }
    if !event.note.is_empty() {
        text += &format!(": {}", event.note);
    }
    for change in event.changes.iter().filter(is_told) {
        let told = |value: &str| if value.is_empty() { "–".to_owned() } else { with_times_in(&short(value), clock) };
        let field = words(&change.field.to_uppercase(), "");
        text += &format!("\n      {field}: {} → {}", told(&change.before), told(&change.after));
    }
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Zones {
        let branch = |name: &str, zone: &str| v1::BranchSummary {
            name: name.into(),
            time_zone: zone.into(),
            ..Default::default()
        };
        Zones::new(&[branch("branches/main", "Europe/Berlin"), branch("branches/south", "America/New_York")])
    }

    fn changed(field: &str, before: &str, after: &str) -> Change {
        Change { field: field.into(), before: before.into(), after: after.into() }
    }

    fn event(seconds: i64, actor: &str, action: &str, changes: Vec<Change>) -> v1::AuditEvent {
        v1::AuditEvent {
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            actor: actor.into(),
            action: action.into(),
            user: "users/amy".into(),
            resource: "reservations/17".into(),
            changes,
            ..Default::default()
        }
    }

    #[test]
    fn a_no_show_is_answered_with_its_cause_on_the_clock_of_the_branch() {
        let booked = event(
            1_699_999_000,
            "users/amy",
            "CREATE_RESERVATION",
            vec![
                changed("state", "", "CONFIRMED"),
                changed("seat", "", "branches/main/seats/r-101"),
                changed("start_time", "", "2023-11-14T22:00:00Z"),
            ],
        );
        let missed = event(
            1_700_000_100,
            "time",
            "TIME_PASSED",
            vec![changed("state", "CONFIRMED", "NO_SHOW"), changed("deadline", "2023-11-14T22:15:00Z", "")],
        );
        let strike = event(1_700_000_100, "time", "TIME_PASSED", vec![changed("strike", "", "NO_SHOW")]);
        let lines = told(&[strike, missed, booked], &zones());
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("2023-11-14 22:56 CET  reservation 17: create reservation, by amy"), "{lines:?}");
        assert!(lines[0].contains("start time: – → 2023-11-14 23:00 CET"), "{lines:?}");
        assert_eq!(
            lines[1],
            "2023-11-14 23:15 CET  reservation 17: nobody had checked in by 23:15, 15 minutes after the start: no-show, \
             a strike, for amy"
        );
    }

    #[test]
    fn an_offer_is_no_deed_of_whoever_gave_the_seat_up() {
        let offer = event(1_700_000_000, "users/-", "CANCEL", vec![changed("state", "", "HELD")]);
        assert!(told(&[offer], &zones())[0].contains("offered, as somebody else has given the seat up"));
        let moved = event(1_700_000_000, "users/-", "CANCEL", vec![changed("state", "CONFIRMED", "CANCELLED")]);
        assert!(told(&[moved], &zones())[0].contains("cancel, by somebody else"));
    }
}
