//! What the admin port promises whoever runs a cluster: each call can be repeated, and says no with a reason.

use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use carrel_proto::client::ClientError;
use rustix::process::Signal;
use uuid::Uuid;

use crate::load::newcomer;
use crate::nodes::{Nodes, refused};

fn reason<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    refused(result).reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_founded_once_however_often_it_is_asked() {
    let mut nodes = Nodes::new(2);
    nodes.start(0).await;
    nodes.start(1).await;
    let (seed, other) = (nodes.identity(0).await.incarnation, nodes.identity(1).await.incarnation);
    let founding = nodes.founding(&seed, 1);
    assert_eq!(reason(nodes.admin(0).initialize(nodes.founding(&other, 1)).await), "OTHER_INCARNATION");
    assert_eq!(nodes.id(0).await, 0, "nothing was begun");
    let unnamed = refused(nodes.admin(0).initialize(nodes.founding("", 1)).await);
    assert!(unnamed.message.contains("seed_incarnation"), "{unnamed}");
    assert_eq!(reason(nodes.admin(0).initialize(nodes.founding(&seed, 0)).await), "NO_VOTERS");

    // Asked by many at once, the reply lost, asked again, asked after a start.
    let (one, another, third) = (nodes.admin(0), nodes.admin(0), nodes.admin(0));
    let (one, another, third) = tokio::join!(
        one.initialize(founding.clone()),
        another.initialize(founding.clone()),
        third.initialize(founding.clone()),
    );
    let identity = one.expect("the first or the same").identity;
    assert_eq!(another.expect("the first or the same").identity, identity);
    assert_eq!(third.expect("the first or the same").identity, identity);
    nodes.end(0, Signal::KILL).await;
    nodes.start(0).await;
    assert_eq!(nodes.admin(0).initialize(founding.clone()).await.expect("the same again").identity, identity);
    let elsewhere = admin::InitializeRequest { cluster_id: Uuid::new_v4().to_string(), ..founding.clone() };
    assert_eq!(reason(nodes.admin(0).initialize(elsewhere).await), "OTHER_IDENTITY");
    assert_eq!(reason(nodes.admin(1).initialize(founding).await), "OTHER_INCARNATION");
    newcomer(&nodes.client(), "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_compares_and_says_why_not() {
    let mut nodes = Nodes::formed(3).await;
    let leader = nodes.leader().await;
    let follower = (leader + 1) % 3;
    let (at_leader, at_follower) = (nodes.admin(leader), nodes.admin(follower));
    let leader_id = nodes.id(leader).await;

    // A follower names the leader.
    let asked = admin::AllocateNodeRequest { incarnation: Uuid::new_v4().to_string(), ordinal: 5 };
    let not_leader = refused(at_follower.allocate_node(asked.clone()).await);
    assert_eq!((not_leader.reason.as_str(), &not_leader.metadata["leader"]), ("NOT_LEADER", &leader_id.to_string()));
    // An id is the same every time, and no copy gets one.
    let node_id = at_leader.allocate_node(asked.clone()).await.expect("it leads").node_id;
    assert_eq!(at_leader.allocate_node(asked.clone()).await.expect("it leads").node_id, node_id);
    let copy = refused(at_leader.allocate_node(admin::AllocateNodeRequest { ordinal: 6, ..asked }).await);
    assert!(copy.message.contains("a copy of its volume"), "{copy}");

    // A change is of the membership it was decided on.
    let position = nodes.position(leader).await;
    let other = position.map(|at| admin::LogId { index: at.index + 1, ..at });
    let learner = |expected_membership_log_id| admin::AddLearnerRequest { node_id, expected_membership_log_id };
    let missing = refused(at_leader.add_learner(learner(None)).await);
    assert!(missing.message.contains("expected_membership_log_id"), "{missing}");
    let changed = refused(at_leader.add_learner(learner(other)).await);
    assert_eq!(changed.reason, "MEMBERSHIP_CHANGED");
    assert_eq!(changed.metadata["index"], position.expect("a membership").index.to_string());
    at_leader.add_learner(learner(position)).await.expect("it leads");
    at_leader.add_learner(learner(position)).await.expect("the same again");
    let position = nodes.position(leader).await;
    let voters = nodes.status(leader).await.expect("it answers").voter_sets[0].node_ids.clone();
    let change = |voters: &[u64], expected_membership_log_id| admin::ChangeVotersRequest {
        voters: voters.to_vec(),
        expected_membership_log_id,
    };
    assert_eq!(reason(at_leader.change_voters(change(&voters, other)).await), "MEMBERSHIP_CHANGED");
    assert_eq!(reason(at_leader.change_voters(change(&[], position)).await), "NO_VOTERS");
    assert_eq!(reason(at_leader.change_voters(change(&[leader_id, 77], position)).await), "NOT_A_MEMBER");
    // It never ran, so it is no majority with the leader.
    let lost = refused(at_leader.change_voters(change(&[leader_id, node_id], position)).await);
    assert_eq!(lost.reason, "WOULD_LOSE_QUORUM");
    assert_eq!(["healthy", "voters", "needed"].map(|name| lost.metadata[name].as_str()), ["1", "2", "2"]);
    let voter = refused(at_leader.remove_node(admin::RemoveNodeRequest { node_id: leader_id }).await);
    assert_eq!(voter.reason, "IS_VOTER");
    assert_eq!(["healthy", "voters", "needed"].map(|name| voter.metadata[name].as_str()), ["3", "3", "2"]);
    at_leader.remove_node(admin::RemoveNodeRequest { node_id }).await.expect("a learner");
    at_leader.remove_node(admin::RemoveNodeRequest { node_id }).await.expect("the same again");
    assert_eq!(reason(at_leader.remove_node(admin::RemoveNodeRequest { node_id: 77 }).await), "REFUSED");

    // Two that ask at once: each is told what became of it, and the membership is one of theirs.
    let position = nodes.position(leader).await;
    let [one, two] = [[voters[0], voters[1]], [voters[0], voters[2]]].map(|voters| change(&voters, position));
    let (first, second) = tokio::join!(at_leader.change_voters(one), at_leader.change_voters(two));
    let said: Vec<String> = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .map(|error| match error {
            ClientError::Refused(refusal) => refusal.reason,
            ClientError::Unreachable(nobody) => panic!("{nobody}"),
        })
        .collect();
    assert!(matches!(said.as_slice(), [why] if why == "CHANGE_UNDER_WAY" || why == "MEMBERSHIP_CHANGED"), "{said:?}");
    let leads = nodes.leader().await;
    let now = nodes.status(leads).await.expect("it answers");
    assert_eq!((now.voter_sets.len(), now.voter_sets[0].node_ids.len()), (1, 2), "{now:?}");

    // Whoever joins must be who was meant.
    let out = (0..3).find(|slot| !now.voter_sets[0].node_ids.contains(&voters[*slot])).expect("one of three");
    let out_slot = slot_of(&nodes, voters[out]).await;
    let request = admin::RemoveNodeRequest { node_id: voters[out] };
    nodes.admin(leads).remove_node(request).await.expect("a learner");
    let is_told = async |nodes: &Nodes| nodes.status(out_slot).await.is_some_and(|status| status.removed);
    nodes.until("it is told that it was removed", is_told).await;
    let told = nodes.status(out_slot).await.expect("it answers");
    assert_eq!(told.leader, 0, "whom it followed is no leader of its");
    nodes.end(out_slot, Signal::TERM).await;
}

async fn slot_of(nodes: &Nodes, id: u64) -> usize {
    for slot in nodes.running() {
        if nodes.id(slot).await == id {
            return slot;
        }
    }
    panic!("nobody is {id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_for_one_volume_under_one_ordinal() {
    let mut nodes = Nodes::new(2);
    nodes.start(0).await;
    nodes.start(1).await;
    let cluster = nodes.found(1).await;
    let pristine = nodes.identity(1).await;
    let request = admin::AllocateNodeRequest { incarnation: pristine.incarnation.clone(), ordinal: 1 };
    let node_id = nodes.admin(0).allocate_node(request).await.expect("it leads").node_id;
    let place = admin::Identity { cluster_id: cluster.cluster_id.clone(), lineage: 0, node_id, ..pristine };
    let join = |identity: admin::Identity| {
        let node = nodes.admin(1);
        async move { node.join(admin::JoinRequest { identity: Some(identity) }).await }
    };
    let other_volume = admin::Identity { incarnation: Uuid::new_v4().to_string(), ..place.clone() };
    assert_eq!(reason(join(other_volume).await), "OTHER_INCARNATION");
    assert_eq!(reason(join(admin::Identity { ordinal: 0, ..place.clone() }).await), "OTHER_ORDINAL");
    let nobody = refused(join(admin::Identity { node_id: 0, ..place.clone() }).await);
    assert!(nobody.message.contains("node_id"), "{nobody}");
    join(place.clone()).await.expect("a pristine node");
    join(place.clone()).await.expect("the same again");
    for other in [
        admin::Identity { node_id: node_id + 1, ..place.clone() },
        admin::Identity { lineage: 1, ..place.clone() },
        admin::Identity { cluster_id: Uuid::new_v4().to_string(), ..place },
    ] {
        assert_eq!(reason(join(other).await), "OTHER_IDENTITY");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_what_a_leader_knows_and_a_watcher_hears_of_changes() {
    let nodes = Nodes::formed(3).await;
    let leader = nodes.leader().await;
    let leader_id = nodes.id(leader).await;
    let watcher = nodes.admin((leader + 1) % 3);
    let watching = watcher.call(admin::WatchClusterRequest::default(), |channel, request| async move {
        ClusterServiceClient::new(channel).watch_cluster(request).await
    });
    let mut frames = watching.await.expect("a stream");
    let first = frames.message().await.expect("a frame").expect("a frame").status.expect("a status");
    assert_eq!(first.leader, leader_id);

    let status = nodes.status(leader).await.expect("it answers");
    let vote = status.vote.expect("it voted");
    assert_eq!((vote.node_id, vote.term, vote.committed), (leader_id, status.term, true));
    assert!(status.since_quorum_ack_ms.is_some_and(|since| since < 1_000), "{status:?}");
    assert!(status.nodes.iter().all(|node| node.matched_index.is_some()), "{status:?}");
    assert!(status.nodes.iter().all(|node| node.id == leader_id || node.since_ack_ms.is_some()), "{status:?}");
    assert!(status.cluster_keys.is_none() && status.client_keys.is_none() && !status.removed, "{status:?}");
    let follower = nodes.status((leader + 1) % 3).await.expect("it answers");
    assert!(follower.since_quorum_ack_ms.is_none() && follower.vote == Some(vote), "{follower:?}");
    let snapshot = nodes.admin(leader).trigger_snapshot(admin::TriggerSnapshotRequest {}).await.expect("written");
    let status = nodes.status(leader).await.expect("it answers");
    let own = status.nodes.iter().find(|node| node.id == leader_id).expect("it is a member");
    let hash = own.state_hash.clone().expect("it has a snapshot");
    assert_eq!((hash.index, hash.sha256.len()), (snapshot.snapshot.expect("where").index, 32));

    let new = nodes.transfer().await;
    let hears = async {
        loop {
            let frame = frames.message().await.expect("a frame").expect("a frame");
            if frame.status.is_some_and(|status| status.leader == new.leader && status.term == new.term) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), hears).await.expect("a watcher hears of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_admin_whose_name_is_taken_does_not_fill_the_log() {
    let mut nodes = Nodes::new(1);
    nodes.start(0).await;
    nodes.found(1).await;
    newcomer(&nodes.client(), "boss").await;
    nodes.end(0, Signal::TERM).await;
    let file = nodes.dir().join("admin");
    std::fs::write(&file, "boss\nanother good password\n").expect("written");
    let mut nodes = nodes.with(&["--first-admin-file", &file.to_string_lossy()]);
    nodes.start(0).await;
    assert_eq!(nodes.leader().await, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let last = async |nodes: &Nodes| nodes.status(0).await.expect("it answers").nodes[0].last_log_index;
    let before = last(&nodes).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = last(&nodes).await;
    assert!(after - before <= 6, "{} entries in three seconds", after - before);
}
