//! A retry is free: what a request with an id has decided is remembered, in the state and in its snapshots, so that
//! the same request through any node, after any failover, gives the same answer once.

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimState};
use crate::id::{ClaimId, PolicyId, Position, RequestId, SeatId, UserId, WaitId};
use crate::inbox::Stream;
use crate::query::{ClaimView, UserView};
use crate::refusal::Refusal;
use crate::reply::{Answer, ClosureSummary, ImportSummary, Reply};
use crate::request::{At, RetryKey};
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
    by_user: Table<Places>,
    anonymous: Places,
    /// How many places there are.
    pub kept: usize,
    /// The place of the oldest.
    pub first: u64,
    /// Oldest first. What was written over stays until its time, and no place leads to it.
    pub queue: Vector<(Owner, RequestId, Record)>,
}

/// Where in the queue the record of a request lies.
pub(crate) type Places = OrdMap<RequestId, u64>;

impl Records {
    /// Of one owner, as many as are kept.
    pub fn places(&self, owner: Owner) -> Option<&Places> {
        match owner {
            Some(user) => self.by_user.get(user.0 as usize),
            None => Some(&self.anonymous),
        }
    }

    /// Everybody who ever had one.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        (0..self.by_user.len()).map(|user| Some(UserId(user as u64))).chain([None])
    }

    fn places_mut(&mut self, owner: Owner) -> &mut Places {
        let Some(user) = owner else { return &mut self.anonymous };
        while self.by_user.len() <= user.0 as usize {
            self.by_user.push(Places::new());
        }
        self.by_user.get_mut(user.0 as usize).expect("grown above")
    }

    fn place(&self, owner: Owner, id: RequestId) -> Option<u64> {
        self.places(owner)?.get(&id).copied()
    }

    fn get(&self, owner: Owner, id: RequestId) -> Option<&Record> {
        let place = self.place(owner, id)?;
        let (.., record) = self.queue.get(usize::try_from(place - self.first).ok()?)?;
        Some(record)
    }

    pub fn keep(&mut self, owner: Owner, id: RequestId, record: Record) {
        let place = self.first + self.queue.len() as u64;
        self.queue.push_back((owner, id, record));
        // Over an old record that is not cleared away yet, it is no more than there were.
        if self.places_mut(owner).insert(id, place).is_none() {
            self.kept += 1;
        }
    }

    /// Takes out the oldest if it is that old: whether it had been written over meanwhile.
    fn clear(&mut self, now: Timestamp) -> Option<bool> {
        let (.., oldest) = self.queue.front()?;
        if now < oldest.at.time.plus_us(RECORD_US) {
            return None;
        }
        let (owner, id, _) = self.queue.pop_front()?;
        let place = self.first;
        self.first += 1;
        let written_over = self.place(owner, id) != Some(place);
        if !written_over {
            self.places_mut(owner).remove(&id);
            self.kept -= 1;
        }
        Some(written_over)
    }

    /// Oldest first, without what was written over.
    pub fn into_kept(self) -> impl Iterator<Item = (Owner, RequestId, Record)> {
        let queue = self.queue.clone();
        (self.first..).zip(queue).filter_map(move |(place, (owner, id, record))| {
            (self.place(owner, id) == Some(place)).then_some((owner, id, record))
        })
    }
}

impl State {
    /// The answer to a repetition, or nothing if this is the first time.
    pub(crate) fn recorded(&self, owner: Owner, retry: RetryKey, now: Timestamp) -> Result<Option<Answer>, Refusal> {
        let young = |record: &&Record| now < record.at.time.plus_us(RECORD_US);
        let Some(record) = self.records.get(owner, retry.id).filter(young) else { return Ok(None) };
        if record.digest != retry.digest {
            return Err(Refusal::RequestIdReused);
        }
        Ok(Some(Answer { result: self.rebuilt(&record.outcome), at: record.at, replayed: true }))
    }

    pub(crate) fn may_record(&self, owner: Owner) -> Result<(), Refusal> {
        let count = self.records.places(owner).map_or(0, Places::len);
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

    /// A claim as it was when it was answered with.
    fn claim_then(&self, then: &ClaimThen) -> Result<ClaimView, Refusal> {
        let ClaimThen { id, seat, interval, state, policy, revision, changed_at } = *then;
        let claim = self.claims.get(id).ok_or(Refusal::ReservationNotFound)?;
        Ok(self.claim_view(&Claim { seat, interval, state, policy, revision, changed_at, ..claim.clone() }))
    }
}
