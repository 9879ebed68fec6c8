//! Rows and cursor in one transaction: both, or neither.
//!
//! The cursor is moved first, by compare-and-set, so that of two projectors one waits for the other and then finds it
//! moved. Whether a transaction whose reply was lost has taken effect is known by reading the cursor again.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use carrel_domain::state::State;
use serde_json::json;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::projection::copying;
use crate::projection::cursor::{Again, Cursor};
use crate::projection::database::{Database, WRITE_LIMIT, answered, answered_within, instant};
use crate::projection::rows::{self, Changes, Row, Value};
use crate::projection::tables::{Column, Kind, Table};
use crate::projection::trouble::Trouble;

/// Some megabytes on their way, and less than a second of work.
const ROWS_PER_STATEMENT: usize = 5_000;

/// More refused rows than these are the fault of something else: of a trigger, a rule, a table that was altered.
const PARKED_MAX: i64 = 1_000;

/// Whether a table may have such a row already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    New,
    /// What is there is written over.
    Known,
}

/// What to do with rows that Postgres refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The whole batch fails.
    Fail,
    /// They are put aside one by one, with why, and the rest goes on.
    Park,
}

impl Database {
    /// Everything between two places of the cursor.
    pub async fn write(
        &mut self,
        changes: &Changes,
        from: &Cursor,
        to: &Cursor,
        refused: Refused,
    ) -> Result<(), Trouble> {
        let doing = "writing rows";
        let written = async {
            let mut transaction = self.connection.begin().await.map_err(Trouble::of(doing))?;
            let mut writer = Writer { connection: &mut transaction, refused, entry: to.applied_index };
            writer.move_cursor(from, to).await?;
            for (table, rows) in &changes.rows {
                let (mut new, mut known) = (Vec::new(), Vec::new());
                for (key, row) in rows {
                    let Some(row) = row else { continue };
                    let is_new = *table == Table::Claims && changes.new_claims.contains(key);
                    // Where rows are tried one by one, all that may be there leave their places first.
                    if is_new && refused == Refused::Fail { new.push(row) } else { known.push(row) }
                }
                writer.put(*table, &known, Rows::Known).await?;
                writer.put(*table, &new, Rows::New).await?;
                let gone: Vec<_> = rows.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
                writer.take_out(*table, &gone).await?;
            }
            if !changes.forgotten.is_empty() {
                let users: Vec<i64> = changes.forgotten.iter().copied().collect();
                for sql in [
                    "DELETE FROM strikes WHERE user_id = ANY($1::bigint[])",
                    "DELETE FROM parked_rows WHERE table_name = 'users' AND key = ANY($1::bigint[]::text[])",
                ] {
                    let forgotten = sqlx::query(sql).bind(&users).execute(&mut *writer.connection).await;
                    forgotten.map_err(Trouble::of(doing))?;
                }
            }
            for (table, rows) in &changes.history {
                writer.put(*table, &rows.iter().collect::<Vec<_>>(), Rows::New).await?;
            }
            writer.check().await?;
            transaction.commit().await.map_err(Trouble::of("committing"))
        };
        // Row by row takes longer.
        match refused {
            Refused::Fail => answered_within(WRITE_LIMIT, doing, written).await,
            Refused::Park => answered(doing, written).await,
        }
    }

    /// All rows that the state holds, in one transaction; what it holds no more is left as it was, unless it cannot be
    /// true any longer. Takes about as long as all the rows take to insert.
    pub async fn begin_again(
        &mut self,
        view: &State,
        from: Option<&Cursor>,
        to: &Cursor,
        again: Again,
        has_gap: bool,
    ) -> Result<u64, Trouble> {
        let doing = "writing everything anew";
        let mut transaction =
            answered(doing, async { self.connection.begin().await.map_err(Trouble::of(doing)) }).await?;
        let mut writer = Writer { connection: &mut transaction, refused: Refused::Park, entry: to.applied_index };
        answered(doing, async {
            match from {
                Some(from) => writer.move_cursor(from, to).await?,
                None => writer.set_cursor(to).await?,
            }
            if has_gap {
                writer.note_gap(from, to, again, view).await?;
            }
            if let (Some(from), Again::Asked, true) = (from, again, has_gap) {
                writer.disown(from, to).await?;
            }
            writer.run("DELETE FROM parked_rows WHERE table_name NOT IN ('claim_transitions', 'audit')").await
        })
        .await?;
        // What the cluster has let go of is in the record alone.
        let has_history = view.history().count() > 0 && from.is_none_or(|from| from.cluster_id == to.cluster_id);
        let mut count = 0;
        for table in Table::MIRRORS {
            answered(doing, writer.clear(table, view, has_history)).await?;
            // Of these, what ended before is still there.
            let known = match table {
                Table::Waits | Table::Strikes => Rows::Known,
                Table::Claims if has_history => Rows::Known,
                _ => Rows::New,
            };
            let mut rows = rows::rows_of(view, table);
            loop {
                let some: Vec<Row> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
                if some.is_empty() {
                    break;
                }
                count += some.len() as u64;
                answered(doing, writer.put(table, &some.iter().collect::<Vec<_>>(), known)).await?;
            }
        }
        answered(doing, writer.check()).await?;
        answered(doing, async { transaction.commit().await.map_err(Trouble::of("committing")) }).await?;
        Ok(count)
    }
}

