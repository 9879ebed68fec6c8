//! The statements by which rows and cursor get into Postgres.

use std::collections::BTreeSet;

use carrel_domain::state::State;
use serde_json::json;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::projection::copying;
use crate::projection::cursor::Cursor;
use crate::projection::database::{Address, CURSOR, Database, cursor, instant};
use crate::projection::proving::Proof;
use crate::projection::rows::{Key, Row, Value};
use crate::projection::store::{Clearing, Gap, Place, Rows, Store, WRITE_LIMIT, answered, answered_within};
use crate::projection::tables::{Column, Kind, Table};
use crate::projection::trouble::Trouble;
use crate::raft::timing::ServerRuntime;

impl Place for Address {
    type Store = Database;

    async fn open(&self) -> Result<Database, Trouble> {
        Database::open(self).await
    }
}

impl Store for Database {
    type Runtime = ServerRuntime;

    fn version(&self) -> &str {
        &self.version
    }

    async fn cursor(&mut self) -> Result<Option<Cursor>, Trouble> {
        let doing = "reading the cursor";
        let read = sqlx::query(CURSOR).fetch_optional(&mut self.connection);
        let read = async { read.await.map_err(Trouble::of(doing)) };
        let row = answered_within::<ServerRuntime, _>(WRITE_LIMIT, doing, read).await?;
        row.map(|row| cursor(&row).map_err(Trouble::of(doing))).transpose()
    }

    async fn parked(&mut self) -> Result<i64, Trouble> {
        let doing = "counting what was put aside";
        let counted = sqlx::query_scalar("SELECT count(*) FROM parked_rows").fetch_one(&mut self.connection);
        answered::<ServerRuntime, _>(doing, async { counted.await.map_err(Trouble::of(doing)) }).await
    }

    async fn prove(&mut self, at: &Cursor, view: &State) -> Result<Proof, Trouble> {
        self.compare_with(at, view).await
    }

    async fn begin(&mut self) -> Result<(), Trouble> {
        self.run("BEGIN").await
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.map(drop).map_err(Trouble::of("committing"))
    }

    async fn roll_back(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").await
    }

    async fn move_cursor(&mut self, from: &Cursor, to: &Cursor) -> Result<(), Trouble> {
        let moved = sqlx::query(
            "UPDATE projection_cursor SET cluster_id = $1, lineage = $2, applied_index = $3, applied_time = $4 \
             WHERE cluster_id = $5 AND lineage = $6 AND applied_index = $7 AND applied_time = $8",
        );
        let moved = bind_cursor(bind_cursor(moved, to), from).execute(&mut self.connection).await;
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
        let set = bind_cursor(set, to).execute(&mut self.connection).await;
        match set.map_err(Trouble::of("setting the cursor"))?.rows_affected() {
            1 => Ok(()),
            _ => Err(Trouble::Moved),
        }
    }

    async fn note_gap(&mut self, gap: Gap) -> Result<(), Trouble> {
        let noted = sqlx::query(
            "INSERT INTO history_gaps (lineage, first_entry, last_entry, reason, next_claim) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (lineage, first_entry) DO UPDATE SET last_entry = EXCLUDED.last_entry, \
             reason = EXCLUDED.reason, next_claim = EXCLUDED.next_claim",
        );
        let noted = noted.bind(i64::from(gap.lineage)).bind(number(gap.first_entry)).bind(number(gap.last_entry));
        let noted = noted.bind(gap.reason.name()).bind(number(gap.next_claim)).execute(&mut self.connection).await;
        noted.map(drop).map_err(Trouble::of("noting a gap"))
    }

    async fn disown(&mut self, lineage: u32, after: Option<u64>) -> Result<(), Trouble> {
        for table in Table::HISTORY {
            let sql = format!("DELETE FROM {} WHERE lineage >= $1 AND entry > $2", table.name());
            let disowned = sqlx::query(AssertSqlSafe(sql)).bind(i64::from(lineage)).bind(after.map_or(-1, number));
            let disowned = disowned.execute(&mut self.connection).await;
            disowned.map_err(Trouble::of("clearing tables"))?;
        }
        Ok(())
    }

