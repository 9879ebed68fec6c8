//! Every no that a client can hear, in one place: its code, its reason for programs, and a sentence for people that
//! says what to do. No text of an inner error ever gets this far.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use carrel_domain::catalog::Fault;
use carrel_domain::claim::StateName;
use carrel_domain::explain::{Alternative, Explanation};
use carrel_domain::query::SeatView;
use carrel_domain::refusal::Refusal;
use carrel_domain::time::Interval;
use carrel_proto::v1;
use prometheus::IntCounterVec;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::convert::invalid::{Invalid, InvalidField, Reason};
use crate::convert::{names, reply, time};
use crate::metrics::{self, catalogue};
use crate::passwords::PasswordError;
use crate::projection::reading::ReadTrouble;
use crate::replica::{NotServing, ReadError, WriteError};

/// Of the reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "carrel.dev";
/// Faults of a catalogue that are told at once: more than anybody mends before trying again.
pub const FAULTS_MAX: usize = 100;

/// Of this process: a no is made in too many places for each to be given a counter.
pub static REFUSALS: LazyLock<IntCounterVec> = LazyLock::new(|| catalogue::REFUSALS.counters());

/// An election takes a third of a second.
const NO_LEADER_RETRY: Duration = Duration::from_millis(150);
const UNKNOWN_RETRY: Duration = Duration::from_millis(100);
/// A batch of the log takes milliseconds; whoever is turned away leaves it room for some.
const OVERLOADED_RETRY: Duration = Duration::from_millis(250);
/// A restarting Postgres is back within seconds.
const HISTORY_RETRY: Duration = Duration::from_secs(5);
/// Room is made by people.
const STORAGE_FULL_RETRY: Duration = Duration::from_secs(1);
const BEHIND_RETRY: Duration = Duration::from_millis(250);
/// Others are formed, joined or started by then, or the client has found another node.
const NOT_SERVING_RETRY: Duration = Duration::from_secs(1);
const CALENDAR_RETRY: Duration = Duration::from_secs(1);
const PASSWORDS_RETRY: Duration = Duration::from_secs(1);
/// Records are kept for 15 minutes, so there is no use in hurrying.
const RECORDS_RETRY: Duration = Duration::from_secs(60);

/// A no, before it is put into the form of the wire.
#[derive(Debug)]
struct No {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    retry: Option<Duration>,
    invalid: Vec<InvalidField>,
    rules: Vec<v1::FailingRule>,
    alternatives: v1::Alternatives,
}

impl No {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            retry: None,
            invalid: Vec::new(),
            rules: Vec::new(),
            alternatives: v1::Alternatives::default(),
        }
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    fn retry_after(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }

    fn because_of(mut self, field: &str, problem: &str) -> Self {
        self.invalid.push(InvalidField { field: field.to_owned(), problem: problem.to_owned() });
        self
    }

    /// With details of standard kinds, and with ours beside them, which no builder of standard details can add.
    fn into_status(self) -> Status {
        let Self { code, reason, message, metadata, retry, invalid, rules, alternatives } = self;
        if metrics::are_counting() {
            REFUSALS.with_label_values(&[reason]).inc();
        }
        let info = pb::ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), metadata };
        let mut details = vec![packed("google.rpc.ErrorInfo", &info)];
        if let Some(delay) = retry {
            let retry_delay = Some(prost_types::Duration {
                seconds: delay.as_secs().cast_signed(),
                nanos: delay.subsec_nanos().cast_signed(),
            });
            details.push(packed("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        if !invalid.is_empty() {
            let violation = |InvalidField { field, problem }| pb::bad_request::FieldViolation {
                field,
                description: problem,
                ..Default::default()
            };
            let field_violations = invalid.into_iter().map(violation).collect();
            details.push(packed("google.rpc.BadRequest", &pb::BadRequest { field_violations }));
        }
        let quotas: Vec<_> = rules.iter().filter(|rule| rule.reason == QUOTA_EXCEEDED).map(quota_violation).collect();
        if !quotas.is_empty() {
            details.push(packed("google.rpc.QuotaFailure", &pb::QuotaFailure { violations: quotas }));
        }
        if !rules.is_empty() {
            details.push(packed("carrel.v1.FailingRules", &v1::FailingRules { rules }));
        }
        if alternatives != v1::Alternatives::default() {
            details.push(packed("carrel.v1.Alternatives", &alternatives));
        }
        let body = pb::Status { code: code.into(), message: message.clone(), details }.encode_to_vec();
        Status::with_details(code, message, body.into())
    }
}

