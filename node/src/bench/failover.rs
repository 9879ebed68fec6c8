//! How long nobody can book: the leader is killed, or asked to end, again and again, while clients book.
//!
//! A gap is the longest time between two acknowledged writes, of whatever clients, from the moment a leader is hit to
//! the moment before the next one is: what its return costs counts too. At the end everything acknowledged is looked
//! for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use serde::Serialize;
use tokio::task::JoinSet;

use super::accounts::{Account, Wallet};
use super::ground::Ground;
use super::machine::Machine;
use super::stage::{self, Stage};
use super::verdict::Failures;
use super::{OwnCluster, markdown, print_json, progress};

/// Between a cluster that is whole and the blow: what the last one stirred up has settled.
const CALM: Duration = Duration::from_secs(1);
/// Between the new leader and the return of the old one: a second election, if there is one, belongs to the try.
const AFTERMATH: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub struct FailoverArgs {
    /// Clients that book, each in a closed loop
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    clients: u32,

    /// What happens to the leader; both in turn if not said
    #[arg(long, value_name = "HOW", value_delimiter = ',', value_enum)]
    how: Vec<Blow>,

    /// How often, of each
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,

    #[command(flatten)]
    own: OwnCluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Blow {
    /// SIGKILL: it is gone between two instructions
    Kill,
    /// SIGTERM: it hands over, drains and ends
    Terminate,
}

impl Blow {
    const ALL: [Self; 2] = [Self::Kill, Self::Terminate];

    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Terminate => Signal::TERM,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Kill => "leader killed (SIGKILL)",
            Self::Terminate => "leader asked to end (SIGTERM)",
        }
    }

    /// Milliseconds under which the median and the worst gap are to be.
    fn wanted_ms(self) -> (u64, u64) {
        match self {
            Self::Kill => (1_000, 2_000),
            Self::Terminate => (150, 150),
        }
    }
}

/// # Errors
/// If a blow had no effect, or something acknowledged is not there, or is there twice.
pub async fn run(args: FailoverArgs, json: bool) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.own.place.dir)?;
    let report = stage::with_cluster(&args.own, async |stage| measure(&args, stage, machine, json).await).await?;
    report.print(json)?;
    let Audit { lost, doubled, .. } = report.audit;
    ensure!(lost == 0 && doubled == 0, "{lost} acknowledged writes are lost, {doubled} bookings are there unasked for");
    Ok(())
}

