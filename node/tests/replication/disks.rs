//! What three replicas promise of their disks: full ones, slow ones, damaged ones, and how much of them is used.

use std::time::Duration;

use carrel_node::raft::disk::Disk;
use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::wal::LogOptions;
use carrel_node::replica::{NotServing, WriteError};
use openraft::Instant;

use crate::cluster::Cluster;
use crate::machines::Machines;

const SEGMENT_BYTES: u64 = 16 << 10;
/// Entries of some hundred bytes, so that so many fill more than two segments.
const SEGMENTS_FULL: usize = 200;

fn small_segments() -> Settings {
    Settings {
        log: LogOptions { segment_bytes: SEGMENT_BYTES },
        leader_wait: Duration::from_secs(1),
        outcome_wait: Duration::from_secs(1),
        catch_up_wait: Duration::from_millis(300),
        ..Settings::default()
    }
}

async fn register_many<M: Machines>(cluster: &Cluster<M>, slot: usize, prefix: &str, count: usize) {
    for number in 0..count {
        let name = format!("{prefix}{number}");
        let answer = cluster.register(slot, &name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(answer.result.is_ok(), "{answer:?}");
    }
}

pub async fn a_full_disk_on_one_node_stops_nobody_else<M: Machines>() {
    let cluster = Cluster::<M>::formed(small_segments()).await;
    let full = cluster.follower().await;
    if !cluster.limit_disk(full, Some(0)) {
        return;
    }
    let other = (0..3).find(|slot| *slot != full).expect("two others");
    register_many(&cluster, other, "reader-", SEGMENTS_FULL).await;
    assert!(cluster.node(full).figures().is_disk_full, "it says so");
    cluster.until("it is not ready", || cluster.replica(full).serving() == Err(NotServing::DiskFull)).await;
    // It takes part in everything but the log, and hands over what its clients ask.
    assert!(cluster.register(full, "handed-over").await.expect("a majority has room").result.is_ok());

    cluster.limit_disk(full, None);
    let target = cluster.node(other).figures().applied_index;
    cluster.until("it catches up by itself", || cluster.node(full).figures().applied_index >= target).await;
    cluster.until("it is ready again", || cluster.replica(full).serving().is_ok()).await;
    assert!(!cluster.node(full).figures().is_disk_full);
    assert!(cluster.sees(full, "handed-over").await);
}

pub async fn a_leader_without_room_lets_another_lead<M: Machines>() {
    let cluster = Cluster::<M>::formed(small_segments()).await;
    let full = cluster.leader().await;
    if !cluster.limit_disk(full, Some(0)) {
        return;
    }
    // Through the full node, too: whoever leads, nobody is refused.
    register_many(&cluster, full, "reader-", SEGMENTS_FULL).await;
    assert!(cluster.node(full).figures().is_disk_full);
    assert_ne!(cluster.leader().await, full);
}

pub async fn full_disks_on_two_nodes_are_a_clear_refusal_until_there_is_room<M: Machines>() {
    let cluster = Cluster::<M>::formed(small_segments()).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|slot| *slot != leader).collect();
    for full in &others {
        if !cluster.limit_disk(*full, Some(0)) {
            return;
        }
    }
    let mut acknowledged = Vec::new();
    let (mut refused, mut unknown) = (0, 0);
    for number in 0..10_000 {
        let name = format!("reader-{number}");
        let asked = cluster.now();
        match cluster.register(number % 3, &name).await {
            Ok(_) => acknowledged.push(name),
            Err(WriteError::Full) => refused += 1,
            Err(WriteError::Unknown | WriteError::NoLeader) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(asked.elapsed() < Duration::from_millis(2500), "nobody is left waiting");
        if refused > 20 {
            break;
        }
    }
    assert!(refused > 20 && unknown < 10, "{refused} refused, {unknown} unknown");
    cluster.pause(Duration::from_secs(3)).await;
    for slot in 0..3 {
        assert_eq!(cluster.register(slot, "too-late").await, Err(WriteError::Full));
    }
    let leader = cluster.leader().await;
    assert!(cluster.sees(leader, &acknowledged[0]).await, "reads go on");

    for full in &others {
        cluster.limit_disk(*full, None);
    }
    let begun = cluster.now();
    while cluster.register(others[0], "in-time").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on by itself once there is room");
        cluster.pause(Duration::from_millis(100)).await;
    }
    let target = cluster.node(cluster.leader().await).figures().applied_index;
    for slot in 0..3 {
        cluster.until("it has caught up", || cluster.node(slot).figures().applied_index >= target).await;
        for name in acknowledged.iter().map(String::as_str).chain(["in-time"]) {
            assert!(cluster.sees(slot, name).await, "{name} on {slot}");
        }
    }
}

