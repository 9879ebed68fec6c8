//! Exactly once: commands sent several times through several nodes, with the same id, while leaders are killed, asked
//! to end and moved. What stands at the end is counted: as many effects as commands, and each answer told alike.
//!
//! A command is sent through up to five nodes: some copies at the same time, some after its answer, some only after
//! the client has gone on to its next command. A copy without an answer is sent again through another node until there
//! is one.
mod command;
mod count;
mod pace;
mod sender;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use carrel_proto::client::{Client, Options};
use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::task::JoinSet;

use super::accounts::{Account, Wallet};
use super::ground::Ground;
use super::machine::Machine;
use super::stage::{self, Stage};
use super::{OwnCluster, markdown, print_json, progress};
use command::COPY_LIMIT;
use count::{Effects, Told, seen};
use pace::{Changes, Pace};
use sender::{Dice, Sender};

/// Of one account: their records fit with room to spare, and its messages into the inbox of the next one.
const COMMANDS_PER_CLIENT_MAX: u32 = 4_000;

#[derive(Args, Clone, Debug)]
pub struct OnceArgs {
    /// How many commands, each with an id of its own
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    commands: u32,

    /// Clients that send them, one command after the other
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    clients: u32,

    /// Of a hundred commands, how many are sent two to five times instead of once
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeated: u32,

    /// How often another becomes the leader: killed, asked to end and moved, in turn
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    leader_changes: u32,

    /// What is repeated when, drawn from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    own: OwnCluster,
}

/// # Errors
/// If there are not exactly as many effects as commands, or copies of one were answered differently.
pub async fn run(args: OnceArgs, json: bool) -> anyhow::Result<()> {
    if args.commands > args.clients * COMMANDS_PER_CLIENT_MAX {
        bail!("{} commands take at least {} clients", args.commands, args.commands.div_ceil(COMMANDS_PER_CLIENT_MAX));
    }
    let machine = Machine::survey(&args.own.place.dir)?;
    let report = stage::with_cluster(&args.own, async |stage| measure(&args, stage, machine, json).await).await?;
    report.print(json)?;
    let verdict = report.verdict();
    ensure!(verdict.is_empty(), "not exactly once: {}", verdict.join("; "));
    Ok(())
}

