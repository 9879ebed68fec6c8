//! What the services need of the replicated state, and nothing else. A replica is one; in tests, a single state is.

use std::future::Future;
use std::time::Duration;

use carrel_domain::reply::Answer;
use carrel_domain::request::Request;

use crate::replica::{Freshness, ReadError, View, WriteError};

pub trait Library: Send + Sync + 'static {
    /// The answer of the log entry that decided the request, for a caller who waits so long and no longer.
    fn write(&self, request: Request, within: Duration) -> impl Future<Output = Result<Answer, WriteError>> + Send;

    /// How many writes this node takes on at once, as things are; or what a write that began now would end in for
    /// certain, before anything is spent on it.
    fn takes_writes(&self) -> Result<usize, WriteError>;

    /// A view that is fresh enough.
    fn read(&self, freshness: Freshness) -> impl Future<Output = Result<View, ReadError>> + Send;

    /// What this node has applied so far.
    fn view(&self) -> View;

    /// The first view that has applied more than `index`; whatever lies between is left out.
    fn view_after(&self, index: u64) -> impl Future<Output = View> + Send;

    /// Which of the cluster's histories this is.
    fn lineage(&self) -> u32;
}
