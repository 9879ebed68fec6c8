//! Pipelined appends.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::stub::{CALLER, STUB, Stub, log_id};
use crate::raft::transport::Served;
use crate::raft::types::{Entry, Member, Payload, Vote};

const MEMBER: Member = Member { ordinal: STUB.ordinal };

/// What openraft gives: three quarters of a short heartbeat would be far too little for an append.
fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(1))
}

fn one_entry(index: u64) -> AppendEntriesRequest<Served> {
    AppendEntriesRequest {
        vote: Vote::new_committed(3, CALLER),
        prev_log_id: Some(log_id(3, index - 1)),
        entries: vec![Entry { log_id: log_id(3, index), payload: Payload::Blank }],
        leader_commit: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_in_order_and_end_with_the_input() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    stub.inbound.answers.add_permits(1000);
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let answers = link.stream_append(stream::iter((1..=500).map(one_entry)), option()).await.expect("a stream");
    let answers: Vec<_> = answers.map(|answer| answer.expect("connected")).collect().await;
    let expected: Vec<_> = (1..=500).map(|index| Ok(Some(log_id(3, index)))).collect();
    assert_eq!(answers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_ends_the_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), Some(3)).await;
    stub.inbound.answers.add_permits(1000);
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let requests = stream::iter((1..=10).map(one_entry)).chain(stream::pending());
    let answers = link.stream_append(requests, option()).await.expect("a stream");
    let answers: Vec<_> = answers.map(|answer| answer.expect("connected")).collect().await;
    assert_eq!(answers.len(), 4);
    assert_eq!(answers.last(), Some(&Err(StreamAppendError::Conflict(log_id(3, 3)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    stub.inbound.answers.add_permits(2);
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let begun = Instant::now();
    let requests = stream::iter((1..=5).map(one_entry)).chain(stream::pending());
    let mut answers = link.stream_append(requests, option()).await.expect("a stream");
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    let last = answers.next().await;
    assert!(matches!(last, Some(Err(RPCError::Timeout(_)))), "{last:?}");
    assert!(answers.next().await.is_none());
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_with_nothing_to_answer_is_no_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    stub.inbound.answers.add_permits(1000);
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let (requests, input) = mpsc::channel(1);
    requests.send(one_entry(1)).await.expect("it is read");
    let mut answers = link.stream_append(ReceiverStream::new(input), option()).await.expect("a stream");
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    let idle = tokio::time::timeout(Duration::from_millis(700), answers.next()).await;
    assert!(idle.is_err(), "{idle:?}");
    requests.send(one_entry(2)).await.expect("it is read");
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    drop(requests);
    assert!(answers.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_has_stopped_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    stub.inbound.answers.add_permits(1000);
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let (requests, input) = mpsc::channel(1);
    requests.send(one_entry(1)).await.expect("it is read");
    let mut answers = link.stream_append(ReceiverStream::new(input), option()).await.expect("a stream");
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    drop(answers);
    assert!(requests.is_closed(), "at once, and not when the connection notices");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dialled_before_there_is_something_to_send() {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = Stub::start(dir.path(), None).await;
    let mut link = stub.links().new_client(STUB.id, &MEMBER).await;
    let waiting =
        tokio::time::timeout(Duration::from_millis(100), link.stream_append(stream::pending(), option())).await;
    assert!(waiting.is_err(), "it waits where the pause after a failure is spent");
    drop(waiting);
    let mut answers = link.stream_append(stream::empty(), option()).await.expect("a stream");
    assert!(answers.next().await.is_none());
}
