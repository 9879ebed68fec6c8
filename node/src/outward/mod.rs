//! Out to the world: mail to people, and events to programs elsewhere. Only the node that leads sends; what has gone
//! out is noted by an entry, so that whoever leads next sends again what is not noted, and under the same id. Nobody
//! who books a seat waits for any of it, and nothing is kept for a receiver that does not answer but how far it was
//! told.
//!
//! ```text
//! inbox of each reader ── mailing ──► mail server ─┐
//! audit of the library ── events ───► receivers ───┴─► ledger ── Sent { marks } ──► the log
//! ```

// In reading order: what is noted; mail and what is in it; events, their envelope, where they may go and how.
mod ledger;
mod mailing;
mod letters;
mod events;
mod envelope;
pub mod networks;
mod receiver;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Registry};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use envelope::secret_text;

use crate::live::{LiveNode, LiveReplica};
use crate::metrics::catalogue::{self, registered};
use crate::outward::ledger::Ledger;
use crate::outward::networks::Networks;

/// Where things go, if anywhere.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mail: Option<MailSettings>,
    /// None: events are sent nowhere, whatever was registered.
    pub networks: Option<Networks>,
    pub give_up_after: Duration,
}

#[derive(Clone, Debug)]
pub struct MailSettings {
    /// Read at each connection, so that a new password is used as soon as it is there.
    pub url_file: PathBuf,
    pub from: String,
}

#[derive(Debug, Error)]
pub enum BeginError {
    #[error("--mail-from is not an address like \"Library <library@example.org>\"")]
    Sender(#[source] lettre::address::AddressError),
    #[error("the certificates that this system trusts cannot be used")]
    Trust(#[from] crate::tls::TlsError),
    #[error("no thread to send with")]
    Thread(#[from] std::io::Error),
    #[error("a metric of what is sent cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// What all that is sent has in common.
#[derive(Clone, Debug)]
struct Outward {
    replica: LiveReplica,
    ledger: Arc<Ledger>,
    deliveries: IntCounterVec,
    give_up_after_us: i64,
    /// What ids are unique in: another history of the cluster has other ids.
    cluster: String,
    lineage: u32,
}

#[derive(Clone, Copy, Debug)]
enum Channel {
    Mail,
    Webhook,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Sent,
    Failed,
    GivenUp,
}

impl Channel {
    const fn label(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

impl Delivery {
    const fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

impl Outward {
    fn count(&self, channel: Channel, delivery: Delivery) {
        self.deliveries.with_label_values(&[channel.label(), delivery.label()]).inc();
    }
}

/// None of any kind so far: what is missing until it happens cannot be watched.
fn counters(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let deliveries = registered(registry, catalogue::DELIVERIES.counters())?;
    for channel in [Channel::Mail, Channel::Webhook] {
        for delivery in [Delivery::Sent, Delivery::Failed, Delivery::GivenUp] {
            deliveries.with_label_values(&[channel.label(), delivery.label()]);
        }
    }
    Ok(deliveries)
}

/// Between two looks while entries come in by the thousand: nobody notices, and each look has a price.
const LOOK_SOON: Duration = Duration::from_millis(20);

/// Doubles from `first` to `last`.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    first: Duration,
    last: Duration,
}

impl Backoff {
    /// Before the attempt after so many that failed.
    fn after(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.last)
    }
}

/// Begins to send, on a thread of its own: neither a heartbeat nor anybody's call waits for a mail server.
///
/// # Errors
/// If something that was given cannot be used.
pub fn begin(
    node: LiveNode,
    settings: Settings,
    registry: &Registry,
    stop: CancellationToken,
) -> Result<(), BeginError> {
    let deliveries = counters(registry)?;
    let post = settings.mail.map(mailing::Post::new).transpose()?;
    let caller = settings.networks.map(receiver::Caller::new).transpose()?;
    if post.is_none() && caller.is_none() {
        return Ok(());
    }
    let give_up_after_us = i64::try_from(settings.give_up_after.as_micros()).unwrap_or(i64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async move {
        let replica = node.replica();
        let mut leadership = replica.leadership();
        while let Some(leading) = leadership.wait_for(Option::is_some).await {
            let Some(me) = node.identity().member_of else { continue };
            let ledger = Arc::<Ledger>::default();
            let outward = Outward {
                replica: replica.clone(),
                ledger: ledger.clone(),
                deliveries: deliveries.clone(),
                give_up_after_us,
                cluster: me.cluster_id.simple().to_string(),
                lineage: me.lineage,
            };
            // Whatever is under way when this node leads no more is cut off: the next leader sends it again.
            tokio::select! {
                _ = leadership.wait_for(|now| *now != leading) => {}
                () = ledger.note(&replica) => {}
                () = mailing::run(&outward, post.as_ref()) => {}
                () = events::run(&outward, caller.as_ref()) => {}
            }
        }
    };
    let work = move || {
        let _ = runtime.block_on(stop.run_until_cancelled_owned(work));
    };
    std::thread::Builder::new().name("carrel-outward".into()).spawn(work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_and_no_rarer() {
        let backoff = Backoff { first: Duration::from_secs(1), last: Duration::from_secs(300) };
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 40, u32::MAX].map(|failures| backoff.after(failures).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300]);
    }
}
