//! Going on after a majority was lost for good: what is left, what is proposed, and the next step of what was approved.
//!
//! Nothing here begins by itself. [`propose`] says what could be gone on with; a person approves exactly that;
//! [`carry_out`] names one step at a time from there. Every node is stopped before the new lineage begins, so that no
//! old one is served beside it, and from then on nodes obey the [`Order`] whenever they start: the chosen volume goes
//! on, and what any other has of an earlier lineage is put aside by its node before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::desired::Desired;
use crate::guards::Quorum;
use crate::identity::{Cluster, ClusterId, Incarnation, LogId, NodeId, Ordinal};
use crate::observed::{Node, Observed, View};
use crate::plan::Plan;
use crate::roll_call::RollCall;
use crate::step::{Pending, Problem};
use crate::wording::list;

/// What the volume of a node holds, by the node's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Survivor {
    pub incarnation: Incarnation,
    pub cluster: Cluster,
    pub node_id: NodeId,
    /// The last entry of its log.
    pub last: LogId,
}

/// Who answers, and what is left there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Survey {
    pub survivors: BTreeMap<Ordinal, Survivor>,
    /// Nodes that were never part of a cluster.
    pub empty: BTreeMap<Ordinal, Incarnation>,
    /// They are meant to run and do not answer.
    pub silent: BTreeSet<Ordinal>,
}

/// What a person is asked to approve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proposal {
    /// Another lineage of the cluster, with what this volume holds.
    GoOn { ordinal: Ordinal, survivor: Survivor, lineage: u32 },
    /// Another cluster, of a backup, on the empty volume of this ordinal.
    Restore { ordinal: Ordinal, seed: Incarnation },
}

/// Why nothing is proposed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotProposed {
    /// The members can still decide for themselves, or nothing was ever lost.
    NotNeeded,
    /// Nobody can tell yet.
    Unclear(Box<Plan>),
    /// Something else is wrong, which a recovery would not mend.
    OtherProblem(Problem),
    /// No volume is left, and no backup was named.
    NothingLeft { silent: BTreeSet<Ordinal> },
    /// A backup was named, and volumes are left that have more.
    VolumesLeft { ordinals: BTreeSet<Ordinal> },
}

impl NotProposed {
    /// It will not change by itself.
    pub fn is_final(&self) -> bool {
        match self {
            NotProposed::VolumesLeft { .. } => true,
            NotProposed::NothingLeft { silent } => silent.is_empty(),
            NotProposed::NotNeeded | NotProposed::Unclear(_) | NotProposed::OtherProblem(_) => false,
        }
    }
}

impl Survey {
    /// Of the newest lineage, the one with the greatest last term, then index, has all that any other has and was
    /// acknowledged; of equals, the lowest ordinal.
    pub fn best(&self) -> Option<(Ordinal, Survivor)> {
        let worth =
            |(at, survivor): &(&Ordinal, &Survivor)| (survivor.cluster.lineage, survivor.last, std::cmp::Reverse(**at));
        self.survivors.iter().max_by_key(worth).map(|(at, survivor)| (*at, *survivor))
    }
}

/// What could be gone on with. `plan` is what the planner says of the same look; `lineage` the highest there ever was.
///
/// # Errors
/// With why there is nothing to propose.
pub fn propose(plan: &Plan, survey: &Survey, lineage: u32, is_backup_named: bool) -> Result<Proposal, NotProposed> {
    match plan {
        Plan::Stuck(
            Problem::QuorumLost { .. }
            | Problem::EveryVolumeLost { .. }
            | Problem::SeedLost { .. }
            | Problem::MembershipLost { .. },
        ) => {}
        Plan::Stuck(problem) => return Err(NotProposed::OtherProblem(problem.clone())),
        Plan::Next { .. }
        | Plan::Waiting(
            Pending::MembersUnknown { .. }
            | Pending::MayHoldCluster { .. }
            | Pending::NoLeader { .. }
            | Pending::LeaderUnconfirmed { .. },
        ) => return Err(NotProposed::Unclear(Box::new(plan.clone()))),
        Plan::Settled | Plan::Waiting(_) => return Err(NotProposed::NotNeeded),
    }
    if is_backup_named {
        if !survey.survivors.is_empty() {
            return Err(NotProposed::VolumesLeft { ordinals: survey.survivors.keys().copied().collect() });
        }
        // The first ordinal: it is the only one that runs until the cluster is there.
        let seed = survey.empty.first_key_value().filter(|(at, _)| **at == Ordinal(0) && survey.silent.is_empty());
        let Some((ordinal, seed)) = seed else {
            return Err(NotProposed::NothingLeft { silent: survey.silent.clone() });
        };
        return Ok(Proposal::Restore { ordinal: *ordinal, seed: *seed });
    }
    let Some((ordinal, survivor)) = survey.best() else {
        return Err(NotProposed::NothingLeft { silent: survey.silent.clone() });
    };
    let newest = survey.survivors.values().map(|survivor| survivor.cluster.lineage).max().unwrap_or(0);
    Ok(Proposal::GoOn { ordinal, survivor, lineage: newest.max(lineage) + 1 })
}

