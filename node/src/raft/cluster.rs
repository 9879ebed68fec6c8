//! What the replicated state knows of the cluster itself, beside the library: who founded it, which ids were given out,
//! which are gone, and whether it was ever whole.

use std::collections::{BTreeMap, BTreeSet};

use carrel_domain::format::DecodeError;
use carrel_domain::planted::{self, Bug};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::raft::log_request::{ClusterRequest, Founding};
use crate::raft::types::{Membership, NodeId};

/// Of [`ClusterRecord::encode`].
const RECORD_VERSION: u8 = 1;

/// Node ids ever given out. Each is a volume that somebody provided, so a cluster sees a handful in a year; beyond this
/// something provides volumes in a loop, and must not fill the state.
const NODES_EVER_MAX: usize = 10_000;

/// The node a cluster begins with. No other node can get this id: at index 1 is the first leader's own entry.
pub const SEED: NodeId = 1;

/// Lineages that fit into a node id beside the index of a log. A recovery by hand is a matter of years.
pub const LINEAGE_MAX: u32 = (1 << 24) - 1;

/// The id given out by an entry: the index makes it unique within a lineage, the lineage among those that began from an
/// older log.
pub fn node_id(lineage: u32, index: u64) -> NodeId {
    u64::from(lineage) << 40 | index
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    founding: Option<Founding>,
    /// Invariant: once true, never false again within a lineage.
    formed: bool,
    /// By incarnation, retired ones included, so that no incarnation gets a second id.
    allocated: BTreeMap<[u8; 16], Allocated>,
    retired: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocated {
    pub id: NodeId,
    pub ordinal: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterReply {
    Done,
    Node(Allocated),
}

/// Why the cluster says no: the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClusterRefusal {
    #[error("the cluster was founded already, and by others or otherwise")]
    FoundedOtherwise,
    #[error("the cluster is not founded yet")]
    NotFounded,
    #[error("this incarnation was node {0}, which was removed")]
    Retired(NodeId),
    #[error(
        "this incarnation is node {} under ordinal {} already; what asks under another is a copy of its volume: give \
         it an empty one",
        .0.id, .0.ordinal
    )]
    Copied(Allocated),
    #[error("no node {0} was ever given out")]
    UnknownNode(NodeId),
    #[error("more than {NODES_EVER_MAX} node ids were given out")]
    TooManyNodes,
}

impl ClusterRecord {
    /// Applies one committed request, found at `index`. Deterministic, like everything that is applied.
    pub fn apply(&mut self, index: u64, request: &ClusterRequest) -> Result<ClusterReply, ClusterRefusal> {
        match request {
            ClusterRequest::Found(founding) => self.found(founding),
            ClusterRequest::AllocateNode { incarnation, ordinal } => self.allocate(index, *incarnation, *ordinal),
            ClusterRequest::RetireNode { id } => self.retire(*id),
        }
    }

    /// A committed membership. From the first one with as many voters as are wanted, clients are served for good.
    pub fn observe(&mut self, membership: &Membership) {
        let [voters] = membership.get_joint_config().as_slice() else { return };
        if let Some(founding) = &self.founding {
            self.formed |= voters.len() >= founding.wanted_voters as usize;
        }
    }

    /// Goes on as another history, with one node: every id there was is gone for good. A cluster that serves at once is
    /// `formed`.
    pub fn begin_anew(&mut self, founding: Founding, formed: bool) {
        self.retired.extend(self.allocated.values().map(|node| node.id));
        let seed = Allocated { id: founding.seed, ordinal: founding.seed_ordinal };
        self.allocated.insert(founding.seed_incarnation, seed);
        self.founding = Some(founding);
        self.formed = formed;
    }

