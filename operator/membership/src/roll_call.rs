//! What the leader's account and the nodes' own words together say of each member.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{NodeId, Ordinal};
use crate::observed::{LeaderView, Membership, Node, PROMOTE_LAG_ENTRIES, RECENT_ACK_MS};

/// A voter or learner is lost when its address answers from another volume. Silence is not loss.
pub(crate) fn lost(id: NodeId, membership: &Membership, nodes: &BTreeMap<Ordinal, Node>) -> bool {
    let Some(at) = membership.ordinals.get(&id) else { return false };
    match nodes.get(at) {
        None | Some(Node::Unknown) => false,
        Some(Node::Pristine { .. }) => true,
        Some(Node::Joined { node_id, .. }) => *node_id != id,
    }
}

/// The address answers, and from the volume of this member.
pub(crate) fn answers(id: NodeId, membership: &Membership, nodes: &BTreeMap<Ordinal, Node>) -> bool {
    let node = membership.ordinals.get(&id).and_then(|at| nodes.get(at));
    matches!(node, Some(Node::Joined { node_id, .. }) if *node_id == id)
}

/// A leader's account beside what the nodes said of themselves.
#[derive(Debug)]
pub struct RollCall<'a> {
    pub(crate) leader: &'a LeaderView,
    nodes: &'a BTreeMap<Ordinal, Node>,
}

impl<'a> RollCall<'a> {
    pub fn new(leader: &'a LeaderView, nodes: &'a BTreeMap<Ordinal, Node>) -> Self {
        RollCall { leader, nodes }
    }

    pub fn lost(&self, id: NodeId) -> bool {
        lost(id, &self.leader.membership, self.nodes)
    }

    pub fn answers(&self, id: NodeId) -> bool {
        answers(id, &self.leader.membership, self.nodes)
    }

    /// Members that answered the leader lately.
    pub fn heard(&self) -> BTreeSet<NodeId> {
        self.members(|id| self.is_heard(id))
    }

    /// Members that answered the leader lately and are caught up: what guards count.
    pub fn healthy(&self) -> BTreeSet<NodeId> {
        self.members(|id| self.is_heard(id) && self.entries_behind(id) <= PROMOTE_LAG_ENTRIES)
    }

    pub fn entries_behind(&self, id: NodeId) -> u64 {
        if id == self.leader.leader {
            return 0;
        }
        let matched = self.leader.progress.get(&id).map_or(0, |progress| progress.matched_index);
        self.leader.last_log_index.saturating_sub(matched)
    }

    fn is_heard(&self, id: NodeId) -> bool {
        let acknowledged = self.leader.progress.get(&id).and_then(|progress| progress.since_ack_ms);
        let lately = id == self.leader.leader || acknowledged.is_some_and(|age| age < RECENT_ACK_MS);
        lately && !self.lost(id)
    }

    fn members(&self, keep: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        self.leader.membership.ordinals.keys().copied().filter(|id| keep(*id)).collect()
    }
}
