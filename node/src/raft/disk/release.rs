//! Files whose names are gone give their room back a piece at a time.
//!
//! To free hundreds of megabytes at once keeps a file system's journal busy for tens of milliseconds, and every sync of
//! the log waits for it. RocksDB deletes its files piece by piece for the same reason (`bytes_max_delete_chunk` of its
//! `SstFileManager`).

use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use crate::raft::disk::{Disk, DiskFile, ReadFile};
use crate::raft::platform::Platform;
use crate::raft::types::Types;

/// Freed within about a millisecond.
const PIECE_BYTES: u64 = 4 << 20;

/// So that a disk frees less than a gigabyte a second, and most of the time nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// Frees `files` beside everything else. Their names must be gone for good: a crash must not bring one back.
pub fn release<P: Platform>(platform: &P, files: Vec<<P::Disk as Disk>::File>) {
    if files.is_empty() {
        return;
    }
    platform.spawn_storage("file-release", async move {
        for file in files {
            // What cannot be shortened is freed at once when it is closed.
            let mut length = file.length().await.unwrap_or_default();
            while length > PIECE_BYTES {
                length -= PIECE_BYTES;
                if file.shorten(length).await.is_err() {
                    break;
                }
                Types::<P::Runtime>::sleep(PAUSE).await;
            }
        }
    });
}
