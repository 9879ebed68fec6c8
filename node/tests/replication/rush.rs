//! The opening: everybody wants a seat at the same second, through any node, and the leader dies in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::calendar::Day;
use carrel_domain::catalog::{AreaDraft, BranchDraft, Draft, Hours, Policy, PolicyDraft, SeatDraft, Span};
use carrel_domain::claim::Origin;
use carrel_domain::id::{BranchId, RequestId, SeatId, TokenDigest, UserId, WaitId};
use carrel_domain::invariants;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, Reply};
use carrel_domain::request::{Action, Caller, Need, Place, Request, RetryKey, SeatName, Wish};
use carrel_domain::text::{Slug, Title, UserName};
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};
use carrel_domain::waitlist::WaitState;
use carrel_node::raft::platform::Platform;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::types::Types;
use carrel_node::replica::{Freshness, Replica};
use futures_util::future::{join, join_all};
use openraft::Instant;
use openraft::type_config::TypeConfigExt;

use crate::cluster::Cluster;
use crate::machines::Machines;
use crate::wires::Wire;

/// In a debug build a tenth, of which there are many; measured at full size in a release build.
const PEOPLE: u64 = if cfg!(debug_assertions) { 500 } else { 5_000 };
const SEATS: u64 = PEOPLE / 10;
/// Nobody at the door waits longer for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// A debug build on a busy machine computes for longer than anybody would wait.
const SLOW_LIMIT: Duration = Duration::from_secs(30);
/// Whoever is told that there is no room, or nothing at all, asks again: with the same request, elsewhere.
const ASK_AGAIN: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(1_500);

fn slug(text: &str) -> Slug {
    Slug::new(text).expect("an id")
}

fn title(text: &str) -> Title {
    Title::new(text).expect("a title")
}

fn seat(number: u64) -> Slug {
    slug(&format!("s-{number}"))
}

fn token(person: u64) -> TokenDigest {
    TokenDigest((u128::from(person) + 1).to_be_bytes())
}

fn rules() -> Policy {
    Policy {
        grid_minutes: 60,
        min_minutes: 60,
        max_minutes: 240,
        window_days: 14,
        grace_minutes: 15,
        lead_minutes: 15,
        offer_minutes: 10,
        max_reservations: 3,
        max_minutes_per_day: 480,
        strikes_to_suspend: 3,
        strike_days: 30,
        suspension_days: 7,
        ..Policy::default()
    }
}

fn draft() -> Draft {
    let seats = (0..SEATS).map(|number| SeatDraft {
        id: seat(number),
        label: title(&format!("S{number}")),
        amenities: Vec::new(),
        accessible: false,
        x_cm: 0,
        y_cm: 0,
    });
    let day = || vec![Span { open_minute: 0, close_minute: 1440 }];
    let hours =
        Hours { week: [day(), day(), day(), day(), day(), day(), day()], periods: Vec::new(), exceptions: Vec::new() };
    let hall = AreaDraft { id: slug("hall"), title: title("Hall"), policy: None, hours: None, seats: seats.collect() };
    Draft {
        policies: vec![PolicyDraft { id: slug("day"), rules: rules() }],
        branches: vec![BranchDraft {
            id: slug("main"),
            title: title("Main"),
            time_zone: title("Etc/UTC"),
            policy: slug("day"),
            hours,
            meals: Vec::new(),
            areas: vec![hall],
        }],
    }
}

/// Somebody at the door, who asks until there is an answer: which one, and how long it took.
struct Person<P: Platform> {
    number: u64,
    doors: Vec<Replica<P, Wire<P>>>,
}

impl<P: Platform> Person<P> {
    async fn ask(&self, caller: Caller, request: u64, action: Action) -> (Answer, Duration) {
        let id = RequestId(u128::from(self.number) << 8 | u128::from(request) | 1 << 100);
        let request = Request { caller, retry: Some(RetryKey { id, digest: request }), action };
        let begun = Types::<P::Runtime>::now();
        let mut door = self.number as usize;
        loop {
            let asked = self.doors[door % self.doors.len()].write_within(request.clone(), PATIENCE).await;
            if let Ok(answer) = asked {
                return (answer, begun.elapsed());
            }
            door += 1;
            Types::<P::Runtime>::sleep(ASK_AGAIN).await;
        }
    }

