//! What is done to a volume that no node uses: looking at what it holds, and beginning another history with it.
//!
//! Two histories can begin here. A recovery goes on after a majority was lost, with what one survivor has; a restore
//! makes a new cluster of a backup. In both, what there was becomes one snapshot with a single voter under an id that
//! was never given out, one entry and one term after everything before. It is written beside the old log and takes
//! effect with the identity, by one rename: interrupted, it can be asked for again.
//!
//! A survivor's log is kept to its end, beyond what is known to be committed. That is noted only now and then, so
//! behind it lie entries whose clients have had their answers; to drop them would lose what was acknowledged. What else
//! lies there was proposed and never answered, and such a request may take effect.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrel_domain::census::Census;
use carrel_domain::format::DecodeError;
use carrel_domain::state::State;
use carrel_domain::time::Timestamp;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::raft::cluster::{LINEAGE_MAX, node_id};
use crate::raft::disk::{Disk, ReadFile};
use crate::raft::identity::{DataDirectory, Identity, IdentityError, MemberOf};
use crate::raft::log_request::Founding;
use crate::raft::machine::decode;
use crate::raft::membership::LogPosition;
use crate::raft::platform::Platform;
use crate::raft::replicated::{Decoder, Replicated, encode};
use crate::raft::snapshots::{BadSnapshot, FileReader, OpenSnapshotsError, Snapshots};
use crate::raft::types::{CommittedLeaderId, LogId, Member, Membership, NodeId, StoredMembership, Vote};
use crate::raft::wal::{self, LogOptions, LogReach, OpenLogError};

#[derive(Debug, Error)]
pub enum OfflineError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Log(#[from] OpenLogError),
    #[error(transparent)]
    Snapshots(#[from] OpenSnapshotsError),
    #[error("the volume in {0} was never part of a cluster: there is nothing to recover")]
    NotAMember(PathBuf),
    #[error("what is on this volume is not the whole beginning of a cluster: it can only join one")]
    NotFounded,
    #[error("node {0} was removed from the cluster; what it has stopped there")]
    Removed(NodeId),
    #[error("the lineage must be new: this volume is of lineage {is}, so take {} or more, up to {LINEAGE_MAX}", is + 1)]
    LineageNotNew { is: u32 },
    #[error("the log begins at entry {found}, after the snapshot entry {expected} is needed")]
    Gap { expected: u64, found: u64 },
    #[error("a backup is restored into an empty directory; this one is node {} of cluster {}", .0.node_id, .0.cluster_id)]
    NotEmpty(MemberOf),
    #[error("a cluster has at least one voter")]
    NoVoters,
    #[error("{file} is no whole backup", file = .file.display())]
    BadBackup { file: PathBuf, source: BadSnapshot },
    #[error("{file} cannot be understood", file = .file.display())]
    Undecodable { file: PathBuf, source: DecodeError },
    #[error("{doing} failed")]
    Io { doing: &'static str, source: io::Error },
}

impl OfflineError {
    /// Whether it may be the way to a backup that is at fault, and not what lies there.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::BadBackup { source: BadSnapshot::Io(_), .. })
    }
}

/// SHA-256 of a whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDigest(pub [u8; 32]);

/// What somebody has to know who chooses among survivors: of two of one cluster and lineage, the one with the greater
/// `last` has everything that the other has and was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub me: MemberOf,
    pub incarnation: Uuid,
    pub last: LogPosition,
    /// The highest term it has voted in.
    pub term: u64,
    pub known_committed: LogPosition,
    /// After that; they are kept.
    pub uncommitted_entries: u64,
    pub snapshot: Option<LogPosition>,
    pub contents: Contents,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// By id, with the slots they ran in.
    pub voters: Vec<(NodeId, u32)>,
    /// Of the last entry that says one, by the cluster's clock.
    pub at: Timestamp,
    pub census: Census,
    /// Equal digests are equal states.
    pub digest: StateDigest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub cluster_id: Uuid,
    pub lineage: u32,
    pub last: LogPosition,
    pub bytes: u64,
    pub contents: Contents,
}

