//! Which rows an event becomes, and which rows a state is: the one translation from the domain to the tables. Pure.
//!
//! Tables that mirror the state hold one row for each thing in it, as it is; tables of history only grow. What an event
//! says of the catalogue and of announcements is looked up in the view that is being caught up with: a catalogue only
//! ever grows, and an announcement that was taken back meanwhile need not be written down at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use carrel_domain::account::{Role, RoleName, Strike};
use carrel_domain::claim::{Claim, ClaimState, Origin, StateName};
use carrel_domain::event::{Actor, Cause, Change, Event, Reason, UserRow};
use carrel_domain::id::{ClaimId, Position, UserId};
use carrel_domain::inbox::Stream;
use carrel_domain::outbox::Told;
use carrel_domain::query::Announcement;
use carrel_domain::request::ActionName;
use carrel_domain::state::State;
use carrel_domain::strike::StrikeCause;
use carrel_domain::time::Timestamp;
use carrel_domain::waitlist::{Scope, Wait, WaitState};
use serde::Serialize;
use serde_json::json;

use crate::projection::tables::Table;

/// What one column of one row holds. Every number is a bigint, so that no table has to grow with the domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Value {
    Number(Option<i64>),
    Flag(bool),
    Text(Option<Cow<'static, str>>),
    Time(Option<Timestamp>),
    /// As serde_json writes it.
    Json(String),
}

/// In the order of the table's columns.
pub type Row = Vec<Value>;

/// The columns that a row is known by. Most tables have one; its second is 0.
pub type Key = (i64, i64);

/// What one transaction changes: of everything the last state only, for one statement may touch a row once.
#[derive(Debug, Default)]
pub struct Changes {
    /// None: the row goes.
    pub rows: BTreeMap<Table, BTreeMap<Key, Option<Row>>>,
    /// Of `rows`, the claims that began here: no table has them.
    pub new_claims: BTreeSet<Key>,
    /// People who are gone, with everything that is kept by their number.
    pub forgotten: BTreeSet<i64>,
    pub history: BTreeMap<Table, Vec<Row>>,
    pub event_count: usize,
}

impl Changes {
    /// What an entry made happen, after everything that is in here already.
    pub fn add(&mut self, told: &Told, lineage: u32, view: &State) {
        for (ordinal, event) in told.events.iter().enumerate() {
            self.event_count += 1;
            self.change(&event.change, view);
            let place = Place { lineage, told, ordinal };
            let (table, row) = place.history(event);
            self.history.entry(table).or_default().push(row);
        }
    }

    /// How many rows a transaction with these writes.
    pub fn row_count(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum::<usize>() + self.history.values().map(Vec::len).sum::<usize>()
    }

    fn change(&mut self, change: &Change, view: &State) {
        match change {
            Change::Claim { before, after } => {
                let row = claim(after);
                if before.is_none() {
                    self.new_claims.insert(Table::Claims.key(&row));
                }
                self.put(Table::Claims, row);
            }
            Change::Wait { before: _, after } => self.put(Table::Waits, wait(after)),
            Change::User { before: _, after } => self.put(Table::Users, user(after)),
            Change::Strike { user, before: _, after } => self.put(Table::Strikes, strike(*user, after)),
            Change::ReadUpTo { user, before: _, after } => self.put(Table::DeliveryMarks, mark(*user, *after)),
            Change::UserDeleted { user } => {
                let id = number(user.0);
                self.forgotten.insert(id);
                for table in [Table::Users, Table::DeliveryMarks] {
                    self.rows.entry(table).or_default().insert((id, 0), None);
                }
                if let Some(strikes) = self.rows.get_mut(&Table::Strikes) {
                    strikes.retain(|(of, _), _| *of != id);
                }
            }
            Change::CatalogReplaced { revision: _ } => {
                for table in [Table::Branches, Table::Areas, Table::Seats] {
                    rows_of(view, table).for_each(|row| self.put(table, row));
                }
            }
            Change::ItemAppended {
                stream: stream @ (Stream::Everyone | Stream::Branch(_) | Stream::Role(_)),
                position,
            } => {
                if let Some(announced) = view.announcement(*stream, *position) {
                    self.put(Table::Announcements, announcement(&announced));
                }
            }
            Change::ItemRemoved { stream: Stream::Everyone | Stream::Branch(_) | Stream::Role(_), position } => {
                let key = (number(position.index), i64::from(position.ordinal));
                self.rows.entry(Table::Announcements).or_default().insert(key, None);
            }
            // What people write to each other, and from whom they want nothing, is theirs; opening hours are in the
            // catalogue's files.
            Change::ItemAppended { stream: Stream::User(_), .. }
            | Change::ItemRemoved { stream: Stream::User(_), .. }
            | Change::Block { .. }
            | Change::ReachChanged { .. }
            | Change::Webhook { .. }
            | Change::CalendarFilled { .. }
            | Change::PresenceKeySet { .. }
            // What they were stays where it is.
            | Change::ClaimsLetGo { .. }
            | Change::PseudonymKeySet => {}
        }
    }

