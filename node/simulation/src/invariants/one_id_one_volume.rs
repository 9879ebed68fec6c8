//! An id is borne by one volume for ever: what comes in place of a lost disk has neither its log nor its votes.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct OneIdOneVolume {
    incarnations: BTreeMap<NodeId, u128>,
}

impl Invariant for OneIdOneVolume {
    fn name(&self) -> &'static str {
        "one id, one volume"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Volume { of, incarnation } = sight else { return Ok(()) };
        let first = *self.incarnations.entry(*of).or_insert(*incarnation);
        if first == *incarnation {
            Ok(())
        } else {
            Err(format!("{of} was the volume {first:032x}, and now {incarnation:032x} bears its id"))
        }
    }
}
