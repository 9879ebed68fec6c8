//! The answering end: the gRPC service in front of a node's own [`Inbound`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use carrel_proto::client::ERROR_DOMAIN;
use carrel_proto::peer::v1 as wire;
use carrel_proto::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use carrel_proto::peer::v1::propose_request::Proposal;
use carrel_proto::peer::v1::propose_response::Outcome;
use futures_util::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft_rt_tokio::TokioRuntime;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::Instrument;

use crate::raft::peers::{LocalStatus, Proposed, Route, WrongRoute};
use crate::raft::platform::Platform;
use crate::raft::snapshots::{Announced, Receiving, StoredSnapshot};
use crate::raft::transport::convert::{Malformed, PreVote, ReadIndex, SnapshotHeader, Wire};
use crate::raft::transport::failure::REMOVED;
use crate::raft::transport::snapshot::ReceiveError;
use crate::raft::transport::{MESSAGE_LIMIT_BYTES, Served, route, snapshot};
use crate::raft::types::{LogId, SnapshotMeta, Vote};
use crate::traces;

/// Why this node does not answer a peer's call. A proposal is never refused like this: what became of it is an answer,
/// as its caller must know whether it was made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What a node does when a peer calls.
pub trait Inbound: Send + Sync + 'static {
    type Platform: Platform<Runtime = TokioRuntime>;

    /// Whether a call on this route is for this node as it is now. Asked before anything of the call is looked at.
    fn check_route(&self, route: &Route) -> Result<(), WrongRoute>;

    fn append_entries(
        &self,
        request: AppendEntriesRequest<Served>,
    ) -> impl Future<Output = Result<AppendEntriesResponse<Served>, Refused>> + Send;

    /// Answers in the order of the requests, ending with the first that is not a success.
    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Served>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Served>, Refused>>;

    fn vote(&self, request: VoteRequest<Served>) -> impl Future<Output = Result<VoteResponse<Served>, Refused>> + Send;

    fn pre_vote(
        &self,
        request: VoteRequest<Served>,
    ) -> impl Future<Output = Result<VoteResponse<Served>, Refused>> + Send;

    fn transfer_leader(
        &self,
        request: TransferLeaderRequest<Served>,
    ) -> impl Future<Output = Result<TransferLeaderResponse<Served>, Refused>> + Send;

    /// How many bytes of a snapshot have arrived, of a transfer that broke off.
    fn find_snapshot(&self, announced: &Announced) -> impl Future<Output = Result<u64, Refused>> + Send;

    /// A place on disk for a snapshot that is to come, or whose rest is, from `offset` on.
    fn receive_snapshot(&self, announced: &Announced, offset: u64) -> Result<Receiving<Self::Platform>, Refused>;

    fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        snapshot: StoredSnapshot<Self::Platform>,
    ) -> impl Future<Output = Result<SnapshotResponse<Served>, Refused>> + Send;

    /// For a caller who waits so long and no longer.
    fn propose(&self, body: Bytes, within: Duration) -> impl Future<Output = Proposed> + Send;
    fn read_index(&self) -> impl Future<Output = Result<LogId, Refused>> + Send;
    fn read_clock_us(&self) -> i64;
    fn read_status(&self) -> LocalStatus;
}

/// Calls under way on one connection, and proposals on one stream. A follower forwards what its clients ask, and the
/// leader says itself how much it takes on; this only bounds what a connection holds in memory.
pub(super) const CALLS_PER_CONNECTION_MAX: u32 = 4096;

/// Bytes that a peer may send ahead on one stream, and on all streams of a connection. One append is about 1 MiB. A
/// connection has room for several streams that nobody reads at the moment, so that a heartbeat gets through.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// A caller that vanished without a word is found out by pings, and what it began is dropped.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// For calls under way when the server is to stop; streams end at once. A proposal may wait longer for a majority that
/// never comes, and its caller does not know the outcome either way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Of one message: what was decided together is told together.
const OUTCOMES_MAX: usize = 64;

/// The service for peers.
pub struct PeerServer<I> {
    inbound: Arc<I>,
}

impl<I: Inbound> PeerServer<I> {
    pub fn new(inbound: Arc<I>) -> Self {
        Self { inbound }
    }

