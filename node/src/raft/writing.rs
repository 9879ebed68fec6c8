//! From a request to its answer: through the proposer where this node leads, else handed to the leader, once.
//!
//! What is certainly not in the log is tried again until a bound, so that a change of leaders is a pause and not an
//! error. What may be in it never is: the client repeats it, with the same request id.

use std::time::Duration;

use bytes::Bytes;
use carrel_domain::format;
use carrel_domain::planted::{self, Bug};
use carrel_domain::reply::Answer;
use carrel_domain::request::{Caller, Request};
use futures_util::future::join_all;
use openraft::Instant;
use openraft::alias::InstantOf;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;
use tracing::Instrument;

use crate::metrics::count;
use crate::raft::leading::peer;
use crate::raft::log_request::LogRequest;
use crate::raft::peers::{PeerError, Proposed, Transport};
use crate::raft::platform::Platform;
use crate::raft::proposer::{Outcome, Sender};
use crate::raft::running::Running;
use crate::raft::types::{NodeId, Response, Types};
use crate::replica::WriteError;
use crate::traces;

/// Between attempts with the same leader, of possibly thousands who wait for the next; that one is tried at once.
const RETRY: Duration = Duration::from_millis(100);

/// How long one that was elected may take until it serves: to commit an entry and read a majority's clocks.
const ELECTED_LIMIT: Duration = Duration::from_millis(300);

/// The largest request: far above any catalogue, far below what a message between nodes may weigh.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// `NoLeader` says that another attempt may do better.
type Attempt = Result<Answer, WriteError>;

impl<P: Platform, N: Transport<P>> Running<P, N> {
    pub async fn write(&self, request: Request, within: Duration) -> Result<Answer, WriteError> {
        let request = LogRequest::Library(request);
        let (level, body) = (request.level(), request.encode());
        if body.len() > REQUEST_BYTES_MAX {
            return Err(WriteError::TooLarge);
        }
        let Some(_place) = self.clients.enter() else { return Err(WriteError::Overloaded) };
        let started = Types::<P::Runtime>::now();
        let ends = Types::<P::Runtime>::now() + within;
        let deadline = ends.min(Types::<P::Runtime>::now() + self.settings.leader_wait);
        loop {
            if Self::remaining(ends).is_zero() {
                return Err(WriteError::Expired);
            }
            let tried = self.leader.get();
            let attempt = match tried {
                Some(leader) if leader == self.me.node_id && !self.is_known_to_all(level).await => {
                    Err(WriteError::EarlierRelease)
                }
                Some(leader) if leader == self.me.node_id => self.write_here(body.clone(), Sender::Client, ends).await,
                Some(leader) => {
                    let forward = traces::span!("forward", kind = "client");
                    let attempt = self.hand_over(leader, body.clone(), ends).instrument(forward).await;
                    self.measured.forwarded.count(&attempt);
                    attempt
                }
                None => Err(WriteError::NoLeader),
            };
            match &attempt {
                // The longest wait there is for an outcome, and for nothing.
                Err(WriteError::Overloaded | WriteError::Unknown) => self.clients.too_much(),
                Ok(answer) => {
                    self.clients.took(started.elapsed());
                    if answer.replayed {
                        count(&self.measured.record_hits);
                    }
                }
                Err(_) => {}
            }
            let remaining = Self::remaining(deadline);
            if attempt != Err(WriteError::NoLeader) || remaining.is_zero() {
                return attempt;
            }
            self.another_leader(tried, remaining.min(RETRY)).await;
        }
    }

    /// For the cluster's own tasks, on the leader alone: elsewhere they have nothing to do.
    pub async fn write_as_leader(&self, request: Request) -> Result<Answer, WriteError> {
        let request = LogRequest::Library(request);
        if !self.is_known_to_all(request.level()).await {
            return Err(WriteError::EarlierRelease);
        }
        let body = request.encode();
        if body.len() > REQUEST_BYTES_MAX {
            return Err(WriteError::TooLarge);
        }
        let ends = Types::<P::Runtime>::now() + self.settings.outcome_wait;
        self.write_here(body, Sender::System, ends).await
    }

    /// Whether every member answers and says that it knows entries of this level: one that does not would be stopped by
    /// them. Once there was one, it has been.
    async fn is_known_to_all(&self, level: u32) -> bool {
        if level <= self.views.newest().library.level() {
            return true;
        }
        let membership = self.membership();
        let asked = membership.nodes().map(|(id, _)| self.ask_status(peer(&membership, *id)));
        join_all(asked).await.into_iter().all(|says| says.is_some_and(|says| says.level >= level))
    }

