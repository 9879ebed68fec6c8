//! Doing what was decided. Nothing is decided here: each act looks once more at exactly what it is about to change, and
//! does it only if that is still what was looked at.

use carrel_membership::{ClusterId, Founding, Ordinal, RecoveryStep, Step};
use carrel_steward::{Doors, NotDone};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::json;
use uuid::Uuid;

use crate::apply::{apply_scale, create_set};
use crate::build::{Blueprint, Budget, VOLUME_CLAIM, disruption_budget, template_only};
use crate::context::Context;
use crate::crd::{RecoveryStage, Replaced, Stopped};
use crate::decide::Action;
use crate::observe::{Look, SeenSet};
use crate::record::Record;
use crate::status::record_founding;

/// Entries of `status.replaced` that are kept.
const REPLACED_MAX: usize = 10;

/// Why an act was not done, or why it is not known whether it was: the next look tells.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    #[error("{}", crate::reconcile::brief(.0))]
    Kube(#[from] kube::Error),
    #[error("{0}")]
    Node(#[from] NotDone),
    #[error("the StatefulSet is not the one that was looked at")]
    OtherSet,
    #[error("{0} is not the pod that was looked at")]
    OtherPod(String),
    #[error("the object has changed since it was read")]
    OtherObject,
    #[error("the founding on record is another by now")]
    OtherFounding,
    #[error("another operator leads")]
    NotLeading,
}

/// Everything an act needs.
pub struct Performer<'a> {
    pub context: &'a Context,
    pub blueprint: &'a Blueprint<'a>,
    pub look: &'a Look,
    pub doors: &'a Doors,
    pub founding: Founding,
    /// As it was before; none while nobody can tell who votes.
    pub budget: Option<Budget>,
}

