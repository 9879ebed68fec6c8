//! Messages and notices are one thing: items appended to a stream, in log order, by the entry that caused them.
//! A person's inbox is their own stream merged with those of the audiences that they belong to.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::account::{Role, RoleName};
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{BranchId, ClaimId, Position, UserId, WaitId};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::At;
use crate::state::State;
use crate::text::{MessageText, Title, UserName};
use crate::time::{DAY_US, MINUTE_US, Timestamp};

/// An item of a stream goes when there would be more.
pub const ITEMS_PER_STREAM_MAX: u32 = 1_000;
/// Letters of one sender in a full inbox: beyond, theirs make room for theirs. A tenth, so that nobody drives out alone
/// what others have written.
const LETTERS_OF_ONE_SENDER_MAX: usize = 100;
/// Letters in a full inbox, before notices make room for notices.
const LETTERS_MAX: usize = ITEMS_PER_STREAM_MAX as usize / 2;
pub const RECIPIENTS_MAX: usize = 16;
/// What is older is let go of, read or not.
pub const KEPT_DAYS: i64 = 180;
const KEPT_US: i64 = KEPT_DAYS * DAY_US;
/// More than an entry adds to any one stream, and few enough that none takes long.
const LET_GO_PER_ENTRY: usize = 32;
/// People whom one person has blocked.
pub const BLOCKS_MAX: u32 = 200;
/// Admins who are shown a report.
const REPORT_READERS_MAX: usize = 16;
/// Within which the sender may take a message back.
pub const UNSEND_US: i64 = 15 * MINUTE_US;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    Everyone,
    User(UserId),
    /// Who follows it, and its librarians.
    Branch(BranchId),
    Role(RoleName),
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
    /// What its sender has taken back: whoever has shown it takes it away. Is never unread itself.
    Unsent {
        message: Position,
    },
    /// To admins: what somebody who got it thinks that they should see.
    Reported {
        reporter: UserId,
        sender: UserId,
        text: MessageText,
        reason: Title,
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

    /// Whether somebody has to read it.
    pub(crate) fn is_to_be_read_in(&self, stream: Stream) -> bool {
        self.is_shown_in(stream) && !matches!(self.kind, ItemKind::Unsent { .. })
    }
}

/// Invariant: everything but `items`, `let_go` and `blocks` follows from the items and from who has read how far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    pub items: OrdMap<(Stream, Position), Arc<Item>>,
    /// Announcements of each audience, in order: how many are unread is a place in here. None that has none.
    pub announced: OrdMap<Stream, Vector<Position>>,
    /// Of people's own streams; nobody who has none.
    pub unread: OrdMap<UserId, u32>,
    /// All items by age, the oldest first, for those that are kept for long enough.
    pub by_age: OrdSet<(Position, Stream)>,
    /// Whose messages somebody does not get.
    pub blocks: OrdMap<UserId, Vec<UserId>>,
    /// The newest item that a full stream had to let go of: whoever has seen less than that has missed something.
    /// Nothing for streams that never were full. Invariant: the stream does not hold it.
    pub let_go: OrdMap<Stream, Position>,
}

impl Inbox {
    /// With all that follows from it but the count of the unread.
    pub fn insert(&mut self, stream: Stream, position: Position, item: Arc<Item>) {
        if !matches!(stream, Stream::User(_)) {
            self.announced.entry(stream).or_default().push_back(position);
        }
        self.by_age.insert((position, stream));
        self.items.insert((stream, position), item);
    }

    fn take(&mut self, stream: Stream, position: Position) -> Option<Arc<Item>> {
        let item = self.items.remove(&(stream, position))?;
        self.by_age.remove(&(position, stream));
        if let Some(announced) = self.announced.get_mut(&stream) {
            if let Ok(place) = announced.binary_search(&position) {
                announced.remove(place);
            }
            if announced.is_empty() {
                self.announced.remove(&stream);
            }
        }
        Some(item)
    }

    /// Announcements to an audience behind a position.
    pub fn announced_after(&self, stream: Stream, position: Position) -> usize {
        let Some(announced) = self.announced.get(&stream) else { return 0 };
        let place = match announced.binary_search(&position) {
            Ok(place) => place + 1,
            Err(place) => place,
        };
        announced.len() - place
    }

