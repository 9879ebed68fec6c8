//! What a run did and what the judges say of it, as one table: for the terminal, and as Markdown.

use std::collections::BTreeMap;
use std::fmt;

use carrel_history::{Broken, History, Judgement, Outcome};

use crate::faults::Performed;
use crate::schedule::{KINDS, Kind};
use crate::volume::Ground;

/// Recovery belongs to the fault: what is slow within a second of its end is counted as its doing.
const AFTER_US: u64 = 1_000_000;

#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub replicas: Vec<u32>,
    pub ground: Ground,
    pub seconds: u64,
    pub performed: Vec<Performed>,
    pub attempts: usize,
    pub reads: usize,
    pub gaps_us: BTreeMap<Kind, u64>,
    pub judgement: Judgement,
    pub odd_refusals: BTreeMap<String, u64>,
    pub backups: u64,
    pub hashes_compared: u64,
    pub ahead_ms: i64,
    /// What went wrong beside what the judges found.
    pub troubles: Vec<String>,
    pub acknowledged_min: usize,
}

impl Report {
    /// What is wrong with the service.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.troubles.clone();
        violations.extend(self.judgement.violations.iter().take(20).map(ToString::to_string));
        violations.extend(self.judgement.undecided.iter().map(|seat| format!("{seat:?} was too much for the judge")));
        violations
    }

    /// Also, what keeps the run from saying anything about it.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.violations();
        let without = KINDS.into_iter().filter(|kind| self.effective(*kind).next().is_none());
        failures.extend(without.map(|kind| format!("{} never took effect", kind.name())));
        if self.judgement.acknowledged < self.acknowledged_min {
            let (acknowledged, least) = (self.judgement.acknowledged, self.acknowledged_min);
            failures.push(format!("{acknowledged} acknowledged writes say little: at least {least} are wanted"));
        }
        failures
    }

    /// This part of a run and the next, as one.
    pub fn and(mut self, next: Self) -> Self {
        self.replicas.extend(next.replicas);
        self.seconds += next.seconds;
        self.performed.extend(next.performed);
        self.attempts += next.attempts;
        self.reads += next.reads;
        for (kind, gap_us) in next.gaps_us {
            let longest = self.gaps_us.entry(kind).or_default();
            *longest = gap_us.max(*longest);
        }
        for (reason, count) in next.odd_refusals {
            *self.odd_refusals.entry(reason).or_default() += count;
        }
        self.backups += next.backups;
        self.hashes_compared += next.hashes_compared;
        self.ahead_ms = self.ahead_ms.max(next.ahead_ms);
        self.troubles.extend(next.troubles);
        self.acknowledged_min += next.acknowledged_min;
        let judgement = &mut self.judgement;
        judgement.requests += next.judgement.requests;
        judgement.acknowledged += next.judgement.acknowledged;
        judgement.refused += next.judgement.refused;
        judgement.unknown += next.judgement.unknown;
        judgement.repeated += next.judgement.repeated;
        judgement.seats += next.judgement.seats;
        judgement.violations.extend(next.judgement.violations);
        judgement.undecided.extend(next.judgement.undecided);
        self
    }

    fn effective(&self, kind: Kind) -> impl Iterator<Item = &Performed> {
        self.performed.iter().filter(move |performed| performed.kind == kind && performed.evidence > 0)
    }

    fn broken(&self, promise: Broken) -> usize {
        self.judgement.violations.iter().filter(|violation| violation.broken() == promise).count()
    }

    /// Everything that is not about one kind of fault.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let judgement = &self.judgement;
        let killed = self.effective(Kind::Kill).count();
        let led = self.effective(Kind::Kill).filter(|performed| performed.led).count();
        let sizes = self.replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", then ");
        let odd = self.odd_refusals.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>();
        let mut facts = vec![
            ("faults for", format!("{} s on {sizes} replicas, seed {}", self.seconds, self.seed)),
            ("disks", self.ground.in_words().to_owned()),
            ("processes killed", format!("{killed}, {led} of them the leader")),
            (
                "requests",
                format!(
                    "{}, sent {} times, {} more than once; {} reads",
                    judgement.requests, self.attempts, judgement.repeated, self.reads
                ),
            ),
            (
                "their outcomes",
                format!(
                    "{} acknowledged, {} refused, {} unknown for good",
                    judgement.acknowledged, judgement.refused, judgement.unknown
                ),
            ),
            ("lost", self.broken(Broken::Kept).to_string()),
            ("doubled", self.broken(Broken::Once).to_string()),
            ("illegal", self.broken(Broken::InOrder).to_string()),
            ("unknown verdicts", format!("{} of {} seats", judgement.undecided.len(), judgement.seats)),
            ("states compared", format!("{} of one entry on two replicas", self.hashes_compared)),
            ("invariants checked", format!("in {} backups", self.backups)),
            ("time", format!("the log's was at most {} ms ahead of the right clocks", self.ahead_ms.max(0))),
            ("other trouble", self.troubles.len().to_string()),
        ];
        if !odd.is_empty() {
            facts.push(("turned away", odd.join(", ")));
        }
        facts
    }

    /// Of every kind: its name, how often it was drawn, took effect and met the leader, what shows it, and the longest
    /// time without an acknowledged write around it.
    fn faults(&self) -> Vec<[String; 6]> {
        let row = |kind: Kind| {
            let drawn = self.performed.iter().filter(|performed| performed.kind == kind).count();
            let led = self.effective(kind).filter(|performed| performed.led).count();
            let evidence: u64 = self.effective(kind).map(|performed| performed.evidence).sum();
            [
                kind.name().to_owned(),
                drawn.to_string(),
                self.effective(kind).count().to_string(),
                led.to_string(),
                format!("{evidence} {}", kind.evidence()),
                format!("{} ms", self.gaps_us.get(&kind).map_or(0, |gap_us| gap_us / 1000)),
            ]
        };
        KINDS.map(row).into()
    }

    pub fn markdown(&self) -> String {
        let mut text =
            "Real processes on one machine, all kinds of faults at once, clients that write down every call, and \
             judges that read it all.\n\n| | |\n|---|---|\n"
                .to_owned();
        for (what, value) in self.facts() {
            text += &format!("| {what} | {value} |\n");
        }
        text += &format!("\n| {} |\n|---|---:|---:|---:|---|---:|\n", HEADINGS.join(" | "));
        for row in self.faults() {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text += "\nFaults of several kinds are under way at any time, so a pause of writes is that of all of them \
             together: a majority is often not there.\n";
        for failure in self.failures() {
            text += &format!("\nFAILED: {failure}\n");
        }
        text
    }
}

