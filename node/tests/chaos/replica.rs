//! One real replica: its ports, its volume, and the process that comes and goes.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::{Channel, Endpoint};

use crate::shim::Control;
use crate::volume::Volume;

/// More than a replica takes to hand over, drain and end.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// The last of what a process said is enough to know why it ended.
const WORDS_BYTES: u64 = 4096;

/// Held for as long as the suite runs, bound and not listened on: a replica that starts can listen there, and meanwhile
/// nobody else is given the port.
#[derive(Debug)]
struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    fn reserve() -> Self {
        let held = TcpSocket::new_v4().expect("a socket");
        held.set_reuseaddr(true).expect("a new socket can be set up");
        held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("some port is free");
        let number = held.local_addr().expect("it is bound").port();
        Self { number, _held: held }
    }
}

#[derive(Debug)]
pub struct Ports {
    client: Port,
    peer: Port,
    admin: Port,
    metrics: Port,
}

impl Ports {
    pub fn reserve() -> Self {
        let [client, peer, admin, metrics] = [(); 4].map(|()| Port::reserve());
        Self { client, peer, admin, metrics }
    }

    pub fn peer(&self) -> u16 {
        self.peer.number
    }

    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client.number)
    }

    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin.number)
    }
}

pub struct Replica {
    pub ordinal: u32,
    pub ports: Ports,
    pub volume: Volume,
    pub shim: Control,
    /// Of what the volume holds, as far as it has said; 0 for none.
    pub node_id: AtomicU64,
    pub log: PathBuf,
    launch: Launch,
    process: Mutex<Process>,
    channel: Channel,
}

/// What every start is given.
pub struct Launch {
    pub shim: PathBuf,
    pub arguments: Vec<String>,
}

/// Whoever holds it decides alone whether the replica runs.
#[derive(Default)]
pub struct Process {
    child: Option<Child>,
    /// Where in the log the words of this one begin.
    log_from: u64,
}

/// A process that ended by itself.
#[derive(Clone, Debug)]
pub struct Ending {
    pub ordinal: u32,
    pub status: ExitStatus,
    pub words: String,
}

impl Ending {
    pub fn is_for_lack_of_space(&self) -> bool {
        self.status.code() == Some(1) && self.words.contains("the disk is full")
    }

    pub fn is_for_a_failed_sync(&self) -> bool {
        self.status.code() == Some(1) && self.words.contains("(os error 5)")
    }
}

impl Replica {
    pub fn new(ordinal: u32, dir: &Path, ports: Ports, volume: Volume, launch: Launch) -> Self {
        let endpoint = Endpoint::from_shared(ports.admin_url()).expect("a well-formed address");
        Self {
            ordinal,
            volume,
            shim: Control::new(dir.join(format!("control-{ordinal}"))),
            node_id: AtomicU64::new(0),
            log: dir.join(format!("replica-{ordinal}.log")),
            launch,
            process: Mutex::default(),
            channel: endpoint.connect_timeout(Duration::from_millis(300)).connect_lazy(),
            ports,
        }
    }

