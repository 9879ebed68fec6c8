//! Two clusters that differ in one thing, on which the same people book by turns: whatever else the machine does bears
//! on both alike.

use std::sync::Arc;

use anyhow::ensure;

use super::accounts::Wallet;
use super::ground::Ground;
use super::load::{self, Load, PATIENT, Pace, Row};
use super::stage::Stage;

/// Where the second cluster listens, after the first one and its Postgres.
pub const SECOND: u16 = 50;

/// One of the clusters, and who books there.
pub struct Side {
    ground: Arc<Ground>,
    wallets: Vec<Wallet>,
}

impl Side {
    /// # Errors
    /// If the cluster has nothing to book, or refuses accounts.
    pub async fn prepare(clients: u32, stage: &Stage, json: bool) -> anyhow::Result<Self> {
        let clients = clients as usize;
        let connections = (0..load::connections(clients)).map(|_| stage.connect(PATIENT));
        let connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
        let ground = Arc::new(Ground::survey(&connections[0], clients).await?);
        let wallets = Wallet::make_all(clients, &connections, json).await?;
        Ok(Self { ground, wallets })
    }

    /// One turn.
    ///
    /// # Errors
    /// If a call failed for another reason than a full seat.
    pub async fn book(&mut self, pace: Pace, json: bool) -> anyhow::Result<Row> {
        let wallets = std::mem::take(&mut self.wallets);
        let (row, wallets) = load::measure(Load::Bookings, pace, &self.ground, wallets, &[], json).await?;
        self.wallets = wallets;
        ensure!(row.failed.count() == 0, "{} calls failed", row.failed.text());
        Ok(row)
    }
}

/// What pairs of turns say together, of which no two are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    pub median: f64,
    /// The true median lies between these, 95 times in a hundred or oftener; of few values, between the outermost.
    pub from: f64,
    pub to: f64,
}

impl Middle {
    /// None of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().saturating_sub(1) / 2)?, values.get(values.len() / 2)?);
        let outside = outside(values.len());
        let (from, to) = (values.get(outside)?, values.get(values.len() - 1 - outside)?);
        Some(Self { median: f64::midpoint(*low, *high), from: *from, to: *to })
    }
}

/// So many values at either end can be left out: each lies above the true median as a coin falls.
fn outside(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for outside in 0..count {
        below += probability;
        if below > 0.025 {
            return outside.saturating_sub(1);
        }
        probability *= (count - outside) as f64 / (outside + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let median = |values: &[f64]| Middle::of(values.to_vec()).map(|middle| middle.median);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn of_ten_pairs_all_but_one_at_either_end_count() {
        // As tables of the sign test have it.
        assert_eq!([1, 5, 6, 10, 12, 20, 30].map(outside), [0, 0, 0, 1, 2, 5, 9]);
        let ten = Middle::of((0..10).map(f64::from).collect()).expect("ten");
        assert_eq!(ten, Middle { median: 4.5, from: 1.0, to: 8.0 });
    }
}
