//! Three replicas in one process, told once for real machines and once in virtual time.

mod cluster;
mod histories;
mod machines;
mod stories;
mod wires;

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;

use carrel_node::raft::types::Types;

mod told {
    pub use crate::histories::*;
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
    clients_wait_until_the_cluster_is_formed,
    a_founding_that_was_interrupted_is_finished,
    the_death_of_a_leader_is_a_pause,
    a_request_repeated_elsewhere_is_answered_once,
    everything_is_there_after_all_were_killed,
    a_stopping_leader_hands_over,
    all_that_are_asked_to_end_at_once_end_soon,
    a_lost_disk_is_replaced_under_a_new_id,
    a_volume_under_another_address_takes_no_part,
    an_isolated_leader_answers_nothing,
    time_passes_while_nobody_asks,
    a_token_is_honoured_or_refused,
    what_a_peer_hands_over_is_looked_at,
    a_disk_that_cannot_sync_ends_the_node,
    replicas_at_one_index_have_one_state,
    a_survivor_goes_on_alone_and_grows,
    the_most_advanced_survivor_is_told_from_the_others,
    a_backup_becomes_another_cluster,
}

fn in_virtual_time(seed: u64, story: impl Future<Output = ()> + Send) {
    let limited = async {
        let told = Types::<SimRuntime>::timeout(Duration::from_secs(60), story).await;
        assert!(told.is_ok(), "seed {seed}: the story does not end");
    };
    SimRuntime::with_seed(seed).block_on(limited);
}
