//! Log matching: entries of one term and index are one entry, and so is everything before them.

use std::collections::BTreeMap;

use crate::invariants::{EntryId, Invariant, Sight};

#[derive(Default)]
pub struct LogMatching {
    /// What it carries, and what comes before it.
    entries: BTreeMap<EntryId, (u64, Option<EntryId>)>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Append { before, entries, .. } = sight else { return Ok(()) };
        let mut before = *before;
        for entry in *entries {
            if before.is_some_and(|before| before.index + 1 != entry.id.index || before.term > entry.id.term) {
                return Err(format!("{:?} is sent as what follows on {before:?}", entry.id));
            }
            let seen = (entry.digest, before);
            let known = *self.entries.entry(entry.id).or_insert(seen);
            if known != seen {
                return Err(format!("{:?} is {known:?}, and is {seen:?}", entry.id));
            }
            before = Some(entry.id);
        }
        Ok(())
    }
}
