//! The one writer of the log: takes whatever arrived while the disk was busy, writes it at once, syncs once, and says
//! so.
//!
//! There is no timed wait: under load a sync is shared by all that came during the one before, and a lone write waits
//! for nobody. After the first failure nothing is written and nothing is acknowledged any more; the process is to end.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use carrel_domain::planted::{self, Bug};
use openraft::Instant;
use openraft::alias::{InstantOf, MpscReceiverOf, OneshotSenderOf, WatchSenderOf};
use openraft::async_runtime::{MpscReceiver, OneshotSender, WatchSender};
use openraft::storage::IOFlushed;
use prometheus::Histogram;

use crate::metrics::{self, catalogue};
use crate::raft::disk::release::release;
use crate::raft::disk::{Disk, DiskFile};
use crate::raft::encoding::{put_log_id, put_payload, put_vote};
use crate::raft::platform::Platform;
use crate::raft::types::{Entry, LogId, Traced, Types, Vote};
use crate::raft::wal::format::{
    BATCH_HEADER_BYTES, BatchHeader, CONTINUED, Carried, LAST, LogOwner, RECORD_COMMITTED, RECORD_ENTRY, RECORD_PURGE,
    RECORD_TRUNCATE, RECORD_VOTE, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::raft::wal::recovery::{ClosedSegment, OpenSegment};
use crate::raft::wal::spare::{Room, Spares};
use crate::raft::wal::{SharedMemory, WriteFailure, WriterState};
use crate::traces::{self, TraceParent};

/// A batch takes no more once it weighs this much: about what a disk writes in the time of a few syncs.
pub const BATCH_LIMIT_BYTES: usize = 4 << 20;

/// What the writer is asked to do, in the order in which openraft asked.
pub enum Io<P: Platform> {
    Append {
        entries: Vec<Entry>,
        /// With the last part of what was appended at once.
        flushed: Option<IOFlushed<Types<P::Runtime>>>,
    },
    Vote {
        vote: Vote,
        saved: Done<P>,
    },
    Truncate {
        last: Option<LogId>,
    },
    Purge {
        upto: LogId,
    },
    /// Everything asked for before is on disk when this is answered.
    Flush {
        flushed: Done<P>,
    },
}

type Done<P> = OneshotSenderOf<Types<<P as Platform>::Runtime>, io::Result<()>>;

/// What the writer has done, for the metrics. Read without a lock; each number is right by itself.
#[derive(Debug)]
pub struct WalCounters {
    /// Batches, too: each has one sync.
    pub syncs: AtomicU64,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub segments_created: AtomicU64,
    pub segments_removed: AtomicU64,
    pub last_batch_entries: AtomicU64,
    pub last_sync_us: AtomicU64,
    pub total_sync_us: AtomicU64,
    /// Batches by the number of their entries: up to each of [`BATCH_ENTRIES`], and above the last.
    batches: [AtomicU64; BATCH_ENTRIES.len() + 1],
    /// Of each batch: to write and sync it, and to sync it alone.
    pub append_seconds: Histogram,
    pub sync_seconds: Histogram,
}

impl Default for WalCounters {
    fn default() -> Self {
        Self {
            syncs: AtomicU64::default(),
            entries: AtomicU64::default(),
            bytes: AtomicU64::default(),
            segments_created: AtomicU64::default(),
            segments_removed: AtomicU64::default(),
            last_batch_entries: AtomicU64::default(),
            last_sync_us: AtomicU64::default(),
            total_sync_us: AtomicU64::default(),
            batches: Default::default(),
            append_seconds: catalogue::RAFT_LOG_APPEND_SECONDS.histogram(),
            sync_seconds: catalogue::RAFT_LOG_SYNC_SECONDS.histogram(),
        }
    }
}

/// How many batches had up to so many entries and more than the bound before, and how many had more than all bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    pub up_to: Vec<(u64, u64)>,
    pub more: u64,
}

/// Bounds of what is told of the batches' sizes.
const BATCH_ENTRIES: [u64; 12] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

