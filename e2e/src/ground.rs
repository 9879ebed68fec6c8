//! What the stories stand on: a cluster, a chart, a Helm, and images.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::process::Command;

use crate::Cli;

/// Longer than any command takes that gets anywhere.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

pub struct Ground {
    pub kube: Client,
    pub helm: PathBuf,
    pub chart: PathBuf,
    /// Values besides those that a story asks for.
    pub set: Vec<String>,
    pub tag: String,
    pub next_tag: String,
    pub localkube: Option<PathBuf>,
    pub dumps: PathBuf,
    pub keep: bool,
}

impl Ground {
    pub async fn new(cli: &Cli) -> anyhow::Result<Arc<Self>> {
        let kube = Client::try_default().await.context("no cluster in reach")?;
        kube.apiserver_version().await.context("the API server does not answer")?;
        Ok(Arc::new(Self {
            kube,
            helm: cli.helm.clone(),
            chart: cli.chart.clone(),
            set: cli.set.clone(),
            tag: cli.tag.clone(),
            next_tag: cli.next_tag.clone(),
            localkube: cli.localkube.clone(),
            dumps: cli.dumps.clone(),
            keep: cli.keep,
        }))
    }

    pub async fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        run(Command::new(&self.helm).args(args)).await
    }

    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        run(Command::new("kubectl").args(args)).await
    }

    /// `node stop n2` and the like.
    pub async fn machine(&self, what: &str, node: &str) -> anyhow::Result<()> {
        self.localkube(&["node", what, node]).await
    }

    /// `kill -9` of what runs in a pod.
    pub async fn kill_processes(&self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        self.localkube(&["kill", namespace, pod]).await
    }

    async fn localkube(&self, args: &[&str]) -> anyhow::Result<()> {
        let script = self.localkube.as_ref().context("there is no localkube")?;
        run(Command::new(script).args(args)).await.map(|_| ())
    }

    /// Every machine that pods may be put on.
    pub async fn machines(&self) -> anyhow::Result<Vec<String>> {
        let nodes = Api::<Node>::all(self.kube.clone()).list(&ListParams::default()).await?;
        let is_open = |node: &&Node| node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true));
        Ok(nodes.items.iter().filter(is_open).map(ResourceExt::name_any).collect())
    }
}

/// What it printed, if it went well; else what it said.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let words = format!("{:?}", command.as_std());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(COMMAND_LIMIT, running).await;
    let output = output.with_context(|| format!("{words} takes for ever"))?.with_context(|| words.clone())?;
    if !output.status.success() {
        bail!(
            "{words}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
