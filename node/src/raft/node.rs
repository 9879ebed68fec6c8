//! The life of a node: a volume that waits, a place in a cluster, taking part, leaving.
//!
//! A node never makes itself part of a cluster. A volume that was never part of one waits for `initialize` or `join`;
//! one that was goes on as the same node at every start.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use openraft::alias::MutexOf;
use openraft::async_runtime::Mutex as AsyncMutex;
use openraft::errors::{InitializeError, RaftError};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::Select2;
use prometheus::Registry;
use thiserror::Error;
use uuid::Uuid;

use crate::raft::cluster::SEED;
use crate::raft::identity::{DataDirectory, FIRST_LINEAGE, IdentityError, MemberOf};
use crate::raft::inbound::Inbound;
use crate::raft::leading::Lead;
use crate::raft::log_request::{ClusterRequest, Founding};
use crate::raft::measured::Measured;
use crate::raft::membership::{AdminError, Role};
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::running::{Failure, Running, StartError, Surroundings, chain};
use crate::raft::settings::Settings;
use crate::raft::types::{Member, Types};
use crate::raft::views::Views;
use crate::raft::watched::{Announcer, Watched};
use crate::replica::{NodeFigures, NotServing, Replica};

/// How long the first node of a cluster may take to elect itself: many election timeouts.
const FOUNDING_LIMIT: Duration = Duration::from_secs(10);

/// One that leads alone and is refused has lost its clock or its lease for a moment.
const FOUNDING_RETRY: Duration = Duration::from_millis(20);

/// How long a stopping node waits for another to lead. A transfer takes some milliseconds; without it the others elect
/// one anyway.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(1);

/// How long a stopping node waits for what it has taken on: a few syncs.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long the log's writer may take to put down what it has.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What a node is given at its start.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The volume. Everything lies in `data/` below.
    pub mount: PathBuf,
    /// The slot this node runs in; its address, not its identity.
    pub ordinal: u32,
    /// For a volume that is empty. Drawn outside, because nothing in here throws dice.
    pub drawn_incarnation: Uuid,
    pub settings: Settings,
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why a node does not become part of a cluster.
#[derive(Debug, Error)]
pub enum JoinError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("this is the volume {own}, not {asked}")]
    OtherIncarnation { own: Uuid, asked: Uuid },
    #[error("this node runs under ordinal {own}, not {asked}")]
    OtherOrdinal { own: u32, asked: u32 },
    #[error("this node is shutting down")]
    Stopping,
    #[error("a cluster has at least one voter")]
    NoVoters,
    /// Ask again: it goes on where it stopped.
    #[error("the cluster was not founded in time")]
    NotFoundedInTime,
    #[error(transparent)]
    Refused(#[from] AdminError),
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub incarnation: Uuid,
    pub ordinal: u32,
    pub member_of: Option<MemberOf>,
}

/// Cheap to clone; all clones are one node.
pub struct Node<P: Platform, N> {
    pub(in crate::raft) shared: Arc<Shared<P, N>>,
}

pub(crate) struct Shared<P: Platform, N> {
    pub(in crate::raft) around: Surroundings<P>,
    incarnation: Uuid,
    make_peers: Box<dyn Fn(MemberOf) -> N + Send + Sync>,
    /// Held while the node becomes part of a cluster or stops; `None` once it has stopped.
    directory: MutexOf<Types<P::Runtime>, Option<DataDirectory<P::Disk>>>,
    running: ArcSwapOption<Running<P, N>>,
    draining: AtomicBool,
    handed_over: AtomicBool,
}

