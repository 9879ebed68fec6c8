//! What a scrape of a large library weighs after years in which every call was made and failed in several ways, and how
//! long a node takes for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Of};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use carrel_domain::reply::Reply;
use carrel_domain::request::{self, Action, At};
use carrel_domain::state::State;
use carrel_domain::tally::Tally;
use carrel_domain::time::Timestamp;
use carrel_node::catalog;
use carrel_node::convert::refusal::REFUSALS;
use carrel_node::grpc::request_metrics::{RequestMetrics, measure};
use carrel_node::health::{self, Vitals};
use carrel_node::metrics::{Metrics, Sight};
use carrel_node::raft::measured::Measured;
use carrel_node::replica::{LeaderFigures, NodeFigures, PeerFigures, View};
use carrel_node::scrape::{self, Scrape};
use http::HeaderValue;
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tower::ServiceExt;

const BRANCHES: usize = 50;
const BYTES_MAX: usize = 200 << 10;
/// In earnest; a debug build is given twenty times as long.
const LIMIT: Duration = Duration::from_millis(5);
const LOOKS: u32 = 20;

fn library() -> State {
    let mut campus = catalog::sample();
    let sample = campus.branches.clone();
    campus.branches = (0..BRANCHES)
        .map(|number| {
            let branch = &sample[number % sample.len()];
            carrel_proto::v1::Branch { id: format!("{}-{number}", branch.id), ..branch.clone() }
        })
        .collect();
    let draft = Box::new(carrel_node::convert::catalog::to_draft(&campus).expect("a catalogue like the sample"));
    let mut state = State::default();
    let import = request::Request::system(Action::ImportCatalog { draft, expected_revision: None });
    let applied = state.apply(At { index: 1, time: Timestamp(1_800_000_000_000_000) }, &import);
    assert!(matches!(applied.reply.result, Ok(Reply::Catalog(_))), "{:?}", applied.reply);
    state
}

/// Besides an answer: what a client does wrong, what a node cannot do, and who goes away.
const CODES: [Code; 5] =
    [Code::Ok, Code::InvalidArgument, Code::FailedPrecondition, Code::Unavailable, Code::Cancelled];
/// More than there are.
const REASONS: usize = 80;
const MEMBERS: u64 = 7;

/// Every method of the client port, as the middleware sees calls of it.
fn methods() -> Vec<String> {
    let described = prost_types::FileDescriptorSet::decode(carrel_proto::DESCRIPTORS).expect("made with the code");
    let mut methods = Vec::new();
    for file in described.file.iter().filter(|file| file.package() == "carrel.v1") {
        for service in &file.service {
            methods.extend(service.method.iter().map(|of| format!("/carrel.v1.{}/{}", service.name(), of.name())));
        }
    }
    methods
}

async fn call_everything(metrics: &RequestMetrics) {
    let answer = async |request: Request| {
        let code = request.headers()["wanted"].clone();
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(Status::GRPC_STATUS, code);
        response
    };
    let measured = async |Of(metrics): Of<RequestMetrics>, request: Request, next: Next| {
        measure(&metrics, request, |request| next.run(request)).await
    };
    let service = Router::new().fallback(answer).layer(from_fn_with_state(metrics.clone(), measured));
    for method in methods().iter().map(String::as_str).chain(["/a.stranger/Call", "/made/up"]) {
        for code in CODES {
            let request = Request::builder().uri(method).header("wanted", HeaderValue::from(i32::from(code)));
            let request = request.body(Body::empty()).expect("well-formed");
            service.clone().oneshot(request).await.expect("it answers");
        }
    }
}

#[derive(Clone)]
struct Node {
    library: View,
}

