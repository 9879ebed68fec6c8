//! The one client: it is given the addresses of some nodes and makes each call on one that answers.
//!
//! It keeps one connection per node, prefers the node that answered last, lets failing nodes rest, and repeats a call
//! whose outcome is unknown on the next node. A repeated request is the same message with the same `request_id`, and
//! the cluster answers the same request once, so a retry is free. A refusal is an answer and is never repeated, but for
//! one: who is turned away because there is too much to do comes back when it was told to.
//!
//! A node that has not answered this client yet may hang. While it says nothing the same call is made on a second and
//! a third, and the first answer counts; once a node has answered it is trusted with calls of its own.

mod error;
mod methods;
mod pool;
mod tls;
mod watch;
mod seat_map;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub use error::{
    ClientError, ERROR_DOMAIN, HISTORY_UNAVAILABLE, InvalidEndpoint, InvalidToken, Refusal, Unreachable, code_name,
};
pub use seat_map::{MapNews, SeatMapWatch};
pub use tls::Tls;
pub use watch::{InboxWatch, News};

use error::{OVERLOADED, Trouble, Verdict, judge};
use pool::{Pool, jittered};

/// A call ends after this long, whatever was asked for: the cluster remembers the outcome of a request for 15 minutes,
/// and a repetition that arrives later would be done a second time.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// How long the client waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub connect_timeout: Duration,
    /// One node's time to answer before the next is asked: a node that hangs must not use up the whole deadline.
    pub attempt_timeout: Duration,
    /// From the start of a call to giving up, over all its attempts. At most [`LONGEST_DEADLINE`].
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Cheap to clone; clones share connections and what is known about the nodes.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
    options: Options,
    authorization: Option<MetadataValue<Ascii>>,
    trace: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Connects to nothing yet. Must be called inside a Tokio runtime.
    pub fn new<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
    ) -> Result<Client, InvalidEndpoint> {
        let pool = Pool::new(endpoints, options.connect_timeout, None)?;
        Ok(Client { pool: Arc::new(pool), options, authorization: None, trace: None })
    }

    /// As [`Client::new`], for `https://` addresses and no others.
    pub fn secured<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
        tls: &Tls,
    ) -> Result<Client, InvalidEndpoint> {
        let pool = Pool::new(endpoints, options.connect_timeout, Some(tls))?;
        Ok(Client { pool: Arc::new(pool), options, authorization: None, trace: None })
    }

    /// The same client, acting for the account behind this session token.
    pub fn with_session(self, token: &str) -> Result<Client, InvalidToken> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| InvalidToken)?;
        value.set_sensitive(true);
        Ok(Client { authorization: Some(value), ..self })
    }

    /// The same client, acting for nobody.
    pub fn without_session(self) -> Client {
        Client { authorization: None, ..self }
    }

    /// The same client, whose calls are a part of this trace: the value of a W3C traceparent.
    pub fn with_trace(self, traceparent: MetadataValue<Ascii>) -> Client {
        Client { trace: Some(traceparent), ..self }
    }

    /// The same client with other limits; the time to connect stays as it was.
    pub fn with_options(self, options: Options) -> Client {
        Client { options, ..self }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.pool.endpoints()
    }

    /// Makes one call, on as many nodes as it takes. `method` makes one attempt; every attempt gets the same request.
    ///
    /// The methods of the services are here by name ([`Client::create_reservation`] and so on); this is for others.
    pub async fn call<Q, R, F>(&self, request: Q, method: impl Fn(Channel, Request<Q>) -> F) -> Result<R, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts = self.attempts();
        let ask = |node: usize, limit: Duration| {
            let mut attempt = self.request(request.clone());
            attempt.set_timeout(limit);
            let answering = method(self.pool.channel(node), attempt);
            async move { answering.await.map_err(judge) }
        };
        loop {
            if let Some((_, response)) = attempts.try_once(&ask).await? {
                return Ok(response.into_inner());
            }
        }
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        if let Some(trace) = &self.trace {
            request.metadata_mut().insert("traceparent", trace.clone());
        }
        request
    }

    fn attempts(&self) -> Attempts {
        Attempts {
            pool: self.pool.clone(),
            attempt_timeout: self.options.attempt_timeout,
            not_before: Instant::now(),
            turned_away: 0,
            last_refusal: None,
            ends: Instant::now() + self.options.deadline.min(LONGEST_DEADLINE),
            last: vec![None; self.pool.endpoints().count()],
            in_doubt: false,
        }
    }
}

/// At once if that is over: a timer would take a millisecond for it, which is most of what a call takes.
async fn wait_until(instant: Instant) {
    if instant > Instant::now() {
        tokio::time::sleep_until(instant.into()).await;
    }
}

