//! A server whose disk is full, and one that proves who it is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::small_disk::SmallDisk;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_full_disk_of_postgres_is_waited_for_and_then_written_to() {
    let world = World::start_own(1).await;
    world.verify();
    let place = world.dir().join("small");
    let Some(disk) = SmallDisk::mount(&place, 48) else {
        println!("not allowed to mount file systems: nothing is tested here");
        return;
    };
    let owner = fs::metadata(world.data()).expect("it is there");
    chown(&place, Some(owner.uid()), Some(owner.gid())).expect("whoever mounts may give away");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
    world.psql(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
    world.psql("ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE small");
    world.psql("ALTER INDEX ALL IN TABLESPACE pg_default SET TABLESPACE small");
    world.verify();
    // Somebody else's files take all that is left.
    let ballast = place.join("ballast");
    assert!(fs::write(&ballast, vec![0; 64 << 20]).is_err(), "48 MiB are full");
    let load = world.load(8, 8);
    let told = world.says("its disk is full: make room there");
    assert!(told.to_string().contains("No space left on device"), "{told}");
    load.finish();
    fs::remove_file(&ballast).expect("it is there");
    let proof = world.verify();
    assert_eq!((&proof["missingTransitions"], &proof["parkedRows"]), (&"0".into(), &"0".into()), "{proof}");
    drop(world);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_server_proves_who_it_is_before_it_is_told_anything() {
    let world = World::start_own(1).await;
    world.verify();
    let keys = world.dir().join("keys");
    let authority = prove(&world, &keys, "127.0.0.1");
    world.psql("ALTER SYSTEM SET ssl = on");
    let access = world.data().join("pg_hba.conf");
    fs::write(&access, "hostssl all all 127.0.0.1/32 scram-sha-256\n").expect("a file of ours");
    world.psql("SELECT pg_reload_conf()");
    let url = world.right_url();
    let with = |query: &str| format!("{url}?{query}");

    world.point_at(&with("sslmode=disable"));
    let told = world.says("or let it in by pg_hba.conf, which may want TLS");
    assert!(told.to_string().contains("no encryption"), "{told}");
    world.point_at(&with("sslmode=verify-full"));
    world.says("sslrootcert has to name the file of the authority that signed the server's certificate");
    world.point_at(&with("sslmode=verify-full&sslrootcert=/nowhere/ca.crt"));
    world.says("a file that it names is not there");
    let right = with(&format!("sslmode=verify-full&sslrootcert={}", authority.display()));
    world.point_at(&right);
    world.verify();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'carrel'";
    assert_eq!(world.psql(encrypted), "t");

    // Another authority, and a name that is not the one in the address.
    let other = prove(&world, &world.dir().join("other-keys"), "database.example.org");
    world.psql("SELECT pg_reload_conf()");
    world.proxy.cut_all();
    world.says("sslrootcert has to name");
    // A file that follows is read again.
    fs::copy(&other, &authority).expect("files of ours");
    world.says("the server's certificate has to name the host as the address does");
    world.point_at(&with(&format!("sslmode=verify-ca&sslrootcert={}", authority.display())));
    world.verify();

    world.psql("ALTER SYSTEM SET ssl = off");
    fs::write(&access, "host all all 127.0.0.1/32 scram-sha-256\n").expect("a file of ours");
    world.psql("SELECT pg_reload_conf()");
    world.point_at(&right);
    world.says("let the server have a certificate and `ssl = on`");
}

/// Gives the server a certificate for this host; returns the file of its authority.
fn prove(world: &World, keys: &Path, host: &str) -> PathBuf {
    let made = Command::new(env!("CARGO_BIN_EXE_carrel")).args(["certs", "--hosts", host, "--dir"]).arg(keys).output();
    let made = made.expect("the carrel binary starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let owner = fs::metadata(world.data()).expect("it is there");
    for (from, to) in [("tls.crt", "server.crt"), ("tls.key", "server.key")] {
        let to = world.data().join(to);
        fs::copy(keys.join("clients").join(from), &to).expect("files of ours");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("a file of ours");
        chown(&to, Some(owner.uid()), Some(owner.gid())).expect("it stays ours, or root gives it away");
    }
    keys.join("ca.crt")
}
