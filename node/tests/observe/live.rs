//! Three replicas under load, one of them killed, and everything that is made of what they tell: every panel of every
//! dashboard has something to show, and every alert something to look at.
//!
//! CARREL_PICTURES=DIR also draws the dashboards there.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use carrel_node::metrics::catalogue;
use carrel_node::scrape::Scrape;

use crate::alerts;
use crate::boards;
use crate::load::Load;
use crate::picture::{self, Answered};
use crate::source::{Shape, filled};
use crate::stage::Demo;
use crate::watcher::{Prometheus, get, now, ports_of_demo, serve_operator};
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
    let prometheus = Prometheus::start(dir.path(), &hosts, &serve_operator(OPERATOR));
    let began = now();
    let load = Load::begin(&demo).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let first = leader(&prometheus);
    let killed = hosts.iter().position(|host| *host == first).expect("one of the replicas leads");
    demo.kill(killed);
    demo.restarted(killed);
    // By one that remembers it to the end.
    back_up(&demo, (killed + 1) % 3, &dir.path().join("library.backup"));
    // A minute is what the panels look back over; two looks are what a rate needs.
    tokio::time::sleep(Duration::from_secs(8)).await;
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

    if let Some(pictures) = std::env::var_os("CARREL_PICTURES") {
        let pictures = std::path::PathBuf::from(pictures);
        std::fs::create_dir_all(&pictures).expect("the folder of pictures can be made");
        for (board, answered) in &drawn {
            let file = pictures.join(format!("{}.svg", board.id));
            std::fs::write(&file, picture::svg(board, answered, began, now())).expect("a picture can be written");
        }
    }
    demo.stop();
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

fn promtool_finds_nothing(text: &str) {
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

/// Every `name{...}` in an expression.
fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in expression.match_indices("carrel_") {
        let rest = &expression[start..];
        let Some(end) = rest.find('}') else { continue };
        let is_selector = rest.find('{').is_some_and(|open| open < end && !rest[..open].contains(' '));
        if is_selector {
            found.push(rest[..=end].to_owned());
        }
    }
    found
}

/// The same series, whatever the code, class or outlook in their labels.
fn without_values(query: &str) -> String {
    let Some((name, rest)) = query.split_once('{') else { return query.to_owned() };
    let Some((matchers, rest)) = rest.split_once('}') else { return query.to_owned() };
    let label = |matcher: &str| matcher.split(['=', '!']).next().unwrap_or_default().to_owned();
    let present: Vec<String> = matchers.split("\",").map(|matcher| format!("{}!=\"\"", label(matcher))).collect();
    format!("{name}{{{}}}{rest}", present.join(","))
}

#[test]
fn selectors_are_found_in_expressions() {
    assert_eq!(
        selectors(
            r#"sum by (BY) (rate(carrel_a_total{NODES,code=~"A|B"}[5m])) / max by (carrel_cluster) (carrel_b{NODES})"#
        ),
        [r#"carrel_a_total{NODES,code=~"A|B"}"#, "carrel_b{NODES}"]
    );
    assert_eq!(without_values(r#"f(a{x="1",y=~"b|c"}[1m])"#), r#"f(a{x!="",y!=""}[1m])"#);
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