const HEADINGS: [&str; 6] = ["fault", "drawn", "effective", "on leader", "evidence", "longest pause of writes"];

/// By kind of fault, the longest time without an acknowledged write around one of them.
pub fn gaps_us(history: &History, performed: &[Performed]) -> BTreeMap<Kind, u64> {
    let done = history.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Done(_)));
    let mut moments: Vec<u64> = done.map(|attempt| attempt.returned_us).collect();
    moments.sort_unstable();
    let mut gaps = BTreeMap::new();
    for fault in performed {
        let first = moments.partition_point(|&moment| moment < fault.began_us).saturating_sub(1);
        let last = moments.partition_point(|&moment| moment <= fault.ended_us + AFTER_US);
        let around = &moments[first..(last + 1).min(moments.len())];
        let longest = around.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let gap = gaps.entry(fault.kind).or_insert(0);
        *gap = longest.max(*gap);
    }
    gaps
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [fault, drawn, effective, led, evidence, pause] = HEADINGS;
        writeln!(f, "{fault:<26} {drawn:>5} {effective:>9} {led:>9}  {evidence:<46} {pause:>23}")?;
        for [fault, drawn, effective, led, evidence, pause] in self.faults() {
            writeln!(f, "{fault:<26} {drawn:>5} {effective:>9} {led:>9}  {evidence:<46} {pause:>23}")?;
        }
        for (what, value) in self.facts() {
            writeln!(f, "{what:<19} {value}")?;
        }
        Ok(())
    }
}
