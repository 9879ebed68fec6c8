//! What other nodes ask of this one, in the words of the domain: the peers' server only carries it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use carrel_domain::planted::{self, Bug};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use thiserror::Error;

use crate::raft::node::Shared;
use crate::raft::peers::{LocalStatus, Proposed, Route, Transport, WrongRoute};
use crate::raft::platform::{Platform, Server};
use crate::raft::running::Running;
use crate::raft::snapshots::{Announced, Receiving, StoredSnapshot};
use crate::raft::transport::{self, Links, Refused, Served};
use crate::raft::types::{LogId, Snapshot, SnapshotMeta, Types, Vote};

/// Why a call that was for this node has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InboundError {
    #[error(transparent)]
    WrongRoute(#[from] WrongRoute),
    #[error("replication has stopped: {0}")]
    Stopped(String),
    /// Certainly not in its log.
    #[error("the disk of this node is full")]
    DiskFull,
    #[error("this node cannot say: it does not lead, or no majority confirms that it does")]
    NotConfirmed,
}

type Request<P> = AppendEntriesRequest<Types<<P as Platform>::Runtime>>;
type Appended<P> = Result<StreamAppendResult<Types<<P as Platform>::Runtime>>, InboundError>;

/// Cheap to clone. Calls made while the node is not running are refused, so the server may run from the start.
pub struct Inbound<P: Platform, N> {
    shared: Arc<Shared<P, N>>,
}

impl<P: Platform, N: Transport<P>> Inbound<P, N> {
    pub(in crate::raft) fn new(shared: Arc<Shared<P, N>>) -> Self {
        Self { shared }
    }

    /// To be asked of every call before anything else.
    pub fn check_route(&self, route: &Route) -> Result<(), WrongRoute> {
        let running = self.running()?;
        let me = running.me;
        if planted::has(Bug::RouteNotChecked) {
            return Ok(());
        }
        let checked = route.check(me.cluster_id.as_bytes(), me.lineage, me.node_id);
        match checked {
            Err(WrongRoute::OtherCluster | WrongRoute::OtherLineage { .. }) => checked,
            // Also for a call to whoever was here before: one that has slept through everything knows nobody else.
            Ok(()) | Err(_) if running.views.newest().cluster.is_retired(route.from) => {
                Err(WrongRoute::Removed(route.from))
            }
            Ok(()) | Err(_) => checked,
        }
    }

    pub async fn append_entries(
        &self,
        request: Request<P>,
    ) -> Result<AppendEntriesResponse<Types<P::Runtime>>, InboundError> {
        let running = self.running()?;
        if !request.entries.is_empty() && running.log.room().is_full() {
            return Err(InboundError::DiskFull);
        }
        running.raft.append_entries(request).await.map_err(raft_stopped)
    }

    /// Answers in the order of the requests, ending with the first that is not a success.
    pub fn stream_append(
        &self,
        requests: impl Stream<Item = Request<P>> + Send + 'static,
    ) -> Result<BoxStream<'static, Appended<P>>, InboundError> {
        let running = self.running()?;
        let room = running.log.room();
        let refused = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&refused);
        let acceptable = requests.take_while(move |request| {
            let has_room = request.entries.is_empty() || !room.is_full();
            noted.store(!has_room, Ordering::Relaxed);
            std::future::ready(has_room)
        });
        let answers = running.raft.stream_append(acceptable).map(|answer| answer.map_err(stopped));
        // What came before is answered before the stream ends for want of room.
        let ending = stream::once(std::future::ready(())).filter_map(move |()| {
            let refused = refused.load(Ordering::Relaxed);
            std::future::ready(refused.then_some(Err(InboundError::DiskFull)))
        });
        Ok(answers.chain(ending).boxed())
    }

    pub async fn vote(
        &self,
        request: VoteRequest<Types<P::Runtime>>,
    ) -> Result<VoteResponse<Types<P::Runtime>>, InboundError> {
        let running = self.running()?;
        running.measured.votes_asked.inc();
        running.raft.vote(request).await.map_err(raft_stopped)
    }

    pub async fn pre_vote(
        &self,
        request: VoteRequest<Types<P::Runtime>>,
    ) -> Result<VoteResponse<Types<P::Runtime>>, InboundError> {
        let running = self.running()?;
        running.measured.pre_votes_asked.inc();
        running.raft.pre_vote(request).await.map_err(raft_stopped)
    }

    pub async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<Types<P::Runtime>>,
    ) -> Result<TransferLeaderResponse<Types<P::Runtime>>, InboundError> {
        self.running()?.raft.handle_transfer_leader(request).await.map_err(stopped)
    }

    /// A place on disk for a snapshot that is to come.
    pub fn receive_snapshot(&self, meta: &SnapshotMeta) -> Result<Receiving<P>, InboundError> {
        Ok(self.running()?.snapshots.receive(meta))
    }

    /// Takes a snapshot that has arrived completely. A leader that is out of date gets the newer vote as answer.
    pub async fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        snapshot: StoredSnapshot<P>,
    ) -> Result<SnapshotResponse<Types<P::Runtime>>, InboundError> {
        let snapshot = Snapshot { meta, snapshot };
        self.running()?.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)
    }

    /// For a caller who waits so long and no longer.
    pub async fn propose(&self, body: Bytes, within: Duration) -> Proposed {
        match self.shared.taking_requests() {
            Some(running) => running.propose_for_peer(body, within).await,
            None => Proposed::NotProposed { leader: None },
        }
    }

    pub async fn read_index(&self) -> Result<LogId, InboundError> {
        let running = self.running()?;
        running.read_index.confirm().await.ok_or(InboundError::NotConfirmed)
    }

    pub fn read_clock_us(&self) -> i64 {
        self.shared.around.platform.wall_clock_us()
    }

    pub fn read_status(&self) -> LocalStatus {
        self.running().map_or_else(|_| LocalStatus::default(), |running| running.local_status())
    }

    fn running(&self) -> Result<Arc<Running<P, N>>, WrongRoute> {
        self.shared.running().ok_or(WrongRoute::NotRunning)
    }
}

