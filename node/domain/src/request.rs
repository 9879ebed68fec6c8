//! Everything that may enter the log. Whatever could vary from one replica to the next was decided before: ids of
//! requests, password hashes, session tokens, local days. What is named here by name is looked up in `apply`.

use serde::{Deserialize, Serialize};

use crate::account::{PasswordHash, Role, RoleName};
use crate::calendar::Day;
use crate::catalog::Draft;
use crate::history::PseudonymSecret;
use crate::id::{BranchId, ClaimId, Position, RequestId, TokenDigest, UserId, WaitId, WebhookId};
use crate::mail::{MailCode, MailMark, MailWishes};
use crate::presence::{PresenceSecret, Proof};
use crate::text::{MailAddress, MessageText, Slug, Title, UserName, WebhookUrl};
use crate::time::{Interval, Timestamp};
use crate::webhook::{WebhookMark, WebhookSecret};

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

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })?,)*) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: $kind,)* })?,)*
        }

        /// What was asked for, without what goes with it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ActionName {
            $($name,)*
        }

        impl ActionName {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl Action {
            #[must_use]
            pub const fn name(&self) -> ActionName {
                match self {
                    $(Self::$name $({ $($field: _,)* })? => ActionName::$name,)*
                }
            }
        }
    };
}

actions! {
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
        wish: Wish,
    },
    /// To the holder it is a check-in; to who is away or was reported, the return.
    CheckIn {
        claim: ClaimId,
        proof: Option<Proof>,
    },
    CheckOut {
        claim: ClaimId,
    },
    Cancel {
        claim: ClaimId,
        /// From staff who cancel what is not theirs.
        reason: Option<Title>,
    },
    JoinWaitlist {
        need: Need<Place<Slug>>,
        /// From the earliest start to the end of a stay that starts at the latest.
        interval: Interval,
        /// How long a stay; none: all of the interval.
        minutes: Option<u32>,
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
    /// The seat is kept for a little while, and nothing is booked unless it is confirmed.
    Hold {
        wish: Wish,
    },
    /// Of one's own hold, or of an invitation to a group.
    Confirm {
        claim: ClaimId,
    },
    /// Somebody sits down, from the slot now running on.
    WalkIn {
        seat: SeatName,
        end: Timestamp,
        /// By staff or at a kiosk: who sits down there.
        person: Option<UserName>,
        proof: Option<Proof>,
    },
    StepAway {
        claim: ClaimId,
    },
    Extend {
        claim: ClaimId,
        end: Timestamp,
    },
    /// Another seat or time for the same claim; refused, it keeps what it has.
    Reschedule {
        claim: ClaimId,
        seat: SeatName,
        interval: Interval,
    },
    /// A seat for each, or nothing at all.
    ReserveGroup {
        seats: Vec<GroupSeat>,
        interval: Interval,
    },
    /// As many bookings as there are wishes, each granted or refused by itself.
    ReserveMany {
        wishes: Vec<Wish>,
    },
    /// Booked, and nobody there: the holder has to show up or lose it.
    ReportEmptySeat {
        seat: SeatName,
    },
    CloseSeats {
        place: Place<Slug>,
        interval: Interval,
        closing: Closing,
        reason: Title,
    },
    /// Ends what closes seats of this place within the interval.
    ReopenSeats {
        place: Place<Slug>,
        interval: Interval,
        reason: Title,
    },
    Suspend {
        name: UserName,
        until: Timestamp,
        reason: Title,
    },
    /// Forgives whatever led to it.
    Unsuspend {
        name: UserName,
        reason: Title,
    },
    WaiveStrike {
        name: UserName,
        claim: ClaimId,
        reason: Title,
    },
    SetAccessibility {
        name: UserName,
        needs_accessible: bool,
    },
    /// Drawn at random at the edge.
    SetPresenceKey {
        secret: PresenceSecret,
    },
    /// The relational record has everything of entries up to there; the first time: somebody keeps one from now on.
    Projected {
        through: u64,
    },
    /// No messages from this person any more.
    Block {
        name: UserName,
    },
    Unblock {
        name: UserName,
    },
    /// To the admins.
    ReportMessage {
        message: Position,
        reason: Title,
    },
    /// Claims that are over since before a time leave the state: the relational record has everything of entries up
    /// to `recorded`.
    LetGo {
        recorded: u64,
        before: Timestamp,
        claims: Vec<ClaimId>,
    },
    /// Drawn at random at the edge, once.
    SetPseudonymKey {
        secret: PseudonymSecret,
    },
    /// To some, where a broadcast is to all.
    Announce {
        audience: Audience,
        text: MessageText,
    },
    /// The branches whose announcements somebody wants to hear: these and no others.
    SetFollowed {
        branches: Vec<Slug>,
    },
    /// The password was verified against `old`; if that changed meanwhile, it has to be verified again.
    ChangePassword {
        old: PasswordHash,
        new: PasswordHash,
    },
    RevokeSession {
        session: TokenDigest,
    },
    /// Drawn at random at the edge; none: no address any more.
    SetCalendarFeed {
        token: Option<TokenDigest>,
    },
    /// The code was drawn at random at the edge, should the address have to be proven; none: no mail any more.
    SetMail {
        wanted: Option<(MailAddress, MailWishes)>,
        code: MailCode,
    },
    ConfirmMail {
        code: MailCode,
    },
    /// Id and secret were drawn at random at the edge.
    AddWebhook {
        webhook: WebhookId,
        url: WebhookUrl,
        secret: WebhookSecret,
    },
    RotateWebhookSecret {
        webhook: WebhookId,
        secret: WebhookSecret,
    },
    RemoveWebhook {
        webhook: WebhookId,
    },
    /// By the leader: what has gone out into the world.
    Sent {
        mails: Vec<MailMark>,
        webhooks: Vec<WebhookMark>,
    },
}

