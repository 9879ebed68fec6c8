//! What things cost as a library grows: from a thousand to a million live claims, and from a hundred seats to thirty
//! thousand, the most that a catalogue may have. Of each size: a booking and a search by the microsecond, the bytes of
//! a claim, table by table, and how long a snapshot takes to write and to read.
//!
//! A booking is measured as the node has it: with a view taken every 64 entries, of which readers hold the newest two,
//! and with its cancellation after it, so that the number of live claims stays as it is. A search is for a page of 49
//! seats with an amenity that are free for an hour, in a branch of 300. Figures are of the tenth fastest of a hundred
//! batches: other work on the machine only ever slows them down.
//!
//! `cargo bench -p carrel-domain --bench curve` prints two tables. Memory is what a process of its own grows by while
//! it reads the snapshot, and shrinks by as it lets go of each table.

#![allow(clippy::disallowed_methods, reason = "a stopwatch is what this is about")]

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use carrel_domain::account::PasswordHash;
use carrel_domain::calendar::Day;
use carrel_domain::catalog::{Draft, SeatDraft};
use carrel_domain::format::{SnapshotReader, snapshot};
use carrel_domain::id::{ClaimId, RequestId, UserId};
use carrel_domain::query::SeatSearch;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Caller, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};

use campus::{Campus, scattered, slug, title, token};

mod campus;

/// As the node has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Live claims and seats of each library that is measured.
const SIZES: [(u64, u64); 6] =
    [(1_000, 30_000), (10_000, 30_000), (100_000, 30_000), (1_000_000, 30_000), (10_000, 100), (10_000, 3_000)];
/// Claims of one person, in the long run.
const CLAIMS_PER_PERSON: u64 = 7;
const AREAS: u64 = 3;
const SEATS_PER_BRANCH: u64 = 300;
const SLOTS_PER_DAY: u64 = 24;
/// From tomorrow on, so that nothing falls due meanwhile.
const DAYS: u64 = 12;
const SLOTS: u64 = SLOTS_PER_DAY * DAYS;
const TODAY: i32 = 20_521;
const BATCHES: usize = 100;
const BATCH: u32 = 128;
const VIEW_EVERY: u64 = 64;
const PAGE: usize = 49;

/// Names the file that a process is to read, whose memory is measured.
const SNAPSHOT_FILE: &str = "CARREL_CURVE_SNAPSHOT";
/// With it the allocator returns at once what is freed.
const ALLOCATOR_SETTINGS: (&str, &str) = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");

fn main() {
    if let Ok(file) = std::env::var(SNAPSHOT_FILE) {
        return weigh(&file);
    }
    println!("| claims | seats | booking | search | snapshot | written in | read in | memory a claim |");
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut tables = String::new();
    for (claims, seats) in SIZES {
        let mut library = Library::open(claims, seats);
        let (booking_us, search_us) = (library.booking_us(), library.search_us());
        let begun = Instant::now();
        let bytes: Vec<u8> = snapshot(library.state).flatten().collect();
        let written = begun.elapsed();
        let file = std::env::temp_dir().join(format!("carrel-curve-{}", std::process::id()));
        std::fs::write(&file, &bytes).expect("room for a snapshot");
        let weighed = Command::new(std::env::current_exe().expect("it runs"))
            .env(SNAPSHOT_FILE, &file)
            .env(ALLOCATOR_SETTINGS.0, ALLOCATOR_SETTINGS.1)
            .output()
            .expect("it runs again");
        std::fs::remove_file(&file).expect("it was just written");
        let weighed = String::from_utf8(weighed.stdout).expect("text");
        let (first, rest) = weighed.split_once('\n').expect("a line for all of it");
        let (read_ms, total) = first.split_once(' ').expect("two figures");
        let per_claim = total.parse::<u64>().expect("bytes") / claims;
        println!(
            "| {claims} | {seats} | {booking_us:.1} µs | {search_us:.1} µs | {:.1} MiB | {:.0} ms | {read_ms} ms | \
             {per_claim} B |",
            bytes.len() as f64 / f64::from(1 << 20),
            written.as_secs_f64() * 1e3,
        );
        if claims >= 100_000 {
            tables += &format!("\nOf {claims} claims, by table, in bytes a claim:\n\n| table | bytes |\n|---|--:|\n");
            for (table, bytes) in rest.lines().filter_map(|line| line.rsplit_once(' ')) {
                let bytes = bytes.parse::<f64>().expect("bytes") / claims as f64;
                if bytes >= 0.5 {
                    tables += &format!("| {table} | {bytes:.1} |\n");
                }
            }
        }
    }
    print!("{tables}");
}

