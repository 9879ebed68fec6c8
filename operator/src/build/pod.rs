//! The template of a node's pod.
//!
//! Every byte of it is an interface: a change of it restarts every node of every cluster once. It is held by a golden
//! file, and what an operator renders depends on what is asked for alone, never on who asks.

use serde_json::{Value, json};

use super::{
    ADMIN_PORT, Blueprint, CLIENT_PORT, HEALTH_PORT, PEER_PORT, VOLUME_CLAIM, config_map, digest, recovery_order,
};
use crate::crd::{BackupSource, PullPolicy, Spread};

const CONTAINER: &str = "carrel";
const DATA: &str = "/var/lib/carrel";
/// Where everything else is mounted, each by its name.
const MOUNTS: &str = "/etc/carrel";
const PEERS: &str = "peers";
const CLIENTS: &str = "clients";
const FIRST_ADMIN: &str = "first-admin";
const FIRST_CATALOG: &str = "first-catalog";
const POSTGRES: &str = "postgres";
const MAIL: &str = "mail";
pub(super) const RECOVERY: &str = "recovery";
pub(super) const BACKUP: &str = "backup";

/// Of nobody on the machine: the restricted pod security standard wants a user that is not root.
const USER: u32 = 65532;

/// Seconds for the pod's address to leave the Services before the node stops taking calls.
const LEAVE_SERVICES_SECONDS: u32 = 3;
/// The sleep above, a transfer of leadership (at most 10 s), the drain of calls (5 s), and the log's last sync, with
/// room to spare: a node that is killed loses nothing, it only takes longer to come back.
const GRACE_SECONDS: u32 = 60;

pub(super) fn template(blueprint: &Blueprint<'_>) -> Value {
    let mut template = json!({
        "metadata": {
            "labels": blueprint.labels(),
            // Settings are read once, at the start.
            "annotations": { "carrel.dev/settings": digest(&config_map::settings(blueprint)) },
        },
        "spec": {
            "serviceAccountName": blueprint.name,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "topologySpreadConstraints": [
                spread(blueprint, "kubernetes.io/hostname"),
                spread(blueprint, "topology.kubernetes.io/zone"),
            ],
            "containers": [container(blueprint)],
            "volumes": volumes(blueprint),
        },
    });
    if let Some(overlay) = &blueprint.spec.pod {
        lay_over(&mut template, &Value::Object(overlay.clone()));
    }
    // Whatever was laid over it: these are what the pod is found by.
    lay_over(&mut template, &json!({ "metadata": { "labels": blueprint.labels() } }));
    template
}

fn spread(blueprint: &Blueprint<'_>, topology: &str) -> Value {
    // Machines may be required to differ; zones there may be fewer of than nodes.
    let required = blueprint.spec.spread == Spread::Required && topology == "kubernetes.io/hostname";
    json!({
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": if required { "DoNotSchedule" } else { "ScheduleAnyway" },
        "labelSelector": { "matchLabels": blueprint.selector() },
    })
}

fn container(blueprint: &Blueprint<'_>) -> Value {
    let port = |name: &str, number: u16| json!({ "name": name, "containerPort": number, "protocol": "TCP" });
    let pull = match blueprint.spec.image_pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    json!({
        "name": CONTAINER,
        "image": blueprint.image,
        "imagePullPolicy": pull,
        "command": ["carrel", "start"],
        "env": environment(blueprint),
        "envFrom": [{ "configMapRef": { "name": config_map::name(blueprint) } }],
        "ports": [
            port("clients", CLIENT_PORT),
            port("peers", PEER_PORT),
            port("admin", ADMIN_PORT),
            port("health", HEALTH_PORT),
        ],
        "resources": { "requests": { "cpu": "100m", "memory": "256Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        // Ten minutes to read a large log. None of the probes asks whether there is a leader but the last.
        "startupProbe": probe("/startupz", 5, 120),
        "livenessProbe": probe("/livez", 10, 3),
        "readinessProbe": probe("/readyz", 3, 2),
        "lifecycle": { "preStop": { "sleep": { "seconds": LEAVE_SERVICES_SECONDS } } },
        "volumeMounts": mounts(blueprint),
    })
}

pub(super) fn path_of(mounted: &str) -> String {
    format!("{MOUNTS}/{mounted}")
}

fn environment(blueprint: &Blueprint<'_>) -> Value {
    let mut environment = vec![
        json!({ "name": "CARREL_DIR", "value": DATA }),
        json!({
            "name": "CARREL_ORDINAL",
            "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']" } },
        }),
    ];
    let mut file = |name: &str, mounted: &str, file: &str| {
        let path = path_of(mounted);
        let path = if file.is_empty() { path } else { format!("{path}/{file}") };
        environment.push(json!({ "name": name, "value": path }));
    };
    if blueprint.peers_secret().is_some() {
        file("CARREL_TLS_DIR", PEERS, "");
    }
    if blueprint.clients_secret().is_some() {
        file("CARREL_CLIENT_TLS_DIR", CLIENTS, "");
    }
    if blueprint.spec.first_admin_secret.is_some() {
        file("CARREL_FIRST_ADMIN_FILE", FIRST_ADMIN, "admin");
    }
    if blueprint.spec.first_catalog_config_map.is_some() {
        file("CARREL_FIRST_CATALOG_FILE", FIRST_CATALOG, "catalog.yaml");
    }
    if blueprint.spec.postgres.is_some() {
        file("CARREL_POSTGRES_URL_FILE", POSTGRES, "url");
    }
    if blueprint.spec.mail.is_some() {
        file("CARREL_SMTP_URL_FILE", MAIL, "url");
    }
    file("CARREL_RECOVERY_FILE", RECOVERY, recovery_order::FILE);
    json!(environment)
}

