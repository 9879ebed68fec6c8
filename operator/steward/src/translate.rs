//! The only translation between what nodes say of themselves and what the planner looks at.

use std::collections::BTreeMap;

use carrel_membership::{
    Cluster, ClusterId, Incarnation, LeaderView, LogId, Membership, Node, NodeId, Ordinal, Progress, Survey, Survivor,
    View, Voters,
};
use carrel_proto::admin::v1 as admin;
use uuid::Uuid;

/// What each node that was asked said; nothing, if it was silent.
#[derive(Clone, Debug)]
pub struct Answers(BTreeMap<Ordinal, Option<admin::GetStatusResponse>>);

impl Answers {
    pub fn new(answers: impl IntoIterator<Item = (Ordinal, Option<admin::GetStatusResponse>)>) -> Self {
        Self(answers.into_iter().collect())
    }

    pub fn nodes(&self) -> BTreeMap<Ordinal, Node> {
        self.0.iter().map(|(ordinal, answer)| (*ordinal, node(answer.as_ref()))).collect()
    }

    pub fn view(&self) -> View {
        view(self.0.values().flatten())
    }

    /// What is left, if a majority is not. A node that knows of no members has nothing to go on with, and one that was
    /// removed ended there.
    pub fn survey(&self, running: u32) -> Survey {
        let mut survey = Survey::default();
        for at in (0..running).map(Ordinal) {
            let answer = self.of(at);
            match (node(answer), answer) {
                (Node::Joined { incarnation, cluster, node_id }, Some(answer)) => {
                    let last = answer.last_log_id.filter(|_| answer.membership_log_id.is_some() && !answer.removed);
                    if let Some(last) = last {
                        let last = LogId { term: last.term, index: last.index };
                        survey.survivors.insert(at, Survivor { incarnation, cluster, node_id, last });
                    }
                }
                (Node::Pristine { incarnation }, _) => {
                    survey.empty.insert(at, incarnation);
                }
                (Node::Unknown | Node::Joined { .. }, _) => {
                    survey.silent.insert(at);
                }
            }
        }
        survey
    }

    /// None if it was silent, or was not asked.
    pub fn of(&self, ordinal: Ordinal) -> Option<&admin::GetStatusResponse> {
        self.0.get(&ordinal)?.as_ref()
    }
}

pub(crate) fn node(answer: Option<&admin::GetStatusResponse>) -> Node {
    let Some(identity) = answer.and_then(|answer| answer.identity.as_ref()) else { return Node::Unknown };
    let Ok(incarnation) = Uuid::parse_str(&identity.incarnation) else { return Node::Unknown };
    let incarnation = Incarnation(incarnation.as_u128());
    match cluster(identity) {
        Some(cluster) => Node::Joined { incarnation, cluster, node_id: NodeId(identity.node_id) },
        None => Node::Pristine { incarnation },
    }
}

fn cluster(identity: &admin::Identity) -> Option<Cluster> {
    if identity.node_id == 0 {
        return None;
    }
    let id = Uuid::parse_str(&identity.cluster_id).ok()?;
    Some(Cluster { id: ClusterId(id.as_u128()), lineage: identity.lineage })
}

fn view<'a>(answers: impl Iterator<Item = &'a admin::GetStatusResponse> + Clone) -> View {
    let claims_to_lead = |answer: &&admin::GetStatusResponse| {
        answer.leader != 0 && answer.identity.as_ref().is_some_and(|identity| identity.node_id == answer.leader)
    };
    // Lineages only rise: whoever leads an earlier one leads what is over, whatever its term.
    let lineage = |answer: &admin::GetStatusResponse| answer.identity.as_ref().map(|identity| identity.lineage);
    let leader = answers.clone().filter(claims_to_lead).max_by_key(|answer| (lineage(answer), answer.term));
    if let Some((answer, membership)) = leader.and_then(|answer| Some((answer, membership(answer)?))) {
        return View::Leader(LeaderView {
            leader: NodeId(answer.leader),
            term: answer.term,
            membership,
            committed: answer.membership_committed,
            last_log_index: answer.nodes.iter().map(|node| node.last_log_index).max().unwrap_or(0),
            progress: answer.nodes.iter().filter_map(progress).collect(),
            removed: answer.removed_node_ids.iter().map(|&id| NodeId(id)).collect(),
            formed: answer.formed,
        });
    }
    let newest = answers.filter_map(membership).max_by_key(|known| (known.cluster.lineage, known.log_id));
    newest.map_or(View::Unknown, View::Remembered)
}

fn progress(node: &admin::NodeStatus) -> Option<(NodeId, Progress)> {
    let matched_index = node.matched_index?;
    Some((NodeId(node.id), Progress { matched_index, since_ack_ms: node.since_ack_ms }))
}

fn membership(answer: &admin::GetStatusResponse) -> Option<Membership> {
    let log_id = answer.membership_log_id?;
    let set = |set: &admin::VoterSet| set.node_ids.iter().map(|&id| NodeId(id)).collect();
    let voters = match answer.voter_sets.as_slice() {
        [uniform] => Voters::Uniform(set(uniform)),
        [outgoing, incoming] => Voters::Joint { outgoing: set(outgoing), incoming: set(incoming) },
        _ => return None,
    };
    Some(Membership {
        cluster: cluster(answer.identity.as_ref()?)?,
        log_id: LogId { term: log_id.term, index: log_id.index },
        ordinals: answer.nodes.iter().map(|node| (NodeId(node.id), Ordinal(node.ordinal))).collect(),
        voters,
    })
}
