//! Mail to people.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::receivers::{Arrived, Mood, Receiver};
use crate::stage::{Demo, PASSWORD};

fn is_letter(mail: &Arrived) -> bool {
    mail.header("subject").contains("has written to you")
}

#[test]
fn people_are_told_by_mail_through_lost_replies_and_leaders() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Receiver::of_mail();
    let url_file = dir.path().join("smtp");
    // The first file leads nowhere: it is read again at each connection.
    std::fs::write(&url_file, "smtp://127.0.0.1:1\n").expect("a file");
    let environment = [
        ("CARREL_SMTP_URL_FILE", url_file.to_str().expect("a path")),
        ("CARREL_MAIL_FROM", "Library <library@example.org>"),
    ];
    let demo = Demo::start_in(&environment, &dir.path().join("demo"), crate::stage::free_port(), &[]);
    for (node, who) in ["amy", "ben"].into_iter().enumerate() {
        demo.register(node, who).ok();
        demo.login(node, who, PASSWORD).ok();
    }
    demo.carrel("amy", &["mail", "amy@example.org"]).ok();
    thread::sleep(Duration::from_secs(1));
    std::fs::write(&url_file, format!("smtp://127.0.0.1:{}\n", server.port)).expect("a file");
    let mail = server.wait_for(1, "a code", |mail| mail.header("subject").contains("code")).remove(0);
    assert!(mail.to.contains("<amy@example.org>") && mail.header("from").contains("library@example.org"), "{mail:?}");
    assert_eq!(mail.header("auto-submitted"), "auto-generated");
    let code = mail.body.lines().find_map(|line| line.strip_prefix("    ")).expect("a code").to_owned();
    let (reason, _) = demo.carrel("amy", &["mail", "confirm", "0000-0000-0000"]).refused();
    assert_eq!(reason, "ADDRESS_NOT_PROVEN");
    demo.carrel("amy", &["mail", "confirm", &code]).ok();

    // The server takes the letter, and its word for it is lost: it comes again, and is the same.
    server.be(Mood::LosesOneReply);
    demo.carrel("ben", &["send", "amy", "the secret is under the lamp"]).ok();
    let twice = server.wait_for(2, "a letter, twice", is_letter);
    assert_eq!(twice[0].header("message-id"), twice[1].header("message-id"));
    assert_eq!(twice[0].header("date"), twice[1].header("date"));
    assert!(twice.iter().all(|mail| !mail.body.contains("secret")), "what was written is not in the mail");
    // She has not read it, so she is not told again.
    demo.carrel("ben", &["send", "amy", "do you hear?"]).ok();

    // The mail server is away, and so is the leader: bookings and letters go on, and the next leader sends.
    demo.carrel("amy", &["inbox"]).ok();
    server.be(Mood::Away);
    let started = Instant::now();
    demo.carrel("ben", &["send", "amy", "once more"]).ok();
    assert!(started.elapsed() < Duration::from_secs(10), "nobody waits for a mail server");
    let (leader, _) = demo.leader();
    demo.kill(leader);
    demo.restarted(leader);
    server.be(Mood::Well);
    let letters = server.wait_for(3, "the letter, from another leader", is_letter);
    assert_ne!(letters[2].header("message-id"), letters[0].header("message-id"));

    // What was noted is not sent again, whoever leads.
    thread::sleep(Duration::from_secs(1));
    let (leader, _) = demo.leader();
    demo.kill(leader);
    demo.restarted(leader);
    demo.carrel("amy", &["inbox"]).ok();
    demo.carrel("ben", &["send", "amy", "the last one"]).ok();
    let letters = server.wait_for(4, "the last letter", is_letter);
    let mut times_by_id: BTreeMap<String, usize> = BTreeMap::new();
    for letter in &letters {
        *times_by_id.entry(letter.header("message-id").to_owned()).or_default() += 1;
    }
    assert_eq!(times_by_id.values().sum::<usize>(), 4, "{times_by_id:?}");
    assert_eq!(times_by_id.len(), 3, "{times_by_id:?}");

    demo.carrel("amy", &["mail", "none"]).ok();
    let delivery = demo.carrel("amy", &["mail"]).json();
    assert_eq!(delivery["delivery"]["address"], "", "{delivery}");
    demo.stop();
}
