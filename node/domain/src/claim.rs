//! Everything that occupies a seat is a claim, so that one overlap rule over one index makes a double booking
//! impossible for everyone.
//!
//! ```text
//!    HELD ──expires──► EXPIRED
//!     │ confirm / accept            ┌─ cancel ───────► CANCELLED
//!     ▼                             ├─ displaced ────► DISPLACED
//!  CONFIRMED ───────────────────────┴─ deadline ─────► NO_SHOW     (strike)
//!     │ check in
//!     ▼       step away, reported     deadline
//!  CHECKED_IN ◄──────────────► AWAY ─────────────────► RELEASED    (strike by policy)
//!     └──── check out, or end of the interval (also from AWAY) ───► COMPLETED
//! ```
//!
//! What the institution keeps for itself is a claim without a holder: CONFIRMED, and COMPLETED when it ends.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::account::{Live, Role};
use crate::id::{ClaimId, PolicyId, SeatId, UserId, WaitId};
use crate::refusal::Refusal;
use crate::state::State;
use crate::table::Table;
use crate::time::{Interval, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub id: ClaimId,
    pub seat: SeatId,
    /// As it was booked, extended or moved last; a stay that ended early keeps it, see `changed_at`.
    pub interval: Interval,
    /// None: the institution itself.
    pub holder: Option<UserId>,
    pub origin: Origin,
    pub state: ClaimState,
    pub policy: PolicyId,
    /// 1 at first, one more with every change.
    pub revision: u32,
    pub created_at: Timestamp,
    /// When the state was entered.
    pub changed_at: Timestamp,
    /// The same holder's claim before this one.
    pub previous: Option<ClaimId>,
    /// The wait that an offer answers.
    pub wait: Option<WaitId>,
    /// Granted by staff beyond window, notice and quotas.
    pub exempt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    Booking,
    Hold,
    Offer,
    WalkIn,
    Maintenance,
    Closure,
}

/// Terminal states never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimState {
    Held {
        deadline: Timestamp,
    },
    Confirmed {
        deadline: Timestamp,
    },
    CheckedIn,
    Away {
        deadline: Timestamp,
        /// Who found the seat empty, if the holder did not say that they left. Told to nobody but the audit.
        reported_by: Option<UserId>,
    },
    Expired,
    Cancelled,
    Displaced,
    NoShow,
    Released,
    Completed,
}

/// A state without what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StateName {
    Held,
    Confirmed,
    CheckedIn,
    Away,
    Expired,
    Cancelled,
    Displaced,
    NoShow,
    Released,
    Completed,
}

impl ClaimState {
    #[must_use]
    pub const fn name(self) -> StateName {
        match self {
            Self::Held { .. } => StateName::Held,
            Self::Confirmed { .. } => StateName::Confirmed,
            Self::CheckedIn => StateName::CheckedIn,
            Self::Away { .. } => StateName::Away,
            Self::Expired => StateName::Expired,
            Self::Cancelled => StateName::Cancelled,
            Self::Displaced => StateName::Displaced,
            Self::NoShow => StateName::NoShow,
            Self::Released => StateName::Released,
            Self::Completed => StateName::Completed,
        }
    }

    /// As it is told: who reports an empty seat stays unnamed.
    #[must_use]
    pub(crate) const fn without_reporter(self) -> Self {
        match self {
            Self::Away { deadline, .. } => Self::Away { deadline, reported_by: None },
            other => other,
        }
    }

    /// Whether the seat is taken by a claim in this state.
    #[must_use]
    pub const fn is_blocking(self) -> bool {
        matches!(self, Self::Held { .. } | Self::Confirmed { .. } | Self::CheckedIn | Self::Away { .. })
    }
}

impl Claim {
    /// When the state changes by itself; none in a terminal state.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } => Some(deadline),
            ClaimState::Away { deadline, .. } => Some(deadline.min(self.interval.end())),
            ClaimState::CheckedIn => Some(self.interval.end()),
            ClaimState::Expired
            | ClaimState::Cancelled
            | ClaimState::Displaced
            | ClaimState::NoShow
            | ClaimState::Released
            | ClaimState::Completed => None,
        }
    }

    /// From when on the deadline can be met: what an outage takes from this window is given back.
    #[must_use]
    pub(crate) fn window_opened_at(&self) -> Timestamp {
        match self.state {
            ClaimState::Confirmed { .. } => self.interval.start().max(self.changed_at),
            _ => self.changed_at,
        }
    }
}

/// A seat's blocking claims by start. Invariant: disjoint.
pub(crate) type Book = Arc<Vec<Live>>;

