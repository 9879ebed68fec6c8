//! Traces: what a pass looked at, decided and did, and how long each took. The only user of OpenTelemetry here.
//!
//! They are recorded where OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) says where to send them,
//! and as often as OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say. A span has names of objects, a decision and its
//! reason, as the status has them, and nothing of what clusters hold.

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::decide::Verdict;

/// Of our own spans: those of libraries, and what is logged, stay out of traces.
const TARGET: &str = "carrel_operator::trace";

/// Where to, as OpenTelemetry has it for everybody.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The recording of this process.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// If the environment says where to. `instance` tells operators apart. To be called within tokio.
    ///
    /// # Errors
    /// If what it says makes no sense.
    pub fn begin(instance: &str) -> anyhow::Result<Option<Self>> {
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(is_set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_tonic().build();
        let exporter = exporter.context("cannot send traces to where OTEL_EXPORTER_OTLP_ENDPOINT says")?;
        let mut resource = Resource::builder();
        if !is_set(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("carrel-operator");
        }
        Ok(Some(Self::sending(
            exporter,
            resource.with_attribute(KeyValue::new("service.instance.id", instance.to_owned())).build(),
        )))
    }

    /// To this collector, whatever the environment says. To be called within tokio.
    ///
    /// # Errors
    /// If that is no address.
    pub fn to(endpoint: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.with_context(|| format!("cannot send traces to {endpoint}"))?;
        Ok(Self::sending(exporter, Resource::builder().with_service_name("carrel-operator").build()))
    }

    fn sending(exporter: SpanExporter, resource: Resource) -> Self {
        // Its sampler is as the environment says, or takes every trace.
        Self { provider: SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build() }
    }

    /// What makes traces of this crate's spans.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        let tracer = self.provider.tracer("carrel-operator");
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_filter(ours)
    }

    /// Sends what is recorded, for a short while.
    pub async fn end(self) {
        // A collector that cannot be reached has lost traces, and nothing else has gone wrong.
        let _ = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
    }
}

/// One pass over one cluster. Lines of the log within it have its id, where it is recorded.
#[must_use]
pub fn reconcile(cluster: &str, namespace: &str, generation: Option<i64>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "reconcile",
        cluster,
        namespace,
        generation,
        decision = tracing::field::Empty,
        status_writes = tracing::field::Empty,
        failure = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    let context = span.context();
    let told = context.span().span_context().clone();
    if told.is_valid() {
        span.record("trace_id", tracing::field::display(told.trace_id()));
    }
    span
}

/// How the pass ended that this task is in.
pub fn reconciled(span: &Span, failure: Option<&str>, status_writes: u32) {
    span.record("status_writes", status_writes);
    if let Some(failure) = failure {
        span.record("failure", failure);
        span.record("otel.status_code", "ERROR");
    }
}

/// The children are made as they should be.
#[must_use]
pub fn build() -> Span {
    tracing::info_span!(target: TARGET, "build")
}

/// Every node is asked.
#[must_use]
pub fn look(pods: usize) -> Span {
    tracing::info_span!(target: TARGET, "look", pods)
}

/// What was decided. It takes no time to speak of; its reason is what is looked for.
pub fn planned(verdict: &Verdict) {
    let (outlook, guards) = (verdict.outlook.word(), verdict.guards.join("; "));
    let _planned =
        tracing::info_span!(target: TARGET, "plan", decision = verdict.reason, outlook, why = verdict.why, guards)
            .entered();
}

/// One thing is done.
#[must_use]
pub fn step(decision: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "step",
        decision,
        failure = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    )
}

/// Why it was not done, or why nobody knows whether it was.
pub fn undone(span: &Span, failure: &dyn std::fmt::Display) {
    span.record("failure", tracing::field::display(failure));
    span.record("otel.status_code", "ERROR");
}
