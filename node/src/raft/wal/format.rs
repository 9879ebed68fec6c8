//! The log's bytes. A change here is a new [`FORMAT_VERSION`], and the old one stays readable.
//!
//! The log is a row of segments `<sequence, 16 hex digits>.wal`. A segment is made under another name, filled with
//! zeroes to its full length, given its header, synced and then renamed: so under its own name it is always whole, and
//! a shorter file is corruption. All numbers are little-endian, all checksums CRC-32C.
//!
//! ```text
//! segment header, 256 bytes                          batch header, 44 bytes
//!   0  8  "carrelwl"                                   0  4  "cbat"
//!   8  4  format version                               4  4  bytes of the body; 0: an end marker
//!  12  4  lineage                                      8  8  sequence of the batch, through all segments
//!  16 16  cluster id                                  16  8  sequence of the segment
//!  32  8  node id                                     24  8  durable end: the offset of this very header
//!  40  8  sequence of the segment                     32  4  checksum of the header before it (first: the segment's)
//!  48  8  length of the file                          36  4  checksum of the body
//!  56  8  sequence of the first batch                 40  4  checksum of 0..40, begun with the segment's checksum
//!                                                     In an end marker, 36..40 are 1 if a segment follows, or 0
//!  64  8  index of the entry that comes next
//!  72  1  bits: 1 vote, 2 purged, 4 committed         body: records
//!  73 17  vote                                          1  vote
//!  90 16  purged log id                                 2  entry: log id, payload
//! 106 16  committed log id                              3  truncate: u8 0, or 1 and the log id that stays last
//! 122     zeroes                                        4  purge: log id, inclusive
//! 252  4  checksum of bytes 0..252                      5  committed: log id
//! ```
//!
//! Magic, version and checksum of a segment header stay where they are in every version. Vote, purged and committed are
//! those that held when the segment was begun, so that older segments can go.
//!
//! One batch is one write and one sync, and a batch is written only after the one before is synced. So a batch header
//! says that everything before it, down to the first segment, is durable. After a sync, when nothing waits to be
//! written, an empty batch header follows, unsynced: the end marker, which the next batch overwrites, or which says
//! that another segment was begun. Only what comes after the last header may be torn; anything invalid before one is
//! corruption.

use std::fmt;

use crate::raft::encoding::{Reader, put_log_id, put_vote};
use crate::raft::types::{CommittedLeaderId, LogId, NodeId, Vote};

pub const FORMAT_VERSION: u32 = 1;

pub const SEGMENT_HEADER_BYTES: usize = 256;
pub const BATCH_HEADER_BYTES: usize = 44;

const SEGMENT_MAGIC: [u8; 8] = *b"carrelwl";
pub const BATCH_MAGIC: [u8; 4] = *b"cbat";
const SEGMENT_CHECKSUM_AT: usize = 252;
const BATCH_CHECKSUM_AT: usize = 40;

/// Whose log it is. A segment of another owner is refused by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogOwner {
    pub cluster_id: [u8; 16],
    /// Counts recoveries by hand of one cluster.
    pub lineage: u32,
    pub node_id: NodeId,
}

/// What a segment carries over from those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub committed: Option<LogId>,
    pub next_index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub owner: LogOwner,
    pub sequence: u64,
    pub length: u64,
    pub first_batch: u64,
    pub carried: Carried,
}

