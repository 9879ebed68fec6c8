//! What makes a pass run: changes of the object, of its pods and of its children, and time.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::build::{CLUSTER_LABEL, Kind};
use crate::context::Context;
use crate::reconcile::{Failure, reconcile};
use crate::record::Guarded;
use crate::recoveries::GuardedRecovery;
use crate::requests::WATCH_SECONDS;

/// Passes at once. Each waits for nodes most of its time.
const PASSES_MAX: u16 = 8;
/// A rollout changes several objects at once; one pass sees them all.
const DEBOUNCE: std::time::Duration = std::time::Duration::from_millis(50);

/// Which namespaces are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespace(String),
    Cluster,
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
            Self::Cluster => Api::all(client.clone()),
        }
    }
}

pub type Outcome = Result<(ObjectRef<Guarded>, Action), controller::Error<Failure, watcher::Error>>;

/// Passes until `stop`, which lets those that run come to their end. Dropping the stream ends them where they are.
pub fn run(
    context: Arc<Context>,
    scope: &Scope,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxStream<'static, Outcome> {
    let client = &context.client;
    let every = watcher::Config::default().timeout(WATCH_SECONDS);
    let ours = every.clone().labels(CLUSTER_LABEL);
    let controller = Controller::new(scope.api::<Guarded>(client), every)
        .watches(scope.api::<StatefulSet>(client), ours.clone(), |set| cluster_of(&set))
        .watches(scope.api::<Pod>(client), ours.clone(), |pod| cluster_of(&pod));
    let context_of_watch = context.clone();
    let controller = controller.watches(
        scope.api::<GuardedRecovery>(client),
        watcher::Config::default().timeout(WATCH_SECONDS),
        move |asked| {
            let asked = asked.0.ok()?;
            context_of_watch.recoveries.saw(&asked);
            Some(ObjectRef::new(&asked.spec.cluster).within(&asked.namespace()?))
        },
    );
    let controller = child::<ServiceAccount>(controller, &context, scope, &ours, Kind::ServiceAccount);
    let controller = child::<ConfigMap>(controller, &context, scope, &ours, Kind::ConfigMap);
    let controller = child::<Service>(controller, &context, scope, &ours, Kind::Service);
    let controller = child::<NetworkPolicy>(controller, &context, scope, &ours, Kind::NetworkPolicy);
    let controller = child::<PodDisruptionBudget>(controller, &context, scope, &ours, Kind::DisruptionBudget);
    controller
        .with_config(controller::Config::default().concurrency(PASSES_MAX).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop)
        .run(reconcile, error_policy, context)
        .boxed()
}

/// Children are watched for what others do to them.
fn child<K>(
    controller: Controller<Guarded>,
    context: &Arc<Context>,
    scope: &Scope,
    config: &watcher::Config,
    kind: Kind,
) -> Controller<Guarded>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let context_of_watch = context.clone();
    controller.watches(scope.api::<K>(&context.client), config.clone(), move |child| {
        context_of_watch.applied.saw(kind, child.meta());
        cluster_of(&child)
    })
}

fn cluster_of<K: Resource>(child: &K) -> Option<ObjectRef<Guarded>> {
    Some(ObjectRef::new(child.labels().get(CLUSTER_LABEL)?).within(&child.namespace()?))
}

fn error_policy(object: Arc<Guarded>, failure: &Failure, context: Arc<Context>) -> Action {
    if failure.is_final() {
        return Action::await_change();
    }
    let namespace = object.namespace().unwrap_or_default();
    Action::requeue(context.attempts.failed(&namespace, &object.name_any(), object.meta().generation))
}
