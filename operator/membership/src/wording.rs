//! Lists as a person would say them.

use std::collections::BTreeSet;
use std::fmt;

/// "1", "1 and 2", "1, 2 and 3"; "none" for nothing.
pub(crate) fn list<T: fmt::Display>(items: &BTreeSet<T>) -> impl fmt::Display + '_ {
    List(items)
}

struct List<'a, T>(&'a BTreeSet<T>);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, item) in self.0.iter().enumerate() {
            match position {
                0 => {}
                _ if position == last => f.write_str(" and ")?,
                _ => f.write_str(", ")?,
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
