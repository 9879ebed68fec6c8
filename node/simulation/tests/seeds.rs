//! The short form: two hundred seeds, a sample of others twice. `make sim` runs as many as there is time for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use carrel_simulation::marks::Mark;
use carrel_simulation::report::Sum;
use carrel_simulation::run::run;

const SEEDS: u64 = 200;
const PROCESSORS: usize = 2;
const STACK_BYTES: usize = 32 << 20;

/// What so few seeds see already; a thousand have to see everything.
const HAPPENS: [Mark; 28] = [
    Mark::MessageLost,
    Mark::MessageTwice,
    Mark::Partition,
    Mark::LeaderIsolated,
    Mark::Pause,
    Mark::Suspended,
    Mark::PowerLost,
    Mark::AllPowerLost,
    Mark::LongOutage,
    Mark::SlowDisk,
    Mark::FullDisk,
    Mark::SyncFailed,
    Mark::DamageFound,
    Mark::DamageOfLog,
    Mark::DiskLost,
    Mark::Replaced,
    Mark::Resized,
    Mark::SnapshotSent,
    Mark::EntriesConflicted,
    Mark::AnsweredAgain,
    Mark::DeposedInIgnorance,
    Mark::HoldExpired,
    Mark::RecordStopped,
    Mark::RecordRestored,
    Mark::CommitLost,
    Mark::CommitUnknown,
    Mark::RecordBegunAgain,
    Mark::RecordCompared,
];

#[test]
fn no_seed_breaks_a_promise_and_disasters_happen() {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..PROCESSORS {
            // What is not optimised keeps its futures on the stack, one in the other.
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            let run_seeds = || {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = run(seed, false);
                    sum.lock().expect("no panics").add(&outcome);
                }
            };
            thread.spawn_scoped(scope, run_seeds).expect("a thread");
        }
    });
    let sum = sum.into_inner().expect("no panics");
    println!("{}", sum.page());
    assert!(sum.broken.is_empty(), "one of them again: carrel-simulation --seed N: {:#?}", sum.broken);
    assert_eq!(sum.seeds, SEEDS);
    let never = HAPPENS.iter().filter(|mark| !sum.marks.contains_key(mark));
    let never: Vec<&str> = never.map(|mark| mark.text()).collect();
    assert!(never.is_empty(), "what never happens says nothing: {never:?}");
    assert!(sum.mixed * 4 >= sum.seeds, "a quarter mixes what is worst together");
}

#[test]
fn a_seed_goes_the_same_way_twice() {
    let twice = || {
        for seed in [1, 4, 77] {
            let (first, again) = (run(seed, false), run(seed, false));
            assert_eq!((first.trace, first.events), (again.trace, again.events), "seed {seed}");
        }
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(twice).expect("a thread");
    thread.join().expect("no difference");
}
