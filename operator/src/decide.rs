//! What to do next, decided on one look: first what the planner says of members, then what may be restarted, then which
//! volume is lost. Pure: the performer is elsewhere.

use std::collections::BTreeSet;

use carrel_membership::{
    Desired, Fleet, Founding, NodeId, Observed, Ordinal, Pending, Plan, Problem, Quorum, Recovering, RecoveryStep,
    Replicas, RestartReason, Roll, RollCall, RollPending, Step, View, Voters, carry_out, left_behind, plan, roll,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::crd::{CarrelClusterSpec, CarrelClusterStatus, ReplacementPolicy, Stopped};
use crate::observe::Look;
use crate::recovering::Recorded;

/// A pass ends within a minute, so a stop that was recorded longer ago and has not happened will not happen.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_secs(120);
const HOUR: SignedDuration = SignedDuration::from_secs(60 * 60);
/// A node that was restarted has read its orders by then.
const OBEYS_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Step(Step),
    Restart {
        ordinal: Ordinal,
    },
    HandOver {
        to: NodeId,
    },
    /// An empty volume for a voter that seems lost with the one it has.
    ReplaceVolume {
        ordinal: Ordinal,
    },
    /// Larger volumes: the claims first, then the set that made them.
    Grow,
    /// Stop every node.
    Hibernate,
    /// The image goes back to the last good one.
    GiveUpImage {
        image: String,
    },
    /// The number of replicas goes back to the voters there are.
    GiveUpSize {
        failed: i32,
        kept: i32,
    },
    /// What a person approved.
    Recover(RecoveryStep),
}

/// How the cluster stands, in the order of good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    Settled,
    /// Something is being done.
    Busy,
    /// Something must happen by itself.
    Waiting,
    /// Somebody must help.
    Stuck,
}

impl Outlook {
    /// As metrics and traces have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Busy => "busy",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    pub outlook: Outlook,
    /// One word for conditions, events and metrics.
    pub reason: &'static str,
    /// In full. Without numbers that move by themselves.
    pub why: String,
    /// The guards that were asked, with their numbers.
    pub guards: Vec<String>,
    /// What the planner said of members, for who reports on it.
    pub problem: Option<Problem>,
    /// No pod runs an older template than the one wanted.
    pub is_up_to_date: bool,
}

/// Everything a verdict follows from.
#[derive(Debug)]
pub struct Question<'a> {
    pub name: &'a str,
    pub spec: &'a CarrelClusterSpec,
    pub status: &'a CarrelClusterStatus,
    pub founding: Founding,
    pub recovery: &'a Recorded,
    pub look: &'a Look,
    pub now: Timestamp,
}

