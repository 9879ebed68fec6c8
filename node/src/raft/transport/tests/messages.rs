//! Every message means the same on both ends, and nonsense is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use carrel_proto::peer::v1 as wire;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use crate::raft::peers::{LocalStatus, Proposed};
use crate::raft::snapshots::{Announced, BodySum, StateHash};
use crate::raft::transport::Served;
use crate::raft::transport::convert::{Malformed, PreVote, ReadIndex, SnapshotHeader, SnapshotPart, Wire};
use crate::raft::types::{
    Command, CommittedLeaderId, Entry, INDEX_MAX, LogId, Member, Membership, Payload, SnapshotMeta, StoredMembership,
    Vote,
};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// All that are taken at their word.
fn terms() -> impl Strategy<Value = u64> {
    0..=1u64 << 48
}

prop_compose! {
    fn log_ids()(term in terms(), index in 0..=INDEX_MAX) -> LogId { log_id(term, index) }
}
prop_compose! {
    fn candidacies()(term in terms(), id: u64) -> Vote { Vote::new(term, id) }
}
prop_compose! {
    fn votes()(term in terms(), id: u64, committed: bool) -> Vote {
        if committed { Vote::new_committed(term, id) } else { Vote::new(term, id) }
    }
}
prop_compose! {
    fn memberships()(
        nodes in btree_map(any::<u64>(), any::<u32>(), 1..6),
        picks in vec(vec(any::<prop::sample::Index>(), 1..4), 1..3),
    ) -> Membership {
        let ids: Vec<u64> = nodes.keys().copied().collect();
        let voters = |picks: &Vec<prop::sample::Index>| picks.iter().map(|pick| *pick.get(&ids)).collect();
        let voters: Vec<BTreeSet<u64>> = picks.iter().map(voters).collect();
        let nodes: BTreeMap<u64, Member> = nodes.into_iter().map(|(id, ordinal)| (id, Member { ordinal })).collect();
        Membership::new(voters, nodes).expect("voters were picked from the nodes")
    }
}

fn payloads() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        (any::<i64>(), vec(any::<u8>(), 0..40)).prop_map(|(at, body)| Payload::Normal(Command {
            at,
            body: Bytes::from(body),
            trace: None
        })),
        memberships().prop_map(Payload::Membership),
    ]
}

prop_compose! {
    /// Entries that follow each other, as a leader has them.
    fn appends()(
        previous in option::of((0u64..9, 0u64..1 << 40)),
        steps in vec((0u64..3, payloads()), 0..5),
        later in 0u64..3,
        id: u64,
        leader_commit in option::of(log_ids()),
    ) -> AppendEntriesRequest<Served> {
        let (mut term, mut next) = previous.map_or((0, 0), |(term, index)| (term, index + 1));
        let mut entries = Vec::new();
        for (rise, payload) in steps {
            term += rise;
            entries.push(Entry { log_id: log_id(term, next), payload });
            next += 1;
        }
        let prev_log_id = previous.map(|(term, index)| log_id(term, index));
        AppendEntriesRequest { vote: Vote::new_committed(term + later, id), prev_log_id, entries, leader_commit }
    }
}
prop_compose! {
    fn headers()(
        (term, index, later, id) in (0u64..1 << 40, 0..=INDEX_MAX, 0u64..9, any::<u64>()),
        (bytes, checksum) in (any::<u64>(), any::<u32>()),
        membership_at in option::of(log_ids()),
        membership in memberships(),
    ) -> SnapshotHeader {
        let last_membership = StoredMembership::new(membership_at, membership);
        let meta = SnapshotMeta { last_log_id: Some(log_id(term, index)), last_membership };
        let announced = Announced { meta, body: BodySum { bytes, checksum } };
        SnapshotHeader { vote: Vote::new_committed(term + later, id), announced, offset: bytes / (1 + later) }
    }
}

