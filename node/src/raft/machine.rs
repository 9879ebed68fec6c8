//! The replicated state machine: entries in, answers out, and an immutable view of the state after each batch.
//!
//! The view is published before the answers are sent, so whoever has an answer finds its effect on this node. Nothing a
//! client sends can fail here: a refusal is an answer. A body that does not decode stops the node, and only nodes that
//! do not know it: it is from a newer version, or damaged.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use carrel_domain::format::DecodeError;
use carrel_domain::planted::{self, Bug};
use carrel_domain::state::State;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{Instant, OptionalSend};

use crate::raft::measured::Measured;
use crate::raft::platform::Platform;
use crate::raft::replicated::{Decoded, Decoder, Replicated, encode};
use crate::raft::snapshots::{Snapshots, StoredSnapshot};
use crate::raft::types::{Command, LogId, Payload, Response, Snapshot, SnapshotMeta, StoredMembership, Traced, Types};
use crate::raft::views::{Published, Views};
use crate::raft::wal::{Log, Room};
use crate::traces;

/// Answers wait for the view that shows them at most until so many entries are applied: some hundred microseconds,
/// while publishing costs one.
const ENTRIES_PER_VIEW: usize = 64;

pub struct Machine<P: Platform> {
    platform: P,
    log: Log<P>,
    snapshots: Snapshots<P>,
    views: Arc<Views<P::Runtime>>,
    measured: Arc<Measured>,
    state: Replicated,
}

impl<P: Platform> Machine<P> {
    pub fn new(
        platform: P,
        log: Log<P>,
        snapshots: Snapshots<P>,
        views: Arc<Views<P::Runtime>>,
        measured: Arc<Measured>,
    ) -> Self {
        Self { platform, log, snapshots, views, measured, state: Replicated::default() }
    }

    fn publish(&self) {
        self.views.publish(self.state.published());
    }
}

impl<P: Platform> RaftStateMachine<Types<P::Runtime>> for Machine<P> {
    type SnapshotData = StoredSnapshot<P>;
    type SnapshotBuilder = Builder<P>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.state.applied, StoredMembership::clone(&self.state.membership)))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types<P::Runtime>>, io::Error>> + Unpin + OptionalSend,
    {
        let (began, mut applied) = (Types::<P::Runtime>::now(), 0_u64);
        let mut unpublished = 0;
        let mut answers: Vec<(ApplyResponder<Types<P::Runtime>>, Response)> = Vec::new();
        while let Some((entry, responder)) = entries.next().await.transpose()? {
            let trace = entry.payload.trace().map(|parent| (parent, SystemTime::now()));
            let payload = match entry.payload {
                Payload::Normal(command) if planted::has(Bug::AppliedByLocalClock) => {
                    Payload::Normal(Command { at: self.platform.wall_clock_us(), ..command })
                }
                other => other,
            };
            let (response, events) = self.state.apply(entry.log_id, payload)?;
            self.measured.observe(&self.state.library, &events);
            if let Some((parent, began)) = trace {
                traces::record("apply", parent, began, entry.log_id.index);
                self.measured.traced(entry.log_id.index, parent);
            }
            applied += 1;
            unpublished += 1;
            answers.extend(responder.map(|responder| (responder, response)));
            if unpublished == ENTRIES_PER_VIEW {
                unpublished = 0;
                self.publish();
                answers.drain(..).for_each(|(responder, response)| responder.send(response));
            }
        }
        // Of a batch that ended with a view there is nothing newer to show.
        if unpublished > 0 {
            self.publish();
            answers.into_iter().for_each(|(responder, response)| responder.send(response));
        }
        self.measured.applied(applied, began.elapsed());
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<P> {
        Builder { snapshots: self.snapshots.clone(), room: self.log.room(), published: self.state.published() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: StoredSnapshot<P>) -> Result<(), io::Error> {
        // Decoded before it is ours: a snapshot that this version cannot read must not take the place of one it can.
        let received = snapshot.clone();
        let decoded = self.platform.run_storage("snapshot-decoder", decode(received)).await?;
        self.snapshots.install(&snapshot, &self.log).await?;
        self.state = Replicated::of(decoded, meta);
        self.measured.begin_tally(&self.state.library);
        if !planted::has(Bug::SnapshotNotPublished) {
            self.publish();
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<StoredSnapshot<P>>>, io::Error> {
        let latest = self.snapshots.latest().await;
        Ok(latest.map(|snapshot| Snapshot { meta: snapshot.meta().clone(), snapshot }))
    }
}

/// Writes one view to disk, beside everything that is applied meanwhile.
pub struct Builder<P: Platform> {
    snapshots: Snapshots<P>,
    room: Arc<Room<P>>,
    published: Published,
}

impl<P: Platform> RaftSnapshotBuilder<Types<P::Runtime>> for Builder<P> {
    type SnapshotData = StoredSnapshot<P>;

    async fn build_snapshot(&mut self) -> Result<Snapshot<StoredSnapshot<P>>, io::Error> {
        let meta = SnapshotMeta {
            last_log_id: self.published.applied,
            last_membership: if planted::has(Bug::MembershipNotInSnapshot) {
                StoredMembership::default()
            } else {
                StoredMembership::clone(&self.published.membership)
            },
        };
        let mut need = self.room.need();
        loop {
            let body = encode(&self.published.cluster, State::clone(&self.published.library));
            match self.snapshots.write(&meta, body).await {
                Ok(snapshot) => return Ok(Snapshot { meta: snapshot.meta().clone(), snapshot }),
                // An error would stop the node; and it would stop again at its next snapshot.
                Err(error) => need.wait_after(error).await?,
            }
        }
    }
}

/// A stored snapshot, read to its end.
pub async fn decode<P: Platform>(snapshot: StoredSnapshot<P>) -> io::Result<Decoded> {
    let invalid = |error: DecodeError| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot {snapshot:?} cannot be read: {error}"))
    };
    let mut body = snapshot.body();
    let mut decoder = Decoder::default();
    while let Some(chunk) = body.next().await {
        decoder.read(&chunk?).map_err(invalid)?;
    }
    decoder.finish().map_err(invalid)
}

impl<P: Platform> fmt::Debug for Machine<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("applied", &self.state.applied).finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Debug for Builder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("applied", &self.published.applied).finish_non_exhaustive()
    }
}
