//! The planner: the first thing that is both needed and safe.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::desired::{Desired, Replicas};
use crate::guards::{Quorum, VoterSet, permit_change};
use crate::identity::{Cluster, ClusterId, NodeId, Ordinal};
use crate::observed::{Founding, LeaderView, Membership, Node, Observed, View, Voters};
use crate::roll_call::{RollCall, answers, lost};
use crate::step::{Pending, Problem, Reason, Step};

/// The next safe thing to do, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plan {
    /// The cluster is what is wanted, and well.
    Settled,
    Next {
        step: Step,
        because: Reason,
    },
    /// Something must happen by itself first.
    Waiting(Pending),
    /// Nothing will change without help.
    Stuck(Problem),
}

/// Decides on one observation. Never looks at a clock, never remembers; the same arguments give the same plan.
pub fn plan(observed: &Observed, desired: &Desired) -> Plan {
    if let Some(problem) = stranger(observed) {
        return Plan::Stuck(problem);
    }
    if let Some(plan) = run_more(observed, desired) {
        return plan;
    }
    match &observed.view {
        View::Unknown => unseen(observed, desired),
        View::Remembered(membership) => leaderless(observed, membership),
        View::Leader(leader) => led(observed, desired, leader),
    }
}

/// Two clusters under one name, or a volume under the wrong address: whatever we did next could be wrong for one of
/// them.
fn stranger(observed: &Observed) -> Option<Problem> {
    let membership = observed.view.membership();
    let expected = match observed.founding {
        Founding::Claimed { cluster, .. } | Founding::Done { cluster } => Some(cluster),
        Founding::Never => None,
    };
    let joined = || {
        observed.nodes.iter().filter_map(|(at, node)| match node {
            Node::Joined { cluster, node_id, .. } => Some((*at, *cluster, *node_id)),
            Node::Unknown | Node::Pristine { .. } => None,
        })
    };
    let seen =
        membership.map(|membership| membership.cluster).or_else(|| joined().next().map(|(_, cluster, _)| cluster))?;
    let expected = Cluster { id: expected.unwrap_or(seen.id), lineage: seen.lineage };
    for (ordinal, found, node_id) in joined() {
        if found.id != expected.id {
            return Some(Problem::ForeignVolume { ordinal, found, expected: expected.id });
        }
        if found.lineage != expected.lineage {
            return Some(Problem::OtherLineage { ordinal, found, expected: expected.lineage });
        }
        let belongs = membership.and_then(|membership| membership.ordinals.get(&node_id));
        if let Some(belongs) = belongs.copied().filter(|belongs| *belongs != ordinal) {
            return Some(Problem::Misplaced { node_id, found: ordinal, belongs });
        }
    }
    None
}

/// Whatever is wanted and whatever is still a member shall run. Needs no quorum: it may be what brings the quorum back.
fn run_more(observed: &Observed, desired: &Desired) -> Option<Plan> {
    let wanted = to_run(observed, desired);
    let running = observed.running.count;
    (running < wanted).then(|| {
        let step = Step::Run { count: wanted, generation: observed.running.generation };
        next(step, Reason::TooFewRun { running, wanted })
    })
}

fn to_run(observed: &Observed, desired: &Desired) -> u32 {
    desired.replicas.count().max(observed.view.membership().map_or(0, Membership::span))
}

