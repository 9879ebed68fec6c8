//! The metrics of the record.

use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec, Registry};

use crate::metrics::catalogue::{self, Metric, registered};

/// Of a node that does not lead, gauges are 0: the leader's say how the record is.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub following: IntGauge,
    /// By reason; 1 while it is in the way.
    pub trouble: IntGaugeVec,
    pub applied_index: IntGauge,
    pub lag_entries: IntGauge,
    pub lag_events: IntGauge,
    pub lag_seconds: Gauge,
    pub parked_rows: IntGauge,
    pub rows: IntCounter,
    pub transactions: IntCounter,
    pub failures: IntCounter,
    pub begun_again: IntCounter,
}

impl Figures {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |metric: &Metric| registered(registry, metric.gauge());
        let counter = |metric: &Metric| registered(registry, metric.counter());
        Ok(Self {
            following: gauge(&catalogue::PROJECTION_FOLLOWING)?,
            trouble: registered(registry, catalogue::PROJECTION_TROUBLE.gauges())?,
            applied_index: gauge(&catalogue::PROJECTION_APPLIED_INDEX)?,
            lag_entries: gauge(&catalogue::PROJECTION_LAG_ENTRIES)?,
            lag_events: gauge(&catalogue::PROJECTION_LAG_EVENTS)?,
            lag_seconds: registered(registry, catalogue::PROJECTION_LAG_SECONDS.float_gauge())?,
            parked_rows: gauge(&catalogue::PROJECTION_PARKED_ROWS)?,
            rows: counter(&catalogue::PROJECTION_ROWS)?,
            transactions: counter(&catalogue::PROJECTION_TRANSACTIONS)?,
            failures: counter(&catalogue::PROJECTION_FAILURES)?,
            begun_again: counter(&catalogue::PROJECTION_BEGUN_AGAIN)?,
        })
    }
}
