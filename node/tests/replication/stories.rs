//! What three replicas promise.

use std::time::Duration;

use bytes::Bytes;
use carrel_domain::format::LEVEL;
use carrel_domain::history::PseudonymSecret;
use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, Request};
use carrel_node::raft::cluster::SEED;
use carrel_node::raft::identity::{IdentityError, MemberOf};
use carrel_node::raft::log_request::LogRequest;
use carrel_node::raft::membership::AdminError;
use carrel_node::raft::node::{JoinError, OpenError};
use carrel_node::raft::peers::Proposed;
use carrel_node::raft::running::{Failure, StartError};
use carrel_node::raft::settings::Settings;
use carrel_node::replica::{Freshness, NotServing, ReadError, WriteError};
use openraft::Instant;
use uuid::Uuid;

use crate::cluster::{CLUSTER, Cluster, knows, registration};
use crate::machines::Machines;

/// For stories in which nobody will answer.
fn impatient() -> Settings {
    Settings {
        leader_wait: Duration::from_millis(800),
        outcome_wait: Duration::from_secs(1),
        catch_up_wait: Duration::from_millis(300),
        ..Settings::default()
    }
}

pub async fn a_write_anywhere_is_read_everywhere<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    for (slot, name) in ["ada", "bo", "cy"].into_iter().enumerate() {
        let answer = cluster.register(slot, name).await.expect("a leader");
        assert!(answer.result.is_ok() && !answer.replayed);
        for reader in 0..3 {
            assert!(cluster.sees(reader, name).await, "{name} on {reader}");
        }
    }
    let status = cluster.node(1).status().await;
    assert!(status.is_formed && status.voter_sets.len() == 1 && status.is_membership_committed);
    assert_eq!(status.members.iter().filter(|member| member.says.is_some()).count(), 3);
}

pub async fn clients_wait_until_the_cluster_is_formed<M: Machines>() {
    let cluster = Cluster::<M>::pristine(Settings::default()).await;
    assert_eq!(cluster.register(0, "ada").await, Err(WriteError::NotServing(NotServing::NotJoined)));
    let not_the_seed = cluster.node(0).initialize(CLUSTER, Uuid::from_u128(99), 3).await;
    assert!(matches!(not_the_seed, Err(JoinError::OtherIncarnation { .. })), "{not_the_seed:?}");
    let identity = cluster.initialize(0, CLUSTER, 3).await.expect("pristine");
    assert_eq!(cluster.initialize(0, CLUSTER, 3).await.expect("the same again"), identity);
    let other = cluster.initialize(0, Uuid::from_u128(99), 3).await;
    assert!(matches!(other, Err(JoinError::Identity(IdentityError::AlreadyMember { .. }))), "{other:?}");
    assert_eq!(cluster.register(0, "ada").await, Err(WriteError::NotServing(NotServing::Forming)));
    let tick = cluster.replica(0).propose_system(Action::Tick).await;
    assert!(tick.is_ok(), "the cluster's own tasks may begin");
}

pub async fn a_founding_that_was_interrupted_is_finished<M: Machines>() {
    // The first is stopped before it has begun, the last after it was done.
    for limit_ms in (0..=400).step_by(40) {
        let mut cluster = Cluster::<M>::pristine(Settings::default()).await;
        let was_founded = cluster.founded_within(0, Duration::from_millis(limit_ms)).await;
        cluster.kill(0).await;
        cluster.start(0).await;
        if was_founded {
            let knows = || cluster.node(0).local_status().membership_position.is_some();
            cluster.until("it remembers that it was founded", knows).await;
        }
        cluster.initialize(0, CLUSTER, 3).await.expect("the same again");
        assert!(cluster.node(0).local_status().membership_position.is_some());
        cluster.plug(0);
        cluster.take_in(1).await;
    }
    let mut cluster = Cluster::<M>::pristine(Settings::default()).await;
    let seed = cluster.node(0).identity().incarnation;
    let place = MemberOf { cluster_id: CLUSTER, lineage: 0, node_id: SEED };
    cluster.node(0).join(seed, 0, place).await.expect("the first half of a founding");
    cluster.kill(0).await;
    cluster.start(0).await;
    assert_eq!(cluster.node(0).local_status().membership_position, None, "nobody takes it for a cluster");
    cluster.initialize(0, CLUSTER, 3).await.expect("the second half");
    cluster.plug(0);
    cluster.take_in(1).await;
}

