//! Claims as they lie in memory: there are a million of them, and as values they take twice as much.

use crate::claim::{Claim, Origin, StateName};
use crate::id::{ClaimId, PolicyId, SeatId, UserId};
use crate::time::{Interval, Timestamp};

/// Stands for no holder.
const NOBODY: u32 = u32::MAX;

/// All of a claim but its id, which is its place. What nearly every claim is is said in few bytes; one that cannot be
/// said so is kept whole: an offer, a reported seat.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    start: Timestamp,
    deadline: Timestamp,
    created_at: Timestamp,
    changed_at: Timestamp,
    whole: Option<Box<Claim>>,
    minutes: u32,
    holder: u32,
    /// How many ids lie between this claim and the one before it of the same holder; 0: there is none.
    back: u32,
    seat: SeatId,
    policy: u16,
    revision: u16,
    state: StateName,
    origin: Origin,
    exempt: bool,
}

impl Packed {
    pub fn of(claim: &Claim) -> Self {
        // Whatever does not fit is seen below.
        let back = claim.previous.and_then(|previous| claim.id.0.checked_sub(previous.0));
        let mut packed = Self {
            start: claim.interval.start(),
            deadline: claim.state.own_deadline().unwrap_or_default(),
            created_at: claim.created_at,
            changed_at: claim.changed_at,
            whole: None,
            minutes: u32::try_from(claim.interval.minutes()).unwrap_or_default(),
            holder: claim.holder.and_then(|holder| u32::try_from(holder.0).ok()).unwrap_or(NOBODY),
            back: back.and_then(|back| u32::try_from(back).ok()).unwrap_or_default(),
            seat: claim.seat,
            policy: u16::try_from(claim.policy.0).unwrap_or_default(),
            revision: u16::try_from(claim.revision).unwrap_or_default(),
            state: claim.state.name(),
            origin: claim.origin,
            exempt: claim.exempt,
        };
        if packed.plain(claim.id).as_ref() != Some(claim) {
            packed.whole = Some(Box::new(claim.clone()));
        }
        packed
    }

    pub fn claim(&self, id: ClaimId) -> Claim {
        match &self.whole {
            Some(claim) => Claim::clone(claim),
            None => self.plain(id).expect("what cannot be said in few bytes is kept whole"),
        }
    }

    /// None: it cannot be said so.
    fn plain(&self, id: ClaimId) -> Option<Claim> {
        let previous = (self.back > 0).then(|| id.0.checked_sub(u64::from(self.back)).map(ClaimId));
        Some(Claim {
            id,
            seat: self.seat,
            interval: Interval::new(self.start, self.start.plus_minutes(self.minutes)).ok()?,
            holder: (self.holder != NOBODY).then_some(UserId(u64::from(self.holder))),
            origin: self.origin,
            state: self.state.with(self.deadline),
            policy: PolicyId(u32::from(self.policy)),
            revision: u32::from(self.revision),
            created_at: self.created_at,
            changed_at: self.changed_at,
            previous: previous.flatten(),
            wait: None,
            exempt: self.exempt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::ClaimState;
    use crate::id::WaitId;
    use crate::time::MINUTE_US;

    fn booking() -> Claim {
        let start = Timestamp(1_700_000_040_000_000);
        Claim {
            id: ClaimId(7_000_000_000),
            seat: SeatId(99_999),
            interval: Interval::new(start, start.plus_minutes(240)).expect("four hours"),
            holder: Some(UserId(4_000_000)),
            origin: Origin::Booking,
            state: ClaimState::Confirmed { deadline: start.plus_us(15 * MINUTE_US + 1) },
            policy: PolicyId(500),
            revision: 3,
            created_at: Timestamp(1_699_999_999_123_456),
            changed_at: Timestamp(1_700_000_000_123_457),
            previous: Some(ClaimId(6_999_999_000)),
            wait: None,
            exempt: true,
        }
    }

    #[test]
    fn a_claim_comes_back_as_it_was_and_most_are_small() {
        assert_eq!(size_of::<Option<Packed>>(), 64);
        let start = booking().interval.start();
        let small = [
            booking(),
            Claim { holder: None, previous: None, exempt: false, origin: Origin::Closure, ..booking() },
            Claim { state: ClaimState::CheckedIn, revision: 65_535, ..booking() },
            Claim { state: ClaimState::Away { deadline: start, reported_by: None }, ..booking() },
            Claim { state: ClaimState::Cancelled, ..booking() },
        ];
        let large = [
            Claim { wait: Some(WaitId(1)), origin: Origin::Offer, ..booking() },
            Claim { state: ClaimState::Away { deadline: start, reported_by: Some(UserId(1)) }, ..booking() },
            Claim { holder: Some(UserId(u64::from(NOBODY))), ..booking() },
            Claim { holder: Some(UserId(u64::MAX)), ..booking() },
            Claim { previous: Some(ClaimId(5)), ..booking() },
            Claim { previous: Some(booking().id), ..booking() },
            Claim { previous: Some(ClaimId(u64::MAX)), ..booking() },
            Claim { policy: PolicyId(65_536), ..booking() },
            Claim { revision: 65_536, ..booking() },
            Claim { interval: Interval::new(start, start.plus_us(1)).expect("an instant"), ..booking() },
            Claim { interval: Interval::new(start, Timestamp(i64::MAX)).expect("for ever"), ..booking() },
        ];
        for (claim, is_large) in small.iter().map(|claim| (claim, false)).chain(large.iter().map(|claim| (claim, true)))
        {
            let packed = Packed::of(claim);
            assert_eq!(packed.claim(claim.id), *claim);
            assert_eq!(packed.whole.is_some(), is_large, "{claim:?}");
        }
    }
}
