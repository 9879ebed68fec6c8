//! One planted bug after the other: whether it is found, after how many seeds, and by what.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail};
use carrel_domain::planted::{self, Bug};

use crate::{Arguments, in_a_process, machine};

/// Seeds after which a bug counts as not found.
const SEEDS_MAX: u64 = 200;
/// Seeds of one process here: a bug that is found at once shall not cost more.
const BATCH: u64 = 5;
/// Findings after which enough is known of how long it takes.
const KILLS_ENOUGH: usize = 5;

#[derive(Debug, Default)]
struct Found {
    seeds: u64,
    kills: Vec<u64>,
    /// How often each promise was the first to be seen broken.
    by: BTreeMap<String, u64>,
}

/// Plants a bug on this thread, which is the one that runs seeds.
pub fn plant(name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    let Some(bug) = Bug::ALL.iter().find(|bug| bug.name() == name) else { bail!("no bug is called {name}") };
    planted::plant(Some(*bug));
    Ok(())
}

pub fn matrix(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wanted: Vec<Bug> =
        Bug::ALL.iter().copied().filter(|bug| arguments.bug.as_deref().is_none_or(|name| bug.name() == name)).collect();
    let found: Mutex<BTreeMap<Bug, Found>> = Mutex::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some(bug) = wanted.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let result = hunt(*bug);
                    println!("{}", row(*bug, &result));
                    found.lock().expect("nothing panics while it holds the lock").insert(*bug, result);
                }
            });
        }
    });
    let found = found.into_inner().expect("nothing panics while it holds the lock");
    let killed = found.values().filter(|found| !found.kills.is_empty()).count();
    println!("{killed} of {} planted bugs were found", found.len());
    if let Some(path) = &arguments.report {
        let rows: String = found.iter().map(|(bug, found)| format!("{}\n", row(*bug, found))).collect();
        let page = format!(
            "# Planted bugs\n\n{killed} of {} were found, each within at most {SEEDS_MAX} seeds, on {}. A bug is planted in \
             the code that serves people (`node/domain/src/planted.rs`), and seeds run from 0 on until {KILLS_ENOUGH} of \
             them have found it.\n\n| bug | seeds that found it | of | median seeds until it is found | what saw it first \
             |\n| --- | ---: | ---: | ---: | --- |\n{rows}",
            found.len(),
            machine()
        );
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if killed == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hunt(bug: Bug) -> Found {
    let mut found = Found::default();
    while found.seeds < SEEDS_MAX && found.kills.len() < KILLS_ENOUGH {
        for outcome in in_a_process(found.seeds..found.seeds + BATCH, &["--bug", bug.name()]) {
            if let Some(how) = outcome.broken.first() {
                found.kills.push(outcome.seed);
                let by = how.split(':').next().unwrap_or(how).to_owned();
                *found.by.entry(by).or_default() += 1;
            }
        }
        found.seeds += BATCH;
    }
    found
}

fn row(bug: Bug, found: &Found) -> String {
    let starts = found.kills.iter().zip(std::iter::once(None).chain(found.kills.iter().map(Some)));
    let mut gaps: Vec<u64> = starts.map(|(kill, before)| before.map_or(kill + 1, |before| kill - before)).collect();
    gaps.sort_unstable();
    let median = gaps.get(gaps.len() / 2).map_or_else(|| "not found".to_owned(), ToString::to_string);
    let by = found.by.iter().max_by_key(|(_, count)| **count).map_or("", |(by, _)| by.as_str());
    format!("| {} | {} | {} | {median} | {by} |", bug.name(), found.kills.len(), found.seeds)
}
