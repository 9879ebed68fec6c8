//! Everything that occupies a seat is a claim, so that one overlap rule over one index makes a double booking
//! impossible for everyone.
//!
//! ```text
//!    HELD ──expires──► EXPIRED
//!     │ confirm / accept            ┌─ cancel ───────► CANCELLED
//!     ▼                             ├─ displaced ────► DISPLACED
//!  CONFIRMED ───────────────────────┼─ deadline ─────► NO_SHOW     (strike)
//!     │ check in                    └─ checked out early or end of interval ► COMPLETED
//!     ▼            step away      deadline
//!  CHECKED_IN ◄──────────────► AWAY ─────────────────► RELEASED
//!     └──── check out, or end of the interval (also from AWAY) ───► COMPLETED
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Live, Role, Strike};
use crate::deadline::Due;
use crate::effects::Effects;
use crate::id::{ClaimId, PolicyId, SeatId, UserId, WaitId};
use crate::inbox::ItemKind;
use crate::refusal::Refusal;
use crate::reply::{Event, Reply};
use crate::state::State;
use crate::table::Table;
use crate::time::{DAY_US, Interval, Timestamp};
use crate::waitlist::WaitState;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub id: ClaimId,
    pub seat: SeatId,
    /// As it was booked; a stay that ended early keeps it, see `changed_at`.
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
    Held { deadline: Timestamp },
    Confirmed { deadline: Timestamp },
    CheckedIn,
    Away { deadline: Timestamp },
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
            ClaimState::Away { deadline } => Some(deadline.min(self.interval.end())),
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

/// As many as the strictest policy counts.
pub(crate) const STRIKES_KEPT_MAX: usize = 100;

/// A seat's blocking claims by start. Invariant: disjoint.
pub(crate) type Book = Arc<Vec<Live>>;

/// All claims. Invariant: ids are handed out one after the other, and `all` holds them from `first` on without a gap.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub first: u64,
    pub all: Table<Claim>,
    /// By seat id.
    pub books: Table<Book>,
}

impl Default for Claims {
    /// People read these numbers: they count from 1.
    fn default() -> Claims {
        Claims { first: 1, all: Table::default(), books: Table::default() }
    }
}

