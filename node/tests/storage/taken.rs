//! A volume that somebody else still has, when a node is started on it.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::processes::Nodes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_for_the_one_before_it_to_end() {
    let mut nodes = Nodes::new(1);
    let data = nodes.mount(0).join("data");
    std::fs::create_dir_all(&data).expect("writable");
    let before = File::open(&data).expect("it is there");
    before.lock().expect("nobody has it");
    nodes.start(0);
    nodes.until_said(0, "in use by another process; waiting").await;
    assert!(nodes.is_running(0));
    drop(before);
    nodes.until_said(0, "started").await;
    assert!(data.join("identity.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_wait_for_ever() {
    let mut nodes = Nodes::new(1);
    let data = nodes.mount(0).join("data");
    std::fs::create_dir_all(&data).expect("writable");
    let before = File::open(&data).expect("it is there");
    before.lock().expect("nobody has it");
    nodes.with_argument("--volume-wait-seconds=1");
    let begun = Instant::now();
    nodes.start(0);
    assert!(!nodes.ended(0).await.success());
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was given up too soon");
    let log = nodes.log(0);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("in use by another process") && !last.contains("waiting"), "{log}");
    assert!(!data.join("identity.json").exists(), "nothing was written there");
}
