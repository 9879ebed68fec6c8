//! Looks at the nodes for the planner, and performs its steps, as the demo and the operator do. It decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_membership::{
    Cluster, ClusterId, Desired, Founding, Incarnation, LeaderView, LogId, Membership, Node, NodeId, Observed, Ordinal,
    Plan, Progress, Reason, Replicas, Running, Step, View, Voters, plan,
};
use carrel_node::raft::identity::MemberOf;
use carrel_node::raft::membership::{ClusterStatus, LogPosition};
use openraft::type_config::TypeConfigExt;
use uuid::Uuid;

use crate::dice::Dice;
use crate::marks::Mark;
use crate::world::{Ending, Rt, World};

/// Between two looks.
const LOOK_EVERY_MS: std::ops::Range<u64> = 100..400;
/// Who does not say who it is within this time is silent for this look.
const LOOK_LIMIT: Duration = Duration::from_millis(300);
/// A step may wait for a change of membership to commit.
const STEP_LIMIT: Duration = Duration::from_secs(4);

pub struct Steward {
    world: Arc<World>,
    dice: Mutex<Dice>,
    shared: Mutex<Shared>,
}

struct Shared {
    desired: Desired,
    record: Record,
    /// The last look found nothing to do.
    is_settled: bool,
    last_plan: String,
}

/// What outlives every volume.
#[derive(Clone, Copy, Debug)]
struct Record {
    founding: Founding,
    running: Running,
}

impl Steward {
    #[must_use]
    pub fn new(world: &Arc<World>, dice: Dice) -> Arc<Self> {
        let size = Replicas::try_from(world.draw.size).expect("only sizes that there are, are drawn");
        let shared = Shared {
            desired: Desired { replicas: size },
            record: Record { founding: Founding::Never, running: Running { count: 0, generation: 0 } },
            is_settled: false,
            last_plan: String::new(),
        };
        Arc::new(Self { world: Arc::clone(world), dice: Mutex::new(dice), shared: Mutex::new(shared) })
    }

    pub fn want(&self, size: u32) {
        let mut shared = self.shared();
        shared.desired = Desired { replicas: Replicas::try_from(size).expect("only sizes that there are are wanted") };
        shared.is_settled = false;
    }

    pub fn wanted(&self) -> u32 {
        self.shared().desired.replicas.count()
    }

    pub fn is_settled(&self) -> bool {
        self.shared().is_settled
    }

    pub fn last_plan(&self) -> String {
        self.shared().last_plan.clone()
    }

    /// Looks, plans, and performs at most one step, again and again until the run is over.
    pub async fn run(self: Arc<Self>) {
        while !self.world.is_over() {
            let observed = self.observe().await;
            let desired = self.shared().desired;
            let plan = plan(&observed, &desired);
            {
                let mut shared = self.shared();
                shared.is_settled = plan == Plan::Settled && shared.desired == desired;
                let said = plan.to_string();
                if said != shared.last_plan {
                    self.world.story.tell(format_args!("steward: {said}"));
                    shared.last_plan = said;
                }
            }
            if let Plan::Next { step, because } = plan {
                match self.perform(&step).await {
                    Some(()) => self.note(&step, &because),
                    // Nobody knows whether it was done: the next look tells.
                    None => self.world.story.tell(format_args!("steward: not done, or not known")),
                }
            }
            let pause = self.dice().millis(LOOK_EVERY_MS);
            Rt::sleep(pause).await;
        }
    }

    async fn observe(&self) -> Observed {
        let record = self.shared().record;
        let mut answers: BTreeMap<Ordinal, Option<ClusterStatus>> = BTreeMap::new();
        let asked = (0..record.running.count).map(|slot| async move {
            let status = self.world.ask(slot, LOOK_LIMIT, |node| async move { node.local_status() });
            (Ordinal(slot), status.await)
        });
        answers.extend(futures_util::future::join_all(asked).await);
        Observed {
            founding: record.founding,
            running: record.running,
            nodes: answers.iter().map(|(at, status)| (*at, who(status.as_ref()))).collect(),
            view: view(answers.values().flatten()),
        }
    }

