//! What the machine gives: a runtime, a disk, a wall clock, and somewhere to run work that waits for the disk.
//!
//! Everything below `raft/` is generic over [`Platform`], so that the code that serves people is the code that runs
//! in virtual time.

use std::future::Future;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use openraft::async_runtime::OneshotSender;
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_tokio::TokioRuntime;
use rustix::process::nice;

use crate::raft::disk::Disk;
use crate::raft::disk::real::RealDisk;
use crate::raft::types::Types;

pub trait Platform: Clone + Send + Sync + 'static {
    type Runtime: AsyncRuntime;
    type Disk: Disk;

    fn disk(&self) -> &Self::Disk;

    /// Microseconds since 1970 by this machine's clock, which may be wrong and may step.
    fn wall_clock_us(&self) -> i64;

    /// Runs `work` beside everything else, where it may wait for the disk without holding up a request.
    ///
    /// If the machine cannot start it, `work` is dropped: whoever waits for it on a channel sees the channel close.
    fn spawn_storage(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static);

    /// Runs `work` as [`Platform::spawn_storage`] does, from now on; the future waits for its result.
    fn run_storage<T, W>(
        &self,
        name: &'static str,
        work: W,
    ) -> impl Future<Output = io::Result<T>> + Send + use<Self, T, W>
    where
        T: Send + 'static,
        W: Future<Output = io::Result<T>> + Send + 'static,
    {
        let (sender, receiver) = Types::<Self::Runtime>::oneshot();
        self.spawn_storage(name, async move {
            // Whoever asked may have given up; the work is done all the same.
            let _ = sender.send(work.await);
        });
        async move {
            match receiver.await {
                Ok(result) => result,
                Err(_) => Err(io::Error::other(format!("{name} ended without a result"))),
            }
        }
    }
}

/// The real machine: tokio, files, the system's clock, one thread for each storage work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Server {
    disk: RealDisk,
}

impl Server {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Platform for Server {
    type Runtime = TokioRuntime;
    type Disk = RealDisk;

    fn disk(&self) -> &RealDisk {
        &self.disk
    }

    fn wall_clock_us(&self) -> i64 {
        // A clock before 1970 or after the year 292,277 is read as the nearest end.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }

    /// A thread with a small runtime of its own, so that a stopping server does not cut off work on the disk.
    fn spawn_storage(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let run = move || {
            if IN_THE_BACKGROUND.contains(&name) {
                // Of this thread alone. Where it is refused the work is only less considerate.
                let _ = nice(BACKGROUND_NICENESS);
            }
            match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime.block_on(work),
                Err(error) => tracing::error!(name, %error, "cannot start storage work"),
            }
        };
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!(name, %error, "cannot start a thread for storage work");
        }
    }
}

/// What nobody waits for leaves the processor to what clients wait for: encoding a large state takes seconds of it.
const IN_THE_BACKGROUND: [&str; 4] = ["snapshot-writer", "log-spare", "log-release", "file-release"];
const BACKGROUND_NICENESS: i32 = 10;
