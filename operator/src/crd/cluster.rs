//! What is wanted of a cluster.
//!
//! Rules are in the definition itself, so that the API server refuses what makes no sense, with a text for whoever
//! wrote it. What depends on the state of the cluster is the planner's to refuse.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::CarrelClusterStatus;

#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "carrel.dev",
    version = "v1alpha1",
    kind = "CarrelCluster",
    plural = "carrelclusters",
    shortname = "crl",
    category = "carrel",
    namespaced,
    status = "CarrelClusterStatus",
    derive = "PartialEq",
    doc = "A replicated Carrel service: study seats, who may sit where and when.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Voters",
        type_ = "string",
        json_path = ".status.quorum.votersSummary",
        description = "Voters there are of those wanted"
    ),
    printcolumn(
        name = "Quorum",
        type_ = "string",
        json_path = ".status.quorum.quorumSummary",
        description = "Healthy voters of those a majority needs"
    ),
    printcolumn(
        name = "Tolerates",
        type_ = "integer",
        json_path = ".status.quorum.tolerates",
        description = "Voters that may still fail"
    ),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Available")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".status.decision.action", priority = 1),
    printcolumn(name = "Lineage", type_ = "integer", json_path = ".status.lineage", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name names Services: at most 40 lower-case letters, digits and dashes, a letter first")
)]
#[x_kube(
    validation = Rule::new("!has(self.disruption) || !has(self.disruption.maxConcurrent) || self.replicas == 1 || self.disruption.maxConcurrent <= (self.replicas - 1) / 2")
        .message("disruption.maxConcurrent may be at most what the voters bear: (replicas - 1) / 2")
        .field_path(".disruption.maxConcurrent"),
    validation = Rule::new("!(has(oldSelf.operation) && has(oldSelf.operation.hibernated) && oldSelf.operation.hibernated) || self.replicas == oldSelf.replicas")
        .message("replicas cannot change while the cluster hibernates: wake it first")
        .field_path(".replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct CarrelClusterSpec {
    /// How many nodes vote: 1, 3, 5 or 7. (n - 1) / 2 of them may fail.
    #[serde(default = "three")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]")
        .message("replicas must be 1, 3, 5 or 7: an even number bears no more failures than the odd one below it")
        .reason(Reason::FieldValueInvalid))]
    pub replicas: i32,
    /// The image of every node, with `carrel` on its PATH.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub raft: Raft,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub disruption: Disruption,
    #[serde(default)]
    pub replacement: Replacement,
    #[serde(default)]
    pub operation: Operation,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub auth: Auth,
    /// Where the relational record is kept, for history and reports. Nodes do without it for as long as it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// Mail to people who want to be told so, too. Without it none is sent, and nobody can ask for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    #[serde(default)]
    pub webhooks: Webhooks,
    /// A mail or an event that nobody has taken for so long is given up; a day, if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10080))]
    pub give_up_minutes: Option<u32>,
    #[serde(default)]
    pub observability: Observability,
    /// A rollout or a change of size that has not moved for so long is reported as stuck; a new image is given up.
    #[serde(default = "progress_deadline_seconds")]
    #[schemars(range(min = 30, max = 86400))]
    pub progress_deadline_seconds: u32,
    /// A Secret with a key `admin`: a name on its first line, a password on its second. The first admin, made while
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub first_admin_secret: Option<String>,
    /// A ConfigMap with a key `catalog.yaml`: the catalogue to begin with, imported while there is no branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub first_catalog_config_map: Option<String>,
    /// How hard to keep nodes on different machines and zones.
    #[serde(default)]
    pub spread: Spread,
    /// Laid over the pod template: resources, tolerations, node selectors and so on, as in a Pod's `metadata` and
    /// `spec`. Lists of named things are merged by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub pod: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)")
    .message("storage.className cannot change: volumes stay where they are"))]
pub struct Storage {
    /// Of each node's volume. It can grow, where the storage class allows it.
    #[serde(default = "one_gibibyte")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
        .message("size must be a quantity above zero"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0").message("size cannot shrink"))]
    pub size: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// What becomes of the volumes when the cluster is deleted. They outlive a smaller number of replicas either way.
    #[serde(default)]
    pub on_delete: OnDelete,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDelete {
    #[default]
    Retain,
    Delete,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.heartbeatMs * 2 < self.electionMinMs && self.electionMinMs < self.electionMaxMs")
    .message("heartbeatMs must be less than half of electionMinMs, and that less than electionMaxMs"))]
pub struct Raft {
    #[serde(default = "heartbeat_ms")]
    #[schemars(range(min = 10, max = 10000))]
    pub heartbeat_ms: u32,
    #[serde(default = "election_min_ms")]
    #[schemars(range(min = 50, max = 60000))]
    pub election_min_ms: u32,
    #[serde(default = "election_max_ms")]
    #[schemars(range(min = 50, max = 60000))]
    pub election_max_ms: u32,
    /// A snapshot is taken once the log has grown by this much.
    #[serde(default = "snapshot_log_mib")]
    #[schemars(range(min = 1, max = 65536))]
    pub snapshot_log_mib: u32,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.mode) || self.mode != 'Secret' || (has(self.peersSecret) && self.peersSecret != '')")
        .message("mode Secret needs peersSecret"),
    validation = Rule::new("!has(self.clientsMode) || self.clientsMode != 'Secret' || (has(self.clientsSecret) && self.clientsSecret != '')")
        .message("clientsMode Secret needs clientsSecret"),
    validation = Rule::new("(has(self.mode) ? self.mode : 'Operator') == (has(oldSelf.mode) ? oldSelf.mode : 'Operator')")
        .message("tls.mode cannot change: nodes that speak TLS and nodes that do not cannot hear each other"),
    validation = Rule::new("!has(self.clientsMode) || self.clientsMode != 'Operator' || !has(self.mode) || self.mode == 'Operator'")
        .message("clientsMode Operator needs mode Operator, whose authority signs for it")
)]
pub struct Tls {
    /// Between nodes and on the admin port. Operator: the operator makes and renews an authority and certificates.
    /// Secret: they are in `peersSecret`, as cert-manager or a person puts them there. Disabled: plain text.
    #[serde(default)]
    pub mode: TlsMode,
    /// With ca.crt, tls.crt and tls.key, the certificate valid for every node's name, for servers and for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub peers_secret: Option<String>,
    /// On the port of clients.
    #[serde(default = "disabled")]
    pub clients_mode: TlsMode,
    /// With tls.crt and tls.key, and ca.crt if the nodes are to trust another authority there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub clients_secret: Option<String>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    #[default]
    Operator,
    Secret,
    Disabled,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// How many nodes a rollout may restart at once, after the first has proven itself.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3))]
    pub max_concurrent: u32,
    /// How long the first node on a new template has to be well before another is restarted: what fails under load or
    /// by a leak of its own fails there first.
    #[serde(default = "proving_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub proving_seconds: u32,
}

