//! `kubectl carrel explain`: what the operator decided and why, and what it would decide now, guard by guard.

use std::collections::BTreeMap;
use std::process::ExitCode;

use carrel_membership::{Denied, Guard, Observed, Plan, Quorum, RollCall, View, Voters, plan};
use carrel_operator::crd::CarrelCluster;
use carrel_operator::decide::{Question, Verdict};
use carrel_operator::observe::{Look, SeenPod, SeenSet, ordinal};
use carrel_operator::recovering;
use carrel_operator::status::founding;
use clap::Args;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::access::{Access, within};
use crate::failure::Failure;
use crate::nodes::{Door, ask};
use crate::text::{age, facts, say, table};

/// Explain what the operator does: its last decision, and what the same rules say of the cluster as it is now
///
/// Each guard is shown with its numbers. Asks the nodes by their admin ports, with the certificate in the Secret
/// CLUSTER-admin-tls: takes the rights to get that Secret, and to get and create pods/portforward.
#[derive(Args, Debug)]
pub struct Explain {
    /// The cluster, if there are several
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
}

/// The cluster as it is now, by the same look that the operator takes.
pub struct Live {
    pub look: Look,
    pub observed: Observed,
}

impl Live {
    pub async fn look(access: &Access, cluster: &CarrelCluster) -> Result<Self, Failure> {
        let name = cluster.name_any();
        let status = cluster.status.clone().unwrap_or_default();
        let founding = founding(&status).map_err(|why| Failure::Refused(format!("the status is damaged: {why}")))?;
        let sets: Api<StatefulSet> = Api::namespaced(access.client.clone(), &access.namespace);
        let set = within("read the StatefulSet", sets.get_opt(&name)).await?.map(|set| SeenSet::of(&set));
        let pods = access.pods_of(cluster).await?;
        let answers = ask(access, cluster, &pods, Door::Admin).await?;
        let count = set.as_ref().map_or(0, |set| set.replicas);
        let seen = pods.iter().filter_map(|pod| Some((ordinal(&name, &pod.name_any())?, SeenPod::of(pod))));
        let look = Look { set, pods: seen.filter(|(at, _)| at.0 < count).collect(), leaving: BTreeMap::new(), answers };
        let observed = look.observed(founding);
        Ok(Self { look, observed })
    }

    /// What the operator would decide.
    pub fn verdict(&self, cluster: &CarrelCluster) -> Result<Verdict, Failure> {
        let status = cluster.status.clone().unwrap_or_default();
        let recovery = recovering::recorded(&status).map_err(Failure::Refused)?;
        let question = Question {
            name: &cluster.name_any(),
            spec: &cluster.spec,
            status: &status,
            recovery: &recovery,
            founding: self.observed.founding,
            look: &self.look,
            now: Timestamp::now(),
        };
        question.answer().map_err(|error| Failure::Refused(error.to_string()))
    }

    /// How the voters stand by the leader's account; none without a leader.
    pub fn quorum(&self) -> Option<Quorum> {
        let View::Leader(leader) = &self.observed.view else { return None };
        let roll_call = RollCall::new(leader, &self.observed.nodes);
        Some(Quorum::weakest(&leader.membership.voters, &roll_call.healthy()))
    }
}

/// One guard, and what it makes of the numbers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reading {
    guard: &'static str,
    of: String,
    numbers: String,
    says: String,
}

#[derive(Debug, Serialize)]
struct Explanation {
    cluster: String,
    decided: Option<Decided>,
    now: Decided,
    guards: Vec<Reading>,
}

#[derive(Debug, Serialize)]
struct Decided {
    action: String,
    why: String,
    guards: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
}

