//! Machines die, and nobody notices more than a pause.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;
use rustix::process::Signal;
use tokio::sync::Mutex;

use crate::stage::{Demo, PASSWORD, is_alive, signal, slot};

const CLIENTS: usize = 20;

/// What a client was told.
#[derive(Default)]
struct Ledger {
    /// Reservation by name, with seat and start.
    acknowledged: BTreeMap<String, (String, String)>,
    at: Vec<Instant>,
    in_doubt: usize,
}

async fn logged_in(client: &Client, user: &str) -> Client {
    let request =
        v1::RegisterRequest { request_id: new_request_id(), user_id: user.to_owned(), password: PASSWORD.to_owned() };
    client.register(request).await.expect("a new name is free");
    let request = v1::LoginRequest { user_id: user.to_owned(), password: PASSWORD.to_owned() };
    let session = client.login(request).await.expect("the password is right");
    client.clone().with_session(&session.session_token).expect("a token is text")
}

fn timestamp(text: &str) -> prost_types::Timestamp {
    let instant: jiff::Timestamp = text.parse().expect("RFC 3339");
    prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 }
}

/// Books one seat after the other and gives it back, so that quotas never stand in the way.
async fn book_and_cancel(client: Client, seats: Vec<String>, stop: Arc<AtomicBool>, ledger: Arc<Mutex<Ledger>>) {
    let (from, to) = slot(24 * 60, 30);
    for seat in seats.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let interval = v1::Interval { start_time: Some(timestamp(&from)), end_time: Some(timestamp(&to)) };
        let request = v1::CreateReservationRequest {
            request_id: new_request_id(),
            seat: seat.clone(),
            interval: Some(interval),
            ..Default::default()
        };
        match client.create_reservation(request).await {
            Ok(answer) => {
                let reservation = answer.reservation.expect("a booking is answered with it");
                let mut ledger = ledger.lock().await;
                ledger.at.push(Instant::now());
                let doubled = ledger.acknowledged.insert(reservation.name.clone(), (seat.clone(), from.clone()));
                assert!(doubled.is_none(), "{} was acknowledged twice", reservation.name);
                drop(ledger);
                let request = v1::CancelReservationRequest {
                    request_id: new_request_id(),
                    name: reservation.name.clone(),
                    ..Default::default()
                };
                client.cancel_reservation(request).await.expect("one's own booking can be cancelled");
            }
            Err(ClientError::Refused(refusal)) => panic!("{seat}: {refusal}"),
            Err(ClientError::Unreachable(_)) => ledger.lock().await.in_doubt += 1,
        }
    }
}

#[test]
fn presence_is_proven_and_shown_through_the_death_of_a_leader() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &[]);
    codes_are_wanted(&demo);
    let seats = demo.free_seats();
    let seat = seats[0].as_str();
    demo.login(0, "kiosk", &demo.password_of("kiosk")).ok();
    demo.register(0, "amy").ok();
    demo.login(0, "amy", PASSWORD).ok();
    let (from, to) = slot(0, 60);
    let booked = demo.carrel("amy", &["reserve", seat, "--from", &from, "--to", &to]).json();
    let name = booked["reservation"]["name"].as_str().expect("a reservation has a name");
    let shown = |replica: usize, seat: &str| {
        let answer = demo.carrel_on(replica, "kiosk", &["seats", "code", seat]).json();
        let text = |field: &str| answer[field].as_str().expect("a code and until when").to_owned();
        (text("expireTime"), text("code"))
    };
    let (leader, _) = demo.leader();
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let of_another = shown(first, &seats[1]).1;
    let (_, at_the_door) = shown(first, seat);
    demo.kill(leader);
    // What the door showed when the leader died counts, through whoever is left; what another door showed does not.
    let (reason, _) = demo.carrel_on(second, "amy", &["check-in", name, "--code", &of_another]).refused();
    assert_eq!(reason, "PRESENCE_NOT_PROVEN");
    let arrived = demo.carrel_on(second, "amy", &["check-in", name, "--code", &at_the_door]).json();
    assert_eq!(arrived["reservation"]["state"], "CHECKED_IN");
    let is_there = |replica: usize| {
        let listed = demo.carrel_on(replica, "amy", &["reservations", "--state", "checked-in"]).json();
        let found = demo.carrel_on(replica, "amy", &["seats", "show", seat]).json();
        assert_eq!(listed["reservations"][0]["name"], name, "{listed}");
        assert_eq!(found["seat"]["available"], false, "{found}");
    };
    is_there(first);
    is_there(second);

    // The key is in the log: whoever leads next draws no other, and the one that comes back has it, too.
    demo.restarted(leader);
    let started = Instant::now();
    let codes: Vec<_> = loop {
        let codes: Vec<_> = (0..3).map(|replica| shown(replica, seat)).collect();
        // Unless the half minute ended in between.
        if codes.iter().all(|(until, _)| *until == codes[0].0) {
            break codes;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{codes:?}");
    };
    assert!(codes.iter().all(|(_, code)| *code == codes[0].1), "{codes:?}");
    is_there(leader);
    demo.stop();
}

/// From now on nobody checks in who does not know what the seat shows.
fn codes_are_wanted(demo: &Demo) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (client, password) = (demo.client(), demo.password_of("admin"));
        let login = client.login(v1::LoginRequest { user_id: "admin".to_owned(), password }).await.expect("the admin");
        let client = client.with_session(&login.session_token).expect("a token is text");
        let export = client.export_catalog(v1::ExportCatalogRequest::default()).await.expect("a catalogue");
        let mut catalog = export.catalog.expect("a catalogue");
        for policy in &mut catalog.policies {
            policy.proof_required = Some(true);
        }
        let request_id = new_request_id();
        let import = v1::ImportCatalogRequest { request_id, catalog: Some(catalog), ..Default::default() };
        client.import_catalog(import).await.expect("a sound catalogue");
    });
}

