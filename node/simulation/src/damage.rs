//! Bytes on a disk that are not what was written there.

use std::path::{Path, PathBuf};

use carrel_node::raft::disk::simulated::SimulatedDisk;

use crate::dice::Dice;
use crate::witness::contents;

/// Damages one byte of a log or of a snapshot; tells what of it, or that it could not be told from a torn tail.
pub async fn damage(disk: &SimulatedDisk, dice: &mut Dice) -> Option<Damage> {
    let before = contents(disk).await.ok().flatten()?;
    let has = |path: &Path, wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
    let of_log = dice.happens(600);
    let wanted = if of_log { "wal" } else { "snapshot" };
    let files: Vec<PathBuf> = disk.files().into_iter().filter(|path| has(path, wanted)).collect();
    let path = dice.pick(&files)?.clone();
    let original = disk.contents(&path)?;
    let used = original.iter().rposition(|byte| *byte != 0)? + 1;
    let mut bytes = original.clone();
    let place = dice.below(used as u64) as usize;
    bytes[place] ^= 1 << dice.below(8);
    disk.replace(&path, bytes);
    let what = format!("byte {place} of {}", path.display());
    match contents(disk).await {
        Err(why) => Some(Damage::Found { what: format!("{what}: {why}"), is_log: of_log }),
        Ok(None) => Some(Damage::Wrong(format!("{what}: the volume says that it is nobody's"))),
        Ok(Some(after)) => {
            let is_of_before = after.entries.iter().all(|entry| before.entries.contains(entry));
            if !is_of_before {
                return Some(Damage::Wrong(format!("{what}: there are entries that were not there before")));
            }
            if after.entries.len() < before.entries.len() || after.vote != before.vote {
                disk.replace(&path, original);
                return Some(Damage::LikeATear(what));
            }
            Some(Damage::Harmless { what, is_log: of_log })
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    Found {
        what: String,
        is_log: bool,
    },
    /// The log is whole; a snapshot may not be.
    Harmless {
        what: String,
        is_log: bool,
    },
    LikeATear(String),
    Wrong(String),
}
