//! Closed loops of clients, rushes of them, and gaps: everything that is timed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::contender::{Answer, Contender, Replicated, Turn};

/// Not measured: connections, caches and branches of the processor are cold.
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients that book while a leader is killed.
const GAP_CLIENTS: usize = 20;
/// Before the blow, and after the first booking that follows it.
const CALM: Duration = Duration::from_secs(1);
const AFTERMATH: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Bookings,
    Searches,
}

/// One turn of one contender.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub taken: u64,
    pub failed: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    taken: u64,
    failed: BTreeMap<String, u64>,
}

/// # Errors
/// If a client's task ended early.
pub async fn load<C: Contender>(
    contender: &Arc<C>,
    subject: Subject,
    clients: usize,
    length: Duration,
) -> anyhow::Result<Load> {
    let start = Arc::new(Barrier::new(clients));
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (contender, start) = (contender.clone(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            let measure_from = Instant::now() + WARM_UP;
            let until = measure_from + length;
            let mut tally = Tally::default();
            for round in 0.. {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let turn = Turn { client, clients, round };
                let answer = match subject {
                    Subject::Bookings => contender.book(turn).await,
                    Subject::Searches => contender.search(turn).await,
                };
                tally.note(begun, answer, measure_from, until);
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        all.add(tally.context("a client ended early")?);
    }
    all.latencies_us.sort_unstable();
    Ok(Load {
        per_second: all.latencies_us.len() as f64 / length.as_secs_f64(),
        p50_ms: quantile_ms(&all.latencies_us, 0.5),
        p99_ms: quantile_ms(&all.latencies_us, 0.99),
        taken: all.taken,
        failed: all.failed,
    })
}

impl Tally {
    /// What was answered within the time that is measured counts; what failed counts always.
    fn note(&mut self, begun: Instant, answer: Answer, measure_from: Instant, until: Instant) {
        let now = Instant::now();
        match answer {
            Answer::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
            Answer::Taken => self.taken += 1,
            Answer::Done if measure_from <= now && now < until => {
                self.latencies_us.push(u32::try_from((now - begun).as_micros()).unwrap_or(u32::MAX));
            }
            Answer::Done => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.taken += other.taken;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
    }
}

/// Nothing of nothing.
fn quantile_ms(sorted_us: &[u32], quantile: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * quantile).ceil() as usize;
    let found = sorted_us.get(rank.saturating_sub(1)).copied();
    found.map_or(0.0, |us| f64::from(us) / 1000.0)
}

/// Everybody at once for the seats of one slot.
#[derive(Clone, Debug, Serialize)]
pub struct Rush {
    /// Until the last had an answer.
    pub all_answered_ms: f64,
    pub done: usize,
    pub taken: usize,
    pub failed: BTreeMap<String, u64>,
}

/// # Errors
/// If a client's task ended early.
pub async fn rush<F>(clients: usize, ask: impl Fn(usize) -> F) -> anyhow::Result<Rush>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let start = Arc::new(Barrier::new(clients + 1));
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (start, asking) = (start.clone(), ask(client));
        tasks.spawn(async move {
            start.wait().await;
            asking.await
        });
    }
    start.wait().await;
    let begun = Instant::now();
    let mut rush = Rush { all_answered_ms: 0.0, done: 0, taken: 0, failed: BTreeMap::new() };
    while let Some(answer) = tasks.join_next().await {
        match answer.context("a client ended early")? {
            Answer::Done => rush.done += 1,
            Answer::Taken => rush.taken += 1,
            Answer::Failed(reason) => *rush.failed.entry(reason).or_default() += 1,
        }
    }
    rush.all_answered_ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(rush)
}

/// For how long nobody's booking was acknowledged when the leader was killed.
///
/// # Errors
/// If nothing was booked afterwards, or the member does not come back.
pub async fn gap_ms<C: Replicated>(contender: &Arc<C>) -> anyhow::Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for client in 0..GAP_CLIENTS {
        let (contender, over) = (contender.clone(), over.clone());
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if contender.book(Turn { client, clients: GAP_CLIENTS, round }).await == Answer::Done {
                    acknowledged.push(Instant::now());
                }
            }
            acknowledged
        });
    }
    tokio::time::sleep(CALM).await;
    let hit = Instant::now();
    let killed = contender.kill_leader().await;
    tokio::time::sleep(AFTERMATH).await;
    over.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    while let Some(of_one) = tasks.join_next().await {
        acknowledged.extend(of_one.context("a client ended early")?);
    }
    contender.restore(killed?).await?;
    acknowledged.sort_unstable();
    let before = acknowledged.partition_point(|at| *at < hit).saturating_sub(1);
    let gaps = acknowledged[before..].windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().context("nothing was booked after the leader was killed")?;
    Ok(longest.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let hundred: Vec<u32> = (1..=100).map(|ms| ms * 1000).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|q| quantile_ms(&hundred, q)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile_ms(&[7000], 0.99), 7.0);
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }
}
