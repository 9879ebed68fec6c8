//! A CSV file of seats into a catalogue: `branch,area,seat,label,power,monitor,accessible,amenities,x,y`.
//!
//! The header names the columns, in any order; the first three must be there. Amenities are separated by ';'. The seats
//! of exactly the areas that are named are replaced, and everything else stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use carrel_domain::catalog::{Fault, Place};
use carrel_proto::v1;
use csv::StringRecord;

use super::{Faults, LineFault};
use crate::convert::catalog::{Told, shown, to_draft};

const COLUMNS: [&str; 10] =
    ["branch", "area", "seat", "label", "power", "monitor", "accessible", "amenities", "x", "y"];
const REQUIRED: [&str; 3] = ["branch", "area", "seat"];

/// `current` with the seats of the file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_csv(source: &str, current: &v1::Catalog) -> Result<v1::Catalog, Faults> {
    // Spreadsheets put a byte order mark in front.
    let source = source.strip_prefix('\u{FEFF}').unwrap_or(source);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(source.as_bytes());
    let header = reader.headers().map_err(|error| Faults::new(vec![unreadable(&error)]))?.clone();
    let columns = Columns::of(&header).map_err(Faults::new)?;
    let mut reading = Reading::new(current, columns);
    for row in reader.records() {
        match row {
            Ok(row) => reading.row(&row),
            Err(error) => reading.faults.push(unreadable(&error)),
        }
    }
    reading.finish()
}

fn unreadable(error: &csv::Error) -> LineFault {
    LineFault { line: error.position().map_or(1, |position| position.line().max(1)), problem: error.to_string() }
}

/// Which column of the file is which.
struct Columns {
    index: BTreeMap<&'static str, usize>,
    count: usize,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, Vec<LineFault>> {
        let mut index = BTreeMap::new();
        let mut problems = Vec::new();
        for (position, name) in header.iter().enumerate() {
            match COLUMNS.into_iter().find(|column| name.eq_ignore_ascii_case(column)) {
                None => problems.push(format!("there is no column {}: they are {}", shown(name), COLUMNS.join(", "))),
                Some(column) => {
                    if index.insert(column, position).is_some() {
                        problems.push(format!("the column '{column}' is there twice"));
                    }
                }
            }
        }
        for column in REQUIRED.into_iter().filter(|column| !index.contains_key(column)) {
            problems.push(format!("the column '{column}' is missing"));
        }
        if header.len() == 1 && header.iter().any(|name| name.contains([';', '\t'])) {
            problems = vec!["columns are separated by commas".to_owned()];
        }
        let line = header.position().map_or(1, |position| position.line().max(1));
        let faults: Vec<_> = problems.into_iter().map(|problem| LineFault { line, problem }).collect();
        if faults.is_empty() { Ok(Self { index, count: header.len() }) } else { Err(faults) }
    }

    /// Empty if the file has no such column.
    fn get<'r>(&self, row: &'r StringRecord, column: &str) -> &'r str {
        self.index.get(column).and_then(|&index| row.get(index)).unwrap_or_default()
    }
}

struct Reading {
    columns: Columns,
    catalog: v1::Catalog,
    /// Indexes of a branch and one of its areas, by their ids.
    areas: BTreeMap<String, (usize, BTreeMap<String, usize>)>,
    /// Areas that the file names, and the line of each of their seats.
    lines: BTreeMap<(usize, usize), Vec<u64>>,
    faults: Vec<LineFault>,
    told: BTreeSet<Place>,
}

