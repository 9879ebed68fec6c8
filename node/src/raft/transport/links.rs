//! The calling end: openraft's network, and what else a replica asks of another.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carrel_proto::peer::v1 as wire;
use carrel_proto::peer::v1::peer_service_client::PeerServiceClient;
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use openraft_rt_tokio::TokioRuntime;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::raft::peers::{LocalStatus, Peer, PeerError, Peers, Proposed, Route};
use crate::raft::platform::Platform;
use crate::raft::snapshots::StoredSnapshot;
use crate::raft::transport::channels::{Addresses, Channels, Lane};
use crate::raft::transport::convert::{Malformed, PreVote, ReadIndex, Wire};
use crate::raft::transport::failure::Failure;
use crate::raft::transport::forwarding::Forwarding;
use crate::raft::transport::hearing::Hearing;
use crate::raft::transport::{Limits, MESSAGE_LIMIT_BYTES, Served, pipeline, route, snapshot};
use crate::raft::types::{CommittedLeaderId, LogId, Member, NodeId, Vote};
use crate::raft::wal::LogOwner;
use crate::tls::Dialler;
use crate::traces;

type Rpc<T> = Result<T, RPCError<Served>>;

/// Calls to all peers of one node. Cheap to clone.
pub struct Links<P> {
    shared: Arc<Shared>,
    platform: PhantomData<fn() -> P>,
}

#[derive(Debug)]
struct Shared {
    caller: LogOwner,
    limits: Limits,
    channels: Channels,
    hearing: Arc<Hearing>,
    forwarding: Forwarding,
}

/// openraft's calls to one peer.
pub struct Link<P> {
    line: Line,
    limits: Limits,
    traffic: Traffic,
    platform: PhantomData<fn() -> P>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    /// Appends, pipelined; and whatever else openraft asks.
    Appends,
    /// One small question at a time, which takes openraft's own limit and needs no stream.
    Heartbeats,
    Snapshots,
}

/// One connection, and what to say about who is calling.
#[derive(Clone)]
pub(super) struct Line {
    route: Route,
    route_value: MetadataValue<Ascii>,
    ordinal: u32,
    channel: Option<Channel>,
    hearing: Arc<Hearing>,
}

impl<P: Platform<Runtime = TokioRuntime>> Links<P> {
    /// Calls by the node whose log is `caller`'s. Connects to nobody yet. To be called within tokio.
    pub fn new(caller: LogOwner, limits: Limits, addresses: Arc<Addresses>, dialler: Option<Dialler>) -> Self {
        let channels = Channels::new(addresses, limits.connect, dialler);
        let shared = Shared { caller, limits, channels, hearing: Arc::default(), forwarding: Forwarding::default() };
        Self { shared: Arc::new(shared), platform: PhantomData }
    }

    fn line(&self, to: Peer, lane: Lane) -> Line {
        let LogOwner { cluster_id, lineage, node_id } = self.shared.caller;
        let route = Route { cluster_id, lineage, from: node_id, to: to.id };
        let channel = self.shared.channels.get(to.ordinal, lane);
        let hearing = Arc::clone(&self.shared.hearing);
        Line { route, route_value: route::write(&route), ordinal: to.ordinal, channel, hearing }
    }

    fn link(&self, to: Peer, traffic: Traffic) -> Link<P> {
        let lane = match traffic {
            Traffic::Appends | Traffic::Heartbeats => Lane::Consensus,
            Traffic::Snapshots => Lane::Snapshots,
        };
        Link { line: self.line(to, lane), limits: self.shared.limits, traffic, platform: PhantomData }
    }
}

impl Line {
    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn client(&self) -> Result<PeerServiceClient<Channel>, Failure> {
        let Some(channel) = self.channel.clone() else {
            return Err(Failure::NotSent(format!("no address is configured for ordinal {}", self.ordinal)));
        };
        Ok(PeerServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES))
    }

    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(route::KEY, self.route_value.clone());
        if let Some(trace) = traces::outgoing() {
            request.metadata_mut().insert(traces::HEADER, trace);
        }
        request
    }

    /// One message there and one back.
    async fn ask<M, A, F>(
        &self,
        limit: Duration,
        message: M,
        call: impl FnOnce(PeerServiceClient<Channel>, Request<M>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let asking = call(self.client()?, self.request(message));
        let ended = match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(Failure::from),
            Err(_) => Err(Failure::TimedOut(limit)),
        };
        self.note(ended)
    }

    /// Notes how a call ended, and hands it on.
    pub(super) fn note<T>(&self, ended: Result<T, Failure>) -> Result<T, Failure> {
        self.hearing.note(self.ordinal, ended)
    }
}

