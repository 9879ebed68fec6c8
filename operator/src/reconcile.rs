//! One pass over one cluster: build and apply, look, decide, write it down, do at most one thing.
//!
//! A pass assumes nothing about why it runs and remembers nothing it needs. It may end at any line, by an error or with
//! the process: what it did is seen by the next look, and what it was about to do is in the status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrel_membership::{NotReplicas, Ordinal};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::SignedDuration;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::controller::Action as Requeue;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::{Instrument, Span};

use crate::apply::apply_template;
use crate::build::{self, Blueprint, CLUSTER_LABEL, Child, Kind, VOTER_LABEL, disruption_budget, template_only};
use crate::certificates::{AdminKeys, Fingerprints, KeysError};
use crate::context::Context;
use crate::crd::CarrelCluster;
use crate::decide::{Action, Outlook, Question, Verdict};
use crate::observe::{Look, SeenPod, SeenSet, ordinal};
use crate::perform::{Performer, Undone};
use crate::record::{Guarded, Record};
use crate::{recoveries, recovering, status, traces};

/// Longer than any pass that gets anywhere: a step may wait 10 s, a look 2 s.
const PASS_LIMIT: Duration = Duration::from_secs(45);

/// A settled cluster is looked at so often, whatever its watches say: two calls each time.
const SETTLED_PAUSE: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const WAITING_PAUSE: Duration = Duration::from_secs(2);
/// What has not come for a minute will not come in the next two seconds.
const LONG_WAITING_PAUSE: Duration = Duration::from_secs(10);
/// Each is lost to a write of the StatefulSet's controller, which makes a handful after a change.
const TEMPLATE_ATTEMPTS_MAX: u32 = 5;
const LONG: SignedDuration = SignedDuration::from_secs(60);

/// The API server refuses longer ones.
const EVENT_NOTE_BYTES_MAX: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the object cannot be read: {0}")]
    Malformed(String),
    #[error("{0}")]
    NotReplicas(#[from] NotReplicas),
    #[error("status is not what an operator writes: {0}")]
    Status(String),
    #[error("the object has no name, namespace or uid")]
    Nameless,
    #[error("{}", brief(.0))]
    Kube(#[from] kube::Error),
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("{action}: {undone}")]
    Undone { action: &'static str, undone: Undone },
    #[error("the object has changed since it was read")]
    Outdated,
    #[error("the pass took more than {} s", PASS_LIMIT.as_secs())]
    Slow,
}

impl Failure {
    /// Nothing but another object helps.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::NotReplicas(_) | Self::Status(_) | Self::Nameless)
    }

    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotReplicas(_) | Self::Nameless => "Malformed",
            Self::Status(_) => "StatusDamaged",
            Self::Outdated => "Conflict",
            Self::Kube(error) if is_conflict(error) => "Conflict",
            Self::Kube(_) => "ApiServer",
            Self::Keys(_) => "Certificates",
            Self::Undone { undone: Undone::Kube(error), .. } if is_conflict(error) => "Conflict",
            Self::Undone { .. } => "StepNotDone",
            Self::Slow => "TooSlow",
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refusal) if refusal.is_conflict())
}

