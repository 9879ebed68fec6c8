//! The alerts: what fires when, in the words of Prometheus, and a course of events in which it does and one in which
//! it does not. Each has a page of its own below docs/runbooks/.

pub struct Alert {
    pub name: &'static str,
    pub severity: Severity,
    pub expression: &'static str,
    /// How long it must be true.
    pub lasting: &'static str,
    /// One sentence, for whoever is woken.
    pub summary: &'static str,
    /// When in the course it does not fire, and when it does.
    pub quiet_at: &'static str,
    pub fires_at: &'static str,
    /// What every series has, and then its values, in promtool's notation, one each 15 seconds.
    pub course: &'static [(&'static str, &'static str)],
    /// Beside those that every alert has.
    pub labels: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq)]
pub enum Severity {
    /// Somebody gets up.
    Critical,
    /// Somebody looks today.
    Warning,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

use Severity::{Critical, Warning};

/// `BY` stands for the cluster that an alert is about.
pub const BY: &str = "BY";
pub const CLUSTER: &str = "namespace, carrel_cluster";

pub const ALL: &[Alert] = &[
    Alert {
        name: "CarrelNoLeader",
        severity: Critical,
        expression: "max by (BY) (carrel_raft_is_leader{NODES}) == 0",
        lasting: "30s",
        summary: "No node leads, so nothing can be booked.",
        quiet_at: "5m15s",
        fires_at: "6m",
        course: &[("carrel_raft_is_leader", "1x20 0x40"), ("carrel_raft_is_leader{instance=\"b\"}", "0x60")],
        labels: &[],
    },
    Alert {
        name: "CarrelQuorumLost",
        severity: Critical,
        expression: "(count by (BY) (carrel_raft_leader_id{NODES} > 0) or 0 * max by (BY) (carrel_raft_voters{NODES})) \
                     <= floor(max by (BY) (carrel_raft_voters{NODES}) / 2)",
        lasting: "1m",
        summary: "A majority of the voters is gone or hears no leader.",
        quiet_at: "5m30s",
        fires_at: "7m",
        course: &[
            ("carrel_raft_voters", "3x60"),
            ("carrel_raft_leader_id", "1x20 0x40"),
            ("carrel_raft_leader_id{instance=\"b\"}", "1x20 stale"),
            ("carrel_raft_leader_id{instance=\"c\"}", "1x60"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelQuorumMarginZero",
        severity: Warning,
        expression: "min by (BY) (carrel_raft_quorum_margin{NODES}) <= 0 and max by (BY) (carrel_raft_voters{NODES}) > 1",
        lasting: "5m",
        summary: "One more voter lost, and nothing can be booked.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_raft_quorum_margin", "1x20 0x60"), ("carrel_raft_voters", "3x80")],
        labels: &[],
    },
    Alert {
        name: "CarrelLineageConflict",
        severity: Critical,
        expression: r#"count by (BY) (count by (BY, lineage) (carrel_node_info{NODES,lineage!=""})) > 1"#,
        lasting: "10m",
        summary: "Nodes of two histories of the cluster run side by side.",
        quiet_at: "14m",
        fires_at: "16m",
        course: &[
            ("carrel_node_info{lineage=\"1\"}", "1x80"),
            ("carrel_node_info{lineage=\"2\",instance=\"b\"}", "_x20 1x60"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelLeaderFlapping",
        severity: Warning,
        expression: "max by (BY) (changes(carrel_raft_term{NODES}[10m])) > 5",
        lasting: "0s",
        summary: "More than five elections within ten minutes.",
        quiet_at: "1m15s",
        fires_at: "2m",
        course: &[("carrel_raft_term", "1+1x30")],
        labels: &[],
    },
    Alert {
        name: "CarrelMemberSilent",
        severity: Warning,
        expression: "max by (BY, ordinal) (carrel_raft_peer_ack_age_seconds{NODES}) > 60",
        lasting: "1m",
        summary: "A member has not answered the leader for more than a minute.",
        quiet_at: "5m",
        fires_at: "7m30s",
        course: &[("carrel_raft_peer_ack_age_seconds{ordinal=\"2\",peer=\"7\"}", "0x15 0+15x40")],
        labels: &[("ordinal", "2")],
    },
    Alert {
        name: "CarrelFollowerLagging",
        severity: Warning,
        expression: "max by (BY, ordinal) (carrel_raft_peer_lag_entries{NODES}) > 10000",
        lasting: "2m",
        summary: "A member is more than ten thousand entries behind the leader.",
        quiet_at: "6m30s",
        fires_at: "7m30s",
        course: &[("carrel_raft_peer_lag_entries{ordinal=\"2\",peer=\"7\"}", "3x20 20000x40")],
        labels: &[("ordinal", "2")],
    },
    Alert {
        name: "CarrelDiskFillsUp",
        severity: Warning,
        expression: "predict_linear(carrel_filesystem_available_bytes{NODES}[1h], 4 * 3600) < 0 \
                     and carrel_filesystem_available_bytes{NODES} / carrel_filesystem_size_bytes{NODES} < 0.4",
        lasting: "15m",
        summary: "At this rate the disk of a node is full within four hours.",
        quiet_at: "1h20m",
        fires_at: "3h30m",
        // Ten gigabytes, of which 5 MB go every quarter of a minute.
        course: &[
            ("carrel_filesystem_available_bytes", "10000000000-10000000x900"),
            ("carrel_filesystem_size_bytes", "10000000000x900"),
        ],
        labels: &[("instance", "a")],
    },
    Alert {
        name: "CarrelDiskFull",
        severity: Critical,
        expression: "carrel_raft_disk_full{NODES} == 1",
        lasting: "0s",
        summary: "A node has no room for more of the log.",
        quiet_at: "4m45s",
        fires_at: "5m15s",
        course: &[("carrel_raft_disk_full", "0x20 1x20")],
        labels: &[("instance", "a")],
    },
    Alert {
        name: "CarrelSyncSlow",
        severity: Warning,
        expression: "histogram_quantile(0.99, sum by (BY, pod, instance, le) \
                     (rate(carrel_raft_log_sync_seconds_bucket{NODES}[5m]))) > 0.1",
        lasting: "5m",
        summary: "One sync of the log in a hundred takes more than a tenth of a second.",
        quiet_at: "4m",
        fires_at: "12m",
        course: &[
            ("carrel_raft_log_sync_seconds_bucket{le=\"0.1\"}", "0+90x60"),
            ("carrel_raft_log_sync_seconds_bucket{le=\"0.25\"}", "0+100x60"),
            ("carrel_raft_log_sync_seconds_bucket{le=\"+Inf\"}", "0+100x60"),
        ],
        labels: &[("instance", "a")],
    },
    Alert {
        name: "CarrelClocksApart",
        severity: Warning,
        expression: "max by (BY) (carrel_raft_clock_spread_seconds{NODES}) > 0.5",
        lasting: "5m",
        summary: "The clocks of two nodes are more than half a second apart.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_raft_clock_spread_seconds", "0.01x20 2x60")],
        labels: &[],
    },
    Alert {
        name: "CarrelNodeNotServing",
        severity: Warning,
        expression: "carrel_node_serving{NODES} == 0",
        lasting: "5m",
        summary: "A node has not served clients for five minutes.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_node_serving", "1x20 0x60")],
        labels: &[("instance", "a")],
    },
    Alert {
        name: "CarrelCallsFail",
        severity: Critical,
        expression: r#"sum by (BY) (rate(carrel_grpc_requests_total{NODES,code=~"UNAVAILABLE|INTERNAL|UNKNOWN|DATA_LOSS|DEADLINE_EXCEEDED"}[5m])) / sum by (BY) (rate(carrel_grpc_requests_total{NODES}[5m])) > 0.05"#,
        lasting: "5m",
        summary: "More than one call in twenty is not answered.",
        quiet_at: "9m",
        fires_at: "16m",
        course: &[
            ("carrel_grpc_requests_total{code=\"OK\"}", "0+90x80"),
            ("carrel_grpc_requests_total{code=\"UNAVAILABLE\"}", "0x20 0+10x60"),
            // A refusal by the rules is an answer.
            ("carrel_grpc_requests_total{code=\"FAILED_PRECONDITION\"}", "0+50x80"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelRecordStopped",
        severity: Warning,
        expression: "max by (BY) (carrel_projection_following{NODES}) == 0",
        lasting: "10m",
        summary: "Nobody writes to Postgres; bookings go on, and reports grow old.",
        quiet_at: "14m",
        fires_at: "16m",
        course: &[
            ("carrel_projection_following", "1x20 0x60"),
            ("carrel_projection_following{instance=\"b\"}", "0x80"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelRecordBehind",
        severity: Warning,
        expression: "max by (BY) (carrel_projection_lag_seconds{NODES}) > 300",
        lasting: "10m",
        summary: "Postgres is more than five minutes behind.",
        quiet_at: "14m",
        fires_at: "16m",
        course: &[("carrel_projection_lag_seconds", "2x20 400x60")],
        labels: &[],
    },
    Alert {
        name: "CarrelNothingDelivered",
        severity: Warning,
        // Mail and events apart: where events arrive, mail may still be stuck.
        expression: "sum by (BY, channel) (increase(carrel_deliveries_total{NODES,outcome=\"failed\"}[30m])) > 0 \
                     and sum by (BY, channel) (increase(carrel_deliveries_total{NODES,outcome=\"sent\"}[30m])) == 0",
        lasting: "15m",
        summary: "Mail or events are tried and none has gone out for half an hour.",
        quiet_at: "34m",
        fires_at: "1h",
        // At ten minutes the mail server goes away; events go on.
        course: &[
            ("carrel_deliveries_total{channel=\"mail\",outcome=\"sent\"}", "0+1x40 40x240"),
            ("carrel_deliveries_total{channel=\"mail\",outcome=\"failed\"}", "0x40 1+1x240"),
            ("carrel_deliveries_total{channel=\"webhook\",outcome=\"sent\"}", "0+1x280"),
            ("carrel_deliveries_total{channel=\"webhook\",outcome=\"failed\"}", "0+1x280"),
        ],
        labels: &[("channel", "mail")],
    },
    Alert {
        name: "CarrelEventsGivenUp",
        severity: Warning,
        // A mail is also given up where an address leads nowhere, which is for its owner to mend.
        expression: "sum by (BY) (increase(carrel_deliveries_total{NODES,channel=\"webhook\",outcome=\"given_up\"}[1h])) > 0",
        lasting: "0s",
        summary: "A receiver of events was away for so long that it has missed some for good.",
        quiet_at: "5m",
        fires_at: "6m",
        course: &[
            ("carrel_deliveries_total{channel=\"webhook\",outcome=\"given_up\"}", "0x20 3x60"),
            ("carrel_deliveries_total{channel=\"mail\",outcome=\"given_up\"}", "0+1x80"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelCertificateEnds",
        severity: Warning,
        expression: "min by (BY, directory) (carrel_tls_certificate_not_after_timestamp_seconds{NODES}) - time() < 14 * 86400",
        lasting: "1h",
        summary: "A certificate expires within two weeks, and nobody has replaced it.",
        quiet_at: "1h30m",
        fires_at: "2h10m",
        // Two weeks and an hour after the beginning of time.
        course: &[("carrel_tls_certificate_not_after_timestamp_seconds{directory=\"cluster\"}", "1213200x600")],
        labels: &[("directory", "cluster")],
    },
    Alert {
        name: "CarrelBackupOld",
        severity: Warning,
        expression: "time() - max by (BY) (max_over_time(carrel_backup_last_timestamp_seconds{NODES}[7d])) > 26 * 3600",
        lasting: "0s",
        summary: "The last whole backup is more than a day old.",
        quiet_at: "4m",
        fires_at: "6m",
        // A node forgets it when it starts again, and Prometheus does not.
        // Five minutes less than what is too old, before the beginning of time.
        course: &[("carrel_backup_last_timestamp_seconds", "-93300x40")],
        labels: &[],
    },
    Alert {
        name: "CarrelMembersOnOneMachine",
        severity: Warning,
        expression: r#"count by (BY, node) (carrel_node_serving{NODES,node!=""}) > 1"#,
        lasting: "15m",
        summary: "One machine carries two nodes of a cluster, which one failure then takes.",
        quiet_at: "14m",
        fires_at: "16m",
        course: &[
            ("carrel_node_serving{node=\"m1\"}", "1x80"),
            ("carrel_node_serving{node=\"m1\",instance=\"b\"}", "1x80"),
            ("carrel_node_serving{node=\"m2\",instance=\"c\"}", "1x80"),
        ],
        labels: &[("node", "m1")],
    },
    Alert {
        name: "CarrelMembersInOneZone",
        severity: Warning,
        expression: r#"count by (BY) (count by (BY, zone) (carrel_node_serving{NODES,zone!=""})) == 1 and count by (BY) (carrel_node_serving{NODES,zone!=""}) > 1"#,
        lasting: "15m",
        summary: "All nodes of a cluster are in one zone, which one failure then takes.",
        quiet_at: "24m",
        fires_at: "26m",
        // The node in another zone goes after ten minutes.
        course: &[
            ("carrel_node_serving{zone=\"z1\"}", "1x120"),
            ("carrel_node_serving{zone=\"z1\",instance=\"b\"}", "1x120"),
            ("carrel_node_serving{zone=\"z2\",instance=\"c\"}", "1x40 stale"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelOperatorAbsent",
        severity: Warning,
        expression: "max by (BY) (carrel_operator_is_leader{OPERATORS}) < 1",
        lasting: "5m",
        summary: "No operator looks after the cluster; it goes on as it is.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_operator_is_leader", "1x20 0x60"), ("carrel_operator_is_leader{instance=\"b\"}", "0x80")],
        labels: &[],
    },
    Alert {
        name: "CarrelOperatorFailing",
        severity: Warning,
        expression: r#"sum by (BY) (rate(carrel_operator_failures_total{OPERATORS,class!="Conflict"}[10m])) > 0.05"#,
        lasting: "15m",
        summary: "Passes of the operator do not come to their end.",
        quiet_at: "14m",
        fires_at: "30m",
        course: &[
            ("carrel_operator_failures_total{class=\"Api\"}", "0+3x160"),
            ("carrel_operator_failures_total{class=\"Conflict\"}", "0+9x160"),
        ],
        labels: &[],
    },
    Alert {
        name: "CarrelOperatorIdle",
        severity: Warning,
        expression: "max by (BY) (carrel_operator_is_leader{OPERATORS}) == 1 \
                     and sum by (BY) (rate(carrel_operator_reconcile_seconds_count{OPERATORS}[10m])) == 0",
        lasting: "10m",
        summary: "The operator that works has not looked at a cluster for ten minutes.",
        quiet_at: "18m",
        fires_at: "28m",
        course: &[("carrel_operator_is_leader", "1x160"), ("carrel_operator_reconcile_seconds_count", "0+1x20 20x140")],
        labels: &[],
    },
    Alert {
        name: "CarrelOperatorStale",
        severity: Warning,
        expression: "max by (BY) (carrel_operator_watch_age_seconds{OPERATORS}) > 900",
        lasting: "5m",
        summary: "The operator has not asked the API server for news for a quarter of an hour; what it says may be old.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_operator_watch_age_seconds", "100x20 1000x60")],
        labels: &[],
    },
    Alert {
        name: "CarrelStatusStale",
        severity: Warning,
        expression: "max by (BY) (carrel_operator_status_age_seconds{OPERATORS}) > 300",
        lasting: "5m",
        summary: "The status of a cluster has not been verified for five minutes, and may not be so any more.",
        quiet_at: "9m",
        fires_at: "11m",
        course: &[("carrel_operator_status_age_seconds", "30x20 400x60")],
        labels: &[],
    },
    Alert {
        name: "CarrelOperatorStuck",
        severity: Warning,
        expression: r#"sum by (BY, reason) (increase(carrel_operator_decisions_total{OPERATORS,outlook="stuck"}[10m])) > 0"#,
        lasting: "15m",
        summary: "The operator knows no safe step, and a person has to decide.",
        quiet_at: "14m",
        fires_at: "22m",
        course: &[("carrel_operator_decisions_total{outlook=\"stuck\",reason=\"QuorumLost\"}", "0x20 0+1x100")],
        labels: &[("reason", "QuorumLost")],
    },
    Alert {
        name: "CarrelRolloutStuck",
        severity: Warning,
        expression: r#"sum by (BY) (increase(carrel_operator_decisions_total{OPERATORS,outlook=~"busy|waiting",reason=~"RollingOut|RolloutFailed"}[10m])) > 0"#,
        lasting: "1h",
        summary: "A rollout has been under way for an hour.",
        quiet_at: "50m",
        fires_at: "1h15m",
        course: &[("carrel_operator_decisions_total{outlook=\"waiting\",reason=\"RollingOut\"}", "0+1x400")],
        labels: &[],
    },
    Alert {
        name: "CarrelReplacementLoop",
        severity: Warning,
        expression: r#"sum by (BY) (increase(carrel_operator_decisions_total{OPERATORS,reason="ReplacingVolume"}[1h])) > 3"#,
        lasting: "0s",
        summary: "More than three volumes were replaced within an hour.",
        quiet_at: "1m",
        fires_at: "10m",
        course: &[("carrel_operator_decisions_total{outlook=\"busy\",reason=\"ReplacingVolume\"}", "0x8 0+1x8 8x40")],
        labels: &[],
    },
];
