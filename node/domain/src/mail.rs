//! Who wants to be told by e-mail as well, and of what. Nothing is sent from here: what is due follows from a person's
//! inbox and from how far they were told already, whoever leads sends it, and what was sent is noted by an entry. So
//! whatever happens to a leader, a mail is sent once more rather than not at all, and under the same id.
//!
//! An address is used once it is proven: by a code that was sent there and is said here. Until then the code is all
//! that it gets.

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::event::Change;
use crate::id::{Position, UserId};
use crate::inbox::{Item, ItemKind, Stream};
use crate::query::ItemView;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::At;
use crate::state::State;
use crate::text::MailAddress;
use crate::time::{DAY_US, MINUTE_US};

/// Between two codes for one person: nobody fills a stranger's mailbox with them.
const ASK_AGAIN_US: i64 = 2 * MINUTE_US;
/// A mail may take its time.
const CODE_VALID_US: i64 = DAY_US;
/// Marks of one entry.
pub const MARKS_MAX: usize = 256;

/// What somebody is told by mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailWishes {
    /// What becomes of their reservations and waits.
    pub notices: bool,
    /// That somebody has written to them; only the first time until they have read it.
    pub messages: bool,
    pub announcements: bool,
}

/// Sixty random bits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailCode(pub u64);

impl fmt::Debug for MailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailCode")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// None: nothing is sent; the rest is kept so that codes stay rare.
    pub delivery: Option<Delivery>,
    /// The entry that drew the newest code.
    pub asked: At,
    /// Everything up to here was sent, was given up, or need not be sent.
    pub through: Position,
    pub given_up_count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub address: MailAddress,
    pub wishes: MailWishes,
    pub proof: AddressProof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressProof {
    Asked { code: MailCode, is_sent: bool },
    Given,
}

/// Invariant: everything but `all` follows from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mails {
    /// Of those who have ever asked for any.
    pub all: OrdMap<UserId, Arc<Mail>>,
    /// Whose code is still to be sent.
    pub codes: OrdSet<UserId>,
}

/// One mail that is to be sent, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailMark {
    pub user: UserId,
    pub sent: MailSent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailSent {
    /// The code that this entry drew.
    Code { asked: u64 },
    /// Everything up to here.
    Through { position: Position, is_given_up: bool },
}

/// What somebody is to be told by mail next.
#[derive(Clone, Debug, PartialEq)]
pub struct MailDue {
    pub address: MailAddress,
    pub at: At,
    pub what: MailContent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MailContent {
    Code(MailCode),
    Item(ItemView),
}

impl MailDue {
    /// What is to be noted once it is sent, or given up.
    #[must_use]
    pub fn mark(&self, user: UserId, is_given_up: bool) -> MailMark {
        let sent = match &self.what {
            MailContent::Code(_) => MailSent::Code { asked: self.at.index },
            MailContent::Item(item) => MailSent::Through { position: item.position, is_given_up },
        };
        MailMark { user, sent }
    }
}

impl Mails {
    pub fn insert(&mut self, user: UserId, mail: Arc<Mail>) {
        let is_unsent = |delivery: &Delivery| matches!(delivery.proof, AddressProof::Asked { is_sent: false, .. });
        if mail.delivery.as_ref().is_some_and(is_unsent) {
            self.codes.insert(user);
        } else {
            self.codes.remove(&user);
        }
        self.all.insert(user, mail);
    }

    pub fn remove(&mut self, user: UserId) {
        self.all.remove(&user);
        self.codes.remove(&user);
    }

    fn change(&mut self, user: UserId, change: impl FnOnce(&mut Mail)) {
        if let Some(mut mail) = self.all.get(&user).cloned() {
            change(Arc::make_mut(&mut mail));
            self.insert(user, mail);
        }
    }
}

impl State {
    /// Where to, and what of; none: no mail any more. `code` was drawn at random at the edge, for an address that is
    /// not proven yet.
    pub(crate) fn set_mail(
        &mut self,
        by: UserId,
        wanted: Option<&(MailAddress, MailWishes)>,
        code: MailCode,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let before = self.mails.all.get(&by);
        // What came before somebody asked for it is not sent any more.
        let through = Position::end_of(fx.at().index);
        let Some((address, wishes)) = wanted else {
            self.mails.change(by, |mail| mail.delivery = None);
            fx.happened(Change::ReachChanged { user: by });
            return Ok(Reply::Done);
        };
        let known = before.and_then(|mail| mail.delivery.as_ref()).filter(|delivery| delivery.address == *address);
        let is_proven = known.is_some_and(|delivery| delivery.proof == AddressProof::Given);
        let (mut asked, mut proof) = (before.map_or_else(At::default, |mail| mail.asked), AddressProof::Given);
        if !is_proven {
            if before.is_some() && fx.now() < asked.time.plus_us(ASK_AGAIN_US) {
                return Err(Refusal::TooManyRequests);
            }
            (asked, proof) = (fx.at(), AddressProof::Asked { code, is_sent: false });
        }
        let delivery = Some(Delivery { address: address.clone(), wishes: *wishes, proof });
        let given_up_count = before.map_or(0, |mail| mail.given_up_count);
        self.mails.insert(by, Arc::new(Mail { delivery, asked, through, given_up_count }));
        fx.happened(Change::ReachChanged { user: by });
        Ok(Reply::Done)
    }

