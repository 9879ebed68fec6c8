//! Requests of one kind as fast as they are answered, or at a fixed rate.
//!
//! Closed loop: every client sends its next request when the last one is answered. Open loop, with `--rate`: every
//! client has a timetable, and an answer's latency counts from when its request was due, so that a pause of the cluster
//! is felt by all the requests that would have come meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use carrel_membership::Replicas;
use carrel_proto::client::{Client, ClientError, Options};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::accounts::Wallet;
use super::driving::{Driver, Span};
use super::ground::{Ground, eight_branches};
use super::machine::Machine;
use super::metrics::{self, LogRate};
use super::verdict::{Failures, is_taken};
use super::{OwnCluster, Place, markdown, print_json, progress, stage};
use crate::cli::Failure;
use crate::demo::replica_count;

/// Measured after this share of the time has passed, so that connections and caches are warm.
const WARM_UP_SHARE: f64 = 0.2;
/// Longest answer that is told apart from a longer one.
const LATENCY_US_MAX: u64 = 60_000_000;
/// One connection for every few clients: a single HTTP/2 connection is a bottleneck of its own.
const CLIENTS_PER_CONNECTION: usize = 25;
const CONNECTIONS_MAX: usize = 8;

pub fn connections(clients: usize) -> usize {
    clients.div_ceil(CLIENTS_PER_CONNECTION).clamp(1, CONNECTIONS_MAX)
}

/// Long enough for the slowest answer of an overloaded cluster, so that every call is accounted for.
pub const PATIENT: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(2),
    deadline: Duration::from_secs(30),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Bookings,
    /// Sitting down at a seat that one has booked for now.
    CheckIns,
    Searches,
    Pages(Freshness),
    Reads,
    /// One change to nine reads.
    Mixed,
    Messages,
}

/// How new the answer to a search must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Freshness {
    /// With every change that was acknowledged before
    Linearizable,
    /// As the node that is asked has it, unless that is ten seconds old
    Local,
}

#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Clients that ask at the same time; of several numbers each is measured in turn
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "50")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    clients: Vec<u32>,

    /// How long for each number of clients, the warm-up included
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Requests a second in all, whatever the answers do; without it each client waits for its answer
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Start a cluster of so many replicas for it, instead of asking --endpoints
    #[arg(long, value_name = "N", value_parser = replica_count)]
    replicas: Option<Replicas>,

    #[command(flatten)]
    place: Place,

    /// Where the nodes of --endpoints tell their metrics: their syncs of the log are then part of the table
    #[arg(long, value_name = "URL,URL", value_delimiter = ',', conflicts_with = "replicas")]
    metrics: Vec<String>,
}

/// For how long, and at which rate if the answers do not decide it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub seconds: u64,
    pub rate: Option<u32>,
}

/// # Errors
/// If the cluster cannot be reached or has nothing to book, or a call failed for another reason than a full seat.
pub async fn run(
    load: Load,
    args: LoadArgs,
    connect: impl Fn(Options) -> Result<Client, Failure>,
    json: bool,
) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.place.dir)?;
    let options = PATIENT;
    let clients = args.clients.iter().copied().max().context("there is at least one number of clients")? as usize;
    let count = connections(clients);
    let report = match args.replicas {
        Some(replicas) => {
            let place = Place { catalogue: load.catalogue(), ..args.place.clone() };
            let own = OwnCluster { replicas, place };
            stage::with_cluster(&own, async |stage| {
                let connections = (0..count).map(|_| stage.connect(options)).collect::<anyhow::Result<Vec<_>>>()?;
                measure_all(load, &args, &connections, stage.metrics(), machine, json).await
            })
            .await?
        }
        None => {
            let connections = (0..count).map(|_| connect(options)).collect::<Result<Vec<_>, _>>()?;
            measure_all(load, &args, &connections, &args.metrics, machine, json).await?
        }
    };
    report.print(json)?;
    let failed: u64 = report.rows.iter().map(|row| row.failed.count()).sum();
    ensure!(failed == 0, "{failed} calls failed");
    ensure!(report.rows.iter().all(|row| row.answered > 0), "nothing was answered after the warm-up");
    Ok(())
}

