//! Reading the log back: what is there, where it ends, and whether anything that was durable is damaged.
//!
//! Three verdicts on bytes that do not make a batch. In the last segment, with no valid header after them: a torn tail,
//! which was never acknowledged, and is cut. Anywhere else: corruption, which stops the node. A valid header with a
//! body that does not match it is judged in the same way.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use carrel_domain::planted::{self, Bug};

use crate::raft::disk::{Disk, DiskFile, ReadFile};
use crate::raft::encoding::{Reader, Undecodable};
use crate::raft::types::Entry;
use crate::raft::wal::OpenLogError;
use crate::raft::wal::format::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BadHeader, BatchHeader, Carried, LogOwner, RECORD_COMMITTED, RECORD_ENTRY,
    RECORD_PURGE, RECORD_TRUNCATE, RECORD_VOTE, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_sequence,
};
use crate::raft::wal::memory::Memory;

/// A segment that is written no more.
#[derive(Debug)]
pub struct ClosedSegment {
    pub path: PathBuf,
    /// The highest index it holds, truncated or not; without entries it can go with those before it.
    pub highest_index: Option<u64>,
}

/// The segment that is written, and where.
#[derive(Debug)]
pub struct OpenSegment<F> {
    pub file: F,
    pub path: PathBuf,
    pub sequence: u64,
    pub length: u64,
    pub checksum: u32,
    pub end: u64,
    pub next_batch: u64,
    pub previous_checksum: u32,
    pub highest_index: Option<u64>,
}

pub struct Recovered<F> {
    pub memory: Memory,
    pub closed: VecDeque<ClosedSegment>,
    pub open: OpenSegment<F>,
}

/// Reads all segments, and cuts a torn tail off the last. What it returns is on disk.
pub async fn recover<D: Disk>(disk: &D, dir: &Path, owner: LogOwner) -> Result<Recovered<D::File>, OpenLogError> {
    let doing = |what: &'static str| move |source: io::Error| OpenLogError::Io { doing: what, source };
    let sequences = segments(disk, dir).await?;
    let mut replay = Replay::default();
    let mut closed = VecDeque::new();
    let mut open: Option<OpenSegment<D::File>> = None;
    for (position, sequence) in sequences.iter().enumerate() {
        let path = dir.join(segment_name(*sequence));
        let file = disk.open(&path).await.map_err(doing("opening a segment"))?;
        let length = file.length().await.map_err(doing("reading a segment"))?;
        let length = usize::try_from(length).map_err(|_| corrupt(&path, 0, "the segment does not fit into memory"))?;
        let bytes = file.read_at(0, length).await.map_err(doing("reading a segment"))?;
        let segment = Segment { path: &path, bytes: &bytes, is_last: position + 1 == sequences.len() };

        let (header, checksum) = segment.header(owner, *sequence)?;
        match open.take() {
            None => replay.begin(&header.carried),
            Some(previous) => {
                if previous.sequence + 1 != *sequence {
                    let missing = format!("the segment before it is missing: {}", segment_name(sequence - 1));
                    return Err(corrupt(&path, 0, missing));
                }
                if previous.next_batch != header.first_batch {
                    let what = format!(
                        "batch {} is not there, though {} says it was durable",
                        previous.next_batch,
                        segment_name(*sequence)
                    );
                    return Err(corrupt(&previous.path, previous.end, what));
                }
                closed.push_back(ClosedSegment { path: previous.path, highest_index: previous.highest_index });
            }
        }
        let read = segment.batches(&header, checksum, &mut replay)?;
        if segment.is_last {
            cut(&file, &bytes, read.end).await.map_err(doing("cutting the log's torn end"))?;
            // The process before may have ended for a sync that failed. Then the last batch is read from memory, no
            // later sync writes it, and a loss of power takes what this node is about to acknowledge: so it is written
            // again.
            if !planted::has(Bug::UnsyncedTailTrusted) {
                let rewritten = file.write_at(read.last_batch as u64, &bytes[read.last_batch..read.end]).await;
                rewritten.map_err(doing("writing the log's last batch again"))?;
            }
        }
        open = Some(OpenSegment {
            file,
            path: path.clone(),
            sequence: *sequence,
            length: header.length,
            checksum,
            end: read.end as u64,
            next_batch: read.next_batch,
            previous_checksum: read.previous_checksum,
            highest_index: read.highest_index,
        });
    }
    let open = open.ok_or_else(|| OpenLogError::Missing { dir: dir.to_owned() })?;
    replay.complete().map_err(|what| corrupt(&open.path, 0, what))?;
    // What a stopped process had written but not synced has been read, and will be taken as durable: make it so.
    open.file.sync_data().await.map_err(doing("syncing the log"))?;
    disk.sync_dir(dir).await.map_err(doing("syncing the log's directory"))?;
    Ok(Recovered { memory: replay.memory, closed, open })
}

