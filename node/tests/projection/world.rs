//! Replicas, a Postgres, and what stands between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use carrel_node::demo::postgres::Postgres;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::stage::{self, Demo, slot};

/// A debug build on a busy machine; this is for a bad day.
pub const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The server for all tests that neither end one nor need one to be set up in a way of its own.
const DATABASE_URL: &str = "DATABASE_URL";

/// A database, and the server that it is in.
pub enum Server {
    Own(Box<Postgres>),
    /// Of [`DATABASE_URL`], with a database that is made for one test and dropped after it.
    Given {
        admin_url: String,
        url: String,
        database: String,
    },
}

impl Server {
    /// A database for this test alone.
    pub async fn find(dir: &Path) -> Self {
        match std::env::var(DATABASE_URL) {
            Ok(admin_url) => Self::make_database(admin_url),
            Err(_) => Self::start(dir, &["fsync=off"]).await,
        }
    }

    pub async fn start(dir: &Path, settings: &[&str]) -> Self {
        // Postgres may run as somebody else.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir, passable).expect("a directory of ours");
        let postgres = Postgres::start(dir, free_port(), settings).await;
        Self::Own(Box::new(postgres.expect("Postgres is installed, and starts")))
    }

    fn make_database(admin_url: String) -> Self {
        let database = format!("carrel_test_{}", uuid::Uuid::new_v4().simple());
        let (made, went_well) = psql(&admin_url, &format!("CREATE DATABASE {database}"));
        assert!(went_well, "{DATABASE_URL}: {made}");
        let (address, query) = admin_url.split_once('?').unwrap_or((&admin_url, ""));
        let scheme = address.find("://").expect("DATABASE_URL is a URL") + 3;
        let server = address[scheme..].find('/').map_or(address, |slash| &address[..scheme + slash]);
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self::Given { url: format!("{server}/{database}{query}"), database, admin_url }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Own(postgres) => postgres.url(),
            Self::Given { url, .. } => url.clone(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Own(postgres) => (Ipv4Addr::LOCALHOST, postgres.port()).into(),
            Self::Given { url, .. } => {
                let (_, rest) = url.split_once("://").expect("it was one");
                let authority = rest.split('/').next().unwrap_or(rest);
                let host = authority.rsplit('@').next().unwrap_or(authority);
                let named = if host.contains(':') { host.to_owned() } else { format!("{host}:5432") };
                let found = named.to_socket_addrs().ok().and_then(|mut found| found.next());
                found.unwrap_or_else(|| panic!("{DATABASE_URL}: there is no {named}"))
            }
        }
    }

    /// As if it listened somewhere else.
    fn url_at(&self, port: u16) -> String {
        let url = self.url();
        let (scheme, rest) = url.split_once("://").expect("it is a URL");
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let who = authority.rsplit_once('@').map_or(String::new(), |(who, _)| format!("{who}@"));
        format!("{scheme}://{who}127.0.0.1:{port}{path}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Given { admin_url, database, .. } = self {
            psql(admin_url, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"));
        }
    }
}

pub struct World {
    // In the order in which they end: whoever uses the database goes first.
    pub demo: Demo,
    pub proxy: Proxy,
    pub url_file: PathBuf,
    pub server: Server,
    dir: TempDir,
}

impl World {
    /// On whatever server there is.
    pub async fn start(replicas: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = Server::find(dir.path()).await;
        Self::begin(replicas, server, dir).await
    }

    /// On a server that may be stopped, killed and set up.
    pub async fn start_own(replicas: u32) -> Self {
        Self::start_own_with(replicas, &["fsync=off"]).await
    }

    pub async fn start_own_with(replicas: u32, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let server = Server::start(dir.path(), settings).await;
        Self::begin(replicas, server, dir).await
    }

