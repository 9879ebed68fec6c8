//! Traces: what became of one request, on every node it came to. The only user of OpenTelemetry.
//!
//! They are recorded where OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) says where to send them,
//! and as often as OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, which is decided before a span is made: what is
//! not recorded costs next to nothing. A span has a name, times, a code and an index, and nothing of what was asked or
//! answered.

use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::Context as _;
use http::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Config, Sampler, SamplingDecision, SdkTracer, SdkTracerProvider};
use tonic::metadata::{Ascii, MetadataValue};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Of our own spans: those of libraries, and what is logged, stay out of traces.
pub const TARGET: &str = "carrel::trace";

/// By which a trace goes on elsewhere, as W3C has it.
pub const HEADER: &str = "traceparent";

/// Where to, as OpenTelemetry has it for everybody.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

static RECORDING: OnceLock<Recording> = OnceLock::new();

#[derive(Debug)]
struct Recording {
    tracer: SdkTracer,
    /// As the environment says: who is sampled, and how ids are drawn.
    config: Config,
}

/// A span within one that is recorded.
macro_rules! span {
    ($name:literal, kind = $kind:literal) => {
        if $crate::traces::current().is_some() {
            tracing::info_span!(target: "carrel::trace", $name, otel.kind = $kind)
        } else {
            tracing::Span::none()
        }
    };
}
pub(crate) use span;

/// Where a trace goes on: only of one that is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
}

impl TraceParent {
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..].copy_from_slice(&self.span);
        bytes
    }

    /// None of bytes that are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace, span) = bytes.split_first_chunk()?;
        let parent = Self { trace: *trace, span: span.try_into().ok()? };
        parent.context().is_valid().then_some(parent)
    }

    fn of(context: &SpanContext) -> Option<Self> {
        let is_recorded = context.is_valid() && context.is_sampled();
        is_recorded.then(|| Self { trace: context.trace_id().to_bytes(), span: context.span_id().to_bytes() })
    }

    fn context(self) -> SpanContext {
        let (trace, span) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span))
    }
}

#[must_use]
pub fn are_on() -> bool {
    RECORDING.get().is_some()
}

/// The recording of this process.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// If the environment says where to. `instance` tells processes of one service apart. To be called within tokio.
    ///
    /// # Errors
    /// If what it says makes no sense.
    pub fn begin(service: &'static str, instance: Option<String>) -> anyhow::Result<Option<Self>> {
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(is_set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_tonic().build();
        let exporter = exporter.context("cannot send traces to where OTEL_EXPORTER_OTLP_ENDPOINT says")?;
        let mut resource = Resource::builder();
        if !is_set(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name(service);
        }
        if let Some(instance) = instance {
            resource = resource.with_attribute(KeyValue::new("service.instance.id", instance));
        }
        // What is made is wanted: whoever makes a span has asked before.
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::AlwaysOn)
            .build();
        let recording = || Recording { tracer: provider.tracer("carrel"), config: Config::default() };
        let tracer = RECORDING.get_or_init(recording).tracer.clone();
        Ok(Some(Self { provider, tracer }))
    }

    /// What makes traces of this crate's spans.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(self.tracer.clone()).with_location(false).with_filter(ours)
    }

    /// Sends what is recorded, for a short while.
    pub async fn end(self) {
        // A collector that cannot be reached has lost traces, and nothing else has gone wrong.
        let _ = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
    }
}

