//! `kubectl carrel status`: a cluster, node by node.

use std::process::ExitCode;

use carrel_membership::{Ordinal, View};
use carrel_operator::build::CLUSTER_LABEL;
use carrel_operator::crd::CarrelCluster;
use carrel_operator::observe::{SeenPod, ordinal};
use carrel_steward::Answers;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::access::Access;
use crate::failure::Failure;
use crate::nodes::{Door, answered, ask};
use crate::text::{age, facts, note, say, table};

/// Show how a cluster stands: its pods, nodes, roles, how far each is, and its conditions
///
/// What the API server knows is from the operator's last look. APPLIED, LAG and VERSION come from the nodes themselves,
/// asked now; they are missing where a node cannot be reached, or you may not create pods/portforward.
#[derive(Args, Debug)]
pub struct Status {
    /// The cluster, if there are several
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Ask no node: only what the API server knows
    #[arg(long)]
    from_status: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    name: String,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    wanted: i32,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    decision: Decided,
    nodes: Vec<NodeRow>,
    conditions: Vec<ConditionRow>,
}

#[derive(Debug, Default, Serialize)]
struct Decided {
    action: String,
    why: String,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeRow {
    pod: String,
    ready: bool,
    restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<u64>,
    role: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// What keeps its pod from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct ConditionRow {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    since: Timestamp,
}

impl Status {
    pub async fn run(self, access: &Access) -> Result<ExitCode, Failure> {
        let cluster = access.cluster(self.cluster.as_deref()).await?;
        let pods = access.pods_of(&cluster).await?;
        let answers =
            if self.from_status { Ok(Answers::new([])) } else { ask(access, &cluster, &pods, Door::Clients).await };
        let answers = answers.unwrap_or_else(|failure| {
            note(&format!("The nodes cannot be asked: {failure}"));
            Answers::new([])
        });
        let standing = Standing::of(&cluster, &pods, &answers);
        if access.is_json() {
            say(&serde_json::to_string(&standing).expect("numbers and strings are always JSON"))?;
        } else {
            say(&standing.text(Timestamp::now()))?;
            let silent = pods.len() - answered(&cluster, &pods, &answers);
            if !self.from_status && silent == pods.len() && silent > 0 {
                note("No node answered: that takes the right to create pods/portforward, and pods that run.");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Standing {
    fn of(cluster: &CarrelCluster, pods: &[Pod], answers: &Answers) -> Self {
        let status = cluster.status.clone().unwrap_or_default();
        let conditions = status.conditions.iter().map(|condition| ConditionRow {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time.0,
        });
        let decision = status.decision.as_ref();
        Self {
            name: cluster.name_any(),
            namespace: cluster.namespace().unwrap_or_default(),
            cluster_id: status.cluster_id.clone(),
            wanted: cluster.spec.replicas,
            image: cluster.spec.image.clone(),
            quorum: status.quorum.as_ref().map(|quorum| {
                let standing =
                    carrel_membership::Quorum { voters: quorum.voters as usize, healthy: quorum.healthy as usize };
                format!("{standing}, {} may still fail", quorum.tolerates)
            }),
            leader: status.leader.clone(),
            decision: decision.map_or_else(Decided::default, |decision| Decided {
                action: decision.action.clone(),
                why: decision.why.clone(),
            }),
            nodes: rows(cluster, pods, answers),
            conditions: conditions.collect(),
        }
    }

    fn text(&self, now: Timestamp) -> String {
        let head = facts(&[
            ("Cluster", format!("{} in {}", self.name, self.namespace)),
            ("Id", self.cluster_id.clone().unwrap_or_default()),
            ("Wanted", format!("{} voters, {}", self.wanted, self.image)),
            ("Quorum", self.quorum.clone().unwrap_or_else(|| "not known yet".to_owned())),
            ("Leader", self.leader.clone().unwrap_or_else(|| "none".to_owned())),
            ("Decision", format!("{}: {}", self.decision.action, self.decision.why)),
        ]);
        let nodes: Vec<_> = self.nodes.iter().map(NodeRow::cells).collect();
        let headings = ["POD", "READY", "RESTARTS", "NODE", "ROLE", "STATE", "APPLIED", "LAG", "VERSION"];
        let nodes = if nodes.is_empty() {
            format!("No pods: {CLUSTER_LABEL}={} is on none.", self.name)
        } else {
            table(headings, &nodes)
        };
        let conditions: Vec<[String; 5]> = self
            .conditions
            .iter()
            .map(|row| {
                let since = age(row.since, now);
                [row.kind.clone(), row.status.clone(), row.reason.clone(), since, row.message.clone()]
            })
            .collect();
        let conditions = if conditions.is_empty() {
            "No operator has looked at it yet.".to_owned()
        } else {
            table(["CONDITION", "IS", "REASON", "SINCE", "MESSAGE"], &conditions)
        };
        format!("{head}\n\n{nodes}\n\n{conditions}")
    }
}

/// A pod without an answer has what the status says; an answer is newer.
fn rows(cluster: &CarrelCluster, pods: &[Pod], answers: &Answers) -> Vec<NodeRow> {
    let status = cluster.status.clone().unwrap_or_default();
    let view = answers.view();
    let lag = |id: u64| match &view {
        View::Leader(leader) => {
            let matched = leader.progress.iter().find(|(member, _)| member.0 == id);
            matched.map(|(_, progress)| leader.last_log_index.saturating_sub(progress.matched_index))
        }
        View::Remembered(_) | View::Unknown => None,
    };
    let name = cluster.name_any();
    let row = |pod: &Pod| {
        let seen = SeenPod::of(pod);
        let at = ordinal(&name, &seen.name)?;
        let member = status.members.iter().find(|member| member.ordinal == at.0);
        let answer = answers.of(at);
        let own = answer.and_then(|answer| answer.identity.as_ref()).map(|own| own.node_id).filter(|id| *id != 0);
        let node_id = own.or(member.and_then(|member| member.node_id));
        let applied = own.and_then(|own| answer?.nodes.iter().find(|node| node.id == own)).map(|own| own.applied_index);
        Some(NodeRow {
            pod: seen.name,
            ready: seen.is_ready,
            restarts: seen.crashes,
            node_id,
            role: role(&view, at, member.map(|member| member.role.as_str())),
            state: member.map_or_else(|| "Unknown".to_owned(), |member| member.state.clone()),
            applied_index: applied.filter(|index| *index != 0),
            lag_entries: own.and_then(lag),
            version: answer.map(|answer| answer.version.clone()),
            trouble: seen.trouble,
        })
    };
    pods.iter().filter_map(row).collect()
}

/// As the nodes say now, else as the operator saw it last.
fn role(view: &View, at: Ordinal, known: Option<&str>) -> String {
    let View::Leader(leader) = view else { return known.unwrap_or("Unknown").to_owned() };
    let membership = &leader.membership;
    let member = membership.ordinals.iter().filter(|(_, ordinal)| **ordinal == at).map(|(id, _)| *id).max();
    match member {
        Some(id) if id == leader.leader => "Leader".to_owned(),
        Some(id) if membership.voters.contains(id) => "Follower".to_owned(),
        Some(_) => "Learner".to_owned(),
        None => known.unwrap_or("Unknown").to_owned(),
    }
}

impl NodeRow {
    fn cells(&self) -> [String; 9] {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        [
            self.pod.clone(),
            if self.ready { "yes" } else { "no" }.to_owned(),
            self.restarts.to_string(),
            number(self.node_id),
            self.role.clone(),
            self.trouble.clone().unwrap_or_else(|| self.state.clone()),
            number(self.applied_index),
            number(self.lag_entries),
            self.version.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}