async fn measure(args: &FailoverArgs, stage: &Stage, machine: Machine, json: bool) -> anyhow::Result<Report> {
    let blows = if args.how.is_empty() { Blow::ALL.to_vec() } else { args.how.clone() };
    // Each client with connections of its own, as on as many machines.
    let options = Options::default();
    let connections = (0..args.clients).map(|_| stage.connect(options)).collect::<anyhow::Result<Vec<Client>>>()?;
    let ground = Arc::new(Ground::survey(&connections[0], connections.len()).await?);
    let wallets = Wallet::make_all(connections.len(), &connections, json).await?;

    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for (number, wallet) in wallets.into_iter().enumerate() {
        let patron = Patron { number, wallet, ground: ground.clone(), ledger: Ledger::default() };
        tasks.spawn(patron.book_until(over.clone()));
    }
    let tries = strike_all(args, &blows, stage, json).await;
    over.store(true, Ordering::Relaxed);
    let mut patrons = Vec::new();
    while let Some(patron) = tasks.join_next().await {
        patrons.push(patron.context("a client of the bench ended early")??);
    }
    let tries = tries?;

    let mut acknowledged: Vec<Instant> = patrons.iter().flat_map(|patron| patron.ledger.at.iter().copied()).collect();
    acknowledged.sort_unstable();
    let blows = blows
        .iter()
        .map(|&blow| {
            let of_it: Vec<&Try> = tries.iter().filter(|one| one.blow == blow).collect();
            let gaps_ms = of_it.iter().map(|one| longest_gap_ms(&acknowledged, one)).collect::<Option<Vec<_>>>();
            let gaps_ms = gaps_ms.with_context(|| format!("{}: writes did not resume", blow.text()))?;
            let mut failed = Failures::default();
            for (at, error) in patrons.iter().flat_map(|patron| &patron.ledger.failed) {
                if of_it.iter().any(|one| one.from <= *at && *at < one.to) {
                    failed.note(error);
                }
            }
            Ok(Struck { blow, gaps_ms, failed })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut audit = Audit::default();
    for patron in &patrons {
        audit.add(&patron.audit().await?);
    }
    Ok(Report { clients: args.clients, replicas: stage.endpoints().len(), machine, blows, audit })
}

struct Try {
    blow: Blow,
    from: Instant,
    /// Before the next.
    to: Instant,
}

async fn strike_all(args: &FailoverArgs, blows: &[Blow], stage: &Stage, json: bool) -> anyhow::Result<Vec<Try>> {
    let bar = progress(u64::from(args.tries) * blows.len() as u64, json, "leaders hit {bar:30} {pos}/{len}");
    let mut tries = Vec::new();
    for &blow in blows {
        for _ in 0..args.tries {
            let leader = stage.whole().await?;
            tokio::time::sleep(CALM).await;
            // It may have changed meanwhile.
            let leader = stage.leader().await.unwrap_or(leader);
            let from = Instant::now();
            stage.signal(leader.ordinal, blow.signal())?;
            stage.other_leader(leader).await.with_context(|| format!("{} had no effect", blow.text()))?;
            tokio::time::sleep(AFTERMATH).await;
            stage.restart(leader.ordinal).await?;
            stage.whole().await?;
            tries.push(Try { blow, from, to: Instant::now() });
            bar.inc(1);
        }
    }
    // Room for the write that ends the last gap, should there be one.
    tokio::time::sleep(CALM).await;
    bar.finish_and_clear();
    Ok(tries)
}

/// Between the last write acknowledged before the blow and the first after the try; none if there is no such.
fn longest_gap_ms(acknowledged: &[Instant], one: &Try) -> Option<f64> {
    let first = acknowledged.partition_point(|at| *at < one.from).checked_sub(1)?;
    let last = acknowledged.partition_point(|at| *at < one.to);
    let gaps = acknowledged.get(first..=last)?.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().map(|gap| gap.as_secs_f64() * 1000.0)
}

/// What a client was told.
#[derive(Default)]
struct Ledger {
    /// When writes were acknowledged.
    at: Vec<Instant>,
    booked: BTreeMap<String, Booked>,
    failed: Vec<(Instant, ClientError)>,
}

struct Booked {
    seat: String,
    start: Option<prost_types::Timestamp>,
    cancelled: bool,
}

struct Patron {
    number: usize,
    wallet: Wallet,
    ground: Arc<Ground>,
    ledger: Ledger,
}

impl Patron {
    async fn book_until(mut self, over: Arc<AtomicBool>) -> anyhow::Result<Self> {
        for round in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            if self.ledger.failed.len() > FAILURES_MAX {
                let last = self.ledger.failed.last().map(|(_, error)| error.to_string());
                bail!("more than {FAILURES_MAX} calls of one client failed; the last: {}", last.unwrap_or_default());
            }
            let account = self.wallet.account(2).await?;
            self.book_and_cancel(&account, round).await;
        }
        Ok(self)
    }

    async fn book_and_cancel(&mut self, account: &Account, round: usize) {
        let (seat, interval) = self.ground.place(self.number, round);
        let start = interval.start_time;
        let request_id = new_request_id();
        let request = v1::CreateReservationRequest {
            request_id,
            seat: seat.clone(),
            interval: Some(interval),
            ..Default::default()
        };
        let reservation = match account.client.create_reservation(request).await {
            Ok(answer) => answer.reservation.unwrap_or_default(),
            Err(error) => return self.ledger.failed.push((Instant::now(), error)),
        };
        self.ledger.at.push(Instant::now());
        self.ledger.booked.insert(reservation.name.clone(), Booked { seat, start, cancelled: false });
        let request = v1::CancelReservationRequest {
            request_id: new_request_id(),
            name: reservation.name.clone(),
            ..Default::default()
        };
        match account.client.cancel_reservation(request).await {
            Ok(_) => {
                self.ledger.at.push(Instant::now());
                if let Some(booked) = self.ledger.booked.get_mut(&reservation.name) {
                    booked.cancelled = true;
                }
            }
            Err(error) => self.ledger.failed.push((Instant::now(), error)),
        }
    }

    async fn audit(&self) -> anyhow::Result<Audit> {
        let mut there = Vec::new();
        for account in self.wallet.accounts() {
            there.extend(account.reservations().await?);
        }
        Ok(self.ledger.compare(&there))
    }
}

impl Ledger {
    fn compare(&self, there: &[v1::Reservation]) -> Audit {
        let by_name: BTreeMap<&str, &v1::Reservation> = there.iter().map(|r| (r.name.as_str(), r)).collect();
        let mut audit = Audit { acknowledged: self.at.len() as u64, ..Audit::default() };
        for (name, booked) in &self.booked {
            let found = by_name.get(name.as_str());
            let is_booked = found.is_some_and(|found| found.seat == booked.seat && found.start_time == booked.start);
            audit.lost += u64::from(!is_booked);
            let is_cancelled = found.is_some_and(|found| found.state() == v1::reservation::State::Cancelled);
            audit.lost += u64::from(booked.cancelled && !is_cancelled);
        }
        let unknown = there.iter().filter(|found| !self.booked.contains_key(&found.name)).count() as u64;
        // A call without an answer may have had its effect.
        audit.in_doubt = self.failed.len() as u64;
        audit.doubled = (there.len() - by_name.len()) as u64 + unknown.saturating_sub(audit.in_doubt);
        audit
    }
}

/// What a client may fail before the run is given up: many outages of ten seconds each.
const FAILURES_MAX: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Audit {
    acknowledged: u64,
    in_doubt: u64,
    lost: u64,
    doubled: u64,
}

impl Audit {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.lost += other.lost;
        self.doubled += other.doubled;
    }
}

