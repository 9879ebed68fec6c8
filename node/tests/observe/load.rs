//! People who book, wait, are refused, cancel and repeat themselves, on every replica at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use carrel_proto::client::{Client, Options, Tls, new_request_id};
use carrel_proto::v1;
use prost_types::Timestamp;
use tokio::task::JoinSet;

use crate::stage::{Demo, PASSWORD};

pub struct Load {
    stop: Arc<AtomicBool>,
    pub booked: Arc<AtomicU64>,
    people: JoinSet<()>,
}

pub fn client(demo: &Demo, first: usize) -> Client {
    let mut endpoints = demo.endpoints();
    endpoints.rotate_left(first % 3);
    let options = Options { deadline: Duration::from_secs(20), ..Options::default() };
    let ca = demo.dir.join("demo-keys/ca.crt");
    match std::fs::read(&ca) {
        Ok(trusted) => Client::secured(endpoints, options, &Tls::trusting(trusted)),
        Err(_) => Client::new(endpoints, options),
    }
    .expect("the demo's endpoints are well-formed")
}

pub async fn log_in(demo: &Demo, first: usize, user: &str) -> Client {
    let client = client(demo, first);
    let request = v1::LoginRequest { user_id: user.to_owned(), password: demo.password_of(user) };
    let token = client.login(request).await.expect("the demo made it").session_token;
    client.with_session(&token).expect("a token")
}

async fn newcomer(demo: &Demo, number: usize) -> Client {
    let (client, name) = (client(demo, number), format!("person-{number}"));
    let password = PASSWORD.to_owned();
    let request_id = new_request_id();
    let request = v1::RegisterRequest { request_id, user_id: name.clone(), password: password.clone() };
    client.register(request).await.expect("a new account");
    let token = client.login(v1::LoginRequest { user_id: name, password }).await.expect("just made").session_token;
    client.with_session(&token).expect("a token")
}

/// Half an hour that begins so long after the running one.
pub fn slot(offset_minutes: i64) -> v1::Interval {
    let now = jiff::Timestamp::now().as_second();
    let start = now - now.rem_euclid(1800) + offset_minutes * 60;
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    v1::Interval { start_time: at(start), end_time: at(start + 1800) }
}

/// Seats of the area that never closes.
pub async fn seats(client: &Client) -> Vec<String> {
    let request = v1::SearchSeatsRequest {
        branch: "branches/lindenhof".to_owned(),
        area: "branches/lindenhof/areas/night-hall".to_owned(),
        ..v1::SearchSeatsRequest::default()
    };
    let found = client.search_seats(request).await.expect("the sample campus has a night hall");
    found.seats.into_iter().map(|seat| seat.name).collect()
}

impl Load {
    pub async fn begin(demo: &Demo) -> Self {
        let mut load = Self { stop: Arc::default(), booked: Arc::default(), people: JoinSet::new() };
        let seats = seats(&log_in(demo, 0, "patron").await).await;
        assert!(seats.len() > 8, "the night hall is larger");
        for person in 0..3 {
            let client = newcomer(demo, person).await;
            let seats: Vec<String> = seats.iter().skip(person).step_by(3).cloned().collect();
            load.people.spawn(book(client, seats, Arc::clone(&load.stop), Arc::clone(&load.booked)));
        }
        let reader = log_in(demo, 2, "patron").await;
        let stop = Arc::clone(&load.stop);
        load.people.spawn(async move {
            let mut inbox = reader.watch_inbox("");
            while !stop.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(Duration::from_millis(200), inbox.next()).await;
            }
        });
        load
    }

    pub async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.people.join_next().await {
            ended.expect("nobody panics");
        }
        self.booked.load(Ordering::Relaxed)
    }
}

/// Books, repeats itself, wants what is taken, waits for it, gives it up. What is refused is refused.
async fn book(client: Client, seats: Vec<String>, stop: Arc<AtomicBool>, booked: Arc<AtomicU64>) {
    for (turn, seat) in seats.iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let interval = Some(slot(30 * (6 + i64::try_from(turn % 6).expect("small"))));
        let request_id = new_request_id();
        let request = v1::CreateReservationRequest { request_id, seat: seat.clone(), interval, ..Default::default() };
        let _ = client
            .search_seats(v1::SearchSeatsRequest { branch: "branches/lindenhof".into(), ..Default::default() })
            .await;
        let Ok(granted) = client.create_reservation(request.clone()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        booked.fetch_add(1, Ordering::Relaxed);
        let _ = client.create_reservation(request.clone()).await;
        let again = v1::CreateReservationRequest { request_id: new_request_id(), ..request };
        let _ = client.create_reservation(again).await;
        let target = v1::join_waitlist_request::Target::Seat(seat.clone());
        let wait = v1::JoinWaitlistRequest {
            request_id: new_request_id(),
            target: Some(target),
            interval: Some(slot(30 * 16)),
            ..Default::default()
        };
        let waits = client.join_waitlist(wait).await;
        let name = granted.reservation.expect("what was granted").name;
        let cancel = v1::CancelReservationRequest { request_id: new_request_id(), name, ..Default::default() };
        let _ = client.cancel_reservation(cancel).await;
        if let Some(entry) = waits.ok().and_then(|joined| joined.entry) {
            let leave = v1::LeaveWaitlistRequest { request_id: new_request_id(), name: entry.name };
            let _ = client.leave_waitlist(leave).await;
        }
    }
}
