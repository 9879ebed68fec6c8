//! Every way to say no. A refusal is an answer, not a failure, and is remembered like any other answer.

use serde::{Deserialize, Serialize};

use crate::claim::StateName;
use crate::id::ClaimId;
use crate::time::Timestamp;

/// Small on purpose: request records keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    // Who asks.
    SessionExpired,
    NotPermitted,
    // Retries.
    RequestIdReused,
    TooManyRequests,
    // Accounts.
    UserNameTaken,
    UserNotFound,
    PasswordChanged,
    LastAdmin,
    // The catalogue.
    BranchNotFound,
    AreaNotFound,
    SeatNotFound,
    CatalogInvalid { fault_count: u32 },
    CatalogChanged { revision: u64 },
    CalendarOutdated,
    // When and where.
    InThePast { earliest: Timestamp },
    TooSoon { notice_minutes: u32 },
    TooFarAhead { window_days: u32 },
    Closed,
    CalendarPending,
    OffGrid { grid_minutes: u32 },
    TooShort { min_minutes: u32 },
    TooLong { max_minutes: u32 },
    // The person.
    Suspended { until: Timestamp },
    OwnOverlap { claim: ClaimId },
    TooManyReservations { max: u32 },
    TooManyMinutes { max_per_day: u32, left: u32 },
    TooManyMinutesInWeek { max_per_week: u32, left: u32 },
    TooManyOnDay { max: u32 },
    TooManyInWeek { max: u32 },
    TooManyFuture { max: u32 },
    HoldExists { claim: ClaimId },
    // The seat.
    KeptAccessible { until: Timestamp },
    SeatTaken,
    SeatNotOccupied,
    // Several at once.
    TooManyAtOnce { max: u32 },
    MemberUnavailable { position: u32 },
    GroupSeatTaken { position: u32 },
    // A claim that exists.
    ReservationNotFound,
    StateConflict { state: StateName },
    CheckInTooEarly { opens_at: Timestamp },
    GraceElapsed,
    OfferExpired,
    HoldExpired,
    PresenceNotProven,
    TooLateToChange { minutes: u32 },
    TooManyReports { max: u32 },
    // What staff do.
    StrikeNotFound,
    SuspensionInvalid { max_days: u32 },
    // The waitlist.
    WaitNotFound,
    WaitIsOver,
    TooManyWaits { max: u32 },
    AlreadyWaiting,
    TooFlexible { max_starts: u32 },
    // Messages.
    RecipientNotFound { position: u32 },
    MessageNotFound,
    TooManyBlocks { max: u32 },
    // Sessions.
    SessionNotFound,
    // The world outside.
    AddressNotProven,
    WebhookNotFound,
    TooManyWebhooks { max: u32 },
    // What staff do to others.
    ReasonMissing,
}

impl Refusal {
    /// Whether a repetition of the request gets the same refusal. What depends on who asks, or on the shape of the
    /// request alone, is decided afresh each time: a permission may have been granted meanwhile.
    #[must_use]
    pub const fn is_recorded(self) -> bool {
        match self {
            Self::SessionExpired
            | Self::NotPermitted
            | Self::RequestIdReused
            | Self::TooManyRequests
            | Self::PasswordChanged
            | Self::CatalogInvalid { .. }
            | Self::CalendarOutdated
            | Self::CalendarPending
            | Self::OffGrid { .. }
            | Self::TooShort { .. }
            | Self::TooLong { .. }
            | Self::TooManyAtOnce { .. }
            | Self::TooFlexible { .. }
            | Self::SuspensionInvalid { .. }
            | Self::PresenceNotProven
            | Self::AddressNotProven
            | Self::ReasonMissing => false,
            Self::UserNameTaken
            | Self::UserNotFound
            | Self::LastAdmin
            | Self::BranchNotFound
            | Self::AreaNotFound
            | Self::SeatNotFound
            | Self::CatalogChanged { .. }
            | Self::InThePast { .. }
            | Self::TooSoon { .. }
            | Self::TooFarAhead { .. }
            | Self::Closed
            | Self::Suspended { .. }
            | Self::OwnOverlap { .. }
            | Self::TooManyReservations { .. }
            | Self::TooManyMinutes { .. }
            | Self::TooManyMinutesInWeek { .. }
            | Self::TooManyOnDay { .. }
            | Self::TooManyInWeek { .. }
            | Self::TooManyFuture { .. }
            | Self::HoldExists { .. }
            | Self::KeptAccessible { .. }
            | Self::SeatTaken
            | Self::SeatNotOccupied
            | Self::MemberUnavailable { .. }
            | Self::GroupSeatTaken { .. }
            | Self::ReservationNotFound
            | Self::StateConflict { .. }
            | Self::CheckInTooEarly { .. }
            | Self::GraceElapsed
            | Self::OfferExpired
            | Self::HoldExpired
            | Self::TooLateToChange { .. }
            | Self::TooManyReports { .. }
            | Self::StrikeNotFound
            | Self::WaitNotFound
            | Self::WaitIsOver
            | Self::TooManyWaits { .. }
            | Self::AlreadyWaiting
            | Self::RecipientNotFound { .. }
            | Self::MessageNotFound
            | Self::TooManyBlocks { .. }
            | Self::SessionNotFound
            | Self::WebhookNotFound
            | Self::TooManyWebhooks { .. } => true,
        }
    }
}
