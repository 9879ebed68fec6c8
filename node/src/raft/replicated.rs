//! What is replicated, and its bytes: the library, the cluster's record, and which entry and membership they belong to.
//!
//! The one place where an entry changes a state, for a node that runs and for a volume that is worked on without one.

use std::io;
use std::sync::Arc;

use carrel_domain::event::Event;
use carrel_domain::format::{self, DecodeError, SnapshotReader};
use carrel_domain::reply::Applied;
use carrel_domain::request::At;
use carrel_domain::state::State;
use carrel_domain::time::Timestamp;

use crate::raft::cluster::ClusterRecord;
use crate::raft::log_request::LogRequest;
use crate::raft::types::{Command, LogId, Payload, Response, SnapshotMeta, StoredMembership};
use crate::raft::views::Published;

/// A good size to write and to send.
const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// Longest encoding of the cluster's record that is believed: ten thousand nodes fit twice.
const RECORD_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct Replicated {
    pub library: State,
    pub cluster: Arc<ClusterRecord>,
    pub applied: Option<LogId>,
    pub membership: Arc<StoredMembership>,
}

impl Replicated {
    /// What a snapshot holds.
    pub fn of(decoded: Decoded, meta: &SnapshotMeta) -> Self {
        Self {
            library: decoded.library,
            cluster: Arc::new(decoded.cluster),
            applied: meta.last_log_id,
            membership: Arc::new(meta.last_membership.clone()),
        }
    }

    /// What it gives to whoever proposed it, and what it made happen.
    pub fn apply(&mut self, log_id: LogId, payload: Payload) -> io::Result<(Response, Vec<Event>)> {
        let (response, events) = match payload {
            Payload::Blank => (Response::None, Vec::new()),
            Payload::Normal(command) => self.apply_command(log_id, &command)?,
            Payload::Membership(membership) => {
                Arc::make_mut(&mut self.cluster).observe(&membership);
                self.membership = Arc::new(StoredMembership::new(Some(log_id), membership));
                (Response::None, Vec::new())
            }
        };
        self.applied = Some(log_id);
        Ok((response, events))
    }

    /// Costs a handful of reference counts, however large the library is.
    pub fn published(&self) -> Published {
        Published {
            library: Arc::new(self.library.clone()),
            cluster: Arc::clone(&self.cluster),
            applied: self.applied,
            membership: Arc::clone(&self.membership),
        }
    }

    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: StoredMembership::clone(&self.membership) }
    }

    fn apply_command(&mut self, log_id: LogId, command: &Command) -> io::Result<(Response, Vec<Event>)> {
        let request = LogRequest::decode(&command.body).map_err(|error| undecodable(log_id, &error))?;
        Ok(match request {
            LogRequest::Library(request) => {
                let at = At { index: log_id.index, time: Timestamp(command.at) };
                let Applied { reply, events } = self.library.apply(at, &request);
                (Response::Library(Box::new(reply)), events)
            }
            LogRequest::Cluster(request) => {
                let cluster = Arc::make_mut(&mut self.cluster);
                let outcome = cluster.apply(log_id.index, &request);
                cluster.observe(self.membership.membership());
                (Response::Cluster(outcome), Vec::new())
            }
        })
    }
}

/// The cluster's record behind its length, then the library; cut into chunks of a good size.
pub fn encode(cluster: &ClusterRecord, library: State) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let record = cluster.encode();
    let length = u32::try_from(record.len()).expect("some ten thousand nodes of some ten bytes");
    let mut pending = length.to_le_bytes().to_vec();
    pending.extend_from_slice(&record);
    let mut parts = format::snapshot(library);
    std::iter::from_fn(move || {
        while pending.len() < SNAPSHOT_CHUNK_BYTES
            && let Some(part) = parts.next()
        {
            pending.extend_from_slice(&part);
        }
        let rest = pending.split_off(pending.len().min(SNAPSHOT_CHUNK_BYTES));
        let chunk = std::mem::replace(&mut pending, rest);
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[derive(Debug)]
pub struct Decoded {
    pub cluster: ClusterRecord,
    pub library: State,
}

/// Rebuilds from the chunks of a body, which may be cut anywhere.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning, until the cluster's record is whole.
    head: Vec<u8>,
    cluster: Option<ClusterRecord>,
    library: SnapshotReader,
}

impl Decoder {
    pub fn read(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        if self.cluster.is_some() {
            return self.library.read(chunk);
        }
        self.head.extend_from_slice(chunk);
        let Some((length, rest)) = self.head.split_first_chunk::<4>() else { return Ok(()) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(DecodeError::Inconsistent("the cluster's record is longer than it can be"));
        }
        let Some((record, library)) = rest.split_at_checked(length) else { return Ok(()) };
        self.cluster = Some(ClusterRecord::decode(record)?);
        self.library.read(library)?;
        self.head = Vec::new();
        Ok(())
    }

    pub fn finish(self) -> Result<Decoded, DecodeError> {
        let cluster = self.cluster.ok_or(DecodeError::Empty)?;
        Ok(Decoded { cluster, library: self.library.finish()? })
    }
}

fn undecodable(log_id: LogId, error: &DecodeError) -> io::Error {
    let message = format!("the log entry at {} cannot be applied: {error}", log_id.index);
    tracing::error!("{message}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::log_request::{ClusterRequest, Founding};

    #[test]
    fn a_snapshot_may_be_cut_anywhere() {
        let mut cluster = ClusterRecord::default();
        let founding = Founding {
            cluster_id: [1; 16],
            lineage: 0,
            wanted_voters: 3,
            seed: 1,
            seed_incarnation: [2; 16],
            seed_ordinal: 0,
        };
        cluster.apply(2, &ClusterRequest::Found(founding)).expect("the first");
        let bytes: Vec<u8> = encode(&cluster, State::default()).flatten().collect();
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            decoder.read(&bytes[..cut]).expect("the beginning of a snapshot");
            decoder.read(&bytes[cut..]).expect("the rest of a snapshot");
            assert_eq!(decoder.finish().expect("a whole snapshot").cluster, cluster);
            let mut half = Decoder::default();
            half.read(&bytes[..cut]).expect("the beginning of a snapshot");
            assert!(half.finish().is_err(), "cut at {cut}");
        }
    }
}
