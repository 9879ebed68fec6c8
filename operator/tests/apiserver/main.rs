//! The operator and the plugin, as programs, against a real API server with RBAC on, the real StatefulSet controller
//! and
//! real replicas as processes. Only the machine that pods run on is played.
//!
//! Skipped, with a word about it, where etcd, kube-apiserver and kube-controller-manager are not found: in
//! CARREL_KUBE_BIN_DIR, or in ~/.cache/localkube/bin.
//!
//! CARREL_OPERATOR_CLUSTERS=50     settled clusters in one operator, instead of a few
//! CARREL_OPERATOR_REPLICAS=3      nodes of each of them
//! CARREL_OPERATOR_SECONDS=600     for so long they are watched doing nothing
//! CARREL_REPORT=FILE              writes what was measured there, too, as Markdown

mod plane;
mod stream;
mod kubelet;
mod audit;
mod stage;
#[path = "../collector/mod.rs"]
mod collector;
#[path = "../../../node/tests/observe/watcher.rs"]
#[allow(dead_code, reason = "it is shared with the tests of nodes, and each uses a part of it")]
mod watcher;
#[path = "../../../node/tests/observe/expressions.rs"]
#[allow(dead_code, reason = "it is shared with the tests of nodes, and each uses a part of it")]
mod expressions;

mod rules;
mod managers;
mod life;
mod plugin;
mod elsewhere;
mod observe;
mod quiet;

use std::time::Duration;

use carrel_operator::crd::{self, CarrelCluster, CarrelRecovery};
use clap::Parser;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;

/// Makes an object of any kind, in no namespace if that is empty.
async fn create(client: &Client, namespace: &str, object: &Value) {
    let text = |field: &str| object[field].as_str().expect("an object says what it is");
    let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    let api: Api<DynamicObject> = match namespace {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let made: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    let created = api.create(&PostParams::default(), &made).await;
    created.unwrap_or_else(|error| panic!("{object}: {error}"));
}

/// The definitions as they are on disk, until they are served.
async fn install_definitions(client: &Client) {
    const LIMIT: Duration = Duration::from_secs(20);
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("manifests/crd");
    for (file, definition) in crd::definitions() {
        let text = std::fs::read_to_string(folder.join(file)).expect("a definition");
        let object: Value = serde_saphyr::from_str(&text).expect("YAML");
        create(client, "", &object).await;
        let established = kube::runtime::wait::conditions::is_crd_established();
        let name = definition.metadata.name.expect("a definition has a name");
        let waiting = kube::runtime::wait::await_condition(Api::all(client.clone()), &name, established);
        tokio::time::timeout(LIMIT, waiting).await.expect("in time").expect("established");
    }
    let served = async {
        let which = ListParams::default();
        let clusters: Api<CarrelCluster> = Api::all(client.clone());
        let recoveries: Api<CarrelRecovery> = Api::all(client.clone());
        // Established is not served: its storage may still be being made.
        while clusters.list(&which).await.is_err() || recoveries.list(&which).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("in time");
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    node: carrel_node::config::NodeConfig,
}

/// Not a test: the process of one replica, which the kubelet starts with the settings of its pod.
#[test]
#[ignore = "a replica's process, started by the tests"]
fn a_node() {
    let Ok(Settings { node }) = Settings::try_parse_from(["carrel"]) else {
        println!("skipped: the environment has no settings of a node");
        return;
    };
    // It ends with the test, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    carrel_node::start::run(node).expect("it runs until it is asked to end");
}
