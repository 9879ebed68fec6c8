//! Messages and notices are one thing: items appended to a stream, in log order, by the entry that caused them.
//! A person's inbox is their own stream merged with everybody's.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::account::Role;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{ClaimId, Position, UserId, WaitId};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::At;
use crate::state::State;
use crate::text::{MessageText, UserName};
use crate::time::{MINUTE_US, Timestamp};

/// The oldest item of a stream goes when there would be more.
pub const ITEMS_PER_STREAM_MAX: u32 = 1_000;
pub const RECIPIENTS_MAX: usize = 16;
/// Within which the sender may take a message back.
pub const UNSEND_US: i64 = 15 * MINUTE_US;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    Everyone,
    User(UserId),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub at: At,
    pub kind: ItemKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemKind {
    /// The sender keeps a copy, which is not shown in their inbox.
    Message {
        sender: UserId,
        recipients: Vec<UserId>,
        text: MessageText,
    },
    Announcement {
        sender: UserId,
        text: MessageText,
    },
    OfferMade {
        claim: ClaimId,
    },
    OfferExpired {
        claim: ClaimId,
    },
    NoShow {
        claim: ClaimId,
    },
    Displaced {
        claim: ClaimId,
    },
    CancelledByStaff {
        claim: ClaimId,
    },
    Suspended {
        until: Timestamp,
    },
    WaitExpired {
        wait: WaitId,
    },
    HoldExpired {
        claim: ClaimId,
    },
    /// Away for too long.
    Released {
        claim: ClaimId,
    },
    /// To another seat or time.
    Moved {
        claim: ClaimId,
    },
    /// By somebody else: by staff, or for a group, and then they have to agree.
    BookedForYou {
        claim: ClaimId,
    },
    /// Their seat was found empty: until when they have to show up.
    SeatReported {
        claim: ClaimId,
        until: Timestamp,
    },
    CancelledLate {
        claim: ClaimId,
    },
    StrikeWaived {
        claim: ClaimId,
    },
}

