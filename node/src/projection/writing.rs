//! Rows and cursor in one transaction: both, or neither.
//!
//! The cursor is moved first, by compare-and-set, so that of two projectors one waits for the other and then finds it
//! moved. Whether a transaction whose reply was lost has taken effect is known by reading the cursor again.

use std::future::Future;
use std::pin::Pin;

use carrel_domain::planted::{self, Bug};
use carrel_domain::state::State;

use crate::projection::cursor::{Again, Cursor};
use crate::projection::rows::{self, Changes, Row};
use crate::projection::store::{Clearing, Gap, Rows, Store, WRITE_LIMIT, answered, answered_within};
use crate::projection::tables::Table;
use crate::projection::trouble::Trouble;

/// Some megabytes on their way, and less than a second of work.
const ROWS_PER_STATEMENT: usize = 5_000;

/// More refused rows than these are the fault of something else: of a trigger, a rule, a table that was altered.
const PARKED_MAX: i64 = 1_000;

/// What to do with rows that Postgres refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The whole batch fails.
    Fail,
    /// They are put aside one by one, with why, and the rest goes on.
    Park,
}

/// Everything between two places of the cursor.
///
/// # Errors
/// Says what is in the way. Nothing is written then, unless the reply of the commit was lost.
pub async fn write<S: Store>(
    store: &mut S,
    changes: &Changes,
    from: &Cursor,
    to: &Cursor,
    refused: Refused,
) -> Result<(), Trouble> {
    let doing = "writing rows";
    let written = async {
        store.begin().await?;
        let mut writer = Writer { store, refused, entry: to.applied_index };
        let written = writer.everything(changes, from, to).await;
        writer.end(written).await
    };
    // Row by row takes longer.
    match refused {
        Refused::Fail => answered_within::<S::Runtime, ()>(WRITE_LIMIT, doing, written).await,
        Refused::Park => answered::<S::Runtime, ()>(doing, written).await,
    }
}

/// All rows that the state holds, in one transaction; what it holds no more is left as it was, unless it cannot be
/// true any longer. Takes about as long as all the rows take to insert. How many they are.
///
/// # Errors
/// As of [`write`].
pub async fn begin_again<S: Store>(
    store: &mut S,
    view: &State,
    from: Option<&Cursor>,
    to: &Cursor,
    again: Again,
    has_gap: bool,
) -> Result<u64, Trouble> {
    answered::<S::Runtime, ()>("writing everything anew", store.begin()).await?;
    let mut writer = Writer { store, refused: Refused::Park, entry: to.applied_index };
    let written = writer.everything_anew(view, from, to, again, has_gap).await;
    match written {
        Ok(count) => writer.end(Ok(())).await.map(|()| count),
        Err(trouble) => writer.end(Err(trouble)).await.map(|()| 0),
    }
}

/// Writes within a transaction.
struct Writer<'a, S> {
    store: &'a mut S,
    refused: Refused,
    /// What is put aside is put aside at this entry.
    entry: u64,
}

