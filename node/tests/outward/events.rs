//! Events to programs elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::receivers::{Arrived, Mood, Receiver};
use crate::stage::{Demo, slot};

/// As a receiver does who has read the specification of Standard Webhooks and nothing of ours.
fn is_signed(event: &Arrived, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(
        format!("{}.{}.{}", event.header("webhook-id"), event.header("webhook-timestamp"), event.body).as_bytes(),
    );
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    event.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

fn parsed(event: &Arrived) -> Value {
    serde_json::from_str(&event.body).expect("an event is JSON")
}

#[test]
fn receivers_are_told_in_order_through_lost_replies_and_leaders() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (receiver, deaf) = (Receiver::of_events(), Receiver::of_events());
    deaf.be(Mood::Away);
    let environment = [("CARREL_WEBHOOK_NETWORKS", "127.0.0.0/8")];
    let demo = Demo::start_in(&environment, &dir.path().join("demo"), crate::stage::free_port(), &[]);
    let seats = demo.free_seats();
    demo.login(0, "admin", &demo.password_of("admin")).ok();
    let (reason, _) = demo.carrel("patron", &["webhooks", "add", "http://127.0.0.1:1/"]).refused();
    assert_eq!(reason, "NOT_PERMITTED");
    // No mail server was named here: nobody is left waiting for a code.
    let (reason, _) = demo.carrel("patron", &["mail", "patron@example.org"]).refused();
    assert_eq!(reason, "MAIL_NOT_SENT");
    demo.carrel("patron", &["mail", "none"]).ok();
    let add =
        |port| demo.carrel("admin", &["webhooks", "add", &format!("http://127.0.0.1:{port}/hook?of=campus")]).json();
    add(deaf.port);
    let added = add(receiver.port);
    let secret = added["secret"].as_str().expect("a secret").to_owned();

    let book = |hours_ahead: i64| {
        let (from, to) = slot(60 * hours_ahead, 30);
        let booked = demo.carrel("patron", &["reserve", &seats[0], "--from", &from, "--to", &to]).json();
        booked["reservation"]["name"].as_str().expect("a reservation has a name").to_owned()
    };
    let cancel = |reservation: &str| {
        demo.carrel("patron", &["cancel", reservation]).ok();
    };
    let about = |reservation: &str| {
        let subject = reservation.to_owned();
        move |event: &Arrived| parsed(event)["subject"] == subject.as_str()
    };

    let cancelled = |reservation: &str| {
        let is_about = about(reservation);
        move |event: &Arrived| is_about(event) && parsed(event)["data"]["state"] == "CANCELLED"
    };

    let first = book(2);
    let event = receiver.wait_for(1, "the first event", about(&first)).remove(0);
    assert_eq!(event.to, "POST /hook?of=campus HTTP/1.1");
    assert_eq!(event.header("content-type"), "application/cloudevents+json");
    assert!(is_signed(&event, &secret), "{event:?}");
    let body = parsed(&event);
    assert_eq!((&body["specversion"], &body["id"]), (&Value::from("1.0"), &Value::from(event.header("webhook-id"))));
    assert_eq!(body["type"], "dev.carrel.reservation.changed");
    assert!(body["source"].as_str().is_some_and(|source| source.starts_with("//carrel.dev/clusters/")), "{body}");
    assert_eq!((&body["data"]["state"], &body["data"]["seat"]), (&"CONFIRMED".into(), &seats[0].as_str().into()));
    assert!(!event.body.contains("patron"), "no names: {body}");

    // Refused, pointed elsewhere, taken without a word: each time the same event again, and nobody follows a pointer.
    for mood in [Mood::RefusesOnce, Mood::PointsElsewhereOnce, Mood::LosesOneReply] {
        receiver.be(mood);
        let reservation = book(2 + mood as i64);
        let twice = receiver.wait_for(2, &format!("{mood:?}"), about(&reservation));
        assert_eq!(twice[0].header("webhook-id"), twice[1].header("webhook-id"), "{mood:?}");
        assert_eq!(twice[0].body, twice[1].body, "{mood:?}");
        cancel(&reservation);
        receiver.wait_for(1, "that it is cancelled", cancelled(&reservation));
    }
    assert!(receiver.arrived().iter().all(|event| event.to.starts_with("POST /hook?of=campus ")));

    // The receiver and the leader go at once. Bookings go on; the next leader tells what was not noted.
    receiver.be(Mood::Away);
    let started = Instant::now();
    let missed = [book(3), book(4)];
    assert!(started.elapsed() < Duration::from_secs(20), "nobody waits for a receiver");
    let (leader, _) = demo.leader();
    demo.kill(leader);
    demo.restarted(leader);
    receiver.be(Mood::Well);
    for reservation in &missed {
        receiver.wait_for(1, "an event of the time away", about(reservation));
        cancel(reservation);
    }
    for reservation in &missed {
        receiver.wait_for(1, "a cancellation", cancelled(reservation));
    }

    // One id is one event, and the first time that each comes they are in order.
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    let mut order = Vec::new();
    for event in receiver.arrived() {
        let id = event.header("webhook-id").to_owned();
        match bodies.insert(id.clone(), event.body.clone()) {
            None => order.push(id.split('-').map(|part| part.parse::<u64>().expect("numbers")).collect::<Vec<_>>()),
            Some(before) => assert_eq!(before, event.body, "{id}"),
        }
    }
    assert!(order.is_sorted(), "{order:?}");

    let webhooks = demo.carrel("admin", &["webhooks", "list"]).json();
    let behind = |port: u16| {
        let port = port.to_string();
        let all = webhooks["webhooks"].as_array().expect("a list");
        let found = all.iter().find(|webhook| webhook["url"].as_str().is_some_and(|url| url.contains(&port)));
        found.expect("it is in the list").get("oldestUndeliveredTime").is_some_and(|time| !time.is_null())
    };
    assert!(behind(deaf.port), "{webhooks}");
    let added = added["name"].as_str().expect("a name");
    demo.carrel("admin", &["webhooks", "remove", added]).ok();
    demo.stop();
}
