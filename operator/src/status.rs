//! What is written down of a look and a verdict. Pure, and without anything that moves while the cluster is settled.

use std::collections::BTreeSet;

use carrel_membership::{
    ClusterId, Founding, Incarnation, Membership, Node, NodeId, Observed, Ordinal, Problem, Quorum, Replicas, RollCall,
    View,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::build::{Budget, serialized_selector};
use crate::crd::{
    Bootstrap, BootstrapPhase, CarrelClusterStatus, Decision, Member, MembershipStatus, QuorumStatus, Rollout, Size,
};
use crate::decide::{Action, Outlook, Question, Verdict};

/// What the status says of the cluster's birth.
///
/// # Errors
/// With what is wrong with it: nothing is founded on a record that is not understood.
pub fn founding(status: &CarrelClusterStatus) -> Result<Founding, String> {
    let Some(bootstrap) = &status.bootstrap else { return Ok(Founding::Never) };
    let id = status.cluster_id.as_deref().ok_or("status.bootstrap without status.clusterId")?;
    let uuid =
        |text: &str| Uuid::parse_str(text).map(|uuid| uuid.as_u128()).map_err(|_| format!("{text:?} is no UUID"));
    let cluster = ClusterId(uuid(id)?);
    match bootstrap.phase {
        BootstrapPhase::Done => Ok(Founding::Done { cluster }),
        BootstrapPhase::Claimed => {
            let seed =
                bootstrap.seed_incarnation.as_deref().ok_or("a claim without status.bootstrap.seedIncarnation")?;
            let wanted = bootstrap.wanted_voters.ok_or("a claim without status.bootstrap.wantedVoters")?;
            let wanted_voters = Replicas::try_from(wanted).map_err(|error| error.to_string())?;
            Ok(Founding::Claimed { cluster, seed: Incarnation(uuid(seed)?), wanted_voters })
        }
    }
}

/// The reverse.
pub fn record_founding(status: &mut CarrelClusterStatus, founding: Founding) {
    let (cluster, bootstrap) = match founding {
        Founding::Never => (None, None),
        Founding::Claimed { cluster, seed, wanted_voters } => {
            let bootstrap = Bootstrap {
                phase: BootstrapPhase::Claimed,
                seed_incarnation: Some(seed.to_string()),
                wanted_voters: Some(wanted_voters.count()),
            };
            (Some(cluster), Some(bootstrap))
        }
        Founding::Done { cluster } => {
            let bootstrap = Bootstrap { phase: BootstrapPhase::Done, seed_incarnation: None, wanted_voters: None };
            (Some(cluster), Some(bootstrap))
        }
    };
    status.cluster_id = cluster.map(|cluster| cluster.to_string());
    status.bootstrap = bootstrap;
}

/// How the voters stand by the account of whoever can tell.
#[derive(Debug)]
pub struct Standing {
    pub quorum: Quorum,
    /// A majority of the voters has lately answered a leader.
    pub is_led: bool,
    pub voters: BTreeSet<Ordinal>,
    pub healthy: BTreeSet<Ordinal>,
    /// The voters are those wanted, and no change of them is under way.
    pub is_uniform: bool,
}

impl Standing {
    /// None if nobody could tell who the members are.
    #[must_use]
    pub fn of(observed: &Observed) -> Option<Self> {
        let (membership, healthy, is_led) = match &observed.view {
            View::Unknown => return None,
            View::Remembered(membership) => {
                let answers = |id: &NodeId, at: &Ordinal| matches!(observed.nodes.get(at), Some(Node::Joined { node_id, .. }) if node_id == id);
                let answering = membership.ordinals.iter().filter(|(id, at)| answers(id, at)).map(|(id, _)| *id);
                (membership, answering.collect(), false)
            }
            View::Leader(leader) => {
                let roll_call = RollCall::new(leader, &observed.nodes);
                let is_led = Quorum::weakest(&leader.membership.voters, &roll_call.heard()).holds();
                (&leader.membership, roll_call.healthy(), is_led && leader.formed)
            }
        };
        let at = |id: &NodeId| membership.ordinals.get(id).copied();
        let voters = membership.ordinals.keys().filter(|id| membership.voters.contains(**id));
        Some(Self {
            quorum: Quorum::weakest(&membership.voters, &healthy),
            is_led,
            voters: voters.filter_map(at).collect(),
            healthy: healthy.iter().filter_map(at).collect(),
            is_uniform: !membership.voters.is_joint(),
        })
    }
}

/// What the disruption budget is to allow.
#[must_use]
pub fn budget(question: &Question<'_>) -> Option<Budget> {
    let observed = question.look.observed(question.founding);
    let standing = Standing::of(&observed)?;
    let is_behind = |at: &&Ordinal| {
        let is_ready = question.look.pods.get(at).is_some_and(|pod| pod.is_ready);
        is_ready && !standing.healthy.contains(at)
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Budget {
        voters: count(standing.voters.len()),
        ready_but_behind: count(standing.voters.iter().filter(is_behind).count()),
        is_unsettled: !question.status.disruption.is_empty() || !standing.is_uniform,
    })
}

/// The status after a look, before anything is done about it.
#[must_use]
pub fn summarize(question: &Question<'_>, verdict: &Verdict, generation: Option<i64>) -> CarrelClusterStatus {
    let mut status = question.status.clone();
    let observed = question.look.observed(question.founding);
    let standing = Standing::of(&observed);
    let set = question.look.set.as_ref();
    status.observed_generation = generation;
    status.replicas = set.map_or(0, |set| set.pods);
    status.ready_replicas = set.map_or(0, |set| set.ready_pods);
    status.selector = Some(serialized_selector(question.name));
    status.leader = match &observed.view {
        View::Leader(leader) if standing.as_ref().is_some_and(|standing| standing.is_led) => {
            leader.membership.ordinals.get(&leader.leader).map(|at| format!("{}-{at}", question.name))
        }
        View::Leader(_) | View::Remembered(_) | View::Unknown => None,
    };
    status.version = version(question);
    if let Some(membership) = membership(&observed.view) {
        // They only rise; what is of an earlier one is over.
        status.lineage = status.lineage.max(Some(membership.cluster.lineage));
        status.membership = Some(membership_status(membership));
    }
    status.quorum = standing.as_ref().map(|standing| quorum(standing, question.spec.replicas)).or(status.quorum);
    status.members = members(question, &observed);
    let over = question.over();
    status.disruption.retain(|stopped| !over.contains(&Ordinal(stopped.ordinal)));
    remember_image(&mut status, question, verdict);
    remember_size(&mut status, question, verdict);
    remember_rollout(&mut status, question, standing.as_ref());
    let since = match &status.decision {
        Some(old) if old.action == verdict.reason && old.why == verdict.why => old.since.clone(),
        Some(_) | None => Time(question.now),
    };
    status.decision = Some(Decision {
        action: verdict.reason.to_owned(),
        why: verdict.why.clone(),
        guards: verdict.guards.clone(),
        since,
    });
    conditions(&mut status, question, verdict, standing.as_ref(), &observed);
    status
}

fn remember_image(status: &mut CarrelClusterStatus, question: &Question<'_>, verdict: &Verdict) {
    let mut image = status.image.clone().unwrap_or_default();
    let wanted = &question.spec.image;
    if image.failed.as_ref().is_some_and(|failed| failed != wanted) {
        image.failed = None;
    }
    if let Action::GiveUpImage { image: failed } = &verdict.action {
        image.failed = Some(failed.clone());
    }
    if verdict.outlook == Outlook::Settled && verdict.is_up_to_date && image.failed.is_none() {
        image.good = Some(wanted.clone());
    }
    status.image = (image != crate::crd::Image::default()).then_some(image);
}

fn remember_size(status: &mut CarrelClusterStatus, question: &Question<'_>, verdict: &Verdict) {
    if let Action::GiveUpSize { failed, kept } = verdict.action {
        status.size = Some(Size { failed, kept });
    }
    if status.size.as_ref().is_some_and(|size| size.failed != question.spec.replicas) {
        status.size = None;
    }
}

fn remember_rollout(status: &mut CarrelClusterStatus, question: &Question<'_>, standing: Option<&Standing>) {
    let proves = question.proves();
    // Between two leaders nobody can tell how a node is: that is no fault of its.
    let is_led = standing.is_some_and(|standing| standing.is_led);
    let wanted = question.look.set.as_ref().and_then(|set| set.wanted_revision.as_ref());
    if !is_led && status.rollout.as_ref().is_some_and(|rollout| Some(&rollout.revision) == wanted) {
        return;
    }
    if status.rollout.as_ref().map(|rollout| rollout.revision.as_str()) != proves {
        let since = |revision: &str| Rollout { revision: revision.to_owned(), proving_since: Time(question.now) };
        status.rollout = proves.map(since);
    }
}

/// The image to run.
#[must_use]
pub fn image<'a>(wanted: &'a str, status: &'a CarrelClusterStatus) -> &'a str {
    match &status.image {
        Some(image) if image.failed.as_deref() == Some(wanted) => image.good.as_deref().unwrap_or(wanted),
        Some(_) | None => wanted,
    }
}

fn membership(view: &View) -> Option<&Membership> {
    match view {
        View::Unknown => None,
        View::Remembered(membership) => Some(membership),
        View::Leader(leader) => Some(&leader.membership),
    }
}

fn membership_status(membership: &Membership) -> MembershipStatus {
    let voters = membership.ordinals.keys().filter(|id| membership.voters.contains(**id));
    MembershipStatus {
        log_id: membership.log_id.to_string(),
        voters: voters.map(|id| id.0).collect(),
        learners: membership.learners().map(|(id, _)| id.0).collect(),
        joint: membership.voters.is_joint(),
    }
}

fn quorum(standing: &Standing, replicas: i32) -> QuorumStatus {
    let Quorum { voters, healthy } = standing.quorum;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let needed = standing.quorum.needed();
    QuorumStatus {
        voters: count(voters),
        healthy: count(healthy),
        needed: count(needed),
        tolerates: count(standing.quorum.tolerates()),
        voters_summary: format!("{voters}/{replicas}"),
        quorum_summary: format!("{healthy}/{needed}"),
    }
}

fn version(question: &Question<'_>) -> Option<String> {
    let answers = question.look.pods.keys().filter_map(|at| question.look.answers.of(*at));
    let versions: BTreeSet<&str> = answers.map(|answer| answer.version.as_str()).collect();
    match versions.len() {
        0 => question.status.version.clone(),
        1 => versions.first().map(|version| (*version).to_owned()),
        _ => Some("mixed".to_owned()),
    }
}

fn members(question: &Question<'_>, observed: &Observed) -> Vec<Member> {
    let membership = membership(&observed.view);
    let led = match &observed.view {
        View::Leader(leader) => Some((leader.leader, RollCall::new(leader, &observed.nodes))),
        View::Unknown | View::Remembered(_) => None,
    };
    let member = |(at, node): (&Ordinal, &Node)| {
        let pod = question.look.pods.get(at);
        let before = question.status.members.iter().find(|member| member.ordinal == at.0);
        let (incarnation, own) = match node {
            Node::Unknown => (None, None),
            Node::Pristine { incarnation } => (Some(*incarnation), None),
            Node::Joined { incarnation, node_id, .. } => (Some(*incarnation), Some(*node_id)),
        };
        let listed = membership.and_then(|membership| {
            membership.ordinals.iter().find(|(id, ordinal)| *ordinal == at && own.is_none_or(|own| own == **id))
        });
        let id = own.or(listed.map(|(id, _)| *id));
        let votes = |id: NodeId| membership.is_some_and(|membership| membership.voters.contains(id));
        let role = match id {
            Some(id) if led.as_ref().is_some_and(|(leader, _)| *leader == id) => "Leader",
            Some(id) if votes(id) => "Follower",
            Some(_) if listed.is_some() => "Learner",
            Some(_) => "Joined",
            None if incarnation.is_some() => "Waiting",
            None => "Unknown",
        };
        let is_heard = |id: NodeId| led.as_ref().is_some_and(|(_, roll_call)| roll_call.heard().contains(&id));
        let is_healthy = |id: NodeId| led.as_ref().is_some_and(|(_, roll_call)| roll_call.healthy().contains(&id));
        let state = match id {
            Some(id) if is_healthy(id) => "Healthy",
            Some(id) if is_heard(id) => "Behind",
            _ if *node == Node::Unknown => "Silent",
            _ => "Unheard",
        };
        let silent_since = (state == "Silent")
            .then(|| before.and_then(|before| before.silent_since.clone()).unwrap_or(Time(question.now)));
        Member {
            ordinal: at.0,
            node_id: id.map(|id| id.0),
            incarnation: incarnation
                .map(|incarnation| incarnation.to_string())
                .or_else(|| before.and_then(|before| before.incarnation.clone())),
            pod_uid: pod.map(|pod| pod.uid.clone()),
            role: role.to_owned(),
            state: state.to_owned(),
            revision: pod.and_then(|pod| pod.revision.clone()),
            silent_since,
        }
    };
    observed.nodes.iter().map(member).collect()
}

/// What a condition says.
struct Said<'a> {
    status: &'static str,
    reason: &'a str,
    message: &'a str,
}

