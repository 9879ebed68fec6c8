//! Every metric of a node: name, unit and meaning, in one place. Written as Prometheus's text format.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

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
    log_batches: IntGauge,
    log_bytes: IntGauge,
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
            log_batches: gauge("raft_log_syncs_total", "Batches written to the log, each with one sync."),
            log_bytes: gauge("raft_log_bytes_total", "Bytes written to the log."),
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
        } = figures;
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
            (&self.log_batches, *log_syncs),
            (&self.log_bytes, *log_bytes),
        ] {
            gauge.set(value.cast_signed());
        }
        self.info.reset();
        let labels = [
            env!("CARGO_PKG_VERSION"),
            &ordinal.to_string(),
            &node_id.unwrap_or(0).to_string(),
            cluster_id.as_deref().unwrap_or(""),
        ];
        self.info.with_label_values(&labels).set(1);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