fn packed(kind: &str, detail: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{kind}"), value: detail.encode_to_vec() }
}

// === What the rules say ===

/// A refusal of the rules.
#[must_use]
pub fn to_status(refusal: Refusal) -> Status {
    explained(refusal).into_status()
}

/// A refusal with everything else that stands against what was wished for, and what could be had instead;
/// `interval` is when it was to be.
#[must_use]
pub fn unmet(refusal: Refusal, interval: Option<Interval>, explanation: &Explanation) -> Status {
    let Explanation { failing, alternatives } = explanation;
    let mut no = explained(refusal);
    no.rules = failing_rules(refusal, failing);
    let is_for_one = |other: &&Alternative| Some(other.interval) == interval && other.group.is_empty();
    let free: Vec<&SeatView> = alternatives.iter().filter(is_for_one).map(|other| &other.seat).collect();
    if refusal == Refusal::SeatTaken && !free.is_empty() {
        let labels: Vec<&str> = free.iter().map(|seat| seat.label.as_str()).collect();
        no.message = format!("the seat is taken for this time; free instead: {}", labels.join(", "));
    }
    no.alternatives = v1::Alternatives {
        seats: free.into_iter().map(reply::seat).collect(),
        alternatives: alternatives.iter().map(reply::alternative).collect(),
    };
    no.into_status()
}

/// The refusal first, then whatever else stands against what was wished for.
#[must_use]
pub fn failing_rules(refusal: Refusal, failing: &[Refusal]) -> Vec<v1::FailingRule> {
    let others = failing.iter().filter(|&&other| other != refusal);
    std::iter::once(&refusal).chain(others).map(|&refusal| failing_rule(refusal)).collect()
}

/// A refusal as one of several.
#[must_use]
pub fn failing_rule(refusal: Refusal) -> v1::FailingRule {
    let No { reason, message, metadata, .. } = explained(refusal);
    v1::FailingRule { reason: reason.to_owned(), message, metadata: metadata.into_iter().collect() }
}

const QUOTA_EXCEEDED: &str = "QUOTA_EXCEEDED";

fn quota_violation(rule: &v1::FailingRule) -> pb::quota_failure::Violation {
    let subject = rule.metadata.get("rule").cloned().unwrap_or_default();
    pb::quota_failure::Violation { subject, description: rule.message.clone(), ..Default::default() }
}