fn yes_or_no(is_true: bool) -> &'static str {
    if is_true { "True" } else { "False" }
}

fn conditions(
    status: &mut CarrelClusterStatus,
    question: &Question<'_>,
    verdict: &Verdict,
    standing: Option<&Standing>,
    observed: &Observed,
) {
    let why = verdict.why.as_str();
    let is_led = standing.is_some_and(|standing| standing.is_led);
    let answered = question.look.pods.keys().any(|at| question.look.answers.of(*at).is_some());
    let is_ready_somewhere = question.look.pods.values().any(|pod| pod.is_ready);
    let available = if is_led {
        Said { status: "True", reason: verdict.reason, message: why }
    } else if !answered && is_ready_somewhere {
        // Kubernetes finds them well: it may be us who cannot reach them.
        Said { status: "Unknown", reason: "NotVerified", message: "no node answers the operator" }
    } else {
        Said { status: "False", reason: verdict.reason, message: why }
    };
    let tolerates = standing.map_or(0, |standing| standing.quorum.tolerates());
    let is_single = question.spec.replicas == 1;
    let quorum_message = standing.map(|standing| standing.quorum.to_string()).unwrap_or_default();
    let quorum = Said {
        status: yes_or_no(is_led && (tolerates > 0 || is_single)),
        reason: if tolerates > 0 || is_single { "MajorityWithMargin" } else { "NoMargin" },
        message: &quorum_message,
    };
    let deadline = SignedDuration::from_secs(i64::from(question.spec.progress_deadline_seconds));
    let since = status.decision.as_ref().map_or(question.now, |decision| decision.since.0);
    let is_late = verdict.outlook != Outlook::Settled && question.now.duration_since(since) > deadline;
    let progressing = match verdict.outlook {
        Outlook::Settled if status.size.is_some() => Said { status: "False", reason: "DeadlineExceeded", message: why },
        Outlook::Settled => Said { status: "False", reason: "Settled", message: why },
        Outlook::Busy | Outlook::Waiting if is_late => {
            Said { status: "False", reason: "DeadlineExceeded", message: why }
        }
        Outlook::Busy | Outlook::Waiting => Said { status: "True", reason: verdict.reason, message: why },
        Outlook::Stuck => Said { status: "False", reason: verdict.reason, message: why },
    };
    let unwell = standing.is_some_and(|standing| standing.quorum.healthy < standing.quorum.voters);
    let failed = status.image.as_ref().and_then(|image| image.failed.clone());
    let failed_message = failed.as_ref().map(|image| format!("image {image} was given up"));
    let size_message = status
        .size
        .as_ref()
        .map(|size| format!("{} replicas were given up, {} are kept: ask for another number", size.failed, size.kept));
    let degraded = match (&failed_message, &size_message) {
        (Some(message), _) => Said { status: "True", reason: "RolloutFailed", message },
        (None, Some(message)) => Said { status: "True", reason: "ScalingFailed", message },
        (None, None) if unwell || verdict.outlook == Outlook::Stuck => {
            Said { status: "True", reason: verdict.reason, message: why }
        }
        (None, None) => Said { status: "False", reason: "Well", message: "" },
    };
    let is_sized = standing.is_some_and(|standing| {
        standing.is_uniform && i32::try_from(standing.quorum.voters).ok() == Some(question.spec.replicas)
    });
    let is_sized = is_sized && i32::try_from(observed.running.count).ok() == Some(question.spec.replicas);
    let direction = if i32::try_from(observed.running.count).unwrap_or(0) < question.spec.replicas {
        "ScalingOut"
    } else {
        "Scaling"
    };
    let scaled =
        Said { status: yes_or_no(is_sized), reason: if is_sized { "AsWanted" } else { direction }, message: "" };
    let scaled = match &size_message {
        Some(message) => Said { status: "False", reason: "ScalingFailed", message },
        None => scaled,
    };
    let is_up_to_date = verdict.is_up_to_date && failed.is_none();
    let up_to_date = Said {
        status: yes_or_no(is_up_to_date),
        reason: match (&failed, is_up_to_date) {
            (Some(_), _) => "RolloutFailed",
            (None, true) => "AsWanted",
            (None, false) => "Outdated",
        },
        message: failed_message.as_deref().unwrap_or_default(),
    };
    let is_mixed = matches!(
        verdict.problem,
        Some(Problem::ForeignVolume { .. } | Problem::OtherLineage { .. } | Problem::Misplaced { .. })
    );
    let consistent = if is_mixed {
        Said { status: "False", reason: verdict.reason, message: why }
    } else {
        Said { status: "True", reason: "OneCluster", message: "" }
    };
    let needs_recovery = matches!(
        &verdict.problem,
        Some(
            Problem::QuorumLost { .. }
                | Problem::EveryVolumeLost { .. }
                | Problem::SeedLost { .. }
                | Problem::MembershipLost { .. }
        )
    ) && (is_late || cannot_return(verdict.problem.as_ref()));
    let recovery = if needs_recovery {
        Said { status: "True", reason: verdict.reason, message: why }
    } else {
        Said { status: "False", reason: "NotNeeded", message: "" }
    };
    let operation = &question.spec.operation;
    let paused = Said {
        status: yes_or_no(operation.paused),
        reason: if operation.paused { "AsAsked" } else { "NotPaused" },
        message: "",
    };
    let is_settled = verdict.outlook == Outlook::Settled
        && failed.is_none()
        && status.size.is_none()
        && (is_led || operation.hibernated);
    // Nodes know first that all is well; Services give clients to pods that are ready, which the kubelet says later.
    let is_wanted = |at: &Ordinal| i64::from(at.0) < i64::from(question.spec.replicas);
    let unready = question.look.pods.iter().filter(|(at, pod)| is_wanted(at) && !pod.is_ready);
    let unready: Vec<String> = unready.map(|(at, _)| at.to_string()).collect();
    let not_yet = format!("no Service gives clients to ordinals {} yet: their pods are not ready", unready.join(", "));
    let ready = if is_settled && !operation.hibernated && !unready.is_empty() {
        Said { status: "False", reason: "PodsNotReady", message: &not_yet }
    } else {
        Said { status: yes_or_no(is_settled), reason: verdict.reason, message: why }
    };
    let said = [
        ("Ready", ready),
        ("Available", available),
        ("QuorumHealthy", quorum),
        ("Progressing", progressing),
        ("Degraded", degraded),
        ("ScaleComplete", scaled),
        ("UpToDate", up_to_date),
        ("LineageConsistent", consistent),
        ("RecoveryRequired", recovery),
        ("Paused", paused),
    ];
    let generation = status.observed_generation;
    for (kind, said) in said {
        set_condition(&mut status.conditions, kind, &said, generation, question.now);
    }
}

