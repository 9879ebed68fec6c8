//! Every object a cluster consists of, as pure functions of what is asked for: the same question, the same bytes.
//!
//! Objects are JSON in the form of the API, which is also the form of server-side apply: what is not here is not ours.
//! Tests hold each of them against a golden file and against the types of the API.

mod config_map;
mod disruption_budget;
mod network_policy;
mod pod;
mod recovery_order;
mod service_account;
mod services;
mod stateful_set;

pub use disruption_budget::{Budget, disruption_budget};
pub use recovery_order::mounted_order;
pub use stateful_set::{VOLUME_CLAIM, scale, template_only};

use std::collections::BTreeMap;

use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::crd::{BackupSource, CarrelCluster, CarrelClusterSpec, Ordered, RecoveryStage, TlsMode};
use crate::observe::SeenSet;

/// Ports in pods.
pub const CLIENT_PORT: u16 = 7400;
pub const PEER_PORT: u16 = 7410;
pub const ADMIN_PORT: u16 = 7420;
pub const HEALTH_PORT: u16 = 7430;

/// On everything that belongs to a cluster; its value is the cluster's name.
pub const CLUSTER_LABEL: &str = "carrel.dev/cluster";
/// On pods: whether the node votes. What the disruption budget counts.
pub const VOTER_LABEL: &str = "carrel.dev/voter";

/// What the operator knows besides the object.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// As in `r-0.r-peers.namespace.svc.cluster.local`.
    pub cluster_domain: String,
    /// Where the operator runs, and how its pods are labelled: who may reach the admin port.
    pub operator_namespace: String,
    pub operator_labels: BTreeMap<String, String>,
}

/// All that the objects of one cluster follow from.
#[derive(Clone, Debug)]
pub struct Blueprint<'a> {
    pub name: String,
    pub namespace: String,
    /// Of the object: another of the same name is another cluster.
    pub uid: String,
    pub spec: &'a CarrelClusterSpec,
    /// The image to run: the one asked for, or the last good one while that is given up.
    pub image: &'a str,
    /// Of the claims in the set's template: those of a set that exists cannot change, see `Action::Grow`.
    pub volume_size: String,
    /// What nodes are ordered to do with their volumes, after a majority was lost.
    pub ordered: Option<&'a Ordered>,
    /// The order that the set's template names already.
    mounted_order: Option<String>,
    pub surroundings: &'a Surroundings,
    owner: Value,
}

/// What a child is, for whoever applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ServiceAccount,
    ConfigMap,
    Service,
    NetworkPolicy,
    DisruptionBudget,
}

/// A child object, to be applied as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub kind: Kind,
    pub name: String,
    pub body: Value,
}

impl<'a> Blueprint<'a> {
    /// None for an object that never came from an API server: it has no uid to own anything by.
    #[must_use]
    pub fn new(cluster: &'a CarrelCluster, image: &'a str, surroundings: &'a Surroundings) -> Option<Self> {
        let owner = cluster.controller_owner_ref(&())?;
        Some(Self {
            name: cluster.name_any(),
            namespace: cluster.namespace()?,
            uid: cluster.uid()?,
            spec: &cluster.spec,
            image,
            volume_size: cluster.spec.storage.size.clone(),
            ordered: cluster.status.as_ref().and_then(|status| status.recovery.as_ref()),
            mounted_order: None,
            surroundings,
            owner: serde_json::to_value(owner).expect("a reference is plain data"),
        })
    }

    /// For a set that exists: what it asks of claims cannot change, and the order that it names is not forgotten.
    #[must_use]
    pub fn with_set(self, set: &SeenSet) -> Self {
        let volume_size = set.volume_size.clone().unwrap_or(self.volume_size);
        Self { volume_size, mounted_order: set.order.clone(), ..self }
    }

    /// The object that every node has to find before it starts; none while nothing was ever lost.
    #[must_use]
    pub fn order(&self) -> Option<String> {
        let ordered = self.ordered.map(|ordered| recovery_order::name(self, ordered));
        ordered.or_else(|| self.mounted_order.clone())
    }

    /// Everything but the StatefulSet, the disruption budget and the Secrets, which follow from more than what is
    /// asked for.
    #[must_use]
    pub fn children(&self) -> Vec<Child> {
        let always = [
            service_account::service_account(self),
            config_map::config_map(self),
            services::peers(self),
            services::clients(self),
            services::any(self),
            network_policy::network_policy(self),
        ];
        always.into_iter().chain(recovery_order::recovery_order(self)).collect()
    }

    /// What the cluster is being made of, as long as it is not yet.
    #[must_use]
    pub fn backup(&self) -> Option<&'a BackupSource> {
        self.ordered.filter(|ordered| ordered.stage != RecoveryStage::Begun)?.backup.as_ref()
    }

    /// Of the headless service that gives each pod its name.
    #[must_use]
    pub fn peers_service(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// What a certificate of every node is valid for.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let service = format!("*.{}.{}.svc", self.peers_service(), self.namespace);
        vec![format!("{service}.{}", self.surroundings.cluster_domain), service]
    }

    /// What clients may call the nodes besides.
    #[must_use]
    pub fn client_hosts(&self) -> Vec<String> {
        let Self { name, namespace, .. } = self;
        let mut hosts = self.hosts();
        for service in [format!("{name}-clients"), name.clone()] {
            let short = format!("{service}.{namespace}.svc");
            hosts.extend([format!("{short}.{}", self.surroundings.cluster_domain), short, service]);
        }
        // Where `kubectl carrel connect` brings the port.
        hosts.push("localhost".to_owned());
        hosts
    }

    /// The Secret that is mounted for peers and the admin port; none without TLS.
    #[must_use]
    pub fn peers_secret(&self) -> Option<String> {
        match self.spec.tls.mode {
            TlsMode::Operator => Some(format!("{}-peers-tls", self.name)),
            TlsMode::Secret => self.spec.tls.peers_secret.clone(),
            TlsMode::Disabled => None,
        }
    }

    #[must_use]
    pub fn clients_secret(&self) -> Option<String> {
        match self.spec.tls.clients_mode {
            TlsMode::Operator => Some(format!("{}-clients-tls", self.name)),
            TlsMode::Secret => self.spec.tls.clients_secret.clone(),
            TlsMode::Disabled => None,
        }
    }

    /// Which pods are the cluster's: never changes, for a StatefulSet's selector cannot.
    #[must_use]
    pub fn selector(&self) -> Value {
        json!({ "app.kubernetes.io/name": "carrel", CLUSTER_LABEL: self.name })
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "carrel",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/managed-by": "carrel-operator",
            CLUSTER_LABEL: self.name,
        })
    }

    /// Of a child of this name: ours, and gone when the cluster is.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(),
            "ownerReferences": [self.owner],
        })
    }
}

/// `status.selector`, in the form that `/scale` hands out.
#[must_use]
pub fn serialized_selector(name: &str) -> String {
    format!("app.kubernetes.io/name=carrel,{CLUSTER_LABEL}={name}")
}

/// Says whether an object is still what it was.
#[must_use]
pub fn digest(value: &Value) -> String {
    use sha2::{Digest, Sha256};
    let bytes = Sha256::digest(value.to_string().as_bytes());
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
