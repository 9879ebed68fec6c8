//! The connections to each peer: made at the first call, kept, and made again after they broke.
//!
//! Three to each peer, so that nothing waits behind what it has no part in. On one, a vote would wait behind a
//! snapshot's bytes; and as a connection carries only so many calls at once, thousands of forwarded proposals that wait
//! for a majority would leave none for the vote that makes one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::tls::Dialler;

/// Where the peers listen, by ordinal. An address follows from configuration, never from the membership.
pub type Addresses = dyn Fn(u32) -> Option<Uri> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Appends, heartbeats, votes.
    Consensus,
    Snapshots,
    /// Forwarded proposals, reads and small questions.
    Requests,
}

/// A peer that vanished without a word (no host, no route) is found out by pings: within 3 s, for a connection that
/// waits for TCP's own doubling pauses instead is still silent long after the way is clear again.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// At most [`Lane`]s times the ordinals that were ever in the membership: a handful.
pub struct Channels {
    addresses: Arc<Addresses>,
    connect_limit: Duration,
    /// None where nodes call each other without TLS.
    dialler: Option<Dialler>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// Of the dialler's keys that these connections have shown.
    number: u64,
    channels: BTreeMap<(u32, Lane), Channel>,
}

impl Channels {
    pub fn new(addresses: Arc<Addresses>, connect_limit: Duration, dialler: Option<Dialler>) -> Self {
        Self { addresses, connect_limit, dialler, made: Mutex::default() }
    }

    /// Does not connect: the first call does. `None` if no address is configured for the ordinal.
    pub fn get(&self, ordinal: u32, lane: Lane) -> Option<Channel> {
        let mut made = self.made.lock().expect("nothing panics while it holds the lock");
        let number = self.dialler.as_ref().map_or(0, Dialler::number);
        if made.number != number {
            // Calls under way keep theirs until they end; new ones show the new certificate.
            *made = Made { number, channels: BTreeMap::new() };
        }
        if let Some(channel) = made.channels.get(&(ordinal, lane)) {
            return Some(channel.clone());
        }
        let address = (self.addresses)(ordinal)?;
        let channel = match &self.dialler {
            Some(dialler) => dialler.connect_lazily(address, |endpoint| self.shape(endpoint)),
            None => self.shape(Endpoint::from(address)).connect_lazy(),
        };
        made.channels.insert((ordinal, lane), channel.clone());
        Some(channel)
    }

    fn shape(&self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .connect_timeout(self.connect_limit)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}
