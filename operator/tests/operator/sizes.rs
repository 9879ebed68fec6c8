//! Changes of size that meet trouble, and operators that were away or saw too late.

use std::collections::BTreeSet;
use std::sync::Arc;

use carrel_operator::crd::CarrelCluster;
use carrel_operator::reconcile::reconcile;
use kube::core::DeserializeGuard;
use serde_json::json;

use crate::world::{NAME, NAMESPACE, World, wanted};

fn ordinals(world: &World) -> BTreeSet<u32> {
    world.nodes.voters().into_keys().collect()
}

fn want(world: &World, replicas: i32) {
    world.change(|spec| spec["replicas"] = json!(replicas));
}

#[tokio::test]
async fn one_three_five_three_one_with_the_leader_among_those_who_go() {
    let mut world = World::settled(1).await;
    let mut ids: BTreeSet<u64> = world.nodes.voters().into_values().collect();
    for replicas in [3, 5, 3, 1] {
        let last = ordinals(&world).into_iter().max().expect("there are some");
        world.nodes.lead(last);
        want(&world, replicas);
        world.settle().await;
        let expected = u32::try_from(replicas).expect("a few");
        assert_eq!(ordinals(&world), (0..expected).collect());
        ids.extend(world.nodes.voters().into_values());
    }
    assert_eq!(ids.len(), 5, "each volume has had one id: {ids:?}");
}

#[tokio::test]
async fn a_pod_that_finds_no_machine_is_given_up_in_time_and_the_voters_stay_who_they_are() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    world.unfit(4, true);
    want(&world, 5);
    world.run(12).await;
    assert!(world.decision().contains("kubectl describe pod r-4"), "{}", world.decision());
    assert_eq!(world.nodes.voters(), before);
    world.advance(901);
    let told = world.run(12).await;
    assert!(told.iter().any(|why| why.contains("5 replicas are given up and 3 stay")), "{told:#?}");
    assert_eq!((world.set()["spec"]["replicas"].as_u64(), world.pods().len()), (Some(3), 3));
    assert_eq!((world.nodes.voters(), world.nodes.members().len()), (before.clone(), 3));
    assert_eq!(world.condition("Progressing"), ("False".to_owned(), "DeadlineExceeded".to_owned()));
    assert_eq!(world.condition("ScaleComplete"), ("False".to_owned(), "ScalingFailed".to_owned()));
    assert!(world.is("Available", "True") && world.is("Ready", "False"));
    world.run(5).await;
    assert_eq!(world.set()["spec"]["replicas"], 3, "it is not tried again by itself");

    // Somebody makes room and says so.
    world.unfit(4, false);
    want(&world, 3);
    world.settle().await;
    assert!(world.status().size.is_none());
    want(&world, 5);
    world.settle().await;
    assert_eq!(ordinals(&world), (0..5).collect());
}

#[tokio::test]
async fn another_wish_in_the_middle_of_growing_is_followed_before_and_after_the_voters_have_changed() {
    for passes in 1..16 {
        let mut world = World::settled(3).await;
        let before = world.nodes.voters();
        want(&world, 5);
        world.run(passes).await;
        let has_changed = world.nodes.voters().len() == 5;
        want(&world, 3);
        world.settle().await;
        assert_eq!(world.nodes.voters(), before, "after {passes} passes, changed: {has_changed}");
        assert_eq!(world.pods().len(), 3);
        if has_changed {
            return;
        }
    }
    panic!("the voters never changed");
}

#[tokio::test]
async fn nobody_votes_less_while_one_who_stays_is_behind_and_an_event_says_why() {
    let mut world = World::settled(5).await;
    world.nodes.lag(1, true);
    want(&world, 3);
    world.run(5).await;
    assert_eq!(world.nodes.voters().len(), 5);
    assert!(world.decision().contains("guard G2 (slack) wants 3 healthy of 3 voters, there are 2"));
    let events = world.api.all("events");
    assert!(events.iter().any(|event| event["note"].as_str().is_some_and(|note| note.contains("guard G2"))));
    world.nodes.lag(1, false);
    world.settle().await;
    assert_eq!(world.nodes.voters().len(), 3);
}

#[tokio::test]
async fn an_operator_that_was_away_for_ten_minutes_catches_up() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    for _ in 0..10 {
        // Somebody drains, deletes and loses what they can without it.
        for pod in ["r-0", "r-1", "r-2"] {
            world.api.remove("pods", NAMESPACE, pod);
        }
        world.tick();
        world.advance(60);
    }
    world.lose_volume(2);
    want(&world, 5);
    world.restart_operator();
    world.settle().await;
    let after = world.nodes.voters();
    assert_eq!(ordinals(&world), (0..5).collect());
    assert_eq!((before[&0], before[&1]), (after[&0], after[&1]));
    assert_ne!(before[&2], after[&2]);
}