pub struct Writer<P: Platform> {
    pub platform: P,
    pub dir: PathBuf,
    pub owner: LogOwner,
    pub segment_bytes: u64,
    pub spares: Spares<P>,
    pub room: Arc<Room<P>>,
    pub memory: SharedMemory,
    pub counters: Arc<WalCounters>,
    pub closed: VecDeque<ClosedSegment>,
    pub open: OpenSegment<<P::Disk as Disk>::File>,
    /// The state as it is on disk, for the header of the next segment.
    pub written: Carried,
    pub batch: Batch,
    /// Whether the end marker stands at the end of the open segment.
    pub marked: bool,
}

/// The batch that is being built; kept for its allocation.
#[derive(Default)]
pub struct Batch {
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    /// What was written before this batch.
    before: Carried,
    highest_index: Option<u64>,
    entries: u64,
    /// Of its entries whose trace is recorded: their indexes, and where their traces go on.
    traced: Vec<(u64, TraceParent)>,
}

impl<P: Platform> Writer<P> {
    pub async fn run(
        mut self,
        mut requests: MpscReceiverOf<Types<P::Runtime>, Io<P>>,
        state: WatchSenderOf<Types<P::Runtime>, WriterState>,
    ) {
        let served = self.serve(&mut requests).await;
        let Self { platform, spares, .. } = self;
        match served {
            Ok(()) => {
                // What stays is removed at the next start.
                let _ = spares.end(platform.disk()).await;
                let _ = state.send(WriterState::Stopped);
            }
            Err(failure) => {
                tracing::error!(%failure, "the log cannot be written");
                let failure = Arc::new(failure);
                let _ = state.send(WriterState::Failed(Arc::clone(&failure)));
                while let Some(io) = requests.recv().await {
                    Waiting::of(io).complete(Some(&failure));
                }
            }
        }
    }

    async fn serve(&mut self, requests: &mut MpscReceiverOf<Types<P::Runtime>, Io<P>>) -> Result<(), WriteFailure> {
        loop {
            let first = match requests.try_recv() {
                Ok(io) => io,
                Err(_) => {
                    self.mark_end().await?;
                    match requests.recv().await {
                        Some(io) => io,
                        None => return self.stop().await,
                    }
                }
            };
            if planted::has(Bug::CommittedBeyondLog) {
                self.begin_batch();
                self.put_committed();
                if !self.batch.is_empty() {
                    self.write_batch().await?;
                }
            }
            self.begin_batch();
            let mut waiting = Waiting::default();
            self.put(first, &mut waiting);
            while self.batch.bytes.len() < BATCH_LIMIT_BYTES
                && let Ok(io) = requests.try_recv()
            {
                self.put(io, &mut waiting);
            }
            let result = self.write().await;
            waiting.complete(result.as_ref().err());
            result?;
        }
    }

    fn begin_batch(&mut self) {
        self.batch.bytes.clear();
        self.batch.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.batch.before = self.written;
        self.batch.highest_index = None;
        self.batch.entries = 0;
        self.batch.traced.clear();
    }

    /// Puts into the batch what is asked for, and among those who wait whoever asked.
    fn put(&mut self, io: Io<P>, waiting: &mut Waiting<P>) {
        match &io {
            Io::Append { entries, flushed: _ } => {
                for entry in entries {
                    self.put_entry(entry);
                }
            }
            Io::Vote { vote, saved: _ } => self.put_vote(*vote),
            Io::Truncate { last } => self.put_truncate(*last),
            Io::Purge { upto } => self.put_purge(*upto),
            Io::Flush { flushed: _ } => {}
        }
        waiting.add(io);
    }

    /// Writes and syncs the batch, then drops the segments that nobody needs any more.
    async fn write(&mut self) -> Result<(), WriteFailure> {
        // Only beside something else: what was committed is learnt again from the leader, and is not worth a sync.
        if !self.batch.is_empty() {
            self.put_committed();
            self.write_batch().await?;
        }
        if self.written.purged != self.batch.before.purged {
            self.remove_purged().await?;
        }
        Ok(())
    }

