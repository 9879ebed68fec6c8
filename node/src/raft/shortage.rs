//! Full disks, as far as the cluster is concerned.
//!
//! A node without room takes no entries from its leader; it votes and answers heartbeats all the same, in what is left
//! of its last segment. If it leads, it lets another lead that has room. Only when too few have any are requests
//! refused, at the door: in the log they could be neither kept nor answered.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::Instant;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::async_runtime::Select2;

use crate::raft::leading::{is_majority, peer};
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::running::Running;
use crate::raft::types::{NodeId, Types};
use crate::raft::watched::Announcer;

/// How often a leader asks the others. A segment, which is what is left to one whose disk is full, takes longer to
/// fill.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Between two attempts to let another lead.
const HAND_OVER_EVERY: Duration = Duration::from_secs(2);

/// Whether a leader takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    Open,
    /// This node has no room, but a majority has: another will lead in a moment.
    Elsewhere,
    /// Fewer than a majority have room.
    Full,
}

pub type Doorkeeper<RT> = Announcer<RT, Intake>;

/// Keeps `intake` true for as long as the node runs.
pub async fn watch_room<P: Platform, N: Transport<P>>(running: Arc<Running<P, N>>) {
    let room = running.log.room();
    let mut waiting = room.watch();
    let mut handed_over_at = None;
    loop {
        let intake = if running.lead.leading().is_some() { survey(&running).await } else { Intake::Open };
        if running.intake.get() != intake {
            if intake == Intake::Full {
                tracing::error!("too few nodes have room on their disks: nothing can be changed until there is some");
            }
            running.intake.announce(intake);
        }
        let is_time = handed_over_at
            .is_none_or(|at: openraft::alias::InstantOf<Types<P::Runtime>>| at.elapsed() >= HAND_OVER_EVERY);
        if intake == Intake::Elsewhere && is_time {
            handed_over_at = Some(Types::<P::Runtime>::now());
            let to = successor(&running).await;
            match running.transfer_leadership(to).await {
                Ok(new) => tracing::info!(leader = new.leader, "leadership handed over for want of room"),
                Err(refusal) => tracing::warn!(%refusal, "leadership was not handed over"),
            }
        }
        let mut changed = pin!(waiting.changed());
        let mut pause = pin!(Types::<P::Runtime>::sleep(ASK_EVERY));
        match Types::<P::Runtime>::select2(changed.as_mut(), pause.as_mut()).await {
            Select2::First(true) | Select2::Second(()) => {}
            Select2::First(false) => return,
        }
    }
}

async fn survey<P: Platform, N: Transport<P>>(running: &Running<P, N>) -> Intake {
    let membership = running.membership();
    let (has_room, lacks_room) = rooms(running).await;
    match (lacks_room.contains(&running.me.node_id), is_majority(&membership, &has_room)) {
        // One that does not answer is openraft's matter: it may have room.
        _ if lacks_room.is_empty() => Intake::Open,
        (false, true) => Intake::Open,
        (true, true) => Intake::Elsewhere,
        (_, false) => Intake::Full,
    }
}

/// Of the voters that answer, those with room, and those without.
async fn rooms<P: Platform, N: Transport<P>>(running: &Running<P, N>) -> (Vec<NodeId>, Vec<NodeId>) {
    let membership = running.membership();
    let asked = membership.voter_ids().map(async |id| {
        let says = running.ask_status(peer(&membership, id)).await;
        (id, says.map(|says| says.is_disk_full))
    });
    let answers = join_all(asked).await;
    let with = |full: bool| answers.iter().filter(|(_, is)| *is == Some(full)).map(|(id, _)| *id).collect();
    (with(false), with(true))
}

/// Of those with room the one that has most of the log.
async fn successor<P: Platform, N: Transport<P>>(running: &Running<P, N>) -> Option<NodeId> {
    let (has_room, _) = rooms(running).await;
    let replication = {
        use openraft::async_runtime::WatchReceiver;
        running.raft.metrics().borrow_watched().replication.clone()
    };
    let matched = |id: &NodeId| replication.as_ref().and_then(|all| all.get(id).copied().flatten());
    has_room.into_iter().filter(|id| *id != running.me.node_id).max_by_key(matched)
}