impl Performer<'_> {
    /// # Errors
    /// See [`Undone`].
    pub async fn perform(&self, action: &Action, record: &mut Record) -> Result<(), Undone> {
        if !self.context.leadership.holds() {
            return Err(Undone::NotLeading);
        }
        match action {
            // What is given up is in the status already; the next pass builds on it.
            Action::Nothing | Action::GiveUpImage { .. } | Action::GiveUpSize { .. } => Ok(()),
            Action::Recover(step) => self.recover(step, record).await,
            Action::Step(step) => self.step(step, record).await,
            Action::Restart { ordinal } => self.stop(*ordinal, "Rollout", record).await,
            Action::HandOver { to } => Ok(self.doors.transfer_leadership(*to).await?),
            Action::ReplaceVolume { ordinal } => self.empty_volume(*ordinal, record).await,
            Action::Hibernate => {
                let set = self.look.set.as_ref().ok_or(Undone::OtherSet)?;
                self.scale(set, 0).await
            }
            Action::Grow => self.grow().await,
        }
    }

    async fn step(&self, step: &Step, record: &mut Record) -> Result<(), Undone> {
        match step {
            Step::Run { count, generation } => self.run(*count, *generation, record).await?,
            Step::ClaimFounding { ordinal: _, seed, wanted_voters, expected } => {
                if self.founding != *expected {
                    return Err(Undone::OtherFounding);
                }
                let cluster = ClusterId(Uuid::new_v4().as_u128());
                let claimed = Founding::Claimed { cluster, seed: *seed, wanted_voters: *wanted_voters };
                record_founding(&mut record.status, claimed);
                record.write().await?;
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                self.doors.initialize(*ordinal, *seed, *cluster, *wanted_voters).await?;
            }
            Step::RecordFounded { cluster } => {
                record_founding(&mut record.status, Founding::Done { cluster: *cluster });
                record.write().await?;
            }
            Step::Admit { ordinal, incarnation } => self.doors.admit(*ordinal, *incarnation).await?,
            Step::AddLearner { node_id, expected } => self.doors.add_learner(*node_id, *expected).await?,
            Step::ChangeVoters { voters, expected } => self.doors.change_voters(voters, *expected).await?,
            Step::TransferLeadership { to } => self.doors.transfer_leadership(*to).await?,
            Step::RemoveNode { node_id } => self.doors.remove_node(*node_id).await?,
            Step::SetVolumeAside { ordinal, incarnation } => {
                self.doors.check_volume(*ordinal, *incarnation).await?;
                self.empty_volume(*ordinal, record).await?;
            }
        }
        Ok(())
    }

    async fn recover(&self, step: &RecoveryStep, record: &mut Record) -> Result<(), Undone> {
        match step {
            RecoveryStep::StopAll => {
                let set = self.look.set.as_ref().ok_or(Undone::OtherSet)?;
                self.scale(set, 0).await
            }
            RecoveryStep::Run { count, generation } => self.run(*count, *generation, record).await,
            RecoveryStep::Restart { ordinal, found: _ } => self.stop(*ordinal, "Recovery", record).await,
            RecoveryStep::RecordStopped => {
                if let Some(ordered) = &mut record.status.recovery {
                    ordered.stage = RecoveryStage::Beginning;
                }
                Ok(record.write().await?)
            }
            RecoveryStep::RecordBegun { cluster } => {
                if let Some(ordered) = &mut record.status.recovery {
                    ordered.stage = RecoveryStage::Begun;
                    ordered.lineage = Some(cluster.lineage);
                }
                record_founding(&mut record.status, Founding::Done { cluster: cluster.id });
                record.status.lineage = Some(cluster.lineage);
                Ok(record.write().await?)
            }
        }
    }

    async fn run(&self, count: u32, generation: u64, record: &Record) -> Result<(), Undone> {
        match &self.look.set {
            Some(set) => {
                if u64::try_from(set.generation) != Ok(generation) {
                    return Err(Undone::OtherSet);
                }
                if count < set.replicas {
                    self.doors.check_nobody_lives_above(count).await?;
                }
                self.scale(set, count).await
            }
            None => {
                if !record.is_current().await? {
                    return Err(Undone::OtherObject);
                }
                let template = template_only(self.blueprint);
                match create_set(&self.sets(), &self.blueprint.name, &template, count).await {
                    // Somebody else's by now, whose size says more than our look without any.
                    Err(kube::Error::Api(refusal)) if refusal.is_conflict() => Err(Undone::OtherSet),
                    made => Ok(made.map(drop)?),
                }
            }
        }
    }

    async fn scale(&self, set: &SeenSet, count: u32) -> Result<(), Undone> {
        apply_scale(&self.sets(), &self.blueprint.name, &set.uid, &set.resource_version, count).await?;
        Ok(())
    }

    /// First the record, then the deed: whoever takes over knows that somebody is away, and by whom.
    async fn stop(&self, ordinal: Ordinal, reason: &str, record: &mut Record) -> Result<(), Undone> {
        let name = self.pod_name(ordinal);
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.blueprint.namespace);
        let seen = self.look.pods.get(&ordinal).ok_or_else(|| Undone::OtherPod(name.clone()))?;
        let pod = pods.get(&name).await?;
        if pod.uid().as_ref() != Some(&seen.uid) || pod.metadata.deletion_timestamp.is_some() {
            return Err(Undone::OtherPod(name));
        }
        self.record_stop(ordinal, &seen.uid, reason, record).await?;
        self.forbid_evictions().await?;
        if !self.context.leadership.holds() {
            return Err(Undone::NotLeading);
        }
        pods.delete(&name, &only_this(&seen.uid)).await?;
        Ok(())
    }

    /// Before the pod goes: a budget that has changed permits nothing until it is counted anew, and then nothing more.
    async fn forbid_evictions(&self) -> Result<(), Undone> {
        let unsettled = self.budget.map(|budget| Budget { is_unsettled: true, ..budget });
        let child = unsettled.and_then(|budget| disruption_budget(self.blueprint, budget));
        if let Some(child) = child {
            self.context.applied.apply(&self.context.client, &self.blueprint.namespace, &child).await?;
        }
        Ok(())
    }

    async fn record_stop(&self, ordinal: Ordinal, uid: &str, reason: &str, record: &mut Record) -> Result<(), Undone> {
        let stops = &mut record.status.disruption;
        if stops.iter().any(|stopped| stopped.ordinal == ordinal.0 && stopped.pod_uid == uid) {
            return Ok(());
        }
        stops.retain(|stopped| stopped.ordinal != ordinal.0);
        stops.push(Stopped {
            ordinal: ordinal.0,
            pod_uid: uid.to_owned(),
            reason: reason.to_owned(),
            started_at: Time(self.context.now()),
        });
        stops.sort_by_key(|stopped| stopped.ordinal);
        Ok(record.write().await?)
    }

    /// The claim first: it stays until its pod is gone, and the pod that comes next finds a new one.
    async fn empty_volume(&self, ordinal: Ordinal, record: &mut Record) -> Result<(), Undone> {
        let claims = self.claims();
        let name = self.claim_name(ordinal);
        let seen = self.look.pods.get(&ordinal).ok_or_else(|| Undone::OtherPod(self.pod_name(ordinal)))?;
        if let Some(claim) = claims.get_opt(&name).await? {
            let uid = claim.uid().unwrap_or_default();
            if !record.status.replaced.iter().any(|replaced| replaced.volume_uid == uid) {
                let at = Time(self.context.now());
                record.status.replaced.push(Replaced { ordinal: ordinal.0, volume_uid: uid.clone(), at });
                let surplus = record.status.replaced.len().saturating_sub(REPLACED_MAX);
                record.status.replaced.drain(..surplus);
            }
            self.record_stop(ordinal, &seen.uid, "ReplaceVolume", record).await?;
            // Also if the stop was on record already.
            record.write().await?;
            if !self.context.leadership.holds() {
                return Err(Undone::NotLeading);
            }
            if claim.metadata.deletion_timestamp.is_none() {
                claims.delete(&name, &only_this(&uid)).await?;
            }
        }
        self.stop(ordinal, "ReplaceVolume", record).await
    }

    /// The claims grow; then the set is made anew around its pods, because what it asks of claims cannot change.
    async fn grow(&self) -> Result<(), Undone> {
        let set = self.look.set.as_ref().ok_or(Undone::OtherSet)?;
        let size = &self.blueprint.spec.storage.size;
        let claims = self.claims();
        for ordinal in (0..set.replicas).map(Ordinal) {
            let name = self.claim_name(ordinal);
            let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
            claims.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        if !self.context.leadership.holds() {
            return Err(Undone::NotLeading);
        }
        let orphaning = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..only_this(&set.uid) };
        self.sets().delete(&self.blueprint.name, &orphaning).await?;
        Ok(())
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.context.client.clone(), &self.blueprint.namespace)
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client.clone(), &self.blueprint.namespace)
    }

    fn pod_name(&self, ordinal: Ordinal) -> String {
        format!("{}-{ordinal}", self.blueprint.name)
    }

    fn claim_name(&self, ordinal: Ordinal) -> String {
        format!("{VOLUME_CLAIM}-{}-{ordinal}", self.blueprint.name)
    }
}

impl std::fmt::Debug for Performer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Performer").field("cluster", &self.blueprint.name).finish_non_exhaustive()
    }
}

/// Refused if the name belongs to another object by now.
fn only_this(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}
