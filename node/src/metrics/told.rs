//! What is looked up when somebody asks: one family of series after the other.

use std::path::Path;

use carrel_domain::state::State;
use carrel_domain::tally::Tally;
use prometheus::proto::{self, Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};

use crate::metrics::catalogue::{self as names, Kind, Metric};
use crate::metrics::{CLUSTER_LABEL, machine};
use crate::replica::NodeFigures;
use crate::tls::InUse;

pub struct Told<'a> {
    cluster: Option<&'a str>,
    families: Vec<MetricFamily>,
}

impl<'a> Told<'a> {
    pub fn new(cluster: Option<&'a str>) -> Self {
        Self { cluster, families: Vec::new() }
    }

    pub fn into_families(self) -> Vec<MetricFamily> {
        self.families
    }

    pub fn raft(&mut self, node: &NodeFigures) {
        let ordinal = node.ordinal.to_string();
        let node_id = node.node_id.unwrap_or(0).to_string();
        let lineage = node.lineage.map_or_else(String::new, |lineage| lineage.to_string());
        let cluster_id = node.cluster_id.as_deref().unwrap_or("");
        let who = [env!("CARGO_PKG_VERSION"), &ordinal, &node_id, &node.incarnation, &lineage, cluster_id];
        self.series(&names::NODE_INFO, [(who, 1.0)]);
        self.one(&names::NODE_SERVING, f64::from(u8::from(node.serves)));
        self.one(&names::RAFT_IS_LEADER, f64::from(u8::from(node.leads)));
        self.one(&names::RAFT_DISK_FULL, f64::from(u8::from(node.is_disk_full)));
        for (metric, value) in [
            (&names::RAFT_TERM, node.term),
            (&names::RAFT_LEADER_ID, node.leader.unwrap_or(0)),
            (&names::RAFT_VOTED_FOR, node.voted_for.unwrap_or(0)),
            (&names::RAFT_LAST_LOG_INDEX, node.last_log_index),
            (&names::RAFT_COMMIT_INDEX, node.commit_index),
            (&names::RAFT_APPLIED_INDEX, node.applied_index),
            (&names::RAFT_SNAPSHOT_INDEX, node.snapshot_index),
            (&names::RAFT_PURGED_INDEX, node.purged_index),
            (&names::RAFT_VOTERS, node.voters),
            (&names::RAFT_LEARNERS, node.learners),
            (&names::RAFT_LOG_SYNCS, node.log_syncs),
            (&names::RAFT_LOG_ENTRIES, node.log_entries),
            (&names::RAFT_LOG_BYTES, node.log_bytes),
            (&names::CLAIMS_HELD, node.claims_held),
            (&names::CLAIMS_LET_GO, node.claims_let_go),
        ] {
            self.one(metric, value as f64);
        }
        self.batch_sizes(node);
        if let Some(at) = node.backup_at {
            self.one(&names::BACKUP_TIME, at as f64);
        }
        let Some(leading) = &node.leading else { return };
        self.one(&names::RAFT_QUORUM_MARGIN, leading.quorum_margin as f64);
        self.one(&names::RAFT_CLOCK_SPREAD, leading.clock_spread_us as f64 / 1e6);
        if let Some(age) = leading.since_quorum_ack {
            self.one(&names::RAFT_QUORUM_ACK_AGE, age.as_secs_f64());
        }
        let peers: Vec<_> =
            leading.peers.iter().map(|peer| (peer, [peer.id.to_string(), peer.ordinal.to_string()])).collect();
        let matched = |index: Option<u64>| index.unwrap_or(0);
        self.series(
            &names::RAFT_PEER_MATCHED,
            peers.iter().map(|(peer, who)| (who, matched(peer.matched_index) as f64)),
        );
        let lag = |index| node.last_log_index.saturating_sub(matched(index)) as f64;
        self.series(&names::RAFT_PEER_LAG, peers.iter().map(|(peer, who)| (who, lag(peer.matched_index))));
        let ages = peers.iter().filter_map(|(peer, who)| Some((who, peer.since_ack?.as_secs_f64())));
        self.series(&names::RAFT_PEER_ACK_AGE, ages);
    }

