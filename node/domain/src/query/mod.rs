//! Reading the state. Every view is complete in itself: ids are resolved to names, so that it can be passed on as it
//! is. Reads are evaluated at the time of the last applied entry.

use serde::{Deserialize, Serialize};

use crate::account::{PasswordHash, Role};
use crate::claim::Claim;
use crate::id::{ClaimId, Position, SeatId, UserId, WaitId};
use crate::inbox::Stream;
use crate::request::{Place, SeatName};
use crate::text::{MessageText, Slug, Title, UserName};
use crate::time::{Interval, Timestamp};
use crate::waitlist::Wait;

mod people;
mod seats;
mod own;
mod export;
mod record;
mod audit;

pub use audit::{AuditActor, AuditPage, AuditPerson, AuditSearch, AuditView};
pub use export::{Export, SessionView};
pub use record::Announcement;

/// Most entries of a seat's timetable.
pub const BUSY_MAX: usize = 100;
pub const OPEN_MAX: usize = 14;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    pub id: UserId,
    pub name: UserName,
    pub role: Role<Slug>,
    pub created_at: Timestamp,
    pub suspended_until: Option<Timestamp>,
}

/// Who reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewer {
    pub user: UserView,
    pub expires_at: Timestamp,
    pub unread_count: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    pub user: UserId,
    pub password: PasswordHash,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimView {
    pub claim: Claim,
    pub seat: SeatName,
    /// None: the institution, or somebody whose account is gone.
    pub holder: Option<UserName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitView {
    pub wait: Wait,
    pub user: Option<UserName>,
    pub place: Place<Slug>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageView {
    pub stream: Stream,
    pub position: Position,
    pub sender: Option<UserName>,
    /// None: their account is gone. Empty for announcements.
    pub recipients: Vec<Option<UserName>>,
    pub text: MessageText,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ItemView {
    pub position: Position,
    pub at: Timestamp,
    pub is_unread: bool,
    pub subject: ItemSubject,
}

/// What an inbox item is about.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemSubject {
    Message { sender: Option<UserName>, text: MessageText },
    Announcement { sender: Option<UserName>, text: MessageText },
    OfferMade { claim: ClaimId },
    OfferExpired { claim: ClaimId },
    NoShow { claim: ClaimId },
    Displaced { claim: ClaimId },
    CancelledByStaff { claim: ClaimId },
    Suspended { until: Timestamp },
    WaitExpired { wait: WaitId },
    HoldExpired { claim: ClaimId },
    Released { claim: ClaimId },
    Moved { claim: ClaimId },
    BookedForYou { claim: ClaimId },
    SeatReported { claim: ClaimId, until: Timestamp },
    CancelledLate { claim: ClaimId },
    StrikeWaived { claim: ClaimId },
    Unsent { message: Position },
    Reported { reporter: Option<UserName>, sender: Option<UserName>, text: MessageText, reason: Title },
}

/// What the same people have written to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationView {
    /// Everybody but the viewer, by id; none: their account is gone. Nobody: notes to oneself.
    pub others: Vec<Option<UserName>>,
    /// The newest message.
    pub last: MessageView,
    pub unread_count: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeatView {
    pub id: SeatId,
    pub branch: Slug,
    pub area: Slug,
    pub seat: Slug,
    pub label: Title,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    pub x_cm: i32,
    pub y_cm: i32,
    pub available: bool,
    /// While available: when the next claim or closing time ends that.
    pub free_until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeatTimetable {
    pub seat: SeatView,
    pub busy: Vec<Interval>,
    pub open: Vec<Interval>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BranchView {
    pub slug: Slug,
    pub title: Title,
    pub time_zone: Title,
    pub areas: Vec<AreaView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AreaView {
    pub slug: Slug,
    pub title: Title,
    pub seat_count: u32,
    pub available_count: u32,
    pub is_open: bool,
}

/// What a seat must be to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct SeatSearch {
    pub branch: Slug,
    pub area: Option<Slug>,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    /// None: the present moment.
    pub interval: Option<Interval>,
    pub available_only: bool,
    /// Only seats behind this one in the order of the results.
    pub after: Option<SeatId>,
    pub limit: usize,
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    fn of(mut items: impl Iterator<Item = T>, limit: usize) -> Self {
        let page = items.by_ref().take(limit).collect();
        Self { items: page, more: items.next().is_some() }
    }
}
