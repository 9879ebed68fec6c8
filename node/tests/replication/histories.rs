//! One state on every replica; and what becomes of it when a majority is lost, or a backup is all there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use carrel_node::raft::disk::{Disk, DiskFile};
use carrel_node::raft::identity::{IdentityError, MemberOf};
use carrel_node::raft::offline::{self, OfflineError, Restoring};
use carrel_node::raft::peers::{Route, WrongRoute};
use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::snapshots::StateHash;
use carrel_node::raft::types::NodeId;
use uuid::Uuid;

use crate::cluster::{CLUSTER, Cluster};
use crate::machines::Machines;

const RECOVERED: Uuid = Uuid::from_u128(0x4ec0);
const RESTORED: Uuid = Uuid::from_u128(0x4e57);

pub async fn replicas_at_one_index_have_one_state<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.register(0, "ada").await.expect("a leader");
    let first = hash_at_one_index(&cluster).await;
    cluster.register(1, "bo").await.expect("a leader");
    let second = hash_at_one_index(&cluster).await;
    assert!(second.index > first.index);
    assert_ne!(first.sha256, second.sha256, "another state has another hash");
}

pub async fn a_survivor_goes_on_alone_and_grows<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let before: BTreeSet<NodeId> = (0..3).map(|slot| cluster.id(slot)).collect();
    cluster.register(0, "early").await.expect("a leader");
    cluster.node(2).trigger_snapshot().await.expect("written");
    for number in 0..20 {
        cluster.register(number % 3, &format!("reader-{number}")).await.expect("a leader");
    }
    for number in 0..20 {
        assert!(cluster.sees(2, &format!("reader-{number}")).await, "the survivor has applied it");
    }
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    cluster.wipe(0);
    let (platform, mount) = cluster.machine(2);
    let lock = platform.disk().lock(&mount.join("data")).await.expect("nobody runs");
    let in_use = offline::recover(&platform, &mount, 1, RECOVERED).await;
    assert!(matches!(in_use, Err(OfflineError::Identity(IdentityError::InUse { .. }))), "{in_use:?}");
    drop(lock);
    let same = offline::recover(&platform, &mount, 0, RECOVERED).await;
    assert!(matches!(same, Err(OfflineError::LineageNotNew { is: 0 })), "{same:?}");
    let recovered = offline::recover(&platform, &mount, 1, RECOVERED).await.expect("it has the log");
    assert!(recovered.survey.snapshot.is_some(), "it began from a snapshot");
    assert_eq!(recovered.survey.contents.voters.len(), 3);
    assert_eq!(recovered.survey.contents.census.accounts, 21);
    assert_eq!(recovered.begun.position.index, recovered.survey.last.index + 1);
    let again = offline::recover(&platform, &mount, 1, RECOVERED).await;
    assert!(matches!(again, Err(OfflineError::LineageNotNew { is: 1 })), "{again:?}");

    cluster.start(2).await;
    assert_eq!(cluster.leader().await, 2);
    assert_everyone_is_there(&cluster, 2).await;
    assert!(cluster.register(2, "late").await.expect("one is a majority").result.is_ok());

    // The old volume in slot 1 is of a history that is over; it finds nobody, and nobody listens to it.
    cluster.start(1).await;
    let route = Route { cluster_id: *CLUSTER.as_bytes(), lineage: 0, from: cluster.id(1), to: cluster.id(2) };
    let heard = cluster.node(2).inbound().check_route(&route);
    assert_eq!(heard, Err(WrongRoute::OtherLineage { called: 0, own: 1 }));
    let old = cluster.node(1).identity().incarnation;
    assert!(cluster.node(2).allocate_node(old, 1).await.is_err(), "its incarnation is gone for good");
    cluster.kill(1).await;
    cluster.wipe(1);

    for slot in [0, 1] {
        cluster.start(slot).await;
        cluster.take_in(slot).await;
    }
    cluster.make_voters(&[0, 1, 2]).await;
    let after: BTreeSet<NodeId> = (0..3).map(|slot| cluster.id(slot)).collect();
    assert!(after.iter().all(|id| id >> 40 == 1 && !before.contains(id)), "{before:?} {after:?}");
    assert_eq!(after.len(), 3);
    cluster.kill(2).await;
    for slot in [0, 1] {
        assert_everyone_is_there(&cluster, slot).await;
        assert!(cluster.sees(slot, "late").await);
    }
    cluster.start(2).await;
    assert!(cluster.sees(2, "late").await, "also after another start");
    hash_at_one_index(&cluster).await;
}

pub async fn the_most_advanced_survivor_is_told_from_the_others<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let behind = cluster.follower().await;
    cluster.kill(behind).await;
    for number in 0..20 {
        cluster.register(cluster.leader().await, &format!("reader-{number}")).await.expect("a majority lives");
    }
    let leader = cluster.leader().await;
    for slot in (0..3).filter(|slot| *slot != behind) {
        cluster.kill(slot).await;
    }
    let (platform, mount) = cluster.machine(behind);
    let less = offline::survey(&platform, &mount).await.expect("it was a member");
    let (platform, mount) = cluster.machine(leader);
    let more = offline::survey(&platform, &mount).await.expect("it was a member");
    assert!(less.last < more.last, "{less:?} {more:?}");
    assert_eq!((less.contents.census.accounts, more.contents.census.accounts), (0, 20));
    assert_eq!(more.uncommitted_entries, more.last.index - more.known_committed.index);
    // Looking has changed nothing: they form the cluster again.
    for slot in 0..3 {
        cluster.start(slot).await;
    }
    assert!(cluster.sees(behind, "reader-19").await);
}

