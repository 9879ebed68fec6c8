//! What an operator may ask of the API server: everything it asks for, and nothing else.
//!
//! A test with a real API server holds this against its audit log, both ways.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use crate::crd::GROUP;
use crate::run::Watch;

/// Rights to some kinds of object, where the clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
}

/// Applying an object asks for `patch`, and for `create` as well where it may not be there yet.
pub const RIGHTS: [Right; 11] = [
    right(GROUP, &["carrelclusters"], &["list", "watch"]),
    right(GROUP, &["carrelclusters/status"], &["patch"]),
    right(GROUP, &["carrelrecoveries"], &["list", "watch"]),
    right(GROUP, &["carrelrecoveries/status"], &["patch"]),
    // Deleted around its pods, when volumes grow.
    right("apps", &["statefulsets"], &["get", "list", "watch", "create", "patch", "delete"]),
    right("", &["pods"], &["get", "list", "watch", "patch", "delete"]),
    right("", &["persistentvolumeclaims"], &["get", "patch", "delete"]),
    right("", &["serviceaccounts", "configmaps", "services"], &["list", "watch", "create", "patch"]),
    right("networking.k8s.io", &["networkpolicies"], &["list", "watch", "create", "patch"]),
    right("policy", &["poddisruptionbudgets"], &["list", "watch", "create", "patch", "delete"]),
    right("events.k8s.io", &["events"], &["create", "patch"]),
];

/// Secrets by name, never all of them; none at all where certificates come from elsewhere.
pub const SECRETS: Right = right("", &["secrets"], &["get", "create", "patch"]);

/// Where the operator runs itself: one Lease.
pub const LEASES: Right = right("coordination.k8s.io", &["leases"], &["get", "create", "update"]);

const fn right(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Right {
    Right { group, resources, verbs }
}

/// Whose rights are printed.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Of the ServiceAccount, and of all that is printed.
    pub name: String,
    /// Where the operator runs.
    pub namespace: String,
    /// Where the clusters are.
    pub watch: Watch,
    pub lease: String,
    /// It makes the keys of clusters.
    pub makes_keys: bool,
}

impl Holder {
    /// The account, its roles and what binds them to it.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let mut rights: Vec<Right> = RIGHTS.to_vec();
        if self.makes_keys {
            rights.push(SECRETS);
        }
        let rules: Vec<PolicyRule> = rights.iter().map(|right| rule(right, right.verbs, None)).collect();
        let election = self.election();
        let account = ServiceAccount { metadata: self.metadata(), ..ServiceAccount::default() };
        match self.watch {
            Watch::Namespace => {
                let rules = rules.into_iter().chain(election).collect();
                let role = Role { metadata: self.metadata(), rules: Some(rules) };
                vec![plain(&account), plain(&role), plain(&self.binding())]
            }
            Watch::Cluster => {
                let everywhere = ObjectMeta { namespace: None, ..self.metadata() };
                let role = ClusterRole { metadata: everywhere.clone(), rules: Some(rules), ..ClusterRole::default() };
                let binding = ClusterRoleBinding {
                    metadata: everywhere,
                    role_ref: self.role_ref("ClusterRole"),
                    subjects: Some(vec![self.subject()]),
                };
                let own = Role { metadata: self.metadata(), rules: Some(election) };
                vec![plain(&account), plain(&role), plain(&binding), plain(&own), plain(&self.binding())]
            }
        }
    }

    /// A name can be part of any rule but that of `create`.
    fn election(&self) -> Vec<PolicyRule> {
        let (create, named): (Vec<&str>, Vec<&str>) = LEASES.verbs.iter().partition(|verb| **verb == "create");
        vec![rule(&LEASES, &create, None), rule(&LEASES, &named, Some(&self.lease))]
    }

    fn metadata(&self) -> ObjectMeta {
        let labels = [("app.kubernetes.io/name".to_owned(), "carrel-operator".to_owned())].into();
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        }
    }

    fn binding(&self) -> RoleBinding {
        RoleBinding { metadata: self.metadata(), role_ref: self.role_ref("Role"), subjects: Some(vec![self.subject()]) }
    }

    fn role_ref(&self, kind: &str) -> RoleRef {
        RoleRef { api_group: "rbac.authorization.k8s.io".to_owned(), kind: kind.to_owned(), name: self.name.clone() }
    }

    fn subject(&self) -> Subject {
        Subject {
            kind: "ServiceAccount".to_owned(),
            name: self.name.clone(),
            namespace: Some(self.namespace.clone()),
            ..Subject::default()
        }
    }
}

/// The objects as one YAML file.
///
/// # Errors
/// If they cannot be written, which would be a fault of theirs.
pub fn yaml(objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(text)
}

fn rule(right: &Right, verbs: &[&str], name: Option<&str>) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![right.group.to_owned()]),
        resources: Some(owned(right.resources)),
        resource_names: name.map(|name| vec![name.to_owned()]),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn plain(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("an object of the API is plain data")
}
