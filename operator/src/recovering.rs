//! What is said to whoever asks for a recovery, and what becomes of it once it is approved. Pure.
//!
//! The order that was approved is part of the cluster's status, and from the moment it is there it is carried out,
//! whatever becomes of the `CarrelRecovery`: that one only mirrors it.

use carrel_membership::{
    Begins, Cluster, ClusterId, Incarnation, LogId, NotProposed, NotReplicas, Order, Ordinal, Proposal, Stage, Survey,
    plan, propose,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use uuid::Uuid;

use crate::build::digest;
use crate::crd::{
    CarrelClusterStatus, CarrelRecovery, CarrelRecoveryStatus, Ordered, RecoveryPhase, RecoveryStage, Survivor,
};
use crate::decide::Question;

/// What the status says of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    Never,
    UnderWay { order: Order, stage: Stage },
    Begun { cluster: Cluster },
}

/// What to say, and what to record because it was approved.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub status: CarrelRecoveryStatus,
    pub ordered: Option<Ordered>,
}

/// # Errors
/// With what is wrong with it: nothing is begun on a record that is not understood.
pub fn recorded(status: &CarrelClusterStatus) -> Result<Recorded, String> {
    let Some(ordered) = &status.recovery else { return Ok(Recorded::Never) };
    let uuid =
        |text: &str| Uuid::parse_str(text).map(|uuid| uuid.as_u128()).map_err(|_| format!("{text:?} is no UUID"));
    let cluster = ClusterId(uuid(&ordered.cluster_id)?);
    let ordinal = Ordinal(ordered.ordinal);
    let stage = match ordered.stage {
        RecoveryStage::Stopping => Stage::Stopping,
        RecoveryStage::Beginning => Stage::Beginning,
        RecoveryStage::Begun => {
            let lineage = ordered.lineage.ok_or("a recovery that has begun without status.recovery.lineage")?;
            return Ok(Recorded::Begun { cluster: Cluster { id: cluster, lineage } });
        }
    };
    let incarnation = Incarnation(uuid(&ordered.incarnation)?);
    let begins = match (&ordered.backup, ordered.lineage) {
        (Some(_), _) => Begins::FromBackup { ordinal, seed: incarnation },
        (None, Some(lineage)) => {
            let last = LogId { term: ordered.last_term, index: ordered.last_index };
            Begins::With { ordinal, incarnation, last, lineage }
        }
        (None, None) => return Err("status.recovery has neither a lineage nor a backup".to_owned()),
    };
    Ok(Recorded::UnderWay { order: Order { cluster, begins }, stage })
}

/// None if nothing is to be said any more. `drawn` becomes the id of a cluster that is made of a backup.
///
/// # Errors
/// If the cluster asks for what its own rules forbid.
pub fn judge(asked: &CarrelRecovery, question: &Question<'_>, drawn: Uuid) -> Result<Option<Judgement>, NotReplicas> {
    let mut status = asked.status.clone().unwrap_or_default();
    if !is_open(asked) {
        return Ok(None);
    }
    status.observed_generation = asked.metadata.generation;
    if let Some(ordered) = &question.status.recovery {
        let is_this = asked.uid().is_some_and(|uid| uid == ordered.by_uid);
        if is_this || ordered.stage != RecoveryStage::Begun {
            mirror(&mut status, ordered, is_this);
            return Ok(Some(Judgement { status, ordered: None }));
        }
    }
    let survey = question.look.survey();
    status.survivors = survivors(&survey);
    let observed = question.look.observed(question.founding);
    let planned = plan(&observed, &question.desired()?);
    let lineage = question.status.recovery.as_ref().and_then(|ordered| ordered.lineage);
    let lineage = lineage.max(question.status.lineage).unwrap_or(0);
    (status.chosen, status.digest, status.new_lineage, status.kept_through) = (None, None, None, None);
    let proposal = match propose(&planned, &survey, lineage, asked.spec.backup.is_some()) {
        Ok(proposal) => proposal,
        Err(why) => {
            // Whoever has approved something does not mean what may come after the members have decided again.
            let is_over = why == NotProposed::NotNeeded && asked.spec.approve.is_some();
            let is_final = why.is_final() || is_over;
            status.phase = Some(if is_final { RecoveryPhase::Failed } else { RecoveryPhase::Surveying });
            status.message = Some(why.to_string());
            return Ok(Some(Judgement { status, ordered: None }));
        }
    };
    let digest = digest_of(asked, question, &proposal, &survey);
    status.kept_through = kept_through(question, &proposal);
    describe(&mut status, asked, &proposal, &survey, &digest);
    let ordered = match &asked.spec.approve {
        Some(approved) if *approved == digest => Some(order(asked, &proposal, drawn)),
        // It may be so again, if a node was slow to answer; whoever wants what there is now asks anew.
        Some(_) => {
            let words = status.message.take().unwrap_or_default();
            status.message = Some(format!("what was approved is not what is there now: {words}"));
            None
        }
        None => None,
    };
    Ok(Some(Judgement { status, ordered }))
}

