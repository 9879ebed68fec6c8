//! What is on disk: the log, the snapshots and the identity, on a real disk and on one that loses what it may.

mod conformance;
mod crashes;
mod damage;
mod drills;
mod full_disks;
mod golden;
mod identity;
mod library;
mod log;
mod platform;
mod processes;
mod report;
mod snapshots;
mod stall;
