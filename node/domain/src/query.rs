//! Reading the state. Every view is complete in itself: ids are resolved to names, so that it can be passed on as it
//! is. Reads are evaluated at the time of the last applied entry.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{PasswordHash, Role, Session, User};
use crate::calendar::DAYS_BEYOND_WINDOW;
use crate::catalog::{Area, Branch, Draft, Seat};
use crate::claim::{Claim, first_ending_after, overlapping};
use crate::id::{AreaId, BranchId, ClaimId, Position, SeatId, TokenDigest, UserId, WaitId};
use crate::inbox::{Item, ItemKind, Stream};
use crate::refusal::Refusal;
use crate::request::{Place, SeatName};
use crate::state::State;
use crate::text::{Glob, MessageText, Slug, Title, UserName};
use crate::time::{DAY_US, Interval, Timestamp};
use crate::waitlist::{Scope, Wait};

/// Most entries of a seat's timetable.
pub const BUSY_MAX: usize = 100;
pub const OPEN_MAX: usize = 14;
/// Most seats named beside a refusal.
pub const ALTERNATIVES_MAX: usize = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    pub id: UserId,
    pub name: UserName,
    pub role: Role<Slug>,
    pub created_at: Timestamp,
    pub suspended_until: Option<Timestamp>,
}

/// Who reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewer {
    pub user: UserView,
    pub expires_at: Timestamp,
    pub unread_count: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    pub user: UserId,
    pub password: PasswordHash,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimView {
    pub claim: Claim,
    pub seat: SeatName,
    /// None: the institution, or somebody whose account is gone.
    pub holder: Option<UserName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitView {
    pub wait: Wait,
    pub user: Option<UserName>,
    pub place: Place<Slug>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageView {
    pub stream: Stream,
    pub position: Position,
    pub sender: Option<UserName>,
    /// None: their account is gone. Empty for announcements.
    pub recipients: Vec<Option<UserName>>,
    pub text: MessageText,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ItemView {
    pub position: Position,
    pub at: Timestamp,
    pub is_unread: bool,
    pub subject: ItemSubject,
}

/// What an inbox item is about.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemSubject {
    Message { sender: Option<UserName>, text: MessageText },
    Announcement { sender: Option<UserName>, text: MessageText },
    OfferMade { claim: ClaimId },
    OfferExpired { claim: ClaimId },
    NoShow { claim: ClaimId },
    Displaced { claim: ClaimId },
    CancelledByStaff { claim: ClaimId },
    Suspended { until: Timestamp },
    WaitExpired { wait: WaitId },
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeatView {
    pub id: SeatId,
    pub branch: Slug,
    pub area: Slug,
    pub seat: Slug,
    pub label: Title,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    pub x_cm: i32,
    pub y_cm: i32,
    pub available: bool,
    /// While available: when the next claim or closing time ends that.
    pub free_until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SeatTimetable {
    pub seat: SeatView,
    pub busy: Vec<Interval>,
    pub open: Vec<Interval>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BranchView {
    pub slug: Slug,
    pub title: Title,
    pub time_zone: Title,
    pub areas: Vec<AreaView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AreaView {
    pub slug: Slug,
    pub title: Title,
    pub seat_count: u32,
    pub available_count: u32,
    pub is_open: bool,
}

/// What a seat must be to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct SeatSearch {
    pub branch: Slug,
    pub area: Option<Slug>,
    pub amenities: Vec<Title>,
    pub accessible: bool,
    /// None: the present moment.
    pub interval: Option<Interval>,
    pub available_only: bool,
    /// Only seats behind this one in the order of the results.
    pub after: Option<SeatId>,
    pub limit: usize,
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    fn of(mut items: impl Iterator<Item = T>, limit: usize) -> Self {
        let page = items.by_ref().take(limit).collect();
        Self { items: page, more: items.next().is_some() }
    }
}

// === People ===

impl State {
    /// The account behind a session that is in force.
    ///
    /// # Errors
    /// `SessionExpired` if there is none.
    pub fn viewer(&self, token: TokenDigest) -> Result<Viewer, Refusal> {
        let (session, user) = self.session_in_force(token)?;
        Ok(Viewer {
            user: self.user_view(user),
            expires_at: session.expires_at,
            unread_count: self.unread_count(user.id),
        })
    }

    /// Who is behind a session that is in force, for reads that need no more: nothing is counted.
    ///
    /// # Errors
    /// `SessionExpired` if there is none.
    pub fn session_user(&self, token: TokenDigest) -> Result<UserId, Refusal> {
        self.session_in_force(token).map(|(_, user)| user.id)
    }

    fn session_in_force(&self, token: TokenDigest) -> Result<(&Session, &User), Refusal> {
        let session = self.accounts.sessions.get(&token).filter(|session| !session.ended);
        let session = session.ok_or(Refusal::SessionExpired)?;
        let user = self.accounts.user(session.user).ok_or(Refusal::SessionExpired)?;
        Ok((session, user))
    }

    #[must_use]
    pub fn credentials(&self, name: &UserName) -> Option<Credentials> {
        let user = self.accounts.find(name)?;
        Some(Credentials { user: user.id, password: user.password.clone() })
    }

    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.accounts.admin_count > 0
    }

    /// In order of their names, from the first after `after` on.
    #[must_use]
    pub fn users(&self, glob: &Glob, after: Option<&UserName>, limit: usize) -> Page<UserView> {
        let after = after.map(UserName::key);
        let prefix = glob.prefix();
        let first = match &after {
            Some(after) if after.as_str() >= prefix => Excluded(after.as_str()),
            _ => Included(prefix),
        };
        let matching = self
            .accounts
            .names
            .range::<_, str>((first, Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(key, _)| glob.matches(key))
            .filter_map(|(_, &id)| self.accounts.user(id))
            .map(|user| self.user_view(user));
        Page::of(matching, limit)
    }

    pub(crate) fn user_view(&self, user: &User) -> UserView {
        let role = match &user.role {
            Role::Patron => Role::Patron,
            Role::Librarian(branches) => {
                Role::Librarian(branches.iter().map(|&id| self.catalog.branch(id).slug.clone()).collect())
            }
            Role::Admin => Role::Admin,
            Role::Auditor => Role::Auditor,
            Role::Kiosk => Role::Kiosk,
        };
        UserView {
            id: user.id,
            name: user.name.clone(),
            role,
            created_at: user.created.time,
            suspended_until: user.suspended_until,
        }
    }

    fn name_of(&self, user: UserId) -> Option<UserName> {
        self.accounts.user(user).map(|user| user.name.clone())
    }
}

// === The catalogue and its seats ===

impl State {
    #[must_use]
    pub fn catalog_draft(&self) -> Draft {
        self.catalog.draft()
    }

    #[must_use]
    pub fn branches(&self) -> Vec<BranchView> {
        self.catalog.branches().map(|(id, branch)| self.branch_view(id, branch)).collect()
    }

    fn branch_view(&self, id: BranchId, branch: &Branch) -> BranchView {
        let now = self.at.time;
        let area_view = |area_id: AreaId| {
            let area = self.catalog.area(area_id);
            let is_open = self.is_open_at(id, area_id, now);
            let is_free = |seat: &&SeatId| !self.is_taken_at(**seat, now);
            AreaView {
                slug: area.slug.clone(),
                title: area.title.clone(),
                seat_count: area.seats.len() as u32,
                available_count: if is_open { area.seats.iter().filter(is_free).count() as u32 } else { 0 },
                is_open,
            }
        };
        BranchView {
            slug: branch.slug.clone(),
            title: branch.title.clone(),
            time_zone: branch.time_zone.clone(),
            areas: branch.areas().map(area_view).collect(),
        }
    }

    /// Seats in the order of the catalogue, area by area.
    ///
    /// # Errors
    /// If there is no such branch or area.
    pub fn search_seats(&self, search: &SeatSearch) -> Result<Page<SeatView>, Refusal> {
        let branch = self.catalog.find_branch(search.branch.as_str()).ok_or(Refusal::BranchNotFound)?;
        let areas: Vec<AreaId> = match &search.area {
            Some(area) => {
                vec![self.catalog.find_area(search.branch.as_str(), area.as_str()).ok_or(Refusal::AreaNotFound)?]
            }
            None => self.catalog.branch(branch).areas().collect(),
        };
        let now = self.at.time;
        let (start, end) = search.interval.map_or((now, now.plus_us(1)), Into::into);
        let mut behind = search.after;
        let mut items = Vec::with_capacity(search.limit.min(256));
        for area_id in areas {
            let area = self.catalog.area(area_id);
            // Asked once for the whole area: every seat in it shares the hours.
            let open_until = self.open_from(branch, area_id, start);
            for &id in &area.seats {
                if let Some(last) = behind {
                    if last == id {
                        behind = None;
                    }
                    continue;
                }
                let seat = self.catalog.seat(id);
                if (search.accessible && !seat.accessible) || !seat.has_all(&search.amenities) {
                    continue;
                }
                let free_until = self.free_until(id, start, open_until);
                let available = free_until >= end;
                if search.available_only && !available {
                    continue;
                }
                if items.len() == search.limit {
                    return Ok(Page { items, more: true });
                }
                items.push(self.seat_view(id, seat, area, available.then_some(free_until)));
            }
        }
        Ok(Page { items, more: false })
    }

    /// # Errors
    /// If there is no such seat.
    pub fn seat_timetable(&self, name: &SeatName) -> Result<SeatTimetable, Refusal> {
        let id = self.find_seat(name)?;
        let seat = self.catalog.seat(id);
        let now = self.at.time;
        let free_until = self.free_until(id, now, self.open_from(seat.branch, seat.area, now));
        let available = free_until > now;
        let book = self.claims.book(id);
        let busy = book[first_ending_after(book, now)..].iter().map(|live| live.interval).take(BUSY_MAX).collect();
        Ok(SeatTimetable {
            seat: self.seat_view(id, seat, self.catalog.area(seat.area), available.then_some(free_until)),
            busy,
            open: self.opening_spans(seat.branch, seat.area, now),
        })
    }

    /// Seats that are free for the whole interval, nearest to the wish: first in the same area, best fit first.
    #[must_use]
    pub fn alternatives(&self, name: &SeatName, interval: Interval) -> Vec<SeatView> {
        let Ok(wanted_id) = self.find_seat(name) else { return Vec::new() };
        let wanted = self.catalog.seat(wanted_id);
        let distance = |seat: &Seat| {
            let square = |a: i32, b: i32| (i64::from(a) - i64::from(b)).pow(2);
            square(seat.x_cm, wanted.x_cm) + square(seat.y_cm, wanted.y_cm)
        };
        let mut found: Vec<(bool, bool, i64, SeatId, Timestamp)> = Vec::new();
        for area_id in self.catalog.branch(wanted.branch).areas() {
            let open_until = self.open_from(wanted.branch, area_id, interval.start());
            if open_until < interval.end() || self.may_be_booked(area_id, interval, self.at.time).is_err() {
                continue;
            }
            let seats = self.catalog.area(area_id).seats.iter().copied();
            found.extend(seats.filter(|&id| id != wanted_id).filter_map(|id| {
                let seat = self.catalog.seat(id);
                let free_until = self.free_until(id, interval.start(), open_until);
                let fits = free_until >= interval.end() && (seat.accessible || !wanted.accessible);
                fits.then(|| (area_id != wanted.area, !seat.has_all(&wanted.amenities), distance(seat), id, free_until))
            }));
        }
        found.sort_unstable();
        found.truncate(ALTERNATIVES_MAX);
        let view = |(.., id, free_until): (_, _, _, SeatId, Timestamp)| {
            let seat = self.catalog.seat(id);
            self.seat_view(id, seat, self.catalog.area(seat.area), Some(free_until))
        };
        found.into_iter().map(view).collect()
    }

    fn seat_view(&self, id: SeatId, seat: &Seat, area: &Area, free_until: Option<Timestamp>) -> SeatView {
        SeatView {
            id,
            branch: self.catalog.branch(seat.branch).slug.clone(),
            area: area.slug.clone(),
            seat: seat.slug.clone(),
            label: seat.label.clone(),
            amenities: seat.amenities.clone(),
            accessible: seat.accessible,
            x_cm: seat.x_cm,
            y_cm: seat.y_cm,
            available: free_until.is_some(),
            free_until,
        }
    }

    fn is_taken_at(&self, seat: SeatId, instant: Timestamp) -> bool {
        let moment = Interval::new(instant, instant.plus_us(1)).expect("a microsecond is not empty");
        overlapping(self.claims.book(seat), moment).is_some()
    }

    fn is_open_at(&self, branch: BranchId, area: AreaId, instant: Timestamp) -> bool {
        self.day_at(branch, instant).is_ok_and(|day| day.open_in(area).iter().any(|open| open.contains(instant)))
    }

    /// Until when the area stays open from `from` on, as far as the calendar reaches but no longer than a week;
    /// `from` if it is closed then.
    fn open_from(&self, branch: BranchId, area: AreaId, from: Timestamp) -> Timestamp {
        let horizon = from.plus_us(i64::from(DAYS_BEYOND_WINDOW) * DAY_US);
        let mut reached = from;
        while reached < horizon {
            match self.open_until(branch, area, reached, reached.plus_us(1)) {
                Ok(next) if next > reached => reached = next,
                Ok(_) | Err(_) => break,
            }
        }
        reached
    }

    /// Until when the seat is free from `from` on, `from` if it is not.
    fn free_until(&self, seat: SeatId, from: Timestamp, open_until: Timestamp) -> Timestamp {
        let book = self.claims.book(seat);
        match book.get(first_ending_after(book, from)) {
            Some(next) => next.interval.start().max(from).min(open_until),
            None => open_until,
        }
    }

    fn opening_spans(&self, branch: BranchId, area: AreaId, from: Timestamp) -> Vec<Interval> {
        let Ok(today) = self.day_at(branch, from) else { return Vec::new() };
        let mut spans: Vec<Interval> = Vec::new();
        let days = self.calendar.range((branch, today.date)..).take_while(|((other, _), _)| *other == branch);
        for (_, kept) in days.take(OPEN_MAX) {
            for open in kept.day.open_in(area).iter().filter(|open| open.end() > from) {
                match spans.last_mut() {
                    // Open through midnight is one span.
                    Some(last) if last.end() == open.start() => {
                        *last = Interval::new(last.start(), open.end()).expect("longer than what it was");
                    }
                    _ => spans.push(*open),
                }
            }
        }
        spans.truncate(OPEN_MAX);
        spans
    }
}

// === What belongs to a person ===

impl State {
    /// # Errors
    /// As for acting on it: others are not told whether it exists.
    pub fn reservation(&self, viewer: UserId, id: ClaimId) -> Result<ClaimView, Refusal> {
        self.claim_for(viewer, id).map(|claim| self.claim_view(claim))
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
            .map(|claim| self.claim_view(claim));
        Page::of(claims, limit)
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

    /// What came after a position, oldest first.
    #[must_use]
    pub fn inbox(&self, viewer: UserId, after: Position, limit: usize) -> Page<ItemView> {
        let read_up_to = self.read_up_to(viewer);
        let items = self.inbox_items(viewer, after);
        Page::of(items.map(|(position, item)| self.item_view(position, item, position > read_up_to)), limit)
    }

    #[must_use]
    pub fn read_up_to(&self, viewer: UserId) -> Position {
        self.accounts.user(viewer).map(|user| user.read_up_to).unwrap_or_default()
    }

    #[must_use]
    pub fn unread_count(&self, viewer: UserId) -> u32 {
        let Some(user) = self.accounts.user(viewer) else { return 0 };
        self.own_items(user, user.read_up_to).count() as u32 + self.announcements(user, user.read_up_to).count() as u32
    }

    /// Both streams of a person, merged in log order.
    fn inbox_items(&self, viewer: UserId, after: Position) -> impl Iterator<Item = (Position, &Arc<Item>)> {
        let user = self.accounts.user(viewer);
        let mut own = user.into_iter().flat_map(move |user| self.own_items(user, after)).peekable();
        let mut all = user.into_iter().flat_map(move |user| self.announcements(user, after)).peekable();
        std::iter::from_fn(move || match (own.peek(), all.peek()) {
            (Some((own_position, _)), Some((position, _))) if position < own_position => all.next(),
            (None, _) => all.next(),
            (Some(_), _) => own.next(),
        })
    }

    /// Without copies of what they sent to others.
    fn own_items(&self, user: &User, after: Position) -> impl Iterator<Item = (Position, &Arc<Item>)> {
        let id = user.id;
        let is_copy = move |item: &Item| matches!(&item.kind, ItemKind::Message { sender, recipients, .. } if *sender == id && !recipients.contains(&id));
        self.inbox.of(Stream::User(id), after).filter(move |(_, item)| !is_copy(item))
    }

    /// Since the account was made.
    fn announcements(&self, user: &User, after: Position) -> impl Iterator<Item = (Position, &Arc<Item>)> {
        self.inbox.of(Stream::Everyone, after.max(Position::end_of(user.created.index)))
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

    #[must_use]
    pub fn find_user(&self, name: &UserName) -> Option<UserId> {
        self.accounts.find(name).map(|user| user.id)
    }

    pub(crate) fn claim_view_of(&self, id: ClaimId) -> ClaimView {
        self.claim_view(self.claims.get(id).expect("a claim that was just changed"))
    }

    pub(crate) fn claim_view(&self, claim: &Claim) -> ClaimView {
        let seat = self.catalog.seat(claim.seat);
        ClaimView {
            claim: claim.clone(),
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

    fn item_view(&self, position: Position, item: &Item, is_unread: bool) -> ItemView {
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
        newest(Stream::Everyone).max(newest(Stream::User(viewer)))
    }
}
