//! What belongs to a person: claims, waits, the inbox, and all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::account::{Role, Strike};
use crate::claim::Claim;
use crate::id::{BranchId, ClaimId, Position, UserId, WaitId};
use crate::inbox::{Item, ItemKind, Stream};
use crate::query::{ClaimView, ConversationView, ItemSubject, ItemView, MessageView, Page, WaitView};
use crate::refusal::Refusal;
use crate::request::{Place, SeatName};
use crate::state::State;
use crate::text::UserName;
use crate::waitlist::{Scope, Wait, WaitState};

impl State {
    /// # Errors
    /// As for acting on it: others are not told whether it exists.
    pub fn reservation(&self, viewer: UserId, id: ClaimId) -> Result<ClaimView, Refusal> {
        self.claim_for(viewer, id).map(|claim| self.claim_view(&claim))
    }

    /// One that the state holds no more, as the relational record has it.
    ///
    /// # Errors
    /// As for [`State::reservation`].
    pub fn reservation_of_history(&self, viewer: UserId, claim: Option<&Claim>) -> Result<ClaimView, Refusal> {
        let user = self.accounts.user(viewer).ok_or(Refusal::SessionExpired)?;
        let known = claim.filter(|claim| (claim.seat.0 as usize) < self.catalog.seat_count());
        let is_theirs = |claim: &&Claim| {
            claim.holder == Some(user.id) || user.role.runs_branch(self.catalog.seat(claim.seat).branch)
        };
        match known.filter(is_theirs) {
            Some(claim) => Ok(self.claim_view(claim)),
            None if user.role == Role::Admin => Err(Refusal::ReservationNotFound),
            None => Err(Refusal::NotPermitted),
        }
    }

    /// A person's claims, newest first, from the first older than `before` on.
    #[must_use]
    pub fn reservations(
        &self,
        viewer: UserId,
        matching: impl Fn(&Claim) -> bool,
        before: Option<ClaimId>,
        limit: usize,
    ) -> Page<ClaimView> {
        let newest = self.accounts.user(viewer).and_then(|user| user.newest_claim);
        let last_seen = before.and_then(|id| self.claims.get(id)).filter(|claim| claim.holder == Some(viewer));
        let first = last_seen.map_or(newest, |claim| claim.previous);
        let claims = std::iter::successors(first, |&id| self.claims.get(id)?.previous)
            .skip_while(|&id| before.is_some_and(|before| id >= before))
            .filter_map(|id| self.claims.get(id))
            .filter(|claim| matching(claim))
            .map(|claim| self.claim_view(&claim));
        Page::of(claims, limit)
    }

    /// What is live on a seat, earliest first, for staff of its branch.
    ///
    /// # Errors
    /// If there is no such seat, or the viewer does not run its branch.
    pub fn claims_on(&self, viewer: UserId, seat: &SeatName) -> Result<Vec<ClaimView>, Refusal> {
        let seat = self.find_seat(seat)?;
        let staff = self.accounts.user(viewer).ok_or(Refusal::SessionExpired)?;
        if !staff.role.runs_branch(self.catalog.seat(seat).branch) {
            return Err(Refusal::NotPermitted);
        }
        let live = self.claims.book(seat).iter().filter_map(|live| self.claims.get(live.claim));
        Ok(live.map(|claim| self.claim_view(&claim)).collect())
    }

    /// Of oneself, or for staff of those whom they may suspend; newest last.
    ///
    /// # Errors
    /// If there is no such person, or their strikes are not the viewer's to see.
    pub fn strikes(&self, viewer: UserId, name: &UserName) -> Result<Vec<Strike>, Refusal> {
        let own = self.accounts.find(name).filter(|user| user.id == viewer).map(|user| user.id);
        let id = own.map_or_else(|| self.under_staff(viewer, name), Ok)?;
        Ok(self.accounts.user(id).map(|user| user.strikes.clone()).unwrap_or_default())
    }

    #[must_use]
    pub fn waits(&self, viewer: UserId, after: Option<WaitId>, limit: usize) -> Page<WaitView> {
        let ids = self.accounts.user(viewer).map(|user| user.waits.as_slice()).unwrap_or_default();
        let waits = ids
            .iter()
            .filter(|&&id| after.is_none_or(|after| id > after))
            .filter_map(|id| self.waitlist.waits.get(id))
            .map(|wait| self.wait_view(wait));
        Page::of(waits, limit)
    }

