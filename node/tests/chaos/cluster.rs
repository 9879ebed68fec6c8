//! Real replicas, looked after by `carrel demo --no-restart`: it forms the cluster and performs the planner's steps,
//! and leaves dead what this suite kills until it is asked to start it again.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::links::Links;

/// A debug build on a busy machine forms a cluster in a few seconds; this is for a bad day.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// For a replica to be started, and for the cluster to be whole again after the last fault.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// Ports from here on are this suite's.
const PORTS_FROM: u16 = 34_000;
const LINKS_AFTER: u16 = 40;
const PORTS_EACH: u16 = 140;

/// One room that never closes, with rules that refuse nothing but what the seats themselves do, and no deadline that
/// falls due within a run.
const CATALOG: &str = r#"policies:
  - id: chaos
    grid_minutes: 30
    min_minutes: 30
    max_minutes: 480
    window_days: 14
    grace_minutes: 1440
    lead_minutes: 15
    offer_minutes: 10
    max_reservations: 1000
    max_minutes_per_day: 1440
    strikes_to_suspend: 0
    strike_days: 30
    suspension_days: 3
branches:
  - id: main
    display_name: Main
    time_zone: Etc/UTC
    policy: chaos
    hours:
      week: { mon-sun: "00:00-24:00" }
    areas:
      - id: hall
        display_name: Hall
        seats:
"#;

pub struct Cluster {
    child: Child,
    dir: PathBuf,
    port: u16,
    pub count: u32,
    pub links: Arc<Links>,
    admins: Vec<Client>,
    _lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub ordinal: u32,
    pub status: admin::GetStatusResponse,
}

impl Seen {
    pub fn node_id(&self) -> u64 {
        self.status.identity.as_ref().map_or(0, |identity| identity.node_id)
    }

    fn leads(&self) -> bool {
        self.status.leader != 0 && self.status.leader == self.node_id()
    }

    pub fn applied(&self) -> u64 {
        let own = self.status.nodes.iter().find(|node| node.id == self.node_id());
        own.map_or(0, |node| node.applied_index)
    }
}

