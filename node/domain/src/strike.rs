//! Strikes, and what they lead to. A suspension by strikes is a function of those that were not waived; staff may
//! suspend besides, and forgive.

use serde::{Deserialize, Serialize};

use crate::account::{Role, Strike, User};
use crate::deadline::Due;
use crate::effects::Effects;
use crate::event::{Change, UserRow};
use crate::id::{ClaimId, UserId};
use crate::inbox::ItemKind;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::state::State;
use crate::text::{Title, UserName};
use crate::time::{DAY_US, Timestamp};

/// As many as the strictest policy counts.
pub(crate) const STRIKES_KEPT_MAX: usize = 100;
/// The longest suspension that staff may give at once.
pub const SUSPENSION_DAYS_MAX: u32 = 365;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StrikeCause {
    NoShow,
    /// Away for too long, or not there when asked.
    Released,
    LateCancel,
}

impl State {
    pub(crate) fn strike(&mut self, holder: UserId, claim: ClaimId, cause: StrikeCause, fx: &mut Effects) {
        let Some(user) = self.accounts.user_mut(holder) else { return };
        if user.strikes.len() >= STRIKES_KEPT_MAX {
            user.strikes.remove(0);
        }
        let strike = Strike { at: fx.now(), claim, cause, waived: false };
        user.strikes.push(strike);
        fx.happened(Change::Strike { user: holder, before: None, after: strike });
        let before = user.suspended_until;
        self.update_suspension(holder, fx);
        let after = self.accounts.user(holder).and_then(|user| user.suspended_until);
        if let Some(until) = after.filter(|_| after != before) {
            self.notify(holder, ItemKind::Suspended { until }, fx);
        }
    }

    /// Until when the strikes of a person suspend them: past if they do not. Each strike counts with those before it,
    /// under the policy of the claim that it was given for.
    pub(crate) fn suspended_by_strikes(&self, user: &User) -> Timestamp {
        let counting: Vec<&Strike> = user.strikes.iter().filter(|strike| !strike.waived).collect();
        let until = |(place, strike): (usize, &&Strike)| {
            let policy = self.catalog.policy(self.claims.get(strike.claim)?.policy);
            let since = strike.at.plus_us(-i64::from(policy.strike_days) * DAY_US);
            let first = counting.partition_point(|other| other.at <= since);
            let limit = policy.strikes_to_suspend as usize;
            (limit > 0 && place + 1 - first >= limit)
                .then(|| strike.at.plus_us(i64::from(policy.suspension_days) * DAY_US))
        };
        counting.iter().enumerate().filter_map(until).max().unwrap_or(Timestamp::MIN)
    }

