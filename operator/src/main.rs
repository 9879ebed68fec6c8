//! `carrel-operator`: runs Carrel clusters on Kubernetes, and prints what it needs there: the definitions of what it
//! looks after, and its rights.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use carrel_operator::crd;
use carrel_operator::role::{self, Holder};
use carrel_operator::run::{self, RunArgs, Watch};
use clap::{Args, Parser, Subcommand};

/// Runs Carrel clusters on Kubernetes
#[derive(Parser, Debug)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Look after the clusters there are
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crd {
        /// Write each to a file of its own here instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the ServiceAccount, Roles and bindings of an operator as YAML: what it may do, and no more
    Role(RoleArgs),
}

#[derive(Args, Debug)]
struct RoleArgs {
    /// Where the operator runs
    #[arg(long, value_name = "NAMESPACE", default_value = "carrel")]
    namespace: String,

    /// Of the ServiceAccount, the Roles and the bindings
    #[arg(long, value_name = "NAME", default_value = "carrel-operator")]
    name: String,

    /// It looks after clusters of its own namespace, or of all
    #[arg(long, value_enum, default_value_t = Watch::Namespace)]
    watch: Watch,

    /// As in `carrel-operator run --lease`
    #[arg(long, value_name = "NAME", default_value = "carrel-operator")]
    lease: String,

    /// No right to Secrets: every cluster has tls.mode Secret or Disabled
    #[arg(long)]
    without_secrets: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Crd { dir } => print_definitions(dir),
        Command::Role(args) => print_role(args),
    }
}

fn print_definitions(dir: Option<PathBuf>) -> anyhow::Result<()> {
    for (file, definition) in crd::definitions() {
        let text = crd::yaml(&definition)?;
        match &dir {
            Some(dir) => {
                let path = dir.join(file);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write!(std::io::stdout(), "---\n{text}")?,
        }
    }
    Ok(())
}

fn print_role(RoleArgs { namespace, name, watch, lease, without_secrets }: RoleArgs) -> anyhow::Result<()> {
    let holder = Holder { name, namespace, watch, lease, makes_keys: !without_secrets };
    write!(std::io::stdout(), "{}", role::yaml(&holder.objects())?)?;
    Ok(())
}
