//! How long things take and how much there may be of them. The defaults are for replicas a millisecond apart, with
//! disks that sync within a few milliseconds.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};

use crate::raft::wal::LogOptions;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub heartbeat_ms: u64,
    /// Failover takes the lease, which is the longest election timeout, and one election timeout.
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// Requests that this node takes on at once from its clients, and leading, from all. At the few milliseconds one
    /// takes this is far more than a cluster's throughput, and a thirtieth of what openraft would queue; where requests
    /// take longer it is fewer.
    pub in_flight_limit: usize,
    /// How long a request waits for a leader: twice a failover, so that clients see one as latency.
    pub leader_wait: Duration,
    /// How long a request waits for its outcome once it is proposed. A majority on slow disks needs a fraction; after
    /// this the client does better to ask another node.
    pub outcome_wait: Duration,
    /// How long a read waits until this node has applied what it asks for.
    pub catch_up_wait: Duration,
    /// A snapshot is written once the log since the last one has at least so many bytes, and half the last one's.
    pub snapshot_log_bytes: u64,
    /// How often that is looked at.
    pub snapshot_check: Duration,
    pub log: LogOptions,
    /// Entries that this node says it knows; another than the release's is for tests of mixed ones.
    pub level: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 60,
            election_min_ms: 200,
            election_max_ms: 350,
            in_flight_limit: 2048,
            leader_wait: Duration::from_millis(1500),
            outcome_wait: Duration::from_secs(3),
            catch_up_wait: Duration::from_secs(1),
            snapshot_log_bytes: 64 << 20,
            snapshot_check: Duration::from_secs(1),
            log: LogOptions::default(),
            level: carrel_domain::format::LEVEL,
        }
    }
}

impl Settings {
    pub(crate) fn raft_config(&self) -> Result<Arc<Config>, ConfigError> {
        let config = Config {
            cluster_name: "carrel".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            // A node that was cut off must not depose a leader that serves when it comes back.
            enable_pre_vote: Some(true),
            // The state is in memory: a leader that restarts has to win an election before it answers.
            enable_leader_restore: Some(false),
            // A log that became shorter than was acknowledged is a lost disk, not something to go along with.
            allow_log_reversion: Some(false),
            // Snapshots and purging have a trigger of our own; without the second, each snapshot would purge.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // Of one chunk, with a disk that syncs slowly on the other side.
            install_snapshot_timeout: 10_000,
            // Until a peer that was gone is tried again; a restart takes about this long.
            backoff: "20ms 40ms 80ms 160ms 320ms ...500ms".to_owned(),
            ..Config::default()
        };
        Ok(Arc::new(config.validate()?))
    }

    /// A peer that has not answered for so long is counted as gone.
    pub(crate) fn silent_after(&self) -> Duration {
        Duration::from_millis(3 * self.election_max_ms)
    }
}
