//! Where all chance of a run comes from: one number, and streams of throws that follow from it.

use std::ops::Range;
use std::time::Duration;

/// SplitMix64: a handful of lines, and the same throws for ever, whatever a library does.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A stream of its own, so that who throws more often does not change what others throw.
    #[must_use]
    pub fn fork(&mut self, name: u64) -> Self {
        Self { state: self.throw() ^ name.wrapping_mul(0xd6e8_feb8_6659_fd93) }
    }

    pub fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`; `count` is not 0.
    pub fn below(&mut self, count: u64) -> u64 {
        self.throw() % count
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub fn micros(&mut self, range: Range<u64>) -> Duration {
        Duration::from_micros(self.within(range))
    }

    pub fn happens(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// One of some; none of none.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.below(among.len() as u64) as usize) }
    }

    pub fn uuid(&mut self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.throw(), self.throw())
    }
}
