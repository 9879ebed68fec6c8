//! Files of each released format: they are read for ever, and what is written today is written as they were.
//!
//! A new version adds files here and keeps the old. `CARREL_UPDATE_GOLDEN=1` writes those of today's version anew.

use std::path::{Path, PathBuf};

use carrel_domain::request::{Action, Request};
use carrel_node::raft::cluster::{ClusterRecord, node_id};
use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::identity::{DataDirectory, MemberOf};
use carrel_node::raft::log_request::{ClusterRequest, Founding, LogRequest};
use carrel_node::raft::snapshots::Snapshots;
use carrel_node::raft::types::{Entry, Member, Membership, Payload, SnapshotMeta, StoredMembership, Vote};
use carrel_node::raft::wal::format::{Carried, SegmentHeader};
use carrel_node::raft::wal::{LogOptions, LogReach};
use openraft::storage::RaftLogStorage;
use uuid::Uuid;

use crate::platform::{
    Contents, OWNER, append, contents, entry, in_virtual_time, log_directory, log_id, open, simulated,
};

fn membership() -> Membership {
    let members = [(1, Member { ordinal: 0 }), (2, Member { ordinal: 1 }), (7, Member { ordinal: 2 })];
    Membership::new(vec![[1, 2].into(), [1, 7].into()], std::collections::BTreeMap::from(members))
        .expect("all are nodes")
}

#[test]
fn a_log_of_version_1() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, 1024).await.expect("an empty log");
        log.save_vote(&Vote::new(1, 3)).await.expect("saved");
        let first = [
            Entry { log_id: log_id(0, 0), payload: Payload::Membership(membership()) },
            Entry { log_id: log_id(1, 1), payload: Payload::Blank },
            entry(1, 2, 20),
            entry(1, 3, 5),
        ];
        append(&mut log, first.clone()).await.expect("durable");
        log.truncate_after(Some(log_id(1, 2))).await.expect("taken");
        log.save_vote(&Vote::new_committed(2, 1)).await.expect("saved");
        log.save_committed(Some(log_id(1, 1))).await.expect("taken");
        log.purge(log_id(0, 0)).await.expect("taken");
        append(&mut log, [entry(2, 3, 7)]).await.expect("durable");
        log.close().await;
        let expected = Contents {
            vote: Some(Vote::new_committed(2, 1)),
            purged: Some(log_id(0, 0)),
            committed: Some(log_id(1, 1)),
            entries: vec![first[1].clone(), first[2].clone(), entry(2, 3, 7)],
        };
        let path = log_directory().join("0000000000000000.wal");
        let golden = written_as_ever("log-1.wal", disk.contents(&path).expect("one segment"));
        let kept = SimulatedDisk::new();
        kept.replace(&path, golden);
        assert_eq!(contents(&mut open(&kept, 1024).await.expect("readable")).await, expected);
    });
}

#[test]
fn a_snapshot_of_version_1() {
    in_virtual_time(async {
        let dir = PathBuf::from("/data/snapshots");
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(4, 17)),
            last_membership: StoredMembership::new(Some(log_id(0, 0)), membership()),
        };
        let reach = LogReach { purged: None, last: None };
        let disk = SimulatedDisk::new();
        let snapshots = Snapshots::open(&simulated(&disk), &dir, OWNER, reach).await.expect("none yet");
        let body = [b"seats".to_vec(), b"claims".to_vec()];
        snapshots.write(&meta, body.clone().into_iter()).await.expect("written");
        let path = disk.files().remove(0);
        let golden = written_as_ever("snapshot-1.snapshot", disk.contents(&path).expect("there"));
        let kept = SimulatedDisk::new();
        kept.replace(&path, golden);
        let snapshots = Snapshots::open(&simulated(&kept), &dir, OWNER, reach).await.expect("readable");
        let latest = snapshots.latest().await.expect("there");
        assert_eq!(latest.meta(), &meta);
        let mut read = latest.body();
        for chunk in body {
            assert_eq!(read.next().await.expect("another").expect("whole"), chunk);
        }
        assert!(read.next().await.is_none());
    });
}

