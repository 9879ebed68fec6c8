//! openraft's stored types as bytes, shared by the log and the snapshots: little-endian, fixed widths, no padding.
//!
//! The layout is part of the formats of both; a change of it is a new version of each.
//!
//! ```text
//! log id       term u64, index u64
//! vote         term u64, voted for u64, committed u8
//! membership   configurations u16, each: voters u16, each u64; nodes u16, each: id u64, ordinal u32
//! payload      0 blank | 1 command: at i64, length u32, body | 2 membership
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::raft::types::{Command, CommittedLeaderId, INDEX_MAX, LogId, Member, Membership, Payload, Vote};

/// What does not decode, in words for a person.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub &'static str);

const ENDS: Undecodable = Undecodable("it ends in the middle of a value");

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

pub fn put_log_id(out: &mut Vec<u8>, log_id: &LogId) {
    out.extend_from_slice(&log_id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&log_id.index.to_le_bytes());
}

pub fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    out.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    out.push(u8::from(vote.committed));
}

pub fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    put_count(out, membership.get_joint_config().len());
    for voters in membership.get_joint_config() {
        put_count(out, voters.len());
        for id in voters {
            out.extend_from_slice(&id.to_le_bytes());
        }
    }
    put_count(out, membership.nodes().count());
    for (id, member) in membership.nodes() {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&member.ordinal.to_le_bytes());
    }
}

/// The body is copied here, and nowhere else on its way to the disk.
pub fn put_payload(out: &mut Vec<u8>, payload: &Payload) {
    match payload {
        Payload::Blank => out.push(BLANK),
        Payload::Normal(command) => {
            out.push(COMMAND);
            out.extend_from_slice(&command.at.to_le_bytes());
            let length =
                u32::try_from(command.body.len()).expect("a request is far below 4 GiB, the door sees to that");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&command.body);
        }
        Payload::Membership(membership) => {
            out.push(MEMBERSHIP);
            put_membership(out, membership);
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("a cluster has a handful of nodes");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Takes values off the front of a slice.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ENDS)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(ENDS)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Undecodable> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Undecodable> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Undecodable> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Undecodable> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Undecodable> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn flag(&mut self) -> Result<bool, Undecodable> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Undecodable("a flag is neither 0 nor 1")),
        }
    }

    pub fn log_id(&mut self) -> Result<LogId, Undecodable> {
        let (term, index) = (self.u64()?, self.u64()?);
        if index > INDEX_MAX {
            return Err(Undecodable("an index that no log can have come to"));
        }
        Ok(LogId::new(CommittedLeaderId::new(term), index))
    }

    pub fn vote(&mut self) -> Result<Vote, Undecodable> {
        let (term, voted_for) = (self.u64()?, self.u64()?);
        Ok(if self.flag()? { Vote::new_committed(term, voted_for) } else { Vote::new(term, voted_for) })
    }

    pub fn membership(&mut self) -> Result<Membership, Undecodable> {
        let mut configurations = Vec::new();
        for _ in 0..self.u16()? {
            let mut voters = BTreeSet::new();
            for _ in 0..self.u16()? {
                voters.insert(self.u64()?);
            }
            configurations.push(voters);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.u16()? {
            let id = self.u64()?;
            nodes.insert(id, Member { ordinal: self.u32()? });
        }
        Membership::new(configurations, nodes).map_err(|_| Undecodable("a membership names a voter that is no node"))
    }

    /// The body is copied out, so that one entry kept does not keep a whole segment in memory.
    pub fn payload(&mut self) -> Result<Payload, Undecodable> {
        match self.u8()? {
            BLANK => Ok(Payload::Blank),
            COMMAND => {
                let at = self.i64()?;
                let length = self.u32()? as usize;
                Ok(Payload::Normal(Command { at, body: Bytes::copy_from_slice(self.bytes(length)?), trace: None }))
            }
            MEMBERSHIP => Ok(Payload::Membership(self.membership()?)),
            _ => Err(Undecodable("an entry is of a kind this version does not know")),
        }
    }
}
