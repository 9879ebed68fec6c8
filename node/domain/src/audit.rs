//! What was changed, by whom and why, with before and after: what there is to say to "why was I marked as a no-show?"
//!
//! The newest changes are a part of the state, so that any node answers, and answers alike; all of them are in the
//! relational record, where one is kept. Nothing in here has a name: of somebody whose account is gone a number is left
//! that is nobody's any more, and what staff had noted of them goes with them.

use std::ops::Range;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::account::Role;
use crate::claim::{Claim, ClaimState};
use crate::event::{Actor, Change, Event, Reason, UserRow};
use crate::id::{ClaimId, Position, SeatId, UserId, WaitId, WebhookId};
use crate::request::At;
use crate::scroll::Scroll;
use crate::strike::StrikeCause;
use crate::text::Title;
use crate::time::{DAY_US, Interval, Timestamp};
use crate::waitlist::WaitState;
use crate::webhook::WebhookChange;

/// Some ten megabytes: a week of a large campus, a term of a small one.
pub const ENTRIES_KEPT_MAX: usize = 100_000;
/// As long as items are kept.
const KEPT_US: i64 = crate::inbox::KEPT_DAYS * DAY_US;
/// Old entries that go with one that comes: more than come with most.
const LET_GO_PER_ENTRY: usize = 8;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: At,
    /// Which of the changes of that log entry.
    pub ordinal: u32,
    pub actor: Actor,
    pub reason: Reason,
    pub note: Option<Title>,
    /// Whom it concerns.
    pub subject: Option<UserId>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    Claim {
        claim: ClaimId,
        before: Option<ClaimThen>,
        after: ClaimThen,
    },
    Wait {
        wait: WaitId,
        before: Option<WaitState>,
        after: WaitState,
    },
    Strike {
        claim: ClaimId,
        cause: StrikeCause,
        waived: bool,
    },
    Account {
        before: Option<AccountThen>,
        after: AccountThen,
    },
    AccountDeleted,
    Catalog {
        revision: u64,
    },
    PresenceKey {
        revision: u32,
    },
    /// So many claims have become history.
    LetGo {
        count: u32,
    },
    PseudonymKey,
    Webhook {
        webhook: WebhookId,
        change: WebhookChange,
    },
}

/// What changes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimThen {
    pub seat: SeatId,
    pub interval: Interval,
    pub state: ClaimState,
}

/// What changes of an account, without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountThen {
    pub role: Role,
    pub suspended_until: Option<Timestamp>,
    pub needs_accessible: bool,
}

impl Entry {
    #[must_use]
    pub fn position(&self) -> Position {
        Position { index: self.at.index, ordinal: self.ordinal }
    }
}

/// The newest changes, in order, and for each person those that concern them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    /// Each with the place of the one before it of the same person, which may be gone.
    entries: Scroll<(Entry, Option<u64>)>,
    newest: OrdMap<UserId, u64>,
    /// The newest that is gone: whoever follows the changes and was told less has missed something.
    let_go: Position,
}

impl Trail {
    pub fn follow(&mut self, at: At, events: &[Event]) {
        let mut ordinal = 0;
        for event in events {
            if let Change::UserDeleted { user } = &event.change {
                self.forget_notes_of(*user);
            }
            let Some((subject, what)) = told(&event.change) else { continue };
            let note = event.cause.note.clone().filter(|_| what != What::AccountDeleted);
            let (actor, reason) = (event.cause.actor, event.cause.reason);
            self.push(Entry { at, ordinal, actor, reason, note, subject, what });
            ordinal += 1;
        }
        for _ in 0..LET_GO_PER_ENTRY {
            let Some(oldest) = self.entries.begin::<At>(self.entries.places().start) else { return };
            if at.time < oldest.time.plus_us(KEPT_US) {
                return;
            }
            self.pop();
        }
    }