fn explained(refusal: Refusal) -> No {
    use Code::{
        Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
        Unauthenticated, Unavailable,
    };
    match refusal {
        Refusal::SessionExpired => {
            No::new(Unauthenticated, "SESSION_EXPIRED", "the session has ended or never was: log in again")
        }
        Refusal::NotPermitted => No::new(
            PermissionDenied,
            "NOT_PERMITTED",
            "this is somebody else's, or takes another role than yours: ask the staff of the library if you think that it \
             should not",
        ),

        Refusal::RequestIdReused => {
            let problem = "another request was made with this id: draw a fresh UUID for each new request";
            No::new(InvalidArgument, "REQUEST_ID_REUSED", problem).because_of("request_id", problem)
        }
        Refusal::TooManyRequests => No::new(
            ResourceExhausted,
            "RATE_LIMITED",
            "too many changes were made in the last 15 minutes: wait a while before the next",
        )
        .retry_after(RECORDS_RETRY),

        Refusal::UserNameTaken => {
            No::new(AlreadyExists, "USERNAME_TAKEN", "somebody has this user name already: choose another")
        }
        Refusal::UserNotFound => No::new(NotFound, "USER_NOT_FOUND", "there is no user of this name"),
        Refusal::PasswordChanged => {
            No::new(Aborted, "PASSWORD_CHANGED", "the password was changed at this moment: log in with the new one")
        }
        Refusal::LastAdmin => No::new(
            FailedPrecondition,
            "LAST_ADMIN",
            "this is the last admin, and there must be one: make somebody else an admin first",
        ),

        Refusal::BranchNotFound => No::new(NotFound, "BRANCH_NOT_FOUND", "there is no such branch"),
        Refusal::AreaNotFound => No::new(NotFound, "AREA_NOT_FOUND", "there is no such area in this branch"),
        Refusal::SeatNotFound => No::new(NotFound, "SEAT_NOT_FOUND", "there is no such seat in this branch"),
        Refusal::CatalogInvalid { fault_count } => No::new(
            InvalidArgument,
            "CATALOG_INVALID",
            format!("the catalogue has {fault_count} faults and was not imported: validate it to see them"),
        )
        .with("fault_count", fault_count),
        Refusal::CatalogChanged { revision } => No::new(
            Aborted,
            "ETAG_MISMATCH",
            format!(
                "the catalogue was changed meanwhile, it is at revision {revision}: export it and start from there"
            ),
        )
        .with("revision", revision),
        Refusal::CalendarOutdated => {
            No::new(Aborted, "CALENDAR_OUTDATED", "the opening hours were changed meanwhile: expand them again")
        }

        Refusal::InThePast { earliest } => No::new(
            FailedPrecondition,
            "TOO_LATE",
            format!(
                "this start is in the past: choose the slot that is running now, which began at {}, or a later one",
                time::shown(earliest)
            ),
        )
        .with("earliest", time::shown(earliest)),
        Refusal::TooSoon { notice_minutes } => No::new(
            FailedPrecondition,
            "TOO_LATE",
            format!("seats here are booked at least {notice_minutes} minutes before their start: choose a later one"),
        )
        .with("notice_minutes", notice_minutes),
        Refusal::TooFarAhead { window_days } => No::new(
            FailedPrecondition,
            "TOO_EARLY",
            format!("this is too far ahead: seats here are booked at most {window_days} days before their start"),
        )
        .with("window_days", window_days),
        Refusal::Closed => No::new(
            FailedPrecondition,
            "CLOSED",
            "the area is not open for the whole of this time: its opening hours are shown with the seat",
        ),
        Refusal::CalendarPending => No::new(
            Unavailable,
            "CALENDAR_PENDING",
            "the opening hours of this date are still being worked out: try again in a second",
        )
        .retry_after(CALENDAR_RETRY),
        Refusal::OffGrid { grid_minutes } => interval_invalid(format!(
            "it does not fit the slots of this area: start and length must be multiples of {grid_minutes} minutes, \
             counted from local midnight"
        ))
        .with("grid_minutes", grid_minutes),
        Refusal::TooShort { min_minutes } => {
            interval_invalid(format!("it is too short: {min_minutes} minutes are the least"))
                .with("min_minutes", min_minutes)
        }
        Refusal::TooLong { max_minutes } => {
            interval_invalid(format!("it is too long: {max_minutes} minutes are the most"))
                .with("max_minutes", max_minutes)
        }

        Refusal::Suspended { until } => No::new(
            FailedPrecondition,
            "SUSPENDED",
            format!("this account is suspended, it may not book until {}", time::shown(until)),
        )
        .with("until", time::shown(until)),
        Refusal::OwnOverlap { claim } => No::new(
            FailedPrecondition,
            "OWN_OVERLAP",
            format!("you have another seat at this time, {}: cancel it first", names::reservation(claim)),
        )
        .with("reservation", names::reservation(claim)),
        Refusal::TooManyReservations { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("you have {max} reservations, the most at once: cancel one, or wait until one is over"),
        )
        .with("rule", "max_reservations")
        .with("max", max),
        Refusal::TooManyMinutes { max_per_day, left } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("this is more than the {max_per_day} minutes that you may book a day, of which {left} are left"),
        )
        .with("rule", "max_minutes_per_day")
        .with("max", max_per_day)
        .with("left", left),
        Refusal::TooManyMinutesInWeek { max_per_week, left } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("this is more than the {max_per_week} minutes that you may book a week, of which {left} are left"),
        )
        .with("rule", "max_minutes_per_week")
        .with("max", max_per_week)
        .with("left", left),
        Refusal::TooManyOnDay { max } => {
            No::new(ResourceExhausted, QUOTA_EXCEEDED, format!("you may book {max} times a day: choose another day"))
                .with("rule", "max_per_day")
                .with("max", max)
        }
        Refusal::TooManyInWeek { max } => {
            No::new(ResourceExhausted, QUOTA_EXCEEDED, format!("you may book {max} times a week: choose another week"))
                .with("rule", "max_per_week")
                .with("max", max)
        }
        Refusal::TooManyFuture { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("you have {max} reservations still to come, the most at once: cancel one, or check in first"),
        )
        .with("rule", "max_future")
        .with("max", max),
        Refusal::HoldExists { claim } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("you hold a seat already, {}: confirm or cancel it first", names::reservation(claim)),
        )
        .with("rule", "holds")
        .with("reservation", names::reservation(claim)),
        Refusal::KeptAccessible { until } => No::new(
            FailedPrecondition,
            "SEAT_UNAVAILABLE",
            format!("this seat is kept for people who need an accessible one until {}", time::shown(until)),
        )
        .with("opens_at", time::shown(until)),

        Refusal::SeatTaken => No::new(
            FailedPrecondition,
            "SEAT_TAKEN",
            "the seat is taken for this time: choose another, or join the waitlist for it",
        ),

        Refusal::SeatNotOccupied => No::new(
            FailedPrecondition,
            "SEAT_NOT_OCCUPIED",
            "nobody is checked in at this seat: there is nothing to report",
        ),
        Refusal::TooManyAtOnce { max } => {
            No::new(InvalidArgument, "FIELD_INVALID", format!("ask for at least one and at most {max} at once"))
                .with("max", max)
        }
        Refusal::MemberUnavailable { position } => No::new(
            FailedPrecondition,
            "MEMBER_UNAVAILABLE",
            format!("person {} of the group cannot come then, nothing was booked", position + 1),
        )
        .with("position", position),
        Refusal::GroupSeatTaken { position } => No::new(
            FailedPrecondition,
            "SEAT_TAKEN",
            format!("seat {} of the group is taken for this time, nothing was booked", position + 1),
        )
        .with("position", position),

        Refusal::ReservationNotFound => No::new(NotFound, "RESERVATION_NOT_FOUND", "there is no such reservation"),
        Refusal::StateConflict { state } => No::new(
            FailedPrecondition,
            "STATE_CONFLICT",
            format!("the reservation is {}, which does not allow this", in_words(state)),
        )
        .with("state", reply::state(state).as_str_name().trim_start_matches("STATE_")),
        Refusal::CheckInTooEarly { opens_at } => No::new(
            FailedPrecondition,
            "TOO_EARLY",
            format!("it is too early to check in: that opens at {}", time::shown(opens_at)),
        )
        .with("opens_at", time::shown(opens_at)),
        Refusal::GraceElapsed => No::new(
            FailedPrecondition,
            "GRACE_ELAPSED",
            "it is too late to check in, and the seat went to others: make another reservation",
        ),
        Refusal::OfferExpired => No::new(
            FailedPrecondition,
            "OFFER_EXPIRED",
            "the offer was not accepted in time, and the seat went to others: join the waitlist again",
        ),

        Refusal::HoldExpired => No::new(
            FailedPrecondition,
            "HOLD_EXPIRED",
            "the seat was not confirmed in time and is free for others: hold or book it again",
        ),
        Refusal::PresenceNotProven => No::new(
            FailedPrecondition,
            "PRESENCE_NOT_PROVEN",
            "type the code that the seat shows now, or ask the staff of the library to check you in",
        ),
        Refusal::TooLateToChange { minutes } => No::new(
            FailedPrecondition,
            "TOO_LATE",
            format!("a reservation is exchanged at least {minutes} minutes before its start: cancel it instead"),
        )
        .with("minutes", minutes),
        Refusal::TooManyReports { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("{max} of the seats that you have reported lately were in use: tell the staff instead"),
        )
        .with("rule", "false_reports")
        .with("max", max),

        Refusal::StrikeNotFound => {
            No::new(NotFound, "STRIKE_NOT_FOUND", "this person has no strike for this reservation")
        }
        Refusal::SuspensionInvalid { max_days } => No::new(
            InvalidArgument,
            "FIELD_INVALID",
            format!("a suspension ends in the future, and within {max_days} days"),
        )
        .with("max_days", max_days),

        Refusal::WaitNotFound => {
            No::new(NotFound, "WAITLIST_ENTRY_NOT_FOUND", "you have no such place on a waitlist: list yours")
        }
        Refusal::WaitIsOver => {
            No::new(FailedPrecondition, "WAIT_OVER", "this wait is over already: there is nothing to leave")
        }
        Refusal::TooManyWaits { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("you wait for {max} seats, the most at once: leave one of the waitlists first"),
        )
        .with("rule", "max_waits")
        .with("max", max),
        Refusal::AlreadyWaiting => {
            No::new(AlreadyExists, "ALREADY_WAITING", "you wait for exactly this already: list your places to see it")
        }

        Refusal::TooFlexible { max_starts } => interval_invalid(format!(
            "it leaves more than {max_starts} starts to choose from: say more closely when you would come"
        ))
        .with("max_starts", max_starts),

        Refusal::RecipientNotFound { position } => {
            let problem = "there is no user of this name";
            No::new(
                NotFound,
                "RECIPIENT_NOT_FOUND",
                format!("recipient {} was not found, nothing was sent", position + 1),
            )
            .because_of(&format!("recipients[{position}]"), problem)
            .with("position", position)
        }
        Refusal::MessageNotFound => No::new(NotFound, "MESSAGE_NOT_FOUND", "there is no such message among yours"),
        Refusal::TooManyBlocks { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("you have blocked {max} people, the most at once: unblock one of them first"),
        )
        .with("rule", "max_blocks")
        .with("max", max),
        Refusal::SessionNotFound => {
            No::new(NotFound, "SESSION_NOT_FOUND", "you have no such session: it has ended, or never was")
        }
        Refusal::AddressNotProven => No::new(
            FailedPrecondition,
            "ADDRESS_NOT_PROVEN",
            "this is not the newest code that was sent to your address, or it is a day old: ask for another",
        ),
        Refusal::WebhookNotFound => No::new(NotFound, "WEBHOOK_NOT_FOUND", "there is no such webhook"),
        Refusal::TooManyWebhooks { max } => No::new(
            ResourceExhausted,
            QUOTA_EXCEEDED,
            format!("there are {max} webhooks, the most at once: delete one of them first"),
        )
        .with("rule", "max_webhooks")
        .with("max", max),
        Refusal::ReasonMissing => No::new(
            InvalidArgument,
            "FIELD_INVALID",
            "reason: whoever loses a seat is told why, so say it when you cancel for somebody else",
        )
        .with("field", "reason"),
    }
}