pub async fn the_death_of_a_leader_is_a_pause<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let dead = cluster.leader().await;
    cluster.register(dead, "ada").await.expect("a leader");
    cluster.kill(dead).await;
    let begun = cluster.now();
    let survivor = cluster.follower().await;
    let answer = cluster.register(survivor, "bo").await.expect("a majority lives");
    assert!(answer.result.is_ok());
    assert!(begun.elapsed() < M::FAILOVER_LIMIT, "{:?}", begun.elapsed());
    cluster.start(dead).await;
    for slot in 0..3 {
        for name in ["ada", "bo"] {
            assert!(cluster.sees(slot, name).await, "{name} on {slot}");
        }
    }
}

pub async fn a_request_repeated_elsewhere_is_answered_once<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let leader = cluster.leader().await;
    let first = cluster.register(leader, "ada").await.expect("a leader");
    cluster.kill(leader).await;
    let survivor = cluster.follower().await;
    let again = cluster.register(survivor, "ada").await.expect("a majority lives");
    assert!(again.replayed);
    assert_eq!((again.result, again.at), (first.result, first.at));
    let mut other = registration("ada");
    if let Some(retry) = &mut other.retry {
        retry.digest += 1;
    }
    let reused = cluster.replica(survivor).write(other).await.expect("a majority lives");
    assert_eq!(reused.result, Err(Refusal::RequestIdReused));
}

pub async fn everything_is_there_after_all_were_killed<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    for number in 0..20 {
        cluster.register(number % 3, &format!("reader-{number}")).await.expect("a leader");
    }
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    for slot in 0..3 {
        cluster.start(slot).await;
    }
    for slot in 0..3 {
        for number in 0..20 {
            assert!(cluster.sees(slot, &format!("reader-{number}")).await, "{number} on {slot}");
        }
    }
    assert!(cluster.register(1, "ada").await.expect("a leader").result.is_ok());
}

pub async fn a_stopping_leader_hands_over<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let leader = cluster.leader().await;
    let stranger = cluster.node(leader).transfer_leadership(Some(12_345)).await;
    assert_eq!(stranger, Err(AdminError::NotAMember(12_345)));
    let follower = cluster.follower().await;
    let new = cluster.node(leader).transfer_leadership(Some(cluster.id(follower))).await.expect("it is alive");
    assert_eq!(new.leader, cluster.id(follower));
    // It leads once the first entry of its term is applied; until then the old leader may not know that it does not.
    cluster.until("the heir leads", || cluster.replica(follower).leadership().get().is_some()).await;
    assert_eq!(cluster.leader().await, follower);

    cluster.register(follower, "ada").await.expect("a leader");
    cluster.stop(follower).await;
    let next = cluster.leader().await;
    assert!(cluster.register(next, "bo").await.expect("a leader").result.is_ok());
    cluster.start(follower).await;
    assert!(cluster.sees(follower, "ada").await && cluster.sees(follower, "bo").await);
}

pub async fn all_that_are_asked_to_end_at_once_end_soon<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.leader().await;
    let begun = cluster.now();
    let end = async |slot: usize| {
        cluster.node(slot).hand_over().await;
        cluster.node(slot).stop().await;
    };
    // Nobody is left to hand over to.
    futures_util::join!(end(0), end(1), end(2));
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

