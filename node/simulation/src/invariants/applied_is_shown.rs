//! What a node says that it has applied, whoever reads there sees, however it came: entry by entry or as a snapshot.

use crate::invariants::{Invariant, Sight};

#[derive(Default)]
pub struct AppliedIsShown;

impl Invariant for AppliedIsShown {
    fn name(&self) -> &'static str {
        "applied is shown"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Shown { of, applied, shown } if shown.unwrap_or(0) < *applied => {
                Err(format!("{of} has applied {applied} and shows {shown:?}"))
            }
            _ => Ok(()),
        }
    }
}
