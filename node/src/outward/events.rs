//! Events: each receiver is told by itself, in order, one event after the other. One that does not answer is asked
//! again, ever more rarely, and holds up nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use carrel_domain::id::{Position, WebhookId};
use carrel_domain::webhook::WebhookMark;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::outward::envelope::Envelope;
use crate::outward::receiver::{Caller, Line};
use crate::outward::{Backoff, Channel, Delivery, LOOK_SOON, Outward};

const FAILED: Backoff = Backoff { first: Duration::from_secs(1), last: Duration::from_secs(300) };
/// A change is noticed at once; this is for what nothing announces.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A receiver to which nothing was to be told for so many entries is noted to be up to date, so that it has missed
/// nothing when the audit lets go of them.
const NOTE_ENTRIES: u64 = 2_000;

/// One receiver's task, which ends with this.
#[derive(Debug)]
struct Telling(JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells everybody for as long as it is polled.
pub(super) async fn run(outward: &Outward, caller: Option<&Caller>) {
    let Some(caller) = caller else { return std::future::pending().await };
    let mut changes = outward.replica.changes();
    let mut tasks: BTreeMap<WebhookId, Telling> = BTreeMap::new();
    loop {
        let view = outward.replica.view();
        tasks.retain(|id, task| view.webhook(*id).is_some() && !task.0.is_finished());
        for (id, _) in view.webhooks() {
            let begin = || Telling(tokio::spawn(tell(outward.clone(), caller.clone(), id)));
            tasks.entry(id).or_insert_with(begin);
        }
        drop(view);
        let _ = timeout(LOOK_EVERY, changes.changed()).await;
        sleep(LOOK_SOON).await;
    }
}

/// Until the receiver is there no more.
async fn tell(outward: Outward, caller: Caller, id: WebhookId) {
    let mut changes = outward.replica.changes();
    let mut line = Line::default();
    let mut told = Position::default();
    let mut failures = 0;
    loop {
        let view = outward.replica.view();
        let Some(webhook) = view.webhook(id).cloned() else { return };
        told = told.max(webhook.through);
        let mark = |through, given_up| outward.ledger.webhook(WebhookMark { webhook: id, through, given_up });
        let event = match view.webhook_event_after(told) {
            Ok(event) => event,
            Err(nothing_until) => {
                if nothing_until.index > webhook.through.index + NOTE_ENTRIES && nothing_until > told {
                    mark(nothing_until, 0);
                }
                told = nothing_until;
                drop(view);
                let _ = timeout(LOOK_EVERY, changes.changed()).await;
                sleep(LOOK_SOON).await;
                continue;
            }
        };
        let now = view.at().time;
        drop(view);
        if event.at.time <= now.plus_us(-outward.give_up_after_us) {
            outward.count(Channel::Webhook, Delivery::GivenUp);
            told = event.position;
            mark(told, 1);
            continue;
        }
        let envelope = Envelope::new(&event, &outward.cluster, outward.lineage);
        let signed = envelope.signed(webhook.secrets(now));
        match line.post(&caller, &webhook.url, signed).await {
            Ok(()) => {
                outward.count(Channel::Webhook, Delivery::Sent);
                failures = 0;
                told = event.position;
                mark(told, 0);
            }
            Err(error) => {
                outward.count(Channel::Webhook, Delivery::Failed);
                failures += 1;
                let pause = FAILED.after(failures);
                tracing::warn!(webhook = %format_args!("{:032x}", id.0), %error, failures, ?pause, "not told");
                line = Line::default();
                sleep(pause).await;
            }
        }
    }
}