#[test]
fn the_leader_is_killed_while_twenty_clients_book() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &[]);
    let seats = demo.free_seats();
    assert!(seats.len() >= CLIENTS, "every client has seats of its own");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Mutex::new(Ledger::default()));

    let clients: Vec<Client> = runtime.block_on(async {
        let shared = demo.client();
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            clients.push(logged_in(&shared, &format!("client-{number}")).await);
        }
        clients
    });
    let share = seats.len() / CLIENTS;
    let tasks: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let own = seats[number * share..(number + 1) * share].to_vec();
            runtime.spawn(book_and_cancel(client.clone(), own, stop.clone(), ledger.clone()))
        })
        .collect();

    thread::sleep(Duration::from_secs(1));
    let (leader, _) = demo.leader();
    let killed_at = Instant::now();
    demo.kill(leader);
    thread::sleep(Duration::from_secs(4));
    let pid = demo.restarted(leader);
    assert!(is_alive(pid), "the replica runs again");
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).expect("no client was told anything it should not have been");
    }

    let ledger = runtime.block_on(ledger.lock());
    assert_eq!(ledger.in_doubt, 0, "every booking was answered");
    let before = ledger.at.iter().filter(|at| **at < killed_at).max().expect("bookings before the kill");
    let after = ledger.at.iter().filter(|at| **at > killed_at).collect::<Vec<_>>();
    let mut moments: Vec<Instant> = ledger.at.iter().copied().filter(|at| *at >= *before).collect();
    moments.sort_unstable();
    let gap = moments.windows(2).map(|pair| pair[1] - pair[0]).max().expect("bookings after the kill");
    println!("bookings: {}, longest gap over the kill of the leader: {gap:?}", ledger.at.len());
    assert!(!after.is_empty(), "the service came back");
    assert!(gap < Duration::from_millis(1500), "the service was away for {gap:?}");

    // What was acknowledged is there, for its owner, once.
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for client in &clients {
        let listed = runtime.block_on(all_reservations(client));
        for reservation in listed {
            let doubled = found.insert(reservation.name.clone(), reservation.seat);
            assert!(doubled.is_none(), "{} is there twice", reservation.name);
        }
    }
    for (name, (seat, _)) in &ledger.acknowledged {
        assert_eq!(found.get(name), Some(seat), "{name} was acknowledged");
    }
    assert_eq!(found.len(), ledger.acknowledged.len(), "nothing was booked that nobody was told of");

    wait_until_caught_up(&demo);
    demo.stop();
}

async fn all_reservations(client: &Client) -> Vec<v1::Reservation> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListReservationsRequest { page_size: 1000, page_token, ..Default::default() };
        let page = client.list_reservations(request).await.expect("one's own reservations can be listed");
        all.extend(page.reservations);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}

fn wait_until_caught_up(demo: &Demo) {
    let started = Instant::now();
    loop {
        let (_, status) = demo.leader();
        let nodes = status["nodes"].as_array().expect("nodes are a list").clone();
        let commit = nodes.iter().filter_map(|node| node["commitIndex"].as_u64()).max();
        let all = nodes.iter().all(|node| {
            node["reachable"] == true && node["appliedIndex"].as_u64() >= commit.map(|c| c.saturating_sub(2))
        });
        if all {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "a restarted replica catches up: {status}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn all_replicas_are_killed_at_once_and_everything_is_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &["--no-restart"]);
    let seat = demo.free_seats()[3].clone();
    demo.register(0, "amy").ok();
    demo.login(1, "amy", PASSWORD).ok();
    let (from, to) = slot(60, 60);
    let booked = demo.carrel_on(2, "amy", &["reserve", &seat, "--from", &from, "--to", &to]).json();
    for replica in 0..3 {
        demo.kill(replica);
    }
    thread::sleep(Duration::from_millis(300));
    assert_eq!(demo.carrel("amy", &["whoami"]).code(), 3, "nobody is left to answer");
    for replica in 0..3 {
        let restart = demo.command("", "amy", &["demo", "restart", &replica.to_string(), "--dir"]);
        run_without_endpoints(restart, &demo);
    }
    let mine = demo.carrel("amy", &["reservations"]).json();
    assert_eq!(mine["reservations"][0], booked["reservation"]);

    // And again from the beginning, on other ports.
    let accounts = demo.ready["accounts"].clone();
    demo.stop();
    let demo = Demo::start(dir.path(), &[]);
    assert_eq!(demo.ready["accounts"], accounts);
    let mine = demo.carrel("amy", &["reservations"]).json();
    assert_eq!(mine["reservations"][0], booked["reservation"]);
}

fn run_without_endpoints(mut restart: std::process::Command, demo: &Demo) {
    let ran = restart.arg(&demo.dir).env_remove("CARREL_ENDPOINTS").status().expect("the carrel binary starts");
    assert!(ran.success());
}

#[test]
fn replicas_end_when_the_demo_is_killed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &["--replicas", "1"]);
    let pids = demo.pids();
    signal(demo.demo_pid(), Signal::KILL);
    let started = Instant::now();
    while pids.iter().any(|&pid| is_alive(pid)) {
        assert!(started.elapsed() < Duration::from_secs(5), "{pids:?} live on");
        thread::sleep(Duration::from_millis(20));
    }
}
