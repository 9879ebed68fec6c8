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
    // The seat.
    SeatTaken,
    // A claim that exists.
    ReservationNotFound,
    StateConflict { state: StateName },
    CheckInTooEarly { opens_at: Timestamp },
    GraceElapsed,
    OfferExpired,
    // The waitlist.
    WaitNotFound,
    WaitIsOver,
    TooManyWaits { max: u32 },
    AlreadyWaiting,
    // Messages.
    RecipientNotFound { position: u32 },
    MessageNotFound,
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
            | Self::TooLong { .. } => false,
            Self::UserNameTaken
            | Self::UserNotFound
            | Self::LastAdmin
            | Self::BranchNotFound
            | Self::AreaNotFound
            | Self::SeatNotFound
            | Self::CatalogChanged { .. }
            | Self::InThePast { .. }
            | Self::TooFarAhead { .. }
            | Self::Closed
            | Self::Suspended { .. }
            | Self::OwnOverlap { .. }
            | Self::TooManyReservations { .. }
            | Self::TooManyMinutes { .. }
            | Self::SeatTaken
            | Self::ReservationNotFound
            | Self::StateConflict { .. }
            | Self::CheckInTooEarly { .. }
            | Self::GraceElapsed
            | Self::OfferExpired
            | Self::WaitNotFound
            | Self::WaitIsOver
            | Self::TooManyWaits { .. }
            | Self::AlreadyWaiting
            | Self::RecipientNotFound { .. }
            | Self::MessageNotFound => true,
        }
    }
}
