//! What would be done if nothing went wrong on the way: the planner, asked again and again on a world imagined from one
//! look.
//!
//! It decides nothing that [`plan`](crate::plan) and [`roll`](crate::roll) do not decide. What it imagines is that each
//! step succeeds, that whoever is caught up with stays so, and that a volume nobody has seen yet is empty. Ids of nodes
//! that do not exist yet are therefore made up.

use std::collections::BTreeMap;
use std::fmt;

use crate::desired::Desired;
use crate::guards::VoterSet;
use crate::identity::{Cluster, ClusterId, Incarnation, LogId, NodeId, Ordinal};
use crate::observed::{Founding, LeaderView, Membership, Node, Observed, Progress, View, Voters};
use crate::plan::{Plan, plan};
use crate::roll::{Fleet, Pod, PodId, RestartReason, Roll, RollPending, roll};
use crate::roll_call::RollCall;
use crate::step::{Pending, Problem, Reason, Step};

/// Seven nodes that are admitted, given a vote and restarted take fewer; a course that is longer goes round in circles.
const ACTS_MAX: usize = 100;

/// A course of acts, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foresight {
    pub acts: Vec<Foreseen>,
    pub end: End,
    /// How often somebody else leads from then on.
    pub leader_changes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    Step {
        step: Step,
        because: Reason,
    },
    Restart {
        ordinal: Ordinal,
        because: RestartReason,
    },
    HandOver {
        from: NodeId,
        to: NodeId,
    },
    /// Something that happens by itself while nodes run.
    Await(Pending),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As wanted, and well.
    Settled,
    /// What it waits for may never happen.
    Waiting(Pending),
    /// Members are as wanted; restarts wait.
    RollWaiting(RollPending),
    Stuck(Problem),
    /// There is no end in sight.
    Endless,
}

/// The course from one observation. Without a fleet nothing is known of templates, and nobody is restarted.
pub fn foresee(observed: Observed, desired: &Desired, fleet: Option<Fleet>) -> Foresight {
    let mut world = Imagined { observed, fleet, draws: 0, leader_changes: 0 };
    let mut acts = Vec::new();
    let end = loop {
        if acts.len() == ACTS_MAX {
            break End::Endless;
        }
        match plan(&world.observed, desired) {
            Plan::Next { step, because } => {
                world.perform(&step, desired);
                acts.push(Foreseen::Step { step, because });
            }
            Plan::Stuck(problem) => break End::Stuck(problem),
            Plan::Waiting(pending) if world.comes_to_pass(&pending) => acts.push(Foreseen::Await(pending)),
            Plan::Waiting(pending) => break End::Waiting(pending),
            Plan::Settled => match world.roll() {
                Ok(Some(act)) => acts.push(act),
                Ok(None) => break End::Settled,
                Err(pending) => break End::RollWaiting(pending),
            },
        }
    };
    Foresight { acts, end, leader_changes: world.leader_changes }
}

struct Imagined {
    observed: Observed,
    fleet: Option<Fleet>,
    /// Incarnations and runs of pods, drawn in order: no UUID is as small.
    draws: u128,
    leader_changes: usize,
}

impl Imagined {
    fn perform(&mut self, step: &Step, desired: &Desired) {
        match step {
            Step::Run { count, .. } => self.run(*count),
            Step::ClaimFounding { seed, wanted_voters, .. } => {
                let cluster = ClusterId(self.draw());
                self.observed.founding = Founding::Claimed { cluster, seed: *seed, wanted_voters: *wanted_voters };
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                self.found(*ordinal, *seed, *cluster, wanted_voters.count() == 1);
            }
            Step::RecordFounded { cluster } => self.observed.founding = Founding::Done { cluster: *cluster },
            Step::Admit { ordinal, incarnation } => self.admit(*ordinal, *incarnation),
            Step::AddLearner { node_id, .. } => self.add_learner(*node_id),
            Step::ChangeVoters { voters, .. } => self.change_voters(voters, desired),
            Step::TransferLeadership { to } => self.lead(*to),
            Step::RemoveNode { node_id } => {
                if let Some(leader) = self.leader() {
                    leader.membership.ordinals.remove(node_id);
                    leader.progress.remove(node_id);
                    leader.removed.insert(*node_id);
                    leader.membership_changed();
                }
            }
            Step::SetVolumeAside { ordinal, .. } => {
                let incarnation = Incarnation(self.draw());
                self.observed.nodes.insert(*ordinal, Node::Pristine { incarnation });
            }
        }
    }

