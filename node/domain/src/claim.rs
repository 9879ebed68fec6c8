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
use crate::packed::Packed;
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

impl StateName {
    /// The state of that name, with this deadline if it has one, and without a reporter.
    pub(crate) const fn with(self, deadline: Timestamp) -> ClaimState {
        match self {
            Self::Held => ClaimState::Held { deadline },
            Self::Confirmed => ClaimState::Confirmed { deadline },
            Self::CheckedIn => ClaimState::CheckedIn,
            Self::Away => ClaimState::Away { deadline, reported_by: None },
            Self::Expired => ClaimState::Expired,
            Self::Cancelled => ClaimState::Cancelled,
            Self::Displaced => ClaimState::Displaced,
            Self::NoShow => ClaimState::NoShow,
            Self::Released => ClaimState::Released,
            Self::Completed => ClaimState::Completed,
        }
    }
}

impl ClaimState {
    /// The one that goes with it; `Claim::deadline` says when it changes by itself.
    pub(crate) const fn own_deadline(self) -> Option<Timestamp> {
        match self {
            Self::Held { deadline } | Self::Confirmed { deadline } | Self::Away { deadline, .. } => Some(deadline),
            Self::CheckedIn
            | Self::Expired
            | Self::Cancelled
            | Self::Displaced
            | Self::NoShow
            | Self::Released
            | Self::Completed => None,
        }
    }

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

    /// Whether its deadline lies within its own interval, and so before that of the next such claim on the seat.
    pub(crate) const fn is_due_in_turn(&self) -> bool {
        matches!(self.state, ClaimState::Confirmed { .. } | ClaimState::CheckedIn)
    }

    /// When the state changes by itself, if that may be before the claims of the seat that begin earlier have changed.
    pub(crate) fn due_out_of_turn(&self) -> Option<Timestamp> {
        if self.is_due_in_turn() { None } else { self.deadline() }
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

/// A seat's blocking claims.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// By start. Invariant: disjoint.
    live: Vec<Live>,
    /// The one of those that are due in turn that stands among the deadlines, for all of them.
    next_due: Option<(Timestamp, ClaimId)>,
}

/// All claims. Invariant: ids are handed out one after the other; `all` has a place for each from `first` on, and those
/// are empty whose claims were let go.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    first: u64,
    pub all: Table<Packed>,
    /// By seat id.
    pub books: Table<Arc<Book>>,
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
    pub fn get(&self, id: ClaimId) -> Option<Claim> {
        self.all.get(self.place(id)?).map(|packed| packed.claim(id))
    }

    /// In the place of what it was; if it is held no more, it is not held again.
    pub fn set(&mut self, claim: &Claim) {
        if let Some(place) = self.place(claim.id)
            && let Some(packed) = self.all.get_mut(place)
        {
            *packed = Packed::of(claim);
        }
    }

    /// The next one.
    pub fn push(&mut self, claim: &Claim) {
        assert_eq!(claim.id, self.next_id(), "ids are handed out one after the other");
        self.all.push(Packed::of(claim));
    }

    /// As if so many had been there and let go.
    pub fn skip(&mut self, count: usize) {
        self.all.skip(count);
    }

    /// Before there are any.
    pub fn begin_at(&mut self, first: u64) {
        self.first = first;
    }

    /// All that are held.
    pub fn iter(&self) -> impl Iterator<Item = Claim> {
        self.from(ClaimId(self.first))
    }

    /// Those that are held, from this one on.
    pub fn from(&self, id: ClaimId) -> impl Iterator<Item = Claim> {
        let place = usize::try_from(id.0.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.all.iter_from(place).map(|(place, packed)| packed.claim(self.id(place)))
    }

    pub fn into_claims(self) -> impl Iterator<Item = Claim> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let (place, packed) = self.all.first_from(next)?;
            next = place + 1;
            Some(packed.claim(self.id(place)))
        })
    }

    /// How many ids were handed out.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many are held.
    pub fn count(&self) -> usize {
        self.all.iter().count()
    }

    pub fn let_go(&mut self, id: ClaimId) {
        if let Some(place) = self.place(id) {
            self.all.take(place);
        }
    }

    fn place(&self, id: ClaimId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    fn id(&self, place: usize) -> ClaimId {
        ClaimId(self.first + place as u64)
    }

    /// The oldest that is held; if there is none, the one that will be made next. Unlike `first` it does not depend on
    /// how this state came to be.
    pub fn oldest(&self) -> ClaimId {
        self.all.first_from(0).map_or_else(|| self.next_id(), |(place, _)| self.id(place))
    }

    pub fn next_id(&self) -> ClaimId {
        self.id(self.all.len())
    }

    pub fn book(&self, seat: SeatId) -> &[Live] {
        self.books.get(seat.0 as usize).map_or(&[], |book| book.live.as_slice())
    }

    /// What growing has left empty is given back.
    pub fn shrink_books(&mut self) {
        for seat in 0..self.books.len() {
            if let Some(book) = self.books.get_mut(seat) {
                Arc::make_mut(book).live.shrink_to_fit();
            }
        }
    }

    pub fn book_mut(&mut self, seat: SeatId) -> &mut Vec<Live> {
        &mut self.whole_book_mut(seat).live
    }

    /// Of those on a seat that are due in turn, the one that is among the deadlines.
    pub fn next_due(&self, seat: SeatId) -> Option<(Timestamp, ClaimId)> {
        self.books.get(seat.0 as usize)?.next_due
    }

    pub fn set_next_due(&mut self, seat: SeatId, next: Option<(Timestamp, ClaimId)>) {
        self.whole_book_mut(seat).next_due = next;
    }

    /// Those on a seat that are due in turn, from this one on: by start, and so by deadline.
    pub fn due_in_turn(&self, seat: SeatId, from: Timestamp) -> impl Iterator<Item = Claim> {
        let book = self.book(seat);
        let live = &book[first_ending_after(book, from)..];
        live.iter().filter_map(|live| self.get(live.claim)).filter(|claim| claim.is_due_in_turn())
    }

    fn whole_book_mut(&mut self, seat: SeatId) -> &mut Book {
        while self.books.len() <= seat.0 as usize {
            self.books.push(Arc::default());
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
    // Doubling would leave a third of these lists empty, and there are as many of them as seats and people.
    if live.len() == live.capacity() {
        live.reserve_exact(2 + live.len() / 8);
    }
    live.insert(index, entry);
}

pub(crate) fn leave(live: &mut Vec<Live>, entry: Live) {
    let index = first_ending_after(live, entry.interval.start());
    assert_eq!(live.get(index), Some(&entry), "a live claim is missing from its index");
    live.remove(index);
}

impl State {
    /// The claim, if `by` may act on it: the holder, or staff of its branch.
    pub(crate) fn claim_for(&self, by: UserId, id: ClaimId) -> Result<Claim, Refusal> {
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let claim = self.claims.get(id);
        let allowed = |claim: &Claim| {
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