/// Nobody knows of any members: either there is no cluster yet, or those who know are silent.
fn unseen(observed: &Observed, desired: &Desired) -> Plan {
    let silent = silent(observed);
    if let Some(plan) = take_up_founding(observed) {
        return plan;
    }
    let joined = |node: &Node| matches!(node, Node::Joined { .. });
    let joined: BTreeSet<Ordinal> = observed.nodes.iter().filter(|(_, node)| joined(node)).map(|(at, _)| *at).collect();
    if !joined.is_empty() {
        return if silent.is_empty() {
            Plan::Stuck(Problem::MembershipLost { joined })
        } else {
            Plan::Waiting(Pending::MembersUnknown { silent })
        };
    }
    match observed.founding {
        Founding::Done { cluster } if silent.is_empty() => Plan::Stuck(Problem::EveryVolumeLost { cluster }),
        Founding::Done { .. } => Plan::Waiting(Pending::MembersUnknown { silent }),
        // A single voter serves as soon as it is founded; more than one need a change that comes after the record.
        Founding::Claimed { cluster, wanted_voters: Replicas::One, .. } if silent.is_empty() => {
            Plan::Stuck(Problem::SeedLost { cluster })
        }
        Founding::Claimed { wanted_voters: Replicas::One, .. } => Plan::Waiting(Pending::MayHoldCluster { silent }),
        Founding::Claimed { seed, .. } => claim(observed, desired, silent, Reason::SeedLost { seed }),
        Founding::Never => claim(observed, desired, silent, Reason::NoClusterAnywhere { asked: observed.nodes.len() }),
    }
}

/// The one volume that may become the cluster is there, and is not the cluster yet: pristine, or stopped after it took
/// its place and before anything was founded. A founding that is asked for again goes on where it stopped.
fn take_up_founding(observed: &Observed) -> Option<Plan> {
    let Founding::Claimed { cluster, seed, wanted_voters } = observed.founding else { return None };
    let begins = |node: &Node| match *node {
        Node::Unknown => false,
        Node::Pristine { incarnation } => incarnation == seed,
        Node::Joined { incarnation, cluster: found, .. } => incarnation == seed && found.id == cluster,
    };
    let (ordinal, _) = observed.nodes.iter().find(|(_, node)| begins(node))?;
    Some(next(Step::Initialize { ordinal: *ordinal, seed, cluster, wanted_voters }, Reason::FoundingClaimed))
}

/// Nothing can have been promised, for no node was ever part of a cluster: but only if every one of them says so.
fn claim(observed: &Observed, desired: &Desired, silent: BTreeSet<Ordinal>, because: Reason) -> Plan {
    let first = Ordinal(0);
    match observed.nodes.get(&first) {
        Some(Node::Pristine { incarnation }) if silent.is_empty() => next(
            Step::ClaimFounding {
                ordinal: first,
                seed: *incarnation,
                wanted_voters: desired.replicas,
                expected: observed.founding,
            },
            because,
        ),
        _ => Plan::Waiting(Pending::MayHoldCluster { silent }),
    }
}

/// There are members and none of them leads: they elect one by themselves, if enough of them are there.
fn leaderless(observed: &Observed, membership: &Membership) -> Plan {
    let answering = answering(observed, membership);
    let quorum = Quorum::weakest(&membership.voters, &answering);
    if quorum.holds() { Plan::Waiting(Pending::NoLeader { quorum }) } else { quorum_lost(observed, membership, quorum) }
}

fn led(observed: &Observed, desired: &Desired, leader: &LeaderView) -> Plan {
    let roll = RollCall::new(leader, &observed.nodes);
    let membership = &leader.membership;

    let heard = Quorum::weakest(&membership.voters, &roll.heard());
    if !heard.holds() {
        let answering = Quorum::weakest(&membership.voters, &answering(observed, membership));
        return if answering.holds() {
            Plan::Waiting(Pending::LeaderUnconfirmed { leader: leader.leader, quorum: heard })
        } else {
            quorum_lost(observed, membership, answering)
        };
    }
    if !leader.committed {
        return Plan::Waiting(Pending::ChangeInFlight { membership: membership.log_id });
    }
    if let Some(plan) = record_founded(observed, leader) {
        return plan;
    }
    match &membership.voters {
        Voters::Joint { outgoing, incoming } => finish_change(&roll, outgoing, incoming),
        Voters::Uniform(voters) => uniform(observed, desired, &roll, voters),
    }
}

