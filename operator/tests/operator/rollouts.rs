//! New templates: in health order, the leader last, and back again when they do not work.

use serde_json::json;

use crate::world::{NAMESPACE, World, ordinal};

#[tokio::test]
async fn a_new_image_goes_to_followers_first_and_to_the_leader_last() {
    let mut world = World::settled(3).await;
    world.nodes.lead(1);
    world.change(|spec| spec["image"] = json!("carrel:2"));
    let told = world.settle().await;
    let stops: Vec<&String> = told.iter().filter(|why| why.starts_with("restart ordinal")).collect();
    assert_eq!(stops.len(), 3, "{told:#?}");
    assert!(stops[0].starts_with("restart ordinal 2"), "{stops:#?}");
    assert!(stops[1].starts_with("restart ordinal 0"), "{stops:#?}");
    assert!(stops[2].starts_with("restart ordinal 1"), "{stops:#?}");
    let handed_over = told.iter().position(|why| why.starts_with("hand leadership"));
    assert!(handed_over < told.iter().position(|why| why.starts_with("restart ordinal 1")));
    for pod in ["r-0", "r-1", "r-2"] {
        assert_eq!(world.image_of(pod), "carrel:2");
    }
    assert_eq!(world.status().image.expect("remembered").good.as_deref(), Some("carrel:2"));
    assert!(world.status().disruption.is_empty());
}

#[tokio::test]
async fn while_a_node_is_away_nobody_else_may_be_evicted() {
    let mut world = World::settled(3).await;
    world.change(|spec| spec["image"] = json!("carrel:2"));
    for _ in 0..20 {
        world.pass().await.expect("a pass");
        if !world.status().disruption.is_empty() {
            break;
        }
    }
    assert_eq!(world.status().disruption.len(), 1);
    world.pass().await.expect("a pass");
    let budget = world.api.read("poddisruptionbudgets", NAMESPACE, "r").expect("a budget");
    let is_back = world.status().disruption.is_empty();
    assert!(is_back || budget["spec"]["minAvailable"] == 3, "{budget}");
    world.settle().await;
    assert_eq!(world.api.read("poddisruptionbudgets", NAMESPACE, "r").expect("a budget")["spec"]["minAvailable"], 2);
}

#[tokio::test]
async fn an_image_that_does_not_start_stops_at_the_first_node_and_the_fix_goes_through() {
    for bad in ["carrel:missing", "carrel:crashing"] {
        let mut world = World::settled(3).await;
        world.change(|spec| spec["image"] = json!(bad));
        let told = world.run(40).await;
        assert!(told.iter().any(|why| why.contains("is given up")), "{bad}: {told:#?}");
        assert_eq!(
            told.iter().filter(|why| why.starts_with("restart ordinal")).count(),
            2,
            "there and back: {told:#?}"
        );
        for (name, pod) in world.pods() {
            assert_eq!(pod["spec"]["containers"][0]["image"], "carrel:1", "{name}");
        }
        assert_eq!(world.set()["spec"]["template"]["spec"]["containers"][0]["image"], "carrel:1");
        assert_eq!(world.status().image.expect("remembered").failed.as_deref(), Some(bad));
        assert!(world.is("Available", "True") && world.is("Degraded", "True"));
        assert!(world.is("UpToDate", "False") && world.is("Ready", "False"));
        // Whoever is recreated meanwhile comes back good.
        world.api.remove("pods", NAMESPACE, "r-0");
        world.run(3).await;
        assert_eq!(world.image_of("r-0"), "carrel:1");

        world.change(|spec| spec["image"] = json!("carrel:3"));
        world.settle().await;
        for pod in ["r-0", "r-1", "r-2"] {
            assert_eq!(world.image_of(pod), "carrel:3");
        }
        assert_eq!(world.status().image.expect("remembered").failed, None);
    }
}

#[tokio::test]
async fn an_image_whose_first_node_votes_but_takes_no_clients_goes_no_further() {
    let mut world = World::settled(3).await;
    world.change(|spec| spec["image"] = json!("carrel:shy"));
    let told = world.run(20).await;
    assert_eq!(told.iter().filter(|why| why.starts_with("restart ordinal")).count(), 1, "{told:#?}");
    let shy = world.pods().values().filter(|pod| pod["spec"]["containers"][0]["image"] == "carrel:shy").count();
    assert_eq!(shy, 1, "the others keep what works");
}

#[tokio::test]
async fn nodes_that_are_well_and_take_no_clients_yet_are_not_ready() {
    let mut object = crate::world::wanted(3);
    object["spec"]["image"] = json!("carrel:shy");
    let mut world = World::with(object).await;
    world.run(40).await;
    assert_eq!(world.nodes.voters().len(), 3);
    assert!(world.is("Available", "True"));
    assert_eq!(world.condition("Ready"), ("False".to_owned(), "PodsNotReady".to_owned()));
    world.change(|spec| spec["image"] = json!("carrel:1"));
    world.settle().await;
    assert!(world.is("Ready", "True"));
}

#[tokio::test]
async fn a_first_image_that_does_not_start_is_mended_by_another() {
    let mut object = crate::world::wanted(3);
    object["spec"]["image"] = json!("carrel:missing");
    let mut world = World::with(object).await;
    world.run(6).await;
    assert!(world.nodes.cluster_id().is_none());
    assert!(world.is("Available", "False"));
    world.change(|spec| spec["image"] = json!("carrel:1"));
    world.settle().await;
    assert_eq!(world.nodes.voters().len(), 3);
}

#[tokio::test]
async fn with_one_node_down_already_that_one_goes_first_and_the_quorum_is_kept() {
    let mut world = World::settled(3).await;
    world.break_volume(1, 3);
    world.run(2).await;
    world.change(|spec| spec["image"] = json!("carrel:2"));
    let told = world.run(6).await;
    let stops: Vec<&String> = told.iter().filter(|why| why.starts_with("restart ordinal")).collect();
    assert_eq!(stops.len(), 1, "nobody else while it is down: {told:#?}");
    assert!(stops[0].starts_with("restart ordinal 1"));
    assert_eq!(
        world.pods().keys().filter(|name| world.image_of(name) == "carrel:2").map(|name| ordinal(name)).max(),
        Some(1)
    );
}

#[tokio::test]
async fn a_lagging_follower_keeps_the_others_running() {
    let mut world = World::settled(3).await;
    world.nodes.lag(2, true);
    world.run(1).await;
    let budget = world.api.read("poddisruptionbudgets", NAMESPACE, "r").expect("a budget");
    assert_eq!(budget["spec"]["minAvailable"], 3, "Ready is not caught up");
    world.change(|spec| spec["image"] = json!("carrel:2"));
    let told = world.run(5).await;
    assert!(!told.iter().any(|why| why.starts_with("restart ordinal")), "{told:#?}");
    world.nodes.lag(2, false);
    world.settle().await;
    assert_eq!(world.image_of("r-0"), "carrel:2");
}

#[tokio::test]
async fn five_nodes_may_go_two_at_a_time_once_the_first_has_proven_itself() {
    let mut world = World::settled(5).await;
    world.change(|spec| {
        spec["image"] = json!("carrel:2");
        spec["disruption"] = json!({ "maxConcurrent": 2 });
    });
    world.settle().await;
    for at in 0..5 {
        assert_eq!(world.image_of(&format!("r-{at}")), "carrel:2");
    }
}
