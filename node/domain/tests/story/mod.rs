//! One story: a library, the people in it, and what is told of them line by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use carrel_domain::event::Event;
use carrel_domain::id::{Position, TokenDigest, UserId, WaitId};
use carrel_domain::invariants::{self, Ledger};
use carrel_domain::reply::Applied;
use carrel_domain::request::{Action, At, Caller, Request};
use carrel_domain::state::State;
use carrel_domain::time::{Date, Interval, MINUTE_US, SECOND_US, Timestamp};

use crate::library::{self, BERLIN, Zone};

mod asking;
mod telling;
mod names;

use asking::parse_role;
use names::{name, password, person, register, retry_key};

/// The time between two entries while all is well.
pub const STEP_US: i64 = 3 * SECOND_US;

pub struct Story {
    state: State,
    /// What the events have told so far.
    ledger: Ledger,
    history: Vec<(Timestamp, Event)>,
    index: u64,
    /// The date of the lines being told.
    date: Date,
    sessions: BTreeMap<String, TokenDigest>,
    /// Ids drawn so far: tokens and requests.
    drawn: u128,
    last: Option<Request>,
    waits: Vec<WaitId>,
    messages: Vec<Position>,
    names: BTreeMap<UserId, String>,
    /// The catalogue revision and date for which the calendar was last filled.
    filled: (u64, Date),
    is_filling: bool,
    told: String,
}

impl Story {
    /// At seven in the morning of Monday, 9 March 2026; ada is the admin.
    pub fn begin() -> Self {
        let date = library::date(2026, 3, 9);
        let mut story = Self {
            state: State::default(),
            ledger: Ledger::default(),
            history: Vec::new(),
            index: 0,
            date,
            sessions: BTreeMap::new(),
            drawn: 0,
            last: None,
            waits: Vec::new(),
            messages: Vec::new(),
            names: BTreeMap::new(),
            filled: (0, Date(0)),
            is_filling: true,
            told: String::new(),
        };
        let start = BERLIN.instant(date, 7 * 60).expect("an ordinary morning");
        let draft = Box::new(library::draft());
        story.apply(start, &Request::system(Action::ImportCatalog { draft, expected_revision: None }));
        story.fill_calendar();
        story.apply(start, &Request::system(Action::CreateFirstAdmin { name: name("ada"), password: password("ada") }));
        story.log_in("ada");
        story
    }

    pub fn tell(mut self, written: &str) -> String {
        for line in written.lines() {
            let (left, _) = line.split_once("->").unwrap_or((line, ""));
            let words: Vec<&str> = left.split_whitespace().collect();
            match words.as_slice() {
                [] => self.say(line.trim_end()),
                [first, ..] if first.starts_with('#') && !first[1..].is_empty() && words.len() == 1 => self.say(line),
                ["#", ..] => self.say(line.trim_end()),
                ["day", day] => {
                    let mut parts = day.split('-').map(|part| part.parse().expect("a date"));
                    let mut next = || parts.next().expect("year, month, day");
                    self.date = library::date(next(), next(), next());
                    self.say(line);
                }
                ["people", people @ ..] => {
                    for person in people.join(" ").split(", ") {
                        self.introduce(person);
                    }
                    self.say(line);
                }
                ["the", "calendar", verb] => {
                    self.is_filling = *verb == "resumes";
                    self.say(line);
                }
                [.., "(by", "itself)"] => {}
                [time, words @ ..] => {
                    let at = self.instant(BERLIN, time).expect("a time that exists");
                    let right = self.line(at, words);
                    self.say_line(time, &words.join(" "), &right);
                }
            }
        }
        self.told
    }

    pub fn say(&mut self, line: &str) {
        self.told.push_str(line);
        self.told.push('\n');
    }

    pub fn say_line(&mut self, time: &str, left: &str, right: &str) {
        let left = format!("{time}  {left}");
        self.say(format!("{left:<55} -> {right}").trim_end());
    }

    pub fn introduce(&mut self, person: &str) {
        let words: Vec<&str> = person.split_whitespace().collect();
        let who = words[0];
        if who != "ada" {
            self.now(&Request { caller: Caller::Anonymous, ..Request::system(register(who)) });
            self.log_in(who);
        }
        if let ["is", role @ ..] = &words[1..] {
            self.now(&self.by("ada", Action::SetRole { name: name(who), role: parse_role(role) }));
        }
    }

    // === Time ===

    pub fn apply(&mut self, time: Timestamp, request: &Request) -> Applied {
        self.index += 1;
        let applied = self.state.apply(At { index: self.index, time }, request);
        self.ledger.follow(&applied.events);
        self.history.extend(applied.events.iter().map(|event| (applied.reply.at.time, event.clone())));
        if !applied.events.is_empty() {
            let untold = self.ledger.differences(&self.state);
            assert!(untold.is_empty(), "after {request:?}: {untold:#?}\n{}", self.told);
            let passed_over = invariants::passed_over(&self.state, &applied.events);
            assert!(passed_over.is_empty(), "after {request:?}: {passed_over:#?}\n{}", self.told);
            let violations = invariants::check(&self.state);
            assert!(violations.is_empty(), "after {request:?}: {violations:#?}\n{}", self.told);
        }
        applied
    }

    pub fn now(&mut self, request: &Request) -> Applied {
        self.apply(self.state.at().time, request)
    }

    /// Entries as a healthy cluster makes them, up to but not including `until`.
    pub fn pass_time(&mut self, until: Timestamp) {
        loop {
            self.fill_calendar();
            let now = self.state.at().time;
            let due = self.state.next_deadline().unwrap_or(Timestamp::MAX).max(now.plus_us(1));
            let next = now.plus_us(STEP_US).min(due);
            if next >= until {
                return;
            }
            let applied = self.apply(next, &Request::system(Action::Tick));
            self.tell_by_itself(next, &applied);
        }
    }

