//! The client port as clients see it: a real server on loopback, over one state instead of a cluster.

mod authority;
mod bad_input;
mod bounds;
mod browser;
mod catalogue;
mod desk;
mod inbox;
mod old_tokens;
mod retries;
mod rules;
mod seat_map;
mod story;
mod strange_frames;
mod trouble;
