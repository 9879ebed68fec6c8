//! The one translation between `carrel.peer.v1` and openraft's types.
//!
//! What arrives is checked here for all that the types behind it take for granted, so that a malformed message is
//! refused and never meets an assertion of openraft's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use carrel_proto::peer::v1 as wire;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft_rt::AsyncRuntime;
use thiserror::Error;

use crate::raft::peers::{LocalStatus, Proposed};
use crate::raft::snapshots::{Announced, BodySum, StateHash};
use crate::raft::types::{
    Command, CommittedLeaderId, Entry, INDEX_MAX, LogId, Member, Membership, Payload, SnapshotMeta, StoredMembership,
    Types, Vote,
};
use crate::traces::TraceParent;

/// A message that says nothing sensible, in words for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// What travels, and how.
pub trait Wire: Sized {
    type Message;
    fn to_wire(self) -> Self::Message;
    fn from_wire(message: Self::Message) -> Result<Self, Malformed>;
}

/// What precedes a snapshot's chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub vote: Vote,
    pub announced: Announced,
    /// Where the chunks begin: what is before has arrived already.
    pub offset: u64,
}

/// The log id at which a read may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex(pub LogId);

/// Elections that there can be: one each millisecond for thousands of years. Whoever took a term near the end of the
/// numbers at its word could never stand for election again, nor could anybody.
const TERM_MAX: u64 = 1 << 48;

fn plausible(term: u64) -> Result<u64, Malformed> {
    if term <= TERM_MAX { Ok(term) } else { Err(Malformed("a term that no cluster can have come to")) }
}

/// A part that every message of its kind has.
fn required<T: Wire>(part: Option<T::Message>, or_else: &'static str) -> Result<T, Malformed> {
    T::from_wire(part.ok_or(Malformed(or_else))?)
}

fn optional<T: Wire>(part: Option<T::Message>) -> Result<Option<T>, Malformed> {
    part.map(T::from_wire).transpose()
}

impl Wire for LogId {
    type Message = wire::LogId;

    fn to_wire(self) -> wire::LogId {
        wire::LogId { term: self.leader_id.term, index: self.index }
    }

    fn from_wire(message: wire::LogId) -> Result<Self, Malformed> {
        let wire::LogId { term, index } = message;
        if index > INDEX_MAX {
            return Err(Malformed("an index that no log can have come to"));
        }
        Ok(LogId::new(CommittedLeaderId::new(plausible(term)?), index))
    }
}

impl Wire for Vote {
    type Message = wire::Ballot;

    fn to_wire(self) -> wire::Ballot {
        wire::Ballot { term: self.leader_id.term, node_id: self.leader_id.voted_for, committed: self.committed }
    }

    fn from_wire(message: wire::Ballot) -> Result<Self, Malformed> {
        let wire::Ballot { term, node_id, committed } = message;
        let term = plausible(term)?;
        Ok(if committed { Vote::new_committed(term, node_id) } else { Vote::new(term, node_id) })
    }
}

impl Wire for Membership {
    type Message = wire::Membership;

    fn to_wire(self) -> wire::Membership {
        let voters = |ids: &BTreeSet<u64>| wire::membership::VoterSet { ids: ids.iter().copied().collect() };
        let member = |(id, member): (&u64, &Member)| wire::membership::Member { id: *id, ordinal: member.ordinal };
        wire::Membership {
            configs: self.get_joint_config().iter().map(voters).collect(),
            members: self.nodes().map(member).collect(),
        }
    }

    fn from_wire(message: wire::Membership) -> Result<Self, Malformed> {
        let wire::Membership { configs, members } = message;
        let mut voters = Vec::new();
        for wire::membership::VoterSet { ids } in configs {
            let named = ids.len();
            let set: BTreeSet<u64> = ids.into_iter().collect();
            if set.len() != named {
                return Err(Malformed("a membership names a voter twice"));
            }
            voters.push(set);
        }
        let mut nodes = BTreeMap::new();
        for wire::membership::Member { id, ordinal } in members {
            if nodes.insert(id, Member { ordinal }).is_some() {
                return Err(Malformed("a membership names a node twice"));
            }
        }
        Membership::new(voters, nodes)
            .map_err(|_| Malformed("a membership has an empty set of voters, or a voter that is no node"))
    }
}

