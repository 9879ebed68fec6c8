//! Stories: what a library would want to happen, told line by line in the local time of the branch.
//!
//! ```text
//! people amy, ben
//! 09:00  amy reserves A1 10:00-12:00              -> reserved r1, check in by 10:15
//! 09:05  ben waits for A1 10:00-12:00             -> waiting w1
//! 10:15  (by itself)                              -> no show r1, strike for amy, ...
//! ```
//!
//! Left of the arrow is what somebody does; right of it is the answer and, after a semicolon, what else happened. What
//! the passing of time does between two lines stands on lines of its own. A `day` line changes the date. `#a` before
//! a line gives its request the id `a`, and `again` sends the request before it once more.
//! `UPDATE_STORIES=1` writes what happens today into the files: read the difference as a librarian would.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use carrel_domain::account::{PasswordHash, Role};
use carrel_domain::catalog::Draft;
use carrel_domain::claim::{Claim, ClaimState};
use carrel_domain::id::{ClaimId, Position, RequestId, TokenDigest, UserId, WaitId};
use carrel_domain::inbox::Stream;
use carrel_domain::invariants;
use carrel_domain::query::{ClaimView, ItemSubject, ItemView};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Applied, Event, Reply};
use carrel_domain::request::{Action, At, Caller, Need, Place, Request, RetryKey, SeatName};
use carrel_domain::state::State;
use carrel_domain::text::{MessageText, Slug, UserName};
use carrel_domain::time::{Date, Interval, MINUTE_US, SECOND_US, Timestamp};
use carrel_domain::waitlist::WaitState;

use library::{BERLIN, LONDON, Zone, slug, title};

mod library;

#[test]
fn stories() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let entries = std::fs::read_dir(directory).expect("the stories");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a story").path()).collect();
    files.sort();
    let mut differing = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).expect("a story is text");
        let told = Story::begin().tell(&written);
        if told == written {
            continue;
        }
        if std::env::var_os("UPDATE_STORIES").is_some() {
            std::fs::write(&file, told).expect("stories can be written");
        } else {
            let _ = writeln!(differing, "{}:", file.display());
            for line in told.lines().filter(|line| !written.lines().any(|other| other == *line)) {
                let _ = writeln!(differing, "    {line}");
            }
        }
    }
    assert!(differing.is_empty(), "these stories end differently now:\n{differing}");
}

/// The time between two entries while all is well.
const STEP_US: i64 = 3 * SECOND_US;

struct Story {
    state: State,
    index: u64,
    /// The date of the lines being told.
    date: Date,
    sessions: BTreeMap<String, TokenDigest>,
    /// Ids drawn so far: tokens and requests.
    drawn: u128,
    last: Option<Request>,
    waits: Vec<WaitId>,
    messages: Vec<Position>,
    suspended: BTreeMap<UserId, Timestamp>,
    names: BTreeMap<UserId, String>,
    /// The catalogue revision and date for which the calendar was last filled.
    filled: (u64, Date),
    is_filling: bool,
    told: String,
}

