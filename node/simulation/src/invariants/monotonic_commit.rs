//! What a node knows to be committed never becomes less while it lives.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct MonotonicCommit {
    newest: BTreeMap<(NodeId, u64), u64>,
}

impl Invariant for MonotonicCommit {
    fn name(&self) -> &'static str {
        "monotonic commit"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, life, status } = sight else { return Ok(()) };
        let before = self.newest.insert((*of, *life), status.committed).unwrap_or(0);
        if status.committed >= before {
            Ok(())
        } else {
            Err(format!("{of} went from {before} back to {}", status.committed))
        }
    }
}
