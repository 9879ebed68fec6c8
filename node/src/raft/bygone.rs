//! What a volume keeps of histories that are over: in `aside/` what a recovery did not go on with, and in `data/` the
//! lineages before the one this node is of. It is for a person who wants to know what was lost; nobody else reads it.
//!
//! It has two bounds. Of either kind the latest is kept, because who judged a loss has looked at those before. And all
//! of it goes once the volume has little room left: a copy of the past must never be why a node takes no more bookings.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::raft::identity::{DATA, history_of, lineage_kept};
use crate::raft::ordered::{ASIDE, lineage_put_aside};

/// One part in so many of the volume is to be free: more than a segment of the log, on the smallest volume there is.
const FREE_PART: u64 = 10;

/// With so many bytes free there is room, however large the volume: for a snapshot of the largest states, and a log.
const ROOM_BYTES: u64 = 2 << 30;

/// A snapshot of the largest states takes minutes to fill that part.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Of a volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: u64,
    all: u64,
}

impl Room {
    fn of(mount: &Path) -> io::Result<Self> {
        let told = rustix::fs::statvfs(mount)?;
        Ok(Self { free: told.f_bavail.saturating_mul(told.f_frsize), all: told.f_blocks.saturating_mul(told.f_frsize) })
    }

    fn is_short(self) -> bool {
        self.free < (self.all / FREE_PART).min(ROOM_BYTES)
    }
}

/// Until nothing is left that may have to go. `lineage` is that of the node; none while it belongs to no cluster.
pub async fn bound(mount: PathBuf, lineage: Option<u32>) {
    loop {
        let looked = mount.clone();
        let outcome = tokio::task::spawn_blocking(move || clear(&looked, lineage, Room::of(&looked)?)).await;
        match outcome.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(0) => return,
            Ok(_) => {}
            // It takes room and harms nobody. The next look tries again.
            Err(error) => tracing::warn!(dir = %mount.display(), %error, "cannot remove what is over"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many histories stay.
fn clear(mount: &Path, lineage: Option<u32>, room: Room) -> io::Result<usize> {
    let mut stay = 0;
    for mut kind in [aside(mount)?, before(mount, lineage)?] {
        let latest = if room.is_short() { None } else { kind.pop() };
        stay += usize::from(latest.is_some());
        for (lineage, paths) in kind {
            for path in &paths {
                remove(path)?;
            }
            let why = if room.is_short() { "the volume has little room" } else { "a later one is kept" };
            tracing::warn!(lineage, path = %paths[0].display(), why, "what was left of a lineage that is over is removed");
        }
    }
    Ok(stay)
}

/// Lineages, and where each lies, the latest last.
type Histories = Vec<(u32, Vec<PathBuf>)>;

fn aside(mount: &Path) -> io::Result<Histories> {
    let found = named(&mount.join(ASIDE), lineage_put_aside)?;
    Ok(found.into_iter().map(|(lineage, path)| (lineage, vec![path])).collect())
}

/// Of a node that went on, itself, with what it had. Who belongs to no cluster went on with nothing.
fn before(mount: &Path, lineage: Option<u32>) -> io::Result<Histories> {
    let Some(now) = lineage else { return Ok(Vec::new()) };
    let found = named(&mount.join(DATA), lineage_kept)?;
    let earlier = found.into_iter().filter(|(lineage, _)| *lineage < now);
    Ok(earlier.map(|(lineage, _)| (lineage, history_of(mount, lineage))).collect())
}

/// What has a name that tells its lineage, in order. What is called otherwise is somebody else's.
fn named(dir: &Path, lineage: impl Fn(&str) -> Option<u32>) -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(lineage) = entry.file_name().to_str().and_then(&lineage) {
            found.push((lineage, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PLENTY: Room = Room { free: 50, all: 100 };
    const LITTLE: Room = Room { free: 9, all: 100 };
    const LARGE: Room = Room { free: 3 << 30, all: 100 << 30 };

    /// A node of lineage 3 that was put aside twice and went on by itself twice.
    fn volume() -> tempfile::TempDir {
        let mount = tempfile::tempdir().expect("a directory");
        let file = |path: &str| {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().expect("below the mount")).expect("made");
            fs::write(path, "bytes").expect("written");
        };
        for path in ["aside/lineage-9-a/data/log/1", "aside/lineage-10-b/data/log/1", "aside/notes.txt"] {
            file(path);
        }
        for path in ["log/1", "snapshots/1", "identity-lineage-0.json", "lineage-2/log/1", "identity-lineage-2.json"] {
            file(&format!("data/{path}"));
        }
        for path in ["identity.json", "lineage-3/log/1", "lineage-4/log/1"] {
            file(&format!("data/{path}"));
        }
        mount
    }

    fn there(mount: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for folder in ["aside", "data"] {
            for entry in fs::read_dir(mount.join(folder)).expect("it is there") {
                let name = entry.expect("an entry").file_name();
                names.push(format!("{folder}/{}", name.to_str().expect("text")));
            }
        }
        names.sort();
        names
    }

    #[test]
    fn of_what_is_over_the_latest_is_kept() {
        let volume = volume();
        assert_eq!(clear(volume.path(), Some(3), PLENTY).expect("removed"), 2);
        let kept = [
            "aside/lineage-10-b",
            "aside/notes.txt",
            "data/identity-lineage-2.json",
            "data/identity.json",
            "data/lineage-2",
            "data/lineage-3",
            "data/lineage-4",
        ];
        assert_eq!(there(volume.path()), kept);
        for room in [PLENTY, LARGE] {
            assert_eq!(clear(volume.path(), Some(3), room).expect("looked"), 2, "and it stays");
        }
    }

    #[test]
    fn a_volume_with_little_room_keeps_nothing_that_is_over() {
        let volume = volume();
        assert_eq!(clear(volume.path(), Some(3), LITTLE).expect("removed"), 0);
        let needed = ["aside/notes.txt", "data/identity.json", "data/lineage-3", "data/lineage-4"];
        assert_eq!(there(volume.path()), needed);
    }

    #[test]
    fn a_node_of_the_first_lineage_or_of_none_has_nothing_behind_it() {
        for lineage in [None, Some(0)] {
            let volume = volume();
            assert_eq!(clear(volume.path(), lineage, PLENTY).expect("looked"), 1, "what was put aside");
            assert!(there(volume.path()).contains(&"data/log".to_owned()), "it is in use");
        }
    }
}
