//! What one booking costs in the pure core, with a thousand and with a million live claims.
//!
//! One booking is one `apply` of a `Reserve` with a request id, by somebody who has none that day, on a free seat, as
//! the log would bring it; after it, in the same measured span, its share of what keeps the state level: the
//! cancellation of an older booking, so that the number of live claims stays as it is. The library is the same in all
//! states: 30,000 seats in 8 branches, 200,000 people, the calendar filled; only the bookings differ.
//!
//! `cargo bench -p carrel-domain` prints a summary line after criterion's own figures.

#![allow(clippy::disallowed_methods, reason = "a stopwatch is what this is about")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carrel_domain::account::PasswordHash;
use carrel_domain::calendar::Day;
use carrel_domain::catalog::{Draft, SeatDraft};
use carrel_domain::id::{ClaimId, RequestId, UserId};
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Caller, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::{DAY_US, Interval, MINUTE_US, Timestamp};
use criterion::Criterion;

use campus::{Campus, scattered, slug, title, token};

mod campus;

const BRANCHES: usize = 8;
const AREAS: usize = 25;
const SEATS: usize = 150;
const USERS: u64 = 200_000;
/// Bookings ever made before anything is measured.
const HISTORY: usize = 1_000_000;
/// Bookings behind each figure of the summary.
const BATCHES: usize = 200;
const BATCH: u32 = 512;
/// Entries between two views.
const VIEW_EVERY: u64 = 64;
const VIEWED: &str = ", a view every 64 entries";
/// Whole hours of a day that never closes.
const SLOTS_PER_DAY: i64 = 24;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut figures = Vec::new();
    for live in [1_000, 1_000_000] {
        let begun = Instant::now();
        let mut library = Library::with_people();
        library.book(live);
        // The same history behind both: as many bookings made, as many request records kept.
        for _ in live..HISTORY {
            library.book_and_cancel(None);
        }
        let built = begun.elapsed();
        for view_every in [None, Some(VIEW_EVERY)] {
            let with = if view_every.is_some() { VIEWED } else { "" };
            figures.push((live, with, library.measure(view_every), built));
            criterion.bench_function(&format!("booking and cancellation, {live} live claims{with}"), |bencher| {
                bencher.iter(|| library.book_and_cancel(view_every));
            });
        }
    }
    for (live, with, [booking, cancellation], built) in &figures {
        println!(
            "{live:>9} live claims{with}: booking {booking:.2} µs, cancellation {cancellation:.2} µs \
             (state built in {built:.1?})"
        );
    }
    for with in ["", VIEWED] {
        let booking = |live| figures.iter().find(|(of, view, ..)| *of == live && *view == with).map(|(.., f, _)| f[0]);
        if let (Some(small), Some(large)) = (booking(1_000), booking(1_000_000)) {
            println!("a booking among a million live claims{with}: {:.2} times one among a thousand", large / small);
        }
    }
}

struct Library {
    state: State,
    index: u64,
    start: Timestamp,
    seats: Arc<Vec<SeatName>>,
    /// The next booking: counts through seats, then slots.
    next: u64,
    /// Live bookings and whose they are, oldest first.
    live: VecDeque<(ClaimId, u64)>,
    /// Views that readers hold; the newest few.
    views: VecDeque<State>,
}

impl Library {
    fn with_people() -> Self {
        let start = Timestamp(20_521 * DAY_US);
        let mut library = Self {
            state: State::default(),
            index: 0,
            start,
            seats: Arc::default(),
            next: 0,
            live: VecDeque::new(),
            views: VecDeque::new(),
        };
        let draft = Box::new(draft());
        let mut seats = Vec::new();
        for seat in 0..SEATS {
            for area in 0..AREAS {
                for branch in &draft.branches {
                    let seat = branch.areas[area].seats[seat].id.clone();
                    seats.push(SeatName { branch: branch.id.clone(), seat });
                }
            }
        }
        library.seats = Arc::new(seats);
        library.apply(Request::system(Action::ImportCatalog { draft, expected_revision: None }));
        library.fill_calendar();
        let password = PasswordHash(Arc::from("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"));
        for user in 0..USERS {
            let name = UserName::new(&format!("reader-{user}")).expect("a name");
            let anonymous = |action| Request { caller: Caller::Anonymous, retry: None, action };
            library.apply(anonymous(Action::Register { name, password: password.clone() }));
            let password = password.clone();
            library.apply(anonymous(Action::StartSession { user: UserId(user), password, token: token(user) }));
        }
        library
    }

