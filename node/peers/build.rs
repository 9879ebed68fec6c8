//! Compiles the part of etcd's API that is used here, in Rust: no protoc is needed.

use std::io;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["etcd.proto"], ["proto"]).map_err(io::Error::other)?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)
}
