//! A Postgres in virtual time: it takes its time, goes away, loses connections before and after a commit, and is
//! restored to the past. What it is asked for is what the node asks of the real one, in the same order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use carrel_domain::state::State;
use carrel_node::projection::cursor::Cursor;
use carrel_node::projection::proving::{Comparison, Proof};
use carrel_node::projection::rows::{Row, Value};
use carrel_node::projection::tables::Table;

use crate::connection::Address;
use crate::dice::Dice;
use crate::marks::{Mark, Marks};
use crate::network::Slot;
use crate::story::Story;
use crate::witness::Witness;

/// Old states of the server, as backups of it.
const COPIES_MAX: usize = 8;
/// Of so many commits one is copied, and held against the state that it says it is.
const LOOK_AT_ONE_OF: u64 = 4;

pub type RowKey = Vec<i64>;

pub struct Server {
    pub marks: Arc<Marks>,
    story: Arc<Story>,
    pub witness: Arc<Witness>,
    inner: Mutex<Inner>,
}

pub struct Inner {
    pub dice: Dice,
    pub committed: Arc<Tables>,
    copies: VecDeque<Arc<Tables>>,
    commits: u64,
    pub is_up: bool,
    /// Connections of before are gone.
    pub epoch: u64,
    pub cut: BTreeSet<Slot>,
    pub slow_us: Option<u64>,
    pub next_connection: u64,
    /// Who writes; all others wait. A table's lock where the real one has rows' locks: there is one cursor.
    pub writer: Option<u64>,
    /// Connections of a thousand that end when a commit is on its way: before it is done, or before that is known.
    pub breaks_permille: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub cursor: Option<Cursor>,
    rows: BTreeMap<Table, BTreeMap<RowKey, Arc<Row>>>,
    pub gaps: BTreeMap<(u32, u64), u64>,
    pub parked: Vec<(Table, String)>,
}

impl Server {
    #[must_use]
    pub fn new(
        dice: Dice,
        breaks_permille: u32,
        marks: &Arc<Marks>,
        story: &Arc<Story>,
        witness: &Arc<Witness>,
    ) -> Arc<Self> {
        let inner = Inner {
            dice,
            committed: Arc::default(),
            copies: VecDeque::new(),
            commits: 0,
            is_up: true,
            epoch: 0,
            cut: BTreeSet::new(),
            slow_us: None,
            next_connection: 0,
            writer: None,
            breaks_permille,
        };
        let (marks, story, witness) = (Arc::clone(marks), Arc::clone(story), Arc::clone(witness));
        Arc::new(Self { marks, story, witness, inner: Mutex::new(inner) })
    }

    /// From where a node reaches it.
    #[must_use]
    pub fn from(self: &Arc<Self>, slot: Slot) -> Address {
        Address::new(self, slot)
    }

    pub fn stop(&self) {
        let mut inner = self.inner();
        inner.is_up = false;
        inner.end_connections();
    }

    pub fn start(&self) {
        self.inner().is_up = true;
    }

    pub fn cut(&self, slot: Slot) {
        self.inner().cut.insert(slot);
    }

    pub fn mend(&self, slot: Slot) {
        self.inner().cut.remove(&slot);
    }

    /// How long an answer takes at most; as usual, if nothing is said.
    pub fn answer_within(&self, most_us: Option<u64>) {
        self.inner().slow_us = most_us;
    }

    /// From a backup; how far it is.
    pub fn restore(&self) -> Option<u64> {
        let mut inner = self.inner();
        let count = inner.copies.len() as u64;
        let copy = (count > 0).then(|| inner.dice.below(count))?;
        inner.committed = Arc::clone(&inner.copies[usize::try_from(copy).expect("a few")]);
        inner.end_connections();
        inner.committed.cursor.as_ref().map(|cursor| cursor.applied_index)
    }

    /// Nothing goes wrong any more.
    pub fn calm_down(&self) {
        let mut inner = self.inner();
        inner.is_up = true;
        inner.cut.clear();
        inner.slow_us = None;
        inner.breaks_permille = 0;
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }
}

impl Inner {
    fn end_connections(&mut self) {
        self.epoch += 1;
        self.writer = None;
    }
}

