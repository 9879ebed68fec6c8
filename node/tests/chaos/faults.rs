//! Performs one fault after the other, and says of each what shows that it took effect.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use carrel_history::Recorder;
use carrel_proto::admin::v1 as admin;
use rustix::process::Signal;
use tokio::sync::MutexGuard;

use crate::cluster::{Cluster, RECOVERY_LIMIT, Seen};
use crate::links::Flow;
use crate::replica::{Process, Replica};
use crate::schedule::{Dice, Fault, Kind, Target};
use crate::shim::Count;
use crate::volumes;

const LOOK: Duration = Duration::from_millis(20);
/// A replica that is behind this on every link still keeps up, an election away from not doing so.
const DELAY: Duration = Duration::from_millis(80);
const BYTES_PER_SECOND: u32 = 40_000;
/// Of the pieces on a link that loses some.
const LOST_ONE_IN: u64 = 8;
/// Every second something is due, so every second there is something to sync.
const SYNC_LIMIT: Duration = Duration::from_secs(4);
/// For others to write some snapshots, and for one to be sent.
const SNAPSHOTS_LIMIT: Duration = Duration::from_secs(8);
/// For a process to end after what it does not survive.
pub const ENDING_LIMIT: Duration = Duration::from_secs(10);

/// What became of a fault.
#[derive(Clone, Debug)]
pub struct Performed {
    pub kind: Kind,
    pub ordinal: u32,
    pub led: bool,
    /// How much of what [`Kind::evidence`] counts; 0 for no effect.
    pub evidence: u64,
    pub began_us: u64,
    pub ended_us: u64,
}

/// What faults are performed on, and what they find beside evidence.
pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    pub recorder: Recorder,
    /// What must not have happened.
    pub troubles: Mutex<Vec<String>>,
}

