//! The feed as a program reads it that is not ours: what it takes for an instant is what was booked.

use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarProperty, ICalendarStatus, ICalendarValue,
};
use calcard::{Entry, Parser};
use carrel_domain::claim::Claim;
use carrel_domain::request::Action;
use carrel_domain::text::Title;
use carrel_domain::time::{DAY_US, Interval, SECOND_US, Timestamp};
use carrel_node::ical;

use crate::library::{
    ALWAYS, ALWAYS_TOO, AMY, BEN, Library, Person, ZONES, after, changes, generous, seat_name, zone_named,
};

/// Of these the rules have not been changed for years: whatever data the reader has, it has the same. Of the others a
/// new release of the data may say something else about the years to come, and then only what the file says counts.
const SETTLED: [&str; 8] = [
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Etc/UTC",
];

/// Seconds since 1970, from and to.
type Span = (i64, i64);

fn booked(claims: &[Claim]) -> Vec<Span> {
    let seconds = |at: Timestamp| at.0.div_euclid(SECOND_US);
    let mut spans: Vec<Span> =
        claims.iter().map(|claim| (seconds(claim.interval.start()), seconds(claim.interval.end()))).collect();
    spans.sort_unstable();
    spans
}

fn feed_of(library: &Library, person: Person) -> String {
    ical::calendar(&library.state, person.user).expect("somebody")
}

/// One calendar, and nothing after it; no property is one that the reader does not know.
fn parsed(text: &str) -> ICalendar {
    let mut parser = Parser::new(text);
    let calendar = match parser.entry() {
        Entry::ICalendar(calendar) => calendar,
        other => panic!("{other:?} in\n{text}"),
    };
    assert_eq!(parser.entry(), Entry::Eof, "{text}");
    let strange = calendar.components.iter().flat_map(|part| &part.entries).map(|entry| &entry.name);
    let strange: Vec<_> =
        strange.filter(|name| matches!(name, ICalendarProperty::Other(other) if !other.starts_with("X-"))).collect();
    assert!(strange.is_empty(), "{strange:?} in\n{text}");
    calendar
}

fn events(calendar: &ICalendar) -> Vec<&ICalendarComponent> {
    calendar.components.iter().filter(|part| part.component_type == ICalendarComponentType::VEvent).collect()
}

/// A time on the wall in seconds, with its offset if it has one; an offset of a zone has no date.
fn wall(part: &ICalendarComponent, name: &ICalendarProperty) -> i64 {
    let entry = part.property(name).unwrap_or_else(|| panic!("no {name:?} in {part:?}"));
    let value = entry.values.first().and_then(ICalendarValue::as_partial_date_time).expect("a time");
    value.to_date_time().expect("a date and a time").date_time.and_utc().timestamp()
}

fn offset(part: &ICalendarComponent, name: &ICalendarProperty) -> i64 {
    let entry = part.property(name).unwrap_or_else(|| panic!("no {name:?} in {part:?}"));
    let value = entry.values.first().and_then(ICalendarValue::as_partial_date_time).expect("an offset");
    let size = i64::from(value.tz_hour.expect("hours")) * 3600 + i64::from(value.tz_minute.unwrap_or(0)) * 60;
    if value.tz_minus { -size } else { size }
}

/// By the observances in the file alone: the last one whose onset the time on the wall is not before.
fn by_the_file(calendar: &ICalendar, event: &ICalendarComponent, name: &ICalendarProperty) -> i64 {
    let at = wall(event, name);
    let entry = event.property(name).expect("found above");
    let value = entry.values.first().and_then(ICalendarValue::as_partial_date_time).expect("found above");
    let Some(zone_name) = entry.tz_id() else {
        assert_eq!((value.tz_hour, value.tz_minute.unwrap_or(0)), (Some(0), 0), "in the time of nowhere: {event:?}");
        return at;
    };
    let is_of = |part: &&ICalendarComponent| {
        let id = part.property(&ICalendarProperty::Tzid).and_then(|entry| entry.values.first());
        part.component_type == ICalendarComponentType::VTimezone && id.and_then(|id| id.as_text()) == Some(zone_name)
    };
    let zones: Vec<_> = calendar.components.iter().filter(is_of).collect();
    assert_eq!(zones.len(), 1, "{zone_name} is described once");
    let observances = zones[0].component_ids.iter().filter_map(|id| calendar.component_by_id(*id));
    let last = observances
        .map(|observance| (wall(observance, &ICalendarProperty::Dtstart), observance))
        .filter(|(onset, _)| *onset <= at)
        .max_by_key(|(onset, _)| *onset);
    let (_, observance) = last.unwrap_or_else(|| panic!("{zone_name} does not reach {event:?}"));
    at - offset(observance, &ICalendarProperty::Tzoffsetto)
}

fn read_by_the_file(calendar: &ICalendar) -> Vec<Span> {
    let both = |event: &&ICalendarComponent| {
        let read = |name| by_the_file(calendar, event, &name);
        (read(ICalendarProperty::Dtstart), read(ICalendarProperty::Dtend))
    };
    let mut spans: Vec<Span> = events(calendar).iter().map(both).collect();
    spans.sort_unstable();
    spans
}

/// As the reader's own calendar would show them, with the zones that it knows by name.
fn read_by_name(calendar: &ICalendar) -> Vec<Span> {
    let expanded = calendar.expand_dates(calcard::common::timezone::Tz::Floating, 10_000);
    assert!(expanded.errors.is_empty(), "{:?} in {calendar}", expanded.errors);
    let mut spans: Vec<Span> =
        expanded.events.iter().map(calcard::icalendar::dates::CalendarEvent::timestamps).collect();
    spans.sort_unstable();
    spans
}

