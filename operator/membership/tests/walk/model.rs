//! The same worlds in the hands of a model checker, with a memory: an operator may look, be overtaken by what happens,
//! and act on what it saw. Every state within reach keeps the promises, and comes to rest once nothing goes wrong.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;

use carrel_membership::{Desired, Observed, Plan, Problem, Replicas, Voters};
use stateright::{Checker, Model, Property};

use crate::world::{MAX_LOOKS, World};
use crate::{Event, Walk, rests_rightly, step};

/// What may go wrong between the steps; looking and acting on it later counts as well.
const FAULTS: u8 = 4;

/// Reached, some of them more than once: over a million different ones. `CARREL_MODEL_STATES=20000000` goes further.
const STATES: usize = 2_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Course {
    world: World,
    memory: Option<(Observed, Desired)>,
    faults_left: u8,
}

/// Worlds of which it is known that they come to rest.
#[derive(Default)]
struct Courses {
    resting: Mutex<BTreeSet<u64>>,
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

impl Courses {
    /// Panics with the last plan if it does not.
    fn comes_to_rest(&self, mut world: World) -> bool {
        world.calm();
        let mut way = Vec::new();
        for _ in 0..MAX_LOOKS {
            let here = fingerprint(&world);
            if self.resting.lock().expect("nobody panics in here").contains(&here) {
                break;
            }
            way.push(here);
            let acted = step(&mut world);
            let moved = world.advance();
            if !acted && !moved {
                rests_rightly(&world);
                break;
            }
        }
        assert!(way.len() < MAX_LOOKS, "no rest after {MAX_LOOKS} looks; the last plan: {}", world.plan());
        self.resting.lock().expect("nobody panics in here").extend(way);
        true
    }
}

impl Model for Courses {
    type State = Course;
    type Action = Event;

    fn init_states(&self) -> Vec<Course> {
        let begin = |world| Course { world, memory: None, faults_left: FAULTS };
        let mut beginnings = vec![begin(World::empty(Replicas::One)), begin(World::empty(Replicas::Three))];
        beginnings.extend([1, 3, 5].map(|count| begin(World::with_voters(count, Replicas::Three))));
        beginnings
    }

    fn actions(&self, course: &Course, actions: &mut Vec<Event>) {
        actions.push(Event::Step);
        if course.memory.is_some() {
            actions.push(Event::ActOnMemory);
        }
        if course.faults_left == 0 {
            return;
        }
        for ordinal in 0..course.world.running.count {
            let faults = [Event::Dies, Event::LosesVolume, Event::OldVolumeBack, Event::CutOff, Event::Mute];
            actions.extend(faults.map(|fault| fault(ordinal)));
        }
        actions.extend([Replicas::One, Replicas::Three, Replicas::Five].map(Event::Want));
        actions.extend([Event::HalfStep, Event::Remember, Event::LeaveJoint]);
    }

    fn next_state(&self, course: &Course, event: Event) -> Option<Course> {
        let Course { world, memory, faults_left } = course.clone();
        let mut walk = Walk { world, memory };
        walk.happen(event);
        if event == Event::ActOnMemory {
            walk.memory = None;
        }
        let is_fault = !matches!(event, Event::Step | Event::ActOnMemory);
        let next = Course { world: walk.world, memory: walk.memory, faults_left: faults_left - u8::from(is_fault) };
        (next.world != course.world || next.memory != course.memory).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every uniform voter set is odd, and of members", |_, course: &Course| {
                let Some(raft) = &course.world.raft else { return true };
                let is_odd = match &raft.voters {
                    Voters::Uniform(voters) => voters.len() % 2 == 1,
                    Voters::Joint { .. } => true,
                };
                is_odd && raft.voters.sets().iter().all(|set| set.iter().all(|id| raft.members.contains_key(id)))
            }),
            Property::always("no id is used twice", |_, course: &Course| {
                let Some(raft) = &course.world.raft else { return true };
                let mut ids: Vec<_> = raft.allocated.values().map(|(id, _)| *id).collect();
                ids.sort_unstable();
                let is_unique = ids.windows(2).all(|pair| pair[0] != pair[1]);
                is_unique && raft.members.keys().all(|id| !raft.removed.contains(id))
            }),
            Property::always("once the world is calm it comes to rest", |courses: &Courses, course: &Course| {
                courses.comes_to_rest(course.world.clone())
            }),
            Property::sometimes("it settles", |_, course: &Course| {
                course.faults_left == 0 && course.world.plan() == Plan::Settled
            }),
            Property::sometimes("a majority is lost", |_, course: &Course| {
                matches!(course.world.plan(), Plan::Stuck(Problem::QuorumLost { .. }))
            }),
        ]
    }
}

#[test]
fn no_world_in_reach_breaks_a_promise() {
    let asked = std::env::var("CARREL_MODEL_STATES").ok();
    let states = asked.map_or(STATES, |asked| asked.parse().expect("CARREL_MODEL_STATES is a number"));
    let checker = Courses::default().checker().target_state_count(states).spawn_dfs().join();
    checker.assert_properties();
    let (unique, all) = (checker.unique_state_count(), checker.state_count());
    let depth = checker.max_depth();
    println!("{unique} states explored, reached {all} times, depth {depth}, 0 violations");
    if let Ok(file) = std::env::var("CARREL_REPORT") {
        let rows =
            format!("| different states explored | {unique} | 1000000 |\n| reached, some more than once | {all} | |");
        let rows = format!("{rows}\n| depth | {depth} | |\n| violations | 0 | 0 |\n");
        std::fs::write(file, format!("| planner | measured | limit |\n|---|---|---|\n{rows}\n")).expect("written");
    }
    assert!(unique * 2 > states, "the search went over the same states again and again: {unique} of {all}");
}
