//! What all passes share. None of it is needed to be right: it saves calls, and is built anew after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carrel_steward::Limits;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;

use crate::admins::Admins;
use crate::apply::Applied;
use crate::build::{ADMIN_PORT, Surroundings};
use crate::certificates::{Keyring, Mounted};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::recoveries::Recoveries;

/// A node that does not say who it is within two seconds is silent for this look.
const LIMITS: Limits = Limits { look: Duration::from_secs(2), step: Duration::from_secs(10) };

/// What an operator is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    pub surroundings: Surroundings,
    /// Of pods.
    pub admin_port: u16,
    /// How long nodes are waited for.
    pub limits: Limits,
    /// Keys for clusters whose keys are made elsewhere.
    pub admin_keys: Option<Mounted>,
}

impl Settings {
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, admin_port: ADMIN_PORT, limits: LIMITS, admin_keys: None }
    }
}

/// Tells the time; tests have their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub struct Context {
    pub client: Client,
    pub recorder: Recorder,
    pub settings: Settings,
    pub metrics: Metrics,
    pub leadership: Leadership,
    pub clock: Clock,
    pub applied: Applied,
    pub admins: Admins,
    pub keyring: Keyring,
    pub recoveries: Recoveries,
    pub attempts: Attempts,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Context {
    #[must_use]
    pub fn new(client: Client, settings: Settings, metrics: Metrics, leadership: Leadership) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), "carrel-operator".into()),
            client,
            settings,
            metrics,
            leadership,
            clock: Arc::new(Timestamp::now),
            applied: Applied::default(),
            admins: Admins::default(),
            keyring: Keyring::default(),
            recoveries: Recoveries::default(),
            attempts: Attempts::default(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        let prefix = format!("{name}-");
        self.applied.forget(namespace, |child| child == name || child.starts_with(&prefix));
        self.admins.forget(namespace, name);
        self.keyring.forget(namespace, name);
        self.recoveries.forget(namespace, name);
        self.metrics.forget(namespace, name);
        self.attempts.succeeded(namespace, name);
    }
}

/// Passes that failed, by object: each is tried less and less often, whatever triggers it.
#[derive(Debug, Default)]
pub struct Attempts {
    failed: Mutex<BTreeMap<(String, String), Failed>>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    generation: Option<i64>,
    not_before: Instant,
}

/// Doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// 500 ms doubled so often is past the longest.
const DOUBLINGS_MAX: u32 = 8;

impl Attempts {
    /// How long to wait before another pass makes sense. A change of what is asked for always does.
    #[must_use]
    pub fn pause(&self, namespace: &str, name: &str, generation: Option<i64>) -> Option<Duration> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.get(&(namespace.to_owned(), name.to_owned()))?;
        let left = failed.not_before.saturating_duration_since(Instant::now());
        (failed.generation == generation && !left.is_zero()).then_some(left)
    }

    /// The pause before the next.
    pub fn failed(&self, namespace: &str, name: &str, generation: Option<i64>) -> Duration {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failed.entry((namespace.to_owned(), name.to_owned()));
        let entry = entry.or_insert(Failed { times: 0, generation, not_before: Instant::now() });
        if entry.generation != generation {
            (entry.times, entry.generation) = (0, generation);
        }
        let pause = (FIRST_PAUSE * (1 << entry.times.min(DOUBLINGS_MAX))).min(LONGEST_PAUSE);
        entry.times += 1;
        entry.not_before = Instant::now() + pause;
        pause
    }

    pub fn succeeded(&self, namespace: &str, name: &str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&(namespace.to_owned(), name.to_owned()));
    }
}
