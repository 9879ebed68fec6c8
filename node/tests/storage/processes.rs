//! Replicas as processes of their own, each on a directory that the test can reach, and the command line.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options};
use carrel_proto::v1;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use uuid::Uuid;

pub const CARREL: &str = env!("CARGO_BIN_EXE_carrel");
const PASSWORD: &str = "correct horse battery";
/// For what takes a second; a debug build on a busy machine takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
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
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Nodes {
    /// So many, none of which runs yet.
    pub fn new(count: usize) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        // All held until all are chosen, so that none is chosen twice.
        let held: Vec<[TcpListener; 4]> = (0..count).map(|_| [free(), free(), free(), free()]).collect();
        let ports = held.iter().map(|node| {
            let [clients, peers, admin, metrics] =
                node.each_ref().map(|port| port.local_addr().expect("it is bound").port());
            Ports { clients, peers, admin, metrics }
        });
        Self {
            ports: ports.collect(),
            dir: TempDir::new().expect("a directory for the test"),
            running: (0..count).map(|_| None).collect(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// For those that are started from now on.
    pub fn with_argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    pub fn with_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The mount of a node.
    pub fn mount(&self, node: usize) -> PathBuf {
        self.dir().join(format!("node-{node}"))
    }

    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.dir().join(format!("node-{node}.log"))).unwrap_or_default()
    }

    pub fn endpoint(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node].clients)
    }

    pub fn admin_url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node].admin)
    }

    pub fn admin(&self, node: usize) -> Client {
        let limit = Duration::from_secs(5);
        let options = Options { connect_timeout: limit, attempt_timeout: limit, deadline: limit };
        Client::new([self.admin_url(node)], options).expect("a well-formed address")
    }

    /// A client of these nodes.
    pub fn client(&self, nodes: &[usize]) -> Client {
        let options = Options { attempt_timeout: Duration::from_secs(10), deadline: PATIENCE, ..Options::default() };
        Client::new(nodes.iter().map(|node| self.endpoint(*node)), options).expect("well-formed addresses")
    }

    pub fn start(&mut self, node: usize) {
        let urls = |port: fn(&Ports) -> u16| {
            let urls: Vec<_> = self.ports.iter().map(|ports| format!("http://127.0.0.1:{}", port(ports))).collect();
            urls.join(",")
        };
        let Ports { clients, peers, admin, metrics } = self.ports[node];
        let log = OpenOptions::new().create(true).append(true).open(self.dir().join(format!("node-{node}.log")));
        let mut command = tokio::process::Command::new(CARREL);
        command
            .arg("start")
            .args(["--ordinal", &node.to_string()])
            .args(["--peer-urls", &urls(|ports| ports.peers), "--client-urls", &urls(|ports| ports.clients)])
            .args(["--client-listen", &format!("127.0.0.1:{clients}")])
            .args(["--peer-listen", &format!("127.0.0.1:{peers}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")])
            // Nobody means to be too fast here.
            .args(["--requests-per-second-per-account", "100000", "--letters-per-minute-per-account", "6000000"])
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.mount(node))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the test's directory can be written"))
            .kill_on_drop(true);
        self.running[node] = Some(command.spawn().expect("the carrel binary starts"));
    }

    pub async fn kill(&mut self, node: usize) {
        let mut child = self.running[node].take().expect("it runs");
        child.kill().await.expect("it is ours");
    }

    /// How it ends by itself, which it must in time.
    pub async fn ended(&mut self, node: usize) -> ExitStatus {
        let mut child = self.running[node].take().expect("it was started");
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("node {node} goes on:\n{}", self.log(node))).expect("it is ours")
    }

    pub fn is_running(&mut self, node: usize) -> bool {
        let child = self.running[node].as_mut().expect("it was started");
        child.try_wait().expect("it is ours").is_none()
    }

    pub async fn status(&self, node: usize) -> Option<admin::GetStatusResponse> {
        self.admin(node).get_status(admin::GetStatusRequest { local: true }).await.ok()
    }

    /// Founds a cluster on the first, and takes in the others.
    pub async fn form(&mut self, count: usize) {
        for node in 0..count {
            self.start(node);
        }
        let wanted_voters = u32::try_from(count).expect("a few");
        let seed = self.status_of(0).await.identity.expect("a node has an identity").incarnation;
        let founding = || admin::InitializeRequest {
            cluster_id: Uuid::from_u128(0xca77).to_string(),
            wanted_voters,
            seed_incarnation: seed.clone(),
        };
        patiently("it is founded", async || self.admin(0).initialize(founding()).await).await;
        self.grow(0, &(1..count).collect::<Vec<_>>()).await;
    }

    /// The nodes, which have empty directories and run, become voters beside those there are.
    pub async fn grow(&self, leader: usize, nodes: &[usize]) {
        for node in nodes {
            self.take_in(leader, *node).await;
        }
        if nodes.is_empty() {
            return;
        }
        patiently("the voters are changed", async || {
            let status = self.admin(leader).get_status(admin::GetStatusRequest { local: true }).await?;
            let voters = status.nodes.iter().map(|node| node.id).collect();
            let expected_membership_log_id = status.membership_log_id;
            let request = admin::ChangeVotersRequest { voters, expected_membership_log_id };
            self.admin(leader).change_voters(request).await
        })
        .await;
    }

    async fn take_in(&self, leader: usize, node: usize) {
        let ordinal = u32::try_from(node).expect("small");
        let incarnation = self.status_of(node).await.identity.expect("a node has an identity").incarnation;
        let request = || admin::AllocateNodeRequest { incarnation: incarnation.clone(), ordinal };
        let node_id =
            patiently("it gets an id", async || self.admin(leader).allocate_node(request()).await).await.node_id;
        let status = self.status(leader).await.expect("it answers");
        let cluster = status.identity.expect("a member has an identity");
        let identity = admin::Identity { incarnation: incarnation.clone(), node_id, ordinal, ..cluster };
        let request = || admin::JoinRequest { identity: Some(identity.clone()) };
        patiently("it joins", async || self.admin(node).join(request()).await).await;
        patiently("it learns", async || {
            let status = self.admin(leader).get_status(admin::GetStatusRequest { local: true }).await?;
            let expected_membership_log_id = status.membership_log_id;
            self.admin(leader).add_learner(admin::AddLearnerRequest { node_id, expected_membership_log_id }).await
        })
        .await;
    }

    /// What a node says of itself as soon as it says anything.
    async fn status_of(&self, node: usize) -> admin::GetStatusResponse {
        patiently("it answers", async || self.admin(node).get_status(admin::GetStatusRequest { local: true }).await)
            .await
    }

    /// Waits until these nodes take clients, and all know one leader.
    pub async fn until_ready(&self, nodes: &[usize]) {
        for node in nodes {
            self.until(*node, "it is ready", async || {
                self.probe(*node, "/readyz").is_some_and(|(code, _)| code == 200)
            })
            .await;
            self.until(*node, "it knows a leader", async || {
                self.status(*node).await.is_some_and(|status| status.leader != 0)
            })
            .await;
        }
    }

    /// It has written so to its log.
    pub async fn until_said(&self, node: usize, words: &str) {
        self.until(node, words, async || self.log(node).contains(words)).await;
    }

    pub async fn until(&self, node: usize, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let begun = Instant::now();
        while !is_so().await {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}\n{}", self.log(node));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Status code and text of a path on the port for probes; none if nobody answers.
    pub fn probe(&self, node: usize, path: &str) -> Option<(u16, String)> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.ports[node].metrics)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub fn metric(&self, node: usize, name: &str) -> Option<u64> {
        let (_, text) = self.probe(node, "/metrics")?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub async fn register(&self, nodes: &[usize], name: &str) {
        let request = v1::RegisterRequest {
            request_id: Uuid::new_v4().to_string(),
            user_id: name.to_owned(),
            password: PASSWORD.to_owned(),
        };
        self.client(nodes).register(request).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }

    /// Logs in, which says that the account is there.
    pub async fn login(&self, nodes: &[usize], name: &str) -> Client {
        let client = self.client(nodes);
        let request = v1::LoginRequest { user_id: name.to_owned(), password: PASSWORD.to_owned() };
        let answer = client.login(request).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        client.with_session(&answer.session_token).expect("a token")
    }
}

