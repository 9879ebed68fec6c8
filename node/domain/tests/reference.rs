//! The rules of claims once more, as naively as they can be written, beside the real ones: the same commands, drawn at
//! random, are answered alike, and leave the same behind. The model knows no index and shares no code; it looks
//! through every claim, every time.
//!
//! `CARREL_COMMANDS` asks for more than fit into everyday tests, `CARREL_SEED` for others.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::claim::StateName;
use carrel_domain::id::{ClaimId, TokenDigest, UserId};
use carrel_domain::invariants;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Caller, Request, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::{Interval, Timestamp};

use library::{BERLIN, slug};

mod library;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const GRID: i64 = 30 * MINUTE;
const GRACE: i64 = 15 * MINUTE;
const SEATS: [&str; 5] = ["a1", "a2", "a3", "n1", "n2"];
const PEOPLE: usize = 7;
const COMMANDS: usize = 20_000;
/// After so many another library opens, with another buffer between two stays.
const COMMANDS_PER_OPENING: usize = 5_000;
/// More strikes than usual, and a shorter suspension: or hardly anybody would have anything.
const STRIKES: usize = 6;
const SUSPENSION: i64 = DAY;
/// The zone of the tests knows the changes of one year: before its end another library opens.
const LAST_DAY: (i32, i32, i32) = (2026, 12, 20);

/// A small generator of its own, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn between(&mut self, from: i64, below: i64) -> i64 {
        from + self.roll((below - from).unsigned_abs()) as i64
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Reserve { seat: usize, start: i64, end: i64 },
    Hold { seat: usize, start: i64, end: i64 },
    Confirm { claim: u64 },
    WalkIn { seat: usize, end: i64 },
    CheckIn { claim: u64 },
    CheckOut { claim: u64 },
    StepAway { claim: u64 },
    Cancel { claim: u64 },
    Extend { claim: u64, end: i64 },
    Move { claim: u64, seat: usize, start: i64, end: i64 },
}

#[derive(Clone, Debug)]
struct Claim {
    id: u64,
    who: usize,
    seat: usize,
    start: i64,
    end: i64,
    state: StateName,
    /// Of HELD, CONFIRMED and AWAY.
    deadline: i64,
    since: i64,
    is_hold: bool,
}

impl Claim {
    fn blocks(&self) -> bool {
        use StateName::{Away, CheckedIn, Confirmed, Held};
        matches!(self.state, Held | Confirmed | CheckedIn | Away)
    }

    fn due(&self) -> i64 {
        if self.state == StateName::CheckedIn { self.end } else { self.deadline.min(self.end) }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Ahead,
    WalkIn,
    Extension,
}

/// What is wanted of the seat, and instead of which claim.
struct Wanted {
    who: usize,
    seat: usize,
    start: i64,
    end: i64,
    way: Way,
    instead_of: u64,
}

type Outcome = Result<u64, &'static str>;

struct Model {
    now: i64,
    buffer: i64,
    /// Live, or over since not long.
    claims: Vec<Claim>,
    next: u64,
    /// When, by whom.
    strikes: Vec<(i64, usize)>,
    /// Who sat where, from and until.
    used: Vec<(usize, i64, i64)>,
    /// When each seat was left.
    left: [i64; SEATS.len()],
}

impl Model {
    fn pass(&mut self, now: i64) {
        let before = self.now;
        self.now = now;
        if before > 0 && now - before > 3_000_000 {
            for claim in self.claims.iter_mut().filter(|claim| claim.blocks()) {
                if claim.state == StateName::CheckedIn {
                    continue;
                }
                let opened =
                    if claim.state == StateName::Confirmed { claim.start.max(claim.since) } else { claim.since };
                let due = claim.due();
                let lost = (due.min(now) - opened.max(before)).clamp(0, 15 * MINUTE);
                if due >= before && opened < due {
                    claim.deadline = if lost > 0 { (due + lost).min(claim.end) } else { claim.deadline };
                }
            }
        }
        loop {
            let next = self.claims.iter().filter(|claim| claim.blocks() && claim.due() <= now);
            let Some(id) = next.min_by_key(|claim| (claim.due(), claim.id)).map(|claim| claim.id) else { break };
            let claim = self.claim(id);
            let state = match claim.state {
                StateName::Held => StateName::Expired,
                StateName::Confirmed => StateName::NoShow,
                StateName::Away if claim.deadline < claim.end => StateName::Released,
                _ => StateName::Completed,
            };
            if matches!(state, StateName::NoShow | StateName::Released) {
                self.strikes.push((now, claim.who));
            }
            self.finish(id, state);
        }
    }

