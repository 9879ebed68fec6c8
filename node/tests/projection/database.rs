//! A database that is not what it was: restored, ahead, of somebody else, or with rows of its own.

use std::time::{Duration, Instant};

use crate::stage::{PASSWORD, slot};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_database_restored_to_the_past_is_written_anew() {
    let mut world = World::start_own(1).await;
    world.load(4, 2).finish();
    world.verify();
    let copy = world.save().await;
    world.load(4, 2).finish();
    let before = world.verify();
    // Until the cluster keeps nothing of it any more.
    world.until("acknowledged", |status| status["keptEvents"] == "0");
    world.restore(&copy).await;
    let after = world.verify();
    let hash = |proof: &serde_json::Value, table: usize| proof["tables"][table]["recordHash"].clone();
    assert_eq!(hash(&before, 4), hash(&after, 4), "claims are what they were");
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason = 'MISSED'"), 1);
    assert!(world.metric("carrel_projection_begun_again_total") >= 2.0);
}

/// The cluster has told another what it would have told this one, and keeps nothing of it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_database_that_was_away_for_longer_than_changes_are_kept_is_written_from_the_state() {
    let world = World::start_own(1).await;
    world.load(4, 2).finish();
    world.verify();
    let told = world.number("SELECT count(*) FROM changes");
    world.psql("CREATE DATABASE meanwhile");
    let right = world.right_url();
    let (server, _) = right.rsplit_once('/').expect("a URL has a path");
    world.point_at(&format!("{server}/meanwhile"));
    world.load(4, 2).finish();
    let elsewhere = world.verify();
    world.until("let go of", |status| status["keptEvents"] == "0");
    world.point_at(&right);
    world.people_book();
    let here = world.verify();
    assert_ne!(here["tables"][4]["rows"], "0", "{here}");
    assert_eq!(world.number("SELECT count(*) FROM history_gaps WHERE reason = 'MISSED'"), 1);
    // What it had been told is still there, and the gap says what is not.
    assert!(world.number("SELECT count(*) FROM changes") >= told);
    let gap = world.number("SELECT last_entry - first_entry FROM history_gaps WHERE reason = 'MISSED'");
    assert!(gap > 0, "{elsewhere}");
    assert!(world.log().contains("the record was written anew from the state"), "{}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_database_ahead_of_the_log_is_left_alone_until_somebody_decides() {
    let world = World::start(1).await;
    world.load(4, 2).finish();
    world.verify();
    world.psql("UPDATE projection_cursor SET applied_index = applied_index + 1000000");
    let halted = world.until_phase("HALTED");
    assert!(halted["trouble"].as_str().is_some_and(|trouble| trouble.contains("ahead of the cluster")), "{halted}");
    assert!(world.metric("carrel_projection_trouble") >= 1.0);
    // People book on.
    world.load(4, 2).finish();
    assert_eq!(world.projection(&["verify"]).refused().0, "RECORD_NOT_READABLE");
    let rebuilt = world.projection(&["rebuild", "--adopt"]).json();
    assert_eq!(rebuilt["proof"]["equal"], true, "{rebuilt}");
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_record_of_another_cluster_is_left_alone() {
    let world = World::start(1).await;
    world.verify();
    let rows = world.psql("SELECT count(*), max(id) FROM users");
    world.psql("UPDATE projection_cursor SET cluster_id = '00000000-0000-0000-0000-000000000001'");
    let halted = world.until_phase("HALTED");
    assert!(halted["trouble"].as_str().is_some_and(|trouble| trouble.contains("the record of cluster")), "{halted}");
    world.demo.register(0, "amy").ok();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.psql("SELECT count(*), max(id) FROM users"), rows, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_row_that_is_refused_is_put_aside_and_the_rest_goes_on() {
    let world = World::start(1).await;
    let seats = world.free_seats();
    world.verify();
    let (from, to) = slot(60, 30);
    let seat = seats[1].rsplit('/').next().expect("a seat has an id");
    // Somebody has written where nobody should: the tripwire finds it.
    world.psql(&format!(
        "INSERT INTO claims SELECT 1000000, id, '{from}', '{to}', 0, 'BOOKING', 'CONFIRMED', NULL, 0, 1, '{from}', \
         '{from}', NULL, NULL, false FROM seats WHERE slug = '{seat}' ORDER BY id LIMIT 1"
    ));
    let demo = &world.demo;
    demo.register(0, "amy").ok();
    demo.login(0, "amy", PASSWORD).ok();
    demo.carrel("amy", &["reserve", &seats[1], "--from", &from, "--to", &to]).ok();
    demo.register(0, "ben").ok();
    let begun = Instant::now();
    while world.number("SELECT count(*) FROM parked_rows") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", world.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let parked = world.psql("SELECT table_name, cause FROM parked_rows");
    assert!(parked.starts_with("claims|") && parked.contains("claims_do_not_overlap"), "{parked}");
    world.until("going on", |status| status["parkedRows"] == "1" && status["phase"] == "FOLLOWING");
    let begun = Instant::now();
    while world.number("SELECT count(*) FROM users WHERE name = 'ben'") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the rest goes on: {}", world.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.metric("carrel_projection_parked_rows") >= 1.0);
    // What nobody in the cluster knows is no part of the record.
    assert_eq!(world.projection(&["verify"]).refused().0, "RECORD_DIFFERS");
    world.psql("DELETE FROM claims WHERE id = 1000000");
    let rebuilt = world.projection(&["rebuild"]).json();
    assert_eq!(rebuilt["proof"]["equal"], true, "{rebuilt}");
    assert_eq!(world.number("SELECT count(*) FROM parked_rows"), 0);
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_proof_finds_every_kind_of_difference() {
    let world = World::start(1).await;
    world.load(4, 2).finish();
    world.verify();
    for (damage, named) in [
        ("UPDATE claims SET policy_id = policy_id + 1 WHERE id = 3", "claims 3 has policy_id"),
        ("DELETE FROM claims WHERE id = 3", "claims 3 is missing"),
        ("INSERT INTO branches VALUES (77, 'x', 'x', 'UTC', false)", "branches 77 is not in the state"),
        ("DELETE FROM claim_transitions WHERE claim_id = 3 AND revision = 1", ""),
    ] {
        world.psql(damage);
        let found = world.projection(&["verify"]);
        assert!(found.stdout().contains(named), "{damage}: {}", found.stdout());
        assert_eq!(found.refused().0, "RECORD_DIFFERS", "{damage}");
        if !named.is_empty() {
            world.projection(&["rebuild"]).ok();
        }
    }
}
