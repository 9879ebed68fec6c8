//! `carrel-peers`: the same work on etcd, on one Postgres and on Carrel, by turns in one run, so that whatever else the
//! machine does bears on all of them alike. Prints a report in Markdown, and leaves its figures and pictures beside it.

mod contender;
mod etcd;
mod postgres;
mod carrel;
mod measure;
mod chart;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use carrel::Carrel;
use contender::{Contender, Place, SEATS, SLOTS};
use etcd::Etcd;
use measure::{Load, Rush, Subject, gap_ms, load, rush};
use postgres::{Insert, Postgres};
use report::{Gaps, Loads, Report, Rushes};

/// Measure Carrel beside etcd and Postgres on this machine
#[derive(Parser, Debug)]
#[command(version)]
struct Cli {
    /// The `carrel` that is measured
    #[arg(long, value_name = "PROGRAM")]
    carrel: PathBuf,

    /// The `etcd` beside it
    #[arg(long, value_name = "PROGRAM")]
    etcd: PathBuf,

    /// The first of 60 ports
    #[arg(long, value_name = "PORT", default_value_t = 7700)]
    port: u16,

    /// Where all data lies, in a new directory, on the disk that is measured
    #[arg(long, value_name = "DIR", default_value = ".carrel")]
    dir: PathBuf,

    /// Clients that ask at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,50,200,1000")]
    clients: Vec<usize>,

    /// How long each turn is measured, after a second that is not
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,

    /// Turns of each, at each number of clients
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: usize,

    /// Accounts that book on Carrel, of which each has a thousand bookings at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = accounts)]
    accounts: usize,

    /// Rushes of each: 200 clients for 50 seats of one slot
    #[arg(long, value_name = "N", default_value_t = 10)]
    rushes: usize,

    /// Leaders killed of each that has one
    #[arg(long, value_name = "N", default_value_t = 5)]
    gaps: usize,

    /// Figures and pictures are written here: speed.json, speed-*.svg
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
}

const RUSH_CLIENTS: usize = 200;
const RUSH_SEATS: usize = 50;

fn accounts(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    // Each books a seat of its own, and the last seats are for the rushes.
    let most = SEATS - RUSH_SEATS;
    if (RUSH_CLIENTS..=most).contains(&count) { Ok(count) } else { Err(format!("from {RUSH_CLIENTS} to {most}")) }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let dir = cli.dir.join(format!("peers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let measured = tokio::select! {
        measured = measure_all(&cli, &dir) => measured,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    let report = measured.with_context(|| format!("logs are kept in {}", dir.display()))?;
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    if let Some(folder) = &cli.reports {
        report.keep(folder)?;
    }
    println!("{}", report.markdown());
    Ok(())
}

async fn measure_all(cli: &Cli, dir: &std::path::Path) -> anyhow::Result<Report> {
    let machine = report::machine(&cli.carrel)?;
    let contest = Contest {
        postgres: Arc::new(Postgres::start(dir, cli.port + 50).await?),
        carrel: Arc::new(Carrel::start(&cli.carrel, &dir.join("carrel"), cli.port, cli.accounts).await?),
        etcd: Arc::new(Etcd::start(&cli.etcd, &dir.join("etcd"), cli.port + 40).await?),
    };
    let result = contest.hold(cli).await;
    let Contest { etcd: _, postgres, carrel } = contest;
    // Where clients are left over after a failure, everything ends with this process.
    if let Some(mut carrel) = Arc::into_inner(carrel) {
        carrel.stop().await;
    }
    if let Some(mut postgres) = Arc::into_inner(postgres) {
        postgres.stop().await;
    }
    let (loads, rushes, gaps) = result?;
    let settings = report::Settings { seconds: cli.seconds, repeats: cli.repeats, rushes: cli.rushes };
    Ok(Report { machine, settings, loads, rushes, gaps })
}

struct Contest {
    etcd: Arc<Etcd>,
    postgres: Arc<Postgres>,
    carrel: Arc<Carrel>,
}

impl Contest {
    async fn hold(&self, cli: &Cli) -> anyhow::Result<(Vec<Loads>, Vec<Rushes>, Vec<Gaps>)> {
        let mut loads = self.load_all(Subject::Bookings, cli).await?;
        let rushes = self.rush_all(cli.rushes).await?;
        self.postgres.take_stock().await?;
        loads.extend(self.load_all(Subject::Searches, cli).await?);
        let mut gaps = [Gaps::new(self.etcd.name()), Gaps::new(self.carrel.name())];
        for _ in 0..cli.gaps {
            gaps[0].ms.push(gap_ms(&self.etcd).await?);
            gaps[1].ms.push(gap_ms(&self.carrel).await?);
        }
        Ok((loads, rushes, gaps.to_vec()))
    }

    /// Each in turn, in an order that changes from repeat to repeat.
    async fn load_all(&self, subject: Subject, cli: &Cli) -> anyhow::Result<Vec<Loads>> {
        let length = Duration::from_secs(cli.seconds);
        let mut turns: BTreeMap<(usize, usize), Vec<Load>> = BTreeMap::new();
        for repeat in 0..cli.repeats {
            for &clients in &cli.clients {
                for place in 0..CONTENDERS.len() {
                    let who = (place + repeat) % CONTENDERS.len();
                    let turn = match who {
                        0 => load(&self.etcd, subject, clients, length).await?,
                        1 => load(&self.postgres, subject, clients, length).await?,
                        _ => load(&self.carrel, subject, clients, length).await?,
                    };
                    eprintln!("{subject:?} {clients} {}: {:.0} a second", CONTENDERS[who], turn.per_second);
                    turns.entry((clients, who)).or_default().push(turn);
                }
            }
        }
        let loads = turns.into_iter();
        Ok(loads.map(|((clients, who), turns)| Loads { subject, clients, who: CONTENDERS[who], turns }).collect())
    }

    /// Slots of the last seats, which nobody has as a seat of their own, one for each rush, from the last one back.
    async fn rush_all(&self, count: usize) -> anyhow::Result<Vec<Rushes>> {
        let mut found: [Vec<Rush>; 4] = [const { Vec::new() }; 4];
        for nth in 0..count {
            let plain = SLOTS - 1 - 2 * nth;
            let place = |client: usize, slot: usize| Place { seat: SEATS - 1 - client % RUSH_SEATS, slot };
            let etcd = |client| {
                let etcd = self.etcd.clone();
                async move { etcd.contend(client, place(client, plain)).await }
            };
            let insert = |how: Insert, slot: usize| {
                move |client: usize| {
                    let postgres = self.postgres.clone();
                    async move { postgres.insert(how, client, place(client, slot)).await }
                }
            };
            let carrel = |client| {
                let carrel = self.carrel.clone();
                async move { carrel.contend(client, place(client, plain)).await }
            };
            found[0].push(rush(RUSH_CLIENTS, etcd).await?);
            found[1].push(rush(RUSH_CLIENTS, insert(Insert::Plain, plain)).await?);
            found[2].push(rush(RUSH_CLIENTS, insert(Insert::OnConflictDoNothing, plain - 1)).await?);
            found[3].push(rush(RUSH_CLIENTS, carrel).await?);
        }
        let names = ["etcd", "Postgres, INSERT", "Postgres, INSERT ON CONFLICT DO NOTHING", "Carrel"];
        Ok(names.into_iter().zip(found).map(|(who, turns)| Rushes { who, turns }).collect())
    }
}

const CONTENDERS: [&str; 3] = ["etcd", "Postgres", "Carrel"];
