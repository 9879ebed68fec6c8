//! A retry is free: what a request with an id has decided is remembered, in the state and in its snapshots, so that
//! the same request through any node, after any failover, gives the same answer once.

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, ClaimState};
use crate::id::{ClaimId, Position, RequestId, UserId, WaitId};
use crate::inbox::Stream;
use crate::query::{ClaimView, UserView};
use crate::refusal::Refusal;
use crate::reply::{Answer, ImportSummary, Reply};
use crate::request::{At, RetryKey};
use crate::state::State;
use crate::table::Table;
use crate::time::{MINUTE_US, Timestamp};
use crate::waitlist::{Wait, WaitState};

/// Log time for which a record is kept. Clients stop repeating after 5 minutes.
pub const RECORD_US: i64 = 15 * MINUTE_US;
/// New mutations are refused beyond; young records are never evicted.
pub const RECORDS_PER_USER_MAX: u32 = 10_000;
/// Registrations share one account, so that it must bear an enrolment day.
pub const ANONYMOUS_RECORDS_MAX: u32 = 100_000;
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
    /// What may have changed since; the rest of a claim never does.
    Claim {
        id: ClaimId,
        state: ClaimState,
        revision: u32,
        changed_at: Timestamp,
    },
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
    Refused(Refusal),
}

/// The queue is written at its ends only, and the places, which are all over it, are small: a record costs little even
/// while somebody holds a view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    /// Where in the queue the record of a request lies.
    pub places: OrdMap<(Owner, RequestId), u64>,
    /// The place of the oldest.
    pub first: u64,
    /// Oldest first. What was written over stays until its time, and no place leads to it.
    pub queue: Vector<(Owner, RequestId, Record)>,
    pub anonymous_count: u32,
    /// By user id; also of those who are gone.
    counts: Table<u32>,
}

impl Records {
    /// How many are kept.
    pub fn count(&self, owner: Owner) -> u32 {
        match owner {
            Some(user) => self.counts.get(user.0 as usize).copied().unwrap_or(0),
            None => self.anonymous_count,
        }
    }

    fn count_mut(&mut self, owner: Owner) -> &mut u32 {
        let Some(user) = owner else { return &mut self.anonymous_count };
        while self.counts.len() <= user.0 as usize {
            self.counts.push(0);
        }
        self.counts.get_mut(user.0 as usize).expect("grown above")
    }

    fn get(&self, owner: Owner, id: RequestId) -> Option<&Record> {
        let place = self.places.get(&(owner, id))?;
        let (.., record) = self.queue.get(usize::try_from(place - self.first).ok()?)?;
        Some(record)
    }

    pub fn keep(&mut self, owner: Owner, id: RequestId, record: Record) {
        let place = self.first + self.queue.len() as u64;
        self.queue.push_back((owner, id, record));
        // Over an old record that is not cleared away yet, it is no more than there were.
        if self.places.insert((owner, id), place).is_none() {
            *self.count_mut(owner) += 1;
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
        let written_over = self.places.get(&(owner, id)) != Some(&place);
        if !written_over {
            self.places.remove(&(owner, id));
            *self.count_mut(owner) -= 1;
        }
        Some(written_over)
    }

    /// Oldest first, without what was written over.
    pub fn into_kept(self) -> impl Iterator<Item = (Owner, RequestId, Record)> {
        let (places, first) = (self.places, self.first);
        let is_kept = move |place, owner, id| places.get(&(owner, id)) == Some(&place);
        (first..)
            .zip(self.queue)
            .filter_map(move |(place, (owner, id, record))| is_kept(place, owner, id).then_some((owner, id, record)))
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
        let count = self.records.count(owner);
        let max = if owner.is_some() { RECORDS_PER_USER_MAX } else { ANONYMOUS_RECORDS_MAX };
        if count >= max || self.records.places.len() >= RECORDS_MAX { Err(Refusal::TooManyRequests) } else { Ok(()) }
    }

    pub(crate) fn record(&mut self, owner: Owner, retry: RetryKey, answer: &Answer) {
        let outcome = match &answer.result {
            Ok(reply) => match reply {
                Reply::Done => Outcome::Done,
                Reply::User(user) => Outcome::User(Box::new(user.clone())),
                // Log-ins are not recorded: the answer holds a secret.
                Reply::Session { .. } => return,
                Reply::Catalog(summary) => Outcome::Catalog(Box::new(*summary)),
                Reply::Claim(ClaimView { claim, .. }) => Outcome::Claim {
                    id: claim.id,
                    state: claim.state,
                    revision: claim.revision,
                    changed_at: claim.changed_at,
                },
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
            Outcome::Claim { id, state, revision, changed_at } => match self.claims.get(*id) {
                Some(claim) => {
                    let (state, revision, changed_at) = (*state, *revision, *changed_at);
                    let then = Claim { state, revision, changed_at, ..claim.clone() };
                    Ok(Reply::Claim(self.claim_view(&then)))
                }
                None => Err(Refusal::ReservationNotFound),
            },
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
}
