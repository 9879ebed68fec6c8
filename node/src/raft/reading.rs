//! Reads that see everything acknowledged before them, on every node: an index from the leader, then wait until it is
//! applied here. The leader answers only after a majority has confirmed that it still leads; there are no leases. Both
//! are asked once for all who want to know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_domain::planted::{self, Bug};
use openraft::alias::{InstantOf, MpscReceiverOf, MpscSenderOf, OneshotSenderOf};
use openraft::async_runtime::{MpscReceiver, MpscSender, OneshotSender, WatchReceiver};
use openraft::type_config::TypeConfigExt;
use openraft::{Instant, ReadPolicy};

use crate::metrics::count;
use crate::raft::leading::peer;
use crate::raft::measured::Measured;
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::running::Running;
use crate::raft::types::{LogId, NodeId, Raft, Types};
use crate::raft::watched::Announcer;
use crate::replica::{Freshness, ReadError, View};

/// Readers that wait for the next question to the leader. More than a node serves at once; beyond it they wait in line.
const WAITING_READERS: usize = 4096;

/// A leader that cannot reach a majority says so after a lease, 350 ms; beyond this the way to it is broken.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Between attempts while there is no leader, or it does not answer.
const RETRY: Duration = Duration::from_millis(50);

/// How long a token that is not applied in time may cost to be told from one of another history.
const VERDICT_LIMIT: Duration = Duration::from_millis(300);

type Answer = Option<LogId>;
type Reader<P> = OneshotSenderOf<Types<<P as Platform>::Runtime>, Answer>;
/// A view that has applied this index was fresh at this instant.
type Fresh<P> = (InstantOf<Types<<P as Platform>::Runtime>>, u64);

/// Asks for many readers at once: one question is on its way at a time, and answers those that arrived before it was
/// asked.
struct Gathering<P: Platform>(MpscSenderOf<Types<P::Runtime>, Reader<P>>);

/// What it has gathered, for the task that asks.
struct Gathered<P: Platform>(MpscReceiverOf<Types<P::Runtime>, Reader<P>>);

pub struct ReadIndex<P: Platform> {
    /// Of the leader, elsewhere than there.
    asking: Gathering<P>,
    /// Of a majority, on the leader: for its own readers and for the other nodes.
    confirming: Gathering<P>,
    /// The newest that is known.
    fresh: Mutex<Option<Fresh<P>>>,
}

/// The asking tasks, not yet running.
pub struct Reading<P: Platform> {
    asking: Gathered<P>,
    confirming: Gathered<P>,
}

fn gathering<P: Platform>() -> (Gathering<P>, Gathered<P>) {
    let (sender, receiver) = Types::<P::Runtime>::mpsc(WAITING_READERS);
    (Gathering(sender), Gathered(receiver))
}

impl<P: Platform> Gathering<P> {
    async fn answer(&self) -> Answer {
        let (sender, answer) = Types::<P::Runtime>::oneshot();
        self.0.send(sender).await.ok()?;
        answer.await.ok()?
    }
}

impl<P: Platform> Gathered<P> {
    async fn serve<Asked: Future<Output = Answer>>(mut self, measured: &Measured, ask: impl Fn() -> Asked) {
        while let Some(first) = self.0.recv().await {
            let mut readers = vec![first];
            while readers.len() < WAITING_READERS
                && let Ok(reader) = self.0.try_recv()
            {
                readers.push(reader);
            }
            count(&measured.read_index_rounds);
            let answer = ask().await;
            for reader in readers {
                // Who has gone needs no answer.
                let _ = reader.send(answer);
            }
        }
    }
}

impl<P: Platform> ReadIndex<P> {
    pub fn new() -> (Self, Reading<P>) {
        let ((asking, asked), (confirming, confirmed)) = (gathering(), gathering());
        (Self { asking, confirming, fresh: Mutex::new(None) }, Reading { asking: asked, confirming: confirmed })
    }

    /// An index such that a view that has it sees all that was acknowledged before now; `None` if nobody could say.
    async fn ask(&self) -> Answer {
        self.asking.answer().await
    }

    /// The same on the leader, once a majority has confirmed that it leads.
    pub async fn confirm(&self) -> Answer {
        self.confirming.answer().await
    }

    /// Who asked at this instant was told this index.
    fn note(&self, asked: InstantOf<Types<P::Runtime>>, index: u64) {
        let mut fresh = self.fresh();
        if fresh.is_none_or(|(newest, _)| newest < asked) {
            *fresh = Some((asked, index));
        }
    }

