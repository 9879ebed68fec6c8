//! Who may reach which port. Ingress alone: what a node may call is not ours to know (a collector, a database).

use serde_json::{Value, json};

use super::{ADMIN_PORT, Blueprint, CLIENT_PORT, Child, HEALTH_PORT, Kind, PEER_PORT};

pub(super) fn network_policy(blueprint: &Blueprint<'_>) -> Child {
    let network = &blueprint.spec.network;
    let nodes = json!({ "podSelector": { "matchLabels": blueprint.selector() } });
    let operator = json!({
        "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": blueprint.surroundings.operator_namespace },
        },
        "podSelector": { "matchLabels": blueprint.surroundings.operator_labels },
    });
    let mut clients = restricted(&network.clients_from);
    if let Some(clients) = &mut clients {
        // Nodes pass calls on to each other.
        clients.push(nodes.clone());
    }
    let ingress = json!([
        rule(PEER_PORT, Some(vec![nodes])),
        rule(ADMIN_PORT, Some(vec![operator])),
        rule(CLIENT_PORT, clients),
        rule(HEALTH_PORT, restricted(&network.metrics_from)),
    ]);
    let name = blueprint.name.clone();
    let body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": blueprint.metadata(&name),
        "spec": {
            "podSelector": { "matchLabels": blueprint.selector() },
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    });
    Child { kind: Kind::NetworkPolicy, name, body }
}

/// None: everybody.
fn restricted(from: &[impl serde::Serialize]) -> Option<Vec<Value>> {
    let peer = |peer| serde_json::to_value(peer).expect("a peer came as JSON");
    (!from.is_empty()).then(|| from.iter().map(peer).collect())
}

/// An empty list of sources would mean everybody, so that nobody is never said by one.
fn rule(port: u16, from: Option<Vec<Value>>) -> Value {
    let mut rule = json!({ "ports": [{ "port": port, "protocol": "TCP" }] });
    if let Some(from) = from {
        rule["from"] = json!(from);
    }
    rule
}