pub async fn a_backup_becomes_another_cluster<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.register(0, "early").await.expect("a leader");
    for number in 0..20 {
        cluster.register(0, &format!("reader-{number}")).await.expect("a leader");
    }
    // By a node that may not have heard of the last one yet.
    let follower = cluster.follower().await;
    let snapshot = cluster.node(follower).create_backup().await.expect("a majority");
    let mut file = snapshot.file();
    let mut bytes = Vec::new();
    while let Some(piece) = file.next().await {
        bytes.extend_from_slice(&piece.expect("readable"));
    }
    assert_eq!(bytes.len() as u64, snapshot.file_bytes());
    cluster.register(0, "too-late").await.expect("a leader");
    for slot in 0..3 {
        cluster.kill(slot).await;
    }

    let (platform, old_mount) = cluster.machine(1);
    let restoring = Restoring { cluster_id: RESTORED, incarnation: RESTORED, ordinal: 0, wanted_voters: 1 };
    let path = old_mount.join("library.backup");
    write(&platform, &path, &bytes).await;
    let onto_others = offline::restore(&platform, &path, &old_mount, restoring).await;
    assert!(matches!(onto_others, Err(OfflineError::NotEmpty(_))), "{onto_others:?}");

    cluster.wipe(0);
    let (platform, mount) = cluster.machine(0);
    let path = mount.join("library.backup");
    for position in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        write(&platform, &path, &damaged).await;
        assert!(offline::verify(&platform, &path).await.is_err(), "byte {position}");
    }
    write(&platform, &path, &bytes[..bytes.len() - 1]).await;
    assert!(offline::restore(&platform, &path, &mount, restoring).await.is_err(), "it is not whole");
    write(&platform, &path, &bytes).await;
    let backup = offline::verify(&platform, &path).await.expect("it is whole");
    assert_eq!((backup.cluster_id, backup.lineage, backup.contents.census.accounts), (CLUSTER, 0, 21));
    let (_, begun) = offline::restore(&platform, &path, &mount, restoring).await.expect("an empty directory");
    assert_eq!((begun.me.cluster_id, begun.me.lineage), (RESTORED, 1));

    cluster.start(0).await;
    assert_eq!(cluster.leader().await, 0);
    assert_everyone_is_there(&cluster, 0).await;
    assert!(!cluster.sees(0, "too-late").await);
    cluster.start(1).await;
    let route = Route { cluster_id: *CLUSTER.as_bytes(), lineage: 0, from: cluster.id(1), to: cluster.id(0) };
    assert_eq!(cluster.node(0).inbound().check_route(&route), Err(WrongRoute::OtherCluster));
    let incarnation = cluster.node(1).identity().incarnation;
    let place = MemberOf { cluster_id: RESTORED, lineage: 1, node_id: 99 };
    let taken = cluster.node(1).join(incarnation, 1, place).await;
    assert!(taken.is_err(), "a volume of another cluster stays of it");
    cluster.kill(1).await;
    for slot in [1, 2] {
        cluster.wipe(slot);
        cluster.start(slot).await;
        cluster.take_in(slot).await;
    }
    cluster.make_voters(&[0, 1, 2]).await;
    assert_everyone_is_there(&cluster, 2).await;
}

async fn assert_everyone_is_there<M: Machines>(cluster: &Cluster<M>, slot: usize) {
    for name in (0..20).map(|number| format!("reader-{number}")).chain(["early".to_owned()]) {
        assert!(cluster.sees(slot, &name).await, "{name} on {slot}");
    }
}

async fn write<P: Platform>(platform: &P, path: &Path, bytes: &[u8]) {
    let parent = path.parent().expect("a file lies somewhere");
    platform.disk().create_dir_all(parent).await.expect("an empty disk");
    let file = platform.disk().create(path, 0).await.expect("created");
    file.write_at(0, bytes).await.expect("written");
    file.sync_data().await.expect("synced");
}

/// Snapshots on all three until they meet at an index.
async fn hash_at_one_index<M: Machines>(cluster: &Cluster<M>) -> StateHash {
    for _ in 0..50 {
        for slot in 0..3 {
            cluster.node(slot).trigger_snapshot().await.expect("written");
        }
        let status = cluster.node(cluster.leader().await).status().await;
        let said = |says: carrel_node::raft::peers::LocalStatus| says.state_hash;
        let hashes: Vec<StateHash> = status.members.iter().filter_map(|member| said(member.says?)).collect();
        assert!(hashes.len() <= 3);
        if hashes.len() == 3 && hashes.iter().all(|hash| hash.index == hashes[0].index) {
            assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the replicas have diverged: {hashes:?}");
            return hashes[0];
        }
        cluster.pause(Duration::from_millis(70)).await;
    }
    panic!("the replicas never had a snapshot of one index");
}
