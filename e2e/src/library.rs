//! The verbs of the stories: a library that was installed in a namespace of its own, and what is done to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use carrel_operator::crd::CarrelCluster;
use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::node_status::Role;
use carrel_proto::client::Client;
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::dump::dump;
use crate::ground::Ground;
use crate::wait::until;
use crate::workload::{Addresses, Workload, patient};

/// Name of every release: namespaces keep them apart.
pub const NAME: &str = "library";
/// What the clients of the stories book.
const CATALOG: [&str; 2] = ["--set-file", "catalog.yaml=e2e/catalog.yaml"];
/// An image proves itself in less time than it takes elsewhere.
const PROVING: &str = "disruption.provingSeconds=5";
/// No cluster has more slots in any story.
const SLOTS: u32 = 5;
/// What any one thing may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(420);
/// Nodes are asked again after so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub struct Library {
    pub ground: Arc<Ground>,
    pub namespace: String,
    /// Workloads there were.
    seasons: AtomicU32,
}

/// A fresh namespace, and whatever becomes of the story, its end.
pub async fn with_namespace<T>(
    ground: Arc<Ground>,
    name: &str,
    story: impl AsyncFnOnce(&Library) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let it = Library { namespace: format!("e2e-{name}"), ground, seasons: AtomicU32::new(0) };
    it.remove_namespace().await?;
    it.make_namespace().await?;
    let outcome = story(&it).await;
    if outcome.is_err() {
        let folder: PathBuf = it.ground.dumps.join(name);
        dump(&it.ground, &it.namespace, &folder).await;
        if it.ground.keep {
            return outcome;
        }
    }
    it.remove_namespace().await?;
    outcome
}

/// With the chart installed, and whole.
pub async fn with_cluster<T>(
    ground: Arc<Ground>,
    name: &str,
    replicas: u32,
    story: impl AsyncFnOnce(&Library) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_namespace(ground, name, async |it| {
        let replicas_value = format!("replicas={replicas}");
        let values: &[&str] = if replicas == 3 { &[] } else { &["--set", &replicas_value] };
        it.install(values).await?;
        it.is_whole(replicas).await?;
        story(it).await
    })
    .await
}