pub async fn a_full_disk_does_not_end_a_node_that_starts_on_it<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(small_segments()).await;
    let full = cluster.follower().await;
    if !cluster.limit_disk(full, Some(0)) {
        return;
    }
    let other = (0..3).find(|slot| *slot != full).expect("two others");
    register_many(&cluster, other, "reader-", SEGMENTS_FULL).await;
    for _ in 0..3 {
        cluster.stop(full).await;
        // The spare of the process that ended is the last there was.
        cluster.limit_disk(full, Some(0));
        cluster.start(full).await;
        cluster.until("it says that its disk is full", || cluster.node(full).figures().is_disk_full).await;
        register_many(&cluster, other, "again-", 3).await;
    }
    cluster.limit_disk(full, None);
    let target = cluster.node(other).figures().applied_index;
    cluster.until("it catches up by itself", || cluster.node(full).figures().applied_index >= target).await;
}

pub async fn a_snapshot_has_all_that_was_acknowledged_though_another_was_being_written<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let slot = cluster.follower().await;
    cluster.slow_down(slot, Duration::from_millis(20)).await;
    for round in 0..5 {
        let first = cluster.node(slot).trigger_snapshot();
        let second = async {
            // On a slow disk the first is being written by now.
            cluster.pause(Duration::from_millis(30)).await;
            let answer = cluster.register(slot, &format!("reader-{round}")).await.expect("a majority");
            let applied = || cluster.node(slot).figures().applied_index;
            cluster.until("it is applied here", || applied() >= answer.at.index).await;
            let written = cluster.node(slot).trigger_snapshot().await.expect("it is written");
            assert!(written.index >= answer.at.index, "{written:?} is of before {}", answer.at.index);
            let backup = cluster.node(slot).create_backup().await.expect("a majority");
            assert!(backup.state_hash().expect("it is not empty").index >= answer.at.index);
        };
        let begun = cluster.now();
        let (first, ()) = futures_util::join!(first, second);
        first.expect("it is written, too");
        assert!(begun.elapsed() < Duration::from_secs(10), "a trigger that is not heard is repeated");
    }
}

pub async fn writes_go_on_while_a_slow_disk_takes_a_snapshot<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    register_many(&cluster, 0, "reader-", 10).await;
    let each = Duration::from_millis(100);
    let slot = cluster.follower().await;
    if !cluster.slow_down(slot, each).await {
        return;
    }
    cluster.until("it is back", || cluster.replica(slot).serving().is_ok()).await;
    let begun = cluster.now();
    let mut written_while = 0;
    let snapshot = async {
        cluster.node(slot).trigger_snapshot().await.expect("it is written");
        begun.elapsed()
    };
    let mut snapshot = std::pin::pin!(snapshot);
    let took = loop {
        let asked = cluster.now();
        let write = async {
            cluster.register(slot, &format!("meanwhile-{written_while}")).await.expect("a majority");
            let applied_here = cluster.node(slot).figures().applied_index;
            assert!(applied_here > 0);
        };
        futures_util::select_biased! {
            took = futures_util::FutureExt::fuse(&mut snapshot) => break took,
            () = futures_util::FutureExt::fuse(Box::pin(write)) => {
                written_while += 1;
                assert!(asked.elapsed() < 3 * each, "a write waited for the snapshot: {:?}", asked.elapsed());
            }
        }
    };
    assert!(took > 5 * each && written_while > 5, "{written_while} writes in {took:?}");
}