fn interval_invalid(problem: String) -> No {
    No::new(Code::InvalidArgument, "INTERVAL_INVALID", format!("interval: {problem}")).because_of("interval", &problem)
}

fn in_words(state: StateName) -> &'static str {
    match state {
        StateName::Held => "held and not confirmed yet",
        StateName::Confirmed => "confirmed and not checked in",
        StateName::CheckedIn => "checked in",
        StateName::Away => "away",
        StateName::Expired => "expired",
        StateName::Cancelled => "cancelled",
        StateName::Displaced => "displaced",
        StateName::NoShow => "a no-show",
        StateName::Released => "released",
        StateName::Completed => "completed",
    }
}

// === What is wrong with a request by itself ===

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        let Invalid { reason, fields } = invalid;
        let reason = match reason {
            Reason::Field => "FIELD_INVALID",
            Reason::Interval => "INTERVAL_INVALID",
            Reason::PageToken => "PAGE_TOKEN_INVALID",
            Reason::ResumeToken => "RESUME_TOKEN_INVALID",
        };
        let message: Vec<_> =
            fields.iter().map(|InvalidField { field, problem }| format!("{field}: {problem}")).collect();
        let mut no = No::new(Code::InvalidArgument, reason, message.join("; "));
        no.invalid = fields;
        no.into_status()
    }
}

