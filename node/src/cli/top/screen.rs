//! What is seen, drawn.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::watched::{Node, Watched};
use crate::metrics::catalogue as names;

/// Where there is no terminal to ask.
const PLAIN_COLUMNS: u16 = 120;
const PLAIN_ROWS: u16 = 36;
/// Calls and refusals, where there is room for more below them.
const REST_ROWS: u16 = 11;
/// A border and something in it.
const REST_ROWS_MIN: u16 = 4;
/// A border, a heading and some methods.
const METHODS_ROWS_MIN: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, watched: &Watched) {
    let area = frame.area();
    let nodes = u16::try_from(watched.nodes.len()).unwrap_or(u16::MAX);
    // The nodes come first, whatever else there is room for.
    let (table_rows, lag_rows) = (nodes.saturating_add(3), nodes.saturating_add(2));
    let mut left = area.height.saturating_sub(1).saturating_sub(table_rows);
    let mut room_for = |rows: u16| {
        let has_room = left >= rows;
        left -= if has_room { rows } else { 0 };
        has_room
    };
    let (has_lag, has_rest) = (room_for(lag_rows), room_for(REST_ROWS_MIN));
    let rows = Layout::vertical([
        Constraint::Length(1),
        if has_lag || has_rest { Constraint::Length(table_rows) } else { Constraint::Min(1) },
        Constraint::Length(if has_lag { lag_rows } else { 0 }),
        if has_rest { Constraint::Min(REST_ROWS_MIN) } else { Constraint::Length(0) },
    ]);
    let [head, table, lag, rest] = area.layout(&rows);
    frame.render_widget(headline(watched), head);
    frame.render_widget(members(watched, table.width), table);
    if has_lag {
        draw_lag(frame, lag, watched);
    }
    if !has_rest {
        return;
    }
    // What is called has room below the rest, or none.
    let (rest, methods) = match rest.height.checked_sub(REST_ROWS) {
        Some(left) if left >= METHODS_ROWS_MIN => {
            let [rest, methods] = rest.layout(&Layout::vertical([Constraint::Length(REST_ROWS), Constraint::Min(0)]));
            (rest, Some(methods))
        }
        _ => (rest, None),
    };
    let [calls, refusals] = rest.layout(&Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]));
    draw_calls(frame, calls, watched);
    draw_refusals(frame, refusals, watched);
    if let Some(area) = methods {
        frame.render_widget(methods_table(watched), area);
    }
}

fn draw_calls(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let newest = watched.calls.back().copied().unwrap_or_default();
    let block = Block::bordered().title(format!(" calls: {newest} a second "));
    let values = newest_of(&watched.calls, area.width.saturating_sub(2));
    frame.render_widget(Sparkline::default().data(values).style(Color::Cyan).block(block), area);
}

fn draw_refusals(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let room = usize::from(area.height.saturating_sub(2));
    let line = |(reason, rate): &(String, f64)| Line::from(format!("{rate:8.1}  {reason}"));
    let mut lines: Vec<Line<'_>> = watched.refusals.iter().take(room).map(line).collect();
    if lines.is_empty() {
        lines.push(Line::from("    none").dim());
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" refused, a second ")), area);
}

fn methods_table(watched: &Watched) -> Table<'static> {
    let rows = watched.methods.iter().map(|method| {
        let mean = method.mean_seconds.map_or_else(|| "-".to_owned(), |mean| format!("{:.1} ms", mean * 1e3));
        let not_ok = if method.not_ok > 0.0 { format!("{:.1}", method.not_ok) } else { "-".to_owned() };
        let name = method.name.trim_start_matches("carrel.v1.").to_owned();
        Row::new([format!("{:.1}", method.rate), not_ok, mean, name])
    });
    let widths = [Constraint::Length(10), Constraint::Length(10), Constraint::Length(10), Constraint::Min(10)];
    let header = Row::new(["a second", "not OK", "on average", "method"]);
    Table::new(rows, widths).header(header.bold()).block(Block::bordered().title(" called "))
}

/// The same as plain text, for a file or a pipe.
pub(super) fn text(watched: &Watched) -> String {
    drawn(watched, PLAIN_COLUMNS, PLAIN_ROWS)
}