pub async fn the_log_takes_no_more_room_however_much_is_written<M: Machines>() {
    let settings = Settings {
        snapshot_log_bytes: 12 << 10,
        snapshot_check: Duration::from_millis(50),
        log: LogOptions { segment_bytes: 4 << 10 },
        ..small_segments()
    };
    let mut cluster = Cluster::<M>::formed(settings).await;
    let mut most = [0; 3];
    let mut purged_before = [0; 3];
    for round in 0..12 {
        // The same requests again and again: the log grows, the state does not, and so its snapshots stay small.
        for number in 0..80 {
            cluster.register(round % 3, &format!("reader-{}", number % 10)).await.expect("a majority");
        }
        // A snapshot that is under way is finished.
        cluster.pause(Duration::from_millis(200)).await;
        for slot in 0..3 {
            let node = cluster.node(slot);
            let segments = segments(cluster.disk(slot)).await;
            most[slot] = most[slot].max(segments);
            // Since the snapshot before the last twice what makes one due, and half as much again; the open one; the
            // spare.
            assert!(segments <= 14, "{segments} segments after round {round}");
            let figures = node.figures();
            assert!(figures.purged_index <= figures.snapshot_index);
            purged_before[slot] = figures.purged_index.max(purged_before[slot]);
        }
    }
    for slot in 0..3 {
        assert!(purged_before[slot] > 0 && most[slot] > 4, "{most:?} segments, purged through {purged_before:?}");
        // What was purged lies behind the snapshot before the last.
        cluster.stop(slot).await;
        let (platform, mount) = cluster.machine(slot);
        let names = platform.disk().list(&mount.join("data/snapshots")).await.expect("readable");
        let indexes: Vec<u64> = names.iter().filter_map(|name| name.split('-').next()?.parse().ok()).collect();
        assert_eq!(indexes.len(), 2, "{names:?}");
        assert!(purged_before[slot] <= indexes[0], "purged through {} with {names:?}", purged_before[slot]);
        cluster.start(slot).await;
        cluster.until("it is back", || cluster.replica(slot).serving().is_ok()).await;
    }
}

/// How many segments a log has, the spare among them.
async fn segments<P: Platform>((platform, mount): (P, std::path::PathBuf)) -> usize {
    platform.disk().list(&mount.join("data/log")).await.expect("readable").len()
}

pub async fn a_damaged_newest_snapshot_is_made_up_for_by_the_one_before_and_the_log<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let slot = cluster.follower().await;
    for name in ["ada", "bo", "cy"] {
        cluster.register(slot, name).await.expect("a majority");
        assert!(cluster.sees(slot, name).await);
        cluster.node(slot).trigger_snapshot().await.expect("there is room");
    }
    cluster.stop(slot).await;
    let (platform, mount) = cluster.machine(slot);
    let dir = mount.join("data/snapshots");
    let names = platform.disk().list(&dir).await.expect("readable");
    assert_eq!(names.len(), 2, "{names:?}");
    flip(&platform, &dir.join(&names[1])).await;
    cluster.start(slot).await;
    cluster.until("it is back", || cluster.replica(slot).serving().is_ok()).await;
    for name in ["ada", "bo", "cy"] {
        assert!(cluster.sees(slot, name).await, "{name}");
    }
    cluster.stop(slot).await;
    let names = platform.disk().list(&dir).await.expect("readable");
    assert!(names.contains(&"damaged".to_owned()), "kept for whoever wants to know why: {names:?}");
}

/// One wrong bit, in the middle of the body.
async fn flip<P: Platform>(platform: &P, path: &std::path::Path) {
    use carrel_node::raft::disk::{DiskFile, ReadFile};
    let file = platform.disk().open(path).await.expect("it is there");
    let middle = file.length().await.expect("readable") / 2;
    let mut byte = file.read_at(middle, 1).await.expect("readable");
    byte[0] ^= 16;
    file.write_at(middle, &byte).await.expect("writable");
    file.sync_data().await.expect("writable");
}