/// All claims. Invariant: ids are handed out one after the other; `all` has a place for each from `first` on, and those
/// are empty whose claims were let go.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub first: u64,
    pub all: Table<Claim>,
    /// By seat id.
    pub books: Table<Book>,
    /// Seats that somebody has just left, and until when they rest: the buffer after a stay that is over.
    pub resting: OrdMap<SeatId, Timestamp>,
}

impl Default for Claims {
    /// People read these numbers: they count from 1.
    fn default() -> Claims {
        Claims { first: 1, all: Table::default(), books: Table::default(), resting: OrdMap::new() }
    }
}

impl Claims {
    pub fn get(&self, id: ClaimId) -> Option<&Claim> {
        self.all.get(usize::try_from(id.0.checked_sub(self.first)?).ok()?)
    }

    pub fn get_mut(&mut self, id: ClaimId) -> Option<&mut Claim> {
        self.all.get_mut(usize::try_from(id.0.checked_sub(self.first)?).ok()?)
    }

    /// Those that are held, from this one on.
    pub fn from(&self, id: ClaimId) -> impl Iterator<Item = &Claim> {
        let place = id.0.saturating_sub(self.first);
        self.all.iter_from(usize::try_from(place).unwrap_or(usize::MAX))
    }

    /// How many are held.
    pub fn count(&self) -> usize {
        self.all.iter().count()
    }

    pub fn let_go(&mut self, id: ClaimId) {
        if let Some(place) = id.0.checked_sub(self.first).and_then(|place| usize::try_from(place).ok()) {
            self.all.take(place);
        }
    }

    /// The oldest that is held; if there is none, the one that will be made next. Unlike `first` it does not depend on
    /// how this state came to be.
    pub fn oldest(&self) -> ClaimId {
        self.all.first_from(0).map_or_else(|| self.next_id(), |(_, claim)| claim.id)
    }

    pub fn next_id(&self) -> ClaimId {
        ClaimId(self.first + self.all.len() as u64)
    }

    pub fn book(&self, seat: SeatId) -> &[Live] {
        self.books.get(seat.0 as usize).map_or(&[], |book| book.as_slice())
    }

    pub fn book_mut(&mut self, seat: SeatId) -> &mut Vec<Live> {
        while self.books.len() <= seat.0 as usize {
            self.books.push(Book::default());
        }
        Arc::make_mut(self.books.get_mut(seat.0 as usize).expect("grown above"))
    }
}

/// The first of these disjoint intervals, in order, that ends after `start`.
pub(crate) fn first_ending_after(live: &[Live], start: Timestamp) -> usize {
    live.partition_point(|entry| entry.interval.end() <= start)
}

/// The one overlap rule. A claim that is about to change does not stand in its own way.
pub(crate) fn overlapping(live: &[Live], interval: Interval, except: Option<ClaimId>) -> Option<&Live> {
    let later = &live[first_ending_after(live, interval.start())..];
    later
        .iter()
        .take_while(|entry| entry.interval.start() < interval.end())
        .find(|entry| except.is_none_or(|except| entry.claim != except))
}

pub(crate) fn enter(live: &mut Vec<Live>, entry: Live) {
    let index = first_ending_after(live, entry.interval.start());
    assert!(
        live.get(index).is_none_or(|next| !next.interval.overlaps(entry.interval)),
        "two live claims overlap: {entry:?} and {:?}",
        live[index]
    );
    live.insert(index, entry);
}

pub(crate) fn leave(live: &mut Vec<Live>, entry: Live) {
    let index = first_ending_after(live, entry.interval.start());
    assert_eq!(live.get(index), Some(&entry), "a live claim is missing from its index");
    live.remove(index);
}

impl State {
    /// The claim, if `by` may act on it: the holder, or staff of its branch.
    pub(crate) fn claim_for(&self, by: UserId, id: ClaimId) -> Result<&Claim, Refusal> {
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let claim = self.claims.get(id);
        let allowed = |claim: &&Claim| {
            claim.holder == Some(user.id) || user.role.runs_branch(self.catalog.seat(claim.seat).branch)
        };
        match claim.filter(allowed) {
            Some(claim) => Ok(claim),
            // Others are not told whether it exists.
            None if user.role == Role::Admin => Err(Refusal::ReservationNotFound),
            None => Err(Refusal::NotPermitted),
        }
    }
}

/// `min(end, max(start, confirmed at) + grace)`: a late booking is not born expired.
pub(crate) fn check_in_deadline(interval: Interval, confirmed_at: Timestamp, grace_minutes: u32) -> Timestamp {
    interval.end().min(interval.start().max(confirmed_at).plus_minutes(grace_minutes))
}
