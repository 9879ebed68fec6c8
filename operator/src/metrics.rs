//! What an operator tells Prometheus of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::decide::Verdict;

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: Histogram,
    failures: IntCounterVec,
    conflicts: IntCounter,
    status_writes: IntCounter,
    decisions: IntCounterVec,
    guard_denials: IntCounterVec,
    requests: IntCounterVec,
    is_leader: IntGauge,
    watch_age_seconds: IntGauge,
    status_age_seconds: IntGauge,
    disruption_open: IntGauge,
    /// By namespace and name, which are no labels: somebody may have thousands of them.
    clusters: Arc<Mutex<BTreeMap<(String, String), Known>>>,
}

/// Of a cluster, between two passes over it.
#[derive(Debug)]
struct Known {
    /// The last pass that came to its end, or the first of those that did not.
    verified: Instant,
    /// Nodes stopped on purpose that are not back.
    away: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is well-formed");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("the name is well-formed");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("the name is well-formed");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let seconds = HistogramOpts::new("carrel_operator_reconcile_seconds", "How long passes took.")
            .buckets(vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 45.0]);
        let reconcile_seconds = Histogram::with_opts(seconds).expect("the name is well-formed");
        registry.register(Box::new(reconcile_seconds.clone())).expect("the name is used once");
        Self {
            failures: counters("carrel_operator_failures_total", "Passes that did not come to their end.", &["class"]),
            conflicts: counter("carrel_operator_conflicts_total", "Writes refused because the object had changed."),
            status_writes: counter("carrel_operator_status_writes_total", "Statuses written."),
            decisions: counters("carrel_operator_decisions_total", "What passes decided.", &["outlook", "reason"]),
            guard_denials: counters(
                "carrel_operator_guard_denied_total",
                "Steps that a guard did not permit.",
                &["guard"],
            ),
            requests: counters("carrel_operator_api_requests_total", "Requests to the API server.", &["verb", "code"]),
            is_leader: gauge("carrel_operator_is_leader", "1 if this operator works, 0 if another does."),
            watch_age_seconds: gauge("carrel_operator_watch_age_seconds", "Since the oldest watch was asked for."),
            status_age_seconds: gauge(
                "carrel_operator_status_age_seconds",
                "Since a status was verified, of the cluster where that is longest ago.",
            ),
            disruption_open: gauge(
                "carrel_operator_disruption_open",
                "Nodes of all clusters that were stopped on purpose and are not back.",
            ),
            clusters: Arc::default(),
            reconcile_seconds,
            registry,
        }
    }

    /// One pass.
    pub fn pass(&self, took: Duration, failure: Option<&str>, status_writes: u32) {
        self.reconcile_seconds.observe(took.as_secs_f64());
        self.status_writes.inc_by(status_writes.into());
        if let Some(class) = failure {
            self.failures.with_label_values(&[class]).inc();
            if class == "Conflict" {
                self.conflicts.inc();
            }
        }
    }

    /// A pass over this cluster is over, and that is what its status says now.
    pub fn looked(&self, namespace: &str, name: &str, is_verified: bool, away: usize) {
        let now = Instant::now();
        let mut clusters = self.clusters();
        let known = clusters.entry((namespace.to_owned(), name.to_owned())).or_insert(Known { verified: now, away });
        known.away = away;
        if is_verified {
            known.verified = now;
        }
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.clusters().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn clusters(&self) -> MutexGuard<'_, BTreeMap<(String, String), Known>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn verdict(&self, verdict: &Verdict) {
        self.decisions.with_label_values(&[verdict.outlook.word(), verdict.reason]).inc();
        for guard in ["G1", "G2", "G3"] {
            if verdict.guards.iter().any(|said| said.starts_with(&format!("denied: guard {guard}"))) {
                self.guard_denials.with_label_values(&[guard]).inc();
            }
        }
    }

    pub fn request(&self, verb: &str, code: u16) {
        self.requests.with_label_values(&[verb, &code.to_string()]).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.is_leader.set(i64::from(leads));
        // Whoever works knows them.
        if !leads {
            self.clusters().clear();
        }
    }

    /// As Prometheus reads it.
    #[must_use]
    pub fn render(&self, watch_age: Duration) -> String {
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.watch_age_seconds.set(seconds(watch_age));
        let (oldest, away) = {
            let clusters = self.clusters();
            let oldest = clusters.values().map(|known| known.verified.elapsed()).max().unwrap_or_default();
            (oldest, clusters.values().map(|known| known.away).sum::<usize>())
        };
        self.status_age_seconds.set(seconds(oldest));
        self.disruption_open.set(i64::try_from(away).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a buffer takes any text");
        String::from_utf8(text).expect("metrics are text")
    }

    #[must_use]
    pub fn status_writes(&self) -> u64 {
        self.status_writes.get()
    }
}
