//! Snapshots: two are kept, one is received and installed, a damaged newest is replaced only when nothing is lost by
//! it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use carrel_node::raft::disk::simulated::{Operation, SimulatedDisk, Survival};
use carrel_node::raft::snapshots::{BodySum, CHUNK_LIMIT_BYTES, OpenSnapshotsError, Snapshots, StoredSnapshot};
use carrel_node::raft::types::{SnapshotMeta, StoredMembership, Types};
use carrel_node::raft::wal::{LogOwner, LogReach};

use openraft::storage::RaftLogStorage;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;

use crate::platform::{OWNER, Virtual, append, entry, in_virtual_time, log_id, open, simulated, with_file};

type Simulated = Virtual<SimulatedDisk>;

const EMPTY_LOG: LogReach = LogReach { purged: None, last: None };

fn directory() -> PathBuf {
    PathBuf::from("/data/snapshots")
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: StoredMembership::default() }
}

fn body_of(index: u64) -> Vec<Vec<u8>> {
    let fill = u8::try_from(index).expect("small");
    vec![vec![fill; 1 << 20], vec![fill; 10], vec![fill ^ 1; 5000]]
}

async fn opened(disk: &SimulatedDisk, log: LogReach) -> Result<Snapshots<Simulated>, OpenSnapshotsError> {
    Snapshots::open(&simulated(disk), &directory(), OWNER, log).await
}

async fn read(snapshot: &StoredSnapshot<Simulated>) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut body = snapshot.body();
    while let Some(chunk) = body.next().await {
        chunks.push(chunk.expect("whole").to_vec());
    }
    chunks
}

async fn latest_index(snapshots: &Snapshots<Simulated>) -> Option<u64> {
    snapshots.latest().await.and_then(|latest| latest.meta().last_log_id).map(|last| last.index)
}

#[test]
fn the_newest_two_are_kept_over_a_restart() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        assert_eq!((latest_index(&snapshots).await, snapshots.purgeable_through().await), (None, None));
        let mut written = Vec::new();
        for index in 1..=3 {
            written.push(snapshots.write(&meta(index), body_of(index).into_iter()).await.expect("written"));
        }
        assert_eq!(disk.files().len(), 2);
        assert_eq!(read(&written[0]).await, body_of(1), "who holds a removed snapshot can still read it");

        let snapshots = opened(&disk, EMPTY_LOG).await.expect("whole");
        let latest = snapshots.latest().await.expect("there");
        assert_eq!((latest.meta(), latest.body_sum()), (&meta(3), written[2].body_sum()));
        assert_eq!(read(&latest).await, body_of(3));
        assert_eq!(snapshots.purgeable_through().await, Some(log_id(1, 2)));
    });
}

#[test]
fn a_removed_snapshot_gives_its_room_back_unless_it_is_read() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        let large = |index: u64| (0..6).flat_map(move |_| body_of(index));
        let whole: usize = large(1).map(|chunk| chunk.len()).sum();
        let held = snapshots.write(&meta(1), large(1)).await.expect("written");
        for index in 2..=4 {
            snapshots.write(&meta(index), large(index)).await.expect("written");
        }
        Types::<SimRuntime>::sleep(Duration::from_secs(1)).await;
        let mut nameless = disk.nameless_files_bytes();
        nameless.sort_unstable();
        let [given_back, still_read] = nameless[..] else { panic!("two were removed: {nameless:?}") };
        assert!(given_back < whole as u64 / 2, "{given_back} of {whole}");
        assert!(still_read >= whole as u64);
        assert_eq!(read(&held).await, large(1).collect::<Vec<_>>());
    });
}

#[test]
fn a_received_snapshot_is_ours_once_installed_and_then_alone() {
    in_virtual_time(async {
        let (theirs, ours) = (SimulatedDisk::new(), SimulatedDisk::new());
        let sent = opened(&theirs, EMPTY_LOG).await.expect("none yet");
        let sent = sent.write(&meta(50), body_of(50).into_iter()).await.expect("written");
        let log = open(&ours, 4096).await.expect("an empty log");
        let snapshots = opened(&ours, EMPTY_LOG).await.expect("none yet");
        for index in [3, 4] {
            snapshots.write(&meta(index), body_of(index).into_iter()).await.expect("written");
        }

        let mut receiving = snapshots.receive(sent.meta());
        let mut body = sent.body();
        while let Some(chunk) = body.next().await {
            receiving.append(chunk.expect("whole")).await.expect("taken");
        }
        let received = receiving.finish(sent.body_sum()).await.expect("complete");
        assert_eq!(latest_index(&snapshots).await, Some(4), "not before it is installed");
        snapshots.install(&received, &log).await.expect("installed");
        assert_eq!(latest_index(&snapshots).await, Some(50));
        assert_eq!(snapshots.purgeable_through().await, None);

        // One that was begun before and ends after must not take its place.
        let late = snapshots.write(&meta(5), body_of(5).into_iter()).await.expect("written");
        assert_eq!(late.meta(), &meta(50));
        log.close().await;
        let snapshots = opened(&ours, EMPTY_LOG).await.expect("whole");
        assert_eq!(read(&snapshots.latest().await.expect("there")).await, body_of(50));
        assert_eq!(ours.files().len(), 2, "the snapshot and the log: {:?}", ours.files());
    });
}

