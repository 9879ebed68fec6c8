//! One Postgres on loopback, as the operating system has it. Whether a seat is free is decided by an exclusion
//! constraint; statements are prepared once for each connection, and every commit is synced.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use super::contender::{
    Answer, BRANCHES, Contender, PAGE, Place, READY_LIMIT, SEATS, SEATS_PER_BRANCH, SLOT_SECONDS, SLOTS, Turn,
    first_slot_seconds, spread,
};

/// Where Debian puts it, by version.
const INSTALLED: &str = "/usr/lib/postgresql";
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of its processes more do not make it faster on few cores: a pool, as anybody has in front of it.
const CONNECTIONS: usize = 50;
/// Who it runs as when root starts it, which it refuses.
const OWNER: &str = "postgres";

/// As somebody sets it who cares: durable, with room for what is hot, and no checkpoint in between.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "max_connections=100",
];

const TABLES: &str = "
    CREATE EXTENSION btree_gist;
    CREATE TABLE seats (seat int PRIMARY KEY, branch int NOT NULL, label text NOT NULL, power boolean NOT NULL,
                        x float8 NOT NULL, y float8 NOT NULL);
    CREATE INDEX ON seats (branch, seat);
    CREATE TABLE bookings (booking bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seat int NOT NULL REFERENCES seats,
                           holder int NOT NULL, during tstzrange NOT NULL, made timestamptz NOT NULL DEFAULT now(),
                           EXCLUDE USING gist (seat WITH =, during WITH &&));";
const BOOK: &str = "INSERT INTO bookings (seat, holder, during) VALUES ($1, $2, tstzrange($3, $4))";
const BOOK_OR_NOT: &str =
    "INSERT INTO bookings (seat, holder, during) VALUES ($1, $2, tstzrange($3, $4)) ON CONFLICT DO NOTHING";
const SEARCH: &str = "
    SELECT seat, label, x, y FROM seats
    WHERE branch = $1 AND power
      AND NOT EXISTS (SELECT 1 FROM bookings WHERE bookings.seat = seats.seat AND during && tstzrange($2, $3))
    ORDER BY seat LIMIT $4";

/// How a place is booked that others want, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    Plain,
    OnConflictDoNothing,
}

pub struct Postgres {
    child: Child,
    dir: PathBuf,
    connections: Vec<Connection>,
    first_slot_seconds: u64,
    next: AtomicUsize,
}

struct Connection {
    client: Client,
    book: Statement,
    book_or_not: Statement,
    search: Statement,
}

impl Postgres {
    /// # Errors
    /// If there is none, or it does not come up.
    pub async fn start(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let programs = programs()?;
        let owner = owner()?;
        let dir = &place(dir, owner.is_some())?;
        fs::create_dir_all(dir)?;
        if let Some((user, group)) = owner {
            chown(dir, Some(user), Some(group))?;
        }
        let data = dir.join("data");
        let made = run_as(owner, &programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", OWNER, "-E", "UTF8", "--locale=C", "-A", "trust"])
            .output()
            .await?;
        anyhow::ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        let log = File::create(dir.join("log"))?;
        let mut command = run_as(owner, &programs.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start postgres")?;
        let first = connect_in_time(port, dir).await?;
        first.batch_execute(TABLES).await?;
        for seat in 0..SEATS {
            let (branch, label) = (seat / SEATS_PER_BRANCH, format!("Seat {seat}"));
            let position = (seat % 20) as f64;
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&(seat as i32), &(branch as i32), &label, &(seat % 2 == 0), &position, &position];
            first.execute("INSERT INTO seats VALUES ($1, $2, $3, $4, $5, $6)", &values).await?;
        }
        first.batch_execute("ANALYZE seats").await?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = connect(port).await?;
            let book = client.prepare(BOOK).await?;
            let book_or_not = client.prepare(BOOK_OR_NOT).await?;
            let search = client.prepare(SEARCH).await?;
            connections.push(Connection { client, book, book_or_not, search });
        }
        Ok(Self {
            child,
            dir: dir.clone(),
            connections,
            first_slot_seconds: first_slot_seconds(),
            next: AtomicUsize::new(0),
        })
    }

