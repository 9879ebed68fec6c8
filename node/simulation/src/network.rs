//! The network between the machines: messages take their time, are lost, arrive twice, overtake each other, and cannot
//! pass where a way is cut, in one direction or both.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use carrel_node::raft::identity::MemberOf;
use carrel_node::raft::inbound::Inbound;
use carrel_node::raft::peers::{LocalStatus, Peer, PeerError, Peers, Proposed, Route, WrongRoute};
use carrel_node::raft::snapshots::StoredSnapshot;
use carrel_node::raft::types::{LogId, Member as ListedMember, NodeId, Snapshot, Types, Vote};
use carrel_node::replica::Replica;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::dice::Dice;
use crate::draw::Draw;
use crate::machine::Machine;
use crate::marks::{Mark, Marks};
use crate::process::Process;
use crate::runtime::Processes;
use crate::story::Story;
use crate::witness::Witness;
use crate::world::Member;

pub type Slot = u32;
type Arrives = Inbound<Machine, Wire>;
type Rt = Types<Processes>;

/// A straggler takes so much longer than other messages: beyond an election timeout.
const STRAGGLER_US: std::ops::Range<u64> = 20_000..600_000;

/// For what is asked without a limit of its own; longer than any failover.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// Between the last message of a snapshot and the word that it is installed.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(10);

/// All the ways between all the machines.
pub struct Network {
    ways: Mutex<Ways>,
    append_limit: Duration,
    marks: Arc<Marks>,
    story: Arc<Story>,
    witness: Arc<Witness>,
}

struct Ways {
    dice: Dice,
    weather: Weather,
    nodes: BTreeMap<Slot, Node>,
    /// In which slot the volume with this id was last seen to start.
    slots: BTreeMap<NodeId, Slot>,
    cut: BTreeSet<(Slot, Slot)>,
    clogged: BTreeMap<(Slot, Slot), Duration>,
    /// When the last message on a way arrives.
    last_arrival: BTreeMap<(Slot, Slot), Duration>,
}

struct Node {
    process: Arc<Process>,
    inbound: Arrives,
    replica: Replica<Machine, Wire>,
}

#[derive(Clone, Debug)]
struct Weather {
    loss_permille: u32,
    twice_permille: u32,
    straggler_permille: u32,
    delay_us: std::ops::Range<u64>,
}

/// What becomes of one message.
enum Fate {
    Lost,
    Arrives { after: Duration, again_after: Option<Duration> },
}

/// What is asked, for the trace.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Append,
    Vote,
    PreVote,
    Transfer,
    Snapshot,
    Propose,
    ReadIndex,
    ReadClock,
    ReadStatus,
}

impl Network {
    #[must_use]
    pub fn new(draw: &Draw, dice: Dice, marks: &Arc<Marks>, story: &Arc<Story>, witness: &Arc<Witness>) -> Arc<Self> {
        let weather = Weather {
            loss_permille: draw.loss_permille,
            twice_permille: draw.twice_permille,
            straggler_permille: draw.straggler_permille,
            delay_us: draw.delay_us.clone(),
        };
        let ways = Ways {
            dice,
            weather,
            nodes: BTreeMap::new(),
            slots: BTreeMap::new(),
            cut: BTreeSet::new(),
            clogged: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
        };
        Arc::new(Self {
            ways: Mutex::new(ways),
            append_limit: Duration::from_millis(draw.election_min_ms),
            marks: Arc::clone(marks),
            story: Arc::clone(story),
            witness: Arc::clone(witness),
        })
    }

    #[must_use]
    pub fn wire(self: &Arc<Self>, slot: Slot, me: MemberOf) -> Wire {
        self.ways().slots.insert(me.node_id, slot);
        Wire { me, slot, network: Arc::clone(self) }
    }

    /// From now on this process answers for the machine.
    pub fn plug(&self, slot: Slot, process: Arc<Process>, node: &Member) {
        let (inbound, replica) = (node.inbound(), node.replica());
        self.ways().nodes.insert(slot, Node { process, inbound, replica });
    }

    /// Through which entry those who read there see everything.
    fn shown(&self, slot: Slot) -> Option<u64> {
        let replica = self.ways().nodes.get(&slot)?.replica.clone();
        replica.changes().get()
    }

    pub fn unplug(&self, slot: Slot) {
        self.ways().nodes.remove(&slot);
    }

    pub fn cut(&self, from: Slot, to: Slot) {
        self.ways().cut.insert((from, to));
    }

    pub fn mend(&self, from: Slot, to: Slot) {
        self.ways().cut.remove(&(from, to));
    }

    pub fn clog(&self, from: Slot, to: Slot, by: Duration) {
        self.ways().clogged.insert((from, to), by);
    }

    pub fn unclog(&self, from: Slot, to: Slot) {
        self.ways().clogged.remove(&(from, to));
    }

    /// Nothing is cut, slow or lost any more.
    pub fn calm_down(&self) {
        let mut ways = self.ways();
        ways.cut.clear();
        ways.clogged.clear();
        ways.weather = Weather { loss_permille: 0, twice_permille: 0, straggler_permille: 0, delay_us: 100..1_000 };
    }

