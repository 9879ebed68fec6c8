//! What was applied, as everybody else sees it: immutable, replaced as a whole, read without waiting for anything.

use std::sync::Arc;

use arc_swap::ArcSwap;
use openraft_rt::AsyncRuntime;

use crate::raft::cluster::ClusterRecord;
use crate::raft::types::{LogId, StoredMembership};
use crate::raft::watched::{Announcer, Watched};
use crate::replica::View;

/// The state after one entry, and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub library: View,
    pub cluster: Arc<ClusterRecord>,
    /// The entry; also those that the library does not see.
    pub applied: Option<LogId>,
    pub membership: Arc<StoredMembership>,
}

/// Where the state machine puts what it has applied.
pub struct Views<RT: AsyncRuntime> {
    newest: ArcSwap<Published>,
    applied: Announcer<RT, Option<u64>>,
}

impl<RT: AsyncRuntime> Default for Views<RT> {
    fn default() -> Self {
        Self { newest: ArcSwap::default(), applied: Announcer::new(None) }
    }
}

impl<RT: AsyncRuntime> Views<RT> {
    /// The view first, then the news of it: whoever hears of an index finds it.
    pub fn publish(&self, published: Published) {
        let index = published.applied_index();
        self.newest.store(Arc::new(published));
        self.applied.announce(index);
    }

    pub fn newest(&self) -> Arc<Published> {
        self.newest.load_full()
    }

    /// The index of the newest, whenever there is a newer one.
    pub fn applied(&self) -> Watched<RT, Option<u64>> {
        self.applied.watch()
    }

    /// The first view there is that has applied `index`; waits without limit. `None` if the node stops before.
    pub async fn at_least(&self, index: u64) -> Option<Arc<Published>> {
        let newest = self.newest();
        if newest.applied_index() >= Some(index) {
            return Some(newest);
        }
        self.applied().wait_for(|applied| *applied >= Some(index)).await?;
        Some(self.newest())
    }
}

impl Published {
    pub fn applied_index(&self) -> Option<u64> {
        self.applied.map(|log_id| log_id.index)
    }
}

impl<RT: AsyncRuntime> std::fmt::Debug for Views<RT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("applied", &self.applied).finish_non_exhaustive()
    }
}
