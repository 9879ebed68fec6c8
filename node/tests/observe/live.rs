//! Three replicas under load, one of them killed, and everything that is made of what they tell: every panel of every
//! dashboard has something to show, and every alert something to look at.
//!
//! CARREL_PICTURES=DIR also draws the dashboards there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use carrel_node::metrics::catalogue;
use carrel_node::scrape::Scrape;

use crate::alerts;
use crate::boards;
use crate::expressions::{selectors, without_values};
use crate::load::{Load, ports_of_demo};
use crate::picture::{self, Answered};
use crate::source::{Shape, filled};
use crate::stage::Demo;
use crate::watcher::{Prometheus, Target, get, now, promtool_finds_nothing};
use crate::written::without_empty_braces;

/// Of a debug build on a busy machine; what it costs in earnest is measured by node/benches/figures.sh.
const SCRAPE_LIMIT: Duration = Duration::from_millis(500);
const SCRAPE_BYTES_MAX: usize = 200 << 10;

/// Told only of what did not happen here: a refused certificate, a database in trouble, two members of a group.
const ABSENT: [&str; 2] = ["carrel_projection_trouble", "carrel_tls_handshakes_refused_total"];

/// As carrel-operator writes it; that the names are its own is checked below.
const OPERATOR: &str = include_str!("operator.prom");

const NODES: &str = r#"namespace=~".*",carrel_cluster=~".*""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_and_every_alert_has_something_to_show() {
    let dir = tempfile::tempdir().expect("a directory");
    // Postgres may run as somebody else.
    let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), passable).expect("a directory of ours");
    let demo = Demo::start_at(&dir.path().join("demo"), ports_of_demo(), &["--tls", "--postgres"]);
    let urls: Vec<String> = demo.ready["metrics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|url| url.as_str().expect("an address").to_owned())
        .collect();
    let hosts: Vec<String> =
        urls.iter().map(|url| url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()).collect();
    let prometheus = Prometheus::start(dir.path(), &targets(&hosts, &serve_operator(OPERATOR)));
    let began = now();
    let pictures = std::env::var_os("CARREL_PICTURES").map(std::path::PathBuf::from);
    // A minute is what panels look back over; two looks are what a rate needs.
    let [before, after] = if pictures.is_some() { [90, 35] } else { [6, 8] }.map(Duration::from_secs);
    let load = Load::begin(&demo, before + after).await;
    tokio::time::sleep(before).await;
    let first = leader(&prometheus);
    let killed = (0..hosts.len()).find(|ordinal| first == replica(*ordinal)).expect("one of the replicas leads");
    demo.kill(killed);
    demo.restarted(killed);
    // By one that remembers it to the end.
    back_up(&demo, (killed + 1) % 3, &dir.path().join("library.backup"));
    tokio::time::sleep(after).await;
    let booked = load.end().await;
    assert!(booked > 20, "only {booked} bookings");
    let second = leader(&prometheus);
    assert_ne!(first, second, "another leads");

    let mut empty = Vec::new();
    let mut drawn = Vec::new();
    for board in boards::all() {
        let mut answered: Answered = Vec::new();
        for panel in &board.panels {
            let mut series = Vec::new();
            for (expression, legend) in &panel.queries {
                let query = filled(expression, NODES, NODES);
                let at_once = matches!(panel.shape, Shape::Number | Shape::Table);
                let found = if at_once { prometheus.at_once(&query) } else { prometheus.since(&query, began) };
                match found {
                    Err(error) => panic!("{} / {}: {query}: {error}", board.title, panel.title),
                    Ok(found) if found.is_empty() => empty.push(format!("{} / {}: {query}", board.title, panel.title)),
                    Ok(found) => series.extend(found.into_iter().map(|series| (series.called(legend), series))),
                }
            }
            answered.push(series);
        }
        drawn.push((board, answered));
    }
    assert!(empty.is_empty(), "these show nothing:\n{}", empty.join("\n"));

    let timeline = prometheus.since(&filled("carrel_raft_is_leader{NODES}", NODES, NODES), began).expect("an answer");
    let led = |host: &str| {
        let of = timeline.iter().find(|series| series.labels["instance"] == host).expect("each tells of it");
        of.points.iter().filter(|(_, value)| *value == 1.0).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let (before, after) = (led(&first), led(&second));
    assert!(before.first() < after.first(), "{before:?} {after:?}");
    assert!(before.last() < after.last(), "the second leads at the end: {before:?} {after:?}");

    for alert in alerts::ALL {
        let selectors = selectors(alert.expression);
        assert!(!selectors.is_empty(), "{} looks at nothing", alert.name);
        for selector in selectors {
            let query = without_empty_braces(&filled(&format!("last_over_time({selector}[10m])"), "", ""));
            let found = prometheus.at_once(&query).unwrap_or_else(|error| panic!("{}: {query}: {error}", alert.name));
            // A label value that stands for trouble is not there as long as there is none.
            let found =
                if found.is_empty() { prometheus.at_once(&without_values(&query)).unwrap_or_default() } else { found };
            assert!(!found.is_empty(), "{}: {query} finds nothing", alert.name);
        }
    }

    let mut told = BTreeSet::new();
    for url in &urls {
        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok()).expect("a port");
        let asked = Instant::now();
        let (status, text) = get(port, "/metrics").expect("it answers");
        let took = asked.elapsed();
        assert_eq!(status, 200);
        assert!(took < SCRAPE_LIMIT && text.len() < SCRAPE_BYTES_MAX, "{took:?} for {} bytes", text.len());
        promtool_finds_nothing(&text);
        assert!(Scrape::parse(&text).is_some(), "{text}");
        told.extend(text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())));
    }
    let known: BTreeSet<String> = catalogue::ALL.iter().map(|metric| metric.name.to_owned()).collect();
    let silent: Vec<_> = known.difference(&told).filter(|name| !ABSENT.contains(&name.as_str())).collect();
    assert!(silent.is_empty(), "told by nobody: {silent:?}");
    assert_eq!(told.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the catalogue");

    if let Some(pictures) = pictures {
        std::fs::create_dir_all(&pictures).expect("the folder of pictures can be made");
        for (board, answered) in &drawn {
            let file = pictures.join(format!("{}.svg", board.id));
            std::fs::write(&file, picture::svg(board, answered, now())).expect("a picture can be written");
        }
    }
    demo.stop();
}

