//! The dashboards. Written below manifests/dashboards/ and drawn from here.

use crate::source::{Board, Shape, Unit, panel};

pub fn all() -> [Board; 4] {
    [raft(), library(), operator(), service()]
}

pub fn raft() -> Board {
    Board {
        id: "raft",
        title: "Raft",
        question: "Who leads, do commits advance, who lags, and is the disk quick enough?",
        panels: vec![
            panel("Leader over time", Unit::Count, "Which node led when. A gap in all of them is a time without a leader.", &[
                ("carrel_raft_is_leader{NODES}", "{{instance}}"),
            ])
            .shaped(Shape::Timeline("leads", "follows"))
            .wide(16)
            .runbook("CarrelNoLeader"),
            panel("Voters that may fail", Unit::Count, "Before nothing can be decided any more.", &[
                ("min by (namespace, carrel_cluster) (carrel_raft_quorum_margin{NODES})", "{{carrel_cluster}}"),
            ])
            .shaped(Shape::Number)
            .wide(4)
            .warns(1.0, 0.0)
            .runbook("CarrelQuorumMarginZero"),
            panel("Leader", Unit::Count, "Its id, as most nodes say.", &[
                ("max by (namespace, carrel_cluster) (carrel_raft_leader_id{NODES})", "{{carrel_cluster}}"),
            ])
            .shaped(Shape::Number)
            .wide(4),
            panel("Commit index", Unit::Count, "Of every node. They rise together, at least once a second.", &[
                ("carrel_raft_commit_index{NODES}", "{{instance}}"),
            ]),
            panel("Applied index", Unit::Count, "Of every node.", &[("carrel_raft_applied_index{NODES}", "{{instance}}")]),
            panel("Term", Unit::Count, "Rises with every election; a staircase is an unstable cluster.", &[
                ("carrel_raft_term{NODES}", "{{instance}}"),
            ])
            .runbook("CarrelLeaderFlapping"),
            panel("Entries behind the leader", Unit::Count, "Of each member, as the leader knows it.", &[
                ("max by (ordinal, peer) (carrel_raft_peer_lag_entries{NODES})", "replica {{ordinal}} (node {{peer}})"),
            ])
            .warns(1_000.0, 10_000.0)
            .runbook("CarrelFollowerLagging"),
            panel("Committed and not applied", Unit::Count, "Of every node: work that its state has before it.", &[
                ("carrel_raft_commit_index{NODES} - carrel_raft_applied_index{NODES}", "{{instance}}"),
            ]),
            panel("Since the last answer", Unit::Seconds, "Of each member to the leader, and of a majority to it.", &[
                ("max by (ordinal, peer) (carrel_raft_peer_ack_age_seconds{NODES})", "replica {{ordinal}} (node {{peer}})"),
                ("max by (carrel_cluster) (carrel_raft_quorum_ack_age_seconds{NODES})", "a majority"),
            ])
            .warns(1.0, 10.0)
            .runbook("CarrelMemberSilent"),
            panel("Elections", Unit::Count, "In five minutes: stood for, and leaders that a node learnt of.", &[
                ("increase(carrel_raft_elections_total{NODES}[5m])", "stood, {{instance}}"),
                ("increase(carrel_raft_leader_changes_total{NODES}[5m])", "learnt, {{instance}}"),
            ])
            .runbook("CarrelLeaderFlapping"),
            panel("Votes asked for", Unit::PerSecond, "By others of this node. Pre-votes without votes: somebody hears no leader.", &[
                ("sum by (kind) (rate(carrel_raft_vote_requests_total{NODES}[1m]))", "{{kind}}"),
            ]),
            panel("Sync of the log, 99 of 100", Unit::Seconds, "How long the disk takes to make a batch durable.", &[
                ("histogram_quantile(0.99, sum by (instance, le) (rate(carrel_raft_log_sync_seconds_bucket{NODES}[1m])))", "{{instance}}"),
            ])
            .warns(0.05, 0.1)
            .runbook("CarrelSyncSlow"),
            panel("Append, half and 99 of 100", Unit::Seconds, "To write and sync a batch.", &[
                ("histogram_quantile(0.5, sum by (le) (rate(carrel_raft_log_append_seconds_bucket{NODES}[1m])))", "half"),
                ("histogram_quantile(0.99, sum by (le) (rate(carrel_raft_log_append_seconds_bucket{NODES}[1m])))", "99 of 100"),
            ]),
            panel("Entries in one sync", Unit::Count, "On average: under load many share one.", &[
                ("rate(carrel_raft_log_entries_total{NODES}[1m]) / rate(carrel_raft_log_syncs_total{NODES}[1m])", "{{instance}}"),
                ("histogram_quantile(0.99, sum by (le) (rate(carrel_raft_log_batch_entries_bucket{NODES}[1m])))", "99 of 100, all nodes"),
            ]),
            panel("Written to the log", Unit::BytesPerSecond, "By every node.", &[
                ("rate(carrel_raft_log_bytes_total{NODES}[1m])", "{{instance}}"),
            ]),
            panel("Proposals", Unit::PerSecond, "By what became of them, on whoever led.", &[
                ("sum by (result) (rate(carrel_raft_proposals_total{NODES}[1m]))", "{{result}}"),
            ])
            .shaped(Shape::Stacked),
            panel("A proposal, half and 99 of 100", Unit::Seconds, "Until a majority has it and it is applied.", &[
                ("histogram_quantile(0.5, sum by (le) (rate(carrel_raft_proposal_seconds_bucket{NODES}[1m])))", "half"),
                ("histogram_quantile(0.99, sum by (le) (rate(carrel_raft_proposal_seconds_bucket{NODES}[1m])))", "99 of 100"),
            ]),
            panel("Applying, 99 of 100", Unit::Seconds, "What was committed together, in memory.", &[
                ("histogram_quantile(0.99, sum by (instance, le) (rate(carrel_raft_apply_seconds_bucket{NODES}[1m])))", "{{instance}}"),
            ]),
            panel("Applied together", Unit::Count, "Entries, on average.", &[
                ("rate(carrel_raft_apply_batch_entries_sum{NODES}[1m]) / rate(carrel_raft_apply_batch_entries_count{NODES}[1m])", "{{instance}}"),
            ]),
            panel("Snapshots and what is purged", Unit::Count, "Entries since the last snapshot, and entries that are kept.", &[
                ("carrel_raft_applied_index{NODES} - carrel_raft_snapshot_index{NODES}", "since, {{instance}}"),
                ("carrel_raft_last_log_index{NODES} - carrel_raft_purged_index{NODES}", "kept, {{instance}}"),
            ]),
            panel("Room on the disk", Unit::Share, "Of the filesystem that holds the log.", &[
                ("carrel_filesystem_available_bytes{NODES} / carrel_filesystem_size_bytes{NODES}", "{{instance}}"),
            ])
            .warns(0.2, 0.1)
            .runbook("CarrelDiskFillsUp"),
            panel("Between the clocks", Unit::Seconds, "Those furthest apart, of a majority's.", &[
                ("max by (carrel_cluster) (carrel_raft_clock_spread_seconds{NODES})", "{{carrel_cluster}}"),
            ])
            .warns(0.1, 0.5)
            .runbook("CarrelClocksApart"),
            panel("Members", Unit::Count, "Voters and learners, as the nodes know them.", &[
                ("max by (carrel_cluster) (carrel_raft_voters{NODES})", "voters"),
                ("max by (carrel_cluster) (carrel_raft_learners{NODES})", "learners"),
            ]),
            panel("Known to have the log", Unit::Count, "Of each member, up to which entry.", &[
                ("max by (ordinal, peer) (carrel_raft_peer_matched_index{NODES})", "replica {{ordinal}} (node {{peer}})"),
            ]),
            panel("Who is who", Unit::Count, "Ids belong to the contents of a volume and are never used again.", &[
                ("carrel_node_info{NODES}", ""),
                ("carrel_raft_voted_for{NODES}", ""),
            ])
            .shaped(Shape::Table)
            .wide(24),
        ],
    }
}