impl Story {
    /// At seven in the morning of Monday, 9 March 2026; ada is the admin.
    fn begin() -> Self {
        let date = library::date(2026, 3, 9);
        let mut story = Self {
            state: State::default(),
            index: 0,
            date,
            sessions: BTreeMap::new(),
            drawn: 0,
            last: None,
            waits: Vec::new(),
            messages: Vec::new(),
            suspended: BTreeMap::new(),
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

    fn tell(mut self, written: &str) -> String {
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

    fn say(&mut self, line: &str) {
        self.told.push_str(line);
        self.told.push('\n');
    }

    fn say_line(&mut self, time: &str, left: &str, right: &str) {
        let left = format!("{time}  {left}");
        self.say(format!("{left:<55} -> {right}").trim_end());
    }

    fn introduce(&mut self, person: &str) {
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

    fn apply(&mut self, time: Timestamp, request: &Request) -> Applied {
        self.index += 1;
        let applied = self.state.apply(At { index: self.index, time }, request);
        if !applied.events.is_empty() {
            let violations = invariants::check(&self.state);
            assert!(violations.is_empty(), "after {request:?}: {violations:#?}\n{}", self.told);
        }
        applied
    }

    fn now(&mut self, request: &Request) -> Applied {
        self.apply(self.state.at().time, request)
    }

    /// Entries as a healthy cluster makes them, up to but not including `until`.
    fn pass_time(&mut self, until: Timestamp) {
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
    fn fill_calendar(&mut self) {
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

    fn tell_by_itself(&mut self, at: Timestamp, applied: &Applied) {
        let right = self.happened(applied, None);
        if !right.is_empty() {
            let time = self.clock(BERLIN, at);
            self.say_line(&time, "(by itself)", &right);
        }
    }

    /// `10:00`, `10:00:30`, `10:00:30.000001`; none if the clocks skip it.
    fn instant(&self, zone: Zone, time: &str) -> Option<Timestamp> {
        self.instant_on(self.date, zone, time)
    }

    fn instant_on(&self, date: Date, zone: Zone, time: &str) -> Option<Timestamp> {
        let (clock, micros) = time.split_once('.').unwrap_or((time, "0"));
        let parts: Vec<i64> = clock.split(':').map(|part| part.parse().expect("hours, minutes, seconds")).collect();
        let minute = zone.instant(date, parts[0] * 60 + parts[1])?;
        let seconds = parts.get(2).copied().unwrap_or(0);
        Some(minute.plus_us(seconds * SECOND_US + micros.parse::<i64>().expect("microseconds")))
    }

    /// `10:00-12:00`, `03-12 10:00-12:00`; through midnight if it ends before it starts.
    fn interval(&self, zone: Zone, words: &[&str]) -> Result<Interval, String> {
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
    fn clock(&self, zone: Zone, instant: Timestamp) -> String {
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

    fn line(&mut self, at: Timestamp, words: &[&str]) -> String {
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

    fn by(&self, who: &str, action: Action) -> Request {
        let caller = self.sessions.get(who).map_or(Caller::Anonymous, |&token| Caller::Session(token));
        Request { caller, retry: None, action }
    }

    fn log_in(&mut self, who: &str) -> Applied {
        let request = self.start_session(who);
        self.now(&request)
    }

    fn start_session(&mut self, who: &str) -> Request {
        let person = person(who);
        self.drawn += 1;
        let token = TokenDigest(self.drawn.to_be_bytes());
        self.sessions.insert(who.to_owned(), token);
        let user = self.state.find_user(&name(person)).unwrap_or(UserId(u64::MAX));
        self.names.insert(user, person.to_owned());
        let action = Action::StartSession { user, password: password(person), token };
        Request { caller: Caller::Anonymous, retry: None, action }
    }

    /// Nothing if the line only reads.
    fn request(&mut self, words: &[&str]) -> Result<Option<Request>, String> {
        let action = match words {
            ["tick"] => return Ok(Some(Request::system(Action::Tick))),
            ["again"] => return Ok(self.last.clone()),
            [_, "looks", ..] | [_, "lists", ..] => return Ok(None),
            [who, "registers"] => {
                return Ok(Some(Request { caller: Caller::Anonymous, retry: None, action: register(person(who)) }));
            }
            [who, "logs", "in"] => return Ok(Some(self.start_session(who))),
            [_, "logs", "out"] => Action::EndSession,
            [_, "deletes", "account", person] => Action::DeleteUser { name: name(person) },
            [_, "makes", person, role @ ..] => Action::SetRole { name: name(person), role: parse_role(role) },
            [_, "imports", changes @ ..] => {
                Action::ImportCatalog { draft: Box::new(changed_draft(changes)), expected_revision: None }
            }
            [_, "reserves", seat, when @ ..] => {
                let (branch, zone) = home(seat);
                let seat = SeatName { branch: slug(branch), seat: slug(&seat.to_lowercase()) };
                Action::Reserve { seat, interval: self.interval(zone, when)? }
            }
            [_, "checks", "in", claim] => Action::CheckIn { claim: claim_id(claim) },
            [_, "checks", "out", claim] => Action::CheckOut { claim: claim_id(claim) },
            [_, "cancels", claim] => Action::Cancel { claim: claim_id(claim) },
            [_, "waits", "for", place, when @ ..] => self.join(place, when)?,
            [_, "leaves", wait] => Action::LeaveWaitlist { wait: self.wait_id(wait) },
            [_, "accepts", claim] => Action::AcceptOffer { claim: claim_id(claim) },
            [_, "declines", claim] => Action::DeclineOffer { claim: claim_id(claim) },
            [_, "sends", to, text @ ..] => {
                Action::SendMessage { recipients: to.split(',').map(name).collect(), text: message(text) }
            }
            [_, "broadcasts", text @ ..] => Action::Broadcast { text: message(text) },
            [_, "deletes", message] => Action::DeleteMessage { message: self.message(message) },
            [who, "reads"] => {
                let user = self.user(who);
                Action::AdvanceReadCursor { up_to: self.state.newest_item(user) }
            }
            [_, "reads", "up", "to", message] => Action::AdvanceReadCursor { up_to: self.message(message) },
            [_, "claims", "to", "have", "read", "everything"] => {
                Action::AdvanceReadCursor { up_to: Position::end_of(u64::MAX) }
            }
            other => panic!("nobody knows how to '{}'", other.join(" ")),
        };
        Ok(Some(self.by(words[0], action)))
    }

    fn join(&self, place: &str, words: &[&str]) -> Result<Action, String> {
        let end = words.iter().position(|word| matches!(*word, "with" | "accessible")).unwrap_or(words.len());
        let (when, wishes) = words.split_at(end);
        let (branch, zone) = home(place);
        let branch = slug(branch);
        let place = match place {
            "main" | "annex" => Place::Branch { branch },
            "reading-room" | "night" | "hall" => Place::Area { branch, area: slug(place) },
            seat => Place::Seat { branch, seat: slug(&seat.to_lowercase()) },
        };
        let accessible = wishes.contains(&"accessible");
        let amenities = wishes.iter().filter(|word| !matches!(**word, "with" | "and" | "accessible"));
        let need = Need { place, amenities: amenities.map(|word| title(word)).collect(), accessible };
        Ok(Action::JoinWaitlist { need, interval: self.interval(zone, when)? })
    }

    fn wait_id(&self, label: &str) -> WaitId {
        self.waits[label[1..].parse::<usize>().expect("w1") - 1]
    }

    fn message(&self, label: &str) -> Position {
        self.messages[label[1..].parse::<usize>().expect("m1") - 1]
    }

    fn user(&self, who: &str) -> UserId {
        self.state.find_user(&name(person(who))).expect("somebody with an account")
    }

    // === What is told of it ===

    fn answer(&mut self, action: &Action, applied: &Applied) -> String {
        let text = match &applied.reply.result {
            Err(refusal) => format!("refused: {}", self.refusal(*refusal)),
            Ok(reply) => match reply {
                Reply::Done => match action {
                    Action::Tick => String::new(),
                    _ => "done".to_owned(),
                },
                Reply::User(user) => match &user.role {
                    Role::Patron => format!("{} is a patron", user.name),
                    role => format!("{} is {role:?}", user.name),
                },
                Reply::Session { unread_count, .. } => format!("welcome, {unread_count} unread"),
                Reply::Catalog(summary) => {
                    format!("{} seats, {} displaced", summary.seat_count, summary.displaced_count)
                }
                Reply::Claim(view) => self.claim(view, action),
                Reply::Wait(view) => {
                    let label = self.wait_label(view.wait.id);
                    match view.wait.state {
                        WaitState::Waiting | WaitState::Offered { .. } => format!("waiting {label}"),
                        WaitState::Fulfilled { .. } => format!("fulfilled {label}"),
                        WaitState::Left => format!("left {label}"),
                        WaitState::Expired => format!("expired {label}"),
                    }
                }
                Reply::Message(message) => {
                    if !self.messages.contains(&message.position) {
                        self.messages.push(message.position);
                    }
                    format!("sent {}", self.message_label(message.position))
                }
                Reply::Unread { count } => format!("{count} unread"),
            },
        };
        if applied.reply.replayed { format!("{text} (as before)") } else { text }
    }

    fn claim(&self, view: &ClaimView, action: &Action) -> String {
        let claim = &view.claim;
        let label = claim_label(claim.id);
        match (claim.state, action) {
            (ClaimState::Confirmed { deadline }, Action::Reserve { .. }) => {
                format!("reserved {label}, check in by {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::Confirmed { deadline }, _) => {
                format!("confirmed {label}, check in by {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::Held { deadline }, _) => {
                format!("held {label} until {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::CheckedIn, _) => {
                format!("checked in {label} until {}", self.clock(zone_of(view), claim.interval.end()))
            }
            (state, _) => format!("{} {label}", words_of(&format!("{:?}", state.name()))),
        }
    }

    /// Everything but what the answer says already.
    fn happened(&mut self, applied: &Applied, reply: Option<&Reply>) -> String {
        let mut told = Vec::new();
        for event in &applied.events {
            match event {
                Event::ClaimChanged(claim) => {
                    let is_answer = matches!(reply, Some(Reply::Claim(view)) if view.claim.id == claim.id);
                    if !is_answer {
                        told.push(self.claim_changed(claim));
                    }
                }
                Event::WaitChanged(wait) => {
                    let label = self.wait_label(wait.id);
                    let is_answer = matches!(reply, Some(Reply::Wait(view)) if view.wait.id == wait.id);
                    match wait.state {
                        _ if is_answer => {}
                        WaitState::Waiting => told.push(format!("{label} waits on")),
                        WaitState::Left => told.push(format!("{label} left")),
                        WaitState::Expired => told.push(format!("{label} expired")),
                        WaitState::Offered { .. } | WaitState::Fulfilled { .. } => {}
                    }
                }
                Event::StrikeGiven { user, .. } => told.push(format!("strike for {}", self.names[user])),
                Event::UserChanged { user } => told.extend(self.suspension_changed(*user)),
                Event::UserDeleted { user } => told.push(format!("{} is gone", self.names[user])),
                Event::ItemAppended { stream, position } => told.extend(self.item_appended(*stream, *position)),
                Event::ItemRemoved { stream: Stream::User(user), position } => {
                    if self.messages.contains(position) && self.state.read_up_to(*user) != Position::default() {
                        told.push(format!("{} loses {}", self.names[user], self.message_label(*position)));
                    }
                }
                Event::ItemRemoved { .. } | Event::CatalogReplaced { .. } | Event::CalendarFilled { .. } => {}
            }
        }
        told.join(", ")
    }

    fn claim_changed(&self, claim: &Claim) -> String {
        let label = claim_label(claim.id);
        let seat = self.state.catalog().seat(claim.seat);
        let zone = Zone::named(self.state.catalog().branch(seat.branch).time_zone.as_str());
        match claim.state {
            ClaimState::Held { deadline } if claim.revision == 1 => {
                let holder = claim.holder.map_or("nobody", |holder| self.names[&holder].as_str());
                let (start, end) = (claim.interval.start(), claim.interval.end());
                let (start, end) = (self.clock(zone, start), self.clock(zone, end));
                let until = self.clock(zone, deadline);
                format!("offered {} {start}-{end} to {holder} as {label} until {until}", seat.label)
            }
            ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } | ClaimState::Away { deadline } => {
                format!("{label} now has until {}", self.clock(zone, deadline))
            }
            state => format!("{} {label}", words_of(&format!("{:?}", state.name()))),
        }
    }

    fn suspension_changed(&mut self, user: UserId) -> Option<String> {
        let view = self.state.users(&carrel_domain::text::Glob::new("*").expect("a glob"), None, 1000);
        let view = view.items.into_iter().find(|view| view.id == user)?;
        self.names.insert(user, view.name.to_string());
        let before = match view.suspended_until {
            Some(until) => self.suspended.insert(user, until),
            None => self.suspended.remove(&user),
        };
        match (before, view.suspended_until) {
            (before, Some(until)) if before != Some(until) => {
                Some(format!("{} suspended until {}", view.name, self.clock(BERLIN, until)))
            }
            (Some(_), None) => Some(format!("{} may book again", view.name)),
            _ => None,
        }
    }

    fn item_appended(&mut self, stream: Stream, position: Position) -> Option<String> {
        let Stream::User(user) = stream else { return Some("told everyone".to_owned()) };
        let view = self.item(user, position)?;
        let what = match view.subject {
            ItemSubject::Message { .. } => "a message".to_owned(),
            // The suspension itself is told beside it.
            ItemSubject::Suspended { .. } => "suspension".to_owned(),
            other => self.subject(&other),
        };
        Some(format!("told {} ({what})", self.names[&user]))
    }

    fn item(&self, user: UserId, position: Position) -> Option<ItemView> {
        self.state.inbox(user, Position::default(), 5000).items.into_iter().find(|item| item.position == position)
    }

    fn subject(&self, subject: &ItemSubject) -> String {
        let by = |sender: &Option<UserName>| sender.as_ref().map_or("somebody gone".to_owned(), ToString::to_string);
        match subject {
            ItemSubject::Message { sender, text } => format!("{}: {text}", by(sender)),
            ItemSubject::Announcement { sender, text } => format!("{} to all: {text}", by(sender)),
            ItemSubject::OfferMade { claim } => format!("offer {}", claim_label(*claim)),
            ItemSubject::OfferExpired { claim } => format!("missed {}", claim_label(*claim)),
            ItemSubject::NoShow { claim } => format!("no show {}", claim_label(*claim)),
            ItemSubject::Displaced { claim } => format!("displaced {}", claim_label(*claim)),
            ItemSubject::CancelledByStaff { claim } => format!("cancelled by staff {}", claim_label(*claim)),
            ItemSubject::Suspended { until } => format!("suspended until {}", self.clock(BERLIN, *until)),
            ItemSubject::WaitExpired { wait } => {
                let place = self.waits.iter().position(|other| other == wait).expect("a wait that was told of");
                format!("waited in vain w{}", place + 1)
            }
        }
    }

    fn read(&self, words: &[&str]) -> String {
        let user = self.user(words[0]);
        match words[1..] {
            ["looks", "at", "inbox"] => {
                let items = self.state.inbox(user, Position::default(), 100).items;
                let mark = |item: &ItemView| if item.is_unread { "*" } else { "" };
                let items: Vec<_> =
                    items.iter().map(|item| format!("{}{}", mark(item), self.subject(&item.subject))).collect();
                if items.is_empty() { "nothing".to_owned() } else { items.join(" | ") }
            }
            ["looks", "at", claim] => match self.state.reservation(user, claim_id(claim)) {
                Ok(view) => self.claim(&view, &Action::Tick),
                Err(refusal) => format!("refused: {}", self.refusal(refusal)),
            },
            ["lists", "messages"] => {
                let messages = self.state.messages(user, None, Position::default(), 100).items;
                let texts: Vec<_> = messages
                    .iter()
                    .map(|message| {
                        let sender = message.sender.as_ref().map_or("somebody gone", |sender| sender.as_str());
                        format!("{sender}: {}", message.text)
                    })
                    .collect();
                if texts.is_empty() { "nothing".to_owned() } else { texts.join(" | ") }
            }
            ["lists", "reservations"] => {
                let page = self.state.reservations(user, |_| true, None, 100);
                let texts: Vec<_> = page.items.iter().map(|view| self.claim(view, &Action::Tick)).collect();
                texts.join(" | ")
            }
            ["lists", "waits"] => {
                let page = self.state.waits(user, None, 100);
                let label = |id| self.waits.iter().position(|other| *other == id).map_or(0, |index| index + 1);
                let texts: Vec<_> = page
                    .items
                    .iter()
                    .map(|view| format!("w{} {}", label(view.wait.id), state_word(view.wait.state)))
                    .collect();
                texts.join(" | ")
            }
            ["looks", "at", claim, ..] => format!("nobody looks at {claim}"),
            _ => panic!("nobody knows how to '{}'", words.join(" ")),
        }
    }

    fn refusal(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::InThePast { earliest } => {
                format!("in the past, {} is the earliest", self.clock(BERLIN, earliest))
            }
            Refusal::TooFarAhead { window_days } => format!("more than {window_days} days ahead"),
            Refusal::OffGrid { grid_minutes } => format!("not on the grid of {grid_minutes} minutes"),
            Refusal::TooShort { min_minutes } => format!("shorter than {min_minutes} minutes"),
            Refusal::TooLong { max_minutes } => format!("longer than {max_minutes} minutes"),
            Refusal::Suspended { until } => format!("suspended until {}", self.clock(BERLIN, until)),
            Refusal::OwnOverlap { claim } => format!("overlaps own {}", claim_label(claim)),
            Refusal::TooManyReservations { max } => format!("no more than {max} reservations"),
            Refusal::TooManyMinutes { max_per_day, left } => format!("{left} of {max_per_day} minutes left that day"),
            Refusal::StateConflict { state } => format!("it is {}", words_of(&format!("{state:?}"))),
            Refusal::CheckInTooEarly { opens_at } => format!("check-in opens at {}", self.clock(BERLIN, opens_at)),
            Refusal::TooManyWaits { max } => format!("no more than {max} waits"),
            Refusal::RecipientNotFound { position } => format!("no such recipient (number {})", position + 1),
            other => words_of(&format!("{other:?}")),
        }
    }

    fn wait_label(&mut self, id: WaitId) -> String {
        let place = self.waits.iter().position(|other| *other == id).unwrap_or_else(|| {
            self.waits.push(id);
            self.waits.len() - 1
        });
        format!("w{}", place + 1)
    }

    fn message_label(&self, position: Position) -> String {
        self.messages.iter().position(|other| *other == position).map_or("m?".to_owned(), |i| format!("m{}", i + 1))
    }
}

fn state_word(state: WaitState) -> &'static str {
    match state {
        WaitState::Waiting => "waiting",
        WaitState::Offered { .. } => "offered",
        WaitState::Fulfilled { .. } => "fulfilled",
        WaitState::Left => "left",
        WaitState::Expired => "expired",
    }
}

/// "amy@phone" is amy.
fn person(who: &str) -> &str {
    who.split('@').next().expect("a name")
}

fn name(text: &str) -> UserName {
    UserName::new(text).expect("a name")
}

fn password(who: &str) -> PasswordHash {
    PasswordHash(Arc::from(format!("hash of {who}'s password")))
}

fn message(words: &[&str]) -> MessageText {
    MessageText::new(&words.join(" ")).expect("a text")
}

fn register(who: &str) -> Action {
    Action::Register { name: name(who), password: password(who) }
}

fn claim_id(label: &str) -> ClaimId {
    ClaimId(label.strip_prefix('r').and_then(|id| id.parse::<u64>().ok()).expect("r1"))
}

fn claim_label(id: ClaimId) -> String {
    format!("r{}", id.0)
}

fn parse_role(words: &[&str]) -> Role<Slug> {
    match words {
        ["patron"] => Role::Patron,
        ["librarian", "of", branches] => Role::Librarian(branches.split(',').map(slug).collect()),
        ["admin"] => Role::Admin,
        ["auditor"] => Role::Auditor,
        ["kiosk"] => Role::Kiosk,
        other => panic!("no such role: {other:?}"),
    }
}

/// The branch of a seat, area or branch, and its zone.
fn home(place: &str) -> (&'static str, Zone) {
    if place.starts_with('X') || matches!(place, "annex" | "hall") { ("annex", LONDON) } else { ("main", BERLIN) }
}

fn zone_of(view: &ClaimView) -> Zone {
    if view.seat.branch.as_str() == "annex" { LONDON } else { BERLIN }
}

fn retry_key(key: &str, words: &[&str]) -> RetryKey {
    let fold = |text: &str| text.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    RetryKey { id: RequestId(u128::from(fold(key))), digest: fold(&words.join(" ")) }
}

/// "GraceElapsed" is "grace elapsed".
fn words_of(camel: &str) -> String {
    let mut words = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// The catalogue of the library, but "without A2", "without annex", "with A2 in night", "main open 10:00-18:00",
/// "grid 60"; joined by "and".
fn changed_draft(words: &[&str]) -> Draft {
    let mut draft = library::draft();
    for change in words.split(|word| *word == "and") {
        match change {
            ["everything"] => {}
            ["without", place] => {
                let gone = slug(&place.to_lowercase());
                draft.branches.retain(|branch| branch.id != gone);
                for branch in &mut draft.branches {
                    branch.areas.retain(|area| area.id != gone);
                    for area in &mut branch.areas {
                        area.seats.retain(|seat| seat.id != gone);
                    }
                }
            }
            ["with", seat, "in", area] => {
                let (id, area) = (slug(&seat.to_lowercase()), slug(area));
                for branch in &mut draft.branches {
                    for other in &mut branch.areas {
                        other.seats.retain(|seat| seat.id != id);
                        if other.id == area {
                            other.seats.push(library::seat(id.as_str(), &[], false));
                        }
                    }
                }
            }
            [branch, "open", hours] => {
                let minute = |time: &str| {
                    let (hour, minute) = time.split_once(':').expect("a time");
                    hour.parse::<u16>().expect("an hour") * 60 + minute.parse::<u16>().expect("a minute")
                };
                let (open, close) = hours.split_once('-').expect("from and to");
                let branch = draft.branches.iter_mut().find(|other| other.id.as_str() == *branch).expect("a branch");
                branch.hours = library::weekly(minute(open), minute(close));
            }
            [field, value] => {
                let value = value.parse().expect("a number");
                for policy in &mut draft.policies {
                    match *field {
                        "grid" => policy.rules.grid_minutes = value,
                        "window" => policy.rules.window_days = value,
                        "reservations" => policy.rules.max_reservations = value,
                        "longest" => policy.rules.max_minutes = value,
                        "shortest" => policy.rules.min_minutes = value,
                        other => panic!("no such field: {other}"),
                    }
                }
            }
            other => panic!("no such change: {other:?}"),
        }
    }
    draft
}
