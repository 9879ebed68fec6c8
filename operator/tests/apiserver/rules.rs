//! Every rule of the definitions, told by the API server and without one, in the same words.

use std::collections::BTreeSet;

use carrel_operator::crd::{self, CarrelCluster, CarrelRecovery};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::cel::{validate_cel, validate_cel_update};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::plane::plane;

/// What is asked for, after what, and what is said to it; nothing, if it is taken.
struct Case {
    before: Option<Value>,
    spec: Value,
    name: &'static str,
    says: &'static str,
}

fn new(spec: Value, says: &'static str) -> Case {
    Case { before: None, spec, name: "r", says }
}

fn changed(before: Value, spec: Value, says: &'static str) -> Case {
    Case { before: Some(before), spec, name: "r", says }
}

fn named(name: &'static str, says: &'static str) -> Case {
    Case { before: None, spec: json!({}), name, says }
}

const NAME: &str = "metadata.name names Services: at most 40 lower-case letters, digits and dashes, a letter first";
const REPLICAS: &str = "replicas must be 1, 3, 5 or 7: an even number bears no more failures than the odd one below it";
const CONCURRENT: &str = "disruption.maxConcurrent may be at most what the voters bear: (replicas - 1) / 2";
const TIMING: &str = "heartbeatMs must be less than half of electionMinMs, and that less than electionMaxMs";
const CLASS: &str = "storage.className cannot change: volumes stay where they are";
const MODE: &str = "tls.mode cannot change: nodes that speak TLS and nodes that do not cannot hear each other";
const APPROVED: &str = "what was approved stays approved";
const ONE_CLUSTER: &str = "a recovery is of one cluster";
const ANOTHER: &str = "what a recovery begins with cannot change: ask for another recovery";
const BELOW: &str = "path must be below the claim: no leading slash, no ..";
const ENDPOINT: &str = "otlpEndpoint must begin with http:// or https://";
const FROM: &str = "from must be an address, as library@example.org or Library <library@example.org>";
const NETWORKS: &str = "webhooks.networks are public or networks by number, as 10.20.0.0/16 or fd00::/8";
const ASLEEP: &str = "replicas cannot change while the cluster hibernates: wake it first";

fn clusters() -> Vec<Case> {
    let asleep =
        |replicas: i32, is_asleep: bool| json!({ "replicas": replicas, "operation": { "hibernated": is_asleep } });
    vec![
        new(json!({}), ""),
        new(json!({ "replicas": 7 }), ""),
        new(json!({ "replicas": 2 }), REPLICAS),
        new(json!({ "replicas": 9 }), REPLICAS),
        new(json!({ "replicas": 3, "disruption": { "maxConcurrent": 2 } }), CONCURRENT),
        new(json!({ "replicas": 5, "disruption": { "maxConcurrent": 2 } }), ""),
        new(json!({ "storage": { "size": "much" } }), "size must be a quantity above zero"),
        new(json!({ "storage": { "size": "0" } }), "size must be a quantity above zero"),
        new(json!({ "observability": { "otlpEndpoint": "collector:4317" } }), ENDPOINT),
        new(json!({ "observability": { "otlpEndpoint": "http://collector:4317" } }), ""),
        new(json!({ "mail": { "urlSecret": "smtp", "from": "the library" } }), FROM),
        new(json!({ "mail": { "urlSecret": "smtp", "from": "Library <library@example.org>" } }), ""),
        new(json!({ "webhooks": { "networks": ["public", "everywhere"] } }), NETWORKS),
        new(json!({ "webhooks": { "networks": ["public", "10.20.0.0/16", "fd00::/8"] } }), ""),
        new(json!({ "raft": { "heartbeatMs": 100 } }), TIMING),
        new(json!({ "tls": { "mode": "Secret" } }), "mode Secret needs peersSecret"),
        new(json!({ "tls": { "mode": "Secret", "peersSecret": "s" } }), ""),
        new(json!({ "tls": { "clientsMode": "Secret" } }), "clientsMode Secret needs clientsSecret"),
        new(
            json!({ "tls": { "mode": "Disabled", "clientsMode": "Operator" } }),
            "clientsMode Operator needs mode Operator, whose authority signs for it",
        ),
        named("a-name-that-is-longer-than-forty-characters", NAME),
        named("1st", NAME),
        changed(json!({ "replicas": 3 }), json!({ "replicas": 5 }), ""),
        changed(json!({ "storage": { "size": "1Gi" } }), json!({ "storage": { "size": "1024Mi" } }), ""),
        changed(json!({ "storage": { "size": "2Gi" } }), json!({ "storage": { "size": "1Gi" } }), "size cannot shrink"),
        changed(json!({}), json!({ "storage": { "className": "fast" } }), CLASS),
        changed(json!({ "storage": { "className": "fast" } }), json!({ "storage": { "className": null } }), CLASS),
        changed(json!({}), json!({ "tls": { "mode": "Disabled" } }), MODE),
        changed(asleep(3, true), asleep(5, true), ASLEEP),
        changed(asleep(3, true), asleep(3, false), ""),
    ]
}

