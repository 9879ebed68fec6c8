//! A running operator as Prometheus sees it, through everything that its dashboard and its alerts tell of: what it
//! decided, what a guard denied, what failed, and a cluster that it cannot help.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use carrel_operator::crd::CarrelClusterStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::expressions::selectors;
use super::kubelet::Kubelet;
use super::plane::plane;
use super::stage::{Cluster, Operator};
use super::watcher::{Prometheus, Target, get, promtool_finds_nothing};

const NAMESPACE: &str = "watched";
/// It is asked each second; this is for a busy machine.
const TOLD_LIMIT: Duration = Duration::from_secs(60);

/// What the nodes' own tests serve where no operator runs.
const SAMPLE: &str = include_str!("../../../node/tests/observe/operator.prom");

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_of_the_operator_has_something_to_show() {
    let Some(plane) = plane() else { return };
    let operator = Operator::start(plane, NAMESPACE).await;
    let _machine = Kubelet::start(plane, NAMESPACE).await;
    let target = Target {
        address: format!("127.0.0.1:{}", operator.listens_on),
        labels: vec![("namespace", NAMESPACE.to_owned()), ("carrel_cluster", "r".to_owned())],
    };
    let prometheus = Prometheus::start(&plane.dir, &[target]);
    let spec = json!({ "replicas": 5, "image": "carrel:1", "tls": { "mode": "Disabled" } });
    let cluster = Cluster::create(plane, NAMESPACE, "r", spec).await;
    cluster.settle().await;

    a_guard_says_no(&cluster).await;
    // The volumes that were kept hold ids which are never used again, and are replaced.
    cluster.change(json!({ "replicas": 5 })).await;
    cluster.settle().await;
    cluster.roll_out("carrel:2").await;
    lose_volumes(&cluster, &[1, 2, 3]).await;
    let is_lost = |status: &CarrelClusterStatus| {
        status.conditions.iter().any(|said| said.type_ == "RecoveryRequired" && said.status == "True")
    };
    cluster.wait("known to have lost its majority", |_, status| is_lost(status)).await;

    let began = Instant::now();
    let mut missing = vec!["not looked yet".to_owned()];
    while !missing.is_empty() {
        assert!(began.elapsed() < TOLD_LIMIT, "these show nothing:\n{}", missing.join("\n"));
        // A pass that was under way may have mended it again.
        damage_status(&cluster).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        missing = panels()
            .into_iter()
            .chain(alerts())
            .filter(|(_, query)| is_empty(&prometheus, query))
            .map(|(what, query)| format!("{what}: {query}"))
            .collect();
    }
    let told = get(operator.listens_on, "/metrics").expect("it runs").1;
    promtool_finds_nothing(&told);
    assert_eq!(shapes(SAMPLE).difference(&shapes(&told)).collect::<Vec<_>>(), Vec::<&String>::new(), "none has these");
}

/// Five shall be three while one of the three that would stay is silent.
async fn a_guard_says_no(cluster: &Cluster) {
    let before = cluster.get().await.status.expect("a status");
    let silent = if before.leader.as_deref() == Some("r-1") { "r-0" } else { "r-1" };
    let process = process_of(cluster, silent).await;
    signal(process, "STOP");
    let says = |status: &CarrelClusterStatus, word: &str| {
        status.decision.as_ref().is_some_and(|decision| decision.why.contains(word))
    };
    // Before it is known, nothing is to be said against it.
    cluster.wait("known to be silent", |_, status| says(status, "silent")).await;
    cluster.change(json!({ "replicas": 3 })).await;
    cluster.wait("denied by a guard", |_, status| says(status, "guard G2")).await;
    signal(process, "CONT");
    cluster.settle().await;
    cluster.wait_for_pods(3).await;
}

/// The node of a pod is a process of this machine.
async fn process_of(cluster: &Cluster, pod: &str) -> u32 {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let ip = pods.get(pod).await.expect("it is there").status.and_then(|status| status.pod_ip).expect("it runs");
    let setting = format!("CARREL_METRICS_LISTEN={ip}:7430");
    let processes = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_setting = |number: &u32| {
        let environment = std::fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == setting.as_bytes())
    };
    numbers.into_iter().find(has_setting).expect("somebody listens there")
}

fn signal(process: u32, signal: &str) {
    let ran = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
    assert!(ran.expect("kill is there").success());
}

async fn lose_volumes(cluster: &Cluster, ordinals: &[u32]) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let before = cluster.get().await.status.expect("a status");
    for ordinal in ordinals {
        claims.delete(&format!("data-r-{ordinal}"), &DeleteParams::default()).await.expect("its volume");
        pods.delete(&format!("r-{ordinal}"), &DeleteParams::default()).await.expect("and its pod");
    }
    let noticed = |status: &CarrelClusterStatus| status.decision != before.decision;
    cluster.wait("known to have lost volumes", |_, status| noticed(status)).await;
}

/// The operator finds in its own record what it never wrote.
async fn damage_status(cluster: &Cluster) {
    let status = json!({ "status": { "clusterId": "not a UUID" } });
    cluster.api.patch_status("r", &PatchParams::default(), &Patch::Merge(status)).await.expect("somebody may");
}

/// What each panel asks, for all namespaces.
fn panels() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(include_str!("../../../manifests/dashboards/operator.json")).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let mut asked = Vec::new();
    for panel in list(&board["panels"]) {
        for query in list(&panel["targets"]) {
            let expression = query["expr"].as_str().expect("an expression").replace("$namespace", ".*");
            asked.push((format!("panel {}", panel["title"]), expression));
        }
    }
    assert!(asked.len() > 9, "{asked:?}");
    asked
}

/// What each alert of an operator looks at, label by label.
fn alerts() -> Vec<(String, String)> {
    let rules: Rules = serde_saphyr::from_str(include_str!("../../../manifests/alerts/carrel.yaml")).expect("YAML");
    let mut asked = Vec::new();
    for Rule { alert, expr } in rules.groups.into_iter().flat_map(|group| group.rules) {
        let of_operator = selectors(&expr).into_iter().filter(|selector| selector.starts_with("carrel_operator_"));
        asked.extend(of_operator.map(|selector| (alert.clone(), format!("last_over_time({selector}[10m])"))));
    }
    let alerts: BTreeSet<&String> = asked.iter().map(|(alert, _)| alert).collect();
    assert!(alerts.len() > 6, "{alerts:?}");
    asked
}

fn is_empty(prometheus: &Prometheus, query: &str) -> bool {
    prometheus.at_once(query).unwrap_or_else(|error| panic!("{query}: {error}")).is_empty()
}

/// Names of metrics, each with its labels but not their values.
fn shapes(text: &str) -> BTreeSet<String> {
    let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let shape = |(series, _): (&str, &str)| {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut names: Vec<&str> = labels.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0)).collect();
        names.sort_unstable();
        format!("{name} {}", names.join(" "))
    };
    series.map(shape).collect()
}
