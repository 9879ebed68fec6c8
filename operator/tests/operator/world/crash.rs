//! Where an operator dies: as soon as its n-th request that changed anything has taken effect, and before it is told.
//!
//! That is every moment there is: a new operator remembers nothing, so dying anywhere between two effects comes to the
//! same as dying right after the first of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Clone, Default)]
pub struct Crash {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    effects: AtomicU64,
    /// 0: never.
    at: AtomicU64,
    died: Notify,
}

impl Crash {
    /// At the n-th effect from now on, counted from 1.
    pub fn arm(&self, effect: u64) {
        self.inner.effects.store(0, Ordering::SeqCst);
        self.inner.at.store(effect, Ordering::SeqCst);
    }

    /// Until the operator has died.
    pub async fn died(&self) {
        self.inner.died.notified().await;
    }

    /// A request has changed something. Never returns to an operator that is to die of it.
    pub async fn took_effect(&self) {
        let effect = self.inner.effects.fetch_add(1, Ordering::SeqCst) + 1;
        if self.inner.at.load(Ordering::SeqCst) == effect {
            self.inner.at.store(0, Ordering::SeqCst);
            self.inner.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