#[test]
fn an_outside_reader_finds_what_was_booked_on_both_sides_of_every_change() {
    for (branch, name) in ZONES.iter().enumerate() {
        for change in changes(&zone_named(name)) {
            let mut library = Library::open(&ZONES, "Main", generous(), change.plus_us(-3 * DAY_US));
            let of_amy: Vec<Claim> = (-8..8)
                .map(|half| library.reserve(AMY, branch, ALWAYS, after(change, 30 * half), 30))
                .map(|claim| claim.unwrap_or_else(|refusal| panic!("{name} at {change:?}: {refusal:?}")))
                .collect();
            // One through it, and one in another zone.
            let elsewhere = (branch + 1) % ZONES.len();
            let of_ben: Vec<Claim> = [
                library.reserve(BEN, branch, ALWAYS_TOO, after(change, -120), 240),
                library.reserve(BEN, elsewhere, ALWAYS, change.plus_us(2 * DAY_US), 60),
            ]
            .into_iter()
            .map(|claim| claim.unwrap_or_else(|refusal| panic!("{name} at {change:?}: {refusal:?}")))
            .collect();
            for (person, claims) in [(AMY, &of_amy), (BEN, &of_ben)] {
                let text = feed_of(&library, person);
                let calendar = parsed(&text);
                assert_eq!(read_by_the_file(&calendar), booked(claims), "{name} at {change:?}\n{text}");
                let is_settled = |name: &str| SETTLED.contains(&name);
                if is_settled(name) && (person.user == AMY.user || is_settled(ZONES[elsewhere])) {
                    assert_eq!(read_by_name(&calendar), booked(claims), "{name} at {change:?}\n{text}");
                }
            }
        }
    }
}

#[test]
fn a_change_is_the_same_event_later_in_its_sequence() {
    let zone = "Australia/Lord_Howe";
    for change in changes(&zone_named(zone)) {
        let mut library = Library::open(&[zone], "Main", generous(), change.plus_us(-3 * DAY_US));
        let claim = library.reserve(AMY, 0, ALWAYS, after(change, -60), 30).expect("free");
        let before = parsed(&feed_of(&library, AMY));
        let uid = |calendar: &ICalendar| events(calendar)[0].uid().expect("a UID").to_owned();
        let sequence = |calendar: &ICalendar| {
            let entry = events(calendar)[0].property(&ICalendarProperty::Sequence).expect("a SEQUENCE");
            entry.values.first().and_then(ICalendarValue::as_integer).expect("a number")
        };
        let status = |calendar: &ICalendar| events(calendar)[0].status().cloned();
        assert_eq!(status(&before), Some(ICalendarStatus::Confirmed));

        let interval = Interval::new(after(change, -15), after(change, 45)).expect("an hour");
        let seat = seat_name(0, ALWAYS_TOO);
        library.does(AMY, Action::Reschedule { claim: claim.id, seat, interval }).expect("free");
        let moved = parsed(&feed_of(&library, AMY));
        assert_eq!((events(&moved).len(), uid(&moved)), (1, uid(&before)));
        assert!(sequence(&moved) > sequence(&before));
        let expected = vec![(interval.start().0 / SECOND_US, interval.end().0 / SECOND_US)];
        assert_eq!(read_by_the_file(&moved), expected);

        library.does(AMY, Action::Cancel { claim: claim.id, reason: None }).expect("hers");
        let cancelled = parsed(&feed_of(&library, AMY));
        assert_eq!((events(&cancelled).len(), uid(&cancelled)), (1, uid(&before)));
        assert!(sequence(&cancelled) > sequence(&moved));
        assert_eq!(status(&cancelled), Some(ICalendarStatus::Cancelled));
    }
}

#[test]
fn text_comes_back_as_it_was_however_it_is_folded_and_escaped() {
    let titles = [
        "Bücherei; Zweigstelle Süd, \\Ost\\ und: \"West\"".to_owned(),
        "图".repeat(66),
        format!("a{}", "🏛".repeat(49)),
        format!("{},", "ä".repeat(99)),
        ";".repeat(200),
        "\\n is no line feed\\".to_owned(),
    ];
    for title in titles {
        let now = changes(&zone_named(ZONES[0]))[0];
        let mut library = Library::open(&ZONES[..1], &title, generous(), now);
        let start = now.plus_us(DAY_US);
        library.reserve(AMY, 0, ALWAYS, start, 30).expect("free");
        let text = feed_of(&library, AMY);
        for line in text.split_terminator("\r\n") {
            assert!(line.len() <= 75, "{} octets: {line}", line.len());
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
        assert!(text.ends_with("END:VCALENDAR\r\n"));
        let calendar = parsed(&text);
        let said = |name| {
            let entry = events(&calendar)[0].property(&name).unwrap_or_else(|| panic!("{name:?} in\n{text}"));
            let parts: Vec<&str> = entry.values.iter().filter_map(ICalendarValue::as_text).collect();
            parts.concat()
        };
        assert_eq!(said(ICalendarProperty::Location), title);
        assert_eq!(said(ICalendarProperty::Summary), "Seat night, \\1, Hall; upstairs, left");
    }
    // What would have to be escaped as a line feed never gets there.
    assert!(Title::new("two\nlines").is_err());
}
