//! What replication counts and times by itself: handles that are made once, so that counting costs an addition.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_domain::reply::Answer;
use carrel_domain::state::State;
use carrel_domain::tally::Tally;
use prometheus::{Histogram, IntCounter, IntCounterVec, Registry};

use crate::metrics::catalogue::{self, registered};
use crate::metrics::{are_counting, count};
use crate::raft::proposer::Outcome;
use crate::raft::types::NodeId;
use crate::raft::wal::WalCounters;
use crate::replica::WriteError;
use crate::traces::TraceParent;

/// Without a record nobody asks for them; with one it is seconds behind at most, or something is wrong that traces do
/// not mend.
const TRACED_MAX: usize = 1_024;

/// Of one node, from its start on, whatever cluster it becomes a part of.
#[derive(Debug)]
pub struct Measured {
    proposals: IntCounterVec,
    proposed: Proposed,
    proposal_seconds: Histogram,
    forwards: IntCounterVec,
    pub forwarded: Forwarded,
    pub read_index_rounds: IntCounter,
    pub log: Arc<WalCounters>,
    apply_seconds: Histogram,
    apply_batch_entries: Histogram,
    pub leader_changes: IntCounter,
    pub elections: IntCounter,
    votes: IntCounterVec,
    pub votes_asked: IntCounter,
    pub pre_votes_asked: IntCounter,
    pub record_hits: IntCounter,
    clock_spread_us: AtomicI64,
    backup_at: AtomicU64,
    tally: Mutex<Tally>,
    /// By index, of entries applied lately whose trace is recorded: what is told of them to Postgres goes on with it.
    traced: Mutex<VecDeque<(u64, TraceParent)>>,
}

/// By outcome.
#[derive(Debug)]
struct Proposed {
    applied: IntCounter,
    not_proposed: IntCounter,
    overloaded: IntCounter,
    full: IntCounter,
    expired: IntCounter,
    unknown: IntCounter,
}

/// By outcome.
#[derive(Debug)]
pub struct Forwarded {
    pub answered: IntCounter,
    /// Certainly not in the log.
    pub refused: IntCounter,
    pub unknown: IntCounter,
}

impl Forwarded {
    pub fn count(&self, outcome: &Result<Answer, WriteError>) {
        count(match outcome {
            Ok(_) => &self.answered,
            Err(WriteError::Unknown) => &self.unknown,
            Err(
                WriteError::NoLeader
                | WriteError::Overloaded
                | WriteError::Full
                | WriteError::TooLarge
                | WriteError::Expired
                | WriteError::EarlierRelease
                | WriteError::NotServing(_),
            ) => &self.refused,
        });
    }
}

impl Default for Measured {
    fn default() -> Self {
        let proposals = catalogue::RAFT_PROPOSALS.counters();
        let proposed = |result| proposals.with_label_values(&[result]);
        let forwards = catalogue::RAFT_FORWARDED.counters();
        let forwarded = |result| forwards.with_label_values(&[result]);
        let votes = catalogue::RAFT_VOTE_REQUESTS.counters();
        Self {
            proposed: Proposed {
                applied: proposed("applied"),
                not_proposed: proposed("not_proposed"),
                overloaded: proposed("overloaded"),
                full: proposed("full"),
                expired: proposed("expired"),
                unknown: proposed("unknown"),
            },
            proposals,
            proposal_seconds: catalogue::RAFT_PROPOSAL_SECONDS.histogram(),
            forwarded: Forwarded {
                answered: forwarded("answered"),
                refused: forwarded("refused"),
                unknown: forwarded("unknown"),
            },
            forwards,
            read_index_rounds: catalogue::RAFT_READ_INDEX_ROUNDS.counter(),
            log: Arc::default(),
            apply_seconds: catalogue::RAFT_APPLY_SECONDS.histogram(),
            apply_batch_entries: catalogue::RAFT_APPLY_BATCH_ENTRIES.histogram(),
            leader_changes: catalogue::RAFT_LEADER_CHANGES.counter(),
            elections: catalogue::RAFT_ELECTIONS.counter(),
            votes_asked: votes.with_label_values(&["vote"]),
            pre_votes_asked: votes.with_label_values(&["pre_vote"]),
            votes,
            record_hits: catalogue::RECORD_HITS.counter(),
            clock_spread_us: AtomicI64::new(0),
            backup_at: AtomicU64::new(0),
            tally: Mutex::default(),
            traced: Mutex::default(),
        }
    }
}