impl Explain {
    pub async fn run(self, access: &Access) -> Result<ExitCode, Failure> {
        let cluster = access.cluster(self.cluster.as_deref()).await?;
        let live = Live::look(access, &cluster).await?;
        let verdict = live.verdict(&cluster)?;
        let last = cluster.status.as_ref().and_then(|status| status.decision.clone());
        let explanation = Explanation {
            cluster: cluster.name_any(),
            decided: last.map(|last| Decided {
                action: last.action,
                why: last.why,
                guards: last.guards,
                since: Some(last.since.0),
            }),
            now: Decided {
                action: verdict.reason.to_owned(),
                why: verdict.why.clone(),
                guards: verdict.guards.clone(),
                since: None,
            },
            guards: readings(&cluster, &live.observed),
        };
        if access.is_json() {
            say(&serde_json::to_string(&explanation).expect("numbers and strings are always JSON"))?;
        } else {
            say(&explanation.text(Timestamp::now()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explanation {
    fn text(&self, now: Timestamp) -> String {
        let lines = |decided: &Decided| {
            let since = decided.since.map(|since| format!("{since} ({} ago)", age(since, now))).unwrap_or_default();
            let decision = ("Decision", decided.action.clone());
            let numbers = ("Numbers", decided.guards.join("; "));
            facts(&[decision, ("Why", decided.why.clone()), numbers, ("Since", since)])
        };
        let decided = self.decided.as_ref().map_or_else(|| "No operator has decided anything yet.".to_owned(), lines);
        let guards: Vec<[String; 4]> = self
            .guards
            .iter()
            .map(|row| [row.guard.to_owned(), row.of.clone(), row.numbers.clone(), row.says.clone()])
            .collect();
        let guards = if guards.is_empty() {
            "No guard can be asked: nobody leads who could tell who is healthy.".to_owned()
        } else {
            table(["GUARD", "ASKED OF", "NUMBERS", "SAYS"], &guards)
        };
        format!("The operator\n{decided}\n\nThe same rules, now\n{}\n\n{guards}", lines(&self.now))
    }
}

/// The guards of the voters as they are, and of every stop of one of them.
fn readings(cluster: &CarrelCluster, observed: &Observed) -> Vec<Reading> {
    let View::Leader(leader) = &observed.view else { return Vec::new() };
    let roll_call = RollCall::new(leader, &observed.nodes);
    let (heard, healthy) = (roll_call.heard(), roll_call.healthy());
    let voters = &leader.membership.voters;
    let standing = Quorum::weakest(voters, &healthy);
    let spare = Quorum::weakest(voters, &heard).tolerates().min(1);
    let mut rows = vec![
        Reading {
            guard: "G1 (majority)",
            of: "any change of voters".to_owned(),
            numbers: standing.to_string(),
            says: permits(standing.holds()),
        },
        Reading {
            guard: "G2 (slack)",
            of: "a change of voters".to_owned(),
            numbers: format!("{} may fail now", standing.tolerates()),
            says: format!("as many as {spare} after it, too"),
        },
    ];
    if let Voters::Uniform(voters) = voters {
        let members = leader.membership.ordinals.iter().filter(|(id, _)| voters.contains(id));
        rows.extend(members.map(|(id, at)| {
            let stay = healthy.iter().copied().filter(|healthy| healthy != id).collect();
            let without = Quorum::of(voters, &stay);
            Reading {
                guard: "G3 (disrupt)",
                of: format!("stopping {}-{at} (node {id})", cluster.name_any()),
                numbers: without.to_string(),
                says: permits(without.holds()),
            }
        }));
    }
    rows.extend(denied(cluster, observed));
    rows
}

/// A change that is wanted and that a guard does not permit, with the guard's own words.
fn denied(cluster: &CarrelCluster, observed: &Observed) -> Option<Reading> {
    let count = u32::try_from(cluster.spec.replicas).ok()?;
    let desired = carrel_membership::Desired { replicas: carrel_membership::Replicas::try_from(count).ok()? };
    let Plan::Waiting(carrel_membership::Pending::Denied { voters, denied }) = plan(observed, &desired) else {
        return None;
    };
    let Denied { guard, quorum, wants } = denied;
    let guard = match guard {
        Guard::Majority => "G1 (majority)",
        Guard::Slack => "G2 (slack)",
        Guard::Disrupt => "G3 (disrupt)",
    };
    let numbers = format!("{} of {} voters healthy, {wants} wanted", quorum.healthy, quorum.voters);
    Some(Reading { guard, of: format!("letting {voters} vote"), numbers, says: permits(false) })
}

fn permits(is_permitted: bool) -> String {
    if is_permitted { "permits" } else { "denies" }.to_owned()
}
