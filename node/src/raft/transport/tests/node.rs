//! A replica with a real log, real snapshots and a real port, whose state is the list of all commands.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{Config, EntryPayload, OptionalSend, ReadPolicy, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::stub::{CLUSTER, LINEAGE, at, owner};
use crate::raft::peers::{LocalStatus, Peer, Proposed, Route, WrongRoute};
use crate::raft::platform::{Platform, Server};
use crate::raft::snapshots::{Announced, Receiving, Snapshots, StoredSnapshot};
use crate::raft::transport::{Addresses, Inbound, Limits, Links, Listener, PeerServer, Refused, Served};
use crate::raft::types::{
    Command, CommittedLeaderId, LogId, Member, NodeId, Response, SnapshotMeta, StoredMembership, Vote,
};
use crate::raft::wal::{self, Log, LogOptions};

type Raft = openraft::Raft<Served, Machine>;
type Snapshot = openraft::Snapshot<CommittedLeaderId, NodeId, Member, StoredSnapshot<Server>>;

/// Bodies of equal size, so that they are told apart by it in a snapshot.
pub const BODY_BYTES: usize = 1000;

/// Small, as a test must not wait for zeroes to be written.
const LOG: LogOptions = LogOptions { segment_bytes: 1 << 18 };

pub fn body(number: u64) -> Bytes {
    let mut body = vec![0; BODY_BYTES];
    body[..8].copy_from_slice(&number.to_le_bytes());
    Bytes::from(body)
}

/// Where the nodes listen, by ordinal. Held open by nobody in between: a node that comes back finds its port.
pub type Ports = Arc<Vec<SocketAddr>>;

pub struct Node {
    pub raft: Raft,
    pub links: Links<Server>,
    pub commands: Arc<Mutex<Vec<Bytes>>>,
    pub peer: Peer,
    log: Log<Server>,
    running: Running,
}

/// Everything of a node that runs, ended like a process that is killed.
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    /// Comes up with what its directory holds. Node `id` runs in ordinal `id - 1`.
    pub async fn start(id: NodeId, dir: PathBuf, ports: &Ports) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("node-{id}"))
            .enable_all()
            .build()
            .expect("a runtime");
        let ordinal = u32::try_from(id - 1).expect("a small cluster");
        let addresses = Arc::clone(ports);
        let begin = async move {
            let platform = Server::new();
            let log_dir = dir.join("log");
            if !log_dir.exists() {
                wal::begin(platform.disk(), &log_dir, owner(id), LOG).await.expect("there is room");
            }
            let log = Log::open_with(&platform, &log_dir, owner(id), LOG).await.expect("the log is whole");
            let snapshots = Snapshots::open(&platform, &dir.join("snapshots"), owner(id), log.reach())
                .await
                .expect("the snapshots are whole");
            let own = addresses[ordinal as usize];
            let uris: Arc<Addresses> = Arc::new(move |ordinal| addresses.get(ordinal as usize).copied().map(at));
            let links = Links::new(owner(id), Limits::new(Duration::from_millis(200)), uris, None);
            let commands = Arc::default();
            let machine = Machine {
                log: log.clone(),
                snapshots: snapshots.clone(),
                commands: Arc::clone(&commands),
                applied: None,
                membership: StoredMembership::default(),
            };
            let config = Config {
                heartbeat_interval: 60,
                election_timeout_min: 200,
                election_timeout_max: 350,
                enable_pre_vote: Some(true),
                enable_leader_restore: Some(false),
                snapshot_policy: SnapshotPolicy::Never,
                max_in_snapshot_log_to_keep: u64::MAX,
                backoff: "20ms 40ms 80ms ...160ms".to_owned(),
                ..Config::default()
            };
            let config = Arc::new(config.validate().expect("it is in order"));
            let raft = Raft::build(id, config, links.clone(), log.clone(), machine).await.expect("it recovers");
            let desk = Desk { id, raft: raft.clone(), snapshots };
            let listener = TcpListener::bind(own).await.expect("its port is free");
            let serving = PeerServer::new(Arc::new(desk)).serve(Listener::new(listener), CancellationToken::new());
            tokio::spawn(serving);
            raft.run();
            (raft, links, commands, log)
        };
        let (raft, links, commands, log) = runtime.spawn(begin).await.expect("it starts");
        Self { raft, links, commands, peer: Peer { id, ordinal }, log, running: Running(Some(runtime)) }
    }

    /// As if its process were killed: no farewell to anyone.
    pub async fn kill(self) {
        drop((self.running, self.raft, self.links));
        // The disk belongs to the next process only when this one has let go of it.
        self.log.close().await;
    }

    pub fn numbers(&self) -> Vec<u64> {
        let number = |body: &Bytes| u64::from_le_bytes(*body.first_chunk().expect("a number and more"));
        self.commands.lock().expect("nobody panicked").iter().map(number).collect()
    }
}