impl Wire for Entry {
    type Message = wire::Entry;

    fn to_wire(self) -> wire::Entry {
        let payload = match self.payload {
            Payload::Blank => wire::entry::Payload::Blank(wire::entry::Blank {}),
            Payload::Normal(Command { at, body, trace }) => {
                let trace = trace.map_or_else(Default::default, |trace| trace.to_bytes().to_vec().into());
                wire::entry::Payload::Command(wire::entry::Command { at, body, trace })
            }
            Payload::Membership(membership) => wire::entry::Payload::Membership(membership.to_wire()),
        };
        wire::Entry { log_id: Some(self.log_id.to_wire()), payload: Some(payload) }
    }

    fn from_wire(message: wire::Entry) -> Result<Self, Malformed> {
        let wire::Entry { log_id, payload } = message;
        let payload = match payload.ok_or(Malformed("an entry of a kind this version does not know"))? {
            wire::entry::Payload::Blank(wire::entry::Blank {}) => Payload::Blank,
            // A trace that says nothing sensible is none.
            wire::entry::Payload::Command(wire::entry::Command { at, body, trace }) => {
                Payload::Normal(Command { at, body, trace: TraceParent::from_bytes(&trace) })
            }
            wire::entry::Payload::Membership(membership) => Payload::Membership(Membership::from_wire(membership)?),
        };
        Ok(Entry { log_id: required(log_id, "an entry without a log id")?, payload })
    }
}

impl<RT: AsyncRuntime> Wire for AppendEntriesRequest<Types<RT>> {
    type Message = wire::AppendEntriesRequest;

    fn to_wire(self) -> wire::AppendEntriesRequest {
        wire::AppendEntriesRequest {
            vote: Some(self.vote.to_wire()),
            prev_log_id: self.prev_log_id.map(Wire::to_wire),
            entries: self.entries.into_iter().map(Wire::to_wire).collect(),
            leader_commit: self.leader_commit.map(Wire::to_wire),
        }
    }

    fn from_wire(message: wire::AppendEntriesRequest) -> Result<Self, Malformed> {
        let wire::AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = message;
        let request = Self {
            vote: required(vote, "an append without a vote")?,
            prev_log_id: optional(prev_log_id)?,
            entries: entries.into_iter().map(Entry::from_wire).collect::<Result<_, _>>()?,
            leader_commit: optional(leader_commit)?,
        };
        if !request.vote.committed {
            return Err(Malformed("an append by a node that was not elected"));
        }
        let (mut term, mut next) = match request.prev_log_id {
            Some(previous) => (previous.leader_id.term, previous.index.checked_add(1)),
            None => (0, Some(0)),
        };
        for Entry { log_id, .. } in &request.entries {
            if next != Some(log_id.index) {
                return Err(Malformed("an append whose entries do not follow each other"));
            }
            if log_id.leader_id.term < term || log_id.leader_id.term > request.vote.leader_id.term {
                return Err(Malformed("an append whose terms go back, or beyond that of its leader"));
            }
            (term, next) = (log_id.leader_id.term, log_id.index.checked_add(1));
        }
        Ok(request)
    }
}

impl<RT: AsyncRuntime> Wire for AppendEntriesResponse<Types<RT>> {
    type Message = wire::AppendEntriesResponse;

    fn to_wire(self) -> wire::AppendEntriesResponse {
        use wire::append_entries_response::{Conflict, PartialSuccess, Result, Success};
        let result = match self {
            Self::Success => Result::Success(Success {}),
            Self::PartialSuccess(log_id) => {
                Result::PartialSuccess(PartialSuccess { log_id: log_id.map(Wire::to_wire) })
            }
            Self::Conflict => Result::Conflict(Conflict {}),
            Self::HigherVote(vote) => Result::HigherVote(vote.to_wire()),
        };
        wire::AppendEntriesResponse { result: Some(result) }
    }

    fn from_wire(message: wire::AppendEntriesResponse) -> Result<Self, Malformed> {
        use wire::append_entries_response::{Conflict, PartialSuccess, Result, Success};
        Ok(match message.result.ok_or(Malformed("an answer to an append without a result"))? {
            Result::Success(Success {}) => Self::Success,
            Result::PartialSuccess(PartialSuccess { log_id }) => Self::PartialSuccess(optional(log_id)?),
            Result::Conflict(Conflict {}) => Self::Conflict,
            Result::HigherVote(vote) => Self::HigherVote(Vote::from_wire(vote)?),
        })
    }
}