/// What the API server said, without the rest of its answer; or why it could not be asked, to the bottom of it.
#[must_use]
pub fn brief(error: &kube::Error) -> String {
    if let kube::Error::Api(refusal) = error {
        return refusal.message.clone();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// One pass, with its outcome written down whatever it is.
///
/// # Errors
/// If it did not come to its end.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Requeue, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let span = traces::reconcile(&object.name_any(), &namespace, object.meta().generation);
    reconcile_one(object, context, &span).instrument(span.clone()).await
}

async fn reconcile_one(object: Arc<Guarded>, context: Arc<Context>, span: &Span) -> Result<Requeue, Failure> {
    let metadata = object.meta();
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let generation = metadata.generation;
    if metadata.deletion_timestamp.is_some() {
        // Children go by their owner references. No quorum is asked for: nobody wants one.
        context.forget(&namespace, &name);
        return Ok(Requeue::await_change());
    }
    if let Some(pause) = context.attempts.pause(&namespace, &name, generation) {
        return Ok(Requeue::requeue(pause));
    }
    let began = Instant::now();
    let mut record = Record::of(&object, Api::namespaced(context.client.clone(), &namespace));
    let mut progress = Progress::default();
    let outcome = match &object.0 {
        Ok(cluster) => {
            match tokio::time::timeout(PASS_LIMIT, pass(cluster, &context, &mut record, &mut progress)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::Slow),
            }
        }
        Err(invalid) => Err(Failure::Malformed(invalid.error.clone())),
    };
    // The one exit.
    if let Err(failure) = &outcome {
        let now = context.now();
        status::note_failure(
            &mut record.status,
            progress.has_looked,
            failure.word(),
            &failure.to_string(),
            generation,
            now,
        );
    }
    let written = record.write().await;
    if record.is_gone() {
        context.forget(&namespace, &name);
        return Ok(Requeue::await_change());
    }
    traces::reconciled(span, outcome.as_ref().err().map(Failure::word), record.writes());
    context.metrics.pass(began.elapsed(), outcome.as_ref().err().map(Failure::word), record.writes());
    let is_verified = outcome.is_ok() && written.is_ok();
    context.metrics.looked(&namespace, &name, is_verified, record.status.disruption.len());
    match (outcome, written) {
        (Ok(requeue), Ok(())) => {
            context.attempts.succeeded(&namespace, &name);
            Ok(requeue)
        }
        (Err(failure), _) => Err(failure),
        (Ok(_), Err(error)) => Err(error.into()),
    }
}

#[derive(Debug, Default)]
struct Progress {
    has_looked: bool,
}

async fn pass(
    cluster: &CarrelCluster,
    context: &Context,
    record: &mut Record,
    progress: &mut Progress,
) -> Result<Requeue, Failure> {
    let founding = status::founding(&record.status).map_err(Failure::Status)?;
    let recovery = recovering::recorded(&record.status).map_err(Failure::Status)?;
    let before = record.status.clone();
    let image = status::image(&cluster.spec.image, &before);
    let blueprint = Blueprint::new(cluster, image, &context.settings.surroundings).ok_or(Failure::Nameless)?;
    let is_paused = cluster.spec.operation.paused;
    if !is_paused {
        build_children(context, &blueprint, record).instrument(traces::build()).await?;
    }
    let mounted = context.settings.admin_keys.as_ref();
    let keys = context.keyring.keys(&context.client, &blueprint, mounted, context.now()).await?;

    let set = look_at_set(context, &blueprint).await?;
    let blueprint = match &set {
        Some(set) => blueprint.with_set(set),
        None => blueprint,
    };
    let set = if is_paused { set } else { renew_template(context, &blueprint, set, record).await? };
    let (pods, leaving) = look_at_pods(context, &blueprint, set.as_ref()).await?;
    let doors = context.admins.doors(&blueprint, &pods, keys.as_ref(), &context.settings);
    let answers = doors.ask().instrument(traces::look(pods.len())).await;
    let look = Look { set, pods, leaving, answers };
    note_use(context, &blueprint, &look, keys.as_ref());

    let question = Question {
        name: &blueprint.name,
        spec: &cluster.spec,
        status: &before,
        founding,
        recovery: &recovery,
        look: &look,
        now: context.now(),
    };
    let verdict = question.answer()?;
    traces::planned(&verdict);
    Span::current().record("decision", verdict.reason);
    record.status = status::summarize(&question, &verdict, cluster.metadata.generation);
    progress.has_looked = true;
    context.metrics.verdict(&verdict);
    record.write().await?;
    tell(context, cluster, &before, &verdict).await;
    if is_paused {
        return Ok(requeue(&verdict, record, context));
    }
    if recoveries::tend(context, &blueprint, &question, &verdict, record).await? {
        return Ok(Requeue::requeue(BUSY_PAUSE));
    }
    label_voters(context, &blueprint, &question).await?;
    apply_budget(context, &blueprint, &question).await?;

    let budget = status::budget(&question);
    let performer = Performer { context, blueprint: &blueprint, look: &look, doors: &doors, founding, budget };
    let action = verdict.reason;
    if verdict.action != Action::Nothing {
        let step = traces::step(action);
        let done = performer.perform(&verdict.action, record).instrument(step.clone()).await;
        done.inspect_err(|undone| traces::undone(&step, undone))
            .map_err(|undone| Failure::Undone { action, undone })?;
    }
    Ok(requeue(&verdict, record, context))
}

