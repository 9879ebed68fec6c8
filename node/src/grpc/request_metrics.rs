//! How many calls of each method ended how, and how long their answers took.
//!
//! Names carry no prefix: the registry gives it to all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use carrel_proto::client::code_name;
use http::HeaderMap;
use http_body_util::BodyExt;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, exponential_buckets};
use prost::Message;
use tonic::{Code, Status};

/// In place of methods that do not exist: strangers must not make up labels.
const OTHER: &str = "other";

#[derive(Clone, Debug)]
pub struct RequestMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    methods: Arc<Methods>,
}

#[derive(Debug)]
struct Methods {
    unary: BTreeSet<String>,
    streaming: BTreeSet<String>,
}

impl RequestMetrics {
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counted = Opts::new("grpc_requests_total", "Calls that have ended, by method and code");
        let requests = IntCounterVec::new(counted, &["method", "code"])?;
        // From 0.1 ms to 6.5 s, doubling.
        let buckets = exponential_buckets(0.000_1, 2.0, 17)?;
        let timed =
            HistogramOpts::new("grpc_request_seconds", "Time to the end of the answer, of calls without streams");
        let seconds = HistogramVec::new(timed.buckets(buckets), &["method"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { requests, seconds, methods: Arc::new(Methods::of_this_service()) })
    }

    fn ended(&self, path: &str, code: Code, began: Instant) {
        let Methods { unary, streaming } = self.methods.as_ref();
        let method = unary.get(path).or_else(|| streaming.get(path)).map_or(OTHER, String::as_str);
        let method = method.trim_start_matches('/');
        self.requests.with_label_values(&[method, code_name(code)]).inc();
        if unary.contains(path) {
            self.seconds.with_label_values(&[method]).observe(began.elapsed().as_secs_f64());
        }
    }
}

impl Methods {
    fn of_this_service() -> Self {
        let mut methods = Self { unary: BTreeSet::new(), streaming: BTreeSet::new() };
        for described in [carrel_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            let files = prost_types::FileDescriptorSet::decode(described).expect("descriptors are made with the code");
            for file in &files.file {
                for service in &file.service {
                    for method in &service.method {
                        let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let is_stream = method.server_streaming() || method.client_streaming();
                        if is_stream { &mut methods.streaming } else { &mut methods.unary }.insert(path);
                    }
                }
            }
        }
        methods
    }
}

/// Counts the call when its answer has ended, or when whoever waited for it has gone.
pub async fn measure(State(metrics): State<RequestMetrics>, request: Request, next: Next) -> Response {
    let mut pending = Pending { metrics, path: request.uri().path().to_owned(), began: Instant::now(), code: None };
    let response = next.run(request).await;
    if let Some(code) = code_in(response.headers()) {
        pending.saw(code);
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(code) = frame.trailers_ref().and_then(code_in) {
                pending.saw(code);
            }
            frame
        }))
    })
}

/// Invariant: counted once, when dropped.
struct Pending {
    metrics: RequestMetrics,
    path: String,
    began: Instant,
    code: Option<Code>,
}

impl Pending {
    /// A method, so that a closure which calls it owns the whole and not a copy of one field.
    fn saw(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Without a code the answer was not waited for.
        self.metrics.ended(&self.path, self.code.unwrap_or(Code::Cancelled), self.began);
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}
