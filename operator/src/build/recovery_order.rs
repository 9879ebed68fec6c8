//! What nodes read whenever they start, once a recovery was approved: which volume goes on, and that no other is used
//! as it was. It stays, for volumes that come back later. `carrel start --recovery-file` says more.
//!
//! Each recovery has an object of its own, named in the template from then on. A kubelet may remember for a while how
//! an object was, or that there was none; one whose name is new, and which may not be missing, it has to fetch before
//! the container starts. So nobody who was made from that template begins without the order: two old volumes that did
//! would go on together as before. One object for each recovery, and each recovery took a person: they stay few.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::{Blueprint, Child, Kind, digest, pod};
use crate::crd::{Ordered, RecoveryStage};

pub(super) const FILE: &str = "order.json";

/// Mounted while nothing was ever lost: there is none of this name.
pub(super) fn unordered(blueprint: &Blueprint<'_>) -> String {
    format!("{}-recovery", blueprint.name)
}

/// Of one recovery, for ever.
pub(super) fn name(blueprint: &Blueprint<'_>, ordered: &Ordered) -> String {
    format!("{}-{}", unordered(blueprint), digest(&json!(ordered.by_uid)))
}

/// What the template of a set mounts, if it was ordered. A set that has it keeps it, whoever has forgotten why.
#[must_use]
pub fn mounted_order(set: &StatefulSet) -> Option<String> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let source = pod.volumes.iter().flatten().find(|volume| volume.name == pod::RECOVERY)?.config_map.as_ref()?;
    (source.optional != Some(true)).then(|| source.name.clone())
}

/// None while nothing was ever lost.
pub(super) fn recovery_order(blueprint: &Blueprint<'_>) -> Option<Child> {
    let ordered = blueprint.ordered?;
    let name = name(blueprint, ordered);
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": blueprint.metadata(&name),
        "data": { FILE: order(blueprint, ordered).to_string() },
    });
    Some(Child { kind: Kind::ConfigMap, name, body })
}

/// Who begins is named for as long as it has not: named for ever, an old copy of its volume would begin once more.
fn order(blueprint: &Blueprint<'_>, ordered: &Ordered) -> Value {
    let mut order = json!({ "clusterId": ordered.cluster_id });
    if let Some(lineage) = ordered.lineage {
        order["lineage"] = json!(lineage);
    }
    if ordered.stage == RecoveryStage::Begun {
        return order;
    }
    match &ordered.backup {
        Some(backup) => {
            order["restore"] = json!({
                "incarnation": ordered.incarnation,
                "file": format!("{}/{}", pod::path_of(pod::BACKUP), backup.path),
                "voters": blueprint.spec.replicas,
            });
        }
        None => {
            order["survivor"] = json!({
                "incarnation": ordered.incarnation,
                "lastTerm": ordered.last_term,
                "lastIndex": ordered.last_index,
            });
        }
    }
    order
}
