//! A Postgres of one's own beside the replicas: made of what the operating system has installed, on loopback, with its
//! data in a directory and a password of its own. It ends with whoever started it.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Where Debian and its relatives put it, by version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Of those that are installed the latest of these.
const VERSIONS: [u32; 4] = [18, 17, 16, 15];
/// A first start makes a whole database, a later one may have to recover.
const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Who it runs as when root starts it, which it refuses: the first of these that there is.
const OWNERS: [&str; 2] = ["postgres", "nobody"];
/// Both the role and the database.
const NAME: &str = "carrel";

#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    owner: Option<Owner>,
    port: u16,
    password: String,
    settings: Vec<String>,
    child: Option<Child>,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Made if `dir` has none yet, and started. `settings` are as in postgresql.conf, `name=value`.
    ///
    /// # Errors
    /// With what a person can do about it.
    pub async fn start(dir: &Path, port: u16, settings: &[&str]) -> anyhow::Result<Self> {
        let programs = programs().with_context(|| {
            format!(
                "there is no Postgres in {INSTALLED}: install one with `make deps` or `apt-get install postgresql`, or \
                 name the directory of its programs in {PROGRAMS}"
            )
        })?;
        let owner = owner()?;
        let own = place(dir, owner)?;
        give(&own, owner)?;
        let data = own.join("data");
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut postgres = Self { programs, data, owner, port, password: String::new(), settings, child: None };
        postgres.make().await?;
        postgres.run().await?;
        Ok(postgres)
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// As if it listened somewhere else: for something in between.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://{NAME}:{}@127.0.0.1:{port}/{NAME}", self.password)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// # Errors
    /// If it does not come up.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        // One that was left behind, by somebody who was killed, holds the directory.
        if self.data.join("postmaster.pid").exists() {
            let stopped = self.command("pg_ctl").arg("-D").arg(&self.data).args(["stop", "-m", "immediate"]).output();
            // Where none runs any more there is nothing to stop.
            let _ = stopped.await;
        }
        let begun = Instant::now();
        loop {
            let log = fs::File::options().create(true).append(true).open(self.log())?;
            let mut command = self.command("postgres");
            command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
            for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
                command.args(["-c", setting]);
            }
            for setting in &self.settings {
                command.args(["-c", setting]);
            }
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
            let mut child = command.spawn().context("cannot start postgres")?;
            loop {
                if child.try_wait()?.is_some() {
                    break;
                }
                if self.answers().await {
                    self.child = Some(child);
                    return Ok(());
                }
                if begun.elapsed() > READY_LIMIT {
                    bail!("Postgres does not answer; its log is {}", self.log().display());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // After a kill, processes of before hold its memory for a moment.
            if begun.elapsed() > READY_LIMIT {
                bail!("Postgres does not start; its log is {}", self.log().display());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Starts again what has ended by itself.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn tend(&mut self) -> anyhow::Result<()> {
        let has_ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        if has_ended { self.run().await } else { Ok(()) }
    }

    /// In order: what it was told is on disk.
    pub async fn stop(&mut self) {
        self.end(Signal::INT).await;
    }

    /// As if the machine had lost it.
    pub async fn kill(&mut self) {
        self.end(Signal::QUIT).await;
    }

    async fn end(&mut self, how: Signal) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, how);
        }
        if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    async fn answers(&self) -> bool {
        let asked = self.command("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status();
        asked.await.is_ok_and(|status| status.success())
    }

    /// A database and a role with a password, the first time.
    async fn make(&mut self) -> anyhow::Result<()> {
        let kept = self.data.with_extension("password");
        if self.data.join("PG_VERSION").exists() {
            self.password = fs::read_to_string(&kept).with_context(|| format!("cannot read {}", kept.display()))?;
            return Ok(());
        }
        self.password = Uuid::new_v4().simple().to_string();
        let mut file = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&kept)?;
        file.write_all(self.password.as_bytes())?;
        drop(file);
        if let Some(owner) = self.owner {
            chown(&kept, Some(owner.user), Some(owner.group))?;
        }
        let mut making = self.command("initdb");
        making.arg("-D").arg(&self.data).args(["-U", NAME, "-E", "UTF8", "--locale=C", "-A", "scram-sha-256"]);
        making.arg("--pwfile").arg(&kept);
        succeeded("initdb", making.output().await?)?;
        let mut naming = self.command("postgres");
        naming.args(["--single", "-D"]).arg(&self.data).arg("postgres").stdin(Stdio::piped());
        let mut naming = naming.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut input) = naming.stdin.take() {
            use tokio::io::AsyncWriteExt;
            input.write_all(format!("CREATE DATABASE {NAME};\n").as_bytes()).await?;
        }
        succeeded("postgres --single", naming.wait_with_output().await?)
    }

    /// What it says of itself.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// As its owner, and ending with this process where the operating system knows how.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if Path::new(SETPRIV).exists() {
            let mut command = Command::new(SETPRIV);
            if let Some(owner) = self.owner {
                command.args([format!("--reuid={}", owner.user), format!("--regid={}", owner.group)]);
                command.arg("--clear-groups");
            }
            command.args(["--pdeathsig", "QUIT"]).arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if let Some(owner) = self.owner {
                command.uid(owner.user).gid(owner.group);
            }
            command
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

const SETPRIV: &str = "/usr/bin/setpriv";

/// Elsewhere: a directory with `postgres`, `initdb` and the rest of one release.
const PROGRAMS: &str = "CARREL_POSTGRES_BIN";

fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAMS) {
        return Some(named.into());
    }
    let bin = |version: u32| Path::new(INSTALLED).join(version.to_string()).join("bin");
    VERSIONS.into_iter().map(bin).find(|bin| bin.join("postgres").exists())
}

