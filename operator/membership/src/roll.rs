//! Restarting what runs on an old template: one safe restart at a time, and the leader last.
//!
//! [`roll`] is asked once [`plan`](crate::plan) has no step of its own. Whatever takes no part in the cluster may be
//! restarted at once, because that costs nothing and may be what mends it; whatever takes part is restarted only while
//! everyone else is well. Who runs the wanted template already is never restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::guards::{Denied, Guard, Quorum};
use crate::identity::{NodeId, Ordinal};
use crate::observed::{LeaderView, Node, Observed, View, Voters};
use crate::roll_call::RollCall;
use crate::wording::list;

/// Names one run of a node at an ordinal: what comes after it has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId(pub u128);

/// What runs a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub id: PodId,
    /// It was made from an older template than the one that is wanted.
    pub is_outdated: bool,
    /// Its process runs, whether or not it answers.
    pub is_running: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fleet {
    pub pods: BTreeMap<Ordinal, Pod>,
    /// Who was stopped by us and is not known to be back. Recorded before the stop.
    pub away: BTreeSet<Ordinal>,
    /// How many may be away at once.
    pub at_once: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Roll {
    /// Every node runs on the wanted template.
    Done,
    Restart {
        ordinal: Ordinal,
        pod: PodId,
        because: RestartReason,
    },
    /// `TransferLeadership`, so that the last one can be restarted as a follower.
    HandOver {
        from: NodeId,
        to: NodeId,
    },
    Waiting(RollPending),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartReason {
    /// Nothing is lost by it.
    TakesNoPart,
    /// A follower; the guard holds with this many healthy of the voters without it.
    Outdated { without: Quorum },
    /// The only voter there is.
    Alone,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RollPending {
    /// These were restarted and must be back first.
    Away { ordinals: BTreeSet<Ordinal> },
    /// Somebody is unwell whom we did not restart.
    Unwell { outdated: BTreeSet<Ordinal> },
    /// The first to run the new template must be back before another is tried.
    Denied { ordinal: Ordinal, denied: Denied },
    /// The leader is outdated and nobody on the wanted template could lead.
    NoSuccessor { leader: NodeId },
    /// The first to run the new template is well, and has to be so for a while. Said by who has a clock.
    Proving { seconds: u32 },
}

/// The next restart, decided on one observation.
pub fn roll(observed: &Observed, fleet: &Fleet) -> Roll {
    let outdated: BTreeMap<Ordinal, Pod> =
        fleet.pods.iter().filter(|(_, pod)| pod.is_outdated).map(|(at, pod)| (*at, *pod)).collect();
    if outdated.is_empty() {
        return Roll::Done;
    }
    let led = Led::of(observed);
    let idle = outdated.iter().find(|(at, pod)| !pod.is_running || led.as_ref().is_some_and(|led| led.is_idle(**at)));
    if let Some((ordinal, pod)) = idle {
        return Roll::Restart { ordinal: *ordinal, pod: pod.id, because: RestartReason::TakesNoPart };
    }
    match led {
        Some(led) => led.restart(fleet, &outdated),
        None => Roll::Waiting(RollPending::Unwell { outdated: outdated.into_keys().collect() }),
    }
}

/// A cluster whose leader has lately been answered by a majority.
struct Led<'a> {
    roll_call: RollCall<'a>,
    leader: &'a LeaderView,
    observed: &'a Observed,
    /// None while a change is under way.
    voters: Option<&'a BTreeSet<NodeId>>,
}

impl<'a> Led<'a> {
    fn of(observed: &'a Observed) -> Option<Self> {
        let View::Leader(leader) = &observed.view else { return None };
        let roll_call = RollCall::new(leader, &observed.nodes);
        if !Quorum::weakest(&leader.membership.voters, &roll_call.heard()).holds() {
            return None;
        }
        let voters = match &leader.membership.voters {
            Voters::Uniform(voters) if leader.committed => Some(voters),
            Voters::Uniform(_) | Voters::Joint { .. } => None,
        };
        Some(Self { roll_call, leader, observed, voters })
    }

    /// The leader does not hear it, nor do we: by nobody's account does it take part.
    fn is_idle(&self, at: Ordinal) -> bool {
        let answers = !matches!(self.observed.nodes.get(&at), None | Some(Node::Unknown));
        !answers && self.member(at).is_none_or(|id| !self.roll_call.heard().contains(&id))
    }

    fn member(&self, at: Ordinal) -> Option<NodeId> {
        let members = &self.leader.membership.ordinals;
        members.iter().find(|(id, ordinal)| **ordinal == at && !self.roll_call.lost(**id)).map(|(id, _)| *id)
    }

    /// A follower, the one farthest behind first; the leader once nobody else is left.
    fn restart(&self, fleet: &Fleet, outdated: &BTreeMap<Ordinal, Pod>) -> Roll {
        let ordinals = || outdated.keys().copied().collect();
        let Some(voters) = self.voters else { return Roll::Waiting(RollPending::Unwell { outdated: ordinals() }) };
        let healthy = self.roll_call.healthy();
        let members = &self.leader.membership.ordinals;
        let unwell: BTreeSet<Ordinal> =
            members.iter().filter(|(id, _)| !healthy.contains(id)).map(|(_, at)| *at).collect();
        if !unwell.is_subset(&fleet.away) {
            return Roll::Waiting(RollPending::Unwell { outdated: ordinals() });
        }
        let proven = fleet.pods.iter().any(|(at, pod)| {
            !pod.is_outdated && !fleet.away.contains(at) && self.member(*at).is_some_and(|id| healthy.contains(&id))
        });
        // Came back from a restart on a template that is not wanted any more, and is not well: it waits for nothing.
        let is_stranded =
            |at: &Ordinal| fleet.away.contains(at) && self.member(*at).is_none_or(|id| !healthy.contains(&id));
        if let Some((at, pod)) = outdated.iter().find(|(at, _)| is_stranded(at)) {
            return self.stop(*at, *pod, voters, &healthy, fleet);
        }
        let at_once = if proven { fleet.at_once.max(1) } else { 1 };
        if fleet.away.len() >= at_once as usize {
            return Roll::Waiting(RollPending::Away { ordinals: fleet.away.clone() });
        }
        let leads = members.get(&self.leader.leader).copied();
        let follower = outdated
            .iter()
            .filter(|(at, _)| Some(**at) != leads && !fleet.away.contains(at))
            .max_by_key(|(at, _)| (self.member(**at).map(|id| self.roll_call.entries_behind(id)), **at));
        match (follower, leads.and_then(|at| Some((at, outdated.get(&at)?)))) {
            (Some((at, pod)), _) => self.stop(*at, *pod, voters, &healthy, fleet),
            (None, Some((at, pod))) if voters.len() == 1 => {
                Roll::Restart { ordinal: at, pod: pod.id, because: RestartReason::Alone }
            }
            (None, Some(_)) => self.hand_over(voters, &healthy, fleet),
            (None, None) => Roll::Waiting(RollPending::Away { ordinals: fleet.away.clone() }),
        }
    }

    /// Guard G3.
    fn stop(
        &self,
        ordinal: Ordinal,
        pod: Pod,
        voters: &BTreeSet<NodeId>,
        healthy: &BTreeSet<NodeId>,
        fleet: &Fleet,
    ) -> Roll {
        let goes = |id: &NodeId| {
            let at = self.leader.membership.ordinals.get(id);
            at.is_some_and(|at| *at == ordinal || fleet.away.contains(at))
        };
        let stay = healthy.iter().copied().filter(|id| !goes(id)).collect();
        let without = Quorum::of(voters, &stay);
        if without.holds() {
            return Roll::Restart { ordinal, pod: pod.id, because: RestartReason::Outdated { without } };
        }
        let denied = Denied { guard: Guard::Disrupt, quorum: without, wants: without.needed() };
        Roll::Waiting(RollPending::Denied { ordinal, denied })
    }

    /// To the most caught-up voter that runs the wanted template; of equals, the lowest ordinal.
    fn hand_over(&self, voters: &BTreeSet<NodeId>, healthy: &BTreeSet<NodeId>, fleet: &Fleet) -> Roll {
        let from = self.leader.leader;
        let is_current = |id: &NodeId| {
            let at = self.leader.membership.ordinals.get(id);
            at.is_some_and(|at| fleet.pods.get(at).is_some_and(|pod| !pod.is_outdated) && !fleet.away.contains(at))
        };
        let successor = voters
            .intersection(healthy)
            .filter(|id| **id != from && is_current(id))
            .min_by_key(|id| (self.roll_call.entries_behind(**id), self.leader.membership.ordinals.get(id)));
        match successor {
            Some(to) => Roll::HandOver { from, to: *to },
            None => Roll::Waiting(RollPending::NoSuccessor { leader: from }),
        }
    }
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Roll::Done => f.write_str("every node runs the wanted template"),
            Roll::Restart { ordinal, because, .. } => write!(f, "restart ordinal {ordinal}, because {because}"),
            Roll::HandOver { from, to } => write!(
                f,
                "hand leadership to node {to}, because node {from} leads and is the last to run an old template"
            ),
            Roll::Waiting(pending) => write!(f, "waiting: {pending}"),
        }
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartReason::TakesNoPart => f.write_str("it runs an old template and takes no part in the cluster"),
            RestartReason::Outdated { without } => write!(f, "it runs an old template; without it {without}"),
            RestartReason::Alone => f.write_str("it runs an old template; there is no other, so the service pauses"),
        }
    }
}

