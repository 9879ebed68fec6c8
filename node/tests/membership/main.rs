//! Real nodes, one process each, run by nobody but these stories: founded, grown, paused, shouted at and sent away by
//! way of their admin ports.

mod nodes;
mod load;
mod administration;
mod commands;
mod paused;
mod noise;
mod goodbye;
