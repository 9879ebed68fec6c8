//! What `make figures` measures at length, in short: the commands work, and what they count is right.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::stage::free_port;

/// A bench that must find nothing wrong: otherwise it ends with a failure.
fn bench(dir: &Path, args: &[&str]) -> Value {
    let ran = Command::new(env!("CARGO_BIN_EXE_carrel"))
        .args(["--output", "json", "bench"])
        .args(args)
        .args(["--port", &free_port().to_string(), "--dir"])
        .arg(dir)
        .output()
        .expect("the carrel binary starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "bench {}: {}\n{said}", args.join(" "), ran.status);
    let left = std::fs::read_dir(dir).expect("the directory is there").count();
    assert_eq!(left, 0, "its cluster is taken away");
    serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stdout)))
}

#[test]
fn commands_sent_again_have_their_effect_once_while_leaders_change() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let args = ["once", "--commands", "3000", "--clients", "10", "--leader-changes", "2"];
    let report = bench(dir.path(), &args);
    let effects = &report["effects"];
    let found: u64 = ["bookings", "cancellations", "messages"].iter().filter_map(|kind| effects[kind].as_u64()).sum();
    assert_eq!(found, 3000, "{report}");
    assert!(report["sent"].as_u64() > Some(4500), "a third of them is sent three times or so: {report}");
    assert_eq!((&report["changes"]["killed"], &report["changes"]["moved"]), (&1.into(), &1.into()), "{report}");
}

#[test]
fn gaps_are_measured_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let report = bench(dir.path(), &["failover", "--tries", "1", "--clients", "5"]);
    let blows = report["blows"].as_array().expect("a list of what happened to leaders");
    assert_eq!(blows.len(), 2, "{report}");
    for blow in blows {
        let gap = blow["gaps_ms"][0].as_f64().expect("one try");
        assert!(gap > 0.0 && gap < 30_000.0, "{report}");
    }
    assert!(report["audit"]["acknowledged"].as_u64() > Some(100), "{report}");
}

#[test]
fn a_load_is_measured_in_closed_and_open_loop() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let closed = ["bookings", "--replicas", "1", "--clients", "2,5", "--seconds", "2"];
    let report = bench(dir.path(), &closed);
    for (row, clients) in [2, 5].into_iter().enumerate() {
        let row = &report["rows"][row];
        assert_eq!(row["clients"], clients, "{report}");
        assert!(row["answered"].as_u64() > Some(0), "{report}");
        assert!(row["log"][0]["syncs_per_second"].as_f64() > Some(0.0), "the node counts its syncs: {report}");
    }
    assert_eq!(report["left"]["accounts_left"], 0, "{report}");
    let open = ["searches", "--replicas", "1", "--clients", "10", "--rate", "50", "--seconds", "3"];
    let rate = bench(dir.path(), &open)["rows"][0]["per_second"].as_f64().expect("a rate");
    assert!(rate > 20.0 && rate < 60.0, "50 a second were asked for, {rate} answered");
}