/// The sequences of the segments there are, in order; a segment that was still being made is removed.
async fn segments<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, OpenLogError> {
    let doing = |what: &'static str| move |source: io::Error| OpenLogError::Io { doing: what, source };
    let mut sequences = Vec::new();
    for name in disk.list(dir).await.map_err(doing("listing the log's directory"))? {
        if let Some(sequence) = segment_sequence(&name) {
            sequences.push(sequence);
        } else if name.ends_with(".tmp") {
            disk.remove(&dir.join(name)).await.map_err(doing("removing an unfinished segment"))?;
        } else {
            return Err(corrupt(&dir.join(name), 0, "a file that is no segment lies among the log's"));
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

/// Overwrites with zeroes what lies after the end, so that nothing of it can ever be taken for a batch.
async fn cut<F: DiskFile>(file: &F, bytes: &[u8], end: usize) -> io::Result<()> {
    let tail = &bytes[end..];
    let Some(last) = tail.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
    file.write_at(end as u64, &vec![0; last + 1]).await?;
    file.sync_data().await
}

struct Segment<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    is_last: bool,
}

struct Read {
    /// Where the last batch begins; the end, if there is none.
    last_batch: usize,
    end: usize,
    next_batch: u64,
    previous_checksum: u32,
    highest_index: Option<u64>,
}

impl Segment<'_> {
    fn header(&self, owner: LogOwner, sequence: u64) -> Result<(SegmentHeader, u32), OpenLogError> {
        let (header, checksum) = SegmentHeader::decode(self.bytes).map_err(|bad| match bad {
            BadHeader::Damaged(what) => corrupt(self.path, 0, what),
            BadHeader::UnknownVersion(version) => OpenLogError::UnknownVersion { file: self.path.to_owned(), version },
        })?;
        if header.owner != owner {
            let (file, found) = (self.path.to_owned(), header.owner);
            return Err(OpenLogError::ForeignSegment { file, found, expected: owner });
        }
        if header.sequence != sequence {
            return Err(corrupt(self.path, 0, format!("it holds segment {}", header.sequence)));
        }
        if header.length != self.bytes.len() as u64 {
            let what = format!("the segment has {} bytes instead of {}", self.bytes.len(), header.length);
            return Err(corrupt(self.path, 0, what));
        }
        Ok((header, checksum))
    }

    fn batches(&self, header: &SegmentHeader, checksum: u32, replay: &mut Replay) -> Result<Read, OpenLogError> {
        let mut read = Read {
            last_batch: SEGMENT_HEADER_BYTES,
            end: SEGMENT_HEADER_BYTES,
            next_batch: header.first_batch,
            previous_checksum: checksum,
            highest_index: None,
        };
        loop {
            let at = read.end;
            let Some((batch, batch_checksum)) = BatchHeader::decode(&self.bytes[at..], checksum) else {
                self.expect_torn(at, at, checksum)?;
                return Ok(read);
            };
            let belongs = batch.sequence == read.next_batch
                && batch.segment == header.sequence
                && batch.durable_end == at as u64
                && batch.previous_checksum == read.previous_checksum;
            if !belongs {
                return Err(corrupt(self.path, at, "a batch stands where another belongs"));
            }
            let body_at = at + BATCH_HEADER_BYTES;
            if batch.is_end_marker() {
                if self.is_last && batch.is_continued() {
                    return Err(corrupt(self.path, at, "the segment after it is missing"));
                }
                self.expect_torn(at, body_at, checksum)?;
                return Ok(read);
            }
            let Some(body) = self.bytes[body_at..].get(..batch.body_bytes as usize) else {
                return Err(corrupt(self.path, at, "a batch is longer than its segment"));
            };
            if crc32c::crc32c(body) != batch.body_checksum && !planted::has(Bug::ChecksumNotChecked) {
                self.expect_torn(at, body_at, checksum)?;
                return Ok(read);
            }
            let highest = replay.records(body).map_err(|what| corrupt(self.path, at, what))?;
            read.highest_index = read.highest_index.max(highest);
            read.last_batch = at;
            read.end = body_at + body.len();
            read.next_batch += 1;
            read.previous_checksum = batch_checksum;
        }
    }

    /// The bytes at `at` make no batch. In the last segment that is the end, unless a header after them says they were
    /// durable; in an earlier one the caller finds whether a batch is missing.
    fn expect_torn(&self, at: usize, search_from: usize, checksum: u32) -> Result<(), OpenLogError> {
        if !self.is_last {
            return Ok(());
        }
        if planted::has(Bug::TornTailRefused) && self.bytes[at..].iter().any(|byte| *byte != 0) {
            return Err(corrupt(self.path, at, "something is torn"));
        }
        let mut offset = search_from;
        while let Some(found) = self.bytes[offset..].iter().position(|byte| *byte == BATCH_MAGIC[0]) {
            offset += found;
            if BatchHeader::decode(&self.bytes[offset..], checksum).is_some() {
                let what = format!("a batch that was durable is damaged: another follows it at {offset}");
                return Err(corrupt(self.path, at, what));
            }
            offset += 1;
        }
        Ok(())
    }
}

/// The log as its records build it up, beginning with the oldest segment there is.
#[derive(Default)]
struct Replay {
    memory: Memory,
    /// Entries below are in segments that are gone: by the end they must have been purged or truncated away.
    needs_purge_below: u64,
}

impl Replay {
    fn begin(&mut self, carried: &Carried) {
        self.needs_purge_below = carried.next_index;
        self.memory = Memory::starting_at(carried.next_index);
        self.memory.purged = carried.purged;
        self.memory.vote = carried.vote;
        self.memory.committed = carried.committed;
    }

    /// Applies a batch; returns the highest index of its entries.
    fn records(&mut self, body: &[u8]) -> Result<Option<u64>, String> {
        let undecodable = |undecodable: Undecodable| format!("a batch does not decode: {undecodable}");
        let mut highest = None;
        let mut reader = Reader::new(body);
        while !reader.is_empty() {
            match reader.u8().map_err(undecodable)? {
                RECORD_VOTE => self.memory.vote = Some(reader.vote().map_err(undecodable)?),
                RECORD_ENTRY => {
                    let log_id = reader.log_id().map_err(undecodable)?;
                    let payload = reader.payload().map_err(undecodable)?;
                    highest = highest.max(Some(log_id.index));
                    self.memory.append(Entry { log_id, payload }).map_err(|out_of_order| out_of_order.to_string())?;
                }
                RECORD_TRUNCATE => {
                    let last = match reader.flag().map_err(undecodable)? {
                        true => Some(reader.log_id().map_err(undecodable)?),
                        false => None,
                    };
                    self.memory.truncate_after(last);
                    self.needs_purge_below = self.needs_purge_below.min(self.memory.next_index());
                }
                RECORD_PURGE => drop(self.memory.purge(reader.log_id().map_err(undecodable)?)),
                RECORD_COMMITTED => self.memory.committed = Some(reader.log_id().map_err(undecodable)?),
                kind => return Err(format!("a batch holds a record of unknown kind {kind}")),
            }
        }
        Ok(highest)
    }

    fn complete(&self) -> Result<(), String> {
        let purged_below = self.memory.purged.map_or(0, |purged| purged.index + 1);
        let held_from = self.memory.first_index();
        if self.needs_purge_below > purged_below {
            return Err(format!("the segments with entries {purged_below} to {held_from} are missing"));
        }
        Ok(())
    }
}

pub fn corrupt(file: &Path, offset: impl TryInto<u64>, what: impl Into<String>) -> OpenLogError {
    OpenLogError::Corrupt { file: file.to_owned(), offset: offset.try_into().unwrap_or(u64::MAX), what: what.into() }
}
