//! What must be true when all faults are over: everybody is there again, and all of them hold the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carrel_domain::invariants;
use carrel_history::Standing;
use carrel_node::raft::offline;
use carrel_node::raft::platform::Server;
use carrel_proto::v1;
use tokio::process::Command;

use crate::clients::{Account, Stage};
use crate::cluster::{Cluster, RECOVERY_LIMIT};
use crate::shim::Count;

/// How far the log's time may be ahead of the one clock that all replicas of this machine have: what it costs to
/// measure clocks over slow links. The clocks that were shifted were off by up to an hour.
const AHEAD_MAX_US: i64 = 2_000_000;
/// Time goes on by an entry every second, so that backups of one entry take a few tries.
const BACKUP_TRIES: u32 = 30;

/// What stands in the end, and what is wrong beside what the judges of calls may find.
pub struct End {
    pub standing: Vec<Standing>,
    pub troubles: Vec<String>,
    /// Backups in which every invariant was checked.
    pub backups: u64,
    pub hashes_compared: u64,
    /// How far the log's time was ahead of the true one at most.
    pub ahead_ms: i64,
}

pub async fn end(cluster: &Cluster, stage: &Stage, accounts: &[Account]) -> End {
    let mut troubles = Vec::new();
    let (index, token) = stage.newest_token.lock().expect("nobody writes any more").clone();
    if let Err(seen) = cluster.whole(index, RECOVERY_LIMIT).await {
        troubles.push(format!("the replicas have not converged on entry {index}: {seen:#?}"));
    }
    let standing = standing(cluster, token, accounts, &mut troubles).await;
    let backups = backups(cluster, &mut troubles).await;
    replicas(cluster, &mut troubles);
    let ahead_ms = times(stage, &mut troubles);
    let hashes = cluster.hashes.lock().expect("nobody looks any more");
    troubles.extend(hashes.diverged.iter().take(5).map(|what| format!("states diverged {what}")));
    if hashes.compared == 0 {
        troubles.push("no two states were of the same entry, so none were compared".to_owned());
    }
    End { standing, troubles, backups, hashes_compared: hashes.compared, ahead_ms }
}

/// Every replica says the same of every account, linearizable and by a token alike.
async fn standing(cluster: &Cluster, token: String, accounts: &[Account], troubles: &mut Vec<String>) -> Vec<Standing> {
    let mut all: BTreeMap<u32, Vec<Standing>> = BTreeMap::new();
    for ordinal in 0..cluster.running() {
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

/// A backup of every replica until all are of one entry: then they hold the same state. In each, every invariant holds.
async fn backups(cluster: &Cluster, troubles: &mut Vec<String>) -> u64 {
    let mut checked = 0;
    for attempt in 0..BACKUP_TRIES {
        let saved = (0..cluster.running()).map(|ordinal| async move {
            let file = cluster.dir().join(format!("replica-{ordinal}-{attempt}.backup"));
            save(&file, &cluster.replica(ordinal).ports.admin_url()).await.map(|()| (ordinal, file))
        });
        let mut indexes = Vec::new();
        for saved in futures_util::future::join_all(saved).await {
            let opened = match saved {
                Ok((ordinal, file)) => match offline::open_backup(&Server::new(), &file).await {
                    Ok(opened) => Ok((ordinal, opened)),
                    Err(error) => Err(format!("the backup of replica {ordinal} cannot be read: {error}")),
                },
                Err(why) => Err(why),
            };
            match opened {
                Ok((ordinal, (backup, state))) => {
                    let broken = invariants::check(&state).into_iter();
                    let broken = broken.map(|v| format!("replica {ordinal}: {} is broken: {}", v.invariant, v.what));
                    troubles.extend(broken.take(5));
                    checked += 1;
                    let mut hashes = cluster.hashes.lock().expect("nothing panics while holding it");
                    hashes.hear(ordinal, backup.last.index, &backup.contents.digest.0);
                    indexes.push(backup.last.index);
                }
                Err(why) => troubles.push(why),
            }
        }
        if indexes.len() == cluster.running() as usize && indexes.iter().all(|index| *index == indexes[0]) {
            return checked;
        }
    }
    troubles.push(format!("{BACKUP_TRIES} times the replicas' backups were not of one entry"));
    checked
}

async fn save(file: &Path, admin_url: &str) -> Result<(), String> {
    let saved = Command::new(env!("CARGO_BIN_EXE_carrel"))
        .args(["--output", "json", "backup", "save"])
        .arg(file)
        .args(["--admin", admin_url])
        .stdin(Stdio::null())
        .output();
    let saved = tokio::time::timeout(Duration::from_secs(30), saved).await;
    let saved = saved.map_err(|_| "a backup takes for ever".to_owned())?.expect("the carrel binary starts");
    if saved.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&saved.stderr).into_owned()) }
}

/// What the replicas' processes did that none may.
fn replicas(cluster: &Cluster, troubles: &mut Vec<String>) {
    for replica in &cluster.replicas {
        troubles.extend(replica.panics());
        let again = replica.shim.count(Count::SyncsAfterFailure);
        if again > 0 {
            troubles.push(format!("replica {} synced a file {again} times after that had failed", replica.ordinal));
        }
    }
    let endings = cluster.endings.lock().expect("nothing panics while holding it");
    let unexplained = endings.iter().filter(|ending| !ending.is_for_lack_of_space());
    troubles.extend(unexplained.map(|ending| format!("replica {} ended by itself: {ending:?}", ending.ordinal)));
    if cluster.running() != cluster.wanted.load(Ordering::SeqCst) {
        troubles.push(format!("{} replicas run", cluster.running()));
    }
}

/// The log's time goes on with every entry, and no minority of wrong clocks drives it ahead.
fn times(stage: &Stage, troubles: &mut Vec<String>) -> i64 {
    let times = stage.times.lock().expect("nobody writes any more");
    for ((earlier, (at, _)), (later, (then, _))) in times.iter().zip(times.iter().skip(1)) {
        if then <= at {
            troubles.push(format!("entry {earlier} is of {at} µs, entry {later} of {then} µs"));
        }
    }
    let ahead_us = times.values().map(|(_, ahead_us)| *ahead_us).max().unwrap_or(0);
    if ahead_us > AHEAD_MAX_US {
        troubles.push(format!("the log's time was {ahead_us} µs ahead of every right clock"));
    }
    ahead_us / 1000
}
