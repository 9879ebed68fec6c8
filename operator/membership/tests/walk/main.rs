//! Worlds that go wrong in every order, within bounds, and at random beyond them. Whatever happened, the planner's next
//! step keeps the guards, is not refused by the world it looked at, and once the world is calm it comes to rest:
//! settled, or stuck on something that really is lost.

#[path = "../world/mod.rs"]
mod world;

mod model;

use std::collections::BTreeSet;

use carrel_membership::{
    Desired, Founding, NodeId, Observed, Ordinal, Pending, Plan, Problem, Quorum, Replicas, Step, Voters, plan,
};
use proptest::prelude::*;
use world::{MAX_LOOKS, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    /// Look, perform, and let a little time pass.
    Step,
    /// The performer dies in the middle of the step.
    HalfStep,
    Remember,
    /// Perform what is decided on an old look.
    ActOnMemory,
    Want(Replicas),
    Dies(u32),
    Returns(u32),
    LosesVolume(u32),
    OldVolumeBack(u32),
    CutOff(u32),
    Mute(u32),
    Slow(u32),
    Leads(u32),
    RunByHand(u32),
    /// Somebody else begins to let every member vote, and is gone before the second half.
    LeaveJoint,
    Write(u64),
    Calm,
}

struct Walk {
    world: World,
    memory: Option<(Observed, Desired)>,
}

impl Walk {
    fn new(world: World) -> Walk {
        Walk { world, memory: None }
    }

    fn happen(&mut self, event: Event) {
        let world = &mut self.world;
        match event {
            Event::Step => {
                step(world);
                world.advance();
            }
            Event::HalfStep => {
                if let Plan::Next { step, .. } = world.plan() {
                    assert_eq!(world.perform_half(&step), Ok(()), "refused: {step}");
                }
            }
            Event::Remember => self.memory = Some((world.observe(), Desired { replicas: world.wanted })),
            Event::ActOnMemory => {
                if let Some((observed, desired)) = &self.memory
                    && let Plan::Next { step, .. } = plan(observed, desired)
                {
                    // It may be refused and may be unwise by now; what always holds is asserted by the world.
                    let _refused = world.perform(&step);
                }
            }
            Event::Want(replicas) => world.wanted = replicas,
            Event::Dies(at) => world.happen(Ordinal(at), |slot| slot.up = false),
            Event::Returns(at) => world.happen(Ordinal(at), |slot| slot.up = true),
            Event::LosesVolume(at) => world.lose_volume(Ordinal(at)),
            Event::OldVolumeBack(at) => world.restore_volume(Ordinal(at)),
            Event::CutOff(at) => world.happen(Ordinal(at), |slot| slot.cut_off = !slot.cut_off),
            Event::Mute(at) => world.happen(Ordinal(at), |slot| slot.mute = !slot.mute),
            Event::Slow(at) => world.happen(Ordinal(at), |slot| slot.slow = !slot.slow),
            Event::Leads(at) => {
                if let Some(raft) = &world.raft
                    && world.followers().iter().any(|id| raft.voters.contains(*id) && raft.members[id] == Ordinal(at))
                    && Quorum::weakest(&raft.voters, &world.followers()).holds()
                {
                    world.hand_leadership(Ordinal(at));
                }
            }
            Event::RunByHand(count) => world.run_by_hand(count),
            Event::LeaveJoint => {
                if let Some(raft) = &world.raft
                    && raft.members.len() % 2 == 1
                    && Quorum::weakest(&raft.voters, &world.followers()).holds()
                {
                    world.leave_joint(raft.members.keys().copied().collect());
                }
            }
            Event::Write(count) => world.write_entries(count),
            Event::Calm => world.calm(),
        }
    }
}

/// One look and what follows from it, held against the guards. False if there was nothing to do.
fn step(world: &mut World) -> bool {
    let Plan::Next { step, because } = world.plan() else { return false };
    keeps_the_guards(world, &step);
    assert_eq!(world.perform(&step), Ok(()), "refused on the very world that was looked at: {step}, because {because}");
    true
}