impl Action {
    /// From which level on a release knows it: before every node of a cluster has that one, it does not enter the log.
    #[must_use]
    pub const fn level(&self) -> u32 {
        match self {
            Self::LetGo { .. }
            | Self::SetPseudonymKey { .. }
            | Self::Announce { .. }
            | Self::SetFollowed { .. }
            | Self::ChangePassword { .. }
            | Self::RevokeSession { .. }
            | Self::SetCalendarFeed { .. }
            | Self::SetMail { .. }
            | Self::ConfirmMail { .. }
            | Self::AddWebhook { .. }
            | Self::RotateWebhookSecret { .. }
            | Self::RemoveWebhook { .. }
            | Self::Sent { .. } => 1,
            _ => 0,
        }
    }
}

/// Some of all people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Who follows it, and its librarians.
    Branch(Slug),
    Role(RoleName),
}

/// What somebody wants to book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// Of several seats that answer it, the first in the order of the catalogue is taken.
    pub need: Need<Place<Slug>>,
    pub interval: Interval,
    /// By staff: for whom.
    pub behalf: Option<Behalf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behalf {
    pub person: UserName,
    pub reason: Title,
    /// Also beyond window, notice and quotas, and on seats that are kept for others.
    pub exempt: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSeat {
    pub seat: SeatName,
    pub person: UserName,
}

/// What the institution needs a seat for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closing {
    Maintenance,
    Closure,
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

impl Wish {
    /// One seat, for oneself.
    #[must_use]
    pub fn of_seat(seat: SeatName, interval: Interval) -> Self {
        let SeatName { branch, seat } = seat;
        let need = Need { place: Place::Seat { branch, seat }, amenities: Vec::new(), accessible: false };
        Self { need, interval, behalf: None }
    }
}

impl<Name> Place<Name> {
    #[must_use]
    pub const fn branch(&self) -> &Name {
        match self {
            Self::Seat { branch, .. } | Self::Area { branch, .. } | Self::Branch { branch } => branch,
        }
    }
}
