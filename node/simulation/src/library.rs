//! The library that the cluster keeps: one house that never closes, seats whose claims are judged call by call, and
//! seats around which everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::calendar::Day;
use carrel_domain::catalog::{AreaDraft, BranchDraft, Draft, Hours, Policy, PolicyDraft, SeatDraft, Span};
use carrel_domain::id::{RequestId, TokenDigest, UserId};
use carrel_domain::request::{Action, Caller, Request, RetryKey, SeatName};
use carrel_domain::state::State;
use carrel_domain::text::{Slug, Title, UserName};
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};
use carrel_node::replica::Freshness;
use openraft::type_config::TypeConfigExt;

use crate::world::{Rt, World};

/// Seats whose every call is recorded and judged.
pub const JUDGED_SEATS: u32 = 4;
/// Seats on which people hold, wait and are offered what others give back.
pub const OTHER_SEATS: u32 = 3;
/// Where those are.
pub const LOUNGE: &str = "lounge";

/// A cluster that cannot be founded and furnished in so long, without any fault, never will.
const OPENING_LIMIT: Duration = Duration::from_secs(60);
const AGAIN_EVERY: Duration = Duration::from_millis(100);

/// Somebody with an account and a session that lasts.
#[derive(Clone, Debug)]
pub struct Person {
    pub number: u32,
    pub name: UserName,
    pub user: UserId,
    pub token: TokenDigest,
}

impl Person {
    #[must_use]
    pub fn request(&self, id: u128, action: Action) -> Request {
        // The digest covers what is asked: the same id is always the same question here.
        let digest = (id >> 64) as u64 ^ id as u64;
        Request { caller: Caller::Session(self.token), retry: Some(RetryKey { id: RequestId(id), digest }), action }
    }
}

#[must_use]
pub fn seat(number: u32) -> SeatName {
    SeatName { branch: slug("house"), seat: slug(&format!("s{number}")) }
}

/// Founds the cluster, furnishes the library and registers everybody, before any fault.
///
/// # Errors
/// Says what did not come about.
pub async fn open(world: &Arc<World>, people: u32) -> Result<Vec<Person>, String> {
    match Rt::timeout(OPENING_LIMIT, furnish(world, people)).await {
        Ok(people) => Ok(people),
        Err(_) => Err("the library did not open in time, though nothing was wrong yet".to_owned()),
    }
}

async fn furnish(world: &Arc<World>, people: u32) -> Vec<Person> {
    loop {
        Rt::sleep(AGAIN_EVERY).await;
        let Some(slot) = world.leader() else { continue };
        let furnished = world.ask(slot, Duration::from_secs(3), move |node| async move {
            let replica = node.replica();
            replica.serving().ok()?;
            let view = replica.read(Freshness::Linearizable).await.ok()?;
            let missing = missing(&view, people);
            if missing.is_empty() {
                return Some(view);
            }
            for request in missing {
                match request.caller {
                    Caller::System => replica.propose_system(request.action).await,
                    Caller::Anonymous | Caller::Session(_) => replica.write(request).await,
                }
                .ok()?;
            }
            None
        });
        if let Some(Some(view)) = furnished.await {
            return (0..people).map(|number| person(&view, number)).collect();
        }
    }
}

/// What there is not yet, as far as it can be asked for already.
fn missing(state: &State, people: u32) -> Vec<Request> {
    if state.catalog().branches().next().is_none() {
        let import = Action::ImportCatalog { draft: Box::new(draft()), expected_revision: None };
        return vec![Request::system(import)];
    }
    let today = Date(i32::try_from(state.at().time.0.div_euclid(DAY_US)).expect("a date of our time"));
    let mut missing = Vec::new();
    for (id, branch) in state.catalog().branches() {
        let days: Vec<Day> = state.missing_days(id, today).into_iter().map(day).collect();
        if !days.is_empty() {
            let hours_revision = branch.hours_revision;
            missing.push(Request::system(Action::FillCalendar { branch: id, hours_revision, days }));
        }
    }
    for number in 0..people {
        let action = match state.find_user(&name(number)) {
            None => Action::Register { name: name(number), password: password() },
            Some(user) if state.session_user(token(number)).is_err() => {
                Action::StartSession { user, password: password(), token: token(number) }
            }
            Some(_) => continue,
        };
        missing.push(Request { caller: Caller::Anonymous, retry: None, action });
    }
    missing
}

fn person(state: &State, number: u32) -> Person {
    let user = state.find_user(&name(number)).expect("everybody is registered");
    Person { number, name: name(number), user, token: token(number) }
}

fn draft() -> Draft {
    let policy = Policy {
        grid_minutes: 30,
        min_minutes: 30,
        max_minutes: 240,
        window_days: 2,
        grace_minutes: 15,
        // Whoever has booked for today may check in at any time, so that calls alone decide.
        lead_minutes: 1440,
        hold_minutes: 1,
        offer_minutes: 1,
        max_reservations: 1000,
        max_minutes_per_day: 1440,
        ..Policy::default()
    };
    let area = |id: &str, numbers: std::ops::Range<u32>| AreaDraft {
        id: slug(id),
        title: title(id),
        policy: None,
        hours: None,
        seats: numbers.map(seat_draft).collect(),
    };
    let day = || vec![Span { open_minute: 0, close_minute: 1440 }];
    let week = [day(), day(), day(), day(), day(), day(), day()];
    let house = BranchDraft {
        id: slug("house"),
        title: title("House"),
        time_zone: title("UTC"),
        policy: slug("day"),
        hours: Hours { week, periods: Vec::new(), exceptions: Vec::new() },
        meals: Vec::new(),
        areas: vec![area("room", 0..JUDGED_SEATS), area(LOUNGE, JUDGED_SEATS..JUDGED_SEATS + OTHER_SEATS)],
    };
    Draft { policies: vec![PolicyDraft { id: slug("day"), rules: policy }], branches: vec![house] }
}

fn seat_draft(number: u32) -> SeatDraft {
    SeatDraft {
        id: slug(&format!("s{number}")),
        label: title(&format!("S{number}")),
        amenities: Vec::new(),
        accessible: false,
        x_cm: 100,
        y_cm: 100,
    }
}

fn day(date: Date) -> Day {
    let midnight = Timestamp(i64::from(date.0) * DAY_US);
    let span = Interval::new(midnight, midnight.plus_us(DAY_US)).expect("a day is not empty");
    Day { date, span, grid_origin: midnight, open: vec![span], area_open: [].into(), meals: Vec::new() }
}

/// A slot of half an hour, so many after the beginning of the run and two hours: no deadline falls into the run.
#[must_use]
pub fn slot_of_time(number: u64, slots: u64) -> Interval {
    let first = crate::machine::BEGINNING_US + 120 * MINUTE_US;
    let start = Timestamp(first + i64::try_from(number).expect("a few slots") * 30 * MINUTE_US);
    let minutes = 30 * u32::try_from(slots).expect("a few slots");
    Interval::of_minutes(start, start.plus_minutes(minutes)).expect("whole minutes of our time")
}

fn name(number: u32) -> UserName {
    UserName::new(&format!("p{number}")).expect("a name")
}

fn token(number: u32) -> TokenDigest {
    let mut digest = [7; 16];
    digest[..4].copy_from_slice(&number.to_le_bytes());
    TokenDigest(digest)
}

fn password() -> PasswordHash {
    PasswordHash("$argon2id$".into())
}

pub fn slug(text: &str) -> Slug {
    Slug::new(text).expect("written here")
}

fn title(text: &str) -> Title {
    Title::new(text).expect("written here")
}
