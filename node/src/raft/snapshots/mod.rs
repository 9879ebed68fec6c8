//! Snapshots on disk: the newest and the one before it.
//!
//! A snapshot is written under another name, checksummed, synced and then renamed, so that under its own name it is
//! always whole. All of it happens on storage work, beside `apply`. One that comes from a peer is `received` first and
//! becomes ours only when it is installed, after what the log had to forget for it is forgotten on disk.

mod file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use carrel_domain::planted::{self, Bug};
use openraft::alias::{MpscReceiverOf, MpscSenderOf, MutexOf};
use openraft::async_runtime::{MpscReceiver, MpscSender, Mutex as AsyncMutex};
use openraft::type_config::TypeConfigExt;

pub use crate::raft::snapshots::file::{BadSnapshot, BodySum, CHUNK_LIMIT_BYTES, FORMAT_VERSION, FileReader, Origin};

use crate::raft::disk::release::release;
use crate::raft::disk::{Disk, ReadFile};
use crate::raft::platform::Platform;
use crate::raft::snapshots::file::{FileWriter, Frame};
use crate::raft::types::{CommittedLeaderId, LogId, SnapshotMeta, Types};
use crate::raft::wal::{Log, LogOwner, LogReach};
use crate::raft::watched::{Announcer, Watched};

/// The newest, and the one before it, from which the log still reaches on should the newest be damaged.
const KEPT: usize = 2;

/// Chunks on their way between the disk and the network: one being handled, one waiting.
const CHUNKS_AHEAD: usize = 2;

/// A good size to send.
const FILE_PIECE_BYTES: usize = 1 << 20;

/// A damaged newest snapshot is kept for whoever wants to know why, under this one name.
const DAMAGED: &str = "damaged";

#[derive(Debug, thiserror::Error)]
pub enum OpenSnapshotsError {
    #[error("the newest snapshot is damaged: {file}; nor is there an earlier state to go on from: \
        {why_not_before}; remove this node's data and let it join anew",
        file = .file.display())]
    Damaged { file: PathBuf, why_not_before: &'static str, source: BadSnapshot },
    #[error("the newest snapshot cannot be used: {file}", file = .file.display())]
    Refused { file: PathBuf, source: BadSnapshot },
    #[error("the log is purged through entry {purged}, but {dir} holds no snapshot up to there; remove this \
        node's data and let it join anew",
        dir = .dir.display())]
    Missing { dir: PathBuf, purged: u64 },
    #[error("a file that is no snapshot lies among the snapshots: {file}", file = .file.display())]
    Foreign { file: PathBuf },
    #[error("{dir} cannot be used", dir = .dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// The snapshots of this node. Cheap to clone.
pub struct Snapshots<P: Platform> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Platform> {
    platform: P,
    dir: PathBuf,
    owner: LogOwner,
    /// Newest first, at most [`KEPT`].
    stored: MutexOf<Types<P::Runtime>, Vec<StoredSnapshot<P>>>,
    /// What has arrived of one whose sender went away. Locked for as long as one that can be resumed arrives.
    partial: MutexOf<Types<P::Runtime>, Option<Partial<FileOf<P>>>>,
    /// Received ones that are not installed; their files go when nobody holds them any more.
    received: Mutex<Vec<(PathBuf, Weak<Inner<P>>)>>,
    /// Names for files in the making.
    unfinished: AtomicU64,
    /// Of the newest.
    state_hash: Mutex<Option<StateHash>>,
    /// Why nothing is known of what this disk holds, once that is so.
    failure: Announcer<P::Runtime, Option<String>>,
}

/// What a sender says of a snapshot before it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub meta: SnapshotMeta,
    pub body: BodySum,
}

type FileOf<P> = <<P as Platform>::Disk as Disk>::File;

struct Partial<F> {
    announced: Announced,
    writer: FileWriter<F>,
}

/// The state after an entry in 32 bytes: the same on every replica that has one of this index, or they have diverged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    pub index: u64,
    pub sha256: [u8; 32],
}