async fn measure_all(
    load: Load,
    args: &LoadArgs,
    connections: &[Client],
    metrics: &[String],
    machine: Machine,
    json: bool,
) -> anyhow::Result<Report> {
    let most = args.clients.iter().copied().max().unwrap_or(1) as usize;
    let ground = Arc::new(Ground::survey(&connections[0], most).await?);
    let mut wallets = Wallet::make_all(most, connections, json).await?;
    let mut rows = Vec::new();
    for &clients in &args.clients {
        let idle = wallets.split_off(clients as usize);
        let pace = Pace { seconds: args.seconds, rate: args.rate };
        let (row, back) = measure(load, pace, &ground, wallets, metrics, json).await?;
        rows.push(row);
        wallets = back;
        wallets.extend(idle);
    }
    let accounts_made = wallets.iter().map(|wallet| wallet.accounts().count() as u32).sum::<u32>() + 1;
    let mut accounts_left = 0;
    for wallet in wallets {
        accounts_left += wallet.delete().await;
    }
    let nodes = connections[0].endpoints().count();
    let bookings = rows.iter().map(|row: &Row| row.bookings).sum();
    Ok(Report {
        load: load.name(),
        writes: load.writes(),
        nodes,
        machine,
        rows,
        left: Left { accounts_made, accounts_left, bookings },
    })
}

/// Of each of these people one client.
pub async fn measure(
    load: Load,
    pace: Pace,
    ground: &Arc<Ground>,
    wallets: Vec<Wallet>,
    metrics: &[String],
    json: bool,
) -> anyhow::Result<(Row, Vec<Wallet>)> {
    let clients = wallets.len();
    let length = Duration::from_secs(pace.seconds);
    let warm_up = length.mul_f64(WARM_UP_SHARE);
    let every = pace.rate.map(|rate| Duration::from_secs_f64(clients as f64 / f64::from(rate)));
    let start = Arc::new(Barrier::new(clients + 1));
    let names: Arc<Vec<String>> = Arc::new(wallets.iter().map(|wallet| wallet.name().to_owned()).collect());
    let mut tasks = JoinSet::new();
    for (number, wallet) in wallets.into_iter().enumerate() {
        let (ground, start, names) = (ground.clone(), start.clone(), names.clone());
        tasks.spawn(async move {
            let mut driver = Driver { wallet, ground, number, names, held: None };
            start.wait().await;
            let now = Instant::now();
            // Those with a timetable do not all come at once.
            let timetable = every.map(|every| (now + every.mul_f64(number as f64 / clients as f64), every));
            let span = Span { measure_from: now + warm_up, until: now + length };
            driver.drive(load, span, timetable).await.map(|tally| (driver.number, driver.wallet, tally))
        });
    }
    start.wait().await;
    let bar = progress(pace.seconds, json, "measuring {bar:30} {pos}/{len} s");
    let ticking = bar.clone();
    let ticker = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticking.inc(1);
        }
    });
    tokio::time::sleep(warm_up).await;
    let (read_at, before) = (Instant::now(), metrics::read_all(metrics).await);
    tokio::time::sleep_until((read_at + (length - warm_up)).into()).await;
    let (counted, after) = (read_at.elapsed().as_secs_f64(), metrics::read_all(metrics).await);
    let mut tally = Tally::new();
    let mut wallets = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (number, wallet, of_one) = done.context("a client of the bench ended early")??;
        tally.add(&of_one);
        wallets.push((number, wallet));
    }
    ticker.abort();
    bar.finish_and_clear();
    wallets.sort_by_key(|(number, _)| *number);
    let log = metrics::rates(&before, &after, counted);
    let row = Row::new(clients, pace.rate, (length - warm_up).as_secs_f64(), &tally, log);
    Ok((row, wallets.into_iter().map(|(_, wallet)| wallet).collect()))
}

impl Load {
    /// What a cluster of the bench's own has for it, instead of the sample campus.
    fn catalogue(self) -> Option<String> {
        match self {
            Self::Bookings | Self::Searches | Self::Reads => None,
            Self::CheckIns | Self::Pages(_) | Self::Mixed | Self::Messages => Some(eight_branches()),
        }
    }

