//! Proof that the record is what the state is, at one entry: every row of every table that mirrors it, side by side in
//! one order, and a hash over each side.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::time::Duration;

use carrel_domain::id::ClaimId;
use carrel_domain::state::State;
use carrel_domain::time::Timestamp;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use crate::projection::cursor::Cursor;
use crate::projection::database::{CURSOR, Database, cursor};
use crate::projection::rows::{Row, Value, rows_of};
use crate::projection::statements::{key_text, parked_keys};
use crate::projection::tables::{Kind, Table};
use crate::projection::trouble::Trouble;

/// Claims that no state lets go of.
const LIVE: &[&str] = &["HELD", "CONFIRMED", "CHECKED_IN", "AWAY"];

/// Differences that are told of one table, of however many there are.
const TOLD_MAX: usize = 5;

/// Some million rows take seconds. Nothing is written meanwhile, so this must end.
const PROOF_LIMIT: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Proof {
    pub at: Cursor,
    pub tables: Vec<TableProof>,
    /// Changes of claims that have no row of history, though no gap explains it; less than 0: rows of what never was.
    pub missing_transitions: i64,
    pub gaps: i64,
    pub parked: i64,
}

#[derive(Clone, Debug)]
pub struct TableProof {
    pub table: &'static str,
    /// Rows that both have.
    pub rows: u64,
    /// Rows that the state holds no more.
    pub archived: u64,
    /// Over all that the state holds, and over all of those that the record has.
    pub state_hash: [u8; 32],
    pub record_hash: [u8; 32],
    pub difference_count: u64,
    /// The first of them.
    pub differences: Vec<String>,
}

impl Proof {
    pub fn holds(&self) -> bool {
        self.missing_transitions == 0
            && self.tables.iter().all(|table| table.difference_count == 0 && table.state_hash == table.record_hash)
    }
}

impl Database {
    /// `Moved` unless the record is exactly at `view`.
    pub(super) async fn compare_with(&mut self, at: &Cursor, view: &State) -> Result<Proof, Trouble> {
        let silent = |_| Trouble::Silent { doing: "reading the record", within: PROOF_LIMIT };
        tokio::time::timeout(PROOF_LIMIT, self.compare_all(at, view)).await.map_err(silent)?
    }

    async fn compare_all(&mut self, at: &Cursor, view: &State) -> Result<Proof, Trouble> {
        let doing = "reading the record";
        let mut transaction = self.connection.begin().await.map_err(Trouble::of(doing))?;
        // One moment for all tables, whoever writes meanwhile.
        let one_moment = sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
        one_moment.execute(&mut *transaction).await.map_err(Trouble::of(doing))?;
        let found = sqlx::query(CURSOR).fetch_optional(&mut *transaction).await.map_err(Trouble::of(doing))?;
        let found = found.map(|row| cursor(&row).map_err(Trouble::of(doing))).transpose()?;
        if found.as_ref() != Some(at) {
            return Err(Trouble::Moved);
        }
        let mut tables = Vec::new();
        for table in Table::MIRRORS {
            tables.push(compare(&mut transaction, table, view).await?);
        }
        // A claim's revision counts its changes, each of which is one row.
        let counted = "WITH told AS (SELECT coalesce(max(next_claim), 0) AS first FROM history_gaps) \
             SELECT (SELECT count(*) FROM history_gaps), (SELECT count(*) FROM parked_rows), \
             (SELECT coalesce(sum(revision), 0)::bigint FROM claims, told WHERE id >= told.first) - \
             (SELECT count(*) FROM claim_transitions, told WHERE lineage = $1 AND claim_id >= told.first)";
        let counted = sqlx::query_as::<_, (i64, i64, i64)>(counted).bind(i64::from(at.lineage));
        let counted = counted.fetch_one(&mut *transaction).await;
        let (gaps, parked, unexplained) = counted.map_err(Trouble::of(doing))?;
        // What was put aside is missing, too.
        let missing_transitions = if parked == 0 { unexplained } else { 0 };
        Ok(Proof { at: at.clone(), tables, missing_transitions, gaps, parked })
    }
}

async fn compare(connection: &mut PgConnection, table: Table, view: &State) -> Result<TableProof, Trouble> {
    let doing = "reading the record";
    let parked = parked_keys(connection, table).await?;
    let mut comparison = Comparison::new(table, view, parked);
    let mut record = sqlx::query(AssertSqlSafe(table.select())).fetch(connection);
    while let Some(row) = record.next().await {
        let found = read(table, &row.map_err(Trouble::of(doing))?).map_err(Trouble::of(doing))?;
        comparison.found(&found);
    }
    Ok(comparison.end())
}

/// Of one table: what has been compared so far.
pub struct Comparison<'a> {
    table: Table,
    view: &'a State,
    /// Keys of rows that were put aside.
    parked: BTreeSet<String>,
    held: Peekable<Box<dyn Iterator<Item = Row> + Send + 'a>>,
    state: Sha256,
    record: Sha256,
    proof: TableProof,
}