    fn put(&mut self, table: Table, row: Row) {
        self.rows.entry(table).or_default().insert(table.key(&row), Some(row));
    }
}

/// Every row that a state holds of a table that mirrors it, by key.
pub fn rows_of(state: &State, table: Table) -> Box<dyn Iterator<Item = Row> + Send + '_> {
    let catalog = state.catalog();
    match table {
        Table::Branches => Box::new(catalog.every_branch().map(|(id, branch)| {
            vec![
                int(id.0),
                text(branch.slug.as_str()),
                text(branch.title.as_str()),
                text(branch.time_zone.as_str()),
                Value::Flag(branch.retired),
            ]
        })),
        Table::Areas => Box::new(catalog.every_area().map(|(id, area)| {
            vec![
                int(id.0),
                int(area.branch.0),
                text(area.slug.as_str()),
                text(area.title.as_str()),
                Value::Flag(area.retired),
            ]
        })),
        Table::Seats => Box::new(catalog.seats().map(|(id, seat)| {
            let amenities: Vec<&str> = seat.amenities.iter().map(|amenity| amenity.as_str()).collect();
            vec![
                int(id.0),
                int(seat.branch.0),
                int(seat.area.0),
                text(seat.slug.as_str()),
                text(seat.label.as_str()),
                Value::Json(json!(amenities).to_string()),
                Value::Flag(seat.accessible),
                Value::Number(Some(seat.x_cm.into())),
                Value::Number(Some(seat.y_cm.into())),
                Value::Flag(seat.retired),
            ]
        })),
        Table::Users => Box::new(state.every_user().map(|row| user(&row))),
        Table::Claims => Box::new(state.every_claim().map(|of| claim(&of))),
        Table::Waits => Box::new(state.every_wait().map(wait)),
        Table::Strikes => {
            // In order of joining and of time; by key, because the record is read so.
            let mut rows: Vec<Row> = state.every_strike().map(|(user, of)| strike(user, &of)).collect();
            rows.sort_by_key(|row| table.key(row));
            Box::new(rows.into_iter())
        }
        Table::Announcements => Box::new(state.every_announcement().map(|of| announcement(&of))),
        Table::DeliveryMarks => Box::new(state.every_mark().map(|(user, position)| mark(user, position))),
        Table::ClaimTransitions | Table::Audit => Box::new(std::iter::empty()),
    }
}

fn claim(claim: &Claim) -> Row {
    vec![
        Value::Number(Some(number(claim.id.0))),
        int(claim.seat.0),
        time(claim.interval.start()),
        time(claim.interval.end()),
        optional(claim.holder.map(|holder| holder.0)),
        word(origin(claim.origin)),
        word(state_name(claim.state.name())),
        Value::Time(claim.deadline()),
        int(claim.policy.0),
        int(claim.revision),
        time(claim.created_at),
        time(claim.changed_at),
        optional(claim.previous.map(|previous| previous.0)),
        optional(claim.wait.map(|wait| wait.0)),
        Value::Flag(claim.exempt),
    ]
}

fn wait(wait: &Wait) -> Row {
    let (scope, place) = match wait.need.place {
        Scope::Seat(id) => ("SEAT", id.0),
        Scope::Area(id) => ("AREA", id.0),
        Scope::Branch(id) => ("BRANCH", id.0),
    };
    let (state, claim) = wait_state(wait.state);
    let amenities: Vec<&str> = wait.need.amenities.iter().map(|amenity| amenity.as_str()).collect();
    let passed: Vec<u32> = wait.passed.iter().map(|seat| seat.0).collect();
    vec![
        Value::Number(Some(number(wait.id.0))),
        Value::Number(Some(number(wait.user.0))),
        word(scope),
        int(place),
        Value::Json(json!(amenities).to_string()),
        Value::Flag(wait.need.accessible),
        time(wait.interval.start()),
        time(wait.interval.end()),
        int(wait.minutes),
        word(state),
        optional(claim.map(|claim| claim.0)),
        Value::Number(Some(number(wait.rank))),
        int(wait.missed),
        Value::Json(json!(passed).to_string()),
        time(wait.created_at),
        time(wait.changed_at),
    ]
}

fn user(user: &UserRow) -> Row {
    let (role, branches) = role(&user.role);
    vec![
        Value::Number(Some(number(user.id.0))),
        text(user.name.as_str()),
        word(role),
        Value::Json(json!(branches).to_string()),
        time(user.created_at),
        Value::Time(user.suspended_until),
        Value::Flag(user.needs_accessible),
    ]
}

