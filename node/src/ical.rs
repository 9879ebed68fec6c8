//! One person's reservations as an iCalendar file (RFC 5545), which calendars of telephones read again and again.
//!
//! A reservation keeps its UID for good and counts its changes in SEQUENCE, so that a calendar moves what it has shown
//! before instead of showing it twice. Times are those of the branch, with the offsets of its zone written out for all
//! the time that the file speaks of: a calendar needs no zone data of its own to be right on both sides of a change. A
//! time on the wall that comes twice would be read as the first of the two, or not at all, so it is given in UTC.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use carrel_domain::claim::{Claim, StateName};
use carrel_domain::id::UserId;
use carrel_domain::state::State;
use carrel_domain::time::{DAY_US, Timestamp};
use jiff::tz::{Offset, TimeZone};

use crate::calendar;

/// What is over stays in the calendar for so long, cancelled or not.
const KEPT_DAYS: i64 = 30;
/// Newest first; nobody has so many at once.
const EVENTS_MAX: usize = 500;
/// Octets of a line, without its end.
const LINE_BYTES_MAX: usize = 75;

/// None: there is no such person.
#[must_use]
pub fn calendar(view: &State, user: UserId) -> Option<String> {
    let name = view.user_name(user)?;
    let since = view.at().time.plus_us(-KEPT_DAYS * DAY_US);
    let is_shown = |claim: &Claim| claim.state.is_blocking() || claim.interval.end() > since;
    let claims = view.reservations(user, is_shown, None, EVENTS_MAX).items;
    let mut zones: BTreeMap<String, (Timestamp, Timestamp)> = BTreeMap::new();
    let mut events = File::default();
    for found in &claims {
        let claim = &found.claim;
        let seat = view.catalog().seat(claim.seat);
        let branch = view.catalog().branch(seat.branch);
        // Imports are checked where they come in, so this machine knows the zone unless its data is older.
        let Ok(zone) = calendar::zone(branch.time_zone.as_str()) else { continue };
        let (start, end) = (claim.interval.start(), claim.interval.end());
        let spoken_of = zones.entry(branch.time_zone.to_string()).or_insert((start, end));
        *spoken_of = (spoken_of.0.min(start), spoken_of.1.max(end));
        let area = view.catalog().area(seat.area);
        events.line("BEGIN:VEVENT");
        // Made when it was made, by whatever cluster: no other reservation has both.
        events.line(&format!("UID:reservation-{}-{:x}@carrel.dev", claim.id.0, claim.created_at.0));
        events.line(&format!("SEQUENCE:{}", claim.revision.saturating_sub(1)));
        events.line(&format!("DTSTAMP:{}", universal(claim.changed_at)));
        if comes_twice(&zone, start) || comes_twice(&zone, end) {
            events.line(&format!("DTSTART:{}", universal(start)));
            events.line(&format!("DTEND:{}", universal(end)));
        } else {
            events.line(&format!("DTSTART;TZID={}:{}", branch.time_zone, local(&zone, start)));
            events.line(&format!("DTEND;TZID={}:{}", branch.time_zone, local(&zone, end)));
        }
        events.line(&format!("STATUS:{}", status(claim.state.name())));
        events.line(&format!("SUMMARY:{}", escaped(&format!("Seat {}, {}", seat.label, area.title))));
        events.line(&format!("LOCATION:{}", escaped(branch.title.as_str())));
        events.line("END:VEVENT");
    }
    let mut file = File::default();
    file.line("BEGIN:VCALENDAR");
    file.line("VERSION:2.0");
    file.line("PRODID:-//carrel.dev//Carrel//EN");
    file.line("METHOD:PUBLISH");
    file.line(&format!("X-WR-CALNAME:{}", escaped(&format!("Seats of {name}"))));
    for (zone_name, (first, last)) in zones {
        if let Ok(zone) = calendar::zone(&zone_name) {
            time_zone(&mut file, &zone_name, &zone, first, last);
        }
    }
    file.0 += &events.0;
    file.line("END:VCALENDAR");
    Some(file.0)
}

/// Every change of the zone's offset from the one that is in force at `first` to the last before `last`.
fn time_zone(file: &mut File, name: &str, zone: &TimeZone, first: Timestamp, last: Timestamp) {
    let (first, last) = (instant(first), instant(last));
    file.line("BEGIN:VTIMEZONE");
    file.line(&format!("TZID:{name}"));
    let begun = zone.preceding(first).next().map_or(jiff::Timestamp::MIN, |change| change.timestamp());
    let mut changes: Vec<_> = zone.following(begun).take_while(|change| change.timestamp() <= last).collect();
    changes.retain(|change| change.timestamp() > begun);
    // The one in force at the beginning, which may be as old as the zone.
    let in_force = zone.to_offset_info(first);
    let before = zone.preceding(begun).next().map_or(in_force.offset(), |change| change.offset());
    let since = if begun == jiff::Timestamp::MIN { jiff::Timestamp::UNIX_EPOCH } else { begun };
    observance(file, since, before, in_force.offset(), in_force.abbreviation(), in_force.dst().is_dst());
    let mut before = in_force.offset();
    for change in &changes {
        if change.timestamp() > first {
            observance(file, change.timestamp(), before, change.offset(), change.abbreviation(), change.dst().is_dst());
            before = change.offset();
        }
    }
    file.line("END:VTIMEZONE");
}

