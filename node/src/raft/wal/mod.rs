//! The log on disk, as openraft wants it: votes, entries and what was committed, in one ordered stream.
//!
//! An append can be read at once and is durable when the writer says so; a vote is durable before `save_vote` returns;
//! truncating and purging take effect in memory at once and on disk in their turn, before anything that is asked for
//! later. `format` has the bytes, `recovery` reads them, `writer` writes them, `memory` holds what is not purged.

pub mod format;
mod memory;
mod recovery;
mod spare;
mod writer;

use std::fmt::{self, Debug};
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use carrel_domain::planted::{self, Bug};
use futures_util::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::alias::{MpscSenderOf, WatchReceiverOf};
use openraft::async_runtime::{MpscSender, WatchReceiver};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

pub use crate::raft::wal::format::LogOwner;
pub use crate::raft::wal::spare::{Room, is_full};
pub use crate::raft::wal::writer::{Batches, WalCounters};

use crate::raft::disk::Disk;
use crate::raft::platform::Platform;
use crate::raft::types::{Entry, LogId, Types, Vote};
use crate::raft::wal::format::{Carried, SegmentHeader};
use crate::raft::wal::memory::{Memory, entry_bytes};
use crate::raft::wal::recovery::recover;
use crate::raft::wal::spare::Spares;
use crate::raft::wal::writer::{BATCH_LIMIT_BYTES, Batch, Io, Writer, create_segment};

/// 16 MiB: a new segment every few seconds at full load, and a start reads few of them.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Requests that wait for the disk. openraft has at most a few thousand writes on their way; beyond this many requests
/// the disk is seconds behind, and the sender waits.
const QUEUED_REQUESTS: usize = 1024;

/// One reply of the reader: as much as goes well into one message to a peer.
const READ_LIMIT_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error("the log is damaged: {file}, at byte {offset}: {what}; remove this node's data and let it join \
        anew",
        file = .file.display())]
    Corrupt { file: PathBuf, offset: u64, what: String },
    #[error("the log is missing: there is no segment in {dir}; let this node join anew with an empty \
        directory",
        dir = .dir.display())]
    Missing { dir: PathBuf },
    #[error("the log belongs to another: {file} is of {found}, this is {expected}", file = .file.display())]
    ForeignSegment { file: PathBuf, found: LogOwner, expected: LogOwner },
    #[error("{file} has format version {version}, this program knows {known}",
        file = .file.display(), known = format::FORMAT_VERSION)]
    UnknownVersion { file: PathBuf, version: u32 },
    #[error("{doing} failed")]
    Io { doing: &'static str, source: io::Error },
}

/// Why the log can be written no more.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed")]
pub struct WriteFailure {
    doing: &'static str,
    source: io::Error,
}

/// What has become of the writer. Whoever runs the node ends the process when it has failed: what the disk holds then
/// is known only by reading it again.
#[derive(Clone, Debug)]
pub enum WriterState {
    Running,
    /// All handles of the log are gone and everything is on disk.
    Stopped,
    Failed(Arc<WriteFailure>),
}

/// Begins an empty log in `dir`, for a node that has just been given its id; what lies there was never of use. A log is
/// never begun by opening one: a node that lost its log must not vote as if it had none yet.
pub async fn begin<D: Disk>(disk: &D, dir: &Path, owner: LogOwner, options: LogOptions) -> io::Result<()> {
    begin_with(disk, dir, owner, options, Carried::default()).await
}

/// Begins a log that goes on after a snapshot through `last`, for a node that has voted for itself up to that term: it
/// will lead in a later one only, so that no entry has the id of one before.
pub async fn begin_after<D: Disk>(
    disk: &D,
    dir: &Path,
    owner: LogOwner,
    options: LogOptions,
    last: LogId,
) -> io::Result<()> {
    let carried = Carried {
        vote: Some(Vote::new(last.leader_id.term, owner.node_id)),
        purged: Some(last),
        committed: Some(last),
        next_index: last.index + 1,
    };
    begin_with(disk, dir, owner, options, carried).await
}

/// What is on disk of a log that no node uses.
#[derive(Debug)]
pub struct LogContents {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    /// As far as it was noted, which happens now and then.
    pub committed: Option<LogId>,
    pub entries: Vec<Entry>,
}

