//! Child objects against golden files, the types of the API, and for the policy: who reaches what.
//! `UPDATE_GOLDEN=1` writes the files; a change of `stateful_set*.yaml` restarts every node of every cluster.

use std::path::Path;

use carrel_operator::build::{self, Blueprint, Budget, disruption_budget, template_only};
use carrel_operator::crd::CarrelCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::surroundings;

fn cluster(spec: Value) -> CarrelCluster {
    let mut spec = spec;
    spec["image"] = json!("registry.example/carrel:1.2.3");
    serde_json::from_value(json!({
        "apiVersion": "carrel.dev/v1alpha1",
        "kind": "CarrelCluster",
        "metadata": { "name": "r", "namespace": "library", "uid": "7d9b6a2e-0000-4000-8000-000000000001" },
        "spec": spec,
    }))
    .expect("well-formed")
}

fn full() -> CarrelCluster {
    cluster(json!({
        "replicas": 5,
        "imagePullPolicy": "Always",
        "storage": { "size": "20Gi", "className": "fast", "onDelete": "Delete" },
        "tls": { "clientsMode": "Operator" },
        "spread": "Required",
        "auth": { "openRegistration": false },
        "firstAdminSecret": "first-admin",
        "firstCatalogConfigMap": "campus",
        "postgres": { "urlSecret": "library-app" },
        "mail": { "urlSecret": "library-smtp", "from": "Library <library@example.org>" },
        "webhooks": { "networks": ["public", "10.20.0.0/16"] },
        "giveUpMinutes": 720,
        "observability": { "otlpEndpoint": "http://collector.telemetry:4317" },
        "network": { "clientsFrom": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "web" } } }] },
        "pod": {
            "metadata": { "annotations": { "team": "library" }, "labels": { "carrel.dev/cluster": "somebody-else" } },
            "spec": {
                "priorityClassName": "high",
                "containers": [{ "name": "carrel", "resources": { "limits": { "memory": "2Gi" } } }],
            },
        },
    }))
}