    async fn clear(&mut self, table: Table, clearing: Clearing) -> Result<(), Trouble> {
        let name = table.name();
        let sql = match clearing {
            Clearing::Everything => format!("DELETE FROM {name}"),
            Clearing::LiveClaims { next_claim } => format!(
                "DELETE FROM {name} WHERE id >= {} OR state IN ('HELD', 'CONFIRMED', 'CHECKED_IN', 'AWAY')",
                number(next_claim)
            ),
            Clearing::LiveWaits => format!("DELETE FROM {name} WHERE state IN ('WAITING', 'OFFERED')"),
            Clearing::StrikesNotOver { next_claim, after } => format!(
                "DELETE FROM {name} WHERE claim_id >= {} OR user_id NOT IN (SELECT id FROM users) \
                 OR at > to_timestamp({}::double precision / 1000000)",
                number(next_claim),
                after.0
            ),
        };
        let cleared = sqlx::query(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        cleared.map(drop).map_err(Trouble::of("clearing tables"))
    }

    async fn clear_parked(&mut self) -> Result<(), Trouble> {
        self.run("DELETE FROM parked_rows WHERE table_name NOT IN ('claim_transitions', 'audit')").await
    }

    async fn forget(&mut self, users: &[i64]) -> Result<(), Trouble> {
        for sql in [
            "DELETE FROM strikes WHERE user_id = ANY($1::bigint[])",
            "DELETE FROM parked_rows WHERE table_name = 'users' AND key = ANY($1::bigint[]::text[])",
        ] {
            let forgotten = sqlx::query(sql).bind(users).execute(&mut self.connection).await;
            forgotten.map_err(Trouble::of("writing rows"))?;
        }
        Ok(())
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
        query.execute(&mut self.connection).await.map(drop).map_err(Trouble::of("writing rows"))
    }

    async fn take_out(&mut self, table: Table, keys: &[Key]) -> Result<(), Trouble> {
        let mut query = sqlx::query(AssertSqlSafe(table.delete()));
        query = query.bind(keys.iter().map(|key| key.0).collect::<Vec<i64>>());
        if table.key_names().len() > 1 {
            query = query.bind(keys.iter().map(|key| key.1).collect::<Vec<i64>>());
        }
        query.execute(&mut self.connection).await.map(drop).map_err(Trouble::of("taking rows out"))
    }

    async fn check(&mut self) -> Result<(), Trouble> {
        self.run("SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn begin_part(&mut self) -> Result<(), Trouble> {
        self.run("SAVEPOINT some_rows").await
    }

    async fn keep_part(&mut self) -> Result<(), Trouble> {
        self.run("SET CONSTRAINTS ALL DEFERRED").await?;
        self.run("RELEASE SAVEPOINT some_rows").await
    }

    async fn take_part_back(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK TO SAVEPOINT some_rows").await?;
        self.run("RELEASE SAVEPOINT some_rows").await
    }

    async fn park(&mut self, entry: u64, table: Table, row: &Row, cause: &str) -> Result<i64, Trouble> {
        let doing = "putting a row aside";
        let (key, content) = (key_text(table, row), content(table, row));
        tracing::error!(table = table.name(), key, cause, "Postgres refuses a row; it is put aside in parked_rows");
        let parked = sqlx::query(
            "INSERT INTO parked_rows (entry, table_name, key, content, cause) VALUES ($1, $2, $3, $4::jsonb, $5)",
        );
        let parked = parked.bind(number(entry)).bind(table.name()).bind(key).bind(content).bind(cause);
        parked.execute(&mut self.connection).await.map_err(Trouble::of(doing))?;
        let count = sqlx::query_scalar("SELECT count(*) FROM parked_rows").fetch_one(&mut self.connection);
        count.await.map_err(Trouble::of(doing))
    }
}

impl Database {
    async fn copy(&mut self, table: Table, rows: &[&Row]) -> Result<(), Trouble> {
        let copied = async {
            let mut copy = self.connection.copy_in_raw(&table.copy()).await?;
            copy.send(copying::encode(rows.iter().copied())).await?;
            copy.finish().await
        };
        copied.await.map(drop).map_err(Trouble::of("writing rows"))
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), Trouble> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop).map_err(Trouble::of("writing rows"))
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
