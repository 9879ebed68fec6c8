//! What one entry does besides changing the state: its place in the order, and what it made happen.

use crate::event::{Cause, Change, Event, Reason};
use crate::id::Position;
use crate::request::At;
use crate::text::Title;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Effects {
    at: At,
    next_ordinal: u32,
    cause: Cause,
    events: Vec<Event>,
}

impl Effects {
    /// At first it is time that makes things happen.
    pub fn new(at: At) -> Self {
        Self { at, next_ordinal: 0, cause: Cause::time(Reason::TimePassed), events: Vec::new() }
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

    /// What happens from now on happens for this cause.
    pub fn because(&mut self, cause: Cause) {
        self.cause = cause;
    }

    /// In the words of staff, if they said anything.
    pub fn noted(&mut self, note: Option<&Title>) {
        self.cause.note = note.cloned();
    }

    pub fn happened(&mut self, change: Change) {
        self.events.push(Event { cause: self.cause.clone(), change });
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}
