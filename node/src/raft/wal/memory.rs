//! The log in memory: everything not purged, so that apply and replication never read the disk.

use std::collections::VecDeque;
use std::ops::Range;

use carrel_domain::planted::{self, Bug};

use crate::raft::types::{Entry, LogId, Payload, Vote};

/// What an entry costs beside its body, roughly: enough to bound a reply and to weigh the log.
const ENTRY_OVERHEAD_BYTES: u64 = 48;

#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Invariant: without holes; the first has index `first`, and `first` is next where there is none.
    entries: VecDeque<Held>,
    first: u64,
    /// Bytes of all entries ever appended, which only grows.
    appended_bytes: u64,
    pub purged: Option<LogId>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
}

#[derive(Clone, Debug)]
struct Held {
    entry: Entry,
    /// `appended_bytes` before this entry.
    begins_at: u64,
}

/// What a log has forgotten, until it is dropped.
#[derive(Debug, Default)]
pub struct Purged {
    _entries: VecDeque<Held>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} cannot follow: the next index is {next}")]
pub struct OutOfOrder {
    pub found: u64,
    pub next: u64,
}

impl Memory {
    /// A log whose entries before `first` are elsewhere or gone.
    pub fn starting_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    pub fn first_index(&self) -> u64 {
        self.first
    }

    pub fn next_index(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn last_log_id(&self) -> Option<LogId> {
        self.entries.back().map(|held| held.entry.log_id).or(self.purged)
    }

    /// The committed id, which is saved lazily, can be ahead of a log that lost its unsynced tail: never say so.
    pub fn committed_within_log(&self) -> Option<LogId> {
        let last = self.last_log_id()?;
        let clamps = !planted::has(Bug::CommittedBeyondLog);
        self.committed.map(|committed| if clamps && committed.index > last.index { last } else { committed })
    }

    /// A log that never held anything may begin anywhere; after that there are no holes.
    pub fn append(&mut self, entry: Entry) -> Result<(), OutOfOrder> {
        let (found, next) = (entry.log_id.index, self.next_index());
        let pristine = next == 0 && self.purged.is_none();
        if found != next && !pristine {
            return Err(OutOfOrder { found, next });
        }
        if pristine {
            self.first = found;
        }
        let begins_at = self.appended_bytes;
        self.appended_bytes += entry_bytes(&entry);
        self.entries.push_back(Held { entry, begins_at });
        Ok(())
    }

    /// Drops everything after `last`, or everything.
    pub fn truncate_after(&mut self, last: Option<LogId>) {
        let purged_through = self.purged.map_or(0, |purged| purged.index + 1);
        let next = last.map_or(0, |last| last.index + 1).max(purged_through);
        if next <= self.first {
            self.entries.clear();
            self.first = next;
        } else {
            let kept = usize::try_from(next - self.first).unwrap_or(usize::MAX);
            self.entries.truncate(kept);
        }
    }

    /// Forgets everything through `upto`, which may lie beyond the end: a snapshot came instead of entries. Gives it
    /// out, for it may be a million entries, which are not to be freed while others wait.
    pub fn purge(&mut self, upto: LogId) -> Purged {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Purged::default();
        }
        self.purged = Some(upto);
        let next = upto.index + 1;
        if next <= self.first {
            return Purged::default();
        }
        let forgotten = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.entries.len());
        let kept = self.entries.split_off(forgotten);
        self.first = next;
        Purged { _entries: std::mem::replace(&mut self.entries, kept) }
    }

    /// What is there of `range`, from its beginning, at least one entry if there is one, and beyond it no more than
    /// `limit_bytes`.
    pub fn read(&self, range: Range<u64>, limit_bytes: u64) -> Vec<Entry> {
        let start = range.start.max(self.first);
        let end = range.end.min(self.next_index());
        if start >= end {
            return Vec::new();
        }
        let position = |index: u64| usize::try_from(index - self.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let within_limit = |held: &&Held| {
            let fits = bytes == 0 || bytes + entry_bytes(&held.entry) <= limit_bytes;
            bytes += entry_bytes(&held.entry);
            fits
        };
        let held = self.entries.range(position(start)..position(end));
        held.take_while(within_limit).map(|held| held.entry.clone()).collect()
    }

    /// Bytes of the entries after `index` that are still here.
    pub fn bytes_after(&self, index: Option<u64>) -> u64 {
        let next = index.map_or(0, |index| index + 1).max(self.first);
        let position = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        self.entries.get(position).map_or(0, |held| self.appended_bytes - held.begins_at)
    }
}

pub fn entry_bytes(entry: &Entry) -> u64 {
    let body = match &entry.payload {
        Payload::Normal(command) => command.body.len() as u64,
        Payload::Blank | Payload::Membership(_) => 0,
    };
    body + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::CommittedLeaderId;

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1), index)
    }

    fn blank(index: u64) -> Entry {
        Entry { log_id: log_id(index), payload: Payload::Blank }
    }

    fn of(indexes: Range<u64>) -> Memory {
        let mut memory = Memory::default();
        for index in indexes {
            memory.append(blank(index)).expect("in order");
        }
        memory
    }

    fn indexes(memory: &Memory) -> Vec<u64> {
        memory.read(0..u64::MAX, u64::MAX).iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn holes_are_refused_and_a_purge_may_lie_beyond_the_end() {
        let mut memory = of(0..5);
        assert_eq!(memory.append(blank(6)), Err(OutOfOrder { found: 6, next: 5 }));
        memory.truncate_after(Some(log_id(2)));
        assert_eq!(indexes(&memory), [0, 1, 2]);
        memory.purge(log_id(0));
        assert_eq!(indexes(&memory), [1, 2]);
        memory.purge(log_id(9));
        assert_eq!((memory.last_log_id(), memory.next_index()), (Some(log_id(9)), 10));
        memory.truncate_after(None);
        assert_eq!(memory.next_index(), 10);
    }

    #[test]
    fn a_limited_read_gives_at_least_one_and_the_weight_counts_from_there() {
        let memory = of(0..10);
        assert_eq!(memory.read(3..8, 0).len(), 1);
        assert_eq!(memory.read(3..8, 2 * ENTRY_OVERHEAD_BYTES).len(), 2);
        assert_eq!(memory.read(3..8, u64::MAX).len(), 5);
        assert_eq!(memory.bytes_after(Some(7)), 2 * ENTRY_OVERHEAD_BYTES);
        assert_eq!(memory.bytes_after(Some(9)), 0);
        assert_eq!(memory.bytes_after(None), 10 * ENTRY_OVERHEAD_BYTES);
    }
}