async fn measure(args: &OnceArgs, stage: &Stage, machine: Machine, json: bool) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let shared = stage.connect(Options::default())?;
    let ground = Arc::new(Ground::survey(&shared, args.clients as usize).await?);
    let accounts = Wallet::make_all(args.clients as usize, &[shared], json).await?;
    let accounts: Vec<Account> = accounts.iter().flat_map(Wallet::accounts).cloned().collect();
    let pace = Arc::new(Pace::new(args));
    let mut tasks = JoinSet::new();
    for (number, account) in accounts.iter().enumerate() {
        let options = Options { attempt_timeout: COPY_LIMIT, deadline: COPY_LIMIT, ..Options::default() };
        // One client for each node, so that a copy goes where it is to go.
        let nodes = stage.endpoints().iter().map(|url| account.over(Client::new([url], options)?));
        let sender = Sender {
            number,
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            ground: ground.clone(),
            next_person: accounts[(number + 1) % accounts.len()].name.clone(),
            dice: Dice(args.seed.wrapping_mul(0x1000_0001).wrapping_add(number as u64)),
            repeated: u64::from(args.repeated),
            pace: pace.clone(),
            told: Told::default(),
        };
        let share = args.commands / args.clients + u32::from((number as u32) < args.commands % args.clients);
        tasks.spawn(sender.send_all(share));
    }
    let bar = progress(u64::from(args.commands), json, "sending {bar:30} {pos}/{len}");
    let senders = async {
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.push(done.context("a client of the bench ended early")??);
        }
        anyhow::Ok(all)
    };
    let ticker = async {
        while pace.done.load(Ordering::Relaxed) < u64::from(args.commands) {
            bar.set_position(pace.done.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    let (mut told, changes, ()) = tokio::try_join!(senders, pace.change_leaders(args, stage), ticker)?;
    bar.finish_and_clear();
    told.sort_by_key(|(number, _)| *number);
    let told: Vec<Told> = told.into_iter().map(|(_, told)| told).collect();
    let mut report = Report {
        commands: args.commands,
        repeated_percent: args.repeated,
        changes_wanted: args.leader_changes,
        changes,
        replicas: stage.endpoints().len(),
        clients: args.clients,
        seed: args.seed,
        seconds: 0.0,
        machine,
        copies: BTreeMap::new(),
        sent: 0,
        answers_that_differ: 0,
        first_answers_too_many: 0,
        effects: Effects::default(),
    };
    for told in &told {
        report.add(told);
    }
    // Everybody's messages went to the next one.
    let seen = try_join_all(accounts.iter().map(seen)).await?;
    for (number, told) in told.iter().enumerate() {
        let inbox = &seen[(number + 1) % seen.len()].messages;
        report.effects.add(&told.compare(&seen[number].reservations, inbox, &accounts[number].name));
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

#[derive(Debug, Serialize)]
struct Report {
    commands: u32,
    clients: u32,
    replicas: usize,
    repeated_percent: u32,
    changes_wanted: u32,
    changes: Changes,
    seed: u64,
    seconds: f64,
    machine: Machine,
    copies: BTreeMap<u64, u64>,
    sent: u64,
    answers_that_differ: u64,
    first_answers_too_many: u64,
    effects: Effects,
}

impl Report {
    fn add(&mut self, told: &Told) {
        for (copies, count) in &told.copies {
            *self.copies.entry(*copies).or_default() += count;
        }
        self.sent += told.sent;
        self.answers_that_differ += told.differ;
        self.first_answers_too_many += told.firsts_too_many;
    }

    /// Everything that is not as it should be.
    fn verdict(&self) -> Vec<String> {
        let effects = &self.effects;
        let changes = self.changes.killed + self.changes.asked_to_end + self.changes.moved;
        let equal = |what: &str, wanted: u64, found: u64| {
            (wanted != found).then(|| format!("{found} {what} instead of {wanted}"))
        };
        [
            equal("commands answered", self.commands.into(), effects.asked()),
            equal("bookings", effects.bookings_asked, effects.bookings),
            equal("cancellations", effects.cancellations_asked, effects.cancellations),
            equal("messages", effects.messages_asked, effects.messages),
            equal("effects that are not what was acknowledged", 0, effects.wrong),
            equal("answers that differ between copies", 0, self.answers_that_differ),
            equal("commands told twice that they were the first", 0, self.first_answers_too_many),
            equal("changes of the leader", self.changes_wanted.into(), changes.into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let effects = &self.effects;
        let row = |what: &str, asked: u64, found: u64| vec![what.to_owned(), asked.to_string(), found.to_string()];
        let rows = vec![
            row("bookings", effects.bookings_asked, effects.bookings),
            row("cancellations", effects.cancellations_asked, effects.cancellations),
            row("messages", effects.messages_asked, effects.messages),
            row("all", effects.asked(), effects.found()),
        ];
        let times: Vec<String> = self.copies.iter().map(|(copies, count)| format!("{count} × {copies}")).collect();
        let Changes { killed, asked_to_end, moved } = self.changes;
        anstream::println!(
            "{} commands of {} clients through {} replicas, {} % of them sent two to five times ({}), {} copies in all; \
             leaders killed {killed}, asked to end {asked_to_end}, moved {moved}; {:.0} s, seed {}\n\n{}\n\n\
             effects that are not what was acknowledged: {}; answers that differ between copies: {}; commands told \
             twice that they were the first: {}\n\n{}",
            self.commands,
            self.clients,
            self.replicas,
            self.repeated_percent,
            times.join(", "),
            self.sent,
            self.seconds,
            self.seed,
            markdown(["commands", "asked for", "effects found"].map(str::to_owned).to_vec(), rows),
            effects.wrong,
            self.answers_that_differ,
            self.first_answers_too_many,
            self.machine.text(),
        );
        Ok(())
    }
}
