//! Whom a volume has voted for, the next process on it knows before it does anything.

use std::collections::BTreeMap;

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, SeenVote, Sight};

#[derive(Default)]
pub struct VotesAreRemembered {
    granted: BTreeMap<NodeId, SeenVote>,
}

impl Invariant for VotesAreRemembered {
    fn name(&self) -> &'static str {
        "votes are remembered"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Granted { by, term, to } => {
                let vote = SeenVote { term: *term, to: *to, leads: false };
                let newest = self.granted.entry(*by).or_insert(vote);
                if newest.term < *term {
                    *newest = vote;
                }
                Ok(())
            }
            Sight::Starts { of, vote } => {
                let Some(granted) = self.granted.get(of) else { return Ok(()) };
                let is_remembered = vote.is_some_and(|found| granted.may_become(&found));
                if is_remembered { Ok(()) } else { Err(format!("{of} has voted {granted:?} and finds {vote:?}")) }
            }
            _ => Ok(()),
        }
    }
}
