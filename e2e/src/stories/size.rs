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

/// Two more are wanted, and no machine takes them: those there are go on, and after a while it is given up.
pub async fn nowhere_to_go(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, "unschedulable", 3, async |it| {
        it.ask_for(json!({ "progressDeadlineSeconds": 30 })).await?;
        let work = it.clients_work().await?;
        let machines = it.ground.machines().await?;
        let (said, given_up) = it
            .while_cordoned(&machines, async || {
                let began = Instant::now();
                it.scale(5).await?;
                it.is_decided("No machine fits pod library-").await?;
                let said = began.elapsed();
                work.goes_on(50, PATIENCE).await?;
                it.has_condition("Degraded", "True", Some("ScalingFailed")).await?;
                let given_up = began.elapsed();
                let voters = it.cluster().await?.status.and_then(|status| status.quorum).map(|quorum| quorum.voters);
                anyhow::ensure!(voters == Some(3), "{voters:?} vote, where there are three machines' worth");
                work.goes_on(50, PATIENCE).await?;
                Ok((said, given_up))
            })
            .await?;
        // Whoever makes room asks for it anew.
        it.ask_for(json!({ "progressDeadlineSeconds": 900, "replicas": 3 })).await?;
        it.is_whole(3).await?;
        it.scale(5).await?;
        it.is_whole(5).await?;
        work.goes_on(50, PATIENCE).await?;
        let figures = vec![
            Figure::seen("until it says that no machine fits", format!("{:.1} s", said.as_secs_f64())),
            Figure::seen("until it is given up", format!("{:.1} s", given_up.as_secs_f64())),
        ];
        finish(work, figures).await
    })
    .await
}