/// It may still come to something.
#[must_use]
pub fn is_open(asked: &CarrelRecovery) -> bool {
    let phase = asked.status.as_ref().and_then(|status| status.phase);
    !matches!(phase, Some(RecoveryPhase::Done | RecoveryPhase::Failed))
}

/// What the record says of it, or of another that comes first.
fn mirror(status: &mut CarrelRecoveryStatus, ordered: &Ordered, is_this: bool) {
    let (phase, message) = match (is_this, ordered.stage) {
        (false, _) => (RecoveryPhase::Surveying, format!("{} is carried out first", ordered.by)),
        (true, RecoveryStage::Stopping) => (RecoveryPhase::Executing, "every node is being stopped".to_owned()),
        (true, RecoveryStage::Beginning) => {
            (RecoveryPhase::Executing, format!("ordinal {} begins with what was approved", ordered.ordinal))
        }
        (true, RecoveryStage::Begun) => {
            let lineage = ordered.lineage.unwrap_or(0);
            let message = format!("the cluster goes on as lineage {lineage}; the other nodes join it as new ones");
            (RecoveryPhase::Done, message)
        }
    };
    if is_this {
        status.chosen = Some(ordered.ordinal);
        status.new_lineage = ordered.lineage;
    }
    status.phase = Some(phase);
    status.message = Some(message);
}

fn survivors(survey: &Survey) -> Vec<Survivor> {
    let survivor = |(at, survivor): (&Ordinal, &carrel_membership::Survivor)| Survivor {
        ordinal: at.0,
        incarnation: survivor.incarnation.to_string(),
        lineage: survivor.cluster.lineage,
        last_log_term: survivor.last.term,
        last_log_index: survivor.last.index,
    };
    survey.survivors.iter().map(survivor).collect()
}

/// Of all that a person is to judge by. Who is silent is no part of it: they come and go.
fn digest_of(asked: &CarrelRecovery, question: &Question<'_>, proposal: &Proposal, survey: &Survey) -> String {
    digest(&json!({
        "cluster": question.status.cluster_id,
        "recovery": asked.uid(),
        "proposal": proposal.to_string(),
        "survivors": survivors(survey),
        "backup": asked.spec.backup,
    }))
}

fn kept_through(question: &Question<'_>, proposal: &Proposal) -> Option<Time> {
    let Proposal::GoOn { ordinal, .. } = proposal else { return None };
    let applied = question.look.answers.of(*ordinal)?.applied_time?;
    Timestamp::new(applied.seconds, applied.nanos).ok().map(Time)
}

/// What would be done, what would be lost at most, and how to approve it.
fn describe(
    status: &mut CarrelRecoveryStatus,
    asked: &CarrelRecovery,
    proposal: &Proposal,
    survey: &Survey,
    digest: &str,
) {
    let bound = match (proposal, &status.kept_through) {
        (Proposal::Restore { .. }, _) => "Lost is what was done after the backup was taken.".to_owned(),
        (Proposal::GoOn { .. }, Some(through)) => format!(
            "Nothing is missing of what was acknowledged until {}; what was acknowledged later may be.",
            through.0
        ),
        (Proposal::GoOn { .. }, None) => "Nobody can tell until when nothing is missing.".to_owned(),
    };
    let silent: Vec<String> = survey.silent.iter().map(ToString::to_string).collect();
    let silent = if silent.is_empty() {
        String::new()
    } else {
        format!(
            " Ordinals that do not answer: {}. Make sure that they do not run where nobody sees them; what their volumes \
             have is put aside when they return.",
            silent.join(", ")
        )
    };
    let name = asked.name_any();
    let message = format!(
        "{proposal}. {bound}{silent} To do so: kubectl patch carrelrecovery {name} --type merge -p \
         '{{\"spec\":{{\"approve\":\"{digest}\"}}}}'"
    );
    let (ordinal, lineage) = match proposal {
        Proposal::GoOn { ordinal, lineage, .. } => (ordinal, Some(*lineage)),
        Proposal::Restore { ordinal, .. } => (ordinal, None),
    };
    status.chosen = Some(ordinal.0);
    status.new_lineage = lineage;
    status.digest = Some(digest.to_owned());
    status.phase = Some(RecoveryPhase::AwaitingApproval);
    status.message = Some(message);
}

fn order(asked: &CarrelRecovery, proposal: &Proposal, drawn: Uuid) -> Ordered {
    let (cluster_id, lineage, ordinal, incarnation, last) = match proposal {
        Proposal::GoOn { ordinal, survivor, lineage } => {
            (survivor.cluster.id.to_string(), Some(*lineage), ordinal, survivor.incarnation, survivor.last)
        }
        Proposal::Restore { ordinal, seed } => (drawn.to_string(), None, ordinal, *seed, LogId { term: 0, index: 0 }),
    };
    Ordered {
        by: asked.name_any(),
        by_uid: asked.uid().unwrap_or_default(),
        stage: RecoveryStage::Stopping,
        cluster_id,
        lineage,
        ordinal: ordinal.0,
        incarnation: incarnation.to_string(),
        last_term: last.term,
        last_index: last.index,
        backup: asked.spec.backup.clone(),
    }
}
