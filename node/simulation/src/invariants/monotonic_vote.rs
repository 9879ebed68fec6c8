//! The vote of a volume never goes back, and within a term it never changes.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct MonotonicVote {
    newest: BTreeMap<NodeId, (u64, NodeId)>,
}

impl Invariant for MonotonicVote {
    fn name(&self) -> &'static str {
        "monotonic vote"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, status, life: _ } = sight else { return Ok(()) };
        let Some(vote) = status.voted_for else { return Ok(()) };
        let Some(before) = self.newest.insert(*of, vote) else { return Ok(()) };
        if vote.0 > before.0 || vote == before { Ok(()) } else { Err(format!("{of} voted {before:?}, then {vote:?}")) }
    }
}