impl<RT: AsyncRuntime> Wire for StreamAppendResult<Types<RT>> {
    type Message = wire::StreamAppendResponse;

    fn to_wire(self) -> wire::StreamAppendResponse {
        use wire::stream_append_response::{Matched, Result};
        let result = match self {
            Ok(log_id) => Result::Matched(Matched { log_id: log_id.map(Wire::to_wire) }),
            Err(StreamAppendError::Conflict(log_id)) => Result::Conflict(log_id.to_wire()),
            Err(StreamAppendError::HigherVote(vote)) => Result::HigherVote(vote.to_wire()),
        };
        wire::StreamAppendResponse { result: Some(result) }
    }

    fn from_wire(message: wire::StreamAppendResponse) -> Result<Self, Malformed> {
        use wire::stream_append_response::{Matched, Result};
        Ok(match message.result.ok_or(Malformed("an answer to an append without a result"))? {
            Result::Matched(Matched { log_id }) => Ok(optional(log_id)?),
            Result::Conflict(log_id) => Err(StreamAppendError::Conflict(LogId::from_wire(log_id)?)),
            Result::HigherVote(vote) => Err(StreamAppendError::HigherVote(Vote::from_wire(vote)?)),
        })
    }
}

impl<RT: AsyncRuntime> Wire for VoteRequest<Types<RT>> {
    type Message = wire::VoteRequest;

    fn to_wire(self) -> wire::VoteRequest {
        wire::VoteRequest {
            vote: Some(self.vote.to_wire()),
            last_log_id: self.last_log_id.map(Wire::to_wire),
            leadership_transfer: self.leadership_transfer,
        }
    }

    fn from_wire(message: wire::VoteRequest) -> Result<Self, Malformed> {
        let wire::VoteRequest { vote, last_log_id, leadership_transfer } = message;
        let vote: Vote = required(vote, "a request for a vote without the vote")?;
        if vote.committed {
            return Err(Malformed("a request for a vote by a node that has been elected"));
        }
        Ok(Self { vote, last_log_id: optional(last_log_id)?, leadership_transfer })
    }
}

impl<RT: AsyncRuntime> Wire for VoteResponse<Types<RT>> {
    type Message = wire::VoteResponse;

    fn to_wire(self) -> wire::VoteResponse {
        wire::VoteResponse {
            vote: Some(self.vote.to_wire()),
            granted: self.vote_granted,
            last_log_id: self.last_log_id.map(Wire::to_wire),
        }
    }

    fn from_wire(message: wire::VoteResponse) -> Result<Self, Malformed> {
        let wire::VoteResponse { vote, granted, last_log_id } = message;
        let vote = required(vote, "an answer to a request for a vote without the vote")?;
        Ok(Self { vote, vote_granted: granted, last_log_id: optional(last_log_id)? })
    }
}

/// A vote that is asked or given for the sake of knowing only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreVote<T>(pub T);

impl<RT: AsyncRuntime> Wire for PreVote<VoteRequest<Types<RT>>> {
    type Message = wire::PreVoteRequest;

    fn to_wire(self) -> wire::PreVoteRequest {
        wire::PreVoteRequest { vote: Some(self.0.to_wire()) }
    }

    fn from_wire(message: wire::PreVoteRequest) -> Result<Self, Malformed> {
        let wire::PreVoteRequest { vote } = message;
        Ok(Self(required(vote, "a question about a vote without the vote")?))
    }
}

impl<RT: AsyncRuntime> Wire for PreVote<VoteResponse<Types<RT>>> {
    type Message = wire::PreVoteResponse;

    fn to_wire(self) -> wire::PreVoteResponse {
        wire::PreVoteResponse { vote: Some(self.0.to_wire()) }
    }

    fn from_wire(message: wire::PreVoteResponse) -> Result<Self, Malformed> {
        let wire::PreVoteResponse { vote } = message;
        Ok(Self(required(vote, "an answer about a vote without the vote")?))
    }
}

impl<RT: AsyncRuntime> Wire for TransferLeaderRequest<Types<RT>> {
    type Message = wire::TransferLeaderRequest;

