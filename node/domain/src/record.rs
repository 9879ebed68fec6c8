//! A retry is free: what a request with an id has decided is remembered, in the state and in its snapshots, so that
//! the same request through any node, after any failover, gives the same answer once.

use std::hash::{DefaultHasher, Hasher};

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimState, StateName};
use crate::id::{ClaimId, PolicyId, Position, RequestId, SeatId, UserId, WaitId};
use crate::inbox::Stream;
use crate::query::{ClaimView, UserView};
use crate::refusal::Refusal;
use crate::reply::{Answer, ClosureSummary, ImportSummary, Reply};
use crate::request::{At, RetryKey};
use crate::scroll::Scroll;
use crate::state::State;
use crate::table::Table;
use crate::time::{Interval, MINUTE_US, Timestamp};
use crate::waitlist::{Wait, WaitState};

/// Log time for which a record is kept. Clients stop repeating after 5 minutes.
pub const RECORD_US: i64 = 15 * MINUTE_US;
/// New mutations are refused beyond; young records are never evicted.
pub const RECORDS_PER_USER_MAX: usize = 10_000;
/// Registrations share one account, so that it must bear an enrolment day.
pub const ANONYMOUS_RECORDS_MAX: usize = 100_000;
pub const RECORDS_MAX: usize = 16_000_000;
/// Old records that one entry clears away, so that none takes long; more are cleared than are ever added.
const EVICTIONS_PER_ENTRY: usize = 64;

/// Whose record it is; none: registrations.
pub(crate) type Owner = Option<UserId>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub at: At,
    pub digest: u64,
    pub outcome: Outcome,
}

/// An answer, as small as it can be rebuilt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    /// Rare enough to be kept whole: registrations and changes of roles.
    User(Box<UserView>),
    Catalog(Box<ImportSummary>),
    Claim(ClaimThen),
    Wait {
        id: WaitId,
        state: WaitState,
    },
    /// In the stream where the copy lies: once that is deleted, all that a repetition learns is that it is gone.
    Message {
        stream: Stream,
        position: Position,
    },
    Unread {
        count: u32,
    },
    /// At most 31.
    Claims(Vec<Result<ClaimThen, Refusal>>),
    Closure(ClosureSummary),
    Refused(Refusal),
}

/// What may have changed of a claim since; the rest of it never does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimThen {
    id: ClaimId,
    seat: SeatId,
    interval: Interval,
    state: ClaimState,
    policy: PolicyId,
    revision: u32,
    changed_at: Timestamp,
}

impl From<&ClaimView> for ClaimThen {
    fn from(ClaimView { claim, .. }: &ClaimView) -> Self {
        let Claim { id, seat, interval, state, policy, revision, changed_at, .. } = *claim;
        Self { id, seat, interval, state, policy, revision, changed_at }
    }
}

/// The queue is written at its ends only. The places are all over it, so they lie with their owners: one short way down
/// a table to a handful of them costs little to write even while somebody holds a view, where a way down one large map
/// of all requests cost half of a booking.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    /// By user id; also of those who are gone.
    pub by_user: Table<Places>,
    pub anonymous: Places,
    /// How many places there are.
    pub kept: usize,
    /// Oldest first. What was written over stays until its time, and no place leads to it.
    pub queue: Scroll<Noted>,
}

/// Where in the queue the records of somebody lie: the lower half of the place, below what [`tag`] makes of the
/// request's id. The ids themselves are in the queue, and are twice as large as all of this.
pub(crate) type Places = OrdSet<u64>;

/// As it lies in the queue, with what is looked at most in front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Noted {
    at: At,
    owner: Owner,
    /// As they are: drawn at random, as numbers they are longer.
    id: [u8; 16],
    digest: [u8; 8],
    outcome: Lying,
}

impl Noted {
    fn record(self) -> Record {
        let Self { at, digest, outcome, .. } = self;
        Record { at, digest: u64::from_le_bytes(digest), outcome: outcome.outcome(at) }
    }
}

