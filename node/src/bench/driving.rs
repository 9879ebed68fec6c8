//! One client of a measurement: what it asks for, again and again, at its pace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use carrel_proto::client::new_request_id;
use carrel_proto::v1;

use super::accounts::{Account, Wallet};
use super::ground::Ground;
use super::load::{Freshness, Load, Tally};

#[derive(Clone, Copy)]
pub struct Span {
    pub measure_from: Instant,
    pub until: Instant,
}

pub struct Driver {
    pub wallet: Wallet,
    pub ground: Arc<Ground>,
    pub number: usize,
    /// Of all clients, whom somebody may write to.
    pub names: Arc<Vec<String>>,
    /// Booked on a mixed day and not cancelled yet.
    pub held: Option<(Account, String)>,
}

impl Driver {
    pub async fn drive(
        &mut self,
        load: Load,
        span: Span,
        mut timetable: Option<(Instant, Duration)>,
    ) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let mut unmeasured = Tally::new();
        let mut round = 0;
        loop {
            let account = match load {
                // A booking and its cancellation, with a check-in between.
                Load::CheckIns => self.wallet.account(3).await?,
                Load::Bookings => self.wallet.account(2).await?,
                Load::Messages | Load::Mixed => self.wallet.account(1).await?,
                Load::Searches | Load::Pages(_) | Load::Reads => self.wallet.account(0).await?,
            };
            let due = match &mut timetable {
                None => Instant::now(),
                Some((next, every)) => {
                    let due = *next;
                    *next += *every;
                    tokio::time::sleep_until(due.into()).await;
                    due
                }
            };
            if due.max(Instant::now()) >= span.until {
                break;
            }
            let tally = if due < span.measure_from { &mut unmeasured } else { &mut tally };
            match load {
                Load::Bookings => self.book(&account, round, due, tally).await,
                Load::CheckIns => self.check_in(&account, tally).await,
                Load::Searches => self.search(&account, round, due, tally).await,
                Load::Pages(freshness) => self.page(&account, freshness, round, due, tally).await,
                Load::Reads => Self::read(&account, due, tally).await,
                Load::Mixed => self.live_a_day(&account, round, due, tally).await,
                Load::Messages => self.write(&account, round, due, tally).await,
            }
            if tally.failed.count() > FAILURES_MAX {
                bail!("client {} gave up: failed calls {}", self.number, tally.failed.text());
            }
            round += 1;
        }
        if let Some((account, name)) = self.held.take() {
            cancel(&account, name, &mut tally).await;
        }
        // What fails while it warms up fails all the same.
        tally.failed.add(&unmeasured.failed);
        tally.bookings += unmeasured.bookings;
        Ok(tally)
    }

    async fn book(&self, account: &Account, round: usize, due: Instant, tally: &mut Tally) {
        if let Some(name) = self.reserve(account, round, due, tally).await {
            cancel(account, name, tally).await;
        }
    }

    /// Its name, if there is one.
    async fn reserve(&self, account: &Account, round: usize, due: Instant, tally: &mut Tally) -> Option<String> {
        let (seat, interval) = self.ground.place(self.number, round);
        let answer = account.client.create_reservation(wish(seat, interval)).await;
        tally.note(due, &answer);
        let reservation = answer.ok().and_then(|answer| answer.reservation)?;
        tally.writes += 1;
        tally.bookings += 1;
        Some(reservation.name)
    }

    /// The latency is that of the check-in alone; a timetable, if there is one, is for all three.
    async fn check_in(&self, account: &Account, tally: &mut Tally) {
        let (seat, interval) = self.ground.present(self.number);
        let reservation = match account.client.create_reservation(wish(seat, interval)).await {
            Ok(answer) => answer.reservation.unwrap_or_default(),
            Err(error) => return tally.failed.note(&error),
        };
        tally.writes += 1;
        tally.bookings += 1;
        let begun = Instant::now();
        let request =
            v1::CheckInRequest { request_id: new_request_id(), name: reservation.name.clone(), ..Default::default() };
        let answer = account.client.check_in(request).await;
        tally.note(begun, &answer);
        tally.writes += u64::from(answer.is_ok());
        let request = v1::CheckOutRequest { request_id: new_request_id(), name: reservation.name };
        match account.client.check_out(request).await {
            Ok(_) => tally.writes += 1,
            Err(error) => tally.failed.note(&error),
        }
    }

    /// What a page of the seat map asks for when somebody looks for a seat with power for an hour.
    async fn page(&self, account: &Account, freshness: Freshness, round: usize, due: Instant, tally: &mut Tally) {
        let pick = self.number.wrapping_mul(31).wrapping_add(round);
        let read = match freshness {
            Freshness::Linearizable => None,
            Freshness::Local => {
                Some(v1::ReadOptions { freshness: Some(v1::read_options::Freshness::MaxStaleness(LOCAL)) })
            }
        };
        let request = v1::SearchSeatsRequest {
            branch: self.ground.branches[pick % self.ground.branches.len()].clone(),
            amenities: vec!["power".to_owned()],
            interval: Some(self.ground.interval(pick, 2)),
            available_only: true,
            page_size: PAGE_SEATS,
            read,
            ..v1::SearchSeatsRequest::default()
        };
        let answer = account.client.search_seats(request).await;
        tally.note(due, &answer);
    }

    /// Of twenty things that somebody does a booking and its cancellation; the others are looks.
    async fn live_a_day(&mut self, account: &Account, round: usize, due: Instant, tally: &mut Tally) {
        let nth = self.number.wrapping_mul(7).wrapping_add(round) % 20;
        match (nth, self.held.take()) {
            (10, Some((account, name))) => {
                let request = v1::CancelReservationRequest { request_id: new_request_id(), name, ..Default::default() };
                let answer = account.client.cancel_reservation(request).await;
                tally.note(due, &answer);
                tally.writes += u64::from(answer.is_ok());
            }
            (0, None) => {
                let name = self.reserve(account, round, due, tally).await;
                self.held = name.map(|name| (account.clone(), name));
            }
            (_, held) => {
                self.held = held;
                if nth.is_multiple_of(3) {
                    Self::read(account, due, tally).await;
                } else {
                    self.page(account, Freshness::Linearizable, round, due, tally).await;
                }
            }
        }
    }

    async fn write(&self, account: &Account, round: usize, due: Instant, tally: &mut Tally) {
        let recipient = self.names[(self.number + 1 + round) % self.names.len()].clone();
        let request = v1::SendMessageRequest {
            request_id: new_request_id(),
            recipients: vec![recipient],
            text: "Is the seat next to the window still free?".to_owned(),
        };
        let answer = account.client.send_message(request).await;
        tally.note(due, &answer);
        tally.writes += u64::from(answer.is_ok());
    }

    async fn search(&self, account: &Account, round: usize, due: Instant, tally: &mut Tally) {
        let pick = self.number.wrapping_mul(31).wrapping_add(round);
        let request = v1::SearchSeatsRequest {
            branch: self.ground.branches[pick % self.ground.branches.len()].clone(),
            amenities: if pick.is_multiple_of(2) { vec!["power".to_owned()] } else { Vec::new() },
            interval: Some(self.ground.interval(pick, 2)),
            available_only: true,
            page_size: 20,
            ..v1::SearchSeatsRequest::default()
        };
        let answer = account.client.search_seats(request).await;
        tally.note(due, &answer);
    }

    async fn read(account: &Account, due: Instant, tally: &mut Tally) {
        let answer = account.client.list_reservations(v1::ListReservationsRequest::default()).await;
        tally.note(due, &answer);
    }
}

fn wish(seat: String, interval: v1::Interval) -> v1::CreateReservationRequest {
    v1::CreateReservationRequest { request_id: new_request_id(), seat, interval: Some(interval), ..Default::default() }
}

async fn cancel(account: &Account, name: String, tally: &mut Tally) {
    let request = v1::CancelReservationRequest { request_id: new_request_id(), name, ..Default::default() };
    match account.client.cancel_reservation(request).await {
        Ok(_) => tally.writes += 1,
        Err(error) => tally.failed.note(&error),
    }
}

/// What fits on a screen of the seat map.
const PAGE_SEATS: i32 = 49;
/// Old enough that no node has to ask another.
const LOCAL: prost_types::Duration = prost_types::Duration { seconds: 10, nanos: 0 };
/// A client to whom this happens measures nothing any more; a cluster that refuses in microseconds would be asked
/// millions of times.
const FAILURES_MAX: u64 = 1_000;