pub async fn a_lost_disk_is_replaced_under_a_new_id<M: Machines>() {
    let settings =
        Settings { snapshot_log_bytes: 4_000, snapshot_check: Duration::from_millis(20), ..Settings::default() };
    let mut cluster = Cluster::<M>::formed(settings).await;
    let lost = cluster.follower().await;
    let lost_id = cluster.id(lost);
    cluster.kill(lost).await;
    let leader = cluster.leader().await;
    let snapshot_index = |cluster: &Cluster<M>| {
        cluster
            .node(leader)
            .local_status()
            .members
            .iter()
            .find_map(|member| member.says)
            .expect("itself")
            .snapshot_index
    };
    for number in 0..120 {
        cluster.register(leader, &format!("reader-{number}")).await.expect("a majority lives");
    }
    cluster.until("two snapshots are written", || snapshot_index(&cluster) > 60).await;

    cluster.wipe(lost);
    cluster.start(lost).await;
    assert_eq!(cluster.register(lost, "ada").await, Err(WriteError::NotServing(NotServing::NotJoined)));
    cluster.take_in(lost).await;
    assert_ne!(cluster.id(lost), lost_id);
    cluster.make_voters(&[0, 1, 2]).await;
    let leader = cluster.leader().await;
    let voter = cluster.id(lost);
    let refused = cluster.node(leader).remove_node(voter).await;
    assert!(matches!(refused, Err(AdminError::IsVoter { id, .. }) if id == voter), "{refused:?}");
    cluster.node(leader).remove_node(lost_id).await.expect("it is a learner by now");
    cluster.node(leader).remove_node(lost_id).await.expect("the same again");
    for number in 0..120 {
        assert!(cluster.sees(lost, &format!("reader-{number}")).await, "{number}");
    }
    assert_eq!(cluster.node(leader).status().await.members.len(), 3);
}

pub async fn a_snapshot_of_nothing_is_refused_and_ends_nobody<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let lost = cluster.follower().await;
    cluster.kill(lost).await;
    cluster.wipe(lost);
    cluster.start(lost).await;
    // It has its place, and nobody has told it anything yet.
    cluster.join(lost).await;
    let refused = cluster.node(lost).trigger_snapshot().await;
    assert_eq!(refused, Err(AdminError::NothingApplied));
    cluster.take_in(lost).await;
    cluster.node(lost).trigger_snapshot().await.expect("by now there is something to say");
}

pub async fn a_volume_under_another_address_takes_no_part<M: Machines>() {
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let moved = cluster.follower().await;
    cluster.register(moved, "ada").await.expect("a leader");
    cluster.stop(moved).await;
    let elsewhere = cluster.open(moved, 7).await;
    assert!(matches!(elsewhere, Err(OpenError::Start(StartError::Misplaced { found: 7, .. }))), "{elsewhere:?}");
    cluster.start(moved).await;
    assert!(cluster.sees(moved, "ada").await);
}

pub async fn an_isolated_leader_answers_nothing<M: Machines>() {
    let cluster = Cluster::<M>::formed(impatient()).await;
    let isolated = cluster.leader().await;
    cluster.register(isolated, "ada").await.expect("a leader");
    cluster.cut(isolated);
    let written = cluster.register(isolated, "lost").await;
    assert!(matches!(written, Err(WriteError::Unknown | WriteError::NoLeader)), "{written:?}");
    let read = cluster.replica(isolated).read(Freshness::Linearizable).await;
    assert_eq!(read.map(|_| ()), Err(ReadError::NoQuorum));
    let others: Vec<usize> = (0..3).filter(|slot| *slot != isolated).collect();
    assert!(cluster.register(others[0], "bo").await.expect("a majority").result.is_ok());
    cluster.mend(isolated);
    for slot in 0..3 {
        assert!(cluster.sees_at_last(slot, "bo").await, "on {slot}");
    }
}

pub async fn what_a_peer_hands_over_is_looked_at<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    let leader = cluster.node(cluster.leader().await);
    let before = cluster.replica(0).read(Freshness::Linearizable).await.expect("a leader");
    let foreign = Bytes::from_static(b"\xffwhat is this");
    let presumptuous = LogRequest::Library(Request::system(Action::Tick)).encode();
    for body in [foreign, presumptuous] {
        assert_eq!(
            leader.inbound().propose(body, Duration::from_secs(5)).await,
            Proposed::NotProposed { leader: None }
        );
    }
    let after = cluster.replica(0).read(Freshness::Linearizable).await.expect("a leader");
    assert!(after.at().index <= before.at().index + 1, "at most a tick");
}