#[test]
fn an_identity_of_version_1() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mount = Path::new("/mount");
        let cluster = MemberOf { cluster_id: Uuid::from_bytes([3; 16]), lineage: 1, node_id: 17 };
        let mut directory = DataDirectory::open(&disk, mount, Uuid::from_bytes([1; 16])).await.expect("empty");
        directory.join(cluster, LogOptions { segment_bytes: 1024 }).await.expect("joined");
        let path = mount.join("data/identity.json");
        let golden = written_as_ever("identity-1.json", disk.contents(&path).expect("there"));
        let kept = SimulatedDisk::new();
        kept.replace(&path, golden);
        let read = DataDirectory::open(&kept, mount, Uuid::from_bytes([2; 16])).await.expect("readable");
        assert_eq!(read.identity(), directory.identity());
    });
}

fn founding() -> Founding {
    Founding { cluster_id: [3; 16], lineage: 1, wanted_voters: 3, seed: 1, seed_incarnation: [4; 16], seed_ordinal: 0 }
}

fn cluster_requests() -> Vec<ClusterRequest> {
    vec![
        ClusterRequest::Found(founding()),
        ClusterRequest::AllocateNode { incarnation: [5; 16], ordinal: 1 },
        ClusterRequest::AllocateNode { incarnation: [6; 16], ordinal: 2 },
        ClusterRequest::RetireNode { id: node_id(1, 12) },
    ]
}

/// What the bodies of entries say. Those of the library have golden files of their own, beside the rules.
#[test]
fn requests_in_the_log_of_version_1() {
    let mut requests = vec![LogRequest::Library(Request::system(Action::Tick))];
    requests.extend(cluster_requests().into_iter().map(LogRequest::Cluster));
    let mut written = Vec::new();
    for request in &requests {
        let body = request.encode();
        written.push(u8::try_from(body.len()).expect("short"));
        written.extend_from_slice(&body);
    }
    let golden = written_as_ever("log-requests-1.bin", written);
    let mut rest = golden.as_slice();
    for request in requests {
        let (length, after) = rest.split_first().expect("another");
        let (body, after) = after.split_at(usize::from(*length));
        assert_eq!(LogRequest::decode(body), Ok(request));
        rest = after;
    }
    assert!(rest.is_empty());
}

/// What a snapshot holds of the cluster, before the library: founded, ids given out, one taken back.
#[test]
fn the_clusters_part_of_a_snapshot_of_version_1() {
    let mut record = ClusterRecord::default();
    for (index, request) in (11..).zip(cluster_requests()) {
        record.apply(index, &request).expect("in order");
    }
    let slots = [(1, 0), (node_id(1, 13), 1), (77, 2)].map(|(id, ordinal)| (id, Member { ordinal }));
    let three = Membership::new(vec![slots.map(|(id, _)| id).into()], std::collections::BTreeMap::from(slots));
    record.observe(&three.expect("all are nodes"));
    assert!(record.is_formed() && record.is_retired(node_id(1, 12)));
    let golden = written_as_ever("cluster-record-1.bin", record.encode());
    assert_eq!(ClusterRecord::decode(&golden), Ok(record));
}

/// A segment that is not the first carries over all there is to carry.
#[test]
fn the_header_of_a_later_segment_of_version_1() {
    let header = SegmentHeader {
        owner: OWNER,
        sequence: 7,
        length: 16 << 20,
        first_batch: 900,
        carried: Carried {
            vote: Some(Vote::new_committed(5, 2)),
            purged: Some(log_id(4, 300)),
            committed: Some(log_id(5, 811)),
            next_index: 815,
        },
    };
    let golden = written_as_ever("segment-header-1.bin", header.encode());
    assert_eq!(SegmentHeader::decode(&golden).map(|(read, _)| read), Ok(header));
}

/// The golden bytes, after a check that `written` is the same.
fn written_as_ever(name: &str, written: Vec<u8>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage/golden").join(name);
    if std::env::var_os("CARREL_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).expect("writable");
    }
    let golden = std::fs::read(&path).expect("golden files are kept in the repository");
    assert!(golden == written, "{name} is written differently: that is a new version of the format");
    golden
}