impl Server {
    /// What was committed is there for everybody; and it is what the cluster was at that entry.
    pub fn take(&self, work: Tables) {
        let committed = Arc::new(work);
        let (before, is_looked_at) = {
            let mut inner = self.inner();
            inner.commits += 1;
            let is_looked_at = inner.commits.is_multiple_of(LOOK_AT_ONE_OF);
            if is_looked_at {
                inner.copies.push_back(Arc::clone(&committed));
                if inner.copies.len() > COPIES_MAX {
                    inner.copies.pop_front();
                }
            }
            (std::mem::replace(&mut inner.committed, Arc::clone(&committed)), is_looked_at)
        };
        self.marks.hit(Mark::RecordWritten);
        let index = |tables: &Tables| tables.cursor.as_ref().map_or(0, |cursor| cursor.applied_index);
        self.story.trace(&[8, index(&committed)]);
        if !before.gaps.is_empty() && committed.gaps.len() > before.gaps.len() {
            self.marks.hit(Mark::RecordBegunAgain);
        }
        if index(&committed) < index(&before) {
            let how = format!("its cursor went from {} back to {}", index(&before), index(&committed));
            self.witness.accuse("the record goes on", how);
        }
        let Some(at) = committed.cursor.as_ref().filter(|_| is_looked_at) else { return };
        if let Some(view) = self.witness.view_at(at.applied_index) {
            self.marks.hit(Mark::RecordCompared);
            let proof = committed.proof(at, &view);
            if !proof.holds() {
                self.witness.accuse("rows equal state", differences(&proof));
            }
        }
    }
}

/// In words, if there are any.
pub fn differences(proof: &Proof) -> String {
    let told: Vec<&String> = proof.tables.iter().flat_map(|table| &table.differences).collect();
    format!(
        "at entry {} {} changes have no row of history, {} rows were put aside, and {told:?}",
        proof.at.applied_index, proof.missing_transitions, proof.parked
    )
}

impl Tables {
    pub fn of(&mut self, table: Table) -> &mut BTreeMap<RowKey, Arc<Row>> {
        self.rows.entry(table).or_default()
    }

    fn rows(&self, table: Table) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.get(&table).into_iter().flat_map(BTreeMap::values)
    }

    pub fn proof(&self, at: &Cursor, view: &State) -> Proof {
        let compared = Table::MIRRORS.into_iter().map(|table| {
            let mut comparison = Comparison::new(table, view, BTreeSet::new());
            self.rows(table).for_each(|row| comparison.found(row));
            comparison.end()
        });
        // A claim's revision counts its changes, each of which is one row; before a gap nobody counts.
        let first = self.gaps.values().max().map_or(0, |claim| i64::try_from(*claim).expect("a run is short"));
        let claims = self.rows(Table::Claims).filter(|row| number(Table::Claims, row, "id") >= first);
        let changes: i64 = claims.map(|row| number(Table::Claims, row, "revision")).sum();
        let history = Table::ClaimTransitions;
        let told = self.rows(history).filter(|row| {
            number(history, row, "lineage") == i64::from(at.lineage) && number(history, row, "claim_id") >= first
        });
        Proof {
            at: at.clone(),
            tables: compared.collect(),
            missing_transitions: changes - count(told.count()),
            gaps: count(self.gaps.len()),
            parked: count(self.parked.len()),
        }
    }
}

pub fn row_key(table: Table, row: &Row) -> RowKey {
    let columns = table.key_names().len();
    let part = |value: &Value| match value {
        Value::Number(Some(number)) => *number,
        other => unreachable!("{other:?} in a key of {}", table.name()),
    };
    row[..columns].iter().map(part).collect()
}

pub fn value<'a>(table: Table, row: &'a Row, name: &str) -> &'a Value {
    let place = table.columns().iter().position(|column| column.name == name).expect("a column of this table");
    &row[place]
}

pub fn number(table: Table, row: &Row, name: &str) -> i64 {
    match value(table, row, name) {
        Value::Number(Some(number)) => *number,
        other => unreachable!("{} has {other:?} for {name}", table.name()),
    }
}

pub fn word<'a>(table: Table, row: &'a Row, name: &str) -> &'a str {
    match value(table, row, name) {
        Value::Text(Some(word)) => word,
        other => unreachable!("{} has {other:?} for {name}", table.name()),
    }
}

pub fn count(of: usize) -> i64 {
    i64::try_from(of).expect("fits into memory")
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
