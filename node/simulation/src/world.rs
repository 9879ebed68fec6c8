//! The machines, what runs on them, and whoever starts it again when it ends: the part of a kubelet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use carrel_node::projection::Projection;
use carrel_node::raft::disk::simulated::{SimulatedDisk, Survival};
use carrel_node::raft::identity::IdentityError;
use carrel_node::raft::membership::{ClusterStatus, Role};
use carrel_node::raft::node::{Node, OpenError, Opening};
use carrel_node::raft::running::StartError;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::snapshots::OpenSnapshotsError;
use carrel_node::raft::types::{NodeId, Types};
use carrel_node::raft::wal::{LogOptions, OpenLogError};
use openraft::type_config::TypeConfigExt;
use prometheus::Registry;

use crate::dice::Dice;
use crate::draw::{Draw, SLOTS};
use crate::invariants::{SeenVote, Sight, Status};
use crate::machine::{Clock, Machine, Temper, TrueTime, disk};
use crate::marks::{Mark, Marks};
use crate::network::{Network, Slot, Wire};
use crate::postgres::Server;
use crate::process::Process;
use crate::runtime::Processes;
use crate::story::Story;
use crate::witness::{MOUNT, Witness};

pub type Rt = Types<Processes>;
pub type Member = Node<Machine, Wire>;

/// Between the end of a process and its next start.
const RESTART_MS: std::ops::Range<u64> = 20..800;

/// How often nodes are looked at from outside.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longer than any run: nothing leaves the cluster for the record.
const HISTORY_DAYS: u32 = 3_650;

/// Whoever asks a node to end kills it after so long.
const STOP_LIMIT: Duration = Duration::from_secs(4);

pub struct World {
    pub draw: Draw,
    pub time: TrueTime,
    pub marks: Arc<Marks>,
    pub story: Arc<Story>,
    pub witness: Arc<Witness>,
    pub network: Arc<Network>,
    /// Where the relational record is kept, if one is.
    pub postgres: Arc<Server>,
    machines: Vec<Mutex<Room>>,
    dice: Mutex<Dice>,
    /// Members whose volume is gone for good.
    lost: Mutex<BTreeSet<NodeId>>,
    is_over: AtomicBool,
}

/// One slot: a machine, and what runs on it.
struct Room {
    disk: SimulatedDisk,
    temper: Arc<Temper>,
    clock: Arc<Clock>,
    /// Something shall run here.
    is_wanted: bool,
    /// Nothing starts here before.
    down_until: Duration,
    life: u64,
    running: Option<Running>,
    /// Of the volume that lies here, as far as it was ever a member.
    node_id: Option<NodeId>,
}

#[derive(Clone)]
struct Running {
    process: Arc<Process>,
    /// None while it opens its volume.
    node: Option<Member>,
    projection: Option<Projection>,
    life: u64,
}

/// How a process ends, and what becomes of what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The machine goes on: what was written is read, though it may not last.
    Process,
    Power(Survival),
}

impl World {
    #[must_use]
    pub fn new(draw: Draw, time: TrueTime, marks: Arc<Marks>, story: Arc<Story>) -> Arc<Self> {
        let mut dice = Dice::of(draw.seed);
        let witness = Witness::new(time, &marks, &story);
        let network = Network::new(&draw, dice.fork(1), &marks, &story, &witness);
        let postgres = Server::new(dice.fork(2), draw.commit_breaks_permille, &marks, &story, &witness);
        let machines = (0..SLOTS)
            .map(|slot| {
                let temper = Arc::new(Temper::new(draw.sync_us, dice.fork(u64::from(slot))));
                let clock = Arc::new(Clock::default());
                clock.set(draw.clock_offsets_us[slot as usize]);
                Mutex::new(Room {
                    disk: disk(&temper),
                    temper,
                    clock,
                    is_wanted: false,
                    down_until: Duration::ZERO,
                    life: 0,
                    running: None,
                    node_id: None,
                })
            })
            .collect();
        if draw.wrong_clock.is_some() {
            marks.hit(Mark::ClockWrong);
        }
        Arc::new(Self {
            draw,
            time,
            marks,
            story,
            witness,
            network,
            postgres,
            machines,
            dice: Mutex::new(dice),
            lost: Mutex::default(),
            is_over: AtomicBool::new(false),
        })
    }

