//! The cluster itself: who leads, how far everyone is, and which nodes there are.

use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use carrel_proto::admin::v1::node_status::Role;
use carrel_proto::client::{Client, ClientError};
use clap::Subcommand;
use serde::Serialize;

use super::admin::{Admin, LOOK};
use super::cluster_text;
use super::context::{Context, print};
use super::errors::Failure;
use super::table::table;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at the nodes, and change which there are
    #[command(subcommand)]
    Cluster(Cluster),
}

#[derive(Debug, Subcommand)]
pub(super) enum Cluster {
    /// Show every node: its role and how far its log is
    Status {
        /// Everything one node knows: the leader's view of each, votes, states, certificates
        #[arg(long)]
        full: bool,
    },
    /// Show what changes about the cluster, as it changes, until Ctrl-C
    Watch,
    /// Make another node the leader (admins only)
    #[command(alias = "transfer-leadership")]
    #[command(after_help = "Example:\n  carrel cluster transfer 2      (ids are in: carrel cluster status)")]
    Transfer {
        /// Id of the node that shall lead
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
    },
    /// Take in a node that waits with an empty directory (admin port)
    ///
    /// It gets an id, and the log so far, but no vote: for that, see carrel cluster voters. The same again is harmless.
    #[command(after_help = "Example:\n  carrel cluster add http://10.0.0.4:7420 --admin http://10.0.0.1:7420")]
    Add {
        /// Admin port of the node that waits
        #[arg(value_name = "URL")]
        node: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Make exactly these members the voters, in one change (admin port)
    ///
    /// Refused if the membership changes meanwhile, and if a majority of the old or the new voters does not answer. Who
    /// loses its vote stays as a learner.
    #[command(after_help = "Example:\n  carrel cluster voters 1 7 9      (ids are in: carrel cluster status)")]
    Voters {
        /// Their ids
        #[arg(value_name = "NODE", required = true, value_parser = clap::value_parser!(u64).range(1..))]
        nodes: Vec<u64>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Take a learner out for good; its id is never used again (admin port)
    #[command(after_help = "A voter is refused: take its vote first, with carrel cluster voters.")]
    Remove {
        /// Its id
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        admin: Admin,
    },
    /// Write a snapshot on every node that is named, and say whether their states agree (admin port)
    Snapshot {
        #[command(flatten)]
        admin: Admin,
    },
}

/// Between two attempts to follow the cluster on some node.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
/// A node says something every two seconds; one that is silent for longer, with some slack, is gone.
const WATCH_SILENCE: Duration = Duration::from_secs(6);

pub(super) async fn run(context: &Context, Command::Cluster(command): Command) -> Result<(), Failure> {
    match command {
        Cluster::Status { full } => status(context, full).await,
        Cluster::Watch => watch(context).await,
        Cluster::Transfer { node } => transfer(context, node).await,
        Cluster::Add { node, admin } => add(context, &node, &admin).await,
        Cluster::Voters { nodes, admin } => voters(context, nodes, &admin).await,
        Cluster::Remove { node, admin } => remove(context, node, &admin).await,
        Cluster::Snapshot { admin } => snapshot(context, &admin).await,
    }
}

async fn status(context: &Context, full: bool) -> Result<(), Failure> {
    let response = context.wait(context.anonymous().get_status(admin::GetStatusRequest { local: false })).await?;
    match (full, context.is_json()) {
        (true, _) => context.answer(&response, || cluster_text::full(&response)),
        (false, false) => print(&status_text(&response)),
        (false, true) => {
            let status = Status::from(&response);
            print(&serde_json::to_string(&status).expect("numbers and strings are always JSON"))
        }
    }
}

async fn watch(context: &Context) -> Result<(), Failure> {
    let (client, mut last) = (context.anonymous(), String::new());
    loop {
        let call = client.call(admin::WatchClusterRequest::default(), |channel, request| async move {
            ClusterServiceClient::new(channel).watch_cluster(request).await
        });
        let mut frames = context.wait(call).await?;
        // A stream that ends, breaks or falls silent goes on at another node.
        while let Ok(Ok(Some(frame))) = tokio::time::timeout(WATCH_SILENCE, frames.message()).await {
            let Some(status) = frame.status else { break };
            let line = cluster_text::line(&status);
            if line != last {
                context.answer(&status, || line.clone())?;
                last = line;
            }
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

fn status_text(response: &admin::GetStatusResponse) -> String {
    let leader = match response.leader {
        0 => "No node leads".to_owned(),
        leader => format!("Node {leader} leads"),
    };
    let row = |node: &admin::NodeStatus| {
        [
            node.id.to_string(),
            node.endpoint.clone(),
            role_name(node.role()).to_owned(),
            node.last_log_index.to_string(),
            node.commit_index.to_string(),
            node.applied_index.to_string(),
            if node.reachable { "yes" } else { "no" }.to_owned(),
        ]
    };
    let headings = ["NODE", "ENDPOINT", "ROLE", "LOG", "COMMITTED", "APPLIED", "REACHABLE"];
    let nodes = table(headings, response.nodes.iter().map(row).collect(), "The cluster has no members yet.");
    let remarks = cluster_text::remarks(response);
    format!("{nodes}\n{remarks}{leader}, term {}.", response.term)
}

async fn transfer(context: &Context, node_id: u64) -> Result<(), Failure> {
    let request = admin::TransferLeadershipRequest { node_id };
    let response = context.wait(context.client()?.transfer_leadership(request)).await?;
    context.answer(&response, || format!("Node {} leads now, term {}.", response.leader, response.term))
}

async fn add(context: &Context, url: &str, admin: &Admin) -> Result<(), Failure> {
    let waiting = admin.of(context, url)?;
    let status = context
        .wait(waiting.clone().with_options(LOOK).get_status(admin::GetStatusRequest { local: true }))
        .await
        .map_err(|failure| failure.advise_if_unreachable("Name the admin port of a node that runs."))?;
    let admin::Identity { incarnation, ordinal, .. } = status.identity.unwrap_or_default();
    let allocated = admin.of_leader(context, async |leader| {
        let request = admin::AllocateNodeRequest { incarnation: incarnation.clone(), ordinal };
        let allocated = leader.allocate_node(request).await?;
        let cluster = leader.get_status(admin::GetStatusRequest { local: true }).await?.identity.unwrap_or_default();
        Ok((allocated, cluster))
    });
    let (allocated, cluster) = allocated.await?;
    let node_id = allocated.node_id;
    let identity = Some(admin::Identity { incarnation, ordinal, node_id, ..cluster });
    context.wait(waiting.join(admin::JoinRequest { identity })).await?;
    let added = admin.of_leader(context, async |leader| {
        let expected_membership_log_id = position(&leader).await?;
        leader.add_learner(admin::AddLearnerRequest { node_id, expected_membership_log_id }).await
    });
    added.await?;
    context.answer(&allocated, || {
        format!(
            "Node {node_id}, ordinal {ordinal}, is a learner. How far it is: carrel cluster status --full\n\
             Give it a vote with: carrel cluster voters ... {node_id}"
        )
    })
}

async fn voters(context: &Context, voters: Vec<u64>, admin: &Admin) -> Result<(), Failure> {
    let changed = admin.of_leader(context, async |leader| {
        let expected_membership_log_id = position(&leader).await?;
        leader.change_voters(admin::ChangeVotersRequest { voters: voters.clone(), expected_membership_log_id }).await
    });
    let response = changed.await?;
    context.answer(&response, || format!("The voters are {} now.", cluster_text::ids(&voters)))
}

async fn remove(context: &Context, node_id: u64, admin: &Admin) -> Result<(), Failure> {
    let request = admin::RemoveNodeRequest { node_id };
    let removed = admin.of_leader(context, async |leader| leader.remove_node(request).await).await;
    let response = removed.map_err(|failure| {
        failure.advise(|refusal| match refusal.reason.as_str() {
            "IS_VOTER" => vec!["Name all other voters in: carrel cluster voters ...".to_owned()],
            _ => Vec::new(),
        })
    })?;
    context.answer(&response, || format!("Node {node_id} is out for good."))
}

/// Of the membership as this node has it.
async fn position(leader: &Client) -> Result<Option<admin::LogId>, ClientError> {
    Ok(leader.get_status(admin::GetStatusRequest { local: true }).await?.membership_log_id)
}

async fn snapshot(context: &Context, admin: &Admin) -> Result<(), Failure> {
    for url in admin.urls(&context.anonymous()).await {
        let node = admin.of(context, &url)?;
        context.wait(node.trigger_snapshot(admin::TriggerSnapshotRequest {})).await?;
    }
    let nodes = admin.client(&context.anonymous(), context.tls()).await?;
    let status = context.wait(nodes.get_status(admin::GetStatusRequest { local: false })).await?;
    let hash = |node: &admin::NodeStatus| node.state_hash.clone();
    let row = |node: &admin::NodeStatus| {
        let (index, sha256) =
            hash(node).map_or_else(Default::default, |hash| (hash.index.to_string(), cluster_text::hex(&hash.sha256)));
        [node.id.to_string(), index, sha256]
    };
    let differ = status.nodes.iter().filter_map(hash).any(|one| {
        status.nodes.iter().filter_map(hash).any(|other| one.index == other.index && one.sha256 != other.sha256)
    });
    if differ {
        let message = "nodes have different states at one index: they have diverged".to_owned();
        return Err(Failure::refused(tonic::Code::DataLoss, "STATES_DIFFER", message));
    }
    let rows = status.nodes.iter().map(row).collect();
    context.answer(&status, || table(["NODE", "SNAPSHOT", "STATE"], rows, "The cluster has no members yet."))
}

/// The one answer in plain JSON, with ids and indexes as numbers: tools depend on exactly these fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    leader: u64,
    term: u64,
    nodes: Vec<NodeStatus<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus<'a> {
    id: u64,
    endpoint: &'a str,
    role: &'a str,
    last_log_index: u64,
    commit_index: u64,
    applied_index: u64,
    reachable: bool,
}

impl<'a> From<&'a admin::GetStatusResponse> for Status<'a> {
    fn from(response: &'a admin::GetStatusResponse) -> Status<'a> {
        let node = |node: &'a admin::NodeStatus| NodeStatus {
            id: node.id,
            endpoint: &node.endpoint,
            role: role_name(node.role()),
            last_log_index: node.last_log_index,
            commit_index: node.commit_index,
            applied_index: node.applied_index,
            reachable: node.reachable,
        };
        Status { leader: response.leader, term: response.term, nodes: response.nodes.iter().map(node).collect() }
    }
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        // A member is a voter or a learner, and a voter that does not lead follows.
        Role::Follower | Role::Unspecified => "follower",
        Role::Learner => "learner",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> admin::GetStatusResponse {
        let node = |id, role: Role| admin::NodeStatus {
            id,
            endpoint: format!("http://127.0.0.1:740{id}"),
            role: role.into(),
            last_log_index: 12,
            commit_index: 11,
            applied_index: 10,
            reachable: id == 1,
            ..Default::default()
        };
        let nodes = vec![node(1, Role::Leader), node(2, Role::Follower)];
        admin::GetStatusResponse { leader: 1, term: 3, nodes, ..Default::default() }
    }

    #[test]
    fn the_status_has_exactly_the_agreed_shape() {
        assert_eq!(
            serde_json::to_string(&Status::from(&response())).expect("it is JSON"),
            r#"{"leader":1,"term":3,"nodes":[{"id":1,"endpoint":"http://127.0.0.1:7401","role":"leader","lastLogIndex":12,"commitIndex":11,"appliedIndex":10,"reachable":true},{"id":2,"endpoint":"http://127.0.0.1:7402","role":"follower","lastLogIndex":12,"commitIndex":11,"appliedIndex":10,"reachable":false}]}"#
        );
    }

    #[test]
    fn people_see_who_leads() {
        let text = status_text(&response());
        assert!(text.ends_with("\nNode 1 leads, term 3."), "{text}");
        let nobody = admin::GetStatusResponse::default();
        assert_eq!(status_text(&nobody), "The cluster has no members yet.\nNo node leads, term 0.");
    }
}
