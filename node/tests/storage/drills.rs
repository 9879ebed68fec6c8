//! What is done by hand when things are bad, on real processes: going on with what one node has, and beginning anew
//! with a backup.

use std::fs;
use std::path::Path;
use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::client::Options;
use carrel_proto::v1;
use uuid::Uuid;

use crate::processes::{Nodes, carrel};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is text")
}

fn survey(mount: &Path) -> crate::processes::Ran {
    carrel(["recover", "--survey", "--dir", text(mount)])
}

fn recover(mount: &Path, lineage: &str) -> crate::processes::Ran {
    carrel(["recover", "--dir", text(mount), "--new-lineage", lineage])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_majority_is_lost_one_survivor_goes_on_and_grows() {
    let mut nodes = Nodes::new(3);
    nodes.form(3).await;
    nodes.until_ready(&[0, 1, 2]).await;
    for name in ["amy", "ben", "cleo"] {
        nodes.register(&[0, 1, 2], name).await;
    }

    let (reason, message) = survey(&nodes.mount(0)).refused();
    assert_eq!(reason, "NOT_RECOVERED");
    assert!(message.contains("in use by another process"), "{message}");
    for node in [0, 1, 2] {
        nodes.kill(node).await;
    }
    // Node 1 is lost with its volume. Of the others the one with the greatest last entry has everything.
    fs::remove_dir_all(nodes.mount(1)).expect("it is dead");
    let position = |node: usize| {
        let said = survey(&nodes.mount(node)).json();
        assert_eq!(said["accounts"], 3, "{said}");
        (said["lastTerm"].as_u64(), said["lastIndex"].as_u64())
    };
    let (survivor, other) = if position(0) >= position(2) { (0, 2) } else { (2, 0) };

    for (lineage, why) in [("0", "must be new"), ("99999999", "must be new")] {
        let (reason, message) = recover(&nodes.mount(survivor), lineage).refused();
        assert!(reason == "NOT_RECOVERED" && message.contains(why), "{message}");
    }
    let recovered = recover(&nodes.mount(survivor), "1").json();
    assert_eq!((&recovered["lineage"], &recovered["survey"]["accounts"]), (&1.into(), &3.into()));
    let (_, message) = recover(&nodes.mount(survivor), "1").refused();
    assert!(message.contains("take 2 or more"), "{message}");

    nodes.start(survivor);
    nodes.until_ready(&[survivor]).await;
    for name in ["amy", "ben", "cleo"] {
        nodes.login(&[survivor], name).await;
    }
    nodes.register(&[survivor], "dan").await;

    // What the other still holds is of a history that is over: nobody listens to it.
    nodes.start(other);
    nodes.until(other, "it answers", async || nodes.status(other).await.is_some()).await;
    let alone = nodes.client(&[other]).with_options(Options { deadline: Duration::from_secs(4), ..Options::default() });
    let request = v1::RegisterRequest {
        request_id: Uuid::new_v4().to_string(),
        user_id: "nobody".to_owned(),
        password: "correct horse battery".to_owned(),
    };
    let refused = alone.register(request).await;
    assert!(refused.is_err(), "there is nobody to decide it: {refused:?}");
    let old = nodes.status(other).await.expect("it answers").identity.expect("it is a member of what is over");
    assert_eq!(old.lineage, 0);
    let now = nodes.status(survivor).await.expect("it answers");
    let survivors = now.identity.expect("a member");
    assert_eq!(now.leader, survivors.node_id, "it deposes nobody");
    // Nor can it be taken in as it is.
    let identity = admin::Identity { incarnation: old.incarnation, ordinal: old.ordinal, ..survivors };
    let joined = nodes.admin(other).join(admin::JoinRequest { identity: Some(identity) }).await;
    assert!(format!("{joined:?}").contains("cannot become"), "{joined:?}");

    nodes.kill(other).await;
    fs::remove_dir_all(nodes.mount(other)).expect("it is dead");
    nodes.start(1);
    nodes.start(other);
    nodes.grow(survivor, &[1, other]).await;
    nodes.until_ready(&[0, 1, 2]).await;
    for node in [0, 1, 2] {
        for name in ["amy", "ben", "cleo", "dan"] {
            nodes.login(&[node], name).await;
        }
    }
    nodes.kill(survivor).await;
    nodes.register(&[1, other], "eve").await;
    nodes.login(&[other, 1], "eve").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_checked_and_makes_another_cluster() {
    let mut nodes = Nodes::new(2);
    nodes.form(1).await;
    nodes.until_ready(&[0]).await;
    for name in ["amy", "ben"] {
        nodes.register(&[0], name).await;
    }
    let file = nodes.dir().join("library.backup");
    let saved = carrel(["backup", "save", text(&file), "--admin", &nodes.admin_url(0)]).json();
    assert_eq!(saved["accounts"], 2, "{saved}");
    assert!(!nodes.dir().join("library.backup.part").exists());
    assert_eq!(carrel(["backup", "verify", text(&file)]).json(), saved);
    let again = carrel(["backup", "save", text(&file), "--admin", &nodes.admin_url(0)]).misused();
    assert!(again.contains("there already"), "{again}");
    let nobody = carrel(["--timeout", "1", "backup", "save", "x.backup", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(nobody.code(), 3, "nobody is there");

    // Bytes that are wrong, missing, too many, or something else altogether.
    let bytes = fs::read(&file).expect("it was saved");
    let damaged = nodes.dir().join("damaged.backup");
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        fs::write(&damaged, wrong).expect("writable");
        let (reason, message) = carrel(["backup", "verify", text(&damaged)]).refused();
        assert!(reason == "BACKUP_DAMAGED" && message.contains("no whole backup"), "{at}: {message}");
    }
    for length in [0, 1, 35, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..length]).expect("writable");
        assert_eq!(carrel(["backup", "verify", text(&damaged)]).refused().0, "BACKUP_DAMAGED", "{length} bytes");
    }
    fs::write(&damaged, [&bytes[..], b"\n"].concat()).expect("writable");
    assert_eq!(carrel(["backup", "verify", text(&damaged)]).refused().0, "BACKUP_DAMAGED");
    fs::write(&damaged, "the seats of a library\n".repeat(9)).expect("writable");
    let (_, message) = carrel(["backup", "verify", text(&damaged)]).refused();
    assert!(message.contains("it is not a snapshot"), "{message}");
    let (_, message) = carrel(["backup", "verify", "/nowhere/at/all"]).refused();
    assert!(message.contains("/nowhere/at/all"), "{message}");

    let restore = |backup: &Path, mount: &Path| carrel(["restore", "--backup", text(backup), "--dir", text(mount)]);
    let (reason, _) = restore(&damaged, &nodes.mount(1)).refused();
    assert_eq!(reason, "BACKUP_NOT_RESTORED");
    assert!(!nodes.mount(1).join("data/identity.json").exists(), "nothing was begun");
    let (_, message) = restore(&file, &nodes.mount(0)).refused();
    assert!(message.contains("in use"), "{message}");
    let restored =
        carrel(["restore", "--backup", text(&file), "--dir", text(&nodes.mount(1)), "--ordinal", "1"]).json();
    assert_ne!(restored["clusterId"], saved["clusterId"]);
    let (_, message) = restore(&file, &nodes.mount(1)).refused();
    assert!(message.contains("into an empty directory"), "{message}");

    // Both clusters run side by side, with the same past, and have nothing to do with each other.
    nodes.start(1);
    nodes.until_ready(&[1]).await;
    nodes.register(&[1], "cleo").await;
    for name in ["amy", "ben"] {
        nodes.login(&[0], name).await;
        nodes.login(&[1], name).await;
    }
    let new = nodes.status(1).await.expect("it answers").identity.expect("a member");
    assert_eq!(Some(new.cluster_id.as_str()), restored["clusterId"].as_str());
    let incarnation = nodes.status(0).await.expect("it answers").identity.expect("a member").incarnation;
    let stranger = admin::Identity { incarnation, node_id: 77, ordinal: 0, ..new };
    let joined = nodes.admin(0).join(admin::JoinRequest { identity: Some(stranger) }).await;
    assert!(format!("{joined:?}").contains("cannot become"), "{joined:?}");
}

#[test]
fn nonsense_is_told_from_trouble() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let missing = dir.path().join("missing");
    let (reason, message) = survey(&missing).refused();
    assert!(reason == "NOT_RECOVERED" && message.contains("holds no node's data"), "{message}");
    assert!(!missing.exists(), "looking makes nothing");
    fs::create_dir_all(dir.path().join("photos/data")).expect("writable");
    fs::write(dir.path().join("photos/data/cat.jpg"), [1]).expect("writable");
    let (_, message) = recover(&dir.path().join("photos"), "1").refused();
    assert!(message.contains("holds no node's data"), "{message}");
    let mount = text(dir.path());
    for (args, names) in [
        (vec!["recover", "--dir", mount], "--new-lineage"),
        (vec!["recover", "--dir", mount, "--new-lineage", "abc"], "abc"),
        (vec!["recover", "--dir", mount, "--new-lineage", "-1"], "-1"),
        (vec!["recover", "--survey"], "--dir"),
        (vec!["recover", "--dir", mount, "--survey", "--new-lineage", "1"], "--new-lineage"),
        (vec!["restore", "--dir", mount], "--backup"),
        (vec!["restore", "--backup", "x", "--dir", mount, "--voters", "0"], "0"),
        (vec!["restore", "--backup", "x", "--dir", mount, "--cluster-id", "mine"], "mine"),
        (vec!["backup", "verify"], "PLACE"),
        (vec!["backup", "burn", "x"], "burn"),
    ] {
        let told = carrel(&args).misused();
        assert!(told.contains(names), "{args:?}: {told}");
    }
    let (_, message) = carrel(["restore", "--backup", "/nowhere", "--dir", text(&dir.path().join("new"))]).refused();
    assert!(message.contains("/nowhere"), "{message}");
}