impl<P: Platform<Runtime = TokioRuntime>> RaftNetworkFactory<Served> for Links<P> {
    type Network = Link<P>;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link<P> {
        self.link(Peer { id: target, ordinal: node.ordinal }, Traffic::Appends)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Link<P> {
        self.link(Peer { id: target, ordinal: node.ordinal }, Traffic::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Member) -> Link<P> {
        self.link(Peer { id: target, ordinal: node.ordinal }, Traffic::Snapshots)
    }
}

impl<P: Platform<Runtime = TokioRuntime>> RaftNetworkV2<Served> for Link<P> {
    type SnapshotData = StoredSnapshot<P>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Served>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Served>> {
        let limit = if rpc.entries.is_empty() { option.soft_ttl() } else { self.limits.append };
        let from_the_beginning = rpc.prev_log_id.is_none();
        let answer =
            self.ask(RPCTypes::AppendEntries, limit, rpc, |mut peer, request| async move {
                peer.append_entries(request).await
            })
            .await?;
        if from_the_beginning && answer == AppendEntriesResponse::Conflict {
            let failure = Failure::Malformed(Malformed("a conflict with nothing"));
            return Err(failure.for_raft(RPCTypes::AppendEntries, &self.line.route));
        }
        Ok(answer)
    }

    /// Takes the first request from `input` before anything else: openraft's pause after a failure is spent in there.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Served>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Served>> + OptionalSend + Unpin + 'static,
    {
        if self.traffic != Traffic::Appends {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let Some(first) = input.next().await else {
                return Ok(futures_util::stream::empty().boxed());
            };
            let line = &self.line;
            let failed = |failure: Failure| failure.for_raft(RPCTypes::AppendEntries, &line.route);
            let answers = pipeline::append(line, self.limits.append, first, input).map_err(failed)?;
            let hear = move |answer| line.note(answer).map_err(failed);
            Ok(answers.map(hear).boxed())
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<Served>, option: RPCOption) -> Rpc<VoteResponse<Served>> {
        self.ask(RPCTypes::Vote, option.soft_ttl(), rpc, |mut peer, request| async move { peer.vote(request).await })
            .await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Served>, option: RPCOption) -> Rpc<VoteResponse<Served>> {
        let rpc = PreVote(rpc);
        let answer: PreVote<_> =
            self.ask(RPCTypes::Vote, option.soft_ttl(), rpc, |mut peer, request| async move {
                peer.pre_vote(request).await
            })
            .await?;
        Ok(answer.0)
    }

    /// The pieces are as the sender's disk holds them, so openraft's chunk size has no say; and its limit, which is
    /// meant for one piece, is replaced by those of [`Limits`].
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, NodeId, Member, StoredSnapshot<P>>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Served>, StreamingError<Served>> {
        snapshot::send(&self.line, &self.limits, vote, snapshot, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Served>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Served>> {
        self.ask(RPCTypes::TransferLeader, option.soft_ttl(), request, |mut peer, request| async move {
            peer.transfer_leader(request).await
        })
        .await
    }
}

impl<P: Platform<Runtime = TokioRuntime>> Link<P> {
    async fn ask<Q: Wire, A: Wire, F>(
        &self,
        action: RPCTypes,
        limit: Duration,
        question: Q,
        call: impl FnOnce(PeerServiceClient<Channel>, Request<Q::Message>) -> F,
    ) -> Rpc<A>
    where
        F: Future<Output = Result<Response<A::Message>, Status>>,
    {
        let answer = self.line.ask(limit, question.to_wire(), call).await;
        let answer = answer.and_then(|answer| Ok(A::from_wire(answer)?));
        answer.map_err(|failure| failure.for_raft(action, &self.line.route))
    }
}

impl<P: Platform<Runtime = TokioRuntime>> Peers<TokioRuntime> for Links<P> {
    async fn propose(&self, to: Peer, body: Bytes, within: Duration) -> Result<Proposed, PeerError> {
        let limit = self.shared.limits.proposal.min(within);
        let line = self.line(to, Lane::Requests);
        let proposed = self.shared.forwarding.propose(to, line, body, limit);
        match tokio::time::timeout(limit, proposed).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::TimedOut(limit).into()),
        }
    }

    async fn read_index(&self, to: Peer) -> Result<LogId, PeerError> {
        let message = wire::ReadIndexRequest {};
        let ReadIndex(log_id) =
            self.ask(to, self.shared.limits.question, message, |mut peer, request| async move {
                peer.read_index(request).await
            })
            .await?;
        Ok(log_id)
    }

    async fn read_clock_us(&self, to: Peer) -> Result<i64, PeerError> {
        let message = wire::ReadClockRequest {};
        let line = self.line(to, Lane::Requests);
        let answer =
            line.ask(self.shared.limits.question, message, |mut peer, request| async move {
                peer.read_clock(request).await
            })
            .await?;
        Ok(answer.now)
    }

    async fn read_status(&self, to: Peer) -> Result<LocalStatus, PeerError> {
        let message = wire::ReadStatusRequest {};
        self.ask(to, self.shared.limits.question, message, |mut peer, request| async move {
            peer.read_status(request).await
        })
        .await
    }
}

impl<P: Platform<Runtime = TokioRuntime>> Links<P> {
    async fn ask<M, A: Wire, F>(
        &self,
        to: Peer,
        limit: Duration,
        message: M,
        call: impl FnOnce(PeerServiceClient<Channel>, Request<M>) -> F,
    ) -> Result<A, PeerError>
    where
        F: Future<Output = Result<Response<A::Message>, Status>>,
    {
        let answer = self.line(to, Lane::Requests).ask(limit, message, call).await;
        Ok(answer.and_then(|answer| Ok(A::from_wire(answer)?))?)
    }
}

impl<P> Clone for Links<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), platform: PhantomData }
    }
}

impl<P> fmt::Debug for Links<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("caller", &self.shared.caller).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for Link<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("route", &self.line.route).field("traffic", &self.traffic).finish_non_exhaustive()
    }
}
