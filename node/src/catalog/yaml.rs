//! A YAML file to a catalogue.
//!
//! The tree is read to the end whatever is wrong with it. Every entry of a list in the file becomes the entry of the
//! same index in the catalogue, so that what the rules find wrong there leads back to a line.

use std::collections::BTreeSet;

use carrel_domain::catalog::{Fault, Place};
use carrel_domain::time::Date;
use carrel_proto::v1;

use super::hours::{WEEKDAYS, parse_day, parse_weekdays};
use super::tree::{self, Key, Node, Value};
use super::{Faults, LineFault};
use crate::calendar;
use crate::convert::catalog::{Told, shown, to_draft};
use crate::convert::policy;

/// The catalogue that `source` describes.
///
/// # Errors
/// Everything that is wrong with it, or the first thing that is no YAML.
pub fn read_yaml(source: &str) -> Result<v1::Catalog, Faults> {
    let mut reading = Reading::default();
    let root = tree::parse(source, &mut reading.faults).map_err(|fault| Faults::new(vec![fault]))?;
    let catalog = reading.catalog(&root);
    let Reading { mut faults, told } = reading;
    if let Err(found) = to_draft(&catalog) {
        let told = Told(told);
        faults.extend(found.into_iter().filter(|fault| !told.covers(&fault.place)).map(|fault| {
            let line = line_of(&root, &fault.place);
            let Fault { place, problem } = fault;
            LineFault { line, problem: format!("{}: {problem}", place.field) }
        }));
    }
    if faults.is_empty() { Ok(catalog) } else { Err(Faults::new(faults)) }
}

/// The line of the field at `place`, or of the innermost thing around it that the file has.
fn line_of(root: &Node, place: &Place) -> u64 {
    let Place { policy, branch, area, seat, field } = place;
    let steps = [("policies", policy), ("branches", branch), ("areas", area), ("seats", seat)];
    let mut node = root;
    for (list, index) in steps {
        let Some(index) = index else { continue };
        match node.get(list).and_then(|list| list.item(*index)) {
            Some(item) => node = item,
            None => break,
        }
    }
    // What is counted over all branches has no line of its own.
    let field = if branch.is_none() && matches!(*field, "areas" | "seats") { "branches" } else { field };
    node.line_of(field).unwrap_or(node.line)
}

#[derive(Default)]
struct Reading {
    faults: Vec<LineFault>,
    /// Where the catalogue has a stand-in, because the file has nothing there or nothing that can be read.
    told: BTreeSet<Place>,
}

impl Reading {
    fn found(&mut self, line: u64, problem: String) {
        self.faults.push(LineFault { line, problem });
    }

    fn stand_in(&mut self, place: &Place, line: u64, problem: &str) {
        let Place { policy: _, branch: _, area: _, seat: _, field } = place;
        self.found(line, if field.is_empty() { problem.to_owned() } else { format!("{field}: {problem}") });
        self.told.insert(place.clone());
    }

    fn catalog(&mut self, root: &Node) -> v1::Catalog {
        if matches!(root.value, Value::Nothing) {
            self.found(1, "there is nothing in it".to_owned());
            return v1::Catalog::default();
        }
        let at = Place::default();
        let Some(root) = self.map(root, &at, "a catalogue", &["policies", "branches"]) else {
            return v1::Catalog::default();
        };
        v1::Catalog {
            policies: self
                .list(&root, "policies", true)
                .iter()
                .enumerate()
                .map(|(index, node)| self.policy(index, node))
                .collect(),
            branches: self
                .list(&root, "branches", true)
                .iter()
                .enumerate()
                .map(|(index, node)| self.branch(index, node))
                .collect(),
        }
    }