/// No node that is merely silent would bring the quorum back.
fn cannot_return(problem: Option<&Problem>) -> bool {
    match problem {
        Some(Problem::QuorumLost { quorum, silent, .. }) => quorum.healthy + silent.len() < quorum.needed(),
        Some(Problem::EveryVolumeLost { .. } | Problem::SeedLost { .. } | Problem::MembershipLost { .. }) => true,
        Some(
            Problem::ForeignVolume { .. }
            | Problem::OtherLineage { .. }
            | Problem::Misplaced { .. }
            | Problem::EvenVoters { .. },
        )
        | None => false,
    }
}

/// A pass did not come to its end. What was seen before that stands; what was not verified is unknown.
pub fn note_failure(
    status: &mut CarrelClusterStatus,
    has_looked: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    status.observed_generation = generation;
    if !has_looked {
        let unverified = Said { status: "Unknown", reason: "NotVerified", message };
        set_condition(&mut status.conditions, "Available", &unverified, generation, now);
    }
    let failed = Said { status: "False", reason, message };
    set_condition(&mut status.conditions, "Ready", &failed, generation, now);
    let progressing = Said { status: "True", reason, message };
    set_condition(&mut status.conditions, "Progressing", &progressing, generation, now);
}

/// Its transition time moves only with its status, so that an unchanged status is an unchanged object.
fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    said: &Said<'_>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let known = conditions.iter_mut().find(|condition| condition.type_ == kind);
    let since =
        known.as_ref().filter(|known| known.status == said.status).map(|known| known.last_transition_time.clone());
    let new = Condition {
        type_: kind.to_owned(),
        status: said.status.to_owned(),
        reason: said.reason.to_owned(),
        message: said.message.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    match known {
        Some(known) => *known = new,
        None => conditions.push(new),
    }
}
