//! Proof that somebody is where they say: a code that the seat shows, bound to the seat and to half a minute.
//!
//! Codes are computed where they are shown and where they are typed, from a key in the replicated state; the entry says
//! only which code was recognised. Whether that code counts is decided here, by log time: a code that was forwarded is
//! worth nothing once its minute is over, and one that was read off another seat never was. Staff who see the person
//! need no code, except for themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::{Role, User};
use crate::claim::{Claim, ClaimState, first_ending_after};
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{ClaimId, SeatId, UserId};
use crate::inbox::ItemKind;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::SeatName;
use crate::state::State;
use crate::time::{DAY_US, SECOND_US, Timestamp};

/// How long a code is shown. It counts for as long again: whoever reads it in its last moment has time to type it.
pub const CODE_SHOWN_US: i64 = 30 * SECOND_US;
/// Reports of an empty seat whose holder was there after all, within `FALSE_REPORT_DAYS`: who makes so many is asked
/// to stop.
pub const FALSE_REPORTS_MAX: u32 = 3;
const FALSE_REPORT_DAYS: i64 = 30;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceSecret(pub [u8; 32]);

impl fmt::Debug for PresenceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresenceSecret")
    }
}

/// What codes are made with. A new key makes those of the old one worthless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceKey {
    pub revision: u32,
    pub secret: PresenceSecret,
}

/// The code that was typed is the one that the seat shows from `shown_at` on, under the key of this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub seat: SeatId,
    pub shown_at: Timestamp,
    pub key_revision: u32,
}

/// When the codes that count at an instant were first shown: the one shown now, and the one before it.
#[must_use]
pub const fn codes_at(instant: Timestamp) -> [Timestamp; 2] {
    let shown = Timestamp(instant.0 - instant.0.rem_euclid(CODE_SHOWN_US));
    [shown, shown.plus_us(-CODE_SHOWN_US)]
}

/// What the code of a seat is a keyed hash of.
#[must_use]
pub fn code_message(seat: SeatId, shown_at: Timestamp) -> [u8; 12] {
    let mut message = [0; 12];
    message[..4].copy_from_slice(&seat.0.to_be_bytes());
    message[4..].copy_from_slice(&shown_at.0.to_be_bytes());
    message
}

/// What a seat shows, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCode {
    pub seat: SeatId,
    pub shown_at: Timestamp,
    pub until: Timestamp,
    pub secret: PresenceSecret,
}

impl State {
    /// For a kiosk, or for staff of the branch, and for nobody else: whoever sees the code from elsewhere is not there.
    /// None until a key was drawn.
    ///
    /// # Errors
    /// If there is no such seat, or its code is not the viewer's to see.
    pub fn shown_code(&self, viewer: UserId, seat: &SeatName) -> Result<Option<ShownCode>, Refusal> {
        let user = self.accounts.user(viewer).ok_or(Refusal::SessionExpired)?;
        let branch = self.catalog.find_branch(seat.branch.as_str());
        if user.role != Role::Kiosk && !branch.is_some_and(|branch| user.role.runs_branch(branch)) {
            return Err(Refusal::NotPermitted);
        }
        let seat = self.find_seat(seat)?;
        let [shown_at, _] = codes_at(self.at.time);
        let until = shown_at.plus_us(CODE_SHOWN_US);
        let code = |key: &PresenceKey| ShownCode { seat, shown_at, until, secret: key.secret.clone() };
        Ok(self.presence_key.as_ref().map(code))
    }

    /// For whoever shows codes and recognises them.
    #[must_use]
    pub fn presence_key(&self) -> Option<&PresenceKey> {
        self.presence_key.as_ref()
    }

    pub(crate) fn set_presence_key(
        &mut self,
        by: Option<UserId>,
        secret: &PresenceSecret,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        if let Some(by) = by
            && self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role != Role::Admin
        {
            return Err(Refusal::NotPermitted);
        }
        let revision = self.presence_key.as_ref().map_or(0, |key| key.revision) + 1;
        self.presence_key = Some(PresenceKey { revision, secret: secret.clone() });
        fx.happened(Change::PresenceKeySet { revision });
        Ok(Reply::Done)
    }

    pub(crate) fn is_proven(&self, seat: SeatId, proof: Option<Proof>, now: Timestamp) -> bool {
        let Some(proof) = proof else { return false };
        let revision = self.presence_key.as_ref().map(|key| key.revision);
        proof.seat == seat && revision == Some(proof.key_revision) && codes_at(now).contains(&proof.shown_at)
    }

    /// Whether the holder is there, as far as the policy of the claim wants to know.
    fn shows_presence(&self, by: UserId, claim: &Claim, proof: Option<Proof>, now: Timestamp) -> Result<(), Refusal> {
        let seen_by_staff = claim.holder != Some(by);
        let is_wanted = self.catalog.policy(claim.policy).proof_required && !seen_by_staff;
        if is_wanted && !self.is_proven(claim.seat, proof, now) { Err(Refusal::PresenceNotProven) } else { Ok(()) }
    }

