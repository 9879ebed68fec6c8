//! Opening hours around every change of the clocks.

use carrel_domain::calendar::Day;
use carrel_domain::catalog::{AreaDraft, BranchDraft, Catalog, Draft, Exception, Hours, Policy, PolicyDraft, Span};
use carrel_domain::id::BranchId;
use carrel_domain::text::{Slug, Title};
use carrel_domain::time::{Date, MINUTE_US, Timestamp};
use carrel_node::calendar::{DATES_MAX, ExpandError, civil_date, domain_date, expand, parse_date, zone};
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

const ZONES: [&str; 10] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "America/Havana",
    "Asia/Beirut",
    "America/St_Johns",
    "Africa/Casablanca",
];

const ALWAYS: &[(u16, u16)] = &[(0, 1440)];

#[test]
fn days_are_adjacent_and_open_when_the_sign_says_so() {
    // None of these times lies where any of the zones changes its clocks.
    let sign = [(5 * 60, 11 * 60 + 30), (13 * 60, 22 * 60 + 15)];
    for name in ZONES {
        let zone = zone(name).expect("a zone");
        let catalog = catalog(name, hours(&sign), Some(hours(ALWAYS)));
        for change in changes(&zone) {
            let date = domain_date(zone.to_datetime(change).date());
            let days = days(&catalog, date.plus_days(-2), date.plus_days(2));
            assert_eq!(days.len(), 5);
            for pair in days.windows(2) {
                assert_eq!(pair[0].span.end(), pair[1].span.start(), "{name} {}", civil_date(pair[0].date));
            }
            for day in &days {
                check(&zone, day, &sign);
            }
        }
    }
}

fn check(zone: &TimeZone, day: &Day, sign: &[(u16, u16)]) {
    let what = format!("{zone:?} {}", civil_date(day.date));
    assert!((23 * 60..=25 * 60).contains(&day.span.minutes()), "{what}: {} minutes", day.span.minutes());
    assert_eq!(day.grid_origin, day.span.start());
    let always: Vec<_> = day.area_open.values().flatten().copied().collect();
    assert_eq!(always, [day.span], "{what}: always is the whole day");
    assert_eq!(day.meals, day.open, "{what}: meals are expanded as hours are");
    let mut minutes = 0;
    let mut instant = day.span.start();
    while instant < day.span.end() {
        let wall = clock(zone, instant);
        assert_eq!(domain_date(wall.date()), day.date, "{what} has {wall}");
        let minute = wall.hour() as u16 * 60 + wall.minute() as u16;
        let open = sign.iter().any(|&(open, close)| open <= minute && minute < close);
        assert_eq!(day.open.iter().any(|span| span.contains(instant)), open, "{what} at {wall}");
        minutes += i64::from(open);
        instant = instant.plus_minutes(1);
    }
    assert_eq!(day.open.iter().map(|span| span.minutes()).sum::<i64>(), minutes);
}

#[test]
fn every_day_is_as_long_as_the_clocks_make_it() {
    let minutes = |name: &str, date: &str| {
        let date = parse_date(date).expect("a date");
        days(&catalog(name, hours(ALWAYS), None), date, date)[0].span.minutes()
    };
    assert_eq!(minutes("Europe/Berlin", "2027-03-28"), 23 * 60);
    assert_eq!(minutes("Europe/Berlin", "2027-10-31"), 25 * 60);
    assert_eq!(minutes("Europe/Berlin", "2027-06-01"), 24 * 60);
    assert_eq!(minutes("Australia/Lord_Howe", "2027-04-04"), 24 * 60 + 30);
    assert_eq!(minutes("Australia/Lord_Howe", "2027-10-03"), 23 * 60 + 30);
    assert_eq!(minutes("Asia/Kathmandu", "2027-03-28"), 24 * 60);
    // Midnight is skipped, and the day begins at one; the hour before midnight comes twice.
    assert_eq!(minutes("America/Sao_Paulo", "2018-11-04"), 23 * 60);
    assert_eq!(minutes("America/Sao_Paulo", "2019-02-16"), 25 * 60);
}

#[test]
fn a_day_begins_at_its_first_instant_even_if_that_is_not_midnight() {
    let catalog = catalog("America/Sao_Paulo", hours(&[(0, 60), (90, 1440)]), None);
    let date = parse_date("2018-11-04").expect("a date");
    let day = &days(&catalog, date, date)[0];
    let first = clock(&zone("America/Sao_Paulo").expect("a zone"), day.span.start());
    assert_eq!(first.to_string(), "2018-11-04T01:00:00");
    assert_eq!(day.grid_origin, day.span.start());
    assert_eq!(walls("America/Sao_Paulo", day), ["01:30-00:00"], "from 00:00 to 01:00 there is nothing");
}