fn observance(file: &mut File, since: jiff::Timestamp, from: Offset, to: Offset, name: &str, is_dst: bool) {
    let kind = if is_dst { "DAYLIGHT" } else { "STANDARD" };
    file.line(&format!("BEGIN:{kind}"));
    // What clocks showed that did not know of the change.
    file.line(&format!("DTSTART:{}", from.to_datetime(since).strftime("%Y%m%dT%H%M%S")));
    file.line(&format!("TZOFFSETFROM:{}", offset(from)));
    file.line(&format!("TZOFFSETTO:{}", offset(to)));
    file.line(&format!("TZNAME:{}", escaped(name)));
    file.line(&format!("END:{kind}"));
}

/// `+0530`.
fn offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let text = format!("{sign}{:02}{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 == 0 { text } else { format!("{text}{:02}", seconds % 60) }
}

fn status(state: StateName) -> &'static str {
    match state {
        StateName::Held => "TENTATIVE",
        StateName::Confirmed
        | StateName::CheckedIn
        | StateName::Away
        | StateName::NoShow
        | StateName::Released
        | StateName::Completed => "CONFIRMED",
        StateName::Expired | StateName::Cancelled | StateName::Displaced => "CANCELLED",
    }
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MAX)
}

fn universal(at: Timestamp) -> String {
    instant(at).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Whether the clock on the wall shows the same at another instant, too.
fn comes_twice(zone: &TimeZone, at: Timestamp) -> bool {
    zone.to_ambiguous_timestamp(zone.to_datetime(instant(at))).is_ambiguous()
}

fn local(zone: &TimeZone, at: Timestamp) -> String {
    instant(at).to_zoned(zone.clone()).strftime("%Y%m%dT%H%M%S").to_string()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}

#[derive(Default)]
struct File(String);

impl File {
    /// Folded, so that no line is longer than the standard allows; never within a character.
    fn line(&mut self, text: &str) {
        let mut width = 0;
        for c in text.chars() {
            if width + c.len_utf8() > LINE_BYTES_MAX {
                self.0.push_str("\r\n ");
                width = 1;
            }
            let _ = write!(self.0, "{c}");
            width += c.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_characters() {
        let mut file = File::default();
        file.line(&"ü".repeat(100));
        let lines: Vec<&str> = file.0.split("\r\n").filter(|line| !line.is_empty()).collect();
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= LINE_BYTES_MAX), "{lines:?}");
        let unfolded = file.0.replace("\r\n ", "");
        assert_eq!(unfolded.trim_end(), "ü".repeat(100));
    }

    /// What a calendar makes of the observances: the offset of the last one that had begun.
    fn offset_by(file: &str, at: jiff::Timestamp) -> i64 {
        let seconds = |text: &str| {
            let number = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i64>().ok());
            let size = number(1..3).unwrap_or(0) * 3600 + number(3..5).unwrap_or(0) * 60 + number(5..7).unwrap_or(0);
            if text.starts_with('-') { -size } else { size }
        };
        let mut found: Option<(jiff::Timestamp, i64)> = None;
        for part in file.split("BEGIN:").skip(1) {
            let field = |name: &str| part.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let (Some(start), Some(from), Some(to)) = (field("DTSTART:"), field("TZOFFSETFROM:"), field("TZOFFSETTO:"))
            else {
                continue;
            };
            let wall = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", start).expect("a local time");
            let offset = Offset::from_seconds(seconds(from) as i32).expect("an offset");
            let began = offset.to_timestamp(wall).expect("an instant");
            if began <= at && found.is_none_or(|(last, _)| last <= began) {
                found = Some((began, seconds(to)));
            }
        }
        found.expect("some offset is in force").1
    }

    #[test]
    fn the_offsets_of_a_zone_are_right_on_both_sides_of_every_change() {
        let zones = [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "America/Santiago",
            "Africa/Casablanca",
            "Europe/Dublin",
            "Pacific/Chatham",
        ];
        let at = |text: &str| text.parse::<jiff::Timestamp>().expect("an instant");
        let (first, last) = (at("2024-01-01T00:00:00Z"), at("2028-12-31T23:59:59Z"));
        for name in zones {
            let zone = TimeZone::get(name).expect("a zone");
            let micros = |at: jiff::Timestamp| Timestamp(at.as_microsecond());
            let mut file = File::default();
            time_zone(&mut file, name, &zone, micros(first), micros(last));
            let changes = zone.following(first).map(|change| change.timestamp()).take_while(|at| *at <= last);
            let second = jiff::SignedDuration::from_secs(1);
            let around = changes.flat_map(|at| [at - second, at, at + second]).chain([first, last]);
            for at in around {
                assert_eq!(
                    offset_by(&file.0, at),
                    i64::from(zone.to_offset(at).seconds()),
                    "{name} at {at}\n{}",
                    file.0
                );
            }
        }
    }
}