fn drawn(watched: &Watched, columns: u16, rows: u16) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(columns, rows)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, watched)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(columns));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}

fn headline(watched: &Watched) -> Line<'static> {
    if watched.nodes.iter().all(|node| node.now.is_none()) {
        let asked: Vec<String> = watched.nodes.iter().map(|node| address(&node.url)).collect();
        let text = format!("nobody answers at {}: --metrics or CARREL_METRICS name others", asked.join(", "));
        return Line::from(text).bold().fg(Color::Red);
    }
    let leader = watched.nodes.iter().find(|node| node.role() == "leader");
    match leader {
        None => Line::from("no node leads").bold().fg(Color::Red),
        Some(leader) => {
            let margin = leader.now.as_ref().and_then(|now| now.value(names::RAFT_QUORUM_MARGIN.name)).unwrap_or(0.0);
            let text = format!(
                "node {} leads in term {}, {margin} of {} voters may fail",
                leader.info("node_id"),
                leader.index(names::RAFT_TERM.name).unwrap_or_default(),
                leader.index(names::RAFT_VOTERS.name).unwrap_or_default(),
            );
            Line::from(text).bold()
        }
    }
}

/// Who it is, even while it does not answer.
fn called(node: &Node) -> &str {
    node.id.as_deref().filter(|id| *id != "0").unwrap_or("-")
}

/// `127.0.0.1:7430`
fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn members(watched: &Watched, columns: u16) -> Table<'static> {
    let unknown = || "-".to_owned();
    let number = |node: &Node, name| node.index(name).map_or_else(unknown, |index| index.to_string());
    let free = |node: &Node| {
        let (free, size) = (node.value(names::FILESYSTEM_AVAILABLE.name)?, node.value(names::FILESYSTEM_SIZE.name)?);
        Some(format!("{:.0} %", 100.0 * free / size.max(1.0)))
    };
    // Heading, width, and the rank in which it gets room.
    let headings: [(&str, u16, usize); 10] = [
        ("node", 5, 0),
        ("role", 12, 1),
        ("term", 6, 3),
        ("last", 10, 7),
        ("committed", 10, 2),
        ("applied", 10, 4),
        ("snapshot", 10, 8),
        ("memory", 9, 5),
        ("disk free", 10, 9),
        ("metrics at", 15, 6),
    ];
    let fits = |rank: usize| {
        let needed = headings.iter().filter(|(.., other)| *other <= rank).map(|(_, width, _)| width + 1).sum::<u16>();
        // A border takes one on each side, and the last column has no gap behind it.
        needed < columns
    };
    let rows = watched.nodes.iter().map(|node| {
        let (colour, role) = match node.role() {
            "leader" => (Color::Green, "leader".to_owned()),
            "follower" => (Color::Reset, "follower".to_owned()),
            "away" => (Color::Red, format!("away {} s", node.silent.as_secs())),
            other => (Color::Red, other.to_owned()),
        };
        let memory = node.index(names::PROCESS_RESIDENT.name).map(|bytes| format!("{} MiB", bytes >> 20));
        let cells = [
            called(node).to_owned(),
            role,
            number(node, names::RAFT_TERM.name),
            number(node, names::RAFT_LAST_LOG_INDEX.name),
            number(node, names::RAFT_COMMIT_INDEX.name),
            number(node, names::RAFT_APPLIED_INDEX.name),
            number(node, names::RAFT_SNAPSHOT_INDEX.name),
            memory.unwrap_or_else(unknown),
            free(node).unwrap_or_else(unknown),
            address(&node.url),
        ];
        let shown = cells.into_iter().zip(headings).filter(|(_, (.., rank))| fits(*rank));
        Row::new(shown.map(|(cell, (heading, ..))| {
            let colour = if heading == "role" { colour } else { Color::Reset };
            Cell::from(cell).style(Style::new().fg(colour))
        }))
    });
    let shown = || headings.into_iter().filter(|(.., rank)| fits(*rank));
    let widths: Vec<Constraint> = shown().map(|(_, width, _)| Constraint::Length(width)).collect();
    let header = Row::new(shown().map(|(heading, ..)| heading));
    Table::new(rows, widths).header(header.bold()).block(Block::bordered().title(" nodes "))
}