/// Everything wrong with a catalogue, as far as it can be told at once.
#[must_use]
pub fn catalog_invalid(faults: &[Fault]) -> Status {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let message = match faults.len() {
        0 | 1 => format!("the catalogue was not imported: {first}"),
        count => format!("the catalogue has {count} faults and was not imported, the first: {first}"),
    };
    let mut no = No::new(Code::InvalidArgument, "CATALOG_INVALID", message).with("fault_count", faults.len());
    let told = faults.iter().take(FAULTS_MAX);
    no.invalid =
        told.map(|fault| InvalidField { field: fault.place.to_string(), problem: fault.problem.clone() }).collect();
    no.into_status()
}

/// The bytes are not a message of the method.
#[must_use]
pub fn malformed_message() -> Status {
    let message =
        "the request is not a message that this method takes: check that client and server are of one version";
    No::new(Code::InvalidArgument, "FIELD_INVALID", message).into_status()
}

#[must_use]
pub fn message_too_large(max_bytes: usize) -> Status {
    let message = format!("the request is larger than {} KiB, the most that this method takes", max_bytes / 1024);
    No::new(Code::InvalidArgument, "FIELD_INVALID", message).with("max_bytes", max_bytes).into_status()
}

// === Who asks ===

#[must_use]
pub fn no_session() -> Status {
    let message = "log in first: this needs a session; a program sends it as \"authorization: Bearer TOKEN\"";
    No::new(Code::Unauthenticated, "SESSION_EXPIRED", message).into_status()
}

