//! What the relational record does not have yet: everything that happened, entry by entry, kept until it is said to be
//! there. A part of the state like any other, so that neither a change of leaders nor a restart loses any of it.
//!
//! Nothing is kept until somebody begins a record. One that falls behind by more than is kept has to begin again from
//! the state, and knows then what it has missed.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::event::Event;
use crate::format::{self, DecodeError};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::At;
use crate::state::State;
use crate::time::Timestamp;

/// A quarter of a gigabyte at most: an hour without the record at several hundred changes a second.
pub const EVENTS_KEPT_MAX: u64 = 2_000_000;

/// Entries of a block: few enough to look through, and as many as make what is kept beside their bytes not count.
const BLOCK: usize = 256;

/// What is kept is encoded: a fourth of the size, and a snapshot takes it as it is.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// Everything of entries up to here is in the record. None: nobody keeps one.
    through: Option<u64>,
    /// By the index of the last entry of each. The first may begin with entries that are in the record.
    blocks: OrdMap<u64, Block>,
    /// By index: what came after all blocks, and is no whole block yet.
    newest: OrdMap<u64, Kept>,
    /// How many events of entries after `through` are in all of these.
    count: u64,
}

/// Entries in order, without a place in memory for each: that would take as much as what happened in it.
#[derive(Clone, Debug)]
struct Block {
    entries: Arc<[Place]>,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    index: u64,
    count: u32,
    /// Of its bytes in those of the block.
    end: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub count: u32,
    pub bytes: Arc<[u8]>,
}

/// What one entry made happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub at: At,
    pub events: Vec<Event>,
}

impl Outbox {
    /// Up to which entry everything is in the record; none: nobody keeps one, and nothing is kept for it.
    #[must_use]
    pub fn through(&self) -> Option<u64> {
        self.through
    }

    /// How many events are kept.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The oldest entry of which something is kept.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.kept_after(0).next().map(|(index, _, _)| index)
    }

    /// What happened after the entry at `index`, in order.
    ///
    /// An item is an error if this release cannot read it: another one wrote it.
    pub fn after(&self, index: u64) -> impl Iterator<Item = Result<Told, DecodeError>> + '_ {
        self.kept_after(index).map(|(_, _, bytes)| format::decode(bytes))
    }

    /// Index, number of events and bytes of each entry that is kept after `index`.
    fn kept_after(&self, index: u64) -> impl Iterator<Item = (u64, u32, &[u8])> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let index = index.max(self.through.unwrap_or_default());
        let blocks = self.blocks.range((Excluded(index), Unbounded)).flat_map(move |(_, block)| block.after(index));
        let newest = self.newest.range((Excluded(index), Unbounded));
        blocks.chain(newest.map(|(index, kept)| (*index, kept.count, &*kept.bytes)))
    }

    /// For a snapshot.
    pub(crate) fn into_kept(self) -> (Option<u64>, impl Iterator<Item = (u64, Kept)>) {
        let through = self.through;
        let after = through.unwrap_or_default();
        let of = move |block: Block| {
            let all: Vec<_> =
                block.after(after).map(|(index, count, bytes)| (index, Kept::new(count, bytes))).collect();
            all
        };
        (through, self.blocks.into_iter().flat_map(move |(_, block)| of(block)).chain(self.newest))
    }

    /// What happened before this time is in the record, as far as the cluster was told; none: nobody keeps one.
    pub(crate) fn recorded_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.through?;
        match self.kept_after(0).next() {
            None => Some(now),
            // Written by another release, perhaps: then nothing is certain.
            Some((_, _, bytes)) => Some(format::decode_first::<At>(bytes).map_or(Timestamp::MIN, |at| at.time)),
        }
    }

    pub(crate) fn keep(&mut self, at: At, events: &[Event]) {
        if events.is_empty() || self.through.is_none_or(|through| through >= at.index) {
            return;
        }
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        if self.count + u64::from(count) > EVENTS_KEPT_MAX {
            // Memory is for seats. The record begins again from the state, and says what it has missed.
            *self = Self::default();
            return;
        }
        // As `Told` is, without a copy of it.
        self.keep_encoded(at.index, Kept::new(count, &format::encode(&(at, events))));
    }

    /// As a snapshot has it; before anything is kept.
    pub(crate) fn begin_after(&mut self, through: u64) {
        self.through = Some(through);
    }

    pub(crate) fn keep_encoded(&mut self, index: u64, kept: Kept) {
        self.count += u64::from(kept.count);
        self.newest.insert(index, kept);
        if self.newest.len() >= BLOCK {
            let block = Block::of(&self.newest);
            self.newest.clear();
            self.blocks.insert(index, block);
        }
    }

    fn let_go_through(&mut self, through: u64) {
        let gone =
            self.kept_after(0).take_while(|(index, _, _)| *index <= through).map(|(_, count, _)| u64::from(count));
        self.count -= gone.sum::<u64>();
        self.through = Some(through);
        while let Some(last) = self.blocks.get_min().map(|(last, _)| *last).filter(|last| *last <= through) {
            self.blocks.remove(&last);
        }
        while let Some(index) = self.newest.get_min().map(|(index, _)| *index).filter(|index| *index <= through) {
            self.newest.remove(&index);
        }
    }
}

