//! Going on after a majority was lost for good: nothing before somebody approves, exactly that afterwards, once.

use std::collections::BTreeSet;

use carrel_operator::crd::{RecoveryPhase, RecoveryStage};
use serde_json::json;

use crate::world::nodes::APPLIED_SECONDS;
use crate::world::{NAME, NAMESPACE, World};

/// A cluster of three that has lost two volumes, and somebody who asks what is left.
async fn lost() -> World {
    let mut world = World::settled(3).await;
    world.lose_volume(0);
    world.lose_volume(1);
    world.run(3).await;
    world.ask_for_recovery("mend", json!({}));
    world.run(2).await;
    world
}

/// As [`lost`], and approved.
async fn approved() -> World {
    let world = lost().await;
    let digest = world.recovery("mend").digest.expect("something is left");
    world.approve("mend", &digest);
    world
}

async fn until_recovered(world: &mut World) -> Vec<String> {
    let told = world.settle().await;
    world.run(2).await;
    assert_eq!(world.recovery("mend").phase, Some(RecoveryPhase::Done), "{told:#?}");
    told
}

#[tokio::test]
async fn what_is_left_is_told_and_nothing_is_done_before_somebody_approves() {
    let mut world = lost().await;
    world.run(10).await;
    let said = world.recovery("mend");
    assert_eq!(said.phase, Some(RecoveryPhase::AwaitingApproval));
    assert_eq!((said.chosen, said.new_lineage), (Some(2), Some(1)));
    assert_eq!(said.survivors.iter().map(|survivor| survivor.ordinal).collect::<Vec<_>>(), [2]);
    assert_eq!(said.kept_through.as_ref().map(|time| time.0.as_second()), Some(APPLIED_SECONDS));
    let message = said.message.expect("said");
    for part in ["ordinal 2", "lineage 1", "Nothing is missing of what was acknowledged until 2026-", "kubectl patch"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.contains(&said.digest.expect("a digest")), "{message}");
    assert_eq!((world.set()["spec"]["replicas"].as_u64(), world.nodes.lineage()), (Some(3), Some(0)));
    assert!(world.status().recovery.is_none());
    assert!(world.decision().contains("a CarrelRecovery with spec.cluster r"), "{}", world.decision());
    let writes = world.operator.metrics.status_writes();
    world.run(5).await;
    assert_eq!(world.operator.metrics.status_writes(), writes, "nothing moves while it is waited for");
}

#[tokio::test]
async fn what_was_approved_is_carried_out_and_the_others_join_as_new_ones() {
    let mut world = approved().await;
    let before = world.nodes.members();
    let told = until_recovered(&mut world).await;
    let at =
        |text: &str| told.iter().position(|why| why.contains(text)).unwrap_or_else(|| panic!("{text}:\n{told:#?}"));
    assert!(at("stop every node") < at("record that no node runs"), "{told:#?}");
    assert!(at("record that no node runs") < at("run ordinals 0 to 2"));
    assert!(at("run ordinals 0 to 2") < at("record that the cluster goes on as lineage 1"));
    assert_eq!(world.nodes.lineage(), Some(1));
    assert_eq!(world.nodes.voters().into_keys().collect::<BTreeSet<_>>(), [0, 1, 2].into());
    assert!(world.nodes.members().keys().all(|id| !before.contains_key(id)), "no id of before is used again");
    let status = world.status();
    assert_eq!((status.lineage, status.cluster_id), (Some(1), world.nodes.cluster_id()));
    assert!(world.is("RecoveryRequired", "False") && world.is("LineageConsistent", "True"));
    let recovery = status.recovery.expect("it stays on record");
    assert_eq!((recovery.stage, recovery.lineage, recovery.by.as_str()), (RecoveryStage::Begun, Some(1), "mend"));
    let maps = world.api.all("configmaps");
    let order = maps.iter().find_map(|map| map["data"]["order.json"].as_str()).expect("it stays, for who returns late");
    assert!(order.contains("\"lineage\":1") && !order.contains("survivor"), "{order}");
}

