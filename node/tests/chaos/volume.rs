//! What a replica keeps its data on, and what can happen to it: filled up, lost, damaged.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::schedule::{Dice, Kind};
use crate::shim::Control;

/// How a disk gets full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Each volume is a file system in memory, small enough to be filled by a file.
    SmallDisks,
    /// Mounting is not permitted here: volumes are directories, and the shim says that there is no more space.
    Directories,
}

impl Ground {
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::SmallDisks => "each on a tmpfs of its own, filled with a file",
            Self::Directories => "directories, where the shim refuses what would not fit (mounting is not permitted)",
        }
    }
}

/// Three segments of a log, two snapshots and what is being made of either fit.
const DISK_MIB: u32 = 96;
/// Beside the replica's data.
const BALLAST: &str = "ballast";
/// The data of a replica, below its volume.
const DATA: &str = "data";

#[derive(Debug)]
pub struct Volume {
    pub path: PathBuf,
    ground: Ground,
}

/// What was done to a file.
#[derive(Clone, Debug)]
pub struct Damage {
    pub what: String,
    /// No start may go along with it.
    pub must_refuse: bool,
}

impl Volume {
    pub fn new(path: PathBuf, ground: Ground) -> Self {
        fs::create_dir(&path).expect("a directory of our own can be made");
        if ground == Ground::SmallDisks {
            assert!(mount(&path, DISK_MIB), "{} cannot be mounted, though another could", path.display());
        }
        Self { path, ground }
    }

    /// From now on nothing more fits.
    pub fn fill(&self, shim: &Control) {
        match self.ground {
            Ground::Directories => shim.refuse_writes(true),
            Ground::SmallDisks => {
                let mut ballast = File::create(self.path.join(BALLAST)).expect("a name takes no space on a tmpfs");
                let (piece, page) = (vec![1; 1 << 20], vec![1; 4096]);
                // Until not even a page fits.
                while ballast.write_all(&piece).is_ok() {}
                while ballast.write_all(&page).is_ok() {}
            }
        }
    }

    pub fn free(&self, shim: &Control) {
        shim.refuse_writes(false);
        // Where it never was full, there is none.
        let _ = fs::remove_file(self.path.join(BALLAST));
    }

    /// Of a replica that is dead.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.path.join(DATA)).expect("a dead replica's data can be removed");
    }

    /// Damages what a dead replica has; `None` if there is nothing of the kind yet.
    pub fn damage(&self, kind: Kind, dice: &mut Dice) -> Option<Damage> {
        let mut files = files(&self.path.join(DATA), if dice.percent(60) { "wal" } else { "snapshot" });
        // There is always a log.
        if files.is_empty() {
            files = self::files(&self.path.join(DATA), "wal");
        }
        files.sort();
        let from_the_end = if dice.percent(70) { 0 } else { dice.below(files.len().max(1) as u64) };
        let path = files.iter().rev().nth(usize::try_from(from_the_end).expect("few files"))?;
        let is_log = path.extension().is_some_and(|extension| extension == "wal");
        let bytes = fs::read(path).expect("a dead replica's file can be read");
        let length = bytes.len() as u64;
        let shown = path.strip_prefix(&self.path).expect("it lies below").display();
        let file = OpenOptions::new().write(true).open(path).expect("a dead replica's file can be written");
        if kind == Kind::Truncate {
            let left = dice.below(length);
            file.set_len(left).expect("a file can be made shorter");
            return Some(Damage { what: format!("{shown} cut from {length} to {left} bytes"), must_refuse: is_log });
        }
        // What follows the last header of a log may be what a crash left, which is nobody's: everything before is
        // durable, and each bit of it counts.
        let end = if is_log { bytes.windows(4).rposition(|window| window == b"cbat")? as u64 } else { length };
        let (at, bit) = (dice.below(end), dice.below(8));
        let index = usize::try_from(at).expect("within the file");
        file.write_all_at(&[bytes[index] ^ 1 << bit], at).expect("a byte can be overwritten");
        Some(Damage { what: format!("bit {bit} of byte {at} of {shown}, {length} bytes"), must_refuse: is_log })
    }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found
}

/// Whether it worked.
pub fn mount(path: &Path, mib: u32) -> bool {
    let size = format!("size={mib}m,mode=0700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "carrel"]).arg(path).output();
    mounted.is_ok_and(|output| output.status.success())
}
