//! A cluster from its founding through changes of size and lost volumes.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::{NAME, NAMESPACE, World, wanted};

fn ordinals(world: &World) -> BTreeSet<u32> {
    world.nodes.voters().into_keys().collect()
}

#[tokio::test]
async fn a_cluster_of_three_is_founded_once_and_says_so() {
    let mut world = World::with(wanted(3)).await;
    let told = world.settle().await;
    assert_eq!(ordinals(&world), [0, 1, 2].into());
    let status = world.status();
    assert_eq!(status.cluster_id, world.nodes.cluster_id());
    assert_eq!(status.leader.as_deref(), Some("r-0"));
    assert_eq!(status.version.as_deref(), Some("0.1.0"));
    let quorum = status.quorum.expect("there is one");
    assert_eq!((quorum.voters_summary.as_str(), quorum.quorum_summary.as_str(), quorum.tolerates), ("3/3", "3/2", 1));
    for (condition, expected) in [
        ("Ready", "True"),
        ("Available", "True"),
        ("QuorumHealthy", "True"),
        ("Progressing", "False"),
        ("Degraded", "False"),
        ("ScaleComplete", "True"),
        ("UpToDate", "True"),
        ("LineageConsistent", "True"),
        ("RecoveryRequired", "False"),
        ("Paused", "False"),
    ] {
        assert_eq!(world.condition(condition).0, expected, "{condition}");
    }
    assert_eq!(status.image.expect("remembered").good.as_deref(), Some("carrel:1"));
    let claim = told.iter().position(|why| why.starts_with("record that ordinal 0 may found"));
    let founding = told.iter().position(|why| why.starts_with("found the cluster on ordinal 0"));
    assert!(claim.is_some() && claim < founding, "the claim comes first:\n{}", told.join("\n"));
    // The set is made whole at once, and every pod is labelled for the budget.
    let pods = world.pods();
    assert!(pods.values().all(|pod| pod["metadata"]["labels"]["carrel.dev/voter"] == "true"));
    let budget = world.api.read("poddisruptionbudgets", NAMESPACE, "r").expect("a budget");
    assert_eq!(budget["spec"]["minAvailable"], 2);
}

#[tokio::test]
async fn one_node_is_a_cluster_without_a_budget() {
    let world = World::settled(1).await;
    assert_eq!(ordinals(&world), [0].into());
    assert!(world.api.read("poddisruptionbudgets", NAMESPACE, "r").is_none());
    assert!(world.is("QuorumHealthy", "True"), "nobody asked for more");
}

#[tokio::test]
async fn three_become_five_and_three_again() {
    let mut world = World::settled(3).await;
    let first: BTreeSet<u64> = world.nodes.voters().into_values().collect();
    world.change(|spec| spec["replicas"] = json!(5));
    let told = world.settle().await;
    assert_eq!(ordinals(&world), [0, 1, 2, 3, 4].into());
    assert_eq!(told.iter().filter(|why| why.contains("vote, if membership")).count(), 1, "one change of voters");
    let budget = world.api.read("poddisruptionbudgets", NAMESPACE, "r").expect("a budget");
    assert_eq!(budget["spec"]["minAvailable"], 3);

    world.nodes.lead(4);
    world.change(|spec| spec["replicas"] = json!(3));
    let told = world.settle().await;
    assert_eq!(ordinals(&world), [0, 1, 2].into());
    assert_eq!(world.nodes.voters().into_values().collect::<BTreeSet<_>>(), first);
    let at =
        |text: &str| told.iter().position(|why| why.contains(text)).unwrap_or_else(|| panic!("{text}:\n{told:#?}"));
    assert!(at("hand leadership") < at("vote, if membership"), "the leader was to go");
    assert!(at("vote, if membership") < at("remove node"));
    assert!(at("remove node") < at("run ordinals 0 to 2"), "nobody is stopped who is still a member");
    assert_eq!(world.pods().len(), 3);
    assert_eq!(world.api.all("persistentvolumeclaims").len(), 5, "volumes are kept");

    // Their volumes come back with ids that were removed for good: they get empty ones.
    world.change(|spec| spec["replicas"] = json!(5));
    let told = world.settle().await;
    assert!(told.iter().any(|why| why.contains("empty volume")), "{told:#?}");
    let ids: BTreeSet<u64> = world.nodes.voters().into_values().collect();
    assert_eq!(ids.len(), 5);
    assert_eq!(world.status().replaced.len(), 2);
}

#[tokio::test]
async fn a_lost_volume_is_replaced_under_a_new_id() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    world.lose_volume(2);
    let told = world.settle().await;
    let after = world.nodes.voters();
    assert_eq!((before[&0], before[&1]), (after[&0], after[&1]));
    assert_ne!(before[&2], after[&2], "an id belongs to the contents of one volume");
    assert!(told.iter().any(|why| why.contains(&format!("the volume of node {} is gone", before[&2]))), "{told:#?}");
    assert!(!world.nodes.members().contains_key(&before[&2]));
}

#[tokio::test]
async fn the_volume_of_ordinal_zero_is_lost_and_nothing_is_founded_anew() {
    let mut world = World::settled(3).await;
    let cluster = world.nodes.cluster_id();
    world.lose_volume(0);
    world.settle().await;
    assert_eq!(world.nodes.cluster_id(), cluster);
    assert_eq!(world.status().cluster_id, cluster);
    assert_eq!(ordinals(&world), [0, 1, 2].into());
}

