//! One booking, from the command of a person to the row in Postgres, as a collector sees it: one trace, over every node
//! that had a part in it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::load::{self, ports_of_demo};
use crate::stage::{Demo, PASSWORD};

/// Spans are sent after a fifth of a second here; this is for a bad day.
const PATIENCE: Duration = Duration::from_secs(30);
const LETTER: &str = "canary-letter-5d1f";
const ANNOUNCEMENT: &str = "canary-announcement-91c2";
const WRONG_PASSWORD: &str = "canary-password-07be";

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone, Debug)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    /// Which replica; none: a command.
    instance: Option<String>,
    began: u64,
    ended: u64,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.bytes.lock().expect("nobody panics").extend(request.encode_to_vec());
        let mut spans = self.spans.lock().expect("nobody panics");
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let instance = attributes.into_iter().find(|of| of.key == "service.instance.id");
            let instance = instance.and_then(|of| match of.value?.value? {
                Value::StringValue(text) => Some(text),
                _ => None,
            });
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    name: span.name,
                    instance: instance.clone(),
                    began: span.start_time_unix_nano,
                    ended: span.end_time_unix_nano,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Where it listens.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    /// Of the trace that began with this command, once there are all of these.
    async fn trace_of(&self, command: &str, expected: &BTreeMap<&str, usize>) -> Vec<Span> {
        let started = Instant::now();
        loop {
            let spans = self.spans.lock().expect("nobody panics").clone();
            let began = spans.iter().rev().find(|span| span.name == command).map(|span| span.trace.clone());
            let of: Vec<Span> = spans.iter().filter(|span| Some(&span.trace) == began.as_ref()).cloned().collect();
            let count = |name: &str| of.iter().filter(|span| span.name == name).count();
            if !of.is_empty() && expected.iter().all(|(name, least)| count(name) >= *least) {
                return of;
            }
            assert!(started.elapsed() < PATIENCE, "{command}: {of:#?}\nof {} spans", spans.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

const CREATE: &str = "carrel.v1.ReservationService/CreateReservation";
const FORWARDED: &str = "carrel.peer.v1.PeerService/Propose";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_booking_is_one_trace_on_all_nodes_and_says_nothing_of_what_was_booked() {
    let dir = tempfile::tempdir().expect("a directory");
    // Postgres may run as somebody else.
    let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), passable).expect("a directory of ours");
    let (collector, address) = Collector::start().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("CARREL_LOG_FORMAT", "json"),
    ];
    let log = ["--log", "info,carrel_node=trace,openraft=error"];
    let demo = Demo::start_in(
        &environment,
        &dir.path().join("demo"),
        ports_of_demo(),
        &[&["--postgres"][..], &log[..]].concat(),
    );
    let run = |replica: usize, person: &str, arguments: &[&str], environment: &[(&str, &str)], stdin: &str| {
        let mut command = demo.command(&demo.endpoint(replica), person, arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the carrel binary starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), stdin.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let password = format!("{PASSWORD}\n");
    run(0, "amy", &["register", "amy", "--password-stdin"], &environment, &password);
    run(0, "amy", &["login", "amy", "--password-stdin"], &environment, &password);
    run(0, "amy", &["send", "librarian", LETTER], &environment, "");
    let wrong = v1::LoginRequest { user_id: "amy".to_owned(), password: WRONG_PASSWORD.to_owned() };
    load::client(&demo, 1).login(wrong).await.expect_err("that is not it");
    let announcement =
        v1::BroadcastRequest { request_id: new_request_id(), text: ANNOUNCEMENT.to_owned(), audience: None };
    load::log_in(&demo, 0, "librarian").await.broadcast(announcement).await.expect("a librarian may");
    let seats = load::seats(&load::log_in(&demo, 0, "patron").await).await;
    let (leader, _) = demo.leader();
    let follower = (0..3).find(|replica| *replica != leader).expect("three replicas");
    let reserve = |seat: &str, (from, to): (String, String)| {
        ["reserve", seat, "--from", &from, "--to", &to].map(ToOwned::to_owned)
    };
    let first = reserve(&seats[0], crate::stage::slot(30, 30));
    run(follower, "amy", &first.each_ref().map(String::as_str), &environment, "");

    let expected = BTreeMap::from([
        ("carrel reserve", 1),
        (CREATE, 1),
        ("forward", 1),
        (FORWARDED, 1),
        ("propose", 1),
        ("append", 3),
        ("apply", 3),
        ("reply", 1),
        ("project", 1),
    ]);
    let trace = collector.trace_of("carrel reserve", &expected).await;
    let one = |name: &str| trace.iter().find(|span| span.name == name).expect("waited for");
    let instances = |name: &str| -> BTreeSet<_> {
        trace.iter().filter(|span| span.name == name).filter_map(|span| span.instance.clone()).collect()
    };
    let chain = ["carrel reserve", CREATE, "forward", FORWARDED, "propose"];
    assert!(one(chain[0]).parent.is_empty(), "a command begins a trace");
    for pair in chain.windows(2) {
        assert_eq!(one(pair[1]).parent, one(pair[0]).id, "{} is a part of {}", pair[1], pair[0]);
        assert!(one(pair[1]).began >= one(pair[0]).began);
    }
    let propose = one("propose");
    for name in ["append", "apply", "project"] {
        assert!(trace.iter().filter(|span| span.name == name).all(|span| span.parent == propose.id), "{name}");
    }
    assert_eq!(one("reply").parent, one(CREATE).id);
    let all = ["0", "1", "2"].map(ToOwned::to_owned).into();
    assert_eq!((instances("append"), instances("apply")), (all, ["0", "1", "2"].map(ToOwned::to_owned).into()));
    assert_eq!(one(CREATE).instance, Some(follower.to_string()));
    assert_eq!((propose.instance.as_ref(), instances("project").len()), (Some(&leader.to_string()), 1));
    assert!(trace.iter().all(|span| span.ended >= span.began));

    // Whoever begins a trace says whether it is recorded, and so do all nodes.
    let unrecorded = reserve(&seats[1], crate::stage::slot(120, 30));
    let never = [&environment[..], &[("OTEL_TRACES_SAMPLER", "always_off")]].concat();
    run(follower, "amy", &unrecorded.each_ref().map(String::as_str), &never, "");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spans = collector.spans.lock().expect("nobody panics").clone();
    assert_eq!(spans.iter().filter(|span| span.name == CREATE).count(), 1);

    // Of a call without a trace of its own the node begins one.
    run(follower, "amy", &["reservations"], &[], "");
    let list = "carrel.v1.ReservationService/ListReservations";
    let begun = collector.trace_of(list, &BTreeMap::from([(list, 1)])).await;
    assert!(begun.iter().any(|span| span.name == list && span.parent.is_empty()), "{begun:#?}");

    // Neither what was sent nor what proves who sent it is in traces or logs; the traces' ids are in both.
    let session = std::fs::read_dir(demo.dir.join("config-amy")).expect("amy is logged in");
    let kept = session.map(|entry| std::fs::read_to_string(entry.expect("a file").path()).expect("text"));
    let tokens: Vec<String> = kept
        .flat_map(|text| text.split('"').map(ToOwned::to_owned).collect::<Vec<_>>())
        .filter(|word| word.len() > 30 && !word.contains(['/', ' ', '\n']))
        .collect();
    assert!(!tokens.is_empty(), "a session is kept in that file");
    let secrets = tokens.iter().map(String::as_str).chain([PASSWORD, WRONG_PASSWORD, LETTER, ANNOUNCEMENT]);
    let exported = collector.bytes.lock().expect("nobody panics").clone();
    let log_of = |replica| std::fs::read_to_string(demo.dir.join(format!("replica-{replica}.log"))).expect("a log");
    let logs: String = (0..3).map(log_of).collect();
    for secret in secrets {
        let found = exported.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a secret is in the traces");
        assert!(!logs.contains(secret), "a secret is in the logs");
    }
    assert!(exported.windows(CREATE.len()).any(|window| window == CREATE.as_bytes()), "or nothing would be found");
    for line in logs.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let trace_id: String = trace[0].trace.iter().map(|byte| format!("{byte:02x}")).collect();
    let of_trace = |line: &serde_json::Value| line["span"]["trace_id"] == *trace_id;
    let lines = log_of(follower);
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("seen above")).filter(of_trace);
    let ended: Vec<serde_json::Value> = lines.filter(|line| line["fields"]["method"] == CREATE).collect();
    assert_eq!(ended.len(), 1, "the line of this call leads to its trace: {ended:#?}");
    assert_eq!(ended[0]["fields"]["code"], "OK");
    demo.stop();
}

/// What is begun elsewhere is recorded as was decided there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_begins_as_many_traces_as_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let (collector, address) = Collector::start().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let never =
        [&environment[..], &[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")]]
            .concat();
    let demo = Demo::start_in(&never, dir.path(), ports_of_demo(), &["--replicas", "1"]);
    let patron = load::log_in(&demo, 0, "patron").await;
    load::seats(&patron).await;
    let mut listing = demo.command(&demo.endpoint(0), "nobody", &["cluster", "status"]);
    let listed = listing.envs(environment).output().expect("the carrel binary starts");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let status = "carrel.admin.v1.ClusterService/GetStatus";
    let trace = collector.trace_of("carrel cluster", &BTreeMap::from([(status, 1)])).await;
    let instances: BTreeSet<_> = trace.iter().map(|span| span.instance.clone()).collect();
    assert_eq!(instances, [None, Some("0".to_owned())].into());
    let spans = collector.spans.lock().expect("nobody panics").clone();
    assert!(spans.iter().all(|span| span.trace == trace[0].trace), "nothing else is recorded: {spans:#?}");
    demo.stop();
}
