//! Live seat maps under many changes: streams over all branches, people who sit down and leave, and how long it takes
//! until everybody who watches has seen it.
//!
//! Each change is known by its seat and by what became of it. What the watchers saw is compared with what was committed
//! when all is over, by the clock of this machine, which the log's time follows. A person changes a seat back after two
//! frames at the earliest, so that every change can be told; two that one frame makes none of are counted as not seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use carrel_proto::client::{Client, MapNews, new_request_id};
use carrel_proto::v1;
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::{JoinSet, yield_now};

use super::accounts::{Account, Wallet};
use super::ground::{Ground, eight_branches};
use super::load::PATIENT;
use super::machine::Machine;
use super::stage::{self, Stage};
use super::verdict::Failures;
use super::{OwnCluster, Place, markdown, print_json};

/// An account may have 32.
const STREAMS_PER_ACCOUNT: u32 = 25;
/// Streams share a connection as a page's do, and a server allows some two hundred on one.
const STREAMS_PER_CONNECTION: u32 = 50;
/// Changes of one person, who sits down and leaves.
const CHANGES_PER_PERSON: u32 = 8;
/// All streams are open, and have told the whole of their maps.
const SETTLE: Duration = Duration::from_secs(2);
/// The last frames arrive.
const AFTER: Duration = Duration::from_secs(1);
const LATENCY_US_MAX: u64 = 60_000_000;

#[derive(Args, Clone, Debug)]
pub struct WatchersArgs {
    /// Streams that are open, over the branches in turn
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=8000))]
    streams: u32,

    /// Changes a second
    #[arg(long, value_name = "RATE", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    #[command(flatten)]
    own: OwnCluster,
}

/// # Errors
/// If a stream or a change failed, or nothing was seen.
pub async fn run(args: WatchersArgs, json: bool) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.own.place.dir)?;
    let place = Place { catalogue: Some(eight_branches()), ..args.own.place.clone() };
    let own = OwnCluster { place, ..args.own.clone() };
    let seen = stage::with_cluster(&own, async |stage| measure(&args, stage, json).await).await?;
    let report = Report { streams: args.streams, rate: args.rate, machine, seen };
    report.print(json)?;
    ensure!(report.seen.failed.count() == 0, "failed: {}", report.seen.failed.text());
    ensure!(report.seen.told > 0, "nobody saw anything");
    Ok(())
}