/// Another history, begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub me: MemberOf,
    pub ordinal: u32,
    /// Where it begins.
    pub position: LogPosition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub survey: Survey,
    pub begun: Begun,
    /// What is not needed any more, and not deleted.
    pub put_aside: Vec<PathBuf>,
}

/// A restored cluster, in slot `ordinal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoring {
    pub cluster_id: Uuid,
    pub incarnation: Uuid,
    pub ordinal: u32,
    /// Voters it shall have before it serves clients.
    pub wanted_voters: u32,
}

/// Looks, and changes nothing that a start of the node would not change.
pub async fn survey<P: Platform>(platform: &P, mount: &Path) -> Result<Survey, OfflineError> {
    Ok(Survivor::open(platform, mount).await?.survey)
}

/// Goes on with what this volume has, alone, as another lineage of the same cluster.
pub async fn recover<P: Platform>(
    platform: &P,
    mount: &Path,
    lineage: u32,
    incarnation: Uuid,
) -> Result<Recovered, OfflineError> {
    let Survivor { mut directory, state, survey } = Survivor::open(platform, mount).await?;
    let me = survey.me;
    if lineage <= me.lineage || lineage > LINEAGE_MAX {
        return Err(OfflineError::LineageNotNew { is: me.lineage });
    }
    let founding = *state.cluster.founding().ok_or(OfflineError::NotFounded)?;
    if state.cluster.is_retired(me.node_id) {
        return Err(OfflineError::Removed(me.node_id));
    }
    let ordinal = state.cluster.allocated(me.node_id).ok_or(OfflineError::NotFounded)?.ordinal;
    let (log, snapshots) = (directory.log_directory(), directory.snapshot_directory());
    let history = History {
        cluster_id: me.cluster_id,
        lineage,
        incarnation,
        ordinal,
        wanted_voters: founding.wanted_voters,
        formed: state.cluster.is_formed(),
        term: survey.term.max(survey.last.term) + 1,
    };
    let begun = history.begin(platform, &mut directory, state).await?;
    Ok(Recovered { survey, begun, put_aside: vec![log, snapshots] })
}

/// A new cluster with what the backup has, of which this is the only node. It is of the lineage after the backup's, so
/// that tokens the old cluster gave to clients are told from its own.
pub async fn restore<P: Platform>(
    platform: &P,
    file: &Path,
    mount: &Path,
    restoring: Restoring,
) -> Result<(Backup, Begun), OfflineError> {
    restore_bytes(platform, &opened(platform, file).await?, file, mount, restoring).await
}

/// As [`restore`], of a backup that may lie elsewhere than on a disk; `name` is what it is called in errors.
pub async fn restore_bytes<P: Platform, F: ReadFile>(
    platform: &P,
    file: &F,
    name: &Path,
    mount: &Path,
    restoring: Restoring,
) -> Result<(Backup, Begun), OfflineError> {
    let Restoring { cluster_id, incarnation, ordinal, wanted_voters } = restoring;
    if wanted_voters == 0 {
        return Err(OfflineError::NoVoters);
    }
    let (backup, state) = read(file, name).await?;
    if backup.lineage >= LINEAGE_MAX {
        return Err(OfflineError::LineageNotNew { is: backup.lineage });
    }
    let mut directory = DataDirectory::open(platform.disk(), mount, incarnation).await?;
    let Identity { incarnation, membership } = directory.identity();
    if let Some(is) = membership {
        return Err(OfflineError::NotEmpty(is));
    }
    let history = History {
        cluster_id,
        lineage: backup.lineage + 1,
        incarnation,
        ordinal,
        wanted_voters,
        formed: false,
        term: backup.last.term + 1,
    };
    let begun = history.begin(platform, &mut directory, state).await?;
    Ok((backup, begun))
}

/// Reads a backup from beginning to end: every checksum, and the state itself.
pub async fn verify<P: Platform>(platform: &P, file: &Path) -> Result<Backup, OfflineError> {
    verify_bytes(&opened(platform, file).await?, file).await
}

