//! `kubectl carrel`, as a program, against a cluster that runs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use carrel_operator::crd::CarrelRecovery;
use carrel_proto::admin::v1::GetStatusRequest;
use carrel_proto::client::{Client, Options, Tls, new_request_id};
use carrel_proto::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::plane::{Plane, plane};
use super::stage::{self, Cluster};

const PASSWORD: &str = "a good long password";

/// What the program said, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

async fn asked(plane: &Plane, arguments: &[&str]) -> Said {
    let kubeconfig = plane.dir.join("kubeconfig");
    asked_with(kubeconfig, arguments).await
}

async fn asked_with(kubeconfig: std::path::PathBuf, arguments: &[&str]) -> Said {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    // It asks the kubelet of this very process, which must not wait for it.
    let ran = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        stage::plugin(&kubeconfig, &arguments)
    });
    let Output { status, stdout, stderr } = ran.await.expect("it does not panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: status.code().expect("it ends by itself"), out: text(stdout), err: text(stderr) }
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    fn refused(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(text), "{}", self.err);
    }
}

/// A settled cluster of three, without TLS, alone in its namespace.
pub async fn looks_at_a_cluster(plane: &'static Plane, cluster: &Cluster) {
    let namespace = cluster.namespace.as_str();
    let status = asked(plane, &["status", "-n", namespace]).await;
    assert_eq!(status.code, 0, "{}", status.err);
    for expected in ["3 of 3 voters healthy, 2 needed, 1 may still fail", "r-2", "Follower", "Available", "0.1.0"] {
        assert!(status.out.contains(expected), "{expected}:\n{}{}", status.out, status.err);
    }
    println!("{}", status.out);
    let status = asked(plane, &["status", "r", "-n", namespace, "-o", "json"]).await.json();
    let nodes = status["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|node| node["appliedIndex"].as_u64().is_some_and(|index| index > 0)), "{status}");

    let explained = asked(plane, &["explain", "-n", namespace]).await;
    println!("{}", explained.out);
    for expected in ["Settled", "G1 (majority)", "G3 (disrupt)", "stopping r-0 (node 1)", "2 of 3 voters healthy"] {
        assert!(explained.out.contains(expected), "{expected}:\n{}{}", explained.out, explained.err);
    }

    let planned = asked(plane, &["plan", "--replicas", "5", "--image", "carrel:9", "-n", namespace]).await;
    println!("{}", planned.out);
    assert_eq!(planned.code, 0, "{}{}", planned.out, planned.err);
    let at = |text: &str| planned.out.find(text).unwrap_or_else(|| panic!("{text}:\n{}", planned.out));
    assert!(at("run ordinals 0 to 4") < at("give ordinal 3 a node id"));
    assert!(at("give ordinal 4 a node id") < at("voters can go from 3 to 5"));
    assert!(at("voters can go from 3 to 5") < at("restart ordinal"));
    assert!(at("restart ordinal") < at("hand leadership to node"));
    assert!(planned.out.contains("1 change of leader. The end: settled."), "{}", planned.out);
    assert_eq!(cluster.get().await.spec.replicas, 3, "nothing was asked for");
    let shrunk = asked(plane, &["plan", "--replicas", "1", "-n", namespace, "-o", "json"]).await.json();
    assert_eq!(shrunk["endsSettled"], true, "{shrunk}");
    let idle = asked(plane, &["plan", "-n", namespace]).await;
    assert!(idle.out.contains("nothing to do"), "{}", idle.out);

    refusals(plane, namespace).await;
    connects(plane, cluster).await;
}

async fn refusals(plane: &Plane, namespace: &str) {
    asked(plane, &["plan", "--replicas", "4", "-n", namespace]).await.refused(2, "replicas must be 1, 3, 5 or 7");
    asked(plane, &["plan", "--image", "", "-n", namespace]).await.refused(1, "spec.image");
    asked(plane, &["status", "s", "-n", namespace])
        .await
        .refused(1, "no CarrelCluster \"s\" in namespace library; there is r");
    asked(plane, &["status", "-n", "default"]).await.refused(1, "there is no CarrelCluster in namespace default");
    asked(plane, &["status", "--context", "elsewhere"]).await.refused(2, "no kubeconfig to go by");
    asked(plane, &["recover", "-n", namespace]).await.refused(1, "r needs no recovery: as wanted, and well");
    let nobody = stage::write(plane, "nobody", &plane.kubeconfig(plane.api_port, "wrong", "default"));
    asked_with(nobody, &["status"]).await.refused(1, "the API server does not know you");
    super::create(
        &plane.client(),
        namespace,
        &json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "guest" } }),
    )
    .await;
    let token = plane.token(namespace, "guest").await;
    let guest = stage::write(plane, "guest", &plane.kubeconfig(plane.api_port, &token, namespace));
    asked_with(guest, &["status"]).await.refused(1, "not permitted to list clusters");
    let nowhere = stage::write(plane, "nowhere", &plane.kubeconfig(1, "secret", "default"));
    asked_with(nowhere, &["status"]).await.refused(3, "cannot list clusters");
}

