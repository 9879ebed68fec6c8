//! Power fails at every operation of a story, and everything that was acknowledged is there afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;

use carrel_node::raft::disk::simulated::{SimulatedDisk, Survival};
use carrel_node::raft::types::{Entry, LogId, Vote};
use openraft::storage::RaftLogStorage;

use crate::platform::{Contents, SimulatedLog, append, contents, entry, in_virtual_time, log_id, open};
use crate::report::report;

const SEGMENT_BYTES: u64 = 2000;

#[derive(Clone, Debug)]
enum Step {
    Vote(Vote),
    Append(Vec<Entry>),
    Truncate(LogId),
    Purge(LogId),
}

fn story() -> Vec<Step> {
    let entries = |term: u64, range: std::ops::Range<u64>| {
        Step::Append(
            range.map(|index| entry(term, index, 40 + usize::try_from(index % 7).expect("small") * 60)).collect(),
        )
    };
    vec![
        Step::Vote(Vote::new(1, 1)),
        entries(1, 0..1),
        entries(1, 1..6),
        Step::Vote(Vote::new_committed(1, 1)),
        entries(1, 6..12),
        Step::Truncate(log_id(1, 9)),
        Step::Vote(Vote::new(2, 2)),
        entries(2, 10..14),
        Step::Purge(log_id(1, 7)),
        entries(2, 14..22),
        Step::Truncate(log_id(2, 17)),
        entries(3, 18..19),
        Step::Purge(log_id(3, 18)),
        entries(3, 19..24),
        entries(3, 24..30),
        Step::Vote(Vote::new(4, 1)),
        entries(4, 30..36),
        entries(4, 36..40),
        // A snapshot came instead of entries.
        Step::Purge(log_id(5, 40)),
        entries(5, 41..43),
    ]
}

/// What the log must hold after the first so many steps.
fn expected(steps: &[Step]) -> Contents {
    let mut held = Contents::default();
    for step in steps {
        match step {
            Step::Vote(vote) => held.vote = Some(*vote),
            Step::Append(entries) => held.entries.extend(entries.iter().cloned()),
            Step::Truncate(last) => held.entries.retain(|entry| entry.log_id.index <= last.index),
            Step::Purge(upto) => {
                held.entries.retain(|entry| entry.log_id.index > upto.index);
                held.purged = Some(*upto);
            }
        }
    }
    held
}

/// Takes the steps until the disk fails; how many were acknowledged.
async fn perform(log: &mut SimulatedLog, steps: &[Step]) -> usize {
    for (done, step) in steps.iter().enumerate() {
        let taken = match step {
            Step::Vote(vote) => log.save_vote(vote).await,
            Step::Append(entries) => append(log, entries.clone()).await,
            Step::Truncate(last) => match log.truncate_after(Some(*last)).await {
                Ok(()) => log.flush().await,
                failed => failed,
            },
            Step::Purge(upto) => match log.purge(*upto).await {
                Ok(()) => log.flush().await,
                failed => failed,
            },
        };
        if taken.is_err() {
            return done;
        }
        let last = log.reach().last;
        log.save_committed(last).await.expect("kept in memory");
    }
    steps.len()
}

/// The log after the crash holds what some number of steps made, at least the acknowledged ones and at most one more.
async fn assert_holds(disk: &SimulatedDisk, steps: &[Step], acknowledged: usize, told: &str) -> SimulatedLog {
    let mut log = match open(disk, SEGMENT_BYTES).await {
        Ok(log) => log,
        Err(error) => panic!("{told}: {error}"),
    };
    let held = contents(&mut log).await;
    let possible = acknowledged..=(acknowledged + 1).min(steps.len());
    let fits =
        possible.clone().any(|taken| Contents { committed: held.committed, ..expected(&steps[..taken]) } == held);
    assert!(fits, "{told}: {held:?} is none of {possible:?} steps");
    log
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_every_operation() {
    let steps = story();
    let operations = in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        assert_eq!(perform(&mut log, &steps).await, steps.len());
        disk.changes()
    });
    assert!(operations > 60, "{operations}");
    let survivals = [Survival::Nothing, Survival::Everything].into_iter().chain((0..6).map(Survival::Random));
    for survival in survivals {
        for cut in 0..operations {
            in_virtual_time(async {
                let told = format!("cut after {cut} of {operations}, {survival:?}");
                let disk = SimulatedDisk::new();
                disk.cut_after(cut);
                let acknowledged = match open(&disk, SEGMENT_BYTES).await {
                    Ok(mut log) => perform(&mut log, &steps).await,
                    Err(_) => 0,
                };
                let survived = disk.crash(survival);

                // It may fail again while the log is being read and mended.
                for second in 0..4 {
                    let again = survived.copy();
                    again.cut_after(survived.changes() + second);
                    let _ = open(&again, SEGMENT_BYTES).await;
                    let told = format!("{told}, and again after {second}");
                    assert_holds(&again.crash(survival), &steps, acknowledged, &told).await.close().await;
                }

                let mut log = assert_holds(&survived, &steps, acknowledged, &told).await;
                let next = log.reach().last.map_or(0, |last| last.index + 1);
                append(&mut log, [entry(9, next, 100)]).await.expect("it goes on");
                let before = contents(&mut log).await;
                let after = survived.crash(Survival::Nothing);
                let mut log = open(&after, SEGMENT_BYTES).await.expect("whole");
                assert_eq!(Contents { committed: before.committed, ..contents(&mut log).await }, before, "{told}");
            });
        }
    }
}