    /// Nothing looks back further. Not while a command is drawn and carried out, which may name any of these.
    fn forget(&mut self) {
        let now = self.now;
        self.claims.retain(|claim| claim.blocks() || claim.end > now - 2 * DAY);
        self.used.retain(|(.., end)| *end > now - 3 * DAY);
        self.strikes.retain(|(at, _)| *at > now - 40 * DAY);
    }

    fn claim(&self, id: u64) -> Claim {
        self.claims.iter().find(|claim| claim.id == id).expect("drawn from these").clone()
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Claim)) {
        change(self.claims.iter_mut().find(|claim| claim.id == id).expect("drawn from these"));
    }

    fn finish(&mut self, id: u64, state: StateName) {
        let (now, claim) = (self.now, self.claim(id));
        self.change(id, |claim| (claim.state, claim.since) = (state, now));
        let until = now.min(claim.end);
        if matches!(state, StateName::Completed | StateName::Released | StateName::NoShow) && claim.start < until {
            self.used.push((claim.who, claim.start, until));
        }
        if matches!(state, StateName::Completed | StateName::Released) {
            self.left[claim.seat] = until;
        }
    }

    fn suspended(&self, who: usize) -> bool {
        let own: Vec<i64> = self.strikes.iter().filter(|(_, of)| *of == who).map(|(at, _)| *at).collect();
        own.iter().enumerate().any(|(place, at)| {
            let counted = own[..=place].iter().filter(|other| **other > at - 30 * DAY).count();
            counted >= STRIKES && self.now < at + SUSPENSION
        })
    }

    /// The local date, and the time on the clock on the wall.
    fn wall(at: i64) -> (i32, i64) {
        let (date, us) = BERLIN.local(Timestamp(at));
        (date.0, us)
    }

    fn is_open(seat: usize, start: i64, end: i64) -> bool {
        // The night room never closes; the reading room is open from eight to eight.
        let ((first, from), (last, to)) = (Self::wall(start), Self::wall(end));
        seat >= 3 || (first == last && 8 * HOUR <= from && to <= 20 * HOUR)
    }