fn strike(user: UserId, strike: &Strike) -> Row {
    vec![
        Value::Number(Some(number(user.0))),
        Value::Number(Some(number(strike.claim.0))),
        time(strike.at),
        word(match strike.cause {
            StrikeCause::NoShow => "NO_SHOW",
            StrikeCause::Released => "RELEASED",
            StrikeCause::LateCancel => "LATE_CANCEL",
        }),
        Value::Flag(strike.waived),
    ]
}

fn announcement(announced: &Announcement) -> Row {
    let (audience, branch, role) = match announced.stream {
        // Nobody else hears what is said to one person: it is never announced.
        Stream::Everyone | Stream::User(_) => ("EVERYONE", None, None),
        Stream::Branch(branch) => ("BRANCH", Some(branch.0.into()), None),
        Stream::Role(role) => ("ROLE", None, Some(Cow::Borrowed(role_name(role)))),
    };
    vec![
        Value::Number(Some(number(announced.position.index))),
        int(announced.position.ordinal),
        Value::Number(Some(number(announced.sender.0))),
        time(announced.at),
        text(announced.text.as_str()),
        word(audience),
        optional(branch),
        Value::Text(role),
    ]
}

fn mark(user: UserId, position: Position) -> Row {
    vec![Value::Number(Some(number(user.0))), Value::Number(Some(number(position.index))), int(position.ordinal)]
}

/// Where in the history something happened.
struct Place<'a> {
    lineage: u32,
    told: &'a Told,
    ordinal: usize,
}

impl Place<'_> {
    /// Every event is exactly one row of history: a transition of a claim, or an entry of the audit.
    fn history(&self, event: &Event) -> (Table, Row) {
        match &event.change {
            Change::Claim { before, after } => {
                (Table::ClaimTransitions, self.transition(&event.cause, before.as_ref(), after))
            }
            other => (Table::Audit, self.audit(&event.cause, other)),
        }
    }

    fn transition(&self, cause: &Cause, before: Option<&Claim>, after: &Claim) -> Row {
        let reporter = match after.state {
            ClaimState::Away { reported_by, .. } => reported_by,
            _ => None,
        };
        let mut row = vec![
            int(self.lineage),
            Value::Number(Some(number(after.id.0))),
            int(after.revision),
            Value::Number(Some(number(self.told.at.index))),
            self.ordinal(),
            time(self.told.at.time),
            Value::Text(before.map(|before| state_name(before.state.name()).into())),
            word(state_name(after.state.name())),
            int(after.seat.0),
            time(after.interval.start()),
            time(after.interval.end()),
            optional(after.holder.map(|holder| holder.0)),
            Value::Time(after.deadline()),
            optional(reporter.map(|reporter| reporter.0)),
        ];
        row.extend(why(cause));
        row
    }

    /// No names: an account that is deleted is gone from here, too.
    fn audit(&self, cause: &Cause, change: &Change) -> Row {
        let (subject, id, details) = match change {
            Change::CatalogReplaced { revision } => ("CATALOG", *revision, json!({})),
            Change::CalendarFilled { branch } => ("CALENDAR", branch.0.into(), json!({})),
            Change::PresenceKeySet { revision } => ("PRESENCE_KEY", u64::from(*revision), json!({})),
            Change::ClaimsLetGo { count } => ("HISTORY", (*count).into(), json!({ "claims_let_go": count })),
            Change::PseudonymKeySet => ("PSEUDONYM_KEY", 0, json!({})),
            Change::User { before, after } => {
                let of = |user: &UserRow| {
                    let (role, branches) = role(&user.role);
                    json!({
                        "role": role, "branches": branches, "needs_accessible": user.needs_accessible,
                        "suspended_until_us": user.suspended_until.map(|until| until.0),
                    })
                };
                ("USER", after.id.0, json!({ "before": before.as_ref().map(of), "after": of(after) }))
            }
            Change::UserDeleted { user } => ("USER", user.0, json!({ "deleted": true })),
            Change::ReadUpTo { user, before: _, after } => {
                ("READ_CURSOR", user.0, json!({ "entry": after.index, "ordinal": after.ordinal }))
            }
            Change::Strike { user, before: _, after } => {
                ("STRIKE", user.0, json!({ "claim": after.claim.0, "waived": after.waived }))
            }
            Change::Wait { before: _, after } => ("WAIT", after.id.0, json!({ "missed": after.missed })),
            Change::ItemAppended { stream, position } => item("ITEM", *stream, *position, false),
            Change::ItemRemoved { stream, position } => item("ITEM", *stream, *position, true),
            // Of whom is nobody's business.
            Change::Block { user, other: _, is_blocked } => ("BLOCK", user.0, json!({ "blocked": is_blocked })),
            Change::ReachChanged { user } => ("REACH", user.0, json!({})),
            // Its id is wider than the column.
            Change::Webhook { webhook, change } => {
                ("WEBHOOK", 0, json!({ "webhook": format!("{:032x}", webhook.0), "change": format!("{change:?}") }))
            }
            Change::Claim { before: _, after } => ("CLAIM", after.id.0, json!({})),
        };
        let state = match change {
            Change::Wait { after, .. } => word(wait_state(after.state).0),
            _ => Value::Text(None),
        };
        let mut row = vec![
            int(self.lineage),
            Value::Number(Some(number(self.told.at.index))),
            self.ordinal(),
            time(self.told.at.time),
            word(subject),
            Value::Number(Some(number(id))),
            state,
            Value::Json(details.to_string()),
        ];
        row.extend(why(cause));
        row
    }

    fn ordinal(&self) -> Value {
        Value::Number(i64::try_from(self.ordinal).ok())
    }
}

