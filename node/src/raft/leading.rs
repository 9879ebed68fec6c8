//! Whether this node leads, and what time it is if it does.
//!
//! A node leads from the moment the first entry of its term is applied and a majority's clocks are read, which happen
//! side by side, until it learns of another leader. openraft's own word (`as_leader`) looks only at the stored vote and
//! is wrong after a restart.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_domain::planted::{self, Bug};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::Instant;
use openraft::alias::InstantOf;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::Select2;
use openraft_rt::AsyncRuntime;

use crate::raft::leader_clock::{LeaderClock, median};
use crate::raft::measured::{Measured, Seen};
use crate::raft::peers::{Peer, Peers};
use crate::raft::platform::Platform;
use crate::raft::types::{CommittedLeaderId, Membership, NodeId, Raft, Types};
use crate::raft::views::Views;
use crate::raft::watched::{Announcer, Watched};

/// A fourth of what a measurement is good for, so that three may fail.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// A clock read over a slower way than this says little: the error is up to half of it.
const READ_LIMIT: Duration = Duration::from_millis(200);

/// How long after a majority's clocks the others are waited for. They make the median better; failover must not wait.
const STRAGGLER_LIMIT: Duration = Duration::from_millis(5);

/// Between attempts of a leader that could not read a majority's clocks.
const RETRY: Duration = Duration::from_millis(50);

/// This node leads in this term, and has applied the term's first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leading {
    pub term: u64,
}

/// What the node knows of its own leadership, shared by those who act on it.
pub struct Lead<RT: AsyncRuntime> {
    shared: Arc<Shared<RT>>,
}

struct Shared<RT: AsyncRuntime> {
    /// The process's monotonic clock counts from here.
    origin: InstantOf<Types<RT>>,
    clock: Mutex<Option<(Leading, LeaderClock)>>,
    leading: Announcer<RT, Option<Leading>>,
}

impl<RT: AsyncRuntime> Default for Lead<RT> {
    fn default() -> Self {
        let shared = Shared { origin: Types::<RT>::now(), clock: Mutex::new(None), leading: Announcer::new(None) };
        Self { shared: Arc::new(shared) }
    }
}

impl<RT: AsyncRuntime> Lead<RT> {
    pub fn leading(&self) -> Option<Leading> {
        self.shared.leading.get()
    }

    pub fn watch(&self) -> Watched<RT, Option<Leading>> {
        self.shared.leading.watch()
    }

    /// The leader's time, in microseconds since 1970; none while another leads or the clock is not measured.
    pub fn now_us(&self) -> Option<i64> {
        self.stamp().map(|(_, now_us)| now_us)
    }

    pub fn stamp(&self) -> Option<(CommittedLeaderId, i64)> {
        let leading = self.leading()?;
        match &*self.clock() {
            Some((measured, clock)) if *measured == leading => {
                Some((CommittedLeaderId::new(leading.term), clock.now(self.monotonic_us())?))
            }
            Some(_) | None => None,
        }
    }

    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.shared.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Option<(Leading, LeaderClock)>> {
        self.shared.clock.lock().expect("nothing panics while it holds the lock")
    }
}

/// Keeps [`Lead`] true for as long as the node runs.
pub struct LeadershipTask<P: Platform, N> {
    pub platform: P,
    pub raft: Raft<P>,
    pub peers: N,
    pub views: Arc<Views<P::Runtime>>,
    pub lead: Lead<P::Runtime>,
    pub measured: Arc<Measured>,
    pub me: NodeId,
}

impl<P: Platform, N: Peers<P::Runtime>> LeadershipTask<P, N> {
    pub async fn run(self) {
        let mut metrics = self.raft.metrics();
        loop {
            let elected = {
                let seen = metrics.borrow_and_update();
                if seen.running_state.is_err() {
                    break;
                }
                seen.state.is_leader().then(|| Leading { term: seen.current_term })
            };
            match elected {
                Some(leading) => self.lead(leading).await,
                None => {
                    if metrics.changed().await.is_err() {
                        break;
                    }
                }
            }
        }
        self.lead.shared.leading.announce(None);
    }

    /// From the election to the end of the leadership.
    async fn lead(&self, leading: Leading) {
        tracing::info!(term = leading.term, "elected");
        let mut over = pin!(self.over(leading));
        let mut serve = pin!(self.serve(leading));
        match Types::<P::Runtime>::select2(over.as_mut(), serve.as_mut()).await {
            Select2::First(()) | Select2::Second(()) => {}
        }
        self.lead.shared.leading.announce(None);
        *self.lead.clock() = None;
        tracing::info!(term = leading.term, "leads no more");
    }

