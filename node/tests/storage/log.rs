//! The log in ordinary life: kept over a restart, shared syncs, purged segments, foreign segments, a disk that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrel_node::raft::disk::simulated::{Operation, SimulatedDisk, Survival};
use carrel_node::raft::platform::{Platform, Server};
use carrel_node::raft::types::{Types, Vote};
use carrel_node::raft::wal::{self, Log, LogOptions, LogOwner, OpenLogError, WriterState};
use futures_util::StreamExt;
use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use openraft_rt_tokio::TokioRuntime;

use crate::platform::{OWNER, append, contents, entry, in_virtual_time, log_directory, log_id, open, simulated};

const SEGMENT_BYTES: u64 = 4096;

#[test]
fn everything_is_there_after_a_restart() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        log.save_vote(&Vote::new(2, 1)).await.expect("saved");
        append(&mut log, (0..20).map(|index| entry(2, index, 300))).await.expect("durable");
        log.truncate_after(Some(log_id(2, 15))).await.expect("taken");
        append(&mut log, [entry(3, 16, 0)]).await.expect("durable");
        log.purge(log_id(2, 4)).await.expect("taken");
        log.save_committed(Some(log_id(2, 10))).await.expect("taken");
        let before = contents(&mut log).await;
        assert_eq!(before.entries.len(), 12);
        log.close().await;

        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        assert_eq!(contents(&mut log).await, before);
        assert_eq!(log.bytes_after(Some(15)), log.bytes_after(None) - log_bytes(&mut log, 5..16).await);
    });
}

async fn log_bytes(log: &mut crate::platform::SimulatedLog, range: std::ops::Range<u64>) -> u64 {
    log.bytes_after(range.start.checked_sub(1)) - log.bytes_after(range.end.checked_sub(1))
}

#[test]
fn what_is_committed_is_never_said_beyond_the_log() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        append(&mut log, [entry(1, 0, 10)]).await.expect("durable");
        log.save_committed(Some(log_id(1, 7))).await.expect("taken");
        assert_eq!(log.read_committed().await.expect("readable"), Some(log_id(1, 0)));
        log.close().await;
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        assert_eq!(
            log.read_committed().await.expect("readable"),
            None,
            "its entries were not there to be written behind"
        );
    });
}

/// While one sync is under way, all that arrives waits for the next one, together.
#[test]
fn appends_share_a_sync() {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    in_virtual_time(async move {
        let slow = SimulatedDisk::new().with_delay(move |operation| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                if operation == Operation::Sync {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Types::<SimRuntime>::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        let mut log = open(&slow, 1 << 20).await.expect("an empty log");
        syncs.store(0, Ordering::Relaxed);
        let mut durable = Vec::new();
        for index in 0..200 {
            let (flushed, done) = Types::<SimRuntime>::oneshot();
            log.append([entry(1, index, 50)], IOFlushed::signal(flushed)).await.expect("taken");
            durable.push(done);
            if index == 0 {
                Types::<SimRuntime>::sleep(Duration::from_millis(1)).await;
            }
        }
        for done in durable {
            done.await.expect("answered").expect("durable");
        }
        assert_eq!(syncs.load(Ordering::Relaxed), 2, "one for the first, one for all that came meanwhile");
        assert_eq!(log.counters().entries.load(Ordering::Relaxed), 200);
        assert_eq!(log.counters().last_batch_entries.load(Ordering::Relaxed), 199);
    });
}

#[test]
fn purged_segments_go_and_the_state_goes_on_without_them() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        log.save_vote(&Vote::new_committed(4, 2)).await.expect("saved");
        for index in 0..60 {
            append(&mut log, [entry(4, index, 400)]).await.expect("durable");
        }
        let all = disk.files().len();
        log.purge(log_id(4, 50)).await.expect("taken");
        log.flush().await.expect("flushed");
        assert!(all >= 7 && disk.files().len() <= 3, "{all} segments, then {}", disk.files().len());
        let before = contents(&mut log).await;
        log.close().await;
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        let after = contents(&mut log).await;
        assert_eq!(after, before);
        assert_eq!((after.vote, after.purged), (Some(Vote::new_committed(4, 2)), Some(log_id(4, 50))));

        // A snapshot from the leader takes the place of everything, also of what never came.
        log.purge(log_id(5, 900)).await.expect("taken");
        append(&mut log, [entry(5, 901, 1)]).await.expect("durable");
        log.close().await;
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        assert_eq!(contents(&mut log).await.entries, [entry(5, 901, 1)]);
    });
}

