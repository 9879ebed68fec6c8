//! The record follows, through everything that may happen to it and to those who write it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::proxy::Commit;
use crate::stage::{self, PASSWORD, slot};
use crate::world::World;

/// Seconds that Postgres is away while people book.
const OUTAGE_SECONDS: &str = "CARREL_PROJECTION_OUTAGE_SECONDS";

/// A kill or cut takes half a second; the figures ask for 200 of them.
const INTERRUPTIONS: &str = "CARREL_PROJECTION_INTERRUPTIONS";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_people_do_is_in_the_tables_and_who_leaves_is_gone_from_them() {
    let world = World::start(1).await;
    let demo = &world.demo;
    let seats = world.free_seats();
    demo.register(0, "amy").ok();
    demo.login(0, "amy", PASSWORD).ok();
    let (from, to) = slot(0, 30);
    let reserved = demo.carrel("amy", &["reserve", &seats[0], "--from", &from, "--to", &to]).json();
    let name = reserved["reservation"]["name"].as_str().expect("a name").to_owned();
    let id: i64 = name.trim_start_matches("reservations/").parse().expect("a number");
    demo.carrel("amy", &["check-in", &name]).ok();
    demo.login(0, "admin", &demo.password_of("admin")).ok();
    demo.carrel("admin", &["broadcast", "the lights stay on tonight"]).ok();
    demo.carrel("amy", &["inbox"]).ok();

    let proof = world.verify();
    assert_eq!(proof["missingTransitions"], "0", "{proof}");
    let told = world.psql(&format!(
        "SELECT string_agg(state || ' ' || actor || ' ' || reason, ', ' ORDER BY revision) FROM claim_transitions \
         WHERE claim_id = {id}"
    ));
    assert_eq!(told, "CONFIRMED USER RESERVE, CHECKED_IN USER CHECK_IN");
    let seat = seats[0].rsplit('/').next().expect("a seat has an id");
    let joined = "SELECT seats.slug || ' ' || users.name FROM claims JOIN seats ON seats.id = seat_id \
         JOIN users ON users.id = holder_id WHERE claims.id =";
    assert_eq!(world.psql(&format!("{joined} {id}")), format!("{seat} amy"));
    assert_eq!(world.psql("SELECT body FROM announcements"), "the lights stay on tonight");

    demo.carrel("amy", &["users", "delete", "amy"]).ok();
    world.verify();
    assert_eq!(world.number("SELECT count(*) FROM users WHERE name = 'amy'"), 0);
    let dump = std::process::Command::new("pg_dump").arg(world.postgres.url()).output().expect("it comes with psql");
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("the lights stay on tonight"), "the dump is whole");
    assert!(!dump.split(|c: char| !c.is_alphanumeric()).any(|word| word == "amy"), "the name is still somewhere");
    // What was done is still there, and by nobody's number.
    assert_eq!(world.number(&format!("SELECT count(*) FROM claim_transitions WHERE claim_id = {id}")), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn kills_and_cuts_leave_every_row_there_once() {
    let count: u32 = std::env::var(INTERRUPTIONS).ok().and_then(|count| count.parse().ok()).unwrap_or(8);
    let mut world = World::start(1).await;
    world.verify();
    let begun = Instant::now();
    let mut load = world.load(8, 20);
    let mut since_load = Instant::now();
    let (mut lost, mut unanswered, mut kills) = (0, 0, 0);
    for turn in 0..count {
        if since_load.elapsed() > Duration::from_secs(18) {
            load.finish();
            (load, since_load) = (world.load(8, 20), Instant::now());
        }
        let cuts = world.proxy.cuts();
        match turn % 4 {
            0 | 2 => {
                world.proxy.cut_next(Commit::Unanswered);
                unanswered += 1;
            }
            1 => {
                world.proxy.cut_next(Commit::Lost);
                lost += 1;
            }
            _ => {
                world.postgres.kill().await;
                world.postgres.run().await.expect("Postgres starts again");
                kills += 1;
            }
        }
        if turn % 4 != 3 {
            let asked = Instant::now();
            while world.proxy.cuts() == cuts {
                assert!(asked.elapsed() < Duration::from_secs(20), "nothing was committed: {}", world.status());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let proof = world.verify();
        assert_eq!((&proof["missingTransitions"], &proof["parkedRows"]), (&"0".into(), &"0".into()), "{proof}");
    }
    load.finish();
    let proof = world.verify();
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
    report(&format!(
        "{count} interruptions in {:.0} s: {unanswered} between COMMIT and its reply, {lost} before COMMIT, {kills} \
         kills of Postgres. Rows and state were equal after each, at last {} claims at entry {}.",
        begun.elapsed().as_secs_f64(),
        proof["tables"][4]["rows"],
        proof["appliedIndex"]
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn leaders_come_and_go_and_one_of_two_projectors_wins() {
    let world = World::start(3).await;
    world.verify();
    let load = world.load(8, 25);
    for turn in 0..4 {
        let (leader, _) = world.demo.leader();
        let pid = world.demo.pids()[leader];
        match turn % 2 {
            // Asleep for longer than an election: it wakes up as a projector that leads no more.
            0 => {
                stage::signal(pid, Signal::STOP);
                tokio::time::sleep(Duration::from_secs(2)).await;
                stage::signal(pid, Signal::CONT);
            }
            _ => {
                world.demo.kill(leader);
                world.demo.restarted(leader);
            }
        }
        let proof = world.verify();
        assert_eq!(proof["missingTransitions"], "0", "{proof}");
    }
    load.finish();
    world.verify();
    assert_eq!(world.metric("carrel_projection_parked_rows"), 0.0);
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_outage_of_postgres_is_nobodys_outage() {
    let mut world = World::start(1).await;
    world.verify();
    let before = world.number("SELECT count(*) FROM changes");
    world.postgres.stop().await;
    let seconds = std::env::var(OUTAGE_SECONDS).ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(6);
    let load = world.load(if seconds > 60 { 200 } else { 8 }, seconds).finish();
    assert!(load["rows"][0]["answered"].as_u64().is_some_and(|answered| answered > 0), "{load}");
    let waiting = world.until_phase("WAITING");
    assert!(waiting["trouble"].as_str().is_some_and(|trouble| trouble.contains("cannot be reached")), "{waiting}");
    let kept: u64 = waiting["keptEvents"].as_str().expect("a number").parse().expect("a number");
    assert!(kept > 0, "{waiting}");
    // What is kept survives the node, too.
    world.demo.kill(0);
    world.demo.restarted(0);
    world.postgres.run().await.expect("Postgres starts again");
    let begun = Instant::now();
    let behind: u64 = waiting["stateIndex"].as_str().expect("a number").parse().expect("a number");
    while world.number("SELECT applied_index FROM projection_cursor").unsigned_abs() < behind {
        assert!(begun.elapsed() < Duration::from_secs(300), "{}", world.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = world.number("SELECT count(*) FROM changes") - before;
    assert!(told > 0, "{waiting}");
    let drained = begun.elapsed().as_secs_f64();
    // The node has counted from its own start on, which was after the outage began.
    let written = world.metric("carrel_projection_rows_total");
    let proof = world.verify();
    assert_eq!(proof["missingTransitions"], "0", "{proof}");
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
    report(&format!(
        "Postgres was away for {seconds} s: {kept} changes were kept by the cluster, and in the tables {drained:.1} s \
         after it was back: {:.0} changes a second, {:.0} rows. Rows and state were equal, and none was missing.",
        told as f64 / drained,
        written / drained
    ));
}

/// A line for the table of figures, where one is made.
fn report(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("CARREL_REPORT") {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{text}{line}\n\n")).expect("the report can be written");
    }
}
