//! People who book, come, wait, are refused, cancel and repeat themselves, on every replica at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_proto::client::{Client, Options, Tls, new_request_id};
use carrel_proto::v1;
use futures_util::future::join_all;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::stage::{Demo, PASSWORD};

/// Who book as fast as they are answered.
const BOOKERS: usize = 3;
/// Who come one after the other, and sit.
const SITTERS: usize = 8;

pub struct Load {
    stop: Arc<AtomicBool>,
    pub booked: Arc<AtomicU64>,
    people: JoinSet<()>,
    coming: AbortOnDropHandle<()>,
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
    /// For about so long.
    pub async fn begin(demo: &Demo, whole: Duration) -> Self {
        let (stop, booked): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let mut people = JoinSet::new();
        let seats = seats(&log_in(demo, 0, "patron").await).await;
        assert!(seats.len() > 8, "the night hall is larger");
        let newcomers = join_all((0..BOOKERS + SITTERS).map(|number| newcomer(demo, number))).await;
        let (bookers, sitters) = newcomers.split_at(BOOKERS);
        let taken = seats.last().expect("there are some").clone();
        let occupied: Vec<String> = seats.iter().rev().take(SITTERS).cloned().collect();
        for (person, client) in bookers.iter().enumerate() {
            let seats: Vec<String> = seats[..seats.len() - SITTERS].iter().skip(person).step_by(3).cloned().collect();
            let (stop, booked) = (Arc::clone(&stop), Arc::clone(&booked));
            people.spawn(book(client.clone(), seats, taken.clone(), stop, booked));
        }
        let coming = come(sitters.to_vec(), occupied, whole / (SITTERS as u32 + 1));
        let coming = AbortOnDropHandle::new(tokio::spawn(coming));
        let reader = log_in(demo, 2, "patron").await;
        let is_over = Arc::clone(&stop);
        people.spawn(async move {
            let mut inbox = reader.watch_inbox("");
            while !is_over.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(Duration::from_millis(200), inbox.next()).await;
            }
        });
        Self { stop, booked, people, coming }
    }

    pub async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.coming.abort();
        while let Some(ended) = self.people.join_next().await {
            ended.expect("nobody panics");
        }
        self.booked.load(Ordering::Relaxed)
    }
}

/// Each takes a seat, and all but every third check in.
async fn come(people: Vec<Client>, seats: Vec<String>, one_every: Duration) {
    for (number, (person, seat)) in people.iter().zip(seats).enumerate() {
        let request_id = new_request_id();
        let request = v1::CreateReservationRequest { request_id, seat, interval: Some(slot(0)), ..Default::default() };
        let granted = person.create_reservation(request).await.ok().and_then(|granted| granted.reservation);
        if let Some(reservation) = granted.filter(|_| number % 3 < 2) {
            let (request_id, name) = (new_request_id(), reservation.name);
            let _ = person.check_in(v1::CheckInRequest { request_id, name, ..Default::default() }).await;
        }
        tokio::time::sleep(one_every).await;
    }
}

/// Books, repeats itself, wants what is taken, waits for it, gives it up. What is refused is refused.
async fn book(client: Client, seats: Vec<String>, taken: String, stop: Arc<AtomicBool>, booked: Arc<AtomicU64>) {
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
        if turn % 2 == 0 {
            let (request_id, seat) = (new_request_id(), taken.clone());
            let (interval, rest) = (Some(slot(0)), v1::CreateReservationRequest::default());
            let _ =
                client.create_reservation(v1::CreateReservationRequest { request_id, seat, interval, ..rest }).await;
        }
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

/// Ports of a demo, and behind them one for its Postgres.
pub fn ports_of_demo() -> u16 {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _both = ONE_AT_A_TIME.lock();
    let mut first = crate::stage::free_port();
    // Those that follow are free, too, and whoever comes next gets what is behind them.
    loop {
        let next = crate::stage::free_port();
        if next == first + 40 {
            return first;
        }
        first = next;
    }
}
