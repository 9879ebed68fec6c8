//! Faults of what replicas keep their data on. One volume at a time may be lost, and only while every other voter has
//! all that it ever acknowledged.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::cluster::{Cluster, RECOVERY_LIMIT};
use crate::faults::{ENDING_LIMIT, Scene};
use crate::replica::{Ending, Process, Replica};
use crate::schedule::{Dice, Fault, Kind};

const LOOK: Duration = Duration::from_millis(50);
/// For the cluster to have everything that it promised again, among other faults.
const INTACT_LIMIT: Duration = Duration::from_secs(15);

/// A lost disk: the replica comes back with nothing, and is made a member again under a new id by the planner alone.
pub async fn wipe(scene: &Scene<'_>, replica: &Replica, down: Duration) -> u64 {
    let Some(mut process) = intact(scene.cluster, replica).await else { return 0 };
    let before = replica.node_id.load(Ordering::Relaxed);
    if replica.kill(&mut process).await.is_none() {
        return 0;
    }
    tokio::time::sleep(down).await;
    replica.wipe();
    replica.start(&mut process);
    drop(process);
    rejoined(scene, replica, before).await
}

/// A disk that lies: what comes back is not what was written. The replica says so and does not take part, or it can do
/// without what was damaged.
pub async fn damage(scene: &Scene<'_>, replica: &Replica, kind: Kind, dice: &mut Dice) -> u64 {
    let Some(mut process) = intact(scene.cluster, replica).await else { return 0 };
    let before = replica.node_id.load(Ordering::Relaxed);
    if replica.kill(&mut process).await.is_none() {
        return 0;
    }
    let damage = replica.volume.damage(kind, dice);
    replica.start(&mut process);
    let Some(damage) = damage else { return 0 };
    let refused = match first_words(replica, &mut process).await {
        Beginning::Ended(ending) => {
            println!("           {}: {}", damage.what, ending.words);
            // Whoever reads it has to know which file, and what to do.
            let is_clear = ending.status.code() == Some(1) && ending.words.contains("/data/");
            if !is_clear {
                scene.trouble(format!("replica {} met {} with {ending:?}", replica.ordinal, damage.what));
            }
            true
        }
        Beginning::Serves => {
            println!("           {}: without harm", damage.what);
            if damage.must_refuse {
                scene.trouble(format!("replica {} went along with {}", replica.ordinal, damage.what));
            }
            false
        }
        Beginning::Silent => {
            scene.trouble(format!("replica {} neither serves nor ends after {}", replica.ordinal, damage.what));
            return 0;
        }
    };
    if !refused {
        return 1;
    }
    replica.wipe();
    replica.start(&mut process);
    drop(process);
    rejoined(scene, replica, before).await
}

enum Beginning {
    Serves,
    Ended(Ending),
    Silent,
}

async fn first_words(replica: &Replica, process: &mut Process) -> Beginning {
    let started = Instant::now();
    while started.elapsed() < ENDING_LIMIT {
        if let Some(ending) = replica.ends(process, LOOK).await {
            return Beginning::Ended(ending);
        }
        // Its ports are there before it has read its disk, and answer after.
        if replica.status(Duration::from_millis(300)).await.is_some() {
            return Beginning::Serves;
        }
    }
    Beginning::Silent
}

/// The replica's process, once everybody is there and has what was promised.
pub async fn intact<'a>(cluster: &Cluster, replica: &'a Replica) -> Option<tokio::sync::MutexGuard<'a, Process>> {
    let asked = Instant::now();
    while asked.elapsed() < INTACT_LIMIT {
        let process = replica.process().await;
        // Looked at while nobody else can take this one away.
        if process.is_running() && cluster.is_intact().await {
            return Some(process);
        }
        drop(process);
        tokio::time::sleep(2 * LOOK).await;
    }
    None
}

/// Under another id, unless the cluster became smaller meanwhile and has no place for it.
async fn rejoined(scene: &Scene<'_>, replica: &Replica, before: u64) -> u64 {
    let asked = Instant::now();
    while asked.elapsed() < RECOVERY_LIMIT {
        let is = replica.node_id.load(Ordering::Relaxed);
        if scene.cluster.is_intact().await && (replica.ordinal >= scene.cluster.running() || is != 0 && is != before) {
            return u64::from(is != before);
        }
        tokio::time::sleep(2 * LOOK).await;
    }
    let (ordinal, seconds) = (replica.ordinal, RECOVERY_LIMIT.as_secs());
    scene.trouble(format!("replica {ordinal} has not come back from its lost disk within {seconds} s"));
    0
}

/// Of one replica, or of two.
pub async fn fill(cluster: &Cluster, replica: &Replica, fault: Fault) -> u64 {
    let other = cluster.replica((replica.ordinal + 1) % cluster.running());
    let full = if fault.detail.is_multiple_of(3) { vec![replica, other] } else { vec![replica] };
    for replica in &full {
        replica.volume.fill(&replica.shim);
    }
    // The log has its place already: what needs more is the next snapshot.
    join_all(full.iter().map(|replica| replica.snapshot(fault.lasts))).await;
    tokio::time::sleep(fault.lasts).await;
    let said = join_all(full.iter().map(|replica| replica.says_that_its_disk_is_full())).await;
    for replica in &full {
        replica.volume.free(&replica.shim);
    }
    said.into_iter().filter(|said| *said).count() as u64
}
