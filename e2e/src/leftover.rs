//! Verbs for a volume that another cluster has left behind.

use std::time::Duration;

use anyhow::Context;
use carrel_operator::crd::CarrelCluster;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::library::{Library, PATIENCE};
use crate::wait::until;

/// Of three nodes, the last of which leaves the volume: a node looks only at what belongs to its own ordinal.
const OTHER: &str = "other";
const OTHERS_LAST: &str = "other-2";

impl Library {
    /// Another cluster of the same namespace was there and is gone; the name of the volume it has left.
    pub async fn left_over_volume(&self) -> anyhow::Result<String> {
        let image = format!("localhost/carrel:{}", self.ground.tag);
        let other: CarrelCluster = serde_json::from_value(json!({
            "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
            "metadata": { "name": OTHER, "namespace": self.namespace },
            "spec": { "image": image, "replicas": 3 },
        }))?;
        self.clusters().create(&PostParams::default(), &other).await?;
        let stands = |cluster: Option<&CarrelCluster>| {
            let status = cluster.and_then(|cluster| cluster.status.as_ref());
            status.is_some_and(|status| status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
        };
        until(&self.clusters(), OTHER, PATIENCE, "there", stands).await?;
        let claims: Api<PersistentVolumeClaim> = self.api();
        let claim = format!("data-{OTHERS_LAST}");
        let claimed = claims.get(&claim).await?;
        let volume = claimed.spec.as_ref().and_then(|spec| spec.volume_name.clone()).context("its volume is bound")?;
        self.volumes().patch(&volume, &PatchParams::default(), &reclaim("Retain")).await?;
        let pod: Pod = self.pods().get(OTHERS_LAST).await?;
        self.clusters().delete(OTHER, &DeleteParams::default()).await?;
        let uid = pod.uid().unwrap_or_default();
        until(&self.pods(), &pod.name_any(), PATIENCE, "gone", is_deleted(&uid)).await?;
        claims.delete(&claim, &DeleteParams::default()).await?;
        let uid = claimed.uid().unwrap_or_default();
        until(&claims, &claim, PATIENCE, "gone", is_deleted(&uid)).await?;
        Ok(volume)
    }

    /// Under a name at which a node will look for its own.
    pub async fn claim_volume(&self, claim: &str, volume: &str) -> anyhow::Result<()> {
        // Nobody's any more, so that somebody else may have it.
        let free = Patch::Merge(json!({ "spec": { "claimRef": null } }));
        let freed = self.volumes().patch(volume, &PatchParams::default(), &free).await?;
        let spec = freed.spec.context("a volume has a spec")?;
        let size =
            spec.capacity.as_ref().and_then(|capacity| capacity.get("storage")).context("a volume has a size")?;
        let wanted: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": { "name": claim, "namespace": self.namespace },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": spec.storage_class_name,
                "volumeName": volume,
                "resources": { "requests": { "storage": size } },
            },
        }))?;
        let claims: Api<PersistentVolumeClaim> = self.api();
        claims.create(&PostParams::default(), &wanted).await?;
        let is_bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
        };
        until(&claims, claim, Duration::from_secs(60), "bound", is_bound).await?;
        Ok(())
    }

    /// With what is on it, if the class deletes at all.
    pub async fn forget_volume(&self, volume: &str) -> anyhow::Result<()> {
        self.volumes().patch(volume, &PatchParams::default(), &reclaim("Delete")).await?;
        Ok(())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.ground.kube.clone())
    }
}

fn reclaim(policy: &str) -> Patch<serde_json::Value> {
    Patch::Merge(json!({ "spec": { "persistentVolumeReclaimPolicy": policy } }))
}
