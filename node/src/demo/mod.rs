//! `carrel demo`: a whole library on this machine. Three real replicas as processes on loopback, their data in a
//! directory, the sample catalogue, one account per role. No database, no Kubernetes, no configuration.
//!
//! The demo is a small operator: it looks at the replicas, asks the planner for the one next safe step, performs it,
//! and looks again. It starts what died, and stops what it started.

mod furnish;
pub mod postgres;
mod record;
mod replicas;
mod steward;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carrel_membership::{Desired, Plan, Replicas as ReplicaCount};
use carrel_proto::client::Tls;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::certs::CertsArgs;
use crate::config::REPLICAS_MAX;
use crate::start::exit_with_parent;
pub use record::{Ready, read_ready};
pub use replicas::restart_request;

use furnish::Furnishing;
use postgres::Postgres;
use record::Record;
use replicas::{Exit, Ports, Processes};
use steward::Steward;

/// How often the replicas are looked at while something is to be done, and while nothing is.
const LOOK_BUSY: Duration = Duration::from_millis(50);
const LOOK_IDLE: Duration = Duration::from_millis(500);
/// How long a cluster may need to form and be furnished: log replay of a large directory included.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a problem that the planner cannot solve may last before the demo gives up: replicas that are still starting
/// look like lost ones.
const STUCK_LIMIT: Duration = Duration::from_secs(15);

/// Run a whole cluster on this machine, to try it out
///
/// Starts real replicas as processes on 127.0.0.1 with their data in a directory, imports a sample catalogue, creates
/// one account per role and prints how to reach them. Ctrl-C stops them; starting again finds everything as it was.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    command: Option<DemoCommand>,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand, Clone, Debug)]
enum DemoCommand {
    /// Start a dead replica of a running demo again, or restart a live one
    Restart {
        /// Which replica: 0, 1, 2 ...
        replica: u32,
        /// Directory of the running demo
        #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
        dir: PathBuf,
    },
}

const DEFAULT_DIR: &str = ".carrel/demo";
/// Where Postgres listens, after everything of the replicas.
const POSTGRES: u16 = 40;
const POSTGRES_URL_FILE: &str = "postgres-url";

#[derive(Args, Clone, Debug)]
struct RunArgs {
    /// How many replicas: 1, 3, 5 or 7. Another number on the same directory grows or shrinks the cluster
    #[arg(long, value_name = "N", default_value = "3", value_parser = replica_count)]
    replicas: ReplicaCount,

    /// Where the data lies
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,

    /// Replica i listens on port+i for clients, port+10+i for peers, port+20+i for admin, port+30+i for metrics
    #[arg(long, value_name = "PORT", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,

    /// Replica i reaches replica j at PORT+10*i+j instead of directly: for a proxy of one's own on every link
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    link_port: Option<u16>,

    /// Import this catalogue (YAML) instead of the sample campus
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,

    /// Minutes after the start at which a reservation without check-in is a no-show: for trying that out
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(i32).range(1..=1440))]
    grace_minutes: Option<i32>,

    /// Throw away what the directory holds and begin anew
    #[arg(long)]
    fresh: bool,

    /// Talk by TLS, with certificates made for it in DIR/demo-keys
    #[arg(long)]
    tls: bool,

    /// Start a Postgres on PORT+40 as well, with its data in the directory, and keep the relational record there
    #[arg(long, conflicts_with = "postgres_url_file")]
    postgres: bool,

    /// Keep the relational record in the Postgres whose address this file holds
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Option<PathBuf>,

    /// Leave a replica dead that dies, until `carrel demo restart I`
    #[arg(long)]
    no_restart: bool,

    /// What the replicas log, into DIR/replica-I.log
    #[arg(long, value_name = "FILTER", default_value = "info,openraft=error")]
    log: String,

    /// End when the parent process, which must be this one, does
    #[arg(long, value_name = "PID")]
    exit_with_parent: Option<u32>,
}

