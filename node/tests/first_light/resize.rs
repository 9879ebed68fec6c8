//! Another number of replicas on the same directory grows or shrinks the cluster.

use crate::stage::{Demo, PASSWORD, slot};

#[test]
fn one_becomes_three_becomes_five_and_shrinks_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut booked = None;
    for count in ["1", "3", "5", "3"] {
        let demo = Demo::start(dir.path(), &["--replicas", count]);
        let (_, status) = demo.leader();
        let nodes = status["nodes"].as_array().expect("nodes are a list");
        assert_eq!(nodes.len().to_string(), count, "{status}");
        assert!(nodes.iter().all(|node| node["role"] != "learner"), "{status}");
        let booked = booked.get_or_insert_with(|| {
            let seat = demo.free_seats()[0].clone();
            demo.register(0, "amy").ok();
            demo.login(0, "amy", PASSWORD).ok();
            let (from, to) = slot(60, 60);
            demo.carrel("amy", &["reserve", &seat, "--from", &from, "--to", &to]).json()
        });
        for replica in 0..demo.endpoints().len() {
            let mine = demo.carrel_on(replica, "amy", &["reservations"]).json();
            assert_eq!(mine["reservations"][0], booked["reservation"]);
        }
        demo.stop();
    }
}
