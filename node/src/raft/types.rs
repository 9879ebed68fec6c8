//! openraft's types, filled in. Generic over the runtime, so that the same code runs on tokio and in virtual time.
//!
//! Nothing that is stored mentions the runtime.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::{OptionalSend, RaftTypeConfig};
use openraft_rt::AsyncRuntime;

use crate::raft::cluster::{ClusterRefusal, ClusterReply};
use crate::raft::machine::Machine;
use crate::raft::platform::Platform;
use crate::traces::TraceParent;

/// Entries that there can be: a million each second for two thousand years. What claims to have more is damaged, or
/// lies, and nothing could be counted behind it.
pub const INDEX_MAX: u64 = 1 << 56;

pub type NodeId = u64;
/// One leader per term, as in the paper.
pub type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>;
pub type CommittedLeaderId = openraft::vote::leader_id_std::CommittedLeaderId<u64>;
pub type Vote = openraft::Vote<LeaderId>;
pub type LogId = openraft::LogId<CommittedLeaderId>;
pub type Payload = openraft::EntryPayload<Command, NodeId, Member>;
pub type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub type Membership = openraft::Membership<NodeId, Member>;
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, NodeId, Member>;
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, Member>;
pub type Snapshot<Data> = openraft::Snapshot<CommittedLeaderId, NodeId, Member, Data>;
/// openraft, running our state machine.
pub type Raft<P> = openraft::Raft<Types<<P as Platform>::Runtime>, Machine<P>>;

/// What a log entry carries. The leader stamps the time; the body is decoded where it is applied and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Microseconds since 1970, by the clock of the leader that proposed it.
    pub at: i64,
    /// An encoded `LogRequest`, versioned.
    pub body: Bytes,
    /// Where its trace goes on, if it has one. Sent to peers and never stored.
    pub trace: Option<TraceParent>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.body.len(), self.at)
    }
}

/// Of an entry: where its trace goes on.
pub trait Traced {
    fn trace(&self) -> Option<TraceParent>;
}

impl Traced for Payload {
    fn trace(&self) -> Option<TraceParent> {
        match self {
            Payload::Normal(command) => command.trace,
            Payload::Blank | Payload::Membership(_) => None,
        }
    }
}

/// What the membership stores of a node: the slot it runs in. Its address follows from configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub ordinal: u32,
}

/// What applying an entry gives to whoever proposed it on this node.
#[derive(Debug, Default)]
pub enum Response {
    /// Blank and membership entries.
    #[default]
    None,
    Library(Box<carrel_domain::reply::Answer>),
    Cluster(Result<ClusterReply, ClusterRefusal>),
}

/// openraft's type configuration over the runtime `RT`.
pub struct Types<RT>(PhantomData<fn() -> RT>);

impl<RT> Clone for Types<RT> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<RT> Copy for Types<RT> {}
impl<RT> Default for Types<RT> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<RT> fmt::Debug for Types<RT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<RT> PartialEq for Types<RT> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<RT> Eq for Types<RT> {}
impl<RT> PartialOrd for Types<RT> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<RT> Ord for Types<RT> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<RT: AsyncRuntime> RaftTypeConfig for Types<RT> {
    type D = Command;
    type R = Response;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = RT;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}
