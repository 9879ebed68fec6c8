//! What each of the three is asked for, and what it may answer.

use std::time::Duration;

/// A half hour of a seat, both by number: each contender has its own words for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub seat: usize,
    pub slot: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// Somebody else has the seat: an answer like any other.
    Taken,
    Failed(String),
}

/// One of those who are measured. Clients are numbered from zero, and one asks one thing at a time.
pub trait Contender: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Books a place that nobody has asked for before.
    fn book(&self, client: Turn) -> impl Future<Output = Answer> + Send;

    /// Books a place that others may want at the same moment.
    fn contend(&self, client: usize, place: Place) -> impl Future<Output = Answer> + Send;

    /// Looks for seats of a branch that are free in some slot: a page of them.
    fn search(&self, client: Turn) -> impl Future<Output = Answer> + Send;
}

/// One that goes on without its leader.
pub trait Replicated: Contender {
    /// Kills the process that leads.
    fn kill_leader(&self) -> impl Future<Output = anyhow::Result<Killed>> + Send;

    /// Starts again what was killed, and returns when it takes part again.
    fn restore(&self, killed: Killed) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Which member was killed.
#[derive(Clone, Copy, Debug)]
pub struct Killed(pub usize);

/// Whose turn it is: of so many clients, and for which time.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub client: usize,
    pub clients: usize,
    pub round: usize,
}

/// Seats there are, for whoever wants to book distinct ones: one for each of a thousand people.
pub const SEATS: usize = 1_200;
pub const BRANCHES: usize = 4;
pub const SEATS_PER_BRANCH: usize = SEATS / BRANCHES;
/// Two months of half hours, less than a policy's window.
pub const DAYS: usize = 60;
pub const SLOTS_PER_DAY: usize = 48;
pub const SLOTS: usize = DAYS * SLOTS_PER_DAY;
pub const SLOT_SECONDS: u64 = 1800;
/// What a page of the seat map shows.
pub const PAGE: i32 = 49;
/// Patience with one call, after which it has failed.
pub const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Where others listen, as far as a process may need to start.
pub const READY_LIMIT: Duration = Duration::from_secs(150);

/// The n-th slot of a seat that is to be booked: one on every day, then the next on every day, so that a person's
/// bookings spread as they do in life.
pub fn spread(nth: usize) -> usize {
    (nth % DAYS) * SLOTS_PER_DAY + (nth / DAYS) % SLOTS_PER_DAY
}

/// Over which of so many connections a client asks: one for every few, for a single one is a bottleneck of its own.
pub const CONNECTIONS: usize = 8;

/// Slots from the beginning of the day after tomorrow on, so that none begins meanwhile.
pub fn first_slot_seconds() -> u64 {
    const DAY: u64 = 24 * 3600;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    now - now % DAY + 2 * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_of_a_seat_comes_up_once() {
        let mut slots: Vec<usize> = (0..SLOTS).map(spread).collect();
        slots.sort_unstable();
        assert!(slots.iter().copied().eq(0..SLOTS));
    }
}
