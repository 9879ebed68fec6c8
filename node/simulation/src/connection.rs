//! One connection to the simulated Postgres: what the node's own projection asks of it, statement by statement.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::state::State;
use carrel_node::projection::cursor::Cursor;
use carrel_node::projection::proving::Proof;
use carrel_node::projection::rows::{Key, Row, Value};
use carrel_node::projection::store::{Clearing, Gap, Place, Rows, Store};
use carrel_node::projection::tables::Table;
use carrel_node::projection::trouble::Trouble;
use openraft::type_config::TypeConfigExt;

use crate::marks::Mark;
use crate::network::Slot;
use crate::postgres::{Server, Tables, count, number, row_key, value, word};
use crate::runtime::Processes;
use crate::world::Rt;

/// There and back.
const TRAVEL_US: std::ops::Range<u64> = 200..6_000;
/// What is sent where nothing passes is given up by whoever sends it.
const GIVEN_UP_MS: std::ops::Range<u64> = 200..3_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// For a lock, as the node sets it at every connection.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Claims that occupy a seat.
const LIVE: [&str; 4] = ["HELD", "CONFIRMED", "CHECKED_IN", "AWAY"];

#[derive(Clone)]
pub struct Address {
    server: Arc<Server>,
    slot: Slot,
}

impl Address {
    #[must_use]
    pub fn new(server: &Arc<Server>, slot: Slot) -> Self {
        Self { server: Arc::clone(server), slot }
    }
}

impl Place for Address {
    type Store = Connection;

    async fn open(&self) -> Result<Connection, Trouble> {
        let (number, epoch) = {
            let mut inner = self.server.inner();
            inner.next_connection += 1;
            (inner.next_connection, inner.epoch)
        };
        let mut connection =
            Connection { server: Arc::clone(&self.server), slot: self.slot, number, epoch, work: None, part: None };
        connection.round_trip().await?;
        Ok(connection)
    }
}

pub struct Connection {
    server: Arc<Server>,
    slot: Slot,
    number: u64,
    epoch: u64,
    /// What the transaction has made of the tables, as soon as it has written.
    work: Option<Tables>,
    /// Before a part of it.
    part: Option<Tables>,
}

impl Connection {
    /// There and back. A connection that ends takes its transaction with it.
    async fn round_trip(&mut self) -> Result<(), Trouble> {
        let takes = {
            let mut inner = self.server.inner();
            let most_us = inner.slow_us.unwrap_or(TRAVEL_US.end);
            inner.dice.micros(TRAVEL_US.start..most_us)
        };
        Rt::sleep(takes).await;
        let given_up = {
            let mut inner = self.server.inner();
            inner.cut.contains(&self.slot).then(|| inner.dice.millis(GIVEN_UP_MS))
        };
        if let Some(given_up) = given_up {
            Rt::sleep(given_up).await;
            self.end();
        }
        self.expect_alive()
    }

    fn expect_alive(&self) -> Result<(), Trouble> {
        let inner = self.server.inner();
        if inner.is_up && inner.epoch == self.epoch { Ok(()) } else { Err(gone()) }
    }

    /// No answer comes on it any more.
    fn end(&mut self) {
        self.epoch = u64::MAX;
        self.let_go();
    }

    fn let_go(&mut self) {
        (self.work, self.part) = (None, None);
        let mut inner = self.server.inner();
        if inner.writer == Some(self.number) {
            inner.writer = None;
        }
    }

    /// The tables, to be written: nobody else writes until this transaction is over.
    async fn write(&mut self) -> Result<&mut Tables, Trouble> {
        self.round_trip().await?;
        if self.work.is_none() {
            let deadline = self.server.witness.time().elapsed() + LOCK_LIMIT;
            loop {
                self.expect_alive()?;
                {
                    let mut inner = self.server.inner();
                    if inner.writer.is_none() {
                        inner.writer = Some(self.number);
                        self.work = Some(Tables::clone(&inner.committed));
                        break;
                    }
                }
                if self.server.witness.time().elapsed() > deadline {
                    return Err(refused("waiting for a lock", "55P03", "canceling statement due to lock timeout"));
                }
                Rt::sleep(LOOK_EVERY).await;
            }
        }
        Ok(self.work.as_mut().expect("taken above"))
    }

    /// As they are for this transaction.
    fn read(&self) -> Arc<Tables> {
        self.work.as_ref().map_or_else(|| Arc::clone(&self.server.inner().committed), |work| Arc::new(work.clone()))
    }
}

impl Store for Connection {
    type Runtime = Processes;

    fn version(&self) -> &str {
        "in virtual time"
    }

    async fn cursor(&mut self) -> Result<Option<Cursor>, Trouble> {
        self.round_trip().await?;
        Ok(self.read().cursor.clone())
    }

    async fn parked(&mut self) -> Result<i64, Trouble> {
        self.round_trip().await?;
        Ok(count(self.read().parked.len()))
    }

    async fn prove(&mut self, at: &Cursor, view: &State) -> Result<Proof, Trouble> {
        self.round_trip().await?;
        let tables = self.read();
        if tables.cursor.as_ref() != Some(at) {
            return Err(Trouble::Moved);
        }
        Ok(tables.proof(at, view))
    }