    pub(crate) fn check_in(
        &mut self,
        by: UserId,
        id: ClaimId,
        proof: Option<Proof>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        match claim.state {
            ClaimState::CheckedIn => {}
            // What the institution keeps for itself is nobody's to sit down at.
            ClaimState::Confirmed { .. } if claim.holder.is_none() => {
                return Err(Refusal::StateConflict { state: claim.state.name() });
            }
            ClaimState::Confirmed { .. } => {
                let lead_minutes = self.catalog.policy(claim.policy).lead_minutes;
                let opens_at = claim.interval.start().minus_minutes(lead_minutes);
                if fx.now() < opens_at {
                    return Err(Refusal::CheckInTooEarly { opens_at });
                }
                self.shows_presence(by, &claim, proof, fx.now())?;
                let holder = claim.holder;
                self.move_claim(id, ClaimState::CheckedIn, fx);
                // One claim less that is to come.
                holder.into_iter().for_each(|holder| self.reconsider_waits_of(holder, fx));
            }
            ClaimState::Away { reported_by, .. } => {
                self.shows_presence(by, &claim, proof, fx.now())?;
                self.move_claim(id, ClaimState::CheckedIn, fx);
                if let Some(reporter) = reported_by.and_then(|reporter| self.accounts.user_mut(reporter)) {
                    reporter.has_reported_in_vain(fx.now());
                }
            }
            ClaimState::NoShow => return Err(Refusal::GraceElapsed),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn check_out(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        match self.claim_for(by, id)?.state {
            ClaimState::Completed => {}
            ClaimState::CheckedIn | ClaimState::Away { .. } => self.move_claim(id, ClaimState::Completed, fx),
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn step_away(&mut self, by: UserId, id: ClaimId, fx: &mut Effects) -> Result<Reply, Refusal> {
        let claim = self.claim_for(by, id)?;
        match claim.state {
            ClaimState::Away { reported_by: None, .. } => {}
            ClaimState::CheckedIn => {
                let policy = self.catalog.policy(claim.policy);
                let branch = self.catalog.seat(claim.seat).branch;
                let day = self.day_at(branch, fx.now());
                let is_mealtime = day.is_ok_and(|day| day.meals.iter().any(|meal| meal.contains(fx.now())));
                let minutes = if is_mealtime { policy.meal_away_minutes } else { policy.away_minutes };
                let deadline = fx.now().plus_minutes(minutes).min(claim.interval.end());
                self.move_claim(id, ClaimState::Away { deadline, reported_by: None }, fx);
            }
            state => return Err(Refusal::StateConflict { state: state.name() }),
        }
        Ok(Reply::Claim(self.claim_view_of(id)))
    }

    pub(crate) fn report_empty_seat(
        &mut self,
        by: UserId,
        seat: &SeatName,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let seat = self.find_seat(seat)?;
        let user = self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        if matches!(user.role, Role::Auditor | Role::Kiosk) {
            return Err(Refusal::NotPermitted);
        }
        if user.false_reports_since(fx.now()) >= FALSE_REPORTS_MAX as usize {
            return Err(Refusal::TooManyReports { max: FALSE_REPORTS_MAX });
        }
        let claim = self.taken_at(seat, fx.now()).filter(|claim| claim.state == ClaimState::CheckedIn);
        // Whoever said that they would be back is not missed.
        let claim = claim.ok_or(Refusal::SeatNotOccupied)?;
        let Some(holder) = claim.holder.filter(|&holder| holder != by) else { return Err(Refusal::NotPermitted) };
        let (id, report_minutes) = (claim.id, self.catalog.policy(claim.policy).report_minutes);
        let deadline = fx.now().plus_minutes(report_minutes).min(claim.interval.end());
        self.move_claim(id, ClaimState::Away { deadline, reported_by: Some(by) }, fx);
        self.notify(holder, ItemKind::SeatReported { claim: id, until: deadline }, fx);
        Ok(Reply::Done)
    }

    /// The live claim on a seat at an instant.
    pub(crate) fn taken_at(&self, seat: SeatId, instant: Timestamp) -> Option<Claim> {
        let book = self.claims.book(seat);
        let live = book.get(first_ending_after(book, instant))?;
        live.interval.contains(instant).then(|| self.claims.get(live.claim)).flatten()
    }
}

impl User {
    fn has_reported_in_vain(&mut self, now: Timestamp) {
        if self.false_reports.len() >= FALSE_REPORTS_MAX as usize {
            self.false_reports.remove(0);
        }
        self.false_reports.push(now);
    }

    fn false_reports_since(&self, now: Timestamp) -> usize {
        let since = now.plus_us(-FALSE_REPORT_DAYS * DAY_US);
        self.false_reports.iter().filter(|&&at| at > since).count()
    }
}
