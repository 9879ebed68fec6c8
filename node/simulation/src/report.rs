//! Many outcomes as one: what happened how often, and whether it was enough to say anything.

use std::fmt::Write;

use crate::marks::{Counts, Mark, missing};
use crate::run::Outcome;

/// Runs after which every mark must have been hit; some need two rare things at once.
pub const SEEDS_FOR_A_VERDICT: u64 = 1000;

#[derive(Clone, Debug, Default)]
pub struct Sum {
    pub seeds: u64,
    pub mixed: u64,
    pub marks: Counts,
    pub broken: Vec<(u64, String)>,
    pub longest_calm_ms: (u64, u64),
    pub virtual_ms: u64,
    pub events: u64,
    pub requests: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub repeated: u64,
    pub looks: u64,
    pub by_size: [u64; 3],
}

impl Sum {
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.mixed += u64::from(outcome.is_mixed);
        for (mark, count) in &outcome.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
        self.broken.extend(outcome.broken.iter().map(|how| (outcome.seed, how.clone())));
        if let Some(calm_ms) = outcome.calm_ms {
            self.longest_calm_ms = self.longest_calm_ms.max((calm_ms, outcome.seed));
        }
        self.virtual_ms += outcome.virtual_ms;
        self.events += outcome.events;
        self.requests += outcome.requests;
        self.acknowledged += outcome.acknowledged;
        self.unknown += outcome.unknown;
        self.repeated += outcome.repeated;
        self.looks += outcome.looks;
        match outcome.size {
            1 => self.by_size[0] += 1,
            3 => self.by_size[1] += 1,
            _ => self.by_size[2] += 1,
        }
    }

    /// What never happened, if there were enough runs for it to have happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        if self.seeds < SEEDS_FOR_A_VERDICT { Vec::new() } else { missing(&self.marks) }
    }

    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.missing().is_empty()
    }

    /// As a page for people.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        let mut line = |what: &str, count: String| {
            let _ = writeln!(page, "| {what} | {count} |");
        };
        line("what", "how many".to_owned());
        line("---", "---:".to_owned());
        line("seeds", self.seeds.to_string());
        line("of one, three and five nodes at first", format!("{:?}", self.by_size));
        line("that mix partition, kill, pause, lost disks and membership", self.mixed.to_string());
        line("promises broken", self.broken.len().to_string());
        line("virtual time", format!("{:.1} h", self.virtual_ms as f64 / 3_600_000.0));
        line("events", self.events.to_string());
        line("requests that were judged", self.requests.to_string());
        line("of them acknowledged", self.acknowledged.to_string());
        line("repeated", self.repeated.to_string());
        line("with an outcome that nobody was told", self.unknown.to_string());
        line("linearizable looks", self.looks.to_string());
        let (calm_ms, seed) = self.longest_calm_ms;
        line("longest from the last fault to 10 writes and 10 reads", format!("{calm_ms} ms (seed {seed})"));
        for mark in Mark::ALL {
            line(mark.text(), self.marks.get(mark).copied().unwrap_or(0).to_string());
        }
        page
    }
}
