//! The vote of a volume never goes back, and within a term it changes only to whom a majority has made the leader.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, SeenVote, Sight};

#[derive(Default)]
pub struct MonotonicVote {
    newest: BTreeMap<NodeId, SeenVote>,
}

impl Invariant for MonotonicVote {
    fn name(&self) -> &'static str {
        "monotonic vote"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, status, life: _ } = sight else { return Ok(()) };
        let Some(vote) = status.voted_for else { return Ok(()) };
        let Some(before) = self.newest.insert(*of, vote) else { return Ok(()) };
        if before.may_become(&vote) { Ok(()) } else { Err(format!("{of} voted {before:?}, then {vote:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::Status;

    fn seen(invariant: &mut MonotonicVote, term: u64, to: NodeId, leads: bool) -> bool {
        let status = Status { voted_for: Some(SeenVote { term, to, leads }), ..Status::default() };
        invariant.see(&Sight::Status { of: 1, life: 1, status }).is_ok()
    }

    /// Nodes 1 and 12 had voted for 12 when the others made 7 the leader of the same term.
    #[test]
    fn who_has_voted_for_the_loser_follows_the_winner() {
        let mut invariant = MonotonicVote::default();
        assert!(seen(&mut invariant, 3, 12, false));
        assert!(seen(&mut invariant, 3, 7, true));
        assert!(!seen(&mut invariant, 3, 12, false), "and never goes back");
        assert!(!seen(&mut MonotonicVote { newest: invariant.newest }, 2, 7, true));
    }

    #[test]
    fn nobody_votes_for_two() {
        let mut invariant = MonotonicVote::default();
        assert!(seen(&mut invariant, 3, 12, false));
        assert!(!seen(&mut invariant, 3, 7, false));
    }
}
