//! Whatever people do, in whatever order and at whatever time: the invariants hold, nothing panics, and a state from a
//! snapshot is the state.
//!
//! Steps are drawn without looking at the library; what they mean (which claim, which slot) is worked out when they are
//! taken. `PROPTEST_CASES` asks for more than the few that fit into everyday tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrel_domain::account::{PasswordHash, Role};
use carrel_domain::claim::Claim;
use carrel_domain::format::{SnapshotReader, decode, encode, snapshot};
use carrel_domain::id::{ClaimId, Position, RequestId, TokenDigest, UserId, WaitId};
use carrel_domain::invariants;
use carrel_domain::query::SeatSearch;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, Applied, Event, Reply};
use carrel_domain::request::{Action, At, Caller, Need, Place, Request, RetryKey, SeatName};
use carrel_domain::state::State;
use carrel_domain::text::{Glob, MessageText, UserName};
use carrel_domain::time::{DAY_US, Interval, MINUTE_US, SECOND_US, Timestamp};
use proptest::prelude::*;

use library::{BERLIN, slug, title};

mod library;

const NAMES: [&str; 5] = ["ada", "amy", "ben", "cat", "dan"];
const SEATS: [(&str, &str); 9] = [
    ("main", "a1"),
    ("main", "a2"),
    ("main", "a3"),
    ("main", "n1"),
    ("main", "n2"),
    ("annex", "x1"),
    ("annex", "x2"),
    ("main", "nowhere"),
    ("moon", "a1"),
];

#[derive(Clone, Debug)]
struct Step {
    gap: Gap,
    /// Who, on which of their two devices. On the first they log in again whenever they have to.
    by: (usize, u8),
    retry: Id,
    act: Act,
}

#[derive(Clone, Debug)]
enum Id {
    None,
    Fresh,
    /// One of a few that everybody uses.
    Common(u8),
}

#[derive(Clone, Debug)]
enum Gap {
    Nothing,
    Micros(i64),
    /// While all is well, with an entry every three seconds.
    Minutes(i64),
    /// Nothing at all for so long.
    OutageMinutes(i64),
}

#[derive(Clone, Debug)]
enum Act {
    Tick,
    /// A request of before, exactly as it was.
    Again(usize),
    Register(usize),
    LogIn,
    LogOut,
    DeleteUser(usize),
    SetRole(usize, u8),
    Import(u8),
    Reserve(usize, Slot),
    CheckIn(u64),
    CheckOut(u64),
    Cancel(u64),
    Join(u8, bool, Slot),
    Leave(u64),
    Accept(u64),
    Decline(u64),
    Send(Vec<usize>),
    Broadcast,
    DeleteMessage(usize),
    Read(u64),
}

