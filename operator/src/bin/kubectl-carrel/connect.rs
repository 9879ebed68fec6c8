//! `kubectl carrel connect`: every node's port of clients on this machine, for as long as it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
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
use uuid::Uuid;

use crate::access::Access;
use crate::failure::Failure;
use crate::forward::{Forward, Telling};
use crate::nodes::{authorities, client_secret};
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
/// Where clients come by TLS, it also writes down whom they are to trust, in a file that goes when it does; what it
/// prints is the environment of the carrel command.
///
/// Takes the rights to get, list and watch pods, and to get and create pods/portforward; with TLS, to get the Secret
/// with the certificates of the port of clients.
#[derive(Args, Debug)]
#[command(after_help = "\
In another terminal, after the lines with CARREL_ in them:
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
        let trust = Trust::of(access, &cluster).await?;
        let mut brought = Brought { access, cluster: &cluster, first: self.port, forwards: BTreeMap::new(), trust };
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
    trust: Trust,
}

/// Whom clients are to trust.
enum Trust {
    /// They come without TLS.
    Nobody,
    Written(Authorities),
    /// Nobody here may tell, or the Secret does not.
    Unknown {
        secret: String,
        why: String,
    },
}

impl Trust {
    async fn of(access: &Access, cluster: &CarrelCluster) -> Result<Self, Failure> {
        let Some(secret) = client_secret(cluster) else { return Ok(Self::Nobody) };
        match authorities(access, &secret).await {
            Ok(pem) => Ok(Self::Written(Authorities::write(&pem)?)),
            Err(Failure::Refused(why)) => Ok(Self::Unknown { secret, why }),
            Err(failure) => Err(failure),
        }
    }
}

/// A file with certificates of authorities, there until it is dropped.
struct Authorities(PathBuf);

impl Authorities {
    fn write(pem: &[u8]) -> Result<Self, Failure> {
        // A name that nobody can have taken before: what is trusted is what was written.
        let path = std::env::temp_dir().join(format!("carrel-{}.crt", Uuid::new_v4()));
        let doing = || format!("cannot write {}", path.display());
        let local = |source| Failure::Local { doing: doing(), source };
        let mut file = File::options().write(true).create_new(true).open(&path).map_err(local)?;
        let written = Self(path.clone());
        file.write_all(pem).map_err(local)?;
        Ok(written)
    }
}

impl Drop for Authorities {
    fn drop(&mut self) {
        // Whatever empties that directory finds it otherwise; nothing in it is secret.
        let _ = std::fs::remove_file(&self.0);
    }
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
        let url = |forward: &Forward| match self.trust {
            // What the certificate is valid for.
            Trust::Written(_) | Trust::Unknown { .. } => format!("https://localhost:{}", forward.local.port()),
            Trust::Nobody => format!("http://{}", forward.local),
        };
        let endpoints: Vec<String> = self.forwards.values().map(url).collect();
        let page = endpoints.first().map(|url| format!("{url}/")).unwrap_or_default();
        if self.access.is_json() {
            let authorities = match &self.trust {
                Trust::Written(authorities) => Some(authorities.0.display().to_string()),
                Trust::Nobody | Trust::Unknown { .. } => None,
            };
            return say(&json!({ "endpoints": endpoints, "ca": authorities, "page": page }).to_string());
        }
        let mut text = format!("CARREL_ENDPOINTS={}", endpoints.join(","));
        match &self.trust {
            Trust::Nobody => {}
            Trust::Written(authorities) => text.push_str(&format!("\nCARREL_CA={}", authorities.0.display())),
            Trust::Unknown { secret, why } => text.push_str(&format!(
                "\nCARREL_CA: a file with the authority that signed the certificate in Secret {secret} ({why})"
            )),
        }
        say(&format!("{text}\nThe page: {page}"))
    }
}
