//! A node that takes part: openraft and the tasks around it. Begun when the node knows who it is, ended with the
//! process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::alias::InstantOf;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::Select2;
use openraft::{ConfigError, Instant};
use openraft_rt::AsyncRuntime;
use thiserror::Error;

use crate::raft::admission::Admission;
use crate::raft::identity::MemberOf;
use crate::raft::leading::{Lead, LeadershipTask, follow_leader, peer};
use crate::raft::machine::Machine;
use crate::raft::measured::Measured;
use crate::raft::peers::{Peer, Transport};
use crate::raft::platform::Platform;
use crate::raft::proposer::{Proposer, proposer};
use crate::raft::reading::ReadIndex;
use crate::raft::removal::RemovalTask;
use crate::raft::settings::Settings;
use crate::raft::shortage::{Doorkeeper, Intake, watch_room};
use crate::raft::snapshots::{OpenSnapshotsError, Snapshots};
use crate::raft::snapshotting::SnapshotTrigger;
use crate::raft::stepping_down::step_down_without_vote;
use crate::raft::ticker::tick;
use crate::raft::types::{Membership, NodeId, Raft, Types};
use crate::raft::views::Views;
use crate::raft::wal::{Log, OpenLogError, WriterState};
use crate::raft::watched::{Announcer, Watched};

/// To finish what is on its way to the disk: a few syncs.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why a node that knows who it is cannot take part.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("the settings contradict each other")]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] OpenLogError),
    #[error(transparent)]
    Snapshots(#[from] OpenSnapshotsError),
    #[error("what is on disk cannot be replayed: {0}")]
    Replay(String),
    /// Two copies of one volume would both vote as one node.
    #[error(
        "the volume of node {node_id} belongs to ordinal {belongs} and is under ordinal {found}: put it back, or \
        give this ordinal an empty directory"
    )]
    Misplaced { node_id: NodeId, belongs: u32, found: u32 },
}

/// Why a node that took part cannot go on. The process is to end: what the disk holds is known only by reading it
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("the log cannot be written: {0}")]
    Log(String),
    #[error("replication has stopped: {0}")]
    Replication(String),
    #[error("the volume cannot be written: {0}")]
    Volume(String),
}

pub struct Running<P: Platform, N> {
    pub me: MemberOf,
    pub ordinal: u32,
    pub platform: P,
    pub settings: Settings,
    pub raft: Raft<P>,
    pub log: Log<P>,
    pub snapshots: Snapshots<P>,
    pub peers: N,
    pub views: Arc<Views<P::Runtime>>,
    pub lead: Lead<P::Runtime>,
    pub measured: Arc<Measured>,
    /// Requests of this node's own clients, wherever they are decided.
    pub clients: Admission,
    pub proposer: Arc<Proposer<P::Runtime>>,
    /// Whether this node, leading, takes requests.
    pub intake: Arc<Doorkeeper<P::Runtime>>,
    pub read_index: ReadIndex<P>,
    /// Who serves, as far as this node knows; itself only once it can.
    pub leader: Arc<Announcer<P::Runtime, Option<NodeId>>>,
    /// Another node has said that this one was taken out for good.
    pub(in crate::raft) told_removed: Arc<Announcer<P::Runtime, bool>>,
    /// One change of the membership at a time: some take two steps, which nothing may come between.
    pub(in crate::raft) changing: Admission,
    closed: Announcer<P::Runtime, bool>,
}

/// What outlives a start: outsiders hold on to it before the node knows who it is.
pub struct Surroundings<P: Platform> {
    pub platform: P,
    pub settings: Settings,
    pub ordinal: u32,
    pub views: Arc<Views<P::Runtime>>,
    pub lead: Lead<P::Runtime>,
    pub measured: Arc<Measured>,
    pub failure: Arc<Announcer<P::Runtime, Option<Failure>>>,
}

