//! Every single wrong bit and every shorter length, over a small log and a small snapshot: noticed, or without effect.

use std::path::PathBuf;

use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::snapshots::{OpenSnapshotsError, Snapshots};
use carrel_node::raft::types::{Member, Membership, SnapshotMeta, StoredMembership, Vote};
use carrel_node::raft::wal::{self, LogReach, OpenLogError};
use openraft::storage::RaftLogStorage;

use crate::platform::{Contents, OWNER, append, contents, entry, in_virtual_time, log_id, open, simulated, with_file};
use crate::report::report;

const SEGMENT_BYTES: u64 = 1200;

/// Three segments with everything a log can hold, at rest.
async fn small_log() -> (SimulatedDisk, Contents) {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
    log.save_vote(&Vote::new(1, 1)).await.expect("saved");
    for index in 0..6 {
        append(&mut log, [entry(1, 2 * index, 100), entry(1, 2 * index + 1, 30)]).await.expect("durable");
        log.save_committed(Some(log_id(1, index))).await.expect("taken");
    }
    log.truncate_after(Some(log_id(1, 9))).await.expect("taken");
    log.save_vote(&Vote::new_committed(2, 3)).await.expect("saved");
    append(&mut log, [entry(2, 10, 200)]).await.expect("durable");
    log.purge(log_id(1, 0)).await.expect("taken");
    append(&mut log, [entry(2, 11, 20)]).await.expect("durable");
    let held = contents(&mut log).await;
    log.close().await;
    (disk, held)
}

#[test]
fn no_wrong_bit_changes_a_log_unnoticed() {
    in_virtual_time(async {
        let (disk, held) = small_log().await;
        let files = disk.files();
        assert_eq!(files.len(), 3, "{files:?}");
        let (mut noticed, mut harmless) = (0, 0);
        for file in files {
            let bytes = disk.contents(&file).expect("there");
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                match open(&with_file(&disk, &file, wrong), SEGMENT_BYTES).await {
                    Ok(mut log) => {
                        assert_eq!(contents(&mut log).await, held, "bit {bit} of {file:?} makes another log");
                        log.close().await;
                        harmless += 1;
                    }
                    Err(OpenLogError::Corrupt { .. }) => noticed += 1,
                    Err(other) => panic!("bit {bit} of {file:?}: {other}"),
                }
            }
        }
        // What is noticed is all that was written; what is harmless lies in zeroes after an end, or is an end marker.
        assert!(noticed > 16_000 && harmless > 4_000, "{noticed} noticed, {harmless} harmless");
    });
}

#[test]
fn no_shorter_segment_is_taken_for_a_log() {
    in_virtual_time(async {
        let (disk, _) = small_log().await;
        for file in disk.files() {
            let bytes = disk.contents(&file).expect("there");
            for length in 0..bytes.len() {
                let shorter = with_file(&disk, &file, bytes[..length].to_vec());
                let opened = open(&shorter, SEGMENT_BYTES).await;
                assert!(matches!(opened, Err(OpenLogError::Corrupt { .. })), "{length} bytes of {file:?}: {opened:?}");
            }
        }
    });
}

#[test]
fn a_missing_segment_is_noticed() {
    in_virtual_time(async {
        let (disk, _) = small_log().await;
        let files = disk.files();
        assert_eq!(files.len(), 3, "{files:?}");
        for missing in &files {
            let without = disk.copy();
            without.take_away(missing);
            let opened = open(&without, SEGMENT_BYTES).await;
            assert!(matches!(opened, Err(OpenLogError::Corrupt { .. })), "without {missing:?}: {opened:?}");
        }
    });
}