/// Half hours from the slot now running on, or nonsense.
#[derive(Clone, Debug)]
enum Slot {
    Near { start: i64, halves: i64 },
    Days { days: i64, start: i64, halves: i64 },
    Raw(i64, i64),
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        20 => (0..5i64, 1..9i64).prop_map(|(start, halves)| Slot::Near { start, halves }),
        3 => (-1..16i64, 0..48i64, 1..24i64).prop_map(|(days, start, halves)| Slot::Days { days, start, halves }),
        1 => (any::<i64>(), any::<i64>()).prop_map(|(start, end)| Slot::Raw(start, end)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    // Ids count back from the newest: most of what people do is about what has just happened.
    let recent = || prop_oneof![6 => Just(0), 4 => 0..4u64, 1 => any::<u64>()];
    prop_oneof![
        2 => Just(Act::Tick),
        6 => (0..8usize).prop_map(Act::Again),
        1 => (0..NAMES.len()).prop_map(Act::Register),
        1 => Just(Act::LogIn),
        1 => Just(Act::LogOut),
        1 => (0..NAMES.len()).prop_map(Act::DeleteUser),
        1 => (0..NAMES.len(), 0..6u8).prop_map(|(user, role)| Act::SetRole(user, role)),
        1 => (0..6u8).prop_map(Act::Import),
        14 => (prop_oneof![3 => 0..4usize, 1 => 0..SEATS.len()], slot()).prop_map(|(seat, slot)| Act::Reserve(seat, slot)),
        6 => recent().prop_map(Act::CheckIn),
        4 => recent().prop_map(Act::CheckOut),
        6 => recent().prop_map(Act::Cancel),
        12 => (prop_oneof![2 => 9..12u8, 1 => 0..4u8, 1 => 0..9u8], prop::bool::weighted(0.2), slot()).prop_map(|(place, picky, slot)| Act::Join(place, picky, slot)),
        2 => recent().prop_map(Act::Leave),
        5 => recent().prop_map(Act::Accept),
        3 => recent().prop_map(Act::Decline),
        3 => proptest::collection::vec(0..NAMES.len(), 0..4).prop_map(Act::Send),
        1 => Just(Act::Broadcast),
        2 => (0..4usize).prop_map(Act::DeleteMessage),
        2 => prop_oneof![0..5u64, any::<u64>()].prop_map(Act::Read),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let gap = prop_oneof![
        30 => Just(Gap::Nothing),
        10 => (1..SECOND_US).prop_map(Gap::Micros),
        20 => (1..16i64).prop_map(Gap::Minutes),
        3 => (1..30i64).prop_map(Gap::OutageMinutes),
        1 => (30..20_000i64).prop_map(Gap::OutageMinutes),
    ];
    let retry = prop_oneof![2 => Just(Id::None), 6 => Just(Id::Fresh), 1 => (0..6u8).prop_map(Id::Common)];
    let by = (0..NAMES.len(), prop_oneof![4 => Just(0u8), 1 => Just(1)]);
    (gap, by, retry, act()).prop_map(|(gap, mut by, retry, act)| {
        if matches!(act, Act::Import(_) | Act::SetRole(..) | Act::Broadcast) {
            by.0 %= 2;
        }
        Step { gap, by, retry, act }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..120)
}

/// A library with people in it, and the log of everything that was applied.
struct World {
    state: State,
    log: Vec<(At, Request)>,
    answers: Vec<Applied>,
    tokens: BTreeMap<(usize, u8), TokenDigest>,
    drawn: u64,
    users: BTreeMap<TokenDigest, UserId>,
    /// Requests with ids, as they were sent.
    requests: Vec<Request>,
    filled: (u64, i64),
    sent: Vec<Position>,
}

impl World {
    fn open() -> Self {
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
        let draft = Box::new(library::draft());
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

    fn now(&self) -> Timestamp {
        self.state.at().time
    }

    fn apply(&mut self, time: Timestamp, request: Request) -> &Applied {
        let at = At { index: self.log.len() as u64 + 1, time };
        let applied = self.state.apply(at, &request);
        self.log.push((at, request));
        self.answers.push(applied);
        self.answers.last().expect("pushed above")
    }

    fn fill_calendar(&mut self) {
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

    fn pass(&mut self, gap: &Gap) {
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
    fn take(&mut self, step: &Step) -> Option<(Request, Option<UserId>, Applied)> {
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

    fn come_back(&mut self, (who, device): (usize, u8)) {
        if device == 1 || self.state.viewer(self.tokens[&(who, device)]).is_ok() {
            return;
        }
        if self.state.find_user(&name(who)).is_none() {
            self.apply(self.now(), anonymous(Action::Register { name: name(who), password: password() }));
        }
        let request = self.log_in(who, device);
        self.apply(self.now(), request);
    }

    fn log_in(&mut self, who: usize, device: u8) -> Request {
        self.drawn += 1;
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.drawn.to_be_bytes());
        let token = TokenDigest(token);
        let user = self.state.find_user(&name(who)).unwrap_or(UserId(u64::MAX));
        self.tokens.insert((who, device), token);
        self.users.insert(token, user);
        anonymous(Action::StartSession { user, password: password(), token })
    }

    fn retry(&mut self, id: &Id, action: &Action) -> Option<RetryKey> {
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

    fn request(&mut self, step: &Step) -> Option<Request> {
        let user = self.state.find_user(&name(step.by.0));
        let claim = |back: u64| {
            // Mostly about what is still going on.
            let wanted = |claim: &Claim| back > 1 || claim.state.is_blocking();
            let own = user.map(|user| self.state.reservations(user, wanted, None, 5).items).unwrap_or_default();
            own.get(back as usize).map_or(ClaimId(back), |view| view.claim.id)
        };
        let wait = |back: u64| {
            let own = user.map(|user| self.state.waits(user, None, 100).items).unwrap_or_default();
            own.iter().rev().nth(back as usize).map_or(WaitId(back), |view| view.wait.id)
        };
        let action = match &step.act {
            Act::Tick => return Some(Request::system(Action::Tick)),
            Act::Register(who) => {
                let action = Action::Register { name: name(*who), password: password() };
                return Some(Request { retry: self.retry(&step.retry, &action), ..anonymous(action) });
            }
            Act::Again(back) => {
                let place = self.requests.len().checked_sub(back + 1)?;
                return Some(self.requests[place].clone());
            }
            Act::LogIn => return Some(self.log_in(step.by.0, step.by.1)),
            Act::LogOut => Action::EndSession,
            Act::DeleteUser(who) => Action::DeleteUser { name: name(*who) },
            Act::SetRole(who, role) => {
                let role = match role {
                    0 => Role::Librarian(vec![slug("main")]),
                    1 => Role::Librarian(vec![slug("annex"), slug("main"), slug("annex")]),
                    2 => Role::Admin,
                    3 => Role::Auditor,
                    4 => Role::Kiosk,
                    _ => Role::Patron,
                };
                Action::SetRole { name: name(*who), role }
            }
            Act::Import(change) => {
                let mut draft = library::draft();
                match change {
                    0 => draft.branches.truncate(1),
                    1 => {
                        let seat = draft.branches[0].areas[1].seats.remove(0);
                        draft.branches[0].areas[0].seats.push(seat);
                    }
                    2 => draft.branches[0].hours = library::weekly(10 * 60, 16 * 60),
                    3 => draft.branches[0].areas[0].seats.truncate(1),
                    4 => {
                        draft.policies[0].rules.grid_minutes = 60;
                        draft.policies[0].rules.min_minutes = 60;
                        draft.policies[0].rules.max_reservations = 1;
                        draft.policies[0].rules.strikes_to_suspend = 1;
                    }
                    _ => {}
                }
                Action::ImportCatalog { draft: Box::new(draft), expected_revision: None }
            }
            Act::Reserve(seat, slot) => {
                let (branch, seat) = SEATS[*seat];
                let seat = SeatName { branch: slug(branch), seat: slug(seat) };
                Action::Reserve { seat, interval: self.interval(slot)? }
            }
            Act::CheckIn(back) => Action::CheckIn { claim: claim(*back) },
            Act::CheckOut(back) => Action::CheckOut { claim: claim(*back) },
            Act::Cancel(back) => Action::Cancel { claim: claim(*back) },
            Act::Join(place, picky, slot) => {
                let place = match usize::from(*place) {
                    9 => Place::Area { branch: slug("main"), area: slug("reading-room") },
                    10 => Place::Area { branch: slug("main"), area: slug("night") },
                    11 => Place::Branch { branch: slug("main") },
                    seat => Place::Seat { branch: slug(SEATS[seat].0), seat: slug(SEATS[seat].1) },
                };
                let amenities = if *picky { vec![title("power"), title("power")] } else { Vec::new() };
                let need = Need { place, amenities, accessible: false };
                Action::JoinWaitlist { need, interval: self.interval(slot)? }
            }
            Act::Leave(back) => Action::LeaveWaitlist { wait: wait(*back) },
            Act::Accept(back) => Action::AcceptOffer { claim: claim(*back) },
            Act::Decline(back) => Action::DeclineOffer { claim: claim(*back) },
            Act::Send(to) => {
                Action::SendMessage { recipients: to.iter().map(|&who| name(who)).collect(), text: text() }
            }
            Act::Broadcast => Action::Broadcast { text: text() },
            Act::DeleteMessage(back) => {
                let place = self.sent.len().checked_sub(back + 1);
                Action::DeleteMessage { message: place.map(|place| self.sent[place]).unwrap_or_default() }
            }
            Act::Read(back) => {
                let index = (self.log.len() as u64).wrapping_sub(*back);
                Action::AdvanceReadCursor { up_to: Position { index, ordinal: u32::MAX } }
            }
        };
        let token = self.tokens[&step.by];
        let retry = self.retry(&step.retry, &action);
        Some(Request { caller: Caller::Session(token), retry, action })
    }

    fn interval(&self, slot: &Slot) -> Option<Interval> {
        let half = 30 * MINUTE_US;
        let running = self.now().0.div_euclid(half) * half;
        let (start, end) = match *slot {
            Slot::Near { start, halves } => (running + start * half, running + (start + halves) * half),
            Slot::Days { days, start, halves } => {
                let start = running.div_euclid(DAY_US) * DAY_US + days * DAY_US + start * half;
                (start, start + halves * half)
            }
            Slot::Raw(start, end) => (start, end),
        };
        Interval::new(Timestamp(start), Timestamp(end)).ok()
    }
}

fn name(who: usize) -> UserName {
    UserName::new(NAMES[who]).expect("a name")
}

fn password() -> PasswordHash {
    PasswordHash(Arc::from("hash"))
}

fn text() -> MessageText {
    MessageText::new("hello").expect("a text")
}

fn anonymous(action: Action) -> Request {
    Request { caller: Caller::Anonymous, retry: None, action }
}

fn bytes(state: &State) -> Vec<u8> {
    snapshot(state.clone()).flatten().collect()
}

/// Written, cut into pieces of any size, and read again.
fn through_a_snapshot(state: &State, pieces: &[usize]) -> State {
    let written = bytes(state);
    let (mut reader, mut rest, mut sizes) = (SnapshotReader::default(), written.as_slice(), pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().expect("a cycle")));
        reader.read(piece).expect("what was written");
        rest = after;
    }
    reader.finish().expect("what was written")
}

/// What holds between one state and the next.
#[derive(Default)]
struct Witness {
    claims: BTreeMap<ClaimId, Claim>,
    read_up_to: BTreeMap<UserId, Position>,
    first_answers: BTreeMap<(Option<UserId>, RequestId), Answer>,
}

impl Witness {
    fn watch(&mut self, applied: &Applied) -> Result<(), TestCaseError> {
        for event in &applied.events {
            let Event::ClaimChanged(claim) = event else { continue };
            let before = self.claims.insert(claim.id, claim.clone());
            match before {
                Some(before) => {
                    prop_assert!(before.state.is_blocking(), "I6: {before:?} became {claim:?}");
                    prop_assert_eq!(claim.revision, before.revision + 1);
                    prop_assert_eq!((claim.seat, claim.interval), (before.seat, before.interval));
                }
                None => prop_assert_eq!(claim.revision, 1),
            }
        }
        Ok(())
    }

    /// I5: a repetition is answered as the first time; only what has been deleted since is not told again.
    fn compare(&mut self, user: Option<UserId>, retry: RetryKey, answer: &Answer) -> Result<(), TestCaseError> {
        if answer.replayed {
            let first = &self.first_answers[&(user, retry.id)];
            prop_assert_eq!(first.at, answer.at);
            if answer.result != Err(Refusal::MessageNotFound) {
                prop_assert_eq!(without_names(&first.result), without_names(&answer.result));
            }
        } else {
            self.first_answers.insert((user, retry.id), answer.clone());
        }
        Ok(())
    }
}

/// Names of those who are gone are not told again.
fn without_names(result: &Result<Reply, Refusal>) -> Result<Reply, Refusal> {
    let mut result = result.clone();
    match &mut result {
        Ok(Reply::Claim(view)) => view.holder = None,
        Ok(Reply::Wait(view)) => view.user = None,
        Ok(Reply::Message(view)) => {
            view.sender = None;
            view.recipients.fill(None);
        }
        _ => {}
    }
    result
}

fn few(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // What fails becomes a story; nothing is written beside the tests.
    let failure_persistence = None;
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        max_shrink_iters: 20_000,
        failure_persistence,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(few(96))]

    #[test]
    fn invariants_hold_after_every_entry(steps in steps()) {
        let mut world = World::open();
        let mut witness = Witness::default();
        let mut seen = 0;
        for step in &steps {
            let taken = world.take(step);
            for applied in &world.answers[seen..] {
                witness.watch(applied)?;
            }
            seen = world.answers.len();
            let violations = invariants::check(&world.state);
            prop_assert!(violations.is_empty(), "after {:?}: {:#?}", taken, violations);
            if let Some((Request { retry: Some(retry), .. }, owner, applied)) = &taken
                && !matches!(
                    applied.reply.result,
                    Err(Refusal::RequestIdReused | Refusal::SessionExpired | Refusal::TooManyRequests)
                )
            {
                witness.compare(*owner, *retry, &applied.reply)?;
            }
            for (who, shown) in NAMES.iter().enumerate() {
                if let Some(user) = world.state.find_user(&name(who)) {
                    let before = witness.read_up_to.insert(user, world.state.read_up_to(user)).unwrap_or_default();
                    prop_assert!(before <= world.state.read_up_to(user), "I13: the cursor of {shown} went back");
                }
            }
        }
    }

    #[test]
    fn a_state_from_a_snapshot_is_the_state(
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        pieces in proptest::collection::vec(1..3000usize, 1..5),
    ) {
        let mut world = World::open();
        for step in &steps {
            world.take(step);
        }
        let cut = cut.index(world.log.len() + 1);
        let mut replica = State::default();
        let (head, tail) = world.log.split_at(cut);
        for (at, request) in head {
            replica.apply(*at, request);
        }
        let mut restored = through_a_snapshot(&replica, &pieces);
        prop_assert_eq!(invariants::check(&restored), vec![]);
        prop_assert_eq!(bytes(&replica), bytes(&restored));
        for ((at, request), answer) in tail.iter().zip(&world.answers[cut..]) {
            prop_assert_eq!(replica.next_deadline(), restored.next_deadline());
            prop_assert_eq!(&replica.apply(*at, request), answer);
            prop_assert_eq!(&restored.apply(*at, request), answer);
        }
        prop_assert_eq!(bytes(&world.state), bytes(&replica));
        prop_assert_eq!(bytes(&world.state), bytes(&restored));
        for (_, request) in world.log.iter().take(200) {
            prop_assert_eq!(&decode::<Request>(&encode(request)).expect("what was written"), request);
        }
        for answer in &world.answers {
            prop_assert_eq!(&decode::<Answer>(&encode(&answer.reply)).expect("what was written"), &answer.reply);
        }
    }

    #[test]
    fn reading_never_panics_and_pages_are_whole(
        steps in proptest::collection::vec(step(), 1..40),
        slot in slot(),
        after in (any::<u64>(), any::<u32>()),
        extreme in any::<bool>(),
        limit in 0..9usize,
        glob in "[a-d*?]{0,3}",
    ) {
        let mut world = World::open();
        for step in &steps {
            world.take(step);
        }
        let state = &world.state;
        let after = if extreme { Position::end_of(u64::MAX) } else { Position { index: after.0 % 500, ordinal: after.1 } };
        let interval = world.interval(&slot);
        for (branch, seat) in SEATS {
            let seat = SeatName { branch: slug(branch), seat: slug(seat) };
            let _ = state.seat_timetable(&seat);
            if let Some(interval) = interval {
                let _ = state.alternatives(&seat, interval);
            }
            let mut search = SeatSearch {
                branch: slug(branch),
                area: None,
                amenities: Vec::new(),
                accessible: false,
                interval,
                available_only: extreme,
                after: None,
                limit: usize::MAX,
            };
            let Ok(all) = state.search_seats(&search) else { continue };
            (search.limit, search.after) = (limit.max(1), None);
            let mut paged = Vec::new();
            loop {
                let page = state.search_seats(&search).expect("it was found before");
                search.after = page.items.last().map(|seat| seat.id);
                paged.extend(page.items);
                if !page.more {
                    break;
                }
            }
            prop_assert_eq!(paged, all.items);
        }
        let _ = state.branches();
        let glob = Glob::new(&glob).expect("a glob");
        let matching = state.users(&glob, None, usize::MAX).items;
        let names = state.users(&Glob::new("*").expect("a glob"), None, usize::MAX).items;
        prop_assert_eq!(&matching, &names.iter().filter(|user| glob.matches(&user.name)).cloned().collect::<Vec<_>>());
        if let Some(first) = matching.first() {
            prop_assert_eq!(&matching[1..], state.users(&glob, Some(&first.name), usize::MAX).items);
        }
        for user in names.iter().map(|user| user.id) {
            let all = state.inbox(user, Position::default(), usize::MAX).items;
            prop_assert!(all.is_sorted_by_key(|item| item.position));
            let later: Vec<_> = all.iter().filter(|item| item.position > after).cloned().collect();
            prop_assert_eq!(later, state.inbox(user, after, usize::MAX).items);
            let _ = state.messages(user, Some(user), after, limit);
            let claims = state.reservations(user, |_| true, None, usize::MAX).items;
            for (place, view) in claims.iter().enumerate() {
                let older = state.reservations(user, |_| true, Some(view.claim.id), usize::MAX).items;
                prop_assert_eq!(&claims[place + 1..], older);
            }
            let _ = state.reservations(user, |_| true, Some(ClaimId(u64::MAX)), limit);
            let _ = state.reservation(user, ClaimId(u64::MAX));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), versioned in any::<bool>()) {
        if versioned && let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
        let mut reader = SnapshotReader::default();
        if reader.read(&bytes).is_ok() {
            prop_assert!(reader.finish().is_err(), "a snapshot has an end");
        }
    }

    #[test]
    fn damaged_snapshots_are_refused_or_read(steps in proptest::collection::vec(step(), 1..20), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut world = World::open();
        for step in &steps {
            world.take(step);
        }
        let mut written = bytes(&world.state);
        let at = at.index(written.len());
        written[at] ^= flip;
        let mut reader = SnapshotReader::default();
        if reader.read(&written).is_ok() {
            let _ = reader.finish();
        }
    }
}

/// A record that was written over leaves its place in the queue behind, which a snapshot does not have: old records
/// must be cleared alike with and without it, also while more are due than one entry clears.
#[test]
fn old_records_are_cleared_alike_after_a_snapshot() {
    let mut world = World::open();
    let seat = SeatName { branch: slug("main"), seat: slug("nowhere") };
    let interval = world.interval(&Slot::Near { start: 0, halves: 1 }).expect("half an hour");
    let action = Action::Reserve { seat, interval };
    let caller = Caller::Session(world.tokens[&(1, 0)]);
    let request = |id| {
        let retry = Some(RetryKey { id: RequestId(id), digest: 1 });
        Request { caller, retry, action: action.clone() }
    };
    for id in 0..1000 {
        world.apply(world.now(), request(id));
    }
    world.pass(&Gap::OutageMinutes(16));
    assert!(!world.apply(world.now(), request(700)).reply.replayed);
    let mut restored = through_a_snapshot(&world.state, &[4096]);
    for _ in 0..20 {
        world.apply(world.now(), Request::system(Action::Tick));
        let (at, request) = world.log.last().expect("applied above");
        restored.apply(*at, request);
        assert!(bytes(&world.state) == bytes(&restored), "replica and restored replica differ");
    }
}