impl Question<'_> {
    /// # Errors
    /// If the object asks for what its own rules forbid.
    pub fn desired(&self) -> Result<Desired, carrel_membership::NotReplicas> {
        let wanted = self.spec.replicas;
        let kept = self.status.size.as_ref().filter(|size| size.failed == wanted).map(|size| size.kept);
        let count = u32::try_from(kept.unwrap_or(wanted)).unwrap_or(0);
        Ok(Desired { replicas: Replicas::try_from(count)? })
    }

    /// Stops that were recorded and are over: the pod is another one and its node takes part again, or nothing was
    /// stopped and nobody is about to.
    #[must_use]
    pub fn over(&self) -> BTreeSet<Ordinal> {
        let observed = self.look.observed(self.founding);
        let is_over = |stopped: &&Stopped| {
            let at = Ordinal(stopped.ordinal);
            if stopped.ordinal >= observed.running.count {
                return true;
            }
            match self.look.pods.get(&at) {
                Some(pod) if pod.uid == stopped.pod_uid => {
                    !pod.is_terminating && self.now.duration_since(stopped.started_at.0) > ABANDONED_AFTER
                }
                // The Service gives clients to it again only when it is ready.
                Some(pod) => pod.is_ready && is_well(&observed, at),
                None => false,
            }
        };
        self.status.disruption.iter().filter(is_over).map(|stopped| Ordinal(stopped.ordinal)).collect()
    }

    /// # Errors
    /// As [`Question::desired`].
    pub fn answer(&self) -> Result<Verdict, carrel_membership::NotReplicas> {
        let desired = self.desired()?;
        let observed = self.look.observed(self.founding);
        if self.spec.operation.paused {
            return Ok(Verdict::new(Action::Nothing, Outlook::Waiting, "Paused", "paused: looked at and left alone"));
        }
        if let Some(verdict) = self.recover(&observed, &desired) {
            return Ok(verdict);
        }
        if self.spec.operation.hibernated {
            return Ok(self.hibernate(&observed));
        }
        let planned = plan(&observed, &desired);
        let mut verdict = match planned {
            Plan::Next { step, because } => {
                let why = format!("{step}, because {because}");
                Verdict::new(Action::Step(step.clone()), Outlook::Busy, step_word(&step), why)
            }
            planned => self.keep_up(&observed, planned),
        };
        verdict.guards.splice(0..0, quorum_words(&observed));
        Ok(verdict)
    }

    /// What was approved comes before everything else, and what is of a history that is over never takes part again.
    fn recover(&self, observed: &Observed, desired: &Desired) -> Option<Verdict> {
        let recovering = match self.recovery {
            Recorded::Never => return None,
            Recorded::UnderWay { order, stage } => {
                carry_out(order, *stage, observed, &self.look.remaining(self.now), desired)
            }
            Recorded::Begun { cluster } => {
                let (ordinal, found) = left_behind(observed, *cluster).first().copied()?;
                Recovering::Next(RecoveryStep::Restart { ordinal, found })
            }
        };
        let why = recovering.to_string();
        Some(match recovering {
            Recovering::Next(RecoveryStep::Restart { ordinal, .. }) if self.was_restarted_lately(ordinal) => {
                Verdict::new(Action::Nothing, Outlook::Waiting, "Recovering", format!("waiting: {why}"))
            }
            Recovering::Next(step) => Verdict::new(Action::Recover(step), Outlook::Busy, "Recovering", why),
            Recovering::Waiting(_) => {
                let hints: String = self.look.pods.keys().filter_map(|at| self.hint_for_pod(*at)).collect();
                Verdict::new(Action::Nothing, Outlook::Waiting, "Recovering", format!("{why}{hints}"))
            }
        })
    }

    fn was_restarted_lately(&self, at: Ordinal) -> bool {
        let pod = self.look.pods.get(&at);
        let is_going = pod.is_none_or(|pod| pod.is_terminating);
        is_going
            || self.status.disruption.iter().any(|stopped| {
                stopped.ordinal == at.0
                    && pod.is_some_and(|pod| pod.uid != stopped.pod_uid)
                    && self.now.duration_since(stopped.started_at.0) < OBEYS_WITHIN
            })
    }

    fn hibernate(&self, observed: &Observed) -> Verdict {
        if observed.running.count > 0 {
            return Verdict::new(Action::Hibernate, Outlook::Busy, "Hibernating", "stop every node, as asked for");
        }
        Verdict::new(
            Action::Nothing,
            Outlook::Settled,
            "Hibernated",
            "no node runs, as asked for; the volumes are kept",
        )
    }

    /// Members are as they should be, or cannot be changed now: what runs them may still need something.
    fn keep_up(&self, observed: &Observed, planned: Plan) -> Verdict {
        if let Plan::Stuck(problem) = &planned
            && !matches!(problem, Problem::QuorumLost { .. })
        {
            return self.stuck(problem);
        }
        if let Some(verdict) = self.give_up_image() {
            return verdict;
        }
        let rolling = self.roll(observed);
        let is_up_to_date = rolling.as_ref().is_some_and(|rolling| *rolling == Roll::Done);
        let busy = |action, word, rolling: &Roll| Verdict::new(action, Outlook::Busy, word, rolling.to_string());
        let next = match &rolling {
            Some(rolling @ Roll::Restart { ordinal, .. }) => {
                Some(busy(Action::Restart { ordinal: *ordinal }, "RollingOut", rolling))
            }
            Some(rolling @ Roll::HandOver { to, .. }) => {
                Some(busy(Action::HandOver { to: *to }, "HandingOver", rolling))
            }
            Some(Roll::Waiting(_) | Roll::Done) | None => None,
        };
        let next = next
            .or_else(|| self.replace_volume(observed))
            .or_else(|| self.grow(&planned))
            .or_else(|| self.give_up_size(observed, &planned));
        let mut verdict = next.unwrap_or_else(|| self.idle(planned, rolling.as_ref()));
        verdict.is_up_to_date = is_up_to_date;
        verdict
    }

    fn idle(&self, planned: Plan, rolling: Option<&Roll>) -> Verdict {
        match planned {
            Plan::Stuck(problem) => self.stuck(&problem),
            Plan::Waiting(pending) => {
                let why = self.words(&pending);
                let mut verdict = Verdict::new(Action::Nothing, Outlook::Waiting, pending_word(&pending), why);
                if let Pending::Denied { denied, .. } = &pending {
                    verdict.guards.push(format!("denied: {denied}"));
                }
                verdict
            }
            Plan::Next { step, because } => unreachable!("a step comes first: {step}, because {because}"),
            Plan::Settled => match rolling {
                Some(Roll::Waiting(pending)) => {
                    Verdict::new(Action::Nothing, Outlook::Waiting, "RollingOut", format!("waiting: {pending}"))
                }
                None => Verdict::new(
                    Action::Nothing,
                    Outlook::Waiting,
                    "RollingOut",
                    "waiting: the StatefulSet controller has not looked at the template yet",
                ),
                Some(_) if !self.status.disruption.is_empty() => Verdict::new(
                    Action::Nothing,
                    Outlook::Waiting,
                    "RollingOut",
                    "waiting: a node that was stopped is not known to be back",
                ),
                Some(_) => Verdict::new(Action::Nothing, Outlook::Settled, "Settled", "as wanted, and well"),
            },
        }
    }

    /// Recorded stops whose pod is still there: only these may be stopped until they are over.
    fn begun(&self) -> BTreeSet<Ordinal> {
        let is_begun = |stopped: &&Stopped| {
            let pod = self.look.pods.get(&Ordinal(stopped.ordinal));
            pod.is_some_and(|pod| pod.uid == stopped.pod_uid && !pod.is_terminating)
        };
        self.status.disruption.iter().filter(is_begun).map(|stopped| Ordinal(stopped.ordinal)).collect()
    }

    fn roll(&self, observed: &Observed) -> Option<Roll> {
        let begun = self.begun();
        let away = self.status.disruption.iter().map(|stopped| Ordinal(stopped.ordinal));
        let away = away.filter(|at| !begun.contains(at)).collect();
        let fleet = self.look.fleet(away, self.spec.disruption.max_concurrent)?;
        let rolling = roll(observed, &fleet);
        match &rolling {
            Roll::Restart { because: RestartReason::Outdated { .. }, .. } | Roll::HandOver { .. }
                if self.is_proving(&fleet) =>
            {
                Some(Roll::Waiting(RollPending::Proving { seconds: self.spec.disruption.proving_seconds }))
            }
            Roll::Restart { ordinal, .. } if !begun.is_empty() && !begun.contains(ordinal) => {
                // Another stop is on record: it is finished or abandoned first.
                Some(Roll::Waiting(RollPending::Away { ordinals: begun }))
            }
            _ => Some(rolling),
        }
    }

    /// A node runs the new template, and has not been seen to be well for long enough.
    fn is_proving(&self, fleet: &Fleet) -> bool {
        let patience = SignedDuration::from_secs(self.spec.disruption.proving_seconds.into());
        let revision = self.look.set.as_ref().and_then(|set| set.wanted_revision.as_ref());
        let since = self.status.rollout.as_ref().filter(|rollout| Some(&rollout.revision) == revision);
        let is_proven = since.is_some_and(|since| self.now.duration_since(since.proving_since.0) >= patience);
        fleet.pods.values().any(|pod| !pod.is_outdated) && !is_proven
    }

    /// A node runs the wanted template and is well, while others run an older one: it proves it to them.
    #[must_use]
    pub fn proves(&self) -> Option<&str> {
        let revision = self.look.set.as_ref()?.wanted_revision.as_deref()?;
        let fleet = self.look.fleet(BTreeSet::new(), 1)?;
        let observed = self.look.observed(self.founding);
        let is_outdated = fleet.pods.values().any(|pod| pod.is_outdated);
        let is_ready = |at: &Ordinal| self.look.pods.get(at).is_some_and(|pod| pod.is_ready);
        let proves = fleet.pods.iter().any(|(at, pod)| !pod.is_outdated && is_ready(at) && is_well(&observed, *at));
        (is_outdated && proves).then_some(revision)
    }

    /// Not all nodes of a larger cluster come up: the voters stay who they are, and who came for nothing goes again.
    fn give_up_size(&self, observed: &Observed, planned: &Plan) -> Option<Verdict> {
        let Plan::Waiting(pending @ Pending::Silent { ordinals, .. }) = planned else { return None };
        let View::Leader(leader) = &observed.view else { return None };
        let Voters::Uniform(voters) = &leader.membership.voters else { return None };
        let kept = i32::try_from(voters.len()).ok().filter(|kept| leader.formed && *kept < self.spec.replicas)?;
        let newcomer = ordinals.iter().find(|at| at.0 as usize >= voters.len())?;
        let decision = self.status.decision.as_ref().filter(|decision| decision.why == self.words(pending))?;
        let deadline = SignedDuration::from_secs(i64::from(self.spec.progress_deadline_seconds));
        if self.now.duration_since(decision.since.0) <= deadline {
            return None;
        }
        let failed = self.spec.replicas;
        let hint = self.hint_for_pod(*newcomer).unwrap_or_default();
        let why = format!("{failed} replicas are given up and {kept} stay: ordinal {newcomer} did not come up{hint}");
        Some(Verdict::new(Action::GiveUpSize { failed, kept }, Outlook::Busy, "ScalingFailed", why))
    }

    /// The first node to run a new image does not come up: everybody else stays on the last good one.
    fn give_up_image(&self) -> Option<Verdict> {
        let image = self.status.image.as_ref()?;
        let (good, wanted) = (image.good.as_ref()?, &self.spec.image);
        if good == wanted || image.failed.as_ref() == Some(wanted) {
            return None;
        }
        let revision = self.look.set.as_ref()?.wanted_revision.as_ref()?;
        let deadline = SignedDuration::from_secs(i64::from(self.spec.progress_deadline_seconds));
        let (at, trouble) = self.look.pods.iter().find_map(|(at, pod)| {
            if pod.revision.as_ref() != Some(revision) {
                return None;
            }
            let since =
                self.status.disruption.iter().find(|stopped| stopped.ordinal == at.0 && stopped.pod_uid != pod.uid);
            let is_late = since.is_some_and(|since| self.now.duration_since(since.started_at.0) > deadline);
            let trouble = match &pod.trouble {
                // One crash may be a start that came too early.
                Some(reason) if reason == "CrashLoopBackOff" && pod.crashes < self.spec.replacement.crash_loops => None,
                Some(reason) => Some(reason.clone()),
                None => None,
            };
            trouble.or_else(|| is_late.then(|| "it was not back in time".to_owned())).map(|trouble| (*at, trouble))
        })?;
        let why =
            format!("image {wanted} is given up and {good} stays: ordinal {at} does not come up with it ({trouble})");
        let action = Action::GiveUpImage { image: wanted.clone() };
        Some(Verdict::new(action, Outlook::Busy, "RolloutFailed", why))
    }

    /// Silence alone is not loss. Neither we nor the leader have heard of it for long, it crashes again and again, and
    /// the others are enough without it.
    fn replace_volume(&self, observed: &Observed) -> Option<Verdict> {
        let rules = &self.spec.replacement;
        let View::Leader(leader) = &observed.view else { return None };
        let Voters::Uniform(voters) = &leader.membership.voters else { return None };
        if rules.policy != ReplacementPolicy::Automatic || voters.len() == 1 || !leader.committed {
            return None;
        }
        let recent =
            self.status.replaced.iter().filter(|replaced| self.now.duration_since(replaced.at.0) < HOUR).count();
        if recent >= rules.max_per_hour as usize {
            return None;
        }
        let roll_call = RollCall::new(leader, &observed.nodes);
        let healthy = roll_call.healthy();
        let patience = SignedDuration::from_secs(i64::from(rules.unreachable_after_seconds));
        let (at, without) = voters.iter().filter(|id| !roll_call.heard().contains(id)).find_map(|id| {
            let at = *leader.membership.ordinals.get(id)?;
            let pod = self.look.pods.get(&at).filter(|pod| !pod.is_terminating)?;
            let member = self.status.members.iter().find(|member| member.ordinal == at.0)?;
            let silent_since = member.silent_since.as_ref()?;
            let is_given_up = self.now.duration_since(silent_since.0) > patience;
            let without = Quorum::of(voters, &healthy);
            let is_lost = is_given_up && !pod.is_running && pod.crashes >= rules.crash_loops;
            (is_lost && without.holds() && !roll_call.answers(*id)).then_some((at, without))
        })?;
        let why = format!(
            "give ordinal {at} an empty volume, because it crashes again and again and nobody has heard of it for long; {without}"
        );
        Some(Verdict::new(Action::ReplaceVolume { ordinal: at }, Outlook::Busy, "ReplacingVolume", why))
    }

    fn grow(&self, planned: &Plan) -> Option<Verdict> {
        let size = self.look.set.as_ref()?.volume_size.as_ref()?;
        let wanted = &self.spec.storage.size;
        if size == wanted || *planned != Plan::Settled || !self.status.disruption.is_empty() {
            return None;
        }
        let why = format!("let every volume grow from {size} to {wanted}");
        Some(Verdict::new(Action::Grow, Outlook::Busy, "GrowingVolumes", why))
    }

    fn stuck(&self, problem: &Problem) -> Verdict {
        let why = match self.hint(problem) {
            Some(hint) => format!("{problem}. {hint}"),
            None => problem.to_string(),
        };
        let mut verdict = Verdict::new(Action::Nothing, Outlook::Stuck, problem_word(problem), why);
        verdict.problem = Some(problem.clone());
        verdict
    }

    /// Without the number of entries, which moves while it is being read.
    fn words(&self, pending: &Pending) -> String {
        match pending {
            Pending::CatchingUp { node_id, ordinal, entries_behind: _ } => {
                format!("waiting: node {node_id} (ordinal {ordinal}) is catching up")
            }
            Pending::Silent { ordinals, .. } => {
                let hints: String = ordinals.iter().filter_map(|at| self.hint_for_pod(*at)).collect();
                format!("waiting: {pending}{hints}")
            }
            pending => format!("waiting: {pending}"),
        }
    }

    /// Why Kubernetes does not bring it back by itself, and who can.
    fn hint_for_pod(&self, at: Ordinal) -> Option<String> {
        let name = self.name;
        let pod = self.look.pods.get(&at)?;
        let machine = pod.machine.as_deref().unwrap_or("?");
        if pod.is_vanished(self.now) {
            return Some(format!(
                ". Pod {name}-{at} was to stop long ago, and machine {machine} has not said that it did: if that is gone \
                 for good, kubectl delete node {machine}"
            ));
        }
        pod.is_unschedulable.then(|| {
            format!(
                ". No machine fits pod {name}-{at} (kubectl describe pod {name}-{at}): if its volume is on one that is gone \
                 for good, kubectl delete pvc data-{name}-{at} --wait=false && kubectl delete pod {name}-{at}"
            )
        })
    }

    /// The command that helps.
    fn hint(&self, problem: &Problem) -> Option<String> {
        let name = self.name;
        match problem {
            Problem::ForeignVolume { ordinal, .. } | Problem::OtherLineage { ordinal, .. } => Some(format!(
                "If its data is not needed: kubectl delete pvc data-{name}-{ordinal} --wait=false && \
                 kubectl delete pod {name}-{ordinal}"
            )),
            Problem::QuorumLost { silent, .. } => {
                let pods: String = silent.iter().filter_map(|at| self.hint_for_pod(*at)).collect();
                Some(format!(
                    "If they never return: a CarrelRecovery with spec.cluster {name} surveys what is left, and does \
                     nothing before somebody approves what it finds{pods}"
                ))
            }
            Problem::EveryVolumeLost { .. } | Problem::SeedLost { .. } | Problem::MembershipLost { .. } => {
                Some(format!("To go on with a backup: a CarrelRecovery with spec.cluster {name} and spec.backup"))
            }
            Problem::Misplaced { .. } | Problem::EvenVoters { .. } => None,
        }
    }
}