impl<S: Store> Writer<'_, S> {
    /// Both rows and cursor, or neither.
    async fn end(self, written: Result<(), Trouble>) -> Result<(), Trouble> {
        match written {
            Ok(()) => answered::<S::Runtime, ()>("committing", self.store.commit()).await,
            Err(trouble) => {
                // Where this fails, too, the connection is gone, and with it the transaction.
                let _ = answered_within::<S::Runtime, ()>(WRITE_LIMIT, "rolling back", self.store.roll_back()).await;
                Err(trouble)
            }
        }
    }

    async fn everything(&mut self, changes: &Changes, from: &Cursor, to: &Cursor) -> Result<(), Trouble> {
        if planted::has(Bug::CursorInSecondTransaction) {
            self.all_rows(changes).await?;
            self.store.commit().await?;
            self.store.begin().await?;
            return self.store.move_cursor(from, to).await;
        }
        if planted::has(Bug::CursorNotCompared) {
            let found = self.store.cursor().await?;
            self.store.move_cursor(found.as_ref().unwrap_or(from), to).await?;
        } else {
            self.store.move_cursor(from, to).await?;
        }
        self.all_rows(changes).await
    }

    async fn all_rows(&mut self, changes: &Changes) -> Result<(), Trouble> {
        for (table, rows) in &changes.rows {
            let (mut new, mut known) = (Vec::new(), Vec::new());
            for (key, row) in rows {
                let Some(row) = row else { continue };
                let is_new = *table == Table::Claims && changes.new_claims.contains(key);
                // Where rows are tried one by one, all that may be there leave their places first.
                if is_new && self.refused == Refused::Fail { new.push(row) } else { known.push(row) }
            }
            self.put(*table, &known, Rows::Known).await?;
            self.put(*table, &new, Rows::New).await?;
            let gone: Vec<_> = rows.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
            if !gone.is_empty() {
                self.store.take_out(*table, &gone).await?;
            }
        }
        if !changes.forgotten.is_empty() {
            let users: Vec<i64> = changes.forgotten.iter().copied().collect();
            self.store.forget(&users).await?;
        }
        for (table, rows) in &changes.history {
            self.put(*table, &rows.iter().collect::<Vec<_>>(), Rows::New).await?;
        }
        self.store.check().await
    }

    async fn everything_anew(
        &mut self,
        view: &State,
        from: Option<&Cursor>,
        to: &Cursor,
        again: Again,
        has_gap: bool,
    ) -> Result<u64, Trouble> {
        let doing = "writing everything anew";
        answered::<S::Runtime, ()>(doing, async {
            match from {
                Some(from) => self.store.move_cursor(from, to).await?,
                None => self.store.set_cursor(to).await?,
            }
            if has_gap {
                self.store.note_gap(gap(from, to, again, view)).await?;
            }
            if let (Some(from), Again::Asked, true) = (from, again, has_gap) {
                // History of what this cluster has never done, or has lost: a person has said that it is not to be
                // kept.
                let is_ours = from.cluster_id == to.cluster_id;
                let (lineage, after) = if is_ours { (to.lineage, Some(to.applied_index)) } else { (0, None) };
                self.store.disown(lineage, after).await?;
            }
            self.store.clear_parked().await
        })
        .await?;
        // What the cluster has let go of is in the record alone.
        let has_history = view.history().count() > 0 && from.is_none_or(|from| from.cluster_id == to.cluster_id);
        let mut count = 0;
        for table in Table::MIRRORS {
            let clearing = clearing(table, view, has_history);
            answered::<S::Runtime, ()>(doing, self.store.clear(table, clearing)).await?;
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
                answered::<S::Runtime, ()>(doing, self.put(table, &some.iter().collect::<Vec<_>>(), known)).await?;
            }
        }
        answered::<S::Runtime, ()>(doing, self.store.check()).await?;
        Ok(count)
    }

    async fn put(&mut self, table: Table, rows: &[&Row], known: Rows) -> Result<(), Trouble> {
        if self.refused == Refused::Park && (table, known) == (Table::Claims, Rows::Known) && !rows.is_empty() {
            // A claim may be where another was before this transaction: all leave their places first.
            let keys: Vec<_> = rows.iter().map(|row| table.key(row)).collect();
            self.store.take_out(table, &keys).await?;
        }
        for some in rows.chunks(ROWS_PER_STATEMENT) {
            match self.refused {
                Refused::Fail => self.store.insert(table, some, known).await?,
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
    ) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>> {
        Box::pin(async move {
            self.store.begin_part().await?;
            let mut put = self.store.insert(table, rows, known).await;
            if put.is_ok() {
                put = self.store.check().await;
            }
            match put {
                Ok(()) => self.store.keep_part().await,
                Err(trouble) if trouble.is_of_rows() => {
                    self.store.take_part_back().await?;
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
        let cause = trouble.to_string();
        let rows = self.store.park(self.entry, table, row, &cause).await?;
        if rows > PARKED_MAX { Err(Trouble::TooManyParked { rows, said: cause }) } else { Ok(()) }
    }
}

fn gap(from: Option<&Cursor>, to: &Cursor, again: Again, view: &State) -> Gap {
    let same = from.filter(|from| (&from.cluster_id, from.lineage) == (&to.cluster_id, to.lineage));
    let last_told = same.map_or(0, |from| from.applied_index.min(to.applied_index.saturating_sub(1)));
    Gap {
        lineage: to.lineage,
        first_entry: last_told + 1,
        last_entry: to.applied_index,
        reason: again,
        next_claim: view.next_claim().0,
    }
}

fn clearing(table: Table, view: &State, has_history: bool) -> Clearing {
    let next_claim = view.next_claim().0;
    match table {
        Table::Claims if has_history => Clearing::LiveClaims { next_claim },
        Table::Waits => Clearing::LiveWaits,
        Table::Strikes if has_history => Clearing::StrikesNotOver { next_claim, after: view.at().time },
        _ => Clearing::Everything,
    }
}
