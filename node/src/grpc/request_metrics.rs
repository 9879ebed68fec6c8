//! How many calls of each method ended how, and how long their answers took.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use carrel_proto::client::code_name;
use http::HeaderMap;
use http_body_util::BodyExt;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use prost::Message;
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use crate::metrics::are_counting;
use crate::metrics::catalogue::{self, registered};
use crate::traces;

/// In place of methods that do not exist: strangers must not make up labels.
const OTHER: &str = "other";
/// gRPC has as many, from 0 on.
const CODES: usize = 17;

#[derive(Clone, Debug)]
pub struct RequestMetrics {
    methods: Arc<Methods>,
}

#[derive(Debug)]
struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    other: Arc<Method>,
}

/// The series of one method, each made when it is first needed and then held on to.
#[derive(Debug)]
struct Method {
    name: String,
    requests: IntCounterVec,
    by_code: [OnceLock<IntCounter>; CODES],
    /// Of calls with one answer.
    seconds: HistogramVec,
    timed: OnceLock<Histogram>,
    /// Of calls with streams.
    streams: Option<IntGauge>,
}

impl RequestMetrics {
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = registered(registry, catalogue::REQUESTS.counters())?;
        let seconds = registered(registry, catalogue::REQUEST_SECONDS.histograms())?;
        let streams = registered(registry, catalogue::STREAMS.gauges())?;
        let method = |name: &str, is_stream: bool| {
            Arc::new(Method {
                name: name.to_owned(),
                requests: requests.clone(),
                by_code: Default::default(),
                seconds: seconds.clone(),
                timed: OnceLock::new(),
                streams: is_stream.then(|| streams.with_label_values(&[name])),
            })
        };
        let mut by_path = HashMap::new();
        for described in [carrel_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            let files = prost_types::FileDescriptorSet::decode(described).expect("descriptors are made with the code");
            for file in &files.file {
                for service in &file.service {
                    for described in &service.method {
                        let name = format!("{}.{}/{}", file.package(), service.name(), described.name());
                        let is_stream = described.server_streaming() || described.client_streaming();
                        // Peers have a port of their own.
                        if !name.starts_with(PEERS) {
                            by_path.insert(format!("/{name}"), method(&name, is_stream));
                        }
                    }
                }
            }
        }
        let other = method(OTHER, false);
        Ok(Self { methods: Arc::new(Methods { by_path, other }) })
    }

    fn method(&self, path: &str) -> &Arc<Method> {
        self.methods.by_path.get(path).unwrap_or(&self.methods.other)
    }
}

const PEERS: &str = "carrel.peer.";

impl Method {
    fn ended(&self, code: Code, began: Instant) {
        if let Some(streams) = &self.streams {
            streams.dec();
        }
        if !are_counting() {
            return;
        }
        let counter = || self.requests.with_label_values(&[self.name.as_str(), code_name(code)]);
        match self.by_code.get(usize::try_from(i32::from(code)).unwrap_or(CODES)) {
            Some(known) => known.get_or_init(counter).inc(),
            None => counter().inc(),
        }
        if self.streams.is_none() && self.name != OTHER {
            let timed = self.timed.get_or_init(|| self.seconds.with_label_values(&[self.name.as_str()]));
            timed.observe(began.elapsed().as_secs_f64());
        }
    }
}

/// Counts the call when its answer has ended, or when whoever waited for it has gone; its trace ends then, too.
pub async fn measure<Answered>(
    metrics: &RequestMetrics,
    request: Request,
    next: impl FnOnce(Request) -> Answered,
) -> Response
where
    Answered: Future<Output = Response>,
{
    if !are_counting() && !traces::are_on() {
        return next(request).await;
    }
    let method = Arc::clone(metrics.method(request.uri().path()));
    // A stream is no request: it has no end that anybody waits for.
    let span = match method.streams {
        None => traces::serving(&method.name, request.headers()),
        Some(_) => Span::none(),
    };
    if let Some(streams) = &method.streams {
        streams.inc();
    }
    let mut pending = Pending { method, began: Instant::now(), code: None, reply: Span::none(), span: span.clone() };
    let response = next(request).instrument(span.clone()).await;
    pending.reply = span.in_scope(|| traces::span!("reply", kind = "internal"));
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
    method: Arc<Method>,
    began: Instant,
    code: Option<Code>,
    /// Before the span it is a part of, so that it ends first.
    reply: Span,
    span: Span,
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
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", i32::from(code));
        let method = self.method.name.as_str();
        self.span.in_scope(|| tracing::debug!(method, code = code_name(code), took = ?self.began.elapsed(), "ended"));
        self.method.ended(code, self.began);
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}
