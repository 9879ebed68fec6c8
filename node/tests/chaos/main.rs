//! The fault suite: real processes, a proxy of our own on every link between them, faults drawn from a seed, clients
//! that write down everything they see, and judges that know what must never be seen.
//!
//! ```text
//! CARREL_CHAOS_SEED=17     repeats the faults of a run
//! CARREL_CHAOS_SECONDS=600 the long form
//! ```

mod schedule;
mod links;
mod cluster;
mod clients;
mod faults;
mod report;
mod run;

use std::time::Duration;

use run::{Form, run};

/// Of faults. With the start, the end and the judgement it takes about forty seconds: what fits among the other tests.
const SHORT: Duration = Duration::from_secs(25);

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("CARREL_CHAOS_SEED").unwrap_or_else(schedule::fresh_seed);
    let length = number("CARREL_CHAOS_SECONDS").map_or(SHORT, Duration::from_secs);
    println!("seed {seed}: repeat the faults with CARREL_CHAOS_SEED={seed}");
    let form = if length > SHORT { Form::Long } else { Form::Short };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(run(form, length, seed));
    println!("{report}");
    let failures = report.failures();
    assert!(failures.is_empty(), "seed {seed}: {failures:#?}");
}
