//! The names under which nodes are found.

use serde_json::{Value, json};

use super::{ADMIN_PORT, Blueprint, CLIENT_PORT, Child, HEALTH_PORT, Kind, PEER_PORT};

/// Gives each pod its name, ready or not: nodes must find each other before they can become ready.
pub(super) fn peers(blueprint: &Blueprint<'_>) -> Child {
    let ports = json!([
        port("clients", CLIENT_PORT, Some(client_protocol(blueprint))),
        port("peers", PEER_PORT, None),
        port("admin", ADMIN_PORT, None),
        port("health", HEALTH_PORT, None),
    ]);
    service(
        blueprint,
        blueprint.peers_service(),
        json!({ "clusterIP": "None", "publishNotReadyAddresses": true }),
        ports,
    )
}

/// Every ready pod's address: what programs dial that spread their calls over the nodes themselves.
pub(super) fn clients(blueprint: &Blueprint<'_>) -> Child {
    let ports = json!([port("clients", CLIENT_PORT, Some(client_protocol(blueprint)))]);
    service(blueprint, format!("{}-clients", blueprint.name), json!({ "clusterIP": "None" }), ports)
}

/// One address for all ready pods.
pub(super) fn any(blueprint: &Blueprint<'_>) -> Child {
    let ports = json!([port("clients", CLIENT_PORT, Some(client_protocol(blueprint)))]);
    service(blueprint, blueprint.name.clone(), json!({ "type": "ClusterIP" }), ports)
}

fn service(blueprint: &Blueprint<'_>, name: String, mut spec: Value, ports: Value) -> Child {
    spec["selector"] = blueprint.selector();
    spec["ports"] = ports;
    let body = json!({ "apiVersion": "v1", "kind": "Service", "metadata": blueprint.metadata(&name), "spec": spec });
    Child { kind: Kind::Service, name, body }
}

fn port(name: &str, number: u16, protocol: Option<&str>) -> Value {
    let mut port = json!({ "name": name, "port": number, "protocol": "TCP", "targetPort": name });
    if let Some(protocol) = protocol {
        port["appProtocol"] = json!(protocol);
    }
    port
}

fn client_protocol(blueprint: &Blueprint<'_>) -> &'static str {
    if blueprint.clients_secret().is_some() { "https" } else { "kubernetes.io/h2c" }
}