/// What is not known to be there as it should be. An old object would make it as it was, or of an owner that is gone.
async fn build_children(context: &Context, blueprint: &Blueprint<'_>, record: &Record) -> Result<(), Failure> {
    let Blueprint { namespace, .. } = blueprint;
    let due = blueprint.children().into_iter().filter(|child| !context.applied.is_applied(namespace, child));
    let due: Vec<Child> = due.collect();
    if !due.is_empty() && !record.is_current().await? {
        return Err(Failure::Outdated);
    }
    for child in &due {
        context.applied.apply(&context.client, namespace, child).await?;
    }
    Ok(())
}

fn requeue(verdict: &Verdict, record: &Record, context: &Context) -> Requeue {
    let since = record.status.decision.as_ref().map(|decision| decision.since.0);
    let is_long = since.is_some_and(|since| context.now().duration_since(since) > LONG);
    Requeue::requeue(match verdict.outlook {
        Outlook::Settled => SETTLED_PAUSE,
        Outlook::Busy => BUSY_PAUSE,
        Outlook::Waiting | Outlook::Stuck if is_long => LONG_WAITING_PAUSE,
        Outlook::Waiting | Outlook::Stuck => WAITING_PAUSE,
    })
}

async fn look_at_set(context: &Context, blueprint: &Blueprint<'_>) -> Result<Option<SeenSet>, Failure> {
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &blueprint.namespace);
    let set = sets.get_opt(&blueprint.name).await?;
    Ok(set.filter(|set| set.metadata.deletion_timestamp.is_none()).map(|set| SeenSet::of(&set)))
}

