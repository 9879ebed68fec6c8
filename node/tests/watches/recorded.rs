//! What was seen in the course of the day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

/// Where it stands in the log.
pub type Place = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub position: Place,
    pub text: String,
    pub token: String,
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub position: usize,
    pub is_snapshot: bool,
    /// Seats that are not free, as far as this frame speaks of them.
    pub taken: BTreeSet<String>,
}

/// What came after a token, on one node, and what should have.
#[derive(Debug)]
pub struct Resumed {
    pub node: usize,
    pub after: Place,
    pub got: Vec<Place>,
    pub expected: Vec<Place>,
}

#[derive(Debug)]
pub struct Day {
    pub written: Vec<String>,
    /// Of each reader of the one inbox, through all nodes that it came by.
    pub inboxes: Vec<Vec<Item>>,
    pub maps: Vec<Vec<Frame>>,
    /// Seats that one entry closed.
    pub closed: BTreeSet<String>,
    /// Of each reader, through all nodes that it came by: the log entry of the membership that it was told.
    pub clusters: Vec<Vec<u64>>,
    pub bookmarks: Vec<(&'static str, Duration)>,
    pub resumed: Vec<Resumed>,
    /// Seats by name: whether they are free.
    pub maps_resumed: Vec<BTreeMap<String, bool>>,
    pub map_at_the_end: BTreeMap<String, bool>,
}

/// The one day of all tests of this file.
pub fn day() -> &'static Day {
    static DAY: OnceLock<Day> = OnceLock::new();
    DAY.get_or_init(crate::day::live)
}
