//! A snapshot on its way from the leader's disk to a follower's: a header, then the pieces as they lie on the disk, one
//! by one, on a connection of their own.

use std::pin::pin;
use std::time::Duration;

use carrel_proto::peer::v1 as wire;
use futures_util::{Stream, StreamExt};
use openraft::errors::{ErrorSource, ReplicationClosed, StreamingError};
use openraft::raft::SnapshotResponse;
use openraft::{RPCTypes, RaftTypeConfig, Snapshot, StorageError};
use openraft_rt_tokio::TokioRuntime;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::raft::platform::Platform;
use crate::raft::snapshots::{Announced, Receiving, StoredSnapshot};
use crate::raft::transport::convert::{Malformed, SnapshotHeader, SnapshotPart, Wire};
use crate::raft::transport::failure::Failure;
use crate::raft::transport::links::Line;
use crate::raft::transport::{Limits, Served};
use crate::raft::types::{CommittedLeaderId, Member, NodeId, Vote};

/// Pieces handed to the connection and not sent yet: one being sent, one ready.
const PIECES_AHEAD: usize = 1;

/// A sender that is silent for so long has gone, or its way here is cut; another may need the place. A little longer
/// than the sender itself waits for a piece to be taken.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Returns when the peer has installed it. Gives up as soon as `cancel` says so, wherever it is.
pub(super) async fn send<P: Platform<Runtime = TokioRuntime>>(
    line: &Line,
    limits: &Limits,
    vote: Vote,
    snapshot: Snapshot<CommittedLeaderId, NodeId, Member, StoredSnapshot<P>>,
    cancel: impl Future<Output = ReplicationClosed>,
) -> Result<SnapshotResponse<Served>, StreamingError<Served>> {
    let failed = |failure: Failure| failure.for_raft(RPCTypes::InstallSnapshot, line.route());
    let mut cancel = pin!(cancel);
    let announced = Announced { meta: snapshot.meta.clone(), body: snapshot.snapshot.body_sum() };
    let header = SnapshotHeader { vote, announced, offset: 0 };
    let arrived = tokio::select! {
        biased;
        closed = &mut cancel => return Err(closed.into()),
        arrived = arrived_bytes(line, limits, header.clone()) => arrived.map_err(failed)?,
    };
    let (pieces, body) = mpsc::channel(PIECES_AHEAD);
    let mut client = line.client().map_err(failed)?;
    let mut installing = pin!(client.install_snapshot(line.request(ReceiverStream::new(body))));
    let sending = async move {
        let mut chunks = snapshot.snapshot.body();
        let mut next = Some(SnapshotPart::Header(Box::new(SnapshotHeader { offset: arrived, ..header })));
        // Read all the same: each piece is checked by those before it.
        let mut skip_bytes = usize::try_from(arrived).unwrap_or(usize::MAX);
        while let Some(part) = next {
            match tokio::time::timeout(limits.snapshot_chunk, pieces.send(part.to_wire())).await {
                Ok(Ok(())) => {}
                // The call is over; its answer says why.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(failed(Failure::TimedOut(limits.snapshot_chunk)).into()),
            }
            next = loop {
                let chunk = chunks.next().await.transpose().map_err(|error| unreadable(&snapshot, &error))?;
                let Some(mut chunk) = chunk else { break None };
                let skipped = chunk.split_to(skip_bytes.min(chunk.len()));
                skip_bytes -= skipped.len();
                if !chunk.is_empty() {
                    break Some(SnapshotPart::Chunk(chunk));
                }
            };
        }
        Ok::<(), StreamingError<Served>>(())
    };

    let answer = tokio::select! {
        biased;
        closed = &mut cancel => return Err(closed.into()),
        // Before the last piece: the peer has a better leader, or has failed.
        early = &mut installing => early,
        sent = sending => {
            sent?;
            tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                answer = tokio::time::timeout(limits.snapshot_install, installing) => {
                    answer.map_err(|_| failed(Failure::TimedOut(limits.snapshot_install)))?
                }
            }
        }
    };
    let answer = answer.map_err(|status| failed(status.into()))?;
    Ok(SnapshotResponse::from_wire(answer.into_inner()).map_err(|malformed| failed(malformed.into()))?)
}

/// What the peer has of it, from a transfer that broke off.
async fn arrived_bytes(line: &Line, limits: &Limits, header: SnapshotHeader) -> Result<u64, Failure> {
    let mut client = line.client()?;
    let body_bytes = header.announced.body.bytes;
    let asking = client.find_snapshot(line.request(wire::FindSnapshotRequest { header: Some(header.to_wire()) }));
    match tokio::time::timeout(limits.question, asking).await {
        Ok(answer) => match answer?.into_inner().arrived_bytes {
            arrived if arrived <= body_bytes => Ok(arrived),
            _ => Err(Malformed("more of a snapshot than there is").into()),
        },
        Err(_) => Err(Failure::TimedOut(limits.question)),
    }
}

/// A leader that cannot read its own snapshot stops, as for any other part of its disk.
fn unreadable<P: Platform>(
    snapshot: &Snapshot<CommittedLeaderId, NodeId, Member, StoredSnapshot<P>>,
    error: &std::io::Error,
) -> StreamingError<Served> {
    let source = <Served as RaftTypeConfig>::ErrorSource::from_error(error);
    StorageError::read_snapshot(Some(snapshot.meta.signature()), source).into()
}

/// Why a snapshot did not arrive as it was sent.
#[derive(Debug, Error)]
pub(super) enum ReceiveError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the snapshot's sender went away: {0}")]
    Broken(#[from] Box<Status>),
    #[error("the snapshot's sender was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("the snapshot does not keep: {0}")]
    Disk(#[from] std::io::Error),
}

/// The header, which comes first.
pub(super) async fn receive_header(
    parts: &mut (impl Stream<Item = Result<wire::InstallSnapshotRequest, Status>> + Unpin),
) -> Result<SnapshotHeader, ReceiveError> {
    match next(parts).await? {
        Some(SnapshotPart::Header(header)) => Ok(*header),
        Some(SnapshotPart::Chunk(_)) | None => Err(Malformed("a snapshot without a header").into()),
    }
}

/// All of the body, on disk and as the header announced it.
pub(super) async fn receive_body<P: Platform>(
    header: &SnapshotHeader,
    mut receiving: Receiving<P>,
    parts: &mut (impl Stream<Item = Result<wire::InstallSnapshotRequest, Status>> + Unpin),
) -> Result<StoredSnapshot<P>, ReceiveError> {
    let mut outstanding_bytes = header.announced.body.bytes - header.offset;
    while let Some(part) = next(parts).await? {
        let SnapshotPart::Chunk(chunk) = part else {
            return Err(Malformed("a snapshot with a second header").into());
        };
        // Before the disk takes more than was announced.
        outstanding_bytes = u64::try_from(chunk.len())
            .ok()
            .and_then(|bytes| outstanding_bytes.checked_sub(bytes))
            .ok_or(Malformed("a snapshot that is longer than announced"))?;
        receiving.append(chunk).await?;
    }
    Ok(receiving.finish(header.announced.body).await?)
}

async fn next(
    parts: &mut (impl Stream<Item = Result<wire::InstallSnapshotRequest, Status>> + Unpin),
) -> Result<Option<SnapshotPart>, ReceiveError> {
    match tokio::time::timeout(SILENCE_MAX, parts.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(SnapshotPart::from_wire(part)?)),
        Ok(Some(Err(status))) => Err(Box::new(status).into()),
        Ok(None) => Ok(None),
        Err(_) => Err(ReceiveError::Silent),
    }
}
