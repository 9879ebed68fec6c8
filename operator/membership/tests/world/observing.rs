//! What the world looks like to somebody who asks every node.

use carrel_membership::{LeaderView, Membership, Node, Observed, Ordinal, Progress, View};

use super::{Raft, Slot, World};

/// An answer on a healthy network, and one long overdue.
const LATELY_MS: u64 = 20;
const LONG_AGO_MS: u64 = 60_000;

impl World {
    pub fn observe(&self) -> Observed {
        let nodes = self.slots.iter().filter(|(at, _)| at.0 < self.running.count);
        Observed {
            founding: self.founding,
            running: self.running,
            nodes: nodes.map(|(at, slot)| (*at, self.ask(*at, slot))).collect(),
            view: self.raft.as_ref().map_or(View::Unknown, |raft| self.view(raft)),
        }
    }

    fn ask(&self, ordinal: Ordinal, slot: &Slot) -> Node {
        if !self.runs(ordinal) || slot.mute {
            return Node::Unknown;
        }
        let incarnation = slot.volume.incarnation;
        match slot.volume.joined {
            None => Node::Pristine { incarnation },
            Some((cluster, node_id)) => Node::Joined { incarnation, cluster, node_id },
        }
    }

    fn view(&self, raft: &Raft) -> View {
        let membership = Membership {
            cluster: raft.cluster,
            log_id: raft.log_id,
            ordinals: raft.members.clone(),
            voters: raft.voters.clone(),
        };
        let answers = |at: &Ordinal, slot: &Slot| matches!(self.ask(*at, slot), Node::Joined { .. });
        let remembers = raft.members.iter().any(|(id, at)| {
            self.slots.get(at).is_some_and(|slot| answers(at, slot) && slot.holds(raft.cluster, *id))
                && raft.matched.get(id).is_some_and(|matched| *matched > 0)
        });
        let leader = raft.leader.filter(|leader| {
            let at = raft.members.get(leader);
            at.and_then(|at| Some(answers(at, self.slots.get(at)?))).unwrap_or(false)
        });
        let Some(leader) = leader else {
            return if remembers { View::Remembered(membership) } else { View::Unknown };
        };
        let heard = self.followers();
        let progress = raft.members.keys().map(|id| {
            let since_ack_ms = Some(if heard.contains(id) { LATELY_MS } else { LONG_AGO_MS });
            (*id, Progress { matched_index: raft.matched.get(id).copied().unwrap_or(0), since_ack_ms })
        });
        View::Leader(LeaderView {
            leader,
            term: raft.term,
            membership,
            committed: true,
            last_log_index: raft.last_index,
            progress: progress.collect(),
            removed: raft.removed.clone(),
            formed: raft.formed,
        })
    }
}