/// The guards once more, in other words than the planner's: from who really hears the leader.
fn keeps_the_guards(world: &World, step: &Step) {
    let alive = world.followers();
    match step {
        Step::ChangeVoters { voters, expected } => {
            let raft = world.raft.as_ref().expect("voters belong to a cluster");
            assert_eq!(*expected, raft.log_id);
            let stays = |id: &NodeId| raft.voters.contains(*id) && alive.contains(id);
            let leader_stays = raft.leader.is_some_and(|leader| voters.ids().contains(&leader));
            assert!(leader_stays || !voters.ids().iter().any(stays), "the leader would be removed");
            let (before, after) = (Quorum::weakest(&raft.voters, &alive), Quorum::of(voters.ids(), &alive));
            assert!(before.holds() && after.holds(), "no majority: {before} before, {after} after");
            let spends_last = before.tolerates() > 0 && after.tolerates() == 0;
            assert!(!spends_last || after.voters == 1, "{before} before, {after} after");
        }
        Step::ClaimFounding { .. } | Step::Initialize { .. } => {
            assert!(!matches!(world.founding, Founding::Done { .. }), "a cluster was founded already");
            assert!(!world.raft.as_ref().is_some_and(|raft| raft.formed && held_somewhere(world)), "a cluster serves");
        }
        Step::SetVolumeAside { ordinal, .. } => {
            let raft = world.raft.as_ref().expect("ids are removed by a cluster");
            let (_, id) = world.slots[ordinal].volume.joined.expect("an empty volume needs no setting aside");
            assert!(raft.removed.contains(&id) && !raft.members.contains_key(&id), "a volume that is needed");
        }
        Step::Run { .. }
        | Step::RecordFounded { .. }
        | Step::Admit { .. }
        | Step::AddLearner { .. }
        | Step::TransferLeadership { .. }
        | Step::RemoveNode { .. } => {}
    }
}

/// Some member's volume is under its ordinal, running or not.
fn held_somewhere(world: &World) -> bool {
    world.raft.as_ref().is_some_and(|raft| {
        raft.members.iter().any(|(id, at)| world.slots.get(at).is_some_and(|slot| slot.holds(raft.cluster, *id)))
    })
}

/// From here on nothing goes wrong any more.
fn comes_to_rest(mut world: World) {
    world.calm();
    for _ in 0..MAX_LOOKS {
        let acted = step(&mut world);
        let moved = world.advance();
        if !acted && !moved {
            return rests_rightly(&world);
        }
    }
    panic!("no rest after {MAX_LOOKS} looks; the last plan: {}", world.plan());
}

fn rests_rightly(world: &World) {
    let plan = world.plan();
    let alive = world.present();
    let holds = world.raft.as_ref().is_some_and(|raft| Quorum::weakest(&raft.voters, &alive).holds());
    match &plan {
        Plan::Settled => {
            let raft = world.raft.as_ref().expect("a settled cluster is one");
            let Voters::Uniform(voters) = &raft.voters else { panic!("settled in the middle of a change") };
            let ordinals: BTreeSet<u32> = raft.members.values().map(|at| at.0).collect();
            assert_eq!(ordinals, (0..world.wanted.count()).collect(), "members at other ordinals than wanted");
            assert_eq!(voters, &raft.members.keys().copied().collect::<BTreeSet<NodeId>>(), "not every member votes");
            assert_eq!(voters, &alive, "not every voter is alive");
            assert_eq!(world.running.count, world.wanted.count());
            assert!(raft.formed && matches!(world.founding, Founding::Done { .. }));
        }
        Plan::Stuck(Problem::QuorumLost { .. }) => assert!(!holds, "stuck with a quorum: {plan}"),
        Plan::Stuck(Problem::EveryVolumeLost { .. }) => {
            assert!(world.slots.iter().all(|(at, slot)| at.0 >= world.running.count || slot.volume.joined.is_none()));
        }
        Plan::Stuck(Problem::SeedLost { .. }) => assert!(!holds, "stuck with a quorum: {plan}"),
        // Only these nodes are left of a cluster whose voters are all gone.
        Plan::Stuck(Problem::MembershipLost { .. }) => assert!(!holds, "stuck with a quorum: {plan}"),
        // A founding whose seed was lost leaves volumes behind that know of it; it never served.
        Plan::Stuck(Problem::ForeignVolume { ordinal, found, expected }) => {
            let held = world.slots[ordinal].volume.joined.map(|(cluster, _)| cluster);
            assert!(held == Some(*found) && found.id != *expected, "not foreign: {plan}");
        }
        Plan::Waiting(Pending::NotFormed { .. }) => assert!(world.raft.as_ref().is_some_and(|raft| !raft.formed)),
        Plan::Next { .. } | Plan::Waiting(_) | Plan::Stuck(_) => panic!("no rest: {plan}"),
    }
}

