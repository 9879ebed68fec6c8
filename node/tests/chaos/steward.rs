//! The suite's operator: looks at the replicas, asks the planner for the one next safe step, performs it, and looks
//! again. It is what brings lost members back and makes the cluster larger and smaller.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::bail;
use carrel_membership::{ClusterId, Desired, Founding, Node, Observed, Ordinal, Plan, Replicas, Running, Step};
use carrel_proto::client::{Client, Options};
use carrel_steward::{Doors, Limits};
use uuid::Uuid;

use crate::cluster::{Cluster, answers};
use crate::replica::Replica;

const LIMITS: Limits = Limits {
    look: Duration::from_millis(500),
    // It may wait for a change of membership to commit, among faults.
    step: Duration::from_secs(5),
};
/// Longer than whoever holds a process for a fault holds it: these steps are not left half done.
const PROCESS_LIMIT: Duration = Duration::from_secs(60);
const LOOK_BUSY: Duration = Duration::from_millis(30);
const LOOK_IDLE: Duration = Duration::from_millis(150);

/// What an operator keeps outside the replicas' volumes.
struct Record {
    founding: Founding,
    running: Running,
}

/// For as long as the suite runs.
pub async fn look_after(cluster: &Cluster) {
    let mut record = Record { founding: Founding::Never, running: Running { count: 0, generation: 0 } };
    let admins: BTreeMap<Ordinal, Client> = cluster.replicas.iter().map(admin).collect();
    loop {
        let wanted = Replicas::try_from(cluster.wanted()).expect("the suite wants sizes that there are");
        let plan = carrel_membership::plan(&observe(cluster, &record).await, &Desired { replicas: wanted });
        let pause = match &plan {
            Plan::Next { step, .. } => {
                let limit = match step {
                    Step::Run { .. } | Step::SetVolumeAside { .. } => PROCESS_LIMIT,
                    _ => 2 * LIMITS.step,
                };
                // A step that fails is planned again after the next look.
                let running = admins.range(..Ordinal(record.running.count)).map(|(at, admin)| (*at, admin.clone()));
                let doors = Doors::new(running, LIMITS);
                match tokio::time::timeout(limit, perform(cluster, &doors, &mut record, step)).await {
                    Ok(Ok(())) => LOOK_BUSY,
                    Ok(Err(_)) | Err(_) => LOOK_IDLE,
                }
            }
            Plan::Settled | Plan::Waiting(_) | Plan::Stuck(_) => LOOK_IDLE,
        };
        tokio::time::sleep(pause).await;
    }
}

fn admin(replica: &Replica) -> (Ordinal, Client) {
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let client = Client::new([replica.admin_url()], options).expect("a well-formed address");
    (Ordinal(replica.ordinal), client)
}

async fn observe(cluster: &Cluster, record: &Record) -> Observed {
    let mut nodes: BTreeMap<Ordinal, Node> =
        (0..record.running.count).map(|ordinal| (Ordinal(ordinal), Node::Unknown)).collect();
    let answers = answers(&cluster.look().await);
    nodes.extend(answers.nodes());
    Observed { founding: record.founding, running: record.running, nodes, view: answers.view() }
}

async fn perform(cluster: &Cluster, doors: &Doors, record: &mut Record, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Run { count, generation } => run(cluster, doors, record, *count, *generation).await?,
        Step::ClaimFounding { ordinal: _, seed, expected, wanted_voters } if record.founding == *expected => {
            let id = ClusterId(Uuid::new_v4().as_u128());
            record.founding = Founding::Claimed { cluster: id, seed: *seed, wanted_voters: *wanted_voters };
        }
        Step::ClaimFounding { .. } => bail!("decided on an old look"),
        Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
            doors.initialize(*ordinal, *seed, *cluster, *wanted_voters).await?;
        }
        Step::RecordFounded { cluster: id } => record.founding = Founding::Done { cluster: *id },
        Step::Admit { ordinal, incarnation } => doors.admit(*ordinal, *incarnation).await?,
        Step::AddLearner { node_id, expected } => doors.add_learner(*node_id, *expected).await?,
        Step::ChangeVoters { voters, expected } => doors.change_voters(voters, *expected).await?,
        Step::TransferLeadership { to } => doors.transfer_leadership(*to).await?,
        Step::RemoveNode { node_id } => doors.remove_node(*node_id).await?,
        Step::SetVolumeAside { ordinal, incarnation } => {
            let replica = cluster.replica(ordinal.0);
            let mut process = replica.process().await;
            // It may have become somebody else while this waited.
            doors.check_volume(*ordinal, *incarnation).await?;
            replica.stop(&mut process).await;
            replica.wipe();
            replica.start(&mut process);
        }
    }
    Ok(())
}

async fn run(cluster: &Cluster, doors: &Doors, record: &mut Record, count: u32, generation: u64) -> anyhow::Result<()> {
    if record.running.generation != generation {
        bail!("decided on an old look");
    }
    let before = record.running.count;
    if count < before {
        doors.check_nobody_lives_above(count).await?;
    }
    record.running = Running { count, generation: generation + 1 };
    cluster.running.store(count, Ordering::SeqCst);
    for ordinal in before..count {
        let replica = cluster.replica(ordinal);
        replica.start(&mut *replica.process().await);
    }
    for ordinal in count..before {
        let replica = cluster.replica(ordinal);
        replica.stop(&mut *replica.process().await).await;
    }
    Ok(())
}