    pub fn count_unread(&mut self, user: UserId, count: u32) {
        if count == 0 {
            self.unread.remove(&user);
        } else {
            self.unread.insert(user, count);
        }
    }

    pub fn unread_of(&self, user: UserId) -> u32 {
        self.unread.get(&user).copied().unwrap_or(0)
    }

    fn is_blocked(&self, blocker: UserId, other: UserId) -> bool {
        self.blocks.get(&blocker).is_some_and(|blocked| blocked.contains(&other))
    }

    /// What makes room in a full inbox, given who has written what came last, if that is a letter. No letter drives out
    /// a notice, and nobody's letters drive out those of others beyond a share.
    fn to_make_room(&self, owner: UserId, sender: Option<UserId>) -> Option<Position> {
        let (mut oldest, mut letter, mut of_sender) = (None, None, None);
        let (mut letters, mut letters_of_sender) = (0, 0);
        for (position, item) in self.of(Stream::User(owner), Position::default()) {
            oldest.get_or_insert(position);
            let by = match item.kind {
                ItemKind::Message { sender: by, .. } => Some(by),
                ItemKind::Unsent { .. } => None,
                _ => continue,
            };
            letters += 1;
            letter.get_or_insert(position);
            if sender.is_some() && by == sender {
                letters_of_sender += 1;
                of_sender.get_or_insert(position);
            }
        }
        match sender {
            Some(_) if letters_of_sender > LETTERS_OF_ONE_SENDER_MAX => of_sender,
            None if letters <= LETTERS_MAX => oldest,
            Some(_) | None => letter.or(oldest),
        }
    }

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
        // Who has blocked the sender gets nothing, and the sender is not told.
        let reached: Vec<UserId> =
            ids.iter().copied().filter(|&id| id != by && !self.inbox.is_blocked(id, by)).collect();
        for recipient in &reached {
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
            let tombstone_at = fx.next_position();
            let tombstone = Arc::new(Item { at: fx.at(), kind: ItemKind::Unsent { message: position } });
            for &recipient in recipients.iter().filter(|&&recipient| recipient != by) {
                if self.remove(Stream::User(recipient), position, fx) {
                    self.append(Stream::User(recipient), tombstone_at, tombstone.clone(), fx);
                }
            }
        }
        self.remove(Stream::User(by), position, fx);
        Ok(Reply::Done)
    }

    /// For the admins to see; whoever reports a message is rid of it.
    pub(crate) fn report_message(
        &mut self,
        by: UserId,
        position: Position,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let item = self.inbox.items.get(&(Stream::User(by), position)).ok_or(Refusal::MessageNotFound)?.clone();
        let ItemKind::Message { sender, text, .. } = &item.kind else { return Err(Refusal::MessageNotFound) };
        if *sender == by {
            return Err(Refusal::NotPermitted);
        }
        let (sender, text, reason) = (*sender, text.clone(), reason.clone());
        let kind = ItemKind::Reported { reporter: by, sender, text, reason };
        let (report_at, report) = (fx.next_position(), Arc::new(Item { at: fx.at(), kind }));
        let admins = self.accounts.users.iter().flatten().filter(|user| user.role == Role::Admin).map(|user| user.id);
        for admin in admins.take(REPORT_READERS_MAX).collect::<Vec<_>>() {
            self.append(Stream::User(admin), report_at, report.clone(), fx);
        }
        self.remove(Stream::User(by), position, fx);
        Ok(Reply::Done)
    }

    pub(crate) fn block(&mut self, by: UserId, name: &UserName, fx: &mut Effects) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let other = self.accounts.find(name).ok_or(Refusal::UserNotFound)?.id;
        if other == by {
            return Err(Refusal::NotPermitted);
        }
        let mut blocked = self.inbox.blocks.get(&by).cloned().unwrap_or_default();
        if blocked.contains(&other) {
            return Ok(Reply::Done);
        }
        // Whose account is gone writes to nobody any more.
        blocked.retain(|&id| self.accounts.user(id).is_some());
        if blocked.len() >= BLOCKS_MAX as usize {
            return Err(Refusal::TooManyBlocks { max: BLOCKS_MAX });
        }
        blocked.push(other);
        self.inbox.blocks.insert(by, blocked);
        fx.happened(Change::Block { user: by, other, is_blocked: true });
        Ok(Reply::Done)
    }

    pub(crate) fn unblock(&mut self, by: UserId, name: &UserName, fx: &mut Effects) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let other = self.accounts.find(name).ok_or(Refusal::UserNotFound)?.id;
        let mut blocked = self.inbox.blocks.get(&by).cloned().unwrap_or_default();
        let Some(place) = blocked.iter().position(|&id| id == other) else { return Ok(Reply::Done) };
        blocked.remove(place);
        if blocked.is_empty() {
            self.inbox.blocks.remove(&by);
        } else {
            self.inbox.blocks.insert(by, blocked);
        }
        fx.happened(Change::Block { user: by, other, is_blocked: false });
        Ok(Reply::Done)
    }

    /// What is older than anybody looks back goes, a few items with each entry.
    pub(crate) fn let_go_of_old_items(&mut self, fx: &mut Effects) {
        for _ in 0..LET_GO_PER_ENTRY {
            let Some(&(position, stream)) = self.inbox.by_age.get_min() else { return };
            let Some(item) = self.inbox.items.get(&(stream, position)) else { return };
            if fx.now() < item.at.time.plus_us(KEPT_US) {
                return;
            }
            self.let_go_of(stream, position, fx);
        }
    }

    /// Whoever has not seen it is told that they have missed something.
    fn let_go_of(&mut self, stream: Stream, position: Position, fx: &mut Effects) {
        let is_shown = self.inbox.items.get(&(stream, position)).is_some_and(|item| item.is_shown_in(stream));
        self.remove(stream, position, fx);
        if is_shown {
            let newest = self.inbox.let_go.entry(stream).or_insert(position);
            *newest = position.max(*newest);
        }
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
            let stream = Stream::User(by);
            let unread = self.inbox.of(stream, up_to).filter(|(_, item)| item.is_to_be_read_in(stream)).count() as u32;
            self.inbox.count_unread(by, unread);
            fx.happened(Change::ReadUpTo { user: by, before, after: up_to });
        }
        Ok(Reply::Unread { count: self.unread_count(by) })
    }

    pub(crate) fn drop_stream(&mut self, user: UserId) {
        let stream = Stream::User(user);
        let positions: Vec<_> = self.inbox.of(stream, Position::default()).map(|(position, _)| position).collect();
        for position in positions {
            self.inbox.take(stream, position);
        }
        self.inbox.let_go.remove(&stream);
        self.inbox.blocks.remove(&user);
        self.inbox.count_unread(user, 0);
    }

    pub(crate) fn append(&mut self, stream: Stream, position: Position, item: Arc<Item>, fx: &mut Effects) {
        let is_to_be_read = item.is_to_be_read_in(stream);
        let is_full = match stream {
            Stream::Everyone | Stream::Branch(_) | Stream::Role(_) => {
                let announced = self.inbox.announced.get(&stream).map_or(0, Vector::len);
                announced >= ITEMS_PER_STREAM_MAX as usize
            }
            Stream::User(id) => {
                let Some(user) = self.accounts.user_mut(id) else { return };
                user.item_count += 1;
                let is_full = user.item_count > ITEMS_PER_STREAM_MAX;
                if is_to_be_read && position > user.read_up_to {
                    let unread = self.inbox.unread_of(id) + 1;
                    self.inbox.count_unread(id, unread);
                }
                is_full
            }
        };
        let sender = match item.kind {
            ItemKind::Message { sender, .. } => Some(sender),
            _ => None,
        };
        self.inbox.insert(stream, position, item);
        fx.happened(Change::ItemAppended { stream, position });
        if is_full {
            let goes = match stream {
                Stream::User(owner) => self.inbox.to_make_room(owner, sender),
                _ => self.inbox.of(stream, Position::default()).next().map(|(oldest, _)| oldest),
            };
            if let Some(goes) = goes {
                self.let_go_of(stream, goes, fx);
            }
        }
    }

    /// Whether it was there.
    fn remove(&mut self, stream: Stream, position: Position, fx: &mut Effects) -> bool {
        let Some(item) = self.inbox.take(stream, position) else { return false };
        if let Stream::User(id) = stream
            && let Some(user) = self.accounts.user_mut(id)
        {
            user.item_count -= 1;
            if item.is_to_be_read_in(stream) && position > user.read_up_to {
                let unread = self.inbox.unread_of(id) - 1;
                self.inbox.count_unread(id, unread);
            }
        }
        fx.happened(Change::ItemRemoved { stream, position });
        true
    }
}
