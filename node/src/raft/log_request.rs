//! What the body of a log entry says: a request to the library, or to the cluster itself.
//!
//! Encoded once, by whoever proposes it, and decoded where it is applied. The first byte is the version of the format,
//! the lowest that can say it: a node of an earlier release that meets something new stops and names the release it
//! needs. So nothing new is proposed before every member has said that it knows it.

use bytes::Bytes;
use carrel_domain::format::{self, DecodeError};
use carrel_domain::request::Request;
use serde::{Deserialize, Serialize};

use crate::raft::types::NodeId;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LogRequest {
    Library(Request),
    Cluster(ClusterRequest),
}

/// Membership itself travels in entries of its own; this is what has to be remembered beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterRequest {
    /// The first of all, by the node that the cluster began with.
    Found(Founding),
    /// Gives this incarnation a node id; the same one however often it is asked.
    AllocateNode { incarnation: [u8; 16], ordinal: u32 },
    /// The id is never used again, and calls from it are refused.
    RetireNode { id: NodeId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster_id: [u8; 16],
    pub lineage: u32,
    /// Voters the cluster shall have before it serves clients.
    pub wanted_voters: u32,
    pub seed: NodeId,
    pub seed_incarnation: [u8; 16],
    pub seed_ordinal: u32,
}

impl LogRequest {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        format::encode_at(self.level(), self).into()
    }

    /// Releases from this level on know it.
    #[must_use]
    pub fn level(&self) -> u32 {
        match self {
            Self::Library(request) => request.action.level(),
            Self::Cluster(_) => 0,
        }
    }

    /// # Errors
    /// If the bytes are not a request that this version knows.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        format::decode(body)
    }
}

#[cfg(test)]
mod tests {
    use carrel_domain::request::Action;

    use super::*;

    #[test]
    fn a_request_survives_its_encoding_and_a_foreign_version_is_named() {
        for request in [
            LogRequest::Library(Request::system(Action::Tick)),
            LogRequest::Cluster(ClusterRequest::AllocateNode { incarnation: [7; 16], ordinal: 2 }),
        ] {
            let body = request.encode();
            assert_eq!(LogRequest::decode(&body), Ok(request));
            let mut foreign = body.to_vec();
            foreign[0] = format::MESSAGE_VERSION + 1;
            assert!(matches!(LogRequest::decode(&foreign), Err(DecodeError::UnknownVersion { .. })));
            assert!(LogRequest::decode(&body[..body.len() - 1]).is_err());
        }
    }
}