fn draw_lag(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let block = Block::bordered().title(" entries behind the newest commit ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = Layout::vertical(vec![Constraint::Length(1); watched.nodes.len()]).split(inner);
    for (node, row) in watched.nodes.iter().zip(rows.iter()) {
        let [name, line] = row.layout(&Layout::horizontal([Constraint::Length(18), Constraint::Min(1)]));
        let newest = node.lag.back().copied().flatten().map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        frame.render_widget(Line::from(format!("node {:<4} {newest:>7} ", called(node))), name);
        let values = newest_of(&node.lag, line.width);
        let absent = Style::new().fg(Color::Red);
        frame
            .render_widget(Sparkline::default().data(values).absent_value_symbol("×").absent_value_style(absent), line);
    }
}

/// As many as there is room for.
fn newest_of<T: Copy>(values: &VecDeque<T>, width: u16) -> Vec<T> {
    let skipped = values.len().saturating_sub(usize::from(width));
    values.iter().skip(skipped).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scrape::Scrape;

    fn scrape(leads: u64, applied: u64, calls: u64, taken: u64) -> Option<Scrape> {
        Scrape::parse(&format!(
            "carrel_node_info{{node_id=\"7\",ordinal=\"0\"}} 1\ncarrel_node_serving 1\n\
             carrel_raft_is_leader {leads}\ncarrel_raft_term 4\ncarrel_raft_voters 3\ncarrel_raft_quorum_margin 1\n\
             carrel_raft_commit_index 120\ncarrel_raft_applied_index {applied}\n\
             carrel_filesystem_available_bytes 30\ncarrel_filesystem_size_bytes 40\n\
             carrel_grpc_requests_total{{method=\"carrel.v1.A/B\",code=\"OK\"}} {calls}\n\
             carrel_grpc_requests_total{{method=\"carrel.v1.A/B\",code=\"UNAVAILABLE\"}} {taken}\n\
             carrel_grpc_request_seconds_sum{{method=\"carrel.v1.A/B\"}} {calls}\n\
             carrel_grpc_request_seconds_count{{method=\"carrel.v1.A/B\"}} {calls}\n\
             carrel_refusals_total{{reason=\"SEAT_TAKEN\"}} {taken}\n"
        ))
    }

    #[test]
    fn who_leads_who_lags_and_what_is_refused_can_be_read() {
        let urls = ["http://a:7430/metrics", "http://b:7430/metrics", "http://c:7430/metrics"].map(ToOwned::to_owned);
        let mut watched = Watched::new(&urls);
        watched.saw_after(vec![scrape(1, 120, 10, 0), scrape(0, 120, 0, 0), None], None);
        let second = Some(Duration::from_secs(2));
        watched.saw_after(vec![scrape(1, 120, 110, 5), scrape(0, 20, 0, 0), None], second);
        let narrow = drawn(&watched, 80, 24);
        for said in [
            "node 7 leads in term 4, 1 of 3 voters may fail",
            "leader",
            "follower",
            "away 2 s",
            "committed",
            "a:7430",
            "calls: 53 a second",
            "2.5  SEAT_TAKEN",
            "node 7        100",
        ] {
            assert!(narrow.contains(said), "{said} is missing:\n{narrow}");
        }
        let wide = drawn(&watched, 200, 50);
        for said in ["snapshot", "75 %", "52.5       2.5        1000.0 ms  A/B"] {
            assert!(wide.contains(said) && !narrow.contains(said), "{said} is only for those who have room:\n{wide}");
        }
        assert_eq!(
            watched.nodes.iter().map(|node| node.lag.back().copied()).collect::<Vec<_>>(),
            [Some(Some(0)), Some(Some(100)), Some(None)]
        );
        let small = drawn(&watched, 40, 10);
        for said in ["node 7 leads", "leader", "follower", "away 2 s", "committed"] {
            assert!(small.contains(said), "{said} is missing:\n{small}");
        }
        watched.saw_after(vec![scrape(0, 120, 0, 0), None, None], second);
        assert!(super::text(&watched).contains("no node leads"), "and a counter that began anew is no rate");
        assert_eq!(watched.calls.back(), Some(&0));
        watched.saw_after(vec![None, None, None], second);
        assert!(super::text(&watched).contains("nobody answers at a:7430, b:7430, c:7430"));
    }
}
