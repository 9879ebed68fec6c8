//! Three replicas, and the words in which the stories speak of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::id::RequestId;
use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, Caller, Request, RetryKey};
use carrel_domain::text::UserName;
use carrel_node::raft::membership::{AdminError, LogPosition};
use carrel_node::raft::node::{Node, OpenError, Opening};
use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::types::{NodeId, Types};
use carrel_node::replica::{Freshness, Replica, View, WriteError};
use openraft::Instant;
use openraft::type_config::TypeConfigExt;
use uuid::Uuid;

use crate::machines::Machines;
use crate::wires::{Switchboard, Wire};

/// Nothing in these stories takes so long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(15);

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
        let mut cluster = Self {
            machines: M::new(),
            board: Switchboard::new(),
            settings,
            nodes: vec![None, None, None],
            incarnations: 0,
        };
        for slot in 0..3 {
            cluster.start(slot).await;
        }
        cluster
    }

    /// Three voters.
    pub async fn formed(settings: Settings) -> Self {
        let cluster = Self::pristine(settings).await;
        cluster.node(0).initialize(CLUSTER, 3).await.expect("a pristine node");
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
        let node = self.open(slot, slot as u32).await.expect("a disk that can be read");
        self.nodes[slot] = Some(node);
        self.plug(slot);
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
    pub fn machine(&self, slot: usize) -> (M::Platform, PathBuf) {
        assert!(self.nodes[slot].is_none(), "it runs");
        self.machines.machine(slot as u32)
    }

    pub fn wipe(&self, slot: usize) {
        self.machines.wipe(slot as u32);
    }

    pub fn break_disk(&self, slot: usize) -> bool {
        self.machines.break_disk(slot as u32)
    }

    /// Begins a founding and gives up on it; whether it was done in time.
    pub async fn founded_within(&self, slot: usize, limit: Duration) -> bool {
        let founding = self.node(slot).initialize(CLUSTER, 3);
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

    pub fn cut(&self, slot: usize) {
        self.board.cut(self.id(slot));
    }

    pub fn mend(&self, slot: usize) {
        self.board.mend(self.id(slot));
    }

    /// The slot of the node that leads, once there is one.
    pub async fn leader(&self) -> usize {
        let leading = || {
            let running = (0..self.nodes.len()).filter(|slot| self.nodes[*slot].is_some());
            let leads = |slot: &usize| self.replica(*slot).leadership().get().is_some();
            // One that was deposed may not know it yet.
            running.filter(leads).max_by_key(|slot| self.replica(*slot).leadership().get())
        };
        self.until("somebody leads", || leading().is_some()).await;
        leading().expect("just seen")
    }

    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..3).find(|slot| *slot != leader && self.nodes[*slot].is_some()).expect("another node runs")
    }

    /// A new incarnation becomes a learner.
    pub async fn take_in(&self, slot: usize) {
        let leader = self.node(self.leader().await);
        let incarnation = self.node(slot).identity().incarnation;
        let allocated = leader.allocate_node(incarnation, slot as u32).await.expect("a leader");
        let again = leader.allocate_node(incarnation, slot as u32).await.expect("a leader");
        assert_eq!(allocated, again, "one id for one incarnation");
        let of = leader.identity().member_of.expect("it leads");
        self.node(slot).join(of.cluster_id, of.lineage, allocated.id).await.expect("a pristine node");
        self.plug(slot);
        leader.add_learner(allocated.id).await.expect("a new member");
        let target = leader.local_status().members[0].says.expect("itself").last_log_index;
        self.until("the learner has caught up", || {
            let applied = self.node(slot).local_status().members.iter().find_map(|member| member.says);
            applied.is_some_and(|says| says.applied_index >= target)
        })
        .await;
    }

    pub async fn make_voters(&self, slots: &[usize]) {
        let voters: BTreeSet<NodeId> = slots.iter().map(|slot| self.id(*slot)).collect();
        let leader = self.node(self.leader().await);
        let position = leader.local_status().membership_position.expect("a membership");
        let outdated = LogPosition { index: position.index - 1, ..position };
        assert_eq!(
            leader.change_voters(voters.clone(), outdated).await,
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
