//! The replicas as processes: started, tended, stopped.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::config::REPLICAS_MAX;

/// A replica that died is started again after this long.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// What a replica may need to end on its own: its drain, and handing over leadership.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// A replica that ends on its own so many times in a row, each time soon after its start, cannot run at all: its log
/// says why. One that is killed from outside can.
const FAILURES_MAX: usize = 5;
const SOON: Duration = Duration::from_secs(5);

/// Unless the environment says otherwise.
const GENEROUS: [(&str, &str); 3] = [
    ("CARREL_REQUESTS_PER_SECOND_PER_ACCOUNT", "100000"),
    ("CARREL_LOG_INS_PER_SECOND_PER_ADDRESS", "1000"),
    ("CARREL_LETTERS_PER_MINUTE_PER_ACCOUNT", "6000000"),
];

/// Where replica i listens: clients on base+i, peers on base+10+i, admin on base+20+i, metrics on base+30+i.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub base: u16,
    /// Clients, peers and admin; metrics stay plain.
    pub tls: bool,
    /// If set, replica i reaches replica j at links+10*i+j: something stands between them there.
    pub links: Option<u16>,
}

const METRICS: u16 = 30;

impl Ports {
    fn at(self, offset: u16, ordinal: u32) -> u16 {
        self.base + offset + u16::try_from(ordinal).expect("fewer than ten replicas")
    }

    fn url(self, offset: u16, ordinal: u32) -> String {
        let scheme = if self.tls && offset < METRICS { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.at(offset, ordinal))
    }

    pub fn client_url(self, ordinal: u32) -> String {
        self.url(0, ordinal)
    }

    /// Where one replica reaches another.
    fn peer_url(self, from: u32, to: u32) -> String {
        match self.links {
            Some(links) if from != to => {
                let link = u16::try_from(10 * from + to).expect("fewer than ten replicas");
                format!("http://127.0.0.1:{}", links + link)
            }
            _ => self.url(10, to),
        }
    }

    pub fn admin_url(self, ordinal: u32) -> String {
        self.url(20, ordinal)
    }

    pub fn metrics_url(self, ordinal: u32) -> String {
        format!("{}/metrics", self.url(METRICS, ordinal))
    }

    /// # Errors
    /// Names the first port that something else listens on.
    pub fn check(self, count: u32) -> anyhow::Result<()> {
        for ordinal in 0..count {
            for (offset, what) in [(0, "clients"), (10, "peers"), (20, "admin"), (METRICS, "metrics")] {
                let port = self.at(offset, ordinal);
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    bail!(
                        "replica {ordinal} cannot listen on 127.0.0.1:{port} ({what}): {error}\n\
                         Stop what uses the port, or choose others with --port."
                    );
                }
            }
        }
        Ok(())
    }
}

/// A replica that was started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    #[serde(rename = "restarted")]
    pub ordinal: u32,
    pub pid: u32,
    /// Why it ended, if it was itself that gave up.
    #[serde(skip)]
    pub complaint: Option<String>,
}

/// Whoever wants a replica restarted makes this file; it is taken away when that is done.
pub fn restart_request(dir: &Path, ordinal: u32) -> PathBuf {
    dir.join(format!("restart-{ordinal}"))
}

pub struct Processes {
    dir: PathBuf,
    ports: Ports,
    log: String,
    program: PathBuf,
    /// Where the address of Postgres stands, if there is one.
    record: Option<PathBuf>,
    replicas: BTreeMap<u32, Replica>,
}

struct Replica {
    child: Child,
    /// Of the last process, also when it has ended.
    pid: u32,
    started_at: Instant,
    ended_at: Option<Instant>,
    /// In a row.
    failures: usize,
    /// It ended by itself and not well.
    gave_up: bool,
}

