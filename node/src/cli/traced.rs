//! A command as the beginning of a trace, where the environment says where to send it.

use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::errors::Failure;
use crate::traces::{self, Traces};

/// Does it, and then sends what was recorded of it.
pub(super) async fn traced(command: impl AsyncFnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // Whoever cannot be told of it is no reason not to do it.
    let Ok(Some(traces)) = Traces::begin("carrel-cli", None) else { return command().await };
    let done = if tracing_subscriber::registry().with(traces.layer()).try_init().is_ok() {
        command().instrument(traces::asking(&super::command_name())).await
    } else {
        command().await
    };
    traces.end().await;
    done
}
