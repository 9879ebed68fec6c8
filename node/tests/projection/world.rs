//! Replicas, a Postgres, and what stands between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use carrel_node::demo::postgres::Postgres;
use serde_json::Value;
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::stage::Demo;

/// A debug build on a busy machine; this is for a bad day.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct World {
    pub demo: Demo,
    pub postgres: Postgres,
    pub proxy: Proxy,
    pub url_file: PathBuf,
    dir: TempDir,
}

impl World {
    pub async fn start(replicas: u32) -> Self {
        Self::start_with(replicas, &["fsync=off"]).await
    }

    pub async fn start_with(replicas: u32, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Postgres may run as somebody else.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), passable).expect("a directory of ours");
        let postgres = Postgres::start(dir.path(), free_port(), settings).await.expect("Postgres starts");
        let proxy = Proxy::start(postgres.port()).await;
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, format!("{}\n", postgres.url_at(proxy.port()))).expect("a directory of ours");
        let file = url_file.to_str().expect("a path of ours").to_owned();
        let own = dir.path().join("demo");
        let demo = Demo::start(&own, &["--replicas", &replicas.to_string(), "--postgres-url-file", &file]);
        Self { demo, postgres, proxy, url_file, dir }
    }

    /// Replicas alone, whose file of the address says `url`.
    pub fn point_at(&self, url: &str) {
        std::fs::write(&self.url_file, url).expect("a directory of ours");
        self.proxy.cut_all();
    }

    /// What Postgres itself says.
    pub fn psql(&self, sql: &str) -> String {
        let (said, went_well) = self.try_psql(sql);
        assert!(went_well, "{sql}: {said}");
        said
    }

    pub fn try_psql(&self, sql: &str) -> (String, bool) {
        let ran = Command::new("psql").arg(self.postgres.url()).args(["-v", "ON_ERROR_STOP=1", "-Atqc", sql]).output();
        let ran = ran.expect("psql comes with Postgres");
        let text = [ran.stdout, ran.stderr].concat();
        (String::from_utf8_lossy(&text).trim().to_owned(), ran.status.success())
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.psql(sql).parse().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn admins(&self) -> String {
        let admins = self.demo.ready["admin"].as_array().expect("admin ports are a list");
        admins.iter().map(|url| url.as_str().expect("a URL")).collect::<Vec<_>>().join(",")
    }

    pub fn projection(&self, words: &[&str]) -> crate::stage::Ran {
        let admins = self.admins();
        let words = [&["projection"], words, &["--admin", &admins]].concat();
        self.demo.carrel("nobody", &words)
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

    /// Rows and state are equal at one entry, as soon as the record can be read.
    pub fn verify(&self) -> Value {
        let begun = Instant::now();
        loop {
            let ran = self.projection(&["verify"]);
            if ran.code() == 0 {
                return ran.json()["proof"].clone();
            }
            let said = format!("{}{}", ran.stdout(), ran.stderr());
            assert!(!said.contains("RECORD_DIFFERS"), "{said}");
            assert!(begun.elapsed() < PATIENCE, "{said}");
            std::thread::sleep(LOOK_EVERY);
        }
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

    /// People who book and cancel for so long; the result is what `carrel bench` printed.
    pub fn load(&self, clients: u32, seconds: u64) -> Load {
        let child = Command::new(env!("CARGO_BIN_EXE_carrel"))
            .args(["bench", "bookings", "--output", "json", "--endpoints", &self.demo.endpoints().join(",")])
            .args(["--clients", &clients.to_string(), "--seconds", &seconds.to_string()])
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
        self.postgres.stop().await;
        let copy = self.dir.path().join("saved");
        copy_dir(self.postgres.data(), &copy);
        self.postgres.run().await.expect("Postgres starts again");
        copy
    }

    pub async fn restore(&mut self, copy: &Path) {
        self.postgres.stop().await;
        std::fs::remove_dir_all(self.postgres.data()).expect("a directory of ours");
        copy_dir(copy, self.postgres.data());
        self.postgres.run().await.expect("Postgres starts again");
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
