//! The few things the log, the snapshots and the identity ask of a disk, and what they may rely on.
//!
//! - What was written is there after a crash only once [`DiskFile::sync_data`] has returned; before that any 512-byte
//!   sector of it may be there or not, in any combination. A sector that was synced is not damaged by writing its
//!   neighbour.
//! - A name (created, renamed, removed) is there after a crash only once [`Disk::sync_dir`] of its directory has
//!   returned. Renaming over a name leaves the old file or the new one, never none.
//! - After a failed sync nothing is known about the file, and syncing again proves nothing: callers stop.
//!
//! The functions are async for the sake of the simulated disk, which takes its time in virtual time. The real one
//! blocks inside them: call it from storage work or at start.

pub mod real;
pub mod release;
pub mod simulated;

use std::future::Future;
use std::io;
use std::path::Path;

pub trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;
    /// Held as long as the directory is ours.
    type Lock: Send + Sync + 'static;

    /// Creates the directory and its parents; all of them are on disk when it returns.
    fn create_dir_all(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;
    /// The names in a directory, in order.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<String>>> + Send;
    /// An existing file, for reading and writing.
    fn open(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>> + Send;
    /// An existing file that may be where nothing can be written, as a backup on a volume that is mounted so.
    fn open_to_read(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>> + Send;
    /// A new file of so many zeroes, which are on disk when it returns (the name is not). A file of that name is
    /// replaced.
    fn create(&self, path: &Path, zeroed_bytes: u64) -> impl Future<Output = io::Result<Self::File>> + Send;
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> + Send;
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;
    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;
    /// Claims the directory for this process; `WouldBlock` if another one has it.
    fn lock(&self, dir: &Path) -> impl Future<Output = io::Result<Self::Lock>> + Send;
}

/// Bytes with an end, read from anywhere among them. A file is, and so is what lies in a bucket.
pub trait ReadFile: Send + Sync + 'static {
    fn length(&self) -> impl Future<Output = io::Result<u64>> + Send;
    /// Exactly so many bytes; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, length: usize) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

pub trait DiskFile: ReadFile {
    /// All of `bytes`; a file that ends before is extended.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// Keeps the first `length` bytes, of which there are as many. Whether it lasts is known of a file without a name
    /// only, of which nothing lasts.
    fn shorten(&self, length: u64) -> impl Future<Output = io::Result<()>> + Send;
    /// What was written, and the length, are on disk when it returns.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>> + Send;
}
