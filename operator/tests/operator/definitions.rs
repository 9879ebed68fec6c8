//! The definitions and the operator's roles: fresh on disk, and the rules of the former, tried without a server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carrel_operator::crd::{self, CarrelCluster, CarrelRecovery};
use carrel_operator::role::{self, Holder};
use carrel_operator::run::Watch;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::core::cel::{compile_schema, validate_cel, validate_cel_update};
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("manifests").join(name)
}

#[test]
fn the_definitions_on_disk_are_those_of_the_code() {
    for (file, definition) in crd::definitions() {
        let text = crd::yaml(&definition).expect("written");
        let path = folder("crd").join(file);
        if std::env::var_os("UPDATE_MANIFESTS").is_some() {
            std::fs::create_dir_all(folder("crd")).expect("a folder");
            std::fs::write(&path, &text).expect("written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "UPDATE_MANIFESTS=1 writes {} anew", path.display());
        let read: Value = serde_saphyr::from_str(&written).expect("YAML");
        assert_eq!(read, serde_json::to_value(&definition).expect("plain data"), "{file} reads as it was written");
    }
}

#[test]
fn the_roles_on_disk_are_those_of_the_code() {
    for (file, watch, makes_keys) in [
        ("namespace.yaml", Watch::Namespace, true),
        ("namespace-without-secrets.yaml", Watch::Namespace, false),
        ("cluster.yaml", Watch::Cluster, true),
        ("cluster-without-secrets.yaml", Watch::Cluster, false),
    ] {
        let holder = Holder {
            name: "carrel-operator".to_owned(),
            namespace: "carrel".to_owned(),
            watch,
            lease: "carrel-operator".to_owned(),
            makes_keys,
        };
        let text = role::yaml(&holder.objects()).expect("written");
        let path = folder("rbac").join(file);
        if std::env::var_os("UPDATE_MANIFESTS").is_some() {
            std::fs::create_dir_all(folder("rbac")).expect("a folder");
            std::fs::write(&path, &text).expect("written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "UPDATE_MANIFESTS=1 writes {} anew", path.display());
        assert_eq!(written.contains("secrets"), makes_keys, "{file}: keys may come from elsewhere");
    }
}

#[test]
fn every_rule_compiles() {
    for (file, definition) in crd::definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).expect("plain data");
        let compiled = compile_schema(&schema["openAPIV3Schema"]);
        assert!(!compiled.has_errors(), "{file}: {compiled:?}");
    }
}

fn cluster(spec: Value) -> CarrelCluster {
    named("r", spec)
}

fn named(name: &str, mut spec: Value) -> CarrelCluster {
    spec["image"] = json!("carrel:1");
    let object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
        "metadata": { "name": name, "namespace": "n" }, "spec": spec });
    serde_json::from_value(object).expect("well-formed")
}

fn refusals(cluster: &CarrelCluster) -> String {
    match validate_cel(cluster) {
        Ok(()) => String::new(),
        Err(errors) => errors.as_slice().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let cases = [
        (json!({}), ""),
        (json!({ "replicas": 1 }), ""),
        (json!({ "replicas": 7 }), ""),
        (json!({ "replicas": 2 }), "replicas must be 1, 3, 5 or 7"),
        (json!({ "replicas": 9 }), "replicas must be 1, 3, 5 or 7"),
        (json!({ "replicas": 3, "disruption": { "maxConcurrent": 2 } }), "at most what the voters bear"),
        (json!({ "replicas": 5, "disruption": { "maxConcurrent": 2 } }), ""),
        (json!({ "replicas": 1, "disruption": { "maxConcurrent": 1 } }), ""),
        (json!({ "storage": { "size": "much" } }), "size must be a quantity above zero"),
        (json!({ "storage": { "size": "0" } }), "size must be a quantity above zero"),
        (json!({ "raft": { "heartbeatMs": 100 } }), "heartbeatMs must be less than half"),
        (json!({ "raft": { "electionMinMs": 350 } }), "heartbeatMs must be less than half"),
        (json!({ "tls": { "mode": "Secret" } }), "mode Secret needs peersSecret"),
        (json!({ "tls": { "mode": "Secret", "peersSecret": "s" } }), ""),
        (json!({ "tls": { "clientsMode": "Secret" } }), "clientsMode Secret needs clientsSecret"),
        (
            json!({ "tls": { "mode": "Disabled", "clientsMode": "Operator" } }),
            "clientsMode Operator needs mode Operator",
        ),
        (json!({ "postgres": { "urlSecret": "library-app" } }), ""),
        (json!({ "mail": { "urlSecret": "smtp", "from": "library@example.org" } }), ""),
        (json!({ "mail": { "urlSecret": "smtp", "from": "The Library <library@example.org>" } }), ""),
        (json!({ "mail": { "urlSecret": "smtp", "from": "The Library" } }), "from must be an address"),
        (json!({ "mail": { "urlSecret": "smtp", "from": "a@b <library@example.org>" } }), "from must be an address"),
        (json!({ "webhooks": { "networks": ["public", "10.20.0.0/16", "fd00::/8"] } }), ""),
        (json!({ "webhooks": { "networks": ["intranet"] } }), "public or networks by number"),
        (json!({ "webhooks": { "networks": ["public", "10.20.0.1"] } }), "public or networks by number"),
        (json!({ "giveUpMinutes": 60 }), ""),
        (json!({ "observability": { "otlpEndpoint": "https://collector:4317" } }), ""),
        (json!({ "observability": { "otlpEndpoint": "collector:4317" } }), "must begin with http"),
    ];
    for (spec, expected) in cases {
        let said = refusals(&cluster(spec.clone()));
        assert!(if expected.is_empty() { said.is_empty() } else { said.contains(expected) }, "{spec}: {said:?}");
    }
    assert!(refusals(&named(&"a".repeat(41), json!({}))).contains("at most 40"));
    assert!(refusals(&named("1st", json!({}))).contains("a letter first"));
    assert_eq!(refusals(&named(&"a".repeat(40), json!({}))), "");
}

fn recovery(spec: &Value) -> CarrelRecovery {
    let object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelRecovery",
        "metadata": { "name": "mend", "namespace": "n" }, "spec": spec });
    serde_json::from_value(object).expect("well-formed")
}

