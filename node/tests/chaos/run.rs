//! One run: a cluster, clients, faults in several lanes at once, an end in peace, and the judgement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_history::{Person, Recorder, judge};

use crate::clients::{Account, Stage, opened, work};
use crate::cluster::{Cluster, RECOVERY_LIMIT};
use crate::end::end;
use crate::faults::{Performed, Scene};
use crate::report::{Report, gaps_us};
use crate::schedule::{Dice, LANES, Lane, Schedule};
use crate::volume::Ground;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Short,
    Long,
}

const CLIENTS: u32 = 10;
const ACCOUNTS_EACH: u32 = 2;
const SEATS: u32 = 8;
/// Fewer per second of faults say little about what was promised to whom. A machine that does much else at the same
/// time manages three times as many.
const ACKNOWLEDGED_PER_SECOND: u64 = 3;

pub async fn run(form: Form, length: Duration, seed: u64, ground: Ground) -> Report {
    let counts = match form {
        Form::Short => vec![3],
        Form::Long => vec![3, 5],
    };
    let mut whole: Option<Report> = None;
    let share = length / u32::try_from(counts.len()).expect("two at most");
    for (count, part) in counts.into_iter().zip(0..) {
        let report = run_with(count, share, seed + part, ground).await;
        let failed = !report.violations().is_empty();
        whole = Some(match whole {
            Some(before) => before.and(report),
            None => report,
        });
        if failed {
            break;
        }
    }
    whole.expect("there is at least one part")
}

async fn run_with(count: u32, length: Duration, seed: u64, ground: Ground) -> Report {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = Cluster::new(dir.path(), count, SEATS, ground).await;
    let minders = [
        tokio::spawn({
            let cluster = cluster.clone();
            async move { crate::steward::look_after(&cluster).await }
        }),
        tokio::spawn({
            let cluster = cluster.clone();
            async move { cluster.keep_running().await }
        }),
    ];
    if let Err(seen) = cluster.whole(1, RECOVERY_LIMIT).await {
        panic!("no cluster of {count} has formed: {seen:#?}\n{}", cluster.logs());
    }
    let stage = Arc::new(Stage {
        recorder: Recorder::default(),
        endpoints: cluster.endpoints(),
        seats: SEATS,
        stop: AtomicBool::new(false),
        odd_refusals: Mutex::default(),
        newest_token: Mutex::default(),
        times: Mutex::default(),
    });
    let mut workers = Vec::new();
    for client in 0..CLIENTS {
        let persons = (0..ACCOUNTS_EACH).map(|nth| Person(client * ACCOUNTS_EACH + nth));
        let accounts = futures_util::future::join_all(persons.map(|person| Account::open(&stage, person))).await;
        assert!(opened(&accounts[0], RECOVERY_LIMIT).await, "the catalogue is not there\n{}", cluster.logs());
        let (stage, dice) = (stage.clone(), Dice::new(seed ^ (u64::from(client) + 1)));
        workers.push(tokio::spawn(async move { work(&stage, accounts, dice).await }));
    }

    let began = Instant::now();
    let scene = Scene { cluster: &cluster, recorder: stage.recorder.clone(), troubles: Mutex::default() };
    let lanes = LANES.iter().map(|faults| lane(&scene, faults, seed, began + length));
    let performed: Vec<Performed> = futures_util::future::join_all(lanes).await.into_iter().flatten().collect();
    let seconds = began.elapsed().as_secs();
    cluster.links.heal();
    // In peace for a moment, so that what was interrupted is repeated.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.stop.store(true, Ordering::Relaxed);
    let mut accounts = Vec::new();
    for worker in workers {
        accounts.extend(worker.await.expect("no client met an answer that none may get"));
    }

    let mut end = end(&cluster, &stage, &accounts).await;
    for minder in minders {
        if minder.is_finished() {
            end.troubles.push("the suite's own operator has ended".to_owned());
        }
        minder.abort();
        // It was told to end.
        let _ = minder.await;
    }
    end.troubles.extend(scene.troubles.into_inner().expect("nothing panics while holding it"));
    let history = stage.recorder.history();
    let judgement = judge(&history, &end.standing);
    if !judgement.is_sound() || !end.troubles.is_empty() {
        println!("{}", cluster.logs());
    }
    cluster.stop().await;
    let odd_refusals = stage.odd_refusals.lock().expect("nobody writes any more").clone();
    Report {
        seed,
        replicas: vec![count],
        ground,
        seconds,
        gaps_us: gaps_us(&history, &performed),
        performed,
        attempts: history.attempts.len(),
        reads: history.looks.len() + history.listings.len(),
        judgement,
        odd_refusals,
        backups: end.backups,
        hashes_compared: end.hashes_compared,
        ahead_ms: end.ahead_ms,
        troubles: end.troubles,
        acknowledged_min: usize::try_from(seconds * ACKNOWLEDGED_PER_SECOND).expect("a small number"),
    }
}

/// Beyond the end of the time, for kinds that have not taken effect yet. Hardly any of it is needed, unless the machine
/// does ten times as much as it can.
const EXTRA_TIME: Duration = Duration::from_secs(60);

/// One fault after the other until the time is over and every kind has taken effect.
async fn lane(scene: &Scene<'_>, lane: &'static Lane, seed: u64, until: Instant) -> Vec<Performed> {
    let mut performed: Vec<Performed> = Vec::new();
    // Not all at once in the beginning.
    tokio::time::sleep(lane.begins_after).await;
    for fault in Schedule::new(seed, lane) {
        let is_effective = |kind| performed.iter().any(|done| done.kind == kind && done.evidence > 0);
        let over = if lane.kinds.iter().all(|(kind, _)| is_effective(*kind)) { until } else { until + EXTRA_TIME };
        if Instant::now() >= over {
            break;
        }
        if Instant::now() >= until && is_effective(fault.kind) {
            continue;
        }
        let done = scene.perform(fault).await;
        let (from_ms, to_ms) = (done.began_us / 1000, done.ended_us / 1000);
        let role = if done.led { ", the leader" } else { "" };
        let (name, evidence) = (done.kind.name(), done.kind.evidence());
        println!("{from_ms:>7} to {to_ms:>7} ms  {name}, replica {}{role}: {} {evidence}", done.ordinal, done.evidence);
        performed.push(done);
        let rest = fault.pause.min(over.saturating_duration_since(Instant::now()));
        tokio::time::sleep(rest).await;
    }
    performed
}
