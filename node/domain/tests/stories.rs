//! Stories: what a library would want to happen, told line by line in the local time of the branch.
//!
//! ```text
//! people amy, ben
//! 09:00  amy reserves A1 10:00-12:00              -> reserved r1, check in by 10:15
//! 09:05  ben waits for A1 10:00-12:00             -> waiting w1
//! 10:15  (by itself)                              -> no show r1, strike for amy, ...
//! ```
//!
//! Left of the arrow is what somebody does; right of it is the answer and, after a semicolon, what else happened. What
//! the passing of time does between two lines stands on lines of its own. A `day` line changes the date. `#a` before
//! a line gives its request the id `a`, and `again` sends the request before it once more.
//! `UPDATE_STORIES=1` writes what happens today into the files: read the difference as a librarian would.
use std::fmt::Write as _;
use std::path::Path;

use story::Story;

mod library;
mod story;

#[test]
fn stories() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let entries = std::fs::read_dir(directory).expect("the stories");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a story").path()).collect();
    files.sort();
    let mut differing = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).expect("a story is text");
        let told = Story::begin().tell(&written);
        if told == written {
            continue;
        }
        if std::env::var_os("UPDATE_STORIES").is_some() {
            std::fs::write(&file, told).expect("stories can be written");
        } else {
            let _ = writeln!(differing, "{}:", file.display());
            for line in told.lines().filter(|line| !written.lines().any(|other| other == *line)) {
                let _ = writeln!(differing, "    {line}");
            }
        }
    }
    assert!(differing.is_empty(), "these stories end differently now:\n{differing}");
}