/// Reads the log in `dir` as [`Log::open`] does, without a writer.
pub async fn read<D: Disk>(disk: &D, dir: &Path, owner: LogOwner) -> Result<LogContents, OpenLogError> {
    let memory = recover(disk, dir, owner).await?.memory;
    Ok(LogContents {
        vote: memory.vote,
        purged: memory.purged,
        committed: memory.committed_within_log(),
        entries: memory.read(0..u64::MAX, u64::MAX),
    })
}

async fn begin_with<D: Disk>(
    disk: &D,
    dir: &Path,
    owner: LogOwner,
    options: LogOptions,
    carried: Carried,
) -> io::Result<()> {
    disk.create_dir_all(dir).await?;
    for name in disk.list(dir).await? {
        disk.remove(&dir.join(name)).await?;
    }
    let length = options.segment_bytes.max(format::SEGMENT_HEADER_BYTES as u64);
    let header = SegmentHeader { owner, sequence: 0, length, first_batch: 0, carried };
    create_segment(disk, dir, &header).await.map(drop)
}

/// A handle of the log: the storage, and each of its readers. Cheap to clone; the writer ends with the last.
pub struct Log<P: Platform> {
    platform: P,
    memory: SharedMemory,
    requests: MpscSenderOf<Types<P::Runtime>, Io<P>>,
    state: WatchReceiverOf<Types<P::Runtime>, WriterState>,
    counters: Arc<WalCounters>,
    room: Arc<Room<P>>,
}

impl<P: Platform> Log<P> {
    /// Reads the log in `dir`, which [`begin`] has made once, and starts its writer. Blocks while it reads: call it at
    /// start.
    pub async fn open(platform: &P, dir: &Path, owner: LogOwner) -> Result<Self, OpenLogError> {
        Self::open_with(platform, dir, owner, LogOptions::default()).await
    }

    pub async fn open_with(
        platform: &P,
        dir: &Path,
        owner: LogOwner,
        options: LogOptions,
    ) -> Result<Self, OpenLogError> {
        Self::open_counted(platform, dir, owner, options, Arc::default()).await
    }

    /// As [`Log::open_with`], with counters that outlive this log.
    pub async fn open_counted(
        platform: &P,
        dir: &Path,
        owner: LogOwner,
        options: LogOptions,
        counters: Arc<WalCounters>,
    ) -> Result<Self, OpenLogError> {
        let recovered = recover(platform.disk(), dir, owner).await?;
        let written = Carried {
            vote: recovered.memory.vote,
            purged: recovered.memory.purged,
            committed: recovered.memory.committed,
            next_index: recovered.memory.next_index(),
        };
        let memory = SharedMemory(Arc::new(Mutex::new(recovered.memory)));
        let room = Arc::<Room<P>>::default();
        let segment_bytes = options.segment_bytes.max(format::SEGMENT_HEADER_BYTES as u64);
        let writer = Writer {
            platform: platform.clone(),
            dir: dir.to_owned(),
            owner,
            segment_bytes,
            spares: Spares::begin(platform, dir, segment_bytes, Arc::clone(&room)),
            room: Arc::clone(&room),
            memory: memory.clone(),
            counters: Arc::clone(&counters),
            closed: recovered.closed,
            open: recovered.open,
            written,
            batch: Batch::default(),
            marked: false,
        };
        let (requests, receiver) = Types::<P::Runtime>::mpsc(QUEUED_REQUESTS);
        let (state, watched) = Types::<P::Runtime>::watch_channel(WriterState::Running);
        platform.spawn_storage("log-writer", writer.run(receiver, state));
        Ok(Self { platform: platform.clone(), memory, requests, state: watched, counters, room })
    }

    /// What the writer does, and whether it still can.
    pub fn writer_state(&self) -> WatchReceiverOf<Types<P::Runtime>, WriterState> {
        self.state.clone()
    }

    pub fn counters(&self) -> Arc<WalCounters> {
        Arc::clone(&self.counters)
    }

    /// Whether the disk has room for more. On a full one nothing fails: what is appended waits.
    pub fn room(&self) -> Arc<Room<P>> {
        Arc::clone(&self.room)
    }

    /// Bytes of the entries after `index` (all of them for `None`): what the next snapshot would save.
    pub fn bytes_after(&self, index: Option<u64>) -> u64 {
        self.memory.lock().bytes_after(index)
    }

    /// The part of the log there is: after the purged, up to the last.
    pub fn reach(&self) -> LogReach {
        let memory = self.memory.lock();
        LogReach { purged: memory.purged, last: memory.last_log_id() }
    }

