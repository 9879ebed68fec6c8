//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

use super::CONTENDERS;
use super::chart::{Bar, Group, draw};
use super::measure::{Load, Rush, Subject};

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: String,
    pub settings: Settings,
    pub loads: Vec<Loads>,
    pub rushes: Vec<Rushes>,
    pub gaps: Vec<Gaps>,
}

#[derive(Debug, Serialize)]
pub struct Settings {
    pub seconds: u64,
    pub repeats: usize,
    pub rushes: usize,
}

/// All turns of one contender with so many clients.
#[derive(Debug, Serialize)]
pub struct Loads {
    pub subject: Subject,
    pub clients: usize,
    pub who: &'static str,
    pub turns: Vec<Load>,
}

#[derive(Debug, Serialize)]
pub struct Rushes {
    pub who: &'static str,
    pub turns: Vec<Rush>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Gaps {
    pub who: &'static str,
    pub ms: Vec<f64>,
}

impl Gaps {
    pub fn new(who: &'static str) -> Self {
        Self { who, ms: Vec::new() }
    }
}

/// What the program that is measured says of the machine.
///
/// # Errors
/// If it cannot be run.
pub fn machine(carrel: &Path) -> anyhow::Result<String> {
    let said = Command::new(carrel).args(["bench", "machine"]).output();
    let said = said.with_context(|| format!("cannot run {}", carrel.display()))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

impl Report {
    /// # Errors
    /// If a file cannot be written.
    pub fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("speed.json"), serde_json::to_string_pretty(self)? + "\n")?;
        for (subject, title) in [
            (Subject::Bookings, "Distinct bookings a second, by clients"),
            (Subject::Searches, "Searches a second, by clients"),
        ] {
            fs::write(folder.join(picture(subject)), draw(title, &CONTENDERS, &self.groups(subject)))?;
        }
        Ok(())
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\nEach figure is the median of {} turns of {} s, after a second that is not counted, with the least and \
             the most of them; all three take their turns in one run, and the order changes from repeat to repeat.\n",
            self.machine, self.settings.repeats, self.settings.seconds
        );
        for (subject, heading) in
            [(Subject::Bookings, "Distinct bookings a second"), (Subject::Searches, "Searches a second")]
        {
            let _ = write!(
                text,
                "\n## {heading}\n\n![{heading}]({})\n\n| clients | who | a second | least – most | p50 ms | p99 ms | \
                 failed | Carrel's against it |\n|--:|---|--:|--:|--:|--:|---|--:|\n",
                picture(subject)
            );
            for loads in self.loads.iter().filter(|loads| loads.subject == subject) {
                let rates = || loads.turns.iter().map(|turn| turn.per_second).collect::<Vec<_>>();
                let (least, most) = (quantile(rates(), 0.0), quantile(rates(), 1.0));
                let _ = writeln!(
                    text,
                    "| {} | {} | {:.0} | {least:.0} – {most:.0} | {:.2} | {:.2} | {} | {} |",
                    loads.clients,
                    loads.who,
                    median(rates()),
                    median(loads.turns.iter().map(|turn| turn.p50_ms).collect()),
                    median(loads.turns.iter().map(|turn| turn.p99_ms).collect()),
                    failures(loads.turns.iter().map(|turn| &turn.failed)),
                    self.ratio(loads),
                );
            }
        }
        let _ = write!(
            text,
            "\n## Two hundred clients for fifty seats of one slot\n\nUntil everybody has an answer, {} rushes of each. A \
             seat that somebody else has is an answer; a deadlock is none, and is tried again.\n\n| who | median ms | \
             least – most | booked | taken | failed |\n|---|--:|--:|--:|--:|---|\n",
            self.settings.rushes
        );
        for rushes in &self.rushes {
            let times = || rushes.turns.iter().map(|turn| turn.all_answered_ms).collect::<Vec<_>>();
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} – {:.1} | {} | {} | {} |",
                rushes.who,
                median(times()),
                quantile(times(), 0.0),
                quantile(times(), 1.0),
                rushes.turns.iter().map(|turn| turn.done).sum::<usize>(),
                rushes.turns.iter().map(|turn| turn.taken).sum::<usize>(),
                failures(rushes.turns.iter().map(|turn| &turn.failed)),
            );
        }
        text += "\n## The leader is killed\n\nThe longest time without an acknowledged booking, while 20 clients \
                 book.\n\n| who | median ms | least – most | times |\n|---|--:|--:|--:|\n";
        for gaps in &self.gaps {
            let (least, most) = (quantile(gaps.ms.clone(), 0.0), quantile(gaps.ms.clone(), 1.0));
            let middle = median(gaps.ms.clone());
            let _ = writeln!(text, "| {} | {middle:.0} | {least:.0} – {most:.0} | {} |", gaps.who, gaps.ms.len());
        }
        text + "| Postgres | it is gone | | |\n"
    }

    fn groups(&self, subject: Subject) -> Vec<Group> {
        let mut groups: BTreeMap<usize, Vec<Bar>> = BTreeMap::new();
        for loads in self.loads.iter().filter(|loads| loads.subject == subject) {
            let rates = || loads.turns.iter().map(|turn| turn.per_second).collect::<Vec<_>>();
            let bar = Bar { least: quantile(rates(), 0.0), middle: median(rates()), most: quantile(rates(), 1.0) };
            groups.entry(loads.clients).or_default().push(bar);
        }
        groups.into_iter().map(|(clients, bars)| Group { name: clients.to_string(), bars }).collect()
    }

    /// Repeat by repeat, for turns beside each other are alike in what else the machine did.
    fn ratio(&self, other: &Loads) -> String {
        let ours = self
            .loads
            .iter()
            .find(|loads| loads.who == "Carrel" && loads.subject == other.subject && loads.clients == other.clients);
        let Some(ours) = ours.filter(|ours| ours.who != other.who) else { return String::new() };
        let pairs = ours.turns.iter().zip(&other.turns);
        format!("{:.2}×", median(pairs.map(|(ours, other)| ours.per_second / other.per_second).collect()))
    }
}

fn picture(subject: Subject) -> &'static str {
    match subject {
        Subject::Bookings => "speed-bookings.svg",
        Subject::Searches => "speed-searches.svg",
    }
}

fn failures<'a>(turns: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> String {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in turns.flatten() {
        *all.entry(reason).or_default() += count;
    }
    if all.is_empty() {
        return "0".to_owned();
    }
    all.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// Of an even number the one above the middle; nothing of nothing.
fn quantile(mut values: Vec<f64>, quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * quantile).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!([0.0, 1.0].map(|share| quantile(vec![9.0, 1.0, 2.0], share)), [1.0, 9.0]);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
