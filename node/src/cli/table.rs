//! How answers look to people: columns without lines around them, and text from others made harmless.

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, TableStyle, Width, presets};

/// Rows under bold headings; or `empty` if there are none.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = bare();
    table.set_header(headings.map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    table.add_rows(rows.into_iter().map(|row| row.map(|text| plain(&text))));
    laid_out(table)
}

/// One thing: what is known about it, a line each.
pub(super) fn facts(rows: Vec<(&str, String)>) -> String {
    let mut table = bare();
    let known = rows.into_iter().filter(|(_, text)| !text.is_empty());
    table.add_rows(known.map(|(what, text)| [Cell::new(what).add_attribute(Attribute::Bold), Cell::new(plain(&text))]));
    laid_out(table)
}

/// `CHECKED_IN` of `STATE_CHECKED_IN` as `checked in`.
pub(super) fn words(enum_value: &str, prefix: &str) -> String {
    enum_value.strip_prefix(prefix).unwrap_or(enum_value).to_lowercase().replace('_', " ")
}

/// `1 seat`, `2 seats`.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Without anything that could move the cursor, colour the terminal or turn the text around.
pub(super) fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// A narrower terminal breaks the lines itself.
const WIDTH_MIN: u16 = 60;

fn bare() -> Table {
    const STYLE: TableStyle = presets::NOTHING;
    let mut table = Table::new();
    // On a terminal it keeps to its width; elsewhere a row stays a line.
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// How wide a terminal it is; nothing in a file or a pipe.
pub(super) fn terminal_columns() -> Option<u16> {
    // A terminal of unknown size says that it has no width at all.
    bare().width().map(|width| width.max(WIDTH_MIN))
}

/// Between columns.
const GAP: u16 = 2;
/// What the one column that is broken keeps at least.
const BROKEN_MIN: u16 = 12;

fn laid_out(table: Table) -> String {
    let columns = terminal_columns();
    laid_out_in(table, columns)
}

/// Where there is no room for all, the widest column is broken, between words, and no other.
fn laid_out_in(mut table: Table, columns: Option<u16>) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let Some(columns) = columns else { return table.trim_fmt() };
    table.set_width(columns);
    let widths: Vec<u16> = table.column_max_content_widths();
    let all: u16 = widths.iter().map(|width| width.saturating_add(GAP)).fold(0, u16::saturating_add);
    let widest = widths.iter().enumerate().max_by_key(|(_, width)| **width);
    if let Some((widest, width)) = widest.filter(|_| all > columns) {
        let left = columns.saturating_sub(all - width);
        if left >= BROKEN_MIN {
            for (nth, column) in table.column_iter_mut().enumerate() {
                let constraint = if nth == widest {
                    ColumnConstraint::Absolute(Width::Fixed(left.saturating_add(GAP)))
                } else {
                    ColumnConstraint::ContentWidth
                };
                column.set_constraint(constraint);
            }
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_lines() {
        let text = table(["SEAT", "FREE"], vec![["a".into(), "yes".into()], ["main/b".into(), "no".into()]], "none");
        assert_eq!(text, "SEAT    FREE\na       yes\nmain/b  no");
        assert_eq!(table(["SEAT"], Vec::new(), "No seat fits."), "No seat fits.");
    }

    #[test]
    fn where_there_is_no_room_one_column_is_broken_between_words() {
        let mut wide = bare();
        wide.set_header(["WHEN", "WHY NOT"]);
        wide.add_rows([["2027-03-01 10:00–12:00 CET", "the seat is taken for this time: choose another"]]);
        let text = laid_out_in(wide, Some(60));
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("2027-03-01 10:00–12:00 CET  the seat is taken for this"), "{text}");
    }

    #[test]
    fn unknown_facts_are_left_out() {
        let text = facts(vec![("Seat", "main/a".into()), ("Free until", String::new()), ("Area", "hall".into())]);
        assert_eq!(text, "Seat  main/a\nArea  hall");
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{202e}c\nd"), "a\u{fffd}[31mb\u{fffd}c\nd");
    }

    #[test]
    fn enum_values_read_as_words() {
        assert_eq!(words("STATE_CHECKED_IN", "STATE_"), "checked in");
        assert_eq!(counted(1, "seat", "seats"), "1 seat");
        assert_eq!(counted(0, "seat", "seats"), "0 seats");
    }
}