/// As [`verify`], of a backup that may lie elsewhere than on a disk.
pub async fn verify_bytes<F: ReadFile>(file: &F, name: &Path) -> Result<Backup, OfflineError> {
    Ok(read(file, name).await?.0)
}

/// As [`verify`], and what it holds.
pub async fn open_backup<P: Platform>(platform: &P, file: &Path) -> Result<(Backup, State), OfflineError> {
    let (backup, replicated) = read(&opened(platform, file).await?, file).await?;
    Ok((backup, replicated.library))
}

async fn opened<P: Platform>(platform: &P, file: &Path) -> Result<<P::Disk as Disk>::File, OfflineError> {
    let bad = |source| OfflineError::BadBackup { file: file.to_owned(), source: BadSnapshot::Io(source) };
    platform.disk().open_to_read(file).await.map_err(bad)
}

async fn read<F: ReadFile>(file: &F, name: &Path) -> Result<(Backup, Replicated), OfflineError> {
    let bad = |source: BadSnapshot| OfflineError::BadBackup { file: name.to_owned(), source };
    let undecodable = |source: DecodeError| OfflineError::Undecodable { file: name.to_owned(), source };
    let (frame, mut reader) = FileReader::begin_of_any(file).await.map_err(bad)?;
    let mut decoder = Decoder::default();
    // A body that does not decode may be one that was cut: the checksums have the first word.
    let mut decoded = Ok(());
    while let Some(chunk) = reader.next(file).await.map_err(bad)? {
        if decoded.is_ok() {
            decoded = decoder.read(&chunk);
        }
    }
    decoded.map_err(undecodable)?;
    let state = Replicated::of(decoder.finish().map_err(undecodable)?, &frame.meta);
    let last = frame.meta.last_log_id.ok_or(OfflineError::NotFounded)?;
    if state.cluster.founding().is_none() {
        return Err(OfflineError::NotFounded);
    }
    let backup = Backup {
        cluster_id: Uuid::from_bytes(frame.origin.cluster_id),
        lineage: frame.origin.lineage,
        last: LogPosition::of(&last),
        bytes: reader.file_bytes(),
        contents: Contents::of(&state, reader.hash().expect("a reader that was not told otherwise hashes")),
    };
    Ok((backup, state))
}

/// A volume, replayed to the end of its log.
struct Survivor<D: Disk> {
    directory: DataDirectory<D>,
    state: Replicated,
    survey: Survey,
}

impl<D: Disk> Survivor<D> {
    async fn open<P: Platform<Disk = D>>(platform: &P, mount: &Path) -> Result<Self, OfflineError> {
        let directory = DataDirectory::open_used(platform.disk(), mount).await?;
        let Identity { incarnation, membership } = directory.identity();
        let me = membership.ok_or_else(|| OfflineError::NotAMember(mount.to_owned()))?;
        let log = wal::read(platform.disk(), &directory.log_directory(), me.log_owner()).await?;
        let end = log.entries.last().map(|entry| entry.log_id).or(log.purged);
        let reach = LogReach { purged: log.purged, last: end };
        let snapshots = Snapshots::open(platform, &directory.snapshot_directory(), me.log_owner(), reach).await?;
        let (mut state, snapshot) = match snapshots.latest().await {
            None => (Replicated::default(), None),
            Some(snapshot) => {
                let decoded = decode(snapshot.clone()).await.map_err(replaying)?;
                (Replicated::of(decoded, snapshot.meta()), snapshot.meta().last_log_id)
            }
        };
        let known_committed = log.committed.max(snapshot);
        for entry in log.entries {
            let expected = state.applied.map_or(0, |applied| applied.index + 1);
            if entry.log_id.index < expected {
                continue;
            }
            if entry.log_id.index > expected {
                return Err(OfflineError::Gap { expected, found: entry.log_id.index });
            }
            state.apply(entry.log_id, entry.payload).map_err(replaying)?;
        }
        let last = state.applied.ok_or(OfflineError::NotFounded)?;
        let known_committed = known_committed.ok_or(OfflineError::NotFounded)?;
        let survey = Survey {
            me,
            incarnation,
            last: LogPosition::of(&last),
            term: log.vote.map_or(last.leader_id.term, |vote: Vote| vote.leader_id.term),
            known_committed: LogPosition::of(&known_committed),
            uncommitted_entries: last.index.saturating_sub(known_committed.index),
            snapshot: snapshot.as_ref().map(LogPosition::of),
            contents: Contents::of(&state, hash(&state)),
        };
        Ok(Self { directory, state, survey })
    }
}