    /// Where a wait stands among those who may want the same: at best, as many are before it as want nothing else; at
    /// worst, everybody whose wish could be met by what would meet this one. None if it is not waiting.
    #[must_use]
    pub fn place_in_line(&self, id: WaitId) -> Option<RangeInclusive<u32>> {
        let own = self.waitlist.waits.get(&id).filter(|wait| wait.state == WaitState::Waiting)?;
        let branch = self.branch_of(own.need.place);
        let before = self.waitlist.waits.values().filter(|other| {
            other.state == WaitState::Waiting
                && other.rank < own.rank
                && self.branch_of(other.need.place) == branch
                && other.interval.overlaps(own.interval)
        });
        let (mut best, mut worst) = (1, 1);
        for other in before {
            let (theirs, ours) = (other.need.place, own.need.place);
            let is_same = theirs == ours && other.need == own.need && other.interval == own.interval;
            best += u32::from(is_same);
            worst += u32::from(self.is_within(theirs, ours) || self.is_within(ours, theirs));
        }
        Some(best..=worst)
    }

    fn is_within(&self, inner: Scope, outer: Scope) -> bool {
        match inner {
            Scope::Seat(seat) => self.is_among(outer, seat),
            Scope::Area(area) => outer == inner || outer == Scope::Branch(self.catalog.area(area).branch),
            Scope::Branch(_) => outer == inner,
        }
    }

    /// What came after a position, oldest first.
    #[must_use]
    pub fn inbox(&self, viewer: UserId, after: Position, limit: usize) -> Page<ItemView> {
        let read_up_to = self.read_up_to(viewer);
        let items = self.inbox_items(viewer, after);
        let is_unread = |position, item: &Item| position > read_up_to && !matches!(item.kind, ItemKind::Unsent { .. });
        Page::of(items.map(|(position, item)| self.item_view(position, item, is_unread(position, item))), limit)
    }

    /// The newest position whose item a full stream had to let go of: what came after a position before it cannot be
    /// told in full any more.
    #[must_use]
    pub fn let_go_up_to(&self, viewer: UserId) -> Position {
        let Some(user) = self.accounts.user(viewer) else { return Position::default() };
        let of = |stream| self.inbox.let_go.get(&stream).copied().unwrap_or_default();
        let announced = self.heard_by(user).map(|(stream, since)| (of(stream), since));
        let concerning = announced.filter(|(let_go, since)| let_go > since).map(|(let_go, _)| let_go);
        concerning.fold(of(Stream::User(viewer)), Position::max)
    }

    #[must_use]
    pub fn read_up_to(&self, viewer: UserId) -> Position {
        self.accounts.user(viewer).map(|user| user.read_up_to).unwrap_or_default()
    }

    #[must_use]
    pub fn unread_count(&self, viewer: UserId) -> u32 {
        let Some(user) = self.accounts.user(viewer) else { return 0 };
        let announced = self.heard_by(user);
        let unread = announced.map(|(stream, since)| self.inbox.announced_after(stream, since.max(user.read_up_to)));
        self.inbox.unread_of(viewer) + unread.sum::<usize>() as u32
    }

    /// The streams that a person hears, merged in log order, without copies of what they sent to others.
    pub(crate) fn inbox_items(&self, viewer: UserId, after: Position) -> impl Iterator<Item = (Position, &Arc<Item>)> {
        let user = self.accounts.user(viewer);
        let own = user.map(|user| (Stream::User(user.id), Position::default()));
        let heard = own.into_iter().chain(user.into_iter().flat_map(|user| self.heard_by(user)));
        let mut sources: Vec<_> = heard
            .map(|(stream, since)| {
                let items = self.inbox.of(stream, after.max(since));
                items.filter(move |(_, item)| item.is_shown_in(stream)).peekable()
            })
            .collect();
        std::iter::from_fn(move || {
            let heads = sources.iter_mut().enumerate().filter_map(|(place, items)| Some((items.peek()?.0, place)));
            let (_, earliest) = heads.min()?;
            sources[earliest].next()
        })
    }

