//! One look at a cluster: what the API server has of it, live and not from a cache, and what each node says of itself.

use std::collections::{BTreeMap, BTreeSet};

use carrel_membership::{Fleet, Founding, Observed, Ordinal, Pod as FleetPod, PodId, Remaining, Running, Survey};
use carrel_steward::Answers;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use uuid::Uuid;

use crate::build::{VOTER_LABEL, mounted_order};

/// What the StatefulSet controller calls the template a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";
const CONTAINER: &str = "carrel";

/// A pod that is to be gone by now, and for so long has not been said to be, is on a machine that does not answer.
const VANISHED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Look {
    pub set: Option<SeenSet>,
    /// Those of ordinals that are meant to run.
    pub pods: BTreeMap<Ordinal, SeenPod>,
    /// Those that are not, and are not gone yet.
    pub leaving: BTreeMap<Ordinal, SeenPod>,
    pub answers: Answers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSet {
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub replicas: u32,
    pub pods: i32,
    pub ready_pods: i32,
    /// Of the template as it is now; none until the StatefulSet controller has looked at it.
    pub wanted_revision: Option<String>,
    /// What its template asks of each volume.
    pub volume_size: Option<String>,
    /// The order without which none of its pods starts.
    pub order: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPod {
    pub name: String,
    pub uid: String,
    pub address: Option<String>,
    pub revision: Option<String>,
    pub is_terminating: bool,
    /// When it is to be gone, if it was told to go.
    pub due_gone: Option<Timestamp>,
    /// Where it was put.
    pub machine: Option<String>,
    /// No machine fits it.
    pub is_unschedulable: bool,
    pub is_running: bool,
    pub is_ready: bool,
    /// Why its container does not run and will not by itself.
    pub trouble: Option<String>,
    pub crashes: u32,
    /// As it is labelled.
    pub is_voter: Option<bool>,
}

impl SeenSet {
    #[must_use]
    pub fn of(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let status = set.status.as_ref();
        let generation = set.metadata.generation.unwrap_or(0);
        let is_counted = status.and_then(|status| status.observed_generation) == Some(generation);
        let size = || {
            let claim = spec?.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?;
            Some(claim.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.clone())
        };
        Self {
            uid: set.uid().unwrap_or_default(),
            resource_version: set.resource_version().unwrap_or_default(),
            generation,
            replicas: spec.and_then(|spec| spec.replicas).and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            pods: status.map_or(0, |status| status.replicas),
            ready_pods: status.and_then(|status| status.ready_replicas).unwrap_or(0),
            wanted_revision: status.filter(|_| is_counted).and_then(|status| status.update_revision.clone()),
            volume_size: size(),
            order: mounted_order(set),
        }
    }
}

impl SeenPod {
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let container = container(pod);
        let state = container.and_then(|container| container.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let condition = |kind: &str, said: &str| {
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| condition.type_ == kind && condition.status == said)
        };
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address: status.and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty()),
            revision: pod.labels().get(REVISION_LABEL).cloned(),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            due_gone: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            machine: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            is_unschedulable: condition("PodScheduled", "False"),
            is_running: state.is_some_and(|state| state.running.is_some()),
            is_ready: condition("Ready", "True"),
            trouble: waiting.and_then(|waiting| waiting.reason.clone()).filter(|reason| is_trouble(reason)),
            crashes: container.map_or(0, |container| u32::try_from(container.restart_count).unwrap_or(0)),
            is_voter: pod.labels().get(VOTER_LABEL).map(|value| value == "true"),
        }
    }
}

impl SeenPod {
    /// It was told to go long ago, and its machine has not said that it did. It may still run.
    #[must_use]
    pub fn is_vanished(&self, now: Timestamp) -> bool {
        self.due_gone.is_some_and(|due| now.duration_since(due) > VANISHED_AFTER)
    }
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// Reasons that are not just a pod on its way up.
fn is_trouble(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "CrashLoopBackOff"
            | "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
    )
}

/// The ordinal in a pod's name.
#[must_use]
pub fn ordinal(set: &str, pod: &str) -> Option<Ordinal> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    // `r-007` is nobody's ordinal.
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(Ordinal(number))
}

/// A UUID, or what stands for a text that is none: equal for equal texts.
#[must_use]
pub fn pod_id(uid: &str) -> PodId {
    let parsed = Uuid::parse_str(uid).map(|uuid| uuid.as_u128());
    PodId(parsed.unwrap_or_else(|_| {
        uid.bytes().fold(0u128, |sum, byte| sum.wrapping_mul(257).wrapping_add(u128::from(byte) + 1))
    }))
}

impl Look {
    /// For the planner. Every ordinal that is meant to run is in it, and is unknown if nothing was heard of it.
    #[must_use]
    pub fn observed(&self, founding: Founding) -> Observed {
        let running = self.set.as_ref().map_or(Running { count: 0, generation: 0 }, |set| Running {
            count: set.replicas,
            generation: u64::try_from(set.generation).unwrap_or(0),
        });
        let mut nodes = self.answers.nodes();
        for at in 0..running.count {
            nodes.entry(Ordinal(at)).or_insert(carrel_membership::Node::Unknown);
        }
        Observed { founding, running, nodes, view: self.answers.view() }
    }

    /// What is left, if a majority is not.
    #[must_use]
    pub fn survey(&self) -> Survey {
        self.answers.survey(self.set.as_ref().map_or(0, |set| set.replicas))
    }

    /// Pods there are, whether or not they are meant to run.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Remaining {
        let all = || self.pods.iter().chain(&self.leaving);
        let vanished = all().filter(|(_, pod)| pod.is_vanished(now)).map(|(at, _)| *at).collect();
        Remaining { pods: all().map(|(at, _)| *at).collect(), vanished }
    }

    /// For the roll. None until the StatefulSet controller has counted the template.
    #[must_use]
    pub fn fleet(&self, away: BTreeSet<Ordinal>, at_once: u32) -> Option<Fleet> {
        let wanted = self.set.as_ref()?.wanted_revision.as_ref()?;
        let pods = self.pods.iter().filter(|(_, pod)| !pod.is_terminating).map(|(at, pod)| {
            let is_outdated = pod.revision.as_ref() != Some(wanted);
            (*at, FleetPod { id: pod_id(&pod.uid), is_outdated, is_running: pod.is_running })
        });
        Some(Fleet { pods: pods.collect(), away, at_once })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinal_is_what_a_stateful_set_would_write() {
        assert_eq!(ordinal("r", "r-10"), Some(Ordinal(10)));
        assert_eq!(ordinal("r-1", "r-1-2"), Some(Ordinal(2)));
        for stranger in ["r", "r-", "r-007", "r-a", "s-1", "r-1-2", "r-99999999999"] {
            assert_eq!(ordinal("r", stranger), None, "{stranger}");
        }
    }

    #[test]
    fn pod_ids_differ_as_their_uids_do() {
        assert_eq!(pod_id("0a1b2c3d-0000-4000-8000-000000000001"), pod_id("0a1b2c3d-0000-4000-8000-000000000001"));
        assert_ne!(pod_id("u1"), pod_id("u2"));
        assert_ne!(pod_id("a"), pod_id("aa"));
    }
}