#[derive(Debug, Serialize)]
struct Struck {
    blow: Blow,
    /// In order of the tries.
    gaps_ms: Vec<f64>,
    failed: Failures,
}

#[derive(Debug, Serialize)]
struct Report {
    clients: u32,
    replicas: usize,
    machine: Machine,
    blows: Vec<Struck>,
    audit: Audit,
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let headings =
            ["longest gap between acknowledged writes", "tries", "median ms", "worst ms", "wanted", "failed calls"];
        let rows = self.blows.iter().map(|struck| {
            let mut sorted = struck.gaps_ms.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            let (median_wanted, worst_wanted) = struck.blow.wanted_ms();
            let is_met = median < median_wanted as f64 && worst < worst_wanted as f64;
            vec![
                struck.blow.text().to_owned(),
                sorted.len().to_string(),
                format!("{median:.0}"),
                format!("{worst:.0}"),
                format!("{median_wanted} and {worst_wanted}: {}", if is_met { "met" } else { "missed" }),
                struck.failed.text(),
            ]
        });
        let rows = rows.collect();
        let each = self.blows.iter().map(|struck| {
            let gaps: Vec<String> = struck.gaps_ms.iter().map(|gap| format!("{gap:.0}")).collect();
            format!("{}, each try in ms: {}\n", struck.blow.text(), gaps.join(", "))
        });
        anstream::println!(
            "{} replicas, {} clients booking and cancelling in a closed loop\n\n{}\n\n{}\n\
             {} writes were acknowledged and looked for afterwards: {} lost, {} there unasked for; {} calls without an \
             answer\n\n{}",
            self.replicas,
            self.clients,
            markdown(headings.map(str::to_owned).to_vec(), rows),
            each.collect::<String>(),
            self.audit.acknowledged,
            self.audit.lost,
            self.audit.doubled,
            self.audit.in_doubt,
            self.machine.text(),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(name: &str, state: v1::reservation::State) -> v1::Reservation {
        v1::Reservation { name: name.into(), seat: "a".into(), state: state.into(), ..Default::default() }
    }

    #[test]
    fn a_gap_reaches_over_the_edges_of_its_try() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        let acknowledged: Vec<Instant> = [0, 10, 500, 510, 900].map(at).to_vec();
        let gap = |from, to| longest_gap_ms(&acknowledged, &Try { blow: Blow::Kill, from: at(from), to: at(to) });
        assert_eq!(gap(20, 505), Some(490.0));
        assert_eq!(gap(505, 600), Some(390.0), "the write that ends the gap came after the try");
        assert_eq!(gap(505, 1000), None, "nothing was written any more");
        assert_eq!(gap(0, 5), None, "nothing was written before");
    }

    #[test]
    fn whatever_was_acknowledged_and_is_not_there_is_found() {
        use v1::reservation::State::{Cancelled, Confirmed};
        let booked = |cancelled| Booked { seat: "a".into(), start: None, cancelled };
        let mut ledger = Ledger::default();
        ledger.booked.insert("reservations/1".into(), booked(true));
        ledger.booked.insert("reservations/2".into(), booked(false));
        let [one, two] = [reservation("reservations/1", Cancelled), reservation("reservations/2", Confirmed)];
        let right = ledger.compare(&[one.clone(), two.clone()]);
        assert_eq!((right.lost, right.doubled), (0, 0));
        assert_eq!(ledger.compare(std::slice::from_ref(&one)).lost, 1, "a booking");
        let undone = reservation("reservations/1", Confirmed);
        assert_eq!(ledger.compare(&[undone, two.clone()]).lost, 1, "a cancellation");
        let stranger = reservation("reservations/3", Confirmed);
        assert_eq!(ledger.compare(&[one, two, stranger]).doubled, 1, "a booking that nobody asked for");
    }
}