    /// Ordinals that were not run before come up empty, and from the template that is wanted.
    fn run(&mut self, count: u32) {
        self.observed.running.count = count;
        self.observed.running.generation += 1;
        self.observed.nodes.retain(|at, _| at.0 < count);
        for ordinal in (0..count).map(Ordinal) {
            if !self.observed.nodes.contains_key(&ordinal) {
                let incarnation = Incarnation(self.draw());
                self.observed.nodes.insert(ordinal, Node::Pristine { incarnation });
            }
        }
        let Some(mut fleet) = self.fleet.take() else { return };
        fleet.pods.retain(|at, _| at.0 < count);
        for ordinal in (0..count).map(Ordinal) {
            fleet.pods.entry(ordinal).or_insert_with(|| self.fresh_pod());
        }
        self.fleet = Some(fleet);
    }

    fn found(&mut self, ordinal: Ordinal, seed: Incarnation, cluster: ClusterId, is_formed: bool) {
        let (cluster, first) = (Cluster { id: cluster, lineage: 0 }, NodeId(1));
        self.observed.nodes.insert(ordinal, Node::Joined { incarnation: seed, cluster, node_id: first });
        self.observed.view = View::Leader(LeaderView {
            leader: first,
            term: 1,
            membership: Membership {
                cluster,
                log_id: LogId { term: 1, index: 1 },
                ordinals: BTreeMap::from([(first, ordinal)]),
                voters: Voters::Uniform([first].into()),
            },
            committed: true,
            last_log_index: 1,
            progress: BTreeMap::new(),
            removed: [].into(),
            formed: is_formed,
        });
    }

    fn admit(&mut self, ordinal: Ordinal, incarnation: Incarnation) {
        let Some(leader) = self.leader() else { return };
        // As the leader does it: the index of the entry that hands it out.
        leader.last_log_index += 1;
        let newest = leader.membership.ordinals.keys().chain(&leader.removed).map(|id| id.0 + 1).max().unwrap_or(1);
        let node_id = NodeId(leader.last_log_index.max(newest));
        let cluster = leader.membership.cluster;
        self.observed.nodes.insert(ordinal, Node::Joined { incarnation, cluster, node_id });
    }

    fn add_learner(&mut self, node_id: NodeId) {
        let is_it = |node: &&Node| matches!(node, Node::Joined { node_id: id, .. } if *id == node_id);
        let at = self.observed.nodes.iter().find(|(_, node)| is_it(node)).map(|(at, _)| *at);
        if let (Some(at), Some(leader)) = (at, self.leader()) {
            leader.membership.ordinals.insert(node_id, at);
            leader.membership_changed();
            leader.caught_up(node_id);
        }
    }

    fn change_voters(&mut self, voters: &VoterSet, desired: &Desired) {
        let observed = &mut self.observed;
        let View::Leader(leader) = &mut observed.view else { return };
        leader.membership.voters = Voters::Uniform(voters.ids().clone());
        leader.formed |= voters.ids().len() == desired.replicas.count() as usize;
        leader.membership_changed();
        if voters.ids().contains(&leader.leader) {
            return;
        }
        // It leads until the change is committed, and then lets one of the voters lead.
        let roll_call = RollCall::new(leader, &observed.nodes);
        let healthy = roll_call.healthy();
        let successor = voters.ids().intersection(&healthy).min_by_key(|id| roll_call.entries_behind(**id)).copied();
        if let Some(successor) = successor {
            self.lead(successor);
        }
    }

