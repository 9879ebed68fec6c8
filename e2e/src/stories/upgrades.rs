//! Other images, other releases, other operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use serde_json::json;

use super::pods::finish;
use crate::ground::Ground;
use crate::library::{Library, PATIENCE, with_cluster};
use crate::report::Figure;

pub async fn roll(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "roll", 3, async |it| {
        let before = it.pod_uids(3).await?;
        let work = it.clients_work().await?;
        let (began, from_us) = (Instant::now(), work.now_us());
        let next = format!("image.tag={}", it.ground.next_tag);
        it.upgrade(&["--set", &next]).await?;
        it.has_condition("UpToDate", "False", None).await?;
        it.has_condition("UpToDate", "True", None).await?;
        it.is_whole(3).await?;
        let took = began.elapsed();
        work.goes_on(50, PATIENCE).await?;
        let gap = work.longest_gap_since(from_us);
        let after = it.pod_uids(3).await?;
        anyhow::ensure!(before.values().zip(after.values()).all(|(a, b)| a != b), "a pod was not made anew");
        let judged = work.end(3).await?;
        let mut figures = vec![
            Figure::at_most("changes of the leader", judged.leader_changes, 2),
            Figure::seen("rolled out", format!("{:.1} s", took.as_secs_f64())),
            Figure::within("longest gap between acknowledged writes", gap, Duration::from_millis(300)),
        ];
        figures.extend(judged.figures());
        Ok(figures)
    })
    .await
}

pub async fn bad_image(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "bad-image", 3, async |it| {
        let before = it.pod_uids(3).await?;
        let work = it.clients_work().await?;
        let began = Instant::now();
        it.ask_for(json!({ "image": "localhost/carrel:does-not-exist" })).await?;
        it.has_condition("Degraded", "True", Some("RolloutFailed")).await?;
        let given_up = began.elapsed();
        let kept = it.pod_uids(3).await?.values().filter(|uid| before.values().any(|old| old == *uid)).count();
        anyhow::ensure!(kept >= 2, "{kept} of three pods were left as they were");
        let began = Instant::now();
        it.ask_for(json!({ "image": format!("localhost/carrel:{}", it.ground.next_tag) })).await?;
        it.has_condition("UpToDate", "True", None).await?;
        it.is_whole(3).await?;
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![
            Figure::seen("given up", format!("{:.1} s", given_up.as_secs_f64())),
            Figure::seen("another image rolled out", format!("{:.1} s", began.elapsed().as_secs_f64())),
        ];
        finish(work, figures).await
    })
    .await
}

/// Whoever scales by hand is not scaled back by the next upgrade.
pub async fn release(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "upgrade", 3, async |it| {
        let work = it.clients_work().await?;
        it.scale(5).await?;
        it.is_whole(5).await?;
        let next = format!("image.tag={}", it.ground.next_tag);
        it.upgrade(&["--set", &next]).await?;
        it.has_condition("UpToDate", "False", None).await?;
        it.has_condition("UpToDate", "True", None).await?;
        it.is_whole(5).await?;
        it.ground.helm(&["rollback", "library", "1", "--namespace", &it.namespace]).await?;
        it.has_condition("UpToDate", "False", None).await?;
        it.has_condition("UpToDate", "True", None).await?;
        it.is_whole(5).await?;
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![Figure::seen("size after upgrade and rollback", "5, as scaled by hand")];
        finish(work, figures).await
    })
    .await
}

pub async fn operator_killed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "operator-killed", 3, async |it| {
        let work = it.clients_work().await?;
        let before = it.pod_uids(3).await?;
        let began = Instant::now();
        it.scale(5).await?;
        it.has_condition("ScaleComplete", "False", None).await?;
        it.kill_operators().await?;
        it.is_whole(5).await?;
        let took = began.elapsed();
        anyhow::ensure!(it.pod_uids(3).await? == before, "a node was restarted for its operator");
        work.goes_on(50, PATIENCE).await?;
        finish(work, vec![Figure::seen("3 to 5 nodes all the same", format!("{:.1} s", took.as_secs_f64()))]).await
    })
    .await
}

/// The first node runs the next image and has to prove it for longer than the story takes; then nobody wants it.
pub async fn mixed(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "mixed", 3, async |it| {
        let work = it.clients_work().await?;
        let next = format!("image.tag={}", it.ground.next_tag);
        it.upgrade(&["--set", &next, "--set", "disruption.provingSeconds=86400"]).await?;
        it.is_decided("the first node on the new template has to be well").await?;
        let began = Instant::now();
        work.goes_on(300, PATIENCE).await?;
        let together = began.elapsed();
        anyhow::ensure!(running(it, &it.ground.next_tag).await? == 1, "not one node alone runs the next image");
        it.ground.helm(&["rollback", "library", "1", "--namespace", &it.namespace]).await?;
        it.has_condition("UpToDate", "True", None).await?;
        it.is_whole(3).await?;
        anyhow::ensure!(running(it, &it.ground.tag).await? == 3, "not every node runs the first image again");
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![Figure::seen("300 writes by both together", format!("{:.1} s", together.as_secs_f64()))];
        finish(work, figures).await
    })
    .await
}

/// Nodes whose pods run an image of this tag.
async fn running(it: &Library, tag: &str) -> anyhow::Result<usize> {
    let image = format!("localhost/carrel:{tag}");
    let pods = it.pods().list(&ListParams::default().labels("carrel.dev/cluster=library")).await?;
    let images = pods.items.iter().filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.as_ref());
    Ok(images.filter(|it| **it == image).count())
}

pub async fn operator_upgraded(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "operator-upgraded", 3, async |it| {
        let before = it.pod_uids(3).await?;
        let work = it.clients_work().await?;
        let from_us = work.now_us();
        let next = format!("operator.image.tag={}", it.ground.next_tag);
        it.upgrade(&["--set", &next]).await?;
        let rollout = ["rollout", "status", "deployment/library-operator", "--timeout=240s"];
        it.ground.kubectl(&[&["-n", &it.namespace][..], &rollout].concat()).await?;
        // The new one has looked: nobody else could do this.
        it.scale(5).await?;
        it.is_whole(5).await?;
        anyhow::ensure!(it.pod_uids(3).await? == before, "a node was restarted for its operator");
        work.goes_on(50, PATIENCE).await?;
        let gap = work.longest_gap_since(from_us);
        finish(work, vec![Figure::seen("longest gap between acknowledged writes", format!("{} ms", gap.as_millis()))])
            .await
    })
    .await
}