/// Name of the volume, which is also that of its folder, and where it comes from.
fn sources(blueprint: &Blueprint<'_>) -> Vec<(&'static str, Value)> {
    // Readable for the group of the pod alone.
    let secret = |name: String| json!({ "secret": { "secretName": name, "defaultMode": 0o440 } });
    let keys = |name: String| {
        // The files the node knows, whatever else somebody put into the Secret.
        let items: Vec<Value> =
            ["ca.crt", "tls.crt", "tls.key"].iter().map(|file| json!({ "key": file, "path": file })).collect();
        json!({ "secret": { "secretName": name, "defaultMode": 0o440, "items": items } })
    };
    let clients = |name: String| match blueprint.spec.tls.clients_mode {
        crate::crd::TlsMode::Operator => keys(name),
        // ca.crt may be missing there, and an item that is missing keeps the pod from starting.
        crate::crd::TlsMode::Secret | crate::crd::TlsMode::Disabled => secret(name),
    };
    let catalog = |name: &String| json!({ "configMap": { "name": name } });
    let url = |secret: &str, key: &str| {
        let items = json!([{ "key": key, "path": "url" }]);
        json!({ "secret": { "secretName": secret, "defaultMode": 0o440, "items": items } })
    };
    let recovery = match blueprint.order() {
        Some(name) => json!({ "configMap": { "name": name } }),
        // Most clusters never have one; its place is there all the same.
        None => json!({ "configMap": { "name": recovery_order::unordered(blueprint), "optional": true } }),
    };
    let backup =
        |backup: &BackupSource| json!({ "persistentVolumeClaim": { "claimName": backup.claim, "readOnly": true } });
    let spec = blueprint.spec;
    [
        (PEERS, blueprint.peers_secret().map(keys)),
        (CLIENTS, blueprint.clients_secret().map(clients)),
        (FIRST_ADMIN, spec.first_admin_secret.clone().map(secret)),
        (FIRST_CATALOG, spec.first_catalog_config_map.as_ref().map(catalog)),
        (POSTGRES, spec.postgres.as_ref().map(|postgres| url(&postgres.url_secret, &postgres.key))),
        (MAIL, spec.mail.as_ref().map(|mail| url(&mail.url_secret, &mail.key))),
        (RECOVERY, Some(recovery)),
        (BACKUP, blueprint.backup().map(backup)),
    ]
    .into_iter()
    .filter_map(|(name, source)| Some((name, source?)))
    .collect()
}

fn volumes(blueprint: &Blueprint<'_>) -> Value {
    let volume = |(name, mut source): (&str, Value)| {
        source["name"] = json!(name);
        source
    };
    sources(blueprint).into_iter().map(volume).collect()
}

fn mounts(blueprint: &Blueprint<'_>) -> Value {
    let data = json!({ "name": VOLUME_CLAIM, "mountPath": DATA });
    let mount = |(name, _)| json!({ "name": name, "mountPath": path_of(name), "readOnly": true });
    std::iter::once(data).chain(sources(blueprint).into_iter().map(mount)).collect()
}

fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "health" },
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}

/// Objects are merged by key, lists of named things by name; anything else is replaced.
fn lay_over(base: &mut Value, overlay: &Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => {
            for (key, value) in overlay {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(overlay)) if all_named(base) && all_named(overlay) => {
            for value in overlay {
                match base.iter_mut().find(|known| known["name"] == value["name"]) {
                    Some(known) => lay_over(known, value),
                    None => base.push(value.clone()),
                }
            }
        }
        (base, overlay) => *base = overlay.clone(),
    }
}

fn all_named(list: &[Value]) -> bool {
    list.iter().all(|value| value["name"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_what_it_names_and_nothing_else() {
        let mut base =
            json!({ "containers": [{ "name": "a", "image": "x", "env": [{ "name": "E", "value": "1" }] }], "n": 1 });
        let overlay = json!({
            "containers": [{ "name": "a", "env": [{ "name": "F", "value": "2" }] }, { "name": "b" }],
            "tolerations": [{ "key": "k" }],
        });
        lay_over(&mut base, &overlay);
        let env = json!([{ "name": "E", "value": "1" }, { "name": "F", "value": "2" }]);
        let containers = json!([{ "name": "a", "image": "x", "env": env }, { "name": "b" }]);
        assert_eq!(base, json!({ "containers": containers, "n": 1, "tolerations": [{ "key": "k" }] }));
    }
}
