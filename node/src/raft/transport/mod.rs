//! The peers' network: `carrel.peer.v1` over tonic, both ends. The only place that knows how replicas reach each other.
//!
//! [`Links`] makes the calls: openraft's, and those of [`Peers`](crate::raft::peers::Peers). [`PeerServer`] answers
//! them by way of [`Inbound`]. Nothing here decides anything: a call arrives at the node it was meant for, of the
//! cluster and lineage it was meant for, or it is refused.

mod channels;
mod convert;
mod failure;
mod forwarding;
mod hearing;
mod links;
mod pipeline;
mod route;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

pub use channels::Addresses;
pub use links::{Link, Links};
pub use server::{Inbound, Listener, PeerServer, Refused};

use std::time::Duration;

use openraft_rt_tokio::TokioRuntime;

use crate::raft::types::Types;

/// openraft's types as they are in a server: tonic runs on nothing but tokio.
pub type Served = Types<TokioRuntime>;

/// The largest message taken, on either end. An append carries about 1 MiB of entries, but at least one, and the
/// largest entry is the catalogue of a campus, of several MiB. A request that would not fit must be refused before the
/// log: it could be stored, yet never replicated.
pub const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

/// How long a call may take. What openraft says itself applies besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a follower to take an append and sync it: the shortest time in which it would stand for election. openraft's
    /// own limit, three quarters of a heartbeat, is less than a slow disk takes to sync.
    pub append: Duration,
    /// To be connected. A peer on a network takes milliseconds; a lost packet of the handshake is sent again after a
    /// second.
    pub connect: Duration,
    /// For a leader to commit and apply what was forwarded to it: long enough for an election in between.
    pub proposal: Duration,
    /// For a read index (a round to a majority), and for what a peer knows by itself.
    pub question: Duration,
    /// For a peer to take one chunk of a snapshot, which waits until its disk has room for it.
    pub snapshot_chunk: Duration,
    /// For a peer to sync a snapshot that it has, to decode it and to make it its state: half a minute for several GB.
    pub snapshot_install: Duration,
}

impl Limits {
    pub fn new(election_timeout_min: Duration) -> Self {
        Self {
            append: election_timeout_min,
            connect: Duration::from_millis(1500),
            proposal: Duration::from_secs(5),
            question: Duration::from_secs(1),
            snapshot_chunk: Duration::from_secs(10),
            snapshot_install: Duration::from_secs(120),
        }
    }
}
