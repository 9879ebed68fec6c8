//! The day itself: letters to Amy, seats that come and go, a leader that dies, two nodes more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use carrel_proto::v1;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::{watch_inbox_response, watch_seat_map_response};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::recorded::{Day, Frame, Item, Place, Resumed};
use crate::stage::{Demo, PASSWORD, free_port, slot};

/// Letters of each part of the day.
const LETTERS: usize = 12;
/// Where so much of the day has passed, a reader is at the end.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two attempts on a node that is away.
const ELSEWHERE_AFTER: Duration = Duration::from_millis(100);
/// A resumed stream has told all that it has to.
const QUIET: Duration = Duration::from_secs(2);

fn bearing<M>(session: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {session}").parse().expect("a header"));
    request
}

async fn channel(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    Channel::from_shared(endpoint.to_owned()).expect("an address").connect().await
}

async fn inbox(endpoint: &str, session: &str, after: &str) -> Result<Streaming<v1::WatchInboxResponse>, Status> {
    let channel = channel(endpoint).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = bearing(session, v1::WatchInboxRequest { after: after.to_owned() });
    Ok(InboxServiceClient::new(channel).watch_inbox(request).await?.into_inner())
}

async fn map(
    endpoint: &str,
    session: &str,
    branch: &str,
    after: &str,
) -> Result<Streaming<v1::WatchSeatMapResponse>, Status> {
    let channel = channel(endpoint).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let wanted = v1::WatchSeatMapRequest { branch: branch.to_owned(), area: String::new(), after: after.to_owned() };
    Ok(SeatServiceClient::new(channel).watch_seat_map(bearing(session, wanted)).await?.into_inner())
}

/// "users/amy/inboxItems/1207-0"
fn place(item: &v1::InboxItem) -> Place {
    let (index, ordinal) = item.name.rsplit('/').next().and_then(|last| last.split_once('-')).expect("a position");
    (index.parse().expect("a number"), ordinal.parse().expect("a number"))
}

type Shared<T> = Arc<Mutex<Vec<T>>>;

/// Where the nodes are at this time of the day.
type Nodes = Arc<Mutex<Vec<String>>>;

/// Of the node whose turn it is.
fn endpoint(nodes: &Nodes, turn: usize) -> String {
    let nodes = nodes.lock().expect("no panics");
    nodes[turn % nodes.len()].clone()
}

/// Reads the inbox from one node after the other, beginning with this one, each time after what it has seen.
fn read_inbox(nodes: Nodes, session: String, first: usize, seen: Shared<Item>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut node, mut after) = (first, String::new());
        loop {
            let endpoint = endpoint(&nodes, node);
            if let Ok(mut stream) = inbox(&endpoint, &session, &after).await {
                // A node that is gone says nothing, not even a bookmark.
                while let Ok(Ok(Some(response))) = timeout(Duration::from_secs(20), stream.message()).await {
                    after.clone_from(&response.resume_token);
                    if let Some(watch_inbox_response::Event::Item(item)) = response.event {
                        let token = response.resume_token;
                        seen.lock().expect("no panics").push(Item { position: place(&item), text: item.text, token });
                    }
                }
            }
            node += 1;
            tokio::time::sleep(ELSEWHERE_AFTER).await;
        }
    })
}

fn read_map(nodes: Nodes, session: String, branch: String, first: usize, seen: Shared<Frame>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut node, mut after, mut position) = (first, String::new(), 0);
        loop {
            let endpoint = endpoint(&nodes, node);
            if let Ok(mut stream) = map(&endpoint, &session, &branch, &after).await {
                while let Ok(Ok(Some(response))) = timeout(Duration::from_secs(20), stream.message()).await {
                    after = response.resume_token;
                    let (is_snapshot, seats) = match response.event {
                        Some(watch_seat_map_response::Event::Snapshot(all)) => (true, all.seats),
                        Some(watch_seat_map_response::Event::Changes(changes)) => (false, changes.seats),
                        _ => continue,
                    };
                    let taken = seats.into_iter().filter(|seat| !seat.available).map(|seat| seat.name).collect();
                    position += 1;
                    seen.lock().expect("no panics").push(Frame { position, is_snapshot, taken });
                }
            }
            node += 1;
            tokio::time::sleep(ELSEWHERE_AFTER).await;
        }
    })
}

