//! `kubectl carrel plan`: every step of a change, before it is asked for.

use std::process::ExitCode;

use carrel_membership::{End, Fleet, Foresight, Replicas, View, foresee};
use carrel_operator::crd::CarrelCluster;
use clap::Args;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};

use crate::access::Access;
use crate::explain::Live;
use crate::failure::Failure;
use crate::text::{counted, facts, note, say};

/// Print what the operator would do for a change, step by step, without asking for it
///
/// The operator's own planner looks at the cluster as it is now, and goes on from step to step as if each succeeded.
/// Ids of nodes that do not exist yet are made up. Nothing is changed. Asks the nodes by their admin ports, as
/// `explain` does.
#[derive(Args, Debug)]
#[command(after_help = "\
  kubectl carrel plan                      what is still to be done for what is asked for now
  kubectl carrel plan --replicas 5         growing, before it is asked for
  kubectl carrel plan --image carrel:2     a rollout: in which order, and how often somebody else leads

Exit codes: 0 it ends as wanted, 1 it does not, or is refused.")]
pub struct PlanChange {
    /// The cluster, if there are several
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    /// With so many voters: 1, 3, 5 or 7
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// With this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Course {
    cluster: String,
    now: String,
    change: Vec<String>,
    steps: Vec<String>,
    leader_changes: usize,
    ends_settled: bool,
    end: String,
}

impl PlanChange {
    pub async fn run(self, access: &Access) -> Result<ExitCode, Failure> {
        let cluster = access.cluster(self.cluster.as_deref()).await?;
        let name = cluster.name_any();
        let wanted = match self.replicas {
            Some(count) => count,
            None => u32::try_from(cluster.spec.replicas).unwrap_or(0),
        };
        let replicas = Replicas::try_from(wanted).map_err(|error| Failure::Usage(error.to_string()))?;
        let patch = self.patch();
        if let Some(patch) = &patch {
            would_be_taken(access, &name, patch).await?;
        }
        let live = Live::look(access, &cluster).await?;
        let fleet = self.fleet(&cluster, &live);
        let foresight = foresee(live.observed.clone(), &carrel_membership::Desired { replicas }, fleet);
        let course = Course {
            now: standing(&live),
            change: self.changes(&cluster),
            steps: foresight.acts.iter().map(ToString::to_string).collect(),
            leader_changes: foresight.leader_changes,
            ends_settled: foresight.end == End::Settled,
            end: foresight.end.to_string(),
            cluster: name,
        };
        if access.is_json() {
            say(&serde_json::to_string(&course).expect("numbers and strings are always JSON"))?;
        } else {
            say(&course.text(&cluster, &foresight, patch.as_ref(), access))?;
        }
        Ok(if course.ends_settled { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn patch(&self) -> Option<Value> {
        let mut spec = serde_json::Map::new();
        spec.extend(self.replicas.map(|count| ("replicas".to_owned(), json!(count))));
        spec.extend(self.image.as_ref().map(|image| ("image".to_owned(), json!(image))));
        (!spec.is_empty()).then(|| json!({ "spec": spec }))
    }

    fn changes(&self, cluster: &CarrelCluster) -> Vec<String> {
        let changed = |what: &str, from: String, to: String| (from != to).then(|| format!("{what} {from} to {to}"));
        let (spec, replicas, image) = (&cluster.spec, self.replicas, self.image.clone());
        let replicas = replicas.and_then(|to| changed("replicas", spec.replicas.to_string(), to.to_string()));
        let image = image.and_then(|to| changed("image", spec.image.clone(), to));
        [replicas, image].into_iter().flatten().collect()
    }

    /// Another image makes every pod's template an old one.
    fn fleet(&self, cluster: &CarrelCluster, live: &Live) -> Option<Fleet> {
        let status = cluster.status.clone().unwrap_or_default();
        let away = status.disruption.iter().map(|stopped| carrel_membership::Ordinal(stopped.ordinal)).collect();
        let mut fleet = live.look.fleet(away, cluster.spec.disruption.max_concurrent)?;
        if self.image.as_ref().is_some_and(|image| *image != cluster.spec.image) {
            for pod in fleet.pods.values_mut() {
                pod.is_outdated = true;
            }
        }
        Some(fleet)
    }
}

/// The rules of the definition, asked of whoever keeps them.
async fn would_be_taken(access: &Access, name: &str, patch: &Value) -> Result<(), Failure> {
    let how = PatchParams { dry_run: true, ..PatchParams::default() };
    match access.clusters().patch(name, &how, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => {
            note("You may not change this cluster; whether the API server would take the change is not known.");
            Ok(())
        }
        Err(error) => Err(Failure::asking("ask for that", &error)),
    }
}

fn standing(live: &Live) -> String {
    let leader = match &live.observed.view {
        View::Leader(leader) => format!("node {} leads", leader.leader),
        View::Remembered(_) => "nobody leads".to_owned(),
        View::Unknown => "no member is known".to_owned(),
    };
    match live.quorum() {
        Some(quorum) => format!("{quorum}; {leader}"),
        None => leader,
    }
}

impl Course {
    fn text(&self, cluster: &CarrelCluster, foresight: &Foresight, patch: Option<&Value>, access: &Access) -> String {
        let operation = &cluster.spec.operation;
        let rest = match (operation.paused, operation.hibernated) {
            (true, _) => "It is paused: nothing is done until spec.operation.paused is false.",
            (_, true) => "It hibernates: nothing is done until spec.operation.hibernated is false.",
            _ => "",
        };
        let head = facts(&[
            ("Cluster", self.cluster.clone()),
            ("Now", self.now.clone()),
            ("Change", self.change.join(", ")),
            ("But", rest.to_owned()),
        ]);
        let width = self.steps.len().to_string().len();
        let steps: Vec<String> =
            self.steps.iter().enumerate().map(|(index, step)| format!("  {:>width$}  {step}", index + 1)).collect();
        let steps = if steps.is_empty() { "  nothing to do".to_owned() } else { steps.join("\n") };
        let changes = counted(foresight.leader_changes, "change of leader", "changes of leader");
        let end = format!("{}, {changes}. The end: {}.", counted(self.steps.len(), "step", "steps"), self.end);
        let ask = match patch {
            Some(patch) if !self.change.is_empty() => format!(
                "\nNothing was changed. To ask for it: kubectl -n {} patch crl {} --type merge -p '{patch}'",
                access.namespace, self.cluster
            ),
            Some(_) | None => String::new(),
        };
        format!("{head}\n\n{steps}\n\n{end}{ask}")
    }
}
