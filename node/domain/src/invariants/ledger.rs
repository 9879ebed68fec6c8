//! I18: the audit by itself. Whoever follows the events, and looks at nothing else, knows every row of the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::Strike;
use crate::claim::Claim;
use crate::event::{Change, Event, UserRow};
use crate::id::{ClaimId, UserId, WaitId};
use crate::state::State;
use crate::waitlist::Wait;

/// Rows, as the events told of them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    claims: BTreeMap<ClaimId, Claim>,
    waits: BTreeMap<WaitId, Arc<Wait>>,
    users: BTreeMap<UserId, UserRow>,
    strikes: BTreeMap<(UserId, ClaimId), Strike>,
    wrong: Vec<String>,
}

impl Ledger {
    /// Every change begins where the one before it has ended.
    pub fn follow(&mut self, events: &[Event]) {
        for Event { cause, change } in events {
            let fits = match change {
                Change::Claim { before, after } => self.claims.insert(after.id, after.clone()) == *before,
                // A wait that is over is forgotten without a word.
                Change::Wait { before, after } => self.waits.insert(after.id, after.clone()) == *before,
                Change::User { before, after } => self.users.insert(after.id, after.clone()) == *before,
                Change::Strike { user, before, after } => self.strikes.insert((*user, after.claim), *after) == *before,
                Change::UserDeleted { user } => {
                    self.strikes.retain(|(of, _), _| of != user);
                    self.users.remove(user).is_some()
                }
                Change::CatalogReplaced { .. }
                | Change::CalendarFilled { .. }
                | Change::PresenceKeySet { .. }
                | Change::ReadUpTo { .. }
                | Change::ItemAppended { .. }
                | Change::ItemRemoved { .. }
                | Change::Block { .. }
                | Change::ReachChanged { .. }
                | Change::ClaimsLetGo { .. }
                | Change::PseudonymKeySet
                | Change::Webhook { .. } => true,
            };
            if !fits {
                self.wrong.push(format!("{change:?}, for {cause:?}, does not follow from what was told before"));
            }
        }
    }

    /// What the events have told wrongly, or not at all.
    #[must_use]
    pub fn differences(&self, state: &State) -> Vec<String> {
        let mut found = self.wrong.clone();
        let claims: BTreeMap<_, _> = state.claims.iter().map(|claim| (claim.id, claim)).collect();
        // What is over leaves without a word, for nothing about it changes.
        let is_kept = |claim: &Claim| claim.state.is_blocking() || !state.is_let_go(claim.id);
        let told = self.claims.iter().filter(|(_, claim)| is_kept(claim));
        let told: BTreeMap<_, _> = told.map(|(id, claim)| (*id, claim.clone())).collect();
        if claims != told {
            found.push(format!("claims are {claims:?}, told were {told:?}"));
        }
        for (id, wait) in &state.waitlist.waits {
            if self.waits.get(id) != Some(wait) {
                found.push(format!("{wait:?} was told as {:?}", self.waits.get(id)));
            }
        }
        let users = || state.accounts.users.iter().flatten();
        let rows: BTreeMap<_, _> = users().map(|user| (user.id, UserRow::from(user.as_ref()))).collect();
        if rows != self.users {
            found.push(format!("accounts are {rows:?}, told were {:?}", self.users));
        }
        for (user, strike) in users().flat_map(|user| user.strikes.iter().map(|strike| (user.id, strike))) {
            if self.strikes.get(&(user, strike.claim)) != Some(strike) {
                found.push(format!("{strike:?} of {user:?} was not told"));
            }
        }
        found
    }
}
