//! Between the planner and the nodes: asks each node by its admin port who it is, makes an observation of the answers,
//! and performs what a step asks of the nodes. It decides nothing.
//!
//! Whoever runs nodes, as processes or as pods, performs the other steps itself: what runs, what is recorded, which
//! volume is there.

mod doors;
mod translate;

pub use doors::{Doors, Limits, NotDone};
pub use translate::Answers;
