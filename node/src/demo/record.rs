//! What the demo remembers in its directory besides the replicas' data.
//!
//! ```text
//! DIR/lock            held while a demo runs
//! DIR/cluster.json    the founding of the cluster, and how many replicas run
//! DIR/accounts.json   the accounts that the demo makes, written before they are made
//! DIR/demo.json       the current ready line
//! DIR/postgres/       with --postgres, its data; elsewhere if whoever runs it cannot come here
//! DIR/postgres-url    with --postgres, how to reach it
//! DIR/replica-I/      a replica's volume      DIR/replica-I.log   what it said
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use carrel_membership::{ClusterId, Founding, Incarnation, NotReplicas, Replicas, Running};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::replicas::Ports;
use crate::config::REPLICAS_MAX;

/// The line that says that the demo is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    pub ready: bool,
    pub endpoints: Vec<String>,
    pub web: String,
    pub admin: Vec<String>,
    pub metrics: Vec<String>,
    pub pids: Vec<u32>,
    pub accounts: Vec<Account>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    pub user: String,
    pub password: String,
    pub role: String,
}

impl Ready {
    pub fn new(ports: Ports, count: u32, pids: Vec<u32>, accounts: Vec<Account>) -> Self {
        let each = |url: fn(Ports, u32) -> String| (0..count).map(|ordinal| url(ports, ordinal)).collect();
        Self {
            ready: true,
            endpoints: each(Ports::client_url),
            web: format!("{}/", ports.client_url(0)),
            admin: each(Ports::admin_url),
            metrics: each(Ports::metrics_url),
            pids,
            accounts,
        }
    }
}

/// What must outlive the replicas' volumes: see `carrel_membership::Founding`.
#[derive(Clone, Debug)]
pub struct Record {
    pub founding: Founding,
    pub running: Running,
}

#[derive(Serialize, Deserialize)]
struct Written {
    founding: WrittenFounding,
    running: u32,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenFounding {
    Never,
    Claimed { cluster_id: Uuid, seed: Uuid, wanted_voters: u32 },
    Done { cluster_id: Uuid },
}

impl TryFrom<WrittenFounding> for Founding {
    type Error = NotReplicas;

    fn try_from(written: WrittenFounding) -> Result<Self, NotReplicas> {
        Ok(match written {
            WrittenFounding::Never => Self::Never,
            WrittenFounding::Claimed { cluster_id, seed, wanted_voters } => Self::Claimed {
                cluster: ClusterId(cluster_id.as_u128()),
                seed: Incarnation(seed.as_u128()),
                wanted_voters: Replicas::try_from(wanted_voters)?,
            },
            WrittenFounding::Done { cluster_id } => Self::Done { cluster: ClusterId(cluster_id.as_u128()) },
        })
    }
}

impl From<Founding> for WrittenFounding {
    fn from(founding: Founding) -> Self {
        match founding {
            Founding::Never => Self::Never,
            Founding::Claimed { cluster, seed, wanted_voters } => Self::Claimed {
                cluster_id: Uuid::from_u128(cluster.0),
                seed: Uuid::from_u128(seed.0),
                wanted_voters: wanted_voters.count(),
            },
            Founding::Done { cluster } => Self::Done { cluster_id: Uuid::from_u128(cluster.0) },
        }
    }
}

impl Default for Record {
    /// Of an empty directory.
    fn default() -> Self {
        Self { founding: Founding::Never, running: Running { count: 0, generation: 0 } }
    }
}

const FILE: &str = "cluster.json";

impl Record {
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let damaged = || format!("{} is not what a demo writes; --fresh begins anew", path.display());
        let written: Written = serde_json::from_slice(&text).with_context(damaged)?;
        if written.running > REPLICAS_MAX {
            return Err(anyhow!("{} replicas", written.running)).with_context(damaged);
        }
        let running = Running { count: written.running, generation: written.generation };
        Ok(Self { founding: written.founding.try_into().with_context(damaged)?, running })
    }

    /// Durable when it returns: the next step depends on it.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let written = Written {
            founding: self.founding.into(),
            running: self.running.count,
            generation: self.running.generation,
        };
        write_json(&dir.join(FILE), &written)
    }
}

/// See [`write_file`].
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    write_file(path, &format!("{}\n", serde_json::to_string(value)?))
}

/// Written aside, synced and renamed: a reader sees the old or the new. For the owner's eyes only: it may hold
/// passwords.
pub fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let aside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

pub fn write_ready(dir: &Path, ready: &Ready) -> anyhow::Result<()> {
    write_json(&dir.join("demo.json"), ready)
}

pub fn read_ready(dir: &Path) -> anyhow::Result<Ready> {
    let path = dir.join("demo.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}: is the demo ready yet?", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not what a demo writes", path.display()))
}

/// # Errors
/// If another demo runs on the directory.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let file = open_lock(dir)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("a demo is running on {} already: stop it, or use another --dir and --port", dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", dir.display())),
    }
}

pub fn is_locked(dir: &Path) -> anyhow::Result<bool> {
    if !dir.join(FILE).exists() {
        return Ok(false);
    }
    Ok(matches!(open_lock(dir)?.try_lock(), Err(TryLockError::WouldBlock)))
}

fn open_lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    open.with_context(|| format!("cannot write in {}: a demo needs a directory that it may write to", dir.display()))
}

/// Removes what a demo has put there, and nothing else.
pub fn clear(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with("replica-")
            || name.starts_with("restart-")
            || matches!(
                name.as_ref(),
                FILE | "accounts.json" | "demo-keys" | "demo.json" | "first-admin.txt" | "postgres-url"
            );
        if !is_ours {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// One JSON document on one line, at once.
pub fn print_line(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// At once. A reader who has seen enough and left (`| head -1`) does not end the demo.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_more_replicas_than_there_can_be_is_damaged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let written = |running| format!(r#"{{"founding":"never","running":{running},"generation":1}}"#);
        fs::write(dir.path().join(FILE), written(REPLICAS_MAX)).expect("a directory of ours");
        assert_eq!(Record::open(dir.path()).expect("as many as there can be").running.count, REPLICAS_MAX);
        fs::write(dir.path().join(FILE), written(REPLICAS_MAX + 1)).expect("a directory of ours");
        let refused = Record::open(dir.path()).expect_err("one too many");
        assert!(format!("{refused:#}").contains("--fresh"), "{refused:#}");
    }
}
