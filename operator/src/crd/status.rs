//! How a cluster stands, as it was last seen.
//!
//! Nothing in here moves while the cluster is settled: no index, no lag, no time of the last look. An unchanged status
//! is an unchanged object, which nobody has to be told of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recovery::BackupSource;

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CarrelClusterStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Drawn when the cluster was founded. It outlives the volumes, so that losing all of them is not mistaken for a
    /// beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Pods there are.
    #[serde(default)]
    pub replicas: i32,
    #[serde(default)]
    pub ready_replicas: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The pod that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// What the nodes say they run; "mixed" during a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// What a person approved after a majority was lost, and how far it has come. It outlives the recovery: whatever
    /// comes back later is of a history that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Ordered>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<MembershipStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ordinal".into()]))]
    pub members: Vec<Member>,
    /// Nodes that were stopped by the operator and are not known to be back. Written before the stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ordinal".into()]))]
    pub disruption: Vec<Stopped>,
    /// Volumes that were replaced within the last hour or are the last ones that were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    pub phase: BootstrapPhase,
    /// The one volume that may become the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_incarnation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_voters: Option<u32>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapPhase {
    Claimed,
    Done,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The last one that every node ran, and was well with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// Given up: the first node to run it did not come back. Forgotten once another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// How a new template proves itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Of the template.
    pub revision: String,
    /// Since when a node on it is seen to be well, while others run an older one.
    pub proving_since: Time,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Given up: not all of so many nodes came up in time, and the voters stayed who they were. Forgotten once another
    /// number is asked for.
    pub failed: i32,
    /// The number there is instead.
    pub kept: i32,
}

/// An order of a recovery, as nodes get it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Ordered {
    /// The CarrelRecovery that was approved.
    pub by: String,
    pub by_uid: String,
    pub stage: RecoveryStage,
    pub cluster_id: String,
    /// What is of an earlier one is not used as it is. Of a backup it is known only once that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<u32>,
    /// Who begins.
    pub ordinal: u32,
    pub incarnation: String,
    /// The end of its log when it was approved.
    #[serde(default)]
    pub last_term: u64,
    #[serde(default)]
    pub last_index: u64,
    /// Instead of a volume that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSource>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStage {
    /// Until no node runs that does not know of the order.
    Stopping,
    /// Until the cluster is led again.
    Beginning,
    Begun,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MembershipStatus {
    /// Term and index of the log entry it stands in.
    pub log_id: String,
    pub voters: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<u64>,
    /// A change from other voters to these is not finished.
    #[serde(default)]
    pub joint: bool,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QuorumStatus {
    pub voters: u32,
    pub healthy: u32,
    pub needed: u32,
    pub tolerates: u32,
    /// "3/5": voters of those wanted.
    pub voters_summary: String,
    /// "3/2": healthy of those needed.
    pub quorum_summary: String,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub ordinal: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Leader, Follower, Learner, Waiting or Unknown.
    pub role: String,
    /// Healthy, Behind, Unheard or Silent.
    pub state: String,
    /// Of the template its pod was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Since when neither we nor the leader have heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Time>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    pub ordinal: u32,
    /// The pod that was stopped, not the one that comes after it.
    pub pod_uid: String,
    pub reason: String,
    pub started_at: Time,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    pub ordinal: u32,
    pub volume_uid: String,
    pub at: Time,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What is being done, in one word.
    pub action: String,
    /// In full, with the reason.
    pub why: String,
    /// Each guard that was asked, with its numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<String>,
    pub since: Time,
}
