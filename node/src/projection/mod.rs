//! The relational record: Postgres follows the log, for history, reports, joins and backups. The only folder that names
//! sqlx.
//!
//! The log decides and Postgres records. What happened and is not there yet is a part of the replicated state
//! (`carrel_domain::outbox`), so no failure of Postgres, of a leader or of the whole cluster loses a change or writes
//! one twice: rows and cursor move in one transaction, by compare-and-set, and whoever leads reads the cursor again
//! after anything that went wrong. Nothing here is waited for by anybody who books a seat.
//!
//! ```text
//! state.outbox ── rows ──► Changes ── writing ──► one transaction: cursor + rows
//!       ▲                                              │
//!       └──── Projected { through } ◄──────────────────┘
//! ```

// In reading order: what is written, where it goes, how far it is, what goes wrong, who does it; and who reads it.
pub mod tables;
pub mod rows;
pub mod cursor;
pub mod trouble;
pub mod store;
pub mod database;
mod copying;
mod statements;
pub mod writing;
pub mod proving;
mod figures;
mod retention;
mod projector;
pub mod reading;
pub mod history;
pub mod reports;

use std::future::Future;
use std::sync::Arc;

use prometheus::Registry;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::live::LiveNode;
use crate::projection::database::Address;
use crate::projection::figures::Figures;
use crate::projection::projector::Projector;
use crate::projection::proving::Proof;
use crate::projection::store::Place;
use crate::raft::node::Node;
use crate::raft::peers::Transport;
use crate::raft::platform::Platform;

/// People who ask for a proof or a rebuild: one after the other, and a few who wait.
const ASKS_MAX: usize = 8;

/// How the record is, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// Everything through this entry is in the record, as far as this node knows.
    pub applied_index: Option<u64>,
    pub server_version: Option<String>,
    pub parked_rows: i64,
    /// What is in the way, in words.
    pub trouble: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Another node leads, and writes.
    Elsewhere,
    Connecting,
    /// All rows are written anew from the state.
    BeginningAgain,
    Following,
    /// Something is in the way; it is tried again.
    Waiting,
    /// It is not this cluster's record: a person has to decide.
    Halted,
}

#[derive(Debug, Error)]
pub enum BeginError {
    #[error("no thread for the record")]
    Thread(#[from] std::io::Error),
    #[error("a metric of the record cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("{0}")]
    Trouble(Arc<str>),
    #[error("others are waiting for an answer already")]
    Busy,
}

pub(in crate::projection) type Answer = oneshot::Sender<Result<Proof, AskError>>;

#[derive(Debug)]
pub(in crate::projection) enum Ask {
    Prove(Answer),
    Rebuild { adopt: bool, answer: Answer },
}

impl Ask {
    fn into_answer(self) -> Answer {
        match self {
            Self::Prove(answer) | Self::Rebuild { answer, .. } => answer,
        }
    }
}

/// The record, for those who ask about it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projection {
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
}

impl Projection {
    /// Begins to keep the record, on a thread of its own: neither a heartbeat nor anybody's call waits for rows.
    ///
    /// # Errors
    /// If there is no thread to be had, or a metric of one of these names is registered already.
    pub fn begin(
        node: LiveNode,
        address: Address,
        history_days: u32,
        registry: &Registry,
        stop: CancellationToken,
    ) -> Result<Self, BeginError> {
        let (projection, work) = Self::of(node, address, history_days, registry)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            // Whether it was told to stop or the node has gone: what is not written yet is kept.
            let _ = runtime.block_on(stop.run_until_cancelled_owned(work));
        };
        std::thread::Builder::new().name("carrel-record".into()).spawn(work)?;
        Ok(projection)
    }

    /// A record anywhere, and the work of keeping it, which goes on for as long as the node does.
    ///
    /// # Errors
    /// If a metric of one of these names is registered already.
    pub fn of<P: Platform, N: Transport<P>, A: Place>(
        node: Node<P, N>,
        place: A,
        history_days: u32,
        registry: &Registry,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<P, N, A>), prometheus::Error> {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let first = Status {
            phase: Phase::Elsewhere,
            applied_index: None,
            server_version: None,
            parked_rows: 0,
            trouble: None,
        };
        let (sender, status) = watch::channel(first);
        let projector = Projector::new(node, place, sender, asked, history_days, Figures::new(registry)?);
        Ok((Self { asks, status }, projector.run()))
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// That rows and state are equal at one entry, or where they differ. The leader alone can say.
    ///
    /// # Errors
    /// If this node does not lead, or the record cannot be read.
    pub async fn prove(&self) -> Result<Proof, AskError> {
        self.ask(Ask::Prove).await
    }

    /// Writes all rows anew from the state, and proves that they are right. `adopt`: also over a record that is ahead
    /// of this cluster, or of another.
    ///
    /// # Errors
    /// As for [`Projection::prove`].
    pub async fn rebuild(&self, adopt: bool) -> Result<Proof, AskError> {
        self.ask(|answer| Ask::Rebuild { adopt, answer }).await
    }

    async fn ask(&self, ask: impl FnOnce(Answer) -> Ask) -> Result<Proof, AskError> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(ask(answer)).map_err(|_| AskError::Busy)?;
        // A projector that stops leads no more.
        answered.await.unwrap_or(Err(AskError::NotLeader))
    }
}
