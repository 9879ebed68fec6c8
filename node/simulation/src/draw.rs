//! What a seed draws: the size of the cluster, how it is set up, and which disasters there will be at all.
//!
//! Each seed leaves most kinds of faults out and has much of the rest, for faults of one kind hide those of another: a
//! cluster that is always split never gets far enough to lose anything.

use std::time::Duration;

use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    CutOneWay,
    Partition,
    IsolateLeader,
    Clog,
    Pause,
    PauseLeader,
    Suspend,
    Kill,
    PowerLoss,
    AllPowerLoss,
    LongOutage,
    StopOrderly,
    SlowDisk,
    FullDisk,
    FailSync,
    Damage,
    LoseDisk,
    ClockJump,
    Transfer,
    Resize,
    StopRecord,
    CutRecord,
    SlowRecord,
    RestoreRecord,
}

impl Fault {
    pub const ALL: [Self; 24] = [
        Self::CutOneWay,
        Self::Partition,
        Self::IsolateLeader,
        Self::Clog,
        Self::Pause,
        Self::PauseLeader,
        Self::Suspend,
        Self::Kill,
        Self::PowerLoss,
        Self::AllPowerLoss,
        Self::LongOutage,
        Self::StopOrderly,
        Self::SlowDisk,
        Self::FullDisk,
        Self::FailSync,
        Self::Damage,
        Self::LoseDisk,
        Self::ClockJump,
        Self::Transfer,
        Self::Resize,
        Self::StopRecord,
        Self::CutRecord,
        Self::SlowRecord,
        Self::RestoreRecord,
    ];

    /// The mixture that has broken replicated databases of others: partition, kill, pause, lost disk, membership.
    const MIXED: [Self; 7] =
        [Self::Partition, Self::IsolateLeader, Self::Kill, Self::PowerLoss, Self::Pause, Self::LoseDisk, Self::Resize];

    const fn is_of_record(self) -> bool {
        matches!(self, Self::StopRecord | Self::CutRecord | Self::SlowRecord | Self::RestoreRecord)
    }

    /// What one node alone can bear.
    const fn suits_one_node(self) -> bool {
        !matches!(
            self,
            Self::CutOneWay
                | Self::Partition
                | Self::IsolateLeader
                | Self::Clog
                | Self::Damage
                | Self::LoseDisk
                | Self::ClockJump
                | Self::Transfer
                | Self::Resize
        )
    }
}

#[derive(Clone, Debug)]
pub struct Draw {
    pub seed: u64,
    /// Voters that are wanted at first.
    pub size: u32,
    pub faults: Vec<Fault>,
    /// Partition, kill, pause, lost disks and membership are all among the faults.
    pub is_mixed: bool,
    /// Between two faults.
    pub every: std::ops::Range<u64>,
    pub storm: Duration,
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    pub loss_permille: u32,
    pub twice_permille: u32,
    /// One way.
    pub delay_us: std::ops::Range<u64>,
    /// Messages of a thousand that take far longer than the others, and are overtaken.
    pub straggler_permille: u32,
    pub sync_us: u64,
    pub snapshot_log_bytes: u64,
    pub snapshot_check: Duration,
    pub segment_bytes: u64,
    pub hesitates_permille: u32,
    /// By slot; at most one is wrong by up to an hour.
    pub clock_offsets_us: Vec<i64>,
    pub wrong_clock: Option<usize>,
    pub bookers: u32,
    pub guests: u32,
    /// Somebody looks again and again at the node that led.
    pub has_screen: bool,
    pub pause_between_requests_ms: std::ops::Range<u64>,
    /// Everything takes its time: what is held at the beginning expires while things go wrong.
    pub is_slow: bool,
    /// A relational record is kept.
    pub has_record: bool,
    /// Connections of a thousand that end when a commit is on its way.
    pub commit_breaks_permille: u32,
}

/// Slots that there are: five, and two for those that come while others leave.
pub const SLOTS: u32 = 7;

impl Draw {
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed ^ 0x5ca1_ab1e);
        let is_mixed = seed.is_multiple_of(4);
        let size = match dice.below(10) {
            _ if is_mixed && dice.happens(700) => 3,
            _ if is_mixed => 5,
            0 => 1,
            1..=6 => 3,
            _ => 5,
        };
        let has_record = dice.happens(600);
        let mut faults: Vec<Fault> = if is_mixed { Fault::MIXED.to_vec() } else { Vec::new() };
        let share = dice.within(150..600) as u32;
        for fault in Fault::ALL {
            let suits = (size > 1 || fault.suits_one_node()) && (has_record || !fault.is_of_record());
            if !faults.contains(&fault) && dice.happens(share) && suits {
                faults.push(fault);
            }
        }
        if faults.is_empty() {
            faults.push(if size == 1 { Fault::PowerLoss } else { Fault::IsolateLeader });
        }
        let is_calm_network = dice.happens(400);
        let election_min_ms = [200, 200, 300, 150][dice.below(4) as usize];
        // One: of a bare majority that answers, it must not be the one in the middle. Not the first, which is alone
        // with its clock while it founds the cluster.
        let wrong_clock = (size > 1 && dice.happens(600)).then(|| dice.within(1..u64::from(size)) as usize);
        let clock_offsets_us = (0..SLOTS as usize)
            .map(|slot| {
                let spread_us = if wrong_clock == Some(slot) { 3_600_000_000 } else { 20_000 };
                dice.below(2 * spread_us) as i64 - spread_us as i64
            })
            .collect();
        let from_us = dice.within(50..2_000);
        let spread_us = [1_000, 10_000, 40_000][dice.below(3) as usize];
        let slowest_us = from_us + dice.within(100..spread_us);
        let is_slow = dice.happens(250);
        let gap_ms = dice.within(150..2_500) * if is_slow { 4 } else { 1 };
        let think_ms = dice.within(5..120) * if is_slow { 4 } else { 1 };
        Self {
            seed,
            size,
            faults,
            is_mixed,
            every: gap_ms / 3..gap_ms * 2,
            storm: dice.millis(if is_slow { 64_000..80_000 } else { 6_000..16_000 }),
            heartbeat_ms: election_min_ms * 3 / 10,
            election_min_ms,
            election_max_ms: election_min_ms + dice.within(100..300),
            loss_permille: if is_calm_network { 0 } else { dice.within(0..80) as u32 },
            twice_permille: if is_calm_network { 0 } else { dice.within(0..100) as u32 },
            delay_us: from_us..slowest_us,
            straggler_permille: if is_calm_network { 0 } else { dice.within(0..30) as u32 },
            sync_us: [50, 300, 1_000, 5_000][dice.below(4) as usize],
            snapshot_log_bytes: [500, 2_000, 8_000, 1_000_000][dice.below(4) as usize],
            snapshot_check: dice.millis(30..400),
            segment_bytes: [4_096, 16_384, 65_536][dice.below(3) as usize],
            hesitates_permille: [0, 0, 20, 100][dice.below(4) as usize],
            clock_offsets_us,
            wrong_clock,
            bookers: dice.within(2..6) as u32,
            guests: dice.within(2..4) as u32,
            has_screen: dice.happens(500),
            pause_between_requests_ms: think_ms / 2..think_ms * 2,
            is_slow,
            has_record,
            commit_breaks_permille: [0, 20, 100, 300][dice.below(4) as usize],
        }
    }

    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