/// Until it is not refused any more.
pub async fn patiently<T>(what: &str, attempt: impl AsyncFn() -> Result<T, ClientError>) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "in vain: {what}: {error:?}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The command line, once.
pub struct Ran {
    what: String,
    output: Output,
}

pub fn carrel<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    carrel_in(&[], args)
}

/// In that environment.
pub fn carrel_in<S: AsRef<std::ffi::OsStr>>(environment: &[(&str, &str)], args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = Command::new(CARREL);
    // Whatever else the machine has for other programs.
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env_remove("AWS_SESSION_TOKEN");
    command.args(["--output", "json"]).args(args).envs(environment.iter().copied());
    Ran { what: format!("{command:?}"), output: command.output().expect("the carrel binary starts") }
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.output.status.code().expect("it was not killed")
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.code(), 0, "{}: {}", self.what, self.stderr());
        let text = String::from_utf8_lossy(&self.output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", self.what))
    }

    /// Reason and message of a refusal, in words for people.
    pub fn refused(&self) -> (String, String) {
        assert_eq!(self.code(), 1, "{}: {}", self.what, self.stderr());
        let line = self.stderr().lines().last().unwrap_or_default().to_owned();
        let error: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {}", self.what, self.stderr()));
        let text = |field: &str| error["error"][field].as_str().expect("a refusal says so").to_owned();
        let message = text("message");
        assert!(message.len() > 15 && !message.contains("panicked") && !message.contains("Os {"), "{message}");
        (text("reason"), message)
    }

    /// What is wrong with what was typed.
    pub fn misused(&self) -> String {
        assert_eq!(self.code(), 2, "{}: {}", self.what, self.stderr());
        self.stderr()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Fills what room there is below `dir`, to the last page.
pub fn fill(dir: &Path) -> PathBuf {
    use std::io::Write;
    let path = dir.join("ballast");
    let mut file = File::create(&path).expect("a name takes no room");
    for size in [1 << 20, 4096] {
        let zeroes = vec![0_u8; size];
        while file.write_all(&zeroes).is_ok() {}
    }
    path
}
