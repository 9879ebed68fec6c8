//! The `carrel` binary: the service and everything that talks to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    carrel_node::cli::main()
}