    /// As the leader does when the catalogue or the date has changed.
    pub fn fill_calendar(&mut self) {
        let (today, _) = BERLIN.local(self.state.at().time);
        let current = (self.state.catalog().revision, today);
        if self.filled == current || !self.is_filling {
            return;
        }
        self.filled = current;
        let branches: Vec<_> = self.state.catalog().branches().map(|(id, _)| id).collect();
        for branch in branches {
            if let Some(request) = library::fill(&self.state, branch) {
                let applied = self.now(&request);
                assert!(applied.reply.result.is_ok(), "{:?}", applied.reply);
                self.tell_by_itself(applied.reply.at.time, &applied);
            }
        }
    }

    pub fn tell_by_itself(&mut self, at: Timestamp, applied: &Applied) {
        let right = self.happened(applied, None);
        if !right.is_empty() {
            let time = self.clock(BERLIN, at);
            self.say_line(&time, "(by itself)", &right);
        }
    }

    /// `10:00`, `10:00:30`, `10:00:30.000001`; none if the clocks skip it.
    pub fn instant(&self, zone: Zone, time: &str) -> Option<Timestamp> {
        self.instant_on(self.date, zone, time)
    }

    pub fn instant_on(&self, date: Date, zone: Zone, time: &str) -> Option<Timestamp> {
        let (clock, micros) = time.split_once('.').unwrap_or((time, "0"));
        let parts: Vec<i64> = clock.split(':').map(|part| part.parse().expect("hours, minutes, seconds")).collect();
        let minute = zone.instant(date, parts[0] * 60 + parts[1])?;
        let seconds = parts.get(2).copied().unwrap_or(0);
        Some(minute.plus_us(seconds * SECOND_US + micros.parse::<i64>().expect("microseconds")))
    }

    /// `10:00-12:00`, `03-12 10:00-12:00`; through midnight if it ends before it starts.
    pub fn interval(&self, zone: Zone, words: &[&str]) -> Result<Interval, String> {
        let (date, span) = match words {
            [span] => (self.date, span),
            [day, span] => {
                let (month, day) = day.split_once('-').expect("month and day");
                (library::date(2026, month.parse().expect("a month"), day.parse().expect("a day")), span)
            }
            other => panic!("not a time: {other:?}"),
        };
        let (start, end) = span.split_once('-').expect("from and to");
        let no_such = |time: &str| format!("the clocks skip {time} on that day");
        let last = if end <= start { date.plus_days(1) } else { date };
        let start = self.instant_on(date, zone, start).ok_or_else(|| no_such(start))?;
        let end = self.instant_on(last, zone, end).ok_or_else(|| no_such(end))?;
        Interval::of_minutes(start, end).map_err(|error| error.to_string())
    }

    /// The time on the wall, with the date if it is not today's.
    pub fn clock(&self, zone: Zone, instant: Timestamp) -> String {
        let (date, micros) = zone.local(instant);
        let minute = micros / MINUTE_US;
        let mut text = format!("{:02}:{:02}", minute / 60, minute % 60);
        if micros % MINUTE_US != 0 {
            let _ = write!(text, ":{:02}", micros % MINUTE_US / SECOND_US);
        }
        if micros % SECOND_US != 0 {
            let _ = write!(text, ".{:06}", micros % SECOND_US);
        }
        if date != self.date {
            let days = date.0 - self.date.0;
            let _ = write!(text, " {days:+}d");
        }
        text
    }

    // === What people do ===

    pub fn line(&mut self, at: Timestamp, words: &[&str]) -> String {
        if let ["after", "an", "outage", "since", since] = words {
            let since = self.instant(BERLIN, since).expect("a time that exists");
            self.pass_time(since.plus_us(1));
            let applied = self.apply(at, &Request::system(Action::Tick));
            return self.happened(&applied, None);
        }
        self.pass_time(at);
        let (key, words) = match words {
            [key, rest @ ..] if key.starts_with('#') => (Some(&key[1..]), rest),
            _ => (None, words),
        };
        let request = match self.request(words) {
            Ok(Some(request)) => request,
            Ok(None) => return self.read(words),
            Err(problem) => return format!("no: {problem}"),
        };
        let request = match (key, words) {
            (_, ["again"]) => request,
            (Some(key), _) => Request { retry: Some(retry_key(key, words)), ..request },
            (None, _) => {
                self.drawn += 1;
                Request { retry: Some(retry_key(&self.drawn.to_string(), words)), ..request }
            }
        };
        self.last = Some(request.clone());
        let applied = self.apply(at, &request);
        let answer = self.answer(&request.action, &applied);
        let rest = self.happened(&applied, applied.reply.result.as_ref().ok());
        if answer.is_empty() || rest.is_empty() { answer + &rest } else { format!("{answer}; {rest}") }
    }

    pub fn by(&self, who: &str, action: Action) -> Request {
        let caller = self.sessions.get(who).map_or(Caller::Anonymous, |&token| Caller::Session(token));
        Request { caller, retry: None, action }
    }

    pub fn log_in(&mut self, who: &str) -> Applied {
        let request = self.start_session(who);
        self.now(&request)
    }

    pub fn start_session(&mut self, who: &str) -> Request {
        let person = person(who);
        self.drawn += 1;
        let token = TokenDigest(self.drawn.to_be_bytes());
        self.sessions.insert(who.to_owned(), token);
        let user = self.state.find_user(&name(person)).unwrap_or(UserId(u64::MAX));
        self.names.insert(user, person.to_owned());
        let action = Action::StartSession { user, password: password(person), token };
        Request { caller: Caller::Anonymous, retry: None, action }
    }
}
