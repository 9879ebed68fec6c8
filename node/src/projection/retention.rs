//! What is over for longer than it is to be held leaves the cluster's memory, some at a time, once it is in the record.
//!
//! The leader looks through its state for what may go, piece by piece, and asks for it by entries like any other.
//! Whether it does go is decided in the state.

use std::time::Duration;

use carrel_domain::id::ClaimId;
use carrel_domain::request::Action;
use carrel_domain::state::State;
use carrel_domain::time::{DAY_US, MINUTE_US, Timestamp};

use crate::raft::peers::Transport;
use crate::raft::platform::Platform;
use crate::raft::timing;
use crate::replica::Replica;

/// Looked at in one go: a few milliseconds, between two transactions of the record.
const LOOKED_AT_ONCE: usize = 50_000;

/// Between two walks through everything, by the cluster's time. Nobody notices a minute in months.
const WALK_EVERY_US: i64 = MINUTE_US;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Retention {
    held_us: i64,
    /// Where the walk goes on.
    from: ClaimId,
    next_walk: Timestamp,
}

impl Retention {
    pub fn new(history_days: u32) -> Self {
        Self { held_us: i64::from(history_days) * DAY_US, from: ClaimId(0), next_walk: Timestamp::MIN }
    }

    /// The record has exactly what `view` is. At most one entry, so that whatever else there is to do comes in between.
    pub async fn let_go<P: Platform, N: Transport<P>>(&mut self, replica: &Replica<P, N>, recorded: u64, view: &State) {
        let now = view.at().time;
        if now < self.next_walk {
            return;
        }
        let before = now.plus_us(-self.held_us);
        let (claims, next) = view.may_let_go(recorded, before, self.from, LOOKED_AT_ONCE);
        if !claims.is_empty() {
            let count = claims.len();
            let asked = replica.propose_system(Action::LetGo { recorded, before, claims });
            match timing::within::<P::Runtime, _>(ANSWER_LIMIT, asked).await {
                Some(Ok(answer)) if answer.result.is_ok() => tracing::debug!(count, "claims became history"),
                // The next walk finds them again. While a node is of an earlier release, none of them succeeds.
                Some(Ok(answer)) => tracing::debug!(result = ?answer.result, "claims did not become history"),
                Some(Err(error)) => tracing::info!(%error, "claims that are over are held for longer"),
                None => tracing::debug!("whether claims became history is not known"),
            }
        }
        self.from = next.unwrap_or(ClaimId(0));
        if next.is_none() {
            self.next_walk = now.plus_us(WALK_EVERY_US);
        }
    }
}