impl<P: Platform, N: Transport<P>> Running<P, N> {
    /// Reads what is on disk and replays it. Takes part once [`Running::begin`] is called.
    pub async fn recover(
        around: &Surroundings<P>,
        me: MemberOf,
        log_directory: &std::path::Path,
        snapshot_directory: &std::path::Path,
        peers: N,
    ) -> Result<Arc<Self>, StartError> {
        let Surroundings { platform, settings, ordinal, views, lead, measured, failure: _ } = around;
        let config = settings.raft_config()?;
        let log =
            Log::open_counted(platform, log_directory, me.log_owner(), settings.log, Arc::clone(&measured.log)).await?;
        let snapshots = Snapshots::open(platform, snapshot_directory, me.log_owner(), log.reach()).await?;
        let machine =
            Machine::new(platform.clone(), log.clone(), snapshots.clone(), Arc::clone(views), Arc::clone(measured));
        let raft = Raft::<P>::build(me.node_id, config, peers.clone(), log.clone(), machine)
            .await
            .map_err(|fatal| StartError::Replay(fatal.to_string()))?;
        let known = views.newest();
        let member = known.membership.membership().get_node(&me.node_id).map(|member| member.ordinal);
        // One that was never a member may know where it was to become one.
        let belongs = member.or_else(|| known.cluster.allocated(me.node_id).map(|node| node.ordinal));
        if let Some(belongs) = belongs.filter(|belongs| belongs != ordinal) {
            return Err(StartError::Misplaced { node_id: me.node_id, belongs, found: *ordinal });
        }

        let intake = Arc::new(Doorkeeper::new(Intake::Open));
        let (proposer, proposing) = proposer(settings.in_flight_limit, Arc::clone(&intake), Arc::clone(measured));
        let (read_index, reading) = ReadIndex::new();
        let running = Arc::new(Self {
            me,
            ordinal: *ordinal,
            platform: platform.clone(),
            settings: settings.clone(),
            raft: raft.clone(),
            log: log.clone(),
            snapshots: snapshots.clone(),
            peers: peers.clone(),
            views: Arc::clone(views),
            lead: lead.clone(),
            measured: Arc::clone(measured),
            clients: Admission::new(settings.in_flight_limit),
            proposer: Arc::new(proposer),
            intake,
            read_index,
            leader: Arc::new(Announcer::new(None)),
            told_removed: Arc::new(Announcer::new(false)),
            changing: Admission::new(1),
            closed: Announcer::new(false),
        });
        running.spawn(proposing.run(raft.clone(), lead.clone()));
        running.spawn(reading.run(raft.clone(), peers.clone(), Arc::clone(&running.leader), Arc::clone(measured)));
        running.spawn(tick(Arc::clone(&running.proposer), Arc::clone(views), lead.clone()));
        running.spawn(follow_leader(
            raft.clone(),
            me.node_id,
            lead.clone(),
            Arc::clone(&running.leader),
            Arc::clone(measured),
        ));
        let removal = RemovalTask {
            raft: raft.clone(),
            peers: peers.clone(),
            views: Arc::clone(views),
            told: Arc::clone(&running.told_removed),
            me: me.node_id,
        };
        running.spawn(removal.run());
        let leadership = LeadershipTask {
            platform: platform.clone(),
            raft: raft.clone(),
            peers,
            views: Arc::clone(views),
            lead: lead.clone(),
            measured: Arc::clone(measured),
            me: me.node_id,
        };
        running.spawn(leadership.run());
        running.spawn(step_down_without_vote(raft.clone(), Arc::downgrade(&running)));
        running.spawn(watch_log(log.clone(), Arc::clone(&around.failure)));
        running.spawn(watch_raft(raft.clone(), Arc::clone(&around.failure)));
        running.spawn(watch_room(Arc::clone(&running)));
        running.spawn(watch_snapshots(snapshots.failure(), Arc::clone(&around.failure)));
        running.spawn(SnapshotTrigger { raft, log, snapshots, settings: settings.clone() }.run());
        Ok(running)
    }

