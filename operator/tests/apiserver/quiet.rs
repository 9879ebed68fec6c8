//! What settled clusters cost: nothing is written, little is asked, and an operator of many is small. And what becomes
//! of watches whose connections are cut, or die without a word.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::audit::{Asked, asked_by};
use super::kubelet::Kubelet;
use super::plane::plane;
use super::stage::{Cluster, Operator, SETTLE_LIMIT};

const NAMESPACE: &str = "quiet";
const CALLS_A_MINUTE_MAX: f64 = 10.0;
const RESIDENT_MIB_MAX: f64 = 150.0;
const CPU_PERCENT_MAX: f64 = 5.0;
/// Of nodes that start at once, each takes a share of the machine.
const FOUNDING_EACH: Duration = Duration::from_secs(20);
/// After the last change: what it set in motion comes to rest.
const REST: Duration = Duration::from_secs(3);
/// A watch that was cut is asked for again after a pause of at most 30 s.
const CUT_LIMIT: Duration = Duration::from_secs(45);
/// One that is dead is given up after its time and 5 s.
const DEAD_LIMIT: Duration = Duration::from_secs(carrel_operator::requests::WATCH_SECONDS as u64 + 90);

/// Between the operator and its API server.
struct Line {
    port: u16,
    /// Connections of earlier ones end.
    cuts: watch::Sender<u64>,
    /// Connections of earlier ones stay, and carry nothing any more.
    deaths: watch::Sender<u64>,
}

impl Line {
    async fn open(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (cuts, deaths) = (watch::channel(0).0, watch::channel(0).0);
        let line = Self { port, cuts: cuts.clone(), deaths: deaths.clone() };
        tokio::spawn(async move {
            loop {
                let Ok((mut near, _)) = listener.accept().await else { continue };
                let (mut cut, mut death) = (cuts.subscribe(), deaths.subscribe());
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = cut.changed() => return,
                        _ = death.changed() => {}
                    }
                    let _ = cut.changed().await;
                });
            }
        });
        line
    }

    /// How many there were: counted before they are told, as they are gone soon after.
    fn cut(&self) -> usize {
        let connections = self.cuts.receiver_count();
        self.cuts.send_modify(|times| *times += 1);
        connections
    }

    fn die(&self) -> usize {
        let connections = self.deaths.receiver_count();
        self.deaths.send_modify(|times| *times += 1);
        connections
    }
}

fn wanted(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Of a process, since it began.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum();
    // The kernel counts hundredths, whatever it ticks by.
    ticks as f64 / 100.0
}