    async fn begin(replicas: u32, server: Server, dir: TempDir) -> Self {
        static TOLD: Once = Once::new();
        let (version, went_well) = psql(&server.url(), "SHOW server_version");
        assert!(went_well, "{version}");
        // Past what captures the output of tests that pass.
        TOLD.call_once(|| drop(writeln!(std::io::stderr(), "tested with Postgres {version}")));
        let proxy = Proxy::start(server.address()).await;
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, format!("{}\n", server.url_at(proxy.port()))).expect("a directory of ours");
        let file = url_file.to_str().expect("a path of ours").to_owned();
        let own = dir.path().join("demo");
        let demo = Demo::start(&own, &["--replicas", &replicas.to_string(), "--postgres-url-file", &file]);
        Self { demo, proxy, url_file, server, dir }
    }

    pub fn postgres(&mut self) -> &mut Postgres {
        match &mut self.server {
            Server::Own(postgres) => postgres,
            Server::Given { .. } => panic!("this world was started with a server of its own"),
        }
    }

    /// Of its server.
    pub fn data(&self) -> &Path {
        match &self.server {
            Server::Own(postgres) => postgres.data(),
            Server::Given { .. } => panic!("this world was started with a server of its own"),
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the nodes are told at first: through the proxy.
    pub fn right_url(&self) -> String {
        self.server.url_at(self.proxy.port())
    }

    /// Postgres without the proxy.
    pub fn direct_port(&self) -> u16 {
        self.server.address().port()
    }

    /// Replicas alone, whose file of the address says `url`.
    pub fn point_at(&self, url: &str) {
        std::fs::write(&self.url_file, url).expect("a directory of ours");
        self.proxy.cut_all();
    }

    /// What Postgres itself says.
    pub fn psql(&self, sql: &str) -> String {
        let (said, went_well) = psql(&self.server.url(), sql);
        assert!(went_well, "{sql}: {said}");
        said
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.psql(sql).parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub fn projection(&self, words: &[&str]) -> crate::stage::Ran {
        self.demo.carrel("nobody", &[&["projection"], words].concat())
    }

    pub fn status(&self) -> Value {
        let begun = Instant::now();
        loop {
            let ran = self.projection(&["status"]);
            if ran.code() == 0 {
                return ran.json();
            }
            assert!(begun.elapsed() < PATIENCE, "{}", ran.stderr());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the record is like that.
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what}: {status}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn until_phase(&self, phase: &str) -> Value {
        self.until(phase, |status| status["phase"] == phase)
    }

    /// Waits until this is what whoever looks after it reads, while people book.
    pub fn says(&self, wanted: &str) -> Value {
        let told = self.until(wanted, |status| {
            status["phase"] == "WAITING" && status["trouble"].as_str().is_some_and(|trouble| trouble.contains(wanted))
        });
        assert!(self.metric("carrel_projection_trouble") >= 1.0, "and there is an alarm: {told}");
        self.people_book();
        told
    }

    /// Rows and state are equal at one entry, as soon as the record can be read.
    pub fn verify(&self) -> Value {
        proof(|| self.projection(&["verify"]))
    }

    /// Somebody books a seat and gives it back, in no more time than that takes.
    pub fn people_book(&self) {
        let seats = self.free_seats();
        let (from, to) = slot(60, 30);
        let asked = Instant::now();
        let reserved = self.demo.carrel("patron", &["reserve", &seats[0], "--from", &from, "--to", &to]).json();
        let name = reserved["reservation"]["name"].as_str().expect("a name").to_owned();
        self.demo.carrel("patron", &["cancel", &name]).ok();
        assert!(asked.elapsed() < Duration::from_secs(10), "nobody waits for Postgres: {:?}", asked.elapsed());
    }

    /// Sum over all replicas.
    pub fn metric(&self, name: &str) -> f64 {
        let urls = self.demo.ready["metrics"].as_array().expect("metrics are a list");
        let each = urls.iter().filter_map(|url| fetch(url.as_str().expect("a URL")));
        each.map(|text| {
            let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        })
        .sum()
    }

    /// Of the largest replica.
    pub fn memory_mib(&self) -> u64 {
        let of = |pid: i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        self.demo.pids().into_iter().filter_map(of).max().unwrap_or_default() / 1024
    }

    /// What the replicas have logged.
    pub fn log(&self) -> String {
        let logs = (0..7)
            .filter_map(|replica| std::fs::read_to_string(self.demo.dir.join(format!("replica-{replica}.log"))).ok());
        logs.collect()
    }

    /// People who book and cancel for so long; the result is what `carrel bench` printed.
    pub fn load(&self, clients: u32, seconds: u64) -> Load {
        self.load_at(clients, seconds, None)
    }

    /// So many bookings a second; else as many as are answered.
    pub fn load_at(&self, clients: u32, seconds: u64, rate: Option<u32>) -> Load {
        let child = Command::new(env!("CARGO_BIN_EXE_carrel"))
            .args(["bench", "bookings", "--output", "json", "--endpoints", &self.demo.endpoints().join(",")])
            .args(["--clients", &clients.to_string(), "--seconds", &seconds.to_string()])
            .args(rate.map(|rate| format!("--rate={rate}")))
            .arg("--dir")
            .arg(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Load { child: Some(child.expect("the carrel binary starts")) }
    }

    /// A seat of an area that is always open, and somebody logged in.
    pub fn free_seats(&self) -> Vec<String> {
        self.demo.free_seats()
    }

    /// A copy of everything that Postgres holds, while it is stopped.
    pub async fn save(&mut self) -> PathBuf {
        let copy = self.dir.path().join("saved");
        let postgres = self.postgres();
        postgres.stop().await;
        copy_dir(postgres.data(), &copy);
        postgres.run().await.expect("Postgres starts again");
        copy
    }

    pub async fn restore(&mut self, copy: &Path) {
        let postgres = self.postgres();
        postgres.stop().await;
        std::fs::remove_dir_all(postgres.data()).expect("a directory of ours");
        copy_dir(copy, postgres.data());
        postgres.run().await.expect("Postgres starts again");
    }

    /// Nothing of Postgres moves, and nothing is closed, until this is dropped.
    pub fn freeze(&self) -> Frozen {
        let pid_file = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let first: i32 = pid_file.lines().next().and_then(|line| line.parse().ok()).expect("its pid comes first");
        let mut pids = vec![first];
        stage::signal(first, Signal::STOP);
        for entry in std::fs::read_dir("/proc").expect("processes are files").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name, which may hold anything: the state, and the parent.
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
            if parent == Some(first) {
                stage::signal(pid, Signal::STOP);
                pids.push(pid);
            }
        }
        Frozen { pids }
    }
}

/// What `carrel projection verify` finds, as soon as the record can be read.
pub fn proof(verify: impl Fn() -> stage::Ran) -> Value {
    let begun = Instant::now();
    loop {
        let ran = verify();
        if ran.code() == 0 {
            return ran.json()["proof"].clone();
        }
        let said = format!("{}{}", ran.stdout(), ran.stderr());
        assert!(!said.contains("RECORD_DIFFERS"), "{said}");
        assert!(begun.elapsed() < PATIENCE, "{said}");
        std::thread::sleep(LOOK_EVERY);
    }
}

pub struct Frozen {
    pids: Vec<i32>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            stage::signal(*pid, Signal::CONT);
        }
    }
}

pub struct Load {
    child: Option<Child>,
}

impl Load {
    pub fn finish(mut self) -> Value {
        let ran = self.child.take().expect("it is waited for once").wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn psql(url: &str, sql: &str) -> (String, bool) {
    let ran = Command::new("psql").arg(url).args(["-v", "ON_ERROR_STOP=1", "-Atqc", sql]).output();
    let ran = ran.expect("psql comes with Postgres");
    let text = [ran.stdout, ran.stderr].concat();
    (String::from_utf8_lossy(&text).trim().to_owned(), ran.status.success())
}

/// With owners and rights, as Postgres insists.
fn copy_dir(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp is everywhere");
    assert!(copied.success(), "{} is not copied", from.display());
}

pub fn fetch(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/')?;
    let mut stream = TcpStream::connect(host).ok()?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub fn free_port() -> u16 {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    held.local_addr().expect("it is bound").port()
}