impl Verdict {
    fn new(action: Action, outlook: Outlook, reason: &'static str, why: impl Into<String>) -> Self {
        let is_up_to_date = false;
        Self { action, outlook, reason, why: why.into(), guards: Vec::new(), problem: None, is_up_to_date }
    }
}

/// Its node is a voter that the leader hears and that is caught up.
fn is_well(observed: &Observed, at: Ordinal) -> bool {
    let View::Leader(leader) = &observed.view else { return false };
    let roll_call = RollCall::new(leader, &observed.nodes);
    let healthy = roll_call.healthy();
    let members = &leader.membership.ordinals;
    let is_confirmed = Quorum::weakest(&leader.membership.voters, &roll_call.heard()).holds();
    is_confirmed && members.iter().any(|(id, ordinal)| *ordinal == at && healthy.contains(id) && roll_call.answers(*id))
}

fn quorum_words(observed: &Observed) -> Vec<String> {
    let View::Leader(leader) = &observed.view else { return Vec::new() };
    let roll_call = RollCall::new(leader, &observed.nodes);
    let quorum = Quorum::weakest(&leader.membership.voters, &roll_call.healthy());
    vec![quorum.to_string()]
}

fn step_word(step: &Step) -> &'static str {
    match step {
        Step::Run { .. } => "Scaling",
        Step::ClaimFounding { .. } | Step::Initialize { .. } | Step::RecordFounded { .. } => "Founding",
        Step::Admit { .. } | Step::AddLearner { .. } => "Joining",
        Step::ChangeVoters { .. } => "ChangingVoters",
        Step::TransferLeadership { .. } => "HandingOver",
        Step::RemoveNode { .. } => "Removing",
        Step::SetVolumeAside { .. } => "ReplacingVolume",
    }
}