/// Prints milliseconds of reading and bytes of all, then the bytes of each table.
fn weigh(file: &str) {
    let bytes = std::fs::read(file).expect("it was just written");
    let before = resident();
    let begun = Instant::now();
    let mut reader = SnapshotReader::default();
    for chunk in bytes.chunks(1 << 20) {
        reader.read(chunk).expect("what was just written");
    }
    let state = reader.finish().expect("what was just written");
    let read = begun.elapsed();
    let mut left = resident();
    println!("{:.0} {}", read.as_secs_f64() * 1e3, left.saturating_sub(before));
    state.take_apart(|table| {
        let now = resident();
        println!("{table} {}", left.saturating_sub(now));
        left = now;
    });
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("it is there on Linux");
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

struct Library {
    state: State,
    index: u64,
    seats: u64,
    users: u64,
    /// The next booking: counts through hours, then seats.
    next: u64,
    /// Live bookings and whose they are, oldest first.
    live: VecDeque<(ClaimId, u64)>,
    /// That readers hold.
    views: VecDeque<State>,
}

impl Library {
    fn open(claims: u64, seats: u64) -> Self {
        // Without a common factor with the hours, so that the same person comes again at another one.
        let coprime = |users: &u64| [2, 3, 7919].iter().all(|factor| !users.is_multiple_of(*factor));
        let users = (claims / CLAIMS_PER_PERSON + 100..).find(coprime).expect("there are endless");
        let (state, live, views) = (State::default(), VecDeque::new(), VecDeque::new());
        let mut library = Self { state, index: 0, seats, users, next: 0, live, views };
        library.system(Action::ImportCatalog { draft: Box::new(draft(seats)), expected_revision: None });
        library.fill_calendar();
        let password = PasswordHash(Arc::from("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"));
        for user in 0..library.users {
            let name = UserName::new(&format!("reader-{user}")).expect("a name");
            let anonymous = |action| Request { caller: Caller::Anonymous, retry: None, action };
            library.apply(anonymous(Action::Register { name, password: password.clone() }));
            let password = password.clone();
            library.apply(anonymous(Action::StartSession { user: UserId(user), password, token: token(user) }));
        }
        (0..claims).for_each(|_| library.book());
        library
    }

    fn fill_calendar(&mut self) {
        let branches: Vec<_> =
            self.state.catalog().branches().map(|(id, branch)| (id, branch.hours_revision)).collect();
        for (branch, hours_revision) in branches {
            let days = self.state.missing_days(branch, Date(TODAY)).into_iter().map(|date| {
                let midnight = Timestamp(i64::from(date.0) * DAY_US);
                let span = Interval::new(midnight, midnight.plus_us(DAY_US)).expect("a day");
                let area_open = BTreeMap::default();
                Day { date, span, grid_origin: midnight, open: vec![span], area_open, meals: Vec::new() }
            });
            let days = days.collect();
            self.system(Action::FillCalendar { branch, hours_revision, days });
        }
    }

    fn system(&mut self, action: Action) {
        self.apply(Request::system(action));
    }

    fn apply(&mut self, request: Request) -> Reply {
        self.index += 1;
        let time = Timestamp(i64::from(TODAY) * DAY_US).plus_us(self.index.cast_signed() * 50);
        let applied = self.state.apply(At { index: self.index, time }, &request);
        black_box(applied.events);
        applied.reply.result.unwrap_or_else(|refusal| panic!("{refusal:?} for {:?}", request.action.name()))
    }

    fn by(&self, user: u64, action: Action) -> Request {
        let retry = Some(RetryKey { id: RequestId(scattered(self.index)), digest: scattered(!self.index) as u64 });
        Request { caller: Caller::Session(token(user)), retry, action }
    }

    fn book(&mut self) {
        // One hour after the other, each on a seat somewhere else.
        let (round, slot) = (self.next / SLOTS, self.next % SLOTS);
        let seat = (round + slot * 104_729) % self.seats;
        let user = self.next.wrapping_mul(7919) % self.users;
        self.next += 1;
        let request = self.by(user, Action::Reserve { wish: Wish::of_seat(seat_name(seat, self.seats), hour(slot)) });
        let Reply::Claim(view) = self.apply(request) else { panic!("a booking is answered with a claim") };
        self.live.push_back((view.claim.id, user));
    }

    fn cancel_oldest(&mut self) {
        let (claim, user) = self.live.pop_front().expect("there are live bookings");
        let request = self.by(user, Action::Cancel { claim, reason: None });
        self.apply(request);
    }

    fn booking_us(&mut self) -> f64 {
        fastest_us(BATCHES, || {
            let mut spent_us = 0.0;
            for _ in 0..BATCH {
                let begun = Instant::now();
                self.book();
                if self.next.is_multiple_of(VIEW_EVERY) {
                    self.views.push_back(self.state.clone());
                    if self.views.len() > 2 {
                        self.views.pop_front();
                    }
                }
                spent_us += begun.elapsed().as_secs_f64() * 1e6;
                self.cancel_oldest();
            }
            spent_us / f64::from(BATCH)
        })
    }

    fn search_us(&self) -> f64 {
        let mut asked = 0;
        let branches = self.seats.div_ceil(SEATS_PER_BRANCH);
        fastest_us(BATCHES, || {
            let begun = Instant::now();
            for _ in 0..BATCH {
                asked += 7;
                let search = SeatSearch {
                    branch: slug(format!("branch-{}", asked % branches)),
                    area: None,
                    amenities: vec![title("power")],
                    accessible: false,
                    interval: Some(hour(asked % SLOTS)),
                    available_only: true,
                    after: None,
                    limit: PAGE,
                };
                black_box(self.state.search_seats(&search).expect("there is such a branch"));
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
        })
    }
}

fn fastest_us(batches: usize, batch: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = std::iter::repeat_with(batch).take(batches).collect();
    all.sort_unstable_by(f64::total_cmp);
    all[batches / 10]
}

/// So many hours after the midnight that comes.
fn hour(slot: u64) -> Interval {
    let start = Timestamp(i64::from(TODAY + 1) * DAY_US).plus_us(slot.cast_signed() * 60 * MINUTE_US);
    Interval::new(start, start.plus_us(60 * MINUTE_US)).expect("an hour")
}

/// Seats of one number after the other are in different branches.
fn seat_name(seat: u64, seats: u64) -> SeatName {
    let branches = seats.div_ceil(SEATS_PER_BRANCH);
    let (branch, seat) = (seat % branches, seat / branches);
    SeatName { branch: slug(format!("branch-{branch}")), seat: slug(format!("s-{seat}")) }
}

fn draft(seats: u64) -> Draft {
    let branches = seats.div_ceil(SEATS_PER_BRANCH);
    let per_branch = seats / branches;
    let seat = |seat: u64| SeatDraft {
        id: slug(format!("s-{seat}")),
        label: title("Seat"),
        amenities: if seat.is_multiple_of(3) { Vec::new() } else { vec![title("power"), title("window")] },
        accessible: seat.is_multiple_of(10),
        x_cm: 0,
        y_cm: 0,
    };
    let campus = Campus { branches: branches as usize, areas: AREAS as usize, max_reservations: 100 };
    campus.draft(|area| (0..per_branch).filter(|number| number % AREAS == area as u64).map(seat).collect())
}
