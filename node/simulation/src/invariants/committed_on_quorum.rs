//! What a leader says is committed, a majority of those who vote has said that they have.

use std::collections::{BTreeMap, BTreeSet};

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct CommittedOnQuorum {
    /// Who votes, by the entry that says so.
    voters: BTreeMap<u64, Vec<BTreeSet<NodeId>>>,
    /// How far a node has told the leader of a term that it has its log.
    matched: BTreeMap<(u64, NodeId), u64>,
    /// How far each term's leader was found to be right.
    shown: BTreeMap<u64, u64>,
}

impl Invariant for CommittedOnQuorum {
    fn name(&self) -> &'static str {
        "committed on a quorum"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Matched { by, term, through } => {
                let matched = self.matched.entry((*term, *by)).or_default();
                *matched = (*matched).max(*through);
                Ok(())
            }
            Sight::Append { term, leader, entries, committed, .. } => {
                for entry in *entries {
                    // Another leader may have put something else there before.
                    match &entry.voters {
                        Some(voters) => self.voters.insert(entry.id.index, voters.clone()),
                        None => self.voters.remove(&entry.id.index),
                    };
                }
                // What is of an earlier term was committed by whoever led then, or comes along with one of this.
                let Some(committed) = committed.filter(|committed| committed.term == *term) else { return Ok(()) };
                if self.shown.get(term).is_some_and(|shown| *shown >= committed.index) {
                    return Ok(());
                }
                let has = |node: &&NodeId| {
                    *node == leader || self.matched.get(&(*term, **node)).is_some_and(|far| *far >= committed.index)
                };
                let is_majority = |set: &BTreeSet<NodeId>| set.iter().filter(has).count() > set.len() / 2;
                // Who votes may be said by an entry that is on its way, or not on its way any more.
                let before = self.voters.range(..=committed.index).next_back().into_iter();
                let known = before.chain(self.voters.range(committed.index + 1..));
                let mut candidates = known.map(|(_, sets)| sets).peekable();
                // Of a cluster that was brought up by a snapshot before anybody was seen to vote nothing is known.
                if candidates.peek().is_none() || candidates.any(|sets| sets.iter().all(is_majority)) {
                    self.shown.insert(*term, committed.index);
                    return Ok(());
                }
                Err(format!("{leader} says in term {term} that {committed:?} is committed; matched {:?}", self.matched))
            }
            Sight::Granted { .. } | Sight::OnDisk { .. } | Sight::Status { .. } | Sight::Applied { .. } => Ok(()),
        }
    }
}
