//! Volumes that are lost: an ordinary event while a majority is left, and a matter for people when none is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pods::{back, finish};
use crate::crowd::{self, Crowd};
use crate::ground::Ground;
use crate::jobs::{BACKUP, SCHEDULED};
use crate::library::{Library, PATIENCE, with_cluster, with_namespace};
use crate::report::Figure;

pub async fn of_follower(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "volume-lost", 3, async |it| {
        let follower = it.some_follower(3).await?;
        lose(it, follower).await
    })
    .await
}

pub async fn of_leader(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "leaders-volume-lost", 3, async |it| {
        let leader = it.leader().await?;
        lose(it, leader).await
    })
    .await
}

pub async fn of_first(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "first-volume-lost", 3, async |it| lose(it, 0).await).await
}

/// What the new node has to be given is not small.
pub async fn of_follower_of_a_full_library(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "volume-lost-full", async |it| {
        let catalog = crowd::catalog(it)?;
        it.install(&catalog.each_ref().map(String::as_str)).await?;
        it.is_whole(3).await?;
        let nodes = &it.addresses().nodes[..3];
        let began = Instant::now();
        let crowd = Crowd::come(nodes).await?;
        let came = began.elapsed();
        let follower = it.some_follower(3).await?;
        let mut figures = vec![
            Figure::seen("live reservations", crowd::LIVE.to_string()),
            Figure::seen("until they were booked, by calls of 31", format!("{:.1} s", came.as_secs_f64())),
        ];
        figures.extend(lose(it, follower).await?);
        crowd.is_known_to(&nodes[follower as usize]).await?;
        Ok(figures)
    })
    .await
}

async fn lose(it: &Library, ordinal: u32) -> anyhow::Result<Vec<Figure>> {
    let before = it.node_ids().await?;
    let work = it.clients_work().await?;
    let (began, from_us) = (Instant::now(), work.now_us());
    it.lose_volume(ordinal).await?;
    it.is_whole(3).await?;
    let took = began.elapsed();
    back(it, &work).await?;
    let gap = work.longest_gap_since(from_us);
    let after = it.node_ids().await?;
    for (at, id) in &after {
        let is_kept = before.get(at) == Some(id);
        anyhow::ensure!(is_kept == (*at != ordinal), "ids were {before:?}, and are {after:?}");
    }
    anyhow::ensure!(!before.values().any(|id| after.get(&ordinal) == Some(id)), "an old id is used again: {after:?}");
    let figures = vec![
        Figure::within("a lost volume, back to full redundancy", took, Duration::from_secs(60)),
        Figure::within("longest gap between acknowledged writes", gap, Duration::from_secs(2)),
    ];
    finish(work, figures).await
}

/// Nothing automatic can be right: what is left may lack what was acknowledged. So it says what is left and waits, and
/// does what somebody has approved.
pub async fn of_majority(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "majority-lost", 3, async |it| {
        let before = it.cluster().await?.status.unwrap_or_default();
        let judged = it.clients_work().await?.end(3).await?;
        let began = Instant::now();
        it.lose_volumes(&[1, 2]).await?;
        it.has_condition("RecoveryRequired", "True", Some("QuorumLost")).await?;
        let said = began.elapsed();
        let status = it.cluster().await?.status.unwrap_or_default();
        anyhow::ensure!(status.cluster_id == before.cluster_id, "another cluster was founded over what is left");
        anyhow::ensure!(status.lineage == before.lineage, "another lineage was begun that nobody has asked for");
        let found = it.survey(None).await?;
        let chosen = found.status.as_ref().and_then(|status| status.chosen);
        anyhow::ensure!(chosen == Some(0), "ordinal {chosen:?} was chosen, and 0 alone has anything");
        let approved = Instant::now();
        it.approve(&found).await?;
        it.is_whole(3).await?;
        let whole = approved.elapsed();
        let after = it.cluster().await?.status.unwrap_or_default();
        anyhow::ensure!(after.cluster_id == before.cluster_id, "another cluster goes on than was approved");
        anyhow::ensure!(after.lineage > before.lineage, "the lineage is the one that lost its majority");
        let kept = judged.books.still_stand(&it.addresses().nodes[..3]).await?;
        let work = it.clients_work().await?;
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![
            Figure::seen("until it says that somebody has to decide", format!("{:.1} s", said.as_secs_f64())),
            Figure::seen("from the approval to three whole nodes", format!("{:.1} s", whole.as_secs_f64())),
            Figure::seen("reservations there on every node, as before", kept.to_string()),
        ];
        finish(work, figures).await
    })
    .await
}

/// What was acknowledged after the backup is gone with the volumes; what was in it is there again.
pub async fn of_all(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "restored", async |it| {
        it.install(&SCHEDULED).await?;
        it.is_whole(3).await?;
        let before = it.cluster().await?.status.unwrap_or_default();
        let judged = it.clients_work().await?.end(3).await?;
        let backup = it.save_backup("before-the-loss").await?;
        // A volume of one machine is in reach of that machine alone: the node that reads the backup has to be there.
        let others: Vec<String> = it.ground.machines().await?.into_iter().filter(|it| *it != backup.machine).collect();
        let began = Instant::now();
        it.while_cordoned(&others, async || {
            it.lose_volumes(&[0, 1, 2]).await?;
            it.has_condition("RecoveryRequired", "True", Some("EveryVolumeLost")).await?;
            let status = it.cluster().await?.status.unwrap_or_default();
            anyhow::ensure!(status.cluster_id == before.cluster_id, "another cluster was founded on empty volumes");
            let path = format!("{}.backup", backup.pod);
            let found = it.survey(Some((BACKUP, &path))).await?;
            it.approve(&found).await?;
            it.is_whole(3).await
        })
        .await?;
        let took = began.elapsed();
        let after = it.cluster().await?.status.unwrap_or_default();
        anyhow::ensure!(after.cluster_id != before.cluster_id, "the old cluster is said to go on, which it cannot");
        let kept = judged.books.still_stand(&it.addresses().nodes[..3]).await?;
        let work = it.clients_work().await?;
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![
            Figure::seen("from the loss to three whole nodes", format!("{:.1} s", took.as_secs_f64())),
            Figure::seen("reservations there on every node, as in the backup", kept.to_string()),
        ];
        finish(work, figures).await
    })
    .await
}

/// One that was left over lies where a new node is to have its own.
pub async fn of_another(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "stale-volume", 1, async |it| {
        let volume = it.left_over_volume().await?;
        let work = it.clients_work().await?;
        it.claim_volume("data-library-2", &volume).await?;
        it.scale(3).await?;
        it.has_condition("LineageConsistent", "False", Some("ForeignVolume")).await?;
        work.goes_on(100, PATIENCE).await?;
        let status = it.cluster().await?.status.unwrap_or_default();
        let why = status.decision.map(|decision| decision.why).unwrap_or_default();
        // The very words of what it says.
        for command in ["kubectl delete pvc data-library-2 --wait=false", "kubectl delete pod library-2"] {
            anyhow::ensure!(why.contains(command), "{why:?} has no word of {command:?}");
            let words = ["-n", &it.namespace].into_iter().chain(command.split(' ').skip(1));
            it.ground.kubectl(&words.collect::<Vec<_>>()).await?;
        }
        it.is_whole(3).await?;
        work.goes_on(50, PATIENCE).await?;
        it.forget_volume(&volume).await?;
        finish(work, vec![Figure::seen("what it says of the volume", why)]).await
    })
    .await
}
