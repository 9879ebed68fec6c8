//! Machines that go, as only localkube can make them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pods::{back, finish, gap};
use crate::ground::Ground;
use crate::library::{PATIENCE, with_cluster};
use crate::report::Figure;

pub async fn power_loss(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    away(ground, "power-loss", "stop", "start", "power lost under the leader").await
}

pub async fn partition(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    away(ground, "partition", "cut", "join", "the leader cut off").await
}

async fn away(
    ground: Arc<Ground>,
    name: &'static str,
    take: &'static str,
    give: &'static str,
    what: &'static str,
) -> anyhow::Result<Vec<Figure>> {
    with_cluster(ground, name, 3, async |it| {
        let work = it.clients_work().await?;
        let (mut gaps, mut backs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let machine = it.machine_of(it.leader().await?).await?;
            let from_us = work.now_us();
            it.ground.machine(take, &machine).await?;
            let went_on = work.goes_on(100, PATIENCE).await;
            let longest = work.longest_gap_since(from_us);
            // Until then what it says of the cluster is what it was before.
            let noticed = it.has_condition("Degraded", "True", None).await;
            // Whatever became of it: nobody else wants a machine that is away.
            it.ground.machine(give, &machine).await?;
            went_on?;
            noticed?;
            gaps.push(longest);
            let began = Instant::now();
            back(it, &work).await?;
            backs.push(format!("{:.1} s", began.elapsed().as_secs_f64()));
        }
        let figures = vec![
            gap(what, &gaps, Duration::from_secs(2)),
            Figure::seen("back to full redundancy once it was there again", backs.join(", ")),
        ];
        finish(work, figures).await
    })
    .await
}
