//! The cluster itself: who leads, how far everyone is, and moving the leadership.

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::node_status::Role;
use clap::Subcommand;
use serde::Serialize;

use super::admin::Admin;
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
    Status,
    /// Make another node the leader (admins only)
    #[command(after_help = "Example:\n  carrel cluster transfer-leadership 2      (ids are in: carrel cluster status)")]
    TransferLeadership {
        /// Id of the node that shall lead
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
    },
    /// Give an id to a node that waits with an empty directory (admin port)
    Allocate {
        /// As the node itself says: carrel cluster status on its admin port
        incarnation: uuid::Uuid,
        /// The slot it runs in
        #[arg(long, value_name = "N")]
        ordinal: u32,
        #[command(flatten)]
        admin: Admin,
    },
    /// Begin to replicate to a node that has joined (admin port)
    AddLearner {
        /// Its id
        #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        #[command(flatten)]
        admin: Admin,
    },
    /// Make exactly these members the voters, in one change (admin port)
    ///
    /// Refused if the membership changes meanwhile, and if a majority of the old or the new voters does not answer. Who
    /// loses its vote stays as a learner.
    ChangeVoters {
        /// Their ids
        #[arg(value_name = "NODE", required = true, value_parser = clap::value_parser!(u64).range(1..))]
        nodes: Vec<u64>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Take a learner out for good; its id is never used again (admin port)
    RemoveNode {
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

pub(super) async fn run(context: &Context, Command::Cluster(command): Command) -> Result<(), Failure> {
    match command {
        Cluster::Status => status(context).await,
        Cluster::TransferLeadership { node } => transfer_leadership(context, node).await,
        Cluster::Allocate { incarnation, ordinal, admin } => allocate(context, incarnation, ordinal, &admin).await,
        Cluster::AddLearner { node: node_id, admin } => {
            let request = admin::AddLearnerRequest { node_id };
            let response = admin.of_leader(async |leader| leader.add_learner(request).await).await?;
            context.answer(&response, || format!("Node {node_id} is a learner. How far it is: carrel cluster status"))
        }
        Cluster::ChangeVoters { nodes, admin } => change_voters(context, nodes, &admin).await,
        Cluster::RemoveNode { node: node_id, admin } => {
            let request = admin::RemoveNodeRequest { node_id };
            let response = admin.of_leader(async |leader| leader.remove_node(request).await).await?;
            context.answer(&response, || format!("Node {node_id} is out for good."))
        }
        Cluster::Snapshot { admin } => snapshot(context, &admin).await,
    }
}

async fn status(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.anonymous().get_status(admin::GetStatusRequest { local: false })).await?;
    if context.is_json() {
        let status = Status::from(&response);
        return print(&serde_json::to_string(&status).expect("numbers and strings are always JSON"));
    }
    print(&status_text(&response))
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
    format!("{nodes}\n{leader}, term {}.", response.term)
}

async fn transfer_leadership(context: &Context, node_id: u64) -> Result<(), Failure> {
    let request = admin::TransferLeadershipRequest { node_id };
    let response = context.wait(context.client()?.transfer_leadership(request)).await?;
    context.answer(&response, || format!("Node {} leads now, term {}.", response.leader, response.term))
}

async fn allocate(context: &Context, incarnation: uuid::Uuid, ordinal: u32, admin: &Admin) -> Result<(), Failure> {
    let request = admin::AllocateNodeRequest { incarnation: incarnation.to_string(), ordinal };
    let response = admin.of_leader(async |leader| leader.allocate_node(request.clone()).await).await?;
    context.answer(&response, || format!("This incarnation is node {} in slot {ordinal}.", response.node_id))
}

async fn change_voters(context: &Context, voters: Vec<u64>, admin: &Admin) -> Result<(), Failure> {
    let changed = admin.of_leader(async |leader| {
        let status = leader.get_status(admin::GetStatusRequest { local: true }).await?;
        let expected_membership_log_id = status.membership_log_id;
        leader.change_voters(admin::ChangeVotersRequest { voters: voters.clone(), expected_membership_log_id }).await
    });
    let response = changed.await?;
    let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
    context.answer(&response, || format!("The voters are {} now.", voters.join(", ")))
}

async fn snapshot(context: &Context, admin: &Admin) -> Result<(), Failure> {
    for url in &admin.admin {
        let node = Admin { admin: vec![url.clone()] }.client()?;
        context.wait(node.trigger_snapshot(admin::TriggerSnapshotRequest {})).await?;
    }
    let status = context.wait(admin.client()?.get_status(admin::GetStatusRequest { local: false })).await?;
    let hash = |node: &admin::NodeStatus| node.state_hash.clone();
    let row = |node: &admin::NodeStatus| {
        let (index, sha256) = hash(node).map_or_else(Default::default, |hash| {
            let hex: String = hash.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            (hash.index.to_string(), hex)
        });
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

fn role_name(role: Role) -> &'static str {
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
