//! A call that is not for this node, of this cluster and lineage, is refused before anything is done; and whoever calls
//! knows exactly what was not done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use carrel_proto::peer::v1 as wire;
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use super::stub::{CALLER, LINEAGE, LONG, STUB, Stub, at, limits, owner};
use crate::raft::peers::{Peer, PeerError, Peers};
use crate::raft::platform::Server;
use crate::raft::transport::server::CALLS_PER_CONNECTION_MAX;
use crate::raft::transport::{Limits, Links, route};
use crate::raft::types::{Member, NodeId, Vote};
use crate::raft::wal::LogOwner;

fn option() -> RPCOption {
    RPCOption::new(Duration::from_secs(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_another_is_refused_and_nothing_is_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let other_cluster = LogOwner { cluster_id: [1; 16], ..owner(CALLER) };
    let other_lineage = LogOwner { lineage: LINEAGE + 1, ..owner(CALLER) };
    let callers: [(LogOwner, NodeId, &str); 3] = [
        (other_cluster, STUB.id, "the call is for another cluster than this node's"),
        (other_lineage, STUB.id, "the call is for lineage 5 of the cluster; this node is of lineage 4"),
        (owner(CALLER), 7, "the call is for node 7; this is node 2"),
    ];
    for (caller, id, reason) in callers {
        let mut links = stub.links_as(caller);
        let peer = Peer { id, ..STUB };
        let refused = Err(PeerError::Unreachable(reason.to_owned()));
        assert_eq!(links.propose(peer, Bytes::from_static(b"x"), LONG).await, refused);
        assert_eq!(links.read_index(peer).await.map(|_| ()), refused.clone().map(|_| ()));
        assert_eq!(links.read_clock_us(peer).await.map(|_| ()), refused.clone().map(|_| ()));
        assert_eq!(links.read_status(peer).await.map(|_| ()), refused.map(|_| ()));

        let mut link = links.new_client(id, &Member { ordinal: STUB.ordinal }).await;
        let ballot = VoteRequest::new(Vote::new(3, CALLER), None);
        let append = AppendEntriesRequest {
            vote: Vote::new_committed(3, CALLER),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        let transfer = TransferLeaderRequest::new(append.vote, id, None);
        let errors = [
            link.vote(ballot.clone(), option()).await.expect_err("refused"),
            link.pre_vote(ballot, option()).await.expect_err("refused"),
            link.append_entries(append, option()).await.expect_err("refused"),
            link.transfer_leader(transfer, option()).await.expect_err("refused"),
        ];
        for error in errors {
            assert!(matches!(error, RPCError::Unreachable(_)), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
    assert_eq!(stub.inbound.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_route_is_refused_before_its_body() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let mut raw = stub.raw();
    // Without a vote in it, which would be refused as malformed.
    let status = raw.vote(wire::VoteRequest::default()).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "the call carries no carrel-route"));
    let mut garbled = Request::new(wire::VoteRequest::default());
    garbled.metadata_mut().insert(route::KEY, "here/there".parse().expect("ASCII"));
    let status = raw.vote(garbled).await.expect_err("refused");
    assert_eq!(status.message(), "the call's carrel-route cannot be understood");
    // Streams that never send anything.
    let status = raw.stream_append(tokio_stream::pending()).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let status = raw.install_snapshot(tokio_stream::pending()).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(stub.inbound.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_the_right_route_are_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let mut links = stub.links();
    assert_eq!(links.read_clock_us(STUB).await, Ok(1_234_567));
    assert_eq!(links.read_status(STUB).await.map(|status| status.term), Ok(9));
    let no_leader = Err(PeerError::Unreachable("this node does not lead".to_owned()));
    assert_eq!(links.read_index(STUB).await, no_leader);

    let mut link = links.new_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    let ballot = VoteRequest::new(Vote::new(3, CALLER), None);
    assert!(link.vote(ballot.clone(), option()).await.expect("an answer").vote_granted);
    assert!(
        !link.pre_vote(ballot, option()).await.expect("an answer").vote_granted,
        "the peer says no, not the network"
    );
    let transfer = TransferLeaderRequest::new(Vote::new_committed(3, CALLER), STUB.id, None);
    assert_eq!(link.transfer_leader(transfer, option()).await.expect("an answer"), Ok(()));

    let nonsense = AppendEntriesRequest {
        vote: Vote::new_committed(3, CALLER),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let error = link.append_entries(nonsense, option()).await.expect_err("a conflict with nothing");
    assert!(matches!(error, RPCError::Unreachable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_is_known_not_to_be_made_only_if_it_was_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let links = stub.links();
    let body = Bytes::from_static(b"a seat");

    let answer = links.propose(STUB, body.clone(), LONG).await;
    assert!(matches!(answer, Err(PeerError::NoAnswer(_))), "taken, and not answered in time: {answer:?}");

    let nowhere = Peer { ordinal: 40, ..STUB };
    let answer = links.propose(nowhere, body.clone(), LONG).await;
    let words = "no address is configured for ordinal 40".to_owned();
    assert_eq!(answer, Err(PeerError::Unreachable(words)));

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it is bound");
    let nobody = Links::<Server>::new(owner(CALLER), limits(), Arc::new(move |_| Some(at(closed))), None);
    let answer = nobody.propose(STUB, body.clone(), LONG).await;
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "nobody listens: {answer:?}");

    // Somebody who takes the connection and drops it half way.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(connection);
        }
    });
    let rude = Links::<Server>::new(owner(CALLER), limits(), Arc::new(move |_| Some(at(address))), None);
    let answer = rude.propose(STUB, body, LONG).await;
    assert!(matches!(answer, Err(PeerError::NoAnswer(_))), "perhaps it was read: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_says_how_long_its_caller_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    for (limit, within) in [(300, 80), (80, 300)] {
        let links = stub.links_within(Limits { proposal: Duration::from_millis(limit), ..limits() });
        let answer = links.propose(STUB, Bytes::from_static(b"x"), Duration::from_millis(within)).await;
        assert!(matches!(answer, Err(PeerError::NoAnswer(_))), "{answer:?}");
        let told = stub.inbound.within.lock().expect("nobody panicked").expect("it was told");
        let least = Duration::from_millis(80);
        assert!(told <= least && told > least / 2, "what is left of it when it is written: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_do_not_wait_for_calls_that_hang() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let patient = Limits { proposal: Duration::from_secs(60), ..limits() };
    let mut links = stub.links_within(patient);
    // As many as one connection carries, and more that wait to be carried.
    let most = CALLS_PER_CONNECTION_MAX as usize;
    let mut hanging = JoinSet::new();
    for _ in 0..most + 500 {
        let links = links.clone();
        hanging.spawn(async move { links.propose(STUB, Bytes::from_static(b"x"), LONG).await });
    }
    while stub.inbound.calls.load(Ordering::SeqCst) < most {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut link = links.new_client(STUB.id, &Member { ordinal: STUB.ordinal }).await;
    let ballot = VoteRequest::new(Vote::new(3, CALLER), None);
    link.vote(ballot, RPCOption::new(Duration::from_secs(1))).await.expect("a vote in between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_does_not_wait_for_streams() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let mut raw = stub.raw();
    let mut request = Request::new(tokio_stream::pending());
    let on_the_way =
        crate::raft::peers::Route { cluster_id: super::stub::CLUSTER, lineage: LINEAGE, from: CALLER, to: STUB.id };
    request.metadata_mut().insert(route::KEY, route::write(&on_the_way));
    let mut answers = raw.stream_append(request).await.expect("it is ours").into_inner();
    stub.stop.cancel();
    let end = tokio::time::timeout(Duration::from_secs(1), answers.message()).await.expect("it ends soon");
    assert!(matches!(end, Ok(None)), "{end:?}");
}
