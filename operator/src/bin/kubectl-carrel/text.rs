//! How answers look: columns without lines around them, and text from others made harmless.

use std::io::{self, Write};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::failure::Failure;

/// Answers go to standard output.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()))
}

/// Everything else goes to standard error.
pub fn note(text: &str) {
    // A note that nobody can read is no reason to stop.
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

fn written(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::NobodyListens),
        Err(source) => Err(Failure::Local { doing: "cannot answer".to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Rows under headings, in columns that line up.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = std::iter::once(headings.map(ToOwned::to_owned)).chain(rows.iter().cloned()).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(plain(cell).chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", plain(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is known about one thing, a line each; what is not known is left out.
pub fn facts(rows: &[(&str, String)]) -> String {
    let known: Vec<_> = rows.iter().filter(|(_, text)| !text.is_empty()).collect();
    let width = known.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let line = |(what, text): &&(&str, String)| format!("{what:<width$}  {}", plain(text)).trim_end().to_owned();
    known.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Without anything that could move the cursor, colour the terminal or turn the text around.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        '\n' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// `45s`, `12m`, `3h`, `9d`: as kubectl says it.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(since).max(SignedDuration::ZERO);
    let (seconds, minutes, hours) = (age.as_secs(), age.as_mins(), age.as_hours());
    match (minutes, hours) {
        (0..2, _) => format!("{seconds}s"),
        (_, 0..2) => format!("{minutes}m"),
        (_, 2..48) => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

/// `1 step`, `2 steps`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let rows = [["r-0".to_owned(), "a\x1b[31m".to_owned()], ["r-10".to_owned(), String::new()]];
        assert_eq!(table(["POD", "ROLE"], &rows), "POD   ROLE\nr-0   a\u{fffd}[31m\nr-10");
        let facts = facts(&[("Leader", "r-0".to_owned()), ("Version", String::new()), ("Why", "so".to_owned())]);
        assert_eq!(facts, "Leader  r-0\nWhy     so");
    }

    #[test]
    fn ages_are_short() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let said = |seconds| age(at(0), at(seconds));
        assert_eq!([said(0), said(119), said(120), said(7199)], ["0s", "119s", "2m", "119m"]);
        assert_eq!([said(7200), said(172_799), said(172_800)], ["2h", "47h", "2d"]);
        assert_eq!(age(at(9), at(0)), "0s");
    }
}
