//! Pods that go.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::ground::Ground;
use crate::library::{Library, PATIENCE, pod_name, with_cluster};
use crate::report::Figure;
use crate::wait::until;
use crate::workload::Workload;

/// Of what is measured more than once.
const TRIES: usize = 5;

pub async fn leader_deleted(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "leader-deleted", 3, async |it| {
        let work = it.clients_work().await?;
        let mut gaps = Vec::new();
        for _ in 0..TRIES {
            let leader = it.leader().await?;
            let from_us = work.now_us();
            it.delete_pod(leader).await?;
            back(it, &work).await?;
            gaps.push(work.longest_gap_since(from_us));
        }
        finish(work, vec![gap("kubectl delete pod of the leader", &gaps, Duration::from_millis(300))]).await
    })
    .await
}

pub async fn follower_deleted(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "follower-deleted", 3, async |it| {
        let work = it.clients_work().await?;
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let follower = it.some_follower(3).await?;
            let from_us = work.now_us();
            it.delete_pod(follower).await?;
            back(it, &work).await?;
            gaps.push(work.longest_gap_since(from_us));
        }
        finish(work, vec![gap("kubectl delete pod of a follower", &gaps, Duration::from_millis(300))]).await
    })
    .await
}

pub async fn leader_killed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "leader-killed", 3, async |it| {
        let work = it.clients_work().await?;
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let leader = it.leader().await?;
            let from_us = work.now_us();
            it.kill_pod(leader).await?;
            back(it, &work).await?;
            gaps.push(work.longest_gap_since(from_us));
        }
        finish(work, vec![gap("the leader killed", &gaps, Duration::from_secs(2))]).await
    })
    .await
}

/// `kill -9`: the container is started again in the same pod, and finds its volume as the node left it.
pub async fn process_killed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "process-killed", 3, async |it| {
        let uids = it.pod_uids(3).await?;
        let work = it.clients_work().await?;
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let leader = pod_name(it.leader().await?);
            let restarts = restarts_of(it.pods().get_opt(&leader).await?.as_ref());
            let from_us = work.now_us();
            it.ground.kill_processes(&it.namespace, &leader).await?;
            let is_again = |pod: Option<&Pod>| restarts_of(pod) > restarts;
            until(&it.pods(), &leader, PATIENCE, "started again", is_again).await?;
            back(it, &work).await?;
            gaps.push(work.longest_gap_since(from_us));
        }
        anyhow::ensure!(it.pod_uids(3).await? == uids, "a pod was made anew for it");
        finish(work, vec![gap("the leader's process killed", &gaps, Duration::from_secs(2))]).await
    })
    .await
}

fn restarts_of(pod: Option<&Pod>) -> i32 {
    let containers = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).sum()
}

pub async fn all_deleted(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "all-deleted", 3, async |it| {
        let ids = it.node_ids().await?;
        let work = it.clients_work().await?;
        let from_us = work.now_us();
        tokio::try_join!(it.kill_pod(0), it.kill_pod(1), it.kill_pod(2))?;
        back(it, &work).await?;
        let gap = work.longest_gap_since(from_us);
        anyhow::ensure!(it.node_ids().await? == ids, "the nodes have other ids than before");
        finish(work, vec![Figure::within("all pods at once, until writes go on", gap, Duration::from_secs(60))]).await
    })
    .await
}

/// One machine after the other, as before maintenance. What the budget is for: a second one at the same time waits.
pub async fn drained(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "drain", 3, async |it| {
        let work = it.clients_work().await?;
        let mut machines = Vec::new();
        for ordinal in 0..3 {
            machines.push(it.machine_of(ordinal).await?);
        }
        machines.sort();
        machines.dedup();
        let mut gaps = Vec::new();
        for machine in &machines {
            let from_us = work.now_us();
            let drained = drain(it, machine, "120s").await;
            let second = machines.iter().find(|other| *other != machine);
            let blocked = match (&drained, second) {
                (Ok(_), Some(second)) => Some((second, drain(it, second, "10s").await)),
                _ => None,
            };
            for machine in &machines {
                it.ground.kubectl(&["uncordon", machine]).await?;
            }
            drained?;
            if let Some((second, outcome)) = blocked {
                anyhow::ensure!(outcome.is_err(), "{second} was drained while {machine} was away");
            }
            back(it, &work).await?;
            gaps.push(work.longest_gap_since(from_us));
        }
        finish(work, vec![gap("a machine drained", &gaps, Duration::from_millis(300))]).await
    })
    .await
}

async fn drain(it: &Library, machine: &str, limit: &str) -> anyhow::Result<String> {
    // Only what belongs to the story: the cluster's own parts stay where they are.
    let timeout = format!("--timeout={limit}");
    let selector = "--pod-selector=carrel.dev/cluster=library";
    it.ground.kubectl(&["drain", machine, "--ignore-daemonsets", "--delete-emptydir-data", selector, &timeout]).await
}

pub async fn back(it: &Library, work: &Workload) -> anyhow::Result<()> {
    it.is_whole(3).await?;
    work.goes_on(50, PATIENCE).await
}

pub fn gap(what: &str, gaps: &[Duration], limit: Duration) -> Figure {
    Figure::median(format!("{what}: longest gap between acknowledged writes"), gaps, limit)
}

pub async fn finish(work: Workload, figures: Vec<Figure>) -> anyhow::Result<Vec<Figure>> {
    let judged = work.end(3).await?;
    let failed = judged.failed.iter().take(3).map(|failed| Figure::seen("a failed call", failed.clone()));
    Ok(figures.into_iter().chain(judged.figures()).chain(failed).collect())
}