    fn lead(&mut self, to: NodeId) {
        if let Some(leader) = self.leader() {
            let before = leader.leader;
            leader.leader = to;
            leader.term += 1;
            leader.caught_up(before);
            self.leader_changes += 1;
        }
    }

    /// Whether what is waited for happens by itself, as far as anybody can tell; it has happened then.
    fn comes_to_pass(&mut self, pending: &Pending) -> bool {
        match pending {
            Pending::CatchingUp { node_id, .. } => {
                let node_id = *node_id;
                self.leader().map(|leader| leader.caught_up(node_id)).is_some()
            }
            Pending::ChangeInFlight { .. } => self.leader().map(|leader| leader.committed = true).is_some(),
            Pending::MayHoldCluster { .. }
            | Pending::MembersUnknown { .. }
            | Pending::NoLeader { .. }
            | Pending::LeaderUnconfirmed { .. }
            | Pending::Denied { .. }
            | Pending::Silent { .. }
            | Pending::Unheard { .. }
            | Pending::NotFormed { .. } => false,
        }
    }

    fn roll(&mut self) -> Result<Option<Foreseen>, RollPending> {
        let Some(fleet) = &self.fleet else { return Ok(None) };
        match roll(&self.observed, fleet) {
            Roll::Done => Ok(None),
            Roll::Waiting(pending) => Err(pending),
            Roll::HandOver { from, to } => {
                self.lead(to);
                Ok(Some(Foreseen::HandOver { from, to }))
            }
            Roll::Restart { ordinal, because, .. } => {
                let pod = self.fresh_pod();
                if let Some(fleet) = &mut self.fleet {
                    fleet.pods.insert(ordinal, pod);
                    fleet.away.remove(&ordinal);
                }
                Ok(Some(Foreseen::Restart { ordinal, because }))
            }
        }
    }

    fn fresh_pod(&mut self) -> Pod {
        Pod { id: PodId(self.draw()), is_outdated: false, is_running: true }
    }

    fn draw(&mut self) -> u128 {
        self.draws += 1;
        self.draws
    }

    fn leader(&mut self) -> Option<&mut LeaderView> {
        match &mut self.observed.view {
            View::Leader(leader) => Some(leader),
            View::Remembered(_) | View::Unknown => None,
        }
    }
}

impl LeaderView {
    fn membership_changed(&mut self) {
        self.last_log_index += 1;
        self.membership.log_id = LogId { term: self.term, index: self.last_log_index };
        let last = self.last_log_index;
        // A few entries are no lag; who is far behind stays so.
        for progress in self.progress.values_mut().filter(|progress| progress.matched_index + 1 == last) {
            progress.matched_index = last;
        }
    }

    fn caught_up(&mut self, id: NodeId) {
        let progress = Progress { matched_index: self.last_log_index, since_ack_ms: Some(0) };
        self.progress.insert(id, progress);
    }
}

impl fmt::Display for Foreseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreseen::Step { step, because } => write!(f, "{step}, because {because}"),
            Foreseen::Restart { ordinal, because } => write!(f, "restart ordinal {ordinal}, because {because}"),
            Foreseen::HandOver { from, to } => {
                write!(f, "hand leadership to node {to}, because node {from} leads and is the last on an old template")
            }
            Foreseen::Await(pending) => write!(f, "wait: {pending}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Settled => f.write_str("settled"),
            End::Waiting(pending) => write!(f, "waiting: {pending}"),
            End::RollWaiting(pending) => write!(f, "waiting: {pending}"),
            End::Stuck(problem) => write!(f, "stuck: {problem}"),
            End::Endless => write!(f, "no end after {ACTS_MAX} acts"),
        }
    }
}
