//! What a person gets wrong is said in words that help, and the node serves on.

use std::time::Duration;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_wrong_with_postgres_is_said_and_mended() {
    let world = World::start(1).await;
    world.verify();
    let right = world.postgres.url_at(world.proxy.port());
    let port = world.postgres.port();
    let says = |wanted: &str| {
        let status = world.until(wanted, |status| {
            status["phase"] == "WAITING" && status["trouble"].as_str().is_some_and(|trouble| trouble.contains(wanted))
        });
        // It is not the people who wait.
        world.demo.carrel("nobody", &["branches"]).ok();
        status
    };
    world.point_at("mysql://somewhere");
    says("it looks like postgres://user:password@host");
    world.point_at("postgres://carrel:wrong@127.0.0.1:1/carrel");
    says("cannot be reached");
    world.point_at(&format!("postgres://carrel:wrong@127.0.0.1:{port}/carrel"));
    let refused = says("check user and password");
    assert!(!refused.to_string().contains("wrong@"), "{refused}");
    let (server, _) = right.rsplit_once('/').expect("a URL has a path");
    world.point_at(&format!("{server}/nowhere"));
    says("CREATE DATABASE carrel OWNER carrel");
    std::fs::remove_file(&world.url_file).expect("it was there");
    world.proxy.cut_all();
    says("No such file");
    world.point_at(&right);
    world.verify();

    world.psql("CREATE ROLE poor LOGIN PASSWORD 'poor'");
    world.psql("CREATE DATABASE bare");
    world.point_at(&format!("postgres://poor:poor@127.0.0.1:{port}/bare"));
    says("CREATE EXTENSION btree_gist");
    world.point_at(&right);
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tables_that_cannot_be_written_are_waited_for() {
    let world = World::start(1).await;
    world.verify();
    let waits = |wanted: &str| {
        world.demo.register(0, &format!("p{}", wanted.len())).ok();
        world.until(wanted, |status| {
            status["phase"] == "WAITING" && status["trouble"].as_str().is_some_and(|trouble| trouble.contains(wanted))
        });
    };
    let url = world.postgres.url();
    let mut locker = std::process::Command::new("psql")
        .arg(&url)
        .args(["-Atqc", "BEGIN; LOCK TABLE users; SELECT pg_sleep(30)"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("psql comes with Postgres");
    tokio::time::sleep(Duration::from_millis(300)).await;
    waits("holds a lock");
    world.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' \
         AND pid <> pg_backend_pid()",
    );
    // It was ended, and says so.
    let _ = locker.wait();
    world.verify();

    world.psql("ALTER DATABASE carrel SET default_transaction_read_only = on");
    world.proxy.cut_all();
    waits("only reads");
    world.psql("BEGIN READ WRITE; ALTER DATABASE carrel RESET default_transaction_read_only; COMMIT");
    world.proxy.cut_all();
    world.verify();

    world.psql("INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, '\\x00', 0)");
    world.proxy.cut_all();
    waits("of a later release");
    world.psql("DELETE FROM _sqlx_migrations WHERE version = 99");
    world.verify();
}