async fn measure(args: &WatchersArgs, stage: &Stage, json: bool) -> anyhow::Result<Seen> {
    let people = args.rate.div_ceil(CHANGES_PER_PERSON);
    let watchers = args.streams.div_ceil(STREAMS_PER_ACCOUNT);
    let connections = connect(stage, args.streams.div_ceil(STREAMS_PER_CONNECTION))?;
    let ground = Arc::new(Ground::survey(&connections[0], people as usize).await?);
    ensure!(people as usize <= ground.seats().len(), "{people} people need a seat each");
    let mut wallets = Wallet::make_all((people + watchers) as usize, &connections, json).await?;
    let mut accounts = Vec::new();
    for wallet in &mut wallets {
        accounts.push(wallet.account(args.seconds as u32 * CHANGES_PER_PERSON).await?);
    }
    let (watching, moving) = accounts.split_at(watchers as usize);

    let over = Arc::new(AtomicBool::new(false));
    let frames = Arc::new(AtomicU64::new(0));
    let mut streams = JoinSet::new();
    for number in 0..args.streams {
        let account = &watching[(number / STREAMS_PER_ACCOUNT) as usize];
        let client = account.over(connections[(number as usize) % connections.len()].clone())?;
        let branch = ground.branches[number as usize % ground.branches.len()].clone();
        streams.spawn(watch(client, branch, frames.clone(), over.clone()));
    }
    tokio::time::sleep(SETTLE).await;
    let frames_before = frames.load(Ordering::Relaxed);
    let begun = Instant::now();
    let mut movers = JoinSet::new();
    for (number, account) in moving.iter().cloned().enumerate() {
        let every = Duration::from_secs_f64(f64::from(people) / f64::from(args.rate));
        let first = begun + every.mul_f64(number as f64 / f64::from(people));
        let until = begun + Duration::from_secs(args.seconds);
        // Over the branches in turn, as seats are by branch.
        let seats = ground.seats().len();
        let branches = ground.branches.len();
        let seat = (number % branches) * (seats / branches) + number / branches;
        movers.spawn(come_and_go(account, ground.clone(), seat, first, every, until));
    }
    let mut committed: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
    let mut failed = Failures::default();
    let mut changes = 0;
    while let Some(moved) = movers.join_next().await {
        let moved = moved.context("a person of the bench ended early")?;
        failed.add(&moved.failed);
        changes += moved.changes.len() as u64;
        committed.insert(moved.seat, moved.changes);
    }
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(AFTER).await;
    over.store(true, Ordering::Relaxed);
    let told_frames = frames.load(Ordering::Relaxed) - frames_before;
    let mut latencies_us =
        Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3).context("the bounds are in order")?;
    let mut unknown = 0;
    while let Some(watched) = streams.join_next().await {
        let watched = watched.context("a watcher of the bench ended early")?;
        failed.add(&watched.failed);
        for sight in watched.sights {
            match since_commit(&committed, &sight) {
                Some(us) => latencies_us.saturating_record(us),
                None => unknown += 1,
            }
        }
    }
    for wallet in wallets {
        wallet.delete().await;
    }
    let ms = |quantile| latencies_us.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Seen {
        changes_per_second: changes as f64 / seconds,
        frames_per_stream_and_second: told_frames as f64 / f64::from(args.streams) / seconds,
        told: latencies_us.len(),
        expected: changes * u64::from(args.streams) / ground.branches.len() as u64,
        unknown,
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        longest_ms: latencies_us.max() as f64 / 1000.0,
        failed,
    })
}

/// Each begins with another node, so that all of them are watched.
fn connect(stage: &Stage, count: u32) -> anyhow::Result<Vec<Client>> {
    let endpoints = stage.endpoints();
    let rotated = |number: u32| {
        let mut endpoints = endpoints.to_vec();
        let first = number as usize % endpoints.len();
        endpoints.rotate_left(first);
        Ok(Client::new(&endpoints, PATIENT)?)
    };
    (0..count).map(rotated).collect()
}

/// A seat, as a watcher was told of it.
struct Sight {
    seat: String,
    available: bool,
    at_us: u64,
}

struct Watched {
    sights: Vec<Sight>,
    failed: Failures,
}

async fn watch(client: Client, branch: String, frames: Arc<AtomicU64>, over: Arc<AtomicBool>) -> Watched {
    let mut watched = Watched { sights: Vec::new(), failed: Failures::default() };
    let mut map = client.watch_seat_map(v1::WatchSeatMapRequest { branch, ..Default::default() });
    while !over.load(Ordering::Relaxed) {
        // Now and then it looks whether all is over.
        let Ok(news) = tokio::time::timeout(Duration::from_secs(1), map.next()).await else { continue };
        let at_us = now_us();
        match news {
            Ok(MapNews::Changed(seats)) => {
                frames.fetch_add(1, Ordering::Relaxed);
                let sights = seats.into_iter().map(|seat| Sight { seat: seat.name, available: seat.available, at_us });
                watched.sights.extend(sights);
            }
            Ok(MapNews::Whole(_)) => {}
            Err(error) => {
                watched.failed.note(&error);
                break;
            }
        }
        // One that always has news leaves others their turn.
        yield_now().await;
    }
    watched
}

struct Moved {
    seat: String,
    /// When it was committed, and whether the seat is free since then.
    changes: Vec<(u64, bool)>,
    failed: Failures,
}