    /// Answers on every connection that `incoming` brings, until `stop`. Returns when all calls have ended, or soon
    /// after.
    pub async fn serve<IO, E>(
        self,
        incoming: impl Stream<Item = Result<IO, E>> + Send,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let inbound = Arc::clone(&self.inbound);
        let check = move |request: Request<()>| {
            let route = route::read(request.metadata()).map_err(|no_route| refused(&no_route))?;
            inbound.check_route(&route).map_err(not_for_us)?;
            Ok(request)
        };
        let service = Service { inbound: self.inbound, stop: stop.clone(), snapshots: Semaphore::new(1) };
        let service = PeerServiceServer::new(service).max_decoding_message_size(MESSAGE_LIMIT_BYTES);
        let serving = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            // After a pause, what callers gave up on meanwhile is no attack, and not worth the connection.
            .http2_max_pending_accept_reset_streams(Some(CALLS_PER_CONNECTION_MAX as usize))
            .add_service(InterceptedService::new(service, check))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            served = serving => served,
            () = patience => Ok(()),
        }
    }
}

impl<I> fmt::Debug for PeerServer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerServer").finish_non_exhaustive()
    }
}

/// The code by which the caller of [`Inbound::propose`] knows that it was not reached. What fails half way has another.
fn refused(why: &impl fmt::Display) -> Status {
    Status::failed_precondition(why.to_string())
}

fn not_for_us(wrong: WrongRoute) -> Status {
    match wrong {
        WrongRoute::Removed(_) => {
            let details = ErrorDetails::with_error_info(REMOVED, ERROR_DOMAIN, HashMap::<String, String>::new());
            Status::with_error_details(Code::FailedPrecondition, wrong.to_string(), details)
        }
        WrongRoute::NotRunning
        | WrongRoute::OtherCluster
        | WrongRoute::OtherLineage { .. }
        | WrongRoute::OtherNode { .. } => refused(&wrong),
    }
}

