//! What counting and tracing cost those who book.
//!
//! Of two clusters one counts and is scraped, and one does neither; or both count, and one is traced, too. The same
//! people book on the one and on the other by turns, in an order that changes from pair to pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::service::Routes;

use super::load::{Pace, Row};
use super::machine::Machine;
use super::paired::{Middle, SECOND, Side};
use super::stage::{self, Stage};
use super::{OwnCluster, Place, markdown, print_json};
use crate::metrics::catalogue;
use crate::scrape;

/// Oftener than a Prometheus does.
const SCRAPE_EVERY: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub struct InstrumentationArgs {
    /// What one of the clusters does and the other does not
    #[arg(long, value_enum, default_value_t = Cost::Metrics)]
    cost_of: Cost,

    /// Of traces: the share that is recorded and sent, as each node decides when a call begins
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    sampled: f64,

    /// Clients that book at the same time
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    clients: u32,

    /// How long each turn takes, its warm-up included
    #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Turns on each of the clusters
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,

    #[command(flatten)]
    own: OwnCluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cost {
    /// Counting and timing, and being scraped every two seconds
    Metrics,
    /// Spans, and sending them to a collector on this machine that throws them away
    Traces,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a share is a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is between 0 and 1".to_owned()) }
}

/// # Errors
/// If a cluster does not start, or a call fails.
pub async fn run(args: InstrumentationArgs, json: bool) -> anyhow::Result<()> {
    let place = &args.own.place;
    let machine = Machine::survey(&place.dir)?;
    let second_port = place.port.checked_add(SECOND).context("--port leaves no room for a second cluster")?;
    let collector = Collector::serve().await?;
    // Whatever the environment of the bench says of traces is not for the clusters.
    let untraced =
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", String::new()), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", String::new())];
    let (without, with) = match args.cost_of {
        Cost::Metrics => ([untraced.clone(), vec![("CARREL_NO_COUNTING", "true".to_owned())]].concat(), untraced),
        Cost::Traces => {
            let traced = vec![
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint.clone()),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
                ("OTEL_TRACES_SAMPLER_ARG", args.sampled.to_string()),
            ];
            (untraced, traced)
        }
    };
    let own =
        |port, environment| OwnCluster { place: Place { port, environment, ..place.clone() }, ..args.own.clone() };
    let (without, with) = (own(place.port, without), own(second_port, with));
    let measured = stage::with_cluster(&without, async |without| {
        stage::with_cluster(&with, async |with| measure_all(&args, without, with, json).await).await
    });
    let (pairs, scrapes) = measured.await?;
    let report = Report {
        replicas: args.own.replicas.count(),
        pairs,
        scrapes,
        collected_bytes: collector.received.load(Ordering::Relaxed),
        machine,
    };
    report.print(&args, json)
}

async fn measure_all(
    args: &InstrumentationArgs,
    without: &Stage,
    with: &Stage,
    json: bool,
) -> anyhow::Result<(Vec<Pair>, Vec<Scraped>)> {
    let pace = Pace { seconds: args.seconds, rate: None };
    let scraped_without = args.cost_of == Cost::Traces;
    let mut without_side = Side::prepare(args.clients, without, json).await?;
    let mut with_side = Side::prepare(args.clients, with, json).await?;
    let (mut pairs, mut scrapes) = (Vec::new(), Vec::new());
    // A turn on each, which nobody counts: processes and disks settle.
    without_side.book(pace, json).await?;
    with_side.book(pace, json).await?;
    for turn in 0..args.pairs {
        let mut plain = None;
        if turn % 2 == 0 {
            plain = Some(take_turn(&mut without_side, without, pace, scraped_without, &mut Vec::new(), json).await?);
        }
        let observed = take_turn(&mut with_side, with, pace, true, &mut scrapes, json).await?;
        let plain = match plain {
            Some(plain) => plain,
            None => take_turn(&mut without_side, without, pace, scraped_without, &mut Vec::new(), json).await?,
        };
        pairs.push(Pair { without: plain, with: observed });
    }
    Ok((pairs, scrapes))
}

async fn take_turn(
    side: &mut Side,
    stage: &Stage,
    pace: Pace,
    is_scraped: bool,
    scrapes: &mut Vec<Scraped>,
    json: bool,
) -> anyhow::Result<Turn> {
    let before = cpu_seconds(stage).await?;
    let row = if is_scraped {
        let urls = stage.metrics().to_vec();
        let scraping = scrape_for_ever(&urls, scrapes);
        tokio::select! {
            row = side.book(pace, json) => row?,
            () = scraping => unreachable!("it goes on until the turn is over"),
        }
    } else {
        side.book(pace, json).await?
    };
    let cpu = cpu_seconds(stage).await? - before;
    Ok(Turn::of(&row, cpu))
}

async fn scrape_for_ever(urls: &[String], scrapes: &mut Vec<Scraped>) {
    loop {
        tokio::time::sleep(SCRAPE_EVERY).await;
        for url in urls {
            let began = Instant::now();
            if let Some(text) = scrape::fetch(url).await {
                scrapes.push(Scraped { milliseconds: began.elapsed().as_secs_f64() * 1e3, bytes: text.len() });
            }
        }
    }
}