/// Ends with the test.
struct Connected(Child);

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command, and the first lines of what it says.
async fn connect(kubeconfig: &Path, cluster: &Cluster, lines: usize) -> (Connected, Vec<String>) {
    let mut connect = Command::new(env!("CARGO_BIN_EXE_kubectl-carrel"));
    connect.args(["connect", &cluster.name, "--port", "0", "-n", &cluster.namespace]).env("KUBECONFIG", kubeconfig);
    let connect = connect.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut connect = Connected(connect);
    let out = BufReader::new(connect.0.stdout.take().expect("piped"));
    let first = tokio::task::spawn_blocking(move || {
        let lines: Vec<String> = out.lines().map_while(Result::ok).take(lines).collect();
        lines
    });
    let said = tokio::time::timeout(Duration::from_secs(20), first).await.expect("in time").expect("it does not panic");
    (connect, said)
}

async fn connects(plane: &'static Plane, cluster: &Cluster) {
    let (_connect, said) = connect(&plane.dir.join("kubeconfig"), cluster, 2).await;
    let endpoints = said[0].strip_prefix("CARREL_ENDPOINTS=").unwrap_or_else(|| panic!("{said:?}"));
    let endpoints: Vec<String> = endpoints.split(',').map(ToOwned::to_owned).collect();
    assert_eq!(endpoints.len(), 3, "{said:?}");
    assert_eq!(said[1], format!("The page: {}/", endpoints[0]));
    let ordinal = async |endpoint: &str| {
        let client = Client::new([endpoint], Options::default()).expect("an address");
        let answer = client.get_status(GetStatusRequest { local: true }).await;
        answer.map(|status| status.identity.expect("it has one").ordinal)
    };
    for (at, endpoint) in endpoints.iter().enumerate() {
        let reached = ordinal(endpoint).await.expect("it answers");
        assert_eq!(reached as usize, at);
    }

    // A pod is replaced; its address here stays.
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let before = pods.get("r-1").await.expect("it is there").uid();
    pods.delete("r-1", &DeleteParams::default()).await.expect("deleted");
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let is_back = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.uid() != before && is_ready(pod));
    let back = kube::runtime::wait::await_condition(pods.clone(), "r-1", is_back);
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("in time").expect("watched");
    cluster.settle().await;
    assert_eq!(ordinal(&endpoints[1]).await.expect("the one that came after it answers"), 1);
}

/// To a port of clients with TLS, with nothing but what the command prints.
pub async fn connects_by_tls(plane: &'static Plane, cluster: &Cluster, secret: &str) {
    let (connect, said) = connect(&plane.dir.join("kubeconfig"), cluster, 3).await;
    let part = |line: &str, name: &str| line.strip_prefix(name).unwrap_or_else(|| panic!("{said:?}")).to_owned();
    let (endpoint, file) = (part(&said[0], "CARREL_ENDPOINTS="), part(&said[1], "CARREL_CA="));
    assert!(endpoint.starts_with("https://localhost:"), "{said:?}");
    assert_eq!(said[2], format!("The page: {endpoint}/"));
    let authorities = std::fs::read(&file).expect("it is there");
    let trusting = |tls: Tls| Client::secured([endpoint.as_str()], Options::default(), &tls).expect("an address");
    let ask = v1::RegisterRequest { request_id: new_request_id(), user_id: "zoe".into(), password: PASSWORD.into() };
    trusting(Tls::trusting(authorities)).register(ask.clone()).await.expect("a promise by TLS");
    let strangers = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed").cert.pem();
    trusting(Tls::trusting(strangers)).register(ask).await.expect_err("nobody else is trusted");

    // It goes with the command, which is asked to end.
    let ended = Command::new("kill").arg(connect.0.id().to_string()).status().expect("it runs");
    assert!(ended.success());
    let began = std::time::Instant::now();
    while Path::new(&file).exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "{file} stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Who may not read the Secret is told of it, and connects all the same.
    let (_connect, said) = connect_as_a_guest(plane, cluster).await;
    assert!(said[1].contains(&format!("the certificate in Secret {secret} (not permitted")), "{said:?}");
}

