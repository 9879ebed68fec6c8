//! `kubectl carrel`: looks at clusters, foretells what the operator would do, and brings their ports here.
//!
//! It changes nothing but what it says it changes: a recovery, and only once somebody has read what may be lost by it.

mod failure;
mod text;
mod access;
mod forward;
mod nodes;
mod connect;
mod status;
mod explain;
mod plan;
mod recover;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use access::Access;
use failure::Failure;

/// Look at Carrel clusters on Kubernetes, and talk to them from here
#[derive(Parser, Debug)]
#[command(name = "kubectl carrel", bin_name = "kubectl carrel", version, propagate_version = true)]
#[command(max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
A cluster need not be named where there is only one.

  kubectl carrel status                          how it stands, node by node
  kubectl carrel explain                         what the operator does, why, and what each guard says
  kubectl carrel plan --replicas 5               every step of a change, before it is asked for
  kubectl carrel connect                         http://127.0.0.1:7400 is the page; carrel seats search works

Exit codes: 0 done, 1 refused or not as it should be, 2 wrong usage, 3 no cluster in reach.")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
struct Globals {
    /// Where the cluster is [default: the namespace of the context]
    #[arg(short, long, value_name = "NAMESPACE", global = true)]
    namespace: Option<String>,
    /// Of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", global = true)]
    context: Option<String>,
    /// Another kubeconfig [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Text for people, or one line of JSON for programs
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
    /// ca.crt, tls.crt and tls.key to call admin ports with, where the operator does not make them (tls.mode Secret)
    #[arg(long, env = "CARREL_ADMIN_TLS_DIR", value_name = "DIR", hide_env_values = true, global = true)]
    tls_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    Connect(connect::Connect),
    Status(status::Status),
    Explain(explain::Explain),
    Plan(plan::PlanChange),
    Recover(recover::Recover),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    let output = globals.output;
    match run(globals, command).await {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    }
}

async fn run(globals: Globals, command: Command) -> Result<ExitCode, Failure> {
    let access = Access::open(globals).await?;
    match command {
        Command::Connect(command) => command.run(&access).await,
        Command::Status(command) => command.run(&access).await,
        Command::Explain(command) => command.run(&access).await,
        Command::Plan(command) => command.run(&access).await,
        Command::Recover(command) => command.run(&access).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