    fn fits(&self, wanted: &Wanted) -> Result<(), &'static str> {
        let Wanted { seat, start, end, .. } = *wanted;
        let longest = if seat >= 3 { 8 * HOUR } else { 4 * HOUR };
        if end - start > 7 * DAY {
            return Err("TooLong");
        }
        if !Self::is_open(seat, start, end) {
            return Err("Closed");
        }
        let midnight = BERLIN.midnight(BERLIN.local(Timestamp(start)).0).0;
        if (start - midnight) % GRID != 0 || (end - start) % GRID != 0 {
            return Err("OffGrid");
        }
        if end - start < GRID {
            return Err("TooShort");
        }
        if end - start > longest { Err("TooLong") } else { Ok(()) }
    }

    /// In the order of the checks.
    fn may(&self, wanted: &Wanted) -> Result<(), &'static str> {
        let Wanted { who, seat, start, end, way, instead_of } = *wanted;
        if self.suspended(who) {
            return Err("Suspended");
        }
        if way != Way::Extension {
            if start + GRID <= self.now {
                return Err("InThePast");
            }
            if Self::wall(start).0 > Self::wall(self.now).0 + 14 {
                return Err("TooFarAhead");
            }
        }
        self.fits(wanted)?;
        let live = || self.claims.iter().filter(move |claim| claim.blocks() && claim.id != instead_of);
        let own = || live().filter(move |claim| claim.who == who);
        if own().any(|claim| claim.start < end && start < claim.end) {
            return Err("OwnOverlap");
        }
        if own().count() >= 3 {
            return Err("TooManyReservations");
        }
        let most = if seat >= 3 { 480 * MINUTE } else { 360 * MINUTE };
        let (first, last) = (Self::wall(start).0, Self::wall(end - 1).0);
        for date in first..=last {
            let midnight = |date| BERLIN.midnight(carrel_domain::time::Date(date)).0;
            let (dawn, dusk) = (midnight(date), midnight(date + 1));
            let within = |from: i64, to: i64| (to.min(dusk) - from.max(dawn)).max(0);
            let booked: i64 = own().map(|claim| within(claim.start, claim.end)).sum();
            if within(start, end) > most - booked - self.used_within(who, dawn, dusk) {
                return Err("TooManyMinutes");
            }
        }
        let near = |claim: &Claim| claim.start < end + self.buffer && start - self.buffer < claim.end;
        let is_taken = live().any(|claim| claim.seat == seat && near(claim));
        let rests = way != Way::Extension && start.max(self.now) < self.left[seat] + self.buffer;
        if is_taken || rests { Err("SeatTaken") } else { Ok(()) }
    }

    /// A time that was used twice counts once.
    fn used_within(&self, who: usize, dawn: i64, dusk: i64) -> i64 {
        let mut own: Vec<(i64, i64)> =
            self.used.iter().filter(|used| used.0 == who).map(|used| (used.1, used.2)).collect();
        own.sort_unstable();
        let (mut sum, mut told) = (0, dawn);
        for (from, to) in own {
            let (from, to) = (from.max(told), to.min(dusk));
            if from < to {
                sum += to - from;
                told = to;
            }
        }
        sum
    }

    fn add(&mut self, wanted: &Wanted, state: StateName, deadline: i64) -> Outcome {
        let Wanted { who, seat, start, end, .. } = *wanted;
        let id = self.next;
        self.next += 1;
        let is_hold = state == StateName::Held;
        self.claims.push(Claim { id, who, seat, start, end, state, deadline, since: self.now, is_hold });
        Ok(id)
    }

    fn check_in_by(&self, start: i64, end: i64) -> i64 {
        end.min(start.max(self.now) + GRACE)
    }

    fn answer(&mut self, who: usize, command: Command) -> Outcome {
        use StateName as S;
        let now = self.now;
        match command {
            Command::Reserve { seat, start, end } => {
                let wanted = Wanted { who, seat, start, end, way: Way::Ahead, instead_of: 0 };
                self.may(&wanted)?;
                let deadline = self.check_in_by(start, end);
                self.add(&wanted, S::Confirmed, deadline)
            }
            Command::Hold { seat, start, end } => {
                if self.claims.iter().any(|claim| claim.who == who && claim.is_hold && claim.state == S::Held) {
                    return Err("HoldExists");
                }
                let wanted = Wanted { who, seat, start, end, way: Way::Ahead, instead_of: 0 };
                self.may(&wanted)?;
                self.add(&wanted, S::Held, (now + 2 * MINUTE).min(start.max(now) + GRACE).min(end))
            }
            Command::WalkIn { seat, end } => {
                let midnight = BERLIN.midnight(BERLIN.local(Timestamp(now)).0).0;
                let start = now - (now - midnight) % GRID;
                if end <= start {
                    return Err("TooShort");
                }
                let wanted = Wanted { who, seat, start, end, way: Way::WalkIn, instead_of: 0 };
                self.may(&wanted)?;
                self.add(&wanted, S::CheckedIn, i64::MAX)
            }
            Command::Confirm { claim: id } => {
                let claim = self.claim(id);
                let deadline = self.check_in_by(claim.start, claim.end);
                match claim.state {
                    S::Held => {
                        self.change(id, |claim| {
                            (claim.state, claim.deadline, claim.since) = (S::Confirmed, deadline, now);
                        });
                    }
                    S::Confirmed => {}
                    S::Expired => return Err("HoldExpired"),
                    _ => return Err("StateConflict"),
                }
                Ok(id)
            }
            Command::CheckIn { claim: id } => {
                let claim = self.claim(id);
                match claim.state {
                    S::CheckedIn => {}
                    S::Confirmed if now < claim.start - 15 * MINUTE => return Err("CheckInTooEarly"),
                    S::Confirmed | S::Away => {
                        self.change(id, |claim| (claim.state, claim.since) = (S::CheckedIn, now));
                    }
                    S::NoShow => return Err("GraceElapsed"),
                    _ => return Err("StateConflict"),
                }
                Ok(id)
            }
            Command::CheckOut { claim: id } => {
                match self.claim(id).state {
                    S::Completed => {}
                    S::CheckedIn | S::Away => self.finish(id, S::Completed),
                    _ => return Err("StateConflict"),
                }
                Ok(id)
            }
            Command::StepAway { claim: id } => {
                let claim = self.claim(id);
                match claim.state {
                    S::Away => {}
                    S::CheckedIn => {
                        let (_, clock) = Self::wall(now);
                        let is_lunch = (11 * HOUR + 30 * MINUTE..13 * HOUR + 30 * MINUTE).contains(&clock);
                        let away = if is_lunch { 60 * MINUTE } else { 30 * MINUTE };
                        let deadline = (now + away).min(claim.end);
                        self.change(id, |claim| (claim.state, claim.deadline, claim.since) = (S::Away, deadline, now));
                    }
                    _ => return Err("StateConflict"),
                }
                Ok(id)
            }
            Command::Cancel { claim: id } => {
                match self.claim(id).state {
                    S::Cancelled => {}
                    S::Held | S::Confirmed => self.finish(id, S::Cancelled),
                    _ => return Err("StateConflict"),
                }
                Ok(id)
            }
            Command::Extend { claim: id, end } => {
                let Claim { seat, start, end: until, state, .. } = self.claim(id);
                if !matches!(state, S::Confirmed | S::CheckedIn | S::Away) {
                    return Err("StateConflict");
                }
                if end < until {
                    return Err("TooShort");
                }
                if end > until {
                    self.may(&Wanted { who, seat, start, end, way: Way::Extension, instead_of: id })?;
                    self.change(id, |claim| claim.end = end);
                }
                Ok(id)
            }
            Command::Move { claim: id, seat, start, end } => {
                let claim = self.claim(id);
                if claim.state != S::Confirmed {
                    return Err("StateConflict");
                }
                if (seat, start, end) != (claim.seat, claim.start, claim.end) {
                    self.may(&Wanted { who, seat, start, end, way: Way::Ahead, instead_of: id })?;
                    let deadline = self.check_in_by(start, end);
                    self.change(id, |claim| {
                        if claim.deadline != deadline {
                            claim.since = now;
                        }
                        (claim.seat, claim.start, claim.end, claim.deadline) = (seat, start, end, deadline);
                    });
                }
                Ok(id)
            }
        }
    }
}

