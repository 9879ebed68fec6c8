//! The admin ports: for whoever runs the cluster, without a session.

use std::time::Duration;

use carrel_proto::client::{Client, ClientError, Options};
use clap::Args;

use super::errors::Failure;

/// Where `carrel demo` listens for whoever runs it.
const DEFAULT_URLS: &str = "http://127.0.0.1:7420,http://127.0.0.1:7421,http://127.0.0.1:7422";

/// A joint change may take ten seconds, a snapshot of a large library a minute.
const PATIENT: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(60),
    deadline: Duration::from_secs(60),
};

#[derive(Args, Clone, Debug)]
pub(super) struct Admin {
    /// Admin ports of the nodes; what only the leader does is asked of each in turn
    #[arg(long, env = "CARREL_ADMIN", value_name = "URL,URL", value_delimiter = ',')]
    #[arg(default_value = DEFAULT_URLS, hide_env_values = true)]
    pub(super) admin: Vec<String>,
}

impl Admin {
    /// Any of them.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        client(&self.admin)
    }

    /// Of the one that leads; the last word of the others if there is none.
    pub(super) async fn of_leader<T>(
        &self,
        call: impl AsyncFn(Client) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        let mut last = None;
        for url in &self.admin {
            match call(client([url])?).await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Refused(refusal)) if refusal.reason == "NOT_LEADER" => {
                    last = Some(ClientError::Refused(refusal));
                }
                // A refusal of one that is there says more than the silence of another.
                Err(ClientError::Unreachable(nobody)) => last = last.or(Some(ClientError::Unreachable(nobody))),
                Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
            }
        }
        Err(last.map_or_else(|| Failure::Usage("--admin names no node".into()), Failure::from))
    }
}

fn client<E: AsRef<str>>(urls: impl IntoIterator<Item = E>) -> Result<Client, Failure> {
    Client::new(urls, PATIENT).map_err(|error| Failure::Usage(format!("--admin: {error}")))
}