/// Applies the template of a set that exists, unless it is known to have it. A set that does not is made by a step.
///
/// First the object, then exactly the set that was looked at: nothing comes from an old object that another operator
/// has built on since, such as an order that nobody may begin without.
async fn renew_template(
    context: &Context,
    blueprint: &Blueprint<'_>,
    set: Option<SeenSet>,
    record: &Record,
) -> Result<Option<SeenSet>, Failure> {
    let Some(mut set) = set else { return Ok(None) };
    let template = template_only(blueprint);
    let digest = build::digest(&template);
    if context.applied.is_templated(&blueprint.namespace, &blueprint.name, &digest, &set) {
        return Ok(Some(set));
    }
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &blueprint.namespace);
    let mut attempts = 0;
    loop {
        attempts += 1;
        if !record.is_current().await? {
            return Err(Failure::Outdated);
        }
        match apply_template(&sets, &blueprint.name, &template, &set.uid, Some(&set.resource_version)).await {
            Ok(applied) => {
                let applied = SeenSet::of(&applied);
                context.applied.templated(&blueprint.namespace, &blueprint.name, digest, &applied);
                return Ok(Some(applied));
            }
            // Its controller writes down what it counts.
            Err(error) if is_conflict(&error) && attempts < TEMPLATE_ATTEMPTS_MAX => {
                let there = look_at_set(context, blueprint).await?;
                set = there.filter(|there| there.uid == set.uid).ok_or(error)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Those that are meant to run, and those that are not.
async fn look_at_pods(
    context: &Context,
    blueprint: &Blueprint<'_>,
    set: Option<&SeenSet>,
) -> Result<(BTreeMap<Ordinal, SeenPod>, BTreeMap<Ordinal, SeenPod>), Failure> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &blueprint.namespace);
    let selector = format!("{CLUSTER_LABEL}={}", blueprint.name);
    let pods = pods.list(&ListParams::default().labels(&selector)).await?;
    let count = set.map_or(u32::MAX, |set| set.replicas);
    let seen = pods.items.iter().filter_map(|pod| Some((ordinal(&blueprint.name, &pod.name_any())?, SeenPod::of(pod))));
    Ok(seen.partition(|(at, _)| at.0 < count))
}

fn note_use(context: &Context, blueprint: &Blueprint<'_>, look: &Look, keys: Option<&AdminKeys>) {
    let Some(written) = keys.and_then(|keys| keys.fingerprints.as_ref()) else { return };
    let count = look.set.as_ref().map_or(0, |set| set.replicas);
    let said = |at| look.answers.of(Ordinal(at))?.cluster_keys.as_ref().map(Fingerprints::said);
    let uses = |at| said(at).as_ref() == Some(written);
    let is_in_use = count > 0 && (0..count).all(uses);
    context.keyring.note_use(&blueprint.namespace, &blueprint.name, is_in_use);
}

/// What the disruption budget selects by.
async fn label_voters(context: &Context, blueprint: &Blueprint<'_>, question: &Question<'_>) -> Result<(), Failure> {
    let Some(standing) = status::Standing::of(&question.look.observed(question.founding)) else { return Ok(()) };
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &blueprint.namespace);
    for (at, pod) in &question.look.pods {
        let is_voter = standing.voters.contains(at);
        if pod.is_voter == Some(is_voter) || pod.is_terminating {
            continue;
        }
        let labels = json!({ VOTER_LABEL: is_voter.to_string() });
        let patch = json!({ "metadata": { "uid": pod.uid, "labels": labels } });
        match api.patch(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            // Another pod by now, whose uid nobody can change; the next pass sees it.
            Err(kube::Error::Api(refusal))
                if refusal.is_not_found() || refusal.is_conflict() || refusal.is_invalid() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn apply_budget(context: &Context, blueprint: &Blueprint<'_>, question: &Question<'_>) -> Result<(), Failure> {
    // While nobody can tell who votes, the budget stays as it is.
    let Some(budget) = status::budget(question) else { return Ok(()) };
    match disruption_budget(blueprint, budget) {
        Some(child) => context.applied.apply(&context.client, &blueprint.namespace, &child).await?,
        None => {
            let Blueprint { namespace, name, .. } = blueprint;
            context.applied.remove(&context.client, namespace, Kind::DisruptionBudget, name).await?;
        }
    }
    Ok(())
}

/// An event for every new decision. One that cannot be written is lost: the status says the same.
async fn tell(context: &Context, cluster: &CarrelCluster, before: &crate::crd::CarrelClusterStatus, verdict: &Verdict) {
    let is_new = before.decision.as_ref().is_none_or(|old| old.action != verdict.reason || old.why != verdict.why);
    if !is_new {
        return;
    }
    tracing::info!(
        cluster = %cluster.name_any(),
        namespace = %cluster.namespace().unwrap_or_default(),
        decision = verdict.reason,
        why = %verdict.why,
        guards = ?verdict.guards,
        "decided"
    );
    let is_bad = verdict.outlook == Outlook::Stuck
        || matches!(verdict.action, Action::GiveUpImage { .. } | Action::GiveUpSize { .. } | Action::Recover(_));
    let event = Event {
        type_: if is_bad { EventType::Warning } else { EventType::Normal },
        reason: verdict.reason.to_owned(),
        note: Some(cut(&verdict.why)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &cluster.object_ref(&())).await {
        tracing::warn!(error = %brief(&error), "an event is lost");
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(EVENT_NOTE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
