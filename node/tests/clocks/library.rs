//! A library in some time zone, with the state that a node has and days that are expanded as a node does it.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::catalog::{AreaDraft, BranchDraft, Draft, Hours, Policy, PolicyDraft, SeatDraft, Span};
use carrel_domain::claim::Claim;
use carrel_domain::id::{TokenDigest, UserId};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Caller, Request, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::{Slug, Title, UserName};
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};
use carrel_node::calendar::{domain_date, expand, zone};
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

/// Half hours and quarters, at two at night and at midnight, in both hemispheres, four times a year, and never.
pub const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Gaza",
    "Etc/UTC",
];

pub const AMY: Person = Person { user: UserId(0), token: TokenDigest([1; 16]) };
pub const BEN: Person = Person { user: UserId(1), token: TokenDigest([2; 16]) };

/// Seats of a branch: one that can always be had, and one from eight to eight.
pub const ALWAYS: &str = "night";
pub const ALWAYS_TOO: &str = "night-too";
pub const BY_DAY: &str = "day";

#[derive(Clone, Copy)]
pub struct Person {
    pub user: UserId,
    pub token: TokenDigest,
}

/// Every change of the clocks of a zone; of one that has none, two days that are like any other.
pub fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let instant = |text: &str| text.parse::<Instant>().expect("an instant");
    let (first, last) = (instant("2024-01-01T00:00:00Z"), instant("2028-12-31T23:59:59Z"));
    let changes = zone.following(first).map(|change| change.timestamp()).take_while(|change| *change <= last);
    // A change of the name alone is none of the clocks.
    let second = jiff::SignedDuration::from_secs(1);
    let mut found: Vec<Instant> =
        changes.filter(|change| zone.to_offset(*change) != zone.to_offset(*change - second)).collect();
    if found.is_empty() {
        found = vec![instant("2024-02-29T00:00:00Z"), instant("2026-12-31T12:00:00Z")];
    }
    found.into_iter().map(|change| Timestamp(change.as_microsecond())).collect()
}

/// Generous enough that nothing but what a test is about says no.
pub fn generous() -> Policy {
    Policy {
        grid_minutes: 15,
        min_minutes: 15,
        max_minutes: 480,
        window_days: 16,
        max_reservations: 1_000,
        max_minutes_per_day: 25 * 60,
        ..Policy::default()
    }
}

pub struct Library {
    pub state: State,
    now: Timestamp,
}

impl Library {
    /// With a branch in each zone, named by its place in the list, and Amy and Ben logged in.
    pub fn open(zones: &[&str], title_of_branch: &str, rules: Policy, now: Timestamp) -> Self {
        let mut library = Self { state: State::default(), now };
        let branches = zones.iter().enumerate().map(|(place, zone)| branch(place, zone, title_of_branch)).collect();
        let policies = vec![PolicyDraft { id: slug("rules"), rules }];
        let draft = Box::new(Draft { policies, branches });
        library.ask(Request::system(Action::ImportCatalog { draft, expected_revision: None })).expect("no faults");
        library.fill_calendars();
        for (name, person) in [("amy", AMY), ("ben", BEN)] {
            let (password, Person { user, token }) = (PasswordHash(Arc::from("hash")), person);
            let name = UserName::new(name).expect("a name");
            let register = Action::Register { name, password: password.clone() };
            for action in [register, Action::StartSession { user, password, token }] {
                library.ask(Request { caller: Caller::Anonymous, retry: None, action }).expect("a newcomer");
            }
        }
        library
    }

    pub fn does(&mut self, person: Person, action: Action) -> Result<Reply, Refusal> {
        self.ask(Request { caller: Caller::Session(person.token), retry: None, action })
    }

    pub fn reserve(
        &mut self,
        person: Person,
        branch: usize,
        seat: &str,
        start: Timestamp,
        minutes: i64,
    ) -> Result<Claim, Refusal> {
        let interval = Interval::new(start, after(start, minutes)).expect("it is not empty");
        let wish = Wish::of_seat(seat_name(branch, seat), interval);
        match self.does(person, Action::Reserve { wish })? {
            Reply::Claim(view) => Ok(view.claim.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.now = self.now.plus_us(1_000);
        let at = At { index: self.state.at().index + 1, time: self.now };
        self.state.apply(at, &request).reply.result
    }

    fn fill_calendars(&mut self) {
        let branches: Vec<_> =
            self.state.catalog().branches().map(|(id, branch)| (id, branch.hours_revision)).collect();
        let today = Date(i32::try_from(self.now.0.div_euclid(DAY_US)).expect("a date of our time"));
        for (branch, hours_revision) in branches {
            let missing = self.state.missing_days(branch, today);
            let (Some(&first), Some(&last)) = (missing.first(), missing.last()) else { continue };
            let days = expand(self.state.catalog(), branch, first..=last).expect("a zone that is known");
            self.ask(Request::system(Action::FillCalendar { branch, hours_revision, days })).expect("days");
        }
    }
}

pub fn seat_name(branch: usize, seat: &str) -> SeatName {
    SeatName { branch: slug(&format!("b{branch}")), seat: slug(seat) }
}

/// So many minutes later, or earlier.
pub fn after(at: Timestamp, minutes: i64) -> Timestamp {
    at.plus_us(minutes * MINUTE_US)
}

/// The date, and the minute of it, on the clock on the wall.
pub fn wall(zone: &TimeZone, at: Timestamp) -> (Date, i64) {
    assert_eq!(at.0 % MINUTE_US, 0);
    let wall = zone.to_datetime(Instant::from_microsecond(at.0).expect("an instant"));
    (domain_date(wall.date()), i64::from(wall.hour()) * 60 + i64::from(wall.minute()))
}

pub fn zone_named(name: &str) -> TimeZone {
    zone(name).expect("a zone")
}

fn branch(place: usize, time_zone: &str, title_of_branch: &str) -> BranchDraft {
    let area = |id: &str, hours: Hours, seats: &[&str]| AreaDraft {
        id: slug(id),
        title: title("Hall; upstairs, left"),
        policy: None,
        hours: Some(hours),
        seats: seats.iter().map(|id| seat(id)).collect(),
    };
    BranchDraft {
        id: slug(&format!("b{place}")),
        title: title(title_of_branch),
        time_zone: title(time_zone),
        policy: slug("rules"),
        hours: weekly(0, 1440),
        meals: Vec::new(),
        areas: vec![
            area("night-room", weekly(0, 1440), &[ALWAYS, ALWAYS_TOO]),
            area("day-room", weekly(8 * 60, 20 * 60), &[BY_DAY]),
        ],
    }
}

fn seat(id: &str) -> SeatDraft {
    SeatDraft {
        id: slug(id),
        label: title(&format!("{id}, \\1")),
        amenities: Vec::new(),
        accessible: false,
        x_cm: 0,
        y_cm: 0,
    }
}

fn weekly(open_minute: u16, close_minute: u16) -> Hours {
    let day = vec![Span { open_minute, close_minute }];
    Hours { week: std::array::from_fn(|_| day.clone()), periods: Vec::new(), exceptions: Vec::new() }
}

fn slug(text: &str) -> Slug {
    Slug::new(text).expect("an id")
}

fn title(text: &str) -> Title {
    Title::new(text).expect("a title")
}