    pub async fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().await
    }

    /// Unless somebody else is about to do something with it.
    pub fn try_process(&self) -> Option<MutexGuard<'_, Process>> {
        self.process.try_lock().ok()
    }

    pub fn admin_url(&self) -> String {
        self.ports.admin_url()
    }

    pub fn admin(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    pub async fn status(&self, limit: Duration) -> Option<admin::GetStatusResponse> {
        let mut admin = self.admin();
        let asked = admin.get_status(admin::GetStatusRequest { local: true });
        let status = tokio::time::timeout(limit, asked).await.ok()?.ok()?.into_inner();
        let node_id = status.identity.as_ref().map_or(0, |identity| identity.node_id);
        self.node_id.store(node_id, Ordering::Relaxed);
        Some(status)
    }

    /// The position of what was written last, if it was.
    pub async fn snapshot(&self, limit: Duration) -> Option<u64> {
        let mut admin = self.admin();
        let asked = admin.trigger_snapshot(admin::TriggerSnapshotRequest {});
        tokio::time::timeout(limit, asked).await.ok()?.ok()?.into_inner().snapshot.map(|snapshot| snapshot.index)
    }

    /// By its metrics. One that is paused or down says nothing.
    pub async fn says_that_its_disk_is_full(&self) -> bool {
        const LIMIT: Duration = Duration::from_secs(1);
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports.metrics.number)).await.ok()?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n").await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer.lines().any(|line| line == "carrel_raft_disk_full 1"))
        };
        tokio::time::timeout(LIMIT, asked).await.ok().flatten().unwrap_or(false)
    }

    pub fn start(&self, process: &mut Process) {
        assert!(process.child.is_none(), "one process at a time");
        let log = File::options().create(true).append(true).open(&self.log).expect("the log can be opened");
        process.log_from = log.metadata().expect("an open file has a length").len();
        let child = Command::new(env!("CARGO_BIN_EXE_carrel"))
            .arg("start")
            .arg("--dir")
            .arg(&self.volume.path)
            .args(["--ordinal", &self.ordinal.to_string()])
            .args(["--client-listen", &format!("127.0.0.1:{}", self.ports.client.number)])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.ports.peer.number)])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.ports.admin.number)])
            .args(["--metrics-listen", &format!("127.0.0.1:{}", self.ports.metrics.number)])
            .args(&self.launch.arguments)
            .args(["--exit-with-parent", &std::process::id().to_string()])
            .env("LD_PRELOAD", &self.launch.shim)
            .env("CARREL_CHAOS_CONTROL", &self.shim.path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be held twice"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        process.child = Some(child.expect("the carrel binary starts"));
    }

    /// With SIGKILL, and waits for it; how it ended, if it ran.
    pub async fn kill(&self, process: &mut Process) -> Option<ExitStatus> {
        let mut child = process.child.take()?;
        child.start_kill().expect("a process of ours can be killed");
        Some(child.wait().await.expect("a process of ours can be waited for"))
    }

    /// As an operator would.
    pub async fn stop(&self, process: &mut Process) {
        process.signal(Signal::TERM);
        let Some(mut child) = process.child.take() else { return };
        if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
            child.kill().await.expect("a process of ours can be killed");
        }
    }

    /// Waits until it ends by itself, for so long.
    pub async fn ends(&self, process: &mut Process, limit: Duration) -> Option<Ending> {
        let child = process.child.as_mut()?;
        let status = tokio::time::timeout(limit, child.wait()).await.ok()?;
        let status = status.expect("a process of ours can be waited for");
        process.child = None;
        let words = self.words(process.log_from);
        Some(Ending { ordinal: self.ordinal, status, words })
    }

    /// The end of what a process said, on one line.
    fn words(&self, from: u64) -> String {
        let mut file = File::open(&self.log).expect("a replica that ran has a log");
        let length = file.metadata().expect("an open file has a length").len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(WORDS_BYTES)))).expect("it is no pipe");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("it can be read");
        String::from_utf8_lossy(&bytes).lines().rev().take(4).collect::<Vec<_>>().join(" | ")
    }

    /// Of a dead replica. It comes back as nobody.
    pub fn wipe(&self) {
        self.volume.wipe();
        self.node_id.store(0, Ordering::Relaxed);
    }

    /// Lines of its log that say that the program was wrong.
    pub fn panics(&self) -> Vec<String> {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked at")).map(ToOwned::to_owned).collect()
    }

    pub fn tail(&self, lines: usize) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        format!("--- replica {}\n{}\n", self.ordinal, all[all.len().saturating_sub(lines)..].join("\n"))
    }
}

impl Process {
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref()?.id().and_then(|pid| Pid::from_raw(pid.cast_signed()))
    }

    pub fn signal(&self, signal: Signal) -> bool {
        self.pid().is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// One letter: running, sleeping, stopped, zombie.
    pub fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?.as_raw_nonzero())).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }
}
