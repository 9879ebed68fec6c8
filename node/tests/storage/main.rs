//! What is on disk: the log, the snapshots and the identity, on a real disk and on one that loses what it may.

mod buckets;
mod conformance;
mod crashes;
mod damage;
mod drills;
mod full_disks;
mod golden;
mod identity;
#[path = "../../domain/benches/campus/mod.rs"]
mod campus;
mod library;
mod log;
mod orders;
mod platform;
mod processes;
mod report;
#[path = "../chaos/shim.rs"]
#[allow(dead_code, reason = "the fault suite uses the rest of it")]
mod shim;
mod small_disk;
mod snapshots;
mod stall;
mod taken;