/// The real library, and the model beside it.
struct Pair {
    state: State,
    model: Model,
    index: u64,
    filled: i32,
}

impl Pair {
    fn open(buffer_minutes: u32) -> Self {
        let start = BERLIN.instant(library::date(2026, 3, 20), 9 * 60).expect("an ordinary morning").0;
        let model = Model {
            now: 0,
            buffer: i64::from(buffer_minutes) * MINUTE,
            claims: Vec::new(),
            next: 1,
            strikes: Vec::new(),
            used: Vec::new(),
            left: [i64::MIN / 2; SEATS.len()],
        };
        let mut pair = Self { state: State::default(), model, index: 0, filled: 0 };
        let mut draft = library::draft();
        for policy in &mut draft.policies {
            policy.rules.buffer_minutes = buffer_minutes;
            policy.rules.strikes_to_suspend = STRIKES as u32;
            policy.rules.suspension_days = (SUSPENSION / DAY) as u32;
        }
        let import = Action::ImportCatalog { draft: Box::new(draft), expected_revision: None };
        pair.apply(start, &Request::system(import)).expect("a sound catalogue");
        for who in 0..PEOPLE {
            let password = PasswordHash(Arc::from("hash"));
            let name = UserName::new(&format!("p{who}")).expect("a name");
            let action = Action::Register { name, password };
            let request = Request { caller: Caller::Anonymous, retry: None, action };
            pair.apply(start, &request).expect("a free name");
        }
        pair
    }

    /// Another one each day: none is so old that it has ended.
    fn token(&self, who: usize) -> TokenDigest {
        let mut token = [who as u8 + 1; 16];
        token[..4].copy_from_slice(&self.filled.to_be_bytes());
        TokenDigest(token)
    }

    fn apply(&mut self, time: i64, request: &Request) -> Result<Reply, Refusal> {
        self.index += 1;
        let reply = self.state.apply(At { index: self.index, time: Timestamp(time) }, request).reply;
        // Entries of one instant are a microsecond apart.
        self.model.pass(reply.at.time.0);
        reply.result
    }