/// An outcome in the queue. Most are claims, of which all times are near each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Lying {
    Near(Near),
    Other(Outcome),
}

/// [`ClaimThen`] in the fewest bytes, with times as distances in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Near {
    id: ClaimId,
    seat: SeatId,
    /// From the record.
    start_us: i64,
    length_us: i64,
    state: StateName,
    /// From the start; of a state that has one.
    deadline_us: i64,
    policy: PolicyId,
    revision: u32,
    /// Before the record.
    changed_us: i64,
}

impl Lying {
    fn of(at: At, outcome: Outcome) -> Self {
        let near = match &outcome {
            Outcome::Claim(then) => Near::of(at.time, then),
            _ => None,
        };
        near.map_or(Self::Other(outcome), Self::Near)
    }

    fn outcome(self, at: At) -> Outcome {
        match self {
            Self::Near(near) => Outcome::Claim(near.then(at.time).expect("it was near when it was put there")),
            Self::Other(outcome) => outcome,
        }
    }
}

impl Near {
    /// None: it cannot be said so.
    fn of(at: Timestamp, then: &ClaimThen) -> Option<Self> {
        let ClaimThen { id, seat, interval, state, policy, revision, changed_at } = *then;
        let deadline = state.own_deadline().unwrap_or(interval.start());
        let near = Self {
            id,
            seat,
            start_us: interval.start().0.checked_sub(at.0)?,
            length_us: interval.length_us(),
            state: state.name(),
            deadline_us: deadline.0.checked_sub(interval.start().0)?,
            policy,
            revision,
            changed_us: at.0.checked_sub(changed_at.0)?,
        };
        (near.then(at).as_ref() == Some(then)).then_some(near)
    }

    fn then(self, at: Timestamp) -> Option<ClaimThen> {
        let Self { id, seat, start_us, length_us, state, deadline_us, policy, revision, changed_us } = self;
        let start = at.plus_us(start_us);
        let deadline = start.plus_us(deadline_us);
        let interval = Interval::new(start, start.plus_us(length_us)).ok()?;
        let changed_at = Timestamp(at.0.checked_sub(changed_us)?);
        Some(ClaimThen { id, seat, interval, state: state.with(deadline), policy, revision, changed_at })
    }
}

/// Spreads ids that people choose, so that nobody easily makes many that look alike. Nothing follows from it but how
/// fast a record is found.
fn tag(id: RequestId) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u128(id.0);
    hasher.finish() >> 32 << 32
}

/// There are fewer records than half of a place can tell apart.
fn key(id: RequestId, place: u64) -> u64 {
    tag(id) | place & u64::from(u32::MAX)
}

impl Records {
    /// How many of one owner are kept.
    fn count_of(&self, owner: Owner) -> usize {
        self.places(owner).map_or(0, Places::len)
    }

    fn places(&self, owner: Owner) -> Option<&Places> {
        match owner {
            Some(user) => self.by_user.get(user.0 as usize),
            None => Some(&self.anonymous),
        }
    }

    fn places_mut(&mut self, owner: Owner) -> &mut Places {
        let Some(user) = owner else { return &mut self.anonymous };
        while self.by_user.len() <= user.0 as usize {
            self.by_user.push(Places::new());
        }
        self.by_user.get_mut(user.0 as usize).expect("grown above")
    }

    fn whole_place(&self, key: u64) -> u64 {
        let first = self.queue.places().start;
        first + u64::from((key as u32).wrapping_sub(first as u32))
    }

    fn place(&self, owner: Owner, id: RequestId) -> Option<u64> {
        let alike = self.places(owner)?.range(tag(id)..=tag(id) | u64::from(u32::MAX));
        alike.map(|key| self.whole_place(*key)).find(|place| {
            let lies: Option<(At, Owner, [u8; 16])> = self.queue.begin(*place);
            lies.is_some_and(|(_, _, other)| other == id.0.to_le_bytes())
        })
    }

    fn get(&self, owner: Owner, id: RequestId) -> Option<Record> {
        let noted = self.queue.get(self.place(owner, id)?)?;
        Some(noted.record())
    }

