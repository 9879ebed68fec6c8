//! Everything that people get wrong: a clear answer that says what to do, and nothing changed.

use std::io::Write;
use std::process::Command;

use crate::stage::{Demo, PASSWORD, slot};

fn reason(demo: &Demo, person: &str, args: &[&str]) -> String {
    let (reason, error) = demo.carrel(person, args).refused();
    let message = error["message"].as_str().expect("a refusal says something");
    assert!(message.len() > 10 && !message.contains("Err(") && !message.contains("panicked"), "{args:?}: {message}");
    reason
}

#[test]
fn everything_that_people_get_wrong() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &["--replicas", "1"]);
    let seats = demo.free_seats();
    let (seat, other) = (seats[0].as_str(), seats[1].as_str());
    for person in ["amy", "ben"] {
        demo.register(0, person).ok();
        demo.login(0, person, PASSWORD).ok();
    }
    let (from, to) = slot(60, 60);
    let booked = demo.carrel("amy", &["reserve", seat, "--from", &from, "--to", &to]).json();
    let booked = booked["reservation"]["name"].as_str().expect("a reservation has a name");
    let reserve = |from: &str, to: &str| reason(&demo, "ben", &["reserve", other, "--from", from, "--to", to]);

    assert_eq!(reserve(&to, &from), "INTERVAL_INVALID");
    assert_eq!(reserve(&from.replace(":00Z", ":07Z"), &to), "INTERVAL_INVALID");
    let (past, past_to) = slot(-24 * 60, 60);
    assert_eq!(reserve(&past, &past_to), "TOO_LATE");
    let (_, long_to) = slot(60, 7 * 24 * 60);
    assert_eq!(reserve(&from, &long_to), "INTERVAL_INVALID");
    let (far, far_to) = slot(300 * 24 * 60, 60);
    assert_eq!(reserve(&far, &far_to), "TOO_EARLY");

    let branch = seat.split("/seats/").next().expect("a seat's name begins with its branch");
    let unknown = format!("{branch}/seats/no-such-seat");
    assert_eq!(reason(&demo, "ben", &["reserve", &unknown, "--from", &from, "--to", &to]), "SEAT_NOT_FOUND");
    assert_eq!(reason(&demo, "ben", &["seats", "search", "--branch", "atlantis"]), "BRANCH_NOT_FOUND");
    assert_eq!(reason(&demo, "ben", &["check-in", "999999"]), "NOT_PERMITTED");

    // Another person's reservation looks like one that does not exist.
    for action in ["check-in", "check-out", "cancel"] {
        assert_eq!(reason(&demo, "ben", &[action, booked]), "NOT_PERMITTED");
    }
    assert_eq!(reason(&demo, "ben", &["reservation", "show", booked]), "NOT_PERMITTED");
    assert_eq!(reason(&demo, "ben", &["users", "delete", "amy", "--yes"]), "NOT_PERMITTED");

    for name in [&"x".repeat(300), "a\u{7}b", "a b", ""] {
        let ran = demo.carrel_at(
            &demo.endpoint(0),
            "nobody",
            &["register", name, "--password-stdin"],
            Some(&format!("{PASSWORD}\n")),
        );
        assert!(matches!(ran.code(), 1 | 2), "{name:?}: {}", ran.stderr());
    }
    assert_eq!(demo.register(0, "amy").refused().0, "USERNAME_TAKEN");
    assert_eq!(demo.login(0, "amy", "wrong password").refused().0, "CREDENTIALS_INVALID");
    assert_eq!(reason(&demo, "amy", &["send", "ben", &"m".repeat(100_000)]), "FIELD_INVALID");
    assert_eq!(reason(&demo, "amy", &["send", "nobody-there", "hello"]), "RECIPIENT_NOT_FOUND");

    // A token that never was, and one that is no more.
    let config = demo.dir.join("config-ben").join("session.json");
    let session = std::fs::read_to_string(&config).expect("a login leaves a session");
    demo.carrel("ben", &["logout"]).ok();
    std::fs::write(&config, &session).expect("the session can be put back");
    assert_eq!(reason(&demo, "ben", &["reservations"]), "SESSION_EXPIRED");

    // Nothing of all that has changed anything.
    demo.login(0, "ben", PASSWORD).ok();
    let mine = demo.carrel("ben", &["reservations"]).json();
    assert_eq!(mine["reservations"].as_array().map(Vec::len), Some(0));

    faults_of_a_catalogue_have_lines(&demo);
    usage_is_told_apart(&demo);
}