#[test]
fn what_was_approved_stays_approved() {
    let monday = json!({ "claim": "backups", "path": "monday" });
    let cases = [
        (json!({ "cluster": "r" }), json!({ "cluster": "r", "approve": "d" }), ""),
        (json!({ "cluster": "r", "approve": "d" }), json!({ "cluster": "r" }), "stays approved"),
        (json!({ "cluster": "r", "approve": "d" }), json!({ "cluster": "r", "approve": "e" }), "stays approved"),
        (json!({ "cluster": "r" }), json!({ "cluster": "s" }), "a recovery is of one cluster"),
        (json!({ "cluster": "r" }), json!({ "cluster": "r", "backup": monday }), "ask for another recovery"),
        (json!({ "cluster": "r", "backup": monday }), json!({ "cluster": "r" }), "ask for another recovery"),
        (json!({ "cluster": "r", "backup": monday }), json!({ "cluster": "r", "backup": monday, "approve": "d" }), ""),
    ];
    for (old, new, expected) in cases {
        let said = match validate_cel_update(&recovery(&new), &recovery(&old)) {
            Ok(()) => String::new(),
            Err(errors) => errors.as_slice().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; "),
        };
        let fits = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
        assert!(fits, "{old} to {new}: {said:?}");
    }
    for path in ["/etc/passwd", "../secrets", "a/../b"] {
        let asked = recovery(&json!({ "cluster": "r", "backup": { "claim": "backups", "path": path } }));
        assert!(validate_cel(&asked).is_err(), "{path}");
    }
}

/// Objects of our kinds in samples, in the plain install and in what the chart renders, with the files they are in.
fn written_out() -> Vec<(String, Value)> {
    let root = folder("crd");
    let root = root.ancestors().nth(2).expect("the workspace");
    let mut files = vec![root.join("manifests/install.yaml")];
    for folder in ["manifests/samples", "charts/tests/golden"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        files.extend(entries.map(|entry| entry.expect("readable").path()));
    }
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for document in text.split("\n---") {
            let value: Value = serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            if value["apiVersion"] == json!(format!("{}/{}", crd::GROUP, crd::VERSION)) {
                found.push((file.display().to_string(), value));
            }
        }
    }
    found
}

#[test]
fn what_is_written_out_is_what_the_definition_allows() {
    let found = written_out();
    assert!(found.len() >= 8, "only {} objects were found", found.len());
    for (file, value) in found {
        let cluster: CarrelCluster = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(refusals(&cluster), "", "{file}");
        // Nothing was misspelt: what was understood has every field that was written.
        let understood = serde_json::to_value(&cluster.spec).expect("plain data");
        let lost: Vec<&String> = lost(&value["spec"], &understood).collect();
        assert!(lost.is_empty(), "{file}: the definition has no {lost:?}");
    }
}

