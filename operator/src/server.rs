//! Probes and metrics of the operator, on plain HTTP.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use crate::requests::Freshness;

pub fn router(freshness: Freshness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/metrics", get(render))
        .fallback(|| async { (StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n") })
        .with_state((freshness, metrics))
}

/// An operator that sees nothing any more is not alive, however well its process feels.
async fn livez(State((freshness, _)): State<(Freshness, Metrics)>) -> Response {
    let stale = freshness.stale();
    if stale.is_empty() {
        "alive\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not watched for too long: {}\n", stale.join(", "))).into_response()
    }
}

async fn render(State((freshness, metrics)): State<(Freshness, Metrics)>) -> Response {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render(freshness.oldest())).into_response()
}
