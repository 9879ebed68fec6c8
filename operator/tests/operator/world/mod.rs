//! A world for an operator: an API server, controllers and kubelets, and nodes that can be called. Everything moves
//! only when the test says so.

pub mod api;
pub mod crash;
pub mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrel_operator::build::Surroundings;
use carrel_operator::context::{Context, Settings};
use carrel_operator::crd::{CarrelCluster, CarrelClusterStatus, CarrelRecoveryStatus, Disruption, Stopped};
use carrel_operator::lease::Leadership;
use carrel_operator::metrics::Metrics;
use carrel_operator::reconcile::{Failure, reconcile};
use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use api::ApiServer;
use nodes::Nodes;

pub const NAMESPACE: &str = "library";
pub const NAME: &str = "r";
/// More passes than any story needs.
const PASSES_MAX: usize = 120;

pub struct World {
    pub api: ApiServer,
    pub nodes: Nodes,
    pub operator: Arc<Context>,
    seconds: Arc<AtomicI64>,
    /// How often the kubelet has tried to start what cannot start.
    crashes: BTreeMap<String, i64>,
    /// No machine fits the pods of these ordinals.
    unschedulable: BTreeSet<u32>,
    /// Kubelets remember how things were before there were orders: what may be missing is missing for them, and what
    /// may not be they wait for.
    pub is_order_late: bool,
    /// Nodes begin without what their pods are to find, as if somebody had started them by hand.
    pub is_order_ignored: bool,
}

/// What lies where a node looks for its order.
enum Mounted {
    Nothing,
    Order(Value),
    /// It must be there, and is not yet.
    Awaited,
}

pub fn surroundings() -> Surroundings {
    Surroundings {
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "operators".to_owned(),
        operator_labels: [("app.kubernetes.io/name".to_owned(), "carrel-operator".to_owned())].into(),
    }
}

/// What somebody asks for.
pub fn wanted(replicas: i32) -> Value {
    json!({
        "apiVersion": "carrel.dev/v1alpha1",
        "kind": "CarrelCluster",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": { "replicas": replicas, "image": "carrel:1", "tls": { "mode": "Disabled" } },
    })
}

impl World {
    /// Nothing but the object.
    pub async fn with(object: Value) -> Self {
        let api = ApiServer::default();
        let nodes = Nodes::serve(api.crash.clone(), None).await;
        api.put("carrelclusters", object);
        let seconds = Arc::new(AtomicI64::new(0));
        let operator = operator_of(&api, &nodes, &seconds);
        Self {
            api,
            nodes,
            operator,
            seconds,
            crashes: BTreeMap::new(),
            unschedulable: BTreeSet::new(),
            is_order_late: false,
            is_order_ignored: false,
        }
    }