impl Item {
    /// In an inbox, the copy of what its owner sent to others is not.
    pub(crate) fn is_shown_in(&self, stream: Stream) -> bool {
        match (&self.kind, stream) {
            (ItemKind::Message { sender, recipients, .. }, Stream::User(owner)) => {
                *sender != owner || recipients.contains(&owner)
            }
            _ => true,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    pub items: OrdMap<(Stream, Position), Arc<Item>>,
    pub everyone_count: u32,
    /// The newest item that a full stream had to let go of: whoever has seen less than that has missed something.
    /// Nothing for streams that never were full. Invariant: older than everything that the stream holds.
    pub let_go: OrdMap<Stream, Position>,
}

impl Inbox {
    pub fn of(&self, stream: Stream, after: Position) -> impl Iterator<Item = (Position, &Arc<Item>)> {
        use std::ops::Bound::{Excluded, Included};
        let end = (stream, Position::end_of(u64::MAX));
        self.items.range((Excluded((stream, after)), Included(end))).map(|((_, position), item)| (*position, item))
    }
}

impl State {
    pub(crate) fn notify(&mut self, user: UserId, kind: ItemKind, fx: &mut Effects) {
        let position = fx.next_position();
        let item = Arc::new(Item { at: fx.at(), kind });
        self.append(Stream::User(user), position, item, fx);
    }

    pub(crate) fn send_message(
        &mut self,
        by: UserId,
        recipients: &[UserName],
        text: &MessageText,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let sender = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if sender.role == Role::Kiosk || recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
            return Err(Refusal::NotPermitted);
        }
        let mut ids = Vec::with_capacity(recipients.len());
        for (index, name) in recipients.iter().enumerate() {
            let user = self.accounts.find(name);
            ids.push(user.ok_or(Refusal::RecipientNotFound { position: index as u32 })?.id);
        }
        ids.sort_unstable();
        ids.dedup();
        let position = fx.next_position();
        let kind = ItemKind::Message { sender: by, recipients: ids.clone(), text: text.clone() };
        let item = Arc::new(Item { at: fx.at(), kind });
        for recipient in ids.iter().filter(|&&id| id != by) {
            self.append(Stream::User(*recipient), position, item.clone(), fx);
        }
        self.append(Stream::User(by), position, item.clone(), fx);
        Ok(Reply::Message(self.message_view(Stream::User(by), position, &item)))
    }

    pub(crate) fn broadcast(&mut self, by: UserId, text: &MessageText, fx: &mut Effects) -> Result<Reply, Refusal> {
        match self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role {
            Role::Admin | Role::Librarian(_) => {}
            Role::Patron | Role::Auditor | Role::Kiosk => return Err(Refusal::NotPermitted),
        }
        let position = fx.next_position();
        let kind = ItemKind::Announcement { sender: by, text: text.clone() };
        let item = Arc::new(Item { at: fx.at(), kind });
        self.append(Stream::Everyone, position, item.clone(), fx);
        Ok(Reply::Message(self.message_view(Stream::Everyone, position, &item)))
    }

    pub(crate) fn delete_message(
        &mut self,
        by: UserId,
        position: Position,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let item = self.inbox.items.get(&(Stream::User(by), position)).ok_or(Refusal::MessageNotFound)?.clone();
        let ItemKind::Message { sender, recipients, .. } = &item.kind else { return Err(Refusal::MessageNotFound) };
        if *sender == by && fx.now() < item.at.time.plus_us(UNSEND_US) {
            for &recipient in recipients {
                self.remove(Stream::User(recipient), position, fx);
            }
        }
        self.remove(Stream::User(by), position, fx);
        Ok(Reply::Done)
    }

    pub(crate) fn advance_read_cursor(
        &mut self,
        by: UserId,
        up_to: Position,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        // Nobody has read what happens now or later, whatever they say.
        let up_to = up_to.min(Position::end_of(fx.at().index.saturating_sub(1)));
        let user = self.accounts.user_mut(by).ok_or(Refusal::SessionExpired)?;
        if user.read_up_to < up_to {
            let before = std::mem::replace(&mut user.read_up_to, up_to);
            fx.happened(Change::ReadUpTo { user: by, before, after: up_to });
        }
        Ok(Reply::Unread { count: self.unread_count(by) })
    }

    pub(crate) fn drop_stream(&mut self, user: UserId) {
        let stream = Stream::User(user);
        let positions: Vec<_> = self.inbox.of(stream, Position::default()).map(|(position, _)| position).collect();
        for position in positions {
            self.inbox.items.remove(&(stream, position));
        }
        self.inbox.let_go.remove(&stream);
    }

    fn append(&mut self, stream: Stream, position: Position, item: Arc<Item>, fx: &mut Effects) {
        let count = match stream {
            Stream::Everyone => Some(&mut self.inbox.everyone_count),
            Stream::User(user) => self.accounts.user_mut(user).map(|user| &mut user.item_count),
        };
        let Some(count) = count else { return };
        *count += 1;
        let is_full = *count > ITEMS_PER_STREAM_MAX;
        self.inbox.items.insert((stream, position), item);
        fx.happened(Change::ItemAppended { stream, position });
        if is_full {
            let oldest = self.inbox.of(stream, Position::default()).next();
            if let Some((oldest, is_shown)) = oldest.map(|(position, item)| (position, item.is_shown_in(stream))) {
                self.remove(stream, oldest, fx);
                if is_shown {
                    self.inbox.let_go.insert(stream, oldest);
                }
            }
        }
    }

    fn remove(&mut self, stream: Stream, position: Position, fx: &mut Effects) {
        if self.inbox.items.remove(&(stream, position)).is_none() {
            return;
        }
        match stream {
            Stream::Everyone => self.inbox.everyone_count -= 1,
            Stream::User(user) => {
                if let Some(user) = self.accounts.user_mut(user) {
                    user.item_count -= 1;
                }
            }
        }
        fx.happened(Change::ItemRemoved { stream, position });
    }
}