/// Of each crash point that many sectors and names are tried in every combination; of more, so many combinations.
const AT_STAKE_MAX: u32 = 9;
/// States that are looked at without being asked for more (CARREL_CRASH_STATES).
const STATES_USUALLY: usize = 4_000;

/// A story that no person would think of: so many steps, each of which may follow the one before.
fn drawn_story(seed: u64, count: usize) -> Vec<Step> {
    let mut state = seed;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let (mut steps, mut term, mut next, mut purged) = (vec![Step::Vote(Vote::new(1, 1))], 1, 0, 0);
    while steps.len() < count {
        let last = next - u64::from(next > 0);
        match below(10) {
            0 => {
                term += 1;
                steps.push(Step::Vote(Vote::new(term, below(5))));
            }
            1 if last > purged => {
                let keeps = purged + below(last - purged);
                let kept_term = steps_term(&steps, keeps);
                steps.push(Step::Truncate(log_id(kept_term, keeps)));
                next = keeps + 1;
                term += 1;
            }
            2 if last > purged => {
                purged += 1 + below(last - purged);
                let purged_term = steps_term(&steps, purged);
                steps.push(Step::Purge(log_id(purged_term, purged)));
            }
            _ => {
                let more = 1 + below(3);
                let size = 40 + usize::try_from(below(900)).expect("small");
                steps.push(Step::Append((next..next + more).map(|index| entry(term, index, size)).collect()));
                next += more;
            }
        }
    }
    steps
}

/// Of the entry at an index, as the steps have left it.
fn steps_term(steps: &[Step], index: u64) -> u64 {
    let held = expected(steps);
    let found = held.entries.iter().find(|entry| entry.log_id.index == index).map(|entry| entry.log_id);
    found.or(held.purged).expect("an entry that is there").leader_id.term
}

/// Power fails after every operation of drawn stories, and of the sectors and names that were not synced every
/// combination survives that may.
#[test]
fn nothing_acknowledged_is_lost_in_any_state_that_a_crash_may_leave() {
    let wanted =
        std::env::var("CARREL_CRASH_STATES").map_or(STATES_USUALLY, |wanted| wanted.parse().expect("a number"));
    let (mut states, mut points, mut stories, mut sampled, mut acknowledged_entries) = (0, 0, 0_u64, 0, 0);
    while states < wanted {
        let steps = drawn_story(stories, 14);
        stories += 1;
        let mut cut = 0;
        loop {
            let (disk, acknowledged) = in_virtual_time(async {
                let disk = SimulatedDisk::new();
                disk.cut_after(cut);
                let acknowledged = match open(&disk, SEGMENT_BYTES).await {
                    Ok(mut log) => perform(&mut log, &steps).await,
                    Err(_) => 0,
                };
                (disk, acknowledged)
            });
            let at_stake = disk.at_stake();
            let combinations = 1_u64 << at_stake.min(AT_STAKE_MAX);
            sampled += u32::from(at_stake > AT_STAKE_MAX);
            let mut seen = BTreeSet::new();
            for combination in 0..combinations {
                let survival = match at_stake {
                    0..=AT_STAKE_MAX => Survival::Chosen(combination),
                    _ => Survival::Random(combination),
                };
                let survived = disk.imagine_crash(survival);
                if !seen.insert(survived.fingerprint()) {
                    continue;
                }
                states += 1;
                acknowledged_entries += expected(&steps[..acknowledged]).entries.len();
                let told = format!("story {}, cut after {cut}, {survival:?} of {at_stake}", stories - 1);
                in_virtual_time(async { assert_holds(&survived, &steps, acknowledged, &told).await.close().await });
            }
            points += 1;
            if acknowledged == steps.len() && disk.changes() < cut {
                break;
            }
            cut += 1;
        }
    }
    report(&format!(
        "| what | how many |\n| --- | ---: |\n| stories of fourteen steps, drawn | {stories} |\n| crash points | {points} |\n\
         | of them with more than {AT_STAKE_MAX} sectors and names at stake, of whose combinations {} were drawn | {sampled} |\n\
         | different states that were left | {states} |\n| acknowledged entries that were looked for in them | \
         {acknowledged_entries} |\n| lost | 0 |\n",
        1 << AT_STAKE_MAX
    ));
}

