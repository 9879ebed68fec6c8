//! The one task that puts requests into the log: it stamps the time and hands them to openraft in the order of the
//! stamps.
//!
//! It works only while this node leads, has applied the first entry of its term and has a clock that a majority agrees
//! to; otherwise it refuses, and what it refuses is certainly not in the log.

use std::sync::Arc;

use bytes::Bytes;
use openraft::Instant;
use openraft::alias::{InstantOf, MpscReceiverOf, MpscSenderOf};
use openraft::async_runtime::{MpscReceiver, MpscSender};
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;

use crate::raft::admission::Admission;
use crate::raft::leading::Lead;
use crate::raft::measured::Measured;
use crate::raft::platform::Platform;
use crate::raft::shortage::{Doorkeeper, Intake};
use crate::raft::types::{Command, LogId, NodeId, Raft, Response, Types};
use crate::traces::{self, TraceParent};

/// The cluster's own requests (ticks, calendars, ids) come one at a time from a handful of tasks, and are not refused
/// when clients are many: without them time would stand still.
const RESERVED_FOR_SYSTEM: usize = 64;

/// What became of a proposal made on this node.
#[derive(Debug)]
pub enum Outcome {
    Applied {
        log_id: LogId,
        response: Response,
    },
    /// Certainly not in the log.
    NotProposed {
        leader: Option<NodeId>,
    },
    /// Certainly not in the log.
    Overloaded,
    /// Certainly not in the log: too few nodes have room on their disks.
    Full,
    /// Certainly not in the log: nobody waits for it any more.
    Expired,
    /// In the log or not.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    System,
}

struct Proposal<RT: AsyncRuntime> {
    body: Bytes,
    trace: Option<TraceParent>,
    /// Until then somebody waits for the outcome.
    ends: InstantOf<Types<RT>>,
    responder: ProgressResponder<Types<RT>, ClientWriteResult<Types<RT>>>,
}

/// The way to the proposing task.
pub struct Proposer<RT: AsyncRuntime> {
    queue: MpscSenderOf<Types<RT>, Proposal<RT>>,
    in_flight: Admission,
    intake: Arc<Doorkeeper<RT>>,
    measured: Arc<Measured>,
}

/// The proposing task, not yet running.
pub struct Proposing<RT: AsyncRuntime> {
    queue: MpscReceiverOf<Types<RT>, Proposal<RT>>,
}

pub fn proposer<RT: AsyncRuntime>(
    in_flight_limit: usize,
    intake: Arc<Doorkeeper<RT>>,
    measured: Arc<Measured>,
) -> (Proposer<RT>, Proposing<RT>) {
    let (sender, receiver) = Types::<RT>::mpsc(in_flight_limit + RESERVED_FOR_SYSTEM);
    (
        Proposer { queue: sender, in_flight: Admission::new(in_flight_limit), intake, measured },
        Proposing { queue: receiver },
    )
}

impl<RT: AsyncRuntime> Proposer<RT> {
    /// Waits for the outcome without limit: an isolated leader has none until it is no longer isolated. What is not
    /// proposed by `ends` never is.
    pub async fn propose(&self, body: Bytes, sender: Sender, ends: InstantOf<Types<RT>>) -> Outcome {
        let outcome = self.proposed(body, sender, ends).await;
        self.measured.proposed(&outcome);
        outcome
    }

    async fn proposed(&self, body: Bytes, sender: Sender, ends: InstantOf<Types<RT>>) -> Outcome {
        let _taken_on = match sender {
            Sender::System => None,
            Sender::Client => match self.in_flight.enter() {
                Some(taken_on) => Some(taken_on),
                None => return Outcome::Overloaded,
            },
        };
        match self.intake.get() {
            Intake::Open => {}
            Intake::Elsewhere => return Outcome::NotProposed { leader: None },
            Intake::Full => return Outcome::Full,
        }
        let started = Types::<RT>::now();
        let (responder, outcome) = ProgressResponder::complete_only();
        if self.queue.send(Proposal { body, trace: traces::current(), ends, responder }).await.is_err() {
            return Outcome::NotProposed { leader: None };
        }
        let outcome = outcome.await;
        if sender == Sender::Client && outcome.is_ok() {
            let took = started.elapsed();
            self.in_flight.took(took);
            self.measured.committed(took);
        }
        match outcome {
            Ok(Ok(written)) => Outcome::Applied { log_id: written.log_id, response: written.data },
            Ok(Err(ClientWriteError::ForwardToLeader(_))) if Types::<RT>::now() >= ends => Outcome::Expired,
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Outcome::NotProposed { leader: forward.leader_id },
            // The second may be in another leader's log. The others are for changes of the membership.
            Ok(Err(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            ))
            | Err(_) => Outcome::Unknown,
        }
    }

    /// Requests of clients that are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.taken()
    }
}

impl<RT: AsyncRuntime> Proposing<RT> {
    pub async fn run<P: Platform<Runtime = RT>>(mut self, raft: Raft<P>, lead: Lead<RT>) {
        while let Some(Proposal { body, trace, ends, responder }) = self.queue.recv().await {
            // An entry that nobody waits for would only hold up those behind it.
            let stamp = if Types::<RT>::now() < ends { lead.stamp() } else { None };
            let Some((term, at)) = stamp else {
                responder.on_complete(Err(ClientWriteError::ForwardToLeader(ForwardToLeader::empty())));
                continue;
            };
            let enqueued = raft.write(Command { at, body, trace }).with_leader(term).responder(responder).await;
            if enqueued.is_err() {
                // openraft has stopped. What is still queued finds its channel closed, and its outcome unknown.
                return;
            }
        }
    }
}

impl<RT: AsyncRuntime> std::fmt::Debug for Proposer<RT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<RT: AsyncRuntime> std::fmt::Debug for Proposing<RT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposing").finish_non_exhaustive()
    }
}
