//! What a record is kept in, as whoever writes it needs it: one connection, one transaction at a time. Postgres is one
//! such thing; another runs in virtual time and fails wherever a server can.

use std::future::Future;
use std::time::Duration;

use carrel_domain::state::State;
use carrel_domain::time::Timestamp;

use crate::projection::cursor::{Again, Cursor};
use crate::projection::proving::Proof;
use crate::projection::rows::{Key, Row};
use crate::projection::tables::Table;
use crate::projection::trouble::Trouble;
use crate::raft::timing::{self, Runtime};

/// Clearing or proving millions of rows takes a while. Beyond this the server has stopped answering.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
/// Some thousand rows take well below a second. What takes longer is tried again with fewer.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// Whether a table may have such a row already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    New,
    /// What is there is written over.
    Known,
}

/// Entries that history says nothing about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub lineage: u32,
    pub first_entry: u64,
    pub last_entry: u64,
    pub reason: Again,
    /// Claims from this one on have all their history again.
    pub next_claim: u64,
}

/// What of a table is about to be written anew, or would be if it were still true. What the state has let go of is in
/// the record alone, and stays; what is over and still held is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearing {
    Everything,
    /// Of the claims: those that no state lets go of, and those that there never were.
    LiveClaims {
        next_claim: u64,
    },
    LiveWaits,
    /// Of the strikes: those of claims that there never were, of people who are gone, and of later.
    StrikesNotOver {
        next_claim: u64,
        after: Timestamp,
    },
}

/// Where a record is.
pub trait Place: Send + Sync + 'static {
    type Store: Store;

    /// Connects, and makes whatever tables are missing.
    fn open(&self) -> impl Future<Output = Result<Self::Store, Trouble>> + Send;
}

/// One connection to a record. When it is dropped, what it had not committed has not happened.
pub trait Store: Send {
    type Runtime: Runtime;

    /// As the server says it.
    fn version(&self) -> &str;

    /// None: the tables are new.
    fn cursor(&mut self) -> impl Future<Output = Result<Option<Cursor>, Trouble>> + Send;

    /// How many rows were refused and put aside.
    fn parked(&mut self) -> impl Future<Output = Result<i64, Trouble>> + Send;

    /// `Moved` unless the record is exactly at `view`.
    fn prove(&mut self, at: &Cursor, view: &State) -> impl Future<Output = Result<Proof, Trouble>> + Send;

    fn begin(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Whether it has taken effect is not known if this fails.
    fn commit(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn roll_back(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// `Moved` if it is not at `from` any more. Of two transactions one waits here until the other is over.
    fn move_cursor(&mut self, from: &Cursor, to: &Cursor) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// `Moved` if there is one.
    fn set_cursor(&mut self, to: &Cursor) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn note_gap(&mut self, gap: Gap) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Takes history out of this lineage and later ones, after this entry.
    fn disown(&mut self, lineage: u32, after: Option<u64>) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn clear(&mut self, table: Table, clearing: Clearing) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// What was put aside, except of history, which is not written anew.
    fn clear_parked(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Everything that is kept by the number of people who are gone.
    fn forget(&mut self, users: &[i64]) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn insert(&mut self, table: Table, rows: &[&Row], known: Rows) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn take_out(&mut self, table: Table, keys: &[Key]) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// The exclusion speaks here, before anything is committed.
    fn check(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// From here on what follows can be taken back by itself.
    fn begin_part(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn keep_part(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    fn take_part_back(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Puts a row aside that was refused; how many there are.
    fn park(
        &mut self,
        entry: u64,
        table: Table,
        row: &Row,
        cause: &str,
    ) -> impl Future<Output = Result<i64, Trouble>> + Send;
}

/// A server that has hung, or a network that swallows, must not hold up the record for ever.
pub(super) async fn answered<RT: Runtime, T>(
    doing: &'static str,
    asked: impl Future<Output = Result<T, Trouble>> + Send,
) -> Result<T, Trouble> {
    answered_within::<RT, T>(ANSWER_LIMIT, doing, asked).await
}

pub(super) async fn answered_within<RT: Runtime, T>(
    within: Duration,
    doing: &'static str,
    asked: impl Future<Output = Result<T, Trouble>> + Send,
) -> Result<T, Trouble> {
    timing::within::<RT, _>(within, asked).await.unwrap_or(Err(Trouble::Silent { doing, within }))
}