#[tokio::test]
async fn of_two_survivors_the_one_with_more_goes_on_and_the_other_keeps_what_it_had() {
    let mut world = World::settled(5).await;
    for at in [0, 1, 2] {
        world.lose_volume(at);
    }
    world.nodes.end_log_at(3, 7, 400);
    world.nodes.end_log_at(4, 7, 401);
    world.run(3).await;
    world.ask_for_recovery("mend", json!({}));
    world.run(1).await;
    let said = world.recovery("mend");
    assert_eq!((said.survivors.len(), said.chosen), (2, Some(4)));
    world.approve("mend", &said.digest.expect("a digest"));
    until_recovered(&mut world).await;
    assert_eq!(world.nodes.put_aside(), 1, "what ordinal 3 had is kept");
    assert_eq!(world.nodes.voters().len(), 5);
}

#[tokio::test]
async fn what_has_changed_since_it_was_approved_is_not_done() {
    let mut world = approved().await;
    world.nodes.end_log_at(2, 9, 900);
    world.run(5).await;
    let said = world.recovery("mend");
    assert_eq!(said.phase, Some(RecoveryPhase::AwaitingApproval));
    assert!(said.message.is_some_and(|message| message.contains("not what is there now")));
    assert_eq!((world.set()["spec"]["replicas"].as_u64(), world.nodes.lineage()), (Some(3), Some(0)));
    // Whoever still wants it asks again.
    world.ask_for_recovery("again", json!({}));
    world.run(2).await;
    world.approve("again", &world.recovery("again").digest.expect("a digest"));
    world.settle().await;
    world.run(2).await;
    assert_eq!(world.nodes.lineage(), Some(1));
    assert_eq!(world.recovery("again").phase, Some(RecoveryPhase::Done));
    assert_eq!(world.recovery("mend").phase, Some(RecoveryPhase::Failed), "the members decide for themselves again");
}

#[tokio::test]
async fn a_majority_that_comes_back_decides_for_itself() {
    let mut world = World::settled(3).await;
    world.nodes.cut_off(0, true);
    world.nodes.cut_off(1, true);
    world.run(3).await;
    world.ask_for_recovery("mend", json!({}));
    world.run(1).await;
    let said = world.recovery("mend");
    assert_eq!(said.phase, Some(RecoveryPhase::AwaitingApproval));
    assert!(said.message.as_ref().is_some_and(|message| message.contains("do not answer: 0, 1")), "{said:?}");
    world.nodes.cut_off(0, false);
    world.run(2).await;
    assert_eq!(world.recovery("mend").phase, Some(RecoveryPhase::Surveying));
    world.approve("mend", &said.digest.expect("a digest"));
    world.run(2).await;
    assert_eq!(world.recovery("mend").phase, Some(RecoveryPhase::Failed));
    world.nodes.cut_off(1, false);
    world.settle().await;
    assert_eq!(world.nodes.lineage(), Some(0));
}

#[tokio::test]
async fn a_recovery_of_a_well_cluster_is_not_needed() {
    let mut world = World::settled(3).await;
    world.ask_for_recovery("mend", json!({ "approve": "0123456789abcdef" }));
    world.run(2).await;
    let said = world.recovery("mend");
    assert_eq!(said.phase, Some(RecoveryPhase::Failed));
    assert!(said.message.is_some_and(|message| message.contains("nothing to recover")));
    assert_eq!(world.nodes.lineage(), Some(0));
}

/// A cluster of three of which two do not answer and keep their volumes, and somebody who approved to go on without.
async fn approved_beside_old_volumes() -> World {
    let mut world = World::settled(3).await;
    world.nodes.cut_off(0, true);
    world.nodes.cut_off(1, true);
    world.run(3).await;
    world.ask_for_recovery("mend", json!({}));
    world.run(1).await;
    world.approve("mend", &world.recovery("mend").digest.expect("a digest"));
    world
}

/// What was approved is on record; who did not answer does again from here on.
async fn begins(world: &mut World) {
    world.run(1).await;
    assert!(world.status().recovery.is_some(), "it begins");
    for at in [0, 1] {
        world.nodes.cut_off(at, false);
    }
}

