//! What a run did and what the judges say of it, as one table.

use std::collections::BTreeMap;
use std::fmt;

use carrel_history::{History, Judgement, Outcome};

use crate::faults::Performed;
use crate::schedule::{KINDS, Kind};

/// Recovery belongs to the fault: what is slow within a second of its end is counted as its doing.
const AFTER_US: u64 = 1_000_000;

#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub replicas: Vec<u32>,
    pub seconds: u64,
    pub performed: Vec<Performed>,
    pub attempts: usize,
    pub reads: usize,
    pub gaps_us: BTreeMap<Kind, u64>,
    pub judgement: Judgement,
    pub odd_refusals: BTreeMap<String, u64>,
    /// What went wrong beside what the judges found.
    pub troubles: Vec<String>,
    pub acknowledged_min: usize,
}

impl Report {
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.troubles.clone();
        failures.extend(self.judgement.violations.iter().take(20).map(ToString::to_string));
        failures.extend(self.judgement.undecided.iter().map(|seat| format!("{seat:?} was too much for the judge")));
        for kind in KINDS {
            if self.of(kind).filter(|performed| performed.took_effect).count() == 0 {
                failures.push(format!("{kind:?} never took effect"));
            }
        }
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

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Performed> {
        self.performed.iter().filter(move |performed| performed.kind == kind)
    }
}

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
        let Judgement { requests, acknowledged, refused, unknown, repeated, seats, violations, undecided } =
            &self.judgement;
        writeln!(f, "\nseed {}, replicas {:?}, {} s of faults", self.seed, self.replicas, self.seconds)?;
        writeln!(
            f,
            "{:<12} {:>6} {:>9} {:>10} {:>22}",
            "fault", "drawn", "effective", "on leader", "longest gap of writes"
        )?;
        for kind in KINDS {
            let effective = || self.of(kind).filter(|performed| performed.took_effect);
            let gap_ms = self.gaps_us.get(&kind).map_or(0, |gap_us| gap_us / 1000);
            let (drawn, led) = (self.of(kind).count(), effective().filter(|performed| performed.led).count());
            writeln!(f, "{:<12} {drawn:>6} {:>9} {led:>10} {gap_ms:>19} ms", format!("{kind:?}"), effective().count())?;
        }
        writeln!(
            f,
            "requests     {requests}, sent {} times, {repeated} more than once; {} reads",
            self.attempts, self.reads
        )?;
        writeln!(f, "             {acknowledged} acknowledged, {refused} refused, {unknown} unknown for good")?;
        if !self.odd_refusals.is_empty() {
            writeln!(f, "turned away  {:?}", self.odd_refusals)?;
        }
        writeln!(f, "judged       {seats} seats, {} undecided, {} violations", undecided.len(), violations.len())
    }
}
