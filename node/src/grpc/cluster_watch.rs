//! The cluster as it changes: a status at once, again when it matters, and often enough that silence means trouble.

use std::time::Duration;

use carrel_proto::admin::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::convert::refusal::slow_consumer;
use crate::grpc::cluster::Cluster;

/// Watchers are promised a frame every two seconds; the rest is for asking the members and for the way.
const FRAME_EVERY: Duration = Duration::from_millis(1_500);
/// Between two looks: as long as it takes to notice that a leader is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Frames on their way to one reader. One that is behind gets the newest ones later.
const FRAMES_MAX: usize = 4;
/// For a reader who takes nothing.
const SLOW_AFTER: Duration = Duration::from_secs(30);

type Frames = mpsc::Sender<Result<wire::WatchClusterResponse, Status>>;

/// The stream; `place` is free again when it ends.
pub fn begin(
    cluster: Cluster,
    place: OwnedSemaphorePermit,
    draining: CancellationToken,
) -> ReceiverStream<Result<wire::WatchClusterResponse, Status>> {
    // One place more, kept for the last word.
    let (frames, receiver) = mpsc::channel(FRAMES_MAX + 1);
    tokio::spawn(async move {
        let _place = place;
        let Ok(last_word) = frames.clone().reserve_owned().await else { return };
        tokio::select! {
            () = draining.cancelled() => {
                let resume_token = cluster.resume_token(None);
                last_word.send(Ok(wire::WatchClusterResponse { status: None, draining: true, resume_token }));
            }
            refused = follow(&cluster, &frames) => if let Some(refused) = refused {
                last_word.send(Err(refused));
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Until nobody reads, or too slowly.
async fn follow(cluster: &Cluster, frames: &Frames) -> Option<Status> {
    let mut told: Option<(Seen, Instant)> = None;
    loop {
        let status = cluster.wire_status().await;
        let resume_token = cluster.resume_token(Some(&status));
        let seen = Seen::of(&status);
        if told.as_ref().is_none_or(|(before, at)| *before != seen || at.elapsed() >= FRAME_EVERY) {
            let frame = wire::WatchClusterResponse { status: Some(status), draining: false, resume_token };
            match timeout(SLOW_AFTER, frames.send(Ok(frame))).await {
                Ok(Ok(())) => told = Some((seen, Instant::now())),
                Ok(Err(_)) => return None,
                Err(_) => return Some(slow_consumer()),
            }
        }
        tokio::select! {
            () = frames.closed() => return None,
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// What is told at once when it changes.
#[derive(Debug, PartialEq)]
struct Seen {
    leader: u64,
    term: u64,
    membership: Option<wire::LogId>,
    is_membership_committed: bool,
    formed: bool,
    /// The node that answers was.
    removed: bool,
    reachable: Vec<(u64, bool)>,
}

impl Seen {
    fn of(status: &wire::GetStatusResponse) -> Self {
        Self {
            leader: status.leader,
            term: status.term,
            membership: status.membership_log_id,
            is_membership_committed: status.membership_committed,
            formed: status.formed,
            removed: status.removed,
            reachable: status.nodes.iter().map(|node| (node.id, node.reachable)).collect(),
        }
    }
}