/// A write that was cut off: the front of the last batch over what was there before it.
#[test]
fn a_torn_last_batch_leaves_what_was_durable_before() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, 4096).await.expect("an empty log");
        for index in 0..4 {
            append(&mut log, [entry(1, index, 100)]).await.expect("durable");
        }
        log.close().await;
        let file = disk.files().remove(0);
        let before = disk.contents(&file).expect("there");
        let mut log = open(&disk, 4096).await.expect("whole");
        append(&mut log, [entry(1, 4, 100), entry(1, 5, 100)]).await.expect("durable");
        let after = disk.contents(&file).expect("there");
        let first_different = before.iter().zip(&after).position(|(old, new)| old != new).expect("they differ");
        let last_different = before.iter().zip(&after).rposition(|(old, new)| old != new).expect("they differ");
        let (mut cut, mut whole) = (0, 0);
        for written in first_different..=last_different + 1 {
            let torn = [&after[..written], &before[written..]].concat();
            let torn_disk = with_file(&disk, &file, torn);
            let mut log = open(&torn_disk, 4096).await.expect("a torn tail is no damage");
            match contents(&mut log).await.entries.len() {
                4 => cut += 1,
                6 => whole += 1,
                held => panic!("{held} entries with {written} bytes written"),
            }
            let mended = torn_disk.contents(&file).expect("there");
            let zeroes_from = mended.iter().rposition(|byte| *byte != 0).expect("a header") + 1;
            assert!(zeroes_from <= last_different + 1 + 44, "only an end marker follows what is held");
            if log.reach().last == Some(log_id(1, 3)) {
                assert!(zeroes_from <= first_different + 44, "nothing torn is left after {written} bytes");
            }
            // And the log goes on from there.
            let next = log.reach().last.map_or(0, |last| last.index + 1);
            append(&mut log, [entry(2, next, 1)]).await.expect("durable");
            log.close().await;
            let mut log = open(&torn_disk, 4096).await.expect("whole");
            assert_eq!(contents(&mut log).await.entries.last(), Some(&entry(2, next, 1)));
            log.close().await;
        }
        assert!(cut > 200 && whole > 0, "{cut} cut, {whole} whole");
    });
}

fn meta(index: u64) -> SnapshotMeta {
    let members = std::collections::BTreeMap::from([(1, Member { ordinal: 0 }), (2, Member { ordinal: 1 })]);
    let membership = Membership::new(vec![[1, 2].into()], members).expect("both are nodes");
    SnapshotMeta {
        last_log_id: Some(log_id(3, index)),
        last_membership: StoredMembership::new(Some(log_id(1, 2)), membership),
    }
}

#[test]
fn no_wrong_bit_and_no_shorter_length_makes_another_snapshot() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let dir = PathBuf::from("/data/snapshots");
        let purged = LogReach { purged: Some(log_id(3, 40)), last: Some(log_id(3, 40)) };
        let new = LogReach { purged: None, last: None };
        let snapshots = Snapshots::open(&simulated(&disk), &dir, OWNER, new).await.expect("none yet");
        let body = (1..5).map(|chunk| vec![chunk; 100 * usize::from(chunk)]);
        snapshots.write(&meta(40), body).await.expect("written");
        let file = disk.files().remove(0);
        let bytes = disk.contents(&file).expect("there");
        let wrong_bits = (0..bytes.len() * 8).map(|bit| {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            wrong
        });
        let shorter = (0..bytes.len()).map(|length| bytes[..length].to_vec());
        let longer = [[bytes.clone(), vec![0]].concat()];
        for wrong in wrong_bits.chain(shorter).chain(longer) {
            let damaged = with_file(&disk, &file, wrong);
            let opened = Snapshots::open(&simulated(&damaged), &dir, OWNER, purged).await;
            assert!(matches!(opened, Err(OpenSnapshotsError::Damaged { .. })), "{opened:?}");
        }
    });
}

/// `make figures` flips every bit; without it every so manieth, a prime, so that each bit of a byte has its turn.
fn stride() -> usize {
    if std::env::var_os("CARREL_EVERY_BIT").is_some() { 1 } else { 251 }
}

const LARGE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    flips: usize,
    noticed: usize,
    harmless: usize,
}

impl Verdicts {
    fn print(self, what: &str) {
        let Self { flips, noticed, harmless } = self;
        report(&format!(
            "\n| file | bytes | single bits flipped | noticed | harmless | taken for another | panics |\n\
             |---|---|---|---|---|---|---|\n| {what} | {LARGE_BYTES} | {flips} | {noticed} | {harmless} | 0 | 0 |\n"
        ));
    }
}

