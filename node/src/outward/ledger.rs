//! What has gone out and is not in the log yet: noted a few times a second, in one entry for all of it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use carrel_domain::id::{UserId, WebhookId};
use carrel_domain::mail::{MARKS_MAX, MailMark};
use carrel_domain::request::Action;
use carrel_domain::webhook::WebhookMark;
use tokio::sync::Notify;

use crate::live::LiveReplica;

/// An entry for each mail would cost more than the mail.
const NOTE_EVERY: Duration = Duration::from_millis(200);
/// After an entry that found no majority.
const RETRY: Duration = Duration::from_millis(500);

/// Bounded by the people who want mail and the receivers that there are: of each only the newest is kept.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    mails: BTreeMap<UserId, MailMark>,
    webhooks: BTreeMap<WebhookId, WebhookMark>,
}

impl Ledger {
    pub fn mail(&self, mark: MailMark) {
        self.change(|pending| {
            pending.mails.insert(mark.user, mark);
        });
    }

    pub fn webhook(&self, mark: WebhookMark) {
        self.change(|pending| {
            let given_up = pending.webhooks.get(&mark.webhook).map_or(0, |before| before.given_up);
            pending.webhooks.insert(mark.webhook, WebhookMark { given_up: given_up + mark.given_up, ..mark });
        });
    }

    fn change(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock().expect("nothing panics while it holds the lock"));
        self.changed.notify_one();
    }

    fn take(&self) -> Pending {
        let mut pending = self.pending.lock().expect("nothing panics while it holds the lock");
        let mut taken = Pending { webhooks: std::mem::take(&mut pending.webhooks), ..Pending::default() };
        while taken.mails.len() < MARKS_MAX
            && let Some((user, mark)) = pending.mails.pop_first()
        {
            taken.mails.insert(user, mark);
        }
        taken
    }

    /// Notes for as long as it is polled.
    pub async fn note(&self, replica: &LiveReplica) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(NOTE_EVERY).await;
            loop {
                let Pending { mails, webhooks } = self.take();
                if mails.is_empty() && webhooks.is_empty() {
                    break;
                }
                let action =
                    Action::Sent { mails: mails.into_values().collect(), webhooks: webhooks.into_values().collect() };
                // Noted twice is noted once; what this node cannot note any more the next leader sends again.
                while let Err(error) = replica.propose_system(action.clone()).await {
                    tracing::debug!(%error, "what was sent cannot be noted yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
