//! What the nodes themselves counted meanwhile.

use serde::Serialize;

use crate::metrics::catalogue;
use crate::scrape::{self, Scrape};

/// Of one node, so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    syncs: f64,
    /// Unknown if the node does not count them.
    entries: Option<f64>,
}

/// Of one node, a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogRate {
    pub syncs_per_second: f64,
    pub entries_per_sync: Option<f64>,
}

/// None for a node that cannot be asked.
pub async fn read_all(urls: &[String]) -> Vec<Option<Counters>> {
    futures_util::future::join_all(urls.iter().map(|url| read(url))).await
}

/// What happened between two readings of the same nodes; of those that answered both times.
pub fn rates(before: &[Option<Counters>], after: &[Option<Counters>], seconds: f64) -> Vec<LogRate> {
    let both = before.iter().zip(after).filter_map(|(before, after)| Some(((*before)?, (*after)?)));
    both.map(|(before, after)| {
        let syncs = after.syncs - before.syncs;
        let entries = before.entries.zip(after.entries).map(|(before, after)| after - before);
        LogRate {
            syncs_per_second: syncs / seconds,
            entries_per_sync: entries.filter(|_| syncs > 0.0).map(|entries| entries / syncs),
        }
    })
    .collect()
}

async fn read(url: &str) -> Option<Counters> {
    Counters::of(&scrape::read(url).await?)
}

impl Counters {
    fn of(scrape: &Scrape) -> Option<Self> {
        Some(Self {
            syncs: scrape.value(catalogue::RAFT_LOG_SYNCS.name)?,
            entries: scrape.value(catalogue::RAFT_LOG_ENTRIES.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_what_a_node_tells() {
        let of = |text: &str| Counters::of(&Scrape::parse(text).expect("metrics"));
        assert_eq!(of("carrel_raft_log_syncs_total 12\n"), Some(Counters { syncs: 12.0, entries: None }));
        let text = "carrel_raft_log_syncs_total 12\ncarrel_raft_log_entries_total 60\n";
        assert_eq!(of(text), Some(Counters { syncs: 12.0, entries: Some(60.0) }));
        assert_eq!(of("other 1\n"), None);
    }

    #[test]
    fn a_rate_needs_both_readings_of_a_node() {
        let at = |syncs, entries| Some(Counters { syncs, entries: Some(entries) });
        let rates = rates(&[at(10.0, 100.0), None, at(5.0, 5.0)], &[at(30.0, 200.0), at(1.0, 1.0), at(5.0, 5.0)], 2.0);
        let [busy, idle] = rates.as_slice() else { panic!("two nodes answered twice: {rates:?}") };
        assert_eq!(*busy, LogRate { syncs_per_second: 10.0, entries_per_sync: Some(5.0) });
        assert_eq!(*idle, LogRate { syncs_per_second: 0.0, entries_per_sync: None });
    }
}
