//! The record follows, through everything that may happen to it and to those who write it.

use std::time::{Duration, Instant};

use carrel_domain::state::State;
use carrel_node::projection::cursor::{Again, Cursor, Whose};
use carrel_node::projection::database::{Address, Database};
use carrel_node::projection::rows::Changes;
use carrel_node::projection::store::Store;
use carrel_node::projection::trouble::Trouble;
use carrel_node::projection::writing::{Refused, begin_again, write};
use rustix::process::Signal;

use crate::proxy::Commit;
use crate::stage::{self, PASSWORD, slot};
use crate::world::{PATIENCE, Server, World};

/// Seconds that Postgres is away while people book.
const OUTAGE_SECONDS: &str = "CARREL_PROJECTION_OUTAGE_SECONDS";

/// Bookings a second meanwhile; without it as many as there can be.
const OUTAGE_RATE: &str = "CARREL_PROJECTION_OUTAGE_RATE";

/// A kill or cut takes a second; the figures ask for 200 of them.
///
/// People book meanwhile, and no more of them than leave every proof, which compares everything, within a fraction of
/// one.
const INTERRUPTIONS: &str = "CARREL_PROJECTION_INTERRUPTIONS";
const SEED: &str = "CARREL_PROJECTION_SEED";

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
    demo.carrel("admin", &["broadcast", "the lift is out of order", "--branch", "lindenhof"]).ok();
    demo.carrel("admin", &["broadcast", "the rota is out", "--role", "librarian"]).ok();
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
    let announced = "SELECT body, audience, branches.slug, audience_role FROM announcements \
         LEFT JOIN branches ON branches.id = audience_branch_id ORDER BY entry, ordinal";
    assert_eq!(
        world.psql(announced),
        "the lights stay on tonight|EVERYONE||\nthe lift is out of order|BRANCH|lindenhof|\n\
         the rota is out|ROLE||LIBRARIAN"
    );

    demo.carrel("amy", &["users", "delete", "amy", "--yes"]).ok();
    world.verify();
    assert_eq!(world.number("SELECT count(*) FROM users WHERE name = 'amy'"), 0);
    // Everything there is, as any client may ask for it.
    let tables = world.psql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'");
    let dump: String = tables.lines().map(|table| world.psql(&format!("SELECT t::text FROM {table} t"))).collect();
    assert!(dump.contains("the lights stay on tonight"), "the dump is whole");
    assert!(!dump.split(|c: char| !c.is_alphanumeric()).any(|word| word == "amy"), "the name is still somewhere");
    // What was done is still there, and by nobody's number.
    assert_eq!(world.number(&format!("SELECT count(*) FROM claim_transitions WHERE claim_id = {id}")), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_whose_reply_is_lost_is_found_and_not_made_again() {
    let world = World::start(1).await;
    world.verify();
    world.proxy.cut_next(Commit::Unanswered);
    world.people_book();
    until_cut(&world, 0).await;
    let proof = world.verify();
    assert_eq!((&proof["missingTransitions"], &proof["parkedRows"]), (&"0".into(), &"0".into()), "{proof}");
    assert!(world.log().contains("the record cannot be written; it is tried again"), "{}", world.log());
    let told = "SELECT count(*), count(DISTINCT (lineage, entry, ordinal)) FROM changes";
    let told = world.psql(told);
    let (all, distinct) = told.split_once('|').expect("two numbers");
    assert_eq!(all, distinct, "nothing is told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn kills_and_cuts_leave_every_row_there_once() {
    let count: u32 = asked_for(INTERRUPTIONS).unwrap_or(8);
    let seed = asked_for(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    println!("{SEED}={seed} repeats these kinds and pauses");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::start_own_with(1, &[]).await;
    world.verify();
    let begun = Instant::now();
    let book = |world: &World| world.load_at(8, 20, Some(50));
    let mut load = book(&world);
    let mut since_load = Instant::now();
    let (mut lost, mut unanswered, mut kills, mut node_kills) = (0, 0, 0, 0);
    for turn in 0..count {
        if since_load.elapsed() > Duration::from_secs(18) {
            load.finish();
            (load, since_load) = (book(&world), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(300))).await;
        let cuts = world.proxy.cuts();
        // Half of them where it hurts most.
        let kind = if turn % 2 == 0 { 0 } else { 1 + dice.roll(3) };
        match kind {
            0 => {
                world.proxy.cut_next(Commit::Unanswered);
                unanswered += 1;
                until_cut(&world, cuts).await;
            }
            1 => {
                world.proxy.cut_next(Commit::Lost);
                lost += 1;
                until_cut(&world, cuts).await;
            }
            2 => {
                world.demo.kill(0);
                world.demo.restarted(0);
                node_kills += 1;
            }
            _ => {
                world.postgres().kill().await;
                world.postgres().run().await.expect("Postgres starts again");
                kills += 1;
            }
        }
        let proof = world.verify();
        assert_eq!((&proof["missingTransitions"], &proof["parkedRows"]), (&"0".into(), &"0".into()), "{proof}");
    }
    load.finish();
    let proof = world.verify();
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
    report(&format!(
        "{count} interruptions in {:.0} s, {unanswered} of them between COMMIT and its reply; {lost} before COMMIT, \
         {kills} kills of Postgres, {node_kills} kills of the node. Rows and state were equal after each, at last {} \
         claims at entry {}.",
        begun.elapsed().as_secs_f64(),
        number(&proof["tables"][4]["rows"]),
        number(&proof["appliedIndex"])
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

/// Of this replica alone, with a disk that syncs, as it is in earnest.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_outage_of_postgres_is_nobodys_outage() {
    let mut world = World::start_own_with(1, &[]).await;
    let proof = world.verify();
    // What is written already is kept until the log says so.
    world.until("acknowledged", |status| status["keptEvents"] == "0");
    let before = world.number("SELECT count(*) FROM changes");
    let memory_before = world.memory_mib();
    world.postgres().stop().await;
    let seconds: u64 = asked_for(OUTAGE_SECONDS).unwrap_or(6);
    let rate: Option<u32> = asked_for(OUTAGE_RATE);
    let load = world.load_at(if seconds > 60 { 200 } else { 8 }, seconds, rate).finish();
    let answered = load["rows"][0]["writes_per_second"].as_f64().expect("a number");
    assert!(answered > 0.0, "{load}");
    let waiting = world.until_phase("WAITING");
    assert!(waiting["trouble"].as_str().is_some_and(|trouble| trouble.contains("cannot be reached")), "{waiting}");
    let memory_after = world.memory_mib();
    println!("{kept} changes are kept, and a node has {memory_after} MiB", kept = waiting["keptEvents"]);
    let commits = number(&waiting["stateIndex"]) - number(&proof["appliedIndex"]);
    let kept = number(&waiting["keptEvents"]);
    // What is kept survives the node, too.
    world.demo.kill(0);
    world.demo.restarted(0);
    let recovered = Instant::now();
    world.until("leading", |status| status["phase"] == "WAITING");
    let restart = recovered.elapsed();
    let memory_restarted = world.memory_mib();
    world.postgres().run().await.expect("Postgres starts again");
    let begun = Instant::now();
    let behind = i64::try_from(number(&waiting["stateIndex"])).expect("a number of this century");
    while world.number("SELECT coalesce(max(applied_index), 0) FROM projection_cursor") < behind {
        assert!(begun.elapsed() < Duration::from_secs(600), "{}", world.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drained = begun.elapsed().as_secs_f64();
    let told = world.number("SELECT count(*) FROM changes") - before;
    // The node has counted from its own start on, which was after the outage began.
    let written = world.metric("carrel_projection_rows_total");
    let proof = world.verify();
    assert_eq!(proof["missingTransitions"], "0", "{proof}");
    let missed = world.number("SELECT count(*) FROM history_gaps WHERE reason = 'MISSED'");
    world.until("acknowledged", |status| status["keptEvents"] == "0");
    // What is freed goes back to the system within this.
    tokio::time::sleep(Duration::from_secs(if seconds > 30 { 15 } else { 0 })).await;
    let memory_drained = world.memory_mib();
    let outage = format!(
        "Postgres was away for {seconds} s, while {commits} entries were committed, {answered:.0} bookings and \
         cancellations a second. The node had {memory_before} MiB before and {memory_after} MiB after; killed then, it \
         led again after {:.1} s, with {memory_restarted} MiB, and had {memory_drained} MiB once Postgres had \
         everything: the reservations themselves.",
        restart.as_secs_f64()
    );
    if kept == 0 {
        assert_eq!(missed, 1, "what nobody kept any more is a gap, and is told");
        report(&format!(
            "{outage} That was more than is kept: {written:.0} rows were written from the state in one transaction, \
             {drained:.1} s after Postgres was back: {:.0} rows a second. Rows and state were equal, and the gap in \
             history is a row.",
            written / drained
        ));
    } else {
        assert_eq!(missed, 0, "nothing was missed");
        assert!(told.unsigned_abs() >= kept, "{told} of {kept}");
        report(&format!(
            "{outage} {kept} changes were kept by the cluster, and in the tables {drained:.1} s after Postgres was \
             back: {:.0} changes a second, {:.0} rows. Rows and state were equal; no change was missing or there \
             twice.",
            told as f64 / drained,
            written / drained
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_slow_postgres_holds_up_nobody() {
    let world = World::start(1).await;
    world.verify();
    world.proxy.delay(Duration::from_millis(200));
    let load = world.load(8, 10);
    // It follows none the less, and says by how much it lags.
    let begun = Instant::now();
    while world.metric("carrel_projection_lag_events") == 0.0 {
        assert!(begun.elapsed() < PATIENCE, "{}", world.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.until_phase("FOLLOWING");
    let load = load.finish();
    let row = &load["rows"][0];
    assert!(row["answered"].as_u64().is_some_and(|answered| answered > 0), "{load}");
    // A transaction takes two seconds now, and a booking does not.
    assert!(row["p50_ms"].as_f64().is_some_and(|ms| ms < 1_000.0), "{load}");
    world.proxy.delay(Duration::ZERO);
    world.verify();
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
}

/// Neither a reply nor the end of a connection: only limits help.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_postgres_that_hangs_is_given_up_and_found_again() {
    let world = World::start_own(1).await;
    world.verify();
    let frozen = world.freeze();
    world.people_book();
    world.until("given up", |status| {
        status["trouble"]
            .as_str()
            .is_some_and(|trouble| trouble.contains("did not answer within 20 s while writing rows"))
    });
    world.says("did not answer within 5 s while connecting");
    drop(frozen);
    let proof = world.verify();
    assert_eq!(proof["missingTransitions"], "0", "{proof}");
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason <> 'EMPTY'"), 0, "nothing was missed");
}

/// Two who believe that they lead, at the very same place of the cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn of_two_projectors_exactly_one_writes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::find(dir.path()).await;
    let address = Address::Url(server.url());
    let (mut one, mut other) = (open(&address).await, open(&address).await);
    let view = State::default();
    let whose = Whose { cluster_id: "ours".into(), lineage: 1 };
    let mut at = Cursor::of(&whose, &view);
    let begun = tokio::join!(
        begin_again(&mut one, &view, None, &at, Again::Empty, false),
        begin_again(&mut other, &view, None, &at, Again::Empty, false)
    );
    assert!(matches!(begun, (Ok(_), Err(Trouble::Moved)) | (Err(Trouble::Moved), Ok(_))), "{begun:?}");
    for _ in 0..50 {
        let to = Cursor { applied_index: at.applied_index + 1, ..at.clone() };
        let nothing = Changes::default();
        let written = tokio::join!(
            write(&mut one, &nothing, &at, &to, Refused::Fail),
            write(&mut other, &nothing, &at, &to, Refused::Fail)
        );
        assert!(matches!(written, (Ok(()), Err(Trouble::Moved)) | (Err(Trouble::Moved), Ok(()))), "{written:?}");
        at = to;
    }
    assert_eq!(one.cursor().await.expect("it can be read"), Some(at));
}

async fn open(address: &Address) -> Database {
    Database::open(address).await.unwrap_or_else(|trouble| panic!("{trouble}"))
}

async fn until_cut(world: &World, cuts_before: u64) {
    let asked = Instant::now();
    while world.proxy.cuts() == cuts_before {
        assert!(asked.elapsed() < Duration::from_secs(20), "nothing was committed: {}", world.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_str().expect("a number").parse().expect("a number")
}

fn asked_for<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The same again from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A line for the table of figures, where one is made.
fn report(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("CARREL_REPORT") {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{text}{line}\n\n")).expect("the report can be written");
    }
}