    /// The last request has come: what was committed is saved, so that a restart need not ask.
    async fn stop(&mut self) -> Result<(), WriteFailure> {
        self.begin_batch();
        self.put_committed();
        if !self.batch.is_empty() {
            self.write_batch().await?;
            self.mark_end().await?;
        }
        Ok(())
    }

    fn put_entry(&mut self, entry: &Entry) {
        let bytes = &mut self.batch.bytes;
        bytes.push(RECORD_ENTRY);
        put_log_id(bytes, &entry.log_id);
        put_payload(bytes, &entry.payload);
        self.batch.entries += 1;
        self.batch.traced.extend(entry.payload.trace().map(|parent| (entry.log_id.index, parent)));
        self.batch.highest_index = self.batch.highest_index.max(Some(entry.log_id.index));
        self.written.next_index = entry.log_id.index + 1;
    }

    fn put_vote(&mut self, vote: Vote) {
        self.batch.bytes.push(RECORD_VOTE);
        put_vote(&mut self.batch.bytes, &vote);
        self.written.vote = Some(vote);
    }

    fn put_truncate(&mut self, last: Option<LogId>) {
        if planted::has(Bug::TruncationNotLogged) {
            return;
        }
        self.batch.bytes.push(RECORD_TRUNCATE);
        self.batch.bytes.push(u8::from(last.is_some()));
        if let Some(last) = &last {
            put_log_id(&mut self.batch.bytes, last);
        }
        let purged_through = self.written.purged.map_or(0, |purged| purged.index + 1);
        self.written.next_index = last.map_or(0, |last| last.index + 1).max(purged_through);
    }

    fn put_purge(&mut self, upto: LogId) {
        self.batch.bytes.push(RECORD_PURGE);
        put_log_id(&mut self.batch.bytes, &upto);
        self.written.purged = self.written.purged.max(Some(upto));
        self.written.next_index = self.written.next_index.max(upto.index + 1);
    }

    /// What was committed goes behind the entries it speaks of: openraft names it while they are still on their way.
    fn put_committed(&mut self) {
        let committed = self.memory.lock().committed;
        if let Some(committed) = committed
            && self.written.committed != Some(committed)
            && (committed.index < self.written.next_index || planted::has(Bug::CommittedBeyondLog))
        {
            self.batch.bytes.push(RECORD_COMMITTED);
            put_log_id(&mut self.batch.bytes, &committed);
            self.written.committed = Some(committed);
        }
    }

