//! A leader that has lost its vote lets a voter lead. openraft lets it go on for as long as it is a learner, counting
//! for no majority and in the way of whoever is to take it out.

use std::sync::Weak;
use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;

use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::running::Running;
use crate::raft::types::{Raft, Types};

/// Between two attempts, should the first not be heard.
const RETRY: Duration = Duration::from_millis(50);

/// Runs for as long as the node does.
pub async fn step_down_without_vote<P: Platform, N: Transport<P>>(raft: Raft<P>, running: Weak<Running<P, N>>) {
    let mut metrics = raft.metrics();
    loop {
        let deposed = {
            let seen = metrics.borrow_and_update();
            leads_without_vote(&seen).then(|| (seen.vote, *seen.membership_config.log_id()))
        };
        match deposed {
            Some((vote, membership)) => {
                let Some(running) = running.upgrade() else { return };
                match running.transfer_leadership(None).await {
                    Ok(new) => tracing::info!(leader = new.leader, "leads no more, for it has no vote any more"),
                    Err(error) => {
                        tracing::warn!(%error, "leads no more, for it has no vote any more; the others elect one");
                        // What is refused, because the node has stopped or follows by now, is as it should be.
                        let _ = raft.trigger().refresh_server_state(Some(vote), membership).await;
                    }
                }
                Types::<P::Runtime>::sleep(RETRY).await;
            }
            None => {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Only once that is committed: until then nobody else could see to it.
fn leads_without_vote<RT: AsyncRuntime>(seen: &RaftMetrics<Types<RT>>) -> bool {
    let has_vote = || seen.membership_config.membership().voter_ids().any(|id| id == seen.id);
    seen.state.is_leader() && seen.committed_membership_config == seen.membership_config && !has_vote()
}