    async fn over(&self, leading: Leading) {
        let still = |metrics: &openraft::RaftMetrics<Types<P::Runtime>>| {
            metrics.running_state.is_ok() && metrics.state.is_leader() && metrics.current_term == leading.term
        };
        let mut metrics = self.raft.metrics();
        loop {
            if !still(&metrics.borrow_and_update()) {
                return;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Never returns by itself.
    async fn serve(&self, leading: Leading) {
        let (offset_us, ()) = futures_util::future::join(self.measured(), self.first_entry_applied(leading)).await;
        let log_time_us = self.views.newest().library.at().time.0;
        let clock = LeaderClock::begin(self.lead.monotonic_us(), offset_us, log_time_us);
        *self.lead.clock() = Some((leading, clock));
        self.lead.shared.leading.announce(Some(leading));
        tracing::info!(term = leading.term, "leads");
        loop {
            Types::<P::Runtime>::sleep(MEASURE_EVERY).await;
            let Some(offset_us) = self.measure().await else { continue };
            let now_us = self.lead.monotonic_us();
            if let Some((_, clock)) = self.lead.clock().as_mut() {
                clock.correct(now_us, offset_us);
            }
        }
    }

    async fn first_entry_applied(&self, leading: Leading) {
        let first = |published: &crate::raft::views::Published| {
            published.applied.is_some_and(|applied| applied.leader_id.term == leading.term)
        };
        let mut applied = self.views.applied();
        // The views outlive this task.
        applied.wait_for(|_| first(&self.views.newest())).await;
    }

    async fn measured(&self) -> i64 {
        loop {
            if let Some(offset_us) = self.measure().await {
                return offset_us;
            }
            Types::<P::Runtime>::sleep(RETRY).await;
        }
    }

    /// The median of a majority's clocks, less this process's monotonic clock.
    async fn measure(&self) -> Option<i64> {
        let membership = self.raft.metrics().borrow_watched().membership_config.clone();
        let membership = membership.membership();
        let mut answered = vec![self.me];
        let mut offsets_us = vec![self.platform.wall_clock_us().saturating_sub(self.lead.monotonic_us())];
        let others = membership.voter_ids().filter(|id| *id != self.me);
        let mut readings: FuturesUnordered<_> = others.map(|id| self.read_clock(peer(membership, id))).collect();
        while !is_majority(membership, &answered) {
            let (id, offset_us) = readings.next().await?;
            answered.extend(offset_us.map(|_| id));
            offsets_us.extend(offset_us);
        }
        let stragglers = async {
            while let Some((_, offset_us)) = readings.next().await {
                offsets_us.extend(offset_us);
            }
        };
        // Who is late is left out.
        let _ = Types::<P::Runtime>::timeout(STRAGGLER_LIMIT, stragglers).await;
        self.measured.clocks_read(&offsets_us);
        if planted::has(Bug::OwnClockAlone) {
            return offsets_us.first().copied();
        }
        median(offsets_us)
    }

    async fn read_clock(&self, peer: Peer) -> (NodeId, Option<i64>) {
        let asked_us = self.lead.monotonic_us();
        let Ok(Ok(clock_us)) = Types::<P::Runtime>::timeout(READ_LIMIT, self.peers.read_clock_us(peer)).await else {
            return (peer.id, None);
        };
        // Read somewhere between question and answer: in the middle, give or take half.
        let middle_us = asked_us.midpoint(self.lead.monotonic_us());
        (peer.id, Some(clock_us.saturating_sub(middle_us)))
    }
}

/// Keeps `leader` what this node knows: another's word for others, and for itself only once it serves.
pub async fn follow_leader<P: Platform>(
    raft: Raft<P>,
    me: NodeId,
    lead: Lead<P::Runtime>,
    leader: Arc<Announcer<P::Runtime, Option<NodeId>>>,
    measured: Arc<Measured>,
) {
    let mut metrics = raft.metrics();
    let mut leading = lead.watch();
    let mut seen = Seen::default();
    loop {
        let named = {
            let metrics = metrics.borrow_and_update();
            let stands = metrics.vote.leader_id.voted_for == me;
            seen.look(&measured, metrics.current_term, metrics.current_leader, stands);
            metrics.current_leader
        };
        let serving = named.filter(|id| *id != me || leading.get().is_some());
        if leader.get() != serving {
            leader.announce(serving);
        }
        let mut heard = pin!(metrics.changed());
        let mut led = pin!(leading.changed());
        match Types::<P::Runtime>::select2(heard.as_mut(), led.as_mut()).await {
            Select2::First(Ok(())) | Select2::Second(true) => {}
            Select2::First(Err(_)) | Select2::Second(false) => return,
        }
    }
}

pub fn peer(membership: &Membership, id: NodeId) -> Peer {
    Peer { id, ordinal: membership.get_node(&id).map_or(0, |member| member.ordinal) }
}

/// In each of the voter sets, if two are in force.
pub fn is_majority(membership: &Membership, nodes: &[NodeId]) -> bool {
    let majority_of = |voters: &std::collections::BTreeSet<NodeId>| {
        nodes.iter().filter(|id| voters.contains(id)).count() > voters.len() / 2
    };
    membership.get_joint_config().iter().all(majority_of)
}

impl<RT: AsyncRuntime> Clone for Lead<RT> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<RT: AsyncRuntime> std::fmt::Debug for Lead<RT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lead").field("leading", &self.leading()).finish_non_exhaustive()
    }
}

impl<P: Platform, N> std::fmt::Debug for LeadershipTask<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadershipTask").field("me", &self.me).finish_non_exhaustive()
    }
}