impl Scene<'_> {
    pub fn trouble(&self, what: String) {
        println!("           {what}");
        self.troubles.lock().expect("nothing panics while holding it").push(what);
    }

    pub async fn perform(&self, fault: Fault) -> Performed {
        let cluster = self.cluster;
        let (began_us, leader) = (self.recorder.now_us(), cluster.leader().await);
        let (count, detail) = (cluster.running(), u32::try_from(fault.detail % 1024).expect("below 1024"));
        let mut ordinal = match (fault.target, leader.as_ref().map(|leader| leader.ordinal)) {
            (Target::Leader, Some(leader)) => leader,
            (Target::Follower(nth), Some(leader)) => (leader + 1 + nth % (count - 1)) % count,
            // Nobody leads for the moment.
            (Target::Leader, None) => detail % count,
            (Target::Follower(nth), None) => nth % count,
        };
        let mut kind = fault.kind;
        let replica = cluster.replica(ordinal);
        let evidence = match kind {
            Kind::Kill => {
                // One that another fault has in hand may be dead or paused already; then it is the next.
                let others = (0..count).map(|nth| cluster.replica((ordinal + nth) % count));
                let mut free = others.filter_map(|replica| Some((replica, replica.try_process()?)));
                match free.find(|(_, process)| process.is_running()) {
                    Some((replica, process)) => {
                        ordinal = replica.ordinal;
                        kill(replica, process, fault.lasts).await
                    }
                    None => 0,
                }
            }
            Kind::Pause => pause(cluster, replica, fault).await,
            Kind::Transfer => transfer(cluster, leader.as_ref()).await,
            Kind::Cut | Kind::OneWayCut | Kind::Delay | Kind::Throttle | Kind::Drop => {
                on_links(cluster, leader.as_ref(), ordinal, fault).await
            }
            Kind::Wipe => volumes::wipe(self, replica, fault.lasts).await,
            Kind::Flip | Kind::Truncate => volumes::damage(self, replica, kind, &mut Dice::new(fault.detail)).await,
            Kind::FullDisk => volumes::fill(cluster, replica, fault).await,
            Kind::SlowSync => slow_sync(replica, fault).await,
            Kind::FailedSync => self.fail_sync(replica).await,
            Kind::ShiftedClock => shift_clock(replica, fault).await,
            Kind::SnapshotNeeded => leave_behind(cluster, replica).await,
            Kind::Grow | Kind::Shrink => {
                let (wanted, is) = if cluster.wanted() == 3 { (5, Kind::Grow) } else { (3, Kind::Shrink) };
                kind = is;
                self.resize(wanted).await
            }
        };
        let led = leader.is_some_and(|leader| leader.ordinal == ordinal);
        Performed { kind, ordinal, led, evidence, began_us, ended_us: self.recorder.now_us() }
    }

    /// The process has to end without trying the file again: what the disk holds is not known any more.
    async fn fail_sync(&self, replica: &Replica) -> u64 {
        let mut process = replica.process().await;
        if !process.is_running() {
            return 0;
        }
        let before = replica.shim.count(Count::SyncsFailed);
        replica.shim.fail_syncs(1);
        let asked = Instant::now();
        while replica.shim.count(Count::SyncsFailed) == before && asked.elapsed() < SYNC_LIMIT {
            tokio::time::sleep(LOOK).await;
        }
        replica.shim.fail_syncs(0);
        if replica.shim.count(Count::SyncsFailed) == before {
            return 0;
        }
        match replica.ends(&mut process, ENDING_LIMIT).await {
            Some(ending) if ending.is_for_a_failed_sync() => {
                replica.start(&mut process);
                1
            }
            Some(ending) => {
                self.trouble(format!("a failed sync ended replica {} with {ending:?}", replica.ordinal));
                replica.start(&mut process);
                0
            }
            None => {
                self.trouble(format!("replica {} goes on after a failed sync", replica.ordinal));
                0
            }
        }
    }

    /// By the planner's steps, while everything else goes on.
    async fn resize(&self, wanted: u32) -> u64 {
        self.cluster.wanted.store(wanted, Ordering::SeqCst);
        let asked = Instant::now();
        loop {
            let voters = |seen: &Seen| match seen.status.voter_sets.as_slice() {
                [voters] => seen.status.membership_committed && voters.node_ids.len() == wanted as usize,
                _ => false,
            };
            if self.cluster.leader().await.as_ref().is_some_and(voters) && self.cluster.running() == wanted {
                return 1;
            }
            if asked.elapsed() > RECOVERY_LIMIT {
                self.trouble(format!("there are not {wanted} voters after {} s", RECOVERY_LIMIT.as_secs()));
                return 0;
            }
            tokio::time::sleep(10 * LOOK).await;
        }
    }
}

async fn kill(replica: &Replica, mut process: MutexGuard<'_, Process>, lasts: Duration) -> u64 {
    let Some(status) = replica.kill(&mut process).await else { return 0 };
    tokio::time::sleep(lasts).await;
    replica.start(&mut process);
    u64::from(status.signal() == Some(Signal::KILL.as_raw()))
}

async fn pause(cluster: &Cluster, replica: &Replica, fault: Fault) -> u64 {
    let process = replica.process().await;
    // One in six for many elections, unless somebody else is missing for long.
    let is_long = fault.detail.is_multiple_of(6) && cluster.is_intact().await;
    let sent = process.signal(Signal::STOP);
    let lasts = if is_long { 4 * fault.lasts } else { fault.lasts };
    tokio::time::sleep(lasts).await;
    let stopped = process.state() == Some('T');
    u64::from(process.signal(Signal::CONT) && sent && stopped)
}

async fn transfer(cluster: &Cluster, leader: Option<&Seen>) -> u64 {
    let Some(before) = leader else { return 0 };
    let mut admin = cluster.replica(before.ordinal).admin();
    let asked = admin.transfer_leadership(admin::TransferLeadershipRequest { node_id: 0 });
    let done = tokio::time::timeout(Duration::from_secs(5), asked).await;
    let done = done.ok().and_then(Result::ok).map(tonic::Response::into_inner);
    done.map_or(0, |done| u64::from(done.leader != before.node_id()))
}