fn malformed(malformed: Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

fn stopping() -> Status {
    Status::unavailable("this node is shutting down")
}

struct Service<I> {
    inbound: Arc<I>,
    stop: CancellationToken,
    /// One snapshot at a time: another would fill the disk with what only one of them can be used for.
    snapshots: Semaphore,
}

/// One message in, one out.
async fn answer<Q: Wire, A: Wire, F>(
    request: Request<Q::Message>,
    act: impl FnOnce(Q) -> F,
) -> Result<Response<A::Message>, Status>
where
    F: Future<Output = Result<A, Refused>>,
{
    let question = Q::from_wire(request.into_inner()).map_err(malformed)?;
    let answer = act(question).await.map_err(|why| refused(&why))?;
    Ok(Response::new(answer.to_wire()))
}

#[tonic::async_trait]
impl<I: Inbound> PeerService for Service<I> {
    type StreamAppendStream = BoxStream<'static, Result<wire::StreamAppendResponse, Status>>;
    type ProposeStream = BoxStream<'static, Result<wire::ProposeResponse, Status>>;

    async fn append_entries(
        &self,
        request: Request<wire::AppendEntriesRequest>,
    ) -> Result<Response<wire::AppendEntriesResponse>, Status> {
        answer(request, |append| self.inbound.append_entries(append)).await
    }

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::StreamAppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let (requests, why_ended) = understood(request.into_inner(), self.stop.clone());
        let answers = self.inbound.stream_append(requests).map(|answer| match answer {
            Ok(result) => Ok(result.to_wire()),
            Err(why) => Err(refused(&why)),
        });
        // What was understood is answered before the stream ends for what was not.
        let ending = futures_util::stream::once(why_ended).filter_map(|why| std::future::ready(why.ok().map(Err)));
        Ok(Response::new(answers.chain(ending).take_until(self.stop.clone().cancelled_owned()).boxed()))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        answer(request, |vote| self.inbound.vote(vote)).await
    }

    async fn pre_vote(
        &self,
        request: Request<wire::PreVoteRequest>,
    ) -> Result<Response<wire::PreVoteResponse>, Status> {
        answer(request, async |PreVote(vote)| self.inbound.pre_vote(vote).await.map(PreVote)).await
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        answer(request, |transfer| self.inbound.transfer_leader(transfer)).await
    }

    async fn find_snapshot(
        &self,
        request: Request<wire::FindSnapshotRequest>,
    ) -> Result<Response<wire::FindSnapshotResponse>, Status> {
        let header = request.into_inner().header.ok_or(Malformed("a snapshot without a header")).map_err(malformed)?;
        let header = SnapshotHeader::from_wire(header).map_err(malformed)?;
        let arrived_bytes = self.inbound.find_snapshot(&header.announced).await.map_err(|why| refused(&why))?;
        Ok(Response::new(wire::FindSnapshotResponse { arrived_bytes }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let installing = async {
            let Ok(_place) = self.snapshots.try_acquire() else {
                return Err(refused(&"another snapshot is being received"));
            };
            let header = snapshot::receive_header(&mut parts).await.map_err(not_received)?;
            let receiving = self.inbound.receive_snapshot(&header.announced, header.offset);
            let receiving = receiving.map_err(|why| refused(&why))?;
            let stored = snapshot::receive_body(&header, receiving, &mut parts).await.map_err(not_received)?;
            let installed = self.inbound.install_snapshot(header.vote, header.announced.meta, stored).await;
            Ok(Response::new(installed.map_err(|why| refused(&why))?.to_wire()))
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(stopping()),
            answer = installing => answer,
        }
    }

    async fn read_index(
        &self,
        _request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let log_id = self.inbound.read_index().await.map_err(|why| refused(&why))?;
        Ok(Response::new(ReadIndex(log_id).to_wire()))
    }

    async fn propose(
        &self,
        request: Request<Streaming<wire::ProposeRequest>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let inbound = Arc::clone(&self.inbound);
        let decide = move |proposal: Proposal| {
            let inbound = Arc::clone(&inbound);
            async move {
                let Proposal { number, body, within_us, traceparent } = proposal;
                let span = traces::serving_peer("carrel.peer.v1.PeerService/Propose", &traceparent);
                let proposed = inbound.propose(body, Duration::from_micros(within_us)).instrument(span).await;
                Outcome { number, proposed: Some(proposed.to_wire()) }
            }
        };
        let (why, why_ended) = oneshot::channel();
        let messages = futures_util::stream::unfold((request.into_inner(), why), async |(mut messages, why)| {
            match messages.next().await? {
                Ok(wire::ProposeRequest { proposals }) => Some((proposals, (messages, why))),
                Err(status) => {
                    // The answers may have been dropped before.
                    let _ = why.send(status);
                    None
                }
            }
        });
        let outcomes = messages
            .take_until(self.stop.clone().cancelled_owned())
            .flat_map(futures_util::stream::iter)
            .map(decide)
            .buffer_unordered(CALLS_PER_CONNECTION_MAX as usize)
            .ready_chunks(OUTCOMES_MAX)
            .map(|outcomes| Ok(wire::ProposeResponse { outcomes, is_last: false }));
        // Whatever was taken on has its outcome by then.
        let last =
            async { why_ended.await.map_or(Ok(wire::ProposeResponse { outcomes: Vec::new(), is_last: true }), Err) };
        Ok(Response::new(outcomes.chain(futures_util::stream::once(last)).boxed()))
    }

    async fn read_clock(
        &self,
        _request: Request<wire::ReadClockRequest>,
    ) -> Result<Response<wire::ReadClockResponse>, Status> {
        Ok(Response::new(wire::ReadClockResponse { now: self.inbound.read_clock_us() }))
    }

    async fn read_status(
        &self,
        _request: Request<wire::ReadStatusRequest>,
    ) -> Result<Response<wire::ReadStatusResponse>, Status> {
        Ok(Response::new(self.inbound.read_status().to_wire()))
    }
}

fn not_received(error: ReceiveError) -> Status {
    match error {
        ReceiveError::Malformed(why) => malformed(why),
        ReceiveError::Broken(_) | ReceiveError::Silent => Status::aborted(error.to_string()),
        ReceiveError::Disk(ref why) if why.kind() == io::ErrorKind::InvalidData => Status::data_loss(error.to_string()),
        ReceiveError::Disk(_) => Status::internal(error.to_string()),
    }
}

/// The appends of a stream as far as they make sense, and why it ended there if they do not.
fn understood(
    messages: Streaming<wire::StreamAppendRequest>,
    stop: CancellationToken,
) -> (BoxStream<'static, AppendEntriesRequest<Served>>, oneshot::Receiver<Status>) {
    let (why, why_ended) = oneshot::channel();
    let requests = futures_util::stream::unfold((messages, Some(why)), async |(mut messages, mut why)| {
        // A broken connection takes its answers with it: nobody is there to be told.
        let message = messages.next().await?.ok()?;
        let request = match message.append {
            Some(append) => AppendEntriesRequest::from_wire(append),
            None => Err(Malformed("an append without its contents")),
        };
        match request {
            Ok(request) => Some((request, (messages, why))),
            Err(nonsense) => {
                if let Some(why) = why.take() {
                    // The answers may have been dropped before.
                    let _ = why.send(malformed(nonsense));
                }
                None
            }
        }
    });
    (requests.take_until(stop.cancelled_owned()).boxed(), why_ended)
}

/// Connections as a listener accepts them, without Nagle's pauses. Never ends.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    pause: Option<Pin<Box<Sleep>>>,
}

/// After a failure to accept, as when all file descriptors are in use: trying again at once would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Listener {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, pause: None }
    }
}

impl Stream for Listener {
    type Item = Result<TcpStream, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match ready!(this.listener.poll_accept(context)).and_then(|(connection, _)| {
                connection.set_nodelay(true)?;
                Ok(connection)
            }) {
                Ok(connection) => return Poll::Ready(Some(Ok(connection))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    this.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}