fn replica(ordinal: usize) -> String {
    format!("library-{ordinal}")
}

/// The replicas, in order, and the operator, with the labels that Kubernetes would give them.
fn targets(replicas: &[String], operator: &str) -> Vec<Target> {
    let target = |address: &str, pod: String, node: String| {
        let zone = node.replace("machine", "zone");
        let given =
            [("namespace", "campus"), ("carrel_cluster", "library")].map(|(name, value)| (name, value.to_owned()));
        let labels = [&given[..], &[("instance", pod.clone()), ("pod", pod), ("node", node), ("zone", zone)]].concat();
        Target { address: address.to_owned(), labels }
    };
    let nodes = replicas.iter().enumerate();
    let nodes = nodes.map(|(ordinal, address)| target(address, replica(ordinal), format!("machine-{ordinal}")));
    nodes.chain([target(operator, "library-operator-0".to_owned(), "machine-0".to_owned())]).collect()
}

fn leader(prometheus: &Prometheus) -> String {
    let found = prometheus.at_once(&filled("carrel_raft_is_leader{NODES} == 1", NODES, NODES)).expect("an answer");
    let [leader] = found.as_slice() else { panic!("{} nodes lead", found.len()) };
    leader.labels["instance"].as_str().expect("a name").to_owned()
}

fn back_up(demo: &Demo, replica: usize, file: &std::path::Path) {
    let keys = demo.dir.join("demo-keys");
    let admin = demo.ready["admin"][replica].as_str().expect("an address");
    let endpoints = demo.endpoints().join(",");
    let mut command = demo.command(&endpoints, "nobody", &["backup", "save"]);
    command.arg(file).args(["--admin", admin]);
    for (flag, key) in [("--ca", "ca.crt"), ("--cert", "tls.crt"), ("--key", "tls.key")] {
        command.arg(flag).arg(keys.join("admin").join(key));
    }
    let ran = command.output().expect("the carrel binary starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_operator_has_the_metrics_that_are_looked_at() {
    let source = std::fs::read_to_string(crate::written::root().join("operator/src/metrics.rs")).expect("it is there");
    let mut names = BTreeSet::new();
    let boards = boards::all();
    let panels = boards.iter().flat_map(|board| &board.panels).flat_map(|panel| &panel.queries);
    for expression in panels.map(|(expression, _)| *expression).chain(alerts::ALL.iter().map(|alert| alert.expression))
    {
        names.extend(selectors(expression).into_iter().filter(|selector| selector.starts_with("carrel_operator_")));
    }
    assert!(names.len() > 8, "{names:?}");
    for selector in names {
        let name = selector.split('{').next().unwrap_or_default();
        let name = name.trim_end_matches("_bucket").trim_end_matches("_count");
        assert!(source.contains(&format!("\"{name}\"")), "the operator has no {name}");
        assert!(OPERATOR.contains(name), "{name} is missing in operator.prom");
    }
}

/// What an operator tells, from a file of the form in which it tells it; counters grow with time.
pub fn serve_operator(text: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let began = Instant::now();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = grown(text, began.elapsed().as_secs());
            let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n";
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    address
}

fn grown(text: &str, seconds: u64) -> String {
    let mut is_gauge = false;
    let line = |line: &str| {
        if line.starts_with("# TYPE") {
            is_gauge = line.ends_with(" gauge");
        }
        match line.rsplit_once(' ') {
            Some((series, value)) if !line.starts_with('#') && !is_gauge => {
                let value: f64 = value.parse().expect("a number");
                format!("{series} {}\n", value * (1 + seconds) as f64)
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}
