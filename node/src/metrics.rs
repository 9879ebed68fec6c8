//! Every metric of a node: name, unit and meaning, in one place. Written as Prometheus's text format.

use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::raft::wal::Batches;
use crate::replica::NodeFigures;

/// Gauges are read when somebody asks; what counts by itself registers with `registry()`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    is_leader: IntGauge,
    term: IntGauge,
    leader_id: IntGauge,
    last_log_index: IntGauge,
    commit_index: IntGauge,
    applied_index: IntGauge,
    snapshot_index: IntGauge,
    purged_index: IntGauge,
    log_syncs: IntCounter,
    log_entries: IntCounter,
    log_bytes: IntCounter,
    disk_full: IntGauge,
    claims_held: IntGauge,
    claims_let_go: IntGauge,
    serving: IntGauge,
    info: IntGaugeVec,
}

impl Metrics {
    /// # Panics
    /// Never: the names below are well-formed and distinct.
    #[must_use]
    pub fn new() -> Self {
        // What all names begin with.
        let registry = Registry::new_custom(Some("carrel".to_owned()), None).expect("the prefix is well-formed");
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("the name is well-formed");
            registry.register(Box::new(gauge.clone())).expect("the name is used once");
            gauge
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("the name is well-formed");
            registry.register(Box::new(counter.clone())).expect("the name is used once");
            counter
        };
        let info = IntGaugeVec::new(
            Opts::new("node_info", "Always 1; the labels say who this node is."),
            &["version", "ordinal", "node_id", "cluster_id"],
        )
        .expect("the name is well-formed");
        registry.register(Box::new(info.clone())).expect("the name is used once");
        Self {
            is_leader: gauge("raft_is_leader", "1 while this node leads, else 0."),
            term: gauge("raft_term", "Term that this node is in."),
            leader_id: gauge("raft_leader_id", "Id of the leader that this node knows of; 0 if none."),
            last_log_index: gauge("raft_last_log_index", "Index of the newest entry in this node's log."),
            commit_index: gauge("raft_commit_index", "Index of the newest entry known to be committed."),
            applied_index: gauge("raft_applied_index", "Index of the newest entry applied to the state."),
            snapshot_index: gauge("raft_snapshot_index", "Index of the last entry in the newest snapshot."),
            purged_index: gauge("raft_purged_index", "Index up to which the log was purged."),
            log_syncs: counter("raft_log_syncs_total", "Batches written to the log, each with one sync."),
            log_entries: counter("raft_log_entries_total", "Entries written to the log."),
            log_bytes: counter("raft_log_bytes_total", "Bytes written to the log."),
            disk_full: gauge("raft_disk_full", "1 while this node has no room for more of the log, else 0."),
            claims_held: gauge("claims_held", "Reservations and closures in memory, live and over."),
            claims_let_go: gauge("claims_let_go", "Reservations and closures that are in Postgres alone."),
            serving: gauge("node_serving", "1 while this node serves clients, else 0."),
            info,
            registry,
        }
    }

    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    #[must_use]
    pub fn render(&self, figures: &NodeFigures) -> String {
        let NodeFigures {
            ordinal,
            node_id,
            cluster_id,
            leads,
            serves,
            term,
            leader,
            last_log_index,
            commit_index,
            applied_index,
            snapshot_index,
            purged_index,
            log_syncs,
            log_bytes,
            log_entries,
            log_batches,
            is_disk_full,
            claims_held,
            claims_let_go,
        } = figures;
        self.disk_full.set(i64::from(*is_disk_full));
        self.is_leader.set(i64::from(*leads));
        self.serving.set(i64::from(*serves));
        for (gauge, value) in [
            (&self.term, *term),
            (&self.leader_id, leader.unwrap_or(0)),
            (&self.last_log_index, *last_log_index),
            (&self.commit_index, *commit_index),
            (&self.applied_index, *applied_index),
            (&self.snapshot_index, *snapshot_index),
            (&self.purged_index, *purged_index),
            (&self.claims_held, *claims_held),
            (&self.claims_let_go, *claims_let_go),
        ] {
            gauge.set(value.cast_signed());
        }
        for (counter, value) in
            [(&self.log_syncs, *log_syncs), (&self.log_entries, *log_entries), (&self.log_bytes, *log_bytes)]
        {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.info.reset();
        let labels = [
            env!("CARGO_PKG_VERSION"),
            &ordinal.to_string(),
            &node_id.unwrap_or(0).to_string(),
            cluster_id.as_deref().unwrap_or(""),
        ];
        self.info.with_label_values(&labels).set(1);
        let mut families = self.registry.gather();
        families.push(batch_sizes(log_batches, *log_entries));
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// The log's writer keeps its own counts, so that it waits for nobody who reads them.
fn batch_sizes(batches: &Batches, entries: u64) -> MetricFamily {
    let mut below = 0;
    let mut buckets = Vec::new();
    for (bound, count) in &batches.up_to {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64);
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(below + batches.more);
    histogram.set_sample_sum(entries as f64);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    let mut family = MetricFamily::default();
    family.set_name("carrel_raft_log_batch_entries".to_owned());
    family.set_help("Entries that shared one write and one sync; 0 for a vote or a purge alone.".to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(vec![metric]);
    family
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