/// To bytes and back.
fn round_trip<T>(said: T)
where
    T: Wire + Clone + Debug,
    T::Message: Message + Default,
{
    let bytes = said.clone().to_wire().encode_to_vec();
    let arrived = T::Message::decode(bytes.as_slice()).expect("what was encoded");
    let heard = T::from_wire(arrived).expect("what was said");
    // Not every type of openraft's can be compared; all of them say everything about themselves.
    assert_eq!(format!("{heard:?}"), format!("{said:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appends_arrive_as_they_were_sent(append in appends()) {
        round_trip(append);
    }

    #[test]
    fn elections_arrive_as_they_were_sent(
        candidacy in candidacies(),
        vote in votes(),
        last in option::of(log_ids()),
        flag: bool,
        to: u64,
    ) {
        let question = VoteRequest::<Served> { vote: candidacy, last_log_id: last, leadership_transfer: flag };
        let answer = VoteResponse::<Served> { vote, vote_granted: flag, last_log_id: last };
        round_trip(question.clone());
        round_trip(PreVote(question));
        round_trip(answer.clone());
        round_trip(PreVote(answer));
        round_trip(TransferLeaderRequest::<Served>::new(vote, to, last));
    }

    #[test]
    fn answers_arrive_as_they_were_sent(
        one in votes(),
        other in votes(),
        last in option::of(log_ids()),
        at in log_ids(),
    ) {
        for answer in [
            AppendEntriesResponse::<Served>::Success,
            AppendEntriesResponse::PartialSuccess(last),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(one),
        ] {
            round_trip(answer);
        }
        for answer in [Ok(last), Err(StreamAppendError::Conflict(at)), Err(StreamAppendError::HigherVote(one))] {
            round_trip::<StreamAppendResult<Served>>(answer);
        }
        for answer in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected: one, actual: other }),
            Err(TransferLeaderError::LogNotFlushed { expected: last, actual: Some(at) }),
            Err(TransferLeaderError::LogNotFlushed { expected: Some(at), actual: last }),
        ] {
            round_trip::<TransferLeaderResponse<Served>>(answer);
        }
        round_trip(SnapshotResponse::<Served>::new(one));
        round_trip(ReadIndex(at));
    }

    #[test]
    fn snapshots_arrive_as_they_were_sent(header in headers(), chunk in vec(any::<u8>(), 1..40)) {
        round_trip(SnapshotPart::Header(Box::new(header)));
        round_trip(SnapshotPart::Chunk(Bytes::from(chunk)));
    }

    #[test]
    fn the_rest_arrives_as_it_was_sent(
        numbers: [u64; 5],
        leader in option::of(any::<u64>()),
        hash in option::of((any::<u64>(), any::<[u8; 32]>())),
        reply in vec(any::<u8>(), 0..40),
    ) {
        let [last_log_index, commit_index, applied_index, snapshot_index, term] = numbers;
        let state_hash = hash.map(|(index, sha256)| StateHash { index, sha256 });
        round_trip(LocalStatus {
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            term,
            leader,
            state_hash,
            is_disk_full: term % 2 == 0,
            level: u32::from(term % 3 == 0),
        });
        round_trip(Proposed::Committed { index: term, reply: Bytes::from(reply) });
        round_trip(Proposed::NotProposed { leader });
        round_trip(Proposed::Unknown);
        round_trip(Proposed::Overloaded);
        round_trip(Proposed::Full);
    }

    /// Whatever bytes come: understood or refused, never a panic.
    #[test]
    fn noise_is_harmless(noise in vec(any::<u8>(), 0..60)) {
        fn hear<T: Wire>(noise: &[u8]) where T::Message: Message + Default {
            if let Ok(message) = T::Message::decode(noise) {
                let _ = T::from_wire(message);
            }
        }
        hear::<AppendEntriesRequest<Served>>(&noise);
        hear::<VoteRequest<Served>>(&noise);
        hear::<VoteResponse<Served>>(&noise);
        hear::<TransferLeaderResponse<Served>>(&noise);
        hear::<StreamAppendResult<Served>>(&noise);
        hear::<SnapshotPart>(&noise);
        hear::<Membership>(&noise);
        hear::<Proposed>(&noise);
    }
}

fn refused<T: Wire + Debug>(message: T::Message) -> &'static str {
    let Malformed(why) = T::from_wire(message).expect_err("nonsense");
    why
}