    fn policy(&mut self, index: usize, node: &Node) -> v1::Policy {
        let names: Vec<&str> = std::iter::once("id").chain(policy::FIELDS.iter().map(|field| field.name)).collect();
        let at = Place { policy: Some(index), ..Place::default() };
        let Some(map) = self.map(node, &at, "a policy", &names) else { return v1::Policy::default() };
        let mut policy = v1::Policy { id: self.text(&map, "id"), ..v1::Policy::default() };
        for &policy::Field { name, meaning: _, kind } in policy::FIELDS {
            match kind {
                policy::Kind::Required { get: _, set } => set(&mut policy, self.number(&map, name)),
                policy::Kind::Number { get: _, set } if map.get(name).is_some() => {
                    set(&mut policy, self.number(&map, name));
                }
                policy::Kind::Truth { get: _, set } if map.get(name).is_some() => {
                    set(&mut policy, self.truth(&map, name));
                }
                policy::Kind::Number { .. } | policy::Kind::Truth { .. } => {}
            }
        }
        policy
    }

    fn branch(&mut self, index: usize, node: &Node) -> v1::Branch {
        let at = Place { branch: Some(index), ..Place::default() };
        let fields = ["id", "display_name", "time_zone", "policy", "hours", "meals", "areas"];
        let Some(map) = self.map(node, &at, "a branch", &fields) else { return v1::Branch::default() };
        let hours = map.get("hours");
        if hours.is_none() {
            self.stand_in(&map.place("hours"), map.line, "it is missing");
        }
        v1::Branch {
            id: self.text(&map, "id"),
            display_name: self.text(&map, "display_name"),
            time_zone: self.text(&map, "time_zone"),
            policy: self.text(&map, "policy"),
            hours: hours.and_then(|hours| self.hours(&map.place("hours"), hours)),
            areas: self
                .list(&map, "areas", false)
                .iter()
                .enumerate()
                .map(|(index, node)| self.area(&at, index, node))
                .collect(),
            meals: map.get("meals").and_then(|meals| self.day(meals)).filter(|meals| !meals.spans.is_empty()),
        }
    }

    fn area(&mut self, branch: &Place, index: usize, node: &Node) -> v1::Area {
        let at = Place { area: Some(index), ..branch.clone() };
        let fields = ["id", "display_name", "policy", "hours", "seats"];
        let Some(map) = self.map(node, &at, "an area", &fields) else { return v1::Area::default() };
        v1::Area {
            id: self.text(&map, "id"),
            display_name: self.text(&map, "display_name"),
            policy: self.optional_text(&map, "policy").unwrap_or_default(),
            hours: map.get("hours").and_then(|hours| self.hours(&map.place("hours"), hours)),
            seats: self
                .list(&map, "seats", false)
                .iter()
                .enumerate()
                .map(|(index, node)| self.seat(&at, index, node))
                .collect(),
        }
    }

    fn seat(&mut self, area: &Place, index: usize, node: &Node) -> v1::area::Seat {
        let at = Place { seat: Some(index), ..area.clone() };
        let fields = ["id", "label", "power", "monitor", "accessible", "amenities", "x", "y"];
        let Some(map) = self.map(node, &at, "a seat", &fields) else { return v1::area::Seat::default() };
        let id = self.text(&map, "id");
        let short = ["power", "monitor"].into_iter().filter(|amenity| self.truth(&map, amenity));
        let mut amenities: Vec<String> = short.map(str::to_owned).collect();
        for item in self.list(&map, "amenities", false) {
            match &item.value {
                Value::Text(amenity) => amenities.push(amenity.clone()),
                Value::Nothing | Value::List(_) | Value::Map(_) => {
                    self.found(item.line, "amenities: one of them is not text".to_owned());
                }
            }
        }
        v1::area::Seat {
            label: self.optional_text(&map, "label").unwrap_or_else(|| id.clone()),
            id,
            amenities,
            accessible: self.truth(&map, "accessible"),
            x: self.metres(&map, "x"),
            y: self.metres(&map, "y"),
        }
    }

    fn hours(&mut self, place: &Place, node: &Node) -> Option<v1::Hours> {
        let map = self.map(node, place, "hours", &["week", "periods", "exceptions"])?;
        let week = self.required_week(&map);
        let mut periods: Vec<(v1::hours::Period, [Date; 2], u64)> = Vec::new();
        for node in self.list(&map, "periods", false) {
            if let Some((period, dates)) = self.period(place, node) {
                let overlapped = periods.iter().find(|(_, other, _)| other[0] <= dates[1] && dates[0] <= other[1]);
                match overlapped {
                    Some((_, _, line)) => {
                        let problem = format!("periods: this one and the one on line {line} overlap");
                        self.found(node.line, problem);
                    }
                    None => periods.push((period, dates, node.line)),
                }
            }
        }
        Some(v1::Hours {
            week,
            periods: periods.into_iter().map(|(period, _, _)| period).collect(),
            exceptions: self.exceptions(place, &map),
        })
    }