pub fn ports(count: usize) -> Ports {
    let listeners: Vec<_> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    Arc::new(listeners.iter().map(|listener| listener.local_addr().expect("it is bound")).collect())
}

/// What peers find.
struct Desk {
    id: NodeId,
    raft: Raft,
    snapshots: Snapshots<Server>,
}

fn stopped(error: Fatal<Served>) -> Refused {
    Refused(error.to_string())
}

fn failed(error: RaftError<Served>) -> Refused {
    Refused(error.to_string())
}

impl Inbound for Desk {
    type Platform = Server;

    fn check_route(&self, route: &Route) -> Result<(), WrongRoute> {
        route.check(&CLUSTER, LINEAGE, self.id)
    }

    async fn append_entries(
        &self,
        request: AppendEntriesRequest<Served>,
    ) -> Result<AppendEntriesResponse<Served>, Refused> {
        self.raft.append_entries(request).await.map_err(failed)
    }

    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Served>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Served>, Refused>> {
        self.raft.stream_append(requests).map(|answer| answer.map_err(stopped)).boxed()
    }

    async fn vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        self.raft.vote(request).await.map_err(failed)
    }

    async fn pre_vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        self.raft.pre_vote(request).await.map_err(failed)
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<Served>,
    ) -> Result<TransferLeaderResponse<Served>, Refused> {
        self.raft.handle_transfer_leader(request).await.map_err(stopped)
    }

    async fn find_snapshot(&self, announced: &Announced) -> Result<u64, Refused> {
        Ok(self.snapshots.arrived_bytes(announced).await)
    }

    fn receive_snapshot(&self, announced: &Announced, offset: u64) -> Result<Receiving<Server>, Refused> {
        Ok(self.snapshots.resume(announced.clone(), offset))
    }

    async fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        snapshot: StoredSnapshot<Server>,
    ) -> Result<SnapshotResponse<Served>, Refused> {
        self.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await.map_err(stopped)
    }

    async fn propose(&self, body: Bytes, _within: Duration) -> Proposed {
        match self.raft.client_write(Command { at: 0, body: body.clone(), trace: None }).await {
            Ok(written) => Proposed::Committed { index: written.log_id.index, reply: body.slice(..8) },
            Err(error) => match error.forward_to_leader() {
                Some(forward) => Proposed::NotProposed { leader: forward.leader_id },
                None => Proposed::Unknown,
            },
        }
    }

    async fn read_index(&self) -> Result<LogId, Refused> {
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        Ok(*linearizer.map_err(|error| Refused(error.to_string()))?.read_log_id().log_id())
    }

    fn read_clock_us(&self) -> i64 {
        Server::new().wall_clock_us()
    }

    fn read_status(&self) -> LocalStatus {
        LocalStatus::default()
    }
}

/// All commands, in order.
pub struct Machine {
    log: Log<Server>,
    snapshots: Snapshots<Server>,
    commands: Arc<Mutex<Vec<Bytes>>>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

pub struct Builder {
    snapshots: Snapshots<Server>,
    meta: SnapshotMeta,
    commands: Vec<Bytes>,
}

impl RaftStateMachine<Served> for Machine {
    type SnapshotData = StoredSnapshot<Server>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Served>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Command { body, .. }) => {
                    self.commands.lock().expect("nobody panicked").push(body);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Response::None);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let commands = self.commands.lock().expect("nobody panicked").clone();
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        Builder { snapshots: self.snapshots.clone(), meta, commands }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: StoredSnapshot<Server>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut chunks = snapshot.body();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        self.snapshots.install(&snapshot, &self.log).await?;
        *self.commands.lock().expect("nobody panicked") =
            bytes.chunks(BODY_BYTES).map(Bytes::copy_from_slice).collect();
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let latest = self.snapshots.latest().await;
        Ok(latest.map(|snapshot| Snapshot { meta: snapshot.meta().clone(), snapshot }))
    }
}

impl RaftSnapshotBuilder<Served> for Builder {
    type SnapshotData = StoredSnapshot<Server>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        // Pieces much smaller than a real one's, so that there are many.
        let commands = std::mem::take(&mut self.commands);
        let pieces = commands.into_iter().map(|body| body.to_vec());
        let snapshot = self.snapshots.write(&self.meta, pieces).await?;
        Ok(Snapshot { meta: snapshot.meta().clone(), snapshot })
    }
}
