//! Lines of a chat as rows of a screen: when, who and what, broken between words.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::text::Span;

/// What was said, and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

impl Entry {
    pub(super) fn now(text: &str) -> Self {
        Self { at: Timestamp::now(), text: text.to_owned() }
    }

    /// `20:15`
    pub(super) fn clock(&self, zone: &TimeZone) -> String {
        self.at.to_zoned(zone.clone()).strftime("%H:%M").to_string()
    }

    /// `Saturday, 2026-11-21`
    pub(super) fn date(&self, zone: &TimeZone) -> String {
        self.at.to_zoned(zone.clone()).strftime("%A, %Y-%m-%d").to_string()
    }
}

/// `20:15 ` goes before what is said, and as much room before what is broken off it.
const CLOCK_COLUMNS: usize = 6;

/// The last rows of these entries, as many as asked for, if there are so many; a date where it changes.
pub(super) fn last_rows<'a>(
    entries: impl DoubleEndedIterator<Item = &'a Entry>,
    zone: &TimeZone,
    columns: usize,
    wanted: usize,
) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let mut later: Option<&Entry> = None;
    // From the newest on, and no further than can be seen.
    for entry in entries.rev() {
        if let Some(later) = later.filter(|later| later.date(zone) != entry.date(zone)) {
            rows.push(dated(later, zone));
        }
        if rows.len() >= wanted {
            break;
        }
        rows.extend(rows_of(entry, zone, columns).into_iter().rev());
        later = Some(entry);
    }
    if let Some(first) = later.filter(|_| rows.len() < wanted) {
        rows.push(dated(first, zone));
    }
    rows.truncate(wanted);
    rows.reverse();
    rows
}

fn dated(entry: &Entry, zone: &TimeZone) -> String {
    format!("– {} –", entry.date(zone))
}

fn rows_of(entry: &Entry, zone: &TimeZone, columns: usize) -> Vec<String> {
    let room = columns.saturating_sub(CLOCK_COLUMNS);
    let pieces = entry.text.lines().flat_map(|line| wrapped(line, room));
    let beside = |(nth, piece): (usize, String)| {
        let clock = if nth == 0 { entry.clock(zone) } else { String::new() };
        format!("{clock:CLOCK_COLUMNS$}{piece}")
    };
    pieces.enumerate().map(beside).collect()
}

/// A line cut into rows that fit, between words where there are any.
pub(super) fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut rows = vec![String::new()];
    let mut width = 0;
    for word in line.split_inclusive(' ') {
        let bare = word.trim_end_matches(' ');
        let wide = Span::raw(bare).width();
        if width + wide > columns && width > 0 {
            rows.push(String::new());
            width = 0;
        }
        // A word that is longer than any row is cut where the row ends.
        for letter in word.chars() {
            let mut bytes = [0; 4];
            let wide = Span::raw(&*letter.encode_utf8(&mut bytes)).width();
            if width + wide > columns {
                if letter == ' ' {
                    continue;
                }
                rows.push(String::new());
                width = 0;
            }
            width += wide;
            if let Some(row) = rows.last_mut() {
                row.push(letter);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_between_words_by_what_they_take_on_the_screen() {
        assert_eq!(wrapped("see you at ten", 8), ["see you ", "at ten"]);
        assert_eq!(wrapped("see you", 7), ["see you"]);
        assert_eq!(wrapped("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrapped("an abcdef", 4), ["an ", "abcd", "ef"]);
        assert_eq!(wrapped("座位座位", 5), ["座位", "座位"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn a_date_stands_where_it_changes_and_the_last_row_is_always_there() {
        let entry = |at: &str, text: &str| Entry { at: at.parse().expect("an instant"), text: text.into() };
        let entries =
            [entry("2026-11-20T21:00:00Z", "good night"), entry("2026-11-20T23:30:00Z", "are you still there?")];
        let berlin = TimeZone::get("Europe/Berlin").expect("the zone is known");
        let rows = |wanted| last_rows(entries.iter(), &berlin, 20, wanted);
        assert_eq!(
            rows(10),
            [
                "– Friday, 2026-11-20 –",
                "22:00 good night",
                "– Saturday, 2026-11-21 –",
                "00:30 are you still ",
                "      there?"
            ]
        );
        assert_eq!(rows(2), ["00:30 are you still ", "      there?"]);
    }
}