    async fn begin(&mut self) -> Result<(), Trouble> {
        self.round_trip().await
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        let breaks = {
            let mut inner = self.server.inner();
            let permille = inner.breaks_permille;
            inner.dice.happens(permille)
        };
        if breaks && self.server.inner().dice.happens(500) {
            self.server.marks.hit(Mark::CommitLost);
            self.end();
            return Err(gone());
        }
        self.round_trip().await?;
        if let Some(work) = self.work.take() {
            self.server.take(work);
        }
        self.let_go();
        if breaks {
            self.server.marks.hit(Mark::CommitUnknown);
            self.end();
            return Err(gone());
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), Trouble> {
        self.let_go();
        self.round_trip().await
    }

    async fn move_cursor(&mut self, from: &Cursor, to: &Cursor) -> Result<(), Trouble> {
        let marks = Arc::clone(&self.server.marks);
        let tables = self.write().await?;
        if tables.cursor.as_ref() != Some(from) {
            marks.hit(Mark::ProjectorsMet);
            return Err(Trouble::Moved);
        }
        tables.cursor = Some(to.clone());
        Ok(())
    }

    async fn set_cursor(&mut self, to: &Cursor) -> Result<(), Trouble> {
        let tables = self.write().await?;
        if tables.cursor.is_some() {
            return Err(Trouble::Moved);
        }
        tables.cursor = Some(to.clone());
        Ok(())
    }

    async fn note_gap(&mut self, gap: Gap) -> Result<(), Trouble> {
        self.write().await?.gaps.insert((gap.lineage, gap.first_entry), gap.next_claim);
        Ok(())
    }

    async fn disown(&mut self, lineage: u32, after: Option<u64>) -> Result<(), Trouble> {
        let tables = self.write().await?;
        let after = after.map_or(-1, |after| i64::try_from(after).expect("a run is short"));
        for table in Table::HISTORY {
            tables.of(table).retain(|_, row| {
                number(table, row, "lineage") < i64::from(lineage) || number(table, row, "entry") <= after
            });
        }
        Ok(())
    }

    async fn clear(&mut self, table: Table, clearing: Clearing) -> Result<(), Trouble> {
        let tables = self.write().await?;
        let users: BTreeSet<i64> = tables.of(Table::Users).keys().map(|key| key[0]).collect();
        let rows = tables.of(table);
        match clearing {
            Clearing::Everything => rows.clear(),
            Clearing::LiveClaims { next_claim } => {
                let next_claim = i64::try_from(next_claim).expect("a run is short");
                rows.retain(|key, row| key[0] < next_claim && !LIVE.contains(&word(table, row, "state")));
            }
            Clearing::LiveWaits => {
                rows.retain(|_, row| !["WAITING", "OFFERED"].contains(&word(table, row, "state")));
            }
            Clearing::StrikesNotOver { next_claim, after } => {
                let next_claim = i64::try_from(next_claim).expect("a run is short");
                rows.retain(|key, row| {
                    let is_later = matches!(value(table, row, "at"), Value::Time(Some(at)) if *at > after);
                    key[1] < next_claim && users.contains(&key[0]) && !is_later
                });
            }
        }
        Ok(())
    }

    async fn clear_parked(&mut self) -> Result<(), Trouble> {
        self.write().await?.parked.retain(|(table, _)| Table::HISTORY.contains(table));
        Ok(())
    }

    async fn forget(&mut self, users: &[i64]) -> Result<(), Trouble> {
        self.write().await?.of(Table::Strikes).retain(|key, _| !users.contains(&key[0]));
        Ok(())
    }

    async fn insert(&mut self, table: Table, rows: &[&Row], known: Rows) -> Result<(), Trouble> {
        let tables = self.write().await?.of(table);
        for row in rows {
            let before = tables.insert(row_key(table, row), Arc::new(Row::clone(row)));
            if before.is_some() && known == Rows::New {
                return Err(refused("writing rows", "23505", "duplicate key value violates unique constraint"));
            }
        }
        Ok(())
    }

    async fn take_out(&mut self, table: Table, keys: &[Key]) -> Result<(), Trouble> {
        let tables = self.write().await?.of(table);
        let columns = table.key_names().len();
        for (first, second) in keys {
            tables.remove([*first, *second][..columns].as_ref());
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<(), Trouble> {
        let claims = self.write().await?.of(Table::Claims);
        let mut live: Vec<(i64, i64, i64)> = claims
            .values()
            .filter(|row| LIVE.contains(&word(Table::Claims, row, "state")))
            .map(|row| {
                let at = |name: &str| match value(Table::Claims, row, name) {
                    Value::Time(Some(at)) => at.0,
                    other => unreachable!("a claim has {other:?} for {name}"),
                };
                (number(Table::Claims, row, "seat_id"), at("starts_at"), at("ends_at"))
            })
            .collect();
        live.sort_unstable();
        let overlaps = live.iter().zip(live.iter().skip(1)).any(|(one, next)| one.0 == next.0 && one.2 > next.1);
        if overlaps { Err(refused("writing rows", "23P01", "claims_do_not_overlap")) } else { Ok(()) }
    }

    async fn begin_part(&mut self) -> Result<(), Trouble> {
        let before = self.write().await?.clone();
        self.part = Some(before);
        Ok(())
    }

    async fn keep_part(&mut self) -> Result<(), Trouble> {
        self.part = None;
        self.round_trip().await
    }

    async fn take_part_back(&mut self) -> Result<(), Trouble> {
        self.round_trip().await?;
        self.work = self.part.take().or(self.work.take());
        Ok(())
    }

    async fn park(&mut self, _: u64, table: Table, row: &Row, cause: &str) -> Result<i64, Trouble> {
        let key = format!("{:?}", row_key(table, row));
        self.server.witness.accuse("no row is refused", format!("{} {key}: {cause}", table.name()));
        let tables = self.write().await?;
        tables.parked.push((table, key));
        Ok(count(tables.parked.len()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn gone() -> Trouble {
    Trouble::Unreachable("the connection was reset".to_owned())
}

fn refused(doing: &'static str, code: &str, said: &str) -> Trouble {
    Trouble::Refused { doing, said: said.to_owned(), code: code.to_owned() }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("slot", &self.slot).finish_non_exhaustive()
    }
}
