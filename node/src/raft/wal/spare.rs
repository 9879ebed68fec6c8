//! The file of the next segment, made ahead: to fill one with zeroes and to sync it takes as long as many batches, and
//! no write is answered meanwhile.
//!
//! So a full disk is noticed while there is still a whole segment to write to. It is waited out, looked at again and
//! again, and everybody can see it; what has been written is not touched by it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::alias::{MpscReceiverOf, MpscSenderOf};
use openraft::async_runtime::{MpscReceiver, MpscSender};
use openraft::type_config::TypeConfigExt;

use crate::raft::disk::Disk;
use crate::raft::platform::Platform;
use crate::raft::types::Types;
use crate::raft::watched::{Announcer, Watched};

/// Between two looks at a full disk: each may write up to a segment of zeroes and take them back.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A segment that was never begun. Whatever is named like this is removed at the next start.
const SPARE: &str = "spare.tmp";

/// Whether the disk has room for what is to be written.
pub struct Room<P: Platform> {
    /// How many wait for some.
    waiting: Announcer<P::Runtime, usize>,
    /// Nobody needs room any more.
    is_closing: AtomicBool,
}

/// One who needs room, again and again.
pub struct Need<P: Platform> {
    room: Arc<Room<P>>,
    is_waiting: bool,
}

impl<P: Platform> Default for Room<P> {
    fn default() -> Self {
        Self { waiting: Announcer::new(0), is_closing: AtomicBool::new(false) }
    }
}

impl<P: Platform> Room<P> {
    /// Somebody waits for room.
    pub fn is_full(&self) -> bool {
        self.waiting.get() > 0
    }

    /// How many wait for room.
    pub fn watch(&self) -> Watched<P::Runtime, usize> {
        self.waiting.watch()
    }

    pub fn need(self: &Arc<Self>) -> Need<P> {
        Need { room: Arc::clone(self), is_waiting: false }
    }
}

impl<P: Platform> Need<P> {
    /// After a failed attempt: returns when it may be made again. A failure that is no lack of room is returned.
    pub async fn wait_after(&mut self, error: io::Error) -> io::Result<()> {
        if !is_full(&error) || self.room.is_closing.load(Ordering::Relaxed) {
            self.found();
            return Err(error);
        }
        if !self.is_waiting {
            self.is_waiting = true;
            tracing::error!("{error}: this node takes nothing more into its log until there is room");
            self.room.waiting.change(|waiting| *waiting += 1);
        }
        Types::<P::Runtime>::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// After an attempt that has succeeded.
    pub fn found(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.room.waiting.change(|waiting| *waiting -= 1);
            tracing::info!("there is room on the disk again");
        }
    }
}

impl<P: Platform> Drop for Need<P> {
    fn drop(&mut self) {
        self.found();
    }
}

/// Also where an allowance ends, and not the disk.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The writer's end.
pub struct Spares<P: Platform> {
    segment_bytes: u64,
    path: PathBuf,
    wanted: MpscSenderOf<Types<P::Runtime>, ()>,
    made: MpscReceiverOf<Types<P::Runtime>, io::Result<<P::Disk as Disk>::File>>,
    room: Arc<Room<P>>,
}

impl<P: Platform> Spares<P> {
    /// Begins to make the first.
    pub fn begin(platform: &P, dir: &Path, segment_bytes: u64, room: Arc<Room<P>>) -> Self {
        // One is wanted from the start on, and another only when that one was taken.
        let (wanted, asked) = Types::<P::Runtime>::mpsc(1);
        let (send, made) = Types::<P::Runtime>::mpsc(1);
        let maker = Maker::<P> {
            disk: platform.disk().clone(),
            path: dir.join(SPARE),
            segment_bytes,
            room: Arc::clone(&room),
            asked,
            made: send,
        };
        platform.spawn_storage("log-spare", maker.run());
        Self { segment_bytes, path: dir.join(SPARE), wanted, made, room }
    }

    /// Zeroes for a segment of so many bytes, on disk, and the name they have until the segment gets its own. On a full
    /// disk it waits for room.
    pub async fn take(&mut self, disk: &P::Disk, length: u64) -> io::Result<(<P::Disk as Disk>::File, PathBuf)> {
        if length != self.segment_bytes {
            let path = self.path.with_file_name("larger.tmp");
            let file = create(disk, &path, length, &mut self.room.need()).await?;
            return Ok((file, path));
        }
        let file = self.made.recv().await.ok_or_else(|| io::Error::other("spare segments are made no more"))??;
        // A maker that has ended says so when the next is to be taken.
        Ok((file, self.path.clone()))
    }

    /// To be called when what was taken has its own name, for the next is made under the same one.
    pub async fn make_another(&mut self) {
        // A maker that has ended says so when the next is to be taken.
        let _ = self.wanted.send(()).await;
    }

    /// Leaves nothing that was never used.
    pub async fn end(self, disk: &P::Disk) -> io::Result<()> {
        let Self { segment_bytes: _, path, wanted, mut made, room } = self;
        room.is_closing.store(true, Ordering::Relaxed);
        drop(wanted);
        while let Some(spare) = made.recv().await {
            if spare.is_ok() {
                disk.remove(&path).await?;
            }
        }
        Ok(())
    }
}

struct Maker<P: Platform> {
    disk: P::Disk,
    path: PathBuf,
    segment_bytes: u64,
    room: Arc<Room<P>>,
    asked: MpscReceiverOf<Types<P::Runtime>, ()>,
    made: MpscSenderOf<Types<P::Runtime>, io::Result<<P::Disk as Disk>::File>>,
}

impl<P: Platform> Maker<P> {
    async fn run(mut self) {
        loop {
            let spare = create(&self.disk, &self.path, self.segment_bytes, &mut self.room.need()).await;
            if self.made.send(spare).await.is_err() || self.asked.recv().await.is_none() {
                return;
            }
        }
    }
}

/// A file of zeroes, once there is room for it. The beginning of one is taken back, for it would keep others from the
/// last of the room.
async fn create<P: Platform>(
    disk: &P::Disk,
    path: &Path,
    length: u64,
    need: &mut Need<P>,
) -> io::Result<<P::Disk as Disk>::File> {
    loop {
        match disk.create(path, length).await {
            Ok(file) => {
                need.found();
                return Ok(file);
            }
            Err(error) => {
                // The first failure is the one to tell.
                let _ = disk.remove(path).await;
                need.wait_after(error).await?;
            }
        }
    }
}

impl<P: Platform> std::fmt::Debug for Need<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Need").field("is_waiting", &self.is_waiting).finish_non_exhaustive()
    }
}

impl<P: Platform> std::fmt::Debug for Room<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("waiting", &self.waiting.get()).finish_non_exhaustive()
    }
}