    fn fill_calendar(&mut self) {
        let branches: Vec<_> =
            self.state.catalog().branches().map(|(id, branch)| (id, branch.hours_revision)).collect();
        for (branch, hours_revision) in branches {
            let today = carrel_domain::time::Date(20_521);
            let days = self.state.missing_days(branch, today).into_iter().map(|date| {
                let midnight = Timestamp(i64::from(date.0) * DAY_US);
                let span = Interval::new(midnight, midnight.plus_us(DAY_US)).expect("a day");
                Day {
                    date,
                    span,
                    grid_origin: midnight,
                    open: vec![span],
                    area_open: Default::default(),
                    meals: Vec::new(),
                }
            });
            let days = days.collect();
            self.apply(Request::system(Action::FillCalendar { branch, hours_revision, days }));
        }
    }

    /// A thousand entries a second of log time, so that old request records are cleared as new ones come.
    fn apply(&mut self, request: Request) -> Reply {
        self.index += 1;
        let time = self.start.plus_us(self.index as i64 * 1000);
        let applied = self.state.apply(At { index: self.index, time }, &request);
        black_box(applied.events);
        applied.reply.result.unwrap_or_else(|refusal| panic!("{refusal:?} for {request:?}"))
    }

    fn by(&self, user: u64, action: Action) -> Request {
        let retry = Some(RetryKey { id: RequestId(scattered(self.index)), digest: self.index });
        Request { caller: Caller::Session(token(user)), retry, action }
    }

    /// Every seat in turn for the first hour that is still to come, then the next hour; everybody in turn.
    fn booking(&mut self) -> (u64, Request) {
        let seats = self.seats.len() as u64;
        let hour = (self.next / seats) as i64 % (14 * SLOTS_PER_DAY - 2);
        let seat = self.seats[(self.next % seats) as usize].clone();
        let user = self.next.wrapping_mul(7919) % USERS;
        self.next += 1;
        let start = self.start.plus_us((hour + 2) * 60 * MINUTE_US);
        let interval = Interval::new(start, start.plus_us(60 * MINUTE_US)).expect("an hour");
        (user, self.by(user, Action::Reserve { wish: Wish::of_seat(seat, interval) }))
    }

    fn book(&mut self, live: usize) {
        for _ in 0..live {
            let (user, request) = self.booking();
            self.reserve(user, request);
        }
    }

    fn reserve(&mut self, user: u64, request: Request) {
        let Reply::Claim(view) = self.apply(request) else { panic!("a booking is answered with a claim") };
        self.live.push_back((view.claim.id, user));
    }

    fn cancel_oldest(&mut self) {
        let (claim, user) = self.live.pop_front().expect("there are live bookings");
        let request = self.by(user, Action::Cancel { claim, reason: None });
        self.apply(request);
    }

    fn book_and_cancel(&mut self, view_every: Option<u64>) {
        let (user, request) = self.booking();
        self.reserve(user, request);
        self.cancel_oldest();
        self.look(view_every);
    }

    /// As the node does after every batch: readers get the new view, and drop the old one when they are done.
    fn look(&mut self, every: Option<u64>) {
        if every.is_some_and(|entries| self.next.is_multiple_of(entries)) {
            self.views.push_back(self.state.clone());
            if self.views.len() > 2 {
                self.views.pop_front();
            }
        }
    }

    /// Microseconds of one booking, and of one cancellation: of many batches the one that a tenth are faster than,
    /// since other work on the machine only ever slows them down. What a view costs is counted where it is taken, with
    /// the bookings.
    fn measure(&mut self, view_every: Option<u64>) -> [f64; 2] {
        let mut batches = [Vec::new(), Vec::new()];
        for _ in 0..BATCHES {
            let mut spent = [Duration::ZERO; 2];
            for _ in 0..BATCH {
                let (user, request) = self.booking();
                let begun = Instant::now();
                self.reserve(user, request);
                self.look(view_every);
                spent[0] += begun.elapsed();
                let begun = Instant::now();
                self.cancel_oldest();
                spent[1] += begun.elapsed();
            }
            for (batches, spent) in batches.iter_mut().zip(spent) {
                batches.push(spent.as_secs_f64() * 1e6 / f64::from(BATCH));
            }
        }
        batches.map(|mut batches| {
            batches.sort_unstable_by(f64::total_cmp);
            batches[batches.len() / 10]
        })
    }
}

fn draft() -> Draft {
    let seat = |area: usize, seat: usize| SeatDraft {
        id: slug(format!("s-{area}-{seat}")),
        label: title("Seat"),
        amenities: vec![title("power")],
        accessible: false,
        x_cm: seat as i32 * 80,
        y_cm: area as i32 * 500,
    };
    let campus = Campus { branches: BRANCHES, areas: AREAS, max_reservations: 20 };
    campus.draft(|area| (0..SEATS).map(|number| seat(area, number)).collect())
}