/// One snapshot on disk, and openraft's `SnapshotData`. Cheap to clone; it can be read as long as anyone holds it.
pub struct StoredSnapshot<P: Platform> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Platform> {
    platform: P,
    file: Arc<<P::Disk as Disk>::File>,
    path: PathBuf,
    owner: LogOwner,
    meta: SnapshotMeta,
    body: BodySum,
    file_bytes: u64,
    /// Of the body; `None` if that was not read.
    sha256: Option<[u8; 32]>,
}

impl<P: Platform> Snapshots<P> {
    /// Opens the snapshots in `dir` and verifies the newest. If that is damaged, the one before it (or none, for a log
    /// from its beginning) takes its place, provided the log leads from there to where the damaged one was; otherwise a
    /// state that was promised to others would silently be forgotten.
    pub async fn open(platform: &P, dir: &Path, owner: LogOwner, log: LogReach) -> Result<Self, OpenSnapshotsError> {
        let failed = |source: io::Error| OpenSnapshotsError::Io { dir: dir.to_owned(), source };
        let disk = platform.disk();
        disk.create_dir_all(dir).await.map_err(failed)?;
        let mut names = Vec::new();
        for name in disk.list(dir).await.map_err(failed)? {
            let path = dir.join(&name);
            if let Some(last) = named(&name) {
                names.push((last, path));
            } else if name.ends_with(".tmp") || name.ends_with(".received") {
                disk.remove(&path).await.map_err(failed)?;
            } else if name != DAMAGED {
                return Err(OpenSnapshotsError::Foreign { file: path });
            }
        }
        names.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        for (_, older) in names.drain(KEPT.min(names.len())..) {
            disk.remove(&older).await.map_err(failed)?;
        }

        let mut names = names.into_iter();
        let mut stored = Vec::new();
        if let Some((last, path)) = names.next() {
            let before = names.next();
            match verified(platform, &path, owner).await {
                Ok(newest) => {
                    stored.push(newest);
                    if let Some((_, path)) = before {
                        match framed(platform, &path, owner).await {
                            Ok(previous) => stored.push(previous),
                            Err(error) => {
                                tracing::warn!(file = %path.display(), %error, "the previous snapshot is damaged");
                                disk.remove(&path).await.map_err(failed)?;
                            }
                        }
                    }
                }
                Err(BadSnapshot::Damaged { offset, what }) => {
                    let bad = BadSnapshot::Damaged { offset, what };
                    stored.extend(before_damaged(platform, owner, log, &last, &path, before, &bad).await.map_err(
                        |why_not_before| OpenSnapshotsError::Damaged {
                            file: path.clone(),
                            why_not_before,
                            source: bad,
                        },
                    )?);
                    disk.rename(&path, &dir.join(DAMAGED)).await.map_err(failed)?;
                }
                Err(source) => return Err(OpenSnapshotsError::Refused { file: path, source }),
            }
        }
        disk.sync_dir(dir).await.map_err(failed)?;
        let held_through = stored.first().and_then(|newest| newest.meta().last_log_id).map(|last| last.index);
        if let Some(purged) = log.purged
            && held_through.is_none_or(|held| held < purged.index)
        {
            return Err(OpenSnapshotsError::Missing { dir: dir.to_owned(), purged: purged.index });
        }
        let state_hash = stored.first().and_then(StoredSnapshot::state_hash);
        let shared = Shared {
            platform: platform.clone(),
            dir: dir.to_owned(),
            owner,
            stored: MutexOf::<Types<P::Runtime>, _>::new(stored),
            partial: MutexOf::<Types<P::Runtime>, _>::new(None),
            received: Mutex::default(),
            unfinished: AtomicU64::new(0),
            state_hash: Mutex::new(state_hash),
            failure: Announcer::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub async fn latest(&self) -> Option<StoredSnapshot<P>> {
        self.shared.stored.lock().await.first().cloned()
    }

    /// Of the newest: computed while that was written, received or read back, so it costs nobody who applies.
    pub fn state_hash(&self) -> Option<StateHash> {
        *self.shared.state_hash.lock().expect("nothing panics while it holds the lock")
    }

    /// The failure after which the node has to end, if there is one. What a snapshot of one's own fails with is told to
    /// openraft, too; of one that comes from a peer only that peer would hear, and would send it again.
    pub fn failure(&self) -> Watched<P::Runtime, Option<String>> {
        self.shared.failure.watch()
    }

    /// A full disk leaves everything as it was. After any other failure to make or sync a file nothing is known.
    fn disk_failed(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::StorageFull {
            self.shared.failure.announce(Some(error.to_string()));
        }
        error
    }

    /// How far the log may be purged: to the snapshot before the last.
    pub async fn purgeable_through(&self) -> Option<LogId> {
        let stored = self.shared.stored.lock().await;
        stored.get(1).and_then(|previous| previous.meta().last_log_id)
    }

    /// Writes a snapshot of `body`, whose chunks come back as they are. If a newer one was installed meanwhile, that
    /// one stays and is returned.
    pub async fn write(
        &self,
        meta: &SnapshotMeta,
        body: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> io::Result<StoredSnapshot<P>> {
        let (snapshots, meta) = (self.clone(), meta.clone());
        let work = async move {
            let mut writer = snapshots.begin(meta, "tmp").await?;
            let written = async {
                for chunk in body {
                    writer.append(&chunk).await?;
                }
                writer.finish().await
            };
            let written = written.await;
            snapshots.cleared(&writer.path, written).await?;
            snapshots.keep(writer).await
        };
        self.shared.platform.run_storage("snapshot-writer", work).await
    }

    /// Begins a snapshot that comes from a peer.
    pub fn receive(&self, meta: &SnapshotMeta) -> Receiving<P> {
        let (parts, arriving) = Types::<P::Runtime>::mpsc(CHUNKS_AHEAD);
        let work = self.clone().receive_all(meta.clone(), arriving);
        let outcome = self.shared.platform.run_storage("snapshot-receiver", work);
        Receiving { parts, outcome: Box::pin(outcome) }
    }

    /// How many bytes of a snapshot's body are here, of a transfer that broke off.
    pub async fn arrived_bytes(&self, announced: &Announced) -> u64 {
        let partial = self.shared.partial.lock().await;
        partial
            .as_ref()
            .filter(|partial| partial.announced == *announced)
            .map_or(0, |partial| partial.writer.body.bytes)
    }

    /// Begins a snapshot that comes from a peer, or goes on from `offset`, which must be what has arrived of it. If the
    /// sender goes away, what has come by then is kept for the next attempt, as long as the process runs.
    pub fn resume(&self, announced: Announced, offset: u64) -> Receiving<P> {
        let (parts, arriving) = Types::<P::Runtime>::mpsc(CHUNKS_AHEAD);
        let work = self.clone().receive_rest(announced, offset, arriving);
        let outcome = self.shared.platform.run_storage("snapshot-receiver", work);
        Receiving { parts, outcome: Box::pin(outcome) }
    }

    /// Makes a received snapshot ours, durably, and drops all others. Does nothing for one that is ours already, as at
    /// start. `log` must have been told to forget what conflicts with it: it is waited for until it has, or after a
    /// crash the log would contradict the snapshot.
    pub async fn install(&self, received: &StoredSnapshot<P>, log: &Log<P>) -> io::Result<()> {
        log.flush().await?;
        let (snapshots, received) = (self.clone(), received.clone());
        let work = async move {
            let shared = &snapshots.shared;
            let mut stored = shared.stored.lock().await;
            if stored.iter().any(|ours| ours.inner.path == received.inner.path) {
                return Ok(());
            }
            let installed = snapshots.rename(&received).await?;
            let mut others = std::mem::replace(&mut *stored, vec![installed.clone()]);
            snapshots.note_hash(&installed);
            others.retain(|other| other.inner.path != installed.inner.path);
            snapshots.remove(others).await
        };
        self.shared.platform.run_storage("snapshot-installer", work).await
    }

    async fn begin(&self, meta: SnapshotMeta, extension: &str) -> io::Result<FileWriter<<P::Disk as Disk>::File>> {
        self.sweep().await?;
        let number = self.shared.unfinished.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.dir.join(format!("{number}.{extension}"));
        let file = self.shared.platform.disk().create(&path, 0).await.map_err(|error| self.disk_failed(error))?;
        let begun = FileWriter::begin(file, path.clone(), self.shared.owner, meta).await;
        self.cleared(&path, begun).await
    }

    /// The result; if it is a failure, without leaving the file behind.
    async fn cleared<T>(&self, path: &Path, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            // The first failure is the one to tell; a file that stays is removed at the next start.
            let _ = self.shared.platform.disk().remove(path).await;
        }
        result
    }

    async fn keep(&self, writer: FileWriter<<P::Disk as Disk>::File>) -> io::Result<StoredSnapshot<P>> {
        let disk = self.shared.platform.disk();
        let finished = self.stored(writer);
        let mut stored = self.shared.stored.lock().await;
        if let Some(newest) = stored.first()
            && newest.meta().last_log_id > finished.meta().last_log_id
        {
            disk.remove(&finished.inner.path).await?;
            return Ok(newest.clone());
        }
        let kept = self.rename(&finished).await?;
        stored.retain(|other| other.inner.path != kept.inner.path);
        stored.insert(0, kept.clone());
        self.note_hash(&kept);
        let kept_through = KEPT.min(stored.len());
        let outdated = stored.drain(kept_through..).collect();
        self.remove(outdated).await?;
        Ok(kept)
    }

    /// Those who still read one may go on. What nobody reads gives its room back later.
    async fn remove(&self, outdated: Vec<StoredSnapshot<P>>) -> io::Result<()> {
        let disk = self.shared.platform.disk();
        for snapshot in &outdated {
            disk.remove(&snapshot.inner.path).await?;
        }
        if !planted::has(Bug::SnapshotNameNotSynced) {
            disk.sync_dir(&self.shared.dir).await?;
        }
        let unread = outdated.into_iter().filter_map(|snapshot| Arc::into_inner(snapshot.inner));
        let files = unread.filter_map(|inner| Arc::into_inner(inner.file)).collect();
        release(&self.shared.platform, files);
        Ok(())
    }

    fn note_hash(&self, newest: &StoredSnapshot<P>) {
        *self.shared.state_hash.lock().expect("nothing panics while it holds the lock") = newest.state_hash();
    }

    /// Gives a finished snapshot its own name, durably.
    async fn rename(&self, finished: &StoredSnapshot<P>) -> io::Result<StoredSnapshot<P>> {
        let last = finished.meta().last_log_id.ok_or_else(|| io::Error::other("a snapshot without a log id"))?;
        let path = self.shared.dir.join(name_of(last));
        let disk = self.shared.platform.disk();
        disk.rename(&finished.inner.path, &path).await?;
        if !planted::has(Bug::SnapshotNameNotSynced) {
            disk.sync_dir(&self.shared.dir).await?;
        }
        let Inner { platform, file, path: _, owner, meta, body, file_bytes, sha256 } = &*finished.inner;
        let inner = Inner {
            platform: platform.clone(),
            file: Arc::clone(file),
            path,
            owner: *owner,
            meta: meta.clone(),
            body: *body,
            file_bytes: *file_bytes,
            sha256: *sha256,
        };
        Ok(StoredSnapshot { inner: Arc::new(inner) })
    }

    fn stored(&self, writer: FileWriter<<P::Disk as Disk>::File>) -> StoredSnapshot<P> {
        let (file_bytes, sha256) = (writer.file_bytes(), Some(writer.hash()));
        let FileWriter { file, path, frame, body, .. } = writer;
        let (platform, owner) = (self.shared.platform.clone(), self.shared.owner);
        let inner = Inner { platform, file: Arc::new(file), path, owner, meta: frame.meta, body, file_bytes, sha256 };
        StoredSnapshot { inner: Arc::new(inner) }
    }

    async fn receive_all(
        self,
        meta: SnapshotMeta,
        mut arriving: MpscReceiverOf<Types<P::Runtime>, Part>,
    ) -> io::Result<StoredSnapshot<P>> {
        let mut writer = self.begin(meta, "received").await?;
        let arrived = self.write_parts(&mut writer, &mut arriving).await;
        match self.cleared(&writer.path, arrived).await? {
            Arrived::Whole => Ok(self.received_as(writer)),
            Arrived::InPart => self.cleared(&writer.path, Err(sender_gone())).await,
        }
    }

    async fn receive_rest(
        self,
        announced: Announced,
        offset: u64,
        mut arriving: MpscReceiverOf<Types<P::Runtime>, Part>,
    ) -> io::Result<StoredSnapshot<P>> {
        let mut partial = self.shared.partial.lock().await;
        let mut writer = match partial.take() {
            Some(begun) if begun.announced == announced && begun.writer.body.bytes == offset => begun.writer,
            other => {
                if let Some(other) = other {
                    self.shared.platform.disk().remove(&other.writer.path).await?;
                }
                if offset != 0 {
                    let message = format!("a snapshot goes on from byte {offset}, which has not arrived");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                self.begin(announced.meta.clone(), "received").await?
            }
        };
        let arrived = self.write_parts(&mut writer, &mut arriving).await;
        match self.cleared(&writer.path, arrived).await? {
            Arrived::Whole => Ok(self.received_as(writer)),
            Arrived::InPart => {
                *partial = Some(Partial { announced, writer });
                Err(sender_gone())
            }
        }
    }

    /// Until the sender says that it was all, or goes away.
    async fn write_parts(
        &self,
        writer: &mut FileWriter<<P::Disk as Disk>::File>,
        arriving: &mut MpscReceiverOf<Types<P::Runtime>, Part>,
    ) -> io::Result<Arrived> {
        loop {
            match arriving.recv().await {
                Some(Part::Chunk(chunk)) => writer.append(&chunk).await?,
                Some(Part::End(sent)) if sent == writer.body => {
                    writer.finish().await.map_err(|error| self.disk_failed(error))?;
                    return Ok(Arrived::Whole);
                }
                Some(Part::End(sent)) => {
                    let message = format!("a snapshot arrived as {:?} and was sent as {sent:?}", writer.body);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                None => return Ok(Arrived::InPart),
            }
        }
    }

    fn received_as(&self, writer: FileWriter<<P::Disk as Disk>::File>) -> StoredSnapshot<P> {
        let snapshot = self.stored(writer);
        self.received().push((snapshot.inner.path.clone(), Arc::downgrade(&snapshot.inner)));
        snapshot
    }

    /// Removes received snapshots that were never installed and that nobody holds.
    async fn sweep(&self) -> io::Result<()> {
        let mut abandoned = Vec::new();
        self.received().retain(|(path, snapshot)| {
            let held = snapshot.strong_count() > 0;
            if !held {
                abandoned.push(path.clone());
            }
            held
        });
        for path in abandoned {
            match self.shared.platform.disk().remove(&path).await {
                // It was installed, and has another name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, Weak<Inner<P>>)>> {
        self.shared.received.lock().expect("nothing panics while it holds the lock")
    }
}

enum Part {
    Chunk(Bytes),
    End(BodySum),
}

enum Arrived {
    Whole,
    InPart,
}

fn sender_gone() -> io::Error {
    io::Error::other("the sender of a snapshot went away")
}

/// A snapshot that is coming from a peer. Dropped before its end, it leaves nothing but what it may be resumed from.
pub struct Receiving<P: Platform> {
    parts: MpscSenderOf<Types<P::Runtime>, Part>,
    outcome: Pin<Box<dyn Future<Output = io::Result<StoredSnapshot<P>>> + Send>>,
}

impl<P: Platform> Receiving<P> {
    pub async fn append(&mut self, chunk: Bytes) -> io::Result<()> {
        match self.parts.send(Part::Chunk(chunk)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// The end, with the sum over what was sent. The snapshot is on disk when this returns, and not yet ours.
    pub async fn finish(mut self, sent: BodySum) -> io::Result<StoredSnapshot<P>> {
        match self.parts.send(Part::End(sent)).await {
            Ok(()) => self.outcome.await,
            Err(_) => Err(self.failure().await),
        }
    }

    /// Why the other side listens no more.
    async fn failure(&mut self) -> io::Error {
        match self.outcome.as_mut().await {
            Ok(_) => io::Error::other("a snapshot went on after its end"),
            Err(error) => error,
        }
    }
}

impl<P: Platform> StoredSnapshot<P> {
    pub fn meta(&self) -> &SnapshotMeta {
        &self.inner.meta
    }

    /// The sum over the body, for the receiver of a copy.
    pub fn body_sum(&self) -> BodySum {
        self.inner.body
    }

    pub fn state_hash(&self) -> Option<StateHash> {
        Some(StateHash { index: self.meta().last_log_id?.index, sha256: self.inner.sha256? })
    }

    /// Of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.inner.file_bytes
    }

    /// The body from its beginning, read ahead by storage work.
    pub fn body(&self) -> Body<P> {
        let (sender, chunks) = Types::<P::Runtime>::mpsc(CHUNKS_AHEAD);
        let inner = Arc::clone(&self.inner);
        self.inner.platform.spawn_storage("snapshot-reader", async move {
            let outcome = read_body(&inner, &sender).await;
            if let Err(error) = outcome {
                // Whoever read may have stopped.
                let _ = sender.send(Err(error)).await;
            }
        });
        Body { chunks, outstanding_bytes: self.inner.body.bytes, failed: false }
    }

    /// The file as it is, its checksums included: what a backup is. Read ahead by storage work.
    pub fn file(&self) -> Body<P> {
        let (sender, chunks) = Types::<P::Runtime>::mpsc(CHUNKS_AHEAD);
        let inner = Arc::clone(&self.inner);
        self.inner.platform.spawn_storage("backup-reader", async move {
            let mut offset = 0;
            while offset < inner.file_bytes {
                let length = usize::try_from(inner.file_bytes - offset).unwrap_or(usize::MAX).min(FILE_PIECE_BYTES);
                let piece = inner.file.read_at(offset, length).await.map(Bytes::from);
                offset += length as u64;
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    break;
                }
            }
        });
        Body { chunks, outstanding_bytes: self.inner.file_bytes, failed: false }
    }
}

async fn read_body<P: Platform>(
    inner: &Inner<P>,
    sender: &MpscSenderOf<Types<P::Runtime>, io::Result<Bytes>>,
) -> io::Result<()> {
    let damaged = |bad: BadSnapshot| match bad {
        BadSnapshot::Io(error) => error,
        bad => io::Error::new(io::ErrorKind::InvalidData, format!("{}: {bad}", inner.path.display())),
    };
    let (_, reader) = FileReader::begin(&*inner.file, inner.owner).await.map_err(damaged)?;
    let mut reader = reader.without_hash();
    while let Some(chunk) = reader.next(&*inner.file).await.map_err(damaged)? {
        if sender.send(Ok(chunk)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The chunks of a body, each verified, in order.
pub struct Body<P: Platform> {
    chunks: MpscReceiverOf<Types<P::Runtime>, io::Result<Bytes>>,
    outstanding_bytes: u64,
    failed: bool,
}

impl<P: Platform> Body<P> {
    /// `None` only when all of it was read.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.failed {
            return None;
        }
        let next = match self.chunks.recv().await {
            Some(Ok(chunk)) => {
                self.outstanding_bytes = self.outstanding_bytes.saturating_sub(chunk.len() as u64);
                Ok(chunk)
            }
            Some(Err(error)) => Err(error),
            None if self.outstanding_bytes == 0 => return None,
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a snapshot was not read to its end")),
        };
        self.failed = next.is_err();
        Some(next)
    }
}

/// The snapshot to go on from when the newest, of `last`, is damaged: the one before it, or none for a log from its
/// beginning. It serves only if the log leads from there to where the damaged one was; if it does not, says why.
async fn before_damaged<P: Platform>(
    platform: &P,
    owner: LogOwner,
    log: LogReach,
    last: &LogId,
    path: &Path,
    before: Option<(LogId, PathBuf)>,
    bad: &BadSnapshot,
) -> Result<Option<StoredSnapshot<P>>, &'static str> {
    if log.last.is_none_or(|end| end.index < last.index) {
        return Err("the log ends before it");
    }
    let held_from = log.purged.map_or(0, |purged| purged.index + 1);
    let previous_through = before.as_ref().map_or(0, |(previous, _)| previous.index + 1);
    if held_from > previous_through {
        return Err("the log between is purged");
    }
    let previous = match before {
        Some((_, previous)) => {
            Some(verified(platform, &previous, owner).await.map_err(|_| "the one before it is damaged, too")?)
        }
        None => None,
    };
    tracing::warn!(file = %path.display(), error = %bad, "the newest snapshot is damaged; going on from before it");
    Ok(previous)
}

/// The snapshot, read and verified from beginning to end.
async fn verified<P: Platform>(platform: &P, path: &Path, owner: LogOwner) -> Result<StoredSnapshot<P>, BadSnapshot> {
    let file = platform.disk().open(path).await?;
    let (frame, mut reader) = FileReader::begin(&file, owner).await?;
    while reader.next(&file).await?.is_some() {}
    let sha256 = reader.hash();
    stored_as(platform, path, owner, file, frame, &reader, sha256)
}

/// The snapshot by its header alone, for one that is only a second choice: it is read in full if ever it is needed.
async fn framed<P: Platform>(platform: &P, path: &Path, owner: LogOwner) -> Result<StoredSnapshot<P>, BadSnapshot> {
    let file = platform.disk().open(path).await?;
    let (frame, reader) = FileReader::begin(&file, owner).await?;
    stored_as(platform, path, owner, file, frame, &reader, None)
}

fn stored_as<P: Platform>(
    platform: &P,
    path: &Path,
    owner: LogOwner,
    file: <P::Disk as Disk>::File,
    frame: Frame,
    reader: &FileReader,
    sha256: Option<[u8; 32]>,
) -> Result<StoredSnapshot<P>, BadSnapshot> {
    let right_name = frame.meta.last_log_id.map(name_of);
    if right_name.as_deref() != path.file_name().and_then(|name| name.to_str()) {
        return Err(BadSnapshot::Damaged {
            offset: 0,
            what: "it holds another snapshot than its name says".to_owned(),
        });
    }
    let (platform, path) = (platform.clone(), path.to_owned());
    let (body, file_bytes) = (reader.body, reader.file_bytes());
    let inner = Inner { platform, file: Arc::new(file), path, owner, meta: frame.meta, body, file_bytes, sha256 };
    Ok(StoredSnapshot { inner: Arc::new(inner) })
}

/// Names sort as the snapshots do, for whoever looks into the directory.
fn name_of(last: LogId) -> String {
    format!("{:020}-{:020}.snapshot", last.index, last.leader_id.term)
}

fn named(name: &str) -> Option<LogId> {
    let (index, term) = name.strip_suffix(".snapshot")?.split_once('-')?;
    let last = LogId::new(CommittedLeaderId::new(term.parse().ok()?), index.parse().ok()?);
    (name_of(last) == name).then_some(last)
}

impl<P: Platform> Clone for Snapshots<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Platform> Clone for StoredSnapshot<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Platform> fmt::Debug for Snapshots<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Debug for StoredSnapshot<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSnapshot")
            .field("path", &self.inner.path)
            .field("meta", &self.inner.meta)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Debug for Receiving<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Debug for Body<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("outstanding_bytes", &self.outstanding_bytes).finish_non_exhaustive()
    }
}