    pub fn library(&mut self, state: &State, tally: &Tally) {
        let occupancy = state.occupancy();
        let branch = |slug: &carrel_domain::text::Slug| [slug.to_string()];
        let seats: Vec<_> = occupancy.iter().map(|of| (branch(&of.branch), of)).collect();
        self.series(&names::SEATS, seats.iter().map(|(who, of)| (who, of.seats as f64)));
        self.series(&names::SEATS_FREE, seats.iter().map(|(who, of)| (who, of.free as f64)));
        let branches: Vec<_> =
            state.catalog().branches().map(|(id, branch)| (branch.slug.to_string(), tally.branch(id))).collect();
        let mut claims = Vec::new();
        let mut ended = Vec::new();
        let mut offers = Vec::new();
        for (branch, tally) in &branches {
            let (standing, turnover) = (tally.standing, tally.turnover);
            for (state, count) in [
                ("held", standing.held),
                ("confirmed", standing.confirmed),
                ("checked_in", standing.checked_in),
                ("away", standing.away),
                ("closed", standing.closed),
            ] {
                claims.push(([branch.as_str(), state], count as f64));
            }
            for (state, count) in [
                ("expired", turnover.expired),
                ("cancelled", turnover.cancelled),
                ("displaced", turnover.displaced),
                ("no_show", turnover.no_show),
                ("released", turnover.released),
                ("completed", turnover.completed),
            ] {
                ended.push(([branch.as_str(), state], count as f64));
            }
            for (outcome, count) in [
                ("made", turnover.offers_made),
                ("accepted", turnover.offers_accepted),
                ("declined", turnover.offers_declined),
                ("missed", turnover.offers_missed),
            ] {
                offers.push(([branch.as_str(), outcome], count as f64));
            }
        }
        self.series(&names::CLAIMS, claims);
        self.series(&names::CLAIMS_ENDED, ended);
        self.series(&names::OFFERS, offers);
        self.series(&names::CLAIMS_BEGUN, branches.iter().map(|(name, of)| ([name], of.turnover.begun as f64)));
        self.series(&names::WAITS, branches.iter().map(|(name, of)| ([name], of.standing.waits as f64)));
        let kept = state.kept();
        let objects = [
            ("sessions", kept.sessions as f64),
            ("claims", kept.claims as f64),
            ("waits", kept.waits as f64),
            ("items", kept.items as f64),
            ("request_records", kept.records as f64),
            ("deadlines", kept.deadlines as f64),
            ("outbox_events", kept.outbox as f64),
        ];
        self.series(&names::STATE_OBJECTS, objects.map(|(kind, count)| ([kind], count)));
    }

    pub fn machine(&mut self, directory: &Path) {
        if let Some(room) = machine::room(directory) {
            self.one(&names::FILESYSTEM_AVAILABLE, room.available_bytes as f64);
            self.one(&names::FILESYSTEM_SIZE, room.size_bytes as f64);
        }
        if let Some(process) = machine::process() {
            self.one(&names::PROCESS_RESIDENT, process.resident_bytes as f64);
            self.one(&names::PROCESS_CPU, process.cpu_seconds);
            self.one(&names::PROCESS_FILES, process.open_files as f64);
        }
    }

    pub fn certificates(&mut self, in_use: &InUse) {
        let shown = [("cluster", in_use.cluster()), ("clients", in_use.clients())];
        let ends = shown.into_iter().filter_map(|(directory, keys)| Some(([directory], keys?.shown.not_after? as f64)));
        self.series(&names::TLS_NOT_AFTER, ends);
    }

    fn one(&mut self, metric: &Metric, value: f64) {
        self.series::<[&str; 0], &str>(metric, [([], value)]);
    }

    /// Values of the labels, in the order of the catalogue, and of the series.
    fn series<L, S>(&mut self, metric: &Metric, series: impl IntoIterator<Item = (L, f64)>)
    where
        L: IntoIterator<Item = S>,
        S: ToString,
    {
        let mut family = family_of(metric);
        let rows = series.into_iter().map(|(values, value)| {
            let mut row = proto::Metric::default();
            row.set_label(self.labels(metric, values));
            match metric.kind {
                Kind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    row.set_counter(counter);
                }
                Kind::Gauge | Kind::Histogram => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    row.set_gauge(gauge);
                }
            }
            row
        });
        family.set_metric(rows.collect());
        // The format has no word for a family without series.
        if !family.get_metric().is_empty() {
            self.families.push(family);
        }
    }

    fn labels<S: ToString>(&self, metric: &Metric, values: impl IntoIterator<Item = S>) -> Vec<LabelPair> {
        let own = metric.labels.iter().copied().zip(values.into_iter().map(|value| value.to_string()));
        let cluster = self.cluster.map(|name| (CLUSTER_LABEL, name.to_owned()));
        let pair = |(name, value): (&str, String)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        };
        cluster.into_iter().chain(own).map(pair).collect()
    }

    /// The log's writer keeps its own counts, so that it waits for nobody who reads them.
    fn batch_sizes(&mut self, node: &NodeFigures) {
        let mut below = 0;
        let mut buckets = Vec::new();
        for (bound, count) in &node.log_batches.up_to {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(below + node.log_batches.more);
        histogram.set_sample_sum(node.log_entries as f64);
        let mut row = proto::Metric::default();
        row.set_label(self.labels::<&str>(&names::RAFT_LOG_BATCH_ENTRIES, []));
        row.set_histogram(histogram);
        let mut family = family_of(&names::RAFT_LOG_BATCH_ENTRIES);
        family.set_metric(vec![row]);
        self.families.push(family);
    }
}

fn family_of(metric: &Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.meaning.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family
}