/// What was approved, as nodes read it when they start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    pub cluster: ClusterId,
    pub begins: Begins,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begins {
    /// With the volume of this incarnation, which must hold at least the log up to here.
    With { ordinal: Ordinal, incarnation: Incarnation, last: LogId, lineage: u32 },
    /// Of a backup, on the volume of this incarnation, which is empty.
    FromBackup { ordinal: Ordinal, seed: Incarnation },
}

/// How far the order has been carried out, by the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Until no node runs that has not read the order.
    Stopping,
    /// Until the new lineage is led.
    Beginning,
}

/// Pods there are, by ordinal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remaining {
    pub pods: BTreeSet<Ordinal>,
    /// Told to stop long ago, on machines that do not answer. Nobody can tell whether they still run.
    pub vanished: BTreeSet<Ordinal>,
}

/// One step of a recovery. Each is refused or does nothing if it was done already.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecoveryStep {
    /// Run nobody.
    StopAll,
    /// Record [`Stage::Beginning`].
    RecordStopped,
    /// Run ordinals `0..count`, refused if [`Running`](crate::Running) is no longer of this generation.
    Run { count: u32, generation: u64 },
    /// Stop this one, which began without having read the order; it is started again by itself.
    Restart { ordinal: Ordinal, found: Cluster },
    /// Record that the cluster goes on as this one, and that nothing is left to begin with.
    RecordBegun { cluster: Cluster },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovering {
    Next(RecoveryStep),
    Waiting(RecoveryPending),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecoveryPending {
    Stopping { ordinals: BTreeSet<Ordinal> },
    Beginning { ordinal: Ordinal },
}

impl Order {
    pub fn ordinal(&self) -> Ordinal {
        match self.begins {
            Begins::With { ordinal, .. } | Begins::FromBackup { ordinal, .. } => ordinal,
        }
    }

    /// What was ordered has come to be. A backup says its lineage only once it is read.
    fn is_fulfilled_by(&self, cluster: Cluster) -> bool {
        cluster.id == self.cluster
            && match self.begins {
                Begins::With { lineage, .. } => cluster.lineage == lineage,
                Begins::FromBackup { .. } => true,
            }
    }

    fn to_run(&self, desired: &Desired) -> u32 {
        match self.begins {
            Begins::With { ordinal, .. } => desired.replicas.count().max(ordinal.0.saturating_add(1)),
            // Alone: the backup may be where only one pod can read it.
            Begins::FromBackup { ordinal, .. } => ordinal.0.saturating_add(1),
        }
    }
}

/// The next step of what was approved, decided on one observation and on what is recorded.
pub fn carry_out(
    order: &Order,
    stage: Stage,
    observed: &Observed,
    remaining: &Remaining,
    desired: &Desired,
) -> Recovering {
    match stage {
        Stage::Stopping => stop(order, observed, remaining),
        Stage::Beginning => begin(order, observed, desired),
    }
}

fn stop(order: &Order, observed: &Observed, remaining: &Remaining) -> Recovering {
    if observed.running.count > 0 {
        return Recovering::Next(RecoveryStep::StopAll);
    }
    // What became of those on a machine that is gone nobody can tell; whoever approved knew that they were silent. The
    // one to go on with must be free.
    let is_awaited = |at: &&Ordinal| **at == order.ordinal() || !remaining.vanished.contains(at);
    let ordinals: BTreeSet<Ordinal> = remaining.pods.iter().filter(is_awaited).copied().collect();
    if ordinals.is_empty() {
        Recovering::Next(RecoveryStep::RecordStopped)
    } else {
        Recovering::Waiting(RecoveryPending::Stopping { ordinals })
    }
}

fn begin(order: &Order, observed: &Observed, desired: &Desired) -> Recovering {
    let count = order.to_run(desired);
    if observed.running.count < count {
        let generation = observed.running.generation;
        return Recovering::Next(RecoveryStep::Run { count, generation });
    }
    if let Begins::With { lineage, .. } = order.begins {
        // The one that goes on comes last: before it does, nobody is left who could go on as before.
        let left_behind = left_behind(observed, Cluster { id: order.cluster, lineage });
        let is_other = |(at, _): &&(Ordinal, Cluster)| *at != order.ordinal();
        if let Some((ordinal, found)) = left_behind.iter().find(is_other).or(left_behind.first()).copied() {
            return Recovering::Next(RecoveryStep::Restart { ordinal, found });
        }
    }
    if let View::Leader(leader) = &observed.view {
        let cluster = leader.membership.cluster;
        let roll_call = RollCall::new(leader, &observed.nodes);
        let is_led = Quorum::weakest(&leader.membership.voters, &roll_call.heard()).holds() && leader.committed;
        if is_led && order.is_fulfilled_by(cluster) {
            return Recovering::Next(RecoveryStep::RecordBegun { cluster });
        }
    }
    Recovering::Waiting(RecoveryPending::Beginning { ordinal: order.ordinal() })
}

/// Nodes that run on what earlier lineages of this cluster have left. Their history is over.
pub fn left_behind(observed: &Observed, cluster: Cluster) -> Vec<(Ordinal, Cluster)> {
    let found = observed.nodes.iter().filter_map(|(at, node)| match node {
        Node::Joined { cluster: found, .. } if found.id == cluster.id && found.lineage < cluster.lineage => {
            Some((*at, *found))
        }
        Node::Unknown | Node::Pristine { .. } | Node::Joined { .. } => None,
    });
    found.collect()
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proposal::GoOn { ordinal, survivor, lineage } => write!(
                f,
                "go on as lineage {lineage} with the volume of ordinal {ordinal} (incarnation {}), whose log ends with entry {}",
                survivor.incarnation, survivor.last
            ),
            Proposal::Restore { ordinal, seed } => {
                write!(f, "make a new cluster of the backup on the volume of ordinal {ordinal} (incarnation {seed})")
            }
        }
    }
}