/// A watch that is late, or an API server that answers from its past.
#[tokio::test]
async fn an_operator_that_sees_an_old_object_does_nothing_that_matters() {
    let mut world = World::with(wanted(3)).await;
    let mut past = vec![world.object()];
    for _ in 0..12 {
        world.pass().await.expect("a pass");
        past.push(world.object());
    }
    world.settle().await;
    want(&world, 5);
    world.run(3).await;
    past.push(world.object());
    world.settle().await;
    let (voters, cluster) = (world.nodes.voters(), world.nodes.cluster_id());
    for object in past {
        let cluster: CarrelCluster = serde_json::from_value(object).expect("well-formed");
        let operator = world.another_operator();
        // What it decides on an old record it cannot write down, and what it cannot write down it does not do.
        let _ = reconcile(Arc::new(DeserializeGuard(Ok(cluster))), operator).await;
        world.tick();
        world.assert_sound();
        assert!(world.nodes.voters().len() >= 3);
    }
    world.settle().await;
    assert_eq!((world.nodes.voters(), world.nodes.cluster_id()), (voters, cluster));
}

#[tokio::test]
async fn a_clock_that_jumps_by_an_hour_harms_nobody() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    for jump in [3600, -7200, 3600] {
        world.advance(jump);
        world.run(2).await;
        assert!(world.is("Available", "True"));
    }
    world.change(|spec| spec["image"] = json!("carrel:2"));
    world.run(3).await;
    world.advance(-3600);
    world.run(3).await;
    world.advance(3600 + 121);
    world.settle().await;
    assert_eq!(world.nodes.voters(), before);
    assert!(world.status().replaced.is_empty(), "no time of ours makes a volume lost");
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_followed_by_another_and_left_alone() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    let pods = world.pods().into_values().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    world.nodes.lead(0);
    world.nodes.cut_off(0, true);
    world.run(4).await;
    assert!(world.status().leader.is_some_and(|leader| leader != "r-0"));
    assert!(world.decision().contains("ordinal 0 is silent and left alone"), "{}", world.decision());
    // The majority, too, is left alone when it is the part that cannot be seen.
    world.nodes.cut_off(1, true);
    world.nodes.cut_off(2, true);
    world.nodes.cut_off(0, false);
    world.run(4).await;
    assert!(world.is("Available", "False"));
    for at in [1, 2] {
        world.nodes.cut_off(at, false);
    }
    world.settle().await;
    assert_eq!(world.nodes.voters(), before);
    let uids = world.pods().into_values().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    assert_eq!(uids, pods);
}

#[tokio::test]
async fn a_machine_that_is_gone_is_explained_and_its_voter_left_alone() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    world.lose_machine(1);
    world.run(2).await;
    world.advance(3600);
    world.run(3).await;
    assert!(world.decision().contains("kubectl delete node machine-1"), "{}", world.decision());
    assert!(world.is("Available", "True") && world.is("Degraded", "True"));
    assert_eq!(world.nodes.voters(), before, "nobody knows whether its volume is lost");
    // The machine was deleted: its pod comes up elsewhere, on the same volume.
    world.api.remove("pods", NAMESPACE, &format!("{NAME}-1"));
    world.nodes.cut_off(1, false);
    world.settle().await;
    assert_eq!(world.nodes.voters(), before);
}

#[tokio::test]
async fn the_first_node_on_a_new_image_proves_it_for_a_minute() {
    let mut world = World::settled(3).await;
    world.change(|spec| spec["image"] = json!("carrel:2"));
    let restarted = |world: &World| world.pods().keys().filter(|pod| world.image_of(pod) == "carrel:2").count();
    let mut passes = 0;
    while !world.decision().contains("has to be well for 60 s") {
        // Time stands still.
        let operator = world.operator.clone();
        world.pass_of(&operator).await.expect("a pass");
        if !world.decision().contains("has to be well for") {
            world.tick();
        }
        passes += 1;
        assert!(passes < 30, "{}", world.decision());
    }
    assert_eq!(restarted(&world), 1);
    for seconds in [0, 30, 29] {
        world.advance(seconds);
        let operator = world.operator.clone();
        world.pass_of(&operator).await.expect("a pass");
        assert!(world.decision().contains("has to be well for"), "{}", world.decision());
        assert_eq!(restarted(&world), 1);
    }
    world.settle().await;
    assert_eq!(restarted(&world), 3);
}
