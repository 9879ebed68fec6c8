//! The network over real loopback connections.

mod appends;
mod cluster;
mod messages;
mod node;
mod pauses;
mod refusals;
mod snapshots;
mod stub;
