//! What the system says of this process and of its disk.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

/// Ticks of processor time a second: so it is on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub available_bytes: u64,
    pub size_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_files: usize,
}

/// Of the filesystem that holds `directory`.
pub fn room(directory: &Path) -> Option<Room> {
    let found = statvfs(directory).ok()?;
    Some(Room { available_bytes: found.f_bavail * found.f_frsize, size_bytes: found.f_blocks * found.f_frsize })
}

pub fn process() -> Option<Process> {
    Some(Process {
        resident_bytes: resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)?,
        cpu_seconds: cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)?,
        open_files: fs::read_dir("/proc/self/fd").ok()?.count(),
    })
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The program's name, which comes before, may have anything in it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut after_name = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (after_name.next()?.parse().ok()?, after_name.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_understood() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a)"), None);
        assert!(process().is_some_and(|process| process.resident_bytes > 1 << 20 && process.open_files > 2));
        assert!(room(Path::new("/")).is_some_and(|room| room.size_bytes >= room.available_bytes));
        assert!(room(Path::new("/no/such/place")).is_none());
    }
}
