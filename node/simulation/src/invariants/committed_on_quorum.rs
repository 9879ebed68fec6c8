//! What a leader says is committed, a majority of those who vote has said that they have.

use std::collections::{BTreeMap, BTreeSet};

use carrel_node::raft::types::NodeId;

use crate::invariants::{Invariant, Sight};

/// Looks at a leader after which what it said is held against it. The voters that it counted by may be known to nobody
/// else when it says so; at the first look they are.
const LOOKS_MAX: u32 = 3;

#[derive(Default)]
pub struct CommittedOnQuorum {
    /// Who votes, by the entry that says so.
    voters: BTreeMap<u64, Vec<BTreeSet<NodeId>>>,
    /// How far a node has told the leader of a term that it has its log.
    matched: BTreeMap<(u64, NodeId), u64>,
    /// How far each term's leader was found to be right, or is doubted already.
    shown: BTreeMap<u64, u64>,
    doubted: Vec<Doubt>,
}

/// Something is said to be committed, and of no voters that are known a majority has it.
#[derive(Clone, Debug)]
struct Doubt {
    term: u64,
    leader: NodeId,
    index: u64,
    /// Who has it.
    has: BTreeSet<NodeId>,
    looks: u32,
}

fn is_by_majorities(sets: &[BTreeSet<NodeId>], has: &BTreeSet<NodeId>) -> bool {
    sets.iter().all(|set| set.intersection(has).count() > set.len() / 2)
}

impl CommittedOnQuorum {
    fn doubt(&self, term: u64, leader: NodeId, index: u64) -> Option<Doubt> {
        let of_term = self.matched.range((term, 0)..=(term, NodeId::MAX));
        let mut has: BTreeSet<NodeId> = of_term.filter(|(_, far)| **far >= index).map(|((_, node), _)| *node).collect();
        has.insert(leader);
        // Who votes may be said by an entry that is on its way, or not on its way any more.
        let before = self.voters.range(..=index).next_back().into_iter();
        let known = before.chain(self.voters.range(index + 1..));
        let mut candidates = known.map(|(_, sets)| sets).peekable();
        // Of a cluster that was brought up by a snapshot before anybody was seen to vote nothing is known.
        let is_right = candidates.peek().is_none() || candidates.any(|sets| is_by_majorities(sets, &has));
        (!is_right).then_some(Doubt { term, leader, index, has, looks: 0 })
    }

    /// The leader is asked who votes.
    fn look(&mut self, of: NodeId, term: u64, sets: &[BTreeSet<NodeId>]) -> Result<(), String> {
        self.doubted.retain(|doubt| (doubt.leader, doubt.term) != (of, term) || !is_by_majorities(sets, &doubt.has));
        for doubt in &mut self.doubted {
            doubt.looks += u32::from((doubt.leader, doubt.term) == (of, term));
        }
        let held = self.doubted.iter().position(|doubt| doubt.looks >= LOOKS_MAX);
        let Some(held) = held else { return Ok(()) };
        let Doubt { index, has, .. } = self.doubted.swap_remove(held);
        Err(format!("{of} says in term {term} that {index} is committed, which {has:?} have; {sets:?} vote"))
    }
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
                self.shown.insert(*term, committed.index);
                self.doubted.extend(self.doubt(*term, *leader, committed.index));
                Ok(())
            }
            Sight::Voters { of, term, sets } => self.look(*of, *term, sets),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::{EntryId, SeenEntry};

    const TERM: u64 = 4;
    const LEADER: NodeId = 4;

    fn set(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    /// Five vote, by entry 10; of them 4 and 6 have entry 227, which 4 says is committed.
    fn two_of_five() -> CommittedOnQuorum {
        let mut invariant = CommittedOnQuorum::default();
        let voters = Some(vec![set(&[1, 4, 6, 9, 12])]);
        let entries = [SeenEntry { id: EntryId { term: TERM, index: 10 }, digest: 0, voters }];
        let append =
            |entries, committed| Sight::Append { term: TERM, leader: LEADER, before: None, entries, committed };
        invariant.see(&append(&entries, None)).expect("nothing is said yet");
        invariant.see(&Sight::Matched { by: 6, term: TERM, through: 227 }).expect("nothing is said yet");
        let committed = Some(EntryId { term: TERM, index: 227 });
        invariant.see(&append(&[], committed)).expect("it may be so by voters that nobody knows yet");
        invariant
    }

    fn look(invariant: &mut CommittedOnQuorum, voters: &[NodeId]) -> Result<(), String> {
        invariant.see(&Sight::Voters { of: LEADER, term: TERM, sets: &[set(voters)] })
    }

    /// The leader counts by the three that its newest entry names, which is on its way when it says what is committed.
    #[test]
    fn voters_may_be_named_by_an_entry_that_is_on_its_way() {
        let mut invariant = two_of_five();
        assert!((0..2 * LOOKS_MAX).all(|_| look(&mut invariant, &[1, 4, 6]).is_ok()));
    }

    #[test]
    fn two_of_five_are_no_majority() {
        let mut invariant = two_of_five();
        let looks: Vec<bool> = (0..LOOKS_MAX).map(|_| look(&mut invariant, &[1, 4, 6, 9, 12]).is_ok()).collect();
        assert_eq!(looks, [true, true, false]);
    }
}
