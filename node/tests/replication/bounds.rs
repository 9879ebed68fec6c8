//! What many callers at once can ask of three replicas, and what a caller in a hurry can.

use std::time::Duration;

use carrel_domain::refusal::Refusal;
use carrel_node::raft::log_request::LogRequest;
use carrel_node::raft::peers::Proposed;
use carrel_node::raft::settings::Settings;
use carrel_node::replica::WriteError;
use futures_util::future::join_all;

use crate::cluster::{Cluster, registration};
use crate::machines::Machines;

pub async fn the_same_request_through_all_nodes_at_once_is_done_once<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    for round in 0..5 {
        let name = format!("reader-{round}");
        // Whoever comes second waits for the first, and gets its answer.
        let answers = join_all((0..9).map(|nth| cluster.register(nth % 3, &name))).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("a leader")).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:?}");
        for answer in &answers {
            assert_eq!((&answer.result, answer.at), (&answers[0].result, answers[0].at));
            assert!(answer.result.is_ok());
        }
    }
}

pub async fn two_bodies_under_one_id_at_once_are_one_and_a_refusal<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    let mut other = registration("ada");
    if let Some(retry) = &mut other.retry {
        retry.digest += 1;
    }
    let (first, second) = (cluster.replica(0), cluster.replica(1));
    let answers = join_all([first.write(registration("ada")), second.write(other)]).await;
    let results: Vec<_> = answers.into_iter().map(|answer| answer.expect("a leader").result).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.contains(&Err(Refusal::RequestIdReused)), "{results:?}");
}

pub async fn a_node_takes_on_so_much_and_no_more<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings { in_flight_limit: 4, ..Settings::default() }).await;
    let follower = cluster.follower().await;
    let names: Vec<String> = (0..20).map(|number| format!("reader-{number}")).collect();
    let answers = join_all(names.iter().map(|name| cluster.register(follower, name))).await;
    let refused = answers.iter().filter(|answer| **answer == Err(WriteError::Overloaded)).count();
    let done = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.result.is_ok())).count();
    assert_eq!((done, refused), (4, 16), "{answers:?}");
    for (name, answer) in names.iter().zip(&answers) {
        assert_eq!(cluster.sees(follower, name).await, answer.is_ok(), "{name}");
    }
    assert_eq!(cluster.replica(follower).takes_writes(), Ok(4), "there is room again");
    assert!(cluster.register(follower, "ada").await.expect("a leader").result.is_ok());
}

pub async fn what_nobody_waits_for_is_not_proposed<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    for slot in [leader, follower] {
        let late = cluster.replica(slot).write_within(registration("late"), Duration::ZERO).await;
        assert_eq!(late, Err(WriteError::Expired));
    }
    // Forwarded, and too late on arrival.
    let body = LogRequest::Library(registration("late")).encode();
    let late = cluster.node(leader).inbound().propose(body, Duration::ZERO).await;
    assert_eq!(late, Proposed::NotProposed { leader: None });
    assert!(!cluster.sees(leader, "late").await);
    let in_time = cluster.replica(follower).write_within(registration("ada"), Duration::from_secs(5)).await;
    assert!(in_time.expect("a leader").result.is_ok());
}