    /// None: it was not done, or it is not known whether it was.
    async fn perform(&self, step: &Step) -> Option<()> {
        match step {
            Step::Run { count, generation } => self.run_so_many(*count, *generation).await,
            Step::ClaimFounding { ordinal: _, seed, expected, wanted_voters } => {
                let cluster = ClusterId(self.dice().uuid().as_u128());
                let mut shared = self.shared();
                if shared.record.founding != *expected {
                    return None;
                }
                shared.record.founding = Founding::Claimed { cluster, seed: *seed, wanted_voters: *wanted_voters };
                Some(())
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                let (cluster, seed, wanted) =
                    (Uuid::from_u128(cluster.0), Uuid::from_u128(seed.0), wanted_voters.count());
                let founded = move |node: crate::world::Member| async move {
                    node.initialize(cluster, seed, wanted).await.is_ok()
                };
                self.world.ask(ordinal.0, STEP_LIMIT, founded).await?.then_some(())
            }
            Step::RecordFounded { cluster } => {
                self.shared().record.founding = Founding::Done { cluster: *cluster };
                Some(())
            }
            Step::Admit { ordinal, incarnation } => self.admit(*ordinal, *incarnation).await,
            Step::AddLearner { node_id, expected } => {
                let (id, expected) = (node_id.0, position(*expected));
                self.at_leader(move |node| async move { node.add_learner(id, expected).await.is_ok() }).await
            }
            Step::ChangeVoters { voters, expected } => {
                let (ids, expected) = (voters.ids().iter().map(|id| id.0).collect(), position(*expected));
                self.at_leader(move |node| async move { node.change_voters(ids, expected).await.is_ok() }).await
            }
            Step::TransferLeadership { to } => {
                let to = to.0;
                self.at_leader(move |node| async move { node.transfer_leadership(Some(to)).await.is_ok() }).await
            }
            Step::RemoveNode { node_id } => {
                let id = node_id.0;
                self.at_leader(move |node| async move { node.remove_node(id).await.is_ok() }).await
            }
            Step::SetVolumeAside { ordinal, incarnation } => {
                let asked = self.world.ask(ordinal.0, LOOK_LIMIT, |node| async move { node.identity().incarnation });
                if asked.await? != Uuid::from_u128(incarnation.0) {
                    return None;
                }
                self.world.stop(ordinal.0).await;
                self.world.strike(ordinal.0, Ending::Process, Duration::ZERO);
                self.world.empty(ordinal.0);
                Some(())
            }
        }
    }

    async fn run_so_many(&self, count: u32, generation: u64) -> Option<()> {
        let before = self.shared().record.running;
        if before.generation != generation {
            return None;
        }
        if count < before.count {
            let View::Leader(view) = self.observe().await.view else { return None };
            if view.membership.span() > count {
                return None;
            }
        }
        self.shared().record.running = Running { count, generation: generation + 1 };
        for slot in 0..crate::draw::SLOTS {
            self.world.want(slot, slot < count);
        }
        for slot in count..before.count {
            self.world.stop(slot).await;
            // Between the end of one and the next start somebody may have begun it again.
            self.world.strike(slot, Ending::Process, Duration::ZERO);
        }
        Some(())
    }

    async fn admit(&self, ordinal: Ordinal, incarnation: Incarnation) -> Option<()> {
        let (leader, incarnation) = (self.world.leader()?, Uuid::from_u128(incarnation.0));
        let allocate = move |node: crate::world::Member| async move {
            let allocated = node.allocate_node(incarnation, ordinal.0).await.ok()?;
            Some(MemberOf { node_id: allocated.id, ..node.identity().member_of? })
        };
        let place = self.world.ask(leader, STEP_LIMIT, allocate).await??;
        let join =
            move |node: crate::world::Member| async move { node.join(incarnation, ordinal.0, place).await.is_ok() };
        self.world.ask(ordinal.0, STEP_LIMIT, join).await?.then_some(())
    }