/// Two of three old volumes would go on as before, together, if kubelets started their nodes on what they remember.
#[tokio::test]
async fn nobody_begins_without_the_order_however_late_kubelets_hear_of_it() {
    let mut world = approved_beside_old_volumes().await;
    world.is_order_late = true;
    let told = world.run(12).await;
    assert!(!told.iter().any(|why| why.contains("whose history is over")), "somebody began as before: {told:#?}");
    assert_eq!((world.pods().len(), world.nodes.running()), (3, Vec::new()), "they wait for it");
    world.is_order_late = false;
    for at in [0, 1] {
        world.nodes.cut_off(at, false);
    }
    until_recovered(&mut world).await;
    assert_eq!((world.nodes.lineage(), world.nodes.put_aside()), (Some(1), 2));
}

/// It has not been told yet that something was approved, and works on nevertheless.
#[tokio::test]
async fn an_operator_that_has_not_heard_of_the_approval_takes_nobody_the_order_away() {
    let mut world = approved_beside_old_volumes().await;
    let past = world.object();
    begins(&mut world).await;
    let late = world.another_operator();
    let mut told = Vec::new();
    for _ in 0..16 {
        told.extend(world.run(1).await);
        late.attempts.succeeded(NAMESPACE, NAME);
        let _ = world.pass_on(&late, past.clone()).await;
        world.tick();
    }
    assert!(!told.iter().any(|why| why.contains("whose history is over")), "somebody began as before: {told:#?}");
    until_recovered(&mut world).await;
    assert_eq!((world.nodes.lineage(), world.nodes.put_aside()), (Some(1), 2));
}

/// Machines that were away return when nobody remembers any more, by the status, that anything was ever recovered.
#[tokio::test]
async fn an_order_outlives_the_status_it_was_recorded_in() {
    let mut world = approved_beside_old_volumes().await;
    begins(&mut world).await;
    world.unfit(1, true);
    world.run(10).await;
    assert_eq!(world.recovery("mend").phase, Some(RecoveryPhase::Done));
    world.erase_status();
    world.restart_operator();
    world.run(3).await;
    assert!(world.status().recovery.is_none(), "nobody remembers it");
    world.unfit(1, false);
    world.settle().await;
    assert_eq!((world.nodes.lineage(), world.nodes.put_aside()), (Some(1), 2));
    assert_eq!(world.nodes.voters().len(), 3);
}

/// As if somebody had started it by hand.
#[tokio::test]
async fn a_node_that_began_without_the_order_is_restarted_until_it_obeys() {
    let mut world = approved_beside_old_volumes().await;
    world.is_order_ignored = true;
    let told = world.run(8).await;
    assert!(told.iter().any(|why| why.contains("whose history is over")), "{told:#?}");
    assert_eq!(world.nodes.lineage(), Some(0), "nobody obeys yet");
    world.is_order_ignored = false;
    world.advance(61);
    world.run(4).await;
    assert_eq!(world.nodes.lineage(), Some(1));
    // The other two began without it, too.
    for at in [0, 1] {
        world.nodes.cut_off(at, false);
    }
    until_recovered(&mut world).await;
    assert_eq!((world.nodes.lineage(), world.nodes.put_aside()), (Some(1), 2));
}

/// Machines that were gone during the recovery return with their volumes, and with processes that know nothing of it.
#[tokio::test]
async fn old_volumes_that_return_late_are_not_used_as_they_were() {
    let mut world = World::settled(3).await;
    world.lose_machine(0);
    world.lose_machine(1);
    world.run(3).await;
    world.advance(200);
    world.ask_for_recovery("mend", json!({}));
    world.run(1).await;
    world.approve("mend", &world.recovery("mend").digest.expect("a digest"));
    world.run(10).await;
    assert_eq!((world.nodes.lineage(), world.recovery("mend").phase), (Some(1), Some(RecoveryPhase::Done)));
    for at in [0, 1] {
        world.nodes.cut_off(at, false);
    }
    world.run(2).await;
    assert_eq!(world.nodes.voters().len(), 1, "they are of a history that is over");
    // Their machines finish what they were told.
    for at in [0, 1] {
        world.api.remove("pods", NAMESPACE, &format!("{NAME}-{at}"));
    }
    world.settle().await;
    assert_eq!((world.nodes.voters().len(), world.nodes.put_aside()), (3, 2));
}

