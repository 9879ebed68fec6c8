//! What the nodes have around them: keys, a database, and names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::pods::finish;
use crate::ground::Ground;
use crate::jobs::SCHEDULED;
use crate::library::{Library, PATIENCE, with_cluster, with_namespace};
use crate::report::Figure;
use crate::wait::until;

const AUTHORITY: &str = "library-authority";

/// The authority is about to expire: another one follows it, and nobody notices.
pub async fn keys_changed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "certificates", 3, async |it| {
        let uids = it.pod_uids(3).await?;
        let secrets: Api<Secret> = it.api();
        let first = part(&secrets.get(AUTHORITY).await?, "ca.crt").context("there is an authority")?;
        let work = it.clients_work().await?;
        let from_us = work.now_us();
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
        let patch = Patch::Merge(json!({ "data": { "ca.expires": ByteString(soon.to_string().into_bytes()) } }));
        secrets.patch(AUTHORITY, &PatchParams::default(), &patch).await?;
        // Who begins to look after a cluster looks at its keys at once.
        it.kill_operators().await?;
        let began = Instant::now();
        let is_begun = |secret: Option<&Secret>| secret.is_some_and(|secret| part(secret, "next.crt").is_some());
        until(&secrets, AUTHORITY, PATIENCE, "followed by another", is_begun).await?;
        // Nodes read their keys again when the kubelet has written them, which it does once a minute; three times.
        let is_over = |secret: Option<&Secret>| {
            secret.is_some_and(|it| part(it, "next.crt").is_none() && part(it, "ca.crt").is_some_and(|ca| ca != first))
        };
        until(&secrets, AUTHORITY, 3 * PATIENCE, "another", is_over).await?;
        let took = began.elapsed();
        it.is_whole(3).await?;
        work.goes_on(50, PATIENCE).await?;
        anyhow::ensure!(it.pod_uids(3).await? == uids, "a node was restarted for its keys");
        let gap = work.longest_gap_since(from_us);
        let figures = vec![
            Figure::seen("until nobody trusts the old authority any more", format!("{:.0} s", took.as_secs_f64())),
            Figure::seen("longest gap between acknowledged writes", format!("{} ms", gap.as_millis())),
        ];
        finish(work, figures).await
    })
    .await
}

fn part(secret: &Secret, key: &str) -> Option<Vec<u8>> {
    Some(secret.data.as_ref()?.get(key)?.0.clone())
}

/// Nobody who books waits for Postgres, and it is given what it missed.
pub async fn database_killed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "postgres", async |it| {
        it.install(&[&["--set", "postgres.dev.enabled=true"][..], &SCHEDULED].concat()).await?;
        it.is_whole(3).await?;
        let work = it.clients_work().await?;
        it.database_is_ready().await?;
        let record = it.proof("proof-0").await?;
        let from_us = work.now_us();
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        it.pods().delete("library-postgres-0", &at_once).await?;
        work.goes_on(100, PATIENCE).await?;
        it.database_is_ready().await?;
        it.databases(0).await?;
        let began = Instant::now();
        work.goes_on(300, PATIENCE).await?;
        let without = began.elapsed();
        it.databases(1).await?;
        it.database_is_ready().await?;
        let gap = work.longest_gap_since(from_us);
        let began = Instant::now();
        let after = it.proof("proof-1").await?;
        let figures = vec![
            Figure::within("longest gap between acknowledged writes", gap, Duration::from_secs(2)),
            Figure::seen("300 writes without a database", format!("{:.1} s", without.as_secs_f64())),
            Figure::seen("the record, before", record),
            Figure::seen("the record, proven once it was back", after),
            Figure::seen("until that was proven", format!("{:.1} s", began.elapsed().as_secs_f64())),
        ];
        finish(work, figures).await
    })
    .await
}

impl Library {
    /// What `carrel projection verify` says, once rows and state are equal.
    async fn proof(&self, name: &str) -> anyhow::Result<String> {
        // Endpoints are for clients and are not asked here; who shows keys must not name plain ones all the same.
        let command = ["carrel", "projection", "verify", "--endpoints", "https://library-clients:7400"];
        let ran = self.run_beside_backups(name, &command).await?;
        let proof = ran.said.lines().find(|line| line.contains("rows and state are equal"));
        Ok(proof.with_context(|| format!("no proof: {}", ran.said))?.to_owned())
    }

    async fn databases(&self, count: i32) -> anyhow::Result<()> {
        let sets: Api<StatefulSet> = self.api();
        let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
        sets.patch("library-postgres", &PatchParams::default(), &patch).await?;
        let are_there = |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.replicas == count)
        };
        until(&sets, "library-postgres", PATIENCE, "of the wanted size", are_there).await?;
        Ok(())
    }

    async fn database_is_ready(&self) -> anyhow::Result<()> {
        let sets: Api<StatefulSet> = self.api();
        let is_ready = |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(1))
        };
        until(&sets, "library-postgres", PATIENCE, "ready", is_ready).await?;
        Ok(())
    }
}

/// No name is known while it is installed; then they are.
pub async fn names_late(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "names-late", async |it| {
        let names: Api<DaemonSet> = Api::namespaced(it.ground.kube.clone(), "kube-system");
        let elsewhere = |label: serde_json::Value| {
            let selector = json!({ "nodeSelector": { "carrel.dev/nowhere": label } });
            Patch::Merge(json!({ "spec": { "template": { "spec": selector } } }))
        };
        let how = PatchParams::default();
        names.patch("coredns", &how, &elsewhere(json!("yes"))).await?;
        let outcome = nameless(it, &names).await;
        // Whatever became of it: everybody else needs them.
        names.patch("coredns", &how, &elsewhere(serde_json::Value::Null)).await?;
        outcome?;
        let began = Instant::now();
        it.is_whole(3).await?;
        let took = began.elapsed();
        let work = it.clients_work().await?;
        finish(work, vec![Figure::seen("whole, once there were names", format!("{:.1} s", took.as_secs_f64()))]).await
    })
    .await
}

async fn nameless(it: &Library, names: &Api<DaemonSet>) -> anyhow::Result<()> {
    let are_gone = |set: Option<&DaemonSet>| {
        set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.current_number_scheduled == 0)
    };
    until(names, "coredns", PATIENCE, "nowhere", are_gone).await?;
    it.install(&[]).await?;
    it.has_condition("Ready", "False", None).await?;
    // As far as it gets: it asks nodes by the addresses of their pods, and they know each other by name alone.
    it.is_decided("waiting").await
}
