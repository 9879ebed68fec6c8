//! Snapshots that do not arrive: damaged, cut short, too long, taken back. None is installed, and the next one is.

use std::future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrel_proto::peer::v1 as wire;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request, Status};

use super::stub::{CALLER, CLUSTER, LINEAGE, STUB, Stub, at, limits, log_id, owner};
use crate::raft::peers::Route;
use crate::raft::platform::Server;
use crate::raft::snapshots::{Announced, BodySum, Snapshots, StoredSnapshot};
use crate::raft::transport::convert::{SnapshotHeader, SnapshotPart, Wire};
use crate::raft::transport::{Addresses, Links, route};
use crate::raft::types::{CommittedLeaderId, Member, NodeId, SnapshotMeta, StoredMembership, Vote};
use crate::raft::wal::LogReach;

type Snapshot = openraft::Snapshot<CommittedLeaderId, NodeId, Member, StoredSnapshot<Server>>;

const LEADER: Vote = Vote { leader_id: LEADER_ID, committed: true };
const LEADER_ID: crate::raft::types::LeaderId = crate::raft::types::LeaderId { term: 3, voted_for: CALLER };

fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(5))
}

/// Eight pieces of half a MiB, on the sender's disk.
async fn written(dir: &Path) -> Snapshot {
    let nothing = LogReach { purged: None, last: None };
    let snapshots = Snapshots::open(&Server::new(), dir, owner(CALLER), nothing).await.expect("an empty directory");
    let meta = SnapshotMeta { last_log_id: Some(log_id(2, 70)), last_membership: StoredMembership::default() };
    let pieces = (0..8u8).map(|piece| vec![piece; 1 << 19]);
    let snapshot = snapshots.write(&meta, pieces).await.expect("there is room");
    Snapshot { meta, snapshot }
}

/// The parts as they should be.
async fn parts(snapshot: &Snapshot) -> Vec<SnapshotPart> {
    let announced = Announced { meta: snapshot.meta.clone(), body: snapshot.snapshot.body_sum() };
    let mut parts = vec![SnapshotPart::Header(Box::new(SnapshotHeader { vote: LEADER, announced, offset: 0 }))];
    let mut chunks = snapshot.snapshot.body();
    while let Some(chunk) = chunks.next().await {
        parts.push(SnapshotPart::Chunk(chunk.expect("it is whole")));
    }
    parts
}

