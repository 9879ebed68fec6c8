//! One run: a cluster, clients, faults in two lanes at once, an end in peace, and the judgement.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_history::{Person, Recorder, Standing, judge};
use carrel_proto::v1;

use crate::clients::{Account, Stage, work};
use crate::cluster::Cluster;
use crate::faults::{Performed, perform};
use crate::report::{Report, gaps_us};
use crate::schedule::{Dice, Schedule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Short,
    Long,
}

const CLIENTS: u32 = 10;
const ACCOUNTS_EACH: u32 = 2;
const SEATS: u32 = 8;
/// Fewer per second of faults say little about what was promised to whom.
const ACKNOWLEDGED_PER_SECOND: u64 = 5;

pub async fn run(form: Form, length: Duration, seed: u64) -> Report {
    let counts = match form {
        Form::Short => vec![3],
        Form::Long => vec![3, 5],
    };
    let mut whole: Option<Report> = None;
    let share = length / u32::try_from(counts.len()).expect("two at most");
    for count in counts {
        let report = run_with(count, share, seed).await;
        let failed = !report.failures().is_empty();
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

async fn run_with(count: u32, length: Duration, seed: u64) -> Report {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::start(dir.path(), count, SEATS).await;
    let stage = Arc::new(Stage {
        recorder: Recorder::default(),
        endpoints: cluster.endpoints(),
        seats: SEATS,
        stop: AtomicBool::new(false),
        odd_refusals: Mutex::default(),
        newest_token: Mutex::default(),
    });
    let mut workers = Vec::new();
    for client in 0..CLIENTS {
        let persons = (0..ACCOUNTS_EACH).map(|nth| Person(client * ACCOUNTS_EACH + nth));
        let accounts = futures_util::future::join_all(persons.map(|person| Account::open(&stage, person))).await;
        let (stage, dice) = (stage.clone(), Dice::new(seed ^ (u64::from(client) + 1)));
        workers.push(tokio::spawn(async move { work(&stage, accounts, dice).await }));
    }

    let began = Instant::now();
    let until = began + length;
    let (on_processes, on_links) = tokio::join!(
        lane(&cluster, &stage.recorder, Schedule::on_processes(seed), until),
        lane(&cluster, &stage.recorder, Schedule::on_links(seed), until),
    );
    let seconds = began.elapsed().as_secs();
    let performed: Vec<Performed> = on_processes.into_iter().chain(on_links).collect();
    cluster.links.heal();
    // In peace for a moment, so that what was interrupted is repeated.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.stop.store(true, Ordering::Relaxed);
    let mut accounts = Vec::new();
    for worker in workers {
        accounts.extend(worker.await.expect("no client met an answer that none may get"));
    }

    let mut troubles = Vec::new();
    let end = end(&cluster, &stage, &accounts, &mut troubles).await;
    if !cluster.is_running() {
        troubles.push("the demo has ended by itself".to_owned());
    }
    let history = stage.recorder.history();
    let judgement = judge(&history, &end);
    if !judgement.is_sound() || !troubles.is_empty() {
        println!("{}", cluster.logs());
    }
    cluster.stop().await;
    let odd_refusals = stage.odd_refusals.lock().expect("nobody writes any more").clone();
    Report {
        seed,
        replicas: vec![count],
        seconds,
        gaps_us: gaps_us(&history, &performed),
        performed,
        attempts: history.attempts.len(),
        reads: history.looks.len() + history.listings.len(),
        judgement,
        odd_refusals,
        troubles,
        acknowledged_min: usize::try_from(seconds * ACKNOWLEDGED_PER_SECOND).expect("a small number"),
    }
}

/// Beyond the end of the time, for a kind that has not taken effect yet.
const EXTRA_TIME: Duration = Duration::from_secs(30);

/// One fault after the other until the time is over and every kind has taken effect.
async fn lane(cluster: &Cluster, recorder: &Recorder, schedule: Schedule, until: Instant) -> Vec<Performed> {
    let kinds = schedule.kinds();
    let mut performed: Vec<Performed> = Vec::new();
    for fault in schedule {
        let effective = |kind| performed.iter().any(|done| done.kind == kind && done.took_effect);
        let over = if kinds.iter().all(|(kind, _)| effective(*kind)) { until } else { until + EXTRA_TIME };
        if Instant::now() >= over {
            break;
        }
        let done = perform(cluster, recorder, fault).await;
        let (from_ms, to_ms) = (done.began_us / 1000, done.ended_us / 1000);
        let role = if done.led { ", the leader" } else { "" };
        let outcome = if done.took_effect { "" } else { ": without effect" };
        println!("{from_ms:>7} to {to_ms:>7} ms  {:?} of replica {}{role}{outcome}", done.kind, done.ordinal);
        performed.push(done);
        tokio::time::sleep(fault.pause).await;
    }
    performed
}

/// What stands when all is over: every replica says the same of every account, linearizable and by a token alike.
async fn end(cluster: &Cluster, stage: &Stage, accounts: &[Account], troubles: &mut Vec<String>) -> Vec<Standing> {
    let (index, token) = stage.newest_token.lock().expect("nobody writes any more").clone();
    if let Err(seen) = cluster.whole(index).await {
        troubles.push(format!("the replicas have not converged on entry {index}: {seen:#?}"));
    }
    let mut all: BTreeMap<u32, Vec<Standing>> = BTreeMap::new();
    for ordinal in 0..cluster.count {
        let at_least = v1::ReadOptions { freshness: Some(v1::read_options::Freshness::AtLeast(token.clone())) };
        for read in [None, Some(at_least)] {
            let mut standing = Vec::new();
            for account in accounts {
                match account.list(Some(ordinal), read.clone()).await {
                    Ok(own) => standing.extend(own),
                    Err(error) => troubles.push(format!("replica {ordinal} does not answer at the end: {error}")),
                }
            }
            standing.sort_unstable();
            if *all.entry(ordinal).or_insert_with(|| standing.clone()) != standing {
                troubles.push(format!("replica {ordinal} answers a linearizable read and one by token differently"));
            }
        }
    }
    for (ordinal, standing) in &all {
        if *standing != all[&0] {
            troubles.push(format!("replicas 0 and {ordinal} do not hold the same reservations"));
        }
    }
    all.remove(&0).unwrap_or_default()
}
