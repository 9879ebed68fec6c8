//! Where traces are sent: a collector that keeps what it is told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Ends when it is dropped.
pub struct Collector {
    pub endpoint: String,
    kept: Kept,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    /// As logs have it.
    pub trace: String,
    id: Vec<u8>,
    parent: Vec<u8>,
    pub fields: BTreeMap<String, String>,
}

impl Span {
    pub fn begins_a_trace(&self) -> bool {
        self.parent.is_empty()
    }

    pub fn is_part_of(&self, other: &Self) -> bool {
        self.parent == other.id && self.trace == other.trace
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl Collector {
    pub async fn serve() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let kept = Kept::default();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(kept.clone()));
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves until it is dropped");
        });
        Self { endpoint, kept, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.kept.0.lock().expect("nobody panics in here").clone()
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().expect("nobody panics in here");
        for resource in request.into_inner().resource_spans {
            let of_process = fields(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
            let service = of_process.get("service.name").cloned().unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect(),
                    id: span.span_id,
                    parent: span.parent_span_id,
                    fields: fields(span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn fields(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|field| (field.key, text(field.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}