impl fmt::Display for NotProposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotProposed::NotNeeded => f.write_str("the members can decide for themselves: there is nothing to recover"),
            NotProposed::Unclear(plan) => write!(f, "it is not clear yet whether anything is lost: {plan}"),
            NotProposed::OtherProblem(problem) => write!(f, "a recovery would not mend this: {problem}"),
            NotProposed::NothingLeft { silent } if silent.is_empty() => {
                f.write_str("no volume is left: ask for another recovery that names a backup")
            }
            NotProposed::NothingLeft { silent } => {
                write!(f, "no volume that answers holds anything, and ordinals {} do not answer", list(silent))
            }
            NotProposed::VolumesLeft { ordinals } => {
                write!(f, "volumes are left (ordinals {}), which may have more than a backup", list(ordinals))
            }
        }
    }
}

impl fmt::Display for Recovering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recovering::Next(step) => step.fmt(f),
            Recovering::Waiting(pending) => write!(f, "waiting: {pending}"),
        }
    }
}

impl fmt::Display for RecoveryStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryStep::StopAll => {
                f.write_str("stop every node, because none may go on as it was beside what was approved")
            }
            RecoveryStep::RecordStopped => f.write_str("record that no node runs, because all have stopped"),
            RecoveryStep::Run { count: 1, .. } => f.write_str("run ordinal 0 alone, because it begins as was approved"),
            RecoveryStep::Run { count, .. } => {
                write!(f, "run ordinals 0 to {}, because they begin as was approved", count.saturating_sub(1))
            }
            RecoveryStep::Restart { ordinal, found } => write!(
                f,
                "restart ordinal {ordinal}, because it runs on what lineage {} has left, whose history is over",
                found.lineage
            ),
            RecoveryStep::RecordBegun { cluster } => {
                write!(f, "record that the cluster goes on as lineage {}, because it is led", cluster.lineage)
            }
        }
    }
}

