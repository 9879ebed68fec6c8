//! What cannot be mended is left alone and said.

use std::sync::Arc;

use carrel_operator::context::Context;
use carrel_operator::controller::{self, Scope};
use futures_util::StreamExt;
use serde_json::json;

use crate::world::{NAMESPACE, World, wanted};

#[tokio::test]
async fn a_lost_quorum_is_reported_with_who_is_missing_and_nothing_is_done() {
    let mut world = World::settled(3).await;
    world.lose_volume(1);
    world.lose_volume(2);
    let told = world.run(5).await;
    let decision = world.decision();
    assert!(decision.contains("quorum lost: 1 of 3 voters answer, 2 needed"), "{told:#?}");
    assert!(decision.contains("volume gone: ordinals 1 and 2"), "{decision}");
    assert_eq!(world.condition("RecoveryRequired"), ("True".to_owned(), "QuorumLost".to_owned()));
    assert!(world.is("Available", "False"));
    assert!(world.status().leader.is_none());
}

#[tokio::test]
async fn a_quorum_that_may_come_back_is_waited_for() {
    let mut world = World::settled(3).await;
    world.nodes.cut_off(1, true);
    world.nodes.cut_off(2, true);
    world.run(3).await;
    assert!(world.decision().contains("back once 1 of 2 silent return"), "{}", world.decision());
    assert!(world.is("RecoveryRequired", "False"), "not yet");
    world.advance(901);
    world.run(1).await;
    assert!(world.is("RecoveryRequired", "True"));
    world.nodes.cut_off(1, false);
    world.nodes.cut_off(2, false);
    world.settle().await;
    assert!(world.is("RecoveryRequired", "False"));
}

#[tokio::test]
async fn a_cluster_whose_status_was_lost_is_taken_over() {
    let mut world = World::settled(3).await;
    let (cluster, voters) = (world.nodes.cluster_id(), world.nodes.voters());
    world.erase_status();
    world.restart_operator();
    let told = world.settle().await;
    assert!(told[0].contains("record that the cluster is founded"), "{told:#?}");
    assert_eq!((world.status().cluster_id, world.nodes.cluster_id()), (cluster.clone(), cluster));
    assert_eq!(world.nodes.voters(), voters);
}

#[tokio::test]
async fn a_mixed_set_is_left_alone_and_told_what_helps() {
    let mut world = World::settled(3).await;
    world.nodes.make_foreign(2);
    world.run(3).await;
    assert!(world.is("LineageConsistent", "False"));
    let decision = world.decision();
    assert!(decision.contains("kubectl delete pvc data-r-2"), "{decision}");
}

#[tokio::test]
async fn every_volume_lost_founds_nothing() {
    let mut world = World::settled(3).await;
    for at in 0..3 {
        world.lose_volume(at);
    }
    world.run(4).await;
    assert_eq!(world.condition("RecoveryRequired").1, "EveryVolumeLost");
    assert_eq!(world.nodes.members().len(), 3, "nobody was asked to found another");
}

#[tokio::test]
async fn a_paused_cluster_is_looked_at_and_left_alone() {
    let mut world = World::settled(3).await;
    world.change(|spec| {
        spec["operation"] = json!({ "paused": true });
        spec["replicas"] = json!(5);
    });
    world.run(3).await;
    assert_eq!(world.set()["spec"]["replicas"], 3);
    assert!(world.is("Paused", "True") && world.is("Available", "True"));
    world.change(|spec| spec["operation"] = json!({ "paused": false }));
    world.settle().await;
    assert_eq!(world.nodes.voters().len(), 5);
}

#[tokio::test]
async fn an_operator_that_cannot_look_says_that_it_does_not_know() {
    let world = World::settled(3).await;
    let mut object = world.object();
    object["status"]["clusterId"] = json!("not a UUID");
    world.api.put("carrelclusters", object);
    let operator = world.operator.clone();
    world.pass_of(&operator).await.expect_err("its own record makes no sense");
    assert_eq!(world.condition("Available"), ("Unknown".to_owned(), "NotVerified".to_owned()));
    assert_eq!(world.condition("Ready"), ("False".to_owned(), "StatusDamaged".to_owned()));
}

#[tokio::test]
async fn somebody_who_scales_the_set_by_hand_is_corrected_and_harms_nobody() {
    let mut world = World::settled(3).await;
    let mut set = world.set();
    set["spec"]["replicas"] = json!(5);
    world.api.put("statefulsets", set);
    let told = world.settle().await;
    assert!(
        told.iter().any(|why| why.contains("run ordinals 0 to 2, because of 5 that run 3 are wanted")),
        "{told:#?}"
    );
    assert_eq!(world.set()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn a_malformed_object_keeps_nobody_from_the_others() {
    let mut world = World::with(wanted(3)).await;
    let malformed = json!({
        "apiVersion": "carrel.dev/v1alpha1",
        "kind": "CarrelCluster",
        "metadata": { "name": "bad", "namespace": NAMESPACE },
        "spec": { "replicas": "three" },
    });
    world.api.put("carrelclusters", malformed);
    let operator: Arc<Context> = world.operator.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let passes = controller::run(operator, &Scope::Namespace(NAMESPACE.to_owned()), stop.clone().cancelled_owned());
    let passes = tokio::spawn(passes.for_each(|_| async {}));
    let began = std::time::Instant::now();
    while !world.is("Ready", "True") {
        world.tick();
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{}", world.decision());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let bad = world.api.read("carrelclusters", NAMESPACE, "bad").expect("it is there");
    let conditions = bad["status"]["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("said");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Malformed")));
    stop.cancel();
    passes.abort();
    world.assert_sound();
}
