//! The fault suite: real processes, a proxy of our own on every link between them, small disks that fill up, a shim
//! under each process that makes syncs slow or fail and clocks wrong, faults drawn from a seed, clients that write down
//! everything they see, and judges that know what must never be seen.
//!
//! ```text
//! CARREL_CHAOS_SEED=17        repeats the faults of a run
//! CARREL_CHAOS_SECONDS=600    the long form
//! CARREL_REPORT=FILE    writes what was found there, too, as Markdown
//! ```

mod schedule;
mod links;
mod shim;
mod volume;
mod replica;
mod cluster;
mod steward;
mod clients;
mod faults;
mod volumes;
mod end;
mod report;
mod run;
mod ground;

use std::time::Duration;

use run::{Form, run};
use volume::Ground;

/// Of faults. With the start, the end and the judgement it takes less than a minute: what fits among the other tests.
const SHORT: Duration = Duration::from_secs(20);
/// The short form is the same faults every time, as far as the machine lets them be: what it finds, it finds again.
const SHORT_SEED: u64 = 4;

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order() {
    let is_sound = ground::run("nothing_acknowledged_is_lost_doubled_or_out_of_order", is_sound);
    assert!(is_sound, "the run has failed: its last lines say why");
}

fn is_sound(ground: Ground) -> bool {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let length = number("CARREL_CHAOS_SECONDS").map_or(SHORT, Duration::from_secs);
    let form = if length > SHORT { Form::Long } else { Form::Short };
    let seed = number("CARREL_CHAOS_SEED").unwrap_or_else(|| match form {
        Form::Short => SHORT_SEED,
        Form::Long => schedule::fresh_seed(),
    });
    println!("seed {seed}: repeat the faults with CARREL_CHAOS_SEED={seed}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(run(form, length, seed, ground));
    print!("\n{report}");
    if let Ok(file) = std::env::var("CARREL_REPORT") {
        std::fs::write(&file, report.markdown()).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
    let failures = report.failures();
    for failure in &failures {
        println!("FAILED (seed {seed}): {failure}");
    }
    failures.is_empty()
}
