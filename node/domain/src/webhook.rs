//! Programs elsewhere that want to know what happens: each has an address that an admin gave, a secret to recognise us
//! by, and a place in the audit up to which it was told. Nothing is kept for one that does not answer but that place;
//! if the audit lets go of what comes next, it has missed something, and is told so.
//!
//! No names go there, and nothing of accounts: whoever needs to know who sits somewhere asks with rights of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::Role;
use crate::audit::{ClaimThen, What};
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{ClaimId, Position, UserId, WaitId, WebhookId};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::{At, SeatName};
use crate::state::State;
use crate::text::WebhookUrl;
use crate::time::{DAY_US, Timestamp};
use crate::waitlist::WaitState;

/// A display, a door, a statistics office; each costs the leader a connection.
pub const WEBHOOKS_MAX: u32 = 16;
/// For which what is sent is signed with the secret before this one, too: whoever receives it has to learn the new one.
const OLD_SECRET_US: i64 = DAY_US;

/// What a receiver recognises us by; drawn at random at the edge.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret(pub [u8; 32]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub url: WebhookUrl,
    pub created_at: Timestamp,
    pub secret: WebhookSecret,
    /// The one before, and until when it is used as well.
    pub old_secret: Option<(WebhookSecret, Timestamp)>,
    /// Everything up to here was delivered or given up.
    pub through: Position,
    pub given_up_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookChange {
    Added,
    SecretChanged,
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookMark {
    pub webhook: WebhookId,
    pub through: Position,
    /// Of what lies between this and the mark before.
    pub given_up: u32,
}

/// What a receiver is told next.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookEvent {
    pub position: Position,
    pub at: At,
    pub what: WebhookContent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WebhookContent {
    Claim {
        claim: ClaimId,
        before: Option<ClaimThen>,
        after: ClaimThen,
        seat: SeatName,
    },
    Wait {
        wait: WaitId,
        before: Option<WaitState>,
        after: WaitState,
    },
    Catalog {
        revision: u64,
    },
    /// Something came before this that cannot be told any more.
    Missed,
}

impl Webhook {
    /// The secrets to sign with.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        let old = self.old_secret.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        [Some(&self.secret), old].into_iter().flatten()
    }
}

impl State {
    fn is_admin(&self, by: UserId) -> Result<(), Refusal> {
        match self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role {
            Role::Admin => Ok(()),
            Role::Patron | Role::Librarian(_) | Role::Auditor | Role::Kiosk => Err(Refusal::NotPermitted),
        }
    }

    /// From this entry on. The id was drawn at random at the edge.
    pub(crate) fn add_webhook(
        &mut self,
        by: UserId,
        webhook: WebhookId,
        url: &WebhookUrl,
        secret: &WebhookSecret,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        self.is_admin(by)?;
        if self.webhooks.len() >= WEBHOOKS_MAX as usize {
            return Err(Refusal::TooManyWebhooks { max: WEBHOOKS_MAX });
        }
        if self.webhooks.contains_key(&webhook) {
            return Err(Refusal::NotPermitted);
        }
        let added = Webhook {
            url: url.clone(),
            created_at: fx.now(),
            secret: secret.clone(),
            old_secret: None,
            through: Position::end_of(fx.at().index),
            given_up_count: 0,
        };
        self.webhooks.insert(webhook, Arc::new(added));
        fx.happened(Change::Webhook { webhook, change: WebhookChange::Added });
        Ok(Reply::Done)
    }

    pub(crate) fn rotate_webhook_secret(
        &mut self,
        by: UserId,
        webhook: WebhookId,
        secret: &WebhookSecret,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        self.is_admin(by)?;
        let mut changed = self.webhooks.get(&webhook).ok_or(Refusal::WebhookNotFound)?.as_ref().clone();
        let old = std::mem::replace(&mut changed.secret, secret.clone());
        changed.old_secret = Some((old, fx.now().plus_us(OLD_SECRET_US)));
        self.webhooks.insert(webhook, Arc::new(changed));
        fx.happened(Change::Webhook { webhook, change: WebhookChange::SecretChanged });
        Ok(Reply::Done)
    }

    pub(crate) fn remove_webhook(
        &mut self,
        by: UserId,
        webhook: WebhookId,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        self.is_admin(by)?;
        self.webhooks.remove(&webhook).ok_or(Refusal::WebhookNotFound)?;
        fx.happened(Change::Webhook { webhook, change: WebhookChange::Removed });
        Ok(Reply::Done)
    }

    /// Nobody was told what happens now or later, whatever a mark says.
    pub(crate) fn webhooks_told(&mut self, marks: &[WebhookMark]) {
        let now = Position::end_of(self.at.index);
        for mark in marks.iter().take(WEBHOOKS_MAX as usize) {
            let Some(webhook) = self.webhooks.get_mut(&mark.webhook) else { continue };
            if mark.through > webhook.through {
                let webhook = Arc::make_mut(webhook);
                webhook.through = mark.through.min(now);
                webhook.given_up_count = webhook.given_up_count.saturating_add(mark.given_up.into());
            }
        }
    }

    /// Every receiver, by id.
    pub fn webhooks(&self) -> impl Iterator<Item = (WebhookId, &Arc<Webhook>)> {
        self.webhooks.iter().map(|(id, webhook)| (*id, webhook))
    }

    #[must_use]
    pub fn webhook(&self, id: WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&id)
    }

    /// For admins.
    ///
    /// # Errors
    /// If the viewer is none.
    pub fn webhooks_for(&self, viewer: UserId) -> Result<Vec<(WebhookId, Arc<Webhook>)>, Refusal> {
        self.is_admin(viewer)?;
        Ok(self.webhooks.iter().map(|(id, webhook)| (*id, webhook.clone())).collect())
    }

    /// What a receiver is told after a position; and, if there is nothing, up to where that is so.
    ///
    /// # Errors
    /// With the position up to which there is nothing to be told.
    pub fn webhook_event_after(&self, position: Position) -> Result<WebhookEvent, Position> {
        let let_go = self.trail.let_go();
        if position < let_go {
            let at = At { index: let_go.index, time: self.at.time };
            return Ok(WebhookEvent { position: let_go, at, what: WebhookContent::Missed });
        }
        for entry in self.trail.after(position) {
            let what = match &entry.what {
                What::Claim { claim, before, after } => {
                    let seat = self.catalog.seat(after.seat);
                    let branch = self.catalog.branch(seat.branch).slug.clone();
                    let seat = SeatName { branch, seat: seat.slug.clone() };
                    WebhookContent::Claim { claim: *claim, before: *before, after: *after, seat }
                }
                What::Wait { wait, before, after } => {
                    WebhookContent::Wait { wait: *wait, before: *before, after: *after }
                }
                What::Catalog { revision } => WebhookContent::Catalog { revision: *revision },
                What::Strike { .. }
                | What::Account { .. }
                | What::AccountDeleted
                | What::LetGo { .. }
                | What::PseudonymKey
                | What::PresenceKey { .. }
                | What::Webhook { .. } => continue,
            };
            return Ok(WebhookEvent { position: entry.position(), at: entry.at, what });
        }
        Err(Position::end_of(self.at.index))
    }
}
