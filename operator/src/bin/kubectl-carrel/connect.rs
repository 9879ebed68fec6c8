//! `kubectl carrel connect`: every node's port of clients on this machine, for as long as it runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use carrel_membership::Ordinal;
use carrel_operator::build::{CLIENT_PORT, CLUSTER_LABEL};
use carrel_operator::crd::CarrelCluster;
use carrel_operator::observe::ordinal;
use carrel_operator::reconcile::brief;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;
use crate::failure::Failure;
use crate::forward::{Forward, Telling};
use crate::nodes::client_secret;
use crate::text::{note, say};

/// Where the `carrel` command looks by itself.
const FIRST_PORT: u16 = 7400;
/// Pods that come together are told of together.
const GATHER: Duration = Duration::from_millis(200);
/// A cluster of seven that is being rebuilt has no more.
const FORWARDS_MAX: usize = 32;

/// Bring every node's port here, and say where
///
/// Ordinal 0 comes to 127.0.0.1:7400, 1 to 7401 and so on, where the carrel command looks by itself; to other ports
/// where these are taken. Pods that are replaced are followed under the same address, new ones are told of. Ends with
/// Ctrl-C.
///
/// Takes the rights to get, list and watch pods, and to get and create pods/portforward.
#[derive(Args, Debug)]
#[command(after_help = "\
In another terminal:
  carrel seats search --branch main --available")]
pub struct Connect {
    /// The cluster, if there are several
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Port of ordinal 0, the others after it; 0 takes any
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

impl Connect {
    pub async fn run(self, access: &Access) -> Result<ExitCode, Failure> {
        let cluster = access.cluster(self.cluster.as_deref()).await?;
        let name = cluster.name_any();
        if access.pods_of(&cluster).await?.is_empty() {
            let why = if cluster.spec.operation.hibernated { "it hibernates" } else { "has the operator seen it?" };
            return Err(Failure::Unreachable(format!("{name} has no pods: {why}")));
        }
        let mut brought = Brought { access, cluster: &cluster, first: self.port, forwards: BTreeMap::new() };
        let which = watcher::Config::default().labels(&format!("{CLUSTER_LABEL}={name}"));
        let mut pods = watcher(access.pods(), which).default_backoff().applied_objects().boxed();
        let (mut terminate, mut interrupt) = (ending(SignalKind::terminate())?, ending(SignalKind::interrupt())?);
        let mut is_new = false;
        loop {
            tokio::select! {
                pod = pods.try_next() => match pod {
                    Ok(Some(pod)) => is_new |= brought.follow(&pod).await?,
                    Ok(None) => return Err(Failure::Unreachable("pods cannot be watched any more".to_owned())),
                    Err(error) => note(&format!("pods cannot be watched: {}", text_of(&error))),
                },
                () = tokio::time::sleep(GATHER), if is_new => {
                    is_new = false;
                    brought.tell()?;
                }
                _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
                _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn ending(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|source| Failure::Local { doing: "cannot wait for Ctrl-C".to_owned(), source })
}

fn text_of(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => brief(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => "the API server gives no versions".to_owned(),
    }
}

struct Brought<'a> {
    access: &'a Access,
    cluster: &'a CarrelCluster,
    first: Option<u16>,
    forwards: BTreeMap<Ordinal, Forward>,
}

impl Brought<'_> {
    /// True if its port was not here before.
    async fn follow(&mut self, pod: &Pod) -> Result<bool, Failure> {
        let Some(at) = ordinal(&self.cluster.name_any(), &pod.name_any()) else { return Ok(false) };
        if self.forwards.contains_key(&at) || self.forwards.len() == FORWARDS_MAX {
            return Ok(false);
        }
        let open = |local: u16| Forward::open(self.access.pods(), pod.name_any(), CLIENT_PORT, local, Telling::Aloud);
        let after = |first: u16| u16::try_from(at.0).ok().and_then(|at| first.checked_add(at)).unwrap_or(0);
        let forward = match self.first {
            Some(0) => open(0).await,
            Some(first) => open(after(first)).await,
            None => match open(after(FIRST_PORT)).await {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => open(0).await,
                opened => opened,
            },
        };
        let forward = forward.map_err(|source| Failure::Local {
            doing: format!("cannot bring {} to this machine", pod.name_any()),
            source,
        })?;
        self.forwards.insert(at, forward);
        Ok(true)
    }

    fn tell(&self) -> Result<(), Failure> {
        let secret = client_secret(self.cluster);
        let url = |forward: &Forward| match secret {
            // What the certificate is valid for.
            Some(_) => format!("https://localhost:{}", forward.local.port()),
            None => format!("http://{}", forward.local),
        };
        let endpoints: Vec<String> = self.forwards.values().map(url).collect();
        let page = endpoints.first().map(|url| format!("{url}/")).unwrap_or_default();
        if self.access.is_json() {
            return say(&json!({ "endpoints": endpoints, "page": page }).to_string());
        }
        let mut text = format!("CARREL_ENDPOINTS={}\nThe page: {page}", endpoints.join(","));
        if let Some(secret) = secret {
            let namespace = &self.access.namespace;
            text.push_str(&format!(
                "\nWhat to trust (CARREL_CA=ca.crt): kubectl -n {namespace} get secret {secret} \
                 -o jsonpath='{{.data.ca\\.crt}}' | base64 -d > ca.crt"
            ));
        }
        say(&text)
    }
}
