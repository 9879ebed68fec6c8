//! Election safety: a term has one leader.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, NodeId>,
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Append { term, leader, .. } = sight else { return Ok(()) };
        let known = *self.leaders.entry(*term).or_insert(*leader);
        if known == *leader { Ok(()) } else { Err(format!("term {term} is led by {known} and by {leader}")) }
    }
}
