//! Everything that the relational record holds, row by row, in order of ids.

use std::sync::Arc;

use crate::account::{Strike, User};
use crate::claim::Claim;
use crate::event::UserRow;
use crate::id::{ClaimId, Position, UserId};
use crate::inbox::{Item, ItemKind, Stream};
use crate::state::State;
use crate::text::{MessageText, UserName};
use crate::time::Timestamp;
use crate::waitlist::Wait;

/// What was said to many.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// To whom.
    pub stream: Stream,
    pub position: Position,
    pub sender: UserId,
    pub at: Timestamp,
    pub text: MessageText,
}

impl State {
    pub fn every_claim(&self) -> impl Iterator<Item = Claim> {
        self.claims.iter()
    }

    #[must_use]
    pub fn claim(&self, id: ClaimId) -> Option<Claim> {
        self.claims.get(id)
    }

    /// The id that the next one will have.
    #[must_use]
    pub fn next_claim(&self) -> ClaimId {
        self.claims.next_id()
    }

    pub fn every_wait(&self) -> impl Iterator<Item = &Wait> {
        self.waitlist.waits.values().map(Arc::as_ref)
    }

    pub fn every_user(&self) -> impl Iterator<Item = UserRow> {
        self.people().map(UserRow::from)
    }

    /// None: their account is gone.
    #[must_use]
    pub fn user_name(&self, id: UserId) -> Option<&UserName> {
        self.accounts.user(id).map(|user| &user.name)
    }

    pub fn every_strike(&self) -> impl Iterator<Item = (UserId, Strike)> {
        self.people().flat_map(|user| user.strikes.iter().map(|strike| (user.id, *strike)))
    }

    /// Up to where each person has read, of those who ever said so.
    pub fn every_mark(&self) -> impl Iterator<Item = (UserId, Position)> {
        let moved = |user: &&User| user.read_up_to != Position::end_of(user.created.index);
        self.people().filter(moved).map(|user| (user.id, user.read_up_to))
    }

    pub fn every_announcement(&self) -> impl Iterator<Item = Announcement> {
        let streams = self.inbox.announced.keys().copied();
        let mut all: Vec<_> = streams
            .flat_map(|stream| self.inbox.of(stream, Position::default()).map(move |told| (stream, told)))
            .filter_map(|(stream, (position, item))| announcement(stream, position, item))
            .collect();
        all.sort_unstable_by_key(|announced| announced.position);
        all.into_iter()
    }

    /// None: it was taken back, or others have taken its place.
    #[must_use]
    pub fn announcement(&self, stream: Stream, position: Position) -> Option<Announcement> {
        announcement(stream, position, self.inbox.items.get(&(stream, position))?)
    }

    fn people(&self) -> impl Iterator<Item = &User> {
        self.accounts.users.iter().flatten().map(Arc::as_ref)
    }
}

fn announcement(stream: Stream, position: Position, item: &Item) -> Option<Announcement> {
    let ItemKind::Announcement { sender, text } = &item.kind else { return None };
    Some(Announcement { stream, position, sender: *sender, at: item.at.time, text: text.clone() })
}
