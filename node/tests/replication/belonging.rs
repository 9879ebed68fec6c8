//! Who takes part and who does not: volumes of yesterday, of elsewhere, copied, misplaced, or nobody's yet.

use std::collections::BTreeSet;
use std::time::Duration;

use carrel_node::raft::cluster::ClusterRefusal;
use carrel_node::raft::identity::{IdentityError, MemberOf};
use carrel_node::raft::membership::{AdminError, LogPosition, Whose};
use carrel_node::raft::node::{Identity, JoinError, OpenError};
use carrel_node::raft::peers::{Route, WrongRoute};
use carrel_node::raft::running::StartError;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::types::NodeId;
use carrel_node::replica::NotServing;
use uuid::Uuid;

use crate::cluster::{CLUSTER, Cluster};
use crate::machines::Machines;

const ELSEWHERE: Uuid = Uuid::from_u128(0xe15e);

/// Whether node `slot` takes a call on this route.
fn heard<M: Machines>(cluster: &Cluster<M>, slot: usize, route: Route) -> Result<(), WrongRoute> {
    cluster.node(slot).inbound().check_route(&route)
}

fn route<M: Machines>(cluster: &Cluster<M>, from: NodeId, to: usize) -> Route {
    Route { cluster_id: *CLUSTER.as_bytes(), lineage: 0, from, to: cluster.id(to) }
}

fn position<M: Machines>(cluster: &Cluster<M>, slot: usize) -> LogPosition {
    cluster.node(slot).local_status().membership_position.expect("a membership")
}

fn term<M: Machines>(cluster: &Cluster<M>, slot: usize) -> u64 {
    cluster.node(slot).local_status().term
}

pub async fn an_old_volume_that_comes_back_is_told_so<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.register(0, "ada").await.expect("a leader");
    let old = cluster.follower().await;
    let (old_id, old_incarnation) = (cluster.id(old), cluster.node(old).identity().incarnation);
    cluster.kill(old).await;
    // Its address gets another volume, which takes its vote in one change.
    cluster.start_under(3, old as u32).await;
    cluster.take_in(3).await;
    let voters: Vec<usize> = (0..4).filter(|slot| *slot != old).collect();
    cluster.make_voters(&voters).await;
    let leader = cluster.leader().await;
    cluster.node(leader).remove_node(old_id).await.expect("it votes no more");
    cluster.register(leader, "bo").await.expect("a leader");
    let (leads, in_term) = (cluster.leader().await, term(&cluster, leader));

    cluster.start(old).await;
    let is_told = || cluster.replica(old).serving() == Err(NotServing::Removed);
    cluster.until("it is told that it was removed", is_told).await;
    let status = cluster.node(old).local_status();
    assert!(status.is_removed && status.leader.is_none(), "{status:?}");
    cluster.pause(Duration::from_secs(2)).await;
    assert_eq!((cluster.leader().await, term(&cluster, leader)), (leads, in_term), "nobody minds it");
    for slot in voters {
        assert_eq!(heard(&cluster, slot, route(&cluster, old_id, slot)), Err(WrongRoute::Removed(old_id)));
        // Also where it calls whoever was at the address before.
        let misaddressed = Route { to: 99, ..route(&cluster, old_id, slot) };
        assert_eq!(heard(&cluster, slot, misaddressed), Err(WrongRoute::Removed(old_id)));
        assert!(!cluster.node(slot).local_status().is_removed);
        assert!(cluster.sees(slot, "bo").await);
    }
    let leader = cluster.node(leader);
    let position = leader.local_status().membership_position.expect("a membership");
    let retired = || AdminError::from(ClusterRefusal::Retired(old_id));
    assert_eq!(leader.allocate_node(old_incarnation, old as u32).await, Err(retired()));
    assert_eq!(leader.add_learner(old_id, position).await, Err(retired()));
    let with_it = leader.local_status().voter_sets[0].iter().copied().chain([old_id]).collect();
    assert_eq!(leader.change_voters(with_it, position).await, Err(retired()));
}