pub fn replica_count(text: &str) -> Result<ReplicaCount, String> {
    let count: u32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    ReplicaCount::try_from(count).map_err(|error| error.to_string())
}

/// Runs until Ctrl-C, or for a subcommand until that is done.
///
/// # Errors
/// With what a person can do about it.
pub async fn run(args: DemoArgs, json: bool) -> anyhow::Result<()> {
    match args.command {
        Some(DemoCommand::Restart { replica, dir }) => restart(replica, &dir, json).await,
        None => {
            exit_with_parent(args.run.exit_with_parent)?;
            Demo::new(args.run, json)?.run().await
        }
    }
}

async fn restart(replica: u32, dir: &std::path::Path, json: bool) -> anyhow::Result<()> {
    // A running demo looks for the request twice a second and takes it away when it is done.
    const LIMIT: Duration = Duration::from_secs(10);
    if !record::is_locked(dir)? {
        bail!("no demo is running on {}: start one with `carrel demo --dir {}`", dir.display(), dir.display());
    }
    let ready = record::read_ready(dir)?;
    if replica as usize >= ready.endpoints.len() {
        bail!("there is no replica {replica}: the demo runs 0 to {}", ready.endpoints.len() - 1);
    }
    let request = replicas::restart_request(dir, replica);
    std::fs::write(&request, b"").with_context(|| format!("cannot ask for a restart in {}", dir.display()))?;
    let asked = Instant::now();
    while request.exists() {
        if asked.elapsed() > LIMIT {
            bail!("the demo did not restart replica {replica} within {} s", LIMIT.as_secs());
        }
        tokio::time::sleep(LOOK_BUSY).await;
    }
    let pid = record::read_ready(dir)?.pids.get(replica as usize).copied();
    let pid = pid.context("the demo has fewer replicas now")?;
    say_restarted(&Exit { ordinal: replica, pid, complaint: None }, json)
}

fn say_restarted(restarted: &Exit, json: bool) -> anyhow::Result<()> {
    if json {
        return record::print_line(restarted);
    }
    let Exit { ordinal, pid, complaint } = restarted;
    let why = complaint.as_ref().map(|complaint| format!(" It had ended: {complaint}")).unwrap_or_default();
    record::print(&format!("Replica {ordinal} has been started again, pid {pid}.{why}\n"))
}

/// No step has succeeded for a while.
struct Failing {
    since: Instant,
    /// Of the last one.
    error: String,
}

impl Failing {
    fn is_hopeless(&self) -> bool {
        self.since.elapsed() > STUCK_LIMIT
    }
}

struct Demo {
    args: RunArgs,
    json: bool,
    record: Record,
    processes: Processes,
    steward: Steward,
    /// Steps fail now and then, as when a leader has just gone; this one is looked at again.
    failing: Option<Failing>,
    /// With --postgres, once it runs.
    postgres: Option<Postgres>,
    /// Held as long as the demo runs: two on one directory would fight over it.
    _lock: File,
}