fn pending_word(pending: &Pending) -> &'static str {
    match pending {
        Pending::MayHoldCluster { .. } => "WaitingForNodes",
        Pending::MembersUnknown { .. } => "MembersUnknown",
        Pending::NoLeader { .. } => "NoLeader",
        Pending::LeaderUnconfirmed { .. } => "LeaderUnconfirmed",
        Pending::ChangeInFlight { .. } => "ChangingVoters",
        Pending::Denied { .. } => "GuardDenied",
        Pending::CatchingUp { .. } => "CatchingUp",
        Pending::Silent { .. } => "NodesSilent",
        Pending::Unheard { .. } => "NodeUnheard",
        Pending::NotFormed { .. } => "NotFormed",
    }
}

fn problem_word(problem: &Problem) -> &'static str {
    match problem {
        Problem::QuorumLost { .. } => "QuorumLost",
        Problem::EveryVolumeLost { .. } => "EveryVolumeLost",
        Problem::SeedLost { .. } => "SeedLost",
        Problem::MembershipLost { .. } => "MembershipLost",
        Problem::ForeignVolume { .. } => "ForeignVolume",
        Problem::OtherLineage { .. } => "OtherLineage",
        Problem::Misplaced { .. } => "Misplaced",
        Problem::EvenVoters { .. } => "EvenVoters",
    }
}
