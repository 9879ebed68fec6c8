//! Replication: openraft, its log and snapshots on disk, its peers. Nothing outside this folder names openraft.

// In reading order: what is stored and said, where it is kept, how it is applied, who proposes, who asks.
pub mod types;

pub mod log_request;

pub mod cluster;

pub mod platform;
pub mod timing;

pub mod disk;
mod encoding;
pub mod identity;
pub mod snapshots;
pub mod wal;

mod replicated;
pub mod measured;

pub mod machine;
pub mod views;
pub mod watched;

mod admission;
mod leader_clock;
pub mod leading;
mod proposer;
mod shortage;
mod snapshotting;
mod ticker;

pub mod inbound;
pub mod peers;
mod reading;
mod removal;
pub mod transport;
mod writing;

pub mod membership;
pub mod node;
pub mod offline;
pub mod ordered;
pub mod bygone;
pub mod running;
pub mod settings;
mod stepping_down;