pub async fn a_removed_node_learns_it_though_nobody_sends_it_the_entry<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    // One that hears nothing at all when it happens, one that runs on, one that was a voter a moment ago.
    for slot in [3, 4] {
        cluster.start(slot).await;
        cluster.take_in(slot).await;
    }
    let voter = cluster.follower().await;
    cluster.cut(3);
    let stay: Vec<usize> = (0..3).filter(|slot| *slot != voter).collect();
    cluster.make_voters(&stay).await;
    let leader = cluster.leader().await;
    for slot in [voter, 3, 4] {
        cluster.node(leader).remove_node(cluster.id(slot)).await.expect("a learner");
    }
    cluster.pause(Duration::from_secs(3)).await;
    assert_ne!(cluster.replica(3).serving(), Err(NotServing::Removed), "nobody can have told it");
    cluster.mend(3);
    for slot in [voter, 3, 4] {
        let is_told = || cluster.replica(slot).serving() == Err(NotServing::Removed);
        cluster.until("it is told that it was removed", is_told).await;
    }
    // And again after a start, when all it knows is from before.
    cluster.kill(voter).await;
    cluster.start(voter).await;
    let is_told = || cluster.node(voter).local_status().is_removed;
    cluster.until("it is told again", is_told).await;
    assert!(cluster.register(leader, "ada").await.expect("a majority").result.is_ok());
}

pub async fn who_is_cut_off_does_not_take_itself_for_removed<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    let follower = cluster.follower().await;
    cluster.cut(follower);
    cluster.pause(Duration::from_secs(7)).await;
    let status = cluster.node(follower).local_status();
    assert!(!status.is_removed, "{status:?}");
    cluster.mend(follower);
    cluster.register(follower, "ada").await.expect("it takes part again");
}

pub async fn a_volume_of_another_cluster_is_refused_both_ways<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    // It has the address of one of ours.
    cluster.start_under(3, 1).await;
    cluster.initialize(3, ELSEWHERE, 1).await.expect("a cluster of its own");
    let stranger = Route { cluster_id: *ELSEWHERE.as_bytes(), ..route(&cluster, cluster.id(3), 0) };
    assert_eq!(heard(&cluster, 0, stranger), Err(WrongRoute::OtherCluster));
    assert_eq!(heard(&cluster, 3, route(&cluster, cluster.id(0), 3)), Err(WrongRoute::OtherCluster));
    let Identity { incarnation, ordinal, .. } = cluster.node(3).identity();
    let leader = cluster.node(cluster.leader().await);
    let allocated = leader.allocate_node(incarnation, ordinal).await.expect("an id costs nothing");
    let place = MemberOf { cluster_id: CLUSTER, lineage: 0, node_id: allocated.id };
    let joined = cluster.node(3).join(incarnation, ordinal, place).await;
    assert!(matches!(joined, Err(JoinError::Identity(IdentityError::AlreadyMember { .. }))), "{joined:?}");
    let founded = cluster.initialize(3, CLUSTER, 3).await;
    assert!(matches!(founded, Err(JoinError::Identity(IdentityError::AlreadyMember { .. }))), "{founded:?}");
    assert!(cluster.register(3, "ada").await.expect("it serves its own").result.is_ok());
    assert!(!cluster.sees(0, "ada").await);
}