    /// In order, so that nothing of it stays behind.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        // It may lie outside of what is cleared for all.
        let _ = fs::remove_dir_all(&self.dir);
    }

    pub async fn insert(&self, how: Insert, client: usize, place: Place) -> Answer {
        let connection = self.connection(client);
        let statement = match how {
            Insert::Plain => &connection.book,
            Insert::OnConflictDoNothing => &connection.book_or_not,
        };
        let (from, to) = self.slot(place.slot, 1);
        let (seat, holder) = (place.seat as i32, client as i32);
        loop {
            match connection.client.execute(statement, &[&seat, &holder, &from, &to]).await {
                Ok(0) => return Answer::Taken,
                Ok(_) => return Answer::Done,
                Err(error) => match error.code() {
                    Some(code) if *code == SqlState::EXCLUSION_VIOLATION => return Answer::Taken,
                    // Two that wait for each other: one is sent back, and has no answer yet.
                    Some(code) if *code == SqlState::T_R_DEADLOCK_DETECTED => {}
                    _ => return Answer::Failed(error.to_string()),
                },
            }
        }
    }

    /// What it does by itself within a minute of quiet: its plans know how many bookings there are.
    ///
    /// # Errors
    /// If it refuses.
    pub async fn take_stock(&self) -> anyhow::Result<()> {
        Ok(self.connection(0).client.batch_execute("VACUUM ANALYZE bookings").await?)
    }

    fn connection(&self, client: usize) -> &Connection {
        &self.connections[client % self.connections.len()]
    }

    fn slot(&self, slot: usize, slots: u64) -> (SystemTime, SystemTime) {
        let seconds = self.first_slot_seconds + slot as u64 * SLOT_SECONDS;
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        (at(seconds), at(seconds + slots * SLOT_SECONDS))
    }
}

impl Contender for Postgres {
    fn name(&self) -> &'static str {
        "Postgres"
    }

    async fn book(&self, turn: Turn) -> Answer {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place { seat: nth % SEATS, slot: spread(nth / SEATS) };
        self.insert(Insert::Plain, turn.client, place).await
    }

    async fn contend(&self, client: usize, place: Place) -> Answer {
        self.insert(Insert::OnConflictDoNothing, client, place).await
    }

    async fn search(&self, turn: Turn) -> Answer {
        let pick = turn.client.wrapping_mul(31).wrapping_add(turn.round);
        let connection = self.connection(turn.client);
        let (from, to) = self.slot(pick % SLOTS, 2);
        let branch = (pick % BRANCHES) as i32;
        match connection.client.query(&connection.search, &[&branch, &from, &to, &i64::from(PAGE)]).await {
            Ok(_) => Answer::Done,
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

async fn connect_in_time(port: u16, dir: &Path) -> anyhow::Result<Client> {
    let begun = Instant::now();
    loop {
        match connect(port).await {
            Ok(client) => return Ok(client),
            Err(error) if begun.elapsed() > READY_LIMIT => {
                bail!("Postgres does not answer: {error}; its log is {}", dir.join("log").display())
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn connect(port: u16) -> Result<Client, tokio_postgres::Error> {
    let settings = format!("host=127.0.0.1 port={port} user={OWNER} dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
    // It ends with its client, and whoever waits for an answer is told.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(INSTALLED).context("there is no Postgres: make deps")?;
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let latest = versions.max().context("there is no Postgres: make deps")?;
    Ok(Path::new(INSTALLED).join(latest.to_string()).join("bin"))
}

/// User and group; none: whoever runs this may run Postgres.
fn owner() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(OWNER));
    let line = line.context("Postgres does not run as root, and there is no user postgres")?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    match (ids.next(), ids.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok(Some((user, group))),
        _ => bail!("/etc/passwd has no numbers for {OWNER}"),
    }
}

/// Below `dir`, or where somebody else can get at it.
fn place(dir: &Path, is_for_another: bool) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let is_open = dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 != 0));
    if !is_for_another || is_open {
        return Ok(dir.join("postgres"));
    }
    Ok(std::env::temp_dir().join(format!("carrel-peers-{}", std::process::id())))
}

fn run_as(owner: Option<(u32, u32)>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    command
}
