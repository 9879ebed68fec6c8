//! What a person gets wrong is said in words that help, and the node serves on.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::world::{World, psql};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_address_that_leads_nowhere_is_said_and_mended() {
    let world = World::start_own(1).await;
    world.verify();
    let right = world.right_url();
    world.point_at("mysql://somewhere");
    world.says("it looks like postgres://user:password@host");
    world.point_at("postgres://carrel:wrong@127.0.0.1:1/carrel");
    world.says("cannot be reached");
    let (server, _) = right.rsplit_once('/').expect("a URL has a path");
    world.point_at(&format!("{server}/nowhere"));
    world.says("CREATE DATABASE carrel OWNER carrel");
    std::fs::remove_file(&world.url_file).expect("it was there");
    world.proxy.cut_all();
    world.says("No such file");
    world.point_at(&right);
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_password_that_was_changed_is_read_anew() {
    let world = World::start_own(1).await;
    world.verify();
    let right = world.right_url();
    let address = right.rsplit('@').next().expect("there is somebody before it");
    world.point_at(&format!("postgres://carrel:mistaken@{address}"));
    let refused = world.says("check user and password in the file of --postgres-url-file");
    assert!(!refused.to_string().contains("mistaken"), "{refused}");
    assert!(!world.log().contains("mistaken"), "a password is nobody's business");
    // Who is not there is not told from who has another password.
    world.point_at(&format!("postgres://nobody_of_that_name:x@{address}"));
    world.says("CREATE ROLE carrel LOGIN PASSWORD");

    world.psql("CREATE ROLE rotated SUPERUSER LOGIN PASSWORD 'first'");
    world.point_at(&format!("postgres://rotated:first@{address}"));
    world.verify();
    let admin = world.server.url();
    assert!(psql(&admin, "ALTER ROLE rotated PASSWORD 'second'").1);
    // Connections outlive a password; the next one does not.
    world.proxy.cut_all();
    world.says("check user and password");
    std::fs::write(&world.url_file, format!("postgres://rotated:second@{address}\n")).expect("a directory of ours");
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_role_without_rights_is_told_which_ones() {
    let world = World::start_own(1).await;
    world.verify();
    let port = world.direct_port();
    world.psql("CREATE ROLE poor LOGIN PASSWORD 'poor'");
    world.psql("CREATE DATABASE bare");
    let url = world.server.url();
    let bare = url.strip_suffix("/carrel").expect("it ends with the database").to_owned() + "/bare";
    world.point_at(&format!("postgres://poor:poor@127.0.0.1:{port}/bare"));
    let told = world.says("GRANT CREATE ON SCHEMA public TO");
    assert!(told.to_string().contains("permission denied for schema public"), "{told}");
    assert!(psql(&bare, "GRANT CREATE ON SCHEMA public TO poor").1);
    let told = world.says("permission denied to create extension");
    assert!(told.to_string().contains("`CREATE EXTENSION btree_gist`"), "{told}");
    assert!(psql(&bare, "CREATE EXTENSION btree_gist").1);
    // That was all that it needed.
    world.until_phase("FOLLOWING");
    world.verify();
    assert_eq!(psql(&bare, "SELECT tableowner FROM pg_tables WHERE tablename = 'claims'").0, "poor");
}

/// The server is asked as any other is, and answers as one of them would.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_old_server_is_not_written_to() {
    let world = World::start_own(1).await;
    world.verify();
    let version: u32 = world.psql("SHOW server_version_num").parse().expect("a number");
    assert!((150_000..190_000).contains(&version), "15 to 18 are supported, and this is {version}");
    let told = world.status()["serverVersion"].as_str().expect("a text").to_owned();
    assert!(told.starts_with(&(version / 10_000).to_string()), "{told}");
    world.psql(
        "CREATE SCHEMA older; \
         CREATE FUNCTION older.current_setting(name text) RETURNS text LANGUAGE sql AS $$ \
         SELECT CASE name WHEN 'server_version_num' THEN '140012' WHEN 'server_version' THEN '14.12' \
         ELSE pg_catalog.current_setting(name) END $$; \
         ALTER ROLE carrel SET search_path = older, pg_catalog, public",
    );
    world.proxy.cut_all();
    world.says("this is Postgres 14.12, and 15 or later is needed: upgrade the server with pg_upgrade");
    world.psql("ALTER ROLE carrel RESET search_path");
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_locked_table_is_waited_for_and_named() {
    let world = World::start(1).await;
    world.verify();
    let mut locker = Locker(
        Command::new("psql")
            .arg(world.server.url())
            .args(["-Atqc", "BEGIN; LOCK TABLE claims; SELECT pg_sleep(60)"])
            .stderr(Stdio::null())
            .spawn()
            .expect("psql comes with Postgres"),
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.people_book();
    let told = world.says("something else holds a lock on the tables");
    assert!(told.to_string().contains("pg_terminate_backend"), "{told}");
    // As it says.
    world.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN \
         (SELECT pid FROM pg_locks WHERE granted) AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    );
    // It was ended, and says so.
    let _ = locker.0.wait();
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_database_that_only_reads_is_waited_for() {
    let world = World::start_own(1).await;
    world.verify();
    world.psql("ALTER DATABASE carrel SET default_transaction_read_only = on");
    world.proxy.cut_all();
    world.people_book();
    world.says("this server only reads: name the primary");
    world.psql("BEGIN READ WRITE; ALTER DATABASE carrel RESET default_transaction_read_only; COMMIT");
    world.proxy.cut_all();
    world.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tables_of_a_later_release_are_left_alone() {
    let world = World::start(1).await;
    world.verify();
    world.psql("INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, '\\x00', 0)");
    world.proxy.cut_all();
    let before = world.psql("SELECT max(applied_index) FROM projection_cursor");
    world.says("the tables are of a later release (migration 99)");
    assert_eq!(world.psql("SELECT max(applied_index) FROM projection_cursor"), before);
    world.psql("DELETE FROM _sqlx_migrations WHERE version = 99");
    world.verify();
}

/// Ends with the test, also when that fails.
struct Locker(Child);

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
