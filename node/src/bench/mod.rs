//! `carrel bench`: load generators that print what they measured, and on what.
//!
//! Load generator and replicas share the machine unless the endpoints say otherwise, so the figures are of both
//! together. Tables are Markdown, so that a report is what was printed.

mod accounts;
mod driving;
mod failover;
mod ground;
mod instrumentation;
mod load;
mod machine;
mod metrics;
mod once;
mod paired;
mod record;
mod rush;
mod stage;
mod verdict;
mod watchers;

use std::io::IsTerminal;
use std::path::PathBuf;

use carrel_membership::Replicas;
use carrel_proto::client::{Client, Options};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::Failure;
use crate::demo::replica_count;

/// Measure what a cluster does, and count whether it is right
///
/// Loads and the rush ask the cluster of --endpoints, or one of their own with --replicas. Failover and once kill
/// replicas and therefore always start a cluster of their own.
#[derive(Args, Clone, Debug)]
#[command(arg_required_else_help = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand, Clone, Debug)]
enum Subject {
    /// Reserve distinct seats and times, and cancel them
    ///
    /// The figures are of the bookings alone, the cancellations are load on top. Accounts are made for it and deleted
    /// again; the cancelled reservations stay in the history of the cluster.
    Bookings(load::LoadArgs),
    /// Book the half hour that is running, sit down, and leave
    ///
    /// The figures are of the check-ins alone. Each client needs a seat of its own.
    CheckIns(load::LoadArgs),
    /// Seats of a branch that are free for an hour, linearizable
    Searches(load::LoadArgs),
    /// A page of 49 seats with power that are free for an hour, of branches of 300 where the cluster is the bench's own
    Pages {
        #[command(flatten)]
        load: load::LoadArgs,
        /// How new the answers must be
        #[arg(long, value_enum, default_value = "linearizable")]
        freshness: load::Freshness,
    },
    /// One's own reservations, linearizable
    Reads(load::LoadArgs),
    /// A day as it is: of twenty requests one booking and its cancellation, the others pages of seats and reservations
    Mixed(load::LoadArgs),
    /// Messages from each to each
    Messages(load::LoadArgs),
    /// Everybody at once for the seats of one slot: how long until everyone has an answer
    Rush(rush::RushArgs),
    /// Many watch seat maps while seats change: how long until they see it
    Watchers(watchers::WatchersArgs),
    /// How long nobody can book when the leader is killed, and when it is asked to end
    Failover(failover::FailoverArgs),
    /// Commands sent several times through several nodes while leaders change: each has its effect once
    Once(once::OnceArgs),
    /// What the relational record costs those who book, and by how much it lags
    ///
    /// The same load by turns on two clusters, of which one keeps a record in a Postgres on this machine, so that
    /// whatever else the machine does bears on both alike. The second cluster listens from PORT+50 on.
    Record(record::RecordArgs),
    /// What counting and tracing cost those who book
    ///
    /// The same load by turns on two clusters that differ in that alone. The second cluster listens from PORT+50 on.
    Instrumentation(instrumentation::InstrumentationArgs),
    /// This machine: cores, processor, what a sync of 4 KiB costs
    Machine(machine::MachineArgs),
}

/// A cluster that lives as long as the measurement.
#[derive(Args, Clone, Debug)]
struct OwnCluster {
    /// How many replicas the cluster has
    #[arg(long, value_name = "N", default_value = "3", value_parser = replica_count)]
    replicas: Replicas,

    #[command(flatten)]
    place: Place,
}

#[derive(Args, Clone, Debug)]
struct Place {
    /// A cluster that is started for the measurement listens here and on the next 36 ports
    #[arg(long, value_name = "PORT", default_value_t = 7600, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,

    /// It keeps its relational record in a Postgres of its own, on PORT+40
    #[arg(long)]
    postgres: bool,

    /// What is to be booked there, instead of the sample campus.
    #[arg(skip)]
    catalogue: Option<String>,

    /// Its data lies in a new directory below this one, on the disk that is measured
    #[arg(long, value_name = "DIR", default_value = ".carrel")]
    dir: PathBuf,

    /// Of its processes, beside what they inherit
    #[arg(skip)]
    environment: Vec<(&'static str, String)>,
}

/// # Errors
/// If something could not be measured, or what was counted is wrong.
pub async fn run(
    args: BenchArgs,
    connect: impl Fn(Options) -> Result<Client, Failure>,
    json: bool,
) -> anyhow::Result<()> {
    match args.subject {
        Subject::Bookings(args) => load::run(load::Load::Bookings, args, connect, json).await,
        Subject::CheckIns(args) => load::run(load::Load::CheckIns, args, connect, json).await,
        Subject::Searches(args) => load::run(load::Load::Searches, args, connect, json).await,
        Subject::Pages { load, freshness } => load::run(load::Load::Pages(freshness), load, connect, json).await,
        Subject::Reads(args) => load::run(load::Load::Reads, args, connect, json).await,
        Subject::Mixed(args) => load::run(load::Load::Mixed, args, connect, json).await,
        Subject::Messages(args) => load::run(load::Load::Messages, args, connect, json).await,
        Subject::Rush(args) => rush::run(args, connect, json).await,
        Subject::Watchers(args) => watchers::run(args, json).await,
        Subject::Failover(args) => failover::run(args, json).await,
        Subject::Once(args) => once::run(args, json).await,
        Subject::Record(args) => record::run(args, json).await,
        Subject::Instrumentation(args) => instrumentation::run(args, json).await,
        Subject::Machine(args) => machine::run(&args, json),
    }
}

/// One line for programs.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    anstream::println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Rows under headings, as Markdown.
fn markdown(headings: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(headings);
    table.add_rows(rows);
    table.to_string()
}

/// Bars are for people at a terminal.
fn progress(length: u64, json: bool, template: &str) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is ours");
    ProgressBar::new(length).with_style(style.progress_chars("=> "))
}
