//! The nodes of a cluster, asked through the API server: by the port of clients, which tells everybody how the cluster
//! stands, or by the admin port, as the operator asks them.

use std::path::Path;
use std::time::Duration;

use carrel_membership::Ordinal;
use carrel_operator::build::{ADMIN_PORT, CLIENT_PORT};
use carrel_operator::certificates::Purpose;
use carrel_operator::crd::{CarrelCluster, TlsMode};
use carrel_operator::observe::ordinal;
use carrel_proto::client::{Client, Options, Tls};
use carrel_steward::{Answers, Doors, Limits};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt};

use crate::access::{Access, within};
use crate::failure::Failure;
use crate::forward::{Forward, Telling};

/// A node that has not said how it is within so long, by way of the API server, is silent.
const LOOK_LIMIT: Duration = Duration::from_secs(6);

/// Which port is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Clients,
    Admin,
}

/// What each node said of itself. Whoever could not be reached was silent.
pub async fn ask(access: &Access, cluster: &CarrelCluster, pods: &[Pod], door: Door) -> Result<Answers, Failure> {
    let name = cluster.name_any();
    let tls = match door {
        Door::Clients => client_tls(access, cluster).await?,
        Door::Admin => admin_tls(access, cluster).await?,
    };
    let port = match door {
        Door::Clients => CLIENT_PORT,
        Door::Admin => ADMIN_PORT,
    };
    let mut forwards = Vec::new();
    let mut clients = Vec::new();
    for pod in pods {
        let pod = pod.name_any();
        let Some(at) = ordinal(&name, &pod) else { continue };
        let forward = Forward::open(access.pods(), pod.clone(), port, 0, Telling::Silent).await;
        let forward =
            forward.map_err(|source| Failure::Local { doing: "cannot listen on 127.0.0.1".to_owned(), source })?;
        let options = Options { connect_timeout: LOOK_LIMIT, attempt_timeout: LOOK_LIMIT, deadline: LOOK_LIMIT };
        let client = match &tls {
            Some(tls) => {
                // The name of the pod, wherever its port is brought to.
                let host = format!("{pod}.{name}-peers.{}.svc", access.namespace);
                Client::secured([format!("https://{}", forward.local)], options, &tls.clone().expecting(host))
            }
            None => Client::new([format!("http://{}", forward.local)], options),
        };
        let client = client.map_err(|error| Failure::Refused(format!("the keys cannot be used: {error}")))?;
        clients.push((at, client));
        forwards.push(forward);
    }
    let answers = Doors::new(clients, Limits { look: LOOK_LIMIT, step: LOOK_LIMIT }).ask().await;
    drop(forwards);
    Ok(answers)
}

/// How many of the pods answered.
pub fn answered(cluster: &CarrelCluster, pods: &[Pod], answers: &Answers) -> usize {
    let name = cluster.name_any();
    let at = |pod: &Pod| ordinal(&name, &pod.name_any());
    pods.iter().filter(|pod| at(pod).is_some_and(|at: Ordinal| answers.of(at).is_some())).count()
}

/// The Secret in which what clients are to trust is found; none without TLS.
pub fn client_secret(cluster: &CarrelCluster) -> Option<String> {
    match cluster.spec.tls.clients_mode {
        TlsMode::Disabled => None,
        TlsMode::Operator => Some(Purpose::Clients.secret(&cluster.name_any())),
        TlsMode::Secret => cluster.spec.tls.clients_secret.clone(),
    }
}

async fn client_tls(access: &Access, cluster: &CarrelCluster) -> Result<Option<Tls>, Failure> {
    let Some(name) = client_secret(cluster) else { return Ok(None) };
    Ok(Some(Tls::trusting(authorities(access, &name).await?)))
}

/// What clients are to trust, by the Secret of this name.
pub async fn authorities(access: &Access, name: &str) -> Result<Vec<u8>, Failure> {
    let secret = secret(access, name).await?;
    text(&secret, name, "ca.crt")
}

async fn admin_tls(access: &Access, cluster: &CarrelCluster) -> Result<Option<Tls>, Failure> {
    match (cluster.spec.tls.mode, &access.globals.tls_dir) {
        (TlsMode::Disabled, _) => Ok(None),
        (_, Some(dir)) => {
            let (authorities, certificate, key) = (read(dir, "ca.crt")?, read(dir, "tls.crt")?, read(dir, "tls.key")?);
            Ok(Some(Tls::trusting(authorities).showing(certificate, key)))
        }
        (TlsMode::Operator, None) => {
            let name = Purpose::Admin.secret(&cluster.name_any());
            let secret = secret(access, &name).await?;
            let part = |key| text(&secret, &name, key);
            Ok(Some(Tls::trusting(part("ca.crt")?).showing(part("tls.crt")?, part("tls.key")?)))
        }
        (TlsMode::Secret, None) => {
            let why = "the keys of this cluster come from elsewhere (tls.mode Secret): where are yours? --tls-dir DIR";
            Err(Failure::Usage(why.to_owned()))
        }
    }
}

async fn secret(access: &Access, name: &str) -> Result<Secret, Failure> {
    let secrets: Api<Secret> = Api::namespaced(access.client.clone(), &access.namespace);
    let found = within(&format!("read Secret {name}, which calling the nodes takes"), secrets.get_opt(name)).await?;
    found.ok_or_else(|| Failure::Refused(format!("Secret {name} is not there yet: has the operator seen the cluster?")))
}

fn text(secret: &Secret, name: &str, key: &str) -> Result<Vec<u8>, Failure> {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    found.map(|bytes| bytes.0.clone()).ok_or_else(|| Failure::Refused(format!("Secret {name} has no {key}")))
}

fn read(dir: &Path, file: &str) -> Result<Vec<u8>, Failure> {
    let path = dir.join(file);
    std::fs::read(&path).map_err(|source| Failure::Local { doing: format!("cannot read {}", path.display()), source })
}
