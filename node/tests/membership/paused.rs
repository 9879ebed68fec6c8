//! A leader that sleeps while others go on, and wakes up believing that it leads: nobody is told anything stale.
//!
//! ```text
//! CARREL_PAUSE_SECONDS=30   the long form
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, ClientError, Options};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::load::{Load, newcomer, token_of, unread};
use crate::nodes::Nodes;

const SHORT: Duration = Duration::from_secs(3);
const READERS: usize = 12;
const READERS_LATE: u32 = 60;

/// What all readers of one node saw together.
#[derive(Default)]
struct Seen {
    reads: AtomicU64,
    /// Begun while the node slept, or in the second after.
    around_waking: AtomicU64,
    unanswered: AtomicU64,
    waking: AtomicBool,
}

/// Reads until told to stop; each answer has everything that was acknowledged before it was asked for, and nothing that
/// was never sent.
async fn read(reader: Client, load: (Arc<AtomicU64>, Arc<AtomicU64>), seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    let (sent, acknowledged) = load;
    while !stop.load(Ordering::SeqCst) {
        let (at_least, is_waking) = (acknowledged.load(Ordering::SeqCst), seen.waking.load(Ordering::SeqCst));
        match unread(&reader).await {
            Ok(count) => {
                assert!(count >= at_least, "stale: {count} of {at_least}");
                let at_most = sent.load(Ordering::SeqCst);
                assert!(count <= at_most, "{count} of {at_most}: some are there twice");
                seen.reads.fetch_add(1, Ordering::SeqCst);
                seen.around_waking.fetch_add(u64::from(is_waking), Ordering::SeqCst);
            }
            Err(ClientError::Unreachable(_)) => {
                seen.unanswered.fetch_add(1, Ordering::SeqCst);
            }
            Err(refused @ ClientError::Refused(_)) => panic!("{refused}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_tells_nobody_anything_stale() {
    let seconds = std::env::var("CARREL_PAUSE_SECONDS").ok().map(|text| text.parse().expect("a number"));
    let pause = seconds.map_or(SHORT, Duration::from_secs);
    let nodes = Nodes::formed(3).await;
    newcomer(&nodes.client(), "reader").await;
    let token = token_of(&nodes.client(), "reader").await;
    let sleeper = nodes.leader().await;
    // Those who write go on as soon as there is another leader.
    let others: Vec<usize> = (0..3).filter(|slot| *slot != sleeper).collect();
    let load = Load::to("reader", &nodes.client_of(&others), 4, Duration::from_millis(150)).await;
    let (stop, counts) = (Arc::new(AtomicBool::new(false)), (load.sent.clone(), load.acknowledged.clone()));
    // Long enough for a call to lie in the sleeper's socket until it wakes up.
    let limit = pause + Duration::from_secs(10);
    let options = Options { connect_timeout: Duration::from_secs(1), attempt_timeout: limit, deadline: limit };
    let mut readers = JoinSet::new();
    let mut watched = Vec::new();
    for slot in 0..3 {
        let seen = Arc::new(Seen::default());
        let count = if slot == sleeper { READERS } else { 2 };
        for _ in 0..count {
            // Connections of their own: calls on one would be answered in the order of its frames.
            let one = Client::new([nodes.url(slot)], options).expect("an address").with_session(&token);
            let one = one.expect("a token is text");
            readers.spawn(read(one, counts.clone(), seen.clone(), stop.clone()));
        }
        watched.push(seen);
    }
    // Connected before it sleeps.
    let mut waiting = Vec::new();
    for _ in 0..READERS_LATE {
        let one = Client::new([nodes.url(sleeper)], options).expect("an address").with_session(&token);
        let one = one.expect("a token is text");
        unread(&one).await.expect("it is awake");
        waiting.push(one);
    }
    let before = load.acknowledged.load(Ordering::SeqCst);
    watched[sleeper].waking.store(true, Ordering::SeqCst);
    nodes.signal(sleeper, Signal::STOP);
    // Those that arrive meanwhile are read when it wakes up, each asked after other writes were acknowledged.
    let late = JoinSet::from_iter(waiting.into_iter().zip(1..).map(|(one, nth)| {
        let (counts, seen, stop) = (counts.clone(), watched[sleeper].clone(), stop.clone());
        async move {
            tokio::time::sleep(pause / 2 + pause * nth / (2 * READERS_LATE)).await;
            read(one, counts, seen, stop).await;
        }
    }));
    let begun = Instant::now();
    tokio::time::sleep(pause).await;
    let during = load.acknowledged.load(Ordering::SeqCst) - before;
    nodes.signal(sleeper, Signal::CONT);
    tokio::time::sleep(Duration::from_secs(1)).await;
    watched[sleeper].waking.store(false, Ordering::SeqCst);
    let next = nodes.leader().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    late.join_all().await;
    readers.join_all().await;
    let answered = load.end().await;

    println!(
        "node {sleeper} led and slept {pause:?}; node {next} led then; {during} writes were acknowledged meanwhile"
    );
    for (slot, seen) in watched.iter().enumerate() {
        let (reads, unanswered) = (seen.reads.load(Ordering::SeqCst), seen.unanswered.load(Ordering::SeqCst));
        let waking = seen.around_waking.load(Ordering::SeqCst);
        println!("node {slot}: {reads} reads answered, {waking} of them asked around its waking, {unanswered} not");
    }
    assert_ne!(next, sleeper);
    assert!(during >= 5, "writes went on: {during}");
    assert!(watched[sleeper].around_waking.load(Ordering::SeqCst) >= READERS_LATE.into(), "it was asked as it woke up");
    assert!(answered.iter().any(|at| *at > begun));
}
