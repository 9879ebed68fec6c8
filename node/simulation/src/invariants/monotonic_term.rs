//! The term of a volume never goes back, from one life of its process to the next either.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct MonotonicTerm {
    newest: BTreeMap<NodeId, u64>,
}

impl Invariant for MonotonicTerm {
    fn name(&self) -> &'static str {
        "monotonic term"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, life: _, status } = sight else { return Ok(()) };
        let before = self.newest.insert(*of, status.term).unwrap_or(0);
        if status.term >= before { Ok(()) } else { Err(format!("{of} went from {before} back to {}", status.term)) }
    }
}