impl fmt::Display for RollPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RollPending::Away { ordinals } => {
                write!(f, "restarted and not back yet: {}", list(ordinals))
            }
            RollPending::Unwell { outdated } => {
                write!(f, "an old template runs on {}, and not everyone else is well", list(outdated))
            }
            RollPending::Denied { ordinal, denied } => write!(f, "cannot restart ordinal {ordinal}: {denied}"),
            RollPending::NoSuccessor { leader } => {
                write!(f, "node {leader} leads on an old template, and nobody on the wanted one could lead")
            }
            RollPending::Proving { seconds } => {
                write!(f, "the first node on the new template has to be well for {seconds} s before another is stopped")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cluster, ClusterId, Founding, Incarnation, LogId, Membership, Progress, Running};

    const CLUSTER: Cluster = Cluster { id: ClusterId(7), lineage: 0 };

    /// Voters 1, 2, 3 ... at ordinals 0, 1, 2 ...; node 1 leads; everyone is well and outdated.
    fn all_outdated(count: u32) -> (Observed, Fleet) {
        let ids: Vec<NodeId> = (1..=u64::from(count)).map(NodeId).collect();
        let at = |id: NodeId| Ordinal(u32::try_from(id.0).expect("small") - 1);
        let node = |id: NodeId| Node::Joined { incarnation: Incarnation(id.0.into()), cluster: CLUSTER, node_id: id };
        let observed = Observed {
            founding: Founding::Done { cluster: CLUSTER.id },
            running: Running { count, generation: 1 },
            nodes: ids.iter().map(|id| (at(*id), node(*id))).collect(),
            view: View::Leader(LeaderView {
                leader: NodeId(1),
                term: 1,
                membership: Membership {
                    cluster: CLUSTER,
                    log_id: LogId { term: 1, index: 1 },
                    ordinals: ids.iter().map(|id| (*id, at(*id))).collect(),
                    voters: Voters::Uniform(ids.iter().copied().collect()),
                },
                committed: true,
                last_log_index: 100,
                progress: ids.iter().map(|id| (*id, Progress { matched_index: 100, since_ack_ms: Some(10) })).collect(),
                removed: BTreeSet::new(),
                formed: true,
            }),
        };
        let pod = |at: u32| Pod { id: PodId(at.into()), is_outdated: true, is_running: true };
        let pods = (0..count).map(|at| (Ordinal(at), pod(at))).collect();
        (observed, Fleet { pods, away: BTreeSet::new(), at_once: 1 })
    }

    fn silence(observed: &mut Observed, at: u32) {
        observed.nodes.insert(Ordinal(at), Node::Unknown);
        let View::Leader(leader) = &mut observed.view else { panic!("there is a leader") };
        leader.progress.insert(NodeId(u64::from(at) + 1), Progress { matched_index: 0, since_ack_ms: None });
    }

    fn renew(fleet: &mut Fleet, at: u32) {
        let pod = Pod { id: PodId(100 + u128::from(at)), is_outdated: false, is_running: true };
        fleet.pods.insert(Ordinal(at), pod);
    }

    #[test]
    fn followers_go_first_one_by_one_and_the_leader_hands_over() {
        let (mut observed, mut fleet) = all_outdated(3);
        for at in [2, 1] {
            let Roll::Restart { ordinal, .. } = roll(&observed, &fleet) else { panic!("a follower is restarted") };
            assert_eq!(ordinal, Ordinal(at));
            renew(&mut fleet, at);
        }
        assert_eq!(roll(&observed, &fleet), Roll::HandOver { from: NodeId(1), to: NodeId(2) });
        let View::Leader(leader) = &mut observed.view else { panic!("there is a leader") };
        leader.leader = NodeId(2);
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(0), .. }));
        renew(&mut fleet, 0);
        assert_eq!(roll(&observed, &fleet), Roll::Done);
    }

    #[test]
    fn the_farthest_behind_goes_first() {
        let (mut observed, fleet) = all_outdated(3);
        let View::Leader(leader) = &mut observed.view else { panic!("there is a leader") };
        leader.progress.insert(NodeId(2), Progress { matched_index: 90, since_ack_ms: Some(10) });
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(1), .. }));
    }

    #[test]
    fn nobody_is_restarted_while_another_is_unwell_but_the_dead_and_outdated_one() {
        let (mut observed, mut fleet) = all_outdated(3);
        silence(&mut observed, 2);
        assert!(matches!(
            roll(&observed, &fleet),
            Roll::Restart { ordinal: Ordinal(2), because: RestartReason::TakesNoPart, .. }
        ));
        renew(&mut fleet, 2);
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(RollPending::Unwell { .. })));
        fleet.away.insert(Ordinal(2));
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(RollPending::Away { .. })));
    }

    #[test]
    fn without_a_leader_only_what_does_not_even_run_is_restarted() {
        let (mut observed, mut fleet) = all_outdated(3);
        observed.view = View::Unknown;
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(RollPending::Unwell { .. })));
        fleet.pods.get_mut(&Ordinal(1)).expect("it is there").is_running = false;
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(1), .. }));
    }

    #[test]
    fn two_at_once_only_after_the_first_has_proven_the_template_and_never_past_a_majority() {
        let (mut observed, mut fleet) = all_outdated(5);
        fleet.at_once = 2;
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(4), .. }));
        fleet.away.insert(Ordinal(4));
        silence(&mut observed, 4);
        renew(&mut fleet, 4);
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(RollPending::Away { .. })), "one at first");
        let (observed_well, _) = all_outdated(5);
        observed = observed_well;
        fleet.away.clear();
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(3), .. }));
        fleet.away.insert(Ordinal(3));
        assert!(matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(2), .. }));
        let (observed, mut three) = all_outdated(3);
        three.at_once = 2;
        renew(&mut three, 2);
        three.away.insert(Ordinal(1));
        assert!(matches!(roll(&observed, &three), Roll::HandOver { .. } | Roll::Waiting(_)), "one of three is away");
    }

    #[test]
    fn one_that_came_back_on_a_template_nobody_wants_any_more_is_restarted() {
        let (mut observed, mut fleet) = all_outdated(3);
        renew(&mut fleet, 0);
        renew(&mut fleet, 1);
        fleet.away.insert(Ordinal(2));
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(RollPending::Away { .. })), "it is well");
        let View::Leader(leader) = &mut observed.view else { panic!("there is a leader") };
        leader.progress.insert(NodeId(3), Progress { matched_index: 0, since_ack_ms: None });
        assert!(
            matches!(roll(&observed, &fleet), Roll::Restart { ordinal: Ordinal(2), .. }),
            "it answers, and no more"
        );
        silence(&mut observed, 1);
        assert!(matches!(roll(&observed, &fleet), Roll::Waiting(_)), "not while another is unwell");
    }

    #[test]
    fn a_single_node_is_restarted_all_the_same() {
        let (observed, fleet) = all_outdated(1);
        let Roll::Restart { because, .. } = roll(&observed, &fleet) else { panic!("it is restarted") };
        assert_eq!(because, RestartReason::Alone);
    }
}
