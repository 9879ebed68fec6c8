//! Three replicas on loopback: elections, replication, deaths, and a newcomer who needs a snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use super::node::{Node, Ports, body, ports};
use super::stub::LONG;
use crate::raft::peers::{PeerError, Peers, Proposed};
use crate::raft::types::{Command, LogId, Member, NodeId};

const PATIENCE: Duration = Duration::from_secs(5);

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    dir: tempfile::TempDir,
    ports: Ports,
    written: Vec<u64>,
}

impl Cluster {
    async fn of_three() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // One more address than there are members, for a newcomer.
        let mut cluster = Self { nodes: BTreeMap::new(), dir, ports: ports(4), written: Vec::new() };
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let members: BTreeMap<NodeId, Member> =
            cluster.nodes.values().map(|node| (node.peer.id, Member { ordinal: node.peer.ordinal })).collect();
        cluster.nodes[&1].raft.initialize(members).await.expect("all are new");
        cluster
    }

    async fn start(&mut self, id: NodeId) {
        let dir = Path::join(self.dir.path(), id.to_string());
        self.nodes.insert(id, Node::start(id, dir, &self.ports).await);
    }

    async fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id).expect("it runs").kill().await;
    }

    /// A leader on whom all who run agree, itself among them. Views of an earlier term linger, so that all of them are
    /// read at once, and again.
    async fn leader(&self) -> NodeId {
        let agreed = async {
            loop {
                let views = self.nodes.iter().map(|(id, node)| {
                    let metrics = node.raft.metrics();
                    let seen = metrics.borrow_watched();
                    (*id, seen.current_leader, seen.state)
                });
                let views = Vec::from_iter(views);
                let leads = |leader: NodeId| {
                    views.iter().all(|(id, known, state)| {
                        *known == Some(leader) && (*id == leader) == (*state == ServerState::Leader)
                    })
                };
                if let Some(leader) = self.nodes.keys().copied().find(|id| leads(*id)) {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, agreed).await.expect("an election succeeds")
    }

    async fn write(&mut self, count: usize) {
        let end = self.written.len() + count;
        while self.written.len() < end {
            let number = self.written.len() as u64;
            let leader = &self.nodes[&self.leader().await];
            match leader.raft.client_write(Command { at: 0, body: body(number), trace: None }).await {
                Ok(_) => self.written.push(number),
                // Certainly not proposed: its followers have not confirmed it yet, or no more.
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Everything that was acknowledged is everywhere, once and in order.
    async fn check(&self) {
        let last = self.nodes[&self.leader().await].raft.metrics().borrow_watched().last_log_index;
        for node in self.nodes.values() {
            let wait = node.raft.wait(Some(PATIENCE));
            let applied = wait.applied_index_at_least(last, "all of it").await;
            applied.unwrap_or_else(|error| panic!("node {}: {error}", node.peer.id));
            assert_eq!(node.numbers(), self.written, "node {}", node.peer.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_everywhere_whoever_dies_and_comes_back() {
    let mut cluster = Cluster::of_three().await;
    cluster.write(50).await;
    cluster.check().await;

    let leader = cluster.leader().await;
    let follower = leader % 3 + 1;
    cluster.kill(follower).await;
    cluster.write(50).await;
    cluster.start(follower).await;
    cluster.check().await;

    cluster.kill(leader).await;
    cluster.write(50).await;
    assert_ne!(cluster.leader().await, leader);
    cluster.start(leader).await;
    cluster.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_hand_on_proposals_and_ask_where_to_read() {
    let mut cluster = Cluster::of_three().await;
    cluster.write(1).await;
    let leader = cluster.leader().await;
    let follower = leader % 3 + 1;
    let (to, links) = (cluster.nodes[&leader].peer, cluster.nodes[&follower].links.clone());

    let number = cluster.written.len() as u64;
    let proposed = links.propose(to, body(number), LONG).await.expect("an answer");
    cluster.written.push(number);
    let Proposed::Committed { index, reply } = proposed else { panic!("{proposed:?}") };
    assert_eq!(*reply, number.to_le_bytes());
    let read = links.read_index(to).await.expect("it leads");
    assert!(read.index >= index, "{read} sees what was answered before, {index}");
    cluster.check().await;

    let third = cluster.nodes[&(follower % 3 + 1)].peer;
    let refused = links.propose(third, body(99), LONG).await.expect("an answer");
    assert_eq!(refused, Proposed::NotProposed { leader: Some(leader) });
    assert!(matches!(links.read_index(third).await, Err(PeerError::Unreachable(_))));
    cluster.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over() {
    let mut cluster = Cluster::of_three().await;
    cluster.write(5).await;
    cluster.check().await;
    let leader = cluster.leader().await;
    let heir = leader % 3 + 1;
    cluster.nodes[&leader].raft.trigger().transfer_leader(heir).await.expect("it runs");
    let wait = cluster.nodes[&heir].raft.wait(Some(PATIENCE));
    wait.state(ServerState::Leader, "the heir leads").await.expect("the heir leads");
    cluster.write(5).await;
    cluster.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_a_snapshot_and_then_the_log() {
    let mut cluster = Cluster::of_three().await;
    cluster.write(200).await;
    let leader = cluster.leader().await;
    let raft = cluster.nodes[&leader].raft.clone();
    let last = raft.metrics().borrow_watched().last_log_index.expect("it was written to");
    raft.wait(Some(PATIENCE)).applied_index(Some(last), "all of it").await.expect("nobody else writes");
    raft.trigger().snapshot().await.expect("it runs");
    let wait = raft.wait(Some(PATIENCE));
    let is_there = |at: Option<LogId>| at.is_some_and(|at| at.index == last);
    wait.metrics(|metrics| is_there(metrics.snapshot), "it is written").await.expect("it is written");
    raft.trigger().purge_log(last).await.expect("it runs");
    wait.metrics(|metrics| is_there(metrics.purged), "it is gone").await.expect("it is gone");
    cluster.write(20).await;

    cluster.start(4).await;
    let newcomer = cluster.nodes[&4].peer;
    raft.add_learner(newcomer.id, Member { ordinal: newcomer.ordinal }, true).await.expect("it catches up");
    cluster.check().await;
    let got = cluster.nodes[&4].raft.metrics().borrow_watched().snapshot;
    assert!(is_there(got), "{got:?}: what came before could come by no other way");
}
