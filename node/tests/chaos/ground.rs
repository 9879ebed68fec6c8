//! Where the suite runs: if that is permitted in mounts of its own, which end with it whatever happens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::volume::Ground;

/// Set for the process within.
const INSIDE: &str = "CARREL_CHAOS_INSIDE";

/// Runs `within`, here or, if that is permitted, in a process with mounts of its own; true if it went well.
pub fn run(test: &str, within: impl FnOnce(Ground) -> bool) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        // Nothing is left behind if whoever started this is killed.
        set_parent_process_death_signal(Some(Signal::KILL)).expect("the signal is one");
        return within(Ground::SmallDisks);
    }
    match apart() {
        None => within(Ground::Directories),
        Some(flags) => elsewhere(flags, test),
    }
}

/// How to get mounts of one's own here.
fn apart() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let dir = tempfile::tempdir().expect("a temporary directory");
    WAYS.into_iter().find(|flags| {
        let tried = Command::new("unshare").args(*flags).args(mounting(dir.path())).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

fn mounting(dir: &Path) -> Vec<String> {
    ["mount", "-t", "tmpfs", "-o", "size=1m", "carrel", &dir.display().to_string()].map(ToOwned::to_owned).to_vec()
}

fn elsewhere(flags: &[&str], test: &str) -> bool {
    let mut child = Command::new("unshare")
        .args(flags)
        .arg("--")
        .arg(std::env::current_exe().expect("a program knows where it lies"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare has just worked");
    // Passed on line by line, so that it is kept back or shown like what every test prints.
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok) {
        println!("{line}");
    }
    child.wait().expect("a child can be waited for").success()
}
