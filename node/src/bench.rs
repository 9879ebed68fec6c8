//! `carrel bench`: a load generator that prints what it measured, and on what.
//!
//! Closed loop: every client sends its next request when the last one is answered. Load generator and replicas share
//! the machine unless the endpoints say otherwise, so the figures are of both together.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::cli::Failure;

/// Measured after this share of the time has passed, so that connections and caches are warm.
const WARM_UP_SHARE: f64 = 0.2;
/// Accounts are hashed one after the other on purpose; a few at a time keep both cores busy.
const LOG_INS_AT_ONCE: usize = 8;
/// Longest answer that is told apart from a longer one.
const LATENCY_US_MAX: u64 = 60_000_000;
const PASSWORD: &str = "bench bench bench";

/// Measure bookings and searches against a running cluster
///
/// Makes throw-away accounts, drives them in a closed loop and deletes them again. Bookings are made for free half
/// hours within the booking window and cancelled at once: the figure counts the bookings alone, the cancellations are
/// load on top.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value_t = Load::Bookings)]
    load: Load,

    /// Clients that ask at the same time
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    clients: u32,

    /// How long, the warm-up included
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Reserve distinct seats and times, and cancel them
    Bookings,
    /// Seats of a branch that are free for an hour, linearizable
    Searches,
    /// One's own reservations, linearizable
    Reads,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    load: &'static str,
    clients: u32,
    seconds: f64,
    answered: u64,
    refused: u64,
    unanswered: u64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    nodes: usize,
    machine: String,
    version: &'static str,
}

struct Tally {
    latencies_us: Histogram<u64>,
    refused: u64,
    unanswered: u64,
}

impl Tally {
    fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self { latencies_us, refused: 0, unanswered: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.latencies_us.add(&other.latencies_us).expect("both have the same bounds");
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }

    fn note<T>(&mut self, started: Instant, answer: &Result<T, ClientError>) {
        match answer {
            Ok(_) => self.latencies_us.saturating_record(started.elapsed().as_micros() as u64),
            Err(ClientError::Refused(_)) => self.refused += 1,
            Err(ClientError::Unreachable(_)) => self.unanswered += 1,
        }
    }
}

/// # Errors
/// If the cluster cannot be reached, or has nothing to book.
pub async fn run(
    args: BenchArgs,
    connect: impl Fn(Options) -> Result<Client, Failure>,
    json: bool,
) -> anyhow::Result<()> {
    // One connection for every few clients: a single HTTP/2 connection is a bottleneck of its own.
    let options = Options { deadline: Duration::from_secs(30), ..Options::default() };
    let groups = (args.clients as usize).div_ceil(25).clamp(1, 8);
    let connections = (0..groups).map(|_| connect(options)).collect::<Result<Vec<_>, _>>()?;
    let ground = Arc::new(Ground::survey(&connections[0]).await?);
    let accounts = log_in_all(&args, &connections).await?;

    let start = Arc::new(Barrier::new(args.clients as usize + 1));
    let length = Duration::from_secs(args.seconds);
    let warm_up = length.mul_f64(WARM_UP_SHARE);
    let mut tasks = JoinSet::new();
    for (number, account) in accounts.iter().enumerate() {
        let (client, ground, start) = (account.client.clone(), ground.clone(), start.clone());
        tasks.spawn(async move {
            let driver = Driver { client, ground, number };
            start.wait().await;
            driver.drive(args.load, Instant::now() + warm_up, Instant::now() + length).await
        });
    }
    start.wait().await;
    let bar = progress(args.seconds, json, "measuring {bar:30} {pos}/{len} s");
    let ticking = bar.clone();
    let ticker = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticking.inc(1);
        }
    });
    let mut tally = Tally::new();
    while let Some(done) = tasks.join_next().await {
        tally.add(&done.context("a client of the bench ended early")?);
    }
    ticker.abort();
    bar.finish_and_clear();
    delete_all(accounts).await;

    let measured = (length - warm_up).as_secs_f64();
    let milliseconds = |us: u64| us as f64 / 1000.0;
    let report = Report {
        load: args.load.name(),
        clients: args.clients,
        seconds: measured,
        answered: tally.latencies_us.len(),
        refused: tally.refused,
        unanswered: tally.unanswered,
        per_second: tally.latencies_us.len() as f64 / measured,
        p50_ms: milliseconds(tally.latencies_us.value_at_quantile(0.5)),
        p99_ms: milliseconds(tally.latencies_us.value_at_quantile(0.99)),
        max_ms: milliseconds(tally.latencies_us.max()),
        nodes: connections[0].endpoints().count(),
        machine: machine(),
        version: env!("CARGO_PKG_VERSION"),
    };
    report.print(json)
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Bookings => "bookings",
            Self::Searches => "searches",
            Self::Reads => "reads",
        }
    }
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            anstream::println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        anstream::println!(
            "{load} with {clients} clients on {nodes} nodes, {seconds:.0} s after warm-up, load generator included\n\n  \
             {per_second:.0} a second   p50 {p50:.2} ms   p99 {p99:.2} ms   longest {max:.1} ms\n  \
             {answered} answered, {refused} refused, {unanswered} without an answer\n\n{machine}, carrel {version}",
            load = self.load,
            clients = self.clients,
            nodes = self.nodes,
            seconds = self.seconds,
            per_second = self.per_second,
            p50 = self.p50_ms,
            p99 = self.p99_ms,
            max = self.max_ms,
            answered = self.answered,
            refused = self.refused,
            unanswered = self.unanswered,
            machine = self.machine,
            version = self.version,
        );
        Ok(())
    }
}

