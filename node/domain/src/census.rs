//! How much of everything there is, for whoever looks at a state from outside.

use crate::state::State;
use crate::waitlist::WaitState;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub branches: usize,
    pub seats: usize,
    pub accounts: usize,
    pub sessions: usize,
    /// Everything that occupied a seat and is held.
    pub claims: usize,
    /// Those that occupy one, now or later.
    pub live_claims: usize,
    /// Those that are in the relational record alone.
    pub claims_let_go: u64,
    /// People in line.
    pub waits: usize,
    pub items: usize,
    /// Outcomes remembered for retries.
    pub records: usize,
}

impl State {
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            branches: self.catalog.branches().count(),
            seats: self.catalog.seat_count(),
            accounts: self.accounts.users.iter().flatten().count(),
            sessions: self.accounts.sessions.len(),
            claims: self.claims.count(),
            live_claims: self.claims.all.iter().filter(|claim| claim.state.is_blocking()).count(),
            claims_let_go: self.history.count,
            waits: self.waitlist.waits.values().filter(|wait| wait.state == WaitState::Waiting).count(),
            items: self.inbox.items.len(),
            records: self.records.kept,
        }
    }
}
