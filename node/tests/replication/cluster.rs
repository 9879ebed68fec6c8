//! Replicas, three where nothing else is said, and the words in which the stories speak of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::id::RequestId;
use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, Caller, Request, RetryKey};
use carrel_domain::text::UserName;
use carrel_node::raft::identity::MemberOf;
use carrel_node::raft::membership::{AdminError, LogPosition};
use carrel_node::raft::node::{Identity, JoinError, Node, OpenError, Opening};
use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::types::{NodeId, Types};
use carrel_node::replica::{Freshness, ReadError, Replica, View, WriteError};
use openraft::Instant;
use openraft::type_config::TypeConfigExt;
use uuid::Uuid;

use crate::machines::Machines;
use crate::wires::{Switchboard, Traffic, Wire};

/// Nothing in these stories takes so long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// Machines there may be.
const SLOTS: usize = 8;

pub const CLUSTER: Uuid = Uuid::from_u128(0xca77e1);

pub type Member<P> = Node<P, Wire<P>>;

pub struct Cluster<M: Machines> {
    machines: M,
    board: Arc<Switchboard<M::Platform>>,
    settings: Settings,
    nodes: Vec<Option<Member<M::Platform>>>,
    /// Each empty disk is another incarnation.
    incarnations: u128,
}

impl<M: Machines> Cluster<M> {
    /// Three machines, none of which knows of another.
    pub async fn pristine(settings: Settings) -> Self {
        let mut cluster = Self::empty(settings);
        for slot in 0..3 {
            cluster.start(slot).await;
        }
        cluster
    }

    fn empty(mut settings: Settings) -> Self {
        // Simulated disks are in memory, and every story has several.
        settings.log.segment_bytes = settings.log.segment_bytes.min(1 << 20);
        let nodes = (0..SLOTS).map(|_| None).collect();
        Self { machines: M::new(), board: Switchboard::new(), settings, nodes, incarnations: 0 }
    }

    /// One voter, which is all that is wanted.
    pub async fn alone(settings: Settings) -> Self {
        let mut cluster = Self::empty(settings);
        cluster.start(0).await;
        cluster.initialize(0, CLUSTER, 1).await.expect("a pristine node");
        cluster.plug(0);
        cluster
    }

    /// Three voters.
    pub async fn formed(settings: Settings) -> Self {
        let cluster = Self::pristine(settings).await;
        cluster.initialize(0, CLUSTER, 3).await.expect("a pristine node");
        cluster.plug(0);
        for slot in 1..3 {
            cluster.take_in(slot).await;
        }
        cluster.make_voters(&[0, 1, 2]).await;
        for slot in 0..3 {
            cluster.until("the cluster is formed", || cluster.replica(slot).serving().is_ok()).await;
        }
        cluster
    }

    /// Starts the node in this slot on the disk it left, or on an empty one.
    pub async fn start(&mut self, slot: usize) {
        self.start_under(slot, slot as u32).await;
    }

    /// The same, with an address that need not be this slot's.
    pub async fn start_under(&mut self, slot: usize, ordinal: u32) {
        let node = self.open(slot, ordinal).await.expect("a disk that can be read");
        self.nodes[slot] = Some(node);
        self.plug(slot);
    }

    /// This slot's volume founds a cluster.
    pub async fn initialize(&self, slot: usize, cluster_id: Uuid, wanted: u32) -> Result<Identity, JoinError> {
        let node = self.node(slot);
        node.initialize(cluster_id, node.identity().incarnation, wanted).await
    }

    /// The node that this slot's disk makes of the machine under `ordinal`.
    pub async fn open(&mut self, slot: usize, ordinal: u32) -> Result<Member<M::Platform>, OpenError> {
        let (platform, mount) = self.machines.machine(slot as u32);
        self.incarnations += 1;
        let drawn_incarnation = Uuid::from_u128(self.incarnations);
        let opening = Opening { mount, ordinal, drawn_incarnation, settings: self.settings.clone() };
        let board = Arc::clone(&self.board);
        Node::open(platform, opening, move |me| board.wire(me)).await
    }