/// Somebody with the rights that the command says it takes, but that to Secrets.
async fn connect_as_a_guest(plane: &'static Plane, cluster: &Cluster) -> (Connected, Vec<String>) {
    let (client, namespace) = (plane.client(), cluster.namespace.as_str());
    let named = |kind: &str, group: &str, rest: Value| {
        let mut object = json!({ "apiVersion": group, "kind": kind, "metadata": { "name": "visitor" } });
        object.as_object_mut().expect("an object").extend(rest.as_object().cloned().expect("an object"));
        object
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let rule = |group: &str, resource: &str, verbs: Value| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    let rules = json!([
        rule("carrel.dev", "carrelclusters", json!(["get", "list"])),
        rule("", "pods", json!(["get", "list", "watch"])),
        rule("", "pods/portforward", json!(["get", "create"])),
    ]);
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "visitor" });
    let subject = json!({ "kind": "ServiceAccount", "name": "visitor", "namespace": namespace });
    super::create(&client, namespace, &named("ServiceAccount", "v1", json!({}))).await;
    super::create(&client, namespace, &named("Role", rbac, json!({ "rules": rules }))).await;
    let binding = named("RoleBinding", rbac, json!({ "roleRef": role, "subjects": [subject] }));
    super::create(&client, namespace, &binding).await;
    let token = plane.token(namespace, "visitor").await;
    let kubeconfig = stage::write(plane, "visitor", &plane.kubeconfig(plane.api_port, &token, namespace));
    connect(&kubeconfig, cluster, 3).await
}

/// With the certificate from the cluster's Secret, through a port-forward.
pub async fn asks_by_the_admin_port(plane: &'static Plane, cluster: &Cluster, other: &Cluster) {
    let namespace = cluster.namespace.as_str();
    let two = asked(plane, &["status", "-n", namespace]).await;
    two.refused(2, &format!("which cluster? {}, {}", cluster.name, other.name));
    let planned = asked(plane, &["plan", &cluster.name, "--replicas", "3", "-n", namespace]).await;
    assert_eq!(planned.code, 0, "{}{}", planned.out, planned.err);
    assert!(planned.out.contains("1 of 1 voters healthy, 1 needed; node 1 leads"), "{}", planned.out);
}

/// The operator's part of a recovery is played here.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_waits_for_whoever_has_read_what_may_be_lost() {
    let Some(plane) = plane() else { return };
    let namespace = "lost";
    plane.namespace(namespace).await;
    let cluster = Cluster::create(plane, namespace, "r", json!({ "replicas": 3, "image": "carrel:1" })).await;
    let condition = json!({ "type": "RecoveryRequired", "status": "True", "reason": "QuorumLost",
        "message": "quorum lost: 1 of 3 voters answer, 2 needed", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let status = json!({ "status": { "conditions": [condition] } });
    cluster.api.patch_status("r", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    let recoveries: Api<CarrelRecovery> = Api::namespaced(cluster.client.clone(), namespace);

    let survivor = json!({ "ordinal": 2, "lineage": 0, "lastLogTerm": 4, "lastLogIndex": 120,
        "incarnation": "0a1b2c3d-0000-4000-8000-000000000001" });
    let survey = json!({ "status": { "phase": "AwaitingApproval", "chosen": 2, "digest": "d1gest", "newLineage": 1,
        "keptThrough": "2026-01-01T00:00:00Z", "survivors": [survivor] } });
    let operator = tokio::spawn({
        let recoveries = recoveries.clone();
        async move {
            let name = loop {
                let found = recoveries.list(&ListParams::default()).await.expect("listed").items;
                if let Some(recovery) = found.first() {
                    break recovery.name_any();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let how = PatchParams::default();
            recoveries.patch_status(&name, &how, &Patch::Merge(survey)).await.expect("a survey");
            while recoveries.get(&name).await.expect("it is there").spec.approve.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let done = json!({ "status": { "phase": "Done", "message": "r-2 leads." } });
            recoveries.patch_status(&name, &how, &Patch::Merge(done)).await.expect("the end");
        }
    });

    let shown = asked(plane, &["recover", "-n", namespace]).await;
    shown.refused(2, "kubectl carrel recover r --approve d1gest");
    for expected in ["r-2", "chosen", "Loss", "acknowledged", "d1gest"] {
        assert!(shown.out.contains(expected), "{expected}:\n{}", shown.out);
    }
    let list = recoveries.list(&ListParams::default()).await.expect("listed").items;
    assert!(list.len() == 1 && list[0].spec.approve.is_none(), "nothing happens by itself");
    asked(plane, &["recover", "-n", namespace, "--approve", "other"]).await.refused(1, "another digest by now, d1gest");
    let done = asked(plane, &["recover", "-n", namespace, "--approve", "d1gest"]).await;
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("Recovered in lineage 1. r-2 leads."), "{}", done.out);
    operator.await.expect("it does not panic");
}