    /// What strikes and staff say together, after either has changed.
    fn update_suspension(&mut self, id: UserId, fx: &mut Effects) {
        let Some(user) = self.accounts.user(id) else { return };
        let until = self.suspended_by_strikes(user).max(user.staff_suspension.unwrap_or(Timestamp::MIN));
        let (old, new) = (user.suspended_until, (fx.now() < until).then_some(until));
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.deadlines.remove(&(old, Due::Suspension(id)));
        }
        if let Some(new) = new {
            self.deadlines.insert((new, Due::Suspension(id)));
        }
        self.change_user(id, fx, |user| user.suspended_until = new);
    }

    pub(crate) fn suspension_due(&mut self, id: UserId, fx: &mut Effects) {
        self.change_user(id, fx, |user| (user.suspended_until, user.staff_suspension) = (None, None));
        self.reconsider_waits_of(id, fx);
    }

    pub(crate) fn suspend(
        &mut self,
        by: UserId,
        name: &UserName,
        until: Timestamp,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = self.under_staff(by, name)?;
        let longest = fx.now().plus_us(i64::from(SUSPENSION_DAYS_MAX) * DAY_US);
        if until <= fx.now() || until > longest {
            return Err(Refusal::SuspensionInvalid { max_days: SUSPENSION_DAYS_MAX });
        }
        fx.noted(Some(reason));
        self.accounts.user_mut(id).expect("found above").staff_suspension = Some(until);
        self.update_suspension(id, fx);
        let until = self.accounts.user(id).and_then(|user| user.suspended_until).unwrap_or(until);
        self.notify(id, ItemKind::Suspended { until }, fx);
        Ok(Reply::User(self.user_view_of(id)))
    }

    /// Strikes that had led to the suspension are waived with it, or the next look at them would bring it back.
    pub(crate) fn unsuspend(
        &mut self,
        by: UserId,
        name: &UserName,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = self.under_staff(by, name)?;
        fx.noted(Some(reason));
        let user = self.accounts.user(id).expect("found above");
        if user.suspended_until.is_some() {
            if self.suspended_by_strikes(user) > fx.now() {
                self.waive(id, |_| true, fx);
            }
            self.accounts.user_mut(id).expect("found above").staff_suspension = None;
            self.lift_suspension(id, fx);
        }
        Ok(Reply::User(self.user_view_of(id)))
    }

    pub(crate) fn waive_strike(
        &mut self,
        by: UserId,
        name: &UserName,
        claim: ClaimId,
        reason: &Title,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = self.under_staff(by, name)?;
        let user = self.accounts.user(id).expect("found above");
        let strike = user.strikes.iter().find(|strike| strike.claim == claim).ok_or(Refusal::StrikeNotFound)?;
        if !strike.waived {
            fx.noted(Some(reason));
            self.waive(id, |strike| strike.claim == claim, fx);
            self.notify(id, ItemKind::StrikeWaived { claim }, fx);
            self.lift_suspension(id, fx);
        }
        Ok(Reply::User(self.user_view_of(id)))
    }

    fn waive(&mut self, id: UserId, which: impl Fn(&Strike) -> bool, fx: &mut Effects) {
        let user = self.accounts.user_mut(id).expect("looked up by the caller");
        for strike in user.strikes.iter_mut().filter(|strike| !strike.waived && which(strike)) {
            let before = *strike;
            strike.waived = true;
            fx.happened(Change::Strike { user: id, before: Some(before), after: *strike });
        }
    }

    fn lift_suspension(&mut self, id: UserId, fx: &mut Effects) {
        self.update_suspension(id, fx);
        if self.accounts.user(id).is_some_and(|user| user.suspended_until.is_none()) {
            self.reconsider_waits_of(id, fx);
        }
    }

    /// Whom staff may suspend and forgive: an admin everybody, a librarian patrons.
    pub(crate) fn under_staff(&self, by: UserId, name: &UserName) -> Result<UserId, Refusal> {
        let staff = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if !matches!(staff.role, Role::Admin | Role::Librarian(_)) {
            return Err(Refusal::NotPermitted);
        }
        let user = self.accounts.find(name).ok_or(Refusal::UserNotFound)?;
        if staff.role == Role::Admin || user.role == Role::Patron { Ok(user.id) } else { Err(Refusal::NotPermitted) }
    }

    pub(crate) fn set_accessibility(
        &mut self,
        by: UserId,
        name: &UserName,
        needs_accessible: bool,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = self.under_staff(by, name)?;
        self.change_user(id, fx, |user| user.needs_accessible = needs_accessible);
        self.reconsider_waits_of(id, fx);
        Ok(Reply::User(self.user_view_of(id)))
    }

    /// The one place where what others see of an account changes.
    pub(crate) fn change_user(&mut self, id: UserId, fx: &mut Effects, change: impl FnOnce(&mut User)) {
        let Some(user) = self.accounts.user_mut(id) else { return };
        let before = UserRow::from(&*user);
        change(user);
        let after = UserRow::from(&*user);
        if before != after {
            fx.happened(Change::User { before: Some(before), after });
        }
    }
}
