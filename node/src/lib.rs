//! The service, and the `carrel` command line.

// In reading order: a node and its parts from the outside in, then what is made of them on the command line.
pub mod tls;
pub mod passwords;
pub mod convert;
pub mod replica;
pub mod raft;
pub mod calendar;
pub mod catalog;