/// A header that cannot be used, told apart because each has another remedy.
#[derive(Debug, PartialEq, Eq)]
pub enum BadHeader {
    Damaged(&'static str),
    UnknownVersion(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.owner.lineage.to_le_bytes());
        out.extend_from_slice(&self.owner.cluster_id);
        for number in [self.owner.node_id, self.sequence, self.length, self.first_batch, self.carried.next_index] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let Carried { vote, purged, committed, next_index: _ } = &self.carried;
        out.push(u8::from(vote.is_some()) | u8::from(purged.is_some()) << 1 | u8::from(committed.is_some()) << 2);
        put_vote(&mut out, &vote.unwrap_or(Vote::new(0, 0)));
        let nothing = LogId::new(CommittedLeaderId::new(0), 0);
        for log_id in [purged, committed] {
            put_log_id(&mut out, &log_id.unwrap_or(nothing));
        }
        out.resize(SEGMENT_CHECKSUM_AT, 0);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The header and its checksum.
    pub fn decode(bytes: &[u8]) -> Result<(SegmentHeader, u32), BadHeader> {
        const SHORT: BadHeader = BadHeader::Damaged("the file is shorter than a segment's header");
        let bytes = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(SHORT)?;
        let (body, checksum) = bytes.split_at(SEGMENT_CHECKSUM_AT);
        let found = crc32c::crc32c(body);
        if checksum != found.to_le_bytes() {
            return Err(BadHeader::Damaged("the segment's header does not match its checksum"));
        }
        let decode = || -> Result<Result<SegmentHeader, BadHeader>, crate::raft::encoding::Undecodable> {
            let mut reader = Reader::new(body);
            if reader.array()? != SEGMENT_MAGIC {
                return Ok(Err(BadHeader::Damaged("it is not a segment of a log")));
            }
            let version = reader.u32()?;
            if version != FORMAT_VERSION {
                return Ok(Err(BadHeader::UnknownVersion(version)));
            }
            let (lineage, cluster_id, node_id) = (reader.u32()?, reader.array()?, reader.u64()?);
            let owner = LogOwner { cluster_id, lineage, node_id };
            let (sequence, length, first_batch) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let (next_index, present) = (reader.u64()?, reader.u8()?);
            let (vote, purged, committed) = (reader.vote()?, reader.log_id()?, reader.log_id()?);
            let carried = Carried {
                vote: (present & 1 != 0).then_some(vote),
                purged: (present & 2 != 0).then_some(purged),
                committed: (present & 4 != 0).then_some(committed),
                next_index,
            };
            Ok(Ok(SegmentHeader { owner, sequence, length, first_batch, carried }))
        };
        let header = decode().map_err(|undecodable| BadHeader::Damaged(undecodable.0))??;
        Ok((header, found))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub body_bytes: u32,
    pub sequence: u64,
    pub segment: u64,
    /// Where this header stands; everything before is durable.
    pub durable_end: u64,
    pub previous_checksum: u32,
    pub body_checksum: u32,
}

impl BatchHeader {
    pub fn encode(&self, segment_checksum: u32) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        out[0..4].copy_from_slice(&BATCH_MAGIC);
        out[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_end.to_le_bytes());
        out[32..36].copy_from_slice(&self.previous_checksum.to_le_bytes());
        out[36..40].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = crc32c::crc32c_append(segment_checksum, &out[..BATCH_CHECKSUM_AT]);
        out[BATCH_CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The header at the front of `bytes` and its checksum, if one is there and whole. Begun with the segment's
    /// checksum, so a header of another segment, log or node is none.
    pub fn decode(bytes: &[u8], segment_checksum: u32) -> Option<(BatchHeader, u32)> {
        let bytes = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        if !bytes.starts_with(&BATCH_MAGIC) {
            return None;
        }
        let (body, checksum) = bytes.split_at(BATCH_CHECKSUM_AT);
        let found = crc32c::crc32c_append(segment_checksum, body);
        if checksum != found.to_le_bytes() {
            return None;
        }
        let mut reader = Reader::new(&body[BATCH_MAGIC.len()..]);
        let mut read = || {
            Ok::<_, crate::raft::encoding::Undecodable>(BatchHeader {
                body_bytes: reader.u32()?,
                sequence: reader.u64()?,
                segment: reader.u64()?,
                durable_end: reader.u64()?,
                previous_checksum: reader.u32()?,
                body_checksum: reader.u32()?,
            })
        };
        read().ok().map(|header| (header, found))
    }

    pub fn is_end_marker(&self) -> bool {
        self.body_bytes == 0
    }

    /// Of an end marker: there is a segment after this one.
    pub fn is_continued(&self) -> bool {
        self.body_checksum == CONTINUED
    }
}

/// What an end marker has in place of a body's checksum.
pub const LAST: u32 = 0;
pub const CONTINUED: u32 = 1;

pub const RECORD_VOTE: u8 = 1;
pub const RECORD_ENTRY: u8 = 2;
pub const RECORD_TRUNCATE: u8 = 3;
pub const RECORD_PURGE: u8 = 4;
pub const RECORD_COMMITTED: u8 = 5;

pub fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence in a segment's name; `None` for any other name, also one that says the same in another way.
pub fn segment_sequence(name: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

impl fmt::Display for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = uuid::Uuid::from_bytes(self.cluster_id);
        write!(f, "node {} of cluster {cluster}, lineage {}", self.node_id, self.lineage)
    }
}

impl fmt::Debug for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_were_written() {
        let header = SegmentHeader {
            owner: LogOwner { cluster_id: [7; 16], lineage: 2, node_id: 3 },
            sequence: 4,
            length: 4096,
            first_batch: 9,
            carried: Carried {
                vote: Some(Vote::new_committed(5, 6)),
                purged: None,
                committed: Some(LogId::new(CommittedLeaderId::new(5), 10)),
                next_index: 11,
            },
        };
        let bytes = header.encode();
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes).map(|(decoded, _)| decoded), Ok(header));

        let batch = BatchHeader {
            body_bytes: 1,
            sequence: 2,
            segment: 3,
            durable_end: 4,
            previous_checksum: 5,
            body_checksum: 6,
        };
        let bytes = batch.encode(7);
        assert_eq!(BatchHeader::decode(&bytes, 7).map(|(decoded, _)| decoded), Some(batch));
        assert_eq!(BatchHeader::decode(&bytes, 8), None);
    }

    #[test]
    fn only_one_name_says_a_sequence() {
        assert_eq!(segment_sequence(&segment_name(31)), Some(31));
        for other in ["1f.wal", "000000000000001F.wal", "+00000000000001f.wal", "000000000000001f.tmp", "lost+found"] {
            assert_eq!(segment_sequence(other), None, "{other}");
        }
    }
}