/// How many things go wrong in the exhaustive walk. Two are enough for every pair of a fault and a fault during its
/// repair; three take minutes.
const FAULTS: u32 = 2;

/// Every order of at most [`FAULTS`] faults among the planner's steps, from each beginning.
#[test]
fn every_order_of_two_faults_comes_to_rest() {
    let wishes = [Replicas::One, Replicas::Three, Replicas::Five];
    let mut beginnings = vec![World::empty(Replicas::One), World::empty(Replicas::Three)];
    beginnings.extend(wishes.map(|wanted| World::with_voters(3, wanted)));
    beginnings.push(World::with_voters(5, Replicas::Three));

    let mut seen: BTreeSet<(World, u32)> = BTreeSet::new();
    let mut open: Vec<(World, u32)> = beginnings.into_iter().map(|world| (world, FAULTS)).collect();
    while let Some((world, faults_left)) = open.pop() {
        if !seen.insert((world.clone(), faults_left)) {
            continue;
        }
        comes_to_rest(world.clone());
        let then = |event| {
            let mut walk = Walk::new(world.clone());
            walk.happen(event);
            walk.world
        };
        open.push((then(Event::Step), faults_left));
        if faults_left == 0 {
            continue;
        }
        for ordinal in 0..world.running.count {
            let faults = [Event::Dies, Event::LosesVolume, Event::OldVolumeBack, Event::CutOff, Event::Mute];
            open.extend(faults.map(|fault| (then(fault(ordinal)), faults_left - 1)));
        }
        open.extend(wishes.map(|wanted| (then(Event::Want(wanted)), faults_left - 1)));
        open.push((then(Event::HalfStep), faults_left - 1));
    }
    println!("{} worlds", seen.len());
    assert!(seen.len() > 10_000, "the walk did not go far: {} worlds", seen.len());
}

fn event() -> impl Strategy<Value = Event> {
    let ordinal = 0u32..7;
    let replicas = prop::sample::select(vec![Replicas::One, Replicas::Three, Replicas::Five, Replicas::Seven]);
    prop_oneof![
        20 => Just(Event::Step),
        2 => Just(Event::HalfStep),
        2 => Just(Event::Remember),
        2 => Just(Event::ActOnMemory),
        2 => replicas.prop_map(Event::Want),
        1 => ordinal.clone().prop_map(Event::Dies),
        2 => ordinal.clone().prop_map(Event::Returns),
        1 => ordinal.clone().prop_map(Event::LosesVolume),
        1 => ordinal.clone().prop_map(Event::OldVolumeBack),
        1 => ordinal.clone().prop_map(Event::CutOff),
        1 => ordinal.clone().prop_map(Event::Mute),
        1 => ordinal.clone().prop_map(Event::Slow),
        1 => ordinal.prop_map(Event::Leads),
        1 => (0u32..=7).prop_map(Event::RunByHand),
        1 => Just(Event::LeaveJoint),
        1 => (1u64..10_000).prop_map(Event::Write),
        1 => Just(Event::Calm),
    ]
}

/// Random courses; `CARREL_WALK_CASES=1000000` walks for an hour.
fn cases() -> u32 {
    let asked = std::env::var("CARREL_WALK_CASES").ok();
    asked.map_or(2000, |asked| asked.parse().expect("CARREL_WALK_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Many faults, in no particular order, with steps decided on old looks in between.
    #[test]
    fn any_course_of_events_comes_to_rest(events in prop::collection::vec(event(), 0..120), voters in 0u32..4) {
        let world = match voters {
            0 => World::empty(Replicas::Three),
            count => World::with_voters(count * 2 - 1, Replicas::Three),
        };
        let mut walk = Walk::new(world);
        for event in events {
            walk.happen(event);
        }
        comes_to_rest(walk.world);
    }
}
