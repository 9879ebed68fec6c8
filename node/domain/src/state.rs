//! The whole library as one value, and the one function that changes it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::account::{Accounts, Principal};
use crate::audience::Reach;
use crate::audit::Trail;
use crate::catalog::Catalog;
use crate::claim::Claims;
use crate::deadline::{Due, OUTAGE_US};
use crate::effects::Effects;
use crate::event::{Actor, Cause, Reason};
use crate::history::History;
use crate::id::{BranchId, TokenDigest, UserId, WebhookId};
use crate::import::KeptDay;
use crate::inbox::Inbox;
use crate::mail::Mails;
use crate::outbox::Outbox;
use crate::planted::{self, Bug};
use crate::presence::PresenceKey;
use crate::record::{Owner, Records};
use crate::refusal::Refusal;
use crate::reply::{Answer, Applied, Reply};
use crate::request::{Action, At, Caller, Request};
use crate::time::{Date, Interval, Timestamp};
use crate::waitlist::Waitlist;
use crate::webhook::Webhook;

/// Cheap to clone: a clone is a view that later entries do not touch.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Of the last entry applied.
    pub(crate) at: At,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) calendar: OrdMap<(BranchId, Date), KeptDay>,
    pub(crate) accounts: Accounts,
    pub(crate) claims: Claims,
    pub(crate) waitlist: Waitlist,
    pub(crate) inbox: Inbox,
    pub(crate) records: Records,
    pub(crate) deadlines: OrdSet<(Timestamp, Due)>,
    /// None until the first was drawn: nobody can prove anything before.
    pub(crate) presence_key: Option<PresenceKey>,
    pub(crate) outbox: Outbox,
    pub(crate) history: History,
    /// Of those of whom there is something to say.
    pub(crate) reaches: OrdMap<UserId, Arc<Reach>>,
    /// Whose calendar an address is. Invariant: follows from `reaches`.
    pub(crate) feeds: OrdMap<TokenDigest, UserId>,
    pub(crate) trail: Trail,
    pub(crate) mails: Mails,
    pub(crate) webhooks: OrdMap<WebhookId, Arc<Webhook>>,
}

impl State {
    /// Applies one committed request. Total and deterministic: the same state, `at` and request give the same result
    /// on every replica. Everything that may vary was decided before the request entered the log.
    pub fn apply(&mut self, at: At, request: &Request) -> Applied {
        let at = self.advance(at);
        let mut fx = Effects::new(at);
        self.fire_deadlines_until_now(&mut fx);
        self.let_go_of_old_items(&mut fx);
        let reply = self.answer(request, &mut fx);
        self.evict_records(fx.now());
        let events = fx.into_events();
        self.trail.follow(at, &events);
        self.outbox.keep(at, &events);
        Applied { reply, events }
    }

    /// What `request` would be answered now, and nothing happens.
    #[must_use]
    pub fn validate(&self, request: &Request) -> Answer {
        let mut copy = self.clone();
        let request = Request { retry: None, ..request.clone() };
        copy.apply(self.at, &request).reply
    }

    /// Where and when the last entry was applied: what reads are evaluated at.
    #[must_use]
    pub fn at(&self) -> At {
        self.at
    }

    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Time never stands still and never goes back, whatever the clocks of leaders said.
    fn advance(&mut self, at: At) -> At {
        let earliest = if planted::has(Bug::TimeGoesBack) { at.time } else { self.at.time.plus_us(1) };
        At { index: at.index, time: at.time.max(earliest) }
    }

    fn fire_deadlines_until_now(&mut self, fx: &mut Effects) {
        let before = self.at.time;
        self.at = fx.at();
        // Before the very first entry there was nothing to be out of.
        if before != Timestamp::default()
            && fx.now().0.saturating_sub(before.0) > OUTAGE_US
            && let Ok(outage) = Interval::new(before, fx.now())
        {
            fx.because(Cause::time(Reason::OutageCredited));
            self.credit_outage(outage, fx);
            fx.because(Cause::time(Reason::TimePassed));
        }
        self.fire_deadlines(fx);
    }

