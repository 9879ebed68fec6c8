//! How a node learns that it was taken out: mostly not from its own log, which nobody sends it any more, but from those
//! who refuse its calls for that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;

use crate::raft::leading::peer;
use crate::raft::peers::{PeerError, Transport};
use crate::raft::platform::Platform;
use crate::raft::types::{NodeId, Raft, Types};
use crate::raft::views::Views;
use crate::raft::watched::Announcer;

/// A leader puts an entry into the log at least every second. Whoever has seen none for so long asks why.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a member may take to say no.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);

/// Asks for as long as the node runs, or until it knows.
pub struct RemovalTask<P: Platform, N> {
    pub raft: Raft<P>,
    pub peers: N,
    pub views: Arc<Views<P::Runtime>>,
    pub told: Arc<Announcer<P::Runtime, bool>>,
    pub me: NodeId,
}

impl<P: Platform, N: Transport<P>> RemovalTask<P, N> {
    pub async fn run(self) {
        let mut seen = None;
        loop {
            Types::<P::Runtime>::sleep(SILENCE).await;
            let newest = self.views.newest();
            let applied = newest.applied_index();
            let is_removed =
                newest.cluster.is_retired(self.me) || (applied == seen && self.is_refused_as_removed().await);
            if is_removed {
                tracing::warn!("this node was removed from the cluster; it takes no part any more");
                // What it asks for is refused everywhere; it need not ask.
                self.raft.runtime_config().elect(false);
                self.told.announce(true);
                return;
            }
            seen = applied;
        }
    }

    /// One that says so is enough: it has the entry that says so, and entries are never taken back.
    async fn is_refused_as_removed(&self) -> bool {
        let membership = self.raft.metrics().borrow_watched().membership_config.membership().clone();
        let others = membership.nodes().map(|(id, _)| *id).filter(|id| *id != self.me);
        let asked =
            others.map(|id| Types::<P::Runtime>::timeout(ANSWER_LIMIT, self.peers.read_status(peer(&membership, id))));
        join_all(asked).await.into_iter().any(|answer| matches!(answer, Ok(Err(PeerError::Removed))))
    }
}

impl<P: Platform, N> std::fmt::Debug for RemovalTask<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemovalTask").field("me", &self.me).finish_non_exhaustive()
    }
}
