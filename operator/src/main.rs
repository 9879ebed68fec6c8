//! `carrel-operator`: runs Carrel clusters on Kubernetes, and prints the definitions of what it looks after.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use carrel_operator::crd;
use carrel_operator::run::{self, RunArgs};
use clap::{Parser, Subcommand};

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Crd { dir } => print_definitions(dir),
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
