//! Volumes that are lost: an ordinary event while a majority is left, and a matter for people when none is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pods::{back, finish};
use crate::ground::Ground;
use crate::library::{Library, with_cluster};
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

/// Nothing automatic can be right: what is left may lack what was acknowledged.
pub async fn of_majority(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "majority-lost", 3, async |it| {
        let id = it.cluster().await?.status.and_then(|status| status.cluster_id);
        it.lose_volume(1).await?;
        it.lose_volume(2).await?;
        let began = Instant::now();
        it.has_condition("RecoveryRequired", "True", None).await?;
        let said = began.elapsed();
        let status = it.cluster().await?.status.unwrap_or_default();
        anyhow::ensure!(status.cluster_id == id, "another cluster was founded over what is left");
        let why = status.decision.map(|decision| decision.why).unwrap_or_default();
        Ok(vec![
            Figure::seen("until it says that somebody has to decide", format!("{:.1} s", said.as_secs_f64())),
            Figure::seen("what it says", why),
        ])
    })
    .await
}