    pub fn keep(&mut self, owner: Owner, id: RequestId, record: Record) {
        // Over an old record that is not cleared away yet, it is no more than there were.
        match self.place(owner, id) {
            Some(old) => {
                self.places_mut(owner).remove(&key(id, old));
            }
            None => self.kept += 1,
        }
        let Record { at, digest, outcome } = record;
        let outcome = Lying::of(at, outcome);
        let noted = Noted { at, owner, id: id.0.to_le_bytes(), digest: digest.to_le_bytes(), outcome };
        let place = self.queue.push(&noted);
        self.places_mut(owner).insert(key(id, place));
    }

    /// Takes out the oldest if it is that old: whether it had been written over meanwhile.
    fn clear(&mut self, now: Timestamp) -> Option<bool> {
        let place = self.queue.places().start;
        let oldest: At = self.queue.begin(place)?;
        if now < oldest.time.plus_us(RECORD_US) {
            return None;
        }
        let noted = self.queue.pop()?;
        let key = key(RequestId(u128::from_le_bytes(noted.id)), place);
        let written_over = !self.leads_to(noted.owner, key);
        if !written_over {
            self.places_mut(noted.owner).remove(&key);
            self.kept -= 1;
        }
        Some(written_over)
    }

    fn leads_to(&self, owner: Owner, key: u64) -> bool {
        self.places(owner).is_some_and(|places| places.contains(&key))
    }

    /// Oldest first, without what was written over.
    pub fn into_kept(self) -> impl Iterator<Item = (Owner, RequestId, Record)> {
        let queue = self.queue.clone();
        self.queue.places().zip(queue.into_things()).filter_map(move |(place, noted)| {
            let (owner, id) = (noted.owner, RequestId(u128::from_le_bytes(noted.id)));
            self.leads_to(owner, key(id, place)).then(|| (owner, id, noted.record()))
        })
    }

    /// What contradicts itself, for the invariants.
    pub fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        let owners = (0..self.by_user.len()).map(|user| Some(UserId(user as u64))).chain([None]);
        let places = owners.flat_map(|owner| {
            let keys = self.places(owner).into_iter().flatten();
            keys.map(move |key| (owner, self.whole_place(*key)))
        });
        let mut counted = 0;
        for (owner, place) in places {
            counted += 1;
            let lies: Option<(At, Owner, [u8; 16])> = self.queue.begin(place);
            let is_there = lies.is_some_and(|(_, of, id)| {
                of == owner && self.place(owner, RequestId(u128::from_le_bytes(id))) == Some(place)
            });
            if !is_there {
                found.push(format!("the record of {owner:?} at {place} is not in its place"));
            }
        }
        if self.kept != counted {
            found.push(format!("{counted} records are kept, not {}", self.kept));
        }
        let times: Vec<Timestamp> = self.queue.iter().map(|noted| noted.at.time).collect();
        if !times.is_sorted_by(|one, next| one < next) {
            found.push("the order of records is not that of time".to_owned());
        }
        found
    }
}

impl State {
    /// The answer to a repetition, or nothing if this is the first time.
    pub(crate) fn recorded(&self, owner: Owner, retry: RetryKey, now: Timestamp) -> Result<Option<Answer>, Refusal> {
        let young = |record: &Record| now < record.at.time.plus_us(RECORD_US);
        let Some(record) = self.records.get(owner, retry.id).filter(young) else { return Ok(None) };
        if record.digest != retry.digest {
            return Err(Refusal::RequestIdReused);
        }
        Ok(Some(Answer { result: self.rebuilt(&record.outcome), at: record.at, replayed: true }))
    }

    pub(crate) fn may_record(&self, owner: Owner) -> Result<(), Refusal> {
        let count = self.records.count_of(owner);
        let max = if owner.is_some() { RECORDS_PER_USER_MAX } else { ANONYMOUS_RECORDS_MAX };
        if count >= max || self.records.kept >= RECORDS_MAX { Err(Refusal::TooManyRequests) } else { Ok(()) }
    }

