//! Who this volume is: `data/identity.json`, below the mount.
//!
//! A node's id belongs to the contents of one volume. So a new volume draws an incarnation, durably and before anything
//! else, and gets a node id once, when it is joined; what is set never changes. The mount itself may hold what the file
//! system put there (`lost+found`), so everything of ours lies in `data/`, which one process at a time may use.
//!
//! The log and the snapshots of a cluster's first lineage lie in `data/` itself, those of a later one in
//! `data/lineage-N/`. So a recovery writes everything beside what there was, and takes effect by one rename: that of
//! the identity.

use std::io;
use std::path::{Path, PathBuf};

use carrel_domain::planted::{self, Bug};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::raft::disk::{Disk, DiskFile, ReadFile};
use crate::raft::types::NodeId;
use crate::raft::wal::{self, LogOptions, LogOwner};

/// The lineage of a cluster that was never recovered by hand.
pub const FIRST_LINEAGE: u32 = 0;

const FORMAT_VERSION: u32 = 1;
/// Below the mount.
pub(super) const DATA: &str = "data";
const FILE: &str = "identity.json";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";
const UNFINISHED: &str = "identity.json.tmp";

/// A real one has 300 bytes; anything far longer is not ours, and is not read into memory.
const LONGEST_FILE_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the volume was empty, and never again.
    pub incarnation: Uuid,
    /// `None` until a cluster has taken this incarnation in.
    pub membership: Option<MemberOf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberOf {
    pub cluster_id: Uuid,
    /// Counts recoveries by hand of one cluster.
    pub lineage: u32,
    pub node_id: NodeId,
}

/// A data directory that is ours as long as this lives.
pub struct DataDirectory<D: Disk> {
    disk: D,
    path: PathBuf,
    identity: Identity,
    _lock: D::Lock,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{dir} is in use by another process; two nodes cannot share a data directory", dir = .dir.display())]
    InUse { dir: PathBuf },
    #[error("{dir} is not empty but holds no identity (found {found}); it is not a node's data, or the file was \
        lost: use an empty directory",
        dir = .dir.display())]
    NotEmpty { dir: PathBuf, found: String },
    #[error("{file} cannot be understood: {why}; this node's data cannot be trusted: let it join anew with an \
        empty directory",
        file = .file.display())]
    Unreadable { file: PathBuf, why: String },
    #[error("{file} has format version {version}, this program knows {FORMAT_VERSION}", file = .file.display())]
    UnknownVersion { file: PathBuf, version: u32 },
    #[error("this volume is node {} of cluster {} (lineage {}) and cannot become node {} of cluster {} (lineage {})",
        .is.node_id, .is.cluster_id, .is.lineage, .asked.node_id, .asked.cluster_id, .asked.lineage)]
    AlreadyMember { is: MemberOf, asked: MemberOf },
    #[error("{dir} holds no node's data", dir = .dir.display())]
    Unused { dir: PathBuf },
    #[error("{dir} cannot be used", dir = .dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