pub fn library() -> Board {
    Board {
        id: "library",
        title: "Library",
        question: "Where are seats free, who is refused and why, who waits?",
        panels: vec![
            panel(
                "Occupancy",
                Unit::Share,
                "Of each branch, now.",
                &[(
                    "1 - max by (branch) (carrel_seats_free{NODES}) / (max by (branch) (carrel_seats{NODES}) > 0)",
                    "{{branch}}",
                )],
            )
            .wide(12),
            panel(
                "Seats free",
                Unit::Count,
                "Of each branch, now.",
                &[("max by (branch) (carrel_seats_free{NODES})", "{{branch}}")],
            )
            .wide(12),
            panel(
                "Granted",
                Unit::PerSecond,
                "Bookings, holds and walk-ins of each branch.",
                &[("max by (branch) (rate(carrel_claims_begun_total{NODES}[5m]))", "{{branch}}")],
            ),
            panel(
                "Refused",
                Unit::PerSecond,
                "By reason. Every no that a client hears is here.",
                &[("sum by (reason) (rate(carrel_refusals_total{NODES}[5m]))", "{{reason}}")],
            )
            .shaped(Shape::Stacked),
            panel(
                "Claims",
                Unit::Count,
                "What occupies seats now or later, by state.",
                &[("sum by (state) (max by (branch, state) (carrel_claims{NODES}))", "{{state}}")],
            )
            .shaped(Shape::Stacked),
            panel(
                "In line",
                Unit::Count,
                "People who wait, by branch.",
                &[("max by (branch) (carrel_waits{NODES})", "{{branch}}")],
            ),
            panel(
                "Offers",
                Unit::Count,
                "In an hour, by what became of them.",
                &[(
                    "sum by (outcome) (max by (branch, outcome) (increase(carrel_offers_total{NODES}[1h])))",
                    "{{outcome}}",
                )],
            ),
            panel(
                "How stays ended",
                Unit::Count,
                "In an hour.",
                &[(
                    "sum by (state) (max by (branch, state) (increase(carrel_claims_ended_total{NODES}[1h])))",
                    "{{state}}",
                )],
            )
            .shaped(Shape::Stacked),
            panel(
                "Mails and events sent out",
                Unit::Count,
                "Attempts in an hour, by what became of them: what fails is tried again, what is given up is not.",
                &[(
                    "sum by (channel, outcome) (increase(carrel_deliveries_total{NODES}[1h]))",
                    "{{channel}}, {{outcome}}",
                )],
            ),
            panel(
                "No-shows by branch",
                Unit::Count,
                "In an hour.",
                &[(
                    r#"max by (branch) (increase(carrel_claims_ended_total{NODES,state="no_show"}[1h]))"#,
                    "{{branch}}",
                )],
            ),
            panel(
                "Repeated requests",
                Unit::PerSecond,
                "Answered from memory: a retry is free.",
                &[(
                    "sum by (carrel_cluster) (rate(carrel_request_record_hits_total{NODES}[5m]))",
                    "{{carrel_cluster}}",
                )],
            ),
            panel(
                "What the state holds",
                Unit::Count,
                "By kind.",
                &[("max by (kind) (carrel_state_objects{NODES})", "{{kind}}")],
            ),
        ],
    }
}

