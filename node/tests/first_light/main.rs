//! The whole thing as a stranger meets it: `carrel demo` and the command line, on real processes.

mod bad_input;
mod failover;
mod figures;
mod resize;
mod stage;
mod story;