impl<'a> Comparison<'a> {
    #[must_use]
    pub fn new(table: Table, view: &'a State, parked: BTreeSet<String>) -> Self {
        let proof = TableProof {
            table: table.name(),
            rows: 0,
            archived: 0,
            state_hash: [0; 32],
            record_hash: [0; 32],
            difference_count: 0,
            differences: Vec::new(),
        };
        let held = rows_of(view, table).peekable();
        Self { table, view, parked, held, state: Sha256::new(), record: Sha256::new(), proof }
    }

    /// The next row of the record, by key.
    pub fn found(&mut self, found: &Row) {
        let (table, key) = (self.table, self.table.key(found));
        while let Some(only) = self.held.next_if(|row| table.key(row) < key) {
            self.missing(&only);
        }
        match self.held.next_if(|row| table.key(row) == key) {
            Some(held) => self.both(&held, found),
            None => self.surplus(found),
        }
    }

    /// There are no more rows in the record.
    #[must_use]
    pub fn end(mut self) -> TableProof {
        while let Some(only) = self.held.next() {
            self.missing(&only);
        }
        let (state_hash, record_hash) = (self.state.finalize().into(), self.record.finalize().into());
        TableProof { state_hash, record_hash, ..self.proof }
    }

    fn both(&mut self, held: &Row, found: &Row) {
        self.proof.rows += 1;
        if self.is_parked(held) {
            return;
        }
        self.state.update(bytes(held));
        self.record.update(bytes(found));
        if held != found {
            let columns = self.table.columns().iter().zip(held.iter().zip(found));
            let other = columns.filter(|(_, (held, found))| held != found);
            let other: Vec<_> =
                other.map(|(column, (held, found))| format!("{} {found:?}, not {held:?}", column.name)).collect();
            self.differs(format!("{} has {}", self.name(held), other.join(", ")));
        }
    }

    fn missing(&mut self, held: &Row) {
        if !self.is_parked(held) {
            self.state.update(bytes(held));
            self.differs(format!("{} is missing", self.name(held)));
        }
    }

    fn surplus(&mut self, found: &Row) {
        if self.may_be_archived(found) {
            self.proof.archived += 1;
        } else {
            self.record.update(bytes(found));
            self.differs(format!("{} is not in the state", self.name(found)));
        }
    }

    /// What the state lets go of in time, and the record keeps.
    fn may_be_archived(&self, row: &Row) -> bool {
        let is = |column: &str, words: &[&str]| {
            let place = self.table.columns().iter().position(|other| other.name == column);
            let value = place.and_then(|place| row.get(place));
            matches!(value, Some(Value::Text(Some(word))) if words.contains(&word.as_ref()))
        };
        match self.table {
            Table::Claims => {
                let id = u64::try_from(self.table.key(row).0).map(ClaimId);
                id.is_ok_and(|id| self.view.is_let_go(id)) && !is("state", LIVE)
            }
            Table::Waits => !is("state", &["WAITING", "OFFERED"]),
            // The newest hundred of each person are held.
            Table::Strikes => true,
            _ => false,
        }
    }

    fn is_parked(&self, row: &Row) -> bool {
        self.parked.contains(&key_text(self.table, row))
    }

    fn name(&self, row: &Row) -> String {
        format!("{} {}", self.table.name(), key_text(self.table, row))
    }

    fn differs(&mut self, what: String) {
        self.proof.difference_count += 1;
        if self.proof.differences.len() < TOLD_MAX {
            self.proof.differences.push(what);
        }
    }
}

impl std::fmt::Debug for Comparison<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparison").field("table", &self.table).finish_non_exhaustive()
    }
}

fn bytes(row: &Row) -> Vec<u8> {
    postcard::to_extend(row, Vec::new()).expect("memory is the only thing that encoding needs")
}

fn read(table: Table, row: &PgRow) -> Result<Row, sqlx::Error> {
    let columns = table.columns().iter().enumerate();
    columns
        .map(|(index, column)| {
            Ok(match column.kind {
                Kind::Number => Value::Number(row.try_get(index)?),
                Kind::Flag => Value::Flag(row.try_get(index)?),
                Kind::Text => Value::Text(row.try_get::<Option<String>, _>(index)?.map(Into::into)),
                Kind::Time => {
                    let at: Option<jiff_sqlx::Timestamp> = row.try_get(index)?;
                    Value::Time(at.map(|at| Timestamp(at.to_jiff().as_microsecond())))
                }
                Kind::Json => {
                    let text: String = row.try_get(index)?;
                    // As serde_json writes it: the database has spaces of its own.
                    Value::Json(serde_json::from_str::<serde_json::Value>(&text).map_or(text, |json| json.to_string()))
                }
            })
        })
        .collect()
}