#[must_use]
pub fn malformed_session() -> Status {
    let message = "the session token is not one that this service gives out: log in again and send it unchanged as \
                   \"authorization: Bearer TOKEN\"";
    No::new(Code::Unauthenticated, "SESSION_EXPIRED", message).into_status()
}

/// The same words whether the name or the password is wrong.
#[must_use]
pub fn credentials_invalid() -> Status {
    let message = "this name and password do not belong together: check both and try again";
    No::new(Code::Unauthenticated, "CREDENTIALS_INVALID", message).into_status()
}

/// Where people do not make accounts for themselves.
#[must_use]
pub fn registration_closed() -> Status {
    let message = "accounts are made by the staff here: ask them for one";
    No::new(Code::PermissionDenied, "REGISTRATION_CLOSED", message).into_status()
}

/// Where no mail server was named, an address would wait for its code for ever.
#[must_use]
pub fn no_mail_here() -> Status {
    let message = "this library sends no mail: what there is to tell you is in your inbox";
    No::new(Code::FailedPrecondition, "MAIL_NOT_SENT", message).into_status()
}

impl From<PasswordError> for Status {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                let message = "too many people are logging in at this moment: try again in a second";
                No::new(Code::ResourceExhausted, "RATE_LIMITED", message).retry_after(PASSWORDS_RETRY).into_status()
            }
            PasswordError::OutOfOrder => out_of_order(),
        }
    }
}

/// More requests than are granted, which this caller has come with.
#[must_use]
pub fn too_fast(per_second: u32, wait: Duration) -> Status {
    let wait = wait.max(Duration::from_millis(1));
    let message = format!(
        "more than {per_second} requests a second came from here, nothing was changed: come back in {} ms",
        wait.as_millis()
    );
    No::new(Code::ResourceExhausted, "RATE_LIMITED", message)
        .with("per_second", per_second)
        .retry_after(wait)
        .into_status()
}

#[must_use]
pub fn too_many_letters(per_minute: u32, wait: Duration) -> Status {
    let wait = wait.max(Duration::from_millis(1));
    let message = format!(
        "more than {per_minute} letters a minute came from you, this one was not sent: come back in {} s",
        wait.as_secs() + 1
    );
    No::new(Code::ResourceExhausted, "RATE_LIMITED", message)
        .with("per_minute", per_minute)
        .retry_after(wait)
        .into_status()
}

#[must_use]
pub fn still_asking(waited: Duration) -> Status {
    let message = format!(
        "another request of yours for a seat has had no answer for {} s, nothing was changed by this one: try it again",
        waited.as_secs()
    );
    No::new(Code::ResourceExhausted, "RATE_LIMITED", message).retry_after(OVERLOADED_RETRY).into_status()
}

#[must_use]
pub fn too_many_at_once(what: &str, max: usize) -> Status {
    let message =
        format!("there are {max} {what} already, the most that one account may have here: let some end first");
    No::new(Code::ResourceExhausted, "RATE_LIMITED", message)
        .with("max", max)
        .retry_after(OVERLOADED_RETRY)
        .into_status()
}

// === What the cluster cannot do at present ===

impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoLeader => No::new(
                Code::Unavailable,
                "NO_QUORUM",
                "no majority of the cluster can be reached, nothing was changed: try again in a moment",
            )
            .retry_after(NO_LEADER_RETRY)
            .into_status(),
            WriteError::Overloaded => No::new(
                Code::ResourceExhausted,
                "OVERLOADED",
                "the cluster has more to do than it can take on, nothing was changed: try again in a moment",
            )
            .retry_after(OVERLOADED_RETRY)
            .into_status(),
            WriteError::Full => No::new(
                Code::Unavailable,
                "STORAGE_FULL",
                "too few nodes of the cluster have room on their disks, nothing was changed: try again when there is \
                 some",
            )
            .retry_after(STORAGE_FULL_RETRY)
            .into_status(),
            WriteError::Expired => No::new(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the time of this call was over before anything was done, nothing was changed: give it more",
            )
            .into_status(),
            WriteError::EarlierRelease => No::new(
                Code::Unavailable,
                "EARLIER_RELEASE",
                "a node of the cluster does not answer, or is of a release that does not know this, nothing was \
                 changed: try again once all nodes are there and up to date",
            )
            .retry_after(STORAGE_FULL_RETRY)
            .into_status(),
            WriteError::TooLarge => No::new(
                Code::InvalidArgument,
                "REQUEST_TOO_LARGE",
                "the request is larger than the cluster takes, nothing was changed: split it",
            )
            .into_status(),
            WriteError::Unknown => No::new(
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
                "it is not known whether this was done: repeat it with the same request_id, which does it at most once",
            )
            .retry_after(UNKNOWN_RETRY)
            .into_status(),
            WriteError::NotServing(why) => why.into(),
        }
    }
}

impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoQuorum => No::new(
                Code::Unavailable,
                "NO_QUORUM",
                "no majority of the cluster can be reached: try again, or ask for max_staleness if older answers will do",
            )
            .retry_after(NO_LEADER_RETRY)
            .into_status(),
            ReadError::Behind => No::new(
                Code::Unavailable,
                "REPLICA_BEHIND",
                "this node has not caught up with what was asked for: try again, or ask another node",
            )
            .retry_after(BEHIND_RETRY)
            .into_status(),
            ReadError::ForeignToken => resume_token_expired(),
            ReadError::NotServing(why) => why.into(),
        }
    }
}

impl From<NotServing> for Status {
    fn from(why: NotServing) -> Self {
        let (reason, message) = match why {
            NotServing::NotJoined => ("NOT_SERVING", "this node has not joined a cluster yet: ask another node"),
            NotServing::Forming => ("FORMING", "the cluster is being formed: try again in a moment"),
            NotServing::Draining => ("DRAINING", "this node is shutting down: ask another node"),
            NotServing::DiskFull => ("STORAGE_FULL", "the disk of this node is full: ask another node"),
            NotServing::Removed => ("NOT_SERVING", "this node was taken out of the cluster: ask another node"),
        };
        No::new(Code::Unavailable, reason, message).retry_after(NOT_SERVING_RETRY).into_status()
    }
}

/// What followed the token can be told no more in full, but from another one on.
#[must_use]
pub fn items_let_go(from_here: &str) -> Status {
    let message = "this token is too old: the oldest of what came after it made room for newer things; start again \
                   without a token, or with the one in resume_token";
    No::new(Code::OutOfRange, "RESUME_TOKEN_EXPIRED", message).with("resume_token", from_here).into_status()
}

/// The token is of before what this node remembers of a seat map.
#[must_use]
pub fn changes_let_go() -> Status {
    let message = "what has changed since this token is not kept any more: start again without one";
    No::new(Code::OutOfRange, "RESUME_TOKEN_EXPIRED", message).into_status()
}

/// The token says nothing in this cluster's history: what followed it cannot be told.
#[must_use]
pub fn resume_token_expired() -> Status {
    let message = "the token is not of this cluster's history: start again without one";
    No::new(Code::OutOfRange, "RESUME_TOKEN_EXPIRED", message).into_status()
}

/// Seats show codes once the leader has drawn the key for them, which it does first of all.
#[must_use]
pub fn no_codes_yet() -> Status {
    let message = "seats show no codes yet: try again in a second";
    No::new(Code::Unavailable, "PRESENCE_PENDING", message).retry_after(CALENDAR_RETRY).into_status()
}

/// A stream whose reader does not read.
#[must_use]
pub fn slow_consumer() -> Status {
    let message = "nothing was read from this stream for too long: open it again with the last resume token";
    No::new(Code::ResourceExhausted, "SLOW_CONSUMER", message).retry_after(NOT_SERVING_RETRY).into_status()
}

#[must_use]
pub fn took_too_long(ceiling: Duration) -> Status {
    let message = format!(
        "this took longer than {} s; if it was to change something, repeat it with the same request_id",
        ceiling.as_secs()
    );
    No::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message).into_status()
}

