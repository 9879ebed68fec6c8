//! The metrics of the record.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// Of a node that does not lead, gauges are 0: the leader's say how the record is.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub following: IntGauge,
    /// By reason; 1 while it is in the way.
    pub trouble: IntGaugeVec,
    pub applied_index: IntGauge,
    pub lag_entries: IntGauge,
    pub lag_events: IntGauge,
    pub parked_rows: IntGauge,
    pub rows: IntCounter,
    pub transactions: IntCounter,
    pub failures: IntCounter,
    pub begun_again: IntCounter,
}

impl Figures {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let opts =
            Opts::new("projection_trouble", "1 while this, the label, keeps this leader from writing to Postgres.");
        let trouble = IntGaugeVec::new(opts, &["reason"])?;
        registry.register(Box::new(trouble.clone()))?;
        Ok(Self {
            following: gauge("projection_following", "1 while this node leads and writes to Postgres, else 0.")?,
            trouble,
            applied_index: gauge("projection_applied_index", "Index of the last entry that Postgres has.")?,
            lag_entries: gauge("projection_lag_entries", "Entries applied here that Postgres does not have.")?,
            lag_events: gauge("projection_lag_events", "Changes that are kept until Postgres has them.")?,
            parked_rows: gauge("projection_parked_rows", "Rows that Postgres refused and that were put aside.")?,
            rows: counter("projection_rows_total", "Rows written to Postgres.")?,
            transactions: counter("projection_transactions_total", "Transactions committed to Postgres.")?,
            failures: counter("projection_failures_total", "Times that something was in the way.")?,
            begun_again: counter("projection_begun_again_total", "Times that all rows were written from the state.")?,
        })
    }
}