    /// Nothing but the object, which asks for TLS: the nodes serve once there are keys for them.
    pub async fn secured(object: Value) -> Self {
        let world = Self::with(object).await;
        // Certificates are judged by the clock of the machine.
        let began = Timestamp::now();
        let mut operator = Arc::into_inner(world.another_operator()).expect("nobody else has it");
        operator.clock = Arc::new(move || began);
        let mut world = Self { operator: Arc::new(operator), ..world };
        world.pass().await.expect("a pass");
        let text = |key: &str| secret_text(&world.api, "r-peers-tls", key).expect("keys come before nodes");
        let (ca, certificate, key) = (text("ca.crt"), text("tls.crt"), text("tls.key"));
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(ca));
        let nodes = Nodes::serve(world.api.crash.clone(), Some(tls)).await;
        let mut operator =
            Arc::into_inner(operator_of(&world.api, &nodes, &world.seconds)).expect("nobody else has it");
        operator.clock = Arc::new(move || began);
        Self { operator: Arc::new(operator), nodes, ..world }
    }

    /// A settled cluster of this size.
    pub async fn settled(replicas: i32) -> Self {
        let mut world = Self::with(wanted(replicas)).await;
        world.settle().await;
        world
    }

    /// Another operator, which remembers nothing.
    pub fn another_operator(&self) -> Arc<Context> {
        operator_of(&self.api, &self.nodes, &self.seconds)
    }

    /// The operator's process ends and begins anew.
    pub fn restart_operator(&mut self) {
        self.operator = self.another_operator();
    }

    pub fn advance(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut object = self.object();
        change(&mut object["spec"]);
        self.api.put("carrelclusters", object);
    }

    pub fn object(&self) -> Value {
        self.api.read("carrelclusters", NAMESPACE, NAME).expect("the object is there")
    }

    pub fn status(&self) -> CarrelClusterStatus {
        serde_json::from_value(self.object()["status"].clone()).unwrap_or_default()
    }

    /// Somebody takes away all that the operator wrote down.
    pub fn erase_status(&self) {
        let mut object = self.object();
        object.as_object_mut().expect("an object").remove("status");
        self.api.put("carrelclusters", object);
    }

    pub fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
        condition.map(|condition| (condition.status.clone(), condition.reason.clone())).unwrap_or_default()
    }

    pub fn decision(&self) -> String {
        self.status().decision.map(|decision| decision.why).unwrap_or_default()
    }

    pub fn is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).0 == status
    }

    /// One pass of an operator on the object as it is now.
    pub async fn pass_of(&self, operator: &Arc<Context>) -> Result<Action, Failure> {
        self.tell_operator(operator);
        self.pass_on(operator, self.object()).await
    }

    /// One pass of an operator on the object as its cache has it.
    pub async fn pass_on(&self, operator: &Arc<Context>, object: Value) -> Result<Action, Failure> {
        let cluster: CarrelCluster = serde_json::from_value(object).expect("well-formed");
        reconcile(Arc::new(DeserializeGuard(Ok(cluster))), operator.clone()).await
    }

    /// The world moves, then the operator.
    pub async fn pass(&mut self) -> Result<Action, Failure> {
        self.tick();
        let operator = self.operator.clone();
        self.pass_of(&operator).await
    }

    /// Until nothing is left to do; what was decided on the way, each once.
    pub async fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..PASSES_MAX {
            let outcome = self.pass().await;
            if let Err(failure) = outcome {
                told.push(format!("failed: {failure}"));
                self.operator.attempts.succeeded(NAMESPACE, NAME);
            }
            let why = self.decision();
            if told.last() != Some(&why) {
                told.push(why);
            }
            let status = self.status();
            let is_idle = status.decision.as_ref().is_some_and(|decision| decision.action == "Settled");
            if is_idle && self.is("Ready", "True") {
                self.assert_sound();
                return told;
            }
        }
        panic!("not settled:\n{}", told.join("\n"));
    }

    /// Until the operator waits for what does not happen by itself.
    pub async fn run(&mut self, passes: usize) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for _ in 0..passes {
            if let Err(failure) = self.pass().await {
                told.push(format!("failed: {failure}"));
                self.operator.attempts.succeeded(NAMESPACE, NAME);
            }
            let why = self.decision();
            if told.last() != Some(&why) {
                told.push(why);
            }
        }
        self.assert_sound();
        told
    }

    pub fn assert_sound(&self) {
        let violations = self.nodes.violations();
        assert!(violations.is_empty(), "{violations:?}");
    }

    pub fn pods(&self) -> BTreeMap<String, Value> {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().expect("a name").to_owned();
        self.api.all("pods").into_iter().map(|pod| (name(&pod), pod)).collect()
    }

    pub fn image_of(&self, pod: &str) -> String {
        self.pods()[pod]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
    }

    pub fn set(&self) -> Value {
        self.api.read("statefulsets", NAMESPACE, NAME).expect("the set is there")
    }

    /// Somebody deletes the volume and the pod of an ordinal.
    pub fn lose_volume(&self, ordinal: u32) {
        self.api.remove("persistentvolumeclaims", NAMESPACE, &format!("data-{NAME}-{ordinal}"));
        self.api.remove("pods", NAMESPACE, &format!("{NAME}-{ordinal}"));
    }

    /// What the node of a pod finds when it starts, if it may start.
    fn mounted(&self, pod: &Value) -> Mounted {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let source = volumes.iter().find(|volume| volume["name"] == "recovery").expect("it is always mounted");
        let (name, may_be_missing) = (&source["configMap"]["name"], source["configMap"]["optional"] == true);
        let map = self.api.read("configmaps", NAMESPACE, name.as_str().expect("a name"));
        match map.filter(|_| !self.is_order_late) {
            _ if self.is_order_ignored => Mounted::Nothing,
            Some(map) => {
                let order = map["data"]["order.json"].as_str().expect("an order");
                Mounted::Order(serde_json::from_str(order).expect("JSON"))
            }
            None if may_be_missing => Mounted::Nothing,
            None => Mounted::Awaited,
        }
    }

    /// Somebody asks for a recovery.
    pub fn ask_for_recovery(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["cluster"] = json!(NAME);
        self.api.put(
            "carrelrecoveries",
            json!({
                "apiVersion": "carrel.dev/v1alpha1",
                "kind": "CarrelRecovery",
                "metadata": { "name": name, "namespace": NAMESPACE },
                "spec": spec,
            }),
        );
    }

    pub fn recovery(&self, name: &str) -> CarrelRecoveryStatus {
        let object = self.api.read("carrelrecoveries", NAMESPACE, name).expect("it was asked for");
        serde_json::from_value(object["status"].clone()).unwrap_or_default()
    }

    /// Somebody approves what was found.
    pub fn approve(&self, name: &str, digest: &str) {
        let mut object = self.api.read("carrelrecoveries", NAMESPACE, name).expect("it was asked for");
        object["spec"]["approve"] = json!(digest);
        self.api.put("carrelrecoveries", object);
    }

    /// Watches tell operators.
    fn tell_operator(&self, operator: &Context) {
        for asked in self.api.all("carrelrecoveries") {
            operator.recoveries.saw(&serde_json::from_value(asked).expect("well-formed"));
        }
    }

    /// Controllers and kubelets do what they do.
    pub fn tick(&mut self) {
        if self.decision().contains("has to be well for") {
            self.advance(i64::from(Disruption::default().proving_seconds));
        }
        self.note_deletions();
        for set in self.api.all("statefulsets") {
            self.tend_set(&set);
        }
        self.tend_claims();
        self.tend_pods();
        for set in self.api.all("statefulsets") {
            self.count(set);
        }
    }

    fn note_deletions(&self) {
        for (resource, _, name) in self.api.take_deletions() {
            if resource == "pods"
                && let Some(ordinal) = name.strip_prefix(&format!("{NAME}-")).and_then(|text| text.parse().ok())
            {
                self.nodes.judge_stop(ordinal);
                self.judge_budget(ordinal);
                self.nodes.stop(ordinal);
            }
        }
    }

    /// Whoever drains a machine asks the budget, at the very moment at which the operator stops a voter.
    fn judge_budget(&self, ordinal: u32) {
        let is_roll = |stopped: &Stopped| stopped.ordinal == ordinal && stopped.reason == "Rollout";
        let voters = self.nodes.voters();
        let budget = self.api.read("poddisruptionbudgets", NAMESPACE, NAME);
        if let Some(budget) = budget
            && self.status().disruption.iter().any(is_roll)
            && voters.contains_key(&ordinal)
            && budget["spec"]["minAvailable"].as_u64() != Some(voters.len() as u64)
        {
            self.nodes.note(format!("ordinal {ordinal} was stopped while another might have been evicted: {budget}"));
        }
    }

    fn tend_set(&self, set: &Value) {
        let count = u32::try_from(set["spec"]["replicas"].as_u64().expect("a size")).expect("small");
        let pods = self.pods();
        // A machine that is gone says of no pod that it has stopped.
        let answers = |name: &&String| pods[*name]["metadata"]["deletionTimestamp"].is_null();
        let surplus = pods.keys().filter(|name| ordinal(name) >= count).filter(answers);
        if surplus.clone().next().is_some() && count > 0 {
            self.nodes.judge_scale(count);
        }
        for name in surplus {
            self.api.remove("pods", NAMESPACE, name);
        }
        for at in 0..count {
            let name = format!("{NAME}-{at}");
            let claim = format!("data-{name}");
            if self.api.read("persistentvolumeclaims", NAMESPACE, &claim).is_none() {
                let template = &set["spec"]["volumeClaimTemplates"][0];
                let mut object = template.clone();
                object["metadata"]["name"] = json!(claim);
                object["metadata"]["namespace"] = json!(NAMESPACE);
                self.api.put("persistentvolumeclaims", object);
            }
            if !pods.contains_key(&name) {
                let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {} });
                pod["spec"] = set["spec"]["template"]["spec"].clone();
                pod["metadata"] = set["spec"]["template"]["metadata"].clone();
                pod["metadata"]["name"] = json!(name);
                pod["metadata"]["namespace"] = json!(NAMESPACE);
                pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision(set));
                self.api.put("pods", pod);
            }
        }
    }

    /// A claim that was deleted goes once no pod uses it, and none does that is gone with it.
    fn tend_claims(&self) {
        let pods = self.pods();
        for claim in self.api.all("persistentvolumeclaims") {
            let name = claim["metadata"]["name"].as_str().expect("a name");
            let pod = name.strip_prefix("data-").expect("of ours");
            let is_going = !claim["metadata"]["deletionTimestamp"].is_null();
            // A pod that has not started yet does not protect it.
            if is_going && pods.get(pod).is_none_or(|pod| pod["status"].is_null()) {
                self.api.remove("persistentvolumeclaims", NAMESPACE, name);
            }
        }
    }

    fn tend_pods(&mut self) {
        let pods = self.pods();
        for at in self.nodes.running() {
            if !pods.contains_key(&format!("{NAME}-{at}")) {
                self.nodes.stop(at);
            }
        }
        for (name, mut pod) in pods {
            let at = ordinal(&name);
            let Some(claim) = self.api.read("persistentvolumeclaims", NAMESPACE, &format!("data-{name}")) else {
                continue;
            };
            if self.unschedulable.contains(&at) {
                let unfit = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" });
                pod["status"] = json!({ "phase": "Pending", "conditions": [unfit] });
                self.api.put("pods", pod);
                continue;
            }
            let claim = claim["metadata"]["uid"].as_str().expect("a uid").to_owned();
            let image = pod["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned();
            let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
            let state = match image.as_str() {
                "carrel:missing" => Err(("ImagePullBackOff", 0)),
                "carrel:crashing" => {
                    let crashes = self.crashes.entry(uid).or_default();
                    *crashes += 1;
                    Err(("CrashLoopBackOff", *crashes))
                }
                _ => match self.crashes.get(&claim) {
                    Some(crashes) => Err(("CrashLoopBackOff", *crashes)),
                    None => Ok(()),
                },
            };
            let status = |running: Value, crashes: i64, is_ready: bool| {
                json!({
                    "podIP": Nodes::address(at),
                    "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }],
                    "containerStatuses": [{ "name": "carrel", "image": image, "imageID": "", "ready": is_ready,
                        "restartCount": crashes, "state": running }],
                })
            };
            pod["status"] = match state {
                Ok(()) => {
                    if !self.nodes.is_running(at, &claim) {
                        match self.mounted(&pod) {
                            Mounted::Awaited => continue,
                            Mounted::Nothing => self.nodes.start(at, &claim, None),
                            Mounted::Order(order) => self.nodes.start(at, &claim, Some(&order)),
                        }
                    }
                    let is_ready = image != "carrel:shy";
                    status(json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }), 0, is_ready)
                }
                Err((reason, crashes)) => {
                    self.nodes.stop(at);
                    status(json!({ "waiting": { "reason": reason } }), crashes, false)
                }
            };
            self.api.put("pods", pod);
        }
    }

    /// No machine fits the pod of this ordinal, or one does again.
    pub fn unfit(&mut self, ordinal: u32, is_unfit: bool) {
        if is_unfit {
            self.unschedulable.insert(ordinal);
            self.api.remove("pods", NAMESPACE, &format!("{NAME}-{ordinal}"));
        } else {
            self.unschedulable.remove(&ordinal);
        }
    }

    /// The machine of this ordinal is gone: its pod was told to go, and nobody says that it did.
    pub fn lose_machine(&self, ordinal: u32) {
        let mut pod = self.pods()[&format!("{NAME}-{ordinal}")].clone();
        pod["metadata"]["deletionTimestamp"] = json!(self.operator.now().to_string());
        pod["spec"]["nodeName"] = json!(format!("machine-{ordinal}"));
        self.api.put("pods", pod);
        self.nodes.cut_off(ordinal, true);
    }

    /// Whatever runs on the present volume of this ordinal crashes from now on.
    pub fn break_volume(&mut self, ordinal: u32, crashes: i64) {
        let claim = self.api.read("persistentvolumeclaims", NAMESPACE, &format!("data-{NAME}-{ordinal}"));
        let uid = claim.expect("a claim")["metadata"]["uid"].as_str().expect("a uid").to_owned();
        self.crashes.insert(uid, crashes);
    }

    fn count(&self, mut set: Value) {
        let pods = self.pods();
        let ready = pods.values().filter(|pod| pod["status"]["conditions"][0]["status"] == "True").count();
        set["status"] = json!({
            "observedGeneration": set["metadata"]["generation"],
            "replicas": pods.len(),
            "readyReplicas": ready,
            "updateRevision": revision(&set),
        });
        self.api.put("statefulsets", set);
    }
}