/// Of all nodes, so far. It is looked up when asked for, also by those that count nothing.
async fn cpu_seconds(stage: &Stage) -> anyhow::Result<f64> {
    let read = join_all(stage.metrics().iter().map(|url| scrape::read(url))).await;
    let of = |scrape: Option<scrape::Scrape>| scrape?.value(catalogue::PROCESS_CPU.name);
    read.into_iter().map(|scrape| of(scrape).context("a node does not say what it takes")).sum()
}

#[derive(Debug, Serialize)]
struct Scraped {
    milliseconds: f64,
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct Turn {
    per_second: f64,
    p99_ms: f64,
    /// Of all nodes, for a booking and its cancellation.
    cpu_us_per_booking: f64,
}

impl Turn {
    fn of(row: &Row, cpu_seconds: f64) -> Self {
        let cpu_us_per_booking = 1e6 * cpu_seconds / row.bookings.max(1) as f64;
        Self { per_second: row.per_second, p99_ms: row.p99_ms, cpu_us_per_booking }
    }
}

#[derive(Debug, Serialize)]
struct Pair {
    without: Turn,
    with: Turn,
}

impl Pair {
    fn bookings_share(&self) -> f64 {
        100.0 * self.with.per_second / self.without.per_second
    }

    fn cpu_share(&self) -> f64 {
        100.0 * self.with.cpu_us_per_booking / self.without.cpu_us_per_booking
    }
}

#[derive(Debug, Serialize)]
struct Report {
    replicas: u32,
    machine: Machine,
    pairs: Vec<Pair>,
    scrapes: Vec<Scraped>,
    collected_bytes: u64,
}

impl Report {
    fn print(&self, args: &InstrumentationArgs, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let (what, without, with) = match args.cost_of {
            Cost::Metrics => ("metrics".to_owned(), "uncounted", "counted"),
            Cost::Traces => (format!("traces, {} % of them recorded", 100.0 * args.sampled), "untraced", "traced"),
        };
        let columns = [without, "p99 ms", "CPU us", with, "p99 ms", "CPU us", "share %", "CPU share %"];
        let row = |pair: &Pair| {
            let turn = |turn: &Turn| {
                [
                    format!("{:.0}", turn.per_second),
                    format!("{:.1}", turn.p99_ms),
                    format!("{:.0}", turn.cpu_us_per_booking),
                ]
            };
            let shares = [format!("{:.1}", pair.bookings_share()), format!("{:.1}", pair.cpu_share())];
            [turn(&pair.without).to_vec(), turn(&pair.with).to_vec(), shares.to_vec()].concat()
        };
        let bookings = Middle::of(self.pairs.iter().map(Pair::bookings_share).collect()).context("no pairs")?;
        let cpu = Middle::of(self.pairs.iter().map(Pair::cpu_share).collect()).context("no pairs")?;
        anstream::println!(
            "What {what} cost: bookings a second on {} replicas, by turns of {} s; {} clients that wait for their \
             answers, and as many cancellations; CPU is that of all nodes for a booking and its cancellation\n\n{}\n\n\
             **{:.1} % of the bookings** (median of {} pairs; between {:.1} and {:.1} with 95 % confidence), with \
             {:.1} % of the processor time for each ({:.1} to {:.1}).",
            self.replicas,
            args.seconds,
            args.clients,
            markdown(columns.map(String::from).to_vec(), self.pairs.iter().map(row).collect()),
            bookings.median,
            self.pairs.len(),
            bookings.from,
            bookings.to,
            cpu.median,
            cpu.from,
            cpu.to,
        );
        let of_scrapes = |figure: fn(&Scraped) -> f64| Middle::of(self.scrapes.iter().map(figure).collect());
        if let (Some(took), Some(bytes)) =
            (of_scrapes(|scrape| scrape.milliseconds), of_scrapes(|scrape| scrape.bytes as f64 / 1024.0))
        {
            anstream::println!(
                "{} scrapes of a node under this load, each {:.1} KiB, took {:.1} ms (median).",
                self.scrapes.len(),
                bytes.median,
                took.median,
            );
        }
        if args.cost_of == Cost::Traces {
            anstream::println!(
                "{:.1} MiB of spans reached the collector.",
                self.collected_bytes as f64 / f64::from(1 << 20)
            );
        }
        anstream::println!("\n{}", self.machine.text());
        Ok(())
    }
}

/// Takes what it is sent and throws it away.
struct Collector {
    endpoint: String,
    received: Arc<AtomicU64>,
    _serving: AbortOnDropHandle<()>,
}

impl Collector {
    async fn serve() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a collector")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let received = Arc::new(AtomicU64::new(0));
        let routes = Routes::from(Router::new().fallback(take).with_state(received.clone()));
        let serving = tonic::transport::Server::builder().add_routes(routes);
        let serving = tokio::spawn(async move {
            // Spans that nobody takes are lost, and the report says how many bytes came.
            let _ = serving.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { endpoint, received, _serving: AbortOnDropHandle::new(serving) })
    }
}

/// An empty message without compression: whatever was sent is taken.
const TAKEN: [u8; 5] = [0; 5];

async fn take(State(received): State<Arc<AtomicU64>>, request: Request) -> Response {
    if let Ok(body) = request.into_body().collect().await {
        received.fetch_add(body.to_bytes().len() as u64, Ordering::Relaxed);
    }
    let ended = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(&TAKEN)).with_trailers(async { Some(Ok(ended)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_share() {
        assert_eq!(share("0.01"), Ok(0.01));
        assert!(share("1.5").is_err() && share("-1").is_err() && share("NaN").is_err() && share("half").is_err());
    }
}