    fn to_wire(self) -> wire::TransferLeaderRequest {
        wire::TransferLeaderRequest {
            from_leader: Some(self.from_leader().to_wire()),
            to_node_id: *self.to_node_id(),
            last_log_id: self.last_log_id().copied().map(Wire::to_wire),
        }
    }

    fn from_wire(message: wire::TransferLeaderRequest) -> Result<Self, Malformed> {
        let wire::TransferLeaderRequest { from_leader, to_node_id, last_log_id } = message;
        let from_leader = required(from_leader, "leadership handed over without the leader's vote")?;
        Ok(Self::new(from_leader, to_node_id, optional(last_log_id)?))
    }
}

impl<RT: AsyncRuntime> Wire for TransferLeaderResponse<Types<RT>> {
    type Message = wire::TransferLeaderResponse;

    fn to_wire(self) -> wire::TransferLeaderResponse {
        use wire::transfer_leader_response::{Accepted, LogNotFlushed, Result, VoteChanged};
        let result = match self {
            Ok(()) => Result::Accepted(Accepted {}),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Result::VoteChanged(VoteChanged { expected: Some(expected.to_wire()), actual: Some(actual.to_wire()) })
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Result::LogNotFlushed(LogNotFlushed {
                expected: expected.map(Wire::to_wire),
                actual: actual.map(Wire::to_wire),
            }),
        };
        wire::TransferLeaderResponse { result: Some(result) }
    }

    fn from_wire(message: wire::TransferLeaderResponse) -> Result<Self, Malformed> {
        use wire::transfer_leader_response::{Accepted, LogNotFlushed, Result, VoteChanged};
        const NO_VOTE: &str = "an answer about a changed vote without the vote";
        Ok(match message.result.ok_or(Malformed("an answer about leadership without a result"))? {
            Result::Accepted(Accepted {}) => Ok(()),
            Result::VoteChanged(VoteChanged { expected, actual }) => Err(TransferLeaderError::VoteChanged {
                expected: required(expected, NO_VOTE)?,
                actual: required(actual, NO_VOTE)?,
            }),
            Result::LogNotFlushed(LogNotFlushed { expected, actual }) => {
                Err(TransferLeaderError::LogNotFlushed { expected: optional(expected)?, actual: optional(actual)? })
            }
        })
    }
}

impl Wire for SnapshotHeader {
    type Message = wire::install_snapshot_request::Header;

    fn to_wire(self) -> Self::Message {
        let Self { vote, announced: Announced { meta, body }, offset } = self;
        let SnapshotMeta { last_log_id, last_membership } = meta;
        Self::Message {
            vote: Some(vote.to_wire()),
            last_log_id: last_log_id.map(Wire::to_wire),
            membership_log_id: last_membership.log_id().map(Wire::to_wire),
            membership: Some(last_membership.membership().clone().to_wire()),
            body_bytes: body.bytes,
            body_checksum: body.checksum,
            offset,
        }
    }

    fn from_wire(message: Self::Message) -> Result<Self, Malformed> {
        let Self::Message { vote, last_log_id, membership_log_id, membership, body_bytes, body_checksum, offset } =
            message;
        let vote: Vote = required(vote, "a snapshot without its leader's vote")?;
        if !vote.committed {
            return Err(Malformed("a snapshot by a node that was not elected"));
        }
        let last_log_id: LogId = required(last_log_id, "a snapshot of an empty log")?;
        if last_log_id.leader_id.term > vote.leader_id.term {
            return Err(Malformed("a snapshot from beyond its leader's term"));
        }
        if offset > body_bytes {
            return Err(Malformed("a snapshot that goes on from beyond its end"));
        }
        let membership = required(membership, "a snapshot without a membership")?;
        let last_membership = StoredMembership::new(optional(membership_log_id)?, membership);
        let meta = SnapshotMeta { last_log_id: Some(last_log_id), last_membership };
        let body = BodySum { bytes: body_bytes, checksum: body_checksum };
        Ok(Self { vote, announced: Announced { meta, body }, offset })
    }
}

impl<RT: AsyncRuntime> Wire for SnapshotResponse<Types<RT>> {
    type Message = wire::InstallSnapshotResponse;

    fn to_wire(self) -> wire::InstallSnapshotResponse {
        wire::InstallSnapshotResponse { vote: Some(self.vote.to_wire()) }
    }