pub fn operator() -> Board {
    Board {
        id: "operator",
        title: "Operator",
        question: "What did the operator decide, what did its guards deny, and is it at work at all?",
        panels: vec![
            panel(
                "At work",
                Unit::Count,
                "One of them works, the others stand by.",
                &[("carrel_operator_is_leader{OPERATORS}", "{{instance}}")],
            )
            .shaped(Shape::Timeline("works", "stands by"))
            .wide(16)
            .runbook("CarrelOperatorAbsent"),
            panel(
                "Oldest watch",
                Unit::Seconds,
                "Since it was asked for. They are asked for anew every few minutes.",
                &[("max by (namespace) (carrel_operator_watch_age_seconds{OPERATORS})", "{{namespace}}")],
            )
            .shaped(Shape::Number)
            .wide(4)
            .warns(600.0, 900.0)
            .runbook("CarrelOperatorStale"),
            panel(
                "Oldest status",
                Unit::Seconds,
                "Since it was verified. A settled cluster is looked at every half minute.",
                &[("max by (namespace) (carrel_operator_status_age_seconds{OPERATORS})", "{{namespace}}")],
            )
            .shaped(Shape::Number)
            .wide(4)
            .warns(120.0, 300.0)
            .runbook("CarrelStatusStale"),
            panel(
                "Decisions",
                Unit::Count,
                "In five minutes, by what the pass expects: settled, busy, waiting, stuck.",
                &[("sum by (outlook) (increase(carrel_operator_decisions_total{OPERATORS}[5m]))", "{{outlook}}")],
            )
            .shaped(Shape::Stacked)
            .runbook("CarrelOperatorStuck"),
            panel(
                "Decisions by reason",
                Unit::Count,
                "In five minutes. Status and events have them in words.",
                &[("sum by (reason) (increase(carrel_operator_decisions_total{OPERATORS}[5m]))", "{{reason}}")],
            )
            .shaped(Shape::Stacked),
            panel(
                "Denied by a guard",
                Unit::Count,
                "In five minutes: steps that would have cost a majority.",
                &[("sum by (guard) (increase(carrel_operator_guard_denied_total{OPERATORS}[5m]))", "{{guard}}")],
            ),
            panel(
                "A pass, half and 99 of 100",
                Unit::Seconds,
                "From looking to the status written.",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(carrel_operator_reconcile_seconds_bucket{OPERATORS}[5m])))",
                        "half",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(carrel_operator_reconcile_seconds_bucket{OPERATORS}[5m])))",
                        "99 of 100",
                    ),
                ],
            ),
            panel(
                "Passes",
                Unit::PerSecond,
                "And those that did not come to their end.",
                &[
                    ("sum by (namespace) (rate(carrel_operator_reconcile_seconds_count{OPERATORS}[5m]))", "all"),
                    ("sum by (class) (rate(carrel_operator_failures_total{OPERATORS}[5m]))", "{{class}}"),
                ],
            )
            .runbook("CarrelOperatorFailing"),
            panel(
                "Disruption",
                Unit::Count,
                "Nodes stopped on purpose that are not back yet, and the steps of the last five minutes.",
                &[
                    ("max by (namespace) (carrel_operator_disruption_open{OPERATORS})", "nodes away"),
                    (
                        r#"sum by (reason) (increase(carrel_operator_decisions_total{OPERATORS,outlook="busy"}[5m]))"#,
                        "{{reason}}",
                    ),
                ],
            ),
            panel(
                "Asked of the API server",
                Unit::PerSecond,
                "By verb and code.",
                &[(
                    "sum by (verb, code) (rate(carrel_operator_api_requests_total{OPERATORS}[5m]))",
                    "{{verb}} {{code}}",
                )],
            ),
            panel(
                "Statuses written, and conflicts",
                Unit::PerSecond,
                "A quiet cluster is written to not at all.",
                &[
                    ("sum by (namespace) (rate(carrel_operator_status_writes_total{OPERATORS}[5m]))", "statuses"),
                    ("sum by (namespace) (rate(carrel_operator_conflicts_total{OPERATORS}[5m]))", "conflicts"),
                ],
            ),
        ],
    }
}

