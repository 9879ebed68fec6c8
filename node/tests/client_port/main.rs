//! The client port as clients see it: a real server on loopback, over one state instead of a cluster.

mod audiences;
mod audit;
mod authority;
mod bad_input;
mod bounds;
mod calendar;
mod browser;
mod catalogue;
mod desk;
mod hostile;
mod inbox;
mod old_tokens;
mod refusals;
mod retries;
mod rules;
mod seat_map;
mod sessions;
mod story;
mod strange_frames;
mod trouble;
