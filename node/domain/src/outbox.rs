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

/// Some two hundred megabytes: an hour without the record at several hundred changes a second.
pub const EVENTS_KEPT_MAX: u64 = 2_000_000;

/// Invariant: every entry in it is after `through`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbox {
    /// Everything of entries up to here is in the record. None: nobody keeps one.
    pub(crate) through: Option<u64>,
    /// By index, encoded: a fourth of the size, and a snapshot takes it as it is.
    pub(crate) kept: OrdMap<u64, Kept>,
    pub(crate) count: u64,
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
        self.kept.get_min().map(|(index, _)| *index)
    }

    /// What happened after the entry at `index`, in order.
    ///
    /// An item is an error if this release cannot read it: another one wrote it.
    pub fn after(&self, index: u64) -> impl Iterator<Item = Result<Told, DecodeError>> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        self.kept.range((Excluded(index), Unbounded)).map(|(_, kept)| format::decode(&kept.bytes))
    }

    /// What happened before this time is in the record, as far as the cluster was told; none: nobody keeps one.
    pub(crate) fn recorded_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.through?;
        match self.kept.get_min() {
            None => Some(now),
            // Written by another release, perhaps: then nothing is certain.
            Some((_, kept)) => Some(format::decode_first::<At>(&kept.bytes).map_or(Timestamp::MIN, |at| at.time)),
        }
    }

    pub(crate) fn keep(&mut self, at: At, events: &[Event]) {
        if events.is_empty() || self.through.is_none_or(|through| through >= at.index) {
            return;
        }
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        self.count += u64::from(count);
        if self.count > EVENTS_KEPT_MAX {
            // Memory is for seats. The record begins again from the state, and says what it has missed.
            *self = Self::default();
            return;
        }
        // As `Told` is, without a copy of it.
        self.kept.insert(at.index, Kept { count, bytes: format::encode(&(at, events)).into() });
    }

    pub(crate) fn keep_encoded(&mut self, index: u64, kept: Kept) {
        self.count += u64::from(kept.count);
        self.kept.insert(index, kept);
    }

    fn let_go_through(&mut self, through: u64) {
        while let Some((index, count)) = self.kept.get_min().map(|(index, kept)| (*index, kept.count))
            && index <= through
        {
            self.kept.remove(&index);
            self.count -= u64::from(count);
        }
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
        self.outbox.through = Some(match self.outbox.through {
            None => now,
            // What this entry itself makes happen is told after it.
            Some(before) => before.max(through.min(now.saturating_sub(1))),
        });
        self.outbox.let_go_through(self.outbox.through.unwrap_or_default());
        Ok(Reply::Done)
    }
}
