//! `carrel cluster`, as people and programs use it, and as both get it wrong.

use std::process::{Command, Output};

use serde_json::Value;

use crate::nodes::{CARREL, Nodes};

fn carrel(nodes: &Nodes, words: &[&str]) -> Output {
    let mut command = Command::new(CARREL);
    command.arg("cluster").args(words).arg("--config").arg(nodes.dir().join("config"));
    command.args(["--timeout", "20"]);
    let slots = nodes.running();
    let urls = |url: &dyn Fn(usize) -> String| slots.iter().map(|slot| url(*slot)).collect::<Vec<_>>().join(",");
    command.env("CARREL_ENDPOINTS", urls(&|slot| nodes.url(slot)));
    command.env("CARREL_ADMIN", urls(&|slot| nodes.admin_url(slot)));
    command.output().expect("the carrel binary starts")
}

fn said(nodes: &Nodes, words: &[&str]) -> String {
    let output = carrel(nodes, words);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {out}{err}");
    println!("$ carrel cluster {}\n{out}", words.join(" "));
    out.into_owned()
}

fn json(nodes: &Nodes, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    serde_json::from_str(&said(nodes, &words)).expect("an answer is JSON")
}

/// What is complained of, with the exit code.
fn wrong(nodes: &Nodes, code: i32, words: &[&str]) -> String {
    let output = carrel(nodes, words);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}{err}", String::from_utf8_lossy(&output.stdout));
    println!("$ carrel cluster {}\n{err}", words.join(" "));
    err
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_grow_and_shrink_a_cluster_by_hand() {
    let mut nodes = Nodes::new(3);
    nodes.start(0).await;
    nodes.found(1).await;
    nodes.leader().await;
    nodes.start(1).await;
    let waiting = nodes.admin_url(1);

    let added = said(&nodes, &["add", &waiting]);
    assert!(added.contains("ordinal 1, is a learner"), "{added}");
    let id = json(&nodes, &["add", &waiting])["nodeId"].as_str().expect("64 bits are text").to_owned();
    let status = said(&nodes, &["status"]);
    assert!(status.contains("learner") && status.contains("Node 1 leads"), "{status}");
    assert!(said(&nodes, &["voters", "1", &id]).contains(&format!("The voters are 1 and {id} now")));
    let full = said(&nodes, &["status", "--full"]);
    for part in ["MATCHED", "Cluster", "Voters", &format!("1 and {id}"), "committed", "who leads"] {
        assert!(full.contains(part), "{part} in {full}");
    }
    assert_eq!(json(&nodes, &["status", "--full"])["voterSets"][0]["nodeIds"][1].as_str(), Some(id.as_str()));
    assert_eq!(json(&nodes, &["status"])["nodes"][1]["role"], "follower");
    assert!(said(&nodes, &["snapshot"]).contains("STATE"));

    let voter = wrong(&nodes, 1, &["remove", &id]);
    assert!(voter.contains("is a voter; take its vote first") && voter.contains("2 of 2 voters answer"), "{voter}");
    assert!(voter.contains("carrel cluster voters"), "{voter}");
    said(&nodes, &["voters", "1"]);
    assert!(said(&nodes, &["remove", &id]).contains("out for good"));
    let retired = wrong(&nodes, 1, &["add", &waiting]);
    assert!(retired.contains(&format!("this incarnation was node {id}, which was removed")), "{retired}");

    // What is typed wrong.
    assert!(wrong(&nodes, 1, &["voters", "1", "99"]).contains("node 99 is not a member"));
    assert!(wrong(&nodes, 1, &["remove", "99"]).contains("no node 99 was ever given out"));
    assert!(wrong(&nodes, 2, &["remove", "zwei"]).contains("invalid value 'zwei'"));
    assert!(wrong(&nodes, 2, &["voters"]).contains("required"));
    assert!(wrong(&nodes, 2, &["add", "127.0.0.1"]).contains("is not an endpoint"));
    assert!(wrong(&nodes, 2, &["add", "https://127.0.0.1:1"]).contains("name it with --ca FILE"));
    assert!(wrong(&nodes, 3, &["add", "http://127.0.0.1:1"]).contains("http://127.0.0.1:1"));
    let nobody = wrong(&nodes, 3, &["remove", "1", "--admin", "http://127.0.0.1:1"]);
    assert!(nobody.contains("--admin or CARREL_ADMIN"), "{nobody}");
    // One that is gone is passed over.
    let some = format!("http://127.0.0.1:1,{}", nodes.admin_url(0));
    said(&nodes, &["voters", "1", "--admin", &some]);
    assert!(wrong(&nodes, 1, &["transfer", "2"]).contains("carrel login"));
    let told = wrong(&nodes, 1, &["remove", "99", "--output", "json"]);
    let told: Value = serde_json::from_str(told.trim()).expect("a refusal is JSON");
    assert_eq!(told["error"]["reason"], "REFUSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_is_told_what_changes() {
    let nodes = Nodes::formed(3).await;
    let log = nodes.dir().join("watched");
    let mut watching = Command::new(CARREL)
        .args(["cluster", "watch", "--endpoints", &nodes.url(0), "--config"])
        .arg(nodes.dir().join("config"))
        .stdout(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("the carrel binary starts");
    let lines = || std::fs::read_to_string(&log).expect("a file").lines().map(str::to_owned).collect::<Vec<_>>();
    nodes.until("it says how things are", async |_| !lines().is_empty()).await;
    let new = nodes.transfer().await;
    let says = format!("node {} leads", new.leader);
    nodes.until("it says who leads now", async |_| lines().iter().skip(1).any(|line| line.contains(&says))).await;
    watching.kill().expect("it runs");
    watching.wait().expect("it ends");
    println!("{}", lines().join("\n"));
}
