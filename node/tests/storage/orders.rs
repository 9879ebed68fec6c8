//! What was ordered is done by every node when it starts, on real processes: one volume goes on, no other is used as it
//! was, and nothing is lost of what it had.

use std::fs;

use carrel_proto::admin::v1 as admin;
use serde_json::{Value, json};

use crate::processes::{Nodes, carrel};

async fn of_node(nodes: &Nodes, node: usize) -> admin::GetStatusResponse {
    nodes.until(node, "it answers", async || nodes.status(node).await.is_some()).await;
    nodes.status(node).await.expect("it answered before")
}

fn write(nodes: &Nodes, order: &Value) {
    fs::write(nodes.dir().join("order.json"), order.to_string()).expect("the test's directory can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chosen_volume_goes_on_and_the_others_are_put_aside() {
    let mut nodes = Nodes::new(3);
    let file = nodes.dir().join("order.json");
    nodes.with_argument(&format!("--recovery-file={}", file.display()));
    nodes.form(3).await;
    nodes.until_ready(&[0, 1, 2]).await;
    for name in ["amy", "ben"] {
        nodes.register(&[0, 1, 2], name).await;
    }
    let before = of_node(&nodes, 2).await;
    let identity = before.identity.clone().expect("a member");
    let last = before.last_log_id.expect("a member has a log");
    assert!(before.applied_time.is_some(), "{before:?}");
    let newest = of_node(&nodes, 0).await.nodes.iter().map(|node| node.last_log_index).max();
    assert!(newest >= Some(last.index), "{newest:?}");
    for node in [0, 1, 2] {
        nodes.kill(node).await;
    }
    fs::remove_dir_all(nodes.mount(1)).expect("it is dead");

    // Somebody approved of more than the volume holds: it is not gone on with.
    let order = |index: u64| {
        let survivor = json!({ "incarnation": identity.incarnation, "lastTerm": last.term + 1000, "lastIndex": index });
        json!({ "clusterId": identity.cluster_id, "lineage": 1, "survivor": survivor })
    };
    write(&nodes, &order(1));
    nodes.start(2);
    assert!(!nodes.ended(2).await.success());
    assert!(nodes.log(2).contains("was approved to go on with"), "{}", nodes.log(2));

    let mut approved = order(last.index);
    approved["survivor"]["lastTerm"] = json!(last.term);
    write(&nodes, &approved);
    for node in [0, 1, 2] {
        nodes.start(node);
    }
    nodes.until_ready(&[2]).await;
    let now = of_node(&nodes, 2).await.identity.expect("a member");
    assert_eq!((now.lineage, now.cluster_id), (1, identity.cluster_id.clone()));
    assert_ne!(now.incarnation, identity.incarnation, "the order finds it no more");
    for node in [0, 1] {
        assert_eq!(of_node(&nodes, node).await.identity.expect("it says who it is").node_id, 0, "it is as new");
    }
    for name in ["amy", "ben"] {
        nodes.login(&[2], name).await;
    }
    let aside = fs::read_dir(nodes.mount(0).join("aside")).expect("it is kept").next().expect("one volume");
    let aside = aside.expect("readable").path();
    let kept = carrel(["recover", "--survey", "--dir", aside.to_str().expect("text")]).json();
    assert_eq!((&kept["lineage"], &kept["accounts"]), (&json!(0), &json!(2)), "{kept}");

    // Killed and started again, all of them are what they have become; the order may stay.
    nodes.grow(2, &[0, 1]).await;
    nodes.until_ready(&[0, 1, 2]).await;
    nodes.register(&[0, 1, 2], "cleo").await;
    for node in [0, 1, 2] {
        nodes.kill(node).await;
        nodes.start(node);
    }
    nodes.until_ready(&[0, 1, 2]).await;
    for name in ["amy", "ben", "cleo"] {
        nodes.login(&[0, 1, 2], name).await;
    }
    assert_eq!(fs::read_dir(nodes.mount(0).join("aside")).expect("it is kept").count(), 1);

    // Put aside once more, it keeps the later of the two, and who went on keeps no more than one either.
    let later = nodes.mount(0).join("aside/lineage-7-0a1b2c3d-0000-4000-8000-000000000001/data");
    fs::create_dir_all(&later).expect("made");
    let earlier = nodes.mount(2).join("data/identity-lineage-0.json");
    assert!(earlier.exists() && nodes.mount(2).join("data/log").exists(), "one is kept");
    nodes.kill(0).await;
    nodes.start(0);
    nodes.until_ready(&[0]).await;
    nodes.until(0, "the earlier one is gone", async || !aside.exists()).await;
    assert!(later.exists(), "the later one is kept");
    assert!(!nodes.mount(1).join("aside").exists(), "it had nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_becomes_a_cluster_on_the_one_volume_it_was_ordered_for() {
    let mut nodes = Nodes::new(2);
    let file = nodes.dir().join("order.json");
    nodes.with_argument(&format!("--recovery-file={}", file.display()));
    nodes.form(1).await;
    nodes.until_ready(&[0]).await;
    nodes.register(&[0], "amy").await;
    let backup = nodes.dir().join("library.backup");
    carrel(["backup", "save", backup.to_str().expect("text"), "--admin", &nodes.admin_url(0)]).json();
    nodes.kill(0).await;
    fs::remove_dir_all(nodes.mount(0)).expect("it is dead");

    nodes.start(0);
    nodes.start(1);
    let incarnation = of_node(&nodes, 0).await.identity.expect("it has drawn one").incarnation;
    for node in [0, 1] {
        nodes.kill(node).await;
    }
    let cluster = uuid::Uuid::from_u128(0xba0c).to_string();
    let restore = json!({ "incarnation": incarnation, "file": backup, "voters": 1 });
    write(&nodes, &json!({ "clusterId": cluster, "restore": restore }));
    for _ in 0..2 {
        for node in [0, 1] {
            nodes.start(node);
        }
        nodes.until_ready(&[0]).await;
        assert_eq!(of_node(&nodes, 0).await.identity.expect("a member").cluster_id, cluster);
        assert_eq!(of_node(&nodes, 1).await.identity.expect("it says who it is").node_id, 0);
        nodes.login(&[0], "amy").await;
        for node in [0, 1] {
            nodes.kill(node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_makes_no_sense_keeps_the_node_from_its_volume() {
    let mut nodes = Nodes::new(1);
    let file = nodes.dir().join("order.json");
    nodes.with_argument(&format!("--recovery-file={}", file.display()));
    for senseless in ["", "{}", "[1]", "{\"clusterId\":\"mine\"}"] {
        fs::write(&file, senseless).expect("the test's directory can be written");
        nodes.start(0);
        assert!(!nodes.ended(0).await.success(), "{senseless}");
    }
    assert!(!nodes.mount(0).join("data").exists());
    assert!(nodes.log(0).contains("is no order"), "{}", nodes.log(0));
}
