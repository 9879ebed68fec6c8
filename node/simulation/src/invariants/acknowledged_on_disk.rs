//! Whoever says that it has an entry, or that it has voted, would still have it if the power went at that moment.

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct AcknowledgedOnDisk;

impl Invariant for AcknowledgedOnDisk {
    fn name(&self) -> &'static str {
        "acknowledged on disk"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::OnDisk { of, what, is_there: false } => Err(format!("{of} has acknowledged {what} and lacks it")),
            _ => Ok(()),
        }
    }
}
