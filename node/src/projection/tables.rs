//! The tables of the record: their columns in order, what a row is known by, and the statements that follow from that.
//! The tables themselves are made by `migrations/`, which a test holds against these lists.

use crate::projection::rows::{Key, Row, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Branches,
    Areas,
    Seats,
    Users,
    Claims,
    Waits,
    Strikes,
    Announcements,
    DeliveryMarks,
    ClaimTransitions,
    Audit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Flag,
    Text,
    Time,
    Json,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: Kind::Number }
}
const fn flag(name: &'static str) -> Column {
    Column { name, kind: Kind::Flag }
}
const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}
const fn time(name: &'static str) -> Column {
    Column { name, kind: Kind::Time }
}
const fn json(name: &'static str) -> Column {
    Column { name, kind: Kind::Json }
}

const BRANCHES: &[Column] = &[number("id"), text("slug"), text("title"), text("time_zone"), flag("retired")];
const AREAS: &[Column] = &[number("id"), number("branch_id"), text("slug"), text("title"), flag("retired")];
const SEATS: &[Column] = &[
    number("id"),
    number("branch_id"),
    number("area_id"),
    text("slug"),
    text("label"),
    json("amenities"),
    flag("accessible"),
    number("x_cm"),
    number("y_cm"),
    flag("retired"),
];
const USERS: &[Column] = &[
    number("id"),
    text("name"),
    text("role"),
    json("branches"),
    time("created_at"),
    time("suspended_until"),
    flag("needs_accessible"),
];
const CLAIMS: &[Column] = &[
    number("id"),
    number("seat_id"),
    time("starts_at"),
    time("ends_at"),
    number("holder_id"),
    text("origin"),
    text("state"),
    time("deadline"),
    number("policy_id"),
    number("revision"),
    time("created_at"),
    time("changed_at"),
    number("previous_id"),
    number("wait_id"),
    flag("exempt"),
];
const WAITS: &[Column] = &[
    number("id"),
    number("user_id"),
    text("scope"),
    number("place_id"),
    json("amenities"),
    flag("accessible"),
    time("starts_at"),
    time("ends_at"),
    number("minutes"),
    text("state"),
    number("claim_id"),
    number("rank"),
    number("missed"),
    json("passed"),
    time("created_at"),
    time("changed_at"),
];
const STRIKES: &[Column] = &[number("user_id"), number("claim_id"), time("at"), text("cause"), flag("waived")];
const ANNOUNCEMENTS: &[Column] = &[
    number("entry"),
    number("ordinal"),
    number("sender_id"),
    time("at"),
    text("body"),
    text("audience"),
    number("audience_branch_id"),
    text("audience_role"),
];
const DELIVERY_MARKS: &[Column] = &[number("user_id"), number("read_entry"), number("read_ordinal")];
const CLAIM_TRANSITIONS: &[Column] = &[
    number("lineage"),
    number("claim_id"),
    number("revision"),
    number("entry"),
    number("ordinal"),
    time("at"),
    text("from_state"),
    text("state"),
    number("seat_id"),
    time("starts_at"),
    time("ends_at"),
    number("holder_id"),
    time("deadline"),
    number("reported_by"),
    text("actor"),
    number("actor_id"),
    text("reason"),
    text("note"),
];
const AUDIT: &[Column] = &[
    number("lineage"),
    number("entry"),
    number("ordinal"),
    time("at"),
    text("subject"),
    number("subject_id"),
    text("state"),
    json("details"),
    text("actor"),
    number("actor_id"),
    text("reason"),
    text("note"),
];

impl Table {
    /// Those that hold what the state holds, in an order in which they may be written.
    pub const MIRRORS: [Self; 9] = [
        Self::Branches,
        Self::Areas,
        Self::Seats,
        Self::Users,
        Self::Claims,
        Self::Waits,
        Self::Strikes,
        Self::Announcements,
        Self::DeliveryMarks,
    ];