    /// From here on it may be elected.
    pub fn begin(&self) {
        self.raft.run();
    }

    /// Ends everything that this began. What is acknowledged is on disk.
    pub async fn end(&self) {
        let ended = async {
            // A core that panicked has said so elsewhere.
            let _ = self.raft.shutdown().await;
            // A log that cannot be flushed has said so elsewhere, too.
            let _ = self.log.flush().await;
        };
        // On a full disk what was not written waits for room, and was not acknowledged.
        let _ = Types::<P::Runtime>::timeout(END_LIMIT, ended).await;
        self.closed.announce(true);
    }

    pub fn membership(&self) -> Membership {
        self.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    pub fn peer(&self, id: NodeId) -> Peer {
        peer(&self.membership(), id)
    }

    /// Waits until there is a leader other than `tried`, for at most `limit`.
    pub async fn another_leader(&self, tried: Option<NodeId>, limit: Duration) {
        let mut leader = self.leader.watch();
        let found = leader.wait_for(|leader| leader.is_some() && *leader != tried);
        // Whoever waits tries again in either case.
        let _ = Types::<P::Runtime>::timeout(limit, found).await;
    }

    pub fn remaining(deadline: InstantOf<Types<P::Runtime>>) -> Duration {
        deadline.saturating_duration_since(Types::<P::Runtime>::now())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.watch();
        // The handle is not needed: the task ends with the node.
        drop(Types::<P::Runtime>::spawn(until_closed::<P>(closed, task)));
    }
}

impl<P: Platform, N> Running<P, N> {
    /// Whether this node knows its cluster to be founded.
    pub fn is_founded(&self) -> bool {
        let founding = self.views.newest().cluster.founding().map(|founding| founding.cluster_id);
        founding == Some(*self.me.cluster_id.as_bytes())
    }

    /// Whether this node was taken out for good, by what it has applied or by what others say.
    pub fn is_removed(&self) -> bool {
        self.told_removed.get() || self.views.newest().cluster.is_retired(self.me.node_id)
    }
}

async fn until_closed<P: Platform>(mut closed: Watched<P::Runtime, bool>, task: impl Future<Output = ()> + Send) {
    let mut closed = std::pin::pin!(closed.wait_for(|closed| *closed));
    let mut task = std::pin::pin!(task);
    match Types::<P::Runtime>::select2(closed.as_mut(), task.as_mut()).await {
        Select2::First(_) | Select2::Second(()) => {}
    }
}

async fn watch_log<P: Platform>(log: Log<P>, failure: Arc<Announcer<P::Runtime, Option<Failure>>>) {
    let mut state = log.writer_state();
    drop(log);
    loop {
        if let WriterState::Failed(why) = &*state.borrow_and_update() {
            failure.announce(Some(Failure::Log(chain(why.as_ref()))));
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_snapshots<RT: AsyncRuntime>(
    mut failed: Watched<RT, Option<String>>,
    failure: Arc<Announcer<RT, Option<Failure>>>,
) {
    if let Some(why) = failed.wait_for(Option::is_some).await.flatten() {
        failure.announce(Some(Failure::Volume(why)));
    }
}

async fn watch_raft<P: Platform>(raft: Raft<P>, failure: Arc<Announcer<P::Runtime, Option<Failure>>>) {
    let mut metrics = raft.metrics();
    drop(raft);
    loop {
        let stopped = metrics.borrow_and_update().running_state.clone();
        match stopped {
            Ok(()) | Err(openraft::errors::Fatal::Stopped) => {}
            Err(fatal) => {
                if failure.get().is_none() {
                    failure.announce(Some(Failure::Replication(chain(&fatal))));
                }
                return;
            }
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl<P: Platform, N> std::fmt::Debug for Running<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<P: Platform> std::fmt::Debug for Surroundings<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("ordinal", &self.ordinal).finish_non_exhaustive()
    }
}