    /// Writes the batch, in a new segment if it does not fit into this one, and syncs it.
    async fn write_batch(&mut self) -> Result<(), WriteFailure> {
        let needed = (self.batch.bytes.len() + BATCH_HEADER_BYTES) as u64; // the end marker always fits behind
        if self.open.end + needed > self.open.length {
            self.begin_segment(self.batch.before, needed).await?;
        }
        let began = InstantOf::<Types<P::Runtime>>::now();
        let began_at = (!self.batch.traced.is_empty()).then(SystemTime::now);
        let body = &self.batch.bytes[BATCH_HEADER_BYTES..];
        let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "entries of over 4 GiB at once");
        let body_bytes = u32::try_from(body.len()).map_err(|_| WriteFailure::new("building a batch", too_large()))?;
        let header = self.header(body_bytes, crc32c::crc32c(body));
        self.batch.bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header);

        // A disk that copies on writing can be full here, too. Nothing is acknowledged yet, so this may be tried again;
        // the sync may not.
        let mut need = self.room.need();
        while let Err(error) = self.open.file.write_at(self.open.end, &self.batch.bytes).await {
            need.wait_after(error).await.map_err(WriteFailure::of("writing the log"))?;
        }
        need.found();
        let started = InstantOf::<Types<P::Runtime>>::now();
        if !planted::has(Bug::LogNotSynced) {
            let synced = self.open.file.sync_data().await;
            if !planted::has(Bug::FailedSyncIgnored) {
                synced.map_err(WriteFailure::of("syncing the log"))?;
            }
        }
        let (sync, append) = (started.elapsed(), began.elapsed());
        if let Some(began_at) = began_at {
            for (index, parent) in &self.batch.traced {
                traces::record("append", *parent, began_at, *index);
            }
        }

        self.marked = false;
        self.open.end += self.batch.bytes.len() as u64;
        self.open.next_batch += 1;
        self.open.previous_checksum = header_checksum(&header);
        self.open.highest_index = self.open.highest_index.max(self.batch.highest_index);
        self.counters.count(&self.batch, sync, append);
        Ok(())
    }

    /// Says behind the last batch that it is durable, without a sync: it tells damage from a torn tail, no more.
    async fn mark_end(&mut self) -> Result<(), WriteFailure> {
        if !self.marked {
            let marker = self.header(0, LAST);
            self.open.file.write_at(self.open.end, &marker).await.map_err(WriteFailure::of("marking the log's end"))?;
            self.marked = true;
        }
        Ok(())
    }

    fn header(&self, body_bytes: u32, body_checksum: u32) -> [u8; BATCH_HEADER_BYTES] {
        let header = BatchHeader {
            body_bytes,
            sequence: self.open.next_batch,
            segment: self.open.sequence,
            durable_end: self.open.end,
            previous_checksum: self.open.previous_checksum,
            body_checksum,
        };
        header.encode(self.open.checksum)
    }

    async fn begin_segment(&mut self, mut carried: Carried, needed_bytes: u64) -> Result<(), WriteFailure> {
        carried.vote = carried.vote.filter(|_| !planted::has(Bug::VoteNotCarried));
        let header = SegmentHeader {
            owner: self.owner,
            sequence: self.open.sequence + 1,
            length: self.segment_bytes.max(SEGMENT_HEADER_BYTES as u64 + needed_bytes),
            first_batch: self.open.next_batch,
            carried,
        };
        let failed = WriteFailure::of("beginning a segment of the log");
        let (zeroes, unfinished) = self.spares.take(self.platform.disk(), header.length).await.map_err(&failed)?;
        let next = begin_segment(self.platform.disk(), &self.dir, &header, zeroes, &unfinished).await;
        let next = next.map_err(&failed)?;
        if header.length == self.segment_bytes {
            self.spares.make_another().await;
        }
        // Only now, for it must never be said of a segment that is not there. Without it the loss of the next would
        // show, too, as soon as there is one after it.
        let marker = self.header(0, CONTINUED);
        self.open.file.write_at(self.open.end, &marker).await.map_err(WriteFailure::of("marking a segment's end"))?;
        let full = std::mem::replace(&mut self.open, next);
        self.closed.push_back(ClosedSegment { path: full.path, highest_index: full.highest_index });
        self.marked = false;
        self.counters.segments_created.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Drops the oldest segments as long as all they hold is purged, which the log says durably by now. Each is gone
    /// for good before the next goes, so that a crash leaves no gap; their room comes back later.
    async fn remove_purged(&mut self) -> Result<(), WriteFailure> {
        let Some(purged) = self.written.purged else { return Ok(()) };
        let disk = self.platform.disk();
        let mut nameless = Vec::new();
        while let Some(oldest) = self.closed.front()
            && oldest.highest_index.is_none_or(|highest| highest <= purged.index)
        {
            let failed = WriteFailure::of("removing a purged segment");
            let file = disk.open(&oldest.path).await.map_err(&failed)?;
            disk.remove(&oldest.path).await.map_err(&failed)?;
            disk.sync_dir(&self.dir).await.map_err(&failed)?;
            nameless.push(file);
            self.closed.pop_front();
            self.counters.segments_removed.fetch_add(1, Ordering::Relaxed);
        }
        release(&self.platform, nameless);
        Ok(())
    }
}

/// Makes a segment whole under another name, then gives it its own.
pub async fn create_segment<D: Disk>(disk: &D, dir: &Path, header: &SegmentHeader) -> io::Result<OpenSegment<D::File>> {
    let unfinished = dir.join(segment_name(header.sequence)).with_extension("tmp");
    let zeroes = disk.create(&unfinished, header.length).await?;
    begin_segment(disk, dir, header, zeroes, &unfinished).await
}