impl Kept {
    fn new(count: u32, bytes: &[u8]) -> Self {
        Self { count, bytes: bytes.into() }
    }
}

impl Block {
    fn of(entries: &OrdMap<u64, Kept>) -> Self {
        let (mut places, mut bytes) = (Vec::with_capacity(entries.len()), Vec::new());
        for (index, kept) in entries {
            bytes.extend_from_slice(&kept.bytes);
            let end = u32::try_from(bytes.len()).expect("what an entry makes happen is some kilobytes");
            places.push(Place { index: *index, count: kept.count, end });
        }
        Self { entries: places.into(), bytes: bytes.into() }
    }

    fn after(&self, index: u64) -> impl Iterator<Item = (u64, u32, &[u8])> + '_ {
        let first = self.entries.partition_point(|place| place.index <= index);
        let begin = first.checked_sub(1).map_or(0, |before| self.entries[before].end);
        self.entries[first..].iter().scan(begin, |begin, place| {
            let bytes = &self.bytes[*begin as usize..place.end as usize];
            *begin = place.end;
            Some((place.index, place.count, bytes))
        })
    }
}

impl State {
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The record has everything up to there. The first time, it begins: it is kept from this entry on.
    pub(crate) fn projected(&mut self, through: u64, fx: &Effects) -> Result<Reply, Refusal> {
        let now = fx.at().index;
        self.outbox.let_go_through(match self.outbox.through {
            None => now,
            // What this entry itself makes happen is told after it.
            Some(before) => before.max(through.min(now.saturating_sub(1))),
        });
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Cause, Change, Reason};

    fn at(index: u64) -> At {
        At { index, time: Timestamp(index.cast_signed() * 1_000) }
    }

    /// Every third entry makes nothing happen, every fifth two things.
    fn events(index: u64) -> Vec<Event> {
        let cause = Cause { actor: Actor::Time, reason: Reason::TimePassed, note: None };
        let event = Event { cause, change: Change::CatalogReplaced { revision: index } };
        match index {
            index if index.is_multiple_of(3) => vec![],
            index if index.is_multiple_of(5) => vec![event.clone(), event],
            _ => vec![event],
        }
    }

    fn filled(last: u64) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.begin_after(10);
        (11..=last).for_each(|index| outbox.keep(at(index), &events(index)));
        outbox
    }

    fn told(outbox: &Outbox, after: u64) -> Vec<(u64, usize)> {
        let told = outbox.after(after).map(|told| told.expect("it was just written"));
        told.map(|told| (told.at.index, told.events.len())).collect()
    }

    #[test]
    fn what_is_kept_is_told_from_any_place_on() {
        let outbox = filled(2_000);
        let all: Vec<_> =
            (11..=2_000).map(|index| (index, events(index).len())).filter(|(_, count)| *count > 0).collect();
        let count = |told: &[(u64, usize)]| told.iter().map(|(_, count)| *count as u64).sum::<u64>();
        assert_eq!(outbox.len(), count(&all));
        for after in [0, 10, 11, 12, 394, 395, 396, 1_999, 2_000, 3_000] {
            let rest: Vec<_> = all.iter().copied().filter(|(index, _)| *index > after).collect();
            assert_eq!(told(&outbox, after), rest, "after {after}");
            let mut rest_of = outbox.clone();
            rest_of.let_go_through(after.max(10));
            assert_eq!((rest_of.len(), rest_of.first()), (count(&rest), rest.first().map(|(index, _)| *index)));
            assert_eq!(told(&rest_of, 0), rest);
            // A snapshot has neither what is gone nor how the rest lay in memory.
            let (through, kept) = rest_of.clone().into_kept();
            let mut restored = Outbox::default();
            restored.begin_after(through.expect("a record is kept"));
            kept.for_each(|(index, kept)| restored.keep_encoded(index, kept));
            assert_eq!((restored.len(), told(&restored, 0)), (rest_of.len(), rest));
        }
    }

    #[test]
    fn more_than_is_kept_is_dropped_altogether() {
        let mut outbox = filled(100);
        let many = vec![events(1).remove(0); 500_000];
        (101..=103).for_each(|index| outbox.keep(at(index), &many));
        assert!(outbox.len() > 1_500_000);
        outbox.keep(at(104), &many);
        assert_eq!((outbox.through(), outbox.len(), outbox.first()), (None, 0, None));
        outbox.keep(at(105), &many);
        assert!(outbox.is_empty(), "nothing is kept until somebody begins again");
    }
}
