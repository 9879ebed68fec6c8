//! What an operator of a replicated service meets, and the tests that show what becomes of it. What needs machines,
//! kubelets or disks of its own is told on real clusters, and is here only as far as it can be shown without them.

use std::path::{Path, PathBuf};

/// Each case, and its tests: functions of this crate's tests, of its modules or of the planner, or stories of the
/// planner by the names of their files.
const CASES: &[(&str, &[&str])] = &[
    (
        "from one to three to five to three to one, the leader among those who go",
        &["one_three_five_three_one_with_the_leader_among_those_who_go", "scale_up.txt", "scale_down_leader.txt"],
    ),
    (
        "a larger cluster whose pod finds no machine: given up in time, the voters untouched",
        &["a_pod_that_finds_no_machine_is_given_up_in_time_and_the_voters_stay_who_they_are"],
    ),
    (
        "three, five and three again in the middle of it",
        &[
            "another_wish_in_the_middle_of_growing_is_followed_before_and_after_the_voters_have_changed",
            "spec_flaps.txt",
        ],
    ),
    (
        "a smaller cluster while one who stays is behind: a guard says no, and an event says why",
        &["nobody_votes_less_while_one_who_stays_is_behind_and_an_event_says_why", "scale_down_denied.txt"],
    ),
    (
        "an operator that dies at any step of anything",
        &[
            "an_operator_may_die_of_any_effect",
            "an_operator_may_die_of_any_effect_of_a_recovery",
            "performer_dies.txt",
            "bootstrap_interrupted.txt",
            "founding_half_done.txt",
        ],
    ),
    (
        "several operators at once, without an election",
        &["three_operators_at_once_do_no_harm", "three_operators_at_once_recover_once", "stale_view.txt"],
    ),
    (
        "an operator that sees an old object, an old cluster, or not all that happened",
        &[
            "an_operator_that_sees_an_old_object_does_nothing_that_matters",
            "stale_scale_down.txt",
            "no_world_in_reach_breaks_a_promise",
        ],
    ),
    ("pods that die while no operator runs", &["an_operator_that_was_away_for_ten_minutes_catches_up"]),
    (
        "partitions: the leader, a majority, a minority, the operator alone",
        &[
            "a_leader_that_is_cut_off_is_followed_by_another_and_left_alone",
            "leader_cut_off.txt",
            "minority_down.txt",
            "mute_node.txt",
            "quorum_lost.txt",
        ],
    ),
    (
        "objects that make no sense, or change what cannot change",
        &["what_makes_no_sense_is_refused_with_a_reason", "what_cannot_change_is_refused_with_a_reason"],
    ),
    ("rights: each that is used, and none that is not", &["the_operator_needs_its_role_and_no_more"]),
    ("clocks that jump by an hour", &["a_clock_that_jumps_by_an_hour_harms_nobody"]),
    ("a malformed object beside others", &["a_malformed_object_keeps_nobody_from_the_others"]),
    ("a watch that dies without a word", &["a_watch_that_is_not_asked_for_again_is_stale"]),
    ("ten settled minutes", &["ten_settled_minutes_write_no_status_and_make_few_calls"]),
    // What real clusters tell, too.
    (
        "a volume lost: of a follower, of the leader, of ordinal zero, of two in turn",
        &[
            "a_lost_volume_is_replaced_under_a_new_id",
            "the_volume_of_ordinal_zero_is_lost_and_nothing_is_founded_anew",
            "lost_disk.txt",
            "lost_disk_leader.txt",
            "lost_disk_twice.txt",
        ],
    ),
    (
        "a volume of an earlier cluster, or of a member that was removed",
        &["a_mixed_set_is_left_alone_and_told_what_helps", "returning_volume.txt", "returning_volume_in_time.txt"],
    ),
    (
        "a new image: the leader last; a bad one stops at the first and goes back; the fix goes through",
        &[
            "a_new_image_goes_to_followers_first_and_to_the_leader_last",
            "the_first_node_on_a_new_image_proves_it_for_a_minute",
            "an_image_that_does_not_start_stops_at_the_first_node_and_the_fix_goes_through",
            "with_one_node_down_already_that_one_goes_first_and_the_quorum_is_kept",
        ],
    ),
    ("a machine that is gone", &["a_machine_that_is_gone_is_explained_and_its_voter_left_alone"]),
    (
        "a majority lost: reported, surveyed, approved, carried out once; old volumes that return",
        &[
            "a_lost_quorum_is_reported_with_who_is_missing_and_nothing_is_done",
            "what_is_left_is_told_and_nothing_is_done_before_somebody_approves",
            "what_was_approved_stays_approved",
            "what_was_approved_is_carried_out_and_the_others_join_as_new_ones",
            "what_has_changed_since_it_was_approved_is_not_done",
            "a_node_that_began_without_the_order_is_restarted_until_it_obeys",
            "nobody_begins_without_the_order_however_late_kubelets_hear_of_it",
            "an_operator_that_has_not_heard_of_the_approval_takes_nobody_the_order_away",
            "an_order_outlives_the_status_it_was_recorded_in",
            "old_volumes_that_return_late_are_not_used_as_they_were",
            "a_backup_makes_another_cluster_where_every_volume_is_gone",
        ],
    ),
    ("hibernation", &["a_hibernating_cluster_wakes_as_it_was", "what_cannot_change_is_refused_with_a_reason"]),
    ("a larger volume", &["volumes_grow_and_no_pod_is_restarted"]),
    ("keys that are renewed", &["an_authority_is_changed_in_steps_that_each_node_has_followed"]),
    ("another version of the operator", &["a_new_operator_restarts_nobody"]),
    (
        "an object deleted and made again",
        &[
            "an_object_that_is_deleted_and_made_again_goes_on_with_its_volumes",
            "what_was_decided_for_an_object_that_is_gone_is_not_done_to_the_next",
            "what_cannot_be_recorded_any_more_is_not_done",
        ],
    ),
    (
        "a cluster whose status was lost",
        &["a_cluster_whose_status_was_lost_is_taken_over", "a_status_may_be_erased_at_any_moment", "adopted.txt"],
    ),
];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the workspace can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_case_has_its_tests() {
    let mut found = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    let is_source = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a source can be read");
    let sources: Vec<String> = found.iter().filter(is_source).map(read).collect();
    let mut missing = Vec::new();
    for (case, tests) in CASES {
        for test in *tests {
            let is_there = match test.strip_suffix(".txt") {
                Some(_) => found.iter().any(|path| path.ends_with(format!("scripts/{test}"))),
                None => sources.iter().any(|source| {
                    source.split(&format!("fn {test}()")).next().is_some_and(|before| {
                        before.len() < source.len()
                            && before.trim_end().trim_end_matches("async").trim_end().ends_with(']')
                    })
                }),
            };
            if !is_there {
                missing.push(format!("{case}: {test}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
}