    fn fate(&self, kind: Kind, from: Slot, to: Slot) -> Fate {
        let mut ways = self.ways();
        let Ways { dice, weather, cut, clogged, last_arrival, .. } = &mut *ways;
        let after = dice.micros(weather.delay_us.clone());
        let is_straggler = dice.happens(weather.straggler_permille);
        let is_lost = dice.happens(weather.loss_permille);
        let is_twice = dice.happens(weather.twice_permille);
        let mut after = after + clogged.get(&(from, to)).copied().unwrap_or_default();
        if is_straggler {
            after += dice.micros(STRAGGLER_US);
        }
        let again_after = is_twice.then(|| dice.micros(STRAGGLER_US));
        if cut.contains(&(from, to)) {
            return Fate::Lost;
        }
        if is_lost {
            self.marks.hit(Mark::MessageLost);
            self.story.trace(&[1, kind as u64, u64::from(from), u64::from(to)]);
            return Fate::Lost;
        }
        let arrives = self.story_time() + after;
        let last = last_arrival.entry((from, to)).or_default();
        if arrives < *last {
            self.marks.hit(Mark::MessageOvertaken);
        }
        *last = arrives.max(*last);
        Fate::Arrives { after, again_after }
    }

    fn story_time(&self) -> Duration {
        self.witness.time().elapsed()
    }

    fn slot_of(&self, id: NodeId) -> Option<Slot> {
        self.ways().slots.get(&id).copied()
    }

    fn find(&self, slot: Slot) -> Option<(Arc<Process>, Arrives)> {
        self.ways().nodes.get(&slot).map(|node| (Arc::clone(&node.process), node.inbound.clone()))
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().expect("nothing panics while it holds the lock")
    }
}

/// One node's end of it.
#[derive(Clone)]
pub struct Wire {
    me: MemberOf,
    slot: Slot,
    network: Arc<Network>,
}

impl Wire {
    /// Asks, and waits so long for the answer. What is asked is done in the other process, and goes on there although
    /// whoever asked has gone.
    async fn call<T, F, A>(&self, kind: Kind, to: NodeId, limit: Duration, ask: A) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
        A: Fn(Arrives) -> F + Send + Sync + 'static,
    {
        match Rt::timeout(limit, self.ask(kind, to, ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(PeerError::NoAnswer("nothing came back in time".to_owned())),
        }
    }

    async fn ask<T, F, A>(&self, kind: Kind, to: NodeId, ask: A) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
        A: Fn(Arrives) -> F + Send + Sync + 'static,
    {
        let unreachable = |why: &str| PeerError::Unreachable(why.to_owned());
        let network = &self.network;
        let Some(slot) = network.slot_of(to) else { return Err(unreachable("nobody has this id")) };
        network.story.trace(&[2, kind as u64, u64::from(self.slot), u64::from(slot), to]);
        let Fate::Arrives { after, again_after } = network.fate(kind, self.slot, slot) else {
            return std::future::pending().await;
        };
        Rt::sleep(after).await;
        let Some((process, inbound)) = network.find(slot) else {
            Rt::sleep(after).await;
            return Err(unreachable("nobody listens there"));
        };
        let route =
            Route { cluster_id: *self.me.cluster_id.as_bytes(), lineage: self.me.lineage, from: self.me.node_id, to };
        inbound.check_route(&route).map_err(|wrong| match wrong {
            WrongRoute::Removed(_) => PeerError::Removed,
            WrongRoute::NotRunning
            | WrongRoute::OtherCluster
            | WrongRoute::OtherLineage { .. }
            | WrongRoute::OtherNode { .. } => unreachable(&wrong.to_string()),
        })?;
        network.story.trace(&[3, kind as u64, u64::from(self.slot), u64::from(slot), to]);
        if let Some(again_after) = again_after {
            let again = ask(inbound.clone());
            network.marks.hit(Mark::MessageTwice);
            process.spawn(async move {
                Rt::sleep(again_after).await;
                drop(again.await);
            });
        }
        let Some(answer) = process.call(ask(inbound)).await else {
            // Its connection is reset, or nothing is heard of it: both happen.
            return Err(PeerError::NoAnswer("the process has ended".to_owned()));
        };
        let answer = answer.map_err(|why| unreachable(&why))?;
        match network.fate(kind, slot, self.slot) {
            Fate::Lost => std::future::pending().await,
            Fate::Arrives { after, again_after: _ } => {
                Rt::sleep(after).await;
                network.story.trace(&[4, kind as u64, u64::from(slot), u64::from(self.slot)]);
                Ok(answer)
            }
        }
    }
}

impl Peers<Processes> for Wire {
    async fn propose(&self, to: Peer, body: Bytes, within: Duration) -> Result<Proposed, PeerError> {
        let ask = move |node: Arrives| {
            let body = body.clone();
            async move { Ok(node.propose(body, within).await) }
        };
        self.network.marks.hit(Mark::Forwarded);
        self.call(Kind::Propose, to.id, within, ask).await
    }

