//! The invariants of the rules themselves (I1 to I22, as far as a state shows them), from scratch.

use std::collections::BTreeSet;

use carrel_domain::invariants;

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct Rules {
    looked: BTreeSet<u64>,
}

impl Invariant for Rules {
    fn name(&self) -> &'static str {
        "the rules"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Applied { index, state: Some(state), .. } = sight else { return Ok(()) };
        // Another replica's state of this entry is the same, which is another invariant.
        if !self.looked.insert(*index) {
            return Ok(());
        }
        match invariants::check(state).first() {
            None => Ok(()),
            Some(violation) => Err(format!("{} at {index}: {}", violation.invariant, violation.what)),
        }
    }
}
