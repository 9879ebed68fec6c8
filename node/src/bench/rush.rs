//! The moment when a slot opens: everybody asks at once for one of a few seats, and what counts is when the last of
//! them knows. As many get a seat as there are seats, and everyone else is told that it is taken.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use carrel_membership::Replicas;
use carrel_proto::client::{Client, Options, new_request_id};
use carrel_proto::v1;
use clap::Args;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::accounts::{Account, Wallet};
use super::ground::{Ground, eight_branches};
use super::load::{PATIENT, connections};
use super::machine::Machine;
use super::verdict::{Failures, is_taken};
use super::{OwnCluster, Place, markdown, print_json, stage};
use crate::cli::Failure;
use crate::demo::replica_count;

#[derive(Args, Clone, Debug)]
pub struct RushArgs {
    /// Clients that ask at the same moment; of several numbers each is measured in turn
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "200")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    clients: Vec<u32>,

    /// Seats that they want
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    seats: u32,

    /// Rushes of each number of clients, each for a slot of its own
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    rounds: u32,

    /// Start a cluster of so many replicas for it, instead of asking --endpoints
    #[arg(long, value_name = "N", value_parser = replica_count)]
    replicas: Option<Replicas>,

    #[command(flatten)]
    place: Place,
}

/// # Errors
/// If somebody had another answer than a seat or that it is taken, or seats were left over.
pub async fn run(
    args: RushArgs,
    connect: impl Fn(Options) -> Result<Client, Failure>,
    json: bool,
) -> anyhow::Result<()> {
    let machine = Machine::survey(&args.place.dir)?;
    let most = args.clients.iter().copied().max().context("there is at least one number of clients")? as usize;
    let rows = match args.replicas {
        Some(replicas) => {
            let place = Place { catalogue: Some(eight_branches()), ..args.place.clone() };
            stage::with_cluster(&OwnCluster { replicas, place }, async |stage| {
                let clients = (0..connections(most)).map(|_| stage.connect(PATIENT));
                measure_all(&args, &clients.collect::<anyhow::Result<Vec<_>>>()?, json).await
            })
            .await?
        }
        None => {
            let clients = (0..connections(most)).map(|_| connect(PATIENT)).collect::<Result<Vec<_>, _>>()?;
            measure_all(&args, &clients, json).await?
        }
    };
    let report = Report { seats: args.seats, rounds: args.rounds, machine, rows };
    report.print(json)?;
    for row in &report.rows {
        ensure!(row.failed.count() == 0, "{} calls failed", row.failed.text());
        let wanted = u64::from(row.clients.min(args.seats) * args.rounds);
        ensure!(row.booked == wanted, "{} seats were booked, not {wanted}", row.booked);
    }
    Ok(())
}

async fn measure_all(args: &RushArgs, clients: &[Client], json: bool) -> anyhow::Result<Vec<Row>> {
    let most = args.clients.iter().copied().max().unwrap_or(1) as usize;
    let ground = Arc::new(Ground::survey(&clients[0], most).await?);
    let seats = args.seats as usize;
    ensure!(seats <= ground.seats().len(), "the catalogue has {} seats that never close", ground.seats().len());
    let mut wallets = Wallet::make_all(most, clients, json).await?;
    let mut rows = Vec::new();
    for &count in &args.clients {
        let mut accounts = Vec::new();
        for wallet in wallets.iter_mut().take(count as usize) {
            accounts.push(wallet.account(2 * args.rounds).await?);
        }
        // One that is not counted, for connections.
        rush(&ground, &accounts, seats, 0).await?;
        let mut row =
            Row { clients: count, all_answered_ms: Vec::new(), booked: 0, taken: 0, failed: Failures::default() };
        for round in 1..=args.rounds {
            let one = rush(&ground, &accounts, seats, round as usize).await?;
            row.all_answered_ms.push(one.all_answered_ms);
            row.booked += one.booked;
            row.taken += one.taken;
            row.failed.add(&one.failed);
        }
        row.all_answered_ms.sort_by(f64::total_cmp);
        rows.push(row);
    }
    for wallet in wallets {
        wallet.delete().await;
    }
    Ok(rows)
}

struct Rush {
    all_answered_ms: f64,
    booked: u64,
    taken: u64,
    failed: Failures,
}

/// What was won is given back, so that nobody's reservations add up.
async fn rush(ground: &Arc<Ground>, accounts: &[Account], seats: usize, round: usize) -> anyhow::Result<Rush> {
    let start = Arc::new(Barrier::new(accounts.len() + 1));
    let mut tasks = JoinSet::new();
    for (client, account) in accounts.iter().cloned().enumerate() {
        let (start, (seat, interval)) = (start.clone(), ground.contested(client, seats, round));
        tasks.spawn(async move {
            let request = v1::CreateReservationRequest {
                request_id: new_request_id(),
                seat,
                interval: Some(interval),
                ..v1::CreateReservationRequest::default()
            };
            start.wait().await;
            let answer = account.client.create_reservation(request).await;
            (account, answer)
        });
    }
    start.wait().await;
    let begun = Instant::now();
    let mut rush = Rush { all_answered_ms: 0.0, booked: 0, taken: 0, failed: Failures::default() };
    let mut won = Vec::new();
    while let Some(answered) = tasks.join_next().await {
        match answered.context("a client of the bench ended early")? {
            (account, Ok(answer)) => won.push((account, answer.reservation.unwrap_or_default().name)),
            (_, Err(error)) if is_taken(&error) => rush.taken += 1,
            (_, Err(error)) => rush.failed.note(&error),
        }
    }
    rush.all_answered_ms = begun.elapsed().as_secs_f64() * 1000.0;
    rush.booked = won.len() as u64;
    for (account, name) in won {
        let request = v1::CancelReservationRequest { request_id: new_request_id(), name, ..Default::default() };
        account.client.cancel_reservation(request).await?;
    }
    Ok(rush)
}

#[derive(Debug, Serialize)]
struct Report {
    seats: u32,
    rounds: u32,
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    clients: u32,
    /// In order.
    all_answered_ms: Vec<f64>,
    booked: u64,
    taken: u64,
    failed: Failures,
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let headings = ["clients", "median ms", "shortest", "longest", "booked", "seat taken", "failed"];
        let row = |row: &Row| {
            let at = |share: f64| {
                let last = row.all_answered_ms.len().saturating_sub(1);
                row.all_answered_ms.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
            };
            vec![
                row.clients.to_string(),
                format!("{:.1}", at(0.5)),
                format!("{:.1}", at(0.0)),
                format!("{:.1}", at(1.0)),
                row.booked.to_string(),
                row.taken.to_string(),
                row.failed.text(),
            ]
        };
        anstream::println!(
            "Until everybody has an answer who wants one of {} seats of one slot, {} times\n\n{}\n\n{}",
            self.seats,
            self.rounds,
            markdown(headings.map(String::from).to_vec(), self.rows.iter().map(row).collect()),
            self.machine.text(),
        );
        Ok(())
    }
}