    async fn at_leader<F>(&self, step: impl FnOnce(crate::world::Member) -> F + Send) -> Option<()>
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let leader = self.world.leader()?;
        self.world.ask(leader, STEP_LIMIT, step).await?.then_some(())
    }

    fn note(&self, step: &Step, because: &Reason) {
        let marks = &self.world.marks;
        match step {
            Step::Initialize { .. } => marks.hit(Mark::Founded),
            Step::Admit { .. } => marks.hit(Mark::Joined),
            Step::ChangeVoters { .. } => marks.hit(Mark::VotersChanged),
            Step::RemoveNode { .. } => marks.hit(Mark::MemberRemoved),
            Step::SetVolumeAside { .. } => marks.hit(Mark::VolumeSetAside),
            Step::Run { .. }
            | Step::ClaimFounding { .. }
            | Step::RecordFounded { .. }
            | Step::AddLearner { .. }
            | Step::TransferLeadership { .. } => {}
        }
        match because {
            Reason::Grow { .. } => marks.hit(Mark::Grown),
            Reason::Shrink { .. } => marks.hit(Mark::Shrunk),
            Reason::Replace { .. } => marks.hit(Mark::Replaced),
            Reason::TooFewRun { .. }
            | Reason::TooManyRun { .. }
            | Reason::NoClusterAnywhere { .. }
            | Reason::SeedLost { .. }
            | Reason::FoundingClaimed
            | Reason::FirstLed { .. }
            | Reason::ChangeLeftBehind { .. }
            | Reason::LeaderLeaves { .. }
            | Reason::LearnerLost { .. }
            | Reason::BeyondReplicas { .. }
            | Reason::WaitsToJoin { .. }
            | Reason::JoinedNotMember { .. }
            | Reason::IdRemoved { .. } => {}
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("nothing panics while it holds the lock")
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.dice.lock().expect("nothing panics while it holds the lock")
    }
}

fn position(id: LogId) -> LogPosition {
    LogPosition { term: id.term, index: id.index }
}

fn cluster(of: MemberOf) -> Cluster {
    Cluster { id: ClusterId(of.cluster_id.as_u128()), lineage: of.lineage }
}

fn who(status: Option<&ClusterStatus>) -> Node {
    let Some(status) = status else { return Node::Unknown };
    let incarnation = Incarnation(status.identity.incarnation.as_u128());
    match status.identity.member_of {
        Some(me) => Node::Joined { incarnation, cluster: cluster(me), node_id: NodeId(me.node_id) },
        None => Node::Pristine { incarnation },
    }
}

fn view<'a>(answers: impl Iterator<Item = &'a ClusterStatus> + Clone) -> View {
    let claims_to_lead = |status: &&ClusterStatus| {
        status.leader.is_some() && status.identity.member_of.map(|me| me.node_id) == status.leader
    };
    let leader = answers.clone().filter(claims_to_lead).max_by_key(|status| status.term);
    if let Some((status, membership)) = leader.and_then(|status| Some((status, membership(status)?))) {
        let progress = status.members.iter().filter_map(|member| {
            let since_ack_ms = member.since_ack.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            Some((NodeId(member.id), Progress { matched_index: member.matched_index?, since_ack_ms }))
        });
        return View::Leader(LeaderView {
            leader: NodeId(status.leader.unwrap_or_default()),
            term: status.term,
            membership,
            committed: status.is_membership_committed,
            last_log_index: status
                .members
                .iter()
                .filter_map(|member| Some(member.says?.last_log_index))
                .chain(status.last.map(|last| last.index))
                .max()
                .unwrap_or(0),
            progress: progress.collect(),
            removed: status.removed.iter().map(|id| NodeId(*id)).collect(),
            formed: status.is_formed,
        });
    }
    let newest = answers.filter_map(membership).max_by_key(|known| (known.cluster.lineage, known.log_id));
    newest.map_or(View::Unknown, View::Remembered)
}

fn membership(status: &ClusterStatus) -> Option<Membership> {
    let at = status.membership_position?;
    let set = |set: &std::collections::BTreeSet<u64>| set.iter().map(|id| NodeId(*id)).collect();
    let voters = match status.voter_sets.as_slice() {
        [uniform] => Voters::Uniform(set(uniform)),
        [outgoing, incoming] => Voters::Joint { outgoing: set(outgoing), incoming: set(incoming) },
        _ => return None,
    };
    Some(Membership {
        cluster: cluster(status.identity.member_of?),
        log_id: LogId { term: at.term, index: at.index },
        ordinals: status.members.iter().map(|member| (NodeId(member.id), Ordinal(member.ordinal))).collect(),
        voters,
    })
}

impl std::fmt::Debug for Steward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steward").finish_non_exhaustive()
    }
}