    /// Answers to it are changes.
    fn writes(self) -> bool {
        match self {
            Self::Bookings | Self::CheckIns | Self::Mixed | Self::Messages => true,
            Self::Searches | Self::Pages(_) | Self::Reads => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bookings => "bookings",
            Self::CheckIns => "check-ins",
            Self::Searches => "searches",
            Self::Pages(Freshness::Linearizable) => "pages",
            Self::Pages(Freshness::Local) => "pages, local",
            Self::Reads => "reads",
            Self::Mixed => "mixed",
            Self::Messages => "messages",
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    load: &'static str,
    #[serde(skip)]
    writes: bool,
    nodes: usize,
    machine: Machine,
    rows: Vec<Row>,
    left: Left,
}

/// What the cluster holds afterwards that it did not before.
#[derive(Debug, Serialize)]
struct Left {
    accounts_made: u32,
    /// Of these, the ones that could not be deleted.
    accounts_left: u32,
    /// Bookings stay in the history when they are cancelled.
    bookings: u64,
}

#[derive(Debug, Serialize)]
pub struct Row {
    clients: usize,
    rate: Option<u32>,
    seconds: f64,
    answered: u64,
    taken: u64,
    pub failed: Failures,
    pub per_second: f64,
    /// Bookings and cancellations.
    writes_per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    pub p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    log: Vec<LogRate>,
    /// The warm-up's included.
    pub bookings: u64,
}

impl Row {
    fn new(clients: usize, rate: Option<u32>, seconds: f64, tally: &Tally, log: Vec<LogRate>) -> Self {
        let latency_ms = |quantile| tally.latencies_us.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            clients,
            rate,
            seconds,
            answered: tally.latencies_us.len(),
            taken: tally.taken,
            failed: tally.failed.clone(),
            per_second: tally.latencies_us.len() as f64 / seconds,
            writes_per_second: tally.writes as f64 / seconds,
            p50_ms: latency_ms(0.5),
            p90_ms: latency_ms(0.9),
            p99_ms: latency_ms(0.99),
            p999_ms: latency_ms(0.999),
            max_ms: tally.latencies_us.max() as f64 / 1000.0,
            log,
            bookings: tally.bookings,
        }
    }
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let writes = self.writes;
        let knows_syncs = self.rows.iter().any(|row| !row.log.is_empty());
        let knows_entries = self.rows.iter().flat_map(|row| &row.log).any(|log| log.entries_per_sync.is_some());
        let columns = [
            ("clients", true),
            ("rate wanted", self.rows.iter().any(|row| row.rate.is_some())),
            (self.load, true),
            ("writes", writes),
            ("p50 ms", true),
            ("p90", true),
            ("p99", true),
            ("p99.9", true),
            ("longest", true),
            ("syncs by node", writes && knows_syncs),
            ("entries a sync", writes && knows_entries),
            ("seat taken", writes),
            ("failed", true),
        ];
        let cells = |row: &Row| {
            let by_node =
                |figure: &dyn Fn(&LogRate) -> String| row.log.iter().map(figure).collect::<Vec<_>>().join(" · ");
            [
                row.clients.to_string(),
                row.rate.map_or_else(String::new, |rate| rate.to_string()),
                format!("{:.0}", row.per_second),
                format!("{:.0}", row.writes_per_second),
                format!("{:.2}", row.p50_ms),
                format!("{:.2}", row.p90_ms),
                format!("{:.2}", row.p99_ms),
                format!("{:.2}", row.p999_ms),
                format!("{:.1}", row.max_ms),
                by_node(&|log| format!("{:.0}", log.syncs_per_second)),
                by_node(&|log| log.entries_per_sync.map_or_else(|| "–".to_owned(), |entries| format!("{entries:.1}"))),
                row.taken.to_string(),
                row.failed.text(),
            ]
        };
        let shown = |cells: Vec<String>| -> Vec<String> {
            cells.into_iter().zip(&columns).filter(|(_, (_, shown))| *shown).map(|(cell, _)| cell).collect()
        };
        let headings = shown(columns.iter().map(|(heading, _)| (*heading).to_owned()).collect());
        let rows = self.rows.iter().map(|row| shown(cells(row).to_vec())).collect();
        let seconds = self.rows.first().map_or(0.0, |row| row.seconds);
        anstream::println!(
            "{} on {} replicas, {seconds:.0} s each after the warm-up; all but latencies are a second\n\n{}\n\n{}\n{}",
            self.load,
            self.nodes,
            markdown(headings, rows),
            self.machine.text(),
            self.left.text(),
        );
        Ok(())
    }
}

impl Left {
    fn text(&self) -> String {
        let mut text = format!("{} accounts were made for it and deleted", self.accounts_made);
        if self.accounts_left > 0 {
            text += &format!(", but {} are left behind", self.accounts_left);
        }
        if self.bookings > 0 {
            text += &format!("; {} cancelled bookings stay in the history", self.bookings);
        }
        text
    }
}

pub struct Tally {
    latencies_us: Histogram<u64>,
    pub writes: u64,
    pub bookings: u64,
    taken: u64,
    pub failed: Failures,
}

impl Tally {
    pub fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self { latencies_us, writes: 0, bookings: 0, taken: 0, failed: Failures::default() }
    }

    fn add(&mut self, other: &Self) {
        self.latencies_us.add(&other.latencies_us).expect("both have the same bounds");
        self.writes += other.writes;
        self.bookings += other.bookings;
        self.taken += other.taken;
        self.failed.add(&other.failed);
    }

    pub fn note<T>(&mut self, due: Instant, answer: &Result<T, ClientError>) {
        match answer {
            Ok(_) => self.latencies_us.saturating_record(due.elapsed().as_micros() as u64),
            Err(error) if is_taken(error) => self.taken += 1,
            Err(error) => self.failed.note(error),
        }
    }
}
