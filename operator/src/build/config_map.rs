//! The settings of all nodes, as the environment of `carrel start`. Its flags are described by `carrel start --help`.

use serde_json::{Value, json};

use super::{Blueprint, CLIENT_PORT, Child, Kind, PEER_PORT};

pub(super) fn name(blueprint: &Blueprint<'_>) -> String {
    format!("{}-config", blueprint.name)
}

pub(super) fn config_map(blueprint: &Blueprint<'_>) -> Child {
    let name = name(blueprint);
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": blueprint.metadata(&name),
        "data": settings(blueprint),
    });
    Child { kind: Kind::ConfigMap, name, body }
}

pub(super) fn settings(blueprint: &Blueprint<'_>) -> Value {
    let raft = &blueprint.spec.raft;
    let scheme = |secret: Option<String>| if secret.is_some() { "https" } else { "http" };
    let host = format!(
        "{}-{{ordinal}}.{}.{}.svc.{}",
        blueprint.name,
        blueprint.peers_service(),
        blueprint.namespace,
        blueprint.surroundings.cluster_domain
    );
    let mut settings = json!({
        "CARREL_PEER_URLS": format!("{}://{host}:{PEER_PORT}", scheme(blueprint.peers_secret())),
        "CARREL_CLIENT_URLS": format!("{}://{host}:{CLIENT_PORT}", scheme(blueprint.clients_secret())),
        "CARREL_HEARTBEAT_MS": raft.heartbeat_ms.to_string(),
        "CARREL_ELECTION_MIN_MS": raft.election_min_ms.to_string(),
        "CARREL_ELECTION_MAX_MS": raft.election_max_ms.to_string(),
        "CARREL_SNAPSHOT_LOG_MIB": raft.snapshot_log_mib.to_string(),
        "CARREL_LOG_FORMAT": "json",
    });
    if !blueprint.spec.auth.open_registration {
        // Unsaid where it is as the nodes have it: no node restarts for another operator that could say it.
        settings["CARREL_OPEN_REGISTRATION"] = json!("false");
    }
    if let Some(mail) = &blueprint.spec.mail {
        settings["CARREL_MAIL_FROM"] = json!(mail.from);
    }
    if !blueprint.spec.webhooks.networks.is_empty() {
        settings["CARREL_WEBHOOK_NETWORKS"] = json!(blueprint.spec.webhooks.networks.join(","));
    }
    if let Some(minutes) = blueprint.spec.give_up_minutes {
        settings["CARREL_GIVE_UP_MINUTES"] = json!(minutes.to_string());
    }
    if let Some(endpoint) = &blueprint.spec.observability.otlp_endpoint {
        // The name that every program with such traces knows.
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = json!(endpoint);
    }
    settings
}