impl Library {
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.ground.kube.clone(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub fn clusters(&self) -> Api<CarrelCluster> {
        self.api()
    }

    async fn make_namespace(&self) -> anyhow::Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": self.namespace,
                // Everything in the chart is fit for the strictest of the standards.
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            },
        }))?;
        let namespaces: Api<Namespace> = Api::all(self.ground.kube.clone());
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// With everything in it; how long it took.
    pub async fn remove_namespace(&self) -> anyhow::Result<Duration> {
        let namespaces: Api<Namespace> = Api::all(self.ground.kube.clone());
        let Some(namespace) = namespaces.get_opt(&self.namespace).await? else { return Ok(Duration::ZERO) };
        let uid = namespace.uid().unwrap_or_default();
        let began = Instant::now();
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        until(&namespaces, &self.namespace, PATIENCE, "gone", is_deleted(&uid)).await?;
        Ok(began.elapsed())
    }

    async fn helm(&self, verb: &str, before: &[&str], more: &[&str]) -> anyhow::Result<String> {
        let chart = self.ground.chart.display().to_string();
        let tag = format!("image.tag={}", self.ground.tag);
        let mut args = vec![verb, NAME, &chart, "--namespace", &self.namespace];
        // The operator keeps its image while that of the nodes changes.
        let operator = format!("operator.image.tag={}", self.ground.tag);
        args.extend(["--set", &tag, "--set", &operator, "--set", "postgres.dev.enabled=false"]);
        args.extend(["--set", PROVING]);
        args.extend(self.ground.set.iter().flat_map(|value| ["--set", value]));
        args.extend(before);
        args.extend(more);
        self.ground.helm(&args).await
    }

    pub async fn install(&self, more: &[&str]) -> anyhow::Result<String> {
        self.helm("install", &CATALOG, more).await
    }

    /// As it comes.
    pub async fn install_sample(&self, more: &[&str]) -> anyhow::Result<String> {
        self.helm("install", &[], more).await
    }

    /// With the values it was installed with, unless others are said.
    pub async fn upgrade(&self, more: &[&str]) -> anyhow::Result<String> {
        self.helm("upgrade", &CATALOG, more).await
    }

    pub async fn uninstall(&self) -> anyhow::Result<()> {
        self.ground.helm(&["uninstall", NAME, "--namespace", &self.namespace, "--wait"]).await?;
        Ok(())
    }

    pub async fn helm_test(&self) -> anyhow::Result<()> {
        self.ground.helm(&["test", NAME, "--namespace", &self.namespace, "--timeout", "3m"]).await?;
        Ok(())
    }

    /// Changes what is asked for, as `kubectl patch` does.
    pub async fn ask_for(&self, spec: serde_json::Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.clusters().patch(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// As `kubectl scale` does.
    pub async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.clusters().patch_scale(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Every pod runs and is ready, every one of exactly these votes and is caught up, and nothing is left to do.
    pub async fn is_whole(&self, replicas: u32) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let mut uids = BTreeMap::new();
            for ordinal in 0..replicas {
                let name = pod_name(ordinal);
                let pod =
                    until(&self.pods(), &name, left, "ready", |pod: Option<&Pod>| pod.is_some_and(is_ready)).await;
                let pod = pod.with_context(|| self.namespace.clone())?.context("ready means that it is there")?;
                uids.insert(ordinal, pod.uid().unwrap_or_default());
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            let is_so = |cluster: Option<&CarrelCluster>| cluster.is_some_and(|cluster| stands(cluster, &uids));
            let waited = until(&self.clusters(), NAME, left.min(Duration::from_secs(30)), "whole", is_so).await;
            let pods = self.pods();
            let mut same = true;
            for (ordinal, uid) in &uids {
                let pod = pods.get_opt(&pod_name(*ordinal)).await?;
                same &= pod.is_some_and(|pod| pod.uid().as_ref() == Some(uid) && is_ready(&pod));
            }
            match waited {
                Ok(_) if same => return Ok(()),
                Err(error) if began.elapsed() >= PATIENCE => {
                    let cluster = self.clusters().get_opt(NAME).await?;
                    let status = cluster.and_then(|cluster| cluster.status);
                    let decision = status.and_then(|status| status.decision).map(|decision| decision.why);
                    return Err(error.context(format!("the operator's last word: {decision:?}")));
                }
                // Other pods by now, or a cluster that takes its time.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// A condition of the cluster is so, for this reason if one is named.
    pub async fn has_condition(&self, kind: &str, status: &str, reason: Option<&str>) -> anyhow::Result<()> {
        let is_so = |cluster: Option<&CarrelCluster>| {
            let conditions = cluster.and_then(|cluster| cluster.status.as_ref()).map(|status| &status.conditions);
            conditions.is_some_and(|conditions| {
                conditions.iter().any(|condition| {
                    condition.type_ == kind
                        && condition.status == status
                        && reason.is_none_or(|reason| condition.reason == reason)
                })
            })
        };
        let what = format!("{kind}={status} {}", reason.unwrap_or_default());
        until(&self.clusters(), NAME, PATIENCE, &what, is_so).await?;
        Ok(())
    }

    /// The operator's last word on what it does or waits for has these words in it.
    pub async fn is_decided(&self, words: &str) -> anyhow::Result<()> {
        let is_so = |cluster: Option<&CarrelCluster>| {
            let decision = cluster.and_then(|cluster| cluster.status.as_ref()?.decision.as_ref());
            decision.is_some_and(|decision| decision.why.contains(words))
        };
        until(&self.clusters(), NAME, PATIENCE, &format!("decided upon with the words {words:?}"), is_so).await?;
        Ok(())
    }

    pub async fn cluster(&self) -> anyhow::Result<CarrelCluster> {
        Ok(self.clusters().get(NAME).await?)
    }

    /// Deletes a pod and waits until it is gone, another under its name or not.
    pub async fn delete_pod(&self, ordinal: u32) -> anyhow::Result<()> {
        let name = pod_name(ordinal);
        let uid = self.pods().get(&name).await?.uid().unwrap_or_default();
        self.pods().delete(&name, &DeleteParams::default()).await?;
        until(&self.pods(), &name, PATIENCE, "gone", is_deleted(&uid)).await?;
        Ok(())
    }

    /// At once, without a word to what runs in it.
    pub async fn kill_pod(&self, ordinal: u32) -> anyhow::Result<()> {
        let name = pod_name(ordinal);
        let uid = self.pods().get(&name).await?.uid().unwrap_or_default();
        self.pods().delete(&name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        until(&self.pods(), &name, PATIENCE, "gone", is_deleted(&uid)).await?;
        Ok(())
    }

    /// With its volume: the claim goes when its pod does.
    pub async fn lose_volume(&self, ordinal: u32) -> anyhow::Result<()> {
        let claims: Api<PersistentVolumeClaim> = self.api();
        let claim = format!("data-{}", pod_name(ordinal));
        let uid = claims.get(&claim).await?.uid().unwrap_or_default();
        claims.delete(&claim, &DeleteParams::default()).await?;
        self.kill_pod(ordinal).await?;
        until(&claims, &claim, PATIENCE, "gone", is_deleted(&uid)).await?;
        Ok(())
    }

    /// All of these at the same time.
    pub async fn lose_volumes(&self, ordinals: &[u32]) -> anyhow::Result<()> {
        try_join_all(ordinals.iter().map(|ordinal| self.lose_volume(*ordinal))).await?;
        Ok(())
    }

    /// Every operator, at once and without a word.
    pub async fn kill_operators(&self) -> anyhow::Result<()> {
        let operators = ListParams::default().labels("app.kubernetes.io/name=carrel-operator");
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods().delete_collection(&at_once, &operators).await?;
        Ok(())
    }

    /// Nothing new is put on these machines until the end of what is done meanwhile.
    pub async fn while_cordoned<T>(
        &self,
        machines: &[String],
        what: impl AsyncFnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut outcome = Ok(());
        for machine in machines {
            outcome = outcome.and(self.ground.kubectl(&["cordon", machine]).await.map(|_| ()));
        }
        let outcome = match outcome {
            Ok(()) => what().await,
            Err(error) => Err(error),
        };
        for machine in machines {
            self.ground.kubectl(&["uncordon", machine]).await?;
        }
        outcome
    }

    /// The machine that a node's pod is on.
    pub async fn machine_of(&self, ordinal: u32) -> anyhow::Result<String> {
        let pod = self.pods().get(&pod_name(ordinal)).await?;
        pod.spec.and_then(|spec| spec.node_name).context("the pod has no machine")
    }

    /// Ids of the nodes by ordinal, as the operator sees them.
    pub async fn node_ids(&self) -> anyhow::Result<BTreeMap<u32, u64>> {
        let members = self.cluster().await?.status.map(|status| status.members).unwrap_or_default();
        Ok(members.iter().filter_map(|member| Some((member.ordinal, member.node_id?))).collect())
    }

    /// The ordinal that leads, as the nodes say now.
    pub async fn leader(&self) -> anyhow::Result<u32> {
        let client = Client::new(self.addresses().nodes, patient())?;
        let until = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(ASK_AGAIN_AFTER);
        loop {
            tick.tick().await;
            let status = client.get_status(admin::GetStatusRequest { local: false }).await?;
            if let Some(leader) = status.nodes.iter().find(|node| node.role() == Role::Leader) {
                return Ok(leader.ordinal);
            }
            // Between two of them.
            ensure!(Instant::now() < until, "nobody leads");
        }
    }

    pub async fn some_follower(&self, replicas: u32) -> anyhow::Result<u32> {
        let leader = self.leader().await?;
        Ok((0..replicas).rev().find(|ordinal| *ordinal != leader).unwrap_or(leader))
    }

    pub fn addresses(&self) -> Addresses {
        let namespace = &self.namespace;
        let node = |ordinal| format!("http://{NAME}-{ordinal}.{NAME}-peers.{namespace}.svc.cluster.local:7400");
        Addresses {
            nodes: (0..SLOTS).map(node).collect(),
            service: format!("http://{NAME}.{namespace}.svc.cluster.local:7400"),
        }
    }

    pub async fn clients_work(&self) -> anyhow::Result<Workload> {
        let season = self.seasons.fetch_add(1, Ordering::Relaxed);
        let work = Workload::start(self.addresses(), season).await?;
        work.goes_on(20, PATIENCE).await?;
        Ok(work)
    }

    /// Every pod by its uid: what has been restarted has another.
    pub async fn pod_uids(&self, replicas: u32) -> anyhow::Result<BTreeMap<u32, String>> {
        let mut uids = BTreeMap::new();
        for ordinal in 0..replicas {
            uids.insert(ordinal, self.pods().get(&pod_name(ordinal)).await?.uid().unwrap_or_default());
        }
        Ok(uids)
    }

    /// An object that the API server must refuse, with these words.
    pub async fn is_refused(&self, name: &str, spec: serde_json::Value, words: &str) -> anyhow::Result<()> {
        let mut object = json!({
            "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": { "image": "localhost/carrel:1" },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        let how = PatchParams { dry_run: true, ..PatchParams::apply("carrel-e2e") };
        match self.clusters().patch(name, &how, &Patch::Apply(&object)).await {
            Err(kube::Error::Api(refusal)) => {
                ensure!(refusal.message.contains(words), "{object}: refused for {:?}, not {words:?}", refusal.message);
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => bail!("{object} is taken"),
        }
    }
}

pub fn pod_name(ordinal: u32) -> String {
    format!("{NAME}-{ordinal}")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn stands(cluster: &CarrelCluster, uids: &BTreeMap<u32, String>) -> bool {
    let Some(status) = &cluster.status else { return false };
    let Some(quorum) = &status.quorum else { return false };
    let count = u32::try_from(uids.len()).unwrap_or(u32::MAX);
    let is_member = |(ordinal, uid): (&u32, &String)| {
        let member = status.members.iter().find(|member| member.ordinal == *ordinal);
        member.is_some_and(|member| member.pod_uid.as_ref() == Some(uid) && member.state == "Healthy")
    };
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    status.observed_generation == cluster.metadata.generation
        && ready.is_some_and(|ready| ready.status == "True" && ready.observed_generation == cluster.metadata.generation)
        && (quorum.voters, quorum.healthy) == (count, count)
        && status.members.len() == uids.len()
        && uids.iter().all(is_member)
}
