//! Which of several operators works. An optimisation: every step is safe if two of them work at once, and only slower.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Error, ResourceExt};

/// Another takes over after this long without a renewal.
pub const DURATION: Duration = Duration::from_secs(30);
/// Two renewals may fail before that.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A call that takes longer counts as failed.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Who works stops so long before another may begin: a step that was begun can end.
const MARGIN: Duration = Duration::from_secs(5);

/// Whether this operator may work, asked before every step.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// None: always.
    until: Option<Arc<Mutex<Option<Instant>>>>,
}

impl Leadership {
    /// Without an election.
    #[must_use]
    pub fn always() -> Self {
        Self { until: None }
    }

    /// Until somebody is elected, nobody.
    #[must_use]
    pub fn elected() -> Self {
        Self { until: Some(Arc::new(Mutex::new(None))) }
    }

    #[must_use]
    pub fn holds(&self) -> bool {
        match &self.until {
            None => true,
            Some(until) => {
                let until = until.lock().unwrap_or_else(PoisonError::into_inner);
                until.is_some_and(|until| Instant::now() + MARGIN < until)
            }
        }
    }

    fn set(&self, value: Option<Instant>) {
        if let Some(until) = &self.until {
            *until.lock().unwrap_or_else(PoisonError::into_inner) = value;
        }
    }
}

/// Stands for election, and stays elected.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    leadership: Leadership,
    /// The pod of this operator, if it is known.
    pod: Option<OwnerReference>,
    /// The Lease as somebody else last wrote it, and when we saw that: stale means unchanged by our own clock.
    seen: Option<(String, Instant)>,
    /// The Lease as we last wrote it: the next renewal needs no look.
    held: Option<Lease>,
}

impl Elector {
    #[must_use]
    pub fn new(api: Api<Lease>, name: String, identity: String, leadership: Leadership) -> Self {
        Self { api, name, identity, leadership, pod: None, seen: None, held: None }
    }

    /// The Lease goes when the pod of its holder does. Whoever is deleted need not be waited for, even if it cannot let
    /// go itself: an uninstall takes its rights away first.
    #[must_use]
    pub fn in_pod(self, uid: String) -> Self {
        let pod = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.identity.clone(),
            uid,
            ..OwnerReference::default()
        };
        Self { pod: Some(pod), ..self }
    }

    /// Acquires or renews; true if this operator may work.
    ///
    /// # Errors
    /// As the API server says. What was held is held until it runs out.
    pub async fn step(&mut self) -> Result<bool, Error> {
        // Counted from before the call: others count from when they see it, which is later.
        let began = Instant::now();
        let stepped = tokio::time::timeout(CALL_LIMIT, self.try_step()).await;
        let lease = match stepped {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => {
                self.held = None;
                return Err(error);
            }
            Err(_) => {
                self.held = None;
                return Ok(self.leadership.holds());
            }
        };
        self.leadership.set(lease.is_some().then_some(began + DURATION));
        self.held = lease;
        Ok(self.held.is_some())
    }

    /// Lets another begin at once.
    pub async fn release(&mut self) {
        self.leadership.set(None);
        let Some(mut lease) = self.held.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let how = PostParams::default();
        let released = self.api.replace(&self.name, &how, &lease);
        // If it fails, the others wait until it runs out.
        let _ = tokio::time::timeout(CALL_LIMIT, released).await;
    }

    async fn try_step(&mut self) -> Result<Option<Lease>, Error> {
        if let Some(held) = self.held.clone() {
            // A conflict means that somebody took it: the next step looks.
            return self.claim(held).await;
        }
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let owner_references = self.pod.clone().map(|pod| vec![pod]);
            let metadata = ObjectMeta { name: Some(self.name.clone()), owner_references, ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.resource_version().unwrap_or_default();
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if !holder.is_empty() && holder != self.identity {
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
            let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).max(DURATION);
            match &self.seen {
                Some((seen, at)) if *seen == version && at.elapsed() >= duration => {}
                Some((seen, _)) if *seen == version => return Ok(None),
                Some(_) | None => {
                    self.seen = Some((version, Instant::now()));
                    return Ok(None);
                }
            }
        }
        self.claim(lease).await
    }

    /// By replacement of the version that was read: two cannot both win.
    async fn claim(&self, mut lease: Lease) -> Result<Option<Lease>, Error> {
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        lease.metadata.owner_references = self.pod.clone().map(|pod| vec![pod]);
        won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = before.filter(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)),
            renew_time: Some(now.clone()),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or(Some(now)),
            lease_transitions: Some(if mine.is_some() { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

fn won(written: Result<Lease, Error>) -> Result<Option<Lease>, Error> {
    match written {
        Err(Error::Api(refusal)) if refusal.is_conflict() || refusal.is_already_exists() => Ok(None),
        written => written.map(Some),
    }
}