    /// The node ends as a killed process does.
    pub async fn kill(&mut self, slot: usize) {
        let node = self.nodes[slot].take().expect("it runs");
        if let Some(me) = node.identity().member_of {
            self.board.unplug(me.node_id);
        }
        node.halt().await;
        drop(node);
        self.machines.crash(slot as u32);
    }

    pub async fn stop(&mut self, slot: usize) {
        let node = self.nodes[slot].take().expect("it runs");
        let id = node.identity().member_of.expect("a member").node_id;
        node.stop().await;
        self.board.unplug(id);
    }

    /// The machine in this slot, while nothing runs on it.
    /// Nodes that start from now on say that they know entries up to this level.
    pub fn say_level(&mut self, level: u32) {
        self.settings.level = level;
    }

    pub fn machine(&self, slot: usize) -> (M::Platform, PathBuf) {
        assert!(self.nodes[slot].is_none(), "it runs");
        self.machines.machine(slot as u32)
    }

    /// The disk of a node that may be running.
    pub fn disk(&self, slot: usize) -> (M::Platform, PathBuf) {
        self.machines.machine(slot as u32)
    }

    pub fn wipe(&self, slot: usize) {
        self.machines.wipe(slot as u32);
    }

    pub fn break_disk(&self, slot: usize) -> bool {
        self.machines.break_disk(slot as u32)
    }

    pub fn limit_disk(&self, slot: usize, more_bytes: Option<u64>) -> bool {
        self.machines.limit_disk(slot as u32, more_bytes)
    }

    /// Restarts the node in this slot on a disk on which every operation takes so long.
    pub async fn slow_down(&mut self, slot: usize, each: Duration) -> bool {
        self.kill(slot).await;
        let is_slow = self.machines.slow_disk(slot as u32, each);
        self.start(slot).await;
        is_slow
    }

    /// Begins a founding and gives up on it; whether it was done in time.
    pub async fn founded_within(&self, slot: usize, limit: Duration) -> bool {
        let founding = self.initialize(slot, CLUSTER, 3);
        Types::<<M::Platform as Platform>::Runtime>::timeout(limit, founding).await.is_ok_and(|founded| founded.is_ok())
    }

    pub fn node(&self, slot: usize) -> &Member<M::Platform> {
        self.nodes[slot].as_ref().expect("it runs")
    }

    pub fn replica(&self, slot: usize) -> Replica<M::Platform, Wire<M::Platform>> {
        self.node(slot).replica()
    }

    pub fn id(&self, slot: usize) -> NodeId {
        self.node(slot).identity().member_of.expect("a member").node_id
    }

    pub fn ids(&self, slots: &[usize]) -> BTreeSet<NodeId> {
        slots.iter().map(|slot| self.id(*slot)).collect()
    }

    /// What was said over all wires so far.
    pub fn traffic(&self) -> Traffic {
        self.board.traffic()
    }

    pub fn cut(&self, slot: usize) {
        self.board.cut(self.id(slot));
    }

    pub fn mend(&self, slot: usize) {
        self.board.mend(self.id(slot));
    }

