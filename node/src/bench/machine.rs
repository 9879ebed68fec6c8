//! What a figure was measured on: a table says nothing without it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::print_json;

/// Enough for a median that stays, over in a second on any disk that syncs within 2 ms.
const SYNCS: usize = 500;
const BLOCK_BYTES: usize = 4096;
/// Longest sync that is told apart from a longer one.
const SYNC_US_MAX: u64 = 60_000_000;

#[derive(Args, Clone, Debug)]
pub struct MachineArgs {
    /// The disk of this directory
    #[arg(long, value_name = "DIR", default_value = ".carrel")]
    dir: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    cores: usize,
    processor: String,
    load_average: String,
    fdatasync_4k_p50_us: u64,
    fdatasync_4k_p99_us: u64,
    version: &'static str,
}

impl Machine {
    /// # Errors
    /// If nothing can be written in the directory.
    pub fn survey(dir: &Path) -> anyhow::Result<Self> {
        let syncs = syncs_us(dir).with_context(|| format!("cannot measure the disk of {}", dir.display()))?;
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: model.map_or("processor unknown", |(_, name)| name).to_owned(),
            load_average: load.split(' ').next().unwrap_or_default().to_owned(),
            fdatasync_4k_p50_us: syncs.value_at_quantile(0.5),
            fdatasync_4k_p99_us: syncs.value_at_quantile(0.99),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// One line.
    pub fn text(&self) -> String {
        format!(
            "{} cores, {}, load average {} before; fdatasync of 4 KiB: {:.2} ms, p99 {:.2} ms; carrel {}",
            self.cores,
            self.processor,
            self.load_average,
            self.fdatasync_4k_p50_us as f64 / 1000.0,
            self.fdatasync_4k_p99_us as f64 / 1000.0,
            self.version
        )
    }
}

pub fn run(args: &MachineArgs, json: bool) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.dir)?;
    if json {
        return print_json(&machine);
    }
    anstream::println!("{}", machine.text());
    Ok(())
}

/// As the log does it: into space that is already there, so that a sync is of data alone.
fn syncs_us(dir: &Path) -> anyhow::Result<Histogram<u64>> {
    fs::create_dir_all(dir)?;
    // It keeps its name until the end: a file without one is synced for nothing, and so not at all.
    let path = dir.join(format!("sync-{}", std::process::id()));
    let measured = write_and_sync(&path);
    fs::remove_file(&path)?;
    measured
}

fn write_and_sync(path: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut file = File::create(path)?;
    let block = [0x5a; BLOCK_BYTES];
    for _ in 0..SYNCS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut histogram = durations_us();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        histogram.saturating_record(begun.elapsed().as_micros() as u64);
    }
    Ok(histogram)
}

fn durations_us() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SYNC_US_MAX, 3).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_looks_slow() {
        let mut durations = durations_us();
        durations.saturating_record(40_000);
        let median_us = durations.value_at_quantile(0.5);
        assert!((39_900..=40_100).contains(&median_us), "{median_us}");
    }
}