    fn from_wire(message: wire::InstallSnapshotResponse) -> Result<Self, Malformed> {
        let wire::InstallSnapshotResponse { vote } = message;
        Ok(Self { vote: required(vote, "an answer to a snapshot without the vote")? })
    }
}

impl Wire for Proposed {
    type Message = wire::Proposed;

    fn to_wire(self) -> wire::Proposed {
        use wire::proposed::{Committed, Full, NotProposed, Overloaded, Result, Unknown};
        let result = match self {
            Self::Committed { index, reply } => Result::Committed(Committed { index, reply }),
            Self::NotProposed { leader } => Result::NotProposed(NotProposed { leader }),
            Self::Unknown => Result::Unknown(Unknown {}),
            Self::Overloaded => Result::Overloaded(Overloaded {}),
            Self::Full => Result::Full(Full {}),
        };
        wire::Proposed { result: Some(result) }
    }

    fn from_wire(message: wire::Proposed) -> Result<Self, Malformed> {
        use wire::proposed::{Committed, Full, NotProposed, Overloaded, Result, Unknown};
        Ok(match message.result.ok_or(Malformed("an answer to a proposal without a result"))? {
            Result::Committed(Committed { index, reply }) => Self::Committed { index, reply },
            Result::NotProposed(NotProposed { leader }) => Self::NotProposed { leader },
            Result::Unknown(Unknown {}) => Self::Unknown,
            Result::Overloaded(Overloaded {}) => Self::Overloaded,
            Result::Full(Full {}) => Self::Full,
        })
    }
}

impl Wire for ReadIndex {
    type Message = wire::ReadIndexResponse;

    fn to_wire(self) -> wire::ReadIndexResponse {
        wire::ReadIndexResponse { read_log_id: Some(self.0.to_wire()) }
    }

    fn from_wire(message: wire::ReadIndexResponse) -> Result<Self, Malformed> {
        let wire::ReadIndexResponse { read_log_id } = message;
        Ok(Self(required(read_log_id, "an answer about a read without a log id")?))
    }
}

impl Wire for LocalStatus {
    type Message = wire::ReadStatusResponse;

    fn to_wire(self) -> wire::ReadStatusResponse {
        let Self {
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            term,
            leader,
            state_hash,
            is_disk_full,
            level,
        } = self;
        let state_hash =
            state_hash.map(|StateHash { index, sha256 }| wire::StateHash { index, sha256: sha256.to_vec().into() });
        wire::ReadStatusResponse {
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            term,
            leader,
            state_hash,
            is_disk_full,
            level,
        }
    }

    fn from_wire(message: wire::ReadStatusResponse) -> Result<Self, Malformed> {
        let wire::ReadStatusResponse {
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            term,
            leader,
            state_hash,
            is_disk_full,
            level,
        } = message;
        let state_hash = match state_hash {
            None => None,
            Some(wire::StateHash { index, sha256 }) => {
                let sha256 = sha256.as_ref().try_into().map_err(|_| Malformed("a state's hash without 32 bytes"))?;
                Some(StateHash { index, sha256 })
            }
        };
        Ok(Self {
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            term,
            leader,
            state_hash,
            is_disk_full,
            level,
        })
    }
}

/// A chunk's bytes, or the header that comes before all chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    Header(Box<SnapshotHeader>),
    Chunk(Bytes),
}

impl Wire for SnapshotPart {
    type Message = wire::InstallSnapshotRequest;

    fn to_wire(self) -> wire::InstallSnapshotRequest {
        use wire::install_snapshot_request::Part;
        let part = match self {
            Self::Header(header) => Part::Header(header.to_wire()),
            Self::Chunk(bytes) => Part::Chunk(bytes),
        };
        wire::InstallSnapshotRequest { part: Some(part) }
    }

    fn from_wire(message: wire::InstallSnapshotRequest) -> Result<Self, Malformed> {
        use wire::install_snapshot_request::Part;
        Ok(match message.part.ok_or(Malformed("a part of a snapshot that is neither its header nor a chunk"))? {
            Part::Header(header) => Self::Header(Box::new(SnapshotHeader::from_wire(header)?)),
            Part::Chunk(bytes) if bytes.is_empty() => return Err(Malformed("an empty chunk of a snapshot")),
            Part::Chunk(bytes) => Self::Chunk(bytes),
        })
    }
}