#[test]
fn a_midnight_that_comes_twice_is_the_first() {
    // At 00:01 on 2010-11-07 the clocks in St. John's went back to 23:01 of the day before.
    let name = "America/St_Johns";
    let catalog = catalog(name, hours(&[(600, 1440)]), None);
    let date = parse_date("2010-11-06").expect("a date");
    let days = days(&catalog, date, date.plus_days(1));
    assert_eq!((days[0].span.minutes(), days[1].span.minutes()), (24 * 60, 25 * 60));
    assert_eq!(days[0].span.end(), days[1].span.start());
    assert_eq!(walls(name, &days[0]), ["10:00-00:00"]);
    assert_eq!(walls(name, &days[1]), ["10:00-00:00"]);
}

#[test]
fn a_date_that_was_skipped_has_no_day() {
    let catalog = catalog("Pacific/Apia", hours(ALWAYS), None);
    let (first, last) = (parse_date("2011-12-29").expect("a date"), parse_date("2011-12-31").expect("a date"));
    let days = days(&catalog, first, last);
    let dates: Vec<_> = days.iter().map(|day| civil_date(day.date).to_string()).collect();
    assert_eq!(dates, ["2011-12-29", "2011-12-31"]);
    assert_eq!(days[0].span.end(), days[1].span.start());
}

#[test]
fn times_that_are_skipped_become_the_end_of_the_gap() {
    // Berlin, 2027-03-28: from 02:00 to 03:00 there is nothing.
    let open = |spans: &[(u16, u16)]| {
        let date = parse_date("2027-03-28").expect("a date");
        walls("Europe/Berlin", &days(&catalog("Europe/Berlin", hours(spans), None), date, date)[0])
    };
    assert_eq!(open(&[(150, 300)]), ["03:00-05:00"]);
    assert_eq!(open(&[(60, 150)]), ["01:00-03:00"]);
    assert_eq!(open(&[(60, 150), (150, 300)]), ["01:00-05:00"]);
    assert_eq!(open(&[(60, 125), (170, 300)]), ["01:00-05:00"], "it closes only while there is no time");
    assert!(open(&[(125, 170)]).is_empty());
    assert!(open(&[(120, 180)]).is_empty());
}

#[test]
fn times_that_come_twice_open_at_the_first_and_close_at_the_second() {
    // Berlin, 2027-10-31: from 02:00 to 03:00 comes twice.
    let minutes = |spans: &[(u16, u16)]| -> Vec<i64> {
        let date = parse_date("2027-10-31").expect("a date");
        let days = days(&catalog("Europe/Berlin", hours(spans), None), date, date);
        days[0].open.iter().map(|span| span.minutes()).collect()
    };
    assert_eq!(minutes(&[(60, 150)]), [60 + 60 + 30]);
    assert_eq!(minutes(&[(150, 300)]), [30 + 60 + 120]);
    assert_eq!(minutes(&[(120, 180)]), [120]);
    assert_eq!(minutes(&[(60, 150), (150, 300)]), [5 * 60], "one span, not two that overlap");
    assert_eq!(minutes(&[(60, 130), (170, 300)]), [5 * 60]);
}

#[test]
fn exceptions_and_areas_have_their_own() {
    let mut of_branch = hours(&[(480, 600), (600, 720)]);
    let date = parse_date("2026-12-24").expect("a date");
    of_branch.exceptions.push(Exception { title: None, date, spans: Vec::new() });
    let catalog = catalog("America/New_York", of_branch, Some(hours(ALWAYS)));
    let days = days(&catalog, date.plus_days(-1), date);
    assert_eq!(walls("America/New_York", &days[0]), ["08:00-12:00"], "spans that touch are one");
    assert!(days[1].open.is_empty());
    let (&own, open) = days[1].area_open.first_key_value().expect("one area has hours of its own");
    assert_eq!(days[1].area_open.len(), 1);
    assert_eq!(open, &[days[1].span]);
    assert_eq!(catalog.area(own).slug.as_str(), "own-hours");
}

