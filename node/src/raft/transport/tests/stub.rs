//! A peer that does what a test says, behind a real server on a real port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use carrel_proto::peer::v1::peer_service_client::PeerServiceClient;
use futures_util::StreamExt;
use http::Uri;
use openraft::base::BoxStream;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::raft::peers::{LocalStatus, Peer, Proposed, Route, WrongRoute};
use crate::raft::platform::Server;
use crate::raft::snapshots::{Announced, Receiving, Snapshots, StoredSnapshot};
use crate::raft::transport::{Addresses, Inbound, Limits, Links, Listener, PeerServer, Refused, Served};
use crate::raft::types::{CommittedLeaderId, LogId, NodeId, SnapshotMeta, Vote};
use crate::raft::wal::{LogOwner, LogReach};

pub const CLUSTER: [u8; 16] = [0xC7; 16];
pub const LINEAGE: u32 = 4;
pub const CALLER: NodeId = 1;
pub const STUB: Peer = Peer { id: 2, ordinal: 1 };

pub fn owner(node_id: NodeId) -> LogOwner {
    LogOwner { cluster_id: CLUSTER, lineage: LINEAGE, node_id }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

pub fn at(address: SocketAddr) -> Uri {
    format!("http://{address}").parse().expect("an address makes a URI")
}

/// Short, for tests that wait until they have passed.
pub fn limits() -> Limits {
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(5));
    Limits {
        append: short,
        connect: long,
        proposal: short,
        question: long,
        snapshot_chunk: long,
        snapshot_install: long,
    }
}

/// For a caller who is not in a hurry.
pub const LONG: Duration = Duration::from_secs(30);

pub struct Stub {
    pub address: SocketAddr,
    pub inbound: Arc<Script>,
    pub stop: CancellationToken,
}

pub struct Script {
    snapshots: Snapshots<Server>,
    /// Calls that came past the check of their route.
    pub calls: AtomicUsize,
    /// How long the caller of the last proposal said to wait.
    pub within: Mutex<Option<Duration>>,
    /// Appends that are answered on each stream.
    pub answers: Semaphore,
    /// The index with which an append conflicts.
    pub conflict: Option<u64>,
    /// Snapshots whose installation has begun, and that may be installed.
    pub begun: Semaphore,
    pub installs: Semaphore,
}

impl Stub {
    pub async fn start(dir: &Path, conflict: Option<u64>) -> Self {
        let nothing = LogReach { purged: None, last: None };
        let snapshots =
            Snapshots::open(&Server::new(), dir, owner(STUB.id), nothing).await.expect("an empty directory");
        let inbound = Arc::new(Script {
            snapshots,
            calls: AtomicUsize::new(0),
            within: Mutex::new(None),
            answers: Semaphore::new(0),
            conflict,
            begun: Semaphore::new(0),
            installs: Semaphore::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        tokio::spawn(PeerServer::new(Arc::clone(&inbound)).serve(Listener::new(listener), stop.clone()));
        Self { address, inbound, stop }
    }

    /// Calls as a node of the same cluster.
    pub fn links(&self) -> Links<Server> {
        self.links_within(limits())
    }

    pub fn links_within(&self, limits: Limits) -> Links<Server> {
        Links::new(owner(CALLER), limits, self.addresses(), None)
    }

    pub fn links_as(&self, caller: LogOwner) -> Links<Server> {
        Links::new(caller, limits(), self.addresses(), None)
    }

    fn addresses(&self) -> Arc<Addresses> {
        let address = at(self.address);
        Arc::new(move |ordinal| (ordinal == STUB.ordinal).then(|| address.clone()))
    }

    pub fn raw(&self) -> PeerServiceClient<Channel> {
        PeerServiceClient::new(Endpoint::from(at(self.address)).connect_lazy())
    }
}

impl Script {
    fn called(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

impl Inbound for Script {
    type Platform = Server;

    fn check_route(&self, route: &Route) -> Result<(), WrongRoute> {
        route.check(&CLUSTER, LINEAGE, STUB.id)
    }

    async fn append_entries(
        &self,
        _request: AppendEntriesRequest<Served>,
    ) -> Result<AppendEntriesResponse<Served>, Refused> {
        self.called();
        Ok(AppendEntriesResponse::Conflict)
    }

    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Served>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Served>, Refused>> {
        self.called();
        let conflict = self.conflict;
        let allowed = Arc::new(Semaphore::new(self.answers.available_permits()));
        requests
            .then(move |request| {
                let allowed = Arc::clone(&allowed);
                async move {
                    allowed.acquire().await.expect("it is never closed").forget();
                    let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
                    match request.prev_log_id {
                        Some(previous) if Some(previous.index) == conflict => {
                            Ok(Err(StreamAppendError::Conflict(previous)))
                        }
                        _ => Ok(Ok(last)),
                    }
                }
            })
            .boxed()
    }

    async fn vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        self.called();
        Ok(VoteResponse::new(request.vote, None, true))
    }

    async fn pre_vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        self.called();
        Ok(VoteResponse::new(request.vote, None, false))
    }

    async fn transfer_leader(
        &self,
        _request: TransferLeaderRequest<Served>,
    ) -> Result<TransferLeaderResponse<Served>, Refused> {
        self.called();
        Ok(Ok(()))
    }

    async fn find_snapshot(&self, announced: &Announced) -> Result<u64, Refused> {
        self.called();
        Ok(self.snapshots.arrived_bytes(announced).await)
    }

    fn receive_snapshot(&self, announced: &Announced, offset: u64) -> Result<Receiving<Server>, Refused> {
        self.called();
        Ok(self.snapshots.resume(announced.clone(), offset))
    }

    async fn install_snapshot(
        &self,
        vote: Vote,
        _meta: SnapshotMeta,
        _snapshot: StoredSnapshot<Server>,
    ) -> Result<SnapshotResponse<Served>, Refused> {
        self.begun.add_permits(1);
        self.installs.acquire().await.expect("it is never closed").forget();
        Ok(SnapshotResponse::new(vote))
    }

    /// Never knows.
    async fn propose(&self, _body: Bytes, within: Duration) -> Proposed {
        self.called();
        *self.within.lock().expect("nobody panicked") = Some(within);
        std::future::pending().await
    }

    async fn read_index(&self) -> Result<LogId, Refused> {
        self.called();
        Err(Refused("this node does not lead".to_owned()))
    }

    fn read_clock_us(&self) -> i64 {
        self.called();
        1_234_567
    }

    fn read_status(&self) -> LocalStatus {
        self.called();
        LocalStatus { term: 9, ..LocalStatus::default() }
    }
}