    pub fn push(&mut self, entry: Entry) {
        let place = self.entries.places().end;
        let previous = match (entry.subject, &entry.what) {
            // Nobody asks for them by name any more.
            (Some(user), What::AccountDeleted) => self.newest.remove(&user),
            (Some(user), _) => self.newest.insert(user, place),
            (None, _) => None,
        };
        self.entries.push(&(entry, previous));
        if self.entries.len() > ENTRIES_KEPT_MAX {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let place = self.entries.places().start;
        if let Some((oldest, _)) = self.entries.pop() {
            self.let_go = oldest.position();
            if let Some(user) = oldest.subject
                && self.newest.get(&user) == Some(&place)
            {
                self.newest.remove(&user);
            }
        }
    }

    /// Of one person, newest first.
    pub fn of(&self, user: UserId) -> impl Iterator<Item = Entry> {
        let mut next = self.newest.get(&user).copied();
        std::iter::from_fn(move || {
            let (entry, previous) = self.entries.get(next?)?;
            next = previous;
            Some(entry)
        })
    }

    /// All of them, newest first.
    pub fn all(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().rev().map(|(entry, _)| entry)
    }

    /// After a position, oldest first.
    pub fn after(&self, position: Position) -> impl Iterator<Item = Entry> {
        let Range { start: mut first, end: mut last } = self.entries.places();
        while first < last {
            let middle = first + (last - first) / 2;
            let begins: Option<(At, u32)> = self.entries.begin(middle);
            if begins.is_some_and(|(at, ordinal)| Position { index: at.index, ordinal } <= position) {
                first = middle + 1;
            } else {
                last = middle;
            }
        }
        (first..).map_while(|place| self.entries.get(place)).map(|(entry, _)| entry)
    }

    pub fn let_go(&self) -> Position {
        self.let_go
    }

    pub fn has_let_go(&mut self, position: Position) {
        self.let_go = position;
    }

    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_things().map(|(entry, _)| entry)
    }

    fn forget_notes_of(&mut self, user: UserId) {
        let mut next = self.newest.get(&user).copied();
        while let Some(place) = next
            && let Some((mut entry, previous)) = self.entries.get(place)
        {
            next = previous;
            if entry.note.take().is_some() {
                self.entries.replace(place, &(entry, previous));
            }
        }
    }
}

/// Whom a change concerns, and what of it is audited: what people write to each other and how far they have read is
/// theirs.
fn told(change: &Change) -> Option<(Option<UserId>, What)> {
    Some(match change {
        Change::Claim { before, after } => (
            after.holder,
            What::Claim { claim: after.id, before: before.as_ref().map(claim_then), after: claim_then(after) },
        ),
        Change::Wait { before, after } => {
            let before = before.as_ref().map(|wait| wait.state);
            (Some(after.user), What::Wait { wait: after.id, before, after: after.state })
        }
        Change::Strike { user, before: _, after } => {
            (Some(*user), What::Strike { claim: after.claim, cause: after.cause, waived: after.waived })
        }
        Change::User { before, after } => {
            (Some(after.id), What::Account { before: before.as_ref().map(account_then), after: account_then(after) })
        }
        Change::UserDeleted { user } => (Some(*user), What::AccountDeleted),
        Change::CatalogReplaced { revision } => (None, What::Catalog { revision: *revision }),
        Change::PresenceKeySet { revision } => (None, What::PresenceKey { revision: *revision }),
        Change::ClaimsLetGo { count } => (None, What::LetGo { count: *count }),
        Change::PseudonymKeySet => (None, What::PseudonymKey),
        Change::Webhook { webhook, change } => (None, What::Webhook { webhook: *webhook, change: *change }),
        Change::CalendarFilled { .. }
        | Change::ReadUpTo { .. }
        | Change::ItemAppended { .. }
        | Change::ItemRemoved { .. }
        | Change::Block { .. }
        | Change::ReachChanged { .. } => return None,
    })
}

fn claim_then(claim: &Claim) -> ClaimThen {
    ClaimThen { seat: claim.seat, interval: claim.interval, state: claim.state }
}

fn account_then(row: &UserRow) -> AccountThen {
    let UserRow { id: _, name: _, role, created_at: _, suspended_until, needs_accessible } = row;
    AccountThen { role: role.clone(), suspended_until: *suspended_until, needs_accessible: *needs_accessible }
}
