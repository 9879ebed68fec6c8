//! A cluster of the bench's own: a demo in a process of its own, whose replicas are killed, asked to end and started
//! again from here.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, Options};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{OwnCluster, Place};
use crate::demo::{Ready, read_ready, restart_request};

/// Forming, the catalogue and accounts take seconds; the demo itself gives up after two minutes.
const READY_LIMIT: Duration = Duration::from_secs(150);
/// A replica that starts again reads its log; a cluster without a leader elects one.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The demo gives its replicas ten seconds to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// A follower that is not further behind than this is up to date while others write.
const BEHIND_MAX: u64 = 5_000;

pub struct Stage {
    demo: Child,
    dir: PathBuf,
    ready: Ready,
    status: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub node_id: u64,
    pub ordinal: u32,
    pub term: u64,
}

/// Starts a cluster, works on it, and takes it away again, also when the work fails or is interrupted.
///
/// # Errors
/// Those of the work; then the replicas' logs are kept.
pub async fn with_cluster<T>(
    own: &OwnCluster,
    work: impl AsyncFnOnce(&Stage) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stage = Stage::start(&own.place, own.replicas.count()).await?;
    let result = tokio::select! {
        result = work(&stage) => result,
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    let logs = stage.stop(result.is_ok()).await;
    result.with_context(|| format!("the replicas' logs are kept in {}", logs.display()))
}

impl Stage {
    async fn start(place: &Place, replicas: u32) -> anyhow::Result<Self> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let dir = place.dir.join(format!("bench-{}", &unique[..12]));
        let program = std::env::current_exe().context("cannot find this program to start a cluster with")?;
        let catalogue = match &place.catalogue {
            Some(text) => {
                std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
                let file = dir.join("catalogue.yaml");
                std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
                Some(file)
            }
            None => None,
        };
        let mut demo = Command::new(program)
            .args(["demo", "--output", "json", "--no-restart", "--replicas", &replicas.to_string()])
            .args(["--port", &place.port.to_string(), "--exit-with-parent", &std::process::id().to_string(), "--dir"])
            .arg(&dir)
            .args(place.postgres.then_some("--postgres"))
            .args(catalogue.iter().flat_map(|file| [OsStr::new("--catalog"), file.as_os_str()]))
            .envs(place.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C at the terminal is for the bench, which then stops the demo.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a cluster")?;
        let mut lines = BufReader::new(demo.stdout.take().expect("it was piped above")).lines();
        let line = tokio::time::timeout(READY_LIMIT, lines.next_line()).await.context("no cluster in time")??;
        let line = line.context("the cluster did not start; see above")?;
        // Whatever it says later is of no interest, but must go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let ready: Ready = serde_json::from_str(&line).context("the cluster did not say where it is")?;
        let options = Options { attempt_timeout: Duration::from_secs(1), ..Options::default() };
        let status = Client::new(&ready.endpoints, options)?;
        Ok(Self { demo, dir, ready, status })
    }

    pub fn endpoints(&self) -> &[String] {
        &self.ready.endpoints
    }

    pub fn metrics(&self) -> &[String] {
        &self.ready.metrics
    }

    pub fn admin(&self) -> &[String] {
        &self.ready.admin
    }

    /// # Errors
    /// Never: the endpoints are the demo's.
    pub fn connect(&self, options: Options) -> anyhow::Result<Client> {
        Ok(Client::new(self.endpoints(), options)?)
    }

    /// As the replicas have it that answer, once they agree that one of them leads.
    pub async fn leader(&self) -> anyhow::Result<Leader> {
        self.wait("a leader", leader).await
    }

    /// # Errors
    /// If nobody else leads in time.
    pub async fn other_leader(&self, before: Leader) -> anyhow::Result<Leader> {
        self.wait("another leader", |status| leader(status).filter(|now| now.term > before.term)).await
    }

    /// Until every replica answers and has what the others have.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn whole(&self) -> anyhow::Result<Leader> {
        self.wait("every replica", |status| {
            let newest = status.nodes.iter().map(|node| node.commit_index).max()?;
            let is_up = |node: &admin::NodeStatus| node.reachable && node.applied_index + BEHIND_MAX >= newest;
            leader(status).filter(|_| status.nodes.iter().all(is_up))
        })
        .await
    }

    async fn wait<T>(&self, what: &str, found: impl Fn(&admin::GetStatusResponse) -> Option<T>) -> anyhow::Result<T> {
        let begun = Instant::now();
        loop {
            if let Ok(status) = self.status.get_status(admin::GetStatusRequest::default()).await
                && let Some(found) = found(&status)
            {
                return Ok(found);
            }
            if begun.elapsed() > RECOVERY_LIMIT {
                bail!("no sign of {what} within {} s", RECOVERY_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// # Errors
    /// If the process is gone already.
    pub fn signal(&self, ordinal: u32, signal: Signal) -> anyhow::Result<()> {
        let pids = read_ready(&self.dir)?.pids;
        let pid = pids.get(ordinal as usize).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("no replica {ordinal}"))?;
        kill_process(pid, signal).with_context(|| format!("cannot signal replica {ordinal}"))
    }

    /// Starts a replica again that has ended or is about to.
    ///
    /// # Errors
    /// If the demo does not do it in time.
    pub async fn restart(&self, ordinal: u32) -> anyhow::Result<()> {
        let request = restart_request(&self.dir, ordinal);
        std::fs::write(&request, b"").context("cannot ask for a restart")?;
        let begun = Instant::now();
        while request.exists() {
            ensure!(begun.elapsed() < RECOVERY_LIMIT, "replica {ordinal} was not started again");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The leader gives its place to another and runs on.
    ///
    /// # Errors
    /// If it does not.
    pub async fn transfer(&self, from: Leader) -> anyhow::Result<()> {
        let url = self.ready.admin.get(from.ordinal as usize).context("the leader has an admin port")?;
        let leader = Client::new([url], Options::default())?;
        leader.transfer_leadership(admin::TransferLeadershipRequest { node_id: 0 }).await?;
        Ok(())
    }

    /// Where it was.
    async fn stop(mut self, discard: bool) -> PathBuf {
        if let Some(pid) = self.demo.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, self.demo.wait()).await.is_err() {
            let _ = self.demo.kill().await;
        }
        if discard && let Err(error) = std::fs::remove_dir_all(&self.dir) {
            anstream::eprintln!("{} is left behind: {error}", self.dir.display());
        }
        self.dir
    }
}

/// One that answers and says so itself.
fn leader(status: &admin::GetStatusResponse) -> Option<Leader> {
    let node = status.nodes.iter().find(|node| node.id == status.leader)?;
    let leads = node.reachable && node.role() == admin::node_status::Role::Leader;
    leads.then_some(Leader { node_id: node.id, ordinal: node.ordinal, term: status.term })
}
