//! Tables of figures: for the terminal, and for the file that CARREL_REPORT names.

use std::fs::OpenOptions;
use std::io::Write;

/// Several tests may add to one report.
pub fn report(table: &str) {
    println!("{table}");
    if let Ok(file) = std::env::var("CARREL_REPORT") {
        let opened = OpenOptions::new().create(true).append(true).open(&file);
        let written = opened.and_then(|mut file| writeln!(file, "{table}"));
        written.unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
}
