//! How far the record is, and what follows from that: go on, begin again from the state, or stand still. Pure.

use carrel_domain::state::State;
use carrel_domain::time::Timestamp;
use thiserror::Error;

/// Written in the transaction that writes the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub cluster_id: String,
    pub lineage: u32,
    pub applied_index: u64,
    /// Log time grows with every entry, so index and time together name one entry of one history.
    pub applied_time: Timestamp,
}

/// Of which history of which cluster a node is a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    pub cluster_id: String,
    pub lineage: u32,
}

/// What a cursor means to whoever leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything after it is still at hand.
    Follows,
    /// What came after it is gone: all rows come from the state, and history has a gap.
    BeginsAgain(Again),
    /// It is not the record of what this cluster has become.
    Halts(Halt),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The tables are new.
    Empty,
    /// Postgres was away for longer than events are kept, or was restored to the past.
    Missed,
    /// A recovery began a new lineage.
    Recovered,
    /// Somebody asked.
    Asked,
}

impl Again {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Missed => "MISSED",
            Self::Recovered => "RECOVERED",
            Self::Asked => "ASKED",
        }
    }
}

/// Why a record is not written to. Nobody but a person knows which of the two is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Halt {
    #[error(
        "this database is the record of cluster {found}, not of {own}: point --postgres-url-file at the right one, or \
         give this cluster an empty database"
    )]
    OtherCluster { found: String, own: String },
    #[error(
        "this database follows lineage {found} of this cluster, and this node is of lineage {own}: it belongs to what \
         became of the cluster after a recovery"
    )]
    LaterLineage { found: u32, own: u32 },
    #[error(
        "this database has entries through {found}, and the log has entries through {applied}: it is ahead of the \
         cluster, which has lost what it had acknowledged, or was restored; keep a copy of the database, then `carrel \
         projection rebuild --adopt` makes it the record of the cluster as it is"
    )]
    Ahead { found: u64, applied: u64 },
    #[error(
        "entry {index} in this database is of another history of this cluster: keep a copy of the database, then \
         `carrel projection rebuild --adopt` makes it the record of the cluster as it is"
    )]
    OtherHistory { index: u64 },
    #[error(
        "this database has entries through {found}, and the cluster has let go of what it knew to be recorded through \
         {needed}: that is in a later copy of the database, or lost; restore the later one, or `carrel projection \
         rebuild --adopt` goes on without it"
    )]
    HistoryLost { found: u64, needed: u64 },
}

impl Halt {
    /// For metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OtherCluster { .. } => "other_cluster",
            Self::LaterLineage { .. } => "later_lineage",
            Self::Ahead { .. } => "ahead",
            Self::OtherHistory { .. } => "other_history",
            Self::HistoryLost { .. } => "history_lost",
        }
    }
}

impl Cursor {
    pub fn of(whose: &Whose, view: &State) -> Self {
        let at = view.at();
        Self {
            cluster_id: whose.cluster_id.clone(),
            lineage: whose.lineage,
            applied_index: at.index,
            applied_time: at.time,
        }
    }
}

/// `view` is the leader's, and has the first entry of its term: everything that was ever acknowledged.
pub fn judge(cursor: Option<&Cursor>, whose: &Whose, view: &State) -> Standing {
    let needed = view.history().through();
    let lost = |found| Standing::Halts(Halt::HistoryLost { found, needed });
    let Some(cursor) = cursor else {
        return if needed > 0 { lost(0) } else { Standing::BeginsAgain(Again::Empty) };
    };
    if cursor.cluster_id != whose.cluster_id {
        let (found, own) = (cursor.cluster_id.clone(), whose.cluster_id.clone());
        return Standing::Halts(Halt::OtherCluster { found, own });
    }
    if cursor.lineage > whose.lineage {
        return Standing::Halts(Halt::LaterLineage { found: cursor.lineage, own: whose.lineage });
    }
    // Entries are counted on through a recovery.
    if cursor.applied_index < needed {
        return lost(cursor.applied_index);
    }
    // What the old lineage had acknowledged last may be gone, so the index says nothing.
    if cursor.lineage < whose.lineage {
        return Standing::BeginsAgain(Again::Recovered);
    }
    let at = view.at();
    if cursor.applied_index > at.index {
        return Standing::Halts(Halt::Ahead { found: cursor.applied_index, applied: at.index });
    }
    if cursor.applied_index == at.index && cursor.applied_time != at.time {
        return Standing::Halts(Halt::OtherHistory { index: at.index });
    }
    match view.outbox().through() {
        Some(through) if through <= cursor.applied_index => Standing::Follows,
        Some(_) | None => Standing::BeginsAgain(Again::Missed),
    }
}

#[cfg(test)]
mod tests {
    use carrel_domain::request::{Action, At, Request};

    use super::*;

    fn at(index: u64) -> At {
        At { index, time: Timestamp(1_000_000 + i64::try_from(index).expect("small") * 10) }
    }

    /// A record is kept from entry 10 on, and has everything through 20 of 30.
    fn view() -> State {
        let mut state = State::default();
        for index in 1..=30 {
            let action = match index {
                10 => Action::Projected { through: 0 },
                25 => Action::Projected { through: 20 },
                _ => Action::Tick,
            };
            state.apply(at(index), &Request::system(action));
        }
        state
    }

    fn whose() -> Whose {
        Whose { cluster_id: "ours".into(), lineage: 2 }
    }

    fn judged(change: impl FnOnce(&mut Cursor)) -> Standing {
        let view = view();
        let mut cursor = Cursor::of(&whose(), &view);
        change(&mut cursor);
        judge(Some(&cursor), &whose(), &view)
    }

    #[test]
    fn a_record_goes_on_from_where_it_is() {
        assert_eq!(judged(|_| {}), Standing::Follows);
        assert_eq!(judged(|cursor| cursor.applied_index = 20), Standing::Follows);
    }

    #[test]
    fn a_record_that_has_missed_something_begins_again() {
        assert_eq!(judge(None, &whose(), &view()), Standing::BeginsAgain(Again::Empty));
        assert_eq!(judged(|cursor| cursor.applied_index = 19), Standing::BeginsAgain(Again::Missed));
        assert_eq!(judged(|cursor| cursor.lineage = 1), Standing::BeginsAgain(Again::Recovered));
        // However far the lineage before had come.
        let recovered = judged(|cursor| (cursor.lineage, cursor.applied_index) = (1, 99));
        assert_eq!(recovered, Standing::BeginsAgain(Again::Recovered));
        let nobody_kept_it = judge(Some(&Cursor::of(&whose(), &State::default())), &whose(), &State::default());
        assert_eq!(nobody_kept_it, Standing::BeginsAgain(Again::Missed));
    }

    #[test]
    fn a_record_of_something_else_is_left_alone() {
        let halts = |standing| matches!(standing, Standing::Halts(_));
        assert!(halts(judged(|cursor| cursor.cluster_id = "theirs".into())));
        assert!(halts(judged(|cursor| cursor.lineage = 3)));
        assert_eq!(judged(|cursor| cursor.applied_index = 31), Standing::Halts(Halt::Ahead { found: 31, applied: 30 }));
        assert!(halts(judged(|cursor| cursor.applied_time = Timestamp(7))));
    }
}