/// A fresh id for a mutating request.
pub fn new_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The attempts of one call so far, and how long it may go on.
#[derive(Debug)]
struct Attempts {
    pool: Arc<Pool>,
    attempt_timeout: Duration,
    ends: Instant,
    /// When whoever was turned away may come back.
    not_before: Instant,
    /// How often.
    turned_away: u32,
    /// If that is what became of the last attempt.
    last_refusal: Option<Refusal>,
    /// By node: why its last attempt of this call failed.
    last: Vec<Option<Trouble>>,
    /// True once a node may have acted on the request without telling.
    in_doubt: bool,
}

/// How long a node that has never answered may say nothing until another is asked beside it: several times what a call
/// takes, and not yet a pause for a person.
const HEDGE_AFTER: Duration = Duration::from_millis(250);
/// A node that says nothing, the one beside it, and one more: of so many one lives, or none can answer.
const AT_ONCE_MAX: usize = 3;
/// Who is turned away again and again waits up to so many times as long as it is told, for others are, too.
const PATIENCE_MAX: u32 = 8;

impl Attempts {
    /// One attempt; more side by side while no node among them is known to be alive. Nothing if all have failed and
    /// there is time for another round.
    async fn try_once<T, F>(&mut self, ask: impl Fn(usize, Duration) -> F) -> Result<Option<(usize, T)>, ClientError>
    where
        F: Future<Output = Result<T, Verdict>>,
    {
        let first = self.next_node().await?;
        let mut asked = vec![first];
        let mut under_way = FuturesUnordered::new();
        let limited = |node: usize, limit: Duration| {
            let asking = ask(node, limit);
            // The timeout of a request ends at the response's headers, this one at its last byte.
            async move {
                let silent = Verdict::NodeFailed(Trouble::silent_for(limit));
                (node, tokio::time::timeout(limit, asking).await.unwrap_or(Err(silent)))
            }
        };
        under_way.push(limited(first, self.attempt_limit()));
        loop {
            let is_known = asked.len() == AT_ONCE_MAX || asked.iter().any(|&node| self.pool.is_alive(node));
            let another = if is_known { None } else { self.pool.another(&asked) };
            tokio::select! {
                Some((node, outcome)) = under_way.next() => match outcome {
                    Ok(answer) => {
                        self.pool.answered(node);
                        return Ok(Some((node, answer)));
                    }
                    Err(verdict) => {
                        self.failed(node, verdict)?;
                        if under_way.is_empty() {
                            return Ok(None);
                        }
                    }
                },
                () = tokio::time::sleep(HEDGE_AFTER), if another.is_some() => {
                    asked.extend(another);
                    under_way.extend(another.map(|another| limited(another, self.attempt_limit())));
                }
            }
        }
    }

    /// The node to ask next, once it is time to.
    async fn next_node(&mut self) -> Result<usize, ClientError> {
        let first = self.last.iter().all(Option::is_none);
        if self.not_before >= self.ends {
            return Err(self.give_up());
        }
        wait_until(self.not_before).await;
        let now = Instant::now();
        let (node, rested_at) = self.pool.next_node(now);
        // The first attempt of a call never waits: that every node failed other calls just now says nothing certain.
        if !first {
            if rested_at.max(now) >= self.ends {
                return Err(self.give_up());
            }
            wait_until(rested_at).await;
        }
        Ok(node)
    }

    fn attempt_limit(&self) -> Duration {
        // Never zero: next_node has seen time left, but some has passed since.
        self.ends.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), self.attempt_timeout)
    }

    /// Notes a failure; an error if the call ends with it.
    fn failed(&mut self, node: usize, verdict: Verdict) -> Result<(), ClientError> {
        let trouble = match verdict {
            Verdict::Refused(refusal) => {
                self.pool.answered(node);
                return Err(ClientError::Refused(refusal));
            }
            Verdict::TurnedAway(refusal, wait) => {
                if refusal.reason == OVERLOADED {
                    // Another may have room.
                    self.pool.rest(node, wait);
                }
                let times = 2u32.saturating_pow(self.turned_away).min(PATIENCE_MAX);
                self.turned_away += 1;
                self.not_before = Instant::now() + jittered(wait * times);
                let trouble = Trouble { text: refusal.message.clone(), in_doubt: false };
                self.last_refusal = Some(refusal);
                self.last[node] = Some(trouble);
                return Ok(());
            }
            Verdict::NodeFailed(trouble) => {
                self.pool.failed(node);
                trouble
            }
            Verdict::NotNow(trouble, wait) => {
                self.pool.rest(node, wait);
                trouble
            }
        };
        self.last_refusal = None;
        self.in_doubt |= trouble.in_doubt;
        self.last[node] = Some(trouble);
        Ok(())
    }

    fn give_up(&mut self) -> ClientError {
        // Nothing was done, and why is known.
        if let Some(refusal) = self.last_refusal.take().filter(|_| !self.in_doubt) {
            return ClientError::Refused(refusal);
        }
        let nodes = self.pool.endpoints().zip(&self.last);
        ClientError::Unreachable(Unreachable {
            endpoints: nodes.map(|(url, last)| (url.to_owned(), last.as_ref().map(|t| t.text.clone()))).collect(),
            in_doubt: self.in_doubt,
        })
    }
}