/// Before anything else is done to a cluster it is recorded, whether we founded it or found it: no change that could
/// let it serve comes earlier.
fn record_founded(observed: &Observed, leader: &LeaderView) -> Option<Plan> {
    let cluster: ClusterId = leader.membership.cluster.id;
    let recorded = matches!(observed.founding, Founding::Done { .. });
    (!recorded).then(|| next(Step::RecordFounded { cluster }, Reason::FirstLed { leader: leader.leader }))
}

/// Forward, where it was going: the incoming set was judged safe by whoever began. What is wanted now is looked at
/// after.
fn finish_change(roll: &RollCall<'_>, outgoing: &BTreeSet<NodeId>, incoming: &BTreeSet<NodeId>) -> Plan {
    let odd = VoterSet::odd(incoming.clone()).or_else(|| VoterSet::odd(outgoing.clone()));
    let (outgoing, incoming) = (outgoing.clone(), incoming.clone());
    match odd {
        Some(target) => {
            change_voters(roll, target, Reason::ChangeLeftBehind { outgoing, incoming }).unwrap_or_else(Plan::Waiting)
        }
        None => Plan::Stuck(Problem::EvenVoters { outgoing, incoming }),
    }
}

/// The usual case, in order: who votes, who is a member, who runs.
fn uniform(observed: &Observed, desired: &Desired, roll: &RollCall<'_>, voters: &BTreeSet<NodeId>) -> Plan {
    let mut obstacle = None;
    for target in targets(desired, roll, voters) {
        let because = why(roll, voters, &target);
        match change_voters(roll, target, because) {
            Ok(plan) => return plan,
            // What is denied now may be allowed once the steps below have mended something.
            Err(pending) => obstacle = obstacle.or(Some(pending)),
        }
    }
    None.or_else(|| remove_learner(desired, roll))
        .or_else(|| renew_volume(observed, desired, roll))
        .or_else(|| add_learner(observed, desired, roll))
        .or_else(|| admit(observed, desired))
        .or_else(|| run_fewer(observed, desired))
        .or_else(|| obstacle.map(Plan::Waiting))
        .or_else(|| unwell(observed, desired, roll, voters))
        .unwrap_or(Plan::Settled)
}

/// The voter sets to try, best first: the whole of what is wanted, then the present one with its lost voters replaced.
fn targets(desired: &Desired, roll: &RollCall<'_>, voters: &BTreeSet<NodeId>) -> Vec<VoterSet> {
    let ordinals = &roll.leader.membership.ordinals;
    let healthy = roll.healthy();
    let successor = |at: Ordinal| {
        let learners = roll.leader.membership.learners().filter(|(_, ordinal)| *ordinal == at);
        learners.map(|(id, _)| id).find(|id| healthy.contains(id) && roll.answers(*id))
    };
    let present = |at: Ordinal| {
        voters.iter().copied().filter(|id| ordinals.get(id) == Some(&at)).max_by_key(|id| !roll.lost(*id))
    };
    let voter_at = |at: Ordinal| match present(at) {
        Some(id) if roll.lost(id) => successor(at).or(Some(id)),
        Some(id) => Some(id),
        None => successor(at),
    };

    let whole: Option<BTreeSet<NodeId>> = (0..desired.replicas.count()).map(|at| voter_at(Ordinal(at))).collect();
    let replaced = voters
        .iter()
        .map(|id| match ordinals.get(id) {
            Some(at) if roll.lost(*id) => successor(*at).unwrap_or(*id),
            _ => *id,
        })
        .collect();
    [whole, Some(replaced)].into_iter().flatten().filter(|set| set != voters).filter_map(VoterSet::odd).collect()
}

