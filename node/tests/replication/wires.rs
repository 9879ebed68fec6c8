//! Peers in one process: calls that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use carrel_node::raft::identity::MemberOf;
use carrel_node::raft::inbound::Inbound;
use carrel_node::raft::peers::{LocalStatus, Peer, PeerError, Peers, Proposed, Route, WrongRoute};
use carrel_node::raft::platform::Platform;
use carrel_node::raft::snapshots::StoredSnapshot;
use carrel_node::raft::types::{LogId, Member, NodeId, Snapshot, Types, Vote};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

/// One way.
const LATENCY: Duration = Duration::from_micros(300);

/// All the wires between all nodes.
pub struct Switchboard<P: Platform> {
    nodes: Mutex<BTreeMap<NodeId, Inbound<P, Wire<P>>>>,
    cut: Mutex<BTreeSet<NodeId>>,
    questions: AtomicU64,
    appends: AtomicU64,
}

/// Calls so far.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// For a read index.
    pub questions: u64,
    /// Appends and heartbeats, which are what a leader asks its voters with.
    pub appends: u64,
}

/// One node's end of them.
pub struct Wire<P: Platform> {
    me: MemberOf,
    board: Arc<Switchboard<P>>,
}

impl<P: Platform> Switchboard<P> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            cut: Mutex::default(),
            questions: AtomicU64::default(),
            appends: AtomicU64::default(),
        })
    }

    pub fn traffic(&self) -> Traffic {
        Traffic { questions: self.questions.load(Ordering::SeqCst), appends: self.appends.load(Ordering::SeqCst) }
    }

    pub fn wire(self: &Arc<Self>, me: MemberOf) -> Wire<P> {
        Wire { me, board: Arc::clone(self) }
    }

    pub fn plug(&self, id: NodeId, inbound: Inbound<P, Wire<P>>) {
        self.nodes.lock().expect("no panics").insert(id, inbound);
    }

    pub fn unplug(&self, id: NodeId) {
        self.nodes.lock().expect("no panics").remove(&id);
    }

    pub fn cut(&self, id: NodeId) {
        self.cut.lock().expect("no panics").insert(id);
    }

    pub fn mend(&self, id: NodeId) {
        self.cut.lock().expect("no panics").remove(&id);
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        let cut = self.cut.lock().expect("no panics");
        cut.contains(&a) || cut.contains(&b)
    }

    fn find(&self, from: NodeId, to: NodeId) -> Option<Inbound<P, Wire<P>>> {
        if self.is_cut(from, to) { None } else { self.nodes.lock().expect("no panics").get(&to).cloned() }
    }
}

impl<P: Platform> Wire<P> {
    async fn call<T, F: Future<Output = Result<T, String>>>(
        &self,
        to: NodeId,
        ask: impl FnOnce(Inbound<P, Wire<P>>) -> F,
    ) -> Result<T, PeerError> {
        Types::<P::Runtime>::sleep(LATENCY).await;
        let unreachable = |why: String| PeerError::Unreachable(why);
        let inbound = self.board.find(self.me.node_id, to).ok_or_else(|| unreachable("no way there".to_owned()))?;
        let route =
            Route { cluster_id: *self.me.cluster_id.as_bytes(), lineage: self.me.lineage, from: self.me.node_id, to };
        inbound.check_route(&route).map_err(|wrong| match wrong {
            WrongRoute::Removed(_) => PeerError::Removed,
            _ => unreachable(wrong.to_string()),
        })?;
        let answer = ask(inbound).await.map_err(unreachable)?;
        Types::<P::Runtime>::sleep(LATENCY).await;
        if self.board.is_cut(self.me.node_id, to) {
            return Err(PeerError::NoAnswer("cut".to_owned()));
        }
        Ok(answer)
    }
}

impl<P: Platform> Peers<P::Runtime> for Wire<P> {
    async fn propose(&self, to: Peer, body: Bytes, within: Duration) -> Result<Proposed, PeerError> {
        self.call(to.id, |node| async move { Ok(node.propose(body, within).await) }).await
    }

    async fn read_index(&self, to: Peer) -> Result<LogId, PeerError> {
        self.board.questions.fetch_add(1, Ordering::SeqCst);
        self.call(to.id, |node| async move { node.read_index().await.map_err(|error| error.to_string()) }).await
    }

    async fn read_clock_us(&self, to: Peer) -> Result<i64, PeerError> {
        self.call(to.id, |node| async move { Ok(node.read_clock_us()) }).await
    }

    async fn read_status(&self, to: Peer) -> Result<LocalStatus, PeerError> {
        self.call(to.id, |node| async move { Ok(node.read_status()) }).await
    }
}

impl<P: Platform> RaftNetworkFactory<Types<P::Runtime>> for Wire<P> {
    type Network = Line<P>;

    async fn new_client(&mut self, target: NodeId, _: &Member) -> Line<P> {
        Line { wire: self.clone(), target }
    }
}

/// openraft's calls to one node.
pub struct Line<P: Platform> {
    wire: Wire<P>,
    target: NodeId,
}

type Rpc<T, P> = Result<T, RPCError<Types<<P as Platform>::Runtime>>>;

fn failed<P: Platform>(error: PeerError) -> RPCError<Types<P::Runtime>> {
    match error {
        PeerError::Unreachable(why) => Unreachable::from_string(why).into(),
        PeerError::Removed => Unreachable::from_string("removed").into(),
        PeerError::NoAnswer(why) => NetworkError::from_string(why).into(),
    }
}

macro_rules! ask {
    ($line:expr, $method:ident, $request:expr) => {{
        let request = $request;
        let ask =
            |node: Inbound<P, Wire<P>>| async move { node.$method(request).await.map_err(|error| error.to_string()) };
        $line.wire.call($line.target, ask).await.map_err(failed::<P>)
    }};
}

impl<P: Platform> RaftNetworkV2<Types<P::Runtime>> for Line<P> {
    type SnapshotData = StoredSnapshot<P>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<P::Runtime>>,
        _: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types<P::Runtime>>, P> {
        self.wire.board.appends.fetch_add(1, Ordering::SeqCst);
        ask!(self, append_entries, rpc)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types<P::Runtime>>,
        _: RPCOption,
    ) -> Rpc<VoteResponse<Types<P::Runtime>>, P> {
        ask!(self, vote, rpc)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types<P::Runtime>>,
        _: RPCOption,
    ) -> Rpc<VoteResponse<Types<P::Runtime>>, P> {
        ask!(self, pre_vote, rpc)
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types<P::Runtime>>,
        _: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types<P::Runtime>>, P> {
        ask!(self, transfer_leader, rpc)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<StoredSnapshot<P>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types<P::Runtime>>, StreamingError<Types<P::Runtime>>> {
        let deliver = |node: Inbound<P, Wire<P>>| async move {
            let told = |error: io::Error| error.to_string();
            let mut receiving = node.receive_snapshot(&snapshot.meta).map_err(|error| error.to_string())?;
            let mut body = snapshot.snapshot.body();
            while let Some(chunk) = body.next().await {
                receiving.append(chunk.map_err(told)?).await.map_err(told)?;
            }
            let received = receiving.finish(snapshot.snapshot.body_sum()).await.map_err(told)?;
            node.install_snapshot(vote, snapshot.meta, received).await.map_err(|error| error.to_string())
        };
        let delivered = self.wire.call(self.target, deliver).await;
        delivered.map_err(|error| StreamingError::from(failed::<P>(error)))
    }
}

impl<P: Platform> Clone for Wire<P> {
    fn clone(&self) -> Self {
        Self { me: self.me, board: Arc::clone(&self.board) }
    }
}