fn object(name: &str, spec: &Value) -> CarrelCluster {
    let mut spec = spec.clone();
    spec["image"] = json!("carrel:1");
    let object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
        "metadata": { "name": name, "namespace": "rules" }, "spec": spec });
    serde_json::from_value(object).expect("well-formed")
}

fn offline(case: &Case) -> String {
    let new = object(case.name, &case.spec);
    let judged = match &case.before {
        None => validate_cel(&new),
        Some(before) => validate_cel_update(&new, &object(case.name, before)),
    };
    judged
        .err()
        .map(|errors| errors.as_slice().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; "))
        .unwrap_or_default()
}

async fn online(client: &Client, case: &Case) -> String {
    let api: Api<CarrelCluster> = Api::namespaced(client.clone(), "rules");
    let make = |spec: &Value| object(case.name, spec);
    let made = match &case.before {
        None => api.create(&PostParams::default(), &make(&case.spec)).await.map(|_| ()),
        Some(before) => {
            api.create(&PostParams::default(), &make(before)).await.expect("what was before makes sense");
            let patch = json!({ "spec": case.spec });
            api.patch(case.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
        }
    };
    let _ = api.delete(case.name, &DeleteParams::default()).await;
    said(made)
}

fn said(outcome: kube::Result<()>) -> String {
    match outcome {
        Ok(()) => String::new(),
        Err(kube::Error::Api(refusal)) => {
            assert_eq!(refusal.code, 422, "{}", refusal.message);
            refusal.message.clone()
        }
        Err(error) => panic!("{error}"),
    }
}

/// The messages of all rules, wherever they stand in a definition.
fn messages(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                found.insert(rule["message"].as_str().expect("every rule says what is wrong").to_owned());
            }
            fields.values().for_each(|value| messages(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| messages(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_rule_has_a_case() {
    let mut rules = BTreeSet::new();
    for (_, definition) in crd::definitions() {
        messages(&serde_json::to_value(definition).expect("plain data"), &mut rules);
    }
    let told: BTreeSet<String> = clusters().iter().map(|case| case.says.to_owned()).collect();
    let recoveries = [APPROVED, ONE_CLUSTER, ANOTHER, BELOW].map(ToOwned::to_owned);
    let untold: Vec<&String> =
        rules.iter().filter(|rule| !told.contains(*rule) && !recoveries.contains(rule)).collect();
    assert!(untold.is_empty(), "no case breaks these: {untold:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_says_what_is_said_without_it() {
    for case in clusters() {
        let text = offline(&case);
        let fits = if case.says.is_empty() { text.is_empty() } else { text.contains(case.says) };
        assert!(fits, "without a server, {} after {:?}: {text:?}", case.spec, case.before);
    }
    let Some(plane) = plane() else { return };
    plane.namespace("rules").await;
    let client = plane.client();
    for case in clusters() {
        let text = online(&client, &case).await;
        let fits = if case.says.is_empty() { text.is_empty() } else { text.contains(case.says) };
        assert!(fits, "by the server, {} after {:?}: {text:?}", case.spec, case.before);
    }

    let api: Api<CarrelRecovery> = Api::namespaced(client.clone(), "rules");
    let recovery = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelRecovery",
        "metadata": { "name": "r-1" }, "spec": { "cluster": "r" } });
    super::create(&client, "rules", &recovery).await;
    let patch = async |spec: Value| {
        let patch = json!({ "spec": spec });
        said(api.patch("r-1", &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ()))
    };
    assert_eq!(patch(json!({ "approve": "abc" })).await, "");
    assert!(patch(json!({ "approve": "def" })).await.contains(APPROVED));
    assert!(patch(json!({ "approve": null })).await.contains(APPROVED));
    assert!(patch(json!({ "cluster": "s" })).await.contains(ONE_CLUSTER));
    assert!(patch(json!({ "backup": { "claim": "backups", "path": "monday" } })).await.contains(ANOTHER));
    assert!(patch(json!({ "backup": { "claim": "backups", "path": "/etc" } })).await.contains(BELOW));
}