impl Processes {
    pub fn new(dir: &Path, ports: Ports, log: String) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start replicas with")?;
        Ok(Self { dir: dir.to_owned(), ports, log, program, record: None, replicas: BTreeMap::new() })
    }

    /// In the Postgres whose address this file holds.
    pub fn keep_record(&mut self, url_file: PathBuf) {
        self.record = Some(url_file);
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// By ordinal.
    pub fn pids(&self) -> Vec<u32> {
        self.replicas.values().map(|replica| replica.pid).collect()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the certificates of a demo with TLS lie.
    pub fn keys(dir: &Path) -> PathBuf {
        dir.join("demo-keys")
    }

    fn volume(&self, ordinal: u32) -> PathBuf {
        self.dir.join(format!("replica-{ordinal}"))
    }

    pub fn first_admin_file(dir: &Path) -> PathBuf {
        dir.join("first-admin.txt")
    }

    /// Exactly the ordinals below `count`.
    pub async fn run(&mut self, count: u32) -> anyhow::Result<()> {
        let surplus: Vec<u32> = self.replicas.keys().copied().filter(|&ordinal| ordinal >= count).collect();
        for ordinal in surplus {
            self.stop(ordinal).await;
        }
        for ordinal in 0..count {
            if !self.replicas.contains_key(&ordinal) {
                let replica = self.spawn(ordinal)?;
                self.replicas.insert(ordinal, replica);
            }
        }
        Ok(())
    }

    /// Starts again what has ended and what was asked for.
    ///
    /// # Errors
    /// If a replica keeps ending.
    pub async fn tend(&mut self, restart: bool, requested: &[u32]) -> anyhow::Result<Vec<Exit>> {
        let mut restarted = Vec::new();
        let ordinals: Vec<u32> = self.replicas.keys().copied().collect();
        for ordinal in ordinals {
            let replica = self.replicas.get_mut(&ordinal).expect("listed above");
            if replica.ended_at.is_none()
                && let Some(status) = replica.child.try_wait()?
            {
                replica.gave_up = status.code().is_some_and(|code| code != 0);
                replica.ended_at = Some(Instant::now());
                let failed = status.code().is_some() && replica.started_at.elapsed() < SOON;
                replica.failures = if failed { replica.failures + 1 } else { 0 };
                // Where nothing starts by itself, whoever asks for each start knows how often it failed.
                if restart && replica.failures >= FAILURES_MAX {
                    bail!(
                        "replica {ordinal} ended {FAILURES_MAX} times in a row. The end of its log, {}:\n{}",
                        self.log_file(ordinal).display(),
                        self.last_words(ordinal)
                    );
                }
            }
            let is_due = restart && replica.ended_at.is_some_and(|at| at.elapsed() >= RESTART_AFTER);
            if !is_due && !requested.contains(&ordinal) {
                continue;
            }
            let failures = replica.failures;
            let gave_up = replica.gave_up;
            let complaint = if gave_up { self.last_complaint(ordinal) } else { None };
            self.stop(ordinal).await;
            let mut replica = self.spawn(ordinal)?;
            replica.failures = failures;
            restarted.push(Exit { ordinal, pid: replica.pid, complaint });
            self.replicas.insert(ordinal, replica);
        }
        Ok(restarted)
    }

    /// The ordinals that somebody asked to be restarted.
    pub fn restart_requests(&self) -> Vec<u32> {
        self.replicas.keys().copied().filter(|&ordinal| restart_request(&self.dir, ordinal).exists()).collect()
    }

    /// Once whoever asked for a restart can read about it.
    pub fn restart_is_known(&self, ordinal: u32) -> anyhow::Result<()> {
        let request = restart_request(&self.dir, ordinal);
        match fs::remove_file(&request) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", request.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Stops a replica, puts its data aside and starts it on an empty volume.
    pub async fn set_volume_aside(&mut self, ordinal: u32) -> anyhow::Result<()> {
        self.stop(ordinal).await;
        let volume = self.volume(ordinal);
        // Of a demo, the latest is enough.
        let aside = self.dir.join(format!("replica-{ordinal}.aside"));
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", aside.display()));
            }
            Ok(()) | Err(_) => {}
        }
        fs::rename(&volume, &aside).with_context(|| format!("cannot put {} aside", volume.display()))?;
        let replica = self.spawn(ordinal)?;
        self.replicas.insert(ordinal, replica);
        Ok(())
    }

    pub async fn stop_all(&mut self) {
        for replica in self.replicas.values() {
            replica.ask_to_end();
        }
        let ordinals: Vec<u32> = self.replicas.keys().copied().collect();
        for ordinal in ordinals {
            self.stop(ordinal).await;
        }
    }

    async fn stop(&mut self, ordinal: u32) {
        let Some(mut replica) = self.replicas.remove(&ordinal) else { return };
        replica.ask_to_end();
        if tokio::time::timeout(STOP_LIMIT, replica.child.wait()).await.is_err() {
            tracing::warn!(ordinal, "did not end in time and is killed");
            let _ = replica.child.kill().await;
        }
    }

    fn spawn(&self, ordinal: u32) -> anyhow::Result<Replica> {
        let volume = self.volume(ordinal);
        // Password hashes and messages lie there.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&volume);
        made.with_context(|| format!("cannot make {}", volume.display()))?;
        let log = self.log_file(ordinal);
        let log = File::options().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("cannot write {}", self.log_file(ordinal).display()))?;
        // Every slot there could ever be, so that a cluster can grow without restarting those that run.
        let urls = |url: &dyn Fn(u32) -> String| (0..REPLICAS_MAX).map(url).collect::<Vec<_>>().join(",");
        let peer_urls = urls(&|other| self.ports.peer_url(ordinal, other));
        let client_urls = urls(&|other| self.ports.client_url(other));
        let listen = |offset| format!("127.0.0.1:{}", self.ports.at(offset, ordinal));
        let mut command = Command::new(&self.program);
        command
            .arg("start")
            .arg("--dir")
            .arg(&volume)
            .args(["--ordinal", &ordinal.to_string()])
            .args(["--peer-urls", &peer_urls, "--client-urls", &client_urls])
            .args(["--client-listen", &listen(0), "--peer-listen", &listen(10)])
            .args(["--admin-listen", &listen(20), "--metrics-listen", &listen(METRICS)])
            .arg("--first-admin-file")
            .arg(Self::first_admin_file(&self.dir))
            .args(["--log", &self.log])
            .args(["--exit-with-parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for the demo, which then stops them in order.
            .process_group(0)
            .kill_on_drop(true);
        // People measure demos, with a few accounts and from one address.
        for (setting, value) in GENEROUS {
            if std::env::var_os(setting).is_none() {
                command.env(setting, value);
            }
        }
        if self.ports.tls {
            let keys = Self::keys(&self.dir);
            command.arg("--tls-dir").arg(keys.join("peers")).arg("--client-tls-dir").arg(keys.join("clients"));
        }
        if let Some(url_file) = &self.record {
            command.arg("--postgres-url-file").arg(url_file);
        }
        let child = command.spawn().with_context(|| format!("cannot start replica {ordinal}"))?;
        let pid = child.id().context("a replica ended before it began")?;
        Ok(Replica { child, pid, started_at: Instant::now(), ended_at: None, failures: 0, gave_up: false })
    }

    fn log_file(&self, ordinal: u32) -> PathBuf {
        self.dir.join(format!("replica-{ordinal}.log"))
    }

    /// What it said last of what went wrong.
    fn last_complaint(&self, ordinal: u32) -> Option<String> {
        let words = self.last_words(ordinal);
        let line = words.lines().rev().find(|line| line.contains("error: ") || line.contains(" ERROR "))?;
        let said = line.split_once("failure=").or_else(|| line.split_once("error: "));
        Some(said.map_or(line, |(_, said)| said).to_owned())
    }

    /// The last lines of a replica's log.
    fn last_words(&self, ordinal: u32) -> String {
        const BYTES: u64 = 2048;
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log_file(ordinal))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("(cannot be read: {error})"))
    }
}

impl Replica {
    fn ask_to_end(&self) {
        // Only while the child has not been waited for: its pid may belong to another process afterwards.
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
