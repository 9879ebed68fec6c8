//! A catalogue as a YAML file, in the format that is read.

use std::fmt::Write;

use carrel_proto::v1;

use super::hours::{write_day, write_week};
use crate::calendar;
use crate::convert::policy;

const HEADER: &str = "\
# A catalogue of Carrel. Import it with: carrel catalog import FILE
#
# It replaces the whole catalogue or, if anything in it is wrong, nothing. Branches, areas and seats keep their
# reservations as long as they keep their ids; a seat that is no longer here displaces whoever has booked it.
#
# ids         lower-case letters, digits and '-'; of an area or a seat unique in its branch
# policy      rules of booking: of a branch, or of an area that differs
# meals       when people eat, every day, written like hours: who steps away then may take longer
# hours       on the clock on the wall: an exception for the date, or else a period that contains it, or else the week;
#             \"08:00-22:00\", \"08:00-12:00, 13:00-18:00\", closed; an area may have hours of its own
# seats       power and monitor are short for amenities of that name; x and y are metres on the map of the area;
#             what is false or 0 may be left out, and so may a label that is the id
";

/// The catalogue as a file that reads back as the same.
#[must_use]
pub fn write_yaml(catalog: &v1::Catalog) -> String {
    let mut file = String::from(HEADER);
    write_catalog(&mut file, catalog).expect("writing to a string cannot fail");
    file
}

fn write_catalog(file: &mut String, catalog: &v1::Catalog) -> std::fmt::Result {
    let v1::Catalog { policies, branches } = catalog;
    writeln!(file)?;
    list(file, "", "policies", policies, write_policy)?;
    writeln!(file)?;
    list(file, "", "branches", branches, write_branch)
}

fn write_policy(file: &mut String, policy: &v1::Policy) -> std::fmt::Result {
    writeln!(file, "  - id: {}", text(&policy.id))?;
    for &policy::Field { name, meaning, kind } in policy::FIELDS {
        let value = match kind {
            policy::Kind::Required { get, set: _ } => Some(get(policy).to_string()),
            policy::Kind::Number { get, set: _ } => get(policy).map(|value| value.to_string()),
            policy::Kind::Truth { get, set: _ } => get(policy).map(|value| value.to_string()),
        };
        let Some(value) = value else { continue };
        let line = format!("    {name}: {value}");
        match meaning {
            "" => writeln!(file, "{line}")?,
            meaning => writeln!(file, "{line:<30} # {meaning}")?,
        }
    }
    Ok(())
}

fn write_branch(file: &mut String, branch: &v1::Branch) -> std::fmt::Result {
    let v1::Branch { id, display_name, time_zone, policy, hours, areas, meals } = branch;
    writeln!(file, "  - id: {}", text(id))?;
    writeln!(file, "    display_name: {}", text(display_name))?;
    writeln!(file, "    time_zone: {}", text(time_zone))?;
    writeln!(file, "    policy: {}", text(policy))?;
    if let Some(hours) = hours {
        write_hours(file, "    ", hours)?;
    }
    if let Some(meals) = meals {
        writeln!(file, "    meals: {}", write_day(meals))?;
    }
    list(file, "    ", "areas", areas, write_area)
}

fn write_area(file: &mut String, area: &v1::Area) -> std::fmt::Result {
    let v1::Area { id, display_name, policy, hours, seats } = area;
    writeln!(file, "      - id: {}", text(id))?;
    writeln!(file, "        display_name: {}", text(display_name))?;
    if !policy.is_empty() {
        writeln!(file, "        policy: {}", text(policy))?;
    }
    if let Some(hours) = hours {
        write_hours(file, "        ", hours)?;
    }
    list(file, "        ", "seats", seats, |file, seat| writeln!(file, "          - {}", flow_seat(seat)))
}

fn flow_seat(seat: &v1::area::Seat) -> String {
    let v1::area::Seat { id, label, amenities, accessible, x, y } = seat;
    let mut fields = vec![format!("id: {}", text(id)), format!("label: {}", text(label))];
    // The order of amenities is kept: only where they lead do power and monitor have their short form.
    let mut rest = amenities.as_slice();
    for short in ["power", "monitor"] {
        if let [first, others @ ..] = rest
            && first == short
        {
            fields.push(format!("{short}: true"));
            rest = others;
        }
    }
    if *accessible {
        fields.push("accessible: true".to_owned());
    }
    if !rest.is_empty() {
        let rest: Vec<String> = rest.iter().map(|amenity| text(amenity)).collect();
        fields.push(format!("amenities: [{}]", rest.join(", ")));
    }
    fields.push(format!("x: {x}"));
    fields.push(format!("y: {y}"));
    format!("{{ {} }}", fields.join(", "))
}

fn write_hours(file: &mut String, indent: &str, hours: &v1::Hours) -> std::fmt::Result {
    let v1::Hours { week, periods, exceptions } = hours;
    writeln!(file, "{indent}hours:")?;
    writeln!(file, "{indent}  week: {}", write_week(week))?;
    if !periods.is_empty() {
        writeln!(file, "{indent}  periods:")?;
    }
    for v1::hours::Period { display_name, first_date, last_date, week } in periods {
        let name =
            if display_name.is_empty() { String::new() } else { format!("display_name: {}, ", text(display_name)) };
        let (first, last, week) = (date(first_date), date(last_date), write_week(week));
        writeln!(file, "{indent}    - {{ {name}first_date: {first}, last_date: {last}, week: {week} }}")?;
    }
    if !exceptions.is_empty() {
        writeln!(file, "{indent}  exceptions:")?;
    }
    for v1::hours::DayException { display_name, date: day, hours } in exceptions {
        let hours = write_day(&hours.clone().unwrap_or_default());
        let hours = match display_name.as_str() {
            "" => hours,
            name => format!("{{ display_name: {}, hours: {hours} }}", text(name)),
        };
        writeln!(file, "{indent}    {}: {hours}", date(day))?;
    }
    Ok(())
}

fn list<T>(
    file: &mut String,
    indent: &str,
    name: &str,
    items: &[T],
    write_item: impl Fn(&mut String, &T) -> std::fmt::Result,
) -> std::fmt::Result {
    if items.is_empty() {
        return writeln!(file, "{indent}{name}: []");
    }
    writeln!(file, "{indent}{name}:")?;
    items.iter().try_for_each(|item| write_item(file, item))
}

/// A date is a key or value that every reader takes for itself.
fn date(date: &str) -> String {
    if calendar::parse_date(date).is_some() { date.to_owned() } else { text(date) }
}

/// Words that some reader of YAML takes for something else.
const TAKEN: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

/// Plain where every reader of YAML takes it for this text, and otherwise quoted.
fn text(text: &str) -> String {
    let inside =
        |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '\'' | '(' | ')' | '/' | '&' | '+');
    let is_plain = text.starts_with(char::is_alphabetic) && !text.ends_with(' ') && text.chars().all(inside);
    if is_plain && !TAKEN.contains(&text.to_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Also whatever a reader might take for the end of a line, or not show.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}') => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
