//! Probes and metrics on a plain HTTP port of their own.
//!
//! `/startupz` once the replica has read its disk, `/livez` while the process is worth keeping (never depends on a
//! quorum: a node that waits for others must not be killed for it), `/readyz` while clients may be sent here,
//! `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{Metrics, Sight};

/// What the probes look at. Cheap enough to be asked every second by several.
pub trait Vitals: Clone + Send + Sync + 'static {
    /// For `/metrics` alone.
    fn sight(&self) -> Sight;
    /// Why clients should not be sent here; none: they may.
    fn unready(&self) -> Option<String>;
}

pub fn router<V: Vitals>(vitals: V, metrics: Metrics) -> Router {
    Router::new()
        .route("/startupz", get(|| async { "started\n" }))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz::<V>))
        .route("/metrics", get(render::<V>))
        .fallback(|| async { (StatusCode::NOT_FOUND, "/startupz, /livez, /readyz and /metrics are here\n") })
        .with_state((vitals, metrics))
}

async fn readyz<V: Vitals>(State((vitals, _)): State<(V, Metrics)>) -> Response {
    match vitals.unready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn render<V: Vitals>(State((vitals, metrics)): State<(V, Metrics)>) -> Response {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render(&vitals.sight())).into_response()
}