/// What there is to book and to search.
struct Ground {
    branches: Vec<String>,
    /// Seats of areas that are open now, and the half hours of tomorrow and after in which they can be booked.
    seats: Vec<String>,
    first_slot_seconds: i64,
}

const SLOT_SECONDS: i64 = 1800;
/// Within every policy's booking window: five days.
const SLOTS: usize = 5 * 48;

impl Ground {
    async fn survey(client: &Client) -> anyhow::Result<Self> {
        let found = client.list_branches(v1::ListBranchesRequest::default()).await?.branches;
        let now = jiff::Timestamp::now().as_second();
        let first_slot_seconds = now - now.rem_euclid(SLOT_SECONDS) + 24 * 3600;
        let mut ground = Self {
            branches: found.into_iter().map(|branch| branch.name).collect(),
            seats: Vec::new(),
            first_slot_seconds,
        };
        let name = account_name(0);
        let visitor = log_in(client, &name).await?;
        for branch in &ground.branches {
            // Free for days on end: these are in an area that never closes.
            let request = v1::SearchSeatsRequest {
                branch: branch.clone(),
                interval: Some(ground.interval(0, SLOTS as i64)),
                available_only: true,
                page_size: 1000,
                ..v1::SearchSeatsRequest::default()
            };
            let found = visitor.search_seats(request).await?.seats;
            ground.seats.extend(found.into_iter().map(|seat| seat.name));
        }
        delete(&visitor, &name).await;
        if ground.seats.is_empty() {
            bail!("no seat of this catalogue is open around the clock and free for {} days", SLOTS / 48);
        }
        Ok(ground)
    }

    fn interval(&self, slot: usize, slots: i64) -> v1::Interval {
        let start = self.first_slot_seconds + slot as i64 * SLOT_SECONDS;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Interval { start_time: at(start), end_time: at(start + slots * SLOT_SECONDS) }
    }
}

struct Account {
    name: String,
    client: Client,
}

fn account_name(number: u32) -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("bench-{}-{number}", &unique[..12])
}