#[test]
fn nothing_more_goes_than_was_purged() {
    in_virtual_time(async {
        for upto in 0..30 {
            let disk = SimulatedDisk::new();
            let mut log = open(&disk, 1024).await.expect("an empty log");
            for index in 0..30 {
                append(&mut log, [entry(1, index, 150)]).await.expect("durable");
            }
            log.purge(log_id(1, upto)).await.expect("taken");
            let before = contents(&mut log).await;
            log.close().await;
            let mut log = open(&disk, 1024).await.expect("whole");
            assert_eq!(contents(&mut log).await, before, "purged through {upto}");
        }
    });
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_segment_of_its_size() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        append(&mut log, [entry(1, 0, 10), entry(1, 1, 3 * 4096), entry(1, 2, 10)]).await.expect("durable");
        log.close().await;
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        assert_eq!(contents(&mut log).await.entries.len(), 3);
    });
}

#[test]
fn a_long_append_is_written_in_parts_and_read_in_parts() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, 16 << 20).await.expect("an empty log");
        append(&mut log, (0..100).map(|index| entry(1, index, 100_000))).await.expect("durable");
        assert!(log.counters().syncs.load(Ordering::Relaxed) >= 2);
        let limited = log.limited_get_log_entries(10, 90).await.expect("readable");
        assert_eq!((limited[0].log_id, limited.len()), (log_id(1, 10), 10), "about 1 MiB");
        let streamed: Vec<_> = log.entries_stream(5..95).await.collect().await;
        assert_eq!(streamed.len(), 90);
    });
}

#[test]
fn a_log_of_another_owner_is_refused() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        open(&disk, SEGMENT_BYTES).await.expect("an empty log").close().await;
        for other in [
            LogOwner { node_id: 4, ..OWNER },
            LogOwner { lineage: 2, ..OWNER },
            LogOwner { cluster_id: [0xc2; 16], ..OWNER },
        ] {
            let refused = Log::open(&simulated(&disk), &log_directory(), other).await;
            let Err(OpenLogError::ForeignSegment { found, expected, .. }) = refused else {
                panic!("opened as {other}: {refused:?}");
            };
            assert_eq!((found, expected), (OWNER, other));
        }
    });
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        append(&mut log, [entry(1, 0, 10)]).await.expect("durable");
        disk.fail_next_sync();
        append(&mut log, [entry(1, 1, 10)]).await.expect_err("its sync failed");
        append(&mut log, [entry(1, 2, 10)]).await.expect_err("syncing again proves nothing");
        log.save_vote(&Vote::new(9, 1)).await.expect_err("nor does it for a vote");
        log.flush().await.expect_err("nor for a flush");
        let mut state = log.writer_state();
        let failed = state.wait_until(|state| !matches!(state, WriterState::Running)).await.expect("told");
        let WriterState::Failed(failure) = failed else { panic!("it failed: {failed:?}") };
        assert_eq!(failure.to_string(), "syncing the log failed");

        let mut log = open(&disk.crash(Survival::Nothing), SEGMENT_BYTES).await.expect("a torn tail at most");
        assert_eq!(contents(&mut log).await.entries, [entry(1, 0, 10)]);
    });
}

/// The kernel forgets what it could not write and goes on showing it; another sync says that all is well.
#[test]
fn what_is_read_after_a_failed_sync_is_made_to_last() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        append(&mut log, [entry(1, 0, 10)]).await.expect("durable");
        disk.fail_next_sync();
        append(&mut log, [entry(1, 1, 10)]).await.expect_err("its sync failed");
        let disk = disk.kill();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("the machine goes on");
        assert_eq!(contents(&mut log).await.entries, [entry(1, 0, 10), entry(1, 1, 10)], "it is read, and counts");
        append(&mut log, [entry(1, 2, 10)]).await.expect("durable");

        let mut log = open(&disk.crash(Survival::Nothing), SEGMENT_BYTES).await.expect("whole");
        let left = contents(&mut log).await.entries;
        assert_eq!(left, [entry(1, 0, 10), entry(1, 1, 10), entry(1, 2, 10)]);
    });
}

