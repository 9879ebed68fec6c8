//! The audit, in words.

use carrel_domain::account::Role;
use carrel_domain::audit::{AccountThen, ClaimThen, What};
use carrel_domain::claim::ClaimState;
use carrel_domain::event::Reason;
use carrel_domain::query::{AuditActor, AuditPerson, AuditView};
use carrel_domain::request::SeatName;
use carrel_domain::strike::StrikeCause;
use carrel_domain::time::Timestamp;
use carrel_domain::waitlist::WaitState;
use carrel_domain::webhook::WebhookChange;
use carrel_proto::v1;
use carrel_proto::v1::audit_event::Change;

use crate::convert::time::{shown, to_timestamp};
use crate::convert::{names, reply};

#[must_use]
pub fn event(view: &AuditView) -> v1::AuditEvent {
    let AuditView { position, at, actor, reason, note, subject, what, seats } = view;
    let user = subject.as_ref().map(person).unwrap_or_default();
    v1::AuditEvent {
        name: names::audit_event(*position),
        time: Some(to_timestamp(*at)),
        actor: match actor {
            AuditActor::Time => "time".to_owned(),
            AuditActor::System => "library".to_owned(),
            AuditActor::Anonymous => "anybody".to_owned(),
            AuditActor::Person(who) => person(who),
            AuditActor::Another => names::NOBODY.to_owned(),
        },
        action: match reason {
            Reason::TimePassed => "TIME_PASSED".to_owned(),
            Reason::OutageCredited => "OUTAGE_CREDITED".to_owned(),
            Reason::Asked(name) => screaming(&format!("{name:?}")),
        },
        note: note.as_ref().map(ToString::to_string).unwrap_or_default(),
        resource: match what {
            What::Claim { claim, .. } | What::Strike { claim, .. } => names::reservation(*claim),
            What::Wait { wait, .. } => names::wait(*wait),
            What::Account { .. } | What::AccountDeleted => user.clone(),
            What::Catalog { .. } => "catalog".to_owned(),
            What::PresenceKey { .. } => "presenceKey".to_owned(),
            What::LetGo { .. } => "history".to_owned(),
            What::PseudonymKey => "pseudonymKey".to_owned(),
            What::Webhook { webhook, .. } => names::webhook(*webhook),
        },
        changes: changes(what, seats),
        user,
    }
}

fn person(person: &AuditPerson) -> String {
    match person {
        AuditPerson::Named(name) => names::user(name),
        AuditPerson::Numbered(id) => names::person(*id),
    }
}

fn changes(what: &What, seats: &(Option<SeatName>, Option<SeatName>)) -> Vec<Change> {
    let all = match what {
        What::Claim { claim: _, before, after } => {
            let seat = |seat: &Option<SeatName>| seat.as_ref().map(|seat| names::seat(&seat.branch, &seat.seat));
            let of = |of: fn(&ClaimThen) -> Option<String>| (before.as_ref().and_then(of), of(after));
            vec![
                ("state", of(|then| Some(state(then.state)))),
                ("seat", (seat(&seats.0), seat(&seats.1))),
                ("start_time", of(|then| Some(shown(then.interval.start())))),
                ("end_time", of(|then| Some(shown(then.interval.end())))),
                ("deadline", of(|then| deadline(then.state).map(shown))),
            ]
        }
        What::Wait { wait: _, before, after } => {
            vec![("state", (before.map(|before| waiting(before).to_owned()), Some(waiting(*after).to_owned())))]
        }
        What::Strike { claim: _, cause, waived } => {
            let cause = match cause {
                StrikeCause::NoShow => "NO_SHOW",
                StrikeCause::Released => "RELEASED",
                StrikeCause::LateCancel => "LATE_CANCEL",
            };
            let cause = Some(cause.to_owned());
            vec![("strike", if *waived { (cause, Some("WAIVED".to_owned())) } else { (None, cause) })]
        }
        What::Account { before, after } => {
            let of = |of: fn(&AccountThen) -> Option<String>| (before.as_ref().and_then(of), of(after));
            vec![
                ("role", of(|then| Some(role(&then.role).to_owned()))),
                ("suspended_until", of(|then| then.suspended_until.map(shown))),
                ("needs_accessible", of(|then| Some(then.needs_accessible.to_string()))),
            ]
        }
        What::AccountDeleted => vec![("account", (Some("KEPT".to_owned()), Some("DELETED".to_owned())))],
        What::Catalog { revision } => vec![("revision", (None, Some(revision.to_string())))],
        What::Webhook { webhook: _, change } => match change {
            WebhookChange::Added => vec![("webhook", (None, Some("ADDED".to_owned())))],
            WebhookChange::SecretChanged => vec![("secret", (None, Some("CHANGED".to_owned())))],
            WebhookChange::Removed => vec![("webhook", (Some("KEPT".to_owned()), Some("REMOVED".to_owned())))],
        },
        What::PresenceKey { revision } => vec![("revision", (None, Some(revision.to_string())))],
        What::LetGo { count } => vec![("reservations", (None, Some(count.to_string())))],
        What::PseudonymKey => vec![("drawn", (None, Some("true".to_owned())))],
    };
    all.into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(field, (before, after))| Change {
            field: field.to_owned(),
            before: before.unwrap_or_default(),
            after: after.unwrap_or_default(),
        })
        .collect()
}

/// "CHECKED_IN"
#[must_use]
pub fn state(state: ClaimState) -> String {
    reply::state(state.name()).as_str_name().trim_start_matches("STATE_").to_owned()
}

fn deadline(state: ClaimState) -> Option<Timestamp> {
    match state {
        ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } | ClaimState::Away { deadline, .. } => {
            Some(deadline)
        }
        ClaimState::CheckedIn
        | ClaimState::Expired
        | ClaimState::Cancelled
        | ClaimState::Displaced
        | ClaimState::NoShow
        | ClaimState::Released
        | ClaimState::Completed => None,
    }
}

/// "OFFERED"
#[must_use]
pub fn waiting(state: WaitState) -> &'static str {
    match state {
        WaitState::Waiting => "WAITING",
        WaitState::Offered { .. } => "OFFERED",
        WaitState::Fulfilled { .. } => "FULFILLED",
        WaitState::Left => "LEFT",
        WaitState::Expired => "EXPIRED",
    }
}

fn role(role: &Role) -> &'static str {
    match role {
        Role::Patron => "PATRON",
        Role::Librarian(_) => "LIBRARIAN",
        Role::Admin => "ADMIN",
        Role::Auditor => "AUDITOR",
        Role::Kiosk => "KIOSK",
    }
}

/// `CheckIn` is `CHECK_IN`.
fn screaming(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
        text
    })
}