impl<P: Platform, N: Transport<P>> Node<P, N> {
    /// Opens the volume. If it is part of a cluster, replays what is on it and takes part; otherwise waits to be told.
    /// `make_peers` is called once it is known who calls.
    pub async fn open(
        platform: P,
        opening: Opening,
        make_peers: impl Fn(MemberOf) -> N + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let Opening { mount, ordinal, drawn_incarnation, settings } = opening;
        let directory = DataDirectory::open(platform.disk(), &mount, drawn_incarnation).await?;
        let identity = directory.identity();
        let around = Surroundings {
            platform,
            settings,
            ordinal,
            views: Arc::default(),
            lead: Lead::default(),
            measured: Arc::default(),
            failure: Arc::new(Announcer::new(None)),
        };
        let shared = Shared {
            around,
            incarnation: identity.incarnation,
            make_peers: Box::new(make_peers),
            directory: MutexOf::<Types<P::Runtime>, _>::new(None),
            running: ArcSwapOption::empty(),
            draining: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
        };
        if let Some(me) = identity.membership {
            shared.start(&directory, me).await?;
        }
        *shared.directory.lock().await = Some(directory);
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn identity(&self) -> Identity {
        Identity {
            incarnation: self.shared.incarnation,
            ordinal: self.shared.around.ordinal,
            member_of: self.shared.running().map(|running| running.me),
        }
    }

    /// For services.
    pub fn replica(&self) -> Replica<P, N> {
        Replica::new(Arc::clone(&self.shared))
    }

    /// For the server that other nodes call.
    pub fn inbound(&self) -> Inbound<P, N> {
        Inbound::new(Arc::clone(&self.shared))
    }

    /// How the node is at this moment, for metrics and the page.
    pub fn figures(&self) -> NodeFigures {
        let around = &self.shared.around;
        let serves = self.shared.serving().is_ok();
        let leads = around.lead.leading().is_some();
        let incarnation = self.shared.incarnation.to_string();
        let Some(running) = self.shared.running() else {
            return NodeFigures { ordinal: around.ordinal, incarnation, ..NodeFigures::default() };
        };
        let status = running.local_status();
        let cluster = self.local_status();
        let learners = cluster.members.iter().filter(|member| member.role == Role::Learner).count();
        let log = running.log.counters();
        let library = &running.views.newest().library;
        NodeFigures {
            ordinal: running.ordinal,
            node_id: Some(running.me.node_id),
            cluster_id: Some(running.me.cluster_id.to_string()),
            leads,
            serves,
            term: status.term,
            leader: status.leader,
            last_log_index: status.last_log_index,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot_index,
            purged_index: running.purged_index(),
            log_syncs: log.syncs.load(Ordering::Relaxed),
            log_bytes: log.bytes.load(Ordering::Relaxed),
            log_entries: log.entries.load(Ordering::Relaxed),
            log_batches: log.batches(),
            is_disk_full: running.log.room().is_full(),
            claims_held: library.claims_held(),
            claims_let_go: library.history().count(),
            incarnation,
            lineage: Some(running.me.lineage),
            voted_for: cluster.vote.map(|vote| vote.node_id),
            voters: (cluster.members.len() - learners) as u64,
            learners: learners as u64,
            backup_at: around.measured.backup_at(),
            leading: leads.then(|| running.leader_figures(&cluster)),
        }
    }

    /// Makes known to those who scrape what replication counts by itself.
    ///
    /// # Errors
    /// If a metric of one of these names is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let measured = self.measured();
        measured.register(registry)
    }

    /// What it counts by itself.
    pub fn measured(&self) -> &Arc<Measured> {
        &self.shared.around.measured
    }

