//! The machine that pods run on: it starts real replicas as processes, each on a loopback address of its own, tells the
//! API server how they are, and carries port-forwards to them.
//!
//! It plays the scheduler, the volume provisioner, the mounts and the names as well; the StatefulSet controller is the
//! real one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use carrel_operator::build::HEALTH_PORT;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Binding, ConfigMap, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::plane::Plane;
use super::stream;

/// Between two looks at the pods.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A process that ended is started again after this long, as often as it takes.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// SIGTERM, then SIGKILL.
const GRACE: Duration = Duration::from_secs(8);
/// No image has this name.
pub const MISSING_IMAGE: &str = "carrel:missing";

/// Runs until it is dropped; its processes end with it.
pub struct Kubelet {
    _runs: AbortOnDropHandle<()>,
    _forwards: AbortOnDropHandle<()>,
}

/// What runs for one pod.
struct Running {
    process: Option<Child>,
    pod: String,
    ip: Ipv4Addr,
    ended_at: Option<Instant>,
    /// Of the process that was asked to end.
    asked_at: Option<Instant>,
    restarts: i32,
    /// What it said of itself, and when.
    ready: Option<(Instant, bool)>,
    /// As it was written to the API server.
    told: Value,
}

struct Machine {
    client: Client,
    namespace: String,
    name: String,
    dir: PathBuf,
    /// The first three bytes of its pods' addresses, by cluster.
    networks: BTreeMap<String, [u8; 3]>,
    pods: BTreeMap<String, Running>,
}

