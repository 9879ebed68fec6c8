//! The bytes of what is kept: requests in the log, answers between nodes, and the whole state in a snapshot.
//!
//! Every encoding begins with one version byte; the rest is postcard. A snapshot is that byte followed by parts, each
//! a postcard [`Part`], in a fixed order: what can be derived (books, deadlines, lines) is not in it. The same state
//! always gives the same bytes, so their hash is the state's. Golden files in `tests/golden/` hold what released
//! versions wrote.
//!
//! Everything is written in the lowest version that can say it. So a cluster in which nobody has used yet what is new
//! goes on with nodes of the release before, and one that comes later says which release it needs.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::account::{Live, Session, User};
use crate::audience::Reach;
use crate::audit::Entry;
use crate::catalog::Catalog;
use crate::claim::Claim;
use crate::deadline::Due;
use crate::history::{History, PseudonymSecret};
use crate::id::{BranchId, Position, RequestId, SeatId, TokenDigest, UserId, WebhookId};
use crate::import::KeptDay;
use crate::inbox::{Item, Stream};
use crate::mail::Mail;
use crate::outbox::Kept;
use crate::planted::{self, Bug};
use crate::presence::PresenceKey;
use crate::record::{Owner, Record};
use crate::request::At;
use crate::state::State;
use crate::time::{Interval, Timestamp};
use crate::waitlist::{DAYS_MAX, Wait, WaitState, days_of};
use crate::webhook::Webhook;

/// What this release knows beyond the first one, for those who decide whether something new may enter the log: see
/// [`Action::level`](crate::request::Action::level).
pub const LEVEL: u32 = 1;

/// Of requests and answers, the newest and the one before it.
pub const MESSAGE_VERSION: u8 = 3;
const MESSAGE_VERSION_OF_LEVEL_0: u8 = 2;
/// Of snapshots, the newest and the one before it: which has every claim there ever was.
pub const SNAPSHOT_VERSION: u8 = 3;
const SNAPSHOT_VERSION_OF_LEVEL_0: u8 = 2;
/// Parts are collected into chunks of about this size: small enough to encode between two breaths.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("nothing to decode")]
    Empty,
    #[error("written in format {found}, this release reads {known}: another release is needed")]
    UnknownVersion { found: u8, known: u8 },
    #[error("not a valid encoding")]
    Malformed(#[source] postcard::Error),
    #[error("bytes are left over after the end")]
    TrailingBytes,
    #[error("contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// A request or an answer that the first release knows, as bytes.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    encode_at(0, message)
}

/// One that releases from this level on know.
#[must_use]
pub fn encode_at<T: Serialize>(level: u32, message: &T) -> Vec<u8> {
    let version = if level == 0 { MESSAGE_VERSION_OF_LEVEL_0 } else { MESSAGE_VERSION };
    postcard::to_extend(message, vec![version]).expect("memory is the only thing that encoding needs")
}

/// # Errors
/// If the bytes are of another version, cut short, or not such a message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match take_first(bytes)? {
        (message, []) => Ok(message),
        (_, _) => Err(DecodeError::TrailingBytes),
    }
}

/// What a message begins with, whatever follows.
pub(crate) fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    take_first(bytes).map(|(first, _)| first)
}

fn take_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&(MESSAGE_VERSION | MESSAGE_VERSION_OF_LEVEL_0), body)) => {
            postcard::take_from_bytes(body).map_err(DecodeError::Malformed)
        }
        Some((&found, _)) => Err(DecodeError::UnknownVersion { found, known: MESSAGE_VERSION }),
    }
}

/// One piece of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Part {
    Head(Head),
    Catalog(Arc<Catalog>),
    Day(BranchId, KeptDay),
    /// In order of ids, deleted ones included.
    User(Option<Arc<User>>),
    Session(TokenDigest, Session),
    /// In order of ids, from the first one on that the head names; those in between that are missing were let go.
    Claim(Claim),
    Wait(Arc<Wait>),
    Item(Stream, Position, Arc<Item>),
    /// The newest item that a full stream let go of.
    LetGo(Stream, Position),
    /// Oldest first.
    Record(Owner, RequestId, Record),
    /// Nothing follows: a snapshot without it was cut short.
    End,
    /// Somebody keeps a relational record, and has everything up to there.
    Projected(u64),
    /// What it does not have yet; oldest first.
    Told(u64, Kept),
    /// Whom somebody has blocked.
    Blocks(UserId, Vec<UserId>),
    /// Behind all claims: what is in the relational record alone.
    History {
        count: u64,
        through: u64,
        next_claim: u64,
    },
    PseudonymSecret(PseudonymSecret),
    /// Until when a seat rests that somebody has left.
    Rest(SeatId, Timestamp),
    Reach(UserId, Arc<Reach>),
    /// Of the audit; oldest first.
    Trail(Box<Entry>),
    /// The newest of the audit that is gone.
    TrailLetGo(Position),
    Mail(UserId, Arc<Mail>),
    Webhook(WebhookId, Arc<Webhook>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    at: At,
    first_claim: u64,
    next_wait: u64,
    presence_key: Option<PresenceKey>,
}