    /// Waits for the failure after which the process has to end. Returns only if there is one.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.shared.around.failure.watch();
        match failure.wait_for(Option::is_some).await.flatten() {
            Some(failure) => failure,
            // Whoever announces is held by this node itself.
            None => std::future::pending().await,
        }
    }

    /// Makes a new cluster of this node, which must be the volume that was chosen for it, and never have been part of
    /// one. Again with the same id it does nothing, or finishes what was begun.
    pub async fn initialize(
        &self,
        cluster_id: Uuid,
        seed_incarnation: Uuid,
        wanted_voters: u32,
    ) -> Result<Identity, JoinError> {
        if wanted_voters == 0 {
            return Err(JoinError::NoVoters);
        }
        self.check_incarnation(seed_incarnation)?;
        let member = self.shared.running().filter(|running| running.me.cluster_id == cluster_id);
        if member.is_some_and(|running| running.is_founded()) {
            return Ok(self.identity());
        }
        let me = MemberOf { cluster_id, lineage: FIRST_LINEAGE, node_id: SEED };
        let running = self.become_member(me).await?;
        let founded = self.found(&running, wanted_voters);
        match Types::<P::Runtime>::timeout(FOUNDING_LIMIT, founded).await {
            Ok(founded) => founded?,
            Err(_) => return Err(JoinError::NotFoundedInTime),
        }
        Ok(self.identity())
    }

    /// Takes the place that the cluster's leader allocated for this incarnation, under this ordinal. The same again is
    /// harmless.
    pub async fn join(&self, incarnation: Uuid, ordinal: u32, place: MemberOf) -> Result<Identity, JoinError> {
        self.check_incarnation(incarnation)?;
        let own = self.shared.around.ordinal;
        if ordinal != own {
            return Err(JoinError::OtherOrdinal { own, asked: ordinal });
        }
        self.become_member(place).await?;
        Ok(self.identity())
    }

    fn check_incarnation(&self, asked: Uuid) -> Result<(), JoinError> {
        let own = self.shared.incarnation;
        if asked == own { Ok(()) } else { Err(JoinError::OtherIncarnation { own, asked }) }
    }

    /// Lets another lead, if this node does; tried once, for it cannot be taken back. It goes on answering meanwhile.
    pub async fn hand_over(&self) {
        let Some(running) = self.shared.running().filter(|running| running.lead.leading().is_some()) else { return };
        if self.shared.handed_over.swap(true, Ordering::SeqCst) {
            return;
        }
        let transfer = running.transfer_leadership(None);
        let mut transfer = pin!(Types::<P::Runtime>::timeout(HAND_OVER_LIMIT, transfer));
        let mut deserted = pin!(running.deserted());
        match Types::<P::Runtime>::select2(transfer.as_mut(), deserted.as_mut()).await {
            Select2::First(Ok(Ok(to))) => tracing::info!(leader = to.leader, "leadership handed over"),
            Select2::First(Ok(Err(refusal))) => tracing::info!(%refusal, "leadership was not handed over"),
            Select2::First(Err(_)) => tracing::warn!("leadership was not taken over in time"),
            Select2::Second(()) => tracing::info!("leadership was not handed over: all others are ending, too"),
        }
    }

    /// Hands leadership over, finishes what it has taken on, and ends. What was acknowledged is on disk.
    pub async fn stop(&self) {
        self.hand_over().await;
        if let Some(running) = self.shared.running() {
            self.shared.draining.store(true, Ordering::SeqCst);
            let drained = async {
                while running.clients.taken() + running.proposer.in_flight() > 0 {
                    Types::<P::Runtime>::sleep(DRAIN_LOOK_EVERY).await;
                }
            };
            // What is not finished by then ends with an unknown outcome.
            let _ = Types::<P::Runtime>::timeout(DRAIN_LIMIT, drained).await;
        }
        self.halt().await;
    }

    /// Ends without a word to the others, as if the process were killed; what was acknowledged is on disk all the same.
    pub async fn halt(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        let mut directory = self.shared.directory.lock().await;
        if let Some(running) = self.shared.running.swap(None) {
            running.end().await;
            let log = running.log.clone();
            drop(running);
            // Its writer ends with the last of those who may still read; if one is slow, it goes on without us.
            let _ = Types::<P::Runtime>::timeout(CLOSE_LIMIT, log.close()).await;
        }
        *directory = None;
    }

    /// Durably becomes `me`, and takes part.
    async fn become_member(&self, me: MemberOf) -> Result<Arc<Running<P, N>>, JoinError> {
        let mut directory = self.shared.directory.lock().await;
        let directory = directory.as_mut().ok_or(JoinError::Stopping)?;
        directory.join(me, self.shared.around.settings.log).await.map_err(|error| match error {
            // A full disk leaves everything as it was.
            IdentityError::Io { ref source, .. } if source.kind() != io::ErrorKind::StorageFull => {
                self.volume_failed(error).into()
            }
            other => JoinError::from(other),
        })?;
        match self.shared.running() {
            Some(running) => Ok(running),
            None => Ok(self.shared.start(directory, me).await.map_err(|error| self.volume_failed(error))?),
        }
    }

    /// What is on disk is known by reading it again, as the next start of the process does.
    fn volume_failed<E: std::error::Error>(&self, error: E) -> E {
        self.shared.around.failure.announce(Some(Failure::Volume(chain(&error))));
        error
    }

    async fn found(&self, running: &Running<P, N>, wanted_voters: u32) -> Result<(), JoinError> {
        let me = running.me;
        if running.is_founded() {
            return Ok(());
        }
        let members = BTreeMap::from([(me.node_id, Member { ordinal: running.ordinal })]);
        match running.raft.initialize(members).await {
            // Not allowed: it happened before.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(AdminError::Stopped(error.to_string()).into()),
        }
        let founding = Founding {
            cluster_id: *me.cluster_id.as_bytes(),
            lineage: me.lineage,
            wanted_voters,
            seed: me.node_id,
            seed_incarnation: *self.shared.incarnation.as_bytes(),
            seed_ordinal: running.ordinal,
        };
        let mut leading = running.lead.watch();
        loop {
            leading.wait_for(Option::is_some).await;
            match running.ask_cluster(ClusterRequest::Found(founding)).await {
                Ok(_) => return Ok(()),
                Err(_) if running.is_founded() => return Ok(()),
                Err(AdminError::NotLeader { .. } | AdminError::Unknown) => {}
                Err(refusal) => return Err(refusal.into()),
            }
            Types::<P::Runtime>::sleep(FOUNDING_RETRY).await;
        }
    }
}