/// None: whoever runs this may run Postgres.
fn owner() -> anyhow::Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |wanted: &&str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some(Owner { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    };
    let found = OWNERS.iter().find_map(find);
    found.map(Some).context("Postgres does not run as root, and there is no user postgres or nobody")
}

/// Below `dir`, or where its owner can get at it.
fn place(dir: &Path, owner: Option<Owner>) -> anyhow::Result<PathBuf> {
    let dir = dir.canonicalize().with_context(|| format!("cannot enter {}", dir.display()))?;
    let is_open = |dir: &Path| dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 != 0));
    if owner.is_none() || is_open(&dir) {
        return Ok(dir.join("postgres"));
    }
    // One for each directory, the same every time.
    let sum = crc32c::crc32c(dir.as_os_str().as_encoded_bytes());
    Ok(std::env::temp_dir().join(format!("carrel-postgres-{sum:08x}")))
}

fn give(own: &Path, owner: Option<Owner>) -> anyhow::Result<()> {
    fs::create_dir_all(own).with_context(|| format!("cannot make {}", own.display()))?;
    fs::set_permissions(own, fs::Permissions::from_mode(0o700))?;
    let Some(owner) = owner else { return Ok(()) };
    chown(own, Some(owner.user), Some(owner.group)).with_context(|| format!("cannot give {} away", own.display()))
}

fn succeeded(what: &str, output: std::process::Output) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{what} failed: {}", said.trim());
    Ok(())
}

/// Throws away what was made for `dir`.
///
/// # Errors
/// If it cannot be removed.
pub fn clear(dir: &Path) -> anyhow::Result<()> {
    let own = place(dir, owner()?)?;
    if own.exists() {
        fs::remove_dir_all(&own).with_context(|| format!("cannot remove {}", own.display()))?;
    }
    Ok(())
}

/// # Errors
/// Names the port if something else listens there.
pub fn check_port(port: u16) -> anyhow::Result<()> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bound.map(drop).with_context(|| format!("Postgres cannot listen on 127.0.0.1:{port}: stop what uses the port"))
}