    /// Returns when everything asked for before is on disk.
    pub async fn flush(&self) -> io::Result<()> {
        self.submit_and_wait(|flushed| Io::Flush { flushed }).await
    }

    /// Lets go of this handle and returns when the writer has ended, which it does once all other handles are gone,
    /// too.
    pub async fn close(self) {
        let mut state = self.state.clone();
        drop(self);
        while matches!(*state.borrow_watched(), WriterState::Running) && state.changed().await.is_ok() {}
    }

    async fn submit(&self, io: Io<P>) -> io::Result<()> {
        self.requests.send(io).await.map_err(|_| io::Error::other("the log's writer has ended"))
    }

    async fn submit_and_wait(
        &self,
        io: impl FnOnce(openraft::alias::OneshotSenderOf<Types<P::Runtime>, io::Result<()>>) -> Io<P>,
    ) -> io::Result<()> {
        let (done, answered) = Types::<P::Runtime>::oneshot();
        self.submit(io(done)).await?;
        answered.await.map_err(|_| io::Error::other("the log's writer has ended"))?
    }
}

/// What of the log is there: everything after `purged` up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReach {
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
}

/// The log in memory, behind a lock that is held for a copy of some entries and never while waiting.
#[derive(Clone)]
struct SharedMemory(Arc<Mutex<Memory>>);

impl SharedMemory {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

impl<P: Platform> RaftLogReader<Types<P::Runtime>> for Log<P> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.memory.lock().read(half_open(&range), u64::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.memory.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.memory.lock().read(start..end, READ_LIMIT_BYTES))
    }

    /// A piece at a time, so that applying a long log neither copies it nor holds the lock for long.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pieces = stream::unfold((self.memory.clone(), half_open(&range)), |(memory, range)| async move {
            let piece = memory.lock().read(range.clone(), READ_LIMIT_BYTES);
            let next = piece.last()?.log_id.index + 1;
            Some((stream::iter(piece.into_iter().map(Ok)), (memory, next..range.end)))
        });
        Box::pin(pieces.flatten())
    }
}

impl<P: Platform> RaftLogStorage<Types<P::Runtime>> for Log<P> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<P::Runtime>>, io::Error> {
        let LogReach { purged, last } = self.reach();
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        if planted::has(Bug::VoteNotSynced) {
            let (saved, _) = Types::<P::Runtime>::oneshot();
            self.submit(Io::Vote { vote, saved }).await?;
        } else {
            self.submit_and_wait(|saved| Io::Vote { vote, saved }).await?;
        }
        self.memory.lock().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut memory = self.memory.lock();
        memory.committed = memory.committed.max(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.memory.lock().committed_within_log())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<P::Runtime>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut parts = Vec::new();
        {
            let mut memory = self.memory.lock();
            let mut part = Vec::new();
            let mut part_bytes = 0;
            for entry in entries {
                part_bytes += entry_bytes(&entry);
                memory.append(entry.clone()).map_err(io::Error::other)?;
                part.push(entry);
                if part_bytes >= BATCH_LIMIT_BYTES as u64 {
                    parts.push(std::mem::take(&mut part));
                    part_bytes = 0;
                }
            }
            parts.push(part);
        }
        let last = parts.pop().unwrap_or_default();
        for entries in parts {
            self.submit(Io::Append { entries, flushed: None }).await?;
        }
        self.submit(Io::Append { entries: last, flushed: Some(callback) }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.memory.lock().truncate_after(last);
        self.submit(Io::Truncate { last }).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let purged = self.memory.lock().purge(upto);
        self.platform.spawn_storage("log-release", async move { drop(purged) });
        self.submit(Io::Purge { upto }).await
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl WriteFailure {
    fn new(doing: &'static str, source: io::Error) -> Self {
        Self { doing, source }
    }

    fn of(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::new(doing, source)
    }

    /// What each one is told who waits.
    fn to_io_error(&self) -> io::Error {
        io::Error::new(self.source.kind(), format!("{} failed: {}", self.doing, self.source))
    }
}

impl<P: Platform> Clone for Log<P> {
    fn clone(&self) -> Self {
        Self {
            platform: self.platform.clone(),
            memory: self.memory.clone(),
            requests: self.requests.clone(),
            state: self.state.clone(),
            counters: Arc::clone(&self.counters),
            room: Arc::clone(&self.room),
        }
    }
}

impl<P: Platform> Debug for Log<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("reach", &self.reach()).finish_non_exhaustive()
    }
}