    #[must_use]
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.formed
    }

    #[must_use]
    pub fn retired(&self) -> &BTreeSet<NodeId> {
        &self.retired
    }

    pub fn is_retired(&self, id: NodeId) -> bool {
        self.retired.contains(&id)
    }

    #[must_use]
    pub fn allocated(&self, id: NodeId) -> Option<Allocated> {
        self.allocated.values().copied().find(|node| node.id == id)
    }

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![RECORD_VERSION]).expect("memory is the only thing that encoding needs")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            None => Err(DecodeError::Empty),
            Some((&RECORD_VERSION, body)) => match postcard::take_from_bytes(body).map_err(DecodeError::Malformed)? {
                (record, []) => Ok(record),
                (_, _) => Err(DecodeError::TrailingBytes),
            },
            Some((&found, _)) => Err(DecodeError::UnknownVersion { found, known: RECORD_VERSION }),
        }
    }

    fn found(&mut self, founding: &Founding) -> Result<ClusterReply, ClusterRefusal> {
        match &self.founding {
            Some(before) if before == founding => Ok(ClusterReply::Done),
            Some(_) => Err(ClusterRefusal::FoundedOtherwise),
            None => {
                self.founding = Some(*founding);
                let seed = Allocated { id: founding.seed, ordinal: founding.seed_ordinal };
                self.allocated.insert(founding.seed_incarnation, seed);
                Ok(ClusterReply::Done)
            }
        }
    }

    fn allocate(&mut self, index: u64, incarnation: [u8; 16], ordinal: u32) -> Result<ClusterReply, ClusterRefusal> {
        let founding = self.founding.as_ref().ok_or(ClusterRefusal::NotFounded)?;
        if planted::has(Bug::IdOfLostDiskUsedAgain)
            && let Some(before) = self.allocated.values().find(|node| node.ordinal == ordinal).copied()
        {
            self.allocated.insert(incarnation, before);
            return Ok(ClusterReply::Node(before));
        }
        match self.allocated.get(&incarnation) {
            Some(node) if self.retired.contains(&node.id) => Err(ClusterRefusal::Retired(node.id)),
            Some(node) if node.ordinal != ordinal => Err(ClusterRefusal::Copied(*node)),
            Some(node) => Ok(ClusterReply::Node(*node)),
            None if self.allocated.len() >= NODES_EVER_MAX => Err(ClusterRefusal::TooManyNodes),
            None => {
                let node = Allocated { id: node_id(founding.lineage, index), ordinal };
                self.allocated.insert(incarnation, node);
                Ok(ClusterReply::Node(node))
            }
        }
    }

    fn retire(&mut self, id: NodeId) -> Result<ClusterReply, ClusterRefusal> {
        if self.allocated(id).is_none() {
            return Err(ClusterRefusal::UnknownNode(id));
        }
        self.retired.insert(id);
        Ok(ClusterReply::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::Member;

    fn founded(lineage: u32) -> ClusterRecord {
        let mut record = ClusterRecord::default();
        let founding = Founding {
            cluster_id: [1; 16],
            lineage,
            wanted_voters: 3,
            seed: SEED,
            seed_incarnation: [2; 16],
            seed_ordinal: 0,
        };
        assert_eq!(record.apply(2, &ClusterRequest::Found(founding)), Ok(ClusterReply::Done));
        record
    }

    fn allocate(record: &mut ClusterRecord, index: u64, incarnation: u8) -> Result<ClusterReply, ClusterRefusal> {
        record.apply(index, &ClusterRequest::AllocateNode { incarnation: [incarnation; 16], ordinal: 1 })
    }

    #[test]
    fn an_incarnation_gets_one_id_and_never_another() {
        let mut record = founded(3);
        let id = 3 << 40 | 7;
        assert_eq!(allocate(&mut record, 7, 9), Ok(ClusterReply::Node(Allocated { id, ordinal: 1 })));
        assert_eq!(allocate(&mut record, 8, 9), Ok(ClusterReply::Node(Allocated { id, ordinal: 1 })));
        let copied = record.apply(9, &ClusterRequest::AllocateNode { incarnation: [9; 16], ordinal: 2 });
        assert_eq!(copied, Err(ClusterRefusal::Copied(Allocated { id, ordinal: 1 })));
        assert_eq!(record.apply(9, &ClusterRequest::RetireNode { id }), Ok(ClusterReply::Done));
        assert_eq!(allocate(&mut record, 10, 9), Err(ClusterRefusal::Retired(id)));
        assert_eq!(record.apply(11, &ClusterRequest::RetireNode { id: 5 }), Err(ClusterRefusal::UnknownNode(5)));
        assert_eq!(ClusterRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn it_is_formed_by_the_first_uniform_membership_of_the_wanted_size_for_good() {
        let mut record = founded(0);
        let of = |configurations: Vec<Vec<u64>>| {
            let configurations: Vec<BTreeSet<u64>> =
                configurations.into_iter().map(|voters| voters.into_iter().collect()).collect();
            let nodes: BTreeMap<u64, Member> = (1..=3).map(|id| (id, Member::default())).collect();
            Membership::new(configurations, nodes).expect("voters are nodes")
        };
        for (membership, formed) in [
            (vec![vec![1]], false),
            (vec![vec![1], vec![1, 2, 3]], false),
            (vec![vec![1, 2, 3]], true),
            (vec![vec![1]], true),
        ] {
            record.observe(&of(membership));
            assert_eq!(record.is_formed(), formed);
        }
    }
}
