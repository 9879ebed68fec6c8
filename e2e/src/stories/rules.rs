//! What the API server refuses, objects that are not as they were left, and what is done on a schedule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrel_operator::crd;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::pods::finish;
use crate::ground::Ground;
use crate::jobs::SCHEDULED;
use crate::library::{PATIENCE, with_cluster, with_namespace};
use crate::report::Figure;

/// Every rule of both definitions, broken once.
pub async fn refused(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "rules", 1, async |it| {
        let mut told = BTreeSet::new();
        for (spec, words) in [
            (json!({ "replicas": 2 }), "replicas must be 1, 3, 5 or 7"),
            (json!({ "disruption": { "maxConcurrent": 2 } }), "at most what the voters bear"),
            (json!({ "storage": { "size": "much" } }), "size must be a quantity above zero"),
            (json!({ "raft": { "heartbeatMs": 100 } }), "heartbeatMs must be less than half"),
            (json!({ "tls": { "mode": "Secret" } }), "mode Secret needs peersSecret"),
            (json!({ "tls": { "clientsMode": "Secret" } }), "clientsMode Secret needs clientsSecret"),
            (json!({ "tls": { "mode": "Disabled", "clientsMode": "Operator" } }), "clientsMode Operator needs"),
            (json!({ "observability": { "otlpEndpoint": "collector:4317" } }), "otlpEndpoint must begin with"),
            (json!({ "image": null }), "spec.image"),
        ] {
            it.is_refused("refused", spec, words).await?;
            told.insert(words);
        }
        for name in ["1st", "a-name-that-is-longer-than-forty-characters"] {
            let words = "metadata.name names Services";
            it.is_refused(name, json!({}), words).await?;
            told.insert(words);
        }
        for (spec, words) in [
            (json!({ "storage": { "size": "1Mi" } }), "size cannot shrink"),
            (json!({ "storage": { "className": "other" } }), "storage.className cannot change"),
            (json!({ "tls": { "mode": "Disabled" } }), "tls.mode cannot change"),
        ] {
            says(it.ask_for(spec).await, words)?;
            told.insert(words);
        }
        it.ask_for(json!({ "operation": { "hibernated": true } })).await?;
        says(it.scale(3).await, "replicas cannot change while the cluster hibernates")?;
        told.insert("replicas cannot change while the cluster hibernates");
        it.ask_for(json!({ "operation": { "hibernated": false } })).await?;
        for (spec, words) in [
            (json!({ "approve": "another" }), "what was approved stays approved"),
            (json!({ "cluster": "another" }), "a recovery is of one cluster"),
            (json!({ "backup": { "claim": "c", "path": "p" } }), "what a recovery begins with cannot change"),
            (json!({ "backup": { "claim": "c", "path": "/p" } }), "path must be below the claim"),
        ] {
            says(it.change_recovery(spec).await, words)?;
            told.insert(words);
        }
        for message in messages() {
            anyhow::ensure!(told.iter().any(|words| message.contains(words)), "nobody breaks the rule {message:?}");
        }
        Ok(vec![Figure::seen("rules, each of them broken once and said to be", told.len().to_string())])
    })
    .await
}

fn says(outcome: anyhow::Result<()>, words: &str) -> anyhow::Result<()> {
    let said = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
    anyhow::ensure!(said.contains(words), "{said:?} has no word of {words:?}");
    Ok(())
}

/// What the rules of the definitions say to those who break them.
fn messages() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<Value> = crd::definitions()
        .into_iter()
        .map(|(_, definition)| serde_json::to_value(definition).expect("plain data"))
        .collect();
    while let Some(value) = left.pop() {
        let rules = value.get("x-kubernetes-validations").and_then(Value::as_array);
        found.extend(rules.into_iter().flatten().filter_map(|rule| rule["message"].as_str().map(ToOwned::to_owned)));
        match value {
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, value)| value)),
            Value::Array(values) => left.extend(values),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

/// The status is a memory, and the nodes know better.
pub async fn status_erased(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "status-erased", 3, async |it| {
        let before = it.cluster().await?.status.unwrap_or_default();
        let ids = it.node_ids().await?;
        let work = it.clients_work().await?;
        let patch = Patch::Merge(json!({ "status": null }));
        it.clusters().patch_status("library", &PatchParams::default(), &patch).await?;
        it.is_whole(3).await?;
        let after = it.cluster().await?.status.unwrap_or_default();
        anyhow::ensure!(after.cluster_id == before.cluster_id, "another cluster than before");
        anyhow::ensure!(it.node_ids().await? == ids, "the nodes have other ids than before");
        work.goes_on(50, PATIENCE).await?;
        finish(work, vec![Figure::seen("the same cluster, with the same nodes", "yes")]).await
    })
    .await
}

pub async fn namespace_deleted(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "namespace", 3, async |it| {
        it.lose_volume(1).await?;
        it.lose_volume(2).await?;
        let took = it.remove_namespace().await?;
        Ok(vec![Figure::within("until the namespace was gone", took, Duration::from_secs(60))])
    })
    .await
}

pub async fn backup(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "backup", async |it| {
        it.install(&SCHEDULED).await?;
        it.is_whole(3).await?;
        let work = it.clients_work().await?;
        let mut said = String::new();
        for number in 0..3 {
            said = it.save_backup(&format!("now-{number}")).await?.said;
        }
        let size = said.lines().find_map(|line| line.strip_prefix("Size")).unwrap_or_default().trim().to_owned();
        finish(work, vec![Figure::seen("saved under load, and read back", size)]).await
    })
    .await
}