pub async fn what_is_not_for_a_node_is_refused_and_so_is_all_before_it_is_somebody<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.start(3).await;
    let to_nobody = Route { cluster_id: *CLUSTER.as_bytes(), lineage: 0, from: cluster.id(0), to: 0 };
    assert_eq!(heard(&cluster, 3, to_nobody), Err(WrongRoute::NotRunning));
    let (from, own) = (cluster.id(1), cluster.id(0));
    let right = route(&cluster, from, 0);
    assert_eq!(heard(&cluster, 0, right), Ok(()));
    assert_eq!(heard(&cluster, 0, Route { to: from, ..right }), Err(WrongRoute::OtherNode { called: from, own }));
    assert_eq!(heard(&cluster, 0, Route { lineage: 1, ..right }), Err(WrongRoute::OtherLineage { called: 1, own: 0 }));
    // One that was given a place in a history which does not exist finds nobody who listens.
    let Identity { incarnation, ordinal, .. } = cluster.node(3).identity();
    let place = MemberOf { cluster_id: CLUSTER, lineage: 1, node_id: 1 << 40 | 7 };
    let elsewhere = cluster.node(3).join(incarnation, ordinal + 1, place).await;
    assert!(matches!(elsewhere, Err(JoinError::OtherOrdinal { own: 3, asked: 4 })), "{elsewhere:?}");
    let another = cluster.node(3).join(Uuid::from_u128(77), ordinal, place).await;
    assert!(matches!(another, Err(JoinError::OtherIncarnation { .. })), "{another:?}");
    cluster.node(3).join(incarnation, ordinal, place).await.expect("a pristine node");
    cluster.plug(3);
    let from_there = Route { lineage: 1, ..route(&cluster, cluster.id(3), 0) };
    assert_eq!(heard(&cluster, 0, from_there), Err(WrongRoute::OtherLineage { called: 1, own: 0 }));
    assert!(cluster.register(3, "ada").await.is_err());
}

pub async fn a_copy_of_a_volume_is_noticed<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.start(3).await;
    let Identity { incarnation, ordinal, .. } = cluster.node(3).identity();
    let leader = cluster.node(cluster.leader().await);
    let original = leader.allocate_node(incarnation, ordinal).await.expect("a leader");
    // Copied before it was anybody: the copy asks for a place of its own.
    let copied = leader.allocate_node(incarnation, ordinal + 1).await;
    assert_eq!(copied, Err(ClusterRefusal::Copied(original).into()));
    // Copied as a member: it knows where it belongs.
    cluster.take_in(3).await;
    cluster.stop(3).await;
    let under_another = cluster.open(3, 4).await;
    assert!(
        matches!(under_another, Err(OpenError::Start(StartError::Misplaced { belongs: 3, found: 4, .. }))),
        "{under_another:?}"
    );
}

pub async fn what_would_lose_the_majority_is_refused_with_the_numbers<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let dead = cluster.follower().await;
    let dead_id = cluster.id(dead);
    cluster.kill(dead).await;
    let leader = cluster.leader().await;
    let voter = cluster.node(leader).remove_node(dead_id).await;
    assert!(matches!(voter, Err(AdminError::IsVoter { voters: 3, needed: 2, .. })), "{voter:?}");
    cluster.pause(Duration::from_millis(1_500)).await;
    let with_the_dead: BTreeSet<NodeId> = [cluster.id(leader), dead_id].into();
    let lost = cluster.node(leader).change_voters(with_the_dead, position(&cluster, leader)).await;
    let numbers = AdminError::WouldLoseQuorum { whose: Whose::Wanted, healthy: 1, voters: 2, needed: 2 };
    assert_eq!(lost, Err(numbers.clone()));
    assert_eq!(
        numbers.to_string(),
        "only 1 of the 2 voters there would be answer, and 2 have to; this would lose the majority"
    );
    let voter = cluster.node(leader).remove_node(dead_id).await;
    assert_eq!(voter, Err(AdminError::IsVoter { id: dead_id, healthy: 2, voters: 3, needed: 2 }));
    // Without it two remain, and both answer.
    let stay: Vec<usize> = (0..3).filter(|slot| *slot != dead).collect();
    cluster.make_voters(&stay).await;
    cluster.node(cluster.leader().await).remove_node(dead_id).await.expect("a learner, though dead");
    assert!(cluster.register(leader, "ada").await.expect("two of two").result.is_ok());
}
