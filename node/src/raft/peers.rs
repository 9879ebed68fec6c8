//! What a replica may ask of another besides openraft's own calls. Over tonic in a server, in process in a simulation.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftNetworkFactory;
use openraft::network::NetSnapshot;
use openraft_rt::AsyncRuntime;
use thiserror::Error;

use crate::raft::platform::Platform;
use crate::raft::snapshots::{StateHash, StoredSnapshot};
use crate::raft::types::{LogId, NodeId, Types};

/// Whom a call is for: the id names the contents of a volume, the ordinal says where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: NodeId,
    pub ordinal: u32,
}

/// Who calls whom, in which cluster and which of its histories. Carried by every call; refused on any mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub cluster_id: [u8; 16],
    pub lineage: u32,
    pub from: NodeId,
    pub to: NodeId,
}

/// Why a call was not for this node, or not from one of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrongRoute {
    #[error("this node takes no part in a cluster at present")]
    NotRunning,
    #[error("node {0} was removed from the cluster")]
    Removed(NodeId),
    #[error("the call is for another cluster than this node's")]
    OtherCluster,
    #[error("the call is for lineage {called} of the cluster; this node is of lineage {own}")]
    OtherLineage { called: u32, own: u32 },
    #[error("the call is for node {called}; this is node {own}")]
    OtherNode { called: NodeId, own: NodeId },
}

impl Route {
    /// Whether a call on this route is for the node of this cluster, lineage and id.
    pub fn check(&self, cluster_id: &[u8; 16], lineage: u32, node_id: NodeId) -> Result<(), WrongRoute> {
        if self.cluster_id != *cluster_id {
            return Err(WrongRoute::OtherCluster);
        }
        if self.lineage != lineage {
            return Err(WrongRoute::OtherLineage { called: self.lineage, own: lineage });
        }
        if self.to != node_id {
            return Err(WrongRoute::OtherNode { called: self.to, own: node_id });
        }
        Ok(())
    }
}

/// What became of a request that was handed to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// Applied: the encoded answer.
    Committed { index: u64, reply: Bytes },
    /// Certainly not in the log.
    NotProposed { leader: Option<NodeId> },
    /// In the log or not.
    Unknown,
    /// Certainly not in the log: the leader has too much to do.
    Overloaded,
    /// Certainly not in the log: too few nodes have room on their disks.
    Full,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalStatus {
    pub last_log_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub term: u64,
    pub leader: Option<NodeId>,
    /// Of the newest snapshot.
    pub state_hash: Option<StateHash>,
    /// It has no room for entries.
    pub is_disk_full: bool,
    /// It knows entries up to this level; 0, too, if it does not know of levels.
    pub level: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// It never left this node, or the peer said no before doing anything.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The peer says that this node was taken out of the cluster, and did nothing.
    #[error("this node was removed from the cluster")]
    Removed,
    /// Sent; no answer came.
    #[error("did not answer: {0}")]
    NoAnswer(String),
}

/// Calls to other replicas. openraft's own go through the network that the factory makes.
pub trait Peers<RT: AsyncRuntime>: RaftNetworkFactory<Types<RT>> + Clone + Send + Sync + 'static {
    /// For a caller who waits so long and no longer, which the peer is told.
    fn propose(
        &self,
        to: Peer,
        body: Bytes,
        within: Duration,
    ) -> impl Future<Output = Result<Proposed, PeerError>> + Send;
    /// For the leader alone: a log id at which a read that begins now may be served.
    fn read_index(&self, to: Peer) -> impl Future<Output = Result<LogId, PeerError>> + Send;
    /// Microseconds since 1970 by the peer's clock.
    fn read_clock_us(&self, to: Peer) -> impl Future<Output = Result<i64, PeerError>> + Send;
    fn read_status(&self, to: Peer) -> impl Future<Output = Result<LocalStatus, PeerError>> + Send;
}

/// Peers whose network carries this platform's snapshots: what a node needs to take part.
pub trait Transport<P: Platform>:
    Peers<P::Runtime, Network: NetSnapshot<Types<P::Runtime>, SnapshotData = StoredSnapshot<P>>>
{
}

impl<P: Platform, N> Transport<P> for N where
    N: Peers<P::Runtime, Network: NetSnapshot<Types<P::Runtime>, SnapshotData = StoredSnapshot<P>>>
{
}