async fn log_in_all(args: &BenchArgs, connections: &[Client]) -> anyhow::Result<Vec<Account>> {
    let bar = progress(u64::from(args.clients), false, "logging in {bar:30} {pos}/{len}");
    let mut accounts = Vec::new();
    let mut pending = JoinSet::new();
    for number in 0..args.clients {
        if pending.len() >= LOG_INS_AT_ONCE {
            accounts.push(pending.join_next().await.context("there are some")???);
        }
        let connection = connections[number as usize % connections.len()].clone();
        let bar = bar.clone();
        pending.spawn(async move {
            let name = account_name(number);
            let client = log_in(&connection, &name).await?;
            bar.inc(1);
            anyhow::Ok(Account { name, client })
        });
    }
    while let Some(account) = pending.join_next().await {
        accounts.push(account??);
    }
    bar.finish_and_clear();
    Ok(accounts)
}

async fn log_in(client: &Client, name: &str) -> anyhow::Result<Client> {
    let request =
        v1::RegisterRequest { request_id: new_request_id(), user_id: name.to_owned(), password: PASSWORD.to_owned() };
    client.register(request).await?;
    let request = v1::LoginRequest { user_id: name.to_owned(), password: PASSWORD.to_owned() };
    let session = client.login(request).await?;
    Ok(client.clone().with_session(&session.session_token)?)
}

async fn delete_all(accounts: Vec<Account>) {
    for account in accounts {
        delete(&account.client, &account.name).await;
    }
}

async fn delete(client: &Client, name: &str) {
    let request = v1::DeleteUserRequest { request_id: new_request_id(), name: format!("users/{name}") };
    if let Err(error) = client.delete_user(request).await {
        anstream::eprintln!("The account {name} is left behind: {error}");
    }
}

struct Driver {
    client: Client,
    ground: Arc<Ground>,
    number: usize,
}

impl Driver {
    async fn drive(self, load: Load, measure_from: Instant, until: Instant) -> Tally {
        let mut tally = Tally::new();
        let mut round = 0;
        while Instant::now() < until {
            let mut unmeasured = Tally::new();
            let tally = if Instant::now() < measure_from { &mut unmeasured } else { &mut tally };
            match load {
                Load::Bookings => self.book(round, tally).await,
                Load::Searches => self.search(round, tally).await,
                Load::Reads => self.read(tally).await,
            }
            round += 1;
        }
        tally
    }

    /// No two clients ever want the same seat at the same time, and none wants two at once.
    async fn book(&self, round: usize, tally: &mut Tally) {
        let seats = self.ground.seats.len();
        let (lane, seat) = (self.number / seats, self.number % seats);
        let lanes = SLOTS / 24;
        let slot = (lane + round * lanes) % SLOTS;
        let request = v1::CreateReservationRequest {
            request_id: new_request_id(),
            seat: self.ground.seats[seat].clone(),
            interval: Some(self.ground.interval(slot, 1)),
        };
        let started = Instant::now();
        let answer = self.client.create_reservation(request).await;
        tally.note(started, &answer);
        if let Some(reservation) = answer.ok().and_then(|answer| answer.reservation) {
            let request = v1::CancelReservationRequest { request_id: new_request_id(), name: reservation.name };
            // The next round books another time, so a cancellation that failed does not stand in the way.
            let _ = self.client.cancel_reservation(request).await;
        }
    }

    async fn search(&self, round: usize, tally: &mut Tally) {
        let pick = self.number.wrapping_mul(31).wrapping_add(round);
        let request = v1::SearchSeatsRequest {
            branch: self.ground.branches[pick % self.ground.branches.len()].clone(),
            amenities: if pick.is_multiple_of(2) { vec!["power".to_owned()] } else { Vec::new() },
            interval: Some(self.ground.interval(pick % SLOTS, 2)),
            available_only: true,
            page_size: 20,
            ..v1::SearchSeatsRequest::default()
        };
        let started = Instant::now();
        let answer = self.client.search_seats(request).await;
        tally.note(started, &answer);
    }

    async fn read(&self, tally: &mut Tally) {
        let started = Instant::now();
        let answer = self.client.list_reservations(v1::ListReservationsRequest::default()).await;
        tally.note(started, &answer);
    }
}

fn progress(length: u64, json: bool, template: &str) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is ours");
    ProgressBar::new(length).with_style(style.progress_chars("=> "))
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    format!("{cores} cores, {}", model.unwrap_or("processor unknown"))
}
