//! Replicas in one process, told once for real machines and once in virtual time.

mod belonging;
mod bounds;
mod cluster;
mod histories;
mod disks;
mod machines;
mod reading;
mod resizing;
mod rush;
mod stories;
mod wires;

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

use carrel_node::raft::types::Types;

mod told {
    pub use crate::belonging::*;
    pub use crate::bounds::*;
    pub use crate::disks::*;
    pub use crate::histories::*;
    pub use crate::reading::*;
    pub use crate::resizing::*;
    pub use crate::rush::*;
    pub use crate::stories::*;
}

/// The simulation tries many; here it is about the stories.
const SEEDS: u64 = 1;

/// Each story twice. In virtual time a story that hangs ends after a virtual minute.
macro_rules! told_twice {
    ($($story:ident),* $(,)?) => {
        mod on_real_machines {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    crate::told::$story::<crate::machines::RealMachines>().await;
                }
            )*
        }
        mod in_virtual_time {
            $(
                #[test]
                fn $story() {
                    for seed in 1..=crate::SEEDS {
                        crate::in_virtual_time(seed, crate::told::$story::<crate::machines::VirtualMachines>());
                    }
                }
            )*
        }
    };
}

told_twice! {
    a_write_anywhere_is_read_everywhere,
    what_an_earlier_release_does_not_know_waits_for_it,
    clients_wait_until_the_cluster_is_formed,
    a_founding_that_was_interrupted_is_finished,
    the_death_of_a_leader_is_a_pause,
    a_request_repeated_elsewhere_is_answered_once,
    everything_is_there_after_all_were_killed,
    a_stopping_leader_hands_over,
    all_that_are_asked_to_end_at_once_end_soon,
    a_lost_disk_is_replaced_under_a_new_id,
    a_snapshot_of_nothing_is_refused_and_ends_nobody,
    a_volume_under_another_address_takes_no_part,
    an_isolated_leader_answers_nothing,
    time_passes_while_nobody_asks,
    a_token_is_honoured_or_refused,
    what_a_peer_hands_over_is_looked_at,
    a_disk_that_cannot_sync_ends_the_node,
    a_disk_that_cannot_sync_a_new_identity_ends_the_node,
    replicas_at_one_index_have_one_state,
    a_survivor_goes_on_alone_and_grows,
    the_most_advanced_survivor_is_told_from_the_others,
    a_backup_becomes_another_cluster,
    an_old_volume_that_comes_back_is_told_so,
    a_removed_node_learns_it_though_nobody_sends_it_the_entry,
    who_is_cut_off_does_not_take_itself_for_removed,
    a_volume_of_another_cluster_is_refused_both_ways,
    what_is_not_for_a_node_is_refused_and_so_is_all_before_it_is_somebody,
    a_copy_of_a_volume_is_noticed,
    what_would_lose_the_majority_is_refused_with_the_numbers,
    it_grows_to_seven_and_shrinks_to_one_under_load,
    many_readers_share_one_round,
    the_same_request_through_all_nodes_at_once_is_done_once,
    two_bodies_under_one_id_at_once_are_one_and_a_refusal,
    a_node_takes_on_so_much_and_no_more,
    what_nobody_waits_for_is_not_proposed,
    a_full_disk_on_one_node_stops_nobody_else,
    a_leader_without_room_lets_another_lead,
    full_disks_on_two_nodes_are_a_clear_refusal_until_there_is_room,
    a_full_disk_does_not_end_a_node_that_starts_on_it,
    a_snapshot_has_all_that_was_acknowledged_though_another_was_being_written,
    writes_go_on_while_a_slow_disk_takes_a_snapshot,
    the_log_takes_no_more_room_however_much_is_written,
    everybody_at_the_door_at_once,
    a_damaged_newest_snapshot_is_made_up_for_by_the_one_before_and_the_log,
}

fn in_virtual_time(seed: u64, story: impl Future<Output = ()> + Send) {
    let limited = async {
        let told = Types::<SimRuntime>::timeout(Duration::from_secs(60), story).await;
        assert!(told.is_ok(), "seed {seed}: the story does not end");
    };
    SimRuntime::with_seed(seed).block_on(limited);
}
