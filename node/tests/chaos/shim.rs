//! What stands between a replica and its C library (shim.c): compiled where it is used, and told what to do through a
//! file for each replica.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Compiles it.
pub fn compile(dir: &Path) -> PathBuf {
    let library = dir.join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/shim.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .args([source, "-ldl", "-lpthread"])
        .output();
    let made = made.unwrap_or_else(|error| {
        panic!("the fault suite compiles a small C library, and cc cannot be run ({error}): `make deps` installs gcc")
    });
    assert!(made.status.success(), "cc does not compile {source}: {}", String::from_utf8_lossy(&made.stderr));
    library
}

/// What it did to one replica, through all its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    SyncsDelayed,
    SyncsFailed,
    /// Of a file, by a process that had been told that a sync of it failed.
    SyncsAfterFailure,
    ClockReadsShifted,
}

/// As `struct control` in shim.c has them.
const SYNC_DELAY_US: u64 = 0;
const SYNCS_TO_FAIL: u64 = 1;
const CLOCK_OFFSET_US: u64 = 2;
const DISK_IS_FULL: u64 = 3;
const FIRST_COUNT: u64 = 4;
const FIELDS: u64 = 8;

#[derive(Debug)]
pub struct Control {
    file: File,
    pub path: PathBuf,
}

impl Control {
    pub fn new(path: PathBuf) -> Self {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.expect("a file of our own can be made");
        file.set_len(FIELDS * 8).expect("a small file fits");
        Self { file, path }
    }

    pub fn delay_syncs(&self, delay: Duration) {
        self.set(SYNC_DELAY_US, i64::try_from(delay.as_micros()).expect("a short time"));
    }

    /// So many of those that come next.
    pub fn fail_syncs(&self, count: u32) {
        self.set(SYNCS_TO_FAIL, count.into());
    }

    pub fn shift_clock(&self, offset_us: i64) {
        self.set(CLOCK_OFFSET_US, offset_us);
    }

    /// For where no small disk can be made: nothing more fits into it.
    pub fn refuse_writes(&self, refuse: bool) {
        self.set(DISK_IS_FULL, refuse.into());
    }

    pub fn count(&self, count: Count) -> u64 {
        let field = FIRST_COUNT
            + match count {
                Count::SyncsDelayed => 0,
                Count::SyncsFailed => 1,
                Count::SyncsAfterFailure => 2,
                Count::ClockReadsShifted => 3,
            };
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, field * 8).expect("the file has all fields");
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, field: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), field * 8).expect("the file has all fields");
    }
}