impl Reading {
    fn new(current: &v1::Catalog, columns: Columns) -> Self {
        let areas = |branch: &v1::Branch| {
            branch.areas.iter().enumerate().map(|(index, area)| (area.id.clone(), index)).collect()
        };
        let branches = current.branches.iter().enumerate();
        Self {
            columns,
            areas: branches.map(|(index, branch)| (branch.id.clone(), (index, areas(branch)))).collect(),
            catalog: current.clone(),
            lines: BTreeMap::new(),
            faults: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    fn row(&mut self, row: &StringRecord) {
        let line = row.position().map_or(1, csv::Position::line);
        let found = |problem: String| LineFault { line, problem };
        if row.len() != self.columns.count {
            let problem = format!("it has {} fields, and the header has {}", row.len(), self.columns.count);
            self.faults.push(found(problem));
            return;
        }
        let (branch, area) = (self.columns.get(row, "branch"), self.columns.get(row, "area"));
        let Some((branch_index, areas)) = self.areas.get(branch) else {
            self.faults.push(found(format!("branch: there is no branch {}", shown(branch))));
            return;
        };
        let Some(&area_index) = areas.get(area) else {
            self.faults.push(found(format!("area: there is no area {} in branch '{branch}'", shown(area))));
            return;
        };
        let branch_index = *branch_index;
        let lines = self.lines.entry((branch_index, area_index)).or_default();
        let at =
            Place { branch: Some(branch_index), area: Some(area_index), seat: Some(lines.len()), ..Place::default() };
        lines.push(line);
        let seat = self.seat(row, &at, line);
        let seats = &mut self.catalog.branches[branch_index].areas[area_index].seats;
        if at.seat == Some(0) {
            seats.clear();
        }
        seats.push(seat);
    }

    fn seat(&mut self, row: &StringRecord, at: &Place, line: u64) -> v1::area::Seat {
        let text = |column: &str| self.columns.get(row, column);
        let mut problems: Vec<(&'static str, String)> = Vec::new();
        let mut truth = |column: &'static str| match text(column).to_ascii_lowercase().as_str() {
            "true" => true,
            "" | "false" => false,
            _ => {
                problems.push((column, format!("{} is neither true nor false", shown(text(column)))));
                false
            }
        };
        let mut amenities: Vec<String> =
            ["power", "monitor"].into_iter().filter(|amenity| truth(amenity)).map(str::to_owned).collect();
        let accessible = truth("accessible");
        amenities.extend(text("amenities").split(';').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned));
        let mut metres = |column: &'static str| match text(column) {
            "" => 0.0,
            text => text.parse().unwrap_or_else(|_| {
                problems.push((column, format!("{} is not a number", shown(text))));
                0.0
            }),
        };
        let (x, y) = (metres("x"), metres("y"));
        let id = text("seat").to_owned();
        let label = if text("label").is_empty() { id.clone() } else { text("label").to_owned() };
        for (field, problem) in problems {
            self.told.insert(Place { field, ..at.clone() });
            self.faults.push(LineFault { line, problem: format!("{field}: {problem}") });
        }
        v1::area::Seat { id, label, amenities, accessible, x, y }
    }

    fn finish(mut self) -> Result<v1::Catalog, Faults> {
        if self.lines.is_empty() && self.faults.is_empty() {
            self.faults.push(LineFault { line: 1, problem: "there are no seats in it".to_owned() });
        }
        self.kept_seats();
        let told = Told(std::mem::take(&mut self.told));
        let mut elsewhere = Vec::new();
        for Fault { place, problem } in to_draft(&self.catalog).err().unwrap_or_default() {
            if told.covers(&place) {
                continue;
            }
            let line = place.branch.zip(place.area).zip(place.seat).and_then(|((branch, area), seat)| {
                self.lines.get(&(branch, area)).and_then(|lines| lines.get(seat)).copied()
            });
            // In the file the id of a seat is in a column named after it.
            let field = if place.seat.is_some() && place.field == "id" { "seat" } else { place.field };
            let problem = format!("{field}: {problem}");
            match line {
                Some(line) => self.faults.push(LineFault { line, problem }),
                None => elsewhere.push(LineFault { line: 1, problem }),
            }
        }
        // What is wrong outside the file follows from what is wrong in it, unless there is nothing.
        if self.faults.is_empty() {
            self.faults = elsewhere;
        }
        if self.faults.is_empty() { Ok(self.catalog) } else { Err(Faults::new(self.faults)) }
    }

    /// Seats of the file whose id a seat of the same branch has that is not in the file.
    fn kept_seats(&mut self) {
        for (branch_index, branch) in self.catalog.branches.iter().enumerate() {
            let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
            for (area_index, area) in branch.areas.iter().enumerate() {
                if !self.lines.contains_key(&(branch_index, area_index)) {
                    kept.extend(area.seats.iter().map(|seat| (seat.id.as_str(), area.id.as_str())));
                }
            }
            for (&(_, area), lines) in self.lines.range((branch_index, 0)..(branch_index + 1, 0)) {
                for (index, (seat, &line)) in branch.areas[area].seats.iter().zip(lines).enumerate() {
                    if let Some(other) = kept.get(seat.id.as_str()) {
                        let problem = format!("seat: area '{other}', which keeps its seats, has '{}' already", seat.id);
                        self.faults.push(LineFault { line, problem });
                        self.told.insert(Place {
                            branch: Some(branch_index),
                            area: Some(area),
                            seat: Some(index),
                            field: "id",
                            ..Place::default()
                        });
                    }
                }
            }
        }
    }
}