#[test]
fn what_cannot_be_expanded_is_refused() {
    let berlin = catalog("Europe/Berlin", hours(ALWAYS), None);
    let refused = |dates| expand(&berlin, BranchId(0), dates).expect_err("refused");
    assert!(matches!(refused(Date(0)..=Date(DATES_MAX as i32)), ExpandError::TooManyDates(_)));
    assert!(matches!(refused(Date(i32::MIN)..=Date(i32::MAX)), ExpandError::TooManyDates(_)));
    assert!(matches!(refused(Date(i32::MAX)..=Date(i32::MAX)), ExpandError::OutOfReach(_)));
    assert!(matches!(refused(Date(i32::MIN)..=Date(i32::MIN)), ExpandError::OutOfReach(_)));
    assert!(expand(&berlin, BranchId(0), Date(1)..=Date(0)).expect("no dates, no days").is_empty());
    let nowhere = catalog("Europe/Atlantis", hours(ALWAYS), None);
    assert!(matches!(expand(&nowhere, BranchId(0), Date(0)..=Date(0)), Err(ExpandError::NoSuchZone(_))));
    for bad in ["", "Etc/Unknown", "../../etc/passwd", "Europe/", "+01:00", "CET-1CEST"] {
        assert!(zone(bad).is_err(), "{bad}");
    }
}

#[test]
fn dates_are_days_since_1970_and_written_in_one_way() {
    assert_eq!(parse_date("1970-01-01"), Some(Date(0)));
    assert_eq!(parse_date("2026-11-21"), Some(Date(20_778)));
    assert_eq!(civil_date(Date(20_778)).to_string(), "2026-11-21");
    for bad in ["2027-02-30", "2027-2-3", "20270203", "2027-02-03T10:00", "03.02.2027", "", " 2027-02-03", "today"] {
        assert_eq!(parse_date(bad), None, "{bad}");
    }
    assert_eq!(civil_date(Date(i32::MAX)), jiff::civil::Date::MAX);
    assert_eq!(civil_date(Date(i32::MIN)), jiff::civil::Date::MIN);
}

/// Every change of the clocks, from before the last ones in São Paulo to after the tables of the zones end.
fn changes(zone: &TimeZone) -> Vec<Instant> {
    let instant = |text: &str| text.parse::<Instant>().expect("an instant");
    let end = instant("2040-01-01T00:00:00Z");
    let changes = zone.following(instant("2016-01-01T00:00:00Z"));
    changes.map(|change| change.timestamp()).take_while(|change| *change < end).collect()
}

fn clock(zone: &TimeZone, instant: Timestamp) -> jiff::civil::DateTime {
    assert_eq!(instant.0 % MINUTE_US, 0);
    zone.to_datetime(Instant::from_microsecond(instant.0).expect("an instant"))
}

fn walls(name: &str, day: &Day) -> Vec<String> {
    let zone = zone(name).expect("a zone");
    let time = |instant| clock(&zone, instant).strftime("%H:%M").to_string();
    day.open.iter().map(|span| format!("{}-{}", time(span.start()), time(span.end()))).collect()
}

fn days(catalog: &Catalog, first: Date, last: Date) -> Vec<Day> {
    expand(catalog, BranchId(0), first..=last).expect("it expands")
}

fn hours(spans: &[(u16, u16)]) -> Hours {
    let day: Vec<Span> = spans.iter().map(|&(open_minute, close_minute)| Span { open_minute, close_minute }).collect();
    Hours { week: std::array::from_fn(|_| day.clone()), periods: Vec::new(), exceptions: Vec::new() }
}

fn catalog(time_zone: &str, of_branch: Hours, of_area: Option<Hours>) -> Catalog {
    let slug = |text: &str| Slug::new(text).expect("an id");
    let title = |text: &str| Title::new(text).expect("a title");
    let area = |id, hours| AreaDraft { id: slug(id), title: title(id), policy: None, hours, seats: Vec::new() };
    let rules = Policy {
        grid_minutes: 30,
        min_minutes: 30,
        max_minutes: 480,
        window_days: 14,
        grace_minutes: 15,
        lead_minutes: 15,
        offer_minutes: 10,
        max_reservations: 6,
        max_minutes_per_day: 600,
        strikes_to_suspend: 3,
        strike_days: 30,
        suspension_days: 3,
        ..Policy::default()
    };
    let mut areas = vec![area("reading-room", None)];
    areas.extend(of_area.map(|hours| area("own-hours", Some(hours))));
    let branch = BranchDraft {
        id: slug("main"),
        title: title("Main"),
        time_zone: title(time_zone),
        policy: slug("default"),
        // People eat whenever the library is open.
        meals: of_branch.week[0].clone(),
        hours: of_branch,
        areas,
    };
    let policies = vec![PolicyDraft { id: slug("default"), rules }];
    Catalog::default().replaced_by(&Draft { policies, branches: vec![branch] })
}