/// Reads a file with each wrong bit in turn; `read` says whether it was noticed, and panics if it was believed.
async fn flipped(bytes: &[u8], mut read: impl AsyncFnMut(usize, Vec<u8>) -> bool) -> Verdicts {
    assert_eq!(bytes.len(), LARGE_BYTES);
    let mut verdicts = Verdicts::default();
    for bit in (0..bytes.len() * 8).step_by(stride()) {
        let mut wrong = bytes.to_vec();
        wrong[bit / 8] ^= 1 << (bit % 8);
        verdicts.flips += 1;
        if read(bit, wrong).await {
            verdicts.noticed += 1;
        } else {
            verdicts.harmless += 1;
        }
    }
    verdicts
}

#[test]
fn no_wrong_bit_in_a_log_of_64_kib_makes_another_record() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, LARGE_BYTES as u64).await.expect("an empty log");
        log.save_vote(&Vote::new(1, 1)).await.expect("saved");
        let mut next = 0;
        for batch in 0..60_u64 {
            let entries: Vec<_> = (next..next + 1 + batch % 5).map(|index| entry(1, index, 300)).collect();
            next += entries.len() as u64;
            append(&mut log, entries).await.expect("durable");
            log.save_committed(Some(log_id(1, next - 1))).await.expect("taken");
        }
        log.truncate_after(Some(log_id(1, next - 3))).await.expect("taken");
        log.save_vote(&Vote::new_committed(2, 3)).await.expect("saved");
        append(&mut log, [entry(2, next - 2, 200)]).await.expect("durable");
        log.close().await;
        let files = disk.files();
        assert_eq!(files.len(), 1, "{files:?}");
        let bytes = disk.contents(&files[0]).expect("there");
        let read = async |bytes: Vec<u8>| {
            let disk = with_file(&disk, &files[0], bytes);
            wal::read(&disk, &crate::platform::log_directory(), OWNER).await
        };
        let held = format!("{:?}", read(bytes.clone()).await.expect("whole"));
        let verdicts = flipped(&bytes, async |bit, wrong| match read(wrong).await {
            Err(OpenLogError::Corrupt { .. }) => true,
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(contents) => {
                assert_eq!(format!("{contents:?}"), held, "bit {bit} makes another log");
                false
            }
        })
        .await;
        verdicts.print("log");
        assert!(verdicts.noticed * 10 > verdicts.flips * 8, "nearly all of it is written: {verdicts:?}");
    });
}

#[test]
fn no_wrong_bit_in_a_snapshot_of_64_kib_makes_another_state() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let dir = PathBuf::from("/data/snapshots");
        let new = LogReach { purged: None, last: None };
        let purged = LogReach { purged: Some(log_id(3, 40)), last: Some(log_id(3, 40)) };
        let snapshots = Snapshots::open(&simulated(&disk), &dir, OWNER, new).await.expect("none yet");
        let empty = snapshots.write(&meta(39), std::iter::empty()).await.expect("written").file_bytes();
        // Chunks of several sizes, and the last so that the file has its size to the byte.
        let sizes = [1, 100, 4096, 20_000, 33_000];
        let chunk_header_bytes = 8;
        let before: usize = sizes.iter().map(|size| size + chunk_header_bytes).sum();
        let last = LARGE_BYTES - usize::try_from(empty).expect("small") - before - chunk_header_bytes;
        let body = sizes.into_iter().chain([last]).zip(1..).map(|(size, fill)| vec![fill; size]);
        let written = snapshots.write(&meta(40), body).await.expect("written");
        let file = disk.files().pop().expect("the newest comes last");
        disk.take_away(&disk.files()[0]);
        let bytes = disk.contents(&file).expect("there");
        drop(written);
        let verdicts = flipped(&bytes, async |bit, wrong| {
            let damaged = with_file(&disk, &file, wrong);
            let opened = Snapshots::open(&simulated(&damaged), &dir, OWNER, purged).await;
            assert!(matches!(opened, Err(OpenSnapshotsError::Damaged { .. })), "bit {bit}: {opened:?}");
            true
        })
        .await;
        verdicts.print("snapshot");
        assert_eq!(verdicts.noticed, verdicts.flips);
    });
}