    /// Starts what shall run, and starts it again when it ends; until the run is over.
    pub async fn supervise(self: Arc<Self>) {
        while !self.is_over() {
            for slot in 0..SLOTS {
                let is_due = {
                    let room = self.room(slot);
                    room.is_wanted && room.running.is_none() && room.down_until <= self.time.elapsed()
                };
                if is_due {
                    self.start(slot);
                }
            }
            self.look();
            Rt::sleep(LOOK_EVERY).await;
        }
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Nothing runs any more, and what ran has let go of everything.
    pub async fn shut(&self) {
        self.end();
        for slot in 0..SLOTS {
            self.strike(slot, Ending::Process, Duration::ZERO);
        }
        Rt::sleep(LOOK_EVERY).await;
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            heartbeat_ms: self.draw.heartbeat_ms,
            election_min_ms: self.draw.election_min_ms,
            election_max_ms: self.draw.election_max_ms,
            snapshot_log_bytes: self.draw.snapshot_log_bytes,
            snapshot_check: self.draw.snapshot_check,
            log: LogOptions { segment_bytes: self.draw.segment_bytes },
            ..Settings::default()
        }
    }

    fn start(self: &Arc<Self>, slot: Slot) {
        let hesitates = self.draw.hesitates_permille;
        let (process, drawn_incarnation) = {
            let mut dice = self.dice();
            (Process::new(dice.fork(7), hesitates), dice.uuid())
        };
        let (machine, life) = {
            let mut room = self.room(slot);
            room.life += 1;
            let machine = Machine {
                process: Arc::clone(&process),
                disk: room.disk.clone(),
                clock: Arc::clone(&room.clock),
                time: self.time,
            };
            room.running =
                Some(Running { process: Arc::clone(&process), node: None, projection: None, life: room.life });
            (machine, room.life)
        };
        self.story.tell(format_args!("machine {slot} starts"));
        let (world, disk) = (Arc::clone(self), machine.disk.clone());
        let opening =
            Opening { mount: PathBuf::from(MOUNT), ordinal: slot, drawn_incarnation, settings: self.settings() };
        let owner = Arc::clone(&process);
        process.spawn(async move {
            let becoming = Arc::clone(&world);
            let make_peers = move |me: carrel_node::raft::identity::MemberOf| {
                becoming.room(slot).node_id = Some(me.node_id);
                becoming.witness.lies_on(me.node_id, disk.clone());
                becoming.network.wire(slot, me)
            };
            world.witness.starts(&machine.disk).await;
            match Node::open(machine, opening, make_peers).await {
                Ok(node) => world.runs(slot, life, &owner, node),
                Err(error) => world.does_not_open(slot, life, &error),
            }
        });
    }

    fn runs(self: &Arc<Self>, slot: Slot, life: u64, process: &Arc<Process>, node: Member) {
        {
            let mut room = self.room(slot);
            let Some(running) = room.running.as_mut().filter(|running| running.life == life) else { return };
            running.node = Some(node.clone());
            if self.draw.has_record {
                let kept = Projection::of(node.clone(), self.postgres.from(slot), HISTORY_DAYS, &Registry::new());
                let (projection, work) = kept.expect("nobody else registers metrics there");
                running.projection = Some(projection);
                process.spawn(work);
            }
        }
        self.network.plug(slot, Arc::clone(process), &node);
        // What was damaged of it, it can do without.
        self.find_again(slot);
        if node.identity().member_of.is_some() {
            let snapshots = self.disk(slot).files().into_iter().filter(|path| is_snapshot(path)).count();
            self.marks.hit(if snapshots > 0 { Mark::RestartedFromSnapshot } else { Mark::RestartedFromLog });
        }
        let (world, failing) = (Arc::clone(self), node.clone());
        process.spawn(async move {
            let failure = failing.failed().await;
            world.story.tell(format_args!("machine {slot}: the process ends: {failure}"));
            // By somebody else: what ends a process is not a part of it.
            drop(spawn_outside(async move { world.stop_running(slot, life, Ending::Process) }));
        });
        process.spawn(follow(Arc::clone(self), slot, node));
    }

    fn does_not_open(self: &Arc<Self>, slot: Slot, life: u64, error: &OpenError) {
        self.story.tell(format_args!("machine {slot}: {error}"));
        let is_damaged = match error {
            OpenError::Identity(
                IdentityError::Unreadable { .. }
                | IdentityError::UnknownVersion { .. }
                | IdentityError::NotEmpty { .. }
                | IdentityError::Unused { .. },
            )
            | OpenError::Start(
                StartError::Log(
                    OpenLogError::Corrupt { .. }
                    | OpenLogError::Missing { .. }
                    | OpenLogError::ForeignSegment { .. }
                    | OpenLogError::UnknownVersion { .. },
                )
                | StartError::Snapshots(_)
                | StartError::Replay(_),
            ) => !is_io(error),
            OpenError::Identity(
                IdentityError::Io { .. } | IdentityError::InUse { .. } | IdentityError::AlreadyMember { .. },
            )
            | OpenError::Start(
                StartError::Settings(_) | StartError::Log(OpenLogError::Io { .. }) | StartError::Misplaced { .. },
            ) => false,
        };
        let world = Arc::clone(self);
        let text = error.to_string();
        drop(spawn_outside(async move {
            world.stop_running(slot, life, Ending::Process);
            if is_damaged {
                let node = world.room(slot).node_id;
                if node.is_some_and(|node| world.lost().contains(&node)) {
                    world.marks.hit(Mark::DamageFound);
                    world.empty(slot);
                } else {
                    let how = format!("the volume of machine {slot} does not open, though nothing damaged it: {text}");
                    world.witness.accuse("what a crash leaves can be opened", how);
                }
            }
        }));
    }

