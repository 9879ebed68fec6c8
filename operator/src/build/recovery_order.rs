//! What nodes read whenever they start, once a recovery was approved: which volume goes on, and that no other is used
//! as it was. It stays, for volumes that come back later. `carrel start --recovery-file` says more.

use serde_json::{Value, json};

use super::{Blueprint, Child, Kind, pod};
use crate::crd::{Ordered, RecoveryStage};

pub(super) const FILE: &str = "order.json";

pub(super) fn name(blueprint: &Blueprint<'_>) -> String {
    format!("{}-recovery", blueprint.name)
}

/// None while nothing was ever lost.
pub(super) fn recovery_order(blueprint: &Blueprint<'_>) -> Option<Child> {
    let ordered = blueprint.ordered?;
    let name = name(blueprint);
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
