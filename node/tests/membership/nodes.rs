//! Nodes on ports that were free a moment ago, and those who run them: the admin ports.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options, Refusal};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

pub const CARREL: &str = env!("CARGO_BIN_EXE_carrel");
/// Nothing takes so long in a debug build, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of one node.
#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    peers: u16,
    admin: u16,
    metrics: u16,
}

pub struct Nodes {
    dir: TempDir,
    ports: Vec<Ports>,
    running: Vec<Option<Child>>,
    pub cluster_id: Uuid,
    /// More words for every node's command line.
    extra: Vec<String>,
}

impl Nodes {
    /// So many slots, nothing in them.
    pub fn new(count: usize) -> Self {
        // All of them are held until all are found.
        let held: Vec<TcpListener> =
            (0..4 * count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free")).collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().expect("it is bound").port()).collect();
        let ports = ports
            .chunks(4)
            .map(|four| Ports { clients: four[0], peers: four[1], admin: four[2], metrics: four[3] })
            .collect();
        let dir = tempfile::tempdir().expect("a directory");
        let running = (0..count).map(|_| None).collect();
        Self { dir, ports, running, cluster_id: Uuid::new_v4(), extra: Vec::new() }
    }

    pub fn with(mut self, extra: &[&str]) -> Self {
        self.extra = extra.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// All slots run, and all of them vote.
    pub async fn formed(count: usize) -> Self {
        let mut nodes = Self::new(count);
        for slot in 0..count {
            nodes.start(slot).await;
        }
        nodes.found(count).await;
        for slot in 1..count {
            nodes.take_in(slot).await;
        }
        let all: Vec<usize> = (0..count).collect();
        nodes.make_voters(&all).await;
        for slot in 0..count {
            nodes.until("it serves", async |nodes| nodes.status(slot).await.is_some_and(|status| status.formed)).await;
        }
        nodes
    }

    pub fn url(&self, slot: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[slot].clients)
    }

    pub fn peer_url(&self, slot: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[slot].peers)
    }

    pub fn admin_url(&self, slot: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[slot].admin)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn volume(&self, slot: usize) -> PathBuf {
        self.dir.path().join(format!("node-{slot}"))
    }

