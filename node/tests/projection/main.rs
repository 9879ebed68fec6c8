//! The relational record against a real Postgres: everything that goes wrong with one, and the proof after each of it
//! that rows and state are equal.

#[path = "../first_light/stage.rs"]
#[expect(dead_code, reason = "the stage is shared, and nothing here uses all of it")]
mod stage;

#[path = "../chaos/shim.rs"]
#[expect(dead_code, reason = "of what stands under a replica only its clock is wanted here")]
mod shim;

#[path = "../storage/small_disk.rs"]
mod small_disk;

mod bad_input;
mod counted;
mod database;
mod disk_and_tls;
mod following;
mod history;
mod proxy;
mod world;