    async fn arrive(&self) {
        let name = UserName::new(&format!("reader-{}", self.number)).expect("a name");
        let password = PasswordHash("$argon2id$".into());
        let (answer, _) = self.ask(Caller::Anonymous, 0, Action::Register { name, password: password.clone() }).await;
        let Ok(Reply::User(user)) = answer.result else { panic!("{answer:?}") };
        let action = Action::StartSession { user: user.id, password, token: token(self.number) };
        let (answer, _) = self.ask(Caller::Anonymous, 1, action).await;
        assert!(answer.result.is_ok(), "{answer:?}");
    }

    /// A seat, or a place in line for it; and the longest that an answer took.
    async fn rush(&self, interval: Interval, answered: &AtomicUsize) -> (Outcome, Duration) {
        let own = Caller::Session(token(self.number));
        let branch = slug("main");
        let wanted = seat(self.number % SEATS);
        let wish = Wish::of_seat(SeatName { branch: branch.clone(), seat: wanted.clone() }, interval);
        let (answer, waited) = self.ask(own, 2, Action::Reserve { wish }).await;
        answered.fetch_add(1, Ordering::Relaxed);
        match answer.result {
            Ok(Reply::Claim(view)) => (Outcome::Seated { seat: view.claim.seat }, waited),
            Err(Refusal::SeatTaken) => {
                let need =
                    Need { place: Place::Seat { branch, seat: wanted }, amenities: Vec::new(), accessible: false };
                let join = Action::JoinWaitlist { need, interval, minutes: None };
                let (answer, queued) = self.ask(own, 3, join).await;
                let Ok(Reply::Wait(view)) = answer.result else { panic!("{answer:?}") };
                (Outcome::Queued { wait: view.wait.id, index: answer.at.index }, waited.max(queued))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug)]
enum Outcome {
    Seated {
        seat: SeatId,
    },
    /// Told by which entry.
    Queued {
        wait: WaitId,
        index: u64,
    },
}

pub async fn everybody_at_the_door_at_once<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let leader = cluster.leader().await;
    let system = async |action| {
        let answer = cluster.replica(leader).propose_system(action).await.expect("it leads");
        answer.result.expect("the cluster may");
    };
    system(Action::ImportCatalog { draft: Box::new(draft()), expected_revision: None }).await;
    let view = cluster.replica(leader).view();
    let today = Date(i32::try_from(view.at().time.0 / DAY_US).expect("in this century"));
    let days = view.missing_days(BranchId(0), today).into_iter().map(|date| {
        let midnight = Timestamp(i64::from(date.0) * DAY_US);
        let span = Interval::new(midnight, midnight.plus_us(DAY_US)).expect("a day");
        Day { date, span, grid_origin: midnight, open: vec![span], area_open: BTreeMap::new(), meals: Vec::new() }
    });
    let hours_revision = view.catalog().branch(BranchId(0)).hours_revision;
    system(Action::FillCalendar { branch: BranchId(0), hours_revision, days: days.collect() }).await;

    let doors: Vec<_> = (0..3).map(|slot| cluster.replica(slot)).collect();
    let people: Vec<_> = (0..PEOPLE).map(|number| Person { number, doors: doors.clone() }).collect();
    join_all(people.iter().map(Person::arrive)).await;

    let start = Timestamp((i64::from(today.0) + 1) * DAY_US + 10 * 60 * MINUTE_US);
    let interval = Interval::new(start, start.plus_us(60 * MINUTE_US)).expect("an hour");
    let answered = AtomicUsize::new(0);
    let dying = async {
        while answered.load(Ordering::Relaxed) < PEOPLE as usize / 4 {
            cluster.pause(Duration::from_millis(1)).await;
        }
        let dead = cluster.leader().await;
        cluster.kill(dead).await;
        dead
    };
    let begun = Types::<<M::Platform as Platform>::Runtime>::now();
    let (outcomes, dead) = join(join_all(people.iter().map(|person| person.rush(interval, &answered))), dying).await;
    let (took, longest) = (begun.elapsed(), outcomes.iter().map(|(_, waited)| *waited).max().unwrap_or_default());
    println!("{PEOPLE} people, {SEATS} seats: all answered in {took:?}, each within {longest:?}");
    let limit = if M::IS_VIRTUAL || !cfg!(debug_assertions) { ANSWER_LIMIT } else { SLOW_LIMIT };
    assert!(longest < limit, "somebody waited for {longest:?}");

    // No seat twice, and each to somebody.
    let view = cluster.replica((dead + 1) % 3).read(Freshness::Linearizable).await.expect("a majority");
    assert_eq!(invariants::check(&view), vec![]);
    let seated = outcomes.iter().filter_map(|(outcome, _)| match outcome {
        Outcome::Seated { seat } => Some(*seat),
        Outcome::Queued { .. } => None,
    });
    let seated: Vec<SeatId> = seated.collect();
    assert_eq!((seated.len() as u64, seated.iter().collect::<BTreeSet<_>>().len() as u64), (SEATS, SEATS));

    // Everybody else stands in line, in the order in which they joined: whoever was answered by an earlier entry is
    // before whoever was answered by a later one.
    let mut queued: Vec<(u64, WaitId)> = Vec::new();
    for (outcome, _) in &outcomes {
        if let Outcome::Queued { wait, index } = outcome {
            queued.push((*index, *wait));
        }
    }
    queued.sort_unstable();
    assert_eq!(queued.len() as u64, PEOPLE - SEATS);
    assert!(queued.is_sorted_by_key(|(_, wait)| *wait), "the line is not in the order of the log");
    for (person, (outcome, _)) in outcomes.iter().enumerate() {
        if let Outcome::Queued { wait, .. } = outcome {
            let place = view.place_in_line(*wait).expect("they wait");
            let seat = person as u64 % SEATS;
            let before = outcomes.iter().enumerate().filter(|(other, (outcome, _))| {
                *other as u64 % SEATS == seat
                    && matches!(outcome, Outcome::Queued { wait: earlier, .. } if earlier < wait)
            });
            assert_eq!(*place.start() as usize, before.count() + 1);
        }
    }

    // Each seat that is given back goes to the first in its line.
    let (winner, _) = outcomes
        .iter()
        .enumerate()
        .find(|(_, (outcome, _))| matches!(outcome, Outcome::Seated { .. }))
        .expect("somebody sits");
    let living = Person { number: winner as u64, doors: vec![cluster.replica((dead + 1) % 3)] };
    let holder = view.session_user(token(winner as u64)).expect("logged in");
    let claim = view.reservations(holder, |_| true, None, 1).items.remove(0).claim.id;
    let own = Caller::Session(token(winner as u64));
    let (answer, _) = living.ask(own, 4, Action::Cancel { claim, reason: None }).await;
    assert!(answer.result.is_ok(), "{answer:?}");
    let view = cluster.replica((dead + 1) % 3).read(Freshness::Linearizable).await.expect("a majority");
    let in_line = outcomes.iter().enumerate().filter(|(person, _)| *person as u64 % SEATS == winner as u64 % SEATS);
    let line = in_line.filter_map(|(person, (outcome, _))| match outcome {
        Outcome::Queued { wait, .. } => Some((*wait, person as u64)),
        Outcome::Seated { .. } => None,
    });
    let (wait, first) = line.min().expect("somebody waits");
    let user: UserId = view.session_user(token(first)).expect("logged in");
    let waits = view.waits(user, None, 10).items;
    let own_wait = waits.iter().find(|view| view.wait.id == wait).expect("their place in line");
    assert!(matches!(own_wait.wait.state, WaitState::Offered { .. }), "{own_wait:?}");
    let offers = view.reservations(user, |claim| claim.origin == Origin::Offer, None, 10).items;
    assert_eq!(offers.len(), 1, "one offer, to the first in line");
    assert_eq!(invariants::check(&view), vec![]);
}
