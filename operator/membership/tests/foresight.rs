//! What is foreseen comes true, as long as nothing goes wrong.

#[allow(dead_code, reason = "nothing goes wrong here")]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use carrel_membership::{
    Desired, End, Fleet, Foreseen, Node, Observed, Ordinal, Pending, Plan, Pod, PodId, Replicas, foresee,
};
use world::{MAX_LOOKS, World};

/// Without numbers: ids and places in the log are made up.
fn shape(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// What the planner does with the world itself, looking again after every step.
fn live(world: &mut World) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..MAX_LOOKS {
        match world.plan() {
            Plan::Next { step, because } => {
                steps.push(shape(&format!("{step}, because {because}")));
                world.perform(&step).expect("the world is as it was looked at");
            }
            Plan::Settled => return steps,
            Plan::Waiting(_) | Plan::Stuck(_) => {}
        }
        world.advance();
    }
    panic!("not settled: {steps:#?}");
}

fn foreseen(observed: Observed, wanted: Replicas) -> Vec<String> {
    let course = foresee(observed, &Desired { replicas: wanted }, None);
    assert_eq!(course.end, End::Settled, "{:#?}", course.acts);
    let steps = course.acts.iter().filter(|act| !matches!(act, Foreseen::Await(_)));
    steps.map(|act| shape(&act.to_string())).collect()
}

#[test]
fn every_change_of_size_goes_as_foreseen() {
    let sizes = [Replicas::One, Replicas::Three, Replicas::Five, Replicas::Seven];
    for from in sizes {
        for to in sizes {
            let mut world = World::with_voters(from.count(), to);
            let expected = foreseen(world.observe(), to);
            assert_eq!(expected, live(&mut world), "from {} to {}", from.count(), to.count());
        }
    }
}

#[test]
fn a_founding_goes_as_foreseen() {
    for wanted in [Replicas::One, Replicas::Three, Replicas::Seven] {
        let mut world = World::empty(wanted);
        let expected = foreseen(world.observe(), wanted);
        assert_eq!(expected, live(&mut world), "{}", wanted.count());
    }
}

#[test]
fn what_is_silent_ends_the_course() {
    let mut observed = World::with_voters(3, Replicas::Three).observe();
    observed.nodes.insert(Ordinal(2), Node::Unknown);
    let course = foresee(observed, &Desired { replicas: Replicas::Three }, None);
    assert!(course.acts.is_empty());
    assert!(matches!(course.end, End::Waiting(Pending::Silent { .. })), "{}", course.end);
}

#[test]
fn a_new_image_restarts_everybody_once_and_the_leader_last() {
    let observed = World::with_voters(5, Replicas::Five).observe();
    let pod = |at: u32| Pod { id: PodId(u128::MAX - u128::from(at)), is_outdated: true, is_running: true };
    let pods: BTreeMap<Ordinal, Pod> = (0..5).map(|at| (Ordinal(at), pod(at))).collect();
    let fleet = Fleet { pods, away: BTreeSet::new(), at_once: 1 };
    let course = foresee(observed, &Desired { replicas: Replicas::Five }, Some(fleet));
    assert_eq!(course.end, End::Settled);
    assert_eq!(course.leader_changes, 1);
    let restarted: Vec<u32> = course
        .acts
        .iter()
        .filter_map(|act| match act {
            Foreseen::Restart { ordinal, .. } => Some(ordinal.0),
            _ => None,
        })
        .collect();
    assert_eq!(restarted.len(), 5);
    assert_eq!(restarted.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(restarted.last(), Some(&0), "it led, and node 1 is at ordinal 0");
    assert!(matches!(course.acts[4], Foreseen::HandOver { .. }), "{:#?}", course.acts);
}
