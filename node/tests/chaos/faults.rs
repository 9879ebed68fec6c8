//! Performs one fault after the other, and says of each whether it took effect.

use std::time::{Duration, Instant};

use carrel_history::Recorder;
use rustix::process::Signal;

use crate::cluster::{Cluster, RECOVERY_LIMIT};
use crate::links::Flow;
use crate::schedule::{Fault, Kind, Target};

const LOOK: Duration = Duration::from_millis(20);
/// A replica that is behind this on every link still keeps up, an election away from not doing so.
const DELAY: Duration = Duration::from_millis(80);
const BYTES_PER_SECOND: u32 = 40_000;

/// What became of a fault.
#[derive(Clone, Debug)]
pub struct Performed {
    pub kind: Kind,
    pub ordinal: u32,
    pub led: bool,
    pub took_effect: bool,
    pub began_us: u64,
    pub ended_us: u64,
}

pub async fn perform(cluster: &Cluster, recorder: &Recorder, fault: Fault) -> Performed {
    let leader = cluster.leader().await.map(|seen| seen.ordinal);
    let ordinal = match (fault.target, leader) {
        (Target::Leader, Some(leader)) => leader,
        (Target::Follower(nth), Some(leader)) => (leader + 1 + nth % (cluster.count - 1)) % cluster.count,
        // Nobody leads for the moment.
        (Target::Leader, None) => fault.other % cluster.count,
        (Target::Follower(nth), None) => nth % cluster.count,
    };
    let began_us = recorder.now_us();
    let took_effect = match fault.kind {
        Kind::Kill => kill(cluster, ordinal, fault.lasts).await,
        Kind::Pause => pause(cluster, ordinal, fault.lasts).await,
        Kind::Wipe => wipe(cluster, ordinal).await,
        Kind::Transfer => transfer(cluster).await,
        Kind::Cut | Kind::OneWayCut | Kind::Delay | Kind::Throttle | Kind::Drop => {
            on_links(cluster, leader, ordinal, fault).await
        }
    };
    let led = leader == Some(ordinal);
    Performed { kind: fault.kind, ordinal, led, took_effect, began_us, ended_us: recorder.now_us() }
}

async fn die(cluster: &Cluster, ordinal: u32) -> bool {
    let sent = cluster.signal(ordinal, Signal::KILL);
    let started = Instant::now();
    while !matches!(cluster.process_state(ordinal), None | Some('Z')) {
        if started.elapsed() > RECOVERY_LIMIT {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    sent
}

async fn kill(cluster: &Cluster, ordinal: u32, lasts: Duration) -> bool {
    let died = die(cluster, ordinal).await;
    tokio::time::sleep(lasts).await;
    cluster.restart(ordinal).await;
    died
}

async fn pause(cluster: &Cluster, ordinal: u32, lasts: Duration) -> bool {
    let sent = cluster.signal(ordinal, Signal::STOP);
    tokio::time::sleep(lasts).await;
    let stopped = cluster.process_state(ordinal) == Some('T');
    cluster.signal(ordinal, Signal::CONT) && sent && stopped
}

/// A lost disk: the replica comes back with nothing, and is made a member again under a new id by the planner alone.
async fn wipe(cluster: &Cluster, ordinal: u32) -> bool {
    // One disk at a time: whoever lost one before has everything again.
    let Ok(before) = cluster.whole(0).await else { return false };
    let id = |seen: &[crate::cluster::Seen]| seen.iter().find(|s| s.ordinal == ordinal).map(|s| s.node_id());
    if !die(cluster, ordinal).await {
        return false;
    }
    cluster.wipe(ordinal);
    cluster.restart(ordinal).await;
    match cluster.whole(0).await {
        Ok(after) => id(&after) != id(&before),
        Err(seen) => {
            println!("replica {ordinal} has not come back from its lost disk: {seen:#?}");
            false
        }
    }
}

async fn transfer(cluster: &Cluster) -> bool {
    let Some(before) = cluster.leader().await else { return false };
    cluster.transfer(before.ordinal).await
        && cluster.leader().await.is_some_and(|after| after.ordinal != before.ordinal)
}

async fn on_links(cluster: &Cluster, leader: Option<u32>, ordinal: u32, fault: Fault) -> bool {
    let links = &cluster.links;
    let others: Vec<u32> = (0..cluster.count).filter(|&other| other != ordinal).collect();
    // Every second time one link, the one that has something to carry; else all of them.
    let busiest = leader.filter(|&leader| leader != ordinal);
    let ends = match usize::try_from(fault.other / 2).expect("a small number") % others.len() {
        nth if fault.other.is_multiple_of(2) => vec![busiest.unwrap_or(others[nth])],
        _ => others,
    };
    let there = ends.iter().map(|&end| (ordinal, end));
    let back = ends.iter().map(|&end| (end, ordinal));
    let directions: Vec<(u32, u32)> =
        if fault.kind == Kind::OneWayCut { there.collect() } else { there.chain(back).collect() };
    let disturbed = || directions.iter().map(|&(from, to)| links.disturbed(from, to)).sum::<u64>();
    let before = disturbed();
    let flow = match fault.kind {
        Kind::Cut | Kind::OneWayCut => Flow::Held,
        Kind::Delay => Flow::Delayed(DELAY),
        Kind::Throttle => Flow::Throttled { bytes_per_second: BYTES_PER_SECOND },
        Kind::Drop | Kind::Kill | Kind::Pause | Kind::Wipe | Kind::Transfer => Flow::Open,
    };
    for &(from, to) in &directions {
        links.set(from, to, flow);
        if fault.kind == Kind::Drop {
            links.drop_connections(from, to);
        }
    }
    tokio::time::sleep(fault.lasts).await;
    for &(from, to) in &directions {
        links.set(from, to, Flow::Open);
    }
    disturbed() > before
}
