//! A real Prometheus beside what it watches, and what it answers.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// It reads its empty directory and listens; this is for a bad day.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// An answer is at most some megabytes of numbers.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

pub struct Prometheus {
    child: Child,
    port: u16,
}

pub struct Series {
    pub labels: Value,
    /// Seconds since 1970, and the value then; gaps are left out.
    pub points: Vec<(f64, f64)>,
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// What is scraped, with the labels that whoever scrapes gives it.
pub struct Target {
    pub address: String,
    pub labels: Vec<(&'static str, String)>,
}

impl Prometheus {
    /// Scrapes all of them each second.
    pub fn start(dir: &Path, targets: &[Target]) -> Self {
        let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n- job_name: carrel\n  \
                          static_configs:\n"
            .to_owned();
        for Target { address, labels } in targets {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            config.push_str(&format!("  - targets: [{address:?}]\n    labels: {{ {} }}\n", labels.join(", ")));
        }
        let file = dir.join("prometheus.yml");
        fs::write(&file, config).expect("a directory of ours");
        let port = free_port();
        let log = fs::File::create(dir.join("prometheus.log")).expect("a directory of ours");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is there: make deps installs it");
        let prometheus = Self { child, port };
        let started = Instant::now();
        while get(port, "/-/ready").is_none_or(|(status, _)| status != 200) {
            assert!(
                started.elapsed() < READY_LIMIT,
                "{}",
                fs::read_to_string(dir.join("prometheus.log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    /// At this moment, or what is wrong with the query.
    pub fn at_once(&self, query: &str) -> Result<Vec<Series>, String> {
        self.ask(&format!("/api/v1/query?query={}", percent_encoded(query)))
    }

    /// Each second from then until now.
    pub fn since(&self, query: &str, from: f64) -> Result<Vec<Series>, String> {
        let (query, to) = (percent_encoded(query), now());
        self.ask(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step=1"))
    }

    fn ask(&self, path: &str) -> Result<Vec<Series>, String> {
        let (_, body) = get(self.port, path).ok_or("no answer")?;
        let answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] != "success" {
            return Err(answer["error"].as_str().unwrap_or(&body).to_owned());
        }
        let found = answer["data"]["result"].as_array().ok_or("no result")?;
        Ok(found.iter().map(Series::read).filter(|series| !series.points.is_empty()).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Series {
    fn read(found: &Value) -> Self {
        let values = match &found["value"] {
            Value::Array(_) => vec![found["value"].clone()],
            _ => found["values"].as_array().cloned().unwrap_or_default(),
        };
        let point = |pair: &Value| {
            let value: f64 = pair[1].as_str()?.parse().ok()?;
            value.is_finite().then_some((pair[0].as_f64()?, value))
        };
        Self { labels: found["metric"].clone(), points: values.iter().filter_map(point).collect() }
    }

    /// Its name, by a legend such as `{{instance}}`.
    pub fn called(&self, legend: &str) -> String {
        let mut name = legend.to_owned();
        for (label, value) in self.labels.as_object().into_iter().flatten() {
            name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or_default());
        }
        name
    }
}

pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs_f64()
}

/// Status and body, by HTTP/1.0, so that the answer ends where the connection does.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
}

fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// `promtool check metrics` has no word to say of what was told.
pub fn promtool_finds_nothing(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: make deps installs it");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let ran = promtool.wait_with_output().expect("it ends");
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ran.status.success() && said.is_empty(), "promtool check metrics: {said}");
}
