//! Every metric of a node, once: name, labels and meaning. Nobody makes one that is not in this list.
//!
//! The unit is the last word of a name, before `_total`; a name without one counts. Labels have few values, all known
//! beforehand: methods of our services, codes, reasons, the branches of the catalogue, the members of the cluster.

use prometheus::Registry;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins anew with the process.
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
    /// Upper bounds, of a histogram.
    pub buckets: &'static [f64],
}

/// Of an answer to a client: a person's patience ends at the last.
const ANSWERS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Of a call, by method: there are seventy of them, and a scrape is to stay small.
const CALLS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];
/// Of a disk, from memory that calls itself one to a network in trouble.
const DISKS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Of work in memory.
const MEMORY: &[f64] = &[0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1];
const ENTRIES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $(in $buckets:ident)? $meaning:literal)*) => {
        $(pub const $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            meaning: $meaning,
            buckets: metrics!(@buckets $($buckets)?),
        };)*

        pub const ALL: &[Metric] = &[$($id),*];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

metrics! {
    // Who leads, and how far everyone is.
    RAFT_IS_LEADER Gauge "carrel_raft_is_leader" [] "1 while this node leads, else 0."
    RAFT_TERM Gauge "carrel_raft_term" [] "Term that this node is in."
    RAFT_LEADER_ID Gauge "carrel_raft_leader_id" [] "Id of the leader that this node knows of; 0 if none."
    RAFT_VOTED_FOR Gauge "carrel_raft_voted_for" [] "Id of the node that this one voted for last; 0 if none."
    RAFT_LAST_LOG_INDEX Gauge "carrel_raft_last_log_index" [] "Index of the newest entry in this node's log."
    RAFT_COMMIT_INDEX Gauge "carrel_raft_commit_index" [] "Index of the newest entry known to be committed."
    RAFT_APPLIED_INDEX Gauge "carrel_raft_applied_index" [] "Index of the newest entry applied to the state."
    RAFT_SNAPSHOT_INDEX Gauge "carrel_raft_snapshot_index" [] "Index of the last entry in the newest snapshot."
    RAFT_PURGED_INDEX Gauge "carrel_raft_purged_index" [] "Index up to which the log was purged."
    RAFT_VOTERS Gauge "carrel_raft_voters" [] "Members with a vote, in the newest membership that this node knows."
    RAFT_LEARNERS Gauge "carrel_raft_learners" [] "Members without a vote."
    RAFT_QUORUM_MARGIN Gauge "carrel_raft_quorum_margin" []
        "Voters that may still fail before nothing can be decided; told by the leader alone."
    RAFT_QUORUM_ACK_AGE Gauge "carrel_raft_quorum_ack_age_seconds" []
        "Since a majority last confirmed this leader; told by the leader alone."
    RAFT_PEER_MATCHED Gauge "carrel_raft_peer_matched_index" ["peer" "ordinal"]
        "Index up to which a member is known to have the log; told by the leader alone."
    RAFT_PEER_LAG Gauge "carrel_raft_peer_lag_entries" ["peer" "ordinal"]
        "Entries of the leader's log that a member is not known to have; told by the leader alone."
    RAFT_PEER_ACK_AGE Gauge "carrel_raft_peer_ack_age_seconds" ["peer" "ordinal"]
        "Since a member last answered; told by the leader alone."
    RAFT_CLOCK_SPREAD Gauge "carrel_raft_clock_spread_seconds" []
        "Between the clocks that are furthest apart, of those the leader could read; told by the leader alone."
    RAFT_LEADER_CHANGES Counter "carrel_raft_leader_changes_total" [] "Times that this node learnt of another leader."
    RAFT_ELECTIONS Counter "carrel_raft_elections_total" [] "Elections that this node stood for."
    RAFT_VOTE_REQUESTS Counter "carrel_raft_vote_requests_total" ["kind"]
        "Votes that others asked this node for: pre_vote, to find out whether an election is worth it, or vote."

    // What becomes of a request.
    RAFT_PROPOSALS Counter "carrel_raft_proposals_total" ["result"] "Requests given to this node as the leader, by outcome."
    RAFT_PROPOSAL_SECONDS Histogram "carrel_raft_proposal_seconds" [] in ANSWERS
        "From giving a request to this leader until a majority has it and it is applied."
    RAFT_FORWARDED Counter "carrel_raft_forwarded_total" ["result"] "Requests handed to another node that leads, by outcome."
    RAFT_READ_INDEX_ROUNDS Counter "carrel_raft_read_index_rounds_total" [] "Times a leader was asked how fresh a read must be."
    RAFT_LOG_SYNCS Counter "carrel_raft_log_syncs_total" [] "Batches written to the log, each with one sync."
    RAFT_LOG_ENTRIES Counter "carrel_raft_log_entries_total" [] "Entries written to the log."
    RAFT_LOG_BYTES Counter "carrel_raft_log_bytes_total" [] "Bytes written to the log."
    RAFT_LOG_BATCH_ENTRIES Histogram "carrel_raft_log_batch_entries" [] in ENTRIES
        "Entries that shared one write and one sync; 0 for a vote or a purge alone."
    RAFT_LOG_APPEND_SECONDS Histogram "carrel_raft_log_append_seconds" [] in DISKS "To write and sync one batch of the log."
    RAFT_LOG_SYNC_SECONDS Histogram "carrel_raft_log_sync_seconds" [] in DISKS "The sync alone."
    RAFT_APPLY_SECONDS Histogram "carrel_raft_apply_seconds" [] in MEMORY "To apply entries that were committed together."
    RAFT_APPLY_BATCH_ENTRIES Histogram "carrel_raft_apply_batch_entries" [] in ENTRIES "Entries that were applied together."
    RAFT_DISK_FULL Gauge "carrel_raft_disk_full" [] "1 while this node has no room for more of the log, else 0."

    // The node and its machine.
    NODE_INFO Gauge "carrel_node_info" ["version" "ordinal" "node_id" "incarnation" "lineage" "cluster_id"]
        "Always 1; the labels say who this node is."
    NODE_SERVING Gauge "carrel_node_serving" [] "1 while this node serves clients, else 0."
    FILESYSTEM_AVAILABLE Gauge "carrel_filesystem_available_bytes" [] "Room that is left where the log is."
    FILESYSTEM_SIZE Gauge "carrel_filesystem_size_bytes" [] "Room that there is where the log is."
    PROCESS_RESIDENT Gauge "carrel_process_resident_memory_bytes" []
        "Memory that the process has in use; nearly all of it is the state."
    PROCESS_CPU Counter "carrel_process_cpu_seconds_total" [] "Processor time that the process has taken."
    PROCESS_FILES Gauge "carrel_process_open_files" [] "Files and connections that the process has open."
    TLS_NOT_AFTER Gauge "carrel_tls_certificate_not_after_timestamp_seconds" ["directory"]
        "When the certificate that is shown expires: cluster, between nodes and on the admin port, or clients."
    TLS_RELOADS Counter "carrel_tls_reloads_total" ["outcome"] "Changes of certificate files, by whether they were taken."
    TLS_REFUSED Counter "carrel_tls_handshakes_refused_total" ["port"] "Connections without a right certificate."
    BACKUP_TIME Gauge "carrel_backup_last_timestamp_seconds" []
        "When this node last sent a whole backup; nothing before the first since its start."

    // Clients.
    REQUESTS Counter "carrel_grpc_requests_total" ["method" "code"] "Calls that have ended, by method and code."
    REQUEST_SECONDS Histogram "carrel_grpc_request_seconds" ["method"] in CALLS
        "Time to the end of the answer, of calls without streams."
    STREAMS Gauge "carrel_grpc_streams" ["method"] "Streams that are open."
    REFUSALS Counter "carrel_refusals_total" ["reason"]
        "Refusals told to clients, by reason; SLOW_CONSUMER are streams closed on readers who took nothing."
    RECORD_HITS Counter "carrel_request_record_hits_total" [] "Repeated requests that were answered from memory."

    // The library.
    SEATS Gauge "carrel_seats" ["branch"] "Seats."
    SEATS_FREE Gauge "carrel_seats_free" ["branch"] "Seats that nothing occupies now."
    CLAIMS Gauge "carrel_claims" ["branch" "state"]
        "What occupies seats now or later: people's claims by state, and closed, what the library keeps for itself."
    CLAIMS_HELD Gauge "carrel_claims_held" [] "Reservations and closures in memory, live and over."
    CLAIMS_LET_GO Gauge "carrel_claims_let_go" [] "Reservations and closures that are in Postgres alone."
    CLAIMS_BEGUN Counter "carrel_claims_begun_total" ["branch"] "Bookings, holds and walk-ins that were granted."
    CLAIMS_ENDED Counter "carrel_claims_ended_total" ["branch" "state"] "People's claims that ended, by how; no_show among them."
    OFFERS Counter "carrel_offers_total" ["branch" "outcome"] "Offers to people in line, by what became of them."
    WAITS Gauge "carrel_waits" ["branch"] "People in line, those with an offer included."
    STATE_OBJECTS Gauge "carrel_state_objects" ["kind"] "What the state holds, by kind."

    // Out to the world.
    DELIVERIES Counter "carrel_deliveries_total" ["channel" "outcome"]
        "Attempts to send mails and events out into the world, by what became of them: sent, failed or given_up."

    // The relational record; of a node that does not lead, gauges are 0: the leader's say how it is.
    PROJECTION_FOLLOWING Gauge "carrel_projection_following" [] "1 while this node leads and writes to Postgres, else 0."
    PROJECTION_TROUBLE Gauge "carrel_projection_trouble" ["reason"]
        "1 while this, the label, keeps this leader from writing to Postgres."
    PROJECTION_APPLIED_INDEX Gauge "carrel_projection_applied_index" [] "Index of the last entry that Postgres has."
    PROJECTION_LAG_ENTRIES Gauge "carrel_projection_lag_entries" [] "Entries applied here that Postgres does not have."
    PROJECTION_LAG_SECONDS Gauge "carrel_projection_lag_seconds" []
        "Age of the oldest change that Postgres does not have; 0 if it has all."
    PROJECTION_LAG_EVENTS Gauge "carrel_projection_lag_events" [] "Changes that are kept until Postgres has them."
    PROJECTION_PARKED_ROWS Gauge "carrel_projection_parked_rows" [] "Rows that Postgres refused and that were put aside."
    PROJECTION_ROWS Counter "carrel_projection_rows_total" [] "Rows written to Postgres."
    PROJECTION_TRANSACTIONS Counter "carrel_projection_transactions_total" [] "Transactions committed to Postgres."
    PROJECTION_FAILURES Counter "carrel_projection_failures_total" [] "Times that something was in the way."
    PROJECTION_BEGUN_AGAIN Counter "carrel_projection_begun_again_total" [] "Times that all rows were written from the state."
}