#[test]
fn on_a_full_disk_what_is_appended_waits_for_room() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        append(&mut log, [entry(1, 0, 10)]).await.expect("durable");
        disk.limit(Some(disk.used_bytes()));
        let room = log.room();
        // Into the spare, and then no further.
        let mut appended = 1;
        while !room.is_full() {
            append(&mut log, [entry(1, appended, 400)]).await.expect("there is still a segment to write to");
            appended += 1;
            assert!(appended < 30, "it says that the disk is full while there is room in the log");
        }
        log.save_vote(&Vote::new(3, 1)).await.expect("in what is left");

        let mut waiting = log.clone();
        let many = (appended..appended + 20).map(|index| entry(1, index, 400));
        let mut append_many = Box::pin(append(&mut waiting, many));
        let patience = Types::<SimRuntime>::timeout(Duration::from_secs(60), append_many.as_mut()).await;
        assert!(patience.is_err(), "{patience:?}");
        assert!(matches!(*log.writer_state().borrow_watched(), WriterState::Running), "nothing has failed");
        disk.limit(None);
        append_many.as_mut().await.expect("durable as soon as there is room");
        drop(append_many);
        let mut later = room.watch();
        later.wait_for(|waiting| *waiting == 0).await.expect("it says that there is room");
        let before = contents(&mut log).await;
        drop(waiting);
        log.close().await;
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("whole");
        assert_eq!(contents(&mut log).await, before);
    });
}

#[test]
fn a_log_is_closed_also_on_a_full_disk_and_leaves_only_segments() {
    in_virtual_time(async {
        for is_full in [false, true] {
            let disk = SimulatedDisk::new();
            let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
            append(&mut log, [entry(1, 0, 10)]).await.expect("durable");
            if is_full {
                disk.limit(Some(disk.used_bytes()));
                append(&mut log, (1..5).map(|index| entry(1, index, 600))).await.expect("into the spare");
            }
            log.close().await;
            let left: Vec<_> =
                disk.files().into_iter().filter(|file| file.extension() != Some("wal".as_ref())).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    });
}

/// To fill a file with zeroes takes long; a write that begins a segment does not.
#[test]
fn no_write_waits_until_a_segment_is_made() {
    let making = Duration::from_millis(50);
    in_virtual_time(async move {
        let slow = SimulatedDisk::new().with_delay(move |operation| {
            Box::pin(async move {
                let takes = if operation == Operation::Create { making } else { Duration::from_micros(100) };
                Types::<SimRuntime>::sleep(takes).await;
            })
        });
        let mut log = open(&slow, SEGMENT_BYTES).await.expect("an empty log");
        Types::<SimRuntime>::sleep(making).await;
        let mut longest = Duration::ZERO;
        for index in 0..60 {
            let begun = Types::<SimRuntime>::now();
            append(&mut log, [entry(1, index, 400)]).await.expect("durable");
            longest = longest.max(begun.elapsed());
            Types::<SimRuntime>::sleep(Duration::from_millis(10)).await;
        }
        assert!(log.counters().segments_created.load(Ordering::Relaxed) > 4);
        assert!(longest < Duration::from_millis(5), "a write took {longest:?}");
    });
}

#[test]
fn batches_are_counted_by_their_size() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, 1 << 20).await.expect("an empty log");
        log.save_vote(&Vote::new(1, 1)).await.expect("saved");
        append(&mut log, (0..3).map(|index| entry(1, index, 10))).await.expect("durable");
        append(&mut log, (3..2003).map(|index| entry(1, index, 10))).await.expect("durable");
        let batches = log.counters().batches();
        let counted = |bound: u64| batches.up_to.iter().find(|(up_to, _)| *up_to == bound).map(|(_, count)| *count);
        assert_eq!(
            (counted(0), counted(2), counted(4), counted(1024), batches.more),
            (Some(1), Some(0), Some(1), Some(0), 1)
        );
        let all: u64 = batches.up_to.iter().map(|(_, count)| count).sum::<u64>() + batches.more;
        assert_eq!(all, log.counters().syncs.load(Ordering::Relaxed), "one sync for each");
    });
}

/// The same over real files and a real thread.
#[test]
fn a_server_keeps_its_log_over_a_restart() {
    TokioRuntime::new(2).block_on(async {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let options = LogOptions { segment_bytes: 64 << 10 };
        wal::begin(Server::new().disk(), dir.path(), OWNER, options).await.expect("begun");
        let mut log = Log::open_with(&Server::new(), dir.path(), OWNER, options).await.expect("an empty log");
        for index in 0..200 {
            append(&mut log, [entry(1, index, 1000)]).await.expect("durable");
        }
        log.save_vote(&Vote::new(2, 3)).await.expect("saved");
        let before = contents(&mut log).await;
        log.close().await;
        let mut log = Log::open_with(&Server::new(), dir.path(), OWNER, options).await.expect("whole");
        assert_eq!(contents(&mut log).await, before);
    });
}