impl Measured {
    /// # Errors
    /// If a metric of one of these names is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registered(registry, self.proposals.clone())?;
        registered(registry, self.forwards.clone())?;
        registered(registry, self.votes.clone())?;
        let log = [&self.log.append_seconds, &self.log.sync_seconds];
        for histogram in [&self.proposal_seconds, &self.apply_seconds, &self.apply_batch_entries].into_iter().chain(log)
        {
            registered(registry, histogram.clone())?;
        }
        for counter in [&self.read_index_rounds, &self.leader_changes, &self.elections, &self.record_hits] {
            registered(registry, counter.clone())?;
        }
        Ok(())
    }

    pub fn proposed(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Applied { .. } => &self.proposed.applied,
            Outcome::NotProposed { .. } => &self.proposed.not_proposed,
            Outcome::Overloaded => &self.proposed.overloaded,
            Outcome::Full => &self.proposed.full,
            Outcome::Expired => &self.proposed.expired,
            Outcome::Unknown => &self.proposed.unknown,
        };
        count(counter);
    }

    /// A majority has a request of a client, and it is applied.
    pub fn committed(&self, took: Duration) {
        if are_counting() {
            self.proposal_seconds.observe(took.as_secs_f64());
        }
    }

    /// Entries that were committed together.
    pub fn applied(&self, entries: u64, took: Duration) {
        if are_counting() {
            self.apply_seconds.observe(took.as_secs_f64());
            self.apply_batch_entries.observe(entries as f64);
        }
    }

    /// Between the clocks that are furthest apart.
    pub fn clock_spread_us(&self) -> i64 {
        self.clock_spread_us.load(Ordering::Relaxed)
    }

    pub fn clocks_read(&self, offsets_us: &[i64]) {
        if let (Some(least), Some(most)) = (offsets_us.iter().min(), offsets_us.iter().max()) {
            self.clock_spread_us.store(most.saturating_sub(*least), Ordering::Relaxed);
        }
    }

    /// In seconds since 1970; none if this node has sent none yet.
    pub fn backup_at(&self) -> Option<u64> {
        Some(self.backup_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    pub fn backup_sent(&self, at: u64) {
        self.backup_at.store(at, Ordering::Relaxed);
    }

    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// The state is another than the one before and what was applied to it.
    pub fn begin_tally(&self, state: &State) {
        let tally = Tally::of(state);
        *self.lock() = tally;
    }

    pub fn observe(&self, state: &State, events: &[carrel_domain::event::Event]) {
        if !events.is_empty() && are_counting() {
            self.lock().observe(state.catalog(), events);
        }
    }

    pub fn traced(&self, index: u64, trace: TraceParent) {
        let mut traced = self.traces();
        if traced.len() == TRACED_MAX {
            traced.pop_front();
        }
        traced.push_back((index, trace));
    }

    /// Of the entries up to there; told once.
    pub fn traced_through(&self, index: u64) -> Vec<(u64, TraceParent)> {
        let mut traced = self.traces();
        let reached = traced.iter().take_while(|(of, _)| *of <= index).count();
        traced.drain(..reached).collect()
    }

    fn traces(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, TraceParent)>> {
        self.traced.lock().expect("nothing panics while it holds the lock")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while it holds the lock")
    }
}

/// Tells apart what a watcher of openraft's metrics sees twice.
#[derive(Debug, Default)]
pub struct Seen {
    leader: Option<(u64, NodeId)>,
    /// The newest term in which this node stood; at first what it remembers from before its start.
    stood_in: Option<u64>,
}

impl Seen {
    pub fn look(&mut self, measured: &Measured, term: u64, leader: Option<NodeId>, stands: bool) {
        if let Some(leader) = leader
            && self.leader != Some((term, leader))
        {
            self.leader = Some((term, leader));
            measured.leader_changes.inc();
        }
        let stood_in = *self.stood_in.get_or_insert(term);
        if stands && term > stood_in {
            self.stood_in = Some(term);
            measured.elections.inc();
        }
    }
}
