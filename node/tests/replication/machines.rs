//! Machines to run replicas on: real ones (tokio, files, threads) and ones in virtual time with disks in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use carrel_node::raft::disk::simulated::{Operation, SimulatedDisk, Survival};
use carrel_node::raft::platform::{Platform, Server};
use carrel_node::raft::types::Types;
use openraft::Instant;
use openraft::alias::InstantOf;
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use tempfile::TempDir;

pub trait Machines: Send + Sync + 'static {
    type Platform: Platform;

    /// From the death of a leader to the answer of the next. A busy machine may take long; in virtual time it is exact.
    const FAILOVER_LIMIT: Duration;
    /// Time passes by waiting alone.
    const IS_VIRTUAL: bool;

    fn new() -> Self;
    /// The machine in this slot, with the disk as it was left.
    fn machine(&self, slot: u32) -> (Self::Platform, PathBuf);
    /// The power goes: what was not synced is gone.
    fn crash(&self, slot: u32);
    /// The machine gets an empty disk.
    fn wipe(&self, slot: u32);
    /// The next sync fails; false if this disk cannot be made to.
    fn break_disk(&self, slot: u32) -> bool;
    /// The disk has room for so many bytes more, or for all; false if this disk cannot be limited.
    fn limit_disk(&self, slot: u32, more_bytes: Option<u64>) -> bool;
    /// From the next start on every write and every sync takes so long; false if this disk cannot be slowed.
    fn slow_disk(&self, slot: u32, each: Duration) -> bool;
}

/// One directory for each slot.
pub struct RealMachines {
    mounts: Mutex<BTreeMap<u32, TempDir>>,
}

impl Machines for RealMachines {
    type Platform = Server;

    const FAILOVER_LIMIT: Duration = Duration::from_secs(10);
    const IS_VIRTUAL: bool = false;

    fn new() -> Self {
        Self { mounts: Mutex::default() }
    }

    fn machine(&self, slot: u32) -> (Server, PathBuf) {
        let mut mounts = self.mounts.lock().expect("no panics");
        let mount = mounts.entry(slot).or_insert_with(|| TempDir::new().expect("a temporary directory"));
        (Server::new(), mount.path().to_owned())
    }

    /// A process that dies does not take what it wrote with it; power is the simulated disk's matter.
    fn crash(&self, _: u32) {}

    fn wipe(&self, slot: u32) {
        self.mounts.lock().expect("no panics").remove(&slot);
    }

    fn break_disk(&self, _: u32) -> bool {
        false
    }

    fn limit_disk(&self, _: u32, _: Option<u64>) -> bool {
        false
    }

    fn slow_disk(&self, _: u32, _: Duration) -> bool {
        false
    }
}

pub struct VirtualMachines {
    disks: Mutex<BTreeMap<u32, SimulatedDisk>>,
    origin: InstantOf<Types<SimRuntime>>,
}

#[derive(Clone)]
pub struct Virtual {
    disk: SimulatedDisk,
    origin: InstantOf<Types<SimRuntime>>,
    /// Each machine's clock is wrong in its own way.
    skew_us: i64,
}

impl Machines for VirtualMachines {
    type Platform = Virtual;

    const FAILOVER_LIMIT: Duration = Duration::from_millis(900);
    const IS_VIRTUAL: bool = true;

    fn new() -> Self {
        Self { disks: Mutex::default(), origin: Types::<SimRuntime>::now() }
    }

    fn machine(&self, slot: u32) -> (Virtual, PathBuf) {
        let disk = self.disks.lock().expect("no panics").entry(slot).or_default().clone();
        let skew_us = [0, 40_000, -3_600_000_000][slot as usize % 3];
        (Virtual { disk, origin: self.origin, skew_us }, PathBuf::from("/mount"))
    }

    fn crash(&self, slot: u32) {
        let mut disks = self.disks.lock().expect("no panics");
        let survived = disks[&slot].crash(Survival::Random(u64::from(slot)));
        disks.insert(slot, survived);
    }

    fn wipe(&self, slot: u32) {
        self.disks.lock().expect("no panics").remove(&slot);
    }

    fn break_disk(&self, slot: u32) -> bool {
        self.disks.lock().expect("no panics")[&slot].fail_next_sync();
        true
    }

    fn limit_disk(&self, slot: u32, more_bytes: Option<u64>) -> bool {
        let disk = &self.disks.lock().expect("no panics")[&slot];
        disk.limit(more_bytes.map(|more| disk.used_bytes() + more));
        true
    }

    fn slow_disk(&self, slot: u32, each: Duration) -> bool {
        let mut disks = self.disks.lock().expect("no panics");
        let slow = disks[&slot].clone().with_delay(move |operation| {
            Box::pin(async move {
                if operation != Operation::Read {
                    Types::<SimRuntime>::sleep(each).await;
                }
            })
        });
        disks.insert(slot, slow);
        true
    }
}

impl Platform for Virtual {
    type Runtime = SimRuntime;
    type Disk = SimulatedDisk;

    fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    fn wall_clock_us(&self) -> i64 {
        let elapsed_us = i64::try_from(self.origin.elapsed().as_micros()).expect("a short story");
        1_800_000_000_000_000 + self.skew_us + elapsed_us
    }

    fn spawn_storage(&self, _: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        drop(SimRuntime::spawn(work));
    }
}
