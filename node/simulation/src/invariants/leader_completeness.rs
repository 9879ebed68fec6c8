//! Leader completeness: what was committed is in the log of every later leader.

use std::collections::BTreeMap;

use crate::invariants::{EntryId, Invariant, Sight};

#[derive(Default)]
pub struct LeaderCompleteness {
    /// The term of a committed entry by its index, and in which term it was known to be committed first.
    committed: BTreeMap<u64, (u64, u64)>,
    /// Entries by index, as the last leader that was heard sent them.
    sent: BTreeMap<(u64, u64), u64>,
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Append { term, leader, before, entries, committed } = sight else { return Ok(()) };
        let has = before.iter().copied().chain(entries.iter().map(|entry| entry.id));
        for EntryId { term: of, index } in has {
            self.sent.insert((*term, index), of);
            if let Some((committed_of, committed_in)) = self.committed.get(&index)
                && committed_in <= term
                && *committed_of != of
            {
                return Err(format!(
                    "{leader} leads term {term} with an entry of term {of} at {index}, where one of term \
                     {committed_of} was committed"
                ));
            }
        }
        if let Some(committed) = committed {
            // Everything that this leader has sent up to there.
            let through: Vec<(u64, u64)> = self
                .sent
                .range((*term, 0)..=(*term, committed.index))
                .map(|((_, index), of)| (*index, *of))
                .chain([(committed.index, committed.term)])
                .collect();
            for (index, of) in through {
                self.committed.entry(index).or_insert((of, *term));
            }
            self.sent.retain(|(in_term, index), _| in_term != term || *index > committed.index);
        }
        Ok(())
    }
}