pub async fn time_passes_while_nobody_asks<M: Machines>() {
    let cluster = Cluster::<M>::formed(Settings::default()).await;
    cluster.register(2, "ada").await.expect("a leader");
    assert!(cluster.sees(2, "ada").await);
    let before = cluster.replica(2).view().at();
    cluster.pause(Duration::from_millis(2_500)).await;
    let after = cluster.replica(2).view().at();
    let passed_us = after.time.0 - before.time.0;
    assert!((1_000_000..=6_000_000).contains(&passed_us), "{passed_us}");
    assert!(after.index - before.index <= 6, "a tick each second and no more");
}

pub async fn a_token_is_honoured_or_refused<M: Machines>() {
    let cluster = Cluster::<M>::formed(impatient()).await;
    let answer = cluster.register(0, "ada").await.expect("a leader");
    let token = |lineage, index| Freshness::AtLeast { lineage, index };
    for slot in 0..3 {
        let view = cluster.replica(slot).read(token(0, answer.at.index)).await.expect("it is on its way");
        assert!(knows(&view, "ada"));
    }
    let read = |freshness| {
        let replica = cluster.replica(1);
        async move { replica.read(freshness).await.map(|_| ()) }
    };
    assert_eq!(read(token(1, 1)).await, Err(ReadError::ForeignToken), "of another lineage");
    assert_eq!(read(token(0, 1_000_000)).await, Err(ReadError::ForeignToken), "from the future");

    let follower = cluster.follower().await;
    let replica = cluster.replica(follower);
    let stale = Freshness::MaxStaleness(Duration::from_millis(700));
    replica.read(stale).await.expect("a leader");
    cluster.cut(follower);
    replica.read(stale).await.expect("fresh enough without a leader");
    cluster.pause(Duration::from_millis(750)).await;
    assert_eq!(replica.read(stale).await.map(|_| ()), Err(ReadError::NoQuorum));
}

pub async fn a_disk_that_cannot_sync_ends_the_node<M: Machines>() {
    let cluster = Cluster::<M>::formed(impatient()).await;
    let leader = cluster.leader().await;
    if !cluster.break_disk(leader) {
        return;
    }
    let written = cluster.register(leader, "ada").await;
    assert!(written.is_ok() || written == Err(WriteError::Unknown), "{written:?}");
    let failure = cluster.node(leader).failed().await;
    assert!(matches!(failure, Failure::Log(_) | Failure::Replication(_)), "{failure:?}");
    assert!(cluster.register((leader + 1) % 3, "bo").await.expect("a majority lives").result.is_ok());
}

pub async fn a_disk_that_cannot_sync_a_new_identity_ends_the_node<M: Machines>() {
    let cluster = Cluster::<M>::pristine(impatient()).await;
    if !cluster.break_disk(0) {
        return;
    }
    assert!(!cluster.founded_within(0, Duration::from_secs(1)).await);
    let failure = cluster.node(0).failed().await;
    assert!(matches!(failure, Failure::Volume(_)), "{failure:?}");
}

/// What a member does not know would stop it, so it does not enter the log before every member knows it.
pub async fn what_an_earlier_release_does_not_know_waits_for_it<M: Machines>() {
    let secret = || PseudonymSecret([3; 32]);
    let mut cluster = Cluster::<M>::formed(Settings::default()).await;
    let follower = cluster.follower().await;
    cluster.stop(follower).await;
    cluster.say_level(0);
    cluster.start(follower).await;
    cluster.until("it is back", || cluster.replica(follower).serving().is_ok()).await;
    let leader = cluster.leader().await;
    let draw = || Action::SetPseudonymKey { secret: secret() };
    assert_eq!(cluster.replica(leader).propose_system(draw()).await, Err(WriteError::EarlierRelease));
    assert_eq!(cluster.replica(leader).view().history().pseudonym_secret(), None);
    cluster.stop(follower).await;
    assert_eq!(cluster.replica(leader).propose_system(draw()).await, Err(WriteError::EarlierRelease), "or no answer");
    cluster.say_level(LEVEL);
    cluster.start(follower).await;
    cluster.until("it is back", || cluster.replica(follower).serving().is_ok()).await;
    let leader = cluster.leader().await;
    cluster.replica(leader).propose_system(draw()).await.expect("all know it");
    let has_it = || cluster.replica(follower).view().history().pseudonym_secret() == Some(&secret());
    cluster.until("everybody has it", has_it).await;
}
