//! State machine safety: after one entry all replicas hold the same, to the byte.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct StateMachineSafety {
    times: BTreeMap<u64, (i64, NodeId)>,
    hashes: BTreeMap<u64, (u64, NodeId)>,
}

impl Invariant for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Applied { of, index, time_us, hash, .. } = sight else { return Ok(()) };
        let (known, by) = *self.times.entry(*index).or_insert((*time_us, *of));
        if known != *time_us {
            return Err(format!("at {index} it is {known} on {by} and {time_us} on {of}"));
        }
        let Some(hash) = hash else { return Ok(()) };
        let (known, by) = *self.hashes.entry(*index).or_insert((*hash, *of));
        if known == *hash { Ok(()) } else { Err(format!("at {index} {by} and {of} hold different states")) }
    }
}
