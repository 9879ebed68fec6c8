//! Reading the record: older history and reports, for people who wait for an answer.
//!
//! On connections of its own, a few and bounded, so that the projection is never behind a report. That a server is
//! away, busy or slow is said within seconds, and nobody who books notices.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::request::At;
use sqlx::Transaction;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::live::LiveNode;
use crate::projection::cursor::Cursor;
use crate::projection::database::{Address, CURSOR, cursor};
use crate::projection::trouble::Trouble;

/// At once, on one node. A report keeps a core of the database busy for up to a second.
const READS_MAX: usize = 3;

/// For one of them to be over, and then for a connection, which is tried for all of it while no server listens: both
/// together end before the 2 s of a client's attempt, which would otherwise never hear why.
const WAIT_LIMIT: Duration = Duration::from_millis(800);

/// Longer than ten years of a busy campus take, shorter than callers wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// The server gives up first, and says that it did.
///
/// Compiling a statement takes longer than running it; and what is counted by hours fits into memory, which the planner
/// cannot know. Neither can it without being asked to look at what is asked for each time: a day and a decade are
/// not counted alike, and rows are few for workers to hand over.
const SETTINGS: &str = "SET statement_timeout = '18s'; SET lock_timeout = '2s'; SET TIME ZONE 'UTC'; \
     SET jit = off; SET work_mem = '64MB'; SET enable_sort = off; SET plan_cache_mode = force_custom_plan; \
     SET parallel_setup_cost = 100; SET parallel_tuple_cost = 0.001; \
     SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = '30s'; \
     SET client_min_messages = 'warning'; SET application_name = 'carrel reports'";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadTrouble {
    #[error("{READS_MAX} other reports are being made here")]
    Busy,
    #[error("the report takes longer than {} s", ANSWER_LIMIT.as_secs())]
    TooLong,
    /// With what is in the way, for the log and not for people.
    #[error("the record cannot be read: {0}")]
    Unreadable(Arc<str>),
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    node: LiveNode,
    address: Address,
    pool: PgPool,
    turns: Arc<Semaphore>,
}

/// One moment of the record. Read only: there is nothing to commit.
pub(super) struct Moment<'a> {
    pub transaction: Transaction<'static, Postgres>,
    pub at: At,
    _turn: SemaphorePermit<'a>,
}

impl Reader {
    /// Connects to nothing before somebody asks. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(node: LiveNode, address: Address) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(READS_MAX as u32)
            .acquire_timeout(WAIT_LIMIT)
            .idle_timeout(Duration::from_secs(60))
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SETTINGS).execute(connection).await.map(drop) })
            })
            // Where the server is, is looked up before each connection.
            .connect_lazy_with(PgConnectOptions::new_without_pgpass());
        Self { node, address, pool, turns: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// What is found in one moment of this cluster's record, or why nothing is.
    pub(super) async fn answered<T>(
        &self,
        asked: impl Future<Output = Result<T, ReadTrouble>>,
    ) -> Result<T, ReadTrouble> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, asked).await.unwrap_or(Err(ReadTrouble::TooLong));
        if let Err(trouble) = &answer {
            tracing::warn!(%trouble, "a report or older history was asked for, and not told");
        }
        answer
    }

    pub(super) async fn moment(&self) -> Result<Moment<'_>, ReadTrouble> {
        let turn = tokio::time::timeout(WAIT_LIMIT, self.turns.acquire()).await;
        let turn = turn.map_err(|_| ReadTrouble::Busy)?.map_err(|_| ReadTrouble::Busy)?;
        let trouble = |trouble: Trouble| ReadTrouble::Unreadable(trouble.to_string().into());
        // Passwords change.
        self.pool.set_connect_options(self.address.options().map_err(trouble)?);
        let mut transaction = self.pool.begin().await?;
        let one_moment = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        sqlx::query(one_moment).execute(&mut *transaction).await?;
        let row = sqlx::query(CURSOR).fetch_optional(&mut *transaction).await?;
        let found = row.map(|row| cursor(&row)).transpose()?;
        let nothing = || ReadTrouble::Unreadable("it is empty".into());
        let Cursor { cluster_id, lineage: _, applied_index, applied_time } = found.ok_or_else(nothing)?;
        let own = self.node.identity().member_of.map(|me| me.cluster_id.to_string());
        if own.as_ref() != Some(&cluster_id) {
            return Err(ReadTrouble::Unreadable("it is another cluster's".into()));
        }
        Ok(Moment { transaction, at: At { index: applied_index, time: applied_time }, _turn: turn })
    }
}

impl From<sqlx::Error> for ReadTrouble {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // The server has cancelled it.
            sqlx::Error::Database(database) if database.code().as_deref() == Some("57014") => Self::TooLong,
            _ => Self::Unreadable(Trouble::of("reading")(error).to_string().into()),
        }
    }
}