impl fmt::Display for RecoveryPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryPending::Stopping { ordinals } => write!(f, "not stopped yet: {}", list(ordinals)),
            RecoveryPending::Beginning { ordinal } => {
                write!(f, "ordinal {ordinal} is to begin with what was approved, and does not lead yet")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Founding, LeaderView, Membership, Progress, Replicas, Running, Voters};

    const OLD: Cluster = Cluster { id: ClusterId(7), lineage: 0 };
    const NEW: Cluster = Cluster { id: ClusterId(7), lineage: 1 };
    const THREE: Desired = Desired { replicas: Replicas::Three };

    fn survivor(number: u64, term: u64, index: u64) -> Survivor {
        let incarnation = Incarnation(number.into());
        Survivor { incarnation, cluster: OLD, node_id: NodeId(number), last: LogId { term, index } }
    }

    fn survey(survivors: &[(u32, Survivor)]) -> Survey {
        Survey { survivors: survivors.iter().map(|(at, it)| (Ordinal(*at), *it)).collect(), ..Survey::default() }
    }

    fn quorum_lost() -> Plan {
        let quorum = Quorum { voters: 3, healthy: 1 };
        Plan::Stuck(Problem::QuorumLost { quorum, silent: [Ordinal(0)].into(), lost: [Ordinal(1)].into() })
    }

    fn order() -> Order {
        let survivor = survivor(3, 4, 90);
        let Survivor { incarnation, last, .. } = survivor;
        Order { cluster: OLD.id, begins: Begins::With { ordinal: Ordinal(2), incarnation, last, lineage: 1 } }
    }

    fn joined(number: u64, cluster: Cluster) -> Node {
        Node::Joined { incarnation: Incarnation(number.into()), cluster, node_id: NodeId(number) }
    }

    fn observed(count: u32, nodes: &[(u32, Node)], view: View) -> Observed {
        Observed {
            founding: Founding::Done { cluster: OLD.id },
            running: Running { count, generation: 4 },
            nodes: nodes.iter().map(|(at, node)| (Ordinal(*at), *node)).collect(),
            view,
        }
    }

    fn led(cluster: Cluster, since_ack_ms: u64) -> View {
        let (leader, at) = (NodeId(30), Ordinal(2));
        View::Leader(LeaderView {
            leader,
            term: 5,
            membership: Membership {
                cluster,
                log_id: LogId { term: 5, index: 91 },
                ordinals: [(leader, at)].into(),
                voters: Voters::Uniform([leader].into()),
            },
            committed: true,
            last_log_index: 91,
            progress: [(leader, Progress { matched_index: 91, since_ack_ms: Some(since_ack_ms) })].into(),
            removed: [].into(),
            formed: true,
        })
    }

    fn everybody(ordinals: &[u32]) -> Remaining {
        Remaining { pods: ordinals.iter().copied().map(Ordinal).collect(), vanished: BTreeSet::new() }
    }

    #[test]
    fn the_one_with_the_greatest_last_term_then_index_is_gone_on_with() {
        let of = |survivors: &[(u32, Survivor)]| survey(survivors).best().map(|(at, _)| at.0);
        assert_eq!(of(&[(0, survivor(1, 3, 100)), (1, survivor(2, 4, 90)), (2, survivor(3, 4, 89))]), Some(1));
        assert_eq!(of(&[(1, survivor(2, 4, 90)), (2, survivor(3, 4, 90))]), Some(1), "of equals the first");
        let newer = Survivor { cluster: NEW, ..survivor(9, 1, 2) };
        assert_eq!(of(&[(0, survivor(1, 3, 100)), (1, newer)]), Some(1), "an earlier lineage is over");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn nothing_is_proposed_while_the_members_may_decide_for_themselves() {
        let left = survey(&[(2, survivor(3, 4, 90))]);
        assert_eq!(propose(&Plan::Settled, &left, 0, false), Err(NotProposed::NotNeeded));
        let quorum = Quorum { voters: 3, healthy: 2 };
        let electing = Plan::Waiting(Pending::NoLeader { quorum });
        assert!(matches!(propose(&electing, &left, 0, false), Err(NotProposed::Unclear(_))));
        let mixed = Problem::ForeignVolume { ordinal: Ordinal(0), found: OLD, expected: ClusterId(8) };
        assert!(matches!(propose(&Plan::Stuck(mixed), &left, 0, false), Err(NotProposed::OtherProblem(_))));
        let proposal = propose(&quorum_lost(), &left, 0, false).expect("a majority is lost");
        assert_eq!(proposal, Proposal::GoOn { ordinal: Ordinal(2), survivor: survivor(3, 4, 90), lineage: 1 });
    }

    #[test]
    fn a_lineage_is_never_used_twice() {
        let left = survey(&[(2, survivor(3, 4, 90))]);
        let proposal = propose(&quorum_lost(), &left, 6, false).expect("a majority is lost");
        assert!(matches!(proposal, Proposal::GoOn { lineage: 7, .. }), "{proposal}");
    }

    #[test]
    fn a_backup_is_for_when_no_volume_is_left() {
        let lost = Plan::Stuck(Problem::EveryVolumeLost { cluster: OLD.id });
        let mut nothing = Survey { empty: [(Ordinal(0), Incarnation(5))].into(), ..Survey::default() };
        assert!(propose(&lost, &nothing, 0, false).is_err_and(|why| why.is_final()));
        let proposal = propose(&lost, &nothing, 0, true);
        assert_eq!(proposal, Ok(Proposal::Restore { ordinal: Ordinal(0), seed: Incarnation(5) }));
        nothing.silent.insert(Ordinal(1));
        assert!(propose(&lost, &nothing, 0, true).is_err_and(|why| !why.is_final()), "it may hold everything");
        let left = survey(&[(2, survivor(3, 4, 90))]);
        assert!(propose(&quorum_lost(), &left, 0, true).is_err_and(|why| why.is_final()));
    }

    #[test]
    fn everybody_stops_before_anybody_begins() {
        let running = observed(3, &[(2, joined(3, OLD))], View::Unknown);
        let next =
            |observed: &Observed, stage, remaining: &Remaining| carry_out(&order(), stage, observed, remaining, &THREE);
        let all = everybody(&[0, 1, 2]);
        assert_eq!(next(&running, Stage::Stopping, &all), Recovering::Next(RecoveryStep::StopAll));
        let stopped = observed(0, &[], View::Unknown);
        assert!(matches!(next(&stopped, Stage::Stopping, &all), Recovering::Waiting(_)));
        let none = Remaining::default();
        assert_eq!(next(&stopped, Stage::Stopping, &none), Recovering::Next(RecoveryStep::RecordStopped));
        let vanished = Remaining { vanished: [Ordinal(0)].into(), ..everybody(&[0]) };
        assert_eq!(next(&stopped, Stage::Stopping, &vanished), Recovering::Next(RecoveryStep::RecordStopped));
        let needed = Remaining { vanished: [Ordinal(2)].into(), ..everybody(&[2]) };
        assert!(matches!(next(&stopped, Stage::Stopping, &needed), Recovering::Waiting(_)), "it must be free");
        let run = Recovering::Next(RecoveryStep::Run { count: 3, generation: 4 });
        assert_eq!(next(&stopped, Stage::Beginning, &none), run);
    }

    #[test]
    fn it_has_begun_once_the_new_lineage_is_led_and_nothing_of_the_old_one_runs() {
        let next = |nodes: &[(u32, Node)], view| {
            carry_out(&order(), Stage::Beginning, &observed(3, nodes, view), &Remaining::default(), &THREE)
        };
        let old = [(1, joined(2, OLD)), (2, joined(30, NEW))];
        let restart = RecoveryStep::Restart { ordinal: Ordinal(1), found: OLD };
        assert_eq!(next(&old, led(NEW, 0)), Recovering::Next(restart));
        let all_old = [(2, joined(3, OLD)), (1, joined(2, OLD))];
        assert_eq!(
            next(&all_old, View::Unknown),
            Recovering::Next(RecoveryStep::Restart { ordinal: Ordinal(1), found: OLD })
        );
        let begun = [(2, joined(30, NEW))];
        let record = Recovering::Next(RecoveryStep::RecordBegun { cluster: NEW });
        assert_eq!(next(&begun, led(NEW, 0)), record);
        assert!(matches!(next(&begun, View::Unknown), Recovering::Waiting(_)));
        let stranger = Cluster { lineage: 2, ..NEW };
        assert!(matches!(next(&[(2, joined(30, stranger))], led(stranger, 0)), Recovering::Waiting(_)));
    }

    #[test]
    fn a_backup_begins_on_one_node_alone() {
        let begins = Begins::FromBackup { ordinal: Ordinal(0), seed: Incarnation(5) };
        let order = Order { cluster: ClusterId(8), begins };
        let stopped = observed(0, &[], View::Unknown);
        let next = carry_out(&order, Stage::Beginning, &stopped, &Remaining::default(), &THREE);
        assert_eq!(next, Recovering::Next(RecoveryStep::Run { count: 1, generation: 4 }));
        let restored = Cluster { id: ClusterId(8), lineage: 5 };
        let restored_one = observed(1, &[(2, joined(30, restored))], led(restored, 0));
        let next = carry_out(&order, Stage::Beginning, &restored_one, &Remaining::default(), &THREE);
        assert_eq!(next, Recovering::Next(RecoveryStep::RecordBegun { cluster: restored }));
    }
}