async fn on_links(cluster: &Cluster, leader: Option<&Seen>, ordinal: u32, fault: Fault) -> u64 {
    let links = &cluster.links;
    let others: Vec<u32> = (0..cluster.running()).filter(|&other| other != ordinal).collect();
    // Every second time one link, the one that has something to carry; else all of them.
    let busiest = leader.map(|leader| leader.ordinal).filter(|&leader| leader != ordinal);
    let nth = usize::try_from(fault.detail / 2 % others.len() as u64).expect("a small number");
    let ends = if fault.detail.is_multiple_of(2) { vec![busiest.unwrap_or(others[nth])] } else { others };
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
        Kind::Drop => Flow::Lossy { one_in: LOST_ONE_IN },
        other => unreachable!("{other:?} is nothing that happens to a link"),
    };
    for &(from, to) in &directions {
        links.set(from, to, flow);
    }
    tokio::time::sleep(fault.lasts).await;
    for &(from, to) in &directions {
        links.set(from, to, Flow::Open);
    }
    disturbed() - before
}

async fn slow_sync(replica: &Replica, fault: Fault) -> u64 {
    let before = replica.shim.count(Count::SyncsDelayed);
    // From what a busy disk takes to more than any lease.
    let delay_ms = [5, 20, 60, 150, 400, 1000][usize::try_from(fault.detail % 6).expect("below six")];
    replica.shim.delay_syncs(Duration::from_millis(delay_ms));
    tokio::time::sleep(fault.lasts).await;
    replica.shim.delay_syncs(Duration::ZERO);
    replica.shim.count(Count::SyncsDelayed) - before
}

async fn shift_clock(replica: &Replica, fault: Fault) -> u64 {
    const HOUR_US: i64 = 3_600_000_000;
    let before = replica.shim.count(Count::ClockReadsShifted);
    let mut dice = Dice::new(fault.detail);
    for _ in 0..3 {
        let most = if dice.percent(50) { HOUR_US } else { 5_000_000 };
        let offset_us = dice.below(most.unsigned_abs()).cast_signed() + 1;
        replica.shim.shift_clock(if dice.percent(50) { offset_us } else { -offset_us });
        tokio::time::sleep(fault.lasts / 3).await;
    }
    replica.shim.shift_clock(0);
    replica.shim.count(Count::ClockReadsShifted) - before
}

/// Keeps a replica down until the log it needs is gone, so that it has to be sent a snapshot.
async fn leave_behind(cluster: &Cluster, replica: &Replica) -> u64 {
    /// Purging is looked at every second.
    const PURGED_AFTER: Duration = Duration::from_millis(1300);
    const BETWEEN: Duration = Duration::from_millis(300);
    // It is away for long: with another one missing nothing would be written that it could fall behind.
    let Some(mut process) = volumes::intact(cluster, replica).await else { return 0 };
    if replica.kill(&mut process).await.is_none() {
        return 0;
    }
    let (mut written, mut generations, killed) = (BTreeSet::new(), 0, Instant::now());
    // Purged is to the snapshot before the last, and the first may hold no more than the dead replica has.
    while generations < 3 && killed.elapsed() < SNAPSHOTS_LIMIT {
        let others = cluster.replicas.iter().filter(|other| other.ordinal != replica.ordinal);
        let asked = others.map(|other| other.snapshot(Duration::from_secs(2)));
        let newer: Vec<u64> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
        if newer.len() > cluster.running() as usize / 2 && newer.iter().min() > written.iter().max() {
            generations += 1;
        }
        written.extend(newer);
        tokio::time::sleep(BETWEEN).await;
    }
    tokio::time::sleep(PURGED_AFTER).await;
    replica.start(&mut process);
    drop(process);
    let started = Instant::now();
    while started.elapsed() < SNAPSHOTS_LIMIT {
        let status = replica.status(Duration::from_millis(500)).await;
        let seen = status.map(|status| Seen { ordinal: replica.ordinal, status });
        // It wrote none itself meanwhile, so that one of these was sent.
        if seen.is_some_and(|seen| written.contains(&seen.snapshot())) {
            return 1;
        }
        tokio::time::sleep(LOOK).await;
    }
    0
}
