//! A volume grants its vote once a term, whatever happens to its process in between.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct OneVoteATerm {
    granted: BTreeMap<(NodeId, u64), NodeId>,
}

impl Invariant for OneVoteATerm {
    fn name(&self) -> &'static str {
        "one vote a term"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Granted { by, term, to } = sight else { return Ok(()) };
        let first = *self.granted.entry((*by, *term)).or_insert(*to);
        if first == *to { Ok(()) } else { Err(format!("{by} voted for {first} and for {to} in term {term}")) }
    }
}
