//! What is on disk: the log, the snapshots and the identity, on a real disk and on one that loses what it may.

mod conformance;
mod crashes;
mod damage;
mod golden;
mod identity;
mod log;
mod platform;
mod snapshots;