    /// Whoever says the code has read the mail.
    pub(crate) fn confirm_mail(&mut self, by: UserId, code: MailCode, fx: &mut Effects) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let mail = self.mails.all.get(&by).ok_or(Refusal::AddressNotProven)?;
        let delivery = mail.delivery.as_ref().ok_or(Refusal::AddressNotProven)?;
        match delivery.proof {
            // Said twice, by a person or by a program that had no answer.
            AddressProof::Given => return Ok(Reply::Done),
            AddressProof::Asked { code: drawn, .. }
                if drawn == code && fx.now() < mail.asked.time.plus_us(CODE_VALID_US) => {}
            AddressProof::Asked { .. } => return Err(Refusal::AddressNotProven),
        }
        let through = Position::end_of(fx.at().index);
        self.mails.change(by, |mail| {
            if let Some(delivery) = &mut mail.delivery {
                delivery.proof = AddressProof::Given;
            }
            mail.through = through;
        });
        fx.happened(Change::ReachChanged { user: by });
        Ok(Reply::Done)
    }

    /// Nobody was told what happens now or later, whatever a mark says.
    pub(crate) fn mails_sent(&mut self, marks: &[MailMark]) {
        let now = Position::end_of(self.at.index);
        for MailMark { user, sent } in marks.iter().take(MARKS_MAX) {
            self.mails.change(*user, |mail| match sent {
                MailSent::Code { asked } if *asked == mail.asked.index => {
                    if let Some(Delivery { proof: AddressProof::Asked { is_sent, .. }, .. }) = &mut mail.delivery {
                        *is_sent = true;
                    }
                }
                // Another code has been drawn meanwhile.
                MailSent::Code { .. } => {}
                MailSent::Through { position, is_given_up } => {
                    if *position > mail.through {
                        mail.through = (*position).min(now);
                        mail.given_up_count = mail.given_up_count.saturating_add(u32::from(*is_given_up));
                    }
                }
            });
        }
    }

    /// How somebody is told by mail; none: not at all.
    #[must_use]
    pub fn mail_of(&self, viewer: UserId) -> Option<&Mail> {
        self.mails.all.get(&viewer).map(Arc::as_ref).filter(|mail| mail.delivery.is_some())
    }

    /// Everybody who wants mail.
    pub fn mail_readers(&self) -> impl Iterator<Item = UserId> + '_ {
        self.mails.all.iter().filter(|(_, mail)| mail.delivery.is_some()).map(|(user, _)| *user)
    }

    /// Whose codes are still to be sent.
    pub fn mail_codes_due(&self) -> impl Iterator<Item = UserId> + '_ {
        self.mails.codes.iter().copied()
    }

    /// In whose streams something came after the entry at `index`; `None` for an audience.
    pub fn told_after(&self, index: u64) -> impl Iterator<Item = Option<UserId>> + '_ {
        let next = Position { index: index + 1, ordinal: 0 };
        self.inbox.by_age.range((next, Stream::Everyone)..).map(|(_, stream)| match stream {
            Stream::User(user) => Some(*user),
            Stream::Everyone | Stream::Branch(_) | Stream::Role(_) => None,
        })
    }

    /// What somebody is to be sent next, after what `sent` says, which need not be noted yet. What they have read
    /// already they need not be sent.
    #[must_use]
    pub fn mail_due(&self, user: UserId, sent: Option<MailSent>) -> Option<MailDue> {
        let mail = self.mails.all.get(&user)?;
        let Delivery { address, wishes, proof } = mail.delivery.as_ref()?;
        let through = match sent {
            Some(MailSent::Through { position, .. }) => mail.through.max(position),
            Some(MailSent::Code { .. }) | None => mail.through,
        };
        match proof {
            AddressProof::Asked { is_sent: true, .. } => return None,
            AddressProof::Asked { code, is_sent: false } => {
                let is_sent = sent == Some(MailSent::Code { asked: mail.asked.index });
                let what = MailContent::Code(*code);
                return (!is_sent).then(|| MailDue { address: address.clone(), at: mail.asked, what });
            }
            AddressProof::Given => {}
        }
        let mut was_written_to = false;
        let mut items = self.inbox_items(user, self.read_up_to(user)).filter(|(position, item)| {
            let is_wanted = match &item.kind {
                // One mail says that there are letters; the next follows once these are read.
                ItemKind::Message { .. } => wishes.messages && !std::mem::replace(&mut was_written_to, true),
                ItemKind::Announcement { .. } => wishes.announcements,
                ItemKind::Unsent { .. } => false,
                ItemKind::OfferMade { .. }
                | ItemKind::OfferExpired { .. }
                | ItemKind::NoShow { .. }
                | ItemKind::Displaced { .. }
                | ItemKind::CancelledByStaff { .. }
                | ItemKind::Suspended { .. }
                | ItemKind::WaitExpired { .. }
                | ItemKind::HoldExpired { .. }
                | ItemKind::Released { .. }
                | ItemKind::Moved { .. }
                | ItemKind::BookedForYou { .. }
                | ItemKind::SeatReported { .. }
                | ItemKind::CancelledLate { .. }
                | ItemKind::StrikeWaived { .. }
                | ItemKind::Reported { .. } => wishes.notices,
            };
            is_wanted && *position > through
        });
        let (position, item): (Position, &Arc<Item>) = items.next()?;
        let what = MailContent::Item(self.item_view(position, item, true));
        Some(MailDue { address: address.clone(), at: item.at, what })
    }
}