    pub const HISTORY: [Self; 2] = [Self::ClaimTransitions, Self::Audit];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Branches => "branches",
            Self::Areas => "areas",
            Self::Seats => "seats",
            Self::Users => "users",
            Self::Claims => "claims",
            Self::Waits => "waits",
            Self::Strikes => "strikes",
            Self::Announcements => "announcements",
            Self::DeliveryMarks => "delivery_marks",
            Self::ClaimTransitions => "claim_transitions",
            Self::Audit => "audit",
        }
    }

    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Branches => BRANCHES,
            Self::Areas => AREAS,
            Self::Seats => SEATS,
            Self::Users => USERS,
            Self::Claims => CLAIMS,
            Self::Waits => WAITS,
            Self::Strikes => STRIKES,
            Self::Announcements => ANNOUNCEMENTS,
            Self::DeliveryMarks => DELIVERY_MARKS,
            Self::ClaimTransitions => CLAIM_TRANSITIONS,
            Self::Audit => AUDIT,
        }
    }

    /// How many of the first columns a row is known by.
    const fn key_columns(self) -> usize {
        match self {
            Self::Strikes | Self::Announcements => 2,
            Self::ClaimTransitions | Self::Audit => 3,
            _ => 1,
        }
    }

    pub fn key(self, row: &Row) -> Key {
        let part = |column: usize| match row.get(column) {
            Some(Value::Number(Some(number))) if column < self.key_columns() => *number,
            _ => 0,
        };
        (part(0), part(1))
    }

    /// Takes one array for each column; writes over what is there.
    pub fn insert(self) -> String {
        let columns = self.columns();
        let listed = |each: &dyn Fn(usize, &Column) -> String| {
            columns.iter().enumerate().map(|(index, column)| each(index, column)).collect::<Vec<_>>().join(", ")
        };
        let names = listed(&|_, column| column.name.to_owned());
        let arrays = listed(&|index, column| format!("${}::{}[]", index + 1, column.kind.travels_as()));
        let values = listed(&|_, column| match column.kind {
            Kind::Json => format!("given.{}::jsonb", column.name),
            _ => format!("given.{}", column.name),
        });
        let set = columns[self.key_columns()..].iter();
        let set: Vec<_> = set.map(|column| format!("{0} = EXCLUDED.{0}", column.name)).collect();
        format!(
            "INSERT INTO {} ({names}) SELECT {values} FROM UNNEST({arrays}) AS given({names}) \
             ON CONFLICT ({}) DO UPDATE SET {}",
            self.name(),
            self.key_names().join(", "),
            set.join(", ")
        )
    }

    /// Takes rows as they are: none of them may be there.
    pub fn copy(self) -> String {
        let names: Vec<_> = self.columns().iter().map(|column| column.name).collect();
        format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.name(), names.join(", "))
    }

    /// Takes one array for each column of the key.
    pub fn delete(self) -> String {
        let keys = self.key_names();
        let arrays: Vec<_> = (1..=keys.len()).map(|index| format!("${index}::bigint[]")).collect();
        let same: Vec<_> = keys.iter().map(|key| format!("kept.{key} = given.{key}")).collect();
        format!(
            "DELETE FROM {} kept USING UNNEST({}) AS given({}) WHERE {}",
            self.name(),
            arrays.join(", "),
            keys.join(", "),
            same.join(" AND ")
        )
    }

    /// Every row, by key.
    pub fn select(self) -> String {
        let columns = self.columns().iter().map(|column| match column.kind {
            Kind::Json => format!("{}::text", column.name),
            _ => column.name.to_owned(),
        });
        let columns: Vec<_> = columns.collect();
        format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), self.name(), self.key_names().join(", "))
    }

    pub fn key_names(self) -> Vec<&'static str> {
        self.columns()[..self.key_columns()].iter().map(|column| column.name).collect()
    }
}

impl Kind {
    const fn travels_as(self) -> &'static str {
        match self {
            Self::Number => "bigint",
            Self::Flag => "boolean",
            Self::Text | Self::Json => "text",
            Self::Time => "timestamptz",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_every_column_once() {
        assert_eq!(
            Table::DeliveryMarks.insert(),
            "INSERT INTO delivery_marks (user_id, read_entry, read_ordinal) SELECT given.user_id, given.read_entry, \
             given.read_ordinal FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS given(user_id, read_entry, \
             read_ordinal) ON CONFLICT (user_id) DO UPDATE SET read_entry = EXCLUDED.read_entry, read_ordinal = \
             EXCLUDED.read_ordinal"
        );
        assert_eq!(
            Table::Strikes.delete(),
            "DELETE FROM strikes kept USING UNNEST($1::bigint[], $2::bigint[]) AS given(user_id, claim_id) WHERE \
             kept.user_id = given.user_id AND kept.claim_id = given.claim_id"
        );
        assert_eq!(Table::Areas.copy(), "COPY areas (id, branch_id, slug, title, retired) FROM STDIN (FORMAT binary)");
    }
}