fn with_blueprint<T>(cluster: &CarrelCluster, look: impl FnOnce(&Blueprint<'_>) -> T) -> T {
    let surroundings = surroundings();
    look(&Blueprint::new(cluster, &cluster.spec.image, &surroundings).expect("it has a uid"))
}

fn golden(name: &str, value: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/golden");
    let path = folder.join(name);
    let text = serde_saphyr::to_string(value).expect("YAML");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(&path, &text).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = written.lines().zip(text.lines()).find(|(written, now)| written != now);
    assert!(written == text, "{} differs (UPDATE_GOLDEN=1 writes it): {difference:?}", path.display());
}

/// Every field is one that the API knows: what it does not know would be dropped in silence, or refused.
fn is_a<T: DeserializeOwned + serde::Serialize>(value: &Value) {
    let typed: T = serde_json::from_value(value.clone()).expect("of this type");
    assert_eq!(serde_json::to_value(&typed).expect("plain data"), *value);
}

#[test]
fn objects_are_as_written_down_and_of_their_types() {
    for (suffix, cluster) in [("", cluster(json!({}))), ("_full", full())] {
        with_blueprint(&cluster, |blueprint| {
            let set = template_only(blueprint);
            is_a::<StatefulSet>(&set);
            golden(&format!("stateful_set{suffix}.yaml"), &set);
            for child in blueprint.children() {
                match child.kind {
                    build::Kind::ServiceAccount => is_a::<ServiceAccount>(&child.body),
                    build::Kind::ConfigMap => is_a::<ConfigMap>(&child.body),
                    build::Kind::Service => is_a::<Service>(&child.body),
                    build::Kind::NetworkPolicy => is_a::<NetworkPolicy>(&child.body),
                    build::Kind::DisruptionBudget => is_a::<PodDisruptionBudget>(&child.body),
                }
                let kind = child.body["kind"].as_str().expect("a kind").to_lowercase();
                golden(&format!("{kind}_{}{suffix}.yaml", child.name), &child.body);
            }
            let budget = Budget { voters: 3, ready_but_behind: 0, is_unsettled: false };
            let budget = disruption_budget(blueprint, budget).expect("for three voters");
            is_a::<PodDisruptionBudget>(&budget.body);
            golden(&format!("poddisruptionbudget_r{suffix}.yaml"), &budget.body);
        });
    }
}

#[test]
fn pods_are_restricted_and_keep_their_labels_whatever_is_laid_over_them() {
    with_blueprint(&full(), |blueprint| {
        let set = template_only(blueprint);
        let template = &set["spec"]["template"];
        assert_eq!(template["metadata"]["labels"]["carrel.dev/cluster"], "r");
        let pod = &template["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(container["resources"]["limits"]["memory"], "2Gi");
        assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
        assert!(set["spec"]["replicas"].is_null(), "the size has another owner");
    });
}

#[test]
fn a_change_of_size_changes_no_template() {
    let render = |replicas: i32| with_blueprint(&cluster(json!({ "replicas": replicas })), template_only);
    assert_eq!(render(3), render(7));
}

#[test]
fn an_order_names_who_begins_until_it_has_begun_and_a_backup_is_mounted_no_longer() {
    let lines = |recovery: Value| {
        let mut cluster = cluster(json!({}));
        cluster.status = serde_json::from_value(json!({ "recovery": recovery })).expect("a status");
        with_blueprint(&cluster, |blueprint| {
            let children = blueprint.children();
            let name = blueprint.order().expect("it was ordered");
            let map = children.iter().find(|child| child.name == name).expect("it is there");
            is_a::<ConfigMap>(&map.body);
            let order = map.body["data"]["order.json"].as_str().expect("an order").to_owned();
            let template = template_only(blueprint);
            is_a::<StatefulSet>(&template);
            (order, template)
        })
    };
    let ordered = |stage: &str| {
        json!({ "by": "mend", "byUid": "u", "stage": stage, "clusterId": "c", "lineage": 2, "ordinal": 1,
            "incarnation": "i", "lastTerm": 3, "lastIndex": 90 })
    };
    let (order, template) = lines(ordered("Stopping"));
    let survivor = r#""survivor":{"incarnation":"i","lastIndex":90,"lastTerm":3}"#;
    assert_eq!(order, format!(r#"{{"clusterId":"c","lineage":2,{survivor}}}"#));
    let (order, after) = lines(ordered("Begun"));
    assert_eq!(order, r#"{"clusterId":"c","lineage":2}"#);
    assert_eq!(template, after, "that it has begun changes no template");
    let never = with_blueprint(&cluster(json!({})), template_only);
    let mounted = |template: &Value| {
        let set: StatefulSet = serde_json::from_value(template.clone()).expect("of its type");
        build::mounted_order(&set)
    };
    assert_eq!(mounted(&never), None, "nobody waits for an order that there never was");
    let name = mounted(&template).expect("nobody starts without it");
    let mut another = ordered("Begun");
    another["byUid"] = json!("v");
    assert_ne!(mounted(&lines(another).1), Some(name), "no kubelet knows what the next one is called");

    let mut of_backup = ordered("Beginning");
    of_backup["backup"] = json!({ "claim": "backups", "path": "monday/library.backup" });
    of_backup.as_object_mut().expect("an object").remove("lineage");
    let (order, template) = lines(of_backup.clone());
    let restore = r#"{"file":"/etc/carrel/backup/monday/library.backup","incarnation":"i","voters":3}"#;
    assert_eq!(order, format!(r#"{{"clusterId":"c","restore":{restore}}}"#));
    assert!(template.to_string().contains("backups"));
    of_backup["stage"] = json!("Begun");
    of_backup["lineage"] = json!(5);
    let (order, template) = lines(of_backup);
    assert_eq!(order, r#"{"clusterId":"c","lineage":5}"#);
    assert!(!template.to_string().contains("backups"));
}

/// Where a call comes from.
struct Source {
    name: &'static str,
    namespace: &'static str,
    labels: &'static [(&'static str, &'static str)],
}

const SOURCES: [Source; 5] = [
    Source {
        name: "a node",
        namespace: "library",
        labels: &[("app.kubernetes.io/name", "carrel"), ("carrel.dev/cluster", "r")],
    },
    Source {
        name: "a node of another cluster",
        namespace: "library",
        labels: &[("app.kubernetes.io/name", "carrel"), ("carrel.dev/cluster", "s")],
    },
    Source { name: "the operator", namespace: "operators", labels: &[("app.kubernetes.io/name", "carrel-operator")] },
    Source {
        name: "who calls itself the operator elsewhere",
        namespace: "library",
        labels: &[("app.kubernetes.io/name", "carrel-operator")],
    },
    Source { name: "a program", namespace: "web", labels: &[("app", "kiosk")] },
];

fn selects(selector: &LabelSelector, has: impl Fn(&str) -> Option<String>) -> bool {
    assert!(selector.match_expressions.is_none(), "not evaluated here");
    selector.match_labels.iter().flatten().all(|(key, value)| has(key).as_ref() == Some(value))
}

/// As a network plugin reads it, for policies of the namespace `library`.
fn admits(policy: &NetworkPolicy, source: &Source, port: u16) -> bool {
    let label = |key: &str| source.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    let namespace_label = |key: &str| (key == "kubernetes.io/metadata.name").then(|| source.namespace.to_owned());
    let fits = |peer: &NetworkPolicyPeer| {
        let pods = peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, label));
        let namespace = match &peer.namespace_selector {
            Some(selector) => selects(selector, namespace_label),
            None => source.namespace == "library",
        };
        peer.ip_block.is_none() && pods && namespace
    };
    let rules = policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref());
    rules.into_iter().flatten().any(|rule| {
        let ports = rule
            .ports
            .as_ref()
            .is_none_or(|ports| ports.iter().any(|allowed| allowed.port == Some(IntOrString::Int(port.into()))));
        let from = rule.from.as_ref().filter(|from| !from.is_empty());
        ports && from.is_none_or(|from| from.iter().any(fits))
    })
}

#[test]
fn the_policy_lets_through_whom_it_should_and_nobody_else() {
    // Of a node, of another cluster's, the operator, its impostor, a program: on 7400, 7410, 7420, 7430, and 22.
    let open = ["yes yes no yes no", "yes no no yes no", "yes no yes yes no", "yes no no yes no", "yes no no yes no"];
    let restricted =
        ["yes yes no yes no", "no no no yes no", "no no yes yes no", "no no no yes no", "yes no no yes no"];
    for (cluster, table) in [(cluster(json!({})), open), (full(), restricted)] {
        with_blueprint(&cluster, |blueprint| {
            let child = blueprint.children().into_iter().find(|child| child.kind == build::Kind::NetworkPolicy);
            let policy: NetworkPolicy = serde_json::from_value(child.expect("a policy").body).expect("of its type");
            for (source, row) in SOURCES.iter().zip(table) {
                let ports = [7400, 7410, 7420, 7430, 22];
                for (port, expected) in ports.into_iter().zip(row.split(' ')) {
                    let admitted = if admits(&policy, source, port) { "yes" } else { "no" };
                    assert_eq!(admitted, expected, "{} on {port}", source.name);
                }
            }
        });
    }
}
