//! A settled cluster costs next to nothing, and what others do to its objects is undone.

use crate::world::{NAMESPACE, World};

#[tokio::test]
async fn ten_settled_minutes_write_no_status_and_make_few_calls() {
    let mut world = World::settled(3).await;
    world.pass().await.expect("a pass");
    world.api.take_calls();
    let writes = world.operator.metrics.status_writes();
    let (minutes, mut passes) = (10, 0);
    let mut seconds = 0;
    while seconds < minutes * 60 {
        let requeue = world.pass().await.expect("a pass");
        assert_eq!(requeue, kube::runtime::controller::Action::requeue(std::time::Duration::from_secs(30)));
        seconds += 30;
        passes += 1;
        world.advance(30);
    }
    let calls = world.api.take_calls();
    assert_eq!(world.operator.metrics.status_writes(), writes);
    let per_minute = calls.len() / minutes;
    // The ten watches of an operator, each asked for anew every four minutes, come to three more.
    assert!(per_minute + 3 < 10, "{passes} passes: {per_minute} calls a minute: {calls:#?}");
    println!("{per_minute} calls a minute for a settled cluster, 0 status writes in {minutes} minutes");
}

#[tokio::test]
async fn what_others_do_to_a_child_is_undone_once_a_watch_tells() {
    let mut world = World::settled(3).await;
    let mut service = world.api.read("services", NAMESPACE, "r-peers").expect("a service");
    service["spec"]["publishNotReadyAddresses"] = false.into();
    world.api.put("services", service);
    let changed = world.api.read("services", NAMESPACE, "r-peers").expect("a service");
    let metadata: kube::core::ObjectMeta = serde_json::from_value(changed["metadata"].clone()).expect("metadata");
    world.operator.applied.saw(carrel_operator::build::Kind::Service, &metadata);
    world.pass().await.expect("a pass");
    let mended = world.api.read("services", NAMESPACE, "r-peers").expect("a service");
    assert_eq!(mended["spec"]["publishNotReadyAddresses"], true);
}

#[tokio::test]
async fn a_new_operator_restarts_nobody() {
    let mut world = World::settled(3).await;
    let uids = |world: &World| -> Vec<String> {
        world.pods().values().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = uids(&world);
    world.restart_operator();
    for _ in 0..5 {
        world.pass().await.expect("a pass");
    }
    assert_eq!(uids(&world), before);
}
