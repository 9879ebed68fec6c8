//! A snapshot's bytes: written front to back, read front to back, checked on the way.
//!
//! ```text
//! header    0  8  "carrelsn"                chunk, any number     length u32, never 0
//!           8  4  format version                                  checksum u32, begun with that of the chunk before
//!          12  4  lineage                                         (of the header for the first)
//!          16 16  cluster id                                      the bytes
//!          32  4  bytes of the meta         trailer               0 u32
//!          36     meta                                            bytes of all chunks u64
//!              4  checksum of all before                          checksum of all chunks' bytes u32
//!                                                                 checksum of the whole file before it u32
//! meta      log id; u8 0, or 1 and the log id of the membership; membership
//! ```
//!
//! Little-endian, CRC-32C. The version covers this frame and the meta; the chunks are the state machine's own, and
//! carry their own version. A change here is a new [`FORMAT_VERSION`], and the old one stays readable.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use carrel_domain::planted::{self, Bug};
use sha2::{Digest, Sha256};

use crate::raft::disk::{DiskFile, ReadFile};
use crate::raft::encoding::{Reader, Undecodable, put_log_id, put_membership};
use crate::raft::types::{SnapshotMeta, StoredMembership};
use crate::raft::wal::LogOwner;

pub const FORMAT_VERSION: u32 = 1;

/// A chunk travels as one message to a peer, which takes up to 4 MiB. About 1 MiB is a good size.
pub const CHUNK_LIMIT_BYTES: usize = 2 << 20;

const MAGIC: [u8; 8] = *b"carrelsn";
const FIXED_HEADER_BYTES: usize = 36;
const CHUNK_HEADER_BYTES: usize = 8;
const TRAILER_BYTES: usize = 20;

/// A few hundred nodes would fit; a length beyond this is not believed.
const META_LIMIT_BYTES: usize = 1 << 16;

/// Why a file is no snapshot of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    #[error("at byte {offset}: {what}")]
    Damaged { offset: u64, what: String },
    #[error("it has format version {0}, this program knows {FORMAT_VERSION}")]
    UnknownVersion(u32),
    #[error("it is of another cluster or of another lineage")]
    Foreign,
    #[error("reading it failed")]
    Io(#[from] io::Error),
}

/// Everything about a file but its chunks.
#[derive(Clone, Debug)]
pub struct Frame {
    pub origin: Origin,
    pub meta: SnapshotMeta,
    pub header_bytes: u64,
    pub header_checksum: u32,
}

/// Of which history of which cluster a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub cluster_id: [u8; 16],
    pub lineage: u32,
}

/// The sum over a body, by which sender and receiver know that they speak of the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodySum {
    pub bytes: u64,
    pub checksum: u32,
}

/// A snapshot that is being written.
pub struct FileWriter<F> {
    pub file: F,
    pub path: PathBuf,
    pub frame: Frame,
    pub body: BodySum,
    offset: u64,
    chunk_checksum: u32,
    file_checksum: u32,
    /// Of the body.
    hash: Sha256,
    buffer: Vec<u8>,
    unsynced_bytes: usize,
}

/// Synced piece by piece, for what goes to the disk at once stands before the log's own syncs.
const SYNC_EVERY_BYTES: usize = 1 << 20;

impl<F: DiskFile> FileWriter<F> {
    pub async fn begin(file: F, path: PathBuf, owner: LogOwner, meta: SnapshotMeta) -> io::Result<Self> {
        let header = encode_header(owner, &meta)?;
        file.write_at(0, &header).await?;
        let header_checksum = header.last_chunk().map_or(0, |checksum| u32::from_le_bytes(*checksum));
        let origin = Origin { cluster_id: owner.cluster_id, lineage: owner.lineage };
        let frame = Frame { origin, meta, header_bytes: header.len() as u64, header_checksum };
        Ok(Self {
            file,
            path,
            offset: frame.header_bytes,
            frame,
            body: BodySum::default(),
            chunk_checksum: header_checksum,
            file_checksum: crc32c::crc32c(&header),
            hash: Sha256::new(),
            buffer: Vec::new(),
            unsynced_bytes: 0,
        })
    }

    pub async fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        if chunk.is_empty() || chunk.len() > CHUNK_LIMIT_BYTES {
            let message = format!("a snapshot's chunk has {} bytes instead of 1 to {CHUNK_LIMIT_BYTES}", chunk.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        self.chunk_checksum = crc32c::crc32c_append(self.chunk_checksum, chunk);
        self.body.checksum = crc32c::crc32c_append(self.body.checksum, chunk);
        self.body.bytes += u64::from(length);
        self.hash.update(chunk);
        self.buffer.clear();
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&self.chunk_checksum.to_le_bytes());
        self.buffer.extend_from_slice(chunk);
        self.write_buffer().await
    }