fn operator_of(api: &ApiServer, nodes: &Nodes, seconds: &Arc<AtomicI64>) -> Arc<Context> {
    let limits =
        carrel_steward::Limits { look: std::time::Duration::from_millis(400), step: std::time::Duration::from_secs(2) };
    let settings = Settings { admin_port: nodes.port, limits, ..Settings::new(surroundings()) };
    let mut context = Context::new(api.client(), settings, Metrics::new(), Leadership::always());
    let seconds = seconds.clone();
    let began = Timestamp::from_second(1_780_000_000).expect("a time");
    context.clock = Arc::new(move || began + SignedDuration::from_secs(seconds.load(Ordering::SeqCst)));
    Arc::new(context)
}

pub fn secret_text(api: &ApiServer, name: &str, key: &str) -> Option<String> {
    let secret = api.read("secrets", NAMESPACE, name)?;
    let bytes: ByteString = serde_json::from_value(secret["data"].get(key)?.clone()).expect("base64");
    Some(String::from_utf8(bytes.0).expect("text"))
}

pub fn ordinal(name: &str) -> u32 {
    name.rsplit('-').next().and_then(|text| text.parse().ok()).expect("a pod of a set")
}

fn revision(set: &Value) -> String {
    format!("{NAME}-{}", carrel_operator::build::digest(&set["spec"]["template"]))
}