/// Otherwise a crash could leave a log that contradicts the snapshot, and the node would refuse to start.
#[test]
fn a_snapshot_is_installed_only_after_the_log_forgot_on_disk_what_conflicts_with_it() {
    in_virtual_time(async {
        let slow = SimulatedDisk::new().with_delay(|operation| {
            Box::pin(async move {
                if operation == Operation::Sync {
                    Types::<SimRuntime>::sleep(Duration::from_secs(1)).await;
                }
            })
        });
        let mut log = open(&slow, 4096).await.expect("an empty log");
        append(&mut log, (0..9).map(|index| entry(1, index, 10))).await.expect("durable");
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        let mut receiving = snapshots.receive(&meta(8));
        receiving.append(Bytes::from_static(b"seats")).await.expect("taken");
        let sum = BodySum { bytes: 5, checksum: crc32c::crc32c(b"seats") };
        let received = receiving.finish(sum).await.expect("complete");

        log.truncate_after(Some(log_id(1, 3))).await.expect("taken");
        snapshots.install(&received, &log).await.expect("installed");
        let log = open(&slow.crash(Survival::Nothing), 4096).await.expect("whole");
        assert_eq!(log.reach().last, Some(log_id(1, 3)));
    });
}

#[test]
fn a_snapshot_that_arrives_differently_or_not_at_all_leaves_nothing() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");

        let mut receiving = snapshots.receive(&meta(9));
        receiving.append(Bytes::from_static(b"seats")).await.expect("taken");
        let error = receiving.finish(BodySum { bytes: 5, checksum: 1 }).await.expect_err("another sum");
        assert!(error.to_string().contains("was sent as"), "{error}");

        let mut receiving = snapshots.receive(&meta(9));
        let oversized = Bytes::from(vec![0; CHUNK_LIMIT_BYTES + 1]);
        let mut outcome = receiving.append(oversized).await;
        while outcome.is_ok() {
            outcome = receiving.append(Bytes::from_static(b"more")).await;
        }
        assert!(outcome.expect_err("too large").to_string().contains("chunk"), "it says why");

        drop(snapshots.receive(&meta(9)));
        // Received and never installed: gone with the next.
        let mut receiving = snapshots.receive(&meta(10));
        receiving.append(Bytes::from_static(b"seats")).await.expect("taken");
        let sum = BodySum { bytes: 5, checksum: crc32c::crc32c(b"seats") };
        drop(receiving.finish(sum).await.expect("complete"));
        snapshots.write(&meta(1), body_of(1).into_iter()).await.expect("written");
        assert_eq!(disk.files().len(), 1, "{:?}", disk.files());
    });
}

#[test]
fn a_received_snapshot_that_cannot_be_synced_is_the_end() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        let sum = BodySum { bytes: 5, checksum: crc32c::crc32c(b"seats") };
        let mut receiving = snapshots.receive(&meta(9));
        receiving.append(Bytes::from_static(b"seats")).await.expect("taken");
        receiving.finish(BodySum { checksum: 1, ..sum }).await.expect_err("another sum");
        assert_eq!(snapshots.failure().get(), None, "what a peer sends is its own affair");

        let mut receiving = snapshots.receive(&meta(9));
        receiving.append(Bytes::from_static(b"seats")).await.expect("taken");
        disk.fail_next_sync();
        receiving.finish(sum).await.expect_err("not on disk");
        assert!(snapshots.failure().get().is_some(), "nobody may go on with this disk");
    });
}

#[test]
fn a_damaged_newest_snapshot_is_replaced_only_if_the_log_leads_past_it() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        for index in [20, 30] {
            snapshots.write(&meta(index), body_of(index).into_iter()).await.expect("written");
        }
        let newest = disk.files().pop().expect("two");
        let mut bytes = disk.contents(&newest).expect("there");
        bytes[2000] ^= 4;
        let damaged = with_file(&disk, &newest, bytes);

        for (purged, last) in [(Some(21), 40), (Some(20), 29), (Some(30), 40)] {
            let log = LogReach { purged: purged.map(|index| log_id(1, index)), last: Some(log_id(1, last)) };
            let refused = opened(&damaged.copy(), log).await;
            assert!(matches!(refused, Err(OpenSnapshotsError::Damaged { .. })), "{purged:?} to {last}: {refused:?}");
        }
        for purged in [None, Some(10), Some(20)] {
            let log = LogReach { purged: purged.map(|index| log_id(1, index)), last: Some(log_id(1, 30)) };
            let disk = damaged.copy();
            let snapshots = opened(&disk, log).await.expect("the log leads on from the one before");
            assert_eq!(read(&snapshots.latest().await.expect("there")).await, body_of(20));
            assert_eq!(latest_index(&opened(&disk, EMPTY_LOG).await.expect("set aside for good")).await, Some(20));
        }
    });
}

#[test]
fn a_purged_log_without_a_snapshot_is_no_state() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        snapshots.write(&meta(7), body_of(7).into_iter()).await.expect("written");
        for (purged, missing) in [(7, false), (8, true)] {
            let log = LogReach { purged: Some(log_id(1, purged)), last: Some(log_id(1, 9)) };
            let refused = matches!(opened(&disk, log).await, Err(OpenSnapshotsError::Missing { .. }));
            assert_eq!(refused, missing, "purged through {purged}");
        }
    });
}

#[test]
fn a_snapshot_of_another_cluster_is_refused() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let snapshots = opened(&disk, EMPTY_LOG).await.expect("none yet");
        snapshots.write(&meta(1), body_of(1).into_iter()).await.expect("written");
        let other = LogOwner { cluster_id: [9; 16], ..OWNER };
        let refused = Snapshots::open(&simulated(&disk), &directory(), other, EMPTY_LOG).await;
        assert!(matches!(refused, Err(OpenSnapshotsError::Refused { .. })), "{refused:?}");
    });
}