    async fn read_index(&self, to: Peer) -> Result<LogId, PeerError> {
        let ask = |node: Arrives| async move { node.read_index().await.map_err(|error| error.to_string()) };
        self.call(Kind::ReadIndex, to.id, QUESTION_LIMIT, ask).await
    }

    async fn read_clock_us(&self, to: Peer) -> Result<i64, PeerError> {
        let ask = |node: Arrives| async move { Ok(node.read_clock_us()) };
        self.call(Kind::ReadClock, to.id, QUESTION_LIMIT, ask).await
    }

    async fn read_status(&self, to: Peer) -> Result<LocalStatus, PeerError> {
        let ask = |node: Arrives| async move { Ok(node.read_status()) };
        self.call(Kind::ReadStatus, to.id, QUESTION_LIMIT, ask).await
    }
}

impl RaftNetworkFactory<Rt> for Wire {
    type Network = Line;

    async fn new_client(&mut self, target: NodeId, _: &ListedMember) -> Line {
        Line { wire: self.clone(), target }
    }
}

/// openraft's calls to one node.
pub struct Line {
    wire: Wire,
    target: NodeId,
}

type Rpc<T> = Result<T, RPCError<Rt>>;

fn failed(error: PeerError) -> RPCError<Rt> {
    match error {
        PeerError::Unreachable(why) => Unreachable::from_string(why).into(),
        PeerError::Removed => Unreachable::from_string("removed").into(),
        PeerError::NoAnswer(why) => NetworkError::from_string(why).into(),
    }
}

impl RaftNetworkV2<Rt> for Line {
    type SnapshotData = StoredSnapshot<Machine>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Rt>,
        _: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Rt>> {
        let (witness, by) = (Arc::clone(&self.wire.network.witness), self.target);
        let ask = move |node: Arrives| {
            let (request, witness) = (request.clone(), Arc::clone(&witness));
            async move {
                witness.append_arrives(by, &request);
                let answer = node.append_entries(request.clone()).await.map_err(|error| error.to_string())?;
                witness.append_answered(by, &request, &answer).await;
                Ok(answer)
            }
        };
        let limit = self.wire.network.append_limit;
        self.wire.call(Kind::Append, self.target, limit, ask).await.map_err(failed)
    }

    async fn vote(&mut self, request: VoteRequest<Rt>, _: RPCOption) -> Rpc<VoteResponse<Rt>> {
        let (witness, by) = (Arc::clone(&self.wire.network.witness), self.target);
        let ask = move |node: Arrives| {
            let (request, witness) = (request.clone(), Arc::clone(&witness));
            async move {
                let asked = request.vote;
                let answer = node.vote(request).await.map_err(|error| error.to_string())?;
                if answer.is_granted_to(&asked) {
                    witness.vote_granted(by, asked).await;
                }
                Ok(answer)
            }
        };
        self.wire.call(Kind::Vote, self.target, QUESTION_LIMIT, ask).await.map_err(failed)
    }

    async fn pre_vote(&mut self, request: VoteRequest<Rt>, _: RPCOption) -> Rpc<VoteResponse<Rt>> {
        let ask = move |node: Arrives| {
            let request = request.clone();
            async move { node.pre_vote(request).await.map_err(|error| error.to_string()) }
        };
        self.wire.call(Kind::PreVote, self.target, QUESTION_LIMIT, ask).await.map_err(failed)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Rt>,
        _: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Rt>> {
        let ask = move |node: Arrives| {
            let request = request.clone();
            async move { node.transfer_leader(request).await.map_err(|error| error.to_string()) }
        };
        self.wire.call(Kind::Transfer, self.target, QUESTION_LIMIT, ask).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<StoredSnapshot<Machine>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Rt>, StreamingError<Rt>> {
        let (network, by) = (Arc::clone(&self.wire.network), self.target);
        let ask = move |node: Arrives| {
            let (network, meta, stored) = (Arc::clone(&network), snapshot.meta.clone(), snapshot.snapshot.clone());
            async move {
                let last = meta.last_log_id;
                let told = |error: io::Error| error.to_string();
                let mut receiving = node.receive_snapshot(&meta).map_err(|error| error.to_string())?;
                let mut body = stored.body();
                while let Some(chunk) = body.next().await {
                    receiving.append(chunk.map_err(told)?).await.map_err(told)?;
                }
                let received = receiving.finish(stored.body_sum()).await.map_err(told)?;
                let answer = node.install_snapshot(vote, meta, received).await.map_err(|error| error.to_string())?;
                // Whoever knows of a later leader says so instead.
                if let Some(last) = last.filter(|_| answer.vote.leader_id == vote.leader_id) {
                    network.marks.hit(Mark::SnapshotSent);
                    let shown = network.slot_of(by).and_then(|slot| network.shown(slot));
                    network.witness.snapshot_installed(by, vote.leader_id.term, last.index, shown);
                }
                Ok(answer)
            }
        };
        let delivered = self.wire.call(Kind::Snapshot, self.target, SNAPSHOT_LIMIT, ask).await;
        delivered.map_err(|error| StreamingError::from(failed(error)))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("me", &self.me).field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("target", &self.target).finish_non_exhaustive()
    }
}