    fn answer(&mut self, request: &Request, fx: &mut Effects) -> Answer {
        let at = fx.at();
        let now = |result| Answer { result, at, replayed: false };
        let principal = match self.principal(request.caller) {
            Ok(principal) => principal,
            Err(refusal) => return now(Err(refusal)),
        };
        let actor = match principal {
            Principal::System => Actor::System,
            Principal::Anonymous => Actor::Anonymous,
            Principal::User(user) | Principal::Ended(user) => Actor::User(user),
        };
        fx.because(Cause { actor, reason: Reason::Asked(request.action.name()), note: None });
        let owner: Owner = match principal {
            Principal::User(user) | Principal::Ended(user) => Some(user),
            Principal::System | Principal::Anonymous => None,
        };
        if let Some(retry) = request.retry {
            match self.recorded(owner, retry, fx.now()) {
                Ok(Some(answer)) if !planted::has(Bug::RepeatedRequestDoneAgain) => return answer,
                Ok(Some(_)) => {}
                Ok(None) => {}
                Err(refusal) => return now(Err(refusal)),
            }
            if let Err(refusal) = self.may_record(owner) {
                return now(Err(refusal));
            }
        }
        let result = self.decide(principal, request, fx);
        let answer = now(result);
        if let Some(retry) = request.retry {
            self.record(owner, retry, &answer);
        }
        answer
    }

