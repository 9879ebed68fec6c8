//! The admin ports: for whoever runs the cluster, without a session.

use std::time::Duration;

use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options, Tls};
use clap::Args;
use futures_util::future::join_all;

use super::context::{Context, connect};
use super::errors::Failure;

/// So far behind its client port lies a node's admin port, in a demo as in pods.
const BEHIND_CLIENT_PORT: u16 = 20;

/// To say how it is. One that is gone is not waited for, and the others are asked at the same time.
pub(super) const LOOK: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(2),
    deadline: Duration::from_secs(2),
};

/// A joint change may take ten seconds, a snapshot of a large library a minute.
const PATIENT: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(60),
    deadline: Duration::from_secs(60),
};

#[derive(Args, Clone, Debug)]
pub(super) struct Admin {
    /// Admin ports of the nodes, of which the leader is found [default: port + 20 of every node of --endpoints]
    #[arg(long, env = "CARREL_ADMIN", value_name = "URL,URL", value_delimiter = ',', hide_env_values = true)]
    admin: Vec<String>,
}

impl Admin {
    /// As they were given, or where a demo and pods have them: beside the client ports that `client` knows.
    pub(super) async fn urls(&self, client: &Client) -> Vec<String> {
        if !self.admin.is_empty() {
            return self.admin.clone();
        }
        let mut nodes: Vec<String> = client.endpoints().map(ToString::to_string).collect();
        // Of a cluster of five, --endpoints may name three.
        let status = client.clone().with_options(LOOK).get_status(admin::GetStatusRequest { local: false }).await;
        nodes.extend(status.map(|status| status.nodes).unwrap_or_default().into_iter().map(|node| node.endpoint));
        let mut urls: Vec<_> = nodes.iter().filter_map(|node| admin_url(node)).collect();
        urls.sort();
        urls.dedup();
        urls
    }

    /// Any of them.
    pub(super) async fn client(&self, client: &Client, tls: Option<&Tls>) -> Result<Client, Failure> {
        connect(&self.urls(client).await, PATIENT, tls, "--admin")
    }

    /// This one, of them or beside them, for whatever takes long.
    pub(super) fn of(&self, context: &Context, url: &str) -> Result<Client, Failure> {
        connect([url], PATIENT, context.tls(), "an admin port")
    }

    /// Of the one that leads; the last word of the others if there is none.
    pub(super) async fn of_leader<T>(
        &self,
        context: &Context,
        call: impl AsyncFn(Client) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        let urls = self.urls(&context.anonymous()).await;
        let looked = urls.iter().map(async |url| {
            let client = connect([url], PATIENT, context.tls(), "--admin")?;
            let status = client.clone().with_options(LOOK).get_status(admin::GetStatusRequest { local: true }).await;
            Ok::<_, Failure>((client, status))
        });
        let looked = join_all(looked).await.into_iter().collect::<Result<Vec<_>, Failure>>()?;
        let leads = |status: &admin::GetStatusResponse| {
            status.identity.as_ref().is_some_and(|identity| identity.node_id == status.leader && status.leader != 0)
        };
        let mut last = None;
        let (mut answered, mut silent) = (Vec::new(), None);
        for (client, status) in looked {
            match status {
                Ok(status) => answered.push((leads(&status), client)),
                Err(nobody) => silent = Some(nobody),
            }
        }
        // Several may believe that they lead, and none: whoever is asked knows.
        answered.sort_by_key(|(leads, _)| !leads);
        for (_, client) in answered {
            match call(client).await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Refused(refusal)) if refusal.reason == "NOT_LEADER" => {
                    last = Some(ClientError::Refused(refusal));
                }
                Err(other) => return Err(other.into()),
            }
        }
        // A refusal of one that is there says more than the silence of another.
        let nobody = Failure::Usage("--admin names no node".into());
        let failure = last.or(silent).map_or(nobody, Failure::from);
        Err(failure.advise_if_unreachable("Name the admin ports of this cluster with --admin or CARREL_ADMIN."))
    }
}

fn admin_url(client_url: &str) -> Option<String> {
    let (host, port) = client_url.trim_end_matches('/').rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(format!("{host}:{}", port.checked_add(BEHIND_CLIENT_PORT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_follows_from_a_client_port_that_is_named() {
        assert_eq!(admin_url("http://127.0.0.1:7401/").as_deref(), Some("http://127.0.0.1:7421"));
        assert_eq!(admin_url("https://[::1]:7400").as_deref(), Some("https://[::1]:7420"));
        assert_eq!(admin_url("http://library.example.org"), None);
        assert_eq!(admin_url("http://127.0.0.1:65530"), None);
    }
}
