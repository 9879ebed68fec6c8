//! What was seen, and what could not be seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Replicas;
use crate::identity::{Cluster, ClusterId, Incarnation, LogId, NodeId, Ordinal};

/// A member that answered the leader within this time takes part. Three times the longest election timeout (350 ms): a
/// node silent for longer has missed at least one election it should have called.
pub const RECENT_ACK_MS: u64 = 1050;

/// A member at most this far behind the leader's log is caught up. A tenth of a second at ten thousand writes a second:
/// more than is ever in flight, and less than anybody waits for.
pub const PROMOTE_LAG_ENTRIES: u64 = 1000;

/// One look at the world. Everything in it may be old by the time a step is performed, which is why steps say what they
/// expect to find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observed {
    pub founding: Founding,
    pub running: Running,
    /// What each node that runs said of itself. An ordinal that is not here is not run.
    pub nodes: BTreeMap<Ordinal, Node>,
    pub view: View,
}

/// What the performer's own record says of the cluster's birth. It outlives the volumes, so that losing all of them is
/// not mistaken for a beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Founding {
    Never,
    /// The node with this incarnation, and no other, may become this cluster.
    Claimed {
        cluster: ClusterId,
        seed: Incarnation,
        wanted_voters: Replicas,
    },
    /// It has had a leader: from here on clients may be promised something.
    Done {
        cluster: ClusterId,
    },
}

/// Which ordinals are meant to run: 0 up to `count`, whether or not they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Running {
    pub count: u32,
    /// Rises with every change of `count`, so that a change decided on an old look is refused.
    pub generation: u64,
}

/// What one node said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// It did not answer. It may be anything.
    Unknown,
    /// It was never part of a cluster.
    Pristine { incarnation: Incarnation },
    /// It holds the log of this member. Whether the cluster still counts it as one is for the leader to say.
    Joined { incarnation: Incarnation, cluster: Cluster, node_id: NodeId },
}

/// Who the members are, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// Nobody could say. A cluster that is not founded yet has no members to tell of, whatever is in its log.
    Unknown,
    /// No node claims to lead; this is the newest membership one of them has in its log. Good for a report, not for a
    /// step.
    Remembered(Membership),
    /// The node with the highest term among those that claim to lead. The claim may be out of date: what counts is how
    /// lately a majority answered it.
    Leader(LeaderView),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderView {
    pub leader: NodeId,
    pub term: u64,
    pub membership: Membership,
    /// The membership above has committed.
    pub committed: bool,
    pub last_log_index: u64,
    /// How far each member is known to have come. A member that is not here has not been heard of.
    pub progress: BTreeMap<NodeId, Progress>,
    /// Ids taken out for good.
    pub removed: BTreeSet<NodeId>,
    /// The first voter set of the wanted size has committed, and clients are served.
    pub formed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Progress {
    pub matched_index: u64,
    /// Since the member last answered the leader; `None` if it has not answered this leader yet.
    pub since_ack_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    pub cluster: Cluster,
    /// The log entry this membership stands in.
    pub log_id: LogId,
    /// Every member, voter or learner, and its address.
    pub ordinals: BTreeMap<NodeId, Ordinal>,
    pub voters: Voters,
}

/// Who votes. Every member that does not vote is a learner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voters {
    Uniform(BTreeSet<NodeId>),
    /// A change that is not finished: decisions need a majority of both.
    Joint {
        outgoing: BTreeSet<NodeId>,
        incoming: BTreeSet<NodeId>,
    },
}

impl Voters {
    /// The sets of which each must agree.
    pub fn sets(&self) -> Vec<&BTreeSet<NodeId>> {
        match self {
            Voters::Uniform(voters) => vec![voters],
            Voters::Joint { outgoing, incoming } => vec![outgoing, incoming],
        }
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.sets().iter().any(|set| set.contains(&node))
    }

    pub fn is_joint(&self) -> bool {
        matches!(self, Voters::Joint { .. })
    }
}

impl Membership {
    /// Members that do not vote, with their addresses.
    pub fn learners(&self) -> impl Iterator<Item = (NodeId, Ordinal)> + '_ {
        self.ordinals.iter().filter(|(id, _)| !self.voters.contains(**id)).map(|(id, at)| (*id, *at))
    }

    /// How many ordinals must run for every member to run.
    pub fn span(&self) -> u32 {
        self.ordinals.values().map(|at| at.0.saturating_add(1)).max().unwrap_or(0)
    }
}
