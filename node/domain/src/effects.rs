//! What one entry does besides changing the state: its place in the order, and what it made happen.

use crate::id::Position;
use crate::reply::Event;
use crate::request::At;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Effects {
    at: At,
    next_ordinal: u32,
    events: Vec<Event>,
}

impl Effects {
    pub fn new(at: At) -> Self {
        Self { at, next_ordinal: 0, events: Vec::new() }
    }

    pub fn at(&self) -> At {
        self.at
    }

    pub fn now(&self) -> Timestamp {
        self.at.time
    }

    /// A place in the order of everything that nobody else has.
    pub fn next_position(&mut self) -> Position {
        let position = Position { index: self.at.index, ordinal: self.next_ordinal };
        self.next_ordinal += 1;
        position
    }

    pub fn happened(&mut self, event: Event) {
        self.events.push(event);
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}