    /// Messages with one person or with all, oldest first.
    #[must_use]
    pub fn messages(&self, viewer: UserId, with: Option<UserId>, after: Position, limit: usize) -> Page<MessageView> {
        let stream = Stream::User(viewer);
        let concerns = |item: &Item| match (&item.kind, with) {
            (ItemKind::Message { .. }, None) => true,
            (ItemKind::Message { sender, recipients, .. }, Some(with)) => *sender == with || recipients.contains(&with),
            _ => false,
        };
        let messages = self
            .inbox
            .of(stream, after)
            .filter(|(_, item)| concerns(item))
            .map(|(position, item)| self.message_view(stream, position, item));
        Page::of(messages, limit)
    }

    /// Messages of exactly these people and the viewer, oldest first.
    #[must_use]
    pub fn conversation(
        &self,
        viewer: UserId,
        others: &BTreeSet<UserId>,
        after: Position,
        limit: usize,
    ) -> Page<MessageView> {
        let stream = Stream::User(viewer);
        let messages = self
            .inbox
            .of(stream, after)
            .filter(|(_, item)| others_of(viewer, item).is_some_and(|found| found == *others))
            .map(|(position, item)| self.message_view(stream, position, item));
        Page::of(messages, limit)
    }

    /// The last written in first. A stream holds a thousand items at most, so there are no more.
    #[must_use]
    pub fn conversations(&self, viewer: UserId) -> Vec<ConversationView> {
        let stream = Stream::User(viewer);
        let read_up_to = self.read_up_to(viewer);
        let mut found: BTreeMap<BTreeSet<UserId>, (Position, &Item, u32)> = BTreeMap::new();
        for (position, item) in self.inbox.of(stream, Position::default()) {
            let Some(others) = others_of(viewer, item) else { continue };
            let is_unread = position > read_up_to && item.is_to_be_read_in(stream);
            let entry = found.entry(others).or_insert((position, item, 0));
            *entry = (position, item, entry.2 + u32::from(is_unread));
        }
        let mut newest_first: Vec<_> = found.into_iter().collect();
        newest_first.sort_unstable_by_key(|(_, (position, ..))| std::cmp::Reverse(*position));
        let view =
            |(others, (position, item, unread_count)): (BTreeSet<UserId>, (Position, &Item, u32))| ConversationView {
                others: others.into_iter().map(|other| self.name_of(other)).collect(),
                last: self.message_view(stream, position, item),
                unread_count,
            };
        newest_first.into_iter().map(view).collect()
    }

    /// Whose messages the viewer does not get.
    #[must_use]
    pub fn blocks(&self, viewer: UserId) -> Vec<UserName> {
        let blocked = self.inbox.blocks.get(&viewer).map(Vec::as_slice).unwrap_or_default();
        blocked.iter().filter_map(|&other| self.name_of(other)).collect()
    }

    #[must_use]
    pub fn find_user(&self, name: &UserName) -> Option<UserId> {
        self.accounts.find(name).map(|user| user.id)
    }

    pub(crate) fn claim_view_of(&self, id: ClaimId) -> ClaimView {
        self.claim_view(&self.claims.get(id).expect("a claim that was just changed"))
    }

    pub(crate) fn claim_view(&self, claim: &Claim) -> ClaimView {
        let seat = self.catalog.seat(claim.seat);
        ClaimView {
            claim: Claim { state: claim.state.without_reporter(), ..claim.clone() },
            seat: SeatName { branch: self.catalog.branch(seat.branch).slug.clone(), seat: seat.slug.clone() },
            holder: claim.holder.and_then(|holder| self.name_of(holder)),
        }
    }

    pub(crate) fn wait_view_of(&self, id: WaitId) -> WaitView {
        self.wait_view(self.waitlist.waits.get(&id).expect("a wait that was just changed"))
    }