/// Writes within a transaction.
struct Writer<'a> {
    connection: &'a mut PgConnection,
    refused: Refused,
    /// What is put aside is put aside at this entry.
    entry: u64,
}

impl Writer<'_> {
    async fn move_cursor(&mut self, from: &Cursor, to: &Cursor) -> Result<(), Trouble> {
        let moved = sqlx::query(
            "UPDATE projection_cursor SET cluster_id = $1, lineage = $2, applied_index = $3, applied_time = $4 \
             WHERE cluster_id = $5 AND lineage = $6 AND applied_index = $7 AND applied_time = $8",
        );
        let moved = bind_cursor(bind_cursor(moved, to), from).execute(&mut *self.connection).await;
        match moved.map_err(Trouble::of("moving the cursor"))?.rows_affected() {
            1 => Ok(()),
            _ => Err(Trouble::Moved),
        }
    }

    async fn set_cursor(&mut self, to: &Cursor) -> Result<(), Trouble> {
        let set = sqlx::query(
            "INSERT INTO projection_cursor (cluster_id, lineage, applied_index, applied_time) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        );
        let set = bind_cursor(set, to).execute(&mut *self.connection).await;
        match set.map_err(Trouble::of("setting the cursor"))?.rows_affected() {
            1 => Ok(()),
            _ => Err(Trouble::Moved),
        }
    }

    async fn note_gap(
        &mut self,
        from: Option<&Cursor>,
        to: &Cursor,
        again: Again,
        view: &State,
    ) -> Result<(), Trouble> {
        let same = from.filter(|from| (&from.cluster_id, from.lineage) == (&to.cluster_id, to.lineage));
        let last_told = same.map_or(0, |from| from.applied_index.min(to.applied_index.saturating_sub(1)));
        let first = last_told + 1;
        let noted = sqlx::query(
            "INSERT INTO history_gaps (lineage, first_entry, last_entry, reason, next_claim) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (lineage, first_entry) DO UPDATE SET last_entry = EXCLUDED.last_entry, \
             reason = EXCLUDED.reason, next_claim = EXCLUDED.next_claim",
        );
        let noted = noted.bind(i64::from(to.lineage)).bind(number(first)).bind(number(to.applied_index));
        let noted = noted.bind(again.name()).bind(number(view.next_claim().0)).execute(&mut *self.connection).await;
        noted.map(drop).map_err(Trouble::of("noting a gap"))
    }

    /// History of what this cluster has never done, or has lost: a person has said that it is not to be kept.
    async fn disown(&mut self, from: &Cursor, to: &Cursor) -> Result<(), Trouble> {
        let is_ours = from.cluster_id == to.cluster_id;
        let (lineage, after) = if is_ours { (i64::from(to.lineage), number(to.applied_index)) } else { (0, -1) };
        for table in Table::HISTORY {
            let sql = format!("DELETE FROM {} WHERE lineage >= $1 AND entry > $2", table.name());
            let disowned = sqlx::query(AssertSqlSafe(sql)).bind(lineage).bind(after);
            let disowned = disowned.execute(&mut *self.connection).await;
            disowned.map_err(Trouble::of("clearing tables"))?;
        }
        Ok(())
    }

    /// What the state says anew, or would say if it were still true. What it has let go of is in the record alone, and
    /// stays; what is over and still held is written over.
    async fn clear(&mut self, table: Table, view: &State, has_history: bool) -> Result<(), Trouble> {
        let next_claim = number(view.next_claim().0);
        let sql = match table {
            Table::Claims if has_history => format!(
                "DELETE FROM claims WHERE id >= {next_claim} OR state IN ('HELD', 'CONFIRMED', 'CHECKED_IN', 'AWAY')"
            ),
            Table::Waits => "DELETE FROM waits WHERE state IN ('WAITING', 'OFFERED')".to_owned(),
            Table::Strikes if has_history => format!(
                "DELETE FROM strikes WHERE claim_id >= {next_claim} OR user_id NOT IN (SELECT id FROM users) \
                 OR at > to_timestamp({}::double precision / 1000000)",
                view.at().time.0
            ),
            other => format!("DELETE FROM {}", other.name()),
        };
        let cleared = sqlx::query(AssertSqlSafe(sql)).execute(&mut *self.connection).await;
        cleared.map(drop).map_err(Trouble::of("clearing tables"))
    }

    async fn put(&mut self, table: Table, rows: &[&Row], known: Rows) -> Result<(), Trouble> {
        if self.refused == Refused::Park && (table, known) == (Table::Claims, Rows::Known) {
            // A claim may be where another was before this transaction: all leave their places first.
            let keys: Vec<_> = rows.iter().map(|row| table.key(row)).collect();
            self.take_out(table, &keys).await?;
        }
        for some in rows.chunks(ROWS_PER_STATEMENT) {
            match self.refused {
                Refused::Fail => self.insert(table, some, known).await?,
                Refused::Park => self.put_or_park(table, some, known).await?,
            }
        }
        Ok(())
    }

    /// Halves what is refused until single rows are left, and puts those aside.
    fn put_or_park<'a>(
        &'a mut self,
        table: Table,
        rows: &'a [&'a Row],
        known: Rows,
    ) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + 'a>> {
        Box::pin(async move {
            self.run("SAVEPOINT some_rows").await?;
            let mut put = self.insert(table, rows, known).await;
            if put.is_ok() {
                put = self.check().await;
            }
            match put {
                Ok(()) => {
                    self.run("SET CONSTRAINTS ALL DEFERRED").await?;
                    self.run("RELEASE SAVEPOINT some_rows").await
                }
                Err(trouble) if trouble.is_of_rows() => {
                    self.run("ROLLBACK TO SAVEPOINT some_rows").await?;
                    self.run("RELEASE SAVEPOINT some_rows").await?;
                    match rows {
                        [] => Ok(()),
                        [row] => self.park(table, row, &trouble).await,
                        more => {
                            let (first, second) = more.split_at(more.len() / 2);
                            self.put_or_park(table, first, known).await?;
                            self.put_or_park(table, second, known).await
                        }
                    }
                }
                Err(trouble) => Err(trouble),
            }
        })
    }

    async fn park(&mut self, table: Table, row: &Row, trouble: &Trouble) -> Result<(), Trouble> {
        let doing = "putting a row aside";
        let (key, content, cause) = (key_text(table, row), content(table, row), trouble.to_string());
        tracing::error!(table = table.name(), key, cause, "Postgres refuses a row; it is put aside in parked_rows");
        let parked = sqlx::query(
            "INSERT INTO parked_rows (entry, table_name, key, content, cause) VALUES ($1, $2, $3, $4::jsonb, $5)",
        );
        let parked = parked.bind(number(self.entry)).bind(table.name()).bind(key).bind(content).bind(&cause);
        parked.execute(&mut *self.connection).await.map_err(Trouble::of(doing))?;
        let count = sqlx::query_scalar("SELECT count(*) FROM parked_rows").fetch_one(&mut *self.connection);
        let rows: i64 = count.await.map_err(Trouble::of(doing))?;
        if rows > PARKED_MAX { Err(Trouble::TooManyParked { rows, said: cause }) } else { Ok(()) }
    }

    async fn insert(&mut self, table: Table, rows: &[&Row], known: Rows) -> Result<(), Trouble> {
        if rows.is_empty() {
            return Ok(());
        }
        if known == Rows::New {
            return self.copy(table, rows).await;
        }
        let mut query = sqlx::query(AssertSqlSafe(table.insert()));
        for (index, column) in table.columns().iter().enumerate() {
            query = bind_column(query, *column, rows.iter().map(|row| &row[index]));
        }
        query.execute(&mut *self.connection).await.map(drop).map_err(Trouble::of("writing rows"))
    }

    async fn copy(&mut self, table: Table, rows: &[&Row]) -> Result<(), Trouble> {
        let copied = async {
            let mut copy = self.connection.copy_in_raw(&table.copy()).await?;
            copy.send(copying::encode(rows.iter().copied())).await?;
            copy.finish().await
        };
        copied.await.map(drop).map_err(Trouble::of("writing rows"))
    }

    async fn take_out(&mut self, table: Table, keys: &[(i64, i64)]) -> Result<(), Trouble> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut query = sqlx::query(AssertSqlSafe(table.delete()));
        query = query.bind(keys.iter().map(|key| key.0).collect::<Vec<i64>>());
        if table.key_names().len() > 1 {
            query = query.bind(keys.iter().map(|key| key.1).collect::<Vec<i64>>());
        }
        query.execute(&mut *self.connection).await.map(drop).map_err(Trouble::of("taking rows out"))
    }

    /// The exclusion speaks here, before anything is committed.
    async fn check(&mut self) -> Result<(), Trouble> {
        self.run("SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), Trouble> {
        sqlx::query(sql).execute(&mut *self.connection).await.map(drop).map_err(Trouble::of("writing rows"))
    }
}

