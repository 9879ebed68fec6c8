//! Requests for recoveries: which clusters have open ones, what is said to them, and the record of what was approved.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use carrel_membership::Problem;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use uuid::Uuid;

use crate::build::Blueprint;
use crate::context::Context;
use crate::crd::{CarrelRecovery, CarrelRecoveryStatus};
use crate::decide::{Question, Verdict};
use crate::perform::Undone;
use crate::reconcile::Failure;
use crate::record::Record;
use crate::recovering::{self, Judgement, Recorded};

/// An object that may be malformed, without keeping anybody from the others.
pub type GuardedRecovery = DeserializeGuard<CarrelRecovery>;

const FIELD_MANAGER: &str = "carrel-operator-status";

/// Of one cluster, looked at in one pass: a person asks for one, and for another if that has failed.
const OPEN_MAX: usize = 8;

/// Clusters that somebody may want to recover, as watches tell: nobody has to look for requests in every pass.
#[derive(Debug, Default)]
pub struct Recoveries {
    noted: Mutex<BTreeSet<(String, String)>>,
}

impl Recoveries {
    pub fn saw(&self, asked: &CarrelRecovery) {
        if recovering::is_open(asked) {
            self.noted().insert((asked.namespace().unwrap_or_default(), asked.spec.cluster.clone()));
        }
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.noted().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn are_noted(&self, namespace: &str, name: &str) -> bool {
        self.noted().contains(&(namespace.to_owned(), name.to_owned()))
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if something was approved and is on record now.
///
/// # Errors
/// If what was judged could not be written down.
pub async fn tend(
    context: &Context,
    blueprint: &Blueprint<'_>,
    question: &Question<'_>,
    verdict: &Verdict,
    record: &mut Record,
) -> Result<bool, Failure> {
    let Blueprint { namespace, name, .. } = blueprint;
    let is_under_way = matches!(question.recovery, Recorded::UnderWay { .. });
    let is_lost = matches!(
        &verdict.problem,
        Some(
            Problem::QuorumLost { .. }
                | Problem::EveryVolumeLost { .. }
                | Problem::SeedLost { .. }
                | Problem::MembershipLost { .. }
        )
    );
    if !is_under_way && !is_lost && !context.recoveries.are_noted(namespace, name) {
        return Ok(false);
    }
    let api: Api<GuardedRecovery> = Api::namespaced(context.client.clone(), namespace);
    let asked = api.list(&ListParams::default()).await?;
    let asked = asked.items.into_iter().filter_map(|asked| asked.0.ok()).filter(|asked| asked.spec.cluster == *name);
    let mut open: Vec<CarrelRecovery> = asked.filter(recovering::is_open).collect();
    if open.is_empty() {
        context.recoveries.forget(namespace, name);
        return Ok(false);
    }
    open.sort_by_key(|asked| (asked.creation_timestamp().map(|time| time.0), asked.uid()));
    for asked in open.iter().take(OPEN_MAX) {
        let Some(Judgement { status, ordered }) = recovering::judge(asked, question, Uuid::new_v4())? else { continue };
        write(&api, asked, &status).await?;
        if let Some(ordered) = ordered {
            let undone = |undone| Failure::Undone { action: "Recovering", undone };
            if !context.leadership.holds() {
                return Err(undone(Undone::NotLeading));
            }
            tracing::warn!(cluster = %name, %namespace, by = %ordered.by, "a recovery was approved and begins");
            record.status.recovery = Some(ordered);
            record.write().await.map_err(Undone::from).map_err(undone)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// If it is another than the one that is there. A conflict is for the next pass to see.
async fn write(
    api: &Api<GuardedRecovery>,
    asked: &CarrelRecovery,
    status: &CarrelRecoveryStatus,
) -> Result<(), Failure> {
    if asked.status.as_ref() == Some(status) {
        return Ok(());
    }
    let name = asked.name_any();
    let patch = json!({
        "apiVersion": CarrelRecovery::api_version(&()),
        "kind": CarrelRecovery::kind(&()),
        "metadata": { "name": name, "resourceVersion": asked.resource_version() },
        "status": status,
    });
    match api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile: nobody is left to read it.
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