    /// Ends what runs in this slot, if it still is in that life.
    fn stop_running(&self, slot: Slot, life: u64, ending: Ending) {
        let is_same = self.room(slot).running.as_ref().is_some_and(|running| running.life == life);
        if is_same {
            self.strike(slot, ending, Duration::ZERO);
        }
    }

    /// Whatever runs here ends between two steps, and stays down for so long at least.
    pub fn strike(&self, slot: Slot, ending: Ending, down: Duration) {
        let restart = self.dice().millis(RESTART_MS);
        let mut room = self.room(slot);
        self.network.unplug(slot);
        if let Some(running) = room.running.take() {
            running.process.kill();
        }
        room.disk = match ending {
            Ending::Process => room.disk.kill(),
            Ending::Power(survival) => room.disk.crash(survival),
        };
        room.down_until = self.time.elapsed() + restart + down;
        if let Some(node) = room.node_id {
            self.witness.lies_on(node, room.disk.clone());
        }
    }

    /// Asks it to end, as an orderly restart does.
    pub async fn stop(&self, slot: Slot) {
        let Some(running) = self.room(slot).running.clone() else { return };
        if let Some(node) = running.node {
            let stopped = running.process.call(async move { node.stop().await });
            // Who does not end in time is killed.
            let _ = Rt::timeout(STOP_LIMIT, stopped).await;
        }
        self.stop_running(slot, running.life, Ending::Process);
    }

    /// An empty disk takes the place of the one here.
    pub fn empty(&self, slot: Slot) {
        let mut room = self.room(slot);
        assert!(room.running.is_none(), "nothing runs on a disk that is taken away");
        room.disk = disk(&room.temper);
        room.node_id = None;
    }

    /// What is there when nothing runs, for whoever damages it.
    pub fn disk_at_rest(&self, slot: Slot) -> Option<SimulatedDisk> {
        let room = self.room(slot);
        room.running.is_none().then(|| room.disk.clone())
    }

    pub fn disk(&self, slot: Slot) -> SimulatedDisk {
        self.room(slot).disk.clone()
    }

    pub fn temper(&self, slot: Slot) -> Arc<Temper> {
        Arc::clone(&self.room(slot).temper)
    }

    pub fn clock(&self, slot: Slot) -> Arc<Clock> {
        Arc::clone(&self.room(slot).clock)
    }

    pub fn want(&self, slot: Slot, is_wanted: bool) {
        self.room(slot).is_wanted = is_wanted;
    }

    pub fn is_wanted(&self, slot: Slot) -> bool {
        self.room(slot).is_wanted
    }

    /// Machines with a node that is open.
    pub fn running(&self) -> Vec<Slot> {
        let runs = |slot: &Slot| self.node(*slot).is_some();
        (0..SLOTS).filter(runs).collect()
    }

    pub fn wanted(&self) -> Vec<Slot> {
        (0..SLOTS).filter(|slot| self.is_wanted(*slot)).collect()
    }

    /// To be asked of directly, from outside: as a debugger would.
    pub fn node(&self, slot: Slot) -> Option<(Arc<Process>, Member)> {
        let room = self.room(slot);
        let running = room.running.as_ref()?;
        Some((Arc::clone(&running.process), running.node.clone()?))
    }

    pub fn projection(&self, slot: Slot) -> Option<Projection> {
        self.room(slot).running.as_ref()?.projection.clone()
    }

    pub fn process(&self, slot: Slot) -> Option<Arc<Process>> {
        self.room(slot).running.as_ref().map(|running| Arc::clone(&running.process))
    }

    pub fn node_id(&self, slot: Slot) -> Option<NodeId> {
        self.room(slot).node_id
    }

