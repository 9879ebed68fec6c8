//! Real processes on disks that fail: full ones, each a small file system of its own, and one that cannot sync.

use std::fs;
use std::time::{Duration, Instant};

use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use futures_util::{StreamExt, stream};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::processes::{Nodes, fill};
use crate::shim::{self, Control, Count};
use crate::small_disk::SmallDisk;

const FULL: &str = "carrel_raft_disk_full";

/// Messages of 4 KiB, until this many were taken or refused.
async fn write_much(nodes: &Nodes, at: &[usize], session: &carrel_proto::client::Client, count: usize) {
    let sent = stream::iter(0..count).map(|_| async {
        let request = v1::SendMessageRequest {
            request_id: Uuid::new_v4().to_string(),
            recipients: vec!["users/ben".to_owned()],
            text: "m".repeat(4000),
        };
        session.send_message(request).await.unwrap_or_else(|error| panic!("{error:?}\n{}", nodes.log(at[0])));
    });
    sent.buffer_unordered(16).collect::<()>().await;
}

/// Three voters, of which these have small disks. None where nobody may mount.
async fn with_small_disks(small: &[usize]) -> Option<(Nodes, Vec<SmallDisk>)> {
    let mut nodes = Nodes::new(3);
    // Many times what the tests write, log and snapshots together: what fills them is the ballast alone.
    let disks = small.iter().map(|node| SmallDisk::mount(&nodes.mount(*node), 64)).collect::<Option<Vec<_>>>();
    let Some(disks) = disks else {
        println!("not allowed to mount file systems: nothing is tested here");
        return None;
    };
    nodes.with_argument("--log-segment-mib=1");
    nodes.form(3).await;
    nodes.until_ready(&[0, 1, 2]).await;
    nodes.register(&[0, 1, 2], "amy").await;
    nodes.register(&[0, 1, 2], "ben").await;
    Some((nodes, disks))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_full_disk_the_service_goes_on() {
    // Node 0 leads at first, so it is the leader, too, that finds its disk full.
    let Some((mut nodes, disks)) = with_small_disks(&[0]).await else { return };
    let session = nodes.login(&[1, 2], "amy").await;
    fill(&nodes.mount(0));
    write_much(&nodes, &[1, 2], &session, 1500).await;
    nodes.until(0, "it says that its disk is full", async || nodes.metric(0, FULL) == Some(1)).await;
    nodes
        .until(0, "and that clients should go elsewhere", async || {
            nodes.probe(0, "/readyz").is_some_and(|(code, why)| code == 503 && why.contains("disk"))
        })
        .await;
    assert!(nodes.log(0).contains("the disk is full"), "{}", nodes.log(0));
    assert!(nodes.is_running(0) && nodes.metric(1, FULL) == Some(0));
    nodes.register(&[1, 2], "cleo").await;

    fs::remove_file(nodes.mount(0).join("ballast")).expect("it is there");
    nodes.until(0, "it goes on by itself", async || nodes.metric(0, FULL) == Some(0)).await;
    nodes.until_ready(&[0]).await;
    nodes.login(&[0], "cleo").await;
    drop(disks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_full_disks_there_is_a_clear_refusal_until_there_is_room() {
    let Some((mut nodes, disks)) = with_small_disks(&[1, 2]).await else { return };
    let session = nodes.login(&[0], "amy").await;
    write_much(&nodes, &[0], &session, 20).await;
    for node in [1, 2] {
        fill(&nodes.mount(node));
    }
    // Straight to one node, without the client's patience.
    let channel = Endpoint::from_shared(nodes.endpoint(0)).expect("an address").connect_lazy();
    let login = v1::LoginRequest { user_id: "amy".to_owned(), password: "correct horse battery".to_owned() };
    let login = AuthServiceClient::new(channel.clone()).login(login).await.expect("there is room").into_inner();
    let bearer = format!("Bearer {}", login.session_token);
    let send = async || {
        let mut request = tonic::Request::new(v1::SendMessageRequest {
            request_id: Uuid::new_v4().to_string(),
            recipients: vec!["users/ben".to_owned()],
            text: "m".repeat(4000),
        });
        request.metadata_mut().insert("authorization", bearer.parse().expect("a token"));
        let asked = Instant::now();
        let answer = MessageServiceClient::new(channel.clone()).send_message(request).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "nobody is left waiting");
        answer
    };
    let (mut acknowledged, mut refused) = (0, 0);
    while refused < 10 {
        match send().await {
            Ok(_) => acknowledged += 1,
            Err(status) if reason(&status) == "STORAGE_FULL" => {
                assert_eq!(status.code(), Code::Unavailable);
                assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
                refused += 1;
            }
            Err(status) => {
                assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"));
            }
        }
        assert!(acknowledged < 5000, "it is full at last");
    }
    for node in [0, 1, 2] {
        assert!(nodes.is_running(node), "{}", nodes.log(node));
    }
    assert!(nodes.metric(1, FULL) == Some(1) && nodes.metric(2, FULL) == Some(1));
    nodes.until_ready(&[0]).await;

    for node in [1, 2] {
        fs::remove_file(nodes.mount(node).join("ballast")).expect("it is there");
    }
    nodes.until(0, "it goes on by itself", async || send().await.is_ok()).await;
    nodes.until_ready(&[0, 1, 2]).await;
    nodes.register(&[1, 2], "cleo").await;
    drop(disks);
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_process_and_is_never_tried_again() {
    let mut nodes = Nodes::new(1);
    let shim = Control::new(nodes.dir().join("shim"));
    nodes.with_environment("LD_PRELOAD", shim::compile(nodes.dir()).to_str().expect("text"));
    nodes.with_environment("CARREL_CHAOS_CONTROL", shim.path.to_str().expect("text"));
    nodes.form(1).await;
    nodes.until_ready(&[0]).await;
    nodes.register(&[0], "amy").await;

    shim.fail_syncs(1_000);
    let status = nodes.ended(0).await;
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    let log = nodes.log(0);
    // What others still had to say may come after it.
    let why = log.lines().find(|line| line.contains("cannot go on")).unwrap_or_default();
    assert!(why.contains("syncing the log failed"), "{log}");
    // Of the log, and perhaps of the segment that is made ahead.
    assert!(shim.count(Count::SyncsFailed) > 0);
    assert_eq!(shim.count(Count::SyncsAfterFailure), 0, "asked again: {log}");

    shim.fail_syncs(0);
    nodes.start(0);
    nodes.until_ready(&[0]).await;
    nodes.login(&[0], "amy").await;
}
