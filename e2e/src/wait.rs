//! Waiting, always for something and never for longer than said. Nothing sleeps: the API server tells.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::Api;
use kube::runtime::wait::{Condition, await_condition};
use serde::de::DeserializeOwned;

/// The object as it was when it was so.
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    limit: Duration,
    what: &str,
    condition: impl Condition<K>,
) -> anyhow::Result<Option<K>>
where
    K: kube::Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    match tokio::time::timeout(limit, await_condition(api.clone(), name, condition)).await {
        Ok(found) => found.with_context(|| format!("waiting for {name}: {what}")),
        Err(_) => Err(anyhow!("{name} is not {what} after {} s", limit.as_secs())),
    }
}