    fn decide(&mut self, principal: Principal, request: &Request, fx: &mut Effects) -> Result<Reply, Refusal> {
        // What the cluster and strangers may do is little; everything else has a person behind it.
        match (&request.action, principal) {
            (_, Principal::Ended(_)) => return Err(Refusal::SessionExpired),
            (Action::Tick, Principal::System) => return Ok(Reply::Done),
            (Action::FillCalendar { branch, hours_revision, days }, Principal::System) => {
                return self.fill_calendar(*branch, *hours_revision, days, fx);
            }
            (Action::CreateFirstAdmin { name, password }, Principal::System) => {
                return self.create_first_admin(name, password, fx);
            }
            (Action::ImportCatalog { draft, expected_revision }, Principal::System) => {
                return self.import_catalog(None, draft, *expected_revision, fx);
            }
            (Action::SetPresenceKey { secret }, Principal::System) => return self.set_presence_key(None, secret, fx),
            (Action::Projected { through }, Principal::System) => return self.projected(*through, fx),
            (Action::LetGo { recorded, before, claims }, Principal::System) => {
                return self.let_go_of_claims(*recorded, *before, claims, fx);
            }
            (Action::Sent { mails, webhooks }, Principal::System) => {
                self.mails_sent(mails);
                self.webhooks_told(webhooks);
                return Ok(Reply::Done);
            }
            (Action::SetPseudonymKey { secret }, Principal::System) => return Ok(self.set_pseudonym_key(secret, fx)),
            (Action::Register { name, password }, Principal::Anonymous) => return self.register(name, password, fx),
            (Action::StartSession { user, password, token }, Principal::Anonymous) => {
                return self.start_session(*user, password, *token, fx);
            }
            _ => {}
        }
        let Principal::User(by) = principal else { return Err(Refusal::SessionExpired) };
        match &request.action {
            Action::Tick
            | Action::FillCalendar { .. }
            | Action::CreateFirstAdmin { .. }
            | Action::Projected { .. }
            | Action::LetGo { .. }
            | Action::Sent { .. }
            | Action::Register { .. }
            | Action::StartSession { .. } => Err(Refusal::NotPermitted),
            Action::EndSession => {
                if let Caller::Session(token) = request.caller {
                    self.end_session(token, fx);
                }
                Ok(Reply::Done)
            }
            Action::DeleteUser { name } => self.delete_user(by, name, fx),
            Action::SetRole { name, role } => self.set_role(by, name, role, fx),
            Action::ImportCatalog { draft, expected_revision } => {
                self.import_catalog(Some(by), draft, *expected_revision, fx)
            }
            Action::Reserve { wish } => self.reserve(by, wish, fx),
            Action::Hold { wish } => self.hold(by, wish, fx),
            Action::Confirm { claim } => self.confirm(by, *claim, fx),
            Action::WalkIn { seat, end, person, proof } => self.walk_in(by, seat, *end, person.as_ref(), *proof, fx),
            Action::ReserveGroup { seats, interval } => self.reserve_group(by, seats, *interval, fx),
            Action::ReserveMany { wishes } => self.reserve_many(by, wishes, fx),
            Action::CheckIn { claim, proof } => self.check_in(by, *claim, *proof, fx),
            Action::CheckOut { claim } => self.check_out(by, *claim, fx),
            Action::StepAway { claim } => self.step_away(by, *claim, fx),
            Action::ReportEmptySeat { seat } => self.report_empty_seat(by, seat, fx),
            Action::Cancel { claim, reason } => self.cancel(by, *claim, reason.as_ref(), fx),
            Action::Extend { claim, end } => self.extend(by, *claim, *end, fx),
            Action::Reschedule { claim, seat, interval } => self.reschedule(by, *claim, seat, *interval, fx),
            Action::JoinWaitlist { need, interval, minutes } => self.join_waitlist(by, need, *interval, *minutes, fx),
            Action::LeaveWaitlist { wait } => self.leave_waitlist(by, *wait, fx),
            Action::AcceptOffer { claim } => self.accept_offer(by, *claim, fx),
            Action::DeclineOffer { claim } => self.decline_offer(by, *claim, fx),
            Action::CloseSeats { place, interval, closing, reason } => {
                self.close_seats(by, place, *interval, *closing, reason, fx)
            }
            Action::ReopenSeats { place, interval, reason } => self.reopen_seats(by, place, *interval, reason, fx),
            Action::Suspend { name, until, reason } => self.suspend(by, name, *until, reason, fx),
            Action::Unsuspend { name, reason } => self.unsuspend(by, name, reason, fx),
            Action::WaiveStrike { name, claim, reason } => self.waive_strike(by, name, *claim, reason, fx),
            Action::SetAccessibility { name, needs_accessible } => {
                self.set_accessibility(by, name, *needs_accessible, fx)
            }
            Action::SetPresenceKey { secret } => self.set_presence_key(Some(by), secret, fx),
            Action::SetPseudonymKey { secret } => self.draw_pseudonyms(by, secret, fx),
            Action::SendMessage { recipients, text } => self.send_message(by, recipients, text, fx),
            Action::Broadcast { text } => self.broadcast(by, text, fx),
            Action::DeleteMessage { message } => self.delete_message(by, *message, fx),
            Action::AdvanceReadCursor { up_to } => self.advance_read_cursor(by, *up_to, fx),
            Action::Block { name } => self.block(by, name, fx),
            Action::Unblock { name } => self.unblock(by, name, fx),
            Action::ReportMessage { message, reason } => self.report_message(by, *message, reason, fx),
            Action::Announce { audience, text } => self.announce(by, audience, text, fx),
            Action::SetFollowed { branches } => self.set_followed(by, branches, fx),
            Action::ChangePassword { old, new } => {
                let own = match request.caller {
                    Caller::Session(token) => Some(token),
                    Caller::System | Caller::Anonymous => None,
                };
                self.change_password(by, own, old, new, fx)
            }
            Action::RevokeSession { session } => self.revoke_session(by, *session, fx),
            Action::SetCalendarFeed { token } => self.set_calendar_feed(by, *token, fx),
            Action::SetMail { wanted, code } => self.set_mail(by, wanted.as_ref(), *code, fx),
            Action::ConfirmMail { code } => self.confirm_mail(by, *code, fx),
            Action::AddWebhook { webhook, url, secret } => self.add_webhook(by, *webhook, url, secret, fx),
            Action::RotateWebhookSecret { webhook, secret } => self.rotate_webhook_secret(by, *webhook, secret, fx),
            Action::RemoveWebhook { webhook } => self.remove_webhook(by, *webhook, fx),
        }
    }
}