fn why(roll: &RollCall<'_>, voters: &BTreeSet<NodeId>, target: &VoterSet) -> Reason {
    let (from, to) = (voters.len(), target.ids().len());
    let lost: BTreeSet<NodeId> = voters.difference(target.ids()).copied().filter(|id| roll.lost(*id)).collect();
    if to > from {
        Reason::Grow { from, to }
    } else if to == from && !lost.is_empty() {
        Reason::Replace { lost }
    } else {
        Reason::Shrink { from, to }
    }
}

/// One joint change to the target, after leadership has moved to somebody who stays, if anybody who stays votes yet.
fn change_voters(roll: &RollCall<'_>, target: VoterSet, because: Reason) -> Result<Plan, Pending> {
    let LeaderView { leader, membership, .. } = roll.leader;
    let healthy = roll.healthy();
    if let Err(denied) = permit_change(&membership.voters, &target, &roll.heard(), &healthy) {
        return Err(Pending::Denied { voters: target, denied });
    }
    if target.ids().contains(leader) {
        return Ok(next(Step::ChangeVoters { voters: target, expected: membership.log_id }, because));
    }
    // The most caught-up of those who vote now and go on voting; of equals, the lowest ordinal.
    let successor = target
        .ids()
        .intersection(&healthy)
        .filter(|id| membership.voters.contains(**id))
        .min_by_key(|id| (roll.entries_behind(**id), membership.ordinals.get(id)));
    Ok(match successor {
        Some(to) => {
            next(Step::TransferLeadership { to: *to }, Reason::LeaderLeaves { leader: *leader, voters: target })
        }
        // It leads until the change is committed, without a vote of its own, and then lets one of them lead.
        None => next(Step::ChangeVoters { voters: target, expected: membership.log_id }, because),
    })
}

fn remove_learner(desired: &Desired, roll: &RollCall<'_>) -> Option<Plan> {
    let replicas = desired.replicas.count();
    roll.leader.membership.learners().find_map(|(node_id, ordinal)| {
        let because = if ordinal.0 >= replicas {
            Reason::BeyondReplicas { ordinal, replicas }
        } else if roll.lost(node_id) {
            Reason::LearnerLost { ordinal }
        } else {
            return None;
        };
        Some(next(Step::RemoveNode { node_id }, because))
    })
}

/// A volume whose id was removed for good, back under an address that is wanted: nothing on it is needed.
fn renew_volume(observed: &Observed, desired: &Desired, roll: &RollCall<'_>) -> Option<Plan> {
    wanted_nodes(observed, desired).find_map(|(ordinal, node)| match *node {
        Node::Joined { incarnation, node_id, .. } if roll.leader.removed.contains(&node_id) => {
            Some(next(Step::SetVolumeAside { ordinal, incarnation }, Reason::IdRemoved { node_id }))
        }
        Node::Unknown | Node::Pristine { .. } | Node::Joined { .. } => None,
    })
}

fn add_learner(observed: &Observed, desired: &Desired, roll: &RollCall<'_>) -> Option<Plan> {
    let membership = &roll.leader.membership;
    wanted_nodes(observed, desired).find_map(|(ordinal, node)| match *node {
        Node::Joined { node_id, .. } if !membership.ordinals.contains_key(&node_id) => {
            let step = Step::AddLearner { node_id, expected: membership.log_id };
            Some(next(step, Reason::JoinedNotMember { ordinal }))
        }
        Node::Unknown | Node::Pristine { .. } | Node::Joined { .. } => None,
    })
}

fn admit(observed: &Observed, desired: &Desired) -> Option<Plan> {
    wanted_nodes(observed, desired).find_map(|(ordinal, node)| match *node {
        Node::Pristine { incarnation } => {
            Some(next(Step::Admit { ordinal, incarnation }, Reason::WaitsToJoin { ordinal }))
        }
        Node::Unknown | Node::Joined { .. } => None,
    })
}