/// What a killed process had written is read again, and from then on is as durable as what it had synced.
#[test]
fn what_a_log_says_after_a_kill_it_says_for_ever() {
    let steps = story();
    let operations = in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES).await.expect("an empty log");
        perform(&mut log, &steps).await;
        disk.changes()
    });
    for cut in 0..operations {
        in_virtual_time(async {
            let told = format!("killed after {cut} of {operations}");
            let disk = SimulatedDisk::new();
            disk.cut_after(cut);
            let acknowledged = match open(&disk, SEGMENT_BYTES).await {
                Ok(mut log) => perform(&mut log, &steps).await,
                Err(_) => 0,
            };
            let killed = disk.kill();
            let mut log = assert_holds(&killed, &steps, acknowledged, &told).await;
            let said = contents(&mut log).await;
            let mut log = open(&killed.crash(Survival::Nothing), SEGMENT_BYTES).await.expect(&told);
            assert_eq!(contents(&mut log).await, said, "{told}");
        });
    }
}

/// Nothing that is promised by a name may depend on a directory that was not synced.
#[test]
fn a_joined_identity_and_an_installed_snapshot_survive_a_crash_at_every_operation() {
    use carrel_node::raft::identity::{DataDirectory, MemberOf};
    use carrel_node::raft::snapshots::{BodySum, Snapshots};
    use carrel_node::raft::types::{SnapshotMeta, StoredMembership};
    use carrel_node::raft::wal::{Log, LogOptions, LogReach};

    use crate::platform::{OWNER, simulated};

    let asked = MemberOf { cluster_id: uuid::Uuid::from_bytes([5; 16]), lineage: 1, node_id: 9 };
    let mount = PathBuf::from("/mount");
    let snapshot =
        |index: u64| SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: StoredMembership::default() };
    // How far it got: 1 incarnation drawn, 2 joined, 3 to 6 snapshots written, 7 one installed.
    let run = async |disk: &SimulatedDisk, drawn: u8| {
        let incarnation = uuid::Uuid::from_bytes([drawn; 16]);
        let Ok(mut directory) = DataDirectory::open(disk, &mount, incarnation).await else { return 0 };
        if directory.join(asked, LogOptions { segment_bytes: 1024 }).await.is_err() {
            return 1;
        }
        let reach = LogReach { purged: None, last: None };
        let opened = Snapshots::open(&simulated(disk), &directory.snapshot_directory(), OWNER, reach).await;
        let Ok(snapshots) = opened else { return 2 };
        for index in 1..=4 {
            let body = [vec![u8::try_from(index).expect("small"); 700], vec![0; 700]];
            if snapshots.write(&snapshot(index), body.into_iter()).await.is_err() {
                return 1 + index;
            }
        }
        let log = Log::open(&simulated(disk), &directory.log_directory(), asked.log_owner()).await;
        let Ok(log) = log else { return 6 };
        let mut receiving = snapshots.receive(&snapshot(9));
        if receiving.append(bytes::Bytes::from_static(b"seats")).await.is_err() {
            return 6;
        }
        let sum = BodySum { bytes: 5, checksum: crc32c::crc32c(b"seats") };
        let Ok(received) = receiving.finish(sum).await else { return 6 };
        if snapshots.install(&received, &log).await.is_err() { 6 } else { 7 }
    };
    let operations = in_virtual_time(async {
        let disk = SimulatedDisk::new();
        assert_eq!(run(&disk, 1).await, 7);
        disk.changes()
    });
    for survival in [Survival::Nothing, Survival::Everything].into_iter().chain((0..8).map(Survival::Random)) {
        for cut in 0..operations {
            in_virtual_time(async {
                let told = format!("cut after {cut} of {operations}, {survival:?}");
                let disk = SimulatedDisk::new();
                disk.cut_after(cut);
                let reached = run(&disk, 1).await;
                let survived = disk.crash(survival);
                let directory =
                    DataDirectory::open(&survived, &mount, uuid::Uuid::from_bytes([2; 16])).await.expect(&told);
                let identity = directory.identity();
                if reached >= 1 {
                    assert_eq!(identity.incarnation, uuid::Uuid::from_bytes([1; 16]), "{told}");
                }
                if reached >= 2 {
                    assert_eq!(identity.membership, Some(asked), "{told}");
                }
                let reach = LogReach { purged: None, last: None };
                let dir = directory.snapshot_directory();
                let snapshots = Snapshots::open(&simulated(&survived), &dir, OWNER, reach).await.expect(&told);
                let latest = snapshots.latest().await.and_then(|snapshot| snapshot.meta().last_log_id);
                let snapshot_at = |step: u64| [None, Some(1), Some(2), Some(3), Some(4), Some(9)][step.min(5) as usize];
                let written = reached.saturating_sub(2);
                let possible = [written, written + 1].map(|step| snapshot_at(step).map(|index| log_id(1, index)));
                assert!(possible.contains(&latest), "{told}: {latest:?} is none of {possible:?}");
                drop(directory);
            });
        }
    }
}
