//! Everything that is decoded, each kind with targets of its own.

mod calls;
mod disks;
mod entries;
mod files;
#[path = "../../../tests/client_port/desk.rs"]
#[allow(dead_code, reason = "the people of the client port's tests need more of it")]
mod desk;
