//! The service, and the `carrel` command line.

// In reading order: a node and its parts from the outside in, then what is made of them on the command line.
pub mod config;
pub mod start;
pub mod tls;
pub mod connections;
pub mod page;
pub mod passwords;
pub mod grpc;
pub mod timeout;
pub mod convert;
pub mod replica;
pub mod raft;
pub mod live;
pub mod projection;
pub mod outward;
pub mod reports;
pub mod provision;
pub mod calendar;
pub mod ical;
pub mod catalog;
pub mod health;
pub mod metrics;
pub mod scrape;
pub mod traces;
pub mod cli;
pub mod demo;
pub mod certs;
pub mod bench;

/// In the library, so that what is measured in tests is what serves people.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