/// One that is about to begin.
struct History {
    cluster_id: Uuid,
    lineage: u32,
    incarnation: Uuid,
    ordinal: u32,
    wanted_voters: u32,
    formed: bool,
    term: u64,
}

impl History {
    async fn begin<P: Platform>(
        self,
        platform: &P,
        directory: &mut DataDirectory<P::Disk>,
        mut state: Replicated,
    ) -> Result<Begun, OfflineError> {
        let Self { cluster_id, lineage, incarnation, ordinal, wanted_voters, formed, term } = self;
        let index = state.applied.map_or(0, |applied| applied.index + 1);
        let position = LogId::new(CommittedLeaderId::new(term), index);
        let me = MemberOf { cluster_id, lineage, node_id: node_id(lineage, index) };
        let founding = Founding {
            cluster_id: *cluster_id.as_bytes(),
            lineage,
            wanted_voters,
            seed: me.node_id,
            seed_incarnation: *incarnation.as_bytes(),
            seed_ordinal: ordinal,
        };
        let (voters, nodes) = (BTreeSet::from([me.node_id]), BTreeMap::from([(me.node_id, Member { ordinal })]));
        let alone = Membership::new(vec![voters], nodes).expect("the one voter is the one node");
        let cluster = Arc::make_mut(&mut state.cluster);
        cluster.begin_anew(founding, formed);
        cluster.observe(&alone);
        state.membership = Arc::new(StoredMembership::new(Some(position), alone));
        state.applied = Some(position);

        let (log, snapshots) = directory.directories_of(lineage);
        let io = |doing: &'static str| move |source: io::Error| OfflineError::Io { doing, source };
        clear(platform.disk(), &snapshots).await.map_err(io("clearing what an earlier attempt left"))?;
        let nothing = LogReach { purged: None, last: None };
        let stored = Snapshots::open(platform, &snapshots, me.log_owner(), nothing).await?;
        let body = encode(&state.cluster, State::clone(&state.library));
        stored.write(&state.meta(), body).await.map_err(io("writing the snapshot"))?;
        let begun = wal::begin_after(platform.disk(), &log, me.log_owner(), LogOptions::default(), position).await;
        begun.map_err(io("beginning the log"))?;
        directory.succeed(Identity { incarnation, membership: Some(me) }).await?;
        Ok(Begun { me, ordinal, position: LogPosition::of(&position) })
    }
}

impl Contents {
    fn of(state: &Replicated, sha256: [u8; 32]) -> Self {
        let membership = state.membership.membership();
        let slot = |id: NodeId| membership.get_node(&id).map_or(0, |member| member.ordinal);
        Self {
            voters: membership.voter_ids().map(|id| (id, slot(id))).collect(),
            at: state.library.at().time,
            census: state.library.census(),
            digest: StateDigest(sha256),
        }
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hash(state: &Replicated) -> [u8; 32] {
    let mut hash = Sha256::new();
    encode(&state.cluster, State::clone(&state.library)).for_each(|chunk| hash.update(&chunk));
    hash.finalize().into()
}

async fn clear<D: Disk>(disk: &D, dir: &Path) -> io::Result<()> {
    disk.create_dir_all(dir).await?;
    for name in disk.list(dir).await? {
        disk.remove(&dir.join(name)).await?;
    }
    disk.sync_dir(dir).await
}

fn replaying(source: io::Error) -> OfflineError {
    OfflineError::Io { doing: "replaying what is on disk", source }
}