async fn sent(stub: &Stub, parts: Vec<SnapshotPart>) -> Result<wire::InstallSnapshotResponse, Status> {
    let mut request = Request::new(tokio_stream::iter(parts.into_iter().map(Wire::to_wire).collect::<Vec<_>>()));
    let ours = Route { cluster_id: CLUSTER, lineage: LINEAGE, from: CALLER, to: STUB.id };
    request.metadata_mut().insert(route::KEY, route::write(&ours));
    Ok(stub.raw().install_snapshot(request).await?.into_inner())
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("it is there").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_what_was_announced_is_not_installed() {
    let (own, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let snapshot = written(own.path()).await;
    let stub = Stub::start(other.path(), None).await;
    let whole = parts(&snapshot).await;
    let announce = |change: &dyn Fn(&mut BodySum)| {
        let mut changed = whole.clone();
        if let Some(SnapshotPart::Header(header)) = changed.first_mut() {
            change(&mut header.announced.body);
        }
        changed
    };

    let damaged = announce(&|body| body.checksum ^= 1);
    let short = whole[..5].to_vec();
    let long = announce(&|body| body.bytes -= 1);
    let headless = whole[1..].to_vec();
    let twice = [&whole[..1], &whole[..]].concat();
    for (what, parts, code) in [
        ("damaged", damaged, Code::DataLoss),
        ("cut short", short, Code::DataLoss),
        ("too long", long, Code::InvalidArgument),
        ("without a header", headless, Code::InvalidArgument),
        ("with two headers", twice, Code::InvalidArgument),
        ("empty", Vec::new(), Code::InvalidArgument),
    ] {
        let status = sent(&stub, parts).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
    }
    assert_eq!(stub.inbound.begun.available_permits(), 0, "none came as far as being installed");

    stub.inbound.installs.add_permits(1);
    let answer = sent(&stub, whole).await.expect("it is as announced");
    assert_eq!(Vote::from_wire(answer.vote.expect("an answer has one")), Ok(LEADER));
    assert_eq!(files(other.path()), 1, "nothing is left of the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_sent_piece_by_piece() {
    let (own, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let snapshot = written(own.path()).await;
    let stub = Stub::start(other.path(), None).await;
    stub.inbound.installs.add_permits(1);
    let mut link = stub.links().new_snapshot_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    let answer = link.full_snapshot(LEADER, snapshot, future::pending(), option()).await.expect("it arrives");
    assert_eq!(answer.vote, LEADER);
}

/// A way to the stub that carries so many bytes there, is cut, and from then on carries everything, and counts.
async fn way_cut_after(stub: &Stub, bytes: u64) -> (std::net::SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, to) = (listener.local_addr().expect("it is bound"), stub.address);
    let carried_after = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&carried_after);
    tokio::spawn(async move {
        let (mut left, mut is_cut) = (bytes, false);
        loop {
            let (from, _) = listener.accept().await.expect("it listens");
            let (mut from_caller, mut to_caller) = from.into_split();
            let (mut from_stub, mut to_stub) = TcpStream::connect(to).await.expect("the stub listens").into_split();
            let back = tokio::spawn(async move { tokio::io::copy(&mut from_stub, &mut to_caller).await });
            let mut buffer = vec![0; 16 << 10];
            while let Ok(read @ 1..) = from_caller.read(&mut buffer).await {
                if !is_cut && left < read as u64 {
                    is_cut = true;
                    // What was carried is taken in before the way ends.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    break;
                }
                left = left.saturating_sub(read as u64);
                if is_cut {
                    counted.fetch_add(read as u64, Ordering::SeqCst);
                }
                if to_stub.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
            back.abort();
        }
    });
    (address, carried_after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_was_cut_off_goes_on_from_where_it_was() {
    let (own, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let snapshot = written(own.path()).await;
    let body_bytes = snapshot.snapshot.body_sum().bytes;
    let stub = Stub::start(other.path(), None).await;
    stub.inbound.installs.add_permits(1);
    let (way, carried_after) = way_cut_after(&stub, body_bytes * 5 / 8).await;
    let addresses: Arc<Addresses> = Arc::new(move |_| Some(at(way)));
    let mut links = Links::<Server>::new(owner(CALLER), limits(), addresses, None);
    let mut link = links.new_snapshot_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    let again = || Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() };

    let cut = link.full_snapshot(LEADER, again(), future::pending(), option()).await;
    assert!(cut.is_err(), "{cut:?}");
    let mut attempts = 0;
    let answer = loop {
        match link.full_snapshot(LEADER, again(), future::pending(), option()).await {
            Ok(answer) => break answer,
            // The peer has not noticed yet that the first is over.
            Err(error) if attempts > 100 => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        attempts += 1;
    };
    assert_eq!(answer.vote, LEADER);
    let carried = carried_after.load(Ordering::SeqCst);
    assert!(carried < body_bytes * 5 / 8, "{carried} of {body_bytes} bytes were sent after the cut");
    assert!(carried > body_bytes / 4, "and what had not arrived was sent");

    // What is announced as the rest of something else is not taken for it.
    let announced = Announced { meta: snapshot.meta.clone(), body: snapshot.snapshot.body_sum() };
    let header = SnapshotHeader { vote: LEADER, announced, offset: 1 << 19 };
    let mut rest = parts(&snapshot).await;
    rest[0] = SnapshotPart::Header(Box::new(header));
    rest.remove(1);
    sent(&stub, rest).await.expect_err("nothing has arrived of it");
    assert_eq!(stub.inbound.begun.available_permits(), 1, "only the whole one came as far as being installed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_taken_back_makes_room_for_the_next() {
    let (own, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let snapshot = written(own.path()).await;
    let again = Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() };
    let third = Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() };
    let stub = Stub::start(other.path(), None).await;
    let mut link = stub.links().new_snapshot_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;

    // Before anything was sent.
    let now = future::ready(ReplicationClosed::new("another leads"));
    let closed = link.full_snapshot(LEADER, snapshot, now, option()).await;
    assert!(matches!(closed, Err(StreamingError::Closed(_))), "{closed:?}");

    // While it is being installed; meanwhile there is no room for another.
    let inbound = std::sync::Arc::clone(&stub.inbound);
    let mut other_link = stub.links().new_snapshot_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    let busy = Snapshot { meta: third.meta.clone(), snapshot: third.snapshot.clone() };
    let later = async move {
        inbound.begun.acquire().await.expect("it is never closed").forget();
        let refused = other_link.full_snapshot(LEADER, busy, future::pending(), option()).await;
        assert!(matches!(refused, Err(StreamingError::Unreachable(_))), "{refused:?}");
        ReplicationClosed::new("another leads")
    };
    let closed = link.full_snapshot(LEADER, again, later, option()).await;
    assert!(matches!(closed, Err(StreamingError::Closed(_))), "{closed:?}");

    stub.inbound.installs.add_permits(100);
    let mut link = stub.links().new_snapshot_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    for _ in 0..100 {
        let next = Snapshot { meta: third.meta.clone(), snapshot: third.snapshot.clone() };
        match link.full_snapshot(LEADER, next, future::pending(), option()).await {
            Ok(_) => return,
            // The peer has not heard yet that the one before was taken back.
            Err(StreamingError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("there never was room again");
}