fn lost<'a>(written: &'a Value, understood: &'a Value) -> Box<dyn Iterator<Item = &'a String> + 'a> {
    let Value::Object(fields) = written else { return Box::new(std::iter::empty()) };
    Box::new(fields.iter().flat_map(move |(name, value)| match understood.get(name) {
        None => Box::new(std::iter::once(name)) as Box<dyn Iterator<Item = &'a String> + 'a>,
        Some(known) => lost(value, known),
    }))
}

/// What the operator says when nobody has to do anything, and words that are no reasons.
const NO_TROUBLE: [&str; 28] = [
    "AsWanted",
    "Available",
    "Behind",
    "CrashLoopBackOff",
    "False",
    "Follower",
    "Healthy",
    "Joined",
    "Leader",
    "Learner",
    "LineageConsistent",
    "MajorityWithMargin",
    "NotNeeded",
    "NotPaused",
    "OneCluster",
    "Progressing",
    "QuorumHealthy",
    "Ready",
    "Reconcile",
    "ScaleComplete",
    "Settled",
    "Silent",
    "True",
    "Unheard",
    "Unknown",
    "UpToDate",
    "Waiting",
    "Well",
];

#[test]
fn troubleshooting_knows_every_reason() {
    let root = folder("crd");
    let root = root.ancestors().nth(2).expect("the workspace");
    let documented = std::fs::read_to_string(root.join("docs/kubernetes.md")).expect("readable");
    let mut unknown = std::collections::BTreeSet::new();
    let mut found = 0;
    for source in ["operator/src/decide.rs", "operator/src/status.rs", "operator/src/reconcile.rs"] {
        let text = std::fs::read_to_string(root.join(source)).expect("readable");
        // Every other piece is between quotation marks.
        for word in text.split('"').skip(1).step_by(2) {
            let is_reason = word.len() > 3 && word.starts_with(|c: char| c.is_ascii_uppercase());
            if is_reason && word.chars().all(|c| c.is_ascii_alphabetic()) && !NO_TROUBLE.contains(&word) {
                found += 1;
                if !documented.contains(&format!("`{word}`")) {
                    unknown.insert(word.to_owned());
                }
            }
        }
    }
    assert!(found > 40, "only {found} reasons were found");
    assert!(unknown.is_empty(), "docs/kubernetes.md has no word of {unknown:?}");
}

#[test]
fn what_cannot_change_is_refused_with_a_reason() {
    let cases = [
        (json!({ "replicas": 3 }), json!({ "replicas": 5 }), ""),
        (json!({ "storage": { "size": "1Gi" } }), json!({ "storage": { "size": "2Gi" } }), ""),
        (json!({ "storage": { "size": "2Gi" } }), json!({ "storage": { "size": "1Gi" } }), "size cannot shrink"),
        (json!({ "storage": {} }), json!({ "storage": { "className": "fast" } }), "className cannot change"),
        (json!({ "storage": { "className": "fast" } }), json!({ "storage": {} }), "className cannot change"),
        (json!({ "tls": {} }), json!({ "tls": { "mode": "Disabled" } }), "tls.mode cannot change"),
        (
            json!({ "replicas": 3, "operation": { "hibernated": true } }),
            json!({ "replicas": 5, "operation": { "hibernated": true } }),
            "wake it first",
        ),
        (
            json!({ "replicas": 3, "operation": { "hibernated": true } }),
            json!({ "replicas": 3, "operation": { "hibernated": false } }),
            "",
        ),
    ];
    for (old, new, expected) in cases {
        let said = match validate_cel_update(&cluster(new.clone()), &cluster(old.clone())) {
            Ok(()) => String::new(),
            Err(errors) => errors.as_slice().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; "),
        };
        let fits = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
        assert!(fits, "{old} to {new}: {said:?}");
    }
}

#[test]
fn the_chart_gives_the_operator_its_rights_and_no_more() {
    // The second is left out where keys come from elsewhere.
    for (file, rights) in [("operator-rules.yaml", &role::RIGHTS[..]), ("operator-secrets.yaml", &[role::SECRETS])] {
        let path = folder("crd").ancestors().nth(2).expect("the workspace").join("charts/carrel/rbac").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let rules: Vec<PolicyRule> = serde_saphyr::from_str(&text).expect("a list of rules");
        let mut granted = BTreeSet::new();
        for rule in &rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    granted.extend(rule.verbs.iter().map(|verb| format!("{group} {resource} {verb}")));
                }
            }
        }
        let mut needed = BTreeSet::new();
        for right in rights {
            for resource in right.resources {
                needed.extend(right.verbs.iter().map(|verb| format!("{} {resource} {verb}", right.group)));
            }
        }
        assert_eq!(granted, needed, "{file}");
    }
}
