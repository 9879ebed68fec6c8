//! What there is to sit on, and what of it is free.

use crate::account::User;
use crate::catalog::{Area, Branch, Draft, Seat};
use crate::claim::first_ending_after;
use crate::id::{AreaId, BranchId, SeatId};
use crate::query::{AreaView, BUSY_MAX, BranchView, OPEN_MAX, Page, SeatSearch, SeatTimetable, SeatView};
use crate::refusal::Refusal;
use crate::request::SeatName;
use crate::state::State;
use crate::time::{DAY_US, Interval, Timestamp};

/// How far ahead it is said until when a seat is free.
const SEEN_AHEAD_DAYS: i64 = 7;

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
            let is_free = |seat: &&SeatId| {
                !self.is_taken_at(**seat, now) && self.claims.resting.get(*seat).is_none_or(|&until| until <= now)
            };
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

    /// Other seats of the branch for somebody, the nearest first: of the same area, as well equipped, by distance on
    /// the map.
    pub(crate) fn seats_near(&self, id: SeatId, user: &User) -> Vec<(AreaId, SeatId)> {
        let wanted = self.catalog.seat(id);
        let areas = self.catalog.branch(wanted.branch).areas();
        let seats = areas.flat_map(|area| self.catalog.area(area).seats.iter().map(move |&seat| (area, seat)));
        let mut near: Vec<_> = seats
            .filter(|&(_, other)| other != id)
            .map(|(area, other)| (area, other, self.catalog.seat(other)))
            .filter(|(.., seat)| seat.accessible || !user.needs_accessible)
            .map(|(area, other, seat)| {
                (area != wanted.area, !seat.has_all(&wanted.amenities), distance(seat, wanted), other, area)
            })
            .collect();
        near.sort_unstable();
        near.into_iter().map(|(.., seat, area)| (area, seat)).collect()
    }

    pub(crate) fn seat_view_for(&self, id: SeatId, interval: Interval) -> SeatView {
        let seat = self.catalog.seat(id);
        let open_until = self.open_from(seat.branch, seat.area, interval.start());
        let free_until = self.free_until(id, interval.start(), open_until);
        self.seat_view(id, seat, self.catalog.area(seat.area), (free_until >= interval.end()).then_some(free_until))
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
        self.taken_at(seat, instant).is_some()
    }

    fn is_open_at(&self, branch: BranchId, area: AreaId, instant: Timestamp) -> bool {
        self.day_at(branch, instant).is_ok_and(|day| day.open_in(area).iter().any(|open| open.contains(instant)))
    }

    /// Until when the area stays open from `from` on, as far as the calendar reaches but no longer than a week;
    /// `from` if it is closed then.
    fn open_from(&self, branch: BranchId, area: AreaId, from: Timestamp) -> Timestamp {
        let horizon = from.plus_us(SEEN_AHEAD_DAYS * DAY_US);
        let mut reached = from;
        while reached < horizon {
            match self.open_until(branch, area, reached, reached.plus_us(1)) {
                Ok(next) if next > reached => reached = next,
                Ok(_) | Err(_) => break,
            }
        }
        reached
    }

    /// Until when somebody could have the seat from `from` on, `from` if it is taken, or about to be.
    fn free_until(&self, seat: SeatId, from: Timestamp, open_until: Timestamp) -> Timestamp {
        let is_resting = self.claims.resting.get(&seat).is_some_and(|&until| from < until);
        if is_resting {
            return from;
        }
        let book = self.claims.book(seat);
        let buffer_minutes = self.catalog.policy(self.policy_of(seat)).buffer_minutes;
        match book.get(first_ending_after(book, from.minus_minutes(buffer_minutes))) {
            Some(next) => next.interval.start().minus_minutes(buffer_minutes).max(from).min(open_until),
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

/// On the map, squared.
fn distance(one: &Seat, other: &Seat) -> i64 {
    let square = |a: i32, b: i32| (i64::from(a) - i64::from(b)).pow(2);
    square(one.x_cm, other.x_cm) + square(one.y_cm, other.y_cm)
}