    /// Closes the file; it is on disk when this returns, its name perhaps not.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&0u32.to_le_bytes());
        self.buffer.extend_from_slice(&self.body.bytes.to_le_bytes());
        self.buffer.extend_from_slice(&self.body.checksum.to_le_bytes());
        let file_checksum = crc32c::crc32c_append(self.file_checksum, &self.buffer);
        self.buffer.extend_from_slice(&file_checksum.to_le_bytes());
        self.write_buffer().await?;
        if planted::has(Bug::SnapshotNotSynced) {
            return Ok(());
        }
        self.file.sync_data().await
    }

    /// Of the body so far.
    pub fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// Written so far.
    pub fn file_bytes(&self) -> u64 {
        self.offset
    }

    async fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_at(self.offset, &self.buffer).await?;
        self.file_checksum = crc32c::crc32c_append(self.file_checksum, &self.buffer);
        self.offset += self.buffer.len() as u64;
        self.unsynced_bytes += self.buffer.len();
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync_data().await?;
        }
        Ok(())
    }
}

/// Reads the chunks of a file one after the other and, at the end, that nothing is missing.
#[derive(Debug)]
pub struct FileReader {
    offset: u64,
    length: u64,
    chunk_checksum: u32,
    /// Of the file up to `offset`.
    file_checksum: u32,
    pub body: BodySum,
    /// Of the body, if that is wanted.
    hash: Option<Sha256>,
}

impl FileReader {
    pub async fn begin<F: ReadFile>(file: &F, owner: LogOwner) -> Result<(Frame, Self), BadSnapshot> {
        let (frame, reader) = Self::begin_of_any(file).await?;
        let expected = Origin { cluster_id: owner.cluster_id, lineage: owner.lineage };
        if frame.origin == expected { Ok((frame, reader)) } else { Err(BadSnapshot::Foreign) }
    }

    /// Whosever it is.
    pub async fn begin_of_any<F: ReadFile>(file: &F) -> Result<(Frame, Self), BadSnapshot> {
        let length = file.length().await?;
        let (frame, header) = read_header(file, length).await?;
        let reader = Self {
            offset: frame.header_bytes,
            length,
            chunk_checksum: frame.header_checksum,
            file_checksum: crc32c::crc32c(&header),
            body: BodySum::default(),
            hash: Some(Sha256::new()),
        };
        Ok((frame, reader))
    }

    /// For whoever knows the hash, or does not need it: it takes longer than all other checks together.
    pub fn without_hash(self) -> Self {
        Self { hash: None, ..self }
    }

    /// The next chunk, or `None` at a trailer that fits to all that came before.
    pub async fn next<F: ReadFile>(&mut self, file: &F) -> Result<Option<Bytes>, BadSnapshot> {
        let rest = self.length - self.offset;
        if rest < TRAILER_BYTES as u64 {
            return Err(self.damaged("it ends too early"));
        }
        let header = file.read_at(self.offset, CHUNK_HEADER_BYTES).await?;
        let mut reader = Reader::new(&header);
        let (Ok(length), Ok(checksum)) = (reader.u32(), reader.u32()) else {
            return Err(self.damaged("it ends too early"));
        };
        if length == 0 {
            self.trailer(file, rest).await?;
            return Ok(None);
        }
        let length = length as usize;
        if length > CHUNK_LIMIT_BYTES || (CHUNK_HEADER_BYTES + length + TRAILER_BYTES) as u64 > rest {
            return Err(self.damaged("a chunk is longer than there is room"));
        }
        let chunk = file.read_at(self.offset + CHUNK_HEADER_BYTES as u64, length).await?;
        self.chunk_checksum = crc32c::crc32c_append(self.chunk_checksum, &chunk);
        if self.chunk_checksum != checksum {
            return Err(self.damaged("a chunk does not match its checksum"));
        }
        self.file_checksum = crc32c::crc32c_append(crc32c::crc32c_append(self.file_checksum, &header), &chunk);
        self.body.checksum = crc32c::crc32c_append(self.body.checksum, &chunk);
        self.body.bytes += length as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&chunk);
        }
        self.offset += (CHUNK_HEADER_BYTES + length) as u64;
        Ok(Some(Bytes::from(chunk)))
    }

    /// Of the body as far as it was read.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hash.as_ref().map(|hash| hash.clone().finalize().into())
    }

    /// Of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    async fn trailer<F: ReadFile>(&mut self, file: &F, rest: u64) -> Result<(), BadSnapshot> {
        if rest != TRAILER_BYTES as u64 {
            return Err(self.damaged("it goes on after its end"));
        }
        let trailer = file.read_at(self.offset, TRAILER_BYTES).await?;
        let mut expected = Vec::with_capacity(TRAILER_BYTES);
        expected.extend_from_slice(&0u32.to_le_bytes());
        expected.extend_from_slice(&self.body.bytes.to_le_bytes());
        expected.extend_from_slice(&self.body.checksum.to_le_bytes());
        let file_checksum = crc32c::crc32c_append(self.file_checksum, &expected);
        expected.extend_from_slice(&file_checksum.to_le_bytes());
        if trailer == expected { Ok(()) } else { Err(self.damaged("its end does not match the rest")) }
    }

    fn damaged(&self, what: &str) -> BadSnapshot {
        BadSnapshot::Damaged { offset: self.offset, what: what.to_owned() }
    }
}

