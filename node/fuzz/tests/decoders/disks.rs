//! What lies on a disk. Checksums are made right over whatever bytes there are, or nothing would come past them.

use std::path::{Path, PathBuf};

use carrel_node::raft::disk::Disk;
use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::snapshots::FileReader;
use carrel_node::raft::wal::{self, LogOptions, LogOwner};
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

use carrel_fuzz::soon;

const OWNER: LogOwner = LogOwner { cluster_id: [0xc1; 16], lineage: 1, node_id: 3 };
const SEGMENT_BYTES: u64 = 8 << 10;

/// As `node/src/raft/wal/format.rs` says, and checked here: what is written so is read.
const SEGMENT_HEADER_BYTES: usize = 256;
const BATCH_HEADER_BYTES: usize = 44;

fn le<const N: usize>(bytes: &mut [u8], at: usize, number: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&number);
}

/// A segment of our own whose header has been written over, and whose batches hold any bytes, all of it sealed.
fn segment(template: &[u8], input: &[u8]) -> Vec<u8> {
    let mut bytes = template.to_vec();
    let (changes, mut bodies) = input.split_at(input.len().min(4));
    if let [at, value, twice, other] = changes {
        // Behind magic, version, owner and sequence, of which every single bit is tried elsewhere.
        for (at, value) in [(at, value), (twice, other)] {
            let at = usize::from(*at);
            if (48..SEGMENT_HEADER_BYTES - 4).contains(&at) {
                bytes[at] ^= value;
            }
        }
    }
    let seal = crc32c::crc32c(&bytes[..SEGMENT_HEADER_BYTES - 4]);
    le(&mut bytes, SEGMENT_HEADER_BYTES - 4, seal.to_le_bytes());
    let sequence = u64::from_le_bytes(bytes[40..48].try_into().expect("eight"));
    let mut batch = u64::from_le_bytes(bytes[56..64].try_into().expect("eight"));
    let (mut at, mut previous) = (SEGMENT_HEADER_BYTES, seal);
    while let Some(length) = bodies.split_off_first() {
        let body = bodies.split_off(..bodies.len().min(usize::from(*length))).expect("no more than there are");
        if at + BATCH_HEADER_BYTES + body.len() > bytes.len() {
            break;
        }
        let header = &mut bytes[at..at + BATCH_HEADER_BYTES];
        le(header, 0, *b"cbat");
        le(header, 4, (body.len() as u32).to_le_bytes());
        le(header, 8, batch.to_le_bytes());
        le(header, 16, sequence.to_le_bytes());
        le(header, 24, (at as u64).to_le_bytes());
        le(header, 32, previous.to_le_bytes());
        le(header, 36, if body.is_empty() { [0; 4] } else { crc32c::crc32c(body).to_le_bytes() });
        previous = crc32c::crc32c_append(seal, &header[..40]);
        le(header, 40, previous.to_le_bytes());
        at += BATCH_HEADER_BYTES;
        bytes[at..at + body.len()].copy_from_slice(body);
        at += body.len();
        batch = batch.wrapping_add(1);
        if body.is_empty() {
            break;
        }
    }
    bytes
}

fn log_directory() -> PathBuf {
    PathBuf::from("/data/log")
}

/// The name of its one segment, and the bytes.
fn fresh_log() -> (PathBuf, Vec<u8>) {
    SimRuntime::with_seed(1).block_on(async {
        let disk = SimulatedDisk::new();
        let options = LogOptions { segment_bytes: SEGMENT_BYTES };
        wal::begin(&disk, &log_directory(), OWNER, options).await.expect("a log");
        let path = disk.files().into_iter().next().expect("one segment");
        let bytes = disk.contents(&path).expect("it is there");
        (path, bytes)
    })
}

async fn holding(path: &Path, bytes: Vec<u8>) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(path.parent().expect("a directory")).await.expect("an empty disk");
    drop(disk.create(path, 0).await.expect("an empty disk"));
    disk.replace(path, bytes);
    disk
}

async fn entries_read(disk: &SimulatedDisk) -> Result<wal::LogContents, wal::OpenLogError> {
    wal::read(disk, &log_directory(), OWNER).await
}

#[test]
fn logs() {
    let (path, template) = fresh_log();
    // A vote, and two empty batches' worth of nothing: sealed as the writer seals it.
    let vote = [0, 0, 0, 0, 18, 1, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1];
    let read = |bytes: Vec<u8>| {
        SimRuntime::with_seed(1).block_on(async {
            let disk = holding(&path, bytes).await;
            entries_read(&disk).await.map(|contents| format!("{contents:?}"))
        })
    };
    let voted = read(segment(&template, &vote)).expect("what is sealed so is read");
    assert_ne!(voted, read(template.clone()).expect("as it was begun"), "the vote is there");
    bolero::check!().with_max_len(4_096).for_each(|input: &[u8]| {
        let bytes = segment(&template, input);
        soon(|| {
            SimRuntime::with_seed(1).block_on(async {
                let disk = holding(&path, bytes.clone()).await;
                let Ok(contents) = entries_read(&disk).await else { return };
                let again = entries_read(&disk).await.expect("what was read once is read again");
                assert_eq!(format!("{contents:?}"), format!("{again:?}"));
            });
        });
    });
}

#[test]
fn snapshots() {
    bolero::check!().with_max_len(8_192).for_each(|input: &[u8]| {
        let mut file = input.to_vec();
        // The header's length is where the reader finds it; its checksum is made right.
        if let Some(meta) = file.get(32..36).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four"))) {
            le(&mut file, 0, *b"carrelsn");
            le(&mut file, 8, 1_u32.to_le_bytes());
            let end = 36 + (meta as usize % 512);
            le(&mut file, 32, (meta % 512).to_le_bytes());
            if file.len() >= end + 4 {
                let seal = crc32c::crc32c(&file[..end]);
                le(&mut file, end, seal.to_le_bytes());
            }
        }
        soon(|| {
            SimRuntime::with_seed(1).block_on(async {
                let path = PathBuf::from("/data/snapshots/1");
                let disk = holding(&path, file.clone()).await;
                let opened = disk.open(&path).await.expect("it is there");
                let Ok((_, mut reader)) = FileReader::begin_of_any(&opened).await else { return };
                while let Ok(Some(_)) = reader.next(&opened).await {}
            });
        });
    });
}
