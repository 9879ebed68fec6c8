//! Every request to the API server passes here: counted, and watches noted.
//!
//! A watch whose connection died without a word looks exactly like one where nothing happens. But a watch is asked for
//! anew every few minutes, by agreement with the server: one that is not is stuck, and only a restart helps.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Seconds after which the server ends a watch, to be asked for again.
pub const WATCH_SECONDS: u32 = 240;

/// A watch, its end, the pause before the next (at most 30 s, more than once if the server is away), and the next.
const STALE_AFTER: Duration = Duration::from_secs(2 * WATCH_SECONDS as u64 + 120);

/// When each kind of object was last asked to be watched, with success.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    watches: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Freshness {
    fn saw(&self, path: &str) {
        self.watches().insert(path.to_owned(), Instant::now());
    }

    /// Nothing is expected any more of what was watched.
    pub fn clear(&self) {
        self.watches().clear();
    }

    /// What has not been watched for too long.
    #[must_use]
    pub fn stale(&self) -> Vec<String> {
        self.stale_at(Instant::now())
    }

    fn stale_at(&self, now: Instant) -> Vec<String> {
        let watches = self.watches();
        let is_stale = |at: &&Instant| now.saturating_duration_since(**at) > STALE_AFTER;
        watches.iter().filter(|(_, at)| is_stale(at)).map(|(path, _)| path.clone()).collect()
    }

    /// The longest time since one was asked for.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        self.watches().values().map(Instant::elapsed).max().unwrap_or_default()
    }

    fn watches(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be laid around the client.
#[derive(Clone, Debug)]
pub struct Requests {
    pub freshness: Freshness,
    pub metrics: Metrics,
}

impl<S> Layer<S> for Requests {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, requests: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
    requests: Requests,
}

impl<S, Q, A> Service<Request<Q>> for Observed<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let verb = if is_watch { "WATCH".to_owned() } else { request.method().to_string() };
        let path = request.uri().path().to_owned();
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            requests.metrics.request(&verb, code);
            if is_watch && code == 200 {
                requests.freshness.saw(&path);
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_is_not_asked_for_again_is_stale() {
        let freshness = Freshness::default();
        assert!(freshness.stale().is_empty(), "nothing is watched while another operator works");
        let now = Instant::now();
        freshness.saw("/api/v1/pods");
        assert!(freshness.stale_at(now + STALE_AFTER).is_empty());
        assert_eq!(freshness.stale_at(now + STALE_AFTER + Duration::from_mins(1)), ["/api/v1/pods"]);
        freshness.saw("/api/v1/pods");
        assert!(freshness.stale_at(now + STALE_AFTER).is_empty());
        freshness.clear();
        assert!(freshness.stale_at(now + 2 * STALE_AFTER).is_empty());
    }
}