    pub(crate) fn record(&mut self, owner: Owner, retry: RetryKey, answer: &Answer) {
        let outcome = match &answer.result {
            Ok(reply) => match reply {
                Reply::Done => Outcome::Done,
                Reply::User(user) => Outcome::User(Box::new(user.clone())),
                // Log-ins are not recorded: the answer holds a secret.
                Reply::Session { .. } => return,
                Reply::Catalog(summary) => Outcome::Catalog(Box::new(*summary)),
                Reply::Claim(view) => Outcome::Claim(view.into()),
                Reply::Claims(views) => {
                    let then =
                        |outcome: &Result<ClaimView, Refusal>| outcome.as_ref().map(Into::into).map_err(|no| *no);
                    Outcome::Claims(views.iter().map(then).collect())
                }
                Reply::Closure(summary) => Outcome::Closure(*summary),
                Reply::Wait(view) => Outcome::Wait { id: view.wait.id, state: view.wait.state },
                Reply::Message(message) => Outcome::Message { stream: message.stream, position: message.position },
                Reply::Unread { count } => Outcome::Unread { count: *count },
            },
            Err(refusal) if refusal.is_recorded() => Outcome::Refused(*refusal),
            Err(_) => return,
        };
        let record = Record { at: answer.at, digest: retry.digest, outcome };
        self.records.keep(owner, retry.id, record);
    }

    pub(crate) fn evict_records(&mut self, now: Timestamp) {
        let mut cleared = 0;
        while cleared < EVICTIONS_PER_ENTRY
            && let Some(written_over) = self.records.clear(now)
        {
            // What was written over is not counted: a state from a snapshot does not have it.
            cleared += usize::from(!written_over);
        }
    }

    fn rebuilt(&self, outcome: &Outcome) -> Result<Reply, Refusal> {
        match outcome {
            Outcome::Done => Ok(Reply::Done),
            Outcome::User(user) => Ok(Reply::User(user.as_ref().clone())),
            Outcome::Catalog(summary) => Ok(Reply::Catalog(**summary)),
            Outcome::Claim(then) => self.claim_then(then).map(Reply::Claim),
            Outcome::Claims(outcomes) => {
                let then = |outcome: &Result<ClaimThen, Refusal>| match outcome {
                    Ok(then) => self.claim_then(then),
                    Err(refusal) => Err(*refusal),
                };
                Ok(Reply::Claims(outcomes.iter().map(then).collect()))
            }
            Outcome::Closure(summary) => Ok(Reply::Closure(*summary)),
            Outcome::Wait { id, state } => match self.waitlist.waits.get(id) {
                // Only who joins is answered with a live wait, and one that is over never changes.
                Some(wait) if state.is_live() => {
                    let then = Wait {
                        state: *state,
                        rank: id.0,
                        missed: 0,
                        passed: Vec::new(),
                        changed_at: wait.created_at,
                        ..wait.as_ref().clone()
                    };
                    Ok(Reply::Wait(self.wait_view(&then)))
                }
                Some(wait) => Ok(Reply::Wait(self.wait_view(wait))),
                None => Err(Refusal::WaitNotFound),
            },
            Outcome::Message { stream, position } => match self.inbox.items.get(&(*stream, *position)) {
                Some(item) => Ok(Reply::Message(self.message_view(*stream, *position, item))),
                None => Err(Refusal::MessageNotFound),
            },
            Outcome::Unread { count } => Ok(Reply::Unread { count: *count }),
            Outcome::Refused(refusal) => Err(*refusal),
        }
    }

    /// A claim as it was when it was answered with. What a request changed is held for longer than its record; who
    /// asked again for what was over long before may find that it has left the state meanwhile.
    fn claim_then(&self, then: &ClaimThen) -> Result<ClaimView, Refusal> {
        let ClaimThen { id, seat, interval, state, policy, revision, changed_at } = *then;
        let claim = self.claims.get(id).ok_or(Refusal::ReservationNotFound)?;
        Ok(self.claim_view(&Claim { seat, interval, state, policy, revision, changed_at, ..claim }))
    }
}
