//! Which faults, drawn from a seed: the same seed gives the same faults in the same order, for as long as a run lasts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Kill,
    Pause,
    Cut,
    OneWayCut,
    Delay,
    Throttle,
    Drop,
    Wipe,
    Transfer,
}

pub const KINDS: [Kind; 9] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Cut,
    Kind::OneWayCut,
    Kind::Delay,
    Kind::Throttle,
    Kind::Drop,
    Kind::Wipe,
    Kind::Transfer,
];

/// Whom a fault meets; who leads is only known when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Leader,
    /// The nth of those that follow, counted round.
    Follower(u32),
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub target: Target,
    /// For a link: the other end, counted from the target.
    pub other: u32,
    pub lasts: Duration,
    /// Until the next one.
    pub pause: Duration,
}

/// SplitMix64: small, and the same everywhere and for ever.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// What happens to processes, with how often each is drawn in a hundred.
const ON_PROCESSES: [(Kind, u64); 4] = [(Kind::Kill, 65), (Kind::Pause, 15), (Kind::Wipe, 8), (Kind::Transfer, 12)];
/// What happens between them, meanwhile.
const ON_LINKS: [(Kind, u64); 5] =
    [(Kind::Cut, 30), (Kind::OneWayCut, 20), (Kind::Delay, 20), (Kind::Throttle, 15), (Kind::Drop, 15)];

/// Without end: every kind once in an order of its own, then whatever comes.
#[derive(Debug)]
pub struct Schedule {
    dice: Dice,
    kinds: &'static [(Kind, u64)],
    first: Vec<Kind>,
}

impl Schedule {
    pub fn on_processes(seed: u64) -> Self {
        Self::new(Dice::new(seed), &ON_PROCESSES)
    }

    pub fn on_links(seed: u64) -> Self {
        Self::new(Dice::new(!seed), &ON_LINKS)
    }

    fn new(mut dice: Dice, kinds: &'static [(Kind, u64)]) -> Self {
        let mut first: Vec<Kind> = kinds.iter().map(|(kind, _)| *kind).collect();
        for last in (1..first.len()).rev() {
            first.swap(last, usize::try_from(dice.below(last as u64 + 1)).expect("a small number"));
        }
        Self { dice, kinds, first }
    }

    pub fn kinds(&self) -> &'static [(Kind, u64)] {
        self.kinds
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let dice = &mut self.dice;
        // Every fault takes the same number of draws, so that what is decided while running changes nothing after it.
        let (mut draw, leads, nth, other) = (dice.below(100), dice.percent(45), dice.below(64), dice.below(64));
        let (lasts, pause) = (dice.millis(300, 1800), dice.millis(300, 900));
        let drawn = self.kinds.iter().find(|(_, share)| match draw.checked_sub(*share) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        let kind = self.first.pop().unwrap_or(drawn.expect("the shares add up to a hundred").0);
        let small = |number: u64| u32::try_from(number).expect("below 64");
        // Whose disk is lost is a minority, and not the one that has everything.
        let target = if leads && kind != Kind::Wipe { Target::Leader } else { Target::Follower(small(nth)) };
        Some(Fault { kind, target, other: small(other), lasts, pause })
    }
}

pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    now.as_secs() % 1_000_000
}
