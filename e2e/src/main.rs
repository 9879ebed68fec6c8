//! `carrel-e2e`: tells stories on a real Kubernetes, one after the other, each in a namespace of its own, and writes
//! down what was measured. Runs where the cluster's pods, services and names are in reach: `make e2e` sees to that.

mod crowd;
mod dump;
mod ground;
mod jobs;
mod leftover;
mod library;
mod recovery;
mod report;
mod stories;
mod wait;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;

use ground::Ground;
use report::{Report, Told};

/// Stories on a real Kubernetes
#[derive(Parser, Debug)]
struct Cli {
    /// Only these, by name
    stories: Vec<String>,

    /// Only those that every landing tells
    #[arg(long, conflicts_with = "stories")]
    short: bool,

    /// Say what there is, and tell nothing
    #[arg(long)]
    list: bool,

    /// The Helm that installs the chart
    #[arg(long, env = "CARREL_E2E_HELM", value_name = "PROGRAM", default_value = "helm")]
    helm: PathBuf,

    /// The chart
    #[arg(long, value_name = "DIR", default_value = "charts/carrel")]
    chart: PathBuf,

    /// Another value for every installation, as Helm takes it
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Tag of localhost/carrel in the cluster
    #[arg(long, env = "CARREL_E2E_TAG", value_name = "TAG", default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,

    /// Another tag of it there, to roll out
    #[arg(long, env = "CARREL_E2E_NEXT_TAG", value_name = "TAG", default_value = concat!(env!("CARGO_PKG_VERSION"), "-next"))]
    next_tag: String,

    /// The script of a localkube, for stories that take machines away
    #[arg(long, env = "CARREL_E2E_LOCALKUBE", value_name = "PROGRAM")]
    localkube: Option<PathBuf>,

    /// Write what was measured here; what it says of stories that are not told now stays
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write here what a cluster said when its story went wrong
    #[arg(long, value_name = "DIR", default_value = "target/e2e")]
    dumps: PathBuf,

    /// Leave the namespace of a story that went wrong as it is
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let all = stories::all();
    if cli.list {
        for story in &all {
            println!("{:<24} {}{}", story.name, story.what, if story.is_short { " (short form)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    for name in &cli.stories {
        anyhow::ensure!(all.iter().any(|story| story.name == name), "there is no story {name}: see --list");
    }
    let is_asked_for = |story: &&stories::Story| match (&cli.stories[..], cli.short) {
        ([], true) => story.is_short,
        ([], false) => true,
        (names, _) => names.iter().any(|name| name == story.name),
    };
    let ground = Ground::new(&cli).await?;
    let mut report = Report::new(&ground, all.iter().map(|story| story.name).collect()).await?;
    for story in all.iter().filter(is_asked_for) {
        println!("{}: {}", story.name, story.what);
        let told = tell(story, &ground).await;
        report.add(story.name, story.what, &told);
        if let Some(file) = &cli.report {
            report.write(file)?;
        }
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tell(story: &stories::Story, ground: &Arc<Ground>) -> Told {
    if story.needs_localkube && ground.localkube.is_none() {
        println!("    not told, for it does to machines what only localkube can do");
        return Told::NotHere;
    }
    let began = Instant::now();
    let outcome = (story.tell)(ground.clone()).await;
    let seconds = began.elapsed().as_secs();
    match outcome {
        Ok(figures) => {
            for figure in &figures {
                println!("    {figure}");
            }
            println!("    told in {seconds} s");
            Told::Well { seconds, figures }
        }
        Err(error) => {
            println!("    WENT WRONG after {seconds} s: {error:#}");
            Told::Badly { seconds, why: format!("{error:#}") }
        }
    }
}
