//! A library with people in it who do what the steps say.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::format::{SnapshotReader, encode, snapshot};
use carrel_domain::id::{Position, RequestId, TokenDigest, UserId};
use carrel_domain::reply::{Applied, Reply};
use carrel_domain::request::{Action, At, Caller, Need, Place, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::{MessageText, Slug, UserName};
use carrel_domain::time::{DAY_US, Interval, MINUTE_US, SECOND_US, Timestamp};

use crate::library::{self, BERLIN, slug};

pub mod steps;
mod asking;
pub mod witness;

use asking::changed_draft;
use steps::{Gap, Id, NAMES, SEATS, Step};

/// A library with people in it, and the log of everything that was applied.
pub struct World {
    pub state: State,
    pub log: Vec<(At, Request)>,
    pub answers: Vec<Applied>,
    pub tokens: BTreeMap<(usize, u8), TokenDigest>,
    pub drawn: u64,
    pub users: BTreeMap<TokenDigest, UserId>,
    /// Requests with ids, as they were sent.
    pub requests: Vec<Request>,
    pub filled: (u64, i64),
    pub sent: Vec<Position>,
}

impl World {
    /// With the rules as one of the changes makes them.
    pub fn open(change: u8) -> Self {
        let mut world = Self {
            state: State::default(),
            log: Vec::new(),
            answers: Vec::new(),
            tokens: BTreeMap::new(),
            drawn: 0,
            users: BTreeMap::new(),
            requests: Vec::new(),
            filled: (0, 0),
            sent: Vec::new(),
        };
        let morning = BERLIN.instant(library::date(2026, 3, 27), 9 * 60).expect("an ordinary morning");
        let draft = Box::new(changed_draft(change));
        world.apply(morning, Request::system(Action::ImportCatalog { draft, expected_revision: None }));
        world.fill_calendar();
        world.apply(morning, Request::system(Action::CreateFirstAdmin { name: name(0), password: password() }));
        for who in 0..NAMES.len() {
            world.apply(morning, anonymous(Action::Register { name: name(who), password: password() }));
            for device in 0..2 {
                let request = world.log_in(who, device);
                world.apply(morning, request);
            }
        }
        world
    }

    pub fn now(&self) -> Timestamp {
        self.state.at().time
    }

    pub fn apply(&mut self, time: Timestamp, request: Request) -> &Applied {
        let at = At { index: self.log.len() as u64 + 1, time };
        let applied = self.state.apply(at, &request);
        self.log.push((at, request));
        self.answers.push(applied);
        self.answers.last().expect("pushed above")
    }

    pub fn fill_calendar(&mut self) {
        let current = (self.state.catalog().revision, self.now().0.div_euclid(DAY_US / 2));
        if self.filled == current {
            return;
        }
        self.filled = current;
        let branches: Vec<_> = self.state.catalog().branches().map(|(id, _)| id).collect();
        for branch in branches {
            if let Some(request) = library::fill(&self.state, branch) {
                self.apply(self.now(), request);
            }
        }
    }

    pub fn pass(&mut self, gap: &Gap) {
        match *gap {
            Gap::Nothing => {}
            Gap::Micros(us) => {
                self.apply(self.now().plus_us(us), Request::system(Action::Tick));
            }
            Gap::Minutes(minutes) => {
                let until = self.now().plus_us(minutes * MINUTE_US);
                while self.now() < until {
                    let due = self.state.next_deadline().unwrap_or(Timestamp::MAX);
                    let next = self.now().plus_us(3 * SECOND_US).min(due).min(until);
                    self.apply(next, Request::system(Action::Tick));
                }
            }
            Gap::OutageMinutes(minutes) => {
                self.apply(self.now().plus_us(minutes * MINUTE_US), Request::system(Action::Tick));
            }
        }
        self.fill_calendar();
    }

    /// The request, whose it was, and what came of it.
    pub fn take(&mut self, step: &Step) -> Option<(Request, Option<UserId>, Applied)> {
        self.pass(&step.gap);
        self.come_back(step.by);
        let request = self.request(step)?;
        let owner = match request.caller {
            Caller::Session(token) => self.users.get(&token).copied(),
            Caller::Anonymous | Caller::System => None,
        };
        if request.retry.is_some() {
            self.requests.push(request.clone());
        }
        let applied = self.apply(self.now(), request.clone()).clone();
        if let Ok(Reply::Message(message)) = &applied.reply.result {
            self.sent.push(message.position);
        }
        Some((request, owner, applied))
    }

    pub fn come_back(&mut self, (who, device): (usize, u8)) {
        if device == 1 || self.state.viewer(self.tokens[&(who, device)]).is_ok() {
            return;
        }
        if self.state.find_user(&name(who)).is_none() {
            self.apply(self.now(), anonymous(Action::Register { name: name(who), password: password() }));
        }
        let request = self.log_in(who, device);
        self.apply(self.now(), request);
    }

    pub fn log_in(&mut self, who: usize, device: u8) -> Request {
        self.drawn += 1;
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.drawn.to_be_bytes());
        let token = TokenDigest(token);
        let user = self.state.find_user(&name(who)).unwrap_or(UserId(u64::MAX));
        self.tokens.insert((who, device), token);
        self.users.insert(token, user);
        anonymous(Action::StartSession { user, password: password(), token })
    }

    pub fn retry(&mut self, id: &Id, action: &Action) -> Option<RetryKey> {
        let id = match id {
            Id::None => return None,
            Id::Fresh => {
                self.drawn += 1;
                RequestId(1000 + u128::from(self.drawn))
            }
            Id::Common(id) => RequestId(u128::from(*id)),
        };
        let fold = |hash: u64, byte: &u8| hash.wrapping_mul(31).wrapping_add(u64::from(*byte));
        Some(RetryKey { id, digest: encode(action).iter().fold(7, fold) })
    }
}

pub fn seat_name(seat: usize) -> SeatName {
    SeatName { branch: slug(SEATS[seat].0), seat: slug(SEATS[seat].1) }
}

pub fn place(at: u8) -> Place<Slug> {
    match usize::from(at) {
        9 => Place::Area { branch: slug("main"), area: slug("reading-room") },
        10 => Place::Area { branch: slug("main"), area: slug("night") },
        11 => Place::Branch { branch: slug("main") },
        seat => Place::Seat { branch: slug(SEATS[seat].0), seat: slug(SEATS[seat].1) },
    }
}

pub fn wish(at: u8, interval: Interval) -> Wish {
    let need = Need { place: place(at), amenities: Vec::new(), accessible: false };
    Wish { need, interval, behalf: None }
}

pub fn name(who: usize) -> UserName {
    UserName::new(NAMES[who]).expect("a name")
}

pub fn password() -> PasswordHash {
    PasswordHash(Arc::from("hash"))
}

pub fn text() -> MessageText {
    MessageText::new("hello").expect("a text")
}

pub fn anonymous(action: Action) -> Request {
    Request { caller: Caller::Anonymous, retry: None, action }
}

pub fn bytes(state: &State) -> Vec<u8> {
    snapshot(state.clone()).flatten().collect()
}

/// Written, cut into pieces of any size, and read again.
pub fn through_a_snapshot(state: &State, pieces: &[usize]) -> State {
    let written = bytes(state);
    let (mut reader, mut rest, mut sizes) = (SnapshotReader::default(), written.as_slice(), pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().expect("a cycle")));
        reader.read(piece).expect("what was written");
        rest = after;
    }
    reader.finish().expect("what was written")
}
