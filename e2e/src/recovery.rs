//! Verbs for what only people decide: going on after a majority was lost for good.

use anyhow::{Context, ensure};
use carrel_operator::crd::{CarrelRecovery, RecoveryPhase};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::library::{Library, NAME, PATIENCE};
use crate::wait::until;

/// Of the one recovery that a story asks for.
const REQUEST: &str = "after-the-loss";

impl Library {
    /// Asks what could be gone on with, from a backup (a claim, and a path there) or from what is left. The answer,
    /// about which nothing is done yet.
    pub async fn survey(&self, backup: Option<(&str, &str)>) -> anyhow::Result<CarrelRecovery> {
        let mut spec = json!({ "cluster": NAME });
        if let Some((claim, path)) = backup {
            spec["backup"] = json!({ "claim": claim, "path": path });
        }
        self.recoveries().create(&PostParams::default(), &self.request(spec)?).await?;
        let found = self.is_in_phase(RecoveryPhase::AwaitingApproval).await?;
        ensure!(digest(&found).is_some(), "a survey that cannot be approved: {:?}", found.status);
        Ok(found)
    }

    /// Approves exactly what was found, and waits until it is carried out.
    pub async fn approve(&self, found: &CarrelRecovery) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "approve": digest(found) } }));
        self.recoveries().patch(REQUEST, &PatchParams::default(), &patch).await?;
        self.is_in_phase(RecoveryPhase::Done).await?;
        Ok(())
    }

    /// A change of one that was asked for and approved.
    pub async fn change_recovery(&self, spec: serde_json::Value) -> anyhow::Result<()> {
        let recoveries = self.recoveries();
        if recoveries.get_opt(REQUEST).await?.is_none() {
            let spec = json!({ "cluster": NAME, "approve": "nothing there is" });
            recoveries.create(&PostParams::default(), &self.request(spec)?).await?;
        }
        let patch = Patch::Merge(json!({ "spec": spec }));
        recoveries.patch(REQUEST, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    fn request(&self, spec: serde_json::Value) -> anyhow::Result<CarrelRecovery> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelRecovery",
            "metadata": { "name": REQUEST, "namespace": self.namespace }, "spec": spec,
        }))?)
    }

    async fn is_in_phase(&self, phase: RecoveryPhase) -> anyhow::Result<CarrelRecovery> {
        let is_so = |recovery: Option<&CarrelRecovery>| {
            recovery.and_then(|recovery| recovery.status.as_ref()?.phase) == Some(phase)
        };
        let recoveries = self.recoveries();
        match until(&recoveries, REQUEST, PATIENCE, &format!("{phase:?}"), is_so).await {
            Ok(found) => found.context("what is in a phase is there"),
            Err(error) => {
                let status = recoveries.get(REQUEST).await?.status.unwrap_or_default();
                Err(error.context(format!("it is {:?}: {}", status.phase, status.message.unwrap_or_default())))
            }
        }
    }

    fn recoveries(&self) -> Api<CarrelRecovery> {
        self.api()
    }
}

fn digest(found: &CarrelRecovery) -> Option<String> {
    found.status.as_ref()?.digest.clone()
}