    /// On the volume this slot has, until its admin port answers.
    pub async fn start(&mut self, slot: usize) {
        let urls = |port: &dyn Fn(&Ports) -> u16| {
            let urls: Vec<String> =
                self.ports.iter().map(|ports| format!("http://127.0.0.1:{}", port(ports))).collect();
            urls.join(",")
        };
        let volume = self.volume(slot);
        std::fs::create_dir_all(&volume).expect("a directory");
        let log = self.dir.path().join(format!("node-{slot}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a file");
        let Ports { clients, peers, admin, metrics } = self.ports[slot];
        let mut command = Command::new(CARREL);
        command.arg("start").arg("--dir").arg(&volume).args(["--ordinal", &slot.to_string()]);
        command.args(["--peer-urls", &urls(&|ports| ports.peers), "--client-urls", &urls(&|ports| ports.clients)]);
        for (flag, port) in [("client", clients), ("peer", peers), ("admin", admin), ("metrics", metrics)] {
            command.args([format!("--{flag}-listen"), format!("127.0.0.1:{port}")]);
        }
        command.args(&self.extra).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running[slot] = Some(command.spawn().expect("the carrel binary starts"));
        self.until("its admin port answers", async |nodes| nodes.status(slot).await.is_some()).await;
    }

    pub fn signal(&self, slot: usize, signal: Signal) {
        let child = self.running[slot].as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid is positive");
        kill_process(pid, signal).expect("the process is ours");
    }

    pub fn is_alive(&mut self, slot: usize) -> bool {
        let child = self.running[slot].as_mut().expect("it was started");
        child.try_wait().expect("it can be waited for").is_none()
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(&mut self, slot: usize, signal: Signal) {
        self.signal(slot, signal);
        self.ended(slot).await;
    }

    pub async fn ended(&mut self, slot: usize) {
        let begun = Instant::now();
        while self.is_alive(slot) {
            assert!(begun.elapsed() < PATIENCE, "node {slot} does not end");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.running[slot] = None;
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.running.len()).filter(|slot| self.running[*slot].is_some()).collect()
    }

    pub fn admin(&self, slot: usize) -> Client {
        let limit = Duration::from_secs(20);
        let options = Options { connect_timeout: Duration::from_secs(2), attempt_timeout: limit, deadline: limit };
        Client::new([self.admin_url(slot)], options).expect("an address")
    }

    /// For whoever asks any of them.
    pub fn client(&self) -> Client {
        let all: Vec<usize> = (0..self.ports.len()).collect();
        self.client_of(&all)
    }

    /// For whoever asks any of these.
    pub fn client_of(&self, slots: &[usize]) -> Client {
        let options = Options { deadline: PATIENCE, ..Options::default() };
        Client::new(slots.iter().map(|slot| self.url(*slot)), options).expect("addresses")
    }

    /// As the node itself has it; none if it does not answer soon.
    pub async fn status(&self, slot: usize) -> Option<admin::GetStatusResponse> {
        let limit = Duration::from_secs(1);
        let options = Options { connect_timeout: limit, attempt_timeout: limit, deadline: limit };
        let asked = self.admin(slot).with_options(options);
        asked.get_status(admin::GetStatusRequest { local: true }).await.ok()
    }

    pub async fn identity(&self, slot: usize) -> admin::Identity {
        self.status(slot).await.and_then(|status| status.identity).expect("it answers")
    }

    pub async fn id(&self, slot: usize) -> u64 {
        self.identity(slot).await.node_id
    }

    /// The slot of the node that leads, once one says so that a majority confirms.
    pub async fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            let mut found: Option<(u64, usize)> = None;
            for slot in self.running() {
                let Some(status) = self.status(slot).await else { continue };
                let id = status.identity.as_ref().map_or(0, |identity| identity.node_id);
                let is_confirmed = status.since_quorum_ack_ms.is_some_and(|since| since < 1_000) || slot_alone(&status);
                if id != 0 && status.leader == id && is_confirmed {
                    found = found.max(Some((status.term, slot)));
                }
            }
            if let Some((_, slot)) = found {
                return slot;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads: {}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub async fn found(&self, wanted: usize) -> admin::Identity {
        let seed = self.identity(0).await.incarnation;
        let request = self.founding(&seed, wanted);
        let founded = self.admin(0).initialize(request).await.expect("a pristine node");
        founded.identity.expect("it is somebody now")
    }

    pub fn founding(&self, seed: &str, wanted: usize) -> admin::InitializeRequest {
        admin::InitializeRequest {
            cluster_id: self.cluster_id.to_string(),
            wanted_voters: u32::try_from(wanted).expect("few"),
            seed_incarnation: seed.to_owned(),
        }
    }

    /// A new volume becomes a learner that has caught up.
    pub async fn take_in(&self, slot: usize) -> u64 {
        let leading = self.leader().await;
        let leader = self.admin(leading);
        let pristine = self.identity(slot).await;
        let request =
            admin::AllocateNodeRequest { incarnation: pristine.incarnation.clone(), ordinal: pristine.ordinal };
        let node_id = leader.allocate_node(request).await.expect("it leads").node_id;
        let of = self.identity(leading).await;
        let identity = Some(admin::Identity { cluster_id: of.cluster_id, lineage: of.lineage, node_id, ..pristine });
        self.admin(slot).join(admin::JoinRequest { identity }).await.expect("a pristine node");
        let expected_membership_log_id = self.position(leading).await;
        let request = admin::AddLearnerRequest { node_id, expected_membership_log_id };
        leader.add_learner(request).await.expect("it leads");
        let has_all = async |nodes: &Self| {
            let status = nodes.status(leading).await?;
            let last = status.nodes.iter().map(|node| node.last_log_index).max()?;
            status.nodes.iter().find(|node| node.id == node_id)?.matched_index.filter(|matched| matched + 100 > last)
        };
        self.until("it has caught up", async |nodes| has_all(nodes).await.is_some()).await;
        node_id
    }

    pub async fn position(&self, slot: usize) -> Option<admin::LogId> {
        self.status(slot).await.expect("it answers").membership_log_id
    }

    /// Lets another lead; an elected one may not be ready to let go yet.
    pub async fn transfer(&self) -> admin::TransferLeadershipResponse {
        let begun = Instant::now();
        loop {
            let request = admin::TransferLeadershipRequest { node_id: 0 };
            match self.admin(self.leader().await).transfer_leadership(request).await {
                Ok(new) => return new,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub async fn make_voters(&self, slots: &[usize]) {
        let mut voters = Vec::new();
        for slot in slots {
            voters.push(self.id(*slot).await);
        }
        let leader = self.leader().await;
        let expected_membership_log_id = self.position(leader).await;
        let request = admin::ChangeVotersRequest { voters, expected_membership_log_id };
        self.admin(leader).change_voters(request).await.expect("a majority");
    }

    pub async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self).await {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}; {}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Their ends, for a story that ended badly.
    pub fn logs(&self) -> String {
        let tail = |slot: usize| {
            let log = self.dir.path().join(format!("node-{slot}.log"));
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("\n--- node {slot}\n{}", lines[lines.len().saturating_sub(12)..].join("\n"))
        };
        (0..self.ports.len()).map(tail).collect()
    }
}

/// One voter is confirmed by nobody else.
fn slot_alone(status: &admin::GetStatusResponse) -> bool {
    matches!(status.voter_sets.as_slice(), [set] if set.node_ids.len() == 1)
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // One that is stopped is killed just as well; one that has ended needs no killing.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The refusal that this is.
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Refusal {
    match result {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