/// Of the world, not of the client: the operating system gives no random bytes.
/// What only the relational record knows.
#[must_use]
pub fn history_unavailable(why: &ReadTrouble) -> Status {
    let (reason, text, retry) = match why {
        ReadTrouble::Busy => ("REPORTS_BUSY", "other reports are being made: try again in a moment", OVERLOADED_RETRY),
        ReadTrouble::TooLong => {
            ("REPORT_TOO_LONG", "this takes too long: ask for less at a time, or later", HISTORY_RETRY)
        }
        ReadTrouble::Unreadable(_) => (
            "HISTORY_UNAVAILABLE",
            "the record of older history and reports cannot be read at present; bookings go on: try again later",
            HISTORY_RETRY,
        ),
    };
    No::new(Code::Unavailable, reason, text).retry_after(retry).into_status()
}

#[must_use]
pub fn out_of_order() -> Status {
    let message = "this node is out of order: ask another node";
    No::new(Code::Unavailable, "NOT_SERVING", message).retry_after(NOT_SERVING_RETRY).into_status()
}

#[cfg(test)]
mod tests {
    use carrel_domain::id::ClaimId;
    use carrel_domain::time::Timestamp;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn standard_details_and_ours_are_read_from_one_status() {
        let mut taken = explained(Refusal::SeatTaken);
        taken.alternatives.seats = vec![v1::Seat { label: "R 102".to_owned(), ..Default::default() }];
        let status = taken.into_status();
        let details = pb::Status::decode(status.details()).expect("a google.rpc.Status").details;
        let ours = details.iter().find(|any| any.type_url.ends_with("/carrel.v1.Alternatives")).expect("alternatives");
        let free = v1::Alternatives::decode(ours.value.as_slice()).expect("seats").seats;
        assert_eq!(free[0].label, "R 102");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SEAT_TAKEN", DOMAIN));

        let pending = to_status(Refusal::CalendarPending);
        let delay = pending.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!((pending.code(), delay), (Code::Unavailable, Some(CALENDAR_RETRY)));

        let early = to_status(Refusal::CheckInTooEarly { opens_at: Timestamp(0) });
        let info = early.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata.get("opens_at").map(String::as_str), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut invalid = Invalid::field("seat", "it is empty");
        invalid.fields.extend(Invalid::field("text", "it is empty").fields);
        let status = Status::from(invalid);
        let bad = status.get_details_bad_request().expect("a BadRequest");
        let fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["seat", "text"]);
        assert_eq!(status.message(), "seat: it is empty; text: it is empty");
    }

    #[test]
    fn every_rule_that_fails_is_told_and_every_quota_in_the_standard_form_too() {
        let full = Refusal::TooManyOnDay { max: 2 };
        let failing = vec![Refusal::Closed, full, Refusal::SeatTaken];
        let interval = Interval::new(Timestamp(0), Timestamp(1)).expect("a microsecond");
        let status = unmet(Refusal::Closed, Some(interval), &Explanation { failing, alternatives: Vec::new() });
        let details = pb::Status::decode(status.details()).expect("a google.rpc.Status").details;
        let ours = details.iter().find(|any| any.type_url.ends_with("/carrel.v1.FailingRules")).expect("rules");
        let rules = v1::FailingRules::decode(ours.value.as_slice()).expect("rules").rules;
        let reasons: Vec<&str> = rules.iter().map(|rule| rule.reason.as_str()).collect();
        assert_eq!(reasons, ["CLOSED", "QUOTA_EXCEEDED", "SEAT_TAKEN"]);
        let quota = status.get_details_quota_failure().expect("a QuotaFailure");
        assert_eq!(quota.violations[0].subject, "max_per_day");
        assert!(!details.iter().any(|any| any.type_url.ends_with("/carrel.v1.Alternatives")));
    }

    #[test]
    fn sentences_are_for_people() {
        for refusal in [
            Refusal::SessionExpired,
            Refusal::NotPermitted,
            Refusal::OwnOverlap { claim: ClaimId(4) },
            Refusal::StateConflict { state: StateName::Cancelled },
            Refusal::TooManyMinutes { max_per_day: 480, left: 0 },
        ] {
            let status = to_status(refusal);
            assert!(!status.message().contains(['{', '}']), "{}", status.message());
            assert!(status.get_details_error_info().is_some());
        }
    }
}
