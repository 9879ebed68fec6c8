//! Compiles the .proto files in Rust: no protoc is needed.

use std::path::PathBuf;
use std::{env, fs, io};

use prost::Message;

const FILES: [&str; 17] = [
    "carrel/v1/commit.proto",
    "carrel/v1/auth.proto",
    "carrel/v1/user.proto",
    "carrel/v1/catalog.proto",
    "carrel/v1/seat.proto",
    "carrel/v1/reservation.proto",
    "carrel/v1/waitlist.proto",
    "carrel/v1/inbox.proto",
    "carrel/v1/message.proto",
    "carrel/v1/report.proto",
    "carrel/v1/role.proto",
    "carrel/v1/audit.proto",
    "carrel/v1/calendar.proto",
    "carrel/v1/integration.proto",
    "carrel/admin/v1/cluster.proto",
    "carrel/admin/v1/projection.proto",
    "carrel/peer/v1/peer.proto",
];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // Every message knows its full name, by which its descriptor is found: for JSON.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Bytes that pass through untouched on their way to and from the log.
        .bytes(".carrel.peer.v1")
        .btree_map(".")
        .compile_fds_with_config(descriptors, config)
}
