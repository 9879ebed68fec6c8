//! openraft's own suite for storages: over the real disk with its threads, and over both disks in virtual time.

use std::io;
use std::path::{Path, PathBuf};

use carrel_node::raft::disk::real::RealDisk;
use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::platform::{Platform, Server};
use carrel_node::raft::snapshots::{Snapshots, StoredSnapshot};
use carrel_node::raft::types::{LogId, Payload, Response, SnapshotMeta, StoredMembership, Types};
use carrel_node::raft::wal::{self, Log, LogOptions};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use openraft_rt::AsyncRuntime;
use openraft_rt_tokio::TokioRuntime;

use crate::platform::{OWNER, Virtual, in_virtual_time, log_id, simulated};

/// Small enough that the suite crosses segments.
const SEGMENT_BYTES: u64 = 2048;

/// A state machine that knows how far it is, and keeps its snapshots where a real one does.
struct Machine<P: Platform> {
    applied: Option<LogId>,
    membership: StoredMembership,
    log: Log<P>,
    snapshots: Snapshots<P>,
}

struct Builder<P: Platform> {
    meta: SnapshotMeta,
    snapshots: Snapshots<P>,
}

impl<P: Platform> RaftStateMachine<Types<P::Runtime>> for Machine<P> {
    type SnapshotData = StoredSnapshot<P>;
    type SnapshotBuilder = Builder<P>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<P::Runtime>>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            if let Payload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Response::None);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _: bool) -> Option<Builder<P>> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<P> {
        // The suite purges a log that was never applied and wants a snapshot of nothing for it. A node refuses to start
        // there; this machine pretends to have applied the first entry.
        let applied = self.applied.or(Some(log_id(0, 0)));
        let meta = SnapshotMeta { last_log_id: applied, last_membership: self.membership.clone() };
        Builder { meta, snapshots: self.snapshots.clone() }
    }

    /// The snapshot comes from another node's directory: it is received as from a peer.
    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: StoredSnapshot<P>) -> io::Result<()> {
        let mut receiving = self.snapshots.receive(meta);
        let mut body = snapshot.body();
        while let Some(chunk) = body.next().await {
            receiving.append(chunk?).await?;
        }
        let received = receiving.finish(snapshot.body_sum()).await?;
        self.snapshots.install(&received, &self.log).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<Types<P::Runtime>, StoredSnapshot<P>>>> {
        let latest = self.snapshots.latest().await;
        Ok(latest.map(|snapshot| Snapshot { meta: snapshot.meta().clone(), snapshot }))
    }
}

impl<P: Platform> RaftSnapshotBuilder<Types<P::Runtime>> for Builder<P> {
    type SnapshotData = StoredSnapshot<P>;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::alias::SnapshotOf<Types<P::Runtime>, StoredSnapshot<P>>> {
        let body = [b"a campus".to_vec(), b"with seats".to_vec()];
        let snapshot = self.snapshots.write(&self.meta, body.into_iter()).await?;
        Ok(Snapshot { meta: snapshot.meta().clone(), snapshot })
    }
}

async fn store<P: Platform>(platform: P, dir: &Path) -> (Log<P>, Machine<P>) {
    let options = LogOptions { segment_bytes: SEGMENT_BYTES };
    wal::begin(platform.disk(), &dir.join("log"), OWNER, options).await.expect("begun");
    let log = Log::open_with(&platform, &dir.join("log"), OWNER, options).await.expect("an empty log opens");
    let snapshots =
        Snapshots::open(&platform, &dir.join("snapshots"), OWNER, log.reach()).await.expect("no snapshots yet");
    let machine = Machine { applied: None, membership: StoredMembership::default(), log: log.clone(), snapshots };
    (log, machine)
}

struct OnThreads;
struct OnRealDisk;
struct OnSimulatedDisk;

type Built<G, P> = Result<(G, Log<P>, Machine<P>), StorageError<Types<<P as Platform>::Runtime>>>;

impl StoreBuilder<Types<TokioRuntime>, Log<Server>, Machine<Server>, tempfile::TempDir> for OnThreads {
    async fn build(&self) -> Built<tempfile::TempDir, Server> {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let (log, machine) = store(Server::new(), dir.path()).await;
        Ok((dir, log, machine))
    }
}

impl
    StoreBuilder<
        Types<openraft_rt_sim::SimRuntime>,
        Log<Virtual<RealDisk>>,
        Machine<Virtual<RealDisk>>,
        tempfile::TempDir,
    > for OnRealDisk
{
    async fn build(&self) -> Built<tempfile::TempDir, Virtual<RealDisk>> {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let (log, machine) = store(Virtual { disk: RealDisk }, dir.path()).await;
        Ok((dir, log, machine))
    }
}

impl StoreBuilder<Types<openraft_rt_sim::SimRuntime>, Log<Virtual<SimulatedDisk>>, Machine<Virtual<SimulatedDisk>>, ()>
    for OnSimulatedDisk
{
    async fn build(&self) -> Built<(), Virtual<SimulatedDisk>> {
        let (log, machine) = store(simulated(&SimulatedDisk::new()), &PathBuf::from("/data")).await;
        Ok(((), log, machine))
    }
}

/// Spends about eight seconds asleep: the suite waits for purges that might come late.
#[test]
fn openraft_accepts_the_storage_of_a_server() {
    TokioRuntime::new(2).block_on(Suite::test_all(OnThreads)).expect("conforms");
}

#[test]
fn openraft_accepts_the_storage_on_a_real_disk_in_virtual_time() {
    in_virtual_time(Suite::test_all(OnRealDisk)).expect("conforms");
}

#[test]
fn openraft_accepts_the_storage_on_a_simulated_disk() {
    in_virtual_time(Suite::test_all(OnSimulatedDisk)).expect("conforms");
}