impl Metric {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.meaning)
    }

    /// # Panics
    /// Never: the names above are well-formed. So it is below.
    #[must_use]
    pub fn counter(&self) -> IntCounter {
        IntCounter::with_opts(self.opts()).expect("the name is well-formed")
    }

    #[must_use]
    pub fn counters(&self) -> IntCounterVec {
        IntCounterVec::new(self.opts(), self.labels).expect("the name is well-formed")
    }

    #[must_use]
    pub fn gauge(&self) -> IntGauge {
        IntGauge::with_opts(self.opts()).expect("the name is well-formed")
    }

    #[must_use]
    pub fn float_gauge(&self) -> Gauge {
        Gauge::with_opts(self.opts()).expect("the name is well-formed")
    }

    #[must_use]
    pub fn gauges(&self) -> IntGaugeVec {
        IntGaugeVec::new(self.opts(), self.labels).expect("the name is well-formed")
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.meaning).buckets(self.buckets.to_vec())
    }

    #[must_use]
    pub fn histogram(&self) -> Histogram {
        Histogram::with_opts(self.histogram_opts()).expect("the name is well-formed")
    }

    #[must_use]
    pub fn histograms(&self) -> HistogramVec {
        HistogramVec::new(self.histogram_opts(), self.labels).expect("the name is well-formed")
    }
}

/// Makes a metric known to those who scrape, and gives it back.
///
/// # Errors
/// If one of its name is known already.
pub fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_says_what_it_is() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "two metrics have one name");
        for metric in ALL {
            assert!(metric.name.starts_with("carrel_") && metric.meaning.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(metric.buckets.is_empty(), metric.kind != Kind::Histogram, "{}", metric.name);
        }
    }
}
