//! More nodes, fewer, and none for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::pods::finish;
use crate::ground::Ground;
use crate::library::{PATIENCE, with_cluster};
use crate::report::Figure;

pub async fn up_and_down(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "scale", 3, async |it| {
        let work = it.clients_work().await?;
        let mut figures = Vec::new();
        for (from, to) in [(3, 5), (5, 3)] {
            let (began, from_us) = (Instant::now(), work.now_us());
            it.scale(to).await?;
            it.is_whole(to).await?;
            let took = began.elapsed();
            work.goes_on(50, PATIENCE).await?;
            let gap = work.longest_gap_since(from_us);
            figures.push(Figure::seen(format!("{from} to {to} nodes"), format!("{:.1} s", took.as_secs_f64())));
            figures.push(Figure::within(format!("{from} to {to}: longest gap"), gap, Duration::from_millis(300)));
        }
        finish(work, figures).await
    })
    .await
}

pub async fn one_to_five(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "one-to-five", 1, async |it| {
        let work = it.clients_work().await?;
        let mut figures = Vec::new();
        for to in [3, 5, 3, 1] {
            let began = Instant::now();
            it.scale(to).await?;
            it.is_whole(to).await?;
            work.goes_on(50, PATIENCE).await?;
            figures.push(Figure::seen(format!("to {to} nodes"), format!("{:.1} s", began.elapsed().as_secs_f64())));
        }
        let judged = work.end(1).await?;
        Ok(figures.into_iter().chain(judged.figures()).collect())
    })
    .await
}

pub async fn hibernate(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "hibernate", 3, async |it| {
        let ids = it.node_ids().await?;
        let work = it.clients_work().await?;
        it.ask_for(json!({ "operation": { "hibernated": true } })).await?;
        it.has_condition("Ready", "True", Some("Hibernated")).await?;
        let refused = it.scale(5).await;
        anyhow::ensure!(refused.is_err(), "the size was changed while nobody runs");
        let began = Instant::now();
        it.ask_for(json!({ "operation": { "hibernated": false } })).await?;
        it.is_whole(3).await?;
        work.goes_on(50, PATIENCE).await?;
        let took = began.elapsed();
        anyhow::ensure!(it.node_ids().await? == ids, "the nodes woke with other ids");
        let judged = work.end(3).await?;
        Ok(vec![
            Figure::seen("woken", format!("{:.1} s", took.as_secs_f64())),
            Figure::seen("acknowledged, and there", judged.judgement.acknowledged.to_string()),
        ])
    })
    .await
}