/// Looks at the cluster by one node after the other, each time with the token of the frame before.
fn read_cluster(nodes: Nodes, first: usize, seen: Shared<u64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut node, mut after) = (first, String::new());
        loop {
            let endpoint = endpoint(&nodes, node);
            let request = admin::WatchClusterRequest { after: after.clone() };
            if let Ok(channel) = channel(&endpoint).await
                && let Ok(stream) = ClusterServiceClient::new(channel).watch_cluster(request).await
            {
                let mut stream = stream.into_inner();
                // A few frames, then elsewhere.
                for _ in 0..4 {
                    let Ok(Ok(Some(frame))) = timeout(Duration::from_secs(5), stream.message()).await else { break };
                    after = frame.resume_token;
                    let membership =
                        |status: &admin::GetStatusResponse| status.membership_log_id.map_or(0, |id| id.index);
                    seen.lock().expect("no panics").extend(frame.status.map(|status| membership(&status)));
                }
            }
            node += 1;
            tokio::time::sleep(ELSEWHERE_AFTER).await;
        }
    })
}

/// As the command line keeps it.
fn session_of(dir: &Path, person: &str) -> String {
    let text = std::fs::read(dir.join(format!("config-{person}")).join("session.json")).expect("a session is kept");
    let session: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    session["token"].as_str().expect("the session's token").to_owned()
}