/// The bytes of a snapshot, in chunks. Takes a clone of the state, so that applying goes on meanwhile.
pub fn snapshot(state: State) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let version = if state.level() > 0 { SNAPSHOT_VERSION } else { SNAPSHOT_VERSION_OF_LEVEL_0 };
    let mut parts = parts(state).peekable();
    let mut first = true;
    std::iter::from_fn(move || {
        parts.peek()?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + 4096);
        if std::mem::take(&mut first) {
            chunk.push(version);
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(part) = parts.next() else { break };
            chunk = postcard::to_extend(&part, chunk).expect("memory is the only thing that encoding needs");
        }
        Some(chunk)
    })
}

fn parts(state: State) -> impl Iterator<Item = Part> + Send + 'static {
    let head = Head {
        at: state.at,
        first_claim: state.claims.oldest().0,
        next_wait: state.waitlist.next,
        presence_key: state.presence_key,
    };
    let State { catalog, calendar, accounts, claims, waitlist, inbox, records, outbox, history, .. } = state;
    let (reaches, trail, mails, webhooks) = (state.reaches, state.trail, state.mails, state.webhooks);
    let trail_let_go = Some(trail.let_go()).filter(|position| *position > Position::default());
    let next_claim = claims.next_id().0;
    let History { count, through, pseudonym_secret } = history;
    let (recorded, kept) = outbox.into_kept();
    let let_go = (count > 0).then_some(Part::History { count, through, next_claim });
    let record = |(owner, id, record): (Owner, RequestId, Record)| Part::Record(owner, id, record);
    [Part::Head(head), Part::Catalog(catalog)]
        .into_iter()
        .chain(calendar.into_iter().map(|((branch, _), kept)| Part::Day(branch, kept)))
        .chain(accounts.users.into_values().map(Part::User))
        .chain(accounts.sessions.into_iter().map(|(token, session)| Part::Session(token, session)))
        .chain(claims.clone().into_claims().map(Part::Claim))
        .chain(let_go)
        .chain(pseudonym_secret.map(Part::PseudonymSecret))
        .chain(claims.resting.into_iter().map(|(seat, until)| Part::Rest(seat, until)))
        .chain(waitlist.waits.into_iter().map(|(_, wait)| Part::Wait(wait)))
        .chain(
            inbox
                .items
                .into_iter()
                .filter(|_| !planted::has(Bug::InboxNotInSnapshot))
                .map(|((stream, position), item)| Part::Item(stream, position, item)),
        )
        .chain(inbox.let_go.into_iter().map(|(stream, position)| Part::LetGo(stream, position)))
        .chain(inbox.blocks.into_iter().map(|(user, blocked)| Part::Blocks(user, blocked)))
        .chain(reaches.into_iter().map(|(user, reach)| Part::Reach(user, reach)))
        .chain(trail.into_entries().map(|entry| Part::Trail(Box::new(entry))))
        .chain(trail_let_go.map(Part::TrailLetGo))
        .chain(mails.all.into_iter().map(|(user, mail)| Part::Mail(user, mail)))
        .chain(webhooks.into_iter().map(|(id, webhook)| Part::Webhook(id, webhook)))
        .chain(records.into_kept().filter(|_| !planted::has(Bug::RecordsNotInSnapshot)).map(record))
        .chain(recorded.map(Part::Projected))
        .chain(kept.map(|(index, kept)| Part::Told(index, kept)))
        .chain([Part::End])
}

/// Rebuilds a state from the chunks of a snapshot, which may be cut anywhere.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    state: State,
    pending: Vec<u8>,
    progress: Progress,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Version,
    Head,
    Parts,
    Ended,
}

/// Longest encoding of one part: a catalogue of the largest size.
const PART_BYTES_MAX: usize = 64 * 1024 * 1024;

