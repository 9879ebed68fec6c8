//! What is over leaves the state once the relational record has it, so that memory does not grow with history.
//!
//! The leader names the claims, some at a time; whether each may go is decided here, by what the state itself knows:
//! the claim is over for long enough, the record has everything up to then, no strike for it can lead to anything any
//! more, and what is gone of a person is older than what is held. How many went is told; of each
//! of them nothing, for nothing about it changes. Where nobody keeps a record, nothing leaves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::{Role, Strike};
use crate::claim::Claim;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{ClaimId, UserId};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::state::State;
use crate::time::{DAY_US, MINUTE_US, Timestamp};

/// Of one entry: well below a millisecond.
pub const LET_GO_MAX: usize = 2_000;

/// However short the retention, a claim that is over is held for as long as a repeated request is answered with it.
const HELD_AT_LEAST_US: i64 = 30 * MINUTE_US;

/// What has become history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// How many claims were let go.
    pub(crate) count: u64,
    /// The record had everything through this entry when the last of them went: one that has less has lost them.
    pub(crate) through: u64,
    pub(crate) pseudonym_secret: Option<PseudonymSecret>,
}

/// What pseudonyms are made with, so that the same person has the same one in every export and nobody can tell from the
/// database who it is. Never changed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PseudonymSecret(pub [u8; 32]);

impl fmt::Debug for PseudonymSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymSecret")
    }
}

impl History {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn through(&self) -> u64 {
        self.through
    }

    #[must_use]
    pub fn pseudonym_secret(&self) -> Option<&PseudonymSecret> {
        self.pseudonym_secret.as_ref()
    }
}

impl State {
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The highest level of what has happened: whoever reads this state knows that much.
    #[must_use]
    pub fn level(&self) -> u32 {
        let is_new = self.history != History::default() || !self.mails.all.is_empty() || !self.webhooks.is_empty();
        u32::from(is_new)
    }

    /// How many claims the state holds, live and over.
    #[must_use]
    pub fn claims_held(&self) -> u64 {
        // Ids count from 1.
        (self.claims.next_id().0 - 1).saturating_sub(self.history.count)
    }

    /// Whether there was such a claim, and it is in the relational record alone.
    #[must_use]
    pub fn is_let_go(&self, id: ClaimId) -> bool {
        self.history.count > 0 && id.0 > 0 && id < self.claims.next_id() && self.claims.get(id).is_none()
    }

    /// The newest claim of a person that the state holds no more; those before it are gone, too.
    #[must_use]
    pub fn newest_let_go(&self, user: UserId) -> Option<ClaimId> {
        let mut next = self.accounts.user(user)?.newest_claim;
        while let Some(claim) = next.and_then(|id| self.claims.get(id)) {
            next = claim.previous;
        }
        next
    }

    /// Claims that may leave the state, the oldest first, as far as one entry takes them. Looks at so many places from
    /// `from` on, and returns the next one; none: it has come to the end.
    #[must_use]
    pub fn may_let_go(
        &self,
        recorded: u64,
        before: Timestamp,
        from: ClaimId,
        places: usize,
    ) -> (Vec<ClaimId>, Option<ClaimId>) {
        let Some(limit) = self.let_go_limit(recorded, before) else { return (Vec::new(), None) };
        let mut found: Vec<ClaimId> = Vec::new();
        let mut next = None;
        for (looked_at, claim) in self.claims.from(from).enumerate() {
            if looked_at == places || found.len() == LET_GO_MAX {
                next = Some(claim.id);
                break;
            }
            let follows = claim.previous.is_none_or(|id| found.binary_search(&id).is_ok() || self.is_let_go(id));
            if follows && self.is_history(&claim, limit) {
                found.push(claim.id);
            }
        }
        (found, next)
    }

    pub(crate) fn let_go_of_claims(
        &mut self,
        recorded: u64,
        before: Timestamp,
        claims: &[ClaimId],
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let Some(limit) = self.let_go_limit(recorded, before) else { return Err(Refusal::NotPermitted) };
        let mut count = 0;
        for &id in claims.iter().take(LET_GO_MAX) {
            let Some(claim) = self.claims.get(id) else { continue };
            let follows = claim.previous.is_none_or(|previous| self.is_let_go(previous));
            if !follows || !self.is_history(&claim, limit) {
                continue;
            }
            let (holder, is_struck) = (claim.holder, self.strike_for(&claim).is_some());
            if let Some(user) = holder.filter(|_| is_struck).and_then(|holder| self.accounts.user_mut(holder)) {
                user.strikes.retain(|strike| strike.claim != id);
            }
            self.claims.let_go(id);
            self.history.count += 1;
            self.history.through = self.outbox.through().unwrap_or_default();
            count += 1;
        }
        if count > 0 {
            fx.happened(Change::ClaimsLetGo { count });
        }
        Ok(Reply::Done)
    }

    /// For the first export. Any of those who may ask for one may.
    pub(crate) fn draw_pseudonyms(
        &mut self,
        by: UserId,
        secret: &PseudonymSecret,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        match self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role {
            Role::Admin | Role::Auditor | Role::Librarian(_) => Ok(self.set_pseudonym_key(secret, fx)),
            Role::Patron | Role::Kiosk => Err(Refusal::NotPermitted),
        }
    }

    /// The first key stays: pseudonyms that were given out go on meaning the same people.
    pub(crate) fn set_pseudonym_key(&mut self, secret: &PseudonymSecret, fx: &mut Effects) -> Reply {
        if self.history.pseudonym_secret.is_none() {
            self.history.pseudonym_secret = Some(secret.clone());
            fx.happened(Change::PseudonymKeySet);
        }
        Reply::Done
    }

    /// None: nobody keeps a record, or it is not known to have what the state has stopped keeping for it.
    fn let_go_limit(&self, recorded: u64, before: Timestamp) -> Option<Timestamp> {
        self.outbox.through().filter(|through| *through <= recorded)?;
        let told = self.outbox.recorded_before(self.at.time)?;
        Some(before.min(told).min(self.at.time.plus_us(-HELD_AT_LEAST_US)))
    }

    fn is_history(&self, claim: &Claim, limit: Timestamp) -> bool {
        !claim.state.is_blocking() && claim.changed_at < limit && !self.counts(claim)
    }

    /// Whether a strike for the claim may still lead to a suspension, by any policy that was ever in force.
    fn counts(&self, claim: &Claim) -> bool {
        let Some(strike) = self.strike_for(claim) else { return false };
        let days = self.catalog.every_policy().map(|policy| i64::from(policy.strike_days + policy.suspension_days));
        strike.at.plus_us(days.max().unwrap_or_default() * DAY_US) >= self.at.time
    }

    fn strike_for(&self, claim: &Claim) -> Option<&Strike> {
        self.accounts.user(claim.holder?)?.strikes.iter().find(|strike| strike.claim == claim.id)
    }
}