    /// Both at the same instant, with a calendar that reaches far enough, and everybody logged in.
    fn pass(&mut self, now: i64) {
        self.apply(now, &Request::system(Action::Tick)).expect("the cluster may");
        let today = Model::wall(now).0;
        if today != self.filled {
            self.filled = today;
            let branches: Vec<_> = self.state.catalog().branches().map(|(id, _)| id).collect();
            for branch in branches {
                if let Some(request) = library::fill(&self.state, branch) {
                    self.apply(now, &request).expect("the cluster may");
                }
            }
            for who in 0..PEOPLE {
                let (user, password) = (UserId(who as u64), PasswordHash(Arc::from("hash")));
                let action = Action::StartSession { user, password, token: self.token(who) };
                let request = Request { caller: Caller::Anonymous, retry: None, action };
                self.apply(now, &request).expect("the right password");
            }
        }
    }

    fn request(&self, who: usize, command: Command) -> Request {
        let seat_name = |seat: usize| SeatName { branch: slug("main"), seat: slug(SEATS[seat]) };
        let interval = |start, end| Interval::new(Timestamp(start), Timestamp(end)).expect("drawn in order");
        let wish = |seat, start, end| Wish::of_seat(seat_name(seat), interval(start, end));
        let action = match command {
            Command::Reserve { seat, start, end } => Action::Reserve { wish: wish(seat, start, end) },
            Command::Hold { seat, start, end } => Action::Hold { wish: wish(seat, start, end) },
            Command::Confirm { claim } => Action::Confirm { claim: ClaimId(claim) },
            Command::WalkIn { seat, end } => {
                Action::WalkIn { seat: seat_name(seat), end: Timestamp(end), person: None, proof: None }
            }
            Command::CheckIn { claim } => Action::CheckIn { claim: ClaimId(claim), proof: None },
            Command::CheckOut { claim } => Action::CheckOut { claim: ClaimId(claim) },
            Command::StepAway { claim } => Action::StepAway { claim: ClaimId(claim) },
            Command::Cancel { claim } => Action::Cancel { claim: ClaimId(claim), reason: None },
            Command::Extend { claim, end } => Action::Extend { claim: ClaimId(claim), end: Timestamp(end) },
            Command::Move { claim, seat, start, end } => {
                Action::Reschedule { claim: ClaimId(claim), seat: seat_name(seat), interval: interval(start, end) }
            }
        };
        Request { caller: Caller::Session(self.token(who)), retry: None, action }
    }

    /// What somebody might do next: mostly about what they have, and about the next hours.
    fn draw(&self, who: usize, dice: &mut Dice) -> Command {
        let midnight = BERLIN.midnight(BERLIN.local(Timestamp(self.model.now)).0).0;
        let slot = self.model.now - (self.model.now - midnight) % GRID;
        let seat = dice.roll(SEATS.len() as u64) as usize;
        let (mut start, mut halves) = (slot + dice.between(-1, 8) * GRID, dice.between(1, 10));
        match dice.roll(24) {
            0 => start += dice.between(0, 17) * DAY,
            1 => start += dice.between(0, 30) * MINUTE,
            2 => halves = dice.between(1, 400),
            _ => {}
        }
        let end = start + halves * GRID;
        let own: Vec<&Claim> = self.model.claims.iter().filter(|claim| claim.who == who).collect();
        let live: Vec<&Claim> = own.iter().copied().filter(|claim| claim.blocks()).collect();
        let pool = if dice.roll(8) == 0 { &own } else { &live };
        let act = dice.roll(20);
        let Some(claim) = pool.get(dice.roll(pool.len().max(1) as u64) as usize).filter(|_| act >= 7) else {
            return match act {
                0 | 1 => Command::Hold { seat, start, end },
                2 | 3 => Command::WalkIn { seat, end: slot + dice.between(-1, 9) * GRID },
                _ => Command::Reserve { seat, start, end },
            };
        };
        let (id, until) = (claim.id, claim.end);
        match act {
            7 | 8 => Command::Confirm { claim: id },
            9..=12 => Command::CheckIn { claim: id },
            13 | 14 => Command::CheckOut { claim: id },
            15 => Command::StepAway { claim: id },
            16 => Command::Cancel { claim: id },
            17 | 18 => Command::Extend { claim: id, end: until + dice.between(-1, 5) * GRID },
            _ => Command::Move { claim: id, seat, start, end },
        }
    }
}