/// Last of all: nobody is stopped who is still a member.
fn run_fewer(observed: &Observed, desired: &Desired) -> Option<Plan> {
    let wanted = to_run(observed, desired);
    let running = observed.running.count;
    (running > wanted).then(|| {
        let step = Step::Run { count: wanted, generation: observed.running.generation };
        next(step, Reason::TooManyRun { running, wanted })
    })
}

/// Nothing to do is not the same as being well.
fn unwell(observed: &Observed, desired: &Desired, roll: &RollCall<'_>, voters: &BTreeSet<NodeId>) -> Option<Plan> {
    let LeaderView { membership, formed, .. } = roll.leader;
    let (heard, healthy) = (roll.heard(), roll.healthy());
    let silent = silent(observed);
    if !silent.is_empty() {
        return Some(Plan::Waiting(Pending::Silent { ordinals: silent, quorum: Quorum::of(voters, &healthy) }));
    }
    // Learners first: it is for them that a change waits.
    let voting = membership.ordinals.iter().map(|(id, at)| (*id, *at)).filter(|(id, _)| voters.contains(id));
    if let Some((node_id, ordinal)) = membership.learners().chain(voting).find(|(id, _)| !healthy.contains(id)) {
        let entries_behind = roll.entries_behind(node_id);
        return Some(Plan::Waiting(match heard.contains(&node_id) {
            true => Pending::CatchingUp { node_id, ordinal, entries_behind },
            false => Pending::Unheard { node_id, ordinal },
        }));
    }
    let as_wanted = voters.len() == desired.replicas.count() as usize;
    (as_wanted && !formed).then_some(Plan::Waiting(Pending::NotFormed { voters: voters.len() }))
}

fn quorum_lost(observed: &Observed, membership: &Membership, quorum: Quorum) -> Plan {
    let voters: BTreeMap<NodeId, Ordinal> = membership
        .ordinals
        .iter()
        .map(|(id, at)| (*id, *at))
        .filter(|(id, _)| membership.voters.contains(*id))
        .collect();
    let where_voters = |keep: &dyn Fn(NodeId) -> bool| -> BTreeSet<Ordinal> {
        voters.iter().filter(|(id, _)| keep(**id)).map(|(_, at)| *at).collect()
    };
    let is_lost = |id| lost(id, membership, &observed.nodes);
    Plan::Stuck(Problem::QuorumLost {
        quorum,
        silent: where_voters(&|id| !is_lost(id) && !answers(id, membership, &observed.nodes)),
        lost: where_voters(&is_lost),
    })
}

fn answering(observed: &Observed, membership: &Membership) -> BTreeSet<NodeId> {
    membership.ordinals.keys().copied().filter(|id| answers(*id, membership, &observed.nodes)).collect()
}

/// Ordinals that are meant to run and do not answer.
fn silent(observed: &Observed) -> BTreeSet<Ordinal> {
    let meant = (0..observed.running.count).map(Ordinal);
    let speaks = |at: &Ordinal| !matches!(observed.nodes.get(at), None | Some(Node::Unknown));
    meant.chain(observed.nodes.keys().copied()).filter(|at| !speaks(at)).collect()
}

fn wanted_nodes<'a>(observed: &'a Observed, desired: &Desired) -> impl Iterator<Item = (Ordinal, &'a Node)> {
    let count = desired.replicas.count();
    observed.nodes.iter().map(|(at, node)| (*at, node)).filter(move |(at, _)| at.0 < count)
}

fn next(step: Step, because: Reason) -> Plan {
    Plan::Next { step, because }
}

impl View {
    fn membership(&self) -> Option<&Membership> {
        match self {
            View::Unknown => None,
            View::Remembered(membership) => Some(membership),
            View::Leader(leader) => Some(&leader.membership),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Settled => f.write_str("settled"),
            Plan::Next { step, because } => write!(f, "{step}, because {because}"),
            Plan::Waiting(pending) => write!(f, "waiting: {pending}"),
            Plan::Stuck(problem) => write!(f, "stuck: {problem}"),
        }
    }
}