pub fn service() -> Board {
    Board {
        id: "service",
        title: "Service",
        question: "Are people answered, how quickly, and does the record follow?",
        panels: vec![
            panel("Serving", Unit::Count, "Which nodes take clients.", &[("carrel_node_serving{NODES}", "{{instance}}")])
                .shaped(Shape::Timeline("serves", "does not"))
                .wide(16)
                .runbook("CarrelNodeNotServing"),
            panel("Calls", Unit::PerSecond, "By method.", &[
                ("sum by (method) (rate(carrel_grpc_requests_total{NODES}[1m]))", "{{method}}"),
            ])
            .shaped(Shape::Stacked),
            panel("Calls by code", Unit::PerSecond, "A refusal by the rules is an answer, and has a code of its own.", &[
                ("sum by (code) (rate(carrel_grpc_requests_total{NODES}[1m]))", "{{code}}"),
            ])
            .shaped(Shape::Stacked),
            panel("Not answered", Unit::Share, "Calls that ended for reasons of ours, of all.", &[
                (
                    r#"(sum by (carrel_cluster) (rate(carrel_grpc_requests_total{NODES,code=~"UNAVAILABLE|INTERNAL|UNKNOWN|DATA_LOSS|DEADLINE_EXCEEDED"}[1m])) or 0 * sum by (carrel_cluster) (rate(carrel_grpc_requests_total{NODES}[1m]))) / sum by (carrel_cluster) (rate(carrel_grpc_requests_total{NODES}[1m]))"#,
                    "{{carrel_cluster}}",
                ),
            ])
            .warns(0.01, 0.05)
            .runbook("CarrelCallsFail"),
            panel("An answer, 99 of 100", Unit::Seconds, "By method.", &[
                ("histogram_quantile(0.99, sum by (method, le) (rate(carrel_grpc_request_seconds_bucket{NODES}[1m])))", "{{method}}"),
            ])
            .warns(0.25, 1.0),
            panel("An answer, half", Unit::Seconds, "By method.", &[
                ("histogram_quantile(0.5, sum by (method, le) (rate(carrel_grpc_request_seconds_bucket{NODES}[1m])))", "{{method}}"),
            ]),
            panel("Streams", Unit::Count, "Open, by method.", &[("sum by (method) (carrel_grpc_streams{NODES})", "{{method}}")]),
            panel("Readers too slow", Unit::PerSecond, "Streams that were closed because nobody took anything.", &[
                (r#"sum by (carrel_cluster) (rate(carrel_refusals_total{NODES,reason="SLOW_CONSUMER"}[5m])) or 0 * sum by (carrel_cluster) (carrel_node_serving{NODES})"#, "{{carrel_cluster}}"),
            ]),
            panel("Handed to the leader", Unit::PerSecond, "By nodes that others dialled, by outcome.", &[
                ("sum by (result) (rate(carrel_raft_forwarded_total{NODES}[1m]))", "{{result}}"),
            ]),
            panel("Questions for a fresh read", Unit::PerSecond, "To the leader; many readers share one.", &[
                ("sum by (instance) (rate(carrel_raft_read_index_rounds_total{NODES}[1m]))", "{{instance}}"),
            ]),
            panel("Record behind", Unit::Seconds, "Age of the oldest change that Postgres does not have.", &[
                ("max by (carrel_cluster) (carrel_projection_lag_seconds{NODES})", "{{carrel_cluster}}"),
            ])
            .warns(10.0, 300.0)
            .runbook("CarrelRecordBehind"),
            panel("Record behind, in entries", Unit::Count, "And the changes that are kept for it.", &[
                ("max by (carrel_cluster) (carrel_projection_lag_entries{NODES})", "entries"),
                ("max by (carrel_cluster) (carrel_projection_lag_events{NODES})", "changes"),
            ])
            .runbook("CarrelRecordBehind"),
            panel("Written to Postgres", Unit::PerSecond, "Rows, transactions, and times that something was in the way.", &[
                ("sum by (carrel_cluster) (rate(carrel_projection_rows_total{NODES}[1m]))", "rows"),
                ("sum by (carrel_cluster) (rate(carrel_projection_transactions_total{NODES}[1m]))", "transactions"),
                ("sum by (carrel_cluster) (rate(carrel_projection_failures_total{NODES}[1m]))", "failures"),
            ])
            .runbook("CarrelRecordStopped"),
            panel("Record written by", Unit::Count, "The leader follows; parked rows wait for a person.", &[
                ("carrel_projection_following{NODES}", "{{instance}}"),
                ("max by (carrel_cluster) (carrel_projection_parked_rows{NODES})", "parked rows"),
            ])
            .runbook("CarrelRecordStopped"),
            panel("Memory", Unit::Bytes, "Of each node; nearly all of it is the state.", &[
                ("carrel_process_resident_memory_bytes{NODES}", "{{instance}}"),
            ]),
            panel("Processor", Unit::Count, "Cores taken by each node.", &[
                ("rate(carrel_process_cpu_seconds_total{NODES}[1m])", "{{instance}}"),
            ]),
            panel("Open files and connections", Unit::Count, "Of each node.", &[
                ("carrel_process_open_files{NODES}", "{{instance}}"),
            ]),
            panel("Certificates end", Unit::Moment, "What is shown to others.", &[
                ("1000 * min by (directory) (carrel_tls_certificate_not_after_timestamp_seconds{NODES})", "{{directory}}"),
            ])
            .shaped(Shape::Number)
            .runbook("CarrelCertificateEnds"),
            panel("Last backup", Unit::Moment, "That was sent whole.", &[
                ("1000 * max by (carrel_cluster) (carrel_backup_last_timestamp_seconds{NODES})", "{{carrel_cluster}}"),
            ])
            .shaped(Shape::Number)
            .runbook("CarrelBackupOld"),
            panel("Certificates", Unit::PerSecond, "Changes of their files, and connections without a right one.", &[
                ("sum by (outcome) (rate(carrel_tls_reloads_total{NODES}[5m]))", "files {{outcome}}"),
                ("sum by (carrel_cluster) (rate(carrel_tls_handshakes_refused_total{NODES}[5m])) or 0 * sum by (carrel_cluster) (carrel_node_serving{NODES})", "refused"),
            ]),
        ],
    }
}
