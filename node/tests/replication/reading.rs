//! What reads cost.

use carrel_node::raft::settings::Settings;
use carrel_node::replica::Freshness;
use futures_util::future::join_all;

use crate::cluster::{Cluster, knows};
use crate::machines::Machines;

const READERS: u64 = 400;

pub async fn many_readers_share_one_round<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.register(0, "ada").await.expect("a leader");
    let leader = cluster.leader().await;
    for slot in 0..3 {
        let before = cluster.traffic();
        let readers = (0..READERS)
            .map(|_| async { cluster.replica(slot).read(Freshness::Linearizable).await.expect("a majority") });
        let views = join_all(readers).await;
        assert!(views.iter().all(|view| knows(view, "ada")), "on {slot}");
        let after = cluster.traffic();
        let (questions, appends) = (after.questions - before.questions, after.appends - before.appends);
        println!("{READERS} reads at once on {slot}: {questions} questions to the leader, {appends} calls to voters");
        if slot == leader {
            assert_eq!(questions, 0, "the leader asks itself");
        } else {
            assert!((1..=READERS / 20).contains(&questions), "{questions} questions");
        }
        // Two for each round, and what the cluster's own ticks and heartbeats need meanwhile.
        assert!(appends <= READERS / 4, "{appends} calls to voters");
    }
}