#[tokio::test]
async fn a_volume_that_crashes_its_node_is_replaced_after_long_silence_and_only_one_an_hour() {
    let mut world = World::settled(5).await;
    let before = world.nodes.voters();
    world.break_volume(3, 9);
    world.break_volume(4, 9);
    world.run(3).await;
    assert!(world.is("Degraded", "True"));
    assert_eq!(world.nodes.voters(), before, "silence is not loss");
    world.advance(601);
    world.run(12).await;
    let replaced = world.status().replaced;
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    let after = world.nodes.voters();
    assert_eq!(before.iter().filter(|(at, id)| after[at] != **id).count(), 1);
    world.advance(3601);
    world.settle().await;
    assert_eq!(world.status().replaced.len(), 2);
}

#[tokio::test]
async fn replacement_by_hand_is_left_to_hands() {
    let mut object = wanted(3);
    object["spec"]["replacement"] = json!({ "policy": "Manual" });
    let mut world = World::with(object).await;
    world.settle().await;
    world.break_volume(2, 9);
    world.run(2).await;
    world.advance(100_000);
    world.run(4).await;
    assert!(world.status().replaced.is_empty());
    assert!(world.is("Available", "True") && world.is("Degraded", "True"));
}

#[tokio::test]
async fn a_hibernating_cluster_wakes_as_it_was() {
    let mut world = World::settled(3).await;
    let before = world.nodes.voters();
    world.change(|spec| spec["operation"] = json!({ "hibernated": true }));
    world.run(3).await;
    assert!(world.pods().is_empty());
    assert_eq!(world.condition("Progressing").1, "Settled");
    world.change(|spec| spec["operation"] = json!({ "hibernated": false }));
    world.settle().await;
    assert_eq!(world.nodes.voters(), before);
}

#[tokio::test]
async fn volumes_grow_and_no_pod_is_restarted() {
    let mut world = World::settled(3).await;
    let uids = |world: &World| -> Vec<String> {
        world.pods().values().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = uids(&world);
    world.change(|spec| spec["storage"] = json!({ "size": "5Gi" }));
    world.settle().await;
    for claim in world.api.all("persistentvolumeclaims") {
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "5Gi");
    }
    let template = &world.set()["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["spec"]["resources"]["requests"]["storage"], "5Gi");
    assert_eq!(uids(&world), before);
}

/// Its volumes were kept, and nothing else: another object of the same name goes on with them.
#[tokio::test]
async fn an_object_that_is_deleted_and_made_again_goes_on_with_its_volumes() {
    let mut world = World::settled(3).await;
    let (cluster, voters, before) = (world.nodes.cluster_id(), world.nodes.voters(), world.object());
    // The operator hears of it, or sleeps through it; what it remembers is of another object either way.
    for hears_of_it in [true, false] {
        world.api.remove("carrelclusters", NAMESPACE, NAME);
        if hears_of_it {
            world.operator.forget(NAMESPACE, NAME);
        }
        for resource in ["statefulsets", "poddisruptionbudgets", "configmaps", "services", "pods"] {
            for object in world.api.all(resource) {
                world.api.remove(resource, NAMESPACE, object["metadata"]["name"].as_str().expect("a name"));
            }
        }
        world.api.put("carrelclusters", wanted(3));
        assert_ne!(world.object()["metadata"]["uid"], before["metadata"]["uid"]);
        let told = world.settle().await;
        assert!(!told.iter().any(|why| why.contains("found the cluster")), "{told:#?}");
        assert_eq!((world.nodes.cluster_id(), world.status().cluster_id), (cluster.clone(), cluster.clone()));
        assert_eq!(world.nodes.voters(), voters, "everybody is who they were");
        let owner = &world.set()["metadata"]["ownerReferences"][0]["uid"];
        assert_eq!(*owner, world.object()["metadata"]["uid"]);
    }
}

/// The object goes between the decision and the deed.
#[tokio::test]
async fn what_cannot_be_recorded_any_more_is_not_done() {
    let mut world = World::settled(3).await;
    let uids = |world: &World| -> Vec<String> {
        world.pods().values().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = uids(&world);
    world.change(|spec| spec["image"] = json!("carrel:2"));
    world.pass().await.expect("the template comes first");
    assert_eq!(uids(&world), before);
    // Its controller has counted the template: somebody is to be restarted.
    world.tick();
    let gone = world.object();
    world.api.remove("carrelclusters", NAMESPACE, NAME);
    let operator = world.operator.clone();
    for _ in 0..3 {
        world.pass_on(&operator, gone.clone()).await.expect("nobody is left to complain to");
        assert_eq!(world.api.take_deletions(), Vec::new(), "nothing is deleted");
    }
    assert_eq!(uids(&world), before, "nobody wants them restarted any more");
}

/// An operator works on the object that was deleted, after another was made of the same name.
#[tokio::test]
async fn what_was_decided_for_an_object_that_is_gone_is_not_done_to_the_next() {
    let mut world = World::settled(3).await;
    let mut gone = world.object();
    gone["spec"]["image"] = json!("carrel:9");
    gone["spec"]["replicas"] = json!(1);
    world.api.remove("carrelclusters", NAMESPACE, NAME);
    world.api.put("carrelclusters", wanted(3));
    let late = world.another_operator();
    for _ in 0..3 {
        late.attempts.succeeded(NAMESPACE, NAME);
        world.pass_on(&late, gone.clone()).await.expect_err("it is another");
        world.tick();
    }
    assert_eq!(world.set()["spec"]["replicas"], 3);
    assert_eq!(world.set()["spec"]["template"]["spec"]["containers"][0]["image"], "carrel:1");
    world.settle().await;
    assert_eq!(world.nodes.voters().len(), 3);
}
