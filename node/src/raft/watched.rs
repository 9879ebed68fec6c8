//! The newest value of something that changes, as outsiders see it: without openraft and without a lock in their hands.

use std::fmt;
use std::sync::Mutex;

use openraft::alias::{WatchReceiverOf, WatchSenderOf};
use openraft::async_runtime::{WatchReceiver, WatchSender};
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;

use crate::raft::types::Types;

/// One who sees every change sooner or later, though not each value in between.
pub struct Watched<RT: AsyncRuntime, T: Clone + Send + Sync + 'static> {
    receiver: WatchReceiverOf<Types<RT>, T>,
}

/// Whoever makes the changes.
pub struct Announcer<RT: AsyncRuntime, T: Clone + Send + Sync + 'static> {
    /// Not every runtime's sender may be used from two threads at once.
    sender: Mutex<WatchSenderOf<Types<RT>, T>>,
    /// Kept, because a value is not stored while nobody listens.
    receiver: WatchReceiverOf<Types<RT>, T>,
}

impl<RT: AsyncRuntime, T: Clone + Send + Sync + 'static> Announcer<RT, T> {
    pub fn new(first: T) -> Self {
        let (sender, receiver) = Types::<RT>::watch_channel(first);
        Self { sender: Mutex::new(sender), receiver }
    }

    pub fn announce(&self, value: T) {
        let sender = self.sender.lock().expect("nothing panics while it holds the lock");
        sender.send_if_modified(|current| {
            *current = value;
            true
        });
    }

    pub fn change(&self, change: impl FnOnce(&mut T)) {
        let sender = self.sender.lock().expect("nothing panics while it holds the lock");
        sender.send_if_modified(|current| {
            change(current);
            true
        });
    }

    pub fn get(&self) -> T {
        self.receiver.borrow_watched().clone()
    }

    pub fn watch(&self) -> Watched<RT, T> {
        Watched { receiver: self.receiver.clone() }
    }
}

impl<RT: AsyncRuntime, T: Clone + Send + Sync + 'static> Watched<RT, T> {
    pub fn get(&self) -> T {
        self.receiver.borrow_watched().clone()
    }

    /// Waits for a change since the last call; false if there will be none any more.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }

    /// Waits until the value is as wanted; `None` if it never will be.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool + Send) -> Option<T> {
        loop {
            let value = self.receiver.borrow_and_update().clone();
            if wanted(&value) {
                return Some(value);
            }
            if !self.changed().await {
                return None;
            }
        }
    }
}

impl<RT: AsyncRuntime, T: Clone + Send + Sync + 'static> Clone for Watched<RT, T> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone() }
    }
}

impl<RT: AsyncRuntime, T: Clone + Send + Sync + fmt::Debug + 'static> fmt::Debug for Watched<RT, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.get()).finish()
    }
}

impl<RT: AsyncRuntime, T: Clone + Send + Sync + fmt::Debug + 'static> fmt::Debug for Announcer<RT, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Announcer").field(&self.get()).finish()
    }
}