type Asked<'q> = Query<'q, Postgres, PgArguments>;

fn bind_cursor<'q>(query: Asked<'q>, cursor: &Cursor) -> Asked<'q> {
    let query = query.bind(cursor.cluster_id.clone()).bind(i64::from(cursor.lineage));
    query.bind(number(cursor.applied_index)).bind(instant(cursor.applied_time))
}

/// One array of everything in a column.
fn bind_column<'q, 'v>(query: Asked<'q>, column: Column, values: impl Iterator<Item = &'v Value>) -> Asked<'q> {
    let misplaced = |value: &Value| -> ! { unreachable!("{value:?} in column {column:?}") };
    match column.kind {
        Kind::Number => query.bind(
            values
                .map(|value| match value {
                    Value::Number(number) => *number,
                    other => misplaced(other),
                })
                .collect::<Vec<Option<i64>>>(),
        ),
        Kind::Flag => query.bind(
            values
                .map(|value| match value {
                    Value::Flag(flag) => *flag,
                    other => misplaced(other),
                })
                .collect::<Vec<bool>>(),
        ),
        Kind::Text => query.bind(
            values
                .map(|value| match value {
                    Value::Text(text) => text.as_ref().map(ToString::to_string),
                    other => misplaced(other),
                })
                .collect::<Vec<Option<String>>>(),
        ),
        Kind::Time => query.bind(
            values
                .map(|value| match value {
                    Value::Time(at) => at.map(instant),
                    other => misplaced(other),
                })
                .collect::<Vec<Option<jiff_sqlx::Timestamp>>>(),
        ),
        Kind::Json => query.bind(
            values
                .map(|value| match value {
                    Value::Json(json) => json.clone(),
                    other => misplaced(other),
                })
                .collect::<Vec<String>>(),
        ),
    }
}