async fn come_and_go(
    account: Account,
    ground: Arc<Ground>,
    seat: usize,
    mut next: Instant,
    every: Duration,
    until: Instant,
) -> Moved {
    let (seat, interval) = ground.present(seat);
    let mut moved = Moved { seat: seat.clone(), changes: Vec::new(), failed: Failures::default() };
    let mut sitting: Option<String> = None;
    while next < until || sitting.is_some() {
        tokio::time::sleep_until(next.into()).await;
        next += every;
        let (commit, is_free) = match sitting.take() {
            None => {
                let request = v1::WalkInRequest {
                    request_id: new_request_id(),
                    seat: seat.clone(),
                    end_time: interval.end_time,
                    ..v1::WalkInRequest::default()
                };
                match account.client.walk_in(request).await {
                    Ok(answer) => {
                        sitting = answer.reservation.map(|reservation| reservation.name);
                        (answer.commit, false)
                    }
                    Err(error) => {
                        moved.failed.note(&error);
                        break;
                    }
                }
            }
            Some(name) => {
                match account.client.check_out(v1::CheckOutRequest { request_id: new_request_id(), name }).await {
                    Ok(answer) => (answer.commit, true),
                    Err(error) => {
                        moved.failed.note(&error);
                        break;
                    }
                }
            }
        };
        let at = commit.and_then(|commit| commit.commit_time).unwrap_or_default();
        moved
            .changes
            .push((at.seconds.cast_unsigned() * 1_000_000 + u64::from(at.nanos.cast_unsigned()) / 1000, is_free));
    }
    moved
}

/// Since the last change before it that made the seat what was seen; none for what nobody here changed.
fn since_commit(committed: &BTreeMap<String, Vec<(u64, bool)>>, sight: &Sight) -> Option<u64> {
    let changes = committed.get(&sight.seat)?;
    let before = changes.partition_point(|(at_us, _)| *at_us <= sight.at_us);
    let (at_us, _) = changes[..before].iter().rev().find(|(_, is_free)| *is_free == sight.available)?;
    Some(sight.at_us - at_us)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[derive(Debug, Serialize)]
struct Report {
    streams: u32,
    rate: u32,
    machine: Machine,
    seen: Seen,
}

#[derive(Debug, Serialize)]
struct Seen {
    changes_per_second: f64,
    frames_per_stream_and_second: f64,
    /// Changes that were seen, by all who watch together.
    told: u64,
    /// If every change is seen by everybody who watches its branch.
    expected: u64,
    /// Seats that were told of though nobody here had changed them.
    unknown: u64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    failed: Failures,
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let seen = &self.seen;
        let headings =
            ["changes a second", "frames a second and stream", "seen %", "p50 ms", "p99", "longest", "failed"];
        let row = vec![
            format!("{:.0}", seen.changes_per_second),
            format!("{:.1}", seen.frames_per_stream_and_second),
            format!("{:.1}", 100.0 * seen.told as f64 / seen.expected.max(1) as f64),
            format!("{:.1}", seen.p50_ms),
            format!("{:.1}", seen.p99_ms),
            format!("{:.1}", seen.longest_ms),
            seen.failed.text(),
        ];
        anstream::println!(
            "{} streams of seat maps, {} changes a second wanted; from the time of the entry to its receipt\n\n{}\n\n{}",
            self.streams,
            self.rate,
            markdown(headings.map(String::from).to_vec(), vec![row]),
            self.machine.text(),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sight_belongs_to_the_last_change_of_its_kind() {
        let committed = BTreeMap::from([("s".to_owned(), vec![(1_000, false), (2_000, true), (3_000, false)])]);
        let sight = |seat: &str, available, at_us| Sight { seat: seat.to_owned(), available, at_us };
        assert_eq!(since_commit(&committed, &sight("s", false, 1_400)), Some(400));
        assert_eq!(since_commit(&committed, &sight("s", true, 2_900)), Some(900));
        assert_eq!(since_commit(&committed, &sight("s", false, 3_100)), Some(100));
        assert_eq!(since_commit(&committed, &sight("s", true, 1_400)), None);
        assert_eq!(since_commit(&committed, &sight("other", true, 1_400)), None);
    }
}
