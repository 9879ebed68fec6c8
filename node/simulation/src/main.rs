//! Runs seeds: one with its story, or many in processes of their own, with a verdict on all of them.

#[cfg(feature = "planted-bugs")]
mod mutants;

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carrel_simulation::report::Sum;
use carrel_simulation::run::{Outcome, run};
use clap::Parser;

/// Seeds of one process: few enough that what a library remembers of a process is forgotten soon, many enough that
/// starting it costs nothing beside them.
const BATCH: u64 = 10;

/// A seed takes below a second of a processor. One that takes so long never ends.
const SEED_LIMIT: Duration = Duration::from_secs(180);

/// Of so many seeds one is run twice, and must go the same way to the last message.
const TWICE_ONE_OF: u64 = 50;

#[derive(Debug, Parser)]
#[command(about = "Replicas of the library in virtual time, through every disaster that a seed can draw")]
struct Arguments {
    /// Runs this seed and tells its story.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs these, as in 0..1000.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Writes the verdict as a page here.
    #[arg(long)]
    report: Option<std::path::PathBuf>,
    /// Plants one bug after the other, and tells which are found and after how many seeds.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    mutants: bool,
    /// Plants this bug.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    bug: Option<String>,
    /// One process's share: an outcome a line.
    #[arg(long, value_parser = range, hide = true)]
    batch: Option<Range<u64>>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("as in 0..1000")?;
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("there is none".to_owned()) } else { Ok(range) }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted-bugs")]
    {
        if arguments.mutants {
            return mutants::matrix(&arguments);
        }
        mutants::plant(arguments.bug.as_deref())?;
    }
    match (&arguments.seed, &arguments.seeds, &arguments.batch) {
        (Some(seed), None, None) => Ok(tell(*seed)),
        (None, Some(seeds), None) => judge(&arguments, seeds.clone()),
        (None, None, Some(batch)) => {
            for seed in batch.clone() {
                println!("{}", serde_json::to_string(&run(seed, false))?);
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("say --seed or --seeds"),
    }
}

fn tell(seed: u64) -> ExitCode {
    let outcome = run(seed, true);
    outcome.story.iter().for_each(|line| println!("{line}"));
    println!(
        "seed {seed}: {} events in {:.1} virtual seconds, trace {:016x}, {} requests, {} acknowledged, {} unknown",
        outcome.events,
        outcome.virtual_ms as f64 / 1000.0,
        outcome.trace,
        outcome.requests,
        outcome.acknowledged,
        outcome.unknown
    );
    outcome.broken.iter().for_each(|how| println!("BROKEN {how}"));
    if outcome.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(arguments: &Arguments, seeds: Range<u64>) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(seeds.start));
    let sum = Arc::new(Mutex::new(Sum::default()));
    let twice = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            let (next, sum, twice, end) = (Arc::clone(&next), Arc::clone(&sum), Arc::clone(&twice), seeds.end);
            scope.spawn(move || {
                loop {
                    let from = next.fetch_add(BATCH, Ordering::SeqCst);
                    if from >= end {
                        return;
                    }
                    let batch = from..end.min(from + BATCH);
                    let outcomes = in_a_process(batch, &[]);
                    let again: Vec<Outcome> = outcomes
                        .iter()
                        .filter(|outcome| outcome.seed.is_multiple_of(TWICE_ONE_OF))
                        .flat_map(|outcome| in_a_process(outcome.seed..outcome.seed + 1, &[]))
                        .collect();
                    let mut sum = sum.lock().expect("nothing panics while it holds the lock");
                    for outcome in &outcomes {
                        sum.add(outcome);
                        for how in &outcome.broken {
                            println!("seed {}: BROKEN {how}", outcome.seed);
                        }
                    }
                    for other in again {
                        twice.fetch_add(1, Ordering::SeqCst);
                        let first = outcomes.iter().find(|outcome| outcome.seed == other.seed);
                        if first.is_some_and(|first| first.trace != other.trace) {
                            sum.broken.push((other.seed, "the same seed went two ways".to_owned()));
                            println!("seed {}: BROKEN the same seed went two ways", other.seed);
                        }
                    }
                }
            });
        }
    });
    let sum = sum.lock().expect("nothing panics while it holds the lock").clone();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let rate = sum.seeds as f64 / minutes;
    let seconds = began.elapsed().as_secs();
    let twice = twice.load(Ordering::SeqCst);
    let missing = sum.missing();
    println!(
        "seeds {seeds:?} in {seconds} s, {rate:.0} a minute; {twice} of them twice; {} promises broken",
        sum.broken.len()
    );
    for mark in &missing {
        println!("never: {}", mark.text());
    }
    if let Some(path) = &arguments.report {
        let never: String = missing.iter().map(|mark| format!("- never: {}\n", mark.text())).collect();
        let broken: String = sum.broken.iter().map(|(seed, how)| format!("- seed {seed}: {how}\n")).collect();
        let page = format!(
            "# Simulation\n\n{FOUND}\n\nSeeds {seeds:?} in {seconds} s ({rate:.0} a minute) with {} processes at once on {}; {twice} of \
             them were run twice, and went the same way. One of them again: `carrel-simulation --seed N`.\n\n{}\n{never}{broken}",
            arguments.jobs,
            machine(),
            sum.page()
        );
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if sum.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A process that dies takes one seed with it: the others go on in the next one.
fn in_a_process(seeds: Range<u64>, besides: &[&str]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut from = seeds.start;
    while from < seeds.end {
        let before = outcomes.len() as u64;
        let why = match batch(from..seeds.end, besides, &mut outcomes) {
            Ok(()) => "the process ended without a word".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        from += outcomes.len() as u64 - before;
        if from < seeds.end {
            outcomes.push(Outcome { seed: from, broken: vec![why], ..Outcome::default() });
            from += 1;
        }
    }
    outcomes
}

fn batch(seeds: Range<u64>, besides: &[&str], outcomes: &mut Vec<Outcome>) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program)
        .arg("--batch")
        .arg(format!("{}..{}", seeds.start, seeds.end))
        .args(besides)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a process")?;
    let output = child.stdout.take().context("it has an output")?;
    let (lines, told) = mpsc::channel();
    // Ends with the process.
    thread::spawn(move || BufReader::new(output).lines().try_for_each(|line| lines.send(line)));
    loop {
        match told.recv_timeout(SEED_LIMIT) {
            Ok(line) => outcomes.push(serde_json::from_str(&line?).context("reading an outcome")?),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("ending a process")?;
                child.wait().context("waiting for a process")?;
                bail!("the seed does not end: nothing came of it in {SEED_LIMIT:?}");
            }
        }
    }
    let status = child.wait().context("waiting for a process")?;
    if status.success() { Ok(()) } else { bail!("the process ended with {status}") }
}

/// What seeds have found so far, each with the test that keeps it.
const FOUND: &str = "Whole replicas, with the node's own replication, rules, membership planner and projection, in virtual \
time over simulated disks, networks, clocks and a simulated Postgres. What seeds have found so far:\n\n\
- in the service: after a sync that had failed, the next process on that machine acknowledged what the disk did not have \
(`what_is_read_after_a_failed_sync_is_made_to_last` in `node/tests/storage/log.rs`); planted again, it is \
`unsynced-tail-trusted`;\n\
- in what judges it: who has voted for the loser of a term may follow its winner in that term \
(`who_has_voted_for_the_loser_follows_the_winner`), and a leader counts by voters whose entry nobody else has yet \
(`voters_may_be_named_by_an_entry_that_is_on_its_way`), both in `node/simulation/src/invariants/`;\n\
- in what damages disks: it never damaged a log, only snapshots.";

/// On what it was measured.
fn machine() -> String {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let build = if cfg!(debug_assertions) { "a build with assertions" } else { "a release build" };
    format!("{processors} processors ({}), {build}", model.map_or("of some kind", |(_, model)| model))
}
