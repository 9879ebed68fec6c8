//! Guards: the arithmetic of majorities, kept apart from the decisions that need it.

use std::collections::BTreeSet;
use std::fmt;

use crate::identity::NodeId;
use crate::observed::Voters;
use crate::wording;

/// A voter set that may be asked for: odd, hence not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoterSet(BTreeSet<NodeId>);

impl VoterSet {
    /// `None` for an even number of voters.
    pub fn odd(voters: BTreeSet<NodeId>) -> Option<VoterSet> {
        (voters.len() % 2 == 1).then_some(VoterSet(voters))
    }

    pub fn ids(&self) -> &BTreeSet<NodeId> {
        &self.0
    }
}

/// How a voter set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quorum {
    pub voters: usize,
    pub healthy: usize,
}

impl Quorum {
    pub fn of(voters: &BTreeSet<NodeId>, healthy: &BTreeSet<NodeId>) -> Quorum {
        Quorum { voters: voters.len(), healthy: voters.intersection(healthy).count() }
    }

    /// The set of a joint change that stands worst, which is the one that decides.
    pub fn weakest(voters: &Voters, healthy: &BTreeSet<NodeId>) -> Quorum {
        voters
            .sets()
            .into_iter()
            .map(|set| Quorum::of(set, healthy))
            .min_by_key(|quorum| (quorum.holds(), quorum.tolerates()))
            .expect("a membership has one voter set or two")
    }

    /// A majority.
    pub fn needed(self) -> usize {
        self.voters / 2 + 1
    }

    pub fn holds(self) -> bool {
        self.healthy >= self.needed()
    }

    /// How many healthy voters may still fail.
    pub fn tolerates(self) -> usize {
        self.healthy.saturating_sub(self.needed())
    }
}

/// A rule about voters that a step would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// G1: a majority of the voters before and after the change is healthy.
    Majority,
    /// G2: after the change one more failure can be borne, unless none could be borne before it either.
    Slack,
    /// G3: without the node that is stopped a majority of the voters is healthy.
    Disrupt,
}

/// A guard said no, with its numbers: the voters after the change, the healthy among them, how many it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    pub guard: Guard,
    pub quorum: Quorum,
    pub wants: usize,
}

/// May the voters change to `target`? `heard` answer the leader, `healthy` are those of them that are caught up. A
/// voter that is behind still votes, so it counts for what can be borne now, and not for what could be borne after.
pub(crate) fn permit_change(
    from: &Voters,
    target: &VoterSet,
    heard: &BTreeSet<NodeId>,
    healthy: &BTreeSet<NodeId>,
) -> Result<(), Denied> {
    let before = Quorum::weakest(from, healthy);
    let after = Quorum::of(target.ids(), healthy);
    for quorum in [before, after] {
        if !quorum.holds() {
            return Err(Denied { guard: Guard::Majority, quorum, wants: quorum.needed() });
        }
    }
    // A single voter bears no failure, and whoever asks for one knows it.
    let single = after.voters == 1;
    if !single && after.tolerates() < Quorum::weakest(from, heard).tolerates().min(1) {
        return Err(Denied { guard: Guard::Slack, quorum: after, wants: after.needed() + 1 });
    }
    Ok(())
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} voters healthy, {} needed", self.healthy, self.voters, self.needed())
    }
}

impl fmt::Display for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        wording::list(&self.0).fmt(f)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Majority => f.write_str("G1 (majority)"),
            Guard::Slack => f.write_str("G2 (slack)"),
            Guard::Disrupt => f.write_str("G3 (disrupt)"),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { guard, quorum, wants } = self;
        write!(f, "guard {guard} wants {wants} healthy of {} voters, there are {}", quorum.voters, quorum.healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn judge(from: &[u64], to: &[u64], healthy: &[u64]) -> Result<(), Guard> {
        let target = VoterSet::odd(set(to)).expect("the tests ask for odd sets");
        permit_change(&Voters::Uniform(set(from)), &target, &set(healthy), &set(healthy)).map_err(|denied| denied.guard)
    }

    #[test]
    fn an_even_voter_set_cannot_be_asked_for() {
        assert_eq!(VoterSet::odd(set(&[])), None);
        assert_eq!(VoterSet::odd(set(&[1, 2])), None);
        assert!(VoterSet::odd(set(&[1, 2, 3])).is_some());
    }

    #[test]
    fn growing_swapping_and_shrinking_with_everyone_well() {
        assert_eq!(judge(&[1], &[1, 2, 3], &[1, 2, 3]), Ok(()));
        assert_eq!(judge(&[1, 2, 3], &[1, 2, 4], &[1, 2, 4]), Ok(()));
        assert_eq!(judge(&[1, 2, 3, 4, 5], &[1, 2, 3], &[1, 2, 3, 4, 5]), Ok(()));
        assert_eq!(judge(&[1, 2, 3], &[1], &[1, 2, 3]), Ok(()));
    }

    #[test]
    fn shrinking_does_not_spend_the_last_failure_that_could_be_borne() {
        assert_eq!(judge(&[1, 2, 3, 4, 5], &[1, 2, 3], &[1, 2, 4, 5]), Err(Guard::Slack));
        // Nothing can be borne before, nothing after: fewer nodes are no worse.
        assert_eq!(judge(&[1, 2, 3, 4, 5], &[1, 2, 3], &[1, 2, 4]), Ok(()));
    }

    #[test]
    fn a_voter_that_is_behind_can_be_borne_now_and_not_after() {
        let five = Voters::Uniform(set(&[1, 2, 3, 4, 5]));
        let three = VoterSet::odd(set(&[1, 2, 3])).expect("three is odd");
        let (heard, healthy) = (set(&[1, 2, 3, 4]), set(&[1, 2, 4]));
        let denied = permit_change(&five, &three, &heard, &healthy).expect_err("one failure could be borne before");
        assert_eq!(denied.to_string(), "guard G2 (slack) wants 3 healthy of 3 voters, there are 2");
    }

    #[test]
    fn a_change_needs_a_majority_on_both_sides() {
        assert_eq!(judge(&[1, 2, 3], &[1, 4, 5], &[1, 4, 5]), Err(Guard::Majority));
        assert_eq!(judge(&[1, 2, 3], &[1, 2, 3, 4, 5], &[1, 2]), Err(Guard::Majority));
        assert_eq!(judge(&[1, 2, 3], &[1], &[2, 3]), Err(Guard::Majority));
    }

    #[test]
    fn of_a_joint_change_the_weaker_set_counts() {
        let joint = Voters::Joint { outgoing: set(&[1, 2, 3]), incoming: set(&[1, 2, 3, 4, 5]) };
        assert!(!Quorum::weakest(&joint, &set(&[1, 2])).holds());
        assert_eq!(Quorum::weakest(&joint, &set(&[1, 2, 3])).tolerates(), 0);
    }
}
