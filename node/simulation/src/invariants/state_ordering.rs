//! Purged before the snapshot, the snapshot before what is applied, that before what is committed, all within the log.

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct StateOrdering;

impl Invariant for StateOrdering {
    fn name(&self) -> &'static str {
        "state ordering"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Status { of, status, life: _ } = sight else { return Ok(()) };
        let order = [status.purged, status.snapshot, status.applied, status.committed, status.last];
        if order.is_sorted() { Ok(()) } else { Err(format!("{of}: {status:?}")) }
    }
}