    /// Whether a view with this index is at most so old.
    fn is_fresh(&self, applied: Option<u64>, staleness: Duration) -> bool {
        let fresh = *self.fresh();
        fresh.is_some_and(|(asked, index)| asked.elapsed() <= staleness && applied >= Some(index))
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, Option<Fresh<P>>> {
        self.fresh.lock().expect("nothing panics while it holds the lock")
    }
}

impl<P: Platform> Reading<P> {
    /// Runs for as long as the node does.
    pub async fn run<N: Transport<P>>(
        self,
        raft: Raft<P>,
        peers: N,
        leader: Arc<Announcer<P::Runtime, Option<NodeId>>>,
        measured: Arc<Measured>,
    ) {
        let asking = self.asking.serve(&measured, || read_index(&raft, &peers, leader.get()));
        let confirming = self.confirming.serve(&measured, || confirmed_index(&raft));
        futures_util::join!(asking, confirming);
    }
}

async fn read_index<P: Platform, N: Transport<P>>(raft: &Raft<P>, peers: &N, leader: Option<NodeId>) -> Answer {
    let leader = leader?;
    if leader == *raft.node_id() {
        return confirmed_index(raft).await;
    }
    let leader = peer(raft.metrics().borrow_watched().membership_config.membership(), leader);
    match Types::<P::Runtime>::timeout(ANSWER_LIMIT, peers.read_index(leader)).await {
        Ok(Ok(log_id)) => Some(log_id),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no read index");
            None
        }
        Err(_) => None,
    }
}

/// On the leader: an index, once a majority has confirmed that it leads.
async fn confirmed_index<P: Platform>(raft: &Raft<P>) -> Answer {
    if planted::has(Bug::ReadIndexOfFollower) {
        return raft.metrics().borrow_watched().last_applied;
    }
    let policy = if planted::has(Bug::ReadsByLease) { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
    let linearizer = Types::<P::Runtime>::timeout(ANSWER_LIMIT, raft.get_read_linearizer(policy)).await;
    Some(*linearizer.ok()?.ok()?.read_log_id().log_id())
}

impl<P: Platform, N: Transport<P>> Running<P, N> {
    pub async fn read(&self, freshness: Freshness) -> Result<View, ReadError> {
        match freshness {
            Freshness::Linearizable => self.linearizable().await,
            Freshness::AtLeast { lineage, index } => self.at_least(lineage, index).await,
            Freshness::MaxStaleness(staleness) => {
                let newest = self.views.newest();
                if self.read_index.is_fresh(newest.applied_index(), staleness) {
                    return Ok(Arc::clone(&newest.library));
                }
                self.linearizable().await
            }
        }
    }

    async fn linearizable(&self) -> Result<View, ReadError> {
        if planted::has(Bug::ReadsFromMemory) {
            return Ok(Arc::clone(&self.views.newest().library));
        }
        let log_id = self.read_log_id().await?;
        self.applied(log_id.index).await.ok_or(ReadError::Behind)
    }

    /// A log id such that a state that has it sees all that was acknowledged before now.
    pub(in crate::raft) async fn read_log_id(&self) -> Result<LogId, ReadError> {
        let deadline = Types::<P::Runtime>::now() + self.settings.leader_wait;
        loop {
            let (leader, asked) = (self.leader.get(), Types::<P::Runtime>::now());
            let answer = if self.lead.leading().is_some() {
                self.read_index.confirm().await
            } else {
                Types::<P::Runtime>::timeout(Self::remaining(deadline), self.read_index.ask()).await.ok().flatten()
            };
            if let Some(log_id) = answer {
                self.read_index.note(asked, log_id.index);
                return Ok(log_id);
            }
            let remaining = Self::remaining(deadline);
            if remaining.is_zero() {
                return Err(ReadError::NoQuorum);
            }
            self.another_leader(leader, remaining.min(RETRY)).await;
        }
    }

    /// A token of a write that was answered is committed, so a view with its index has it.
    async fn at_least(&self, lineage: u32, index: u64) -> Result<View, ReadError> {
        if lineage != self.me.lineage {
            return Err(ReadError::ForeignToken);
        }
        if let Some(view) = self.applied(index).await {
            return Ok(view);
        }
        match Types::<P::Runtime>::timeout(VERDICT_LIMIT, self.read_index.ask()).await {
            Ok(Some(log_id)) if log_id.index < index => Err(ReadError::ForeignToken),
            Ok(Some(_) | None) | Err(_) => Err(ReadError::Behind),
        }
    }

    async fn applied(&self, index: u64) -> Option<View> {
        let applied = self.views.at_least(index);
        let view = Types::<P::Runtime>::timeout(self.settings.catch_up_wait, applied).await.ok()??;
        Some(Arc::clone(&view.library))
    }
}

impl<P: Platform> std::fmt::Debug for ReadIndex<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadIndex").finish_non_exhaustive()
    }
}

impl<P: Platform> std::fmt::Debug for Reading<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