/// Makes a segment of a file of zeroes, which is on disk under another name.
async fn begin_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    header: &SegmentHeader,
    file: D::File,
    unfinished: &Path,
) -> io::Result<OpenSegment<D::File>> {
    let path = dir.join(segment_name(header.sequence));
    let bytes = header.encode();
    file.write_at(0, &bytes).await?;
    file.sync_data().await?;
    disk.rename(unfinished, &path).await?;
    if !planted::has(Bug::SegmentNameNotSynced) {
        disk.sync_dir(dir).await?;
    }
    let checksum = header_checksum(&bytes);
    Ok(OpenSegment {
        file,
        path,
        sequence: header.sequence,
        length: header.length,
        checksum,
        end: SEGMENT_HEADER_BYTES as u64,
        next_batch: header.first_batch,
        previous_checksum: checksum,
        highest_index: None,
    })
}

/// Both kinds of header end with their checksum.
fn header_checksum(header: &[u8]) -> u32 {
    header.last_chunk().map_or(0, |checksum| u32::from_le_bytes(*checksum))
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER_BYTES
    }
}

impl WalCounters {
    pub fn batches(&self) -> Batches {
        let count = |bucket: usize| self.batches[bucket].load(Ordering::Relaxed);
        let up_to = BATCH_ENTRIES.iter().enumerate().map(|(bucket, bound)| (*bound, count(bucket)));
        Batches { up_to: up_to.collect(), more: count(BATCH_ENTRIES.len()) }
    }

    fn count(&self, batch: &Batch, sync: Duration, append: Duration) {
        if !metrics::are_counting() {
            return;
        }
        let sync_us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        self.append_seconds.observe(append.as_secs_f64());
        self.sync_seconds.observe(sync.as_secs_f64());
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(batch.entries, Ordering::Relaxed);
        self.bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
        self.last_batch_entries.store(batch.entries, Ordering::Relaxed);
        let bucket = BATCH_ENTRIES.partition_point(|bound| *bound < batch.entries);
        self.batches[bucket].fetch_add(1, Ordering::Relaxed);
        self.last_sync_us.store(sync_us, Ordering::Relaxed);
        self.total_sync_us.fetch_add(sync_us, Ordering::Relaxed);
    }
}

/// Who is to be told when a batch is on disk.
struct Waiting<P: Platform> {
    /// openraft keeps a watermark, so that the newest speaks for those before it.
    newest_append: Option<IOFlushed<Types<P::Runtime>>>,
    appends: Vec<IOFlushed<Types<P::Runtime>>>,
    others: Vec<Done<P>>,
}

impl<P: Platform> Default for Waiting<P> {
    fn default() -> Self {
        Self { newest_append: None, appends: Vec::new(), others: Vec::new() }
    }
}

impl<P: Platform> Waiting<P> {
    fn of(io: Io<P>) -> Self {
        let mut waiting = Self::default();
        waiting.add(io);
        waiting
    }

    fn add(&mut self, io: Io<P>) {
        match io {
            Io::Append { entries: _, flushed: Some(flushed) } => match flushed {
                IOFlushed::Notify(_) => self.newest_append = Some(flushed),
                IOFlushed::Noop | IOFlushed::Signal(_) => self.appends.push(flushed),
            },
            Io::Vote { vote: _, saved } => self.others.push(saved),
            Io::Flush { flushed } => self.others.push(flushed),
            Io::Append { entries: _, flushed: None } | Io::Truncate { .. } | Io::Purge { .. } => {}
        }
    }

    fn complete(self, failure: Option<&WriteFailure>) {
        let result = || failure.map_or(Ok(()), |failure| Err(failure.to_io_error()));
        // Votes first: the core waits for them.
        for done in self.others {
            // Whoever asked may have stopped.
            let _ = done.send(result());
        }
        for flushed in self.appends.into_iter().chain(self.newest_append) {
            flushed.io_completed(result());
        }
    }
}
