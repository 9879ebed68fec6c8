//! A backup on its way to whoever asked: the file of a snapshot, piece by piece, with sums over each and over all.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carrel_proto::admin::v1 as wire;
use carrel_proto::admin::v1::create_backup_response::{Chunk, Header, Part, Trailer};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::grpc::cluster::{identity, log_id, state_hash};
use crate::live::LiveNode;
use crate::raft::membership::LogPosition;
use crate::raft::platform::Server;
use crate::raft::snapshots::StoredSnapshot;

/// Of a megabyte each, on their way: the reader's network is slower than this node's disk.
const CHUNKS_MAX: usize = 2;
/// For a reader who takes nothing: it holds a file open that is no longer needed.
const SLOW_AFTER: Duration = Duration::from_secs(30);

type Parts = mpsc::Sender<Result<wire::CreateBackupResponse, Status>>;

/// The stream; `place` is free again when it ends. Cut off by a node that goes, it has no trailer.
pub fn begin(
    node: &LiveNode,
    snapshot: StoredSnapshot<Server>,
    place: OwnedSemaphorePermit,
    draining: CancellationToken,
) -> ReceiverStream<Result<wire::CreateBackupResponse, Status>> {
    let (parts, receiver) = mpsc::channel(CHUNKS_MAX);
    let header = Header {
        identity: Some(identity(&node.identity())),
        snapshot: snapshot.position().map(log_id),
        bytes: snapshot.file_bytes(),
        state_hash: snapshot.state_hash().map(state_hash),
    };
    let measured = Arc::clone(node.measured());
    tokio::spawn(async move {
        let _place = place;
        let sent = tokio::select! {
            () = draining.cancelled() => Err(Status::unavailable("this node is shutting down")),
            sent = send_all(header, &snapshot, &parts) => sent,
        };
        match sent {
            Ok(()) => measured.backup_sent(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs())),
            // Whoever read may have gone.
            Err(status) => drop(parts.try_send(Err(status))),
        }
    });
    ReceiverStream::new(receiver)
}

async fn send_all(header: Header, snapshot: &StoredSnapshot<Server>, parts: &Parts) -> Result<(), Status> {
    send(parts, Part::Header(header)).await?;
    let (mut offset, mut sum) = (0, Sha256::new());
    let mut file = snapshot.file();
    while let Some(data) = file.next().await {
        let data = data.map_err(|error| {
            tracing::error!(%error, "a backup was not read to its end");
            Status::data_loss("the snapshot cannot be read on this node; ask another")
        })?;
        sum.update(&data);
        let (crc32c, length) = (crc32c::crc32c(&data), data.len() as u64);
        send(parts, Part::Chunk(Chunk { offset, data: data.into(), crc32c })).await?;
        offset += length;
    }
    send(parts, Part::Trailer(Trailer { bytes: offset, sha256: sum.finalize().to_vec() })).await
}

async fn send(parts: &Parts, part: Part) -> Result<(), Status> {
    match timeout(SLOW_AFTER, parts.send(Ok(wire::CreateBackupResponse { part: Some(part) }))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::cancelled("nobody reads the backup")),
        Err(_) => Err(Status::deadline_exceeded("the backup was read too slowly")),
    }
}

impl StoredSnapshot<Server> {
    fn position(&self) -> Option<LogPosition> {
        self.meta().last_log_id.map(|last| LogPosition { term: last.leader_id.term, index: last.index })
    }
}