impl<D: Disk> DataDirectory<D> {
    /// Opens `data/` below `mount`, creating it and giving it `drawn_incarnation` if it is empty. Nothing else may be
    /// written there before.
    pub async fn open(disk: &D, mount: &Path, drawn_incarnation: Uuid) -> Result<Self, IdentityError> {
        let path = mount.join(DATA);
        let failed = |source: io::Error| IdentityError::Io { dir: path.clone(), source };
        disk.create_dir_all(&path).await.map_err(failed)?;
        let lock = disk.lock(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => IdentityError::InUse { dir: path.clone() },
            _ => failed(error),
        })?;
        let names = disk.list(&path).await.map_err(failed)?;
        let identity = if names.iter().any(|name| name == FILE) {
            let identity = read(disk, &path).await?;
            // The name may have been there without being durable, if a process was stopped right after the rename.
            disk.sync_dir(&path).await.map_err(failed)?;
            identity
        } else {
            // A file that was never finished says that nothing else was begun either.
            let foreign: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != UNFINISHED).collect();
            if !foreign.is_empty() {
                return Err(IdentityError::NotEmpty { dir: path, found: foreign.join(", ") });
            }
            let identity = Identity { incarnation: drawn_incarnation, membership: None };
            write(disk, &path, &identity).await.map_err(failed)?;
            identity
        };
        Ok(Self { disk: disk.clone(), path, identity, _lock: lock })
    }

    /// Whether no process has the directory open at this moment, or it is not there. Creates nothing.
    pub async fn is_free(disk: &D, mount: &Path) -> Result<bool, IdentityError> {
        let path = mount.join(DATA);
        match disk.lock(&path).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::NotFound => Ok(true),
                _ => Err(IdentityError::Io { dir: path, source: error }),
            },
        }
    }

    /// Opens what a node has left, for work without it. Creates nothing.
    pub async fn open_used(disk: &D, mount: &Path) -> Result<Self, IdentityError> {
        let path = mount.join(DATA);
        let failed = |source: io::Error| IdentityError::Io { dir: path.clone(), source };
        let lock = disk.lock(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => IdentityError::InUse { dir: path.clone() },
            io::ErrorKind::NotFound => IdentityError::Unused { dir: path.clone() },
            _ => failed(error),
        })?;
        let names = disk.list(&path).await.map_err(failed)?;
        if !names.iter().any(|name| name == FILE) {
            return Err(IdentityError::Unused { dir: path });
        }
        let identity = read(disk, &path).await?;
        Ok(Self { disk: disk.clone(), path, identity, _lock: lock })
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn log_directory(&self) -> PathBuf {
        self.home().join(LOG)
    }

    pub fn snapshot_directory(&self) -> PathBuf {
        self.home().join(SNAPSHOTS)
    }

    /// Where the log and the snapshots of this lineage lie, now or once this volume belongs to it.
    pub fn directories_of(&self, lineage: u32) -> (PathBuf, PathBuf) {
        let home = self.home_of(lineage);
        (home.join(LOG), home.join(SNAPSHOTS))
    }

    /// Durably becomes another member, whose log and snapshots were written before. The identity there was is kept
    /// beside it, like everything else of that time.
    pub async fn succeed(&mut self, identity: Identity) -> Result<(), IdentityError> {
        let failed = |source: io::Error| IdentityError::Io { dir: self.path.clone(), source };
        if let Some(before) = self.identity.membership {
            write_as(&self.disk, &self.path, &kept_as(before.lineage), &self.identity).await.map_err(failed)?;
        }
        write(&self.disk, &self.path, &identity).await.map_err(failed)?;
        self.identity = identity;
        Ok(())
    }

    fn home(&self) -> PathBuf {
        self.home_of(self.identity.membership.map_or(FIRST_LINEAGE, |of| of.lineage))
    }

    fn home_of(&self, lineage: u32) -> PathBuf {
        home_of(&self.path, lineage)
    }

    /// Durably takes the place a cluster gave to this incarnation, and before that begins its log: a member without a
    /// log has lost it. The same again is harmless, another is refused.
    pub async fn join(&mut self, asked: MemberOf, options: LogOptions) -> Result<(), IdentityError> {
        match self.identity.membership {
            Some(is) if is == asked => Ok(()),
            Some(is) => Err(IdentityError::AlreadyMember { is, asked }),
            None => {
                let joined = Identity { membership: Some(asked), ..self.identity };
                let failed = |source: io::Error| IdentityError::Io { dir: self.path.clone(), source };
                let log = self.home_of(asked.lineage).join(LOG);
                wal::begin(&self.disk, &log, asked.log_owner(), options).await.map_err(failed)?;
                write(&self.disk, &self.path, &joined).await.map_err(failed)?;
                self.identity = joined;
                Ok(())
            }
        }
    }
}

fn home_of(data: &Path, lineage: u32) -> PathBuf {
    match lineage {
        FIRST_LINEAGE => data.to_owned(),
        lineage => data.join(format!("lineage-{lineage}")),
    }
}

const KEPT: (&str, &str) = ("identity-lineage-", ".json");

/// Where it is kept who this volume was.
fn kept_as(lineage: u32) -> String {
    format!("{}{lineage}{}", KEPT.0, KEPT.1)
}

/// The lineage that a file of this name is of, if it is such a file.
pub(super) fn lineage_kept(name: &str) -> Option<u32> {
    name.strip_prefix(KEPT.0)?.strip_suffix(KEPT.1)?.parse().ok()
}

