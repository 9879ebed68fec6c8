//! The client port as clients see it: a real server on loopback, over one state instead of a cluster.

mod bad_input;
mod browser;
mod catalogue;
mod desk;
mod inbox;
mod retries;
mod story;
mod trouble;
