//! What a node has applied never becomes less while it lives.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct MonotonicApplied {
    newest: BTreeMap<(NodeId, u64), u64>,
}

impl Invariant for MonotonicApplied {
    fn name(&self) -> &'static str {
        "monotonic applied"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, life, status } = sight else { return Ok(()) };
        let before = self.newest.insert((*of, *life), status.applied).unwrap_or(0);
        if status.applied >= before {
            Ok(())
        } else {
            Err(format!("{of} went from {before} back to {}", status.applied))
        }
    }
}
