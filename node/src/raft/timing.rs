//! Time as a platform counts it, for those who act on what is replicated and know nothing of how.

use std::future::Future;
use std::time::Duration;

use openraft::Instant;
use openraft::alias::InstantOf;
use openraft::type_config::TypeConfigExt;
pub use openraft_rt::AsyncRuntime as Runtime;

use crate::raft::platform::{Platform, Server};
use crate::raft::types::Types;

/// A place on the platform's monotonic clock.
pub type Moment<RT> = InstantOf<Types<RT>>;

/// That of a server.
pub type ServerRuntime = <Server as Platform>::Runtime;

#[must_use]
pub fn now<RT: Runtime>() -> Moment<RT> {
    Types::<RT>::now()
}

#[must_use]
pub fn since<RT: Runtime>(moment: Moment<RT>) -> Duration {
    moment.elapsed()
}

pub async fn sleep<RT: Runtime>(duration: Duration) {
    Types::<RT>::sleep(duration).await;
}

/// What comes of it, or nothing if it takes longer.
pub async fn within<RT: Runtime, T>(limit: Duration, awaited: impl Future<Output = T> + Send) -> Option<T> {
    Types::<RT>::timeout(limit, awaited).await.ok()
}