#[test]
fn the_rules_answer_as_a_naive_reading_of_them_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let commands = number("CARREL_COMMANDS").map_or(COMMANDS, |count| count as usize);
    let seed = number("CARREL_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15).max(1);
    let last_day = library::date(LAST_DAY.0, LAST_DAY.1, LAST_DAY.2).0;
    let mut dice = Dice(seed);
    let mut pair = Pair::open(0);
    let (mut granted, mut refused, mut openings) = (0_u64, std::collections::BTreeMap::<&str, u64>::new(), 1_u32);
    for number in 0..commands {
        let is_time = (number + 1) % COMMANDS_PER_OPENING == 0;
        if is_time || Model::wall(pair.model.now).0 >= last_day {
            pair = Pair::open([0, 10, 45][openings as usize % 3]);
            openings += 1;
        }
        let gap = match dice.roll(400) {
            0 => dice.between(0, 11 * HOUR),
            1..=12 => dice.between(0, 20 * MINUTE),
            // To the microsecond of something that is due, or beside it.
            13..=30 => {
                let due = pair.model.claims.iter().filter(|claim| claim.blocks()).map(Claim::due).min();
                due.map_or(1, |due| due - pair.model.now + dice.between(-1, 2)).clamp(1, 2 * HOUR)
            }
            _ => dice.between(1, 2_900_000),
        };
        let now = pair.model.now + gap;
        pair.pass(now);
        pair.model.forget();
        let who = dice.roll(PEOPLE as u64) as usize;
        let command = pair.draw(who, &mut dice);
        let now = pair.model.now + 1;
        let request = pair.request(who, command);
        pair.model.pass(now);
        let expected = pair.model.answer(who, command);
        let real = pair.apply(now, &request);
        let answered = match &real {
            Ok(Reply::Claim(view)) => Ok(view.claim.id.0),
            Ok(other) => panic!("{other:?} is no answer to {command:?}"),
            Err(refusal) => Err(format!("{refusal:?}").split([' ', '{']).next().unwrap_or_default().to_owned()),
        };
        let told = || format!("command {number} of seed {seed}: p{who} {command:?}: {real:?}");
        assert_eq!(answered, expected.map_err(ToOwned::to_owned), "{}", told());
        match expected {
            Ok(_) => granted += 1,
            Err(reason) => *refused.entry(reason).or_default() += 1,
        }
        let live = pair.state.reservations(UserId(who as u64), |claim| claim.state.is_blocking(), None, 10).items;
        let mut real: Vec<_> = live
            .iter()
            .map(|view| {
                let (claim, interval) = (&view.claim, view.claim.interval);
                let due = claim.deadline().map_or(0, |deadline| deadline.0);
                (claim.id.0, view.seat.seat.to_string(), interval.start().0, interval.end().0, claim.state.name(), due)
            })
            .collect();
        let mut naive: Vec<_> = pair
            .model
            .claims
            .iter()
            .filter(|claim| claim.who == who && claim.blocks())
            .map(|claim| (claim.id, SEATS[claim.seat].to_owned(), claim.start, claim.end, claim.state, claim.due()))
            .collect();
        real.sort_unstable_by_key(|claim| claim.0);
        naive.sort_unstable_by_key(|claim| claim.0);
        assert_eq!(real, naive, "{}", told());
        // Slow, so now and then.
        if number % 2_000 == 0 && number < 200_000 {
            assert_eq!(invariants::check(&pair.state), vec![], "{}", told());
        }
    }
    println!("{commands} commands, {granted} granted, {openings} openings, refused: {refused:?}");
    assert!(granted as usize > commands / 8, "most of what is drawn is refused: {refused:?}");
    if commands >= COMMANDS {
        for reason in [
            "Suspended",
            "InThePast",
            "TooFarAhead",
            "Closed",
            "OffGrid",
            "TooShort",
            "TooLong",
            "OwnOverlap",
            "TooManyReservations",
            "TooManyMinutes",
            "SeatTaken",
            "HoldExists",
            "HoldExpired",
            "StateConflict",
            "CheckInTooEarly",
            "GraceElapsed",
        ] {
            assert!(refused.contains_key(reason), "nobody was ever refused for {reason}: {refused:?}");
        }
    }
}
