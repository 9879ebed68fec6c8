//! What an entry made happen: each change once, with who caused it and why, and with the whole row before and after, so
//! that live streams, the relational record and the audit need nothing else.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Role, Strike, User};
use crate::claim::Claim;
use crate::id::{BranchId, Position, UserId, WebhookId};
use crate::inbox::Stream;
use crate::request::ActionName;
use crate::text::{Title, UserName};
use crate::time::Timestamp;
use crate::waitlist::Wait;
use crate::webhook::WebhookChange;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub cause: Cause,
    pub change: Change,
}

/// Why something changed. What follows from a request has its cause: an offer to the first in line was caused by
/// whoever cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub actor: Actor,
    pub reason: Reason,
    /// In the words of the staff who did it.
    pub note: Option<Title>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// Nobody: it was time.
    Time,
    System,
    Anonymous,
    User(UserId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// A deadline passed, or an interval ended.
    TimePassed,
    /// An outage had taken a part of the time that there was.
    OutageCredited,
    Asked(ActionName),
}

impl Cause {
    pub(crate) const fn time(reason: Reason) -> Self {
        Self { actor: Actor::Time, reason, note: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    CatalogReplaced {
        revision: u64,
    },
    CalendarFilled {
        branch: BranchId,
    },
    /// The key of the codes that seats show; the key itself is told to nobody.
    PresenceKeySet {
        revision: u32,
    },
    User {
        before: Option<UserRow>,
        after: UserRow,
    },
    /// With everything that was known of them. What they did is kept, under a number that is nobody's any more.
    UserDeleted {
        user: UserId,
    },
    ReadUpTo {
        user: UserId,
        before: Position,
        after: Position,
    },
    Strike {
        user: UserId,
        before: Option<Strike>,
        after: Strike,
    },
    Claim {
        before: Option<Claim>,
        after: Claim,
    },
    Wait {
        before: Option<Arc<Wait>>,
        after: Arc<Wait>,
    },
    ItemAppended {
        stream: Stream,
        position: Position,
    },
    ItemRemoved {
        stream: Stream,
        position: Position,
    },
    Block {
        user: UserId,
        other: UserId,
        is_blocked: bool,
    },
    /// Which audiences somebody belongs to, the address of their calendar, or of their mail. What it is now is theirs
    /// to know.
    ReachChanged {
        user: UserId,
    },
    /// So many claims that were over have left the state, and are in the relational record alone.
    ClaimsLetGo {
        count: u32,
    },
    /// What pseudonyms are made with was drawn; what it is, is told to nobody.
    PseudonymKeySet,
    Webhook {
        webhook: WebhookId,
        change: WebhookChange,
    },
}

/// An account without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    pub id: UserId,
    pub name: UserName,
    pub role: Role,
    pub created_at: Timestamp,
    pub suspended_until: Option<Timestamp>,
    pub needs_accessible: bool,
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            role: user.role.clone(),
            created_at: user.created.time,
            suspended_until: user.suspended_until,
            needs_accessible: user.needs_accessible,
        }
    }
}