/// When a voter whose volume seems lost gets an empty one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    #[serde(default)]
    pub policy: ReplacementPolicy,
    /// Nobody has heard of it for so long,
    #[serde(default = "unreachable_after_seconds")]
    #[schemars(range(min = 60, max = 604800))]
    pub unreachable_after_seconds: u32,
    /// and it has crashed at least so often.
    #[serde(default = "crash_loops")]
    #[schemars(range(min = 3, max = 1000))]
    pub crash_loops: u32,
    /// Whatever ails more nodes than this is not their volumes.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10))]
    pub max_per_hour: u32,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplacementPolicy {
    #[default]
    Automatic,
    Manual,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The operator looks and reports, and does nothing.
    #[serde(default)]
    pub paused: bool,
    /// No node runs. Volumes and members stay as they are.
    #[serde(default)]
    pub hibernated: bool,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Who may reach the port of clients; everybody, if empty. The other nodes always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub clients_from: Vec<NetworkPolicyPeer>,
    /// Who may reach metrics and probes; everybody, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Whether people make accounts for themselves. If not, librarians and admins make them.
    #[serde(default = "yes")]
    pub open_registration: bool,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// A Secret with the URL of the database, as postgresql://user:password@host/database.
    #[schemars(length(min = 1, max = 253))]
    pub url_secret: String,
    /// The key it is under there.
    #[serde(default = "uri")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// A Secret with the address of a mail server, as smtps://user:password@host, or as
    /// smtp://user:password@host:587?tls=required. It is read at every connection: another password restarts nothing.
    #[schemars(length(min = 1, max = 253))]
    pub url_secret: String,
    /// The key it is under there.
    #[serde(default = "url")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// From whom mail comes, as library@example.org or Library <library@example.org>.
    #[schemars(length(min = 3, max = 320))]
    #[x_kube(validation = Rule::new("self.matches('^([^<>@]*<[^<>@ ]+@[^<>@ ]+>|[^<>@ ]+@[^<>@ ]+)$')")
        .message("from must be an address, as library@example.org or Library <library@example.org>"))]
    pub from: String,
}

/// Programs elsewhere that are told what happens; admins register them with `carrel webhooks add`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Webhooks {
    /// Where they may lie: public is the internet without anything that is somebody's own, others by number, as
    /// 10.20.0.0/16. If empty, events are sent nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(network, network == 'public' || network.matches('^[0-9a-fA-F.:]+/[0-9]{1,3}$'))")
        .message("webhooks.networks are public or networks by number, as 10.20.0.0/16 or fd00::/8"))]
    pub networks: Vec<String>,
}

#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Observability {
    /// Where nodes send traces by OTLP, as http://collector:4317; nowhere, if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
        .message("otlpEndpoint must begin with http:// or https://"))]
    pub otlp_endpoint: Option<String>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Different machines and zones where there are any.
    #[default]
    Preferred,
    /// A node that would share a machine with another is not started.
    Required,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: one_gibibyte(), class_name: None, on_delete: OnDelete::default() }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { open_registration: yes() }
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat_ms: heartbeat_ms(),
            election_min_ms: election_min_ms(),
            election_max_ms: election_max_ms(),
            snapshot_log_mib: snapshot_log_mib(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { mode: TlsMode::Operator, peers_secret: None, clients_mode: disabled(), clients_secret: None }
    }
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_concurrent: one(), proving_seconds: proving_seconds() }
    }
}

impl Default for Replacement {
    fn default() -> Self {
        Self {
            policy: ReplacementPolicy::default(),
            unreachable_after_seconds: unreachable_after_seconds(),
            crash_loops: crash_loops(),
            max_per_hour: one(),
        }
    }
}

fn three() -> i32 {
    3
}

fn proving_seconds() -> u32 {
    60
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn url() -> String {
    "url".to_owned()
}

fn uri() -> String {
    "uri".to_owned()
}

fn one_gibibyte() -> String {
    "1Gi".to_owned()
}

fn heartbeat_ms() -> u32 {
    60
}

fn election_min_ms() -> u32 {
    200
}

fn election_max_ms() -> u32 {
    350
}

fn snapshot_log_mib() -> u32 {
    64
}

fn unreachable_after_seconds() -> u32 {
    600
}

fn crash_loops() -> u32 {
    5
}

fn progress_deadline_seconds() -> u32 {
    900
}

fn disabled() -> TlsMode {
    TlsMode::Disabled
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}