    fn period(&mut self, hours: &Place, node: &Node) -> Option<(v1::hours::Period, [Date; 2])> {
        let fields = ["display_name", "first_date", "last_date", "week"];
        let map = self.map(node, hours, "a period", &fields)?;
        let display_name = self.optional_text(&map, "display_name").unwrap_or_default();
        let (first_date, last_date) = (self.text(&map, "first_date"), self.text(&map, "last_date"));
        let week = self.required_week(&map);
        let first = self.date(map.line_of("first_date"), &first_date);
        let last = self.date(map.line_of("last_date"), &last_date);
        let dates = [first?, last?];
        if dates[1] < dates[0] {
            self.found(map.line_of("last_date"), "last_date: it is before first_date".to_owned());
            return None;
        }
        Some((v1::hours::Period { display_name, first_date, last_date, week }, dates))
    }

    fn exceptions(&mut self, hours: &Place, map: &Map<'_>) -> Vec<v1::hours::DayException> {
        let Some(node) = map.get("exceptions") else { return Vec::new() };
        let Value::Map(entries) = &node.value else {
            self.found(node.line, "exceptions: it is not a map of dates to hours".to_owned());
            return Vec::new();
        };
        let mut exceptions = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let (display_name, hours) = match &node.value {
                Value::Map(_) => {
                    let Some(map) = self.map(node, hours, "an exception", &["display_name", "hours"]) else { continue };
                    let display_name = self.optional_text(&map, "display_name").unwrap_or_default();
                    let hours = match map.get("hours") {
                        Some(hours) => self.day(hours),
                        None => {
                            self.found(key.line, "hours: they are missing".to_owned());
                            None
                        }
                    };
                    (display_name, hours)
                }
                Value::Nothing | Value::Text(_) | Value::List(_) => (String::new(), self.day(node)),
            };
            if self.date(key.line, &key.text).is_some() {
                exceptions.push(v1::hours::DayException { display_name, date: key.text.clone(), hours });
            }
        }
        exceptions
    }

    fn required_week(&mut self, map: &Map<'_>) -> Vec<v1::DayHours> {
        match map.get("week") {
            Some(week) => self.week(week),
            None => {
                self.found(map.line, "week: it is missing".to_owned());
                vec![v1::DayHours::default(); 7]
            }
        }
    }

    fn week(&mut self, node: &Node) -> Vec<v1::DayHours> {
        let mut week: [Option<v1::DayHours>; 7] = Default::default();
        let Value::Map(entries) = &node.value else {
            self.found(node.line, "week: it is not a map of days to hours, like { mon-sun: closed }".to_owned());
            return vec![v1::DayHours::default(); 7];
        };
        for (key, node) in entries {
            let day = self.day(node).unwrap_or_default();
            let Some(weekdays) = parse_weekdays(&key.text) else {
                self.found(key.line, format!("{} is not a day like mon, nor days like mon-fri", shown(&key.text)));
                continue;
            };
            for weekday in weekdays {
                if week[weekday].replace(day.clone()).is_some() {
                    self.found(key.line, format!("week: {} is there twice", WEEKDAYS[weekday]));
                }
            }
        }
        let missing: Vec<&str> =
            WEEKDAYS.into_iter().zip(&week).filter(|(_, day)| day.is_none()).map(|(d, _)| d).collect();
        if !missing.is_empty() {
            self.found(node.line, format!("week: there is nothing for {} (closed?)", missing.join(", ")));
        }
        week.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn day(&mut self, node: &Node) -> Option<v1::DayHours> {
        let Value::Text(text) = &node.value else {
            self.found(node.line, "hours are text like \"08:00-22:00\", or closed".to_owned());
            return None;
        };
        parse_day(text).inspect_err(|problem| self.found(node.line, problem.clone())).ok()
    }

    fn date(&mut self, line: u64, text: &str) -> Option<Date> {
        let date = calendar::parse_date(text);
        if date.is_none() && !text.is_empty() {
            self.found(line, format!("{} is not a date like 2027-01-31", shown(text)));
        }
        date
    }

    fn map<'n>(&mut self, node: &'n Node, at: &Place, kind: &str, fields: &[&str]) -> Option<Map<'n>> {
        let Value::Map(entries) = &node.value else {
            self.stand_in(at, node.line, &format!("this is not {kind}, which is a map of {}", fields.join(", ")));
            return None;
        };
        for (key, _) in entries {
            if !fields.contains(&key.text.as_str()) {
                let known = fields.join(", ");
                self.found(key.line, format!("{} is not a field of {kind}: they are {known}", shown(&key.text)));
            }
        }
        Some(Map { at: at.clone(), line: node.line, entries })
    }

    fn list<'n>(&mut self, map: &Map<'n>, field: &'static str, required: bool) -> &'n [Node] {
        match map.get(field).map(|node| (&node.value, node.line)) {
            Some((Value::List(items), _)) => items,
            None if required => {
                self.stand_in(&map.place(field), map.line, "it is missing");
                &[]
            }
            None | Some((Value::Nothing, _)) => &[],
            Some((Value::Text(_) | Value::Map(_), line)) => {
                self.stand_in(&map.place(field), line, "it is not a list");
                &[]
            }
        }
    }

    fn text(&mut self, map: &Map<'_>, field: &'static str) -> String {
        self.optional_text(map, field).unwrap_or_else(|| {
            self.stand_in(&map.place(field), map.line, "it is missing");
            String::new()
        })
    }

    /// Empty if there is something that is no text, which is then told.
    fn optional_text(&mut self, map: &Map<'_>, field: &'static str) -> Option<String> {
        let node = map.get(field)?;
        let problem = match &node.value {
            Value::Nothing => return None,
            Value::Text(text) if !text.is_empty() => return Some(text.clone()),
            Value::Text(_) => "it is empty",
            Value::List(_) | Value::Map(_) => "it is not text",
        };
        self.stand_in(&map.place(field), node.line, problem);
        Some(String::new())
    }

    fn number(&mut self, map: &Map<'_>, field: &'static str) -> i32 {
        let text = self.text(map, field);
        text.parse().unwrap_or_else(|_| {
            if !text.is_empty() {
                let problem = format!("{} is not a whole number", shown(&text));
                self.stand_in(&map.place(field), map.line_of(field), &problem);
            }
            0
        })
    }

    fn metres(&mut self, map: &Map<'_>, field: &'static str) -> f64 {
        let Some(text) = self.optional_text(map, field).filter(|text| !text.is_empty()) else { return 0.0 };
        text.parse().unwrap_or_else(|_| {
            self.stand_in(&map.place(field), map.line_of(field), &format!("{} is not a number", shown(&text)));
            0.0
        })
    }

    fn truth(&mut self, map: &Map<'_>, field: &'static str) -> bool {
        match self.optional_text(map, field).as_deref() {
            Some("true") => true,
            None | Some("" | "false") => false,
            Some(other) => {
                let problem = format!("{} is neither true nor false", shown(other));
                self.stand_in(&map.place(field), map.line_of(field), &problem);
                false
            }
        }
    }
}

/// A map of the file, and where in the catalogue it belongs.
struct Map<'n> {
    at: Place,
    line: u64,
    entries: &'n [(Key, Node)],
}

impl<'n> Map<'n> {
    fn find(&self, field: &str) -> Option<&'n (Key, Node)> {
        self.entries.iter().find(|(key, _)| key.text == field)
    }

    fn get(&self, field: &str) -> Option<&'n Node> {
        self.find(field).map(|(_, node)| node)
    }

    fn line_of(&self, field: &str) -> u64 {
        self.find(field).map_or(self.line, |(key, _)| key.line)
    }

    fn place(&self, field: &'static str) -> Place {
        Place { field, ..self.at.clone() }
    }
}
