//! Connections to admin ports, kept from one look to the next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use carrel_membership::Ordinal;
use carrel_proto::client::{Client, Options};
use carrel_steward::Doors;

use crate::build::Blueprint;
use crate::certificates::AdminKeys;
use crate::context::Settings;
use crate::observe::SeenPod;

#[derive(Debug, Default)]
pub struct Admins {
    kept: Mutex<BTreeMap<(String, String, Ordinal), Kept>>,
}

#[derive(Debug)]
struct Kept {
    /// The address, and what is shown there: another of either needs another connection.
    to: (String, Option<String>),
    client: Client,
}

impl Admins {
    /// The doors of all pods that have an address.
    pub fn doors(
        &self,
        blueprint: &Blueprint<'_>,
        pods: &BTreeMap<Ordinal, SeenPod>,
        keys: Option<&AdminKeys>,
        settings: &Settings,
    ) -> Doors {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let door = |(at, pod): (&Ordinal, &SeenPod)| {
            let address: IpAddr = pod.address.as_ref()?.parse().ok()?;
            let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            let to = (host, keys.map(|keys| keys.digest.clone()));
            let place = (blueprint.namespace.clone(), blueprint.name.clone(), *at);
            if let Some(known) = kept.get(&place)
                && known.to == to
            {
                return Some((*at, known.client.clone()));
            }
            let client = connect(blueprint, *at, &to.0, keys, settings)?;
            kept.insert(place, Kept { to, client: client.clone() });
            Some((*at, client))
        };
        Doors::new(pods.iter().filter_map(door).collect::<Vec<_>>(), settings.limits)
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, cluster, _), _| at != namespace || cluster != name);
    }
}

/// By address, because a name follows its pod only after a while; the name is what the certificate must be valid for.
fn connect(
    blueprint: &Blueprint<'_>,
    at: Ordinal,
    host: &str,
    keys: Option<&AdminKeys>,
    settings: &Settings,
) -> Option<Client> {
    let port = settings.admin_port;
    let options = Options { connect_timeout: settings.limits.look, ..Options::default() };
    let connected = match keys {
        Some(keys) => {
            let Blueprint { name, namespace, surroundings, .. } = blueprint;
            let service = blueprint.peers_service();
            let dns = format!("{name}-{at}.{service}.{namespace}.svc.{}", surroundings.cluster_domain);
            Client::secured([format!("https://{host}:{port}")], options, &keys.tls.clone().expecting(dns))
        }
        None => Client::new([format!("http://{host}:{port}")], options),
    };
    // Keys that make no sense are seen as silence here, and are told of where they are read.
    connected.inspect_err(|error| tracing::warn!(%host, %error, "cannot call a node")).ok()
}