impl<P: Platform, N: Transport<P>> Shared<P, N> {
    async fn start(&self, directory: &DataDirectory<P::Disk>, me: MemberOf) -> Result<Arc<Running<P, N>>, StartError> {
        let peers = (self.make_peers)(me);
        let (log, snapshots) = (directory.log_directory(), directory.snapshot_directory());
        let running = Running::recover(&self.around, me, &log, &snapshots, peers).await?;
        // Calls of others are answered before it may be elected.
        self.running.store(Some(Arc::clone(&running)));
        running.begin();
        Ok(running)
    }
}

impl<P: Platform, N> Shared<P, N> {
    pub(crate) fn running(&self) -> Option<Arc<Running<P, N>>> {
        self.running.load_full()
    }

    /// Whether requests of clients are taken at all.
    pub(in crate::raft) fn taking_requests(&self) -> Option<Arc<Running<P, N>>> {
        if self.draining.load(Ordering::SeqCst) { None } else { self.running() }
    }

    /// The node as far as clients are concerned.
    pub(crate) fn serving(&self) -> Result<Arc<Running<P, N>>, NotServing> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(NotServing::Draining);
        }
        let running = self.running().ok_or(NotServing::NotJoined)?;
        if running.is_removed() {
            return Err(NotServing::Removed);
        }
        if !running.views.newest().cluster.is_formed() {
            return Err(NotServing::Forming);
        }
        Ok(running)
    }

    pub(crate) fn views(&self) -> &Views<P::Runtime> {
        &self.around.views
    }

    pub(crate) fn lead(&self) -> &Lead<P::Runtime> {
        &self.around.lead
    }

    pub(crate) fn applied(&self) -> Watched<P::Runtime, Option<u64>> {
        self.around.views.applied()
    }
}

impl<P: Platform, N> Clone for Node<P, N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Platform, N> std::fmt::Debug for Node<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("shared", &self.shared).finish()
    }
}

impl<P: Platform, N> std::fmt::Debug for Shared<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("incarnation", &self.incarnation)
            .field("running", &self.running.load())
            .finish_non_exhaustive()
    }
}
