//! What clients saw of a cluster, recorded and judged: nothing acknowledged is lost, nothing happens twice, and every
//! answer fits one order of all calls that agrees with real time and with the log.
//!
//! The judges are pure. They know of a library only what they need: persons, seats, claims and intervals, as numbers.

// In reading order: what is written down, then how it is judged.
mod call;
mod recorder;
mod operation;
mod effects;
mod order;
mod linearizable;
mod judgement;

pub use call::{
    Answer, Attempt, Claim, Command, Interval, Listing, Look, Outcome, Person, Refused, Request, Seat, Standing, State,
};
pub use judgement::{Judgement, judge};
pub use linearizable::Verdict;
pub use operation::{Operation, operations};
pub use recorder::{History, Recorder};

use thiserror::Error;

/// Which promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// What was acknowledged stands.
    Kept,
    /// Every request has at most one effect, and every effect one request; nothing is two people's.
    Once,
    /// Every answer fits one order of all calls, that of the log and of time.
    InOrder,
}

impl Violation {
    #[must_use]
    pub const fn broken(&self) -> Broken {
        match self {
            Self::Lost { .. } | Self::Undone { .. } => Broken::Kept,
            Self::AnswersDiffer { .. }
            | Self::OneEffectForTwo(..)
            | Self::Uncaused(_)
            | Self::Repeated { .. }
            | Self::DoublyBooked(..)
            | Self::PersonTwice(..)
            | Self::OneEntryForTwo(..) => Broken::Once,
            Self::UncausedState { .. }
            | Self::AgainstTime { .. }
            | Self::StaleList { .. }
            | Self::NotLinearizable { .. } => Broken::InOrder,
        }
    }
}

/// A promise that was broken, and the calls that show it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("{request:?} was answered differently when it was repeated: {first:?}, then {then:?}")]
    AnswersDiffer { request: Request, first: Outcome, then: Outcome },
    #[error("{0:?} and {1:?} were both told of {2:?}: one of them did nothing, or both did the same")]
    OneEffectForTwo(Request, Request, Claim),
    #[error("{request:?} was acknowledged, but {claim:?} is not there")]
    Lost { request: Request, claim: Claim },
    #[error("{request:?} was acknowledged, but {claim:?} stands as {state:?}")]
    Undone { request: Request, claim: Claim, state: State },
    #[error("{0:?} is there, but no call can have made it")]
    Uncaused(Standing),
    #[error("{claim:?} stands as {state:?}, which no call can have caused")]
    UncausedState { claim: Claim, state: State },
    #[error("{claim:?} has changed {changes} times, its calls account for {least} to {most}")]
    Repeated { claim: Claim, changes: u64, least: u64, most: u64 },
    #[error("{0:?} and {1:?} stand on one seat at the same time")]
    DoublyBooked(Claim, Claim),
    #[error("{0:?} and {1:?} are one person's at the same time")]
    PersonTwice(Claim, Claim),
    #[error("{0:?} and {1:?} were both decided by the entry {2}")]
    OneEntryForTwo(Request, Request, u64),
    #[error(
        "{earlier:?} had been answered from entry {earlier_index} before {later:?} began, which has entry {later_index}"
    )]
    AgainstTime { earlier: Request, earlier_index: u64, later: Request, later_index: u64 },
    #[error("a list of {person:?} begun at {called_us} µs lacks {claim:?} or shows it as it no longer was")]
    StaleList { person: Person, called_us: u64, claim: Claim },
    #[error("no order of the calls on {seat:?} explains the answer of the one that ended at {returned_us} µs: {what}")]
    NotLinearizable { seat: Seat, returned_us: u64, what: String },
}