pub fn live() -> Day {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (demo_dir, port) = (dir.path().join("demo"), free_port());
    let demo = Demo::start_at(&demo_dir, port, &[]);
    let seats = demo.free_seats();
    for who in ["amy", "ben"] {
        demo.register(0, who).ok();
        demo.login(0, who, PASSWORD).ok();
    }
    demo.login(0, "admin", &demo.password_of("admin")).ok();
    let (session, admin_session) = (session_of(&demo_dir, "amy"), session_of(&demo_dir, "admin"));
    let (branch, _) = seats[0].split_once("/seats/").expect("a seat's name");
    let branch = branch.to_owned();

    let nodes: Nodes = Arc::new(Mutex::new(demo.endpoints()));
    let inboxes: Vec<Shared<Item>> = (0..4).map(|_| Shared::default()).collect();
    let maps: Vec<Shared<Frame>> = (0..3).map(|_| Shared::default()).collect();
    let clusters: Vec<Shared<u64>> = (0..3).map(|_| Shared::default()).collect();
    let mut readers = Vec::new();
    let enter = runtime.enter();
    for (first, seen) in inboxes.iter().enumerate() {
        readers.push(read_inbox(nodes.clone(), session.clone(), first, seen.clone()));
    }
    for (first, seen) in maps.iter().enumerate() {
        readers.push(read_map(nodes.clone(), admin_session.clone(), branch.clone(), first, seen.clone()));
    }
    for (first, seen) in clusters.iter().enumerate() {
        readers.push(read_cluster(nodes.clone(), first, seen.clone()));
    }
    drop(enter);

    let mut written = Vec::new();
    let mut write = |demo: &Demo, part: &str| {
        for number in 0..LETTERS {
            let text = format!("{part} {number}");
            demo.carrel_on(number % 3, "ben", &["send", "amy", &text]).ok();
            written.push(text);
        }
    };
    write(&demo, "morning");
    let (leader, _) = demo.leader();
    demo.kill(leader);
    write(&demo, "noon");
    demo.restarted(leader);

    // One entry closes three seats from now on.
    let (area_from, area_to) = slot(0, 60);
    let area = {
        let name = demo.carrel("admin", &["seats", "show", &seats[0]]).json();
        name["seat"]["area"].as_str().expect("a seat is in an area").rsplit('/').next().expect("an id").to_owned()
    };
    let short_branch = branch.rsplit('/').next().expect("an id");
    let close = [
        "seats",
        "close",
        "closure",
        "--branch",
        short_branch,
        "--area",
        &area,
        "--from",
        &area_from,
        "--to",
        &area_to,
        "--reason",
        "alarm",
    ];
    demo.carrel("admin", &close).ok();
    let closed: BTreeSet<String> = seats.iter().cloned().collect();

    // The log is let go of, so that whoever comes anew comes by a snapshot.
    for _ in 0..2 {
        write(&demo, "snapshots");
        runtime.block_on(async {
            for replica in 0..3u16 {
                let address = format!("http://127.0.0.1:{}", port + 20 + replica);
                let mut node = ClusterServiceClient::new(channel(&address).await.expect("an admin port"));
                node.trigger_snapshot(admin::TriggerSnapshotRequest {}).await.expect("a snapshot");
            }
        });
    }
    demo.stop();
    let demo = Demo::start_at(&demo_dir, port, &["--replicas", "5"]);
    *nodes.lock().expect("no panics") = demo.endpoints();
    write(&demo, "evening");

    let begun = Instant::now();
    let is_done = || inboxes.iter().all(|inbox| inbox.lock().expect("no panics").len() >= written.len());
    while !is_done() && begun.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(50));
    }
    readers.iter().for_each(JoinHandle::abort);

    let inboxes: Vec<Vec<Item>> = inboxes.iter().map(|inbox| inbox.lock().expect("no panics").clone()).collect();
    let endpoints = demo.endpoints();
    let (resumed, bookmarks, maps_resumed, map_at_the_end) = runtime.block_on(async {
        let mut resumed = Vec::new();
        for (node, endpoint) in endpoints.iter().enumerate() {
            for item in inboxes[0].iter().step_by(inboxes[0].len() / 5 + 1) {
                let rest = inboxes[0].iter().map(|item| item.position).filter(|position| *position > item.position);
                let expected: Vec<Place> = rest.collect();
                let mut got = Vec::new();
                let mut stream = inbox(endpoint, &session, &item.token).await.expect("the token is good on any node");
                while let Ok(Ok(Some(response))) = timeout(QUIET, stream.message()).await {
                    if let Some(watch_inbox_response::Event::Item(item)) = response.event {
                        got.push(place(&item));
                    }
                    if got.len() == expected.len() {
                        break;
                    }
                }
                resumed.push(Resumed { node, after: item.position, got, expected });
            }
        }
        let mut maps_resumed = Vec::new();
        let mut tokens = Vec::new();
        let mut map_at_the_end = BTreeMap::new();
        for (node, endpoint) in endpoints.iter().enumerate() {
            let mut stream = map(endpoint, &admin_session, &branch, "").await.expect("a stream");
            let first = stream.message().await.expect("a stream").expect("everything");
            let Some(watch_seat_map_response::Event::Snapshot(all)) = first.event else { panic!("everything first") };
            let free: BTreeMap<String, bool> = all.seats.into_iter().map(|seat| (seat.name, seat.available)).collect();
            tokens.push(first.resume_token);
            if node == 0 {
                map_at_the_end = free;
            } else {
                maps_resumed.push(free);
            }
        }
        // A token of each node is good at the next one: nothing has changed since.
        for (node, token) in tokens.iter().enumerate() {
            let endpoint = &endpoints[(node + 1) % endpoints.len()];
            assert!(map(endpoint, &admin_session, &branch, token).await.is_ok(), "a token of node {node}");
        }
        let mut bookmarks = Vec::new();
        let last = inboxes[0].last().map(|item| item.token.clone()).unwrap_or_default();
        let begun = Instant::now();
        let mut quiet = inbox(&endpoints[1], &session, &last).await.expect("a stream");
        let sign = timeout(Duration::from_secs(30), quiet.message()).await.expect("a sign").expect("a stream");
        let sign = sign.expect("no end");
        assert!(matches!(sign.event, Some(watch_inbox_response::Event::Bookmark(_))), "{sign:?}");
        assert!(inbox(&endpoints[2], &session, &sign.resume_token).await.is_ok(), "a bookmark is a token");
        bookmarks.push(("an inbox", begun.elapsed()));
        let begun = Instant::now();
        let mut quiet = map(&endpoints[1], &admin_session, &branch, &tokens[0]).await.expect("a stream");
        let sign = timeout(Duration::from_secs(30), quiet.message()).await.expect("a sign").expect("a stream");
        assert!(sign.is_some_and(|sign| !sign.resume_token.is_empty()));
        bookmarks.push(("a map", begun.elapsed()));
        (resumed, bookmarks, maps_resumed, map_at_the_end)
    });
    demo.stop();
    Day {
        written,
        inboxes,
        maps: maps.iter().map(|map| map.lock().expect("no panics").clone()).collect(),
        closed,
        clusters: clusters.iter().map(|cluster| cluster.lock().expect("no panics").clone()).collect(),
        bookmarks,
        resumed,
        maps_resumed,
        map_at_the_end,
    }
}
