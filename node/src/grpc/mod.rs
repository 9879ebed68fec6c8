//! The client port: `carrel.v1` over gRPC and gRPC-web, health, reflection and the page.
//!
//! A handler reads the request, asks the library and puts the answer into words; everything it needs for that is named
//! in it. What is the same for all lives in `front` and `call`, what happens before and after a handler in `bounds`.

// In reading order: what is asked of the replica, one service per file, the port around them.
pub mod library;
pub mod front;
pub mod call;
mod explaining;
pub mod fair_share;
pub mod session;
pub mod auth;
pub mod users;
pub mod catalog;
pub mod seats;
pub mod seat_map;
pub mod reservations;
pub mod waitlist;
pub mod inbox;
pub mod watch;
pub mod messages;
pub mod reports;
pub mod audit;
pub mod calendars;
pub mod webhooks;
pub mod cluster;
pub mod projection;
mod cluster_watch;
mod backup;
mod bounds;
pub mod request_metrics;
pub mod server;