#[test]
fn what_says_nothing_is_refused() {
    type Append = AppendEntriesRequest<Served>;
    assert_eq!(refused::<Append>(Default::default()), "an append without a vote");
    assert_eq!(refused::<VoteRequest<Served>>(Default::default()), "a request for a vote without the vote");
    assert_eq!(refused::<AppendEntriesResponse<Served>>(Default::default()), "an answer to an append without a result");
    assert_eq!(refused::<Proposed>(Default::default()), "an answer to a proposal without a result");
    assert_eq!(refused::<Entry>(Default::default()), "an entry of a kind this version does not know");
    assert_eq!(refused::<ReadIndex>(Default::default()), "an answer about a read without a log id");
    let empty = wire::install_snapshot_request::Part::Chunk(Bytes::new());
    assert_eq!(
        refused::<SnapshotPart>(wire::InstallSnapshotRequest { part: Some(empty) }),
        "an empty chunk of a snapshot"
    );
}

#[test]
fn what_a_leader_would_never_say_is_refused() {
    let blank = |term, index| Entry { log_id: log_id(term, index), payload: Payload::Blank };
    let append = |vote, previous, entries| {
        let request = AppendEntriesRequest::<Served> { vote, prev_log_id: previous, entries, leader_commit: None };
        AppendEntriesRequest::<Served>::from_wire(request.to_wire()).map(|_| ()).map_err(|Malformed(why)| why)
    };
    let leader = Vote::new_committed(3, 1);
    let gap = Err("an append whose entries do not follow each other");
    let terms = Err("an append whose terms go back, or beyond that of its leader");
    assert_eq!(append(leader, None, vec![blank(0, 0), blank(1, 1), blank(3, 2)]), Ok(()));
    assert_eq!(append(leader, None, vec![blank(1, 1)]), gap);
    assert_eq!(append(leader, Some(log_id(1, 4)), vec![blank(1, 5), blank(1, 7)]), gap);
    assert_eq!(append(leader, Some(log_id(1, INDEX_MAX)), vec![blank(1, 0)]), gap);
    assert_eq!(append(leader, Some(log_id(2, 4)), vec![blank(1, 5)]), terms);
    assert_eq!(append(leader, Some(log_id(2, 4)), vec![blank(4, 5)]), terms);
    assert_eq!(append(Vote::new(3, 1), None, Vec::new()), Err("an append by a node that was not elected"));
}

#[test]
fn an_index_behind_which_nothing_can_be_counted_is_refused() {
    assert!(LogId::from_wire(wire::LogId { term: 1, index: INDEX_MAX }).is_ok());
    for index in [INDEX_MAX + 1, u64::MAX] {
        assert_eq!(refused::<LogId>(wire::LogId { term: 1, index }), "an index that no log can have come to");
    }
}

#[test]
fn a_term_after_which_there_could_be_no_other_is_refused() {
    let ballot = |term| wire::Ballot { term, node_id: 1, committed: true };
    let why = "a term that no cluster can have come to";
    assert!(Vote::from_wire(ballot(1 << 48)).is_ok());
    for term in [(1 << 48) + 1, u64::MAX] {
        assert_eq!(refused::<Vote>(ballot(term)), why);
        assert_eq!(refused::<LogId>(wire::LogId { term, index: 3 }), why);
    }
}

#[test]
fn a_membership_that_is_none_is_refused() {
    let set = |ids: &[u64]| wire::membership::VoterSet { ids: ids.to_vec() };
    let member = |id| wire::membership::Member { id, ordinal: 0 };
    let refused = |configs, members| refused::<Membership>(wire::Membership { configs, members });
    let incomplete = "a membership has an empty set of voters, or a voter that is no node";
    assert_eq!(refused(vec![set(&[1, 1])], vec![member(1)]), "a membership names a voter twice");
    assert_eq!(refused(vec![set(&[1])], vec![member(1), member(1)]), "a membership names a node twice");
    assert_eq!(refused(vec![set(&[1, 2])], vec![member(1)]), incomplete);
    assert_eq!(refused(vec![set(&[])], vec![member(1)]), incomplete);
}
