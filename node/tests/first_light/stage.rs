//! A demo of its own for each test, and the command line against it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const CARREL: &str = env!("CARGO_BIN_EXE_carrel");
/// A debug build on a busy machine forms a cluster in a few seconds; this is for a bad day.
const READY_LIMIT: Duration = Duration::from_secs(90);
pub const PASSWORD: &str = "correct horse battery";

pub struct Demo {
    child: Child,
    lines: Receiver<String>,
    pub ready: Value,
    pub dir: PathBuf,
    pub port: u16,
}

/// Ports of a demo nobody else uses: replicas listen on up to 37 from the base on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = 21_000 + (std::process::id() as u16 % 250) * 40 + nth * 40;
        if (0..40).all(|offset| TcpListener::bind((Ipv4Addr::LOCALHOST, base + offset)).is_ok()) {
            return base;
        }
    }
}

impl Demo {
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_at(dir, free_port(), args)
    }

    pub fn start_at(dir: &Path, port: u16, args: &[&str]) -> Self {
        Self::start_in::<&str>(&[], dir, port, args)
    }

    /// With these variables in the environment of the replicas.
    pub fn start_in<V: AsRef<OsStr>>(environment: &[(&str, V)], dir: &Path, port: u16, args: &[&str]) -> Self {
        let mut child = Command::new(CARREL)
            .envs(environment.iter().map(|(name, value)| (name, value.as_ref())))
            .args(["demo", "--output", "json", "--port", &port.to_string(), "--dir"])
            .arg(dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the carrel binary starts");
        let lines = lines_of(child.stdout.take().expect("stdout is piped"));
        let ready = lines.recv_timeout(READY_LIMIT).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the demo was not ready within {READY_LIMIT:?}; {}", logs(dir))
        });
        let ready: Value = serde_json::from_str(&ready).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{ready}");
        Self { child, lines, ready, dir: dir.to_owned(), port }
    }

    pub fn endpoint(&self, replica: usize) -> String {
        self.ready["endpoints"][replica].as_str().expect("an endpoint for each replica").to_owned()
    }

    pub fn endpoints(&self) -> Vec<String> {
        let all = self.ready["endpoints"].as_array().expect("endpoints are a list");
        (0..all.len()).map(|replica| self.endpoint(replica)).collect()
    }

    pub fn client(&self) -> Client {
        let options = Options { deadline: Duration::from_secs(30), ..Options::default() };
        Client::new(self.endpoints(), options).expect("the demo's endpoints are well-formed")
    }

    pub fn password_of(&self, user: &str) -> String {
        let accounts = self.ready["accounts"].as_array().expect("accounts are a list");
        let account = accounts.iter().find(|account| account["user"] == user).expect("one account per role");
        account["password"].as_str().expect("an account has a password").to_owned()
    }

    /// As the file says now: restarts change it.
    pub fn pids(&self) -> Vec<i32> {
        let text = std::fs::read(self.dir.join("demo.json")).expect("demo.json is there once the demo is ready");
        let ready: Value = serde_json::from_slice(&text).expect("demo.json is JSON");
        let pids = ready["pids"].as_array().expect("pids are a list");
        pids.iter().map(|pid| pid.as_i64().expect("a pid is a number") as i32).collect()
    }

    pub fn kill(&self, replica: usize) {
        signal(self.pids()[replica], Signal::KILL);
    }

    pub fn demo_pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the line that says so.
    pub fn restarted(&self, replica: usize) -> i32 {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).expect("a restart is announced");
        let line: Value = serde_json::from_str(&line).expect("the line is JSON");
        assert_eq!(line["restarted"], replica, "{line}");
        line["pid"].as_i64().expect("a pid") as i32
    }

    /// Replica number and status of the leader, once there is one.
    pub fn leader(&self) -> (usize, Value) {
        let started = Instant::now();
        loop {
            let status = self.carrel("nobody", &["cluster", "status"]).json();
            let nodes = status["nodes"].as_array().expect("nodes are a list");
            if let Some(leader) = nodes.iter().find(|node| node["role"] == "leader") {
                let endpoint = leader["endpoint"].as_str().expect("a node has an endpoint");
                let replica = self.endpoints().iter().position(|other| other == endpoint);
                return (replica.expect("the leader is one of the replicas"), status.clone());
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no leader: {status}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The command line, as this person, on any node.
    pub fn carrel(&self, person: &str, args: &[&str]) -> Ran {
        self.carrel_at(&self.endpoints().join(","), person, args, None)
    }

    /// On one node alone.
    pub fn carrel_on(&self, replica: usize, person: &str, args: &[&str]) -> Ran {
        self.carrel_at(&self.endpoint(replica), person, args, None)
    }

    pub fn carrel_at(&self, endpoints: &str, person: &str, args: &[&str], stdin: Option<&str>) -> Ran {
        let mut child = self
            .command(endpoints, person, args)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the carrel binary starts");
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // Wrong usage is told before anything is read.
            match pipe.write_all(text.as_bytes()) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => panic!("the pipe: {error}"),
                Ok(()) | Err(_) => {}
            }
        }
        Ran { what: format!("{person}: carrel {}", args.join(" ")), output: child.wait_with_output().expect("it ends") }
    }

    pub fn command(&self, endpoints: &str, person: &str, args: &[&str]) -> Command {
        let mut command = Command::new(CARREL);
        command
            .args(["--output", "json", "--endpoints", endpoints, "--config"])
            .arg(self.dir.join(format!("config-{person}")))
            .args(args);
        command
    }

    pub fn register(&self, replica: usize, person: &str) -> Ran {
        self.carrel_at(
            &self.endpoint(replica),
            person,
            &["register", person, "--password-stdin"],
            Some(&format!("{PASSWORD}\n")),
        )
    }

    pub fn login(&self, replica: usize, person: &str, password: &str) -> Ran {
        self.carrel_at(
            &self.endpoint(replica),
            person,
            &["login", person, "--password-stdin"],
            Some(&format!("{password}\n")),
        )
    }

    /// Free seats of the area that never closes, in the first branch.
    pub fn free_seats(&self) -> Vec<String> {
        let branches = self.carrel("nobody", &["branches"]).json();
        let (branch, area) = branches["branches"]
            .as_array()
            .expect("branches are a list")
            .iter()
            .flat_map(|branch| branch["areas"].as_array().into_iter().flatten().map(move |area| (branch, area)))
            .find(|(_, area)| {
                let text = area["displayName"].as_str().unwrap_or_default().to_lowercase();
                area["open"] == true && (text.contains("24") || text.contains("night") || text.contains("round"))
            })
            .expect("one area is open now and says that it always is");
        let branch = branch["name"].as_str().expect("a branch has a name");
        let area = area["name"].as_str().expect("an area has a name");
        let found = self.carrel("nobody", &["login", "patron", "--password-stdin"]);
        drop(found);
        let password = self.password_of("patron");
        self.login(0, "patron", &password).ok();
        let found =
            self.carrel("patron", &["seats", "search", "--branch", branch, "--area", area, "--available"]).json();
        let seats = found["seats"].as_array().expect("seats are a list");
        seats.iter().map(|seat| seat["name"].as_str().expect("a seat has a name").to_owned()).collect()
    }

    pub fn stop(mut self) {
        signal(self.demo_pid(), Signal::TERM);
        let started = Instant::now();
        while self.child.try_wait().expect("the demo can be waited for").is_none() {
            assert!(started.elapsed() < Duration::from_secs(20), "the demo did not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", logs(&self.dir));
        }
    }
}

pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid is positive"), signal).expect("the process is ours");
}

pub fn is_alive(pid: i32) -> bool {
    // A zombie still has an entry; its state says so.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

fn lines_of(out: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The ends of the replicas' logs, for a test that failed.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for replica in 0..7 {
        if let Ok(log) = std::fs::read_to_string(dir.join(format!("replica-{replica}.log"))) {
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- replica {replica}\n{end}\n"));
        }
    }
    text
}

/// A command that has ended.
pub struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.output.status.code().expect("it was not killed")
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.code(), 0, "{}: {}", self.what, self.stderr());
        self
    }

    pub fn json(self) -> Value {
        let ran = self.ok();
        serde_json::from_slice(&ran.output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", ran.what, ran.stdout()))
    }

    /// The reason of a refusal; of what was typed wrongly, too, which has an exit code of its own.
    pub fn refused(self) -> (String, Value) {
        let line = self.stderr().lines().last().unwrap_or_default().to_owned();
        let error: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {}", self.what, self.stderr()));
        let error = error["error"].clone();
        let reason = error["reason"].as_str().expect("a refusal has a reason").to_owned();
        let code = if matches!(reason.as_str(), "FIELD_INVALID" | "INTERVAL_INVALID") { 2 } else { 1 };
        assert_eq!(self.code(), code, "{}: {}{}", self.what, self.stdout(), self.stderr());
        (reason, error)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// The slot of half an hour that is running, and what follows it, as RFC 3339.
pub fn slot(offset_minutes: i64, minutes: i64) -> (String, String) {
    let now = jiff::Timestamp::now().as_second();
    let start = now - now.rem_euclid(1800) + offset_minutes * 60;
    let text = |second: i64| jiff::Timestamp::from_second(second).expect("within the calendar").to_string();
    (text(start), text(start + minutes * 60))
}
