//! What an applied request answers, and what it made happen.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::query::{ClaimView, MessageView, UserView, WaitView};
use crate::refusal::Refusal;
use crate::request::At;
use crate::time::Timestamp;

/// The outcome of one entry: the same on every replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub reply: Answer,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub result: Result<Reply, Refusal>,
    /// Of the entry that decided it: for a replayed answer the first one.
    pub at: At,
    /// From the record of an earlier request with the same id.
    pub replayed: bool,
}

/// Complete in itself: names are in it, so that any node can pass it on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    User(UserView),
    Session {
        user: UserView,
        expires_at: Timestamp,
        unread_count: u32,
    },
    Catalog(ImportSummary),
    Claim(ClaimView),
    Wait(WaitView),
    Message(MessageView),
    Unread {
        count: u32,
    },
    /// One outcome per wish, in their order. Of a group booking all are claims.
    Claims(Vec<Result<ClaimView, Refusal>>),
    Closure(ClosureSummary),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportSummary {
    pub revision: u64,
    pub branch_count: u32,
    pub area_count: u32,
    pub seat_count: u32,
    pub displaced_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureSummary {
    pub seat_count: u32,
    /// Claims that went to another seat.
    pub moved_count: u32,
    /// Claims for which there was none.
    pub displaced_count: u32,
}