impl Kubelet {
    /// Looks after all pods of a namespace.
    pub async fn start(plane: &Plane, namespace: &str) -> Self {
        let client = plane.client();
        let name = format!("machine-{namespace}");
        let dir = plane.dir.join(&name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let addresses = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
        let (port, forwards) = stream::serve(addresses.clone()).await;
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        super::create(&client, "", &node).await;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
            "conditions": [{ "type": "Ready", "status": "True" }] } });
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a machine");
        let namespace = namespace.to_owned();
        let mut machine = Machine { client, namespace, name, dir, networks: BTreeMap::new(), pods: BTreeMap::new() };
        let runs = tokio::spawn(async move {
            loop {
                machine.look().await;
                let known = machine.pods.values().map(|running| (running.pod.clone(), running.ip)).collect();
                *addresses.lock().expect("nobody panics in here") = known;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { _runs: AbortOnDropHandle::new(runs), _forwards: forwards }
    }
}

/// Test binaries that run at once, and the clusters of each, have networks of their own.
fn network() -> [u8; 3] {
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id().to_le_bytes()[0].clamp(2, 250);
    [127, process, DRAWN.fetch_add(1, Ordering::Relaxed)]
}

impl Machine {
    async fn look(&mut self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let Ok(listed) = pods.list(&ListParams::default().match_any()).await else { return };
        self.provision().await;
        let uids: Vec<String> = listed.items.iter().filter_map(ResourceExt::uid).collect();
        for (uid, running) in &mut self.pods {
            if !uids.contains(uid) {
                running.kill();
            }
        }
        self.pods.retain(|uid, _| uids.contains(uid));
        for pod in listed.items {
            // What goes wrong here is tried again at the next look.
            let _ = self.tend(&pods, &pod).await;
        }
    }

    /// Every claim gets its volume at once.
    async fn provision(&self) {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let Ok(listed) = claims.list(&ListParams::default().match_any()).await else { return };
        for claim in listed.items {
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
                let status = json!({ "status": { "phase": "Bound" } });
                let _ = claims.patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
            }
        }
    }

    async fn tend(&mut self, pods: &Api<Pod>, pod: &Pod) -> kube::Result<()> {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let spec = pod.spec.as_ref().expect("a pod has a spec");
        if spec.node_name.is_none() {
            let binding = json!({ "metadata": { "name": name, "namespace": self.namespace },
                "target": { "apiVersion": "v1", "kind": "Node", "name": self.name } });
            let binding: Binding = serde_json::from_value(binding).expect("well-formed");
            pods.create_subresource::<Binding, Value>("binding", &name, &PostParams::default(), &binding).await?;
            return Ok(());
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let is_gone = self.pods.get_mut(&uid).is_none_or(Running::end);
            if is_gone {
                let preconditions = Some(Preconditions { uid: Some(uid), ..Preconditions::default() });
                pods.delete(
                    &name,
                    &DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() },
                )
                .await?;
            }
            return Ok(());
        }
        let cluster = pod.labels().get(carrel_operator::build::CLUSTER_LABEL).cloned().unwrap_or_default();
        let network = *self.networks.entry(cluster).or_insert_with(network);
        let ordinal: u8 = name.rsplit('-').next().and_then(|text| text.parse().ok()).expect("a pod of a set");
        let ip = Ipv4Addr::new(network[0], network[1], network[2], 10 + ordinal);
        let fresh = || Running {
            process: None,
            pod: name.clone(),
            ip,
            ended_at: None,
            asked_at: None,
            restarts: 0,
            ready: None,
            told: Value::Null,
        };
        let running = self.pods.entry(uid.clone()).or_insert_with(fresh);
        let image = spec.containers[0].image.clone().unwrap_or_default();
        let status = if image == MISSING_IMAGE {
            running.status(&image, Some("ImagePullBackOff"))
        } else {
            if running.process.is_none() && running.ended_at.is_none_or(|at| at.elapsed() > RESTART_AFTER) {
                let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
                // A claim that goes is of the pod before.
                let Some(claim) = claims.get_opt(&format!("data-{name}")).await? else { return Ok(()) };
                if claim.metadata.deletion_timestamp.is_some() {
                    return Ok(());
                }
                let volume = self.dir.join("volumes").join(claim.uid().unwrap_or_default());
                let mounts = self.dir.join("pods").join(&uid);
                let environment = environment(&self.client, pod, &volume, &mounts, network).await?;
                let running = self.pods.get_mut(&uid).expect("it is there");
                running.process = Some(start(&environment, ip, &self.dir.join(format!("{name}.log"))));
            }
            let running = self.pods.get_mut(&uid).expect("it is there");
            running.reap();
            running.status(&image, None)
        };
        let running = self.pods.get_mut(&uid).expect("it is there");
        if running.told != status {
            let patch = json!({ "metadata": { "uid": uid }, "status": status });
            pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            running.told = status;
        }
        Ok(())
    }
}

impl Running {
    /// Whether it is over. The first call asks the process to end.
    fn end(&mut self) -> bool {
        let Some(process) = &mut self.process else { return true };
        if matches!(process.try_wait(), Ok(Some(_)) | Err(_)) {
            return true;
        }
        match self.asked_at {
            None => {
                let _ = Command::new("kill").arg(process.id().to_string()).status();
                self.asked_at = Some(Instant::now());
            }
            Some(at) if at.elapsed() > GRACE => self.kill(),
            Some(_) => {}
        }
        false
    }

    fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn reap(&mut self) {
        if let Some(process) = &mut self.process
            && matches!(process.try_wait(), Ok(Some(_)))
        {
            self.process = None;
            self.ended_at = Some(Instant::now());
            self.restarts += 1;
        }
    }

    /// Who is ready is asked less often.
    fn is_ready(&mut self) -> bool {
        match self.ready {
            Some((at, true)) if at.elapsed() < PROBE_EVERY => true,
            _ => {
                let is_ready = answers_ready(self.ip);
                self.ready = Some((Instant::now(), is_ready));
                is_ready
            }
        }
    }

