//! What is wrong with the form of a request, field by field, before anybody asks whether the rules allow it.

use std::fmt;

/// A request that means nothing. Invariant: at least one field is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub reason: Reason,
    pub fields: Vec<InvalidField>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    pub field: String,
    /// Goes on after the field's name: "it is empty".
    pub problem: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Field,
    Interval,
    PageToken,
    ResumeToken,
}

impl Invalid {
    #[must_use]
    pub fn field(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self::because(Reason::Field, field, problem)
    }

    #[must_use]
    pub fn because(reason: Reason, field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { reason, fields: vec![InvalidField { field: field.into(), problem: problem.to_string() }] }
    }
}

/// Reads the fields of one request and keeps what is wrong with any, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Fields {
    found: Option<Invalid>,
}

impl Fields {
    pub fn take<T>(&mut self, read: Result<T, Invalid>) -> Option<T> {
        match (read, &mut self.found) {
            (Ok(value), _) => Some(value),
            (Err(invalid), None) => {
                self.found = Some(invalid);
                None
            }
            (Err(invalid), Some(found)) => {
                if found.reason != invalid.reason {
                    found.reason = Reason::Field;
                }
                found.fields.extend(invalid.fields);
                None
            }
        }
    }

    /// What was found. For whoever got nothing from a `take`: then something was.
    #[must_use]
    pub fn into_invalid(self) -> Invalid {
        self.found.expect("a field that gave no value was found invalid")
    }
}