impl Claims {
    pub fn get(&self, id: ClaimId) -> Option<&Claim> {
        self.all.get(usize::try_from(id.0.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, id: ClaimId) -> Option<&mut Claim> {
        self.all.get_mut(usize::try_from(id.0.checked_sub(self.first)?).ok()?)
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

/// The one overlap rule.
pub(crate) fn overlapping(live: &[Live], interval: Interval) -> Option<&Live> {
    live.get(first_ending_after(live, interval.start())).filter(|entry| entry.interval.overlaps(interval))
}

fn enter(live: &mut Vec<Live>, entry: Live) {
    let index = first_ending_after(live, entry.interval.start());
    assert!(
        live.get(index).is_none_or(|next| !next.interval.overlaps(entry.interval)),
        "two live claims overlap: {entry:?} and {:?}",
        live[index]
    );
    live.insert(index, entry);
}

fn leave(live: &mut Vec<Live>, entry: Live) {
    let index = first_ending_after(live, entry.interval.start());
    assert_eq!(live.get(index), Some(&entry), "a live claim is missing from its index");
    live.remove(index);
}

/// A claim about to be made. Whoever makes one has checked that the seat and the holder are free.
pub(crate) struct NewClaim {
    pub seat: SeatId,
    pub interval: Interval,
    pub holder: UserId,
    pub origin: Origin,
    pub state: ClaimState,
    pub policy: PolicyId,
    pub wait: Option<WaitId>,
}

impl State {
    pub(crate) fn add_claim(&mut self, new: NewClaim, fx: &mut Effects) -> ClaimId {
        let id = self.claims.next_id();
        let live = Live { interval: new.interval, claim: id };
        enter(self.claims.book_mut(new.seat), live);
        let holder = self.accounts.user_mut(new.holder).expect("a claim is made for somebody who exists");
        enter(&mut holder.live, live);
        let claim = Claim {
            id,
            seat: new.seat,
            interval: new.interval,
            holder: Some(new.holder),
            origin: new.origin,
            state: new.state,
            policy: new.policy,
            revision: 1,
            created_at: fx.now(),
            changed_at: fx.now(),
            previous: holder.newest_claim.replace(id),
            wait: new.wait,
        };
        if let Some(deadline) = claim.deadline() {
            self.deadlines.insert((deadline, Due::Claim(id)));
        }
        fx.happened(Event::ClaimChanged(claim.clone()));
        self.claims.all.push(claim);
        id
    }

    /// The one place where a claim changes its state: indexes, deadline, notice, and what becomes of a freed seat.
    fn move_claim(&mut self, id: ClaimId, state: ClaimState, fx: &mut Effects) {
        let claim = self.claims.get_mut(id).expect("claims are moved by those who looked them up");
        assert!(claim.state.is_blocking(), "a terminal state never changes: {claim:?}");
        let due = claim.deadline();
        claim.state = state;
        claim.revision += 1;
        claim.changed_at = fx.now();
        let claim = claim.clone();
        if let Some(due) = due {
            self.deadlines.remove(&(due, Due::Claim(id)));
        }
        if let Some(deadline) = claim.deadline() {
            self.deadlines.insert((deadline, Due::Claim(id)));
        }
        fx.happened(Event::ClaimChanged(claim.clone()));
        if !state.is_blocking() {
            self.free(&claim, fx);
        }
    }

    fn free(&mut self, claim: &Claim, fx: &mut Effects) {
        let live = Live { interval: claim.interval, claim: claim.id };
        leave(self.claims.book_mut(claim.seat), live);
        if let Some(holder) = claim.holder.and_then(|holder| self.accounts.user_mut(holder)) {
            leave(&mut holder.live, live);
            let was_used = matches!(claim.state, ClaimState::Completed | ClaimState::Released | ClaimState::NoShow);
            let used = Interval::new(claim.interval.start(), fx.now().min(claim.interval.end()));
            if let (true, Ok(used)) = (was_used, used) {
                holder.has_used(used, fx.now());
            }
        }
        if let Some(holder) = claim.holder
            && fx.now() < claim.interval.end()
            && claim.state != ClaimState::Displaced
        {
            self.let_go(holder, claim.seat, claim.interval, fx);
        }
        // All of it, though what is past is of no use: a waiter may have been kept from the slot now running.
        self.offer_freed(claim.seat, claim.interval, fx);
        if let Some(holder) = claim.holder {
            self.reconsider_waits_of(holder, fx);
        }
    }

    // === What people do ===

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

    pub(crate) fn check_in(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        match claim.state {
            ClaimState::CheckedIn => {}
            ClaimState::Confirmed { .. } => {
                let lead_minutes = self.catalog.policy(claim.policy).lead_minutes;
                let opens_at = claim.interval.start().minus_minutes(lead_minutes);
                if fx.now() < opens_at {
                    return Err(Refusal::CheckInTooEarly { opens_at });
                }
                self.move_claim(id, ClaimState::CheckedIn, fx);
            }
            ClaimState::NoShow => return Err(Refusal::GraceElapsed),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn check_out(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        match self.claim_for(by, id)?.state {
            ClaimState::Completed => {}
            ClaimState::CheckedIn | ClaimState::Away { .. } => self.move_claim(id, ClaimState::Completed, fx),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn cancel(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        let (state, holder, wait) = (claim.state, claim.holder, claim.wait);
        match state {
            ClaimState::Cancelled => {}
            ClaimState::Held { .. } if wait.is_some() => return self.decline_offer(by, id, fx),
            ClaimState::Held { .. } | ClaimState::Confirmed { .. } => {
                if let Some(holder) = holder.filter(|&holder| holder != by) {
                    self.notify(holder, ItemKind::CancelledByStaff { claim: id }, fx);
                }
                self.cancel_claim(id, fx);
            }
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn accept_offer(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.own_offer(by, id)?;
        if claim.holder != Some(by) {
            return Err(Refusal::NotPermitted);
        }
        let (interval, wait) = (claim.interval, claim.wait.expect("an offer answers a wait"));
        let grace_minutes = self.catalog.policy(claim.policy).grace_minutes;
        match claim.state {
            ClaimState::Held { .. } => {
                let deadline = check_in_deadline(interval, fx.now(), grace_minutes);
                self.end_wait(wait, WaitState::Fulfilled { claim: id }, fx);
                self.move_claim(id, ClaimState::Confirmed { deadline }, fx);
            }
            ClaimState::Confirmed { .. } => {}
            ClaimState::Expired => return Err(Refusal::OfferExpired),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn decline_offer(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.own_offer(by, id)?;
        let (holder, seat, wait) = (claim.holder, claim.seat, claim.wait.expect("an offer answers a wait"));
        match claim.state {
            ClaimState::Held { .. } => {
                if let Some(holder) = holder.filter(|&holder| holder != by) {
                    self.notify(holder, ItemKind::CancelledByStaff { claim: id }, fx);
                }
                self.offer_missed(wait, seat, WaitState::Left, fx);
                self.move_claim(id, ClaimState::Cancelled, fx);
            }
            ClaimState::Cancelled => {}
            ClaimState::Expired => return Err(Refusal::OfferExpired),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    fn own_offer(&self, by: UserId, id: ClaimId) -> Result<&Claim, Refusal> {
        let claim = self.claim_for(by, id)?;
        match claim.wait {
            Some(_) => Ok(claim),
            None => Err(Refusal::StateConflict { state: claim.state.name() }),
        }
    }

    // === What happens by itself ===

    /// Whatever state it is in, as long as it blocks.
    pub(crate) fn cancel_claim(&mut self, id: ClaimId, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("looked up by the caller");
        let state = match claim.state {
            ClaimState::CheckedIn | ClaimState::Away { .. } => ClaimState::Completed,
            _ => ClaimState::Cancelled,
        };
        self.move_claim(id, state, fx);
    }

    pub(crate) fn displace(&mut self, id: ClaimId, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("looked up by the caller");
        let (holder, wait, held) = (claim.holder, claim.wait, claim.state);
        if let (Some(wait), ClaimState::Held { .. }) = (wait, held) {
            self.offer_taken_back(wait, fx);
        }
        if let Some(holder) = holder {
            self.notify(holder, ItemKind::Displaced { claim: id }, fx);
        }
        self.move_claim(id, ClaimState::Displaced, fx);
    }

    pub(crate) fn claim_due(&mut self, id: ClaimId, fx: &mut Effects) {
        let claim = self.claims.get(id).expect("a deadline leaves with its claim");
        let (holder, wait, seat) = (claim.holder, claim.wait, claim.seat);
        match claim.state {
            ClaimState::Held { .. } => {
                if let Some(wait) = wait {
                    self.offer_missed(wait, seat, WaitState::Expired, fx);
                }
                if let Some(holder) = holder {
                    self.notify(holder, ItemKind::OfferExpired { claim: id }, fx);
                }
                self.move_claim(id, ClaimState::Expired, fx);
            }
            ClaimState::Confirmed { .. } => {
                if let Some(holder) = holder {
                    self.notify(holder, ItemKind::NoShow { claim: id }, fx);
                    self.strike(holder, id, fx);
                }
                self.move_claim(id, ClaimState::NoShow, fx);
            }
            ClaimState::Away { deadline } if deadline < claim.interval.end() => {
                self.move_claim(id, ClaimState::Released, fx);
            }
            ClaimState::CheckedIn | ClaimState::Away { .. } => self.move_claim(id, ClaimState::Completed, fx),
            ClaimState::Expired
            | ClaimState::Cancelled
            | ClaimState::Displaced
            | ClaimState::NoShow
            | ClaimState::Released
            | ClaimState::Completed => unreachable!("a terminal state has no deadline"),
        }
    }

    fn strike(&mut self, holder: UserId, claim: ClaimId, fx: &mut Effects) {
        let policy = self.catalog.policy(self.claims.get(claim).expect("it was just due").policy).clone();
        let Some(user) = self.accounts.user_mut(holder) else { return };
        if user.strikes.len() >= STRIKES_KEPT_MAX {
            user.strikes.remove(0);
        }
        user.strikes.push(Strike { at: fx.now(), claim });
        fx.happened(Event::StrikeGiven { user: holder, claim });
        let since = fx.now().plus_us(-i64::from(policy.strike_days) * DAY_US);
        let recent = user.strikes.iter().filter(|strike| strike.at > since).count();
        let limit = policy.strikes_to_suspend as usize;
        let until = fx.now().plus_us(i64::from(policy.suspension_days) * DAY_US);
        let longer = user.suspended_until.is_none_or(|already| already < until);
        if limit == 0 || recent < limit || policy.suspension_days == 0 || !longer {
            return;
        }
        if let Some(old) = user.suspended_until.replace(until) {
            self.deadlines.remove(&(old, Due::Suspension(holder)));
        }
        self.deadlines.insert((until, Due::Suspension(holder)));
        self.notify(holder, ItemKind::Suspended { until }, fx);
        fx.happened(Event::UserChanged { user: holder });
    }

    pub(crate) fn suspension_due(&mut self, user: UserId, fx: &mut Effects) {
        if let Some(account) = self.accounts.user_mut(user) {
            account.suspended_until = None;
            fx.happened(Event::UserChanged { user });
            self.reconsider_waits_of(user, fx);
        }
    }

    /// Moves the deadline of a claim whose window an outage has cut short.
    pub(crate) fn extend_deadline(&mut self, id: ClaimId, by_us: i64, fx: &mut Effects) {
        let claim = self.claims.get_mut(id).expect("a deadline leaves with its claim");
        let old = claim.deadline().expect("only claims with a deadline are due");
        let moved = old.plus_us(by_us).min(claim.interval.end());
        if moved == old {
            return;
        }
        match &mut claim.state {
            ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } | ClaimState::Away { deadline } => {
                *deadline = moved;
            }
            // Ends of intervals never move.
            _ => return,
        }
        claim.revision += 1;
        let claim = claim.clone();
        self.deadlines.remove(&(old, Due::Claim(id)));
        self.deadlines.insert((moved, Due::Claim(id)));
        fx.happened(Event::ClaimChanged(claim));
    }
}

/// `min(end, max(start, confirmed at) + grace)`: a late booking is not born expired.
pub(crate) fn check_in_deadline(interval: Interval, confirmed_at: Timestamp, grace_minutes: u32) -> Timestamp {
    interval.end().min(interval.start().max(confirmed_at).plus_minutes(grace_minutes))
}