    /// What another node hands over. It is looked at before it enters the log, for there it would stop every node that
    /// cannot decode it; and the cluster's own requests are the leader's to make.
    pub async fn propose_for_peer(&self, body: Bytes, within: Duration) -> Proposed {
        let ends = Types::<P::Runtime>::now() + within.min(self.settings.outcome_wait);
        let acceptable = match LogRequest::decode(&body) {
            Ok(LogRequest::Library(request)) => {
                request.caller != Caller::System && self.is_known_to_all(request.action.level()).await
            }
            Ok(LogRequest::Cluster(_)) | Err(_) => false,
        };
        if !acceptable || body.len() > REQUEST_BYTES_MAX {
            tracing::warn!("a peer handed over what cannot be proposed");
            return Proposed::NotProposed { leader: None };
        }
        self.wait_until_leading().await;
        // It arrived in a buffer many times its size, which would stay as long as the entry is in the log.
        let body = Bytes::copy_from_slice(&body);
        match self.propose(body, Sender::Client, ends).await {
            Outcome::Applied { log_id, response: Response::Library(answer) } => {
                Proposed::Committed { index: log_id.index, reply: format::encode(&*answer).into() }
            }
            Outcome::NotProposed { leader } => Proposed::NotProposed { leader },
            Outcome::Overloaded => Proposed::Overloaded,
            Outcome::Full => Proposed::Full,
            // Whose time is over knows it without being told.
            Outcome::Expired => Proposed::NotProposed { leader: None },
            Outcome::Applied { log_id: _, response: Response::None | Response::Cluster(_) } | Outcome::Unknown => {
                Proposed::Unknown
            }
        }
    }

    /// The outcome, or `Unknown` when it takes too long.
    pub async fn propose(&self, body: Bytes, sender: Sender, ends: InstantOf<Types<P::Runtime>>) -> Outcome {
        let limit = Self::remaining(ends).min(self.settings.outcome_wait);
        if limit.is_zero() {
            self.measured.proposed(&Outcome::Expired);
            return Outcome::Expired;
        }
        let outcome = self.proposer.propose(body, sender, ends).instrument(traces::span!("propose", kind = "internal"));
        Types::<P::Runtime>::timeout(limit, outcome).await.unwrap_or_else(|_| {
            // Whoever waited for it is gone, so it counts itself no more.
            self.measured.proposed(&Outcome::Unknown);
            Outcome::Unknown
        })
    }

    async fn write_here(&self, body: Bytes, sender: Sender, ends: InstantOf<Types<P::Runtime>>) -> Attempt {
        match self.propose(body, sender, ends).await {
            Outcome::Applied { log_id: _, response: Response::Library(answer) } => Ok(*answer),
            Outcome::NotProposed { leader: _ } => Err(WriteError::NoLeader),
            Outcome::Overloaded => Err(WriteError::Overloaded),
            Outcome::Full => Err(WriteError::Full),
            Outcome::Expired => Err(WriteError::Expired),
            Outcome::Applied { log_id: _, response: Response::None | Response::Cluster(_) } | Outcome::Unknown => {
                Err(WriteError::Unknown)
            }
        }
    }

    async fn hand_over(&self, leader: NodeId, body: Bytes, ends: InstantOf<Types<P::Runtime>>) -> Attempt {
        let within = Self::remaining(ends).min(self.settings.outcome_wait);
        let handed = self.peers.propose(self.peer(leader), body, within);
        match Types::<P::Runtime>::timeout(within, handed).await {
            Ok(Ok(Proposed::Committed { index: _, reply })) => match format::decode(&reply) {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    tracing::warn!(%error, "the leader's answer cannot be read");
                    Err(WriteError::Unknown)
                }
            },
            Ok(Err(PeerError::NoAnswer(_))) | Err(_) if planted::has(Bug::UnknownTakenForRefused) => {
                Err(WriteError::Overloaded)
            }
            Ok(Ok(Proposed::NotProposed { leader: _ }) | Err(PeerError::Unreachable(_) | PeerError::Removed)) => {
                Err(WriteError::NoLeader)
            }
            Ok(Ok(Proposed::Overloaded)) => Err(WriteError::Overloaded),
            Ok(Ok(Proposed::Full)) => Err(WriteError::Full),
            Ok(Ok(Proposed::Unknown) | Err(PeerError::NoAnswer(_))) | Err(_) => Err(WriteError::Unknown),
        }
    }

    /// Others hear of an election before the elected serves.
    async fn wait_until_leading(&self) {
        let is_elected = self.raft.metrics().borrow_watched().state.is_leader();
        if is_elected && self.lead.leading().is_none() {
            let mut leading = self.lead.watch();
            // If it takes longer, the request is refused, and tried again by who handed it over.
            let _ = Types::<P::Runtime>::timeout(ELECTED_LIMIT, leading.wait_for(Option::is_some)).await;
        }
    }
}