    /// Asks a node as a client or a performer does; none if nobody answers in time.
    pub async fn ask<T, F>(&self, slot: Slot, limit: Duration, question: impl FnOnce(Member) -> F + Send) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (process, node) = self.node(slot)?;
        let asked = process.call(question(node));
        Rt::timeout(limit, asked).await.ok().flatten()
    }

    /// The slot of a node that leads, the newest first.
    pub fn leader(&self) -> Option<Slot> {
        let leads = |slot: Slot| self.node(slot)?.1.replica().leadership().get().map(|leading| (leading, slot));
        (0..SLOTS).filter_map(leads).max().map(|(_, slot)| slot)
    }

    /// May this volume be lost? Only if, of every voter set that anybody knows of, less than half would be lost then.
    pub fn lose(&self, slot: Slot) -> bool {
        let Some(node) = self.node_id(slot) else { return true };
        let mut lost = self.lost().clone();
        lost.insert(node);
        let views: Vec<ClusterStatus> =
            self.running().into_iter().filter_map(|slot| Some(self.node(slot)?.1.local_status())).collect();
        let is_known = views.iter().any(|view| view.is_formed && !view.voter_sets.is_empty());
        // A set that changes right now is not known to everybody.
        let is_settled = views.iter().all(|view| view.voter_sets.len() <= 1 && view.is_membership_committed);
        let newest = views.iter().map(|view| view.membership_position).max();
        let is_one = views.iter().all(|view| Some(view.membership_position) == newest);
        let is_borne = views.iter().all(|view| {
            view.voter_sets.iter().all(|set| set.intersection(&lost).count() <= (set.len().max(1) - 1) / 2)
        });
        let everybody = views.iter().flat_map(|view| &view.members);
        let no_learner = everybody.clone().all(|member| member.role != Role::Learner);
        if is_known && is_settled && is_one && is_borne && no_learner {
            *self.lost() = lost;
            return true;
        }
        false
    }

    /// What was thought lost is not.
    pub fn find_again(&self, slot: Slot) {
        if let Some(node) = self.node_id(slot) {
            self.lost().remove(&node);
        }
    }

    /// Every node is looked at, without its knowing.
    fn look(&self) {
        for slot in 0..SLOTS {
            let Some((_, node)) = self.node(slot) else { continue };
            let life = self.room(slot).life;
            let figures = node.figures();
            let Some(id) = figures.node_id else { continue };
            let known = node.local_status();
            let vote = known.vote.map(|vote| SeenVote { term: vote.term, to: vote.node_id, leads: vote.committed });
            self.witness.see(&Sight::Volume { of: id, incarnation: node.identity().incarnation.as_u128() });
            // What a node says before it has begun is nothing.
            if figures.term == 0 {
                continue;
            }
            let status = Status {
                term: figures.term,
                voted_for: vote,
                last: figures.last_log_index,
                committed: figures.commit_index,
                applied: figures.applied_index,
                snapshot: figures.snapshot_index,
                purged: figures.purged_index,
            };
            if status.snapshot > 0 {
                self.marks.hit(Mark::SnapshotWritten);
            }
            if status.purged > 0 {
                self.marks.hit(Mark::LogPurged);
            }
            self.witness.status(id, life, status);
            if known.leader == Some(id) {
                self.witness.see(&Sight::Voters { of: id, term: known.term, sets: &known.voter_sets });
            }
            self.witness.see(&Sight::Shown { of: id, applied: status.applied, shown: node.replica().changes().get() });
        }
    }

    fn room(&self, slot: Slot) -> MutexGuard<'_, Room> {
        self.machines[slot as usize].lock().expect("nothing panics while it holds the lock")
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.lost.lock().expect("nothing panics while it holds the lock")
    }

    pub fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().expect("nothing panics while it holds the lock")
    }
}

/// What this node applies, as soon as it is to be seen on it.
async fn follow(world: Arc<World>, slot: Slot, node: Member) {
    let replica = node.replica();
    let mut changes = replica.changes();
    loop {
        if let Some(id) = world.node_id(slot) {
            world.witness.applied(id, &replica.view());
        }
        if !changes.changed().await {
            return;
        }
    }
}

/// A task of nobody.
pub fn spawn_outside<F>(future: F) -> <openraft_rt_sim::SimRuntime as openraft_rt::AsyncRuntime>::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    use openraft_rt::AsyncRuntime;
    openraft_rt_sim::SimRuntime::spawn(future)
}

/// One that is finished.
fn is_snapshot(path: &Path) -> bool {
    let is_among_them = path.parent().is_some_and(|folder| folder.ends_with("snapshots"));
    is_among_them && path.extension().is_some_and(|extension| extension == "snapshot")
}

/// Whether a disk failed, rather than what was on it.
fn is_io(error: &OpenError) -> bool {
    match error {
        OpenError::Start(StartError::Snapshots(OpenSnapshotsError::Io { .. })) => true,
        OpenError::Start(StartError::Replay(why)) => {
            ["no power", "disk is full", "could not write"].iter().any(|failed| why.contains(failed))
        }
        _ => false,
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("draw", &self.draw).finish_non_exhaustive()
    }
}
