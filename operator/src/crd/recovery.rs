//! Going on after a majority was lost for good. Never begun by the operator: a person asks for the survey, reads what
//! would be lost at most, and approves exactly that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[allow(clippy::duplicated_attributes, reason = "each column has a type of its own")]
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "carrel.dev",
    version = "v1alpha1",
    kind = "CarrelRecovery",
    plural = "carrelrecoveries",
    shortname = "crr",
    category = "carrel",
    namespaced,
    status = "CarrelRecoveryStatus",
    derive = "PartialEq",
    doc = "A new lineage of a cluster that has lost a majority of its volumes.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Survivor", type_ = "integer", json_path = ".status.chosen"),
    printcolumn(name = "Kept-Through", type_ = "string", json_path = ".status.keptThrough"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.approve) || (has(self.approve) && self.approve == oldSelf.approve)")
        .message("what was approved stays approved")
        .field_path(".approve"),
    validation = Rule::new("has(self.backup) == has(oldSelf.backup) && (!has(self.backup) || self.backup == oldSelf.backup)")
        .message("what a recovery begins with cannot change: ask for another recovery")
        .field_path(".backup")
)]
#[serde(rename_all = "camelCase")]
pub struct CarrelRecoverySpec {
    /// The CarrelCluster of this namespace that is to go on.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a recovery is of one cluster"))]
    pub cluster: String,
    /// Where every volume is gone: the backup to make a new cluster of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSource>,
    /// The digest of the survey, copied from the status by whoever accepts what it says may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub approve: Option<String>,
}

/// A file that `carrel backup save` has written.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackupSource {
    /// A PersistentVolumeClaim of this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub claim: String,
    /// The file's path there.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')")
        .message("path must be below the claim: no leading slash, no .."))]
    pub path: String,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CarrelRecoveryStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RecoveryPhase>,
    /// What each volume in reach holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ordinal".into()]))]
    pub survivors: Vec<Survivor>,
    /// The ordinal to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<u32>,
    /// The bound of loss: nothing is missing of what was acknowledged until then, by the cluster's own clock. What was
    /// acknowledged later by those that are gone, and by them alone, is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_through: Option<Time>,
    /// Of all the above: what is approved is this and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_lineage: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryPhase {
    Surveying,
    AwaitingApproval,
    Executing,
    Done,
    Failed,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Survivor {
    pub ordinal: u32,
    pub incarnation: String,
    pub lineage: u32,
    pub last_log_term: u64,
    pub last_log_index: u64,
}
