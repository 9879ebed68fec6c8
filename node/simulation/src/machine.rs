//! A machine: a process on it, a disk with a temper, and a clock that may be wrong.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_node::raft::disk::simulated::{Operation, SimulatedDisk};
use carrel_node::raft::platform::Platform;
use carrel_node::raft::types::Types;
use openraft::Instant;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimInstant;

use crate::dice::Dice;
use crate::process::Process;
use crate::runtime::Processes;

/// 2026-03-09 08:00 UTC, a Monday on which no clock is changed.
pub const BEGINNING_US: i64 = 1_773_043_200_000_000;

/// The one time that is right, also in a process whose own clock has stood still.
#[derive(Clone, Copy, Debug)]
pub struct TrueTime {
    origin: SimInstant,
}

impl TrueTime {
    #[must_use]
    pub fn begin() -> Self {
        Self { origin: SimInstant::now() }
    }

    /// Since the run began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).expect("a run is short")
    }

    /// Since 1970.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        BEGINNING_US + i64::try_from(self.elapsed_us()).expect("a run is short")
    }
}

/// How wrong a machine's clock is.
#[derive(Debug, Default)]
pub struct Clock {
    offset_us: AtomicI64,
}

impl Clock {
    pub fn set(&self, offset_us: i64) {
        self.offset_us.store(offset_us, Ordering::Relaxed);
    }

    pub fn offset_us(&self) -> i64 {
        self.offset_us.load(Ordering::Relaxed)
    }
}

/// How long a disk takes.
#[derive(Debug)]
pub struct Temper {
    /// Of one sync, most of the time.
    sync_us: AtomicU64,
    dice: Mutex<Dice>,
}

impl Temper {
    #[must_use]
    pub fn new(sync_us: u64, dice: Dice) -> Self {
        Self { sync_us: AtomicU64::new(sync_us), dice: Mutex::new(dice) }
    }

    pub fn set_sync_us(&self, sync_us: u64) {
        self.sync_us.store(sync_us, Ordering::Relaxed);
    }

    pub fn sync_us(&self) -> u64 {
        self.sync_us.load(Ordering::Relaxed)
    }

    /// Reads are from memory, as most are; a sync takes from half to one and a half of what it takes.
    fn takes(&self, operation: Operation) -> Option<Duration> {
        let sync_us = self.sync_us();
        let mut dice = self.dice.lock().expect("nothing panics while it holds the lock");
        match operation {
            Operation::Read => None,
            Operation::Write => Some(dice.micros(1..10)),
            Operation::Sync | Operation::Create => Some(dice.micros(sync_us / 2..sync_us + sync_us / 2 + 1)),
        }
    }
}

/// A disk that takes its time.
#[must_use]
pub fn disk(temper: &Arc<Temper>) -> SimulatedDisk {
    let temper = Arc::clone(temper);
    SimulatedDisk::new().with_delay(move |operation| {
        let takes = temper.takes(operation);
        Box::pin(async move {
            if let Some(takes) = takes {
                Types::<Processes>::sleep(takes).await;
            }
        })
    })
}

/// What a node is given of the machine it runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    pub process: Arc<Process>,
    pub disk: SimulatedDisk,
    pub clock: Arc<Clock>,
    pub time: TrueTime,
}

impl Platform for Machine {
    type Runtime = Processes;
    type Disk = SimulatedDisk;

    fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    fn wall_clock_us(&self) -> i64 {
        self.time.now_us().saturating_add(self.clock.offset_us())
    }

    fn spawn_storage(&self, _: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.process.spawn(work);
    }
}
