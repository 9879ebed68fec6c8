//! The StatefulSet: Parallel, because nodes that wait for each other must start together; OnDelete, because only the
//! planner knows which pod may go next.
//!
//! How many pods there are and what they are made from have two field managers, so that applying a template can never
//! change the size.

use serde_json::{Value, json};

use super::{Blueprint, pod};
use crate::crd::OnDelete;

/// Volumes are named `data-r-0`.
pub const VOLUME_CLAIM: &str = "data";

/// All but the number of replicas.
#[must_use]
pub fn template_only(blueprint: &Blueprint<'_>) -> Value {
    let storage = &blueprint.spec.storage;
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": blueprint.volume_size } },
    });
    if let Some(class) = &storage.class_name {
        claim["storageClassName"] = json!(class);
    }
    let when_deleted = match storage.on_delete {
        OnDelete::Retain => "Retain",
        OnDelete::Delete => "Delete",
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": blueprint.metadata(&blueprint.name),
        "spec": {
            "serviceName": blueprint.peers_service(),
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            // A node that left may come back with its volume: what is on it is for the planner to judge.
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": when_deleted, "whenScaled": "Retain" },
            "revisionHistoryLimit": 10,
            "selector": { "matchLabels": blueprint.selector() },
            "template": pod::template(blueprint),
            "volumeClaimTemplates": [{
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": { "name": VOLUME_CLAIM, "labels": blueprint.selector() },
                "spec": claim,
            }],
        },
    })
}

/// Only how many, for the set that was looked at and no other.
#[must_use]
pub fn scale(name: &str, uid: &str, resource_version: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": name, "uid": uid, "resourceVersion": resource_version },
        "spec": { "replicas": replicas },
    })
}
