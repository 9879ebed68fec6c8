//! What a node does with its volume before it uses it, by order of whoever runs the cluster.
//!
//! The order outlives the moment it was given for: it lies in a file that every node reads whenever it starts, so that
//! a volume which comes back long after a recovery is not used as it was. Obeying it again does nothing, and nothing is
//! deleted by it: what a volume had is put aside, where `carrel recover --dir` still finds it, for as long as there is
//! room for it (see `bygone.rs`).

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

use crate::raft::identity::{DATA, DataDirectory, Identity, IdentityError, MemberOf};
use crate::raft::membership::LogPosition;
use crate::raft::offline::{self, Begun, OfflineError, Restoring};
use crate::raft::platform::{Platform, Server};

/// Where the data of lineages that are over lies, below the mount.
pub(super) const ASIDE: &str = "aside";

/// A real one has some hundred bytes; anything far longer is not ours, and is not read into memory.
const LONGEST_FILE_BYTES: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    pub cluster_id: Uuid,
    /// What is of an earlier lineage of this cluster is not used as it is.
    #[serde(default)]
    pub lineage: Option<u32>,
    /// The one volume that goes on.
    #[serde(default)]
    pub survivor: Option<Chosen>,
    /// The one volume on which a backup becomes this cluster.
    #[serde(default)]
    pub restore: Option<FromBackup>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chosen {
    pub incarnation: Uuid,
    /// The end of its log, as it was when somebody approved of going on with it. It may have more by now.
    pub last_term: u64,
    pub last_index: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FromBackup {
    /// Of a volume that was never part of a cluster.
    pub incarnation: Uuid,
    pub file: PathBuf,
    /// Voters it shall have before it serves clients.
    pub voters: u32,
}

#[derive(Debug)]
pub enum Obeyed {
    /// The order does not concern what this volume holds.
    NothingToDo,
    Recovered(Begun),
    Restored(Begun),
    /// What it held lies there now, and the volume is as new.
    PutAside {
        was: MemberOf,
        to: PathBuf,
    },
}

#[derive(Debug, Error)]
pub enum OrderError {
    #[error("{file} cannot be read", file = .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{file} is no order: {why}", file = .file.display())]
    Senseless { file: PathBuf, why: String },
    #[error("the log on this volume ends with entry {}.{}; the one that was approved to go on with ends with {}.{}",
        .has.term, .has.index, .approved.term, .approved.index)]
    Shorter { has: LogPosition, approved: LogPosition },
    #[error("cannot put aside what the volume has of lineage {lineage}")]
    NotPutAside { lineage: u32, source: io::Error },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Offline(#[from] OfflineError),
}

/// None if there is no such file: nothing was ordered.
pub fn read(file: &Path) -> Result<Option<Order>, OrderError> {
    let unreadable = |source: io::Error| OrderError::Unreadable { file: file.to_owned(), source };
    let length = match std::fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let senseless = |why: String| OrderError::Senseless { file: file.to_owned(), why };
    if length > LONGEST_FILE_BYTES {
        return Err(senseless(format!("it has {length} bytes")));
    }
    let text = std::fs::read(file).map_err(unreadable)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| senseless(error.to_string()))
}

/// Before the node opens its volume.
pub async fn obey(platform: &Server, mount: &Path, ordinal: u32, order: &Order) -> Result<Obeyed, OrderError> {
    let Identity { incarnation, membership } = match DataDirectory::open_used(platform.disk(), mount).await {
        Ok(directory) => directory.identity(),
        Err(IdentityError::Unused { .. }) => return Ok(Obeyed::NothingToDo),
        Err(error) => return Err(error.into()),
    };
    let Some(me) = membership else {
        return match order.restore.as_ref().filter(|restore| restore.incarnation == incarnation) {
            Some(FromBackup { file, voters, incarnation: _ }) => {
                let (cluster_id, wanted_voters) = (order.cluster_id, *voters);
                let restoring = Restoring { cluster_id, incarnation, ordinal, wanted_voters };
                Ok(Obeyed::Restored(offline::restore(platform, file, mount, restoring).await?.1))
            }
            None => Ok(Obeyed::NothingToDo),
        };
    };
    let Some(lineage) = order.lineage.filter(|lineage| me.cluster_id == order.cluster_id && me.lineage < *lineage)
    else {
        return Ok(Obeyed::NothingToDo);
    };
    match order.survivor.as_ref().filter(|chosen| chosen.incarnation == incarnation) {
        Some(chosen) => {
            let approved = LogPosition { term: chosen.last_term, index: chosen.last_index };
            let has = offline::survey(platform, mount).await?.last;
            if has < approved {
                return Err(OrderError::Shorter { has, approved });
            }
            // It is another one from here on, so that the order finds nobody any more.
            Ok(Obeyed::Recovered(offline::recover(platform, mount, lineage, Uuid::new_v4()).await?.begun))
        }
        None => {
            let failed = |source: io::Error| OrderError::NotPutAside { lineage: me.lineage, source };
            let to = put_aside(mount, me.lineage, incarnation).map_err(failed)?;
            Ok(Obeyed::PutAside { was: me, to })
        }
    }
}

/// What the places in [`ASIDE`] are called.
const PUT_ASIDE: &str = "lineage-";

/// The lineage of what lies in a place of this name; none if nothing was put aside there.
pub(super) fn lineage_put_aside(name: &str) -> Option<u32> {
    name.strip_prefix(PUT_ASIDE)?.split_once('-')?.0.parse().ok()
}

/// By one rename, so that a crash leaves it there or here. It is a mount of its own, for who wants to look at it.
fn put_aside(mount: &Path, lineage: u32, incarnation: Uuid) -> io::Result<PathBuf> {
    let place = mount.join(ASIDE).join(format!("{PUT_ASIDE}{lineage}-{incarnation}"));
    let sync = |dir: &Path| std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    std::fs::create_dir_all(&place)?;
    std::fs::rename(mount.join(DATA), place.join(DATA))?;
    sync(&place)?;
    sync(&mount.join(ASIDE))?;
    sync(mount)?;
    Ok(place)
}
