//! When a snapshot is written and how much of the log goes: on every node, by itself, by the bytes of its log.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use crate::raft::platform::Platform;
use crate::raft::settings::Settings;
use crate::raft::snapshots::Snapshots;
use crate::raft::types::{LogId, Raft, Types};
use crate::raft::wal::Log;

/// Far longer than writing the largest state takes. After it whoever waits is told that it goes on.
const WRITING_LIMIT: Duration = Duration::from_secs(300);

/// For a node that has just begun to say what it has applied.
const BEGINNING_LIMIT: Duration = Duration::from_secs(5);

/// Between two triggers for one that waits: costs nothing beside writing it.
const TRIGGER_AGAIN: Duration = Duration::from_millis(500);

pub struct SnapshotTrigger<P: Platform> {
    pub raft: Raft<P>,
    pub log: Log<P>,
    pub snapshots: Snapshots<P>,
    pub settings: Settings,
}

impl<P: Platform> SnapshotTrigger<P> {
    /// Runs for as long as the node does.
    pub async fn run(self) {
        loop {
            Types::<P::Runtime>::sleep(self.settings.snapshot_check).await;
            if self.is_due().await {
                // One that fails stops the node by itself.
                let _ = write_snapshot(&self.raft, None).await;
            }
            self.purge().await;
        }
    }

    /// Half the last one's size, so that writing snapshots costs at most three times what writing the log costs.
    async fn is_due(&self) -> bool {
        let latest = self.snapshots.latest().await;
        let (through, bytes) = match &latest {
            Some(snapshot) => (snapshot.meta().last_log_id.map(|last| last.index), snapshot.body_sum().bytes),
            None => (None, 0),
        };
        self.log.bytes_after(through) > self.settings.snapshot_log_bytes.max(bytes / 2)
    }

    /// To the snapshot before the last: should the last one turn out damaged, the log leads on from that one.
    async fn purge(&self) {
        let Some(through) = self.snapshots.purgeable_through().await else { return };
        if self.log.reach().purged.is_none_or(|purged| purged.index < through.index) {
            // A node that stops purges another time.
            let _ = self.raft.trigger().purge_log(through.index).await;
        }
    }
}

/// Writes a snapshot of at least what is applied now and of `at_least`, unless there is one; returns what it contains.
/// `None` if it did not come about in time, the node stopped, or there is nothing yet that it could say.
pub async fn write_snapshot<P: Platform>(raft: &Raft<P>, at_least: Option<LogId>) -> Option<LogId> {
    use openraft::async_runtime::WatchReceiver;
    let metrics = raft.metrics();
    // A node that has just begun does not say yet what it has applied; one that has just joined has applied nothing.
    let beginning = raft.wait(Some(BEGINNING_LIMIT));
    let begun = beginning.metrics(|seen| seen.last_applied.is_some(), "something is applied").await;
    let (applied, snapshot) = begun.map(|seen| (seen.last_applied, seen.snapshot)).ok()?;
    let wanted = applied.max(at_least);
    if snapshot >= wanted {
        return snapshot;
    }
    let mut progress = raft.watch_snapshot_progress();
    let written = async {
        loop {
            // One of nothing would be refused by whoever writes it, and stop the node.
            if metrics.borrow_watched().last_applied.is_some() {
                raft.trigger().snapshot().await.ok()?;
            }
            // A trigger is ignored while one is being written, and that one may be of before.
            if let Ok(written) = Types::<P::Runtime>::timeout(TRIGGER_AGAIN, progress.wait_until_ge(&wanted)).await {
                return written.ok()?;
            }
        }
    };
    Types::<P::Runtime>::timeout(WRITING_LIMIT, written).await.ok()?
}

impl<P: Platform> std::fmt::Debug for SnapshotTrigger<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotTrigger").finish_non_exhaustive()
    }
}
