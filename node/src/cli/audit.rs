//! What was changed, by whom and why.

use carrel_proto::v1;
use clap::{Args, Subcommand};

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
        // As it happened: the newest last, where the eye is.
        response.events.iter().rev().map(|event| lines(event, zones)).collect::<Vec<_>>().join("\n")
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

/// On the clock of the branch that it is about, or of this computer.
fn lines(event: &v1::AuditEvent, zones: &Zones) -> String {
    let seat = event.changes.iter().find(|change| change.field == "seat").map(|change| change.after.as_str());
    let zone =
        seat.and_then(|seat| zones.of(seat)).or(zones.only()).cloned().unwrap_or_else(jiff::tz::TimeZone::system);
    let actor = match event.actor.as_str() {
        "time" => "by itself".to_owned(),
        "users/-" => "by somebody else".to_owned(),
        actor => format!("by {}", short(actor)),
    };
    let what = event.resource.replace("reservations/", "reservation ").replace("waitlistEntries/", "waitlist entry ");
    let mut text = format!("{}  {what}: {}, {actor}", shown(event.time.as_ref(), &zone), words(&event.action, ""));
    if !event.user.is_empty() && event.user != event.actor && event.user != event.resource {
        text += &format!(", for {}", short(&event.user));
    }
    if !event.note.is_empty() {
        text += &format!(": {}", event.note);
    }
    for change in &event.changes {
        let told = |value: &str| if value.is_empty() { "–".to_owned() } else { with_times_in(&short(value), &zone) };
        let field = words(&change.field.to_uppercase(), "");
        text += &format!("\n      {field}: {} → {}", told(&change.before), told(&change.after));
    }
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_show_is_explained_on_the_clock_of_the_branch() {
        let branch =
            v1::BranchSummary { name: "branches/main".into(), time_zone: "Europe/Berlin".into(), ..Default::default() };
        let change = |field: &str, before: &str, after: &str| v1::audit_event::Change {
            field: field.into(),
            before: before.into(),
            after: after.into(),
        };
        let event = v1::AuditEvent {
            name: "auditEvents/1207-0".into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            actor: "time".into(),
            action: "TIME_PASSED".into(),
            user: "users/amy".into(),
            resource: "reservations/17".into(),
            changes: vec![change("state", "CONFIRMED", "NO_SHOW"), change("deadline", "2023-11-14T22:13:20Z", "")],
            ..Default::default()
        };
        assert_eq!(
            lines(&event, &Zones::new(&[branch])),
            "2023-11-14 23:13 CET  reservation 17: time passed, by itself, for amy\n      \
             state: CONFIRMED → NO_SHOW\n      deadline: 2023-11-14 23:13 CET → –"
        );
    }
}