impl Vitals for Node {
    fn sight(&self) -> Sight {
        let peer = |id| PeerFigures { id, ordinal: id as u32, matched_index: Some(1), since_ack: Some(Duration::ZERO) };
        let leading = LeaderFigures {
            quorum_margin: 3,
            since_quorum_ack: Some(Duration::ZERO),
            clock_spread_us: 7,
            peers: (1..MEMBERS).map(peer).collect(),
        };
        let node = NodeFigures { leads: true, leading: Some(leading), ..NodeFigures::default() };
        Sight { node, view: Arc::clone(&self.library), tally: Tally::of(&self.library) }
    }

    fn unready(&self) -> Option<String> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_branches_are_told_quickly_and_in_brief() {
    let library = Arc::new(library());
    let seats = library.catalog().seat_count();
    // Whoever scrapes knows which cluster it is, as with the chart.
    let metrics = Metrics::new(None, "/".into());
    let requests = RequestMetrics::new(metrics.registry()).expect("nothing is registered yet");
    Measured::default().register(metrics.registry()).expect("nor are these");
    call_everything(&requests).await;
    for number in 0..REASONS {
        REFUSALS.with_label_values(&[format!("A_REASON_WITH_NUMBER_{number}").as_str()]).inc();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
    let router = health::router(Node { library }, metrics);
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut took = Vec::new();
    let mut text = String::new();
    for _ in 0..LOOKS {
        let began = Instant::now();
        text = scrape::fetch(&url).await.expect("it answers");
        took.push(began.elapsed());
    }
    serving.abort();
    took.sort();
    let limit = if cfg!(debug_assertions) { LIMIT * 20 } else { LIMIT };
    let middle = took[took.len() / 2];
    report(seats, &text, middle, took[took.len() - 1]);
    assert!(middle < limit, "{took:?}");
    assert!(text.len() < BYTES_MAX, "{} bytes", text.len());
    labels_are_known_beforehand(&Scrape::parse(&text).expect("it is of the form"));
}

fn report(seats: usize, text: &str, middle: Duration, longest: Duration) {
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    let said = format!(
        "A scrape of a node with {BRANCHES} branches and {seats} seats, where each of {} methods has ended in {} ways and \
         {REASONS} reasons have been given: {lines} series, {:.1} KiB; half of {LOOKS} took {:.2} ms or less, the longest \
         {:.2} ms.\n",
        methods().len(),
        CODES.len(),
        text.len() as f64 / 1024.0,
        middle.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
    );
    print!("{said}");
    if let Some(file) = std::env::var_os("CARREL_REPORT") {
        std::fs::write(file, said).expect("the report can be written");
    }
}

/// What strangers ask for makes no series, and nothing but what we know beforehand is a label.
fn labels_are_known_beforehand(scrape: &Scrape) {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for series in scrape.all() {
        for (label, value) in &series.labels {
            values.entry(label).or_default().insert(value);
        }
    }
    let count = |label: &str| values.get(label).map_or(0, BTreeSet::len);
    let called = &values["method"];
    let ours = called.iter().filter(|method| method.starts_with("carrel.v1.")).count();
    assert_eq!(ours, methods().len());
    // Streams of the admin port and health checks are there from the beginning.
    let is_known =
        |method: &&str| ["carrel.v1.", "carrel.admin.v1.", "grpc.health.v1."].iter().any(|of| method.starts_with(of));
    let others: Vec<_> = called.iter().filter(|method| !is_known(method)).collect();
    assert_eq!(others, [&"other"], "all strangers are one");
    assert_eq!((count("branch"), count("code")), (BRANCHES, CODES.len()));
    assert_eq!((count("peer"), count("ordinal")), (MEMBERS as usize - 1, MEMBERS as usize));
    let known = [
        "branch",
        "cluster_id",
        "code",
        "incarnation",
        "kind",
        "le",
        "lineage",
        "method",
        "node_id",
        "ordinal",
        "outcome",
        "peer",
        "reason",
        "result",
        "state",
        "version",
    ];
    assert_eq!(values.keys().copied().collect::<Vec<_>>(), known);
}
