//! The nodes the client knows: a connection to each, which one to ask next, and which ones to leave alone for a while.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::error::{InvalidEndpoint, sources};
use super::tls::Tls;

/// After its first failure a node rests this long, after each further one twice as long.
const SHORTEST_REST: Duration = Duration::from_millis(25);
/// No node rests longer, so a restarted one is found again within a second, and a server cannot ask for more.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// More addresses than any cluster has nodes are a mistake.
const MOST_ENDPOINTS: usize = 64;

#[derive(Debug)]
pub(super) struct Pool {
    nodes: Vec<Node>,
    /// Index of the node that answered last. Only a hint, so no ordering is needed.
    preferred: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    url: String,
    channel: Channel,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    /// In a row.
    failures: u32,
    /// Not to be asked before, if another can be.
    rested_at: Instant,
    /// It has answered, and has not failed since.
    is_alive: bool,
}

impl Pool {
    pub(super) fn new<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        connect_timeout: Duration,
        tls: Option<&Tls>,
    ) -> Result<Pool, InvalidEndpoint> {
        let mut nodes: Vec<Node> = Vec::new();
        for url in endpoints {
            let url = url.as_ref().trim().trim_end_matches('/');
            if nodes.iter().any(|node| node.url == url) {
                continue;
            }
            if nodes.len() == MOST_ENDPOINTS {
                return Err(InvalidEndpoint::TooMany { most: MOST_ENDPOINTS });
            }
            let channel = connect_lazily(url, connect_timeout, tls)?;
            let health = Mutex::new(Health { failures: 0, rested_at: Instant::now(), is_alive: false });
            nodes.push(Node { url: url.to_owned(), channel, health });
        }
        if nodes.is_empty() {
            return Err(InvalidEndpoint::None);
        }
        Ok(Pool { nodes, preferred: AtomicUsize::new(0) })
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.url.as_str())
    }

    pub(super) fn channel(&self, node: usize) -> Channel {
        self.nodes[node].channel.clone()
    }

    /// The node to ask next and when: the first after the preferred one that is not resting, else the one that has
    /// rested soonest.
    pub(super) fn next_node(&self, now: Instant) -> (usize, Instant) {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let ring = (preferred..self.nodes.len()).chain(0..preferred);
        ring.map(|node| (node, self.nodes[node].rested_at().max(now)))
            .min_by_key(|(_, rested_at)| *rested_at)
            .expect("a pool has at least one node")
    }

    /// The one to ask beside those that were asked and say nothing.
    pub(super) fn another(&self, asked: &[usize]) -> Option<usize> {
        let now = Instant::now();
        let others = (0..self.nodes.len()).filter(|node| !asked.contains(node));
        others.min_by_key(|&node| self.nodes[node].rested_at().max(now))
    }

    pub(super) fn is_alive(&self, node: usize) -> bool {
        self.nodes[node].health.lock().expect("nothing panics while holding it").is_alive
    }

    pub(super) fn answered(&self, node: usize) {
        self.preferred.store(node, Ordering::Relaxed);
        let mut health = self.nodes[node].health.lock().expect("nothing panics while holding it");
        *health = Health { failures: 0, rested_at: Instant::now(), is_alive: true };
    }

    /// The connection failed, or nothing came back.
    pub(super) fn failed(&self, node: usize) {
        let now = Instant::now();
        let mut health = self.nodes[node].health.lock().expect("nothing panics while holding it");
        health.is_alive = false;
        // Many calls that fail together are one failure of the node.
        if health.rested_at <= now {
            let rest = SHORTEST_REST * 2u32.saturating_pow(health.failures.min(10));
            health.failures = health.failures.saturating_add(1);
            health.rested_at = now + jittered(rest.min(LONGEST_REST));
        }
    }

    /// The node answered that it cannot serve for the moment.
    pub(super) fn rest(&self, node: usize, wait: Duration) {
        let mut health = self.nodes[node].health.lock().expect("nothing panics while holding it");
        let rested_at = Instant::now() + jittered(wait.min(LONGEST_REST));
        *health = Health { failures: 0, rested_at, is_alive: true };
    }
}

impl Node {
    fn rested_at(&self) -> Instant {
        self.health.lock().expect("nothing panics while holding it").rested_at
    }
}

fn connect_lazily(url: &str, connect_timeout: Duration, tls: Option<&Tls>) -> Result<Channel, InvalidEndpoint> {
    let invalid = || InvalidEndpoint::Url { url: url.to_owned() };
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| invalid())?;
    if endpoint.uri().authority().is_none() {
        return Err(invalid());
    }
    match (endpoint.uri().scheme_str(), tls) {
        (Some("http"), None) => {}
        (Some("https"), Some(tls)) => {
            // The handshake has its own limit besides that of connecting, and no other.
            let config = tls.config().timeout(connect_timeout);
            endpoint = endpoint.tls_config(config).map_err(|error| InvalidEndpoint::Tls {
                why: sources(&error).last().map_or_else(|| error.to_string(), ToString::to_string),
            })?;
        }
        (Some("https"), None) => return Err(InvalidEndpoint::NoAuthority { url: url.to_owned() }),
        // Falling back to plain text is what somebody in between would wish for.
        (Some("http"), Some(_)) => return Err(InvalidEndpoint::Plain { url: url.to_owned() }),
        _ => return Err(invalid()),
    }
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        // A peer that vanished without a word is noticed under an open stream; idle connections cost nothing.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .connect_lazy())
}

/// Up to half as long again, so that clients that failed together do not come back together.
pub(super) fn jittered(wait: Duration) -> Duration {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    wait + wait.mul_f64(0.5 * (random >> 32) as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(endpoints: &[&str]) -> Result<Pool, InvalidEndpoint> {
        Pool::new(endpoints, Duration::from_secs(1), None)
    }

    #[tokio::test]
    async fn the_last_that_answered_is_asked_first() {
        let pool = pool(&["http://a:1", "http://b:1", "http://c:1"]).expect("three addresses");
        assert_eq!(pool.next_node(Instant::now()).0, 0);
        pool.answered(1);
        assert_eq!(pool.next_node(Instant::now()).0, 1);
    }

    #[tokio::test]
    async fn a_failed_node_rests_longer_each_time_but_never_long() {
        let pool = pool(&["http://a:1", "http://b:1"]).expect("two addresses");
        pool.failed(0);
        let now = Instant::now();
        assert_eq!(pool.next_node(now).0, 1, "the other one is asked meanwhile");
        for _ in 0..100 {
            pool.nodes[0].health.lock().expect("not poisoned").rested_at = now;
            pool.failed(0);
        }
        assert!(pool.nodes[0].rested_at() - now >= LONGEST_REST);
        assert!(pool.nodes[0].rested_at() - now <= LONGEST_REST.mul_f64(1.6));
        assert_eq!(pool.next_node(now + Duration::from_secs(2)).0, 0, "and then it is tried again");
    }

    #[tokio::test]
    async fn addresses_are_checked_before_anything_is_sent() {
        assert!(matches!(pool(&[]), Err(InvalidEndpoint::None)));
        assert!(matches!(pool(&["https://a:1"]), Err(InvalidEndpoint::NoAuthority { .. })));
        for url in ["127.0.0.1:7400", "ftp://a", "http://", "no address", ""] {
            assert!(matches!(pool(&[url]), Err(InvalidEndpoint::Url { .. })), "{url}");
        }
        assert_eq!(pool(&["http://a:1/", " http://a:1"]).expect("one address, twice").nodes.len(), 1);
    }
}
