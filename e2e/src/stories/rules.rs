//! What the API server refuses, objects that are not as they were left, and what is done on a schedule.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::conditions;
use serde_json::json;

use super::pods::finish;
use crate::ground::Ground;
use crate::library::{PATIENCE, with_cluster, with_namespace};
use crate::report::Figure;
use crate::wait::until;

pub async fn refused(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "rules", 1, async |it| {
        let image = "localhost/carrel:1";
        let cases = [
            (json!({ "image": image, "replicas": 2 }), "replicas must be 1, 3, 5 or 7"),
            (json!({ "image": image, "disruption": { "maxConcurrent": 2 } }), "at most what the voters bear"),
            (json!({ "image": image, "storage": { "size": "much" } }), "size must be a quantity above zero"),
            (json!({ "image": image, "raft": { "heartbeatMs": 100 } }), "heartbeatMs must be less than half"),
            (json!({ "image": image, "tls": { "mode": "Secret" } }), "mode Secret needs peersSecret"),
            (json!({ "image": image, "tls": { "clientsMode": "Secret" } }), "clientsMode Secret needs clientsSecret"),
            (
                json!({ "image": image, "tls": { "mode": "Disabled", "clientsMode": "Operator" } }),
                "clientsMode Operator needs mode Operator",
            ),
            (json!({}), "spec.image"),
        ];
        let mut count = 0;
        for (spec, words) in &cases {
            it.is_refused(spec.clone(), words).await?;
            count += 1;
        }
        let changes = [
            (json!({ "storage": { "size": "1Mi" } }), "size cannot shrink"),
            (json!({ "storage": { "className": "other" } }), "className cannot change"),
            (json!({ "tls": { "mode": "Disabled" } }), "tls.mode cannot change"),
        ];
        for (spec, words) in &changes {
            let said = it.ask_for(spec.clone()).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
            anyhow::ensure!(said.contains(words), "{spec}: {said:?} has no word of {words:?}");
            count += 1;
        }
        Ok(vec![Figure::seen("refused with a reason", format!("{count} of {count}"))])
    })
    .await
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

/// As the schedule would, but now.
pub async fn backup(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "backup", async |it| {
        it.install(&["--set", "backup.schedule=0 0 1 1 *", "--set", "backup.keep=2"]).await?;
        it.is_whole(3).await?;
        let work = it.clients_work().await?;
        let jobs: Api<Job> = Api::namespaced(it.ground.kube.clone(), &it.namespace);
        let mut said = String::new();
        for number in 0..3 {
            let name = format!("now-{number}");
            let from = ["create", "job", "--from=cronjob/library-backup", &name];
            it.ground.kubectl(&[&["-n", &it.namespace][..], &from].concat()).await?;
            until(&jobs, &name, PATIENCE, "done", conditions::is_job_completed()).await?;
            let job = format!("job/{name}");
            said = it.ground.kubectl(&["-n", &it.namespace, "logs", &job]).await?;
            anyhow::ensure!(said.contains("whole"), "the backup was not read back: {said}");
        }
        let size = said.lines().find_map(|line| line.strip_prefix("Size")).unwrap_or_default().trim().to_owned();
        finish(work, vec![Figure::seen("saved under load, and read back", size)]).await
    })
    .await
}
