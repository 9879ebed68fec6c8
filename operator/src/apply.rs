//! Applying child objects, and remembering that it was done: what is as it should be costs no call.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::build::{self, Child, Kind, digest};
use crate::observe::SeenSet;

/// Owns all that is built, but the number of replicas.
pub const TEMPLATE_MANAGER: &str = "carrel-operator";
/// Owns the number of replicas.
pub const SCALE_MANAGER: &str = "carrel-operator-replicas";

/// What changed without our being told, as by a watch that was away, is set right after so long.
const APPLY_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// What was applied, and how the object was afterwards.
#[derive(Debug, Default)]
pub struct Applied {
    known: Mutex<BTreeMap<(String, Kind, String), Known>>,
    templates: Mutex<BTreeMap<(String, String), Templated>>,
}

/// The template a set was given, and its generation since.
#[derive(Debug)]
struct Templated {
    digest: String,
    uid: String,
    generation: i64,
    at: Instant,
}

#[derive(Debug)]
struct Known {
    digest: String,
    resource_version: String,
    at: Instant,
}

impl Applied {
    /// It is known to be there as it should be.
    #[must_use]
    pub fn is_applied(&self, namespace: &str, child: &Child) -> bool {
        let key = (namespace.to_owned(), child.kind, child.name.clone());
        let digest = digest(&child.body);
        let is_it = |known: &Known| known.digest == digest && known.at.elapsed() < APPLY_AGAIN_AFTER;
        self.known().get(&key).is_some_and(is_it)
    }

    /// Applies what is not known to be there as it should be.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn apply(&self, client: &Client, namespace: &str, child: &Child) -> kube::Result<()> {
        if self.is_applied(namespace, child) {
            return Ok(());
        }
        let key = (namespace.to_owned(), child.kind, child.name.clone());
        let digest = digest(&child.body);
        let api = api(client, namespace, child.kind);
        let how = PatchParams::apply(TEMPLATE_MANAGER).force();
        let applied = api.patch(&child.name, &how, &Patch::Apply(&child.body)).await?;
        let resource_version = applied.resource_version().unwrap_or_default();
        self.known().insert(key, Known { digest, resource_version, at: Instant::now() });
        Ok(())
    }

    /// Removes what is not to be there any more.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn remove(&self, client: &Client, namespace: &str, kind: Kind, name: &str) -> kube::Result<()> {
        let key = (namespace.to_owned(), kind, name.to_owned());
        let gone = || Known { digest: String::new(), resource_version: String::new(), at: Instant::now() };
        let is_gone = |known: &Known| known.digest.is_empty() && known.at.elapsed() < APPLY_AGAIN_AFTER;
        if self.known().get(&key).is_some_and(is_gone) {
            return Ok(());
        }
        match api(client, namespace, kind).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => {}
            Err(error) => return Err(error),
        }
        self.known().insert(key, gone());
        Ok(())
    }

    /// A watch tells how an object is now: if that is not how we left it, it is applied again.
    pub fn saw(&self, kind: Kind, metadata: &ObjectMeta) {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else { return };
        let key = (namespace.clone(), kind, name.clone());
        let mut known = self.known();
        let is_ours =
            known.get(&key).is_some_and(|known| Some(&known.resource_version) == metadata.resource_version.as_ref());
        if !is_ours {
            known.remove(&key);
        }
    }

    /// The set has this template, as far as its generation tells: it rises with every change of it.
    #[must_use]
    pub fn is_templated(&self, namespace: &str, name: &str, digest: &str, set: &SeenSet) -> bool {
        let is_it = |known: &Templated| {
            known.digest == digest
                && known.uid == set.uid
                && known.generation == set.generation
                && known.at.elapsed() < APPLY_AGAIN_AFTER
        };
        self.templates().get(&(namespace.to_owned(), name.to_owned())).is_some_and(is_it)
    }

    pub fn templated(&self, namespace: &str, name: &str, digest: String, set: &SeenSet) {
        let known = Templated { digest, uid: set.uid.clone(), generation: set.generation, at: Instant::now() };
        self.templates().insert((namespace.to_owned(), name.to_owned()), known);
    }

    /// Nothing is remembered of a cluster that is gone.
    pub fn forget(&self, namespace: &str, owned: impl Fn(&str) -> bool) {
        self.known().retain(|(at, _, name), _| at != namespace || !owned(name));
        self.templates().retain(|(at, name), _| at != namespace || !owned(name));
    }

    fn templates(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Templated>> {
        self.templates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, Kind, String), Known>> {
        // What is in there is whole at every moment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let resource = match kind {
        Kind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        Kind::DisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Of no object: whatever is there has a later one, and an object that is not there has none to differ from.
const BEFORE_ANY: &str = "1";
/// The StatefulSet controller writes its status as soon as there is a set, a few times.
const SIZE_ATTEMPTS_MAX: usize = 5;

/// Makes the set whole, with its size, at once: a set that is there without one has one replica, and its controller
/// would
/// stop every other pod of those it finds.
///
/// # Errors
/// A conflict if there is one already.
pub async fn create_set(
    sets: &Api<StatefulSet>,
    name: &str,
    template: &Value,
    replicas: u32,
) -> kube::Result<StatefulSet> {
    let mut whole = template.clone();
    whole["metadata"]["resourceVersion"] = json!(BEFORE_ANY);
    whole["spec"]["replicas"] = json!(replicas);
    // The size's manager first: until the template is its own manager's as well, nothing of the set is nobody's.
    let made = sets.patch(name, &PatchParams::apply(SCALE_MANAGER).force(), &Patch::Apply(&whole)).await?;
    let uid = made.uid().unwrap_or_default();
    let mut set = apply_template(sets, name, template, &uid, None).await?;
    for _ in 0..SIZE_ATTEMPTS_MAX {
        let version = set.resource_version().unwrap_or_default();
        match apply_scale(sets, name, &uid, &version, replicas).await {
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => set = sets.get(name).await?,
            outcome => return outcome,
        }
        if set.uid().as_ref() != Some(&uid)
            || set.spec.as_ref().and_then(|spec| spec.replicas) != i32::try_from(replicas).ok()
        {
            break;
        }
    }
    // Made as it should be; the size's manager goes on owning the template, too, until it next sets a size.
    Ok(set)
}

/// The template, without the size, of exactly the set that was looked at: where there is none, a template alone would
/// make one of the API's default size, one, whose controller stops every other pod of those it finds.
///
/// # Errors
/// A conflict if it is another by now, or is gone, or has changed since `resource_version`.
pub async fn apply_template(
    sets: &Api<StatefulSet>,
    name: &str,
    template: &Value,
    uid: &str,
    resource_version: Option<&str>,
) -> kube::Result<StatefulSet> {
    let mut of_this = template.clone();
    of_this["metadata"]["uid"] = json!(uid);
    if let Some(version) = resource_version {
        of_this["metadata"]["resourceVersion"] = json!(version);
    }
    sets.patch(name, &PatchParams::apply(TEMPLATE_MANAGER).force(), &Patch::Apply(of_this)).await
}

/// The size, of exactly the set that was looked at.
///
/// # Errors
/// A conflict if it is another by now, or has changed.
pub async fn apply_scale(
    sets: &Api<StatefulSet>,
    name: &str,
    uid: &str,
    resource_version: &str,
    replicas: u32,
) -> kube::Result<StatefulSet> {
    let scale = build::scale(name, uid, resource_version, replicas);
    sets.patch(name, &PatchParams::apply(SCALE_MANAGER).force(), &Patch::Apply(scale)).await
}
