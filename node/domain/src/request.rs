//! Everything that may enter the log. Whatever could vary from one replica to the next was decided before: ids of
//! requests, password hashes, session tokens, local days. What is named here by name is looked up in `apply`.

use serde::{Deserialize, Serialize};

use crate::account::{PasswordHash, Role};
use crate::calendar::Day;
use crate::catalog::Draft;
use crate::id::{BranchId, ClaimId, Position, RequestId, TokenDigest, UserId, WaitId};
use crate::text::{MessageText, Slug, Title, UserName};
use crate::time::{Interval, Timestamp};

/// Where in the log, and when: what `apply` knows of an entry besides the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub index: u64,
    pub time: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub caller: Caller,
    /// Without it the outcome is not remembered.
    pub retry: Option<RetryKey>,
    pub action: Action,
}

impl Request {
    /// A request of the cluster itself.
    #[must_use]
    pub const fn system(action: Action) -> Self {
        Self { caller: Caller::System, retry: None, action }
    }
}

/// On whose authority. A session is looked up when the request is applied, so a revoked one stops at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    System,
    Anonymous,
    Session(TokenDigest),
}

/// What makes two requests the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryKey {
    pub id: RequestId,
    /// A hash of what the client sent, without secrets: another digest under the same id is another request.
    pub digest: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Nothing but the passing of time.
    Tick,
    /// Local days of a branch, expanded from the hours of this revision.
    FillCalendar {
        branch: BranchId,
        hours_revision: u64,
        days: Vec<Day>,
    },
    /// Only while there is no admin.
    CreateFirstAdmin {
        name: UserName,
        password: PasswordHash,
    },
    Register {
        name: UserName,
        password: PasswordHash,
    },
    /// The password was verified against `password`; if that changed meanwhile, it has to be verified again.
    StartSession {
        user: UserId,
        password: PasswordHash,
        token: TokenDigest,
    },
    EndSession,
    DeleteUser {
        name: UserName,
    },
    SetRole {
        name: UserName,
        role: Role<Slug>,
    },
    ImportCatalog {
        draft: Box<Draft>,
        expected_revision: Option<u64>,
    },
    Reserve {
        seat: SeatName,
        interval: Interval,
    },
    CheckIn {
        claim: ClaimId,
    },
    CheckOut {
        claim: ClaimId,
    },
    Cancel {
        claim: ClaimId,
    },
    JoinWaitlist {
        need: Need<Place<Slug>>,
        interval: Interval,
    },
    LeaveWaitlist {
        wait: WaitId,
    },
    AcceptOffer {
        claim: ClaimId,
    },
    DeclineOffer {
        claim: ClaimId,
    },
    SendMessage {
        recipients: Vec<UserName>,
        text: MessageText,
    },
    Broadcast {
        text: MessageText,
    },
    DeleteMessage {
        message: Position,
    },
    AdvanceReadCursor {
        up_to: Position,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeatName {
    pub branch: Slug,
    pub seat: Slug,
}

/// One seat, or any seat of an area or a branch; by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place<Name> {
    Seat { branch: Name, seat: Name },
    Area { branch: Name, area: Name },
    Branch { branch: Name },
}

/// What somebody waits for. A seat must have all the amenities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need<At> {
    pub place: At,
    pub amenities: Vec<Title>,
    pub accessible: bool,
}