    fn status(&mut self, image: &str, trouble: Option<&str>) -> Value {
        let is_ready = trouble.is_none() && self.process.is_some() && self.is_ready();
        let state = match trouble {
            Some(reason) => json!({ "waiting": { "reason": reason } }),
            None if self.process.is_some() => json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }),
            None => json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        };
        let condition = |kind: &str| json!({ "type": kind, "status": if is_ready { "True" } else { "False" } });
        json!({
            "phase": "Running",
            "podIP": self.ip.to_string(),
            "podIPs": [{ "ip": self.ip.to_string() }],
            "conditions": [condition("Ready"), condition("ContainersReady")],
            "containerStatuses": [{ "name": "carrel", "image": image, "imageID": "", "ready": is_ready,
                "restartCount": self.restarts, "state": state }],
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The settings of a node as the pod gives them, with paths and addresses as they are on this machine.
async fn environment(
    client: &Client,
    pod: &Pod,
    volume: &Path,
    mounts: &Path,
    network: [u8; 3],
) -> kube::Result<BTreeMap<String, String>> {
    let namespace = pod.namespace().unwrap_or_default();
    let spec = pod.spec.as_ref().expect("a pod has a spec");
    let container = &spec.containers[0];
    let mut environment = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let Some(reference) = &source.config_map_ref else { continue };
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        environment.extend(maps.get(&reference.name).await?.data.unwrap_or_default());
    }
    let index = pod.labels().get("apps.kubernetes.io/pod-index").cloned();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => value.clone(),
            (None, Some(_)) => index.clone().expect("the only field asked for is the index"),
            (None, None) => String::new(),
        };
        environment.insert(variable.name.clone(), value);
    }
    std::fs::create_dir_all(volume).expect("a volume");
    for mounted in container.volume_mounts.iter().flatten() {
        let source = spec.volumes.iter().flatten().find(|volume| volume.name == mounted.name);
        let secret = source.and_then(|source| source.secret.as_ref()).and_then(|secret| secret.secret_name.clone());
        let path = match secret {
            Some(secret) => {
                let path = mounts.join(&mounted.name);
                mount_secret(client, &namespace, &secret, &path).await?;
                path
            }
            None => volume.to_owned(),
        };
        for value in environment.values_mut().filter(|value| value.starts_with(&mounted.mount_path)) {
            *value = value.replacen(&mounted.mount_path, &path.to_string_lossy(), 1);
        }
    }
    // Names are not resolved here. With TLS they are what certificates are valid for, and stay: whoever is alone calls
    // nobody.
    let [a, b, c] = network;
    for (name, port) in [("CARREL_PEER_URLS", 7410), ("CARREL_CLIENT_URLS", 7400)] {
        if environment.get(name).is_some_and(|url| url.starts_with("http://")) {
            environment.insert(name.to_owned(), format!("http://{a}.{b}.{c}.1{{ordinal}}:{port}"));
        }
    }
    Ok(environment)
}

async fn mount_secret(client: &Client, namespace: &str, name: &str, path: &Path) -> kube::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get(name).await?;
    std::fs::create_dir_all(path).expect("a directory");
    for (file, ByteString(bytes)) in secret.data.unwrap_or_default() {
        std::fs::write(path.join(file), bytes).expect("written");
    }
    Ok(())
}

/// This very program, as [`super::a_node`].
fn start(environment: &BTreeMap<String, String>, ip: Ipv4Addr, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "a_node", "--nocapture", "--test-threads", "1"]);
    command.env_clear().envs(environment);
    for (variable, port) in [("CLIENT", 7400), ("PEER", 7410), ("ADMIN", 7420), ("METRICS", 7430)] {
        command.env(format!("CARREL_{variable}_LISTEN"), format!("{ip}:{port}"));
    }
    // Small, because there are many; quick to end, because nobody calls.
    command
        .env("CARREL_LOG_SEGMENT_MIB", "1")
        .env("CARREL_DRAIN_SECONDS", "0")
        .env("CARREL_LOG", "warn,openraft=error");
    command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("this program can be run")
}

fn answers_ready(ip: Ipv4Addr) -> bool {
    let limit = Duration::from_millis(300);
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect_timeout(&SocketAddr::from((ip, HEALTH_PORT)), limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(answer.ends_with(b"200"))
    };
    ask().unwrap_or(false)
}