impl SnapshotReader {
    /// # Errors
    /// If what has come so far cannot be the beginning of a snapshot.
    pub fn read(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        self.pending.extend_from_slice(chunk);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        if self.progress == Progress::Version {
            let Some((&found, body)) = rest.split_first() else { return Ok(()) };
            if ![SNAPSHOT_VERSION, SNAPSHOT_VERSION_OF_LEVEL_0].contains(&found) {
                return Err(DecodeError::UnknownVersion { found, known: SNAPSHOT_VERSION });
            }
            (self.progress, rest) = (Progress::Head, body);
        }
        while !rest.is_empty() {
            match postcard::take_from_bytes::<Part>(rest) {
                Ok((part, after)) => {
                    self.take(part)?;
                    rest = after;
                }
                Err(postcard::Error::DeserializeUnexpectedEnd) if rest.len() < PART_BYTES_MAX => break,
                Err(error) => return Err(DecodeError::Malformed(error)),
            }
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// # Errors
    /// If the snapshot was cut short, or contradicts itself.
    pub fn finish(mut self) -> Result<State, DecodeError> {
        if self.progress != Progress::Ended || !self.pending.is_empty() {
            return Err(DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd));
        }
        self.state.claims.shrink_books();
        for seat in (0..self.state.claims.books.len()).map(|seat| SeatId(seat as u32)) {
            if let Some(first) = self.state.claims.book(seat).first().map(|live| live.claim) {
                self.state.follow_book(seat, first);
            }
        }
        Ok(self.state)
    }

    fn take(&mut self, part: Part) -> Result<(), DecodeError> {
        let state = &mut self.state;
        match (&self.progress, part) {
            (Progress::Ended, _) => return Err(DecodeError::TrailingBytes),
            (Progress::Version | Progress::Head, Part::Head(head)) => {
                state.at = head.at;
                state.claims.begin_at(head.first_claim);
                state.waitlist.next = head.next_wait;
                state.presence_key = head.presence_key;
                self.progress = Progress::Parts;
            }
            (Progress::Version | Progress::Head, _) => return Err(DecodeError::Inconsistent("it has no head")),
            (Progress::Parts, Part::Head(_)) => return Err(DecodeError::Inconsistent("it has two heads")),
            (Progress::Parts, Part::Catalog(catalog)) => state.catalog = catalog,
            (Progress::Parts, Part::Day(branch, kept)) => {
                state.calendar.insert((branch, kept.day.date), kept);
            }
            (Progress::Parts, Part::User(user)) => take_user(state, user)?,
            (Progress::Parts, Part::Session(token, session)) => {
                state.accounts.sessions.insert(token, session);
                state.deadlines.insert((session.expires_at, Due::Session(token)));
            }
            (Progress::Parts, Part::Claim(claim)) => take_claim(state, claim)?,
            (Progress::Parts, Part::History { count, through, next_claim }) => {
                let missing = next_claim.checked_sub(state.claims.next_id().0);
                let missing = missing.ok_or(DecodeError::Inconsistent("claims are newer than the newest"))?;
                skip_claims(state, missing)?;
                (state.history.count, state.history.through) = (count, through);
            }
            (Progress::Parts, Part::PseudonymSecret(secret)) => state.history.pseudonym_secret = Some(secret),
            (Progress::Parts, Part::Wait(wait)) => take_wait(state, wait)?,
            (Progress::Parts, Part::Item(stream, position, item)) => take_item(state, stream, position, item),
            (Progress::Parts, Part::Blocks(user, blocked)) => {
                state.inbox.blocks.insert(user, blocked);
            }
            (Progress::Parts, Part::Rest(seat, until)) => {
                state.claims.resting.insert(seat, until);
                state.deadlines.insert((until, Due::Rest(seat)));
            }
            (Progress::Parts, Part::Reach(user, reach)) => {
                if let Some(feed) = reach.feed {
                    state.feeds.insert(feed, user);
                }
                state.reaches.insert(user, reach);
            }
            (Progress::Parts, Part::Trail(entry)) => state.trail.push(*entry),
            (Progress::Parts, Part::TrailLetGo(position)) => state.trail.has_let_go(position),
            (Progress::Parts, Part::Mail(user, mail)) => state.mails.insert(user, mail),
            (Progress::Parts, Part::Webhook(id, webhook)) => {
                state.webhooks.insert(id, webhook);
            }
            (Progress::Parts, Part::LetGo(stream, position)) => {
                state.inbox.let_go.insert(stream, position);
            }
            (Progress::Parts, Part::Record(owner, id, record)) => {
                // Records lie by number of account: one far beyond the last would make room for all in between.
                if owner.is_some_and(|owner| state.accounts.users.len() as u64 <= owner.0) {
                    return Err(DecodeError::Inconsistent("a record is of an account that never was"));
                }
                state.records.keep(owner, id, record);
            }
            (Progress::Parts, Part::Projected(through)) => state.outbox.begin_after(through),
            (Progress::Parts, Part::Told(index, kept)) => state.outbox.keep_encoded(index, kept),
            (Progress::Parts, Part::End) => self.progress = Progress::Ended,
        }
        Ok(())
    }
}

fn take_user(state: &mut State, user: Option<Arc<User>>) -> Result<(), DecodeError> {
    if let Some(user) = &user {
        if user.id.0 != state.accounts.users.len() as u64 {
            return Err(DecodeError::Inconsistent("a user's id is not its place"));
        }
        state.accounts.names.insert(user.name.key(), user.id);
        state.accounts.admin_count += u32::from(user.role == crate::account::Role::Admin);
        if let Some(until) = user.suspended_until {
            state.deadlines.insert((until, Due::Suspension(user.id)));
        }
    }
    state.accounts.users.push(user);
    Ok(())
}

fn take_claim(state: &mut State, claim: Claim) -> Result<(), DecodeError> {
    let missing = claim.id.0.checked_sub(state.claims.next_id().0);
    skip_claims(state, missing.ok_or(DecodeError::Inconsistent("a claim's id is not its place"))?)?;
    if claim.seat.0 as usize >= state.catalog.seat_count() {
        return Err(DecodeError::Inconsistent("a claim is on a seat that does not exist"));
    }
    if claim.state.is_blocking() {
        insert_disjoint(state.claims.book_mut(claim.seat), Live { interval: claim.interval, claim: claim.id })?;
    }
    if let Some(deadline) = claim.due_out_of_turn() {
        state.deadlines.insert((deadline, Due::Claim(claim.id)));
    }
    state.claims.push(&claim);
    Ok(())
}

/// Those that were let go.
fn skip_claims(state: &mut State, count: u64) -> Result<(), DecodeError> {
    let too_many = DecodeError::Inconsistent("more claims were let go than there can be");
    // Ids count up from 1, a few thousand a second at most.
    let count = usize::try_from(count).ok().filter(|count| *count < 1 << 48).ok_or(too_many)?;
    state.claims.skip(count);
    Ok(())
}

fn insert_disjoint(book: &mut Vec<Live>, live: Live) -> Result<(), DecodeError> {
    let index = crate::claim::first_ending_after(book, live.interval.start());
    if book.get(index).is_some_and(|next: &Live| Interval::overlaps(next.interval, live.interval)) {
        return Err(DecodeError::Inconsistent("two live claims overlap"));
    }
    crate::claim::enter(book, live);
    Ok(())
}

/// People come before their items.
fn take_item(state: &mut State, stream: Stream, position: Position, item: Arc<Item>) {
    if let Stream::User(id) = stream
        && item.is_to_be_read_in(stream)
        && state.accounts.user(id).is_some_and(|user| position > user.read_up_to)
    {
        let unread = state.inbox.unread_of(id) + 1;
        state.inbox.count_unread(id, unread);
    }
    state.inbox.insert(stream, position, item);
}

fn take_wait(state: &mut State, wait: Arc<Wait>) -> Result<(), DecodeError> {
    // It stands in a line for each day.
    let days = days_of(wait.interval);
    if days.end() - days.start() >= DAYS_MAX {
        return Err(DecodeError::Inconsistent("somebody waits for longer than anybody may"));
    }
    if wait.state == WaitState::Waiting {
        state.waitlist.stand_in_line(&wait);
    }
    state.deadlines.insert((wait.due_at(), Due::Wait(wait.id)));
    state.waitlist.waits.insert(wait.id, wait);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BranchId, UserId, WaitId};
    use crate::request::Need;
    use crate::waitlist::Scope;

    #[test]
    fn a_wait_of_a_century_makes_no_room_for_each_of_its_days() {
        let wait = |days: i64| {
            let end = Timestamp(days * crate::time::DAY_US);
            Arc::new(Wait {
                id: WaitId(1),
                user: UserId(0),
                need: Need { place: Scope::Branch(BranchId(0)), amenities: Vec::new(), accessible: false },
                interval: Interval::new(Timestamp(0), end).expect("it ends after it begins"),
                minutes: 60,
                state: WaitState::Waiting,
                rank: 1,
                missed: 0,
                passed: Vec::new(),
                created_at: Timestamp(0),
                changed_at: Timestamp(0),
            })
        };
        let mut reader = SnapshotReader { progress: Progress::Parts, ..SnapshotReader::default() };
        assert_eq!(reader.take(Part::Wait(wait(7))), Ok(()));
        let refused = reader.take(Part::Wait(wait(36_525)));
        assert_eq!(refused, Err(DecodeError::Inconsistent("somebody waits for longer than anybody may")));
    }
}