/// The same, for the server over tonic. A stream that cannot begin ends with the refusal.
impl transport::Inbound for Inbound<Server, Links<Server>> {
    type Platform = Server;

    fn check_route(&self, route: &Route) -> Result<(), WrongRoute> {
        Inbound::check_route(self, route)
    }

    async fn append_entries(&self, request: Request<Server>) -> Result<AppendEntriesResponse<Served>, Refused> {
        Inbound::append_entries(self, request).await.map_err(refused)
    }

    fn stream_append(
        &self,
        requests: BoxStream<'static, Request<Server>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Served>, Refused>> {
        match Inbound::stream_append(self, requests) {
            Ok(answers) => answers.map(|answer| answer.map_err(refused)).boxed(),
            Err(error) => stream::iter([Err(refused(error))]).boxed(),
        }
    }

    async fn vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        Inbound::vote(self, request).await.map_err(refused)
    }

    async fn pre_vote(&self, request: VoteRequest<Served>) -> Result<VoteResponse<Served>, Refused> {
        Inbound::pre_vote(self, request).await.map_err(refused)
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<Served>,
    ) -> Result<TransferLeaderResponse<Served>, Refused> {
        Inbound::transfer_leader(self, request).await.map_err(refused)
    }

    async fn find_snapshot(&self, announced: &Announced) -> Result<u64, Refused> {
        let running = self.running().map_err(|wrong| refused(wrong.into()))?;
        Ok(running.snapshots.arrived_bytes(announced).await)
    }

    fn receive_snapshot(&self, announced: &Announced, offset: u64) -> Result<Receiving<Server>, Refused> {
        let running = self.running().map_err(|wrong| refused(wrong.into()))?;
        Ok(running.snapshots.resume(announced.clone(), offset))
    }

    async fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        snapshot: StoredSnapshot<Server>,
    ) -> Result<SnapshotResponse<Served>, Refused> {
        Inbound::install_snapshot(self, vote, meta, snapshot).await.map_err(refused)
    }

    async fn propose(&self, body: Bytes, within: Duration) -> Proposed {
        Inbound::propose(self, body, within).await
    }

    async fn read_index(&self) -> Result<LogId, Refused> {
        Inbound::read_index(self).await.map_err(refused)
    }

    fn read_clock_us(&self) -> i64 {
        Inbound::read_clock_us(self)
    }

    fn read_status(&self) -> LocalStatus {
        Inbound::read_status(self)
    }
}

impl<P: Platform, N: Transport<P>> Running<P, N> {
    pub fn purged_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().purged.map_or(0, |purged| purged.index)
    }

    pub fn has_fallen_behind_for_want_of_room(&self) -> bool {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        self.log.room().is_full() && seen.cluster_committed > seen.last_applied
    }

    pub fn local_status(&self) -> LocalStatus {
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
        LocalStatus {
            last_log_index: seen.last_log_index.unwrap_or(0),
            commit_index: index(seen.local_committed),
            applied_index: index(seen.last_applied),
            snapshot_index: index(seen.snapshot),
            term: seen.current_term,
            leader: seen.current_leader,
            state_hash: self.snapshots.state_hash(),
            is_disk_full: self.log.room().is_full(),
            level: self.settings.level,
        }
    }
}

fn stopped<RT: openraft_rt::AsyncRuntime>(fatal: Fatal<Types<RT>>) -> InboundError {
    InboundError::Stopped(fatal.to_string())
}

fn raft_stopped<RT: openraft_rt::AsyncRuntime>(error: RaftError<Types<RT>>) -> InboundError {
    InboundError::Stopped(error.to_string())
}

fn refused(error: InboundError) -> Refused {
    Refused(error.to_string())
}

impl<P: Platform, N> Clone for Inbound<P, N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Platform, N> std::fmt::Debug for Inbound<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}
