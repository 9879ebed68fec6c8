//! What the relational record costs those who book, and by how much it lags behind them.
//!
//! One cluster keeps a record and one keeps none, and the same people book on the one and on the other by turns, in an
//! order that changes from pair to pair: whatever else the machine does bears on both alike. Before each turn the
//! record catches up, so that no turn pays for another.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, Options};
use clap::Args;
use serde::Serialize;

use super::load::{Pace, Row};
use super::machine::Machine;
use super::paired::{Middle, SECOND, Side};
use super::stage::{self, Stage};
use super::{OwnCluster, Place, markdown, print_json};

/// Ticks of the clock are entries, too, so there is always one on its way.
const CAUGHT_UP: u64 = 10;
/// At a thousand entries a second more than a turn of ten minutes can leave behind.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1200);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// Clients that book at the same time
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    clients: u32,

    /// How long each turn takes, its warm-up included
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Bookings a second in all, whatever the answers do; without it each client waits for its answer
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Turns on each of the clusters
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,

    #[command(flatten)]
    own: OwnCluster,
}

/// # Errors
/// If a cluster does not start, a call fails, or the record does not catch up.
pub async fn run(args: RecordArgs, json: bool) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.own.place.dir)?;
    let place = &args.own.place;
    let second_port = place.port.checked_add(SECOND).context("--port leaves no room for a second cluster")?;
    let without = OwnCluster { place: Place { postgres: false, ..place.clone() }, ..args.own.clone() };
    let with = OwnCluster { place: Place { postgres: true, port: second_port, ..place.clone() }, ..args.own.clone() };
    let pairs = stage::with_cluster(&without, async |without| {
        stage::with_cluster(&with, async |with| measure_all(&args, without, with, json).await).await
    });
    let report = Report { replicas: args.own.replicas.count(), pairs: pairs.await?, machine };
    report.print(&args, json)
}

async fn measure_all(args: &RecordArgs, without: &Stage, with: &Stage, json: bool) -> anyhow::Result<Vec<Pair>> {
    let pace = Pace { seconds: args.seconds, rate: args.rate };
    let mut without = Side::prepare(args.clients, without, json).await?;
    let mut with = Recorded::prepare(args, with, json).await?;
    let mut pairs = Vec::new();
    for turn in 0..args.pairs {
        let (plain, recorded) = if turn % 2 == 0 {
            let plain = without.book(pace, json).await?;
            (plain, with.book_and_catch_up(pace, json).await?)
        } else {
            let recorded = with.book_and_catch_up(pace, json).await?;
            (without.book(pace, json).await?, recorded)
        };
        let (recorded, lag, caught_up) = recorded;
        pairs.push(Pair {
            without_per_second: plain.per_second,
            with_per_second: recorded.per_second,
            without_p99_ms: plain.p99_ms,
            with_p99_ms: recorded.p99_ms,
            lag_entries: lag,
            catch_up_seconds: caught_up.as_secs_f64(),
        });
    }
    Ok(pairs)
}

/// The cluster that keeps a record.
struct Recorded {
    side: Side,
    admins: Vec<Client>,
}

impl Recorded {
    async fn prepare(args: &RecordArgs, stage: &Stage, json: bool) -> anyhow::Result<Self> {
        let side = Side::prepare(args.clients, stage, json).await?;
        let admins = stage.admin().iter().map(|url| Client::new([url], Options::default()));
        Ok(Self { side, admins: admins.collect::<Result<_, _>>()? })
    }

    /// Also how far behind the record is at the end, and how long it takes to be there.
    async fn book_and_catch_up(&mut self, pace: Pace, json: bool) -> anyhow::Result<(Row, u64, Duration)> {
        self.catch_up().await?;
        let row = self.side.book(pace, json).await?;
        let (lag, ended) = (self.lag().await?, Instant::now());
        self.catch_up().await?;
        Ok((row, lag, ended.elapsed()))
    }

    async fn catch_up(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.lag().await? > CAUGHT_UP {
            ensure!(begun.elapsed() < CATCH_UP_LIMIT, "the record does not catch up");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Entries that the leader has applied, and Postgres does not have.
    async fn lag(&self) -> anyhow::Result<u64> {
        use admin::get_projection_response::Phase;
        for node in &self.admins {
            let status = node.get_projection(admin::GetProjectionRequest {}).await?;
            match status.phase() {
                Phase::Following => return Ok(status.state_index.saturating_sub(status.applied_index)),
                Phase::Halted | Phase::Waiting => bail!("the record is not written: {}", status.trouble),
                _ => {}
            }
        }
        // Between two leaders.
        Ok(u64::MAX)
    }
}

#[derive(Debug, Serialize)]
struct Pair {
    without_per_second: f64,
    with_per_second: f64,
    without_p99_ms: f64,
    with_p99_ms: f64,
    lag_entries: u64,
    catch_up_seconds: f64,
}

impl Pair {
    fn share(&self) -> f64 {
        100.0 * self.with_per_second / self.without_per_second
    }
}

#[derive(Debug, Serialize)]
struct Report {
    replicas: u32,
    machine: Machine,
    pairs: Vec<Pair>,
}

impl Report {
    fn print(&self, args: &RecordArgs, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let columns = ["without", "p99 ms", "with", "p99 ms", "share %", "entries behind", "caught up after s"];
        let row = |pair: &Pair| {
            vec![
                format!("{:.0}", pair.without_per_second),
                format!("{:.1}", pair.without_p99_ms),
                format!("{:.0}", pair.with_per_second),
                format!("{:.1}", pair.with_p99_ms),
                format!("{:.1}", pair.share()),
                pair.lag_entries.to_string(),
                format!("{:.2}", pair.catch_up_seconds),
            ]
        };
        let shares = Middle::of(self.pairs.iter().map(Pair::share).collect()).context("no pairs")?;
        let longest = self.pairs.iter().map(|pair| pair.catch_up_seconds).fold(0.0, f64::max);
        let asked = args.rate.map_or_else(
            || format!("{} clients that wait for their answers", args.clients),
            |rate| format!("{} clients, {rate} bookings a second", args.clients),
        );
        anstream::println!(
            "Bookings a second on {} replicas without a record and with one, by turns of {} s; {asked}, and as many \
             cancellations\n\n{}\n\n\
             With the record {:.1} % of the bookings without it (median of {} pairs; between {:.1} and {:.1} with 95 % \
             confidence); at the end of a turn it was there within {longest:.2} s.\n\n{}",
            self.replicas,
            args.seconds,
            markdown(columns.map(String::from).to_vec(), self.pairs.iter().map(row).collect()),
            shares.median,
            self.pairs.len(),
            shares.from,
            shares.to,
            self.machine.text(),
        );
        Ok(())
    }
}