/// Of a call of a client. `method` is one of ours.
#[must_use]
pub fn serving(method: &str, headers: &HeaderMap) -> Span {
    let Some(parent) = begun_by(method, &Headers(headers)) else { return Span::none() };
    let span = tracing::info_span!(
        target: "carrel::trace",
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.grpc.status_code = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    go_on(&span, parent);
    span
}

/// Of what a peer hands over, with what its header would be.
#[must_use]
pub fn serving_peer(method: &'static str, traceparent: &str) -> Span {
    // A peer that records what it asks says so.
    if traceparent.is_empty() {
        return Span::none();
    }
    let Some(parent) = begun_by(method, &Traceparent(traceparent)) else { return Span::none() };
    let span = tracing::info_span!(
        target: "carrel::trace",
        "peer",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        trace_id = tracing::field::Empty,
    );
    go_on(&span, parent);
    span
}

/// Of a command of a person: the beginning of a trace.
#[must_use]
pub fn asking(command: &str) -> Span {
    if !is_recorded(&Context::new(), command, &SpanKind::Client) {
        return Span::none();
    }
    tracing::info_span!(target: "carrel::trace", "command", otel.name = command, otel.kind = "client")
}

/// Whoever asked, if what they asked for is recorded.
fn begun_by(method: &str, carrier: &dyn Extractor) -> Option<Context> {
    if !are_on() {
        return None;
    }
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), carrier);
    is_recorded(&parent, method, &SpanKind::Server).then_some(parent)
}

fn go_on(span: &Span, parent: Context) {
    // It has not begun yet, so its parent can be told.
    let _ = span.set_parent(parent);
    let context = span.context();
    let trace_id = context.span().span_context().trace_id();
    span.record("trace_id", tracing::field::display(trace_id));
}

/// As the environment says, of what follows this.
fn is_recorded(parent: &Context, name: &str, kind: &SpanKind) -> bool {
    let Some(Recording { tracer: _, config }) = RECORDING.get() else { return false };
    let span = parent.span();
    let begun = span.span_context();
    // The trace that begins has another id: the share of those that are recorded is the same.
    let trace = if begun.is_valid() { begun.trace_id() } else { config.id_generator.new_trace_id() };
    let sampled = config.sampler.should_sample(Some(parent), trace, name, kind, &[], &[]);
    sampled.decision == SamplingDecision::RecordAndSample
}

/// Where the trace of this task goes on.
#[must_use]
pub fn current() -> Option<TraceParent> {
    are_on().then(|| TraceParent::of(Span::current().context().span().span_context())).flatten()
}

/// The same, for a call to another node.
#[must_use]
pub fn outgoing() -> Option<MetadataValue<Ascii>> {
    if !are_on() {
        return None;
    }
    injected(&Span::current().context())
}

/// The same, for a command: one that is not recorded says so, and then no node records it either.
#[must_use]
pub fn outgoing_of_command() -> Option<MetadataValue<Ascii>> {
    outgoing().or_else(|| {
        let generator = &RECORDING.get()?.config.id_generator;
        let (trace, span) = (generator.new_trace_id(), generator.new_span_id());
        let unrecorded = SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::default());
        injected(&Context::new().with_remote_span_context(unrecorded))
    })
}

fn injected(context: &Context) -> Option<MetadataValue<Ascii>> {
    let mut value = Header(None);
    TraceContextPropagator::new().inject_context(context, &mut value);
    value.0?.parse().ok()
}

/// What was done for many requests at once, told to the trace of one of them.
pub fn record(name: &'static str, parent: TraceParent, began: SystemTime, index: u64) {
    let Some(Recording { tracer, config: _ }) = RECORDING.get() else { return };
    let parent = Context::new().with_remote_span_context(parent.context());
    if !is_recorded(&parent, name, &SpanKind::Internal) {
        return;
    }
    let index = KeyValue::new("carrel.index", index.cast_signed());
    let builder = tracer.span_builder(name).with_kind(SpanKind::Internal).with_start_time(began);
    builder.with_attributes([index]).start_with_context(tracer, &parent).end();
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == HEADER).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::from([HEADER])
    }
}

/// The one header that says where a trace goes on.
struct Header(Option<String>);

impl Injector for Header {
    fn set(&mut self, key: &str, value: String) {
        if key == HEADER {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_trace_is_none() {
        let parent = TraceParent { trace: [7; 16], span: [9; 8] };
        assert_eq!(TraceParent::from_bytes(&parent.to_bytes()), Some(parent));
        for bytes in [&[][..], &[0; 24], &[7; 23], &[7; 25]] {
            assert_eq!(TraceParent::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
