//! The two kinds of object people write: [`CarrelCluster`], what is wanted and how it stands, and [`CarrelRecovery`],
//! the going on after a majority was lost for good.
//!
//! `carrel-operator crd` prints them; `manifests/crd/` holds what it prints.

mod cluster;
mod recovery;
mod status;

pub use cluster::{
    CarrelCluster, CarrelClusterSpec, Disruption, Mail, Network, Observability, OnDelete, Operation, Postgres,
    PullPolicy, Raft, Replacement, ReplacementPolicy, Spread, Storage, Tls, TlsMode, Webhooks,
};
pub use recovery::{BackupSource, CarrelRecovery, CarrelRecoverySpec, CarrelRecoveryStatus, RecoveryPhase, Survivor};
pub use status::{
    Bootstrap, BootstrapPhase, CarrelClusterStatus, Decision, Image, Member, MembershipStatus, Ordered, QuorumStatus,
    RecoveryStage, Replaced, Rollout, Size, Stopped,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Group and version of both.
pub const GROUP: &str = "carrel.dev";
pub const VERSION: &str = "v1alpha1";

/// The definitions and the names of the files they lie in.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("carrelclusters.yaml", CarrelCluster::crd()), ("carrelrecoveries.yaml", CarrelRecovery::crd())]
}

/// One definition as YAML.
///
/// # Errors
/// If it cannot be written, which would be a fault of the definition.
pub fn yaml(definition: &CustomResourceDefinition) -> anyhow::Result<String> {
    // By way of a value, whose keys are in order: the text depends on nothing but the definition.
    let value = serde_json::to_value(definition)?;
    Ok(serde_saphyr::to_string(&value)?)
}
