//! Which faults, drawn from a seed: the same seed gives the same faults in the same order in every lane, for as long as
//! a run lasts. What they meet, and so what comes of them, is the machine's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Kill,
    Pause,
    Transfer,
    Cut,
    OneWayCut,
    Delay,
    Throttle,
    Drop,
    Wipe,
    Flip,
    Truncate,
    FullDisk,
    SlowSync,
    FailedSync,
    ShiftedClock,
    SnapshotNeeded,
    Grow,
    Shrink,
}

pub const KINDS: [Kind; 18] = [
    Kind::Kill,
    Kind::Pause,
    Kind::Transfer,
    Kind::Cut,
    Kind::OneWayCut,
    Kind::Delay,
    Kind::Throttle,
    Kind::Drop,
    Kind::Wipe,
    Kind::Flip,
    Kind::Truncate,
    Kind::FullDisk,
    Kind::SlowSync,
    Kind::FailedSync,
    Kind::ShiftedClock,
    Kind::SnapshotNeeded,
    Kind::Grow,
    Kind::Shrink,
];

impl Kind {
    /// In a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Pause => "pause",
            Self::Transfer => "leadership transfer",
            Self::Cut => "link cut",
            Self::OneWayCut => "link cut one way",
            Self::Delay => "link delayed",
            Self::Throttle => "link throttled",
            Self::Drop => "link drops bytes",
            Self::Wipe => "directory wiped",
            Self::Flip => "bit flipped while down",
            Self::Truncate => "file truncated while down",
            Self::FullDisk => "disk full",
            Self::SlowSync => "sync slow",
            Self::FailedSync => "sync failed",
            Self::ShiftedClock => "clock shifted",
            Self::SnapshotNeeded => "left behind the log",
            Self::Grow => "3 to 5 voters",
            Self::Shrink => "5 to 3 voters",
        }
    }

    /// What its evidence counts.
    pub const fn evidence(self) -> &'static str {
        match self {
            Self::Kill => "processes ended by the signal",
            Self::Pause => "processes seen stopped",
            Self::Transfer => "other leaders after it",
            Self::Cut | Self::OneWayCut => "pieces held back",
            Self::Delay => "pieces delayed",
            Self::Throttle => "pieces slowed",
            Self::Drop => "bytes lost",
            Self::Wipe => "new ids that vote",
            Self::Flip | Self::Truncate => "refused to start, or unharmed",
            Self::FullDisk => "nodes that said so and waited",
            Self::SlowSync => "syncs delayed",
            Self::FailedSync => "processes ended by a sync that failed",
            Self::ShiftedClock => "readings of a wrong clock",
            Self::SnapshotNeeded => "snapshots installed",
            Self::Grow | Self::Shrink => "sets of voters reached",
        }
    }
}

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
    /// Whatever else is to be decided: the other end of a link, how far a clock is off, which bit.
    pub detail: u64,
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
        self.draw() % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn millis(&mut self, (from, to): (u64, u64)) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// Faults that come one after the other; those of other lanes go on beside them.
#[derive(Debug)]
pub struct Lane {
    pub name: &'static str,
    pub begins_after: Duration,
    /// With how often each is drawn in a hundred.
    pub kinds: &'static [(Kind, u64)],
    /// In a hundred.
    leaders: u64,
    lasts_ms: (u64, u64),
    pause_ms: (u64, u64),
}

/// What happens to processes is short and often; whatever takes a member away until another is in its place has a lane
/// of its own, so that there is at most one such at a time.
pub const LANES: [Lane; 6] = [
    Lane {
        name: "kills",
        begins_after: Duration::from_millis(500),
        kinds: &[(Kind::Kill, 100)],
        leaders: 48,
        lasts_ms: (50, 500),
        pause_ms: (900, 2300),
    },
    Lane {
        name: "processes",
        begins_after: Duration::from_millis(1500),
        kinds: &[(Kind::Pause, 70), (Kind::Transfer, 30)],
        leaders: 50,
        lasts_ms: (200, 1800),
        pause_ms: (1500, 5000),
    },
    Lane {
        name: "links",
        begins_after: Duration::from_millis(800),
        kinds: &[(Kind::Cut, 30), (Kind::OneWayCut, 20), (Kind::Delay, 20), (Kind::Throttle, 15), (Kind::Drop, 15)],
        leaders: 45,
        lasts_ms: (300, 1800),
        pause_ms: (800, 2500),
    },
    Lane {
        name: "volumes",
        begins_after: Duration::from_millis(0),
        kinds: &[(Kind::Wipe, 30), (Kind::Flip, 40), (Kind::Truncate, 30)],
        leaders: 30,
        lasts_ms: (100, 600),
        pause_ms: (500, 4000),
    },
    Lane {
        name: "disks and clocks",
        begins_after: Duration::from_millis(300),
        kinds: &[
            (Kind::FullDisk, 20),
            (Kind::SlowSync, 25),
            (Kind::FailedSync, 20),
            (Kind::ShiftedClock, 20),
            (Kind::SnapshotNeeded, 15),
        ],
        leaders: 45,
        lasts_ms: (800, 2500),
        pause_ms: (400, 1500),
    },
    Lane {
        name: "membership",
        begins_after: Duration::from_millis(2000),
        kinds: &[(Kind::Grow, 50), (Kind::Shrink, 50)],
        leaders: 0,
        lasts_ms: (1000, 6000),
        pause_ms: (1000, 6000),
    },
];

/// Without end: every kind of the lane once in an order of its own, then whatever comes.
#[derive(Debug)]
pub struct Schedule {
    dice: Dice,
    lane: &'static Lane,
    first: Vec<Kind>,
}

impl Schedule {
    pub fn new(seed: u64, lane: &'static Lane) -> Self {
        let letters = lane.name.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut dice = Dice::new(seed ^ letters);
        let mut first: Vec<Kind> = lane.kinds.iter().map(|(kind, _)| *kind).collect();
        for last in (1..first.len()).rev() {
            first.swap(last, usize::try_from(dice.below(last as u64 + 1)).expect("a small number"));
        }
        Self { dice, lane, first }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let (dice, lane) = (&mut self.dice, self.lane);
        // Every fault takes the same number of draws, so that what is decided while running changes nothing after it.
        let (mut draw, leads, nth, detail) = (dice.below(100), dice.percent(lane.leaders), dice.below(64), dice.draw());
        let (lasts, pause) = (dice.millis(lane.lasts_ms), dice.millis(lane.pause_ms));
        let drawn = lane.kinds.iter().find(|(_, share)| match draw.checked_sub(*share) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        let kind = self.first.pop().unwrap_or(drawn.expect("the shares add up to a hundred").0);
        let nth = u32::try_from(nth).expect("below 64");
        let target = if leads { Target::Leader } else { Target::Follower(nth) };
        Some(Fault { kind, target, detail, lasts, pause })
    }
}

pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    now.as_secs() % 1_000_000
}
