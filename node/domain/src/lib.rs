//! The rules of a library: who may sit where and when, who waits, who is told what.
//!
//! [`State::apply`](state::State::apply) is the only way in which anything changes. It takes the place and time of a
//! log entry and a [`Request`](request::Request), and returns the answer and what happened. It reads no clock, throws
//! no dice, does no IO and never iterates in an order that depends on a hash, so every replica that applies the same
//! entries holds the same state. A refusal is an answer; an assertion is a bug, and nothing that a client sends can
//! reach one.
//!
//! Everything that occupies a seat is a [`Claim`](claim::Claim). What falls due is kept in one ordered set and fired by
//! the passing of log time, before the request of the entry that brings the time.
//!
//! **Invariants said as absences.** No `SystemTime`, no `Instant`, no random number, no `HashMap`, no thread, no file,
//! no floating-point arithmetic, no local time: opening hours arrive as instants.

// In reading order: the words, what is asked and answered, the one function, the rules, reading and keeping.
pub mod id;
pub mod time;
pub mod text;
pub mod catalog;
pub mod calendar;
pub mod request;
pub mod refusal;
pub mod reply;
pub mod event;
pub mod state;
mod effects;
mod table;
mod scroll;
pub mod account;
pub mod claim;
mod packed;
mod lifecycle;
mod place;
mod rules;
pub mod quota;
mod booking;
mod change;
pub mod group;
pub mod presence;
pub mod strike;
pub mod closure;
pub mod waitlist;
mod offer;
pub mod inbox;
pub mod audience;
pub mod mail;
pub mod deadline;
pub mod record;
pub mod outbox;
pub mod history;
pub mod audit;
pub mod webhook;
mod import;
pub mod explain;
pub mod census;
pub mod tally;
pub mod query;
pub mod invariants;
pub mod planted;
pub mod format;