fn item(
    subject: &'static str,
    stream: Stream,
    position: Position,
    removed: bool,
) -> (&'static str, u64, serde_json::Value) {
    let details = json!({ "entry": position.index, "ordinal": position.ordinal, "removed": removed });
    match stream {
        Stream::Everyone | Stream::Branch(_) | Stream::Role(_) => ("ANNOUNCEMENT", position.index, details),
        Stream::User(user) => (subject, user.0, details),
    }
}

/// Who, why, and in whose words: the last columns of every row of history.
fn why(cause: &Cause) -> [Value; 4] {
    let (actor, id) = match cause.actor {
        Actor::Time => ("TIME", None),
        Actor::System => ("SYSTEM", None),
        Actor::Anonymous => ("ANONYMOUS", None),
        Actor::User(user) => ("USER", Some(user.0)),
    };
    let reason = match cause.reason {
        Reason::TimePassed => "TIME_PASSED".into(),
        Reason::OutageCredited => "OUTAGE_CREDITED".into(),
        Reason::Asked(action) => asked(action),
    };
    let note = cause.note.as_ref().map(|note| Cow::Owned(note.as_str().to_owned()));
    [word(actor), optional(id), Value::Text(Some(reason)), Value::Text(note)]
}

/// "CheckIn" is "CHECK_IN".
fn asked(action: ActionName) -> Cow<'static, str> {
    let mut name = String::new();
    for c in format!("{action:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name.into()
}

fn role(role: &Role) -> (&'static str, Vec<u32>) {
    let branches = match role {
        Role::Librarian(branches) => branches.iter().map(|branch| branch.0).collect(),
        Role::Patron | Role::Admin | Role::Auditor | Role::Kiosk => Vec::new(),
    };
    (role_name(role.name()), branches)
}

fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Patron => "PATRON",
        RoleName::Librarian => "LIBRARIAN",
        RoleName::Admin => "ADMIN",
        RoleName::Auditor => "AUDITOR",
        RoleName::Kiosk => "KIOSK",
    }
}

pub fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Booking => "BOOKING",
        Origin::Hold => "HOLD",
        Origin::Offer => "OFFER",
        Origin::WalkIn => "WALK_IN",
        Origin::Maintenance => "MAINTENANCE",
        Origin::Closure => "CLOSURE",
    }
}

/// And the claim that goes with it.
fn wait_state(state: WaitState) -> (&'static str, Option<ClaimId>) {
    match state {
        WaitState::Waiting => ("WAITING", None),
        WaitState::Offered { claim } => ("OFFERED", Some(claim)),
        WaitState::Fulfilled { claim } => ("FULFILLED", Some(claim)),
        WaitState::Left => ("LEFT", None),
        WaitState::Expired => ("EXPIRED", None),
    }
}

pub fn state_name(state: StateName) -> &'static str {
    match state {
        StateName::Held => "HELD",
        StateName::Confirmed => "CONFIRMED",
        StateName::CheckedIn => "CHECKED_IN",
        StateName::Away => "AWAY",
        StateName::Expired => "EXPIRED",
        StateName::Cancelled => "CANCELLED",
        StateName::Displaced => "DISPLACED",
        StateName::NoShow => "NO_SHOW",
        StateName::Released => "RELEASED",
        StateName::Completed => "COMPLETED",
    }
}

/// Ids count up from 0: none ever reaches what a bigint cannot hold.
fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn int(number: u32) -> Value {
    Value::Number(Some(number.into()))
}

fn optional(id: Option<u64>) -> Value {
    Value::Number(id.map(number))
}

fn time(at: Timestamp) -> Value {
    Value::Time(Some(at))
}

fn word(word: &'static str) -> Value {
    Value::Text(Some(Cow::Borrowed(word)))
}

fn text(text: &str) -> Value {
    Value::Text(Some(Cow::Owned(text.to_owned())))
}
