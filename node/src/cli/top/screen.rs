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
const PLAIN_COLUMNS: u16 = 110;
const PLAIN_ROWS: u16 = 24;
/// Refusals that are shown: there are some sixty reasons, and a handful at a time.
const REASONS_MAX: usize = 8;

pub(super) fn draw(frame: &mut Frame<'_>, watched: &Watched) {
    let nodes = u16::try_from(watched.nodes.len()).unwrap_or(u16::MAX);
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(nodes.saturating_add(3)),
        Constraint::Length(nodes.saturating_add(2)),
        Constraint::Min(4),
    ]);
    let [head, table, lag, rest] = frame.area().layout(&rows);
    frame.render_widget(headline(watched), head);
    frame.render_widget(members(watched), table);
    draw_lag(frame, lag, watched);
    let [calls, refusals] = rest.layout(&Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]));
    let newest = watched.calls.back().copied().unwrap_or_default();
    let title = format!(" calls: {newest} a second ");
    frame.render_widget(sparkline(&watched.calls, calls.width).block(Block::bordered().title(title)), calls);
    let lines =
        watched.refusals.iter().take(REASONS_MAX).map(|(reason, rate)| Line::from(format!("{rate:8.1}  {reason}")));
    let block = Block::bordered().title(" refused, a second ");
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), refusals);
}

/// The same as plain text, for a file or a pipe.
pub(super) fn text(watched: &Watched) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(PLAIN_COLUMNS, PLAIN_ROWS)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, watched)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(PLAIN_COLUMNS));
    let row = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    rows.map(row).collect::<Vec<_>>().join("\n")
}

fn headline(watched: &Watched) -> Line<'static> {
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

fn members(watched: &Watched) -> Table<'static> {
    let number = |node: &Node, name| node.index(name).map_or_else(|| "-".to_owned(), |index| index.to_string());
    let rows = watched.nodes.iter().map(|node| {
        let colour = match node.role() {
            "leader" => Color::Green,
            "follower" => Color::Reset,
            _ => Color::Red,
        };
        let memory = node
            .index(names::PROCESS_RESIDENT.name)
            .map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        Row::new([
            Cell::from(node.info("node_id")),
            Cell::from(node.role()).style(Style::new().fg(colour)),
            Cell::from(number(node, names::RAFT_TERM.name)),
            Cell::from(number(node, names::RAFT_LAST_LOG_INDEX.name)),
            Cell::from(number(node, names::RAFT_COMMIT_INDEX.name)),
            Cell::from(number(node, names::RAFT_APPLIED_INDEX.name)),
            Cell::from(number(node, names::RAFT_SNAPSHOT_INDEX.name)),
            Cell::from(memory),
            Cell::from(node.url.clone()),
        ])
    });
    let widths = [5, 12, 6, 10, 10, 10, 10, 9].map(Constraint::Length).into_iter().chain([Constraint::Min(10)]);
    let header = Row::new(["node", "role", "term", "last", "committed", "applied", "snapshot", "memory", "metrics"]);
    Table::new(rows, widths).header(header.bold()).block(Block::bordered().title(" nodes "))
}

fn draw_lag(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let block = Block::bordered().title(" entries behind the newest commit ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = Layout::vertical(vec![Constraint::Length(1); watched.nodes.len()]).split(inner);
    for (node, row) in watched.nodes.iter().zip(rows.iter()) {
        let [name, line] = row.layout(&Layout::horizontal([Constraint::Length(16), Constraint::Min(1)]));
        let newest = node.lag.back().copied().unwrap_or_default();
        frame.render_widget(Line::from(format!("node {:<4} {newest:>5} ", node.info("node_id"))), name);
        frame.render_widget(sparkline(&node.lag, line.width), line);
    }
}

/// The newest, as many as there is room for.
fn sparkline(values: &VecDeque<u64>, width: u16) -> Sparkline<'static> {
    let skipped = values.len().saturating_sub(usize::from(width.saturating_sub(2)));
    Sparkline::default().data(values.iter().skip(skipped).copied().collect::<Vec<_>>())
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
             carrel_grpc_requests_total{{method=\"a\",code=\"OK\"}} {calls}\n\
             carrel_refusals_total{{reason=\"SEAT_TAKEN\"}} {taken}\n"
        ))
    }

    #[test]
    fn who_leads_who_lags_and_what_is_refused_can_be_read() {
        let urls = ["http://a/metrics", "http://b/metrics", "http://c/metrics"].map(ToOwned::to_owned);
        let mut watched = Watched::new(&urls);
        watched.saw_after(vec![scrape(1, 120, 10, 0), scrape(0, 120, 0, 0), None], None);
        let second = Some(Duration::from_secs(2));
        watched.saw_after(vec![scrape(1, 120, 110, 5), scrape(0, 20, 0, 0), None], second);
        let text = text(&watched);
        for said in [
            "node 7 leads in term 4, 1 of 3 voters may fail",
            "leader",
            "follower",
            "away",
            "calls: 50 a second",
            "2.5  SEAT_TAKEN",
        ] {
            assert!(text.contains(said), "{said} is missing:\n{text}");
        }
        assert_eq!(
            watched.nodes.iter().map(|node| node.lag.back().copied()).collect::<Vec<_>>(),
            [Some(0), Some(100), None]
        );
        watched.saw_after(vec![scrape(0, 120, 0, 0), None, None], second);
        assert!(super::text(&watched).contains("no node leads"), "and a counter that began anew is no rate");
        assert_eq!(watched.calls.back(), Some(&0));
    }
}
