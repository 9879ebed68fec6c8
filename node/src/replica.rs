//! The one narrow handle between the service and the replicated state. Nobody above it sees openraft.

use std::sync::Arc;
use std::time::Duration;

use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, Request};
use carrel_domain::state::State;
use carrel_domain::time::Timestamp;
use thiserror::Error;

use crate::raft::leading::Leading;
use crate::raft::node::Shared;
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::wal::Batches;
use crate::raft::watched::Watched;

/// A state that later entries do not touch.
pub type View = Arc<State>;

/// More than a write ever waits for a leader and for its outcome.
const LONGEST_WRITE: Duration = Duration::from_secs(30);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Sees every write that was acknowledged before the read began.
    Linearizable,
    /// Has applied at least this index of this lineage.
    AtLeast { lineage: u32, index: u64 },
    /// Answered from memory if this node heard from a leader that recently.
    MaxStaleness(Duration),
}

/// Why a request was not answered. What it proves decides what may be done next.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// Certainly not in the log.
    #[error("no leader is known")]
    NoLeader,
    /// Certainly not in the log.
    #[error("more requests are under way than the cluster takes on")]
    Overloaded,
    /// Certainly not in the log.
    #[error("too few nodes have room on their disks")]
    Full,
    /// Certainly not in the log.
    #[error("a node of the cluster does not answer, or is of an earlier release that does not know this")]
    EarlierRelease,
    /// Certainly not in the log.
    #[error("the request is too large")]
    TooLarge,
    /// Certainly not in the log.
    #[error("the time of the call was over before anything was done")]
    Expired,
    /// In the log or not: ask again with the same request id.
    #[error("the outcome is not known")]
    Unknown,
    #[error(transparent)]
    NotServing(#[from] NotServing),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("no majority can be reached")]
    NoQuorum,
    #[error("this node is behind what was asked for")]
    Behind,
    /// The token is of another history, or from the future.
    #[error("the token is not of this cluster's history")]
    ForeignToken,
    #[error(transparent)]
    NotServing(#[from] NotServing),
}

/// The node itself takes no part at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotServing {
    #[error("this node has not joined a cluster")]
    NotJoined,
    #[error("the cluster is being formed")]
    Forming,
    #[error("this node is shutting down")]
    Draining,
    #[error("this node was removed from the cluster")]
    Removed,
    /// It has what it had; what was changed since is elsewhere.
    #[error("the disk of this node is full, and it has fallen behind")]
    DiskFull,
}

/// How a node is at one moment. Indexes are 0 where there is nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    pub ordinal: u32,
    pub node_id: Option<u64>,
    pub cluster_id: Option<String>,
    pub leads: bool,
    pub serves: bool,
    pub term: u64,
    pub leader: Option<u64>,
    pub last_log_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    /// Batches written to the log, each with one sync.
    pub log_syncs: u64,
    pub log_bytes: u64,
    pub log_entries: u64,
    pub log_batches: Batches,
    pub is_disk_full: bool,
    /// Live and over.
    pub claims_held: u64,
    /// In the relational record alone.
    pub claims_let_go: u64,
    pub incarnation: String,
    pub lineage: Option<u32>,
    pub voted_for: Option<u64>,
    pub voters: u64,
    pub learners: u64,
    /// In seconds since 1970, if this node has sent one.
    pub backup_at: Option<u64>,
    pub leading: Option<LeaderFigures>,
}

/// What the leader alone can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderFigures {
    /// Voters that may still fail; negative if too many have.
    pub quorum_margin: i64,
    pub since_quorum_ack: Option<Duration>,
    pub clock_spread_us: i64,
    /// The other members.
    pub peers: Vec<PeerFigures>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFigures {
    pub id: u64,
    pub ordinal: u32,
    pub matched_index: Option<u64>,
    pub since_ack: Option<Duration>,
}

/// The replicated library, on this node. Cheap to clone.
pub struct Replica<P: Platform, N> {
    shared: Arc<Shared<P, N>>,
}

impl<P: Platform, N: Transport<P>> Replica<P, N> {
    pub(crate) fn new(shared: Arc<Shared<P, N>>) -> Self {
        Self { shared }
    }

    /// The answer, once a majority has the request on disk. On another node than the leader it is handed over; while
    /// there is no leader it waits, up to a bound.
    pub async fn write(&self, request: Request) -> Result<Answer, WriteError> {
        self.write_within(request, LONGEST_WRITE).await
    }

    /// As [`Replica::write`], for a caller who waits so long and no longer: what is not proposed by then never is.
    pub async fn write_within(&self, request: Request, within: Duration) -> Result<Answer, WriteError> {
        self.shared.serving()?.write(request, within).await
    }

    /// How many writes this node takes on at once, as things are; or what a write that began now would end in for
    /// certain, before anything is spent on it.
    pub fn takes_writes(&self) -> Result<usize, WriteError> {
        let clients = &self.shared.serving()?.clients;
        if clients.has_room() { Ok(clients.limit()) } else { Err(WriteError::Overloaded) }
    }

    /// For the cluster's own tasks, which work where [`Replica::leadership`] says so; elsewhere there is `NoLeader`.
    /// Works before the cluster is formed.
    pub async fn propose_system(&self, action: Action) -> Result<Answer, WriteError> {
        let running = self.shared.running().ok_or(NotServing::NotJoined)?;
        running.write_as_leader(Request::system(action)).await
    }

    /// A state as fresh as asked for.
    pub async fn read(&self, freshness: Freshness) -> Result<View, ReadError> {
        self.shared.serving()?.read(freshness).await
    }

    /// The newest state on this node, however old.
    pub fn view(&self) -> View {
        Arc::clone(&self.shared.views().newest().library)
    }

    /// The index of the last entry applied on this node, whenever it is another: [`Replica::view`] has at least that
    /// one.
    pub fn changes(&self) -> Watched<P::Runtime, Option<u64>> {
        self.shared.applied()
    }

    /// `Some` from the moment this node can propose until it cannot.
    pub fn leadership(&self) -> Watched<P::Runtime, Option<Leading>> {
        self.shared.lead().watch()
    }

    /// The time by the leader's clock, if this node leads.
    pub fn leader_time(&self) -> Option<Timestamp> {
        self.shared.lead().now_us().map(Timestamp)
    }

    /// Of which history of which cluster this node is a part, for tokens.
    pub fn lineage(&self) -> Option<u32> {
        self.shared.running().map(|running| running.me.lineage)
    }

    /// Whether clients are served, and if not, why.
    pub fn serving(&self) -> Result<(), NotServing> {
        let running = self.shared.serving()?;
        if running.has_fallen_behind_for_want_of_room() { Err(NotServing::DiskFull) } else { Ok(()) }
    }
}

impl<P: Platform, N> Clone for Replica<P, N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Platform, N> std::fmt::Debug for Replica<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replica").field(&self.shared).finish()
    }
}
