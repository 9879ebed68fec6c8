//! A YAML file as a tree in which every value knows its line. What the values mean is not known here, so that reading
//! does not stop at the first that means nothing.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Spanned};

use super::LineFault;
use crate::convert::catalog::shown;

#[derive(Debug)]
pub struct Node {
    pub line: u64,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    /// Nothing, "~" or "null".
    Nothing,
    /// As it is written, be it a number or a word.
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub struct Key {
    pub line: u64,
    pub text: String,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node),
            Value::Nothing | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The line of `key`: its value may begin on the next.
    #[must_use]
    pub fn line_of(&self, key: &str) -> Option<u64> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(name, _)| name.line),
            Value::Nothing | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The item at `index`, if this is a list that has it.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            Value::Nothing | Value::Text(_) | Value::Map(_) => None,
        }
    }
}

/// Reads one document. Keys that a map has twice are faults, and the first of them counts.
///
/// # Errors
/// If it is no YAML: there is then no telling what else is wrong.
pub fn parse(source: &str, faults: &mut Vec<LineFault>) -> Result<Node, LineFault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2 * NODES_MAX,
            max_nodes: NODES_MAX,
            max_depth: DEPTH_MAX,
            max_documents: 1,
            max_recorded_anchor_events: REPEATED_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPEATED_MAX },
        emit_comments: false,
        // The last wins because every one is handed out: here the rest are found and told.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let root = serde_saphyr::from_str_with_options(source, options).map_err(|error| fault(&error))?;
    Ok(resolve(root, source, faults))
}

/// The largest catalogue, each seat with every field and every amenity; beyond it reading stops.
const NODES_MAX: usize = 1_000_000;
/// Hours and policies that are written once and repeated by name; enough for every area to repeat its hours.
const REPEATED_MAX: usize = 100_000;
/// A seat lies six deep.
const DEPTH_MAX: usize = 16;

fn fault(error: &Error) -> LineFault {
    let problem = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let Some(location) = error.location() else { return LineFault { line: 1, problem } };
    // The line is told once, in front.
    let ending = format!(" at line {}, column {}", location.line(), location.column());
    let problem = problem.strip_suffix(&ending).unwrap_or(&problem).to_owned();
    LineFault { line: location.line().max(1), problem }
}

/// As the reader gives it: of a number or a truth value it tells what it is worth, of which the file says more.
enum Raw {
    Nothing,
    Bare,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn resolve(node: Spanned<Raw>, source: &str, faults: &mut Vec<LineFault>) -> Node {
    let value = match node.value {
        Raw::Nothing => Value::Nothing,
        Raw::Bare => {
            let span = node.defined.span();
            let text = span.byte_offset().zip(span.byte_len()).and_then(|(start, len)| {
                let start = usize::try_from(start).ok()?;
                source.get(start..start.checked_add(usize::try_from(len).ok()?)?)
            });
            Value::Text(text.unwrap_or_default().trim().to_owned())
        }
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| resolve(item, source, faults)).collect()),
        Raw::Map(entries) => {
            let mut names = BTreeSet::new();
            let mut kept = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let line = key.referenced.line().max(1);
                if names.insert(key.value.clone()) {
                    kept.push((Key { line, text: key.value }, resolve(value, source, faults)));
                } else {
                    faults.push(LineFault { line, problem: format!("{} is there twice", shown(&key.value)) });
                }
            }
            Value::Map(kept)
        }
    };
    Node { line: node.referenced.line().max(1), value }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