/// "12" or "12,3".
pub(super) fn key_text(table: Table, row: &Row) -> String {
    let columns = table.key_names().len();
    let parts = row[..columns].iter().map(|value| match value {
        Value::Number(Some(number)) => number.to_string(),
        other => format!("{other:?}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn content(table: Table, row: &Row) -> String {
    let columns = table.columns().iter().zip(row);
    let object: serde_json::Map<_, _> = columns
        .map(|(column, value)| {
            let value = match value {
                Value::Number(number) => json!(number),
                Value::Flag(flag) => json!(flag),
                Value::Text(text) => json!(text),
                Value::Time(at) => json!(at.map(|at| at.0)),
                Value::Json(json) => serde_json::from_str(json).unwrap_or_default(),
            };
            (column.name.to_owned(), value)
        })
        .collect();
    serde_json::Value::Object(object).to_string()
}

fn number(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// Keys of rows that were put aside, of one table.
pub(super) async fn parked_keys(connection: &mut PgConnection, table: Table) -> Result<BTreeSet<String>, Trouble> {
    let keys = sqlx::query_scalar("SELECT DISTINCT key FROM parked_rows WHERE table_name = $1").bind(table.name());
    let keys: Vec<String> = keys.fetch_all(connection).await.map_err(Trouble::of("reading what was put aside"))?;
    Ok(keys.into_iter().collect())
}
