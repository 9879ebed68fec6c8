//! What is committed at an index stays what it is.

use std::collections::BTreeMap;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct CommittedImmutable {
    terms: BTreeMap<u64, u64>,
}

impl Invariant for CommittedImmutable {
    fn name(&self) -> &'static str {
        "committed is immutable"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Append { committed: Some(committed), leader, .. } = sight else { return Ok(()) };
        let known = *self.terms.entry(committed.index).or_insert(committed.term);
        if known == committed.term {
            Ok(())
        } else {
            Err(format!("{leader} says that {committed:?} is committed, where an entry of term {known} was"))
        }
    }
}
