//! Programs and waiting: what the stories are told with.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use carrel_operator::crd::{CarrelCluster, CarrelClusterStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::plane::Plane;
use super::watcher::free_port;

/// A change of size on a busy machine.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// `carrel-operator run`, with the rights that `carrel-operator role` prints and no others.
pub struct Operator {
    process: Child,
    pub user: String,
    /// Where it tells how it is.
    pub listens_on: u16,
}

impl Operator {
    /// Of one namespace, which it makes.
    pub async fn start(plane: &Plane, namespace: &str) -> Self {
        plane.namespace(namespace).await;
        Self::enter(plane, namespace, plane.api_port).await
    }

    /// Through this port to the API server.
    pub async fn enter(plane: &Plane, namespace: &str, port: u16) -> Self {
        Self::enter_with(plane, namespace, port, &[], &[]).await
    }

    /// With other rights and settings than usual.
    pub async fn enter_with(
        plane: &Plane,
        namespace: &str,
        port: u16,
        rights: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let program = env!("CARGO_BIN_EXE_carrel-operator");
        let mut role = Command::new(program);
        let printed = role.args(["role", "--namespace", namespace]).args(rights).output().expect("it runs");
        let text = String::from_utf8(printed.stdout).expect("text");
        let objects: Vec<Value> = text
            .split("---\n")
            .filter(|document| !document.trim().is_empty())
            .map(|document| serde_saphyr::from_str(document).expect("YAML"))
            .collect();
        for object in &objects {
            super::create(&plane.client(), namespace, object).await;
        }
        let token = plane.token(namespace, "carrel-operator").await;
        let kubeconfig = write(plane, &format!("operator-{namespace}"), &plane.kubeconfig(port, &token, namespace));
        let log = std::fs::File::create(plane.dir.join(format!("operator-{namespace}.log"))).expect("a log");
        let listens_on = free_port();
        let process = Command::new(program)
            .args(["run", "--listen", &format!("127.0.0.1:{listens_on}")])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", namespace)
            .env("POD_NAME", "the-operator")
            .envs(settings.iter().copied())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it runs");
        Self { process, user: format!("system:serviceaccount:{namespace}:carrel-operator"), listens_on }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn write(plane: &Plane, name: &str, text: &str) -> PathBuf {
    let path = plane.dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// `kubectl carrel`, by somebody with this kubeconfig.
pub fn plugin(kubeconfig: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-carrel"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

/// One cluster, as whoever asks for it sees it.
#[derive(Clone)]
pub struct Cluster {
    pub api: Api<CarrelCluster>,
    pub client: Client,
    pub namespace: String,
    pub name: String,
}

impl Cluster {
    pub async fn create(plane: &Plane, namespace: &str, name: &str, spec: Value) -> Self {
        let client = plane.client();
        let mut object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec });
        // Calm on a machine that does other things, too.
        if object["spec"]["raft"].is_null() {
            object["spec"]["raft"] = json!({ "heartbeatMs": 100, "electionMinMs": 500, "electionMaxMs": 900 });
        }
        super::create(&client, namespace, &object).await;
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub async fn get(&self) -> CarrelCluster {
        self.api.get(&self.name).await.expect("it is there")
    }

    pub async fn change(&self, spec: Value) {
        let patch = json!({ "spec": spec });
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a change");
    }

    /// Asks for another image, and waits until that is the one that has proven itself.
    pub async fn roll_out(&self, image: &str) {
        self.change(json!({ "image": image, "disruption": { "provingSeconds": 2 } })).await;
        self.wait("on another image", |_, status| {
            status.image.as_ref().is_some_and(|known| known.good.as_deref() == Some(image))
        })
        .await;
        self.settle().await;
    }

    /// Until the operator has nothing left to do for what is asked for now.
    pub async fn settle(&self) -> CarrelClusterStatus {
        self.settle_within(SETTLE_LIMIT).await
    }

    pub async fn settle_within(&self, limit: Duration) -> CarrelClusterStatus {
        self.wait_within(limit, "settled", |cluster, status| {
            let is_settled = status.decision.as_ref().is_some_and(|decision| decision.action == "Settled");
            let voters = status.quorum.as_ref().map(|quorum| i64::from(quorum.voters));
            is_settled
                && status.observed_generation == cluster.metadata.generation
                && voters == Some(i64::from(cluster.spec.replicas))
                && status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
        .await
    }

    pub async fn wait(
        &self,
        what: &str,
        until: impl Fn(&CarrelCluster, &CarrelClusterStatus) -> bool,
    ) -> CarrelClusterStatus {
        self.wait_within(SETTLE_LIMIT, what, until).await
    }

    async fn wait_within(
        &self,
        limit: Duration,
        what: &str,
        until: impl Fn(&CarrelCluster, &CarrelClusterStatus) -> bool,
    ) -> CarrelClusterStatus {
        let began = Instant::now();
        loop {
            let cluster = self.get().await;
            let status = cluster.status.clone().unwrap_or_default();
            if until(&cluster, &status) {
                println!("{}/{}: {what} after {:.1} s", self.namespace, self.name, began.elapsed().as_secs_f64());
                return status;
            }
            let decision = status.decision.as_ref().map(|decision| decision.why.clone());
            assert!(began.elapsed() < limit, "not {what}: {decision:?}\n{:#?}", status.conditions);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn pods(&self) -> Vec<k8s_openapi::api::core::v1::Pod> {
        let api = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("{}={}", carrel_operator::build::CLUSTER_LABEL, self.name);
        api.list(&kube::api::ListParams::default().labels(&selector)).await.expect("pods").items
    }

    /// The StatefulSet's controller takes its time with those that are not wanted any more.
    pub async fn wait_for_pods(&self, count: usize) {
        let began = Instant::now();
        while self.pods().await.len() != count {
            assert!(began.elapsed() < SETTLE_LIMIT, "not {count} pods");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where clients reach the nodes.
    pub async fn endpoints(&self) -> Vec<String> {
        let pods = self.pods().await;
        let ip = |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref()?.pod_ip.clone();
        pods.iter().filter_map(ip).map(|ip| format!("http://{ip}:7400")).collect()
    }

    pub async fn pod_uids(&self) -> Vec<String> {
        let mut uids: Vec<String> = self.pods().await.iter().filter_map(ResourceExt::uid).collect();
        uids.sort();
        uids
    }
}
