//! A node that is told to count nothing, against which what counting costs is measured.

use carrel_node::metrics::catalogue as names;
use carrel_node::scrape;

use crate::load::{self, ports_of_demo};
use crate::stage::Demo;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_counts_nothing_still_says_how_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start_in(&[("CARREL_NO_COUNTING", "true")], dir.path(), ports_of_demo(), &["--replicas", "1"]);
    assert!(!load::seats(&load::log_in(&demo, 0, "patron").await).await.is_empty());
    let url = demo.ready["metrics"][0].as_str().expect("an address");
    let told = scrape::read(url).await.expect("it answers");
    for counted in [&names::REQUESTS, &names::REFUSALS, &names::RAFT_PROPOSALS, &names::RAFT_LOG_SYNCS] {
        assert_eq!(told.sum(counted.name), 0.0, "{}", counted.name);
    }
    for timed in [&names::REQUEST_SECONDS, &names::RAFT_LOG_SYNC_SECONDS, &names::RAFT_APPLY_SECONDS] {
        assert_eq!(told.sum(&format!("{}_count", timed.name)), 0.0, "{}", timed.name);
    }
    assert!(told.value(names::RAFT_APPLIED_INDEX.name) > Some(5.0) && told.sum(names::SEATS.name) > 100.0);
    demo.stop();
}
