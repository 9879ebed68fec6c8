//! What happened, in words where somebody wants to read it, and always as a number that two runs can be compared by.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::machine::TrueTime;

/// Lines that are kept of a run whose story is told; more than any run has.
const LINES_MAX: usize = 200_000;

pub struct Story {
    time: TrueTime,
    told: Mutex<Told>,
}

struct Told {
    /// FNV-1a over everything that happened and when.
    trace: u64,
    events: u64,
    /// None: nobody wants to read it.
    lines: Option<Vec<String>>,
}

impl Story {
    #[must_use]
    pub fn new(time: TrueTime, is_wanted: bool) -> Self {
        let told = Told { trace: 0xcbf2_9ce4_8422_2325, events: 0, lines: is_wanted.then(Vec::new) };
        Self { time, told: Mutex::new(told) }
    }

    /// Something that a reader wants to know.
    pub fn tell(&self, what: fmt::Arguments<'_>) {
        let at = self.time.elapsed();
        let text = what.to_string();
        let mut told = self.told();
        told.follow(at, text.as_bytes());
        if let Some(lines) = &mut told.lines
            && lines.len() < LINES_MAX
        {
            lines.push(format!("{:>10.6} {text}", at.as_secs_f64()));
        }
    }

    /// Something of which there is far too much to read.
    pub fn trace(&self, what: &[u64]) {
        let at = self.time.elapsed();
        let mut told = self.told();
        let bytes: Vec<u8> = what.iter().flat_map(|number| number.to_le_bytes()).collect();
        told.follow(at, &bytes);
    }

    /// The number that stands for everything so far.
    pub fn hash(&self) -> u64 {
        self.told().trace
    }

    pub fn events(&self) -> u64 {
        self.told().events
    }

    pub fn lines(&self) -> Vec<String> {
        self.told().lines.clone().unwrap_or_default()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().expect("nothing panics while it holds the lock")
    }
}

impl Told {
    fn follow(&mut self, at: Duration, bytes: &[u8]) {
        self.events += 1;
        let at_ns = u64::try_from(at.as_nanos()).expect("a run is short");
        for byte in at_ns.to_le_bytes().iter().chain(bytes) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Story").field("hash", &self.hash()).finish_non_exhaustive()
    }
}