fn encode_header(owner: LogOwner, meta: &SnapshotMeta) -> io::Result<Vec<u8>> {
    let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "a snapshot of an empty log says nothing");
    let last_log_id = meta.last_log_id.ok_or_else(nothing)?;
    let mut encoded_meta = Vec::new();
    put_log_id(&mut encoded_meta, &last_log_id);
    encoded_meta.push(u8::from(meta.last_membership.log_id().is_some()));
    if let Some(log_id) = meta.last_membership.log_id() {
        put_log_id(&mut encoded_meta, log_id);
    }
    put_membership(&mut encoded_meta, meta.last_membership.membership());

    let mut header = Vec::with_capacity(FIXED_HEADER_BYTES + encoded_meta.len() + 4);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&owner.lineage.to_le_bytes());
    header.extend_from_slice(&owner.cluster_id);
    header.extend_from_slice(&u32::try_from(encoded_meta.len()).map_err(io::Error::other)?.to_le_bytes());
    header.extend_from_slice(&encoded_meta);
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    Ok(header)
}

async fn read_header<F: ReadFile>(file: &F, length: u64) -> Result<(Frame, Vec<u8>), BadSnapshot> {
    let damaged = |what: &str| BadSnapshot::Damaged { offset: 0, what: what.to_owned() };
    let short = || damaged("it is shorter than a snapshot's header");
    let undecodable = |undecodable: Undecodable| damaged(undecodable.0);
    if length < FIXED_HEADER_BYTES as u64 {
        return Err(short());
    }
    let fixed = file.read_at(0, FIXED_HEADER_BYTES).await?;
    let mut reader = Reader::new(&fixed);
    if reader.array().map_err(undecodable)? != MAGIC {
        return Err(damaged("it is not a snapshot"));
    }
    let (version, lineage) = (reader.u32().map_err(undecodable)?, reader.u32().map_err(undecodable)?);
    let cluster_id: [u8; 16] = reader.array().map_err(undecodable)?;
    let meta_bytes = reader.u32().map_err(undecodable)? as usize;
    if meta_bytes > META_LIMIT_BYTES || (FIXED_HEADER_BYTES + meta_bytes + 4) as u64 > length {
        return Err(short());
    }
    let header = file.read_at(0, FIXED_HEADER_BYTES + meta_bytes + 4).await?;
    let (body, checksum) = header.split_at(FIXED_HEADER_BYTES + meta_bytes);
    let header_checksum = crc32c::crc32c(body);
    if checksum != header_checksum.to_le_bytes() {
        return Err(damaged("its header does not match its checksum"));
    }
    if version != FORMAT_VERSION {
        return Err(BadSnapshot::UnknownVersion(version));
    }
    let mut reader = Reader::new(&body[FIXED_HEADER_BYTES..]);
    let last_log_id = reader.log_id().map_err(undecodable)?;
    let membership_log_id = match reader.flag().map_err(undecodable)? {
        true => Some(reader.log_id().map_err(undecodable)?),
        false => None,
    };
    let membership = reader.membership().map_err(undecodable)?;
    let last_membership = StoredMembership::new(membership_log_id, membership);
    let meta = SnapshotMeta { last_log_id: Some(last_log_id), last_membership };
    let origin = Origin { cluster_id, lineage };
    Ok((Frame { origin, meta, header_bytes: header.len() as u64, header_checksum }, header))
}
