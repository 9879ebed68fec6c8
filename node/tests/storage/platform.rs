//! A platform in virtual time over any disk, and the words in which the tests speak of a log.

use std::future::Future;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use carrel_node::raft::disk::Disk;
use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::platform::Platform;
use carrel_node::raft::types::{Command, CommittedLeaderId, Entry, LogId, Payload, Types, Vote};
use carrel_node::raft::wal::{self, Log, LogOptions, LogOwner, OpenLogError};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

pub const OWNER: LogOwner = LogOwner { cluster_id: [0xc1; 16], lineage: 1, node_id: 3 };

/// Storage work is a task like any other, so that the same seed tells the same story.
#[derive(Clone, Debug)]
pub struct Virtual<D> {
    pub disk: D,
}

impl<D: Disk> Platform for Virtual<D> {
    type Runtime = SimRuntime;
    type Disk = D;

    fn disk(&self) -> &D {
        &self.disk
    }

    fn wall_clock_us(&self) -> i64 {
        0
    }

    fn spawn_storage(&self, _: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        drop(SimRuntime::spawn(work));
    }
}

pub type SimulatedLog = Log<Virtual<SimulatedDisk>>;

pub fn simulated(disk: &SimulatedDisk) -> Virtual<SimulatedDisk> {
    Virtual { disk: disk.clone() }
}

pub fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    SimRuntime::with_seed(1).block_on(story)
}

pub fn log_directory() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Opens the log there is, or begins one where a node would join for the first time.
pub async fn open(disk: &SimulatedDisk, segment_bytes: u64) -> Result<SimulatedLog, OpenLogError> {
    if disk.files().iter().all(|file| file.extension() != Some("wal".as_ref())) {
        let begun = wal::begin(disk, &log_directory(), OWNER, LogOptions { segment_bytes }).await;
        begun.map_err(|source| OpenLogError::Io { doing: "beginning the log", source })?;
    }
    Log::open_with(&simulated(disk), &log_directory(), OWNER, LogOptions { segment_bytes }).await
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

pub fn entry(term: u64, index: u64, body_bytes: usize) -> Entry {
    let fill = u8::try_from(index % 251).expect("below 251");
    let command = Command {
        at: 1_000_000 + i64::try_from(index).expect("small"),
        body: Bytes::from(vec![fill; body_bytes]),
        trace: None,
    };
    Entry { log_id: log_id(term, index), payload: Payload::Normal(command) }
}

/// Appends and waits until it is durable.
pub async fn append<P: Platform>(log: &mut Log<P>, entries: impl IntoIterator<Item = Entry>) -> std::io::Result<()> {
    let (flushed, durable) = Types::<P::Runtime>::oneshot();
    let entries: Vec<Entry> = entries.into_iter().collect();
    log.append(entries, IOFlushed::signal(flushed)).await?;
    durable.await.map_err(|_| std::io::Error::other("never answered"))?
}

/// What a log holds, to compare two of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub committed: Option<LogId>,
    pub entries: Vec<Entry>,
}

pub async fn contents<P: Platform>(log: &mut Log<P>) -> Contents {
    Contents {
        vote: log.read_vote().await.expect("readable"),
        purged: log.reach().purged,
        committed: log.read_committed().await.expect("readable"),
        entries: log.try_get_log_entries(..).await.expect("readable"),
    }
}

/// The same disk with one file's bytes changed.
pub fn with_file(disk: &SimulatedDisk, path: &Path, bytes: Vec<u8>) -> SimulatedDisk {
    let damaged = disk.copy();
    damaged.replace(path, bytes);
    damaged
}