/// All that is of one lineage below `mount` and of no other; what tells of the rest comes last.
pub(super) fn history_of(mount: &Path, lineage: u32) -> Vec<PathBuf> {
    let data = mount.join(DATA);
    let home = home_of(&data, lineage);
    let mut all = match lineage {
        FIRST_LINEAGE => vec![home.join(LOG), home.join(SNAPSHOTS)],
        _ => vec![home],
    };
    all.push(data.join(kept_as(lineage)));
    all
}

impl MemberOf {
    pub fn log_owner(&self) -> LogOwner {
        LogOwner { cluster_id: *self.cluster_id.as_bytes(), lineage: self.lineage, node_id: self.node_id }
    }
}

/// The file. Its checksum covers the other fields as they are written: a single wrong bit in a node id would let one
/// node speak for another.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    cluster_id: Option<String>,
    lineage: Option<u32>,
    incarnation: String,
    node_id: Option<NodeId>,
    checksum: u32,
}

impl Stored {
    fn of(identity: &Identity) -> Self {
        let membership = identity.membership;
        let mut stored = Self {
            format: FORMAT_VERSION,
            cluster_id: membership.map(|of| of.cluster_id.to_string()),
            lineage: membership.map(|of| of.lineage),
            incarnation: identity.incarnation.to_string(),
            node_id: membership.map(|of| of.node_id),
            checksum: 0,
        };
        stored.checksum = stored.expected_checksum();
        stored
    }

    fn expected_checksum(&self) -> u32 {
        let Self { format, cluster_id, lineage, incarnation, node_id, checksum: _ } = self;
        let cluster_id = cluster_id.as_deref().unwrap_or_default();
        let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let (lineage, node_id) = (number(lineage.map(u64::from)), number(*node_id));
        crc32c::crc32c(format!("{format}|{cluster_id}|{lineage}|{incarnation}|{node_id}").as_bytes())
    }

    fn identity(&self) -> Result<Identity, &'static str> {
        let uuid = |text: &str| Uuid::parse_str(text).map_err(|_| "an id in it is no UUID");
        let membership = match (&self.cluster_id, self.lineage, self.node_id) {
            (Some(cluster_id), Some(lineage), Some(node_id)) => {
                Some(MemberOf { cluster_id: uuid(cluster_id)?, lineage, node_id })
            }
            (None, None, None) => None,
            _ => return Err("it names a cluster without a node or a node without a cluster"),
        };
        Ok(Identity { incarnation: uuid(&self.incarnation)?, membership })
    }
}

async fn read<D: Disk>(disk: &D, dir: &Path) -> Result<Identity, IdentityError> {
    let path = dir.join(FILE);
    let failed = |source: io::Error| IdentityError::Io { dir: dir.to_owned(), source };
    let unreadable = |why: String| IdentityError::Unreadable { file: path.clone(), why };
    let file = disk.open(&path).await.map_err(failed)?;
    let length = file.length().await.map_err(failed)?;
    if length > LONGEST_FILE_BYTES {
        return Err(unreadable(format!("it has {length} bytes")));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let bytes = file.read_at(0, length).await.map_err(failed)?;
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.format != FORMAT_VERSION {
        return Err(IdentityError::UnknownVersion { file: path, version: stored.format });
    }
    if stored.checksum != stored.expected_checksum() {
        return Err(unreadable("it does not match its checksum".to_owned()));
    }
    stored.identity().map_err(|why| unreadable(why.to_owned()))
}

/// Writes beside, syncs, renames, syncs the directory: a crash leaves the old identity or the new one.
async fn write<D: Disk>(disk: &D, dir: &Path, identity: &Identity) -> io::Result<()> {
    write_as(disk, dir, FILE, identity).await
}

async fn write_as<D: Disk>(disk: &D, dir: &Path, name: &str, identity: &Identity) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&Stored::of(identity)).map_err(io::Error::other)?;
    text.push(b'\n');
    let unfinished = dir.join(UNFINISHED);
    let file = disk.create(&unfinished, 0).await?;
    file.write_at(0, &text).await?;
    if !planted::has(Bug::IdentityNotSynced) {
        file.sync_data().await?;
    }
    disk.rename(&unfinished, &dir.join(name)).await?;
    disk.sync_dir(dir).await
}

impl<D: Disk> std::fmt::Debug for DataDirectory<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataDirectory")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
