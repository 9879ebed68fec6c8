//! The story of a first day, each command on another node.

use serde_json::Value;

use crate::stage::{Demo, slot};

fn state(answer: &Value) -> &str {
    answer["reservation"]["state"].as_str().expect("a reservation has a state")
}

fn name(answer: &Value) -> &str {
    answer["reservation"]["name"].as_str().expect("a reservation has a name")
}

#[test]
fn a_first_day() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &[]);
    let seats = demo.free_seats();
    let seat = seats[0].as_str();
    let (from, to) = slot(0, 60);
    let (later_from, later_to) = slot(120, 60);

    for (node, person) in ["amy", "ben", "cat"].into_iter().enumerate() {
        assert_eq!(demo.register(node, person).json()["user"]["name"], format!("users/{person}"));
        let session = demo.login((node + 1) % 3, person, crate::stage::PASSWORD).json();
        assert_eq!(session["user"]["role"], "PATRON");
    }
    assert_eq!(demo.carrel_on(2, "amy", &["whoami"]).json()["user"]["name"], "users/amy");

    // Amy books, Ben is told what is free instead and takes it.
    let booked = demo.carrel_on(0, "amy", &["reserve", seat, "--from", &from, "--to", &to]).json();
    assert_eq!(state(&booked), "CONFIRMED");
    let (reason, refusal) = demo.carrel_on(1, "ben", &["reserve", seat, "--from", &from, "--to", &to]).refused();
    assert_eq!((reason.as_str(), refusal["code"].as_str()), ("SEAT_TAKEN", Some("FAILED_PRECONDITION")));
    let alternatives = refusal["alternatives"].as_array().expect("a taken seat comes with others");
    assert!((1..=3).contains(&alternatives.len()), "{refusal}");
    let other = alternatives[0].as_str().expect("an alternative is a seat's name");
    let second = demo.carrel_on(2, "ben", &["reserve", other, "--from", &from, "--to", &to]).json();
    assert_eq!(second["reservation"]["seat"], other);

    // The same request again, through another node: the same answer.
    let id = "5f0c2b5e-3f0e-4f0a-9d57-0a4a6f3f1a11";
    let args = ["reserve", seat, "--from", &later_from, "--to", &later_to, "--request-id", id];
    let first = demo.carrel_on(0, "amy", &args).json();
    let again = demo.carrel_on(1, "amy", &args).json();
    assert_eq!((name(&first), &first["reservation"]), (name(&again), &again["reservation"]));
    assert_eq!((&first["commit"]["replayed"], &again["commit"]["replayed"]), (&Value::Bool(false), &Value::Bool(true)));

    let arrived = demo.carrel_on(1, "amy", &["check-in", name(&booked)]).json();
    assert_eq!(state(&arrived), "CHECKED_IN");
    let cancelled = demo.carrel_on(2, "ben", &["cancel", name(&second)]).json();
    assert_eq!(state(&cancelled), "CANCELLED");

    // Ben waits for Amy's later seat; when she lets it go it is his to accept.
    let waiting = demo
        .carrel_on(0, "ben", &["waitlist", "join", "--seat", seat, "--from", &later_from, "--to", &later_to])
        .json();
    assert_eq!(waiting["entry"]["state"], "WAITING");
    demo.carrel_on(1, "amy", &["cancel", name(&first)]).ok();
    let offered = demo.carrel_on(2, "ben", &["waitlist", "list"]).json();
    assert_eq!(offered["entries"][0]["state"], "OFFERED", "{offered}");
    let offer = offered["entries"][0]["reservation"].as_str().expect("an offer is a reservation");
    let inbox = demo.carrel_on(0, "ben", &["inbox"]).json();
    assert!(
        inbox["items"].as_array().is_some_and(|items| items.iter().any(|item| item["kind"] == "OFFER_MADE")),
        "{inbox}"
    );
    // Nobody slips in before him.
    let (reason, _) = demo.carrel_on(1, "cat", &["reserve", seat, "--from", &later_from, "--to", &later_to]).refused();
    assert_eq!(reason, "SEAT_TAKEN");
    assert_eq!(state(&demo.carrel_on(1, "ben", &["offers", "accept", offer]).json()), "CONFIRMED");

    // A letter to somebody who is away waits for them.
    demo.carrel_on(2, "cat", &["logout"]).ok();
    demo.carrel_on(0, "amy", &["send", "cat", "the seat by the window is free at two"]).ok();
    let (reason, _) = demo.carrel_on(1, "cat", &["whoami"]).refused();
    assert_eq!(reason, "SESSION_EXPIRED");
    assert_eq!(demo.login(1, "cat", crate::stage::PASSWORD).json()["unreadCount"], 1);
    let inbox = demo.carrel_on(2, "cat", &["inbox"]).json();
    assert_eq!(inbox["items"][0]["text"], "the seat by the window is free at two");
    assert_eq!(inbox["items"][0]["sender"], "users/amy");
    assert_eq!(demo.carrel_on(0, "cat", &["whoami"]).json()["unreadCount"], 0);

    let stayed = demo.carrel_on(2, "amy", &["check-out", name(&booked)]).json();
    assert_eq!(state(&stayed), "COMPLETED");
    let mine = demo.carrel_on(1, "amy", &["reservations"]).json();
    assert_eq!(mine["reservations"].as_array().map(Vec::len), Some(2));

    chats_by_pipe(&demo);

    // Librarians speak to everybody, patrons do not.
    let password = demo.password_of("librarian");
    demo.login(0, "librarian", &password).ok();
    demo.carrel_on(1, "librarian", &["broadcast", "we close early today"]).ok();
    assert_eq!(demo.carrel_on(2, "amy", &["broadcast", "party"]).refused().0, "NOT_PERMITTED");
    let inbox = demo.carrel_on(1, "amy", &["inbox"]).json();
    assert!(inbox["items"].as_array().is_some_and(|items| items.iter().any(|item| item["kind"] == "ANNOUNCEMENT")));
    demo.stop();
}

/// What was missed is told before the input is at its end, and what is typed is done before it is over.
fn chats_by_pipe(demo: &Demo) {
    demo.carrel_on(1, "ben", &["send", "amy", "are you still there?"]).ok();
    let all = demo.endpoints().join(",");
    let chat = |input: &str| demo.carrel_at(&all, "amy", &["chat"], Some(input));
    let ran = chat(">> ben: yes\n").ok();
    let lines: Vec<Value> =
        ran.stdout().lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
    let missed = lines.iter().position(|line| line["item"]["text"] == "are you still there?");
    let sent = lines.iter().position(|line| line["message"]["text"] == "yes");
    assert!(missed.is_some() && missed < sent, "{lines:?}");
    let inbox = demo.carrel_on(0, "ben", &["inbox", "--unread"]).json();
    assert_eq!(inbox["items"].as_array().and_then(|items| items.last()).map(|item| &item["text"]), Some(&"yes".into()));
    assert_eq!(demo.carrel_on(0, "amy", &["whoami"]).json()["unreadCount"], 0, "what was shown is read");

    // Nothing goes to everybody unasked, nobody deletes themselves by a slip, and whoever is not there is named.
    for (input, said) in
        [("party at mine\n", "librarians"), ("/delete amy\n", "--yes"), (">> bne: hi\n", "no account bne")]
    {
        let ran = chat(input);
        assert_eq!(ran.code(), 1, "{input}: {}", ran.stderr());
        assert!(ran.stderr().contains(said), "{input}: {}", ran.stderr());
    }
    demo.carrel_on(0, "amy", &["whoami"]).ok();
}