/// What the demo shows on the admin ports. Made with all the others the first time.
fn keys(dir: &Path) -> anyhow::Result<Tls> {
    let keys = Processes::keys(dir);
    if !keys.exists() {
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        crate::certs::make(&CertsArgs { dir: keys.clone(), hosts, days: KEYS_DAYS })?;
    }
    let read = |file: &str| {
        let path = keys.join("admin").join(file);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(Tls::trusting(read("ca.crt")?).showing(read("tls.crt")?, read("tls.key")?))
}

/// Longer than anybody tries something out; then --fresh makes others.
const KEYS_DAYS: u16 = 3650;

impl Demo {
    fn new(args: RunArgs, json: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
        let dir = args.dir.canonicalize().with_context(|| format!("cannot enter {}", args.dir.display()))?;
        let args = RunArgs { dir, ..args };
        let lock = record::lock(&args.dir)?;
        // Whatever stands in the way is said before anything is changed, let alone thrown away.
        if let Some(file) = &args.catalog {
            furnish::check_catalog(file)?;
        }
        let mut record = if args.fresh { Record::default() } else { Record::open(&args.dir)? };
        let ports = Ports { base: args.port, tls: args.tls, links: args.link_port };
        // What still has members runs too, until they have left.
        ports.check(args.replicas.count().max(record.running.count))?;
        if args.fresh {
            record::clear(&args.dir)?;
            if args.postgres {
                postgres::clear(&args.dir)?;
            }
            record = Record::open(&args.dir)?;
        }
        Furnishing::accounts(&args.dir)?;
        let mut processes = Processes::new(&args.dir, ports, args.log.clone())?;
        if args.postgres {
            postgres::check_port(args.port + POSTGRES)?;
            processes.keep_record(args.dir.join(POSTGRES_URL_FILE));
        }
        if let Some(file) = &args.postgres_url_file {
            let file = file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?;
            processes.keep_record(file);
        }
        let steward = Steward::new(ports, args.tls.then(|| keys(&args.dir)).transpose()?);
        Ok(Self { args, json, record, processes, steward, failing: None, postgres: None, _lock: lock })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let result = tokio::select! {
            result = self.run_until_stopped() => result,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        if !self.json {
            anstream::eprintln!("Stopping the replicas.");
        }
        self.processes.stop_all().await;
        if let Some(mut postgres) = self.postgres.take() {
            postgres.stop().await;
        }
        result
    }

    async fn run_until_stopped(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let progress = self.progress();
        if self.args.postgres {
            progress.set_message("starting Postgres");
            let postgres = Postgres::start(&self.args.dir, self.args.port + POSTGRES, &[]).await?;
            let file = self.args.dir.join(POSTGRES_URL_FILE);
            record::write_file(&file, &postgres.url())?;
            self.postgres = Some(postgres);
        }
        self.form(&progress).await?;
        let furnishing = Furnishing {
            dir: &self.args.dir,
            client: self.steward.clients(self.args.replicas.count())?,
            catalog: self.args.catalog.as_deref(),
            grace_minutes: self.args.grace_minutes,
        };
        let accounts = furnishing.complete(&progress).await?;
        progress.finish_and_clear();
        let ready = Ready::new(self.processes.ports(), self.args.replicas.count(), self.processes.pids(), accounts);
        record::write_ready(&self.args.dir, &ready)?;
        self.announce(&ready, started.elapsed())?;
        self.watch_over(ready).await
    }

    /// Bars are for people at a terminal.
    fn progress(&self) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is ours"));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Until the cluster has the size that is wanted and serves clients.
    async fn form(&mut self, progress: &ProgressBar) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut stuck_since: Option<Instant> = None;
        // The record says how many ran last; the planner says whether that is to change.
        self.processes.run(self.record.running.count).await?;
        loop {
            // Requests for a restart are heard once there is a ready line to read its outcome from.
            self.tend(&[]).await?;
            let plan = self.step().await;
            let outlook = plan.to_string();
            progress.set_message(outlook.clone());
            match plan {
                Plan::Settled => return Ok(()),
                Plan::Next { step, .. } if self.failing.as_ref().is_some_and(Failing::is_hopeless) => {
                    let why = self.failing.take().map(|failing| failing.error).unwrap_or_default();
                    bail!(
                        "{step} does not succeed: {why}\nThe volume of replica I is {0}/replica-I, its log {0}/replica-I.log.",
                        self.args.dir.display()
                    );
                }
                Plan::Stuck(problem) => {
                    if stuck_since.get_or_insert_with(Instant::now).elapsed() > STUCK_LIMIT {
                        bail!(
                            "{problem}\nThe volume of replica I is {0}/replica-I, its log {0}/replica-I.log. --fresh begins anew.",
                            self.args.dir.display()
                        );
                    }
                }
                Plan::Next { .. } | Plan::Waiting(_) => stuck_since = None,
            }
            if started.elapsed() > READY_LIMIT {
                bail!(
                    "no cluster within {} s: {outlook}\nThe replicas' logs are in {}.",
                    READY_LIMIT.as_secs(),
                    self.args.dir.display()
                );
            }
            tokio::time::sleep(LOOK_BUSY).await;
        }
    }

    fn desired(&self) -> Desired {
        Desired { replicas: self.args.replicas }
    }

    /// Looks, plans, and performs at most one step. A step that fails is planned again after the next look.
    async fn step(&mut self) -> Plan {
        let observed = self.steward.look(&self.record).await;
        let plan = carrel_membership::plan(&observed, &self.desired());
        if let Plan::Next { step, because } = &plan {
            tracing::info!(%step, %because, "membership");
            match self.steward.perform(step, &mut self.record, &mut self.processes).await {
                Ok(()) => self.failing = None,
                Err(error) => {
                    let since = self.failing.take().map_or_else(Instant::now, |failing| failing.since);
                    self.failing = Some(Failing { since, error: format!("{error:#}") });
                }
            }
        }
        plan
    }

    /// Replicas that ended start again after a second, unless they are to stay dead.
    async fn tend(&mut self, requested: &[u32]) -> anyhow::Result<Vec<Exit>> {
        self.processes.tend(!self.args.no_restart, requested).await
    }

    async fn watch_over(&mut self, mut ready: Ready) -> anyhow::Result<()> {
        loop {
            for restarted in self.tend(&self.processes.restart_requests()).await? {
                ready.pids = self.processes.pids();
                record::write_ready(&self.args.dir, &ready)?;
                self.processes.restart_is_known(restarted.ordinal)?;
                say_restarted(&restarted, self.json)?;
            }
            if let Some(postgres) = &mut self.postgres {
                postgres.tend().await?;
            }
            let plan = self.step().await;
            let pause = if matches!(plan, Plan::Next { .. }) { LOOK_BUSY } else { LOOK_IDLE };
            tokio::time::sleep(pause).await;
        }
    }

    fn announce(&self, ready: &Ready, took: Duration) -> anyhow::Result<()> {
        if self.json {
            return record::print_line(ready);
        }
        let admin = &ready.accounts[0];
        let mut text = format!(
            "\nCarrel is running: {count} replicas on this machine, ready after {took:.1} s.\n\n  \
             page      {web}\n  clients   {endpoints}\n  metrics   {metrics}\n  data      {dir}\n\n\
             Accounts, one per role:\n\n",
            count = ready.endpoints.len(),
            took = took.as_secs_f64(),
            web = ready.web,
            endpoints = ready.endpoints.join(" "),
            metrics = ready.metrics[0],
            dir = self.args.dir.display(),
        );
        for account in &ready.accounts {
            text += &format!("  {:<10} {}   ({})\n", account.user, account.password, account.role);
        }
        if let Some(postgres) = &self.postgres {
            text += &format!("\nPostgres, with the record for history and reports:\n\n  psql {}\n", postgres.url());
        }
        let trust = Processes::keys(&self.args.dir).join("ca.crt");
        let trust = self.args.tls.then(|| format!("  export CARREL_CA={}\n", trust.display()));
        text += &format!(
            "\nIn another terminal:\n\n  export CARREL_ENDPOINTS={endpoints}\n  \
             export CARREL_METRICS={metrics}\n{trust}  \
             echo '{password}' | carrel login {user} --password-stdin\n  carrel branches\n\n\
             Ctrl-C stops it. Starting it again finds everything as it was.\n",
            endpoints = ready.endpoints.join(","),
            metrics = ready.metrics.join(","),
            trust = trust.unwrap_or_default(),
            password = admin.password,
            user = admin.user,
        );
        record::print(&text)
    }
}

const _: () = assert!(REPLICAS_MAX < 10, "ports of replicas are ten apart");