fn faults_of_a_catalogue_have_lines(demo: &Demo) {
    let password = demo.password_of("admin");
    demo.login(0, "admin", &password).ok();
    let exported = demo.carrel("admin", &["catalog", "export"]).json();
    let mut yaml = include_str!("../../catalog/campus.yaml").to_owned();
    let seat_lines: Vec<usize> =
        yaml.lines().enumerate().filter(|(_, line)| line.contains("- { id:")).map(|(number, _)| number).collect();
    let (first, second) = (seat_lines[10], seat_lines[11]);
    let lines: Vec<&str> = yaml.lines().collect();
    let mut doubled: Vec<&str> = lines.clone();
    doubled[second] = lines[first];
    yaml = doubled.join("\n");
    let file = demo.dir.join("doubled.yaml");
    std::fs::File::create(&file).and_then(|mut f| f.write_all(yaml.as_bytes())).expect("a file can be written");
    let ran = demo.carrel("admin", &["catalog", "import", file.to_str().expect("a path is text")]);
    assert_eq!(ran.code(), 1, "{}", ran.stderr());
    assert!(ran.stderr().contains(&(second + 1).to_string()), "line {}: {}", second + 1, ran.stderr());
    assert_eq!(demo.carrel("admin", &["catalog", "export"]).json(), exported);
    let ran = demo.carrel("amy", &["catalog", "import", file.to_str().expect("a path is text")]);
    assert_eq!(ran.code(), 1);
}

fn usage_is_told_apart(demo: &Demo) {
    for args in [
        vec!["reserve", "main/a-1"],
        vec!["reserve", "main/a-1", "--from", "half past nine", "--to", "10:00"],
        vec!["reserve", "main/a-1", "--from", "09:00", "--to", "10:00", "--request-id", "7"],
        vec!["no-such-command"],
        // What cannot be taken back is asked about, and there is nobody to ask.
        vec!["users", "delete", "amy"],
        vec!["check-in", "abc"],
        vec!["reserve", "lindenhof/ä", "--from", "09:00", "--to", "10:00"],
        vec!["reserve", "lindenhof/a-001", "--from", "22:00", "--to", "21:00"],
    ] {
        assert_eq!(demo.carrel("amy", &args).code(), 2, "{args:?}");
    }
    let alone = demo.carrel_at("http://127.0.0.1:1", "amy", &["whoami"], None);
    assert_eq!(alone.code(), 3, "{}", alone.stderr());
    assert!(alone.stderr().contains("127.0.0.1:1"), "{}", alone.stderr());

    // A second demo on the same directory, and one on the same ports.
    let second = Command::new(env!("CARGO_BIN_EXE_carrel"))
        .args(["demo", "--port", "39000", "--dir"])
        .arg(&demo.dir)
        .output()
        .expect("the carrel binary starts");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("already"), "{second:?}");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let clash = Command::new(env!("CARGO_BIN_EXE_carrel"))
        .args(["demo", "--port", &demo.port.to_string(), "--dir"])
        .arg(elsewhere.path())
        .output()
        .expect("the carrel binary starts");
    assert!(!clash.status.success());
    assert!(String::from_utf8_lossy(&clash.stderr).contains(&demo.port.to_string()), "{clash:?}");
    nothing_is_thrown_away_in_vain(demo);
}

/// `--fresh` clears a directory only when nothing else stands in the way.
fn nothing_is_thrown_away_in_vain(demo: &Demo) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kept = dir.path().join("replica-0");
    std::fs::create_dir(&kept).expect("a directory can be made");
    let in_use = demo.port.to_string();
    let missing = dir.path().join("missing.yaml");
    let missing = missing.to_str().expect("a path is text");
    for args in [["--port", &in_use], ["--catalog", missing]] {
        let ran = Command::new(env!("CARGO_BIN_EXE_carrel"))
            .args(["demo", "--fresh", "--dir"])
            .arg(dir.path())
            .args(args)
            .output()
            .expect("the carrel binary starts");
        assert!(!ran.status.success() && kept.exists(), "{args:?}: {ran:?}");
    }
}