    /// The slot of the node that leads, once there is one.
    pub async fn leader(&self) -> usize {
        let leading = || {
            let running = self.running();
            let leads = |slot: &usize| self.replica(*slot).leadership().get().is_some();
            // One that was deposed may not know it yet.
            running.filter(leads).max_by_key(|slot| self.replica(*slot).leadership().get())
        };
        self.until("somebody leads", || leading().is_some()).await;
        leading().expect("just seen")
    }

    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        self.running().find(|slot| *slot != leader).expect("another node runs")
    }

    pub fn running(&self) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(|slot| self.nodes[*slot].is_some())
    }

    /// A new incarnation becomes a learner.
    pub async fn take_in(&self, slot: usize) {
        let node_id = self.join(slot).await;
        self.plug(slot);
        let leader = self.node(self.leader().await);
        let position = leader.local_status().membership_position.expect("a membership");
        let another = LogPosition { index: position.index + 1, ..position };
        assert_eq!(
            leader.add_learner(node_id, another).await,
            Err(AdminError::MembershipChanged { current: Some(position) })
        );
        leader.add_learner(node_id, position).await.expect("a new member");
        leader.add_learner(node_id, position).await.expect("the same again");
        let target = leader.local_status().members[0].says.expect("itself").last_log_index;
        self.until("the learner has caught up", || {
            let applied = self.node(slot).local_status().members.iter().find_map(|member| member.says);
            applied.is_some_and(|says| says.applied_index >= target)
        })
        .await;
    }

    /// Gives the node in this slot its place, of which nobody else hears yet.
    pub async fn join(&self, slot: usize) -> NodeId {
        let leader = self.node(self.leader().await);
        let Identity { incarnation, ordinal, .. } = self.node(slot).identity();
        let allocated = leader.allocate_node(incarnation, ordinal).await.expect("a leader");
        let again = leader.allocate_node(incarnation, ordinal).await.expect("a leader");
        assert_eq!(allocated, again, "one id for one incarnation");
        let of = leader.identity().member_of.expect("it leads");
        let place = MemberOf { node_id: allocated.id, ..of };
        self.node(slot).join(incarnation, ordinal, place).await.expect("a pristine node");
        allocated.id
    }

    pub async fn make_voters(&self, slots: &[usize]) {
        let voters = self.ids(slots);
        let leader = self.node(self.leader().await);
        let position = leader.local_status().membership_position.expect("a membership");
        let another = LogPosition { index: position.index + 1, ..position };
        assert_eq!(
            leader.change_voters(voters.clone(), another).await,
            Err(AdminError::MembershipChanged { current: Some(position) })
        );
        leader.change_voters(voters, position).await.expect("a majority");
    }

    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = self.now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
            self.pause(Duration::from_millis(10)).await;
        }
    }

    pub async fn pause(&self, duration: Duration) {
        Types::<<M::Platform as Platform>::Runtime>::sleep(duration).await;
    }

    pub fn now(&self) -> openraft::alias::InstantOf<Types<<M::Platform as Platform>::Runtime>> {
        Types::<<M::Platform as Platform>::Runtime>::now()
    }

    pub async fn register(&self, slot: usize, name: &str) -> Result<Answer, WriteError> {
        self.replica(slot).write(registration(name)).await
    }

    pub async fn sees(&self, slot: usize, name: &str) -> bool {
        let view = self.replica(slot).read(Freshness::Linearizable).await.expect("a majority");
        knows(&view, name)
    }

    /// The same of a node that may be behind for a while, and says so.
    pub async fn sees_at_last(&self, slot: usize, name: &str) -> bool {
        let begun = self.now();
        loop {
            match self.replica(slot).read(Freshness::Linearizable).await {
                Ok(view) => return knows(&view, name),
                Err(ReadError::Behind | ReadError::NoQuorum) if begun.elapsed() < PATIENCE => {
                    self.pause(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn plug(&self, slot: usize) {
        let node = self.node(slot);
        if let Some(me) = node.identity().member_of {
            self.board.plug(me.node_id, node.inbound());
        }
    }
}

/// The same name is the same request.
pub fn registration(name: &str) -> Request {
    let id = name.bytes().fold(1, |id: u128, byte| id.wrapping_mul(257).wrapping_add(u128::from(byte)));
    Request {
        caller: Caller::Anonymous,
        retry: Some(RetryKey { id: RequestId(id), digest: 7 }),
        action: Action::Register {
            name: UserName::new(name).expect("a name"),
            password: PasswordHash("$argon2id$".into()),
        },
    }
}

pub fn knows(view: &View, name: &str) -> bool {
    view.find_user(&UserName::new(name).expect("a name")).is_some()
}
