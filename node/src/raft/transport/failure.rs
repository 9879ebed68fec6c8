//! What became of a call that was not answered, and what that proves.

use std::error::Error;
use std::time::Duration;

use carrel_proto::client::ERROR_DOMAIN;
use openraft::RPCTypes;
use openraft::errors::{NetworkError, RPCError, Timeout, Unreachable};
use thiserror::Error;
use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt;

use crate::raft::peers::{PeerError, Route};
use crate::raft::transport::Served;
use crate::raft::transport::convert::Malformed;

#[derive(Debug, Error)]
pub enum Failure {
    /// It never left this node.
    #[error("{0}")]
    NotSent(String),
    /// The peer said no before doing anything.
    #[error("{0}")]
    Refused(String),
    /// The peer said no before doing anything, because this node was taken out of the cluster.
    #[error("{0}")]
    Removed(String),
    /// The peer answered with a failure.
    #[error("{0}")]
    Failed(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let words = || status.message().to_owned();
        match (status.source(), status.code()) {
            // A status from the peer has no source; one that was made here has.
            (None, Code::FailedPrecondition) if is_removed(&status) => Self::Removed(words()),
            (None, Code::FailedPrecondition) => Self::Refused(words()),
            (None, code) => Self::Failed(format!("{code:?}: {}", words())),
            (Some(source), _) if chain(source).any(|error| error.is::<ConnectError>()) => Self::NotSent(words()),
            (Some(source), _) => {
                let words: Vec<String> = chain(source).map(ToString::to_string).collect();
                Self::Broken(words.join(": "))
            }
        }
    }
}

impl Failure {
    /// For openraft, which backs off from an unreachable peer and asks any other again soon. It has no error for a peer
    /// that answers with a failure, so that one is unreachable, too.
    pub fn for_raft(self, action: RPCTypes, route: &Route) -> RPCError<Served> {
        match self {
            Self::NotSent(_) | Self::Refused(_) | Self::Removed(_) | Self::Failed(_) | Self::Malformed(_) => {
                Unreachable::from_string(self).into()
            }
            Self::Broken(_) => NetworkError::from_string(self).into(),
            Self::TimedOut(timeout) => Timeout { action, id: route.from, target: route.to, timeout }.into(),
        }
    }
}

/// `Unreachable` is a proof that nothing was done, so it is given only for what is one.
impl From<Failure> for PeerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(_) | Failure::Refused(_) => Self::Unreachable(failure.to_string()),
            Failure::Removed(_) => Self::Removed,
            Failure::Failed(_) | Failure::Broken(_) | Failure::TimedOut(_) | Failure::Malformed(_) => {
                Self::NoAnswer(failure.to_string())
            }
        }
    }
}

/// The reason by which a node that was taken out learns of it.
pub const REMOVED: &str = "REMOVED";

fn is_removed(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.domain == ERROR_DOMAIN && info.reason == REMOVED)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
