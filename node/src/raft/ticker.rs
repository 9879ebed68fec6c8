//! Time passes in the library only by entries. While nobody asks anything, the leader proposes one whenever something
//! falls due, and every second, so that no gap between entries looks like an outage.

use std::sync::Arc;
use std::time::Duration;

use carrel_domain::request::{Action, Request};
use openraft::Instant;
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;

use crate::raft::leading::Lead;
use crate::raft::log_request::LogRequest;
use crate::raft::proposer::{Proposer, Sender};
use crate::raft::types::Types;
use crate::raft::views::Views;

/// How late a deadline may fire; a look costs less than a microsecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A third of the gap that counts as an outage.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// Runs for as long as the node does.
pub async fn tick<RT: AsyncRuntime>(proposer: Arc<Proposer<RT>>, views: Arc<Views<RT>>, lead: Lead<RT>) {
    let body = LogRequest::Library(Request::system(Action::Tick)).encode();
    let mut leading = lead.watch();
    let (mut last_index, mut last_entry) = (None, Types::<RT>::now());
    while leading.wait_for(Option::is_some).await.is_some() {
        let view = views.newest();
        let index = view.library.at().index;
        if last_index != Some(index) {
            (last_index, last_entry) = (Some(index), Types::<RT>::now());
        }
        let is_due = match (view.library.next_deadline(), lead.now_us()) {
            (Some(deadline), Some(now_us)) => deadline.0 <= now_us,
            (None, _) | (_, None) => false,
        };
        if is_due || last_entry.elapsed() >= TICK_EVERY {
            // Refused or lost, the next look asks again.
            let _ = proposer.propose(body.clone(), Sender::System, Types::<RT>::now() + TICK_EVERY).await;
        }
        Types::<RT>::sleep(LOOK_EVERY).await;
    }
}