impl Cluster {
    pub async fn start(dir: &Path, count: u32, seats: u32) -> Self {
        let port = free_ports();
        let links = Links::open(count, port + LINKS_AFTER, port + 10).await;
        let seats: String = (0..seats).map(|seat| format!("          - {{ id: s-{seat} }}\n")).collect();
        let catalog = dir.join("chaos.yaml");
        std::fs::write(&catalog, format!("{CATALOG}{seats}")).expect("the catalogue can be written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_carrel"))
            .args(["--output", "json", "demo", "--no-restart"])
            .args(["--replicas", &count.to_string(), "--port", &port.to_string()])
            .args(["--link-port", &(port + LINKS_AFTER).to_string()])
            .arg("--dir")
            .arg(dir)
            .arg("--catalog")
            .arg(&catalog)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the carrel binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let ready = tokio::time::timeout(READY_LIMIT, lines.next_line()).await;
        let ready = ready.expect("the demo is ready in time").expect("its output is text");
        assert!(ready.is_some(), "the demo ended instead of being ready");
        let options = Options { connect_timeout: LOOK_LIMIT, attempt_timeout: LOOK_LIMIT, deadline: LOOK_LIMIT };
        let admin = |ordinal: u32| {
            let port = port + 20 + u16::try_from(ordinal).expect("fewer than ten replicas");
            Client::new([format!("http://127.0.0.1:{port}")], options).expect("a well-formed address")
        };
        Self { child, dir: dir.to_owned(), port, count, links, admins: (0..count).map(admin).collect(), _lines: lines }
    }

    pub fn endpoint(&self, ordinal: u32) -> String {
        format!("http://127.0.0.1:{}", self.port + u16::try_from(ordinal).expect("fewer than ten replicas"))
    }

    pub fn endpoints(&self) -> Vec<String> {
        (0..self.count).map(|ordinal| self.endpoint(ordinal)).collect()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the demo can be waited for").is_none()
    }

    /// What each replica that answers says of itself.
    pub async fn look(&self) -> Vec<Seen> {
        let answers = self.admins.iter().zip(0..).map(|(client, ordinal)| async move {
            let answer = client.get_status(admin::GetStatusRequest { local: true }).await;
            answer.ok().map(|status| Seen { ordinal, status })
        });
        futures_util::future::join_all(answers).await.into_iter().flatten().collect()
    }

    /// The one that says so in the highest term.
    pub async fn leader(&self) -> Option<Seen> {
        self.look().await.into_iter().filter(Seen::leads).max_by_key(|seen| seen.status.term)
    }

    pub async fn transfer(&self, leader: u32) -> bool {
        let options =
            Options { deadline: Duration::from_secs(5), attempt_timeout: Duration::from_secs(5), ..Options::default() };
        let client = self.admins[leader as usize].clone().with_options(options);
        client.transfer_leadership(admin::TransferLeadershipRequest { node_id: 0 }).await.is_ok()
    }

    /// As the file says now: restarts change it.
    fn pid(&self, ordinal: u32) -> Pid {
        let text = std::fs::read(self.dir.join("demo.json")).expect("demo.json is there once the demo is ready");
        let ready: Value = serde_json::from_slice(&text).expect("demo.json is JSON");
        let pid = ready["pids"][ordinal as usize].as_i64().expect("a pid for each replica");
        Pid::from_raw(i32::try_from(pid).expect("a pid is small")).expect("a pid is positive")
    }

    pub fn signal(&self, ordinal: u32, signal: Signal) -> bool {
        kill_process(self.pid(ordinal), signal).is_ok()
    }

    /// One letter: running, sleeping, stopped, zombie. None: gone.
    pub fn process_state(&self, ordinal: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid(ordinal).as_raw_nonzero())).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }

    /// The directory of a replica that is dead.
    pub fn wipe(&self, ordinal: u32) {
        let volume = self.dir.join(format!("replica-{ordinal}"));
        std::fs::remove_dir_all(&volume).expect("a dead replica's directory can be removed");
        std::fs::create_dir(&volume).expect("its parent is there");
    }

    pub async fn restart(&self, ordinal: u32) {
        let request = self.dir.join(format!("restart-{ordinal}"));
        let before = self.pid(ordinal);
        std::fs::write(&request, b"").expect("the demo's directory can be written");
        let asked = Instant::now();
        while request.exists() || self.pid(ordinal) == before {
            assert!(asked.elapsed() < RECOVERY_LIMIT, "the demo did not restart replica {ordinal}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Every replica votes, is reachable, and has applied at least this much.
    pub async fn whole(&self, applied: u64) -> Result<Vec<Seen>, Vec<Seen>> {
        let started = Instant::now();
        loop {
            let seen = self.look().await;
            let voters = |seen: &Seen| match seen.status.voter_sets.as_slice() {
                [voters] => voters.node_ids.len() == self.count as usize && voters.node_ids.contains(&seen.node_id()),
                _ => false,
            };
            let same_leader = seen.windows(2).all(|pair| pair[0].status.leader == pair[1].status.leader);
            let all = seen.len() == self.count as usize && same_leader && seen.iter().any(Seen::leads);
            if all && seen.iter().all(|seen| voters(seen) && seen.applied() >= applied) {
                return Ok(seen);
            }
            if started.elapsed() > RECOVERY_LIMIT {
                return Err(seen);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The ends of the replicas' logs, for a run that failed.
    pub fn logs(&self) -> String {
        let tail = |ordinal: u32| {
            let log = std::fs::read_to_string(self.dir.join(format!("replica-{ordinal}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- replica {ordinal}\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        (0..self.count).map(tail).collect()
    }

    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).expect("the process is ours");
        }
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.expect("the demo ends when asked to").expect("it can be waited for");
    }
}

/// Ports nobody else uses: replicas on the first forty, links above.
fn free_ports() -> u16 {
    let first = u16::try_from(std::process::id() % 25).expect("below 25");
    (0..25)
        .map(|nth| PORTS_FROM + (first + nth) % 25 * PORTS_EACH)
        .find(|base| (0..PORTS_EACH).all(|offset| TcpListener::bind((Ipv4Addr::LOCALHOST, base + offset)).is_ok()))
        .expect("some ports are free")
}