    pub(crate) fn wait_view(&self, wait: &Wait) -> WaitView {
        let slug = |branch: BranchId| self.catalog.branch(branch).slug.clone();
        let place = match wait.need.place {
            Scope::Seat(id) => {
                let seat = self.catalog.seat(id);
                Place::Seat { branch: slug(seat.branch), seat: seat.slug.clone() }
            }
            Scope::Area(id) => {
                let area = self.catalog.area(id);
                Place::Area { branch: slug(area.branch), area: area.slug.clone() }
            }
            Scope::Branch(id) => Place::Branch { branch: slug(id) },
        };
        WaitView { wait: wait.clone(), user: self.name_of(wait.user), place }
    }

    pub(crate) fn message_view(&self, stream: Stream, position: Position, item: &Item) -> MessageView {
        let (sender, recipients, text) = match &item.kind {
            ItemKind::Message { sender, recipients, text } => (*sender, recipients.as_slice(), text),
            ItemKind::Announcement { sender, text } => (*sender, [].as_slice(), text),
            other => unreachable!("{other:?} is not a message"),
        };
        MessageView {
            stream,
            position,
            sender: self.name_of(sender),
            recipients: recipients.iter().map(|&id| self.name_of(id)).collect(),
            text: text.clone(),
            at: item.at.time,
        }
    }

    pub(crate) fn item_view(&self, position: Position, item: &Item, is_unread: bool) -> ItemView {
        let subject = match &item.kind {
            ItemKind::Message { sender, text, .. } => {
                ItemSubject::Message { sender: self.name_of(*sender), text: text.clone() }
            }
            ItemKind::Announcement { sender, text } => {
                ItemSubject::Announcement { sender: self.name_of(*sender), text: text.clone() }
            }
            ItemKind::OfferMade { claim } => ItemSubject::OfferMade { claim: *claim },
            ItemKind::OfferExpired { claim } => ItemSubject::OfferExpired { claim: *claim },
            ItemKind::NoShow { claim } => ItemSubject::NoShow { claim: *claim },
            ItemKind::Displaced { claim } => ItemSubject::Displaced { claim: *claim },
            ItemKind::CancelledByStaff { claim } => ItemSubject::CancelledByStaff { claim: *claim },
            ItemKind::Suspended { until } => ItemSubject::Suspended { until: *until },
            ItemKind::WaitExpired { wait } => ItemSubject::WaitExpired { wait: *wait },
            ItemKind::HoldExpired { claim } => ItemSubject::HoldExpired { claim: *claim },
            ItemKind::Released { claim } => ItemSubject::Released { claim: *claim },
            ItemKind::Moved { claim } => ItemSubject::Moved { claim: *claim },
            ItemKind::BookedForYou { claim } => ItemSubject::BookedForYou { claim: *claim },
            ItemKind::SeatReported { claim, until } => ItemSubject::SeatReported { claim: *claim, until: *until },
            ItemKind::CancelledLate { claim } => ItemSubject::CancelledLate { claim: *claim },
            ItemKind::StrikeWaived { claim } => ItemSubject::StrikeWaived { claim: *claim },
            ItemKind::Unsent { message } => ItemSubject::Unsent { message: *message },
            ItemKind::Reported { reporter, sender, text, reason } => ItemSubject::Reported {
                reporter: self.name_of(*reporter),
                sender: self.name_of(*sender),
                text: text.clone(),
                reason: reason.clone(),
            },
        };
        ItemView { position, at: item.at.time, is_unread, subject }
    }

    /// Whether what this entry did concerns a person's inbox: streams look no further if not.
    #[must_use]
    pub fn newest_item(&self, viewer: UserId) -> Position {
        let newest = |stream| {
            let range = (stream, Position::default())..=(stream, Position::end_of(u64::MAX));
            self.inbox.items.range(range).next_back().map(|((_, position), _)| *position).unwrap_or_default()
        };
        let heard = self.accounts.user(viewer).into_iter().flat_map(|user| self.heard_by(user));
        heard.map(|(stream, _)| newest(stream)).fold(newest(Stream::User(viewer)), Position::max)
    }
}

/// With whom a message is shared; nothing if it is none.
fn others_of(viewer: UserId, item: &Item) -> Option<BTreeSet<UserId>> {
    let ItemKind::Message { sender, recipients, .. } = &item.kind else { return None };
    let everybody = recipients.iter().chain([sender]).copied();
    Some(everybody.filter(|&person| person != viewer).collect())
}