#[tokio::test]
async fn while_the_pod_of_the_chosen_one_cannot_be_stopped_nothing_begins() {
    let mut world = approved().await;
    world.lose_machine(2);
    world.nodes.cut_off(2, false);
    world.run(3).await;
    world.advance(500);
    world.run(3).await;
    assert_eq!(world.nodes.lineage(), Some(0));
    assert!(world.decision().contains("not stopped yet: 2"), "{}", world.decision());
    world.api.remove("pods", NAMESPACE, "r-2");
    until_recovered(&mut world).await;
    assert_eq!(world.nodes.lineage(), Some(1));
}

#[tokio::test]
async fn a_backup_makes_another_cluster_where_every_volume_is_gone() {
    let mut world = World::settled(3).await;
    let before = world.nodes.cluster_id();
    for at in 0..3 {
        world.lose_volume(at);
    }
    world.run(3).await;
    world.ask_for_recovery("hope", json!({}));
    world.run(1).await;
    let said = world.recovery("hope");
    assert_eq!(said.phase, Some(RecoveryPhase::Failed));
    assert!(said.message.is_some_and(|message| message.contains("names a backup")));

    world.ask_for_recovery("mend", json!({ "backup": { "claim": "backups", "path": "monday/library.backup" } }));
    world.run(1).await;
    let said = world.recovery("mend");
    assert_eq!(said.phase, Some(RecoveryPhase::AwaitingApproval));
    assert!(said.message.as_ref().is_some_and(|message| message.contains("after the backup was taken")), "{said:?}");
    world.approve("mend", &said.digest.expect("a digest"));
    let mut told = Vec::new();
    while world.pods().len() != 1 {
        told.extend(world.run(1).await);
        assert!(told.len() < 40, "{told:#?}");
    }
    let pod = &world.pods()["r-0"];
    let mounted = pod["spec"]["volumes"].as_array().expect("volumes");
    assert!(mounted.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == "backups"), "{mounted:#?}");
    until_recovered(&mut world).await;
    assert_ne!(world.nodes.cluster_id(), before, "it is another cluster");
    assert_eq!(world.status().cluster_id, world.nodes.cluster_id());
    assert_eq!((world.nodes.lineage(), world.nodes.voters().len()), (Some(5), 3));
    for pod in world.pods().values() {
        let mounted = pod["spec"]["volumes"].as_array().expect("volumes");
        assert!(mounted.iter().all(|volume| volume["persistentVolumeClaim"].is_null()), "the backup is let go of");
    }
}

/// The operator dies of every effect there is between the approval and a whole cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_die_of_any_effect_of_a_recovery() {
    let mut effect = 1;
    while dies_at(effect).await {
        effect += 1;
    }
    println!("{} deaths, each at another moment of a recovery, no harm", effect - 1);
    assert!(effect > 10, "a recovery has more effects than {}", effect - 1);
}

async fn dies_at(effect: u64) -> bool {
    let mut world = approved().await;
    world.api.crash.arm(effect);
    for _ in 0..200 {
        let crash = world.api.crash.clone();
        let died = tokio::select! {
            biased;
            () = crash.died() => true,
            outcome = world.pass() => {
                if outcome.is_err() {
                    world.operator.attempts.succeeded(NAMESPACE, NAME);
                }
                false
            }
        };
        if died {
            world.restart_operator();
            world.advance(121);
            until_recovered(&mut world).await;
            assert_eq!((world.nodes.lineage(), world.nodes.voters().len()), (Some(1), 3), "death of effect {effect}");
            world.assert_sound();
            return true;
        }
        if world.is("Ready", "True") && world.recovery("mend").phase == Some(RecoveryPhase::Done) {
            return false;
        }
    }
    panic!("neither recovered nor dead: {}", world.decision());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_operators_at_once_recover_once() {
    let mut world = approved().await;
    let operators = [world.operator.clone(), world.another_operator(), world.another_operator()];
    for _ in 0..40 {
        world.tick();
        futures_util::future::join_all(operators.iter().map(|operator| world.pass_of(operator))).await;
        for operator in &operators {
            operator.attempts.succeeded(NAMESPACE, NAME);
        }
        world.assert_sound();
    }
    world.advance(121);
    until_recovered(&mut world).await;
    assert_eq!((world.nodes.lineage(), world.nodes.voters().len()), (Some(1), 3));
}