fn memory_mib(pid: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let found = status.lines().find_map(|text| text.strip_prefix(line)).expect("the kernel says it");
    let kib: f64 = found.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_clusters_cost_next_to_nothing() {
    let Some(plane) = plane() else { return };
    let (count, seconds) = (wanted("CARREL_OPERATOR_CLUSTERS", 2), wanted("CARREL_OPERATOR_SECONDS", 10));
    // A long run is of clusters as people have them.
    let replicas = wanted("CARREL_OPERATOR_REPLICAS", if count > 2 { 3 } else { 1 });
    plane.namespace(NAMESPACE).await;
    let line = Arc::new(Line::open(plane.api_port).await);
    let operator = Operator::enter(plane, NAMESPACE, line.port).await;
    let _machine = Kubelet::start(plane, NAMESPACE).await;
    let mut clusters = Vec::new();
    for number in 0..count {
        let spec = json!({ "replicas": replicas, "image": "carrel:1", "tls": { "mode": "Disabled" },
            "raft": { "heartbeatMs": 300, "electionMinMs": 2000, "electionMaxMs": 4000 } });
        clusters.push(Cluster::create(plane, NAMESPACE, &format!("c{number}"), spec).await);
    }
    let began = Instant::now();
    let limit = SETTLE_LIMIT + FOUNDING_EACH * u32::try_from(count).expect("not so many");
    join_all(clusters.iter().map(|cluster| cluster.settle_within(limit))).await;
    let founded = began.elapsed();
    tokio::time::sleep(REST).await;

    let (from, cpu) = (Timestamp::now(), cpu_seconds(operator.pid()));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cpu = 100.0 * (cpu_seconds(operator.pid()) - cpu) / seconds as f64;
    let resident = memory_mib(operator.pid(), "VmRSS:");
    let asked: Vec<Asked> = asked_by(plane, &operator.user).into_iter().filter(|asked| asked.at >= from).collect();
    let is_status = |asked: &&Asked| asked.right.resource == "carrelclusters/status";
    let status_writes = asked.iter().filter(is_status).count();
    let a_minute = asked.len() as f64 * 60.0 / seconds as f64 / count as f64;
    // The election is the operator's, however many clusters it has.
    let of_clusters = asked.iter().filter(|asked| asked.right.resource != "leases").count();
    let of_clusters = of_clusters as f64 * 60.0 / seconds as f64 / count as f64;

    let mut report = String::new();
    let mut row = |what: &str, measured: String, limit: String| {
        writeln!(report, "| {what} | {measured} | {limit} |").expect("a text takes any text");
    };
    row("clusters in one operator", format!("{count}, of {replicas} each"), String::new());
    row("all founded and settled after", format!("{:.0} s", founded.as_secs_f64()), String::new());
    row(&format!("status writes in {seconds} s"), status_writes.to_string(), "0".to_owned());
    row("API calls a minute a cluster", format!("{of_clusters:.1}"), format!("{CALLS_A_MINUTE_MAX:.0}"));
    row("with the election", format!("{a_minute:.1}"), String::new());
    row("CPU of one core", format!("{cpu:.2} %"), format!("{CPU_PERCENT_MAX:.0} %"));
    row("resident", format!("{resident:.0} MiB"), format!("{RESIDENT_MIB_MAX:.0} MiB"));
    row("resident at most, while founding", format!("{:.0} MiB", memory_mib(operator.pid(), "VmHWM:")), String::new());

    assert!(line.cut() > 0, "it is connected");
    let cut = mended(&clusters[0]).await;
    assert!(cut < CUT_LIMIT, "{cut:?}");
    row("a cut watch: a change is seen after", format!("{:.1} s", cut.as_secs_f64()), "45 s".to_owned());
    if std::env::var_os("CARREL_OPERATOR_SECONDS").is_some() {
        assert!(line.die() > 0, "it is connected again");
        let dead = mended(&clusters[0]).await;
        assert!(dead < DEAD_LIMIT, "{dead:?}");
        row("a dead watch: a change is seen after", format!("{:.0} s", dead.as_secs_f64()), "330 s".to_owned());
    }
    let report = format!("| settled | measured | limit |\n|---|---|---|\n{report}");
    println!("{report}");
    if let Ok(file) = std::env::var("CARREL_REPORT") {
        std::fs::write(file, format!("{report}\n")).expect("written");
    }
    assert_eq!(status_writes, 0, "{asked:#?}");
    assert!(of_clusters < CALLS_A_MINUTE_MAX, "{of_clusters} calls a minute: {asked:#?}");
    assert!(resident < RESIDENT_MIB_MAX, "{resident} MiB");
    assert!(cpu < CPU_PERCENT_MAX, "{cpu} % of a core");
}

/// Somebody changes a child that only a watch tells of; how long until it is as it was.
async fn mended(cluster: &Cluster) -> Duration {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = format!("{}-peers", cluster.name);
    let meddle = json!({ "spec": { "publishNotReadyAddresses": false } });
    services.patch(&name, &PatchParams::default(), &Patch::Merge(meddle)).await.expect("changed");
    let began = Instant::now();
    loop {
        let spec = services.get(&name).await.expect("it is there").spec.expect("a spec");
        if spec.publish_not_ready_addresses == Some(true) || began.elapsed() > DEAD_LIMIT {
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
