//! The chat as a whole screen: with whom one writes on the left, what is said on the right, what is typed below.

use std::collections::VecDeque;
use std::io;

use jiff::tz::TimeZone;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use ratatui::crossterm::execute;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use super::rows::{Entry, last_rows, wrapped};
use super::typed::{Pressed, Typed};
use super::{Answer, Face, Input, Talk};
use crate::cli::errors::Failure;
use crate::cli::table::plain;

/// What was said longer ago is in the inbox.
const SAID_MAX: usize = 2_000;
/// Keys that were pressed ahead of what is being done.
const KEYS_MAX: usize = 4_096;
const TALKS_COLUMNS: u16 = 28;
/// A narrower screen has room for what is said alone.
const COLUMNS_FOR_TALKS: u16 = 64;
/// A lower one has none for lines around it.
const ROWS_FOR_BORDERS: u16 = 14;
const INPUT_ROWS_MAX: usize = 6;
const SCROLL_ROWS: usize = 5;

/// What there is to see.
#[derive(Debug)]
pub(super) struct Shown {
    title: String,
    /// What is under way or in the way; nothing most of the time.
    status: String,
    talks: Vec<Talk>,
    /// Everything, in the order in which it came.
    feed: VecDeque<Entry>,
    open: Option<Open>,
    typed: Typed,
    /// Rows up from the newest.
    scrolled: usize,
    here: TimeZone,
}

/// The conversation that one looks at.
#[derive(Debug)]
struct Open {
    with: String,
    history: Vec<Entry>,
    /// What else was said while it was open: answers, notices, letters of others.
    beside: Vec<Entry>,
}

impl Shown {
    fn new(here: TimeZone) -> Self {
        Self {
            title: String::new(),
            status: String::new(),
            talks: Vec::new(),
            feed: VecDeque::new(),
            open: None,
            typed: Typed::default(),
            scrolled: 0,
            here,
        }
    }

    fn say(&mut self, entry: Entry) {
        if let Some(open) = &mut self.open {
            open.beside.push(entry.clone());
            let too_many = open.beside.len().saturating_sub(SAID_MAX);
            open.beside.drain(..too_many);
        }
        self.hear(entry);
    }

    /// Not beside the conversation that is open.
    fn hear(&mut self, entry: Entry) {
        self.feed.push_back(entry);
        while self.feed.len() > SAID_MAX {
            self.feed.pop_front();
        }
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let is_bordered = area.height >= ROWS_FOR_BORDERS && area.width >= COLUMNS_FOR_TALKS;
        let (prompt, frame_rows) = if is_bordered { ("", 2) } else { ("> ", 0) };
        let typed_columns = usize::from(area.width).saturating_sub(frame_rows + prompt.len() + 1).max(1);
        let typed_rows: Vec<String> =
            self.typed.text().split('\n').flat_map(|line| wrapped(line, typed_columns)).collect();
        let input_rows = typed_rows.len().clamp(1, INPUT_ROWS_MAX) + frame_rows;
        let status_rows = u16::from(!self.status.is_empty());
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(status_rows),
            Constraint::Length(u16::try_from(input_rows).unwrap_or(u16::MAX)),
        ]);
        let [head, middle, status, input] = area.layout(&rows);
        frame.render_widget(self.headline(is_bordered), head);
        frame.render_widget(Line::from(self.status.as_str()).bold(), status);
        self.draw_input(frame, input, is_bordered, prompt, typed_columns);
        if is_bordered {
            let columns = Layout::horizontal([Constraint::Length(TALKS_COLUMNS), Constraint::Min(20)]);
            let [talks, said] = middle.layout(&columns);
            self.draw_talks(frame, talks);
            let title = self.open.as_ref().map_or_else(|| " everything ".to_owned(), |open| format!(" {} ", open.with));
            let block = Block::bordered().title(title);
            let inner = block.inner(said);
            frame.render_widget(block, said);
            self.draw_said(frame, inner);
        } else {
            self.draw_said(frame, middle);
        }
    }

    /// Who one is, with whom one writes where nothing else says it, and what is unread elsewhere.
    fn headline(&self, is_bordered: bool) -> Line<'static> {
        let title = match &self.open {
            Some(open) if !is_bordered => format!("with {}", open.with),
            _ => self.title.clone(),
        };
        let unread: i32 = self.talks.iter().map(|talk| talk.unread).sum();
        let unread = if is_bordered || unread == 0 { String::new() } else { format!(" [{unread} unread]") };
        Line::from(format!("{title}{unread}")).bold()
    }

    fn draw_talks(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered().title(" with ");
        let room = usize::from(area.height.saturating_sub(2));
        let of_open = |talk: &Talk| self.open.as_ref().is_some_and(|open| open.with == talk.with);
        // The one that is open can be seen, however many there are.
        let first = self.talks.iter().position(of_open).map_or(0, |open| (open + 1).saturating_sub(room));
        let columns = usize::from(area.width.saturating_sub(2));
        let lines: Vec<Line<'_>> = self
            .talks
            .iter()
            .skip(first)
            .take(room)
            .map(|talk| {
                let unread = if talk.unread == 0 { String::new() } else { format!(" [{}]", talk.unread) };
                let name = shortened(&talk.with, columns.saturating_sub(unread.len()));
                let line = Line::from(format!("{name}{unread}"));
                let line = if talk.unread > 0 { line.bold() } else { line };
                if of_open(talk) { line.reversed() } else { line }
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }

    fn draw_said(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let (columns, room) = (usize::from(area.width), usize::from(area.height));
        let rows = |wanted: usize| match &self.open {
            Some(open) => {
                let mut all: Vec<&Entry> = open.history.iter().chain(&open.beside).collect();
                all.sort_by_key(|entry| entry.at);
                last_rows(all.into_iter(), &self.here, columns, wanted)
            }
            None => last_rows(self.feed.iter(), &self.here, columns, wanted),
        };
        let seen = rows(room + self.scrolled);
        // Nobody scrolls up beyond the first.
        let scrolled = self.scrolled.min(seen.len().saturating_sub(room));
        let end = seen.len() - scrolled;
        let lines: Vec<Line<'_>> =
            seen[end.saturating_sub(room)..end].iter().map(|row| Line::from(row.as_str())).collect();
        frame.render_widget(Paragraph::new(lines), area);
        self.scrolled = scrolled;
    }

    fn draw_input(&self, frame: &mut Frame<'_>, area: Rect, is_bordered: bool, prompt: &str, columns: usize) {
        let to = match &self.open {
            Some(open) => format!(" to {} (Esc: to all) ", open.with),
            None => " >> NAME: TEXT, or /help ".to_owned(),
        };
        let inner = if is_bordered {
            let block = Block::bordered().title(to);
            let inner = block.inner(area);
            frame.render_widget(block, area);
            inner
        } else {
            area
        };
        let rows_of =
            |text: &str| -> Vec<String> { text.split('\n').flat_map(|line| wrapped(line, columns)).collect() };
        let typed = rows_of(self.typed.text());
        let before = rows_of(self.typed.before_cursor());
        // The cursor is what one looks at: a word that is broken further on may stand a row lower in the whole.
        let cursor_row = before.len().saturating_sub(1).min(typed.len().saturating_sub(1));
        let first = (cursor_row + 1).saturating_sub(usize::from(inner.height).max(1));
        let lines: Vec<Line<'_>> = typed
            .iter()
            .enumerate()
            .skip(first)
            .map(|(nth, row)| {
                let prompt = if nth == 0 { prompt.to_owned() } else { " ".repeat(prompt.len()) };
                Line::from(format!("{prompt}{row}"))
            })
            .collect();
        frame.render_widget(Paragraph::new(lines), inner);
        let column = prompt.len() + before.last().map_or(0, |row| Span::raw(row.as_str()).width());
        let column = u16::try_from(column).unwrap_or(u16::MAX).min(inner.width.saturating_sub(1));
        let row = u16::try_from(cursor_row - first).unwrap_or(0);
        frame.set_cursor_position((inner.x + column, inner.y + row));
    }
}

/// With its end left out if there is no room for it.
fn shortened(text: &str, columns: usize) -> String {
    if Span::raw(text).width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if Span::raw(kept.as_str()).width() >= columns {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

/// Has the terminal while it lives.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    shown: Shown,
    events: mpsc::Receiver<Event>,
}

impl Screen {
    pub(super) fn open(here: TimeZone) -> Result<Self, Failure> {
        // Its hook for a panic gives the terminal back; ours, which runs before it, takes back what it knows nothing
        // of.
        let terminal = ratatui::try_init().map_err(drawing)?;
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = execute!(io::stdout(), DisableBracketedPaste);
            earlier(panic);
        }));
        let (sender, events) = mpsc::channel(KEYS_MAX);
        let screen = Self { terminal, shown: Shown::new(here), events };
        // A terminal that does not know it pastes as it always has.
        execute!(io::stdout(), EnableBracketedPaste).map_err(drawing)?;
        // On a thread of its own, which nobody waits for: reading from a terminal cannot be called off.
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever has hung up has taken the terminal along.
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

fn drawing(source: io::Error) -> Failure {
    Failure::Local { doing: "drawing on the terminal".into(), source }
}

impl Face for Screen {
    fn greet(&mut self, title: &str) -> Result<(), Failure> {
        title.clone_into(&mut self.shown.title);
        Ok(())
    }

    fn arrived(
        &mut self,
        _: &carrel_proto::v1::WatchInboxResponse,
        entry: Entry,
        is_in_view: bool,
    ) -> Result<(), Failure> {
        if is_in_view {
            self.shown.hear(entry);
        } else {
            self.shown.say(entry);
        }
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) -> Result<(), Failure> {
        if !answer.text.is_empty() {
            self.shown.say(Entry::now(&plain(&answer.text)));
        }
        Ok(())
    }

    fn refused(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.shown.say(Entry::now(&plain(&failure.told())));
        Ok(())
    }

    fn status(&mut self, status: &str) -> Result<(), Failure> {
        plain(status).clone_into(&mut self.shown.status);
        Ok(())
    }

    fn talks(&mut self, talks: &[Talk], _: bool) -> Result<(), Failure> {
        self.shown.talks = talks.to_vec();
        Ok(())
    }

    fn opened(&mut self, with: Option<&str>, history: Vec<Entry>, is_new: bool) -> Result<(), Failure> {
        self.shown.open = match (with, self.shown.open.take()) {
            (Some(with), Some(open)) if open.with == with && !is_new => Some(Open { history, ..open }),
            (Some(with), _) => Some(Open { with: with.to_owned(), history, beside: Vec::new() }),
            (None, _) => None,
        };
        if is_new {
            self.shown.scrolled = 0;
        }
        Ok(())
    }

    fn keep(&mut self, text: &str) {
        self.shown.typed.keep(text);
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.terminal.draw(|frame| self.shown.draw(frame)).map(drop).map_err(drawing)
    }

    async fn typed(&mut self) -> Result<Input, Failure> {
        loop {
            // Whatever this is dropped for, the next call goes on with what was typed.
            let Some(event) = self.events.recv().await else { return Ok(Input::Leave) };
            let pressed = match event {
                Event::Key(key) => self.shown.typed.press(key),
                Event::Paste(text) => {
                    self.shown.typed.paste(&text);
                    Pressed::Nothing
                }
                _ => Pressed::Nothing,
            };
            match pressed {
                Pressed::Nothing => {}
                Pressed::Scroll { up: true } => self.shown.scrolled += SCROLL_ROWS,
                Pressed::Scroll { up: false } => self.shown.scrolled = self.shown.scrolled.saturating_sub(SCROLL_ROWS),
                Pressed::Leave => return Ok(Input::Leave),
                Pressed::Back => return Ok(Input::Back),
                Pressed::Turn { forward } => return Ok(Input::Turn { forward }),
                Pressed::Line(line) => {
                    self.shown.scrolled = 0;
                    return Ok(Input::Line(line));
                }
            }
            self.draw()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn seen_at(shown: &mut Shown, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory");
        terminal.draw(|frame| shown.draw(frame)).expect("memory");
        let cells = terminal.backend().buffer().content();
        let row = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
        cells.chunks(columns.into()).map(row).collect::<Vec<_>>().join("\n")
    }

    fn entry(minute: i64, text: &str) -> Entry {
        Entry { at: jiff::Timestamp::from_second(1_800_000_000 + minute * 60).expect("an instant"), text: text.into() }
    }

    fn full() -> Shown {
        let talk = |with: &str, unread| Talk { with: with.into(), unread, ..Talk::default() };
        let mut shown = Shown::new(TimeZone::UTC);
        shown.title = "amy (patron)".into();
        shown.talks = vec![talk("ben", 2), talk("cleo, dan", 0)];
        for number in 0..30 {
            shown.say(entry(number, &format!("line {number}")));
        }
        shown.say(entry(30, &"long ".repeat(30)));
        shown.say(entry(31, "the newest"));
        shown.typed.paste(">> ben: see you");
        shown
    }

    #[test]
    fn who_writes_what_is_said_and_what_is_typed_can_be_seen() {
        let mut shown = full();
        let text = seen_at(&mut shown, 80, 24);
        for said in [
            "amy (patron)",
            "ben [2]",
            "cleo, dan",
            "08:29 line 29",
            "08:30 long long",
            "the newest",
            ">> ben: see you",
        ] {
            assert!(text.contains(said), "{said} is missing:\n{text}");
        }
        assert!(
            !text.contains("line 1 ") && !text.contains("lon "),
            "old rows have gone up, no word is broken:\n{text}"
        );
        shown.scrolled = 1_000;
        let text = seen_at(&mut shown, 80, 24);
        assert!(text.contains("line 0") && text.contains("2027-01-15"), "and come back, under their date:\n{text}");
    }

    #[test]
    fn a_small_screen_keeps_what_is_said_and_lets_the_names_go() {
        let mut shown = full();
        shown.status = "trying again".into();
        let text = seen_at(&mut shown, 40, 10);
        for said in ["amy (patron) [2 unread]", "the newest", "trying again", "> >> ben: see you"] {
            assert!(text.contains(said), "{said} is missing:\n{text}");
        }
        assert!(!text.contains("cleo"), "{text}");
        shown.typed.paste(&"\nanother line of a paste".repeat(9));
        let text = seen_at(&mut shown, 40, 10);
        assert!(text.contains("the newest") && text.contains("another line"), "{text}");
    }

    #[test]
    fn a_conversation_is_seen_alone_with_what_is_answered_in_it() {
        let mut shown = full();
        shown.open = Some(Open { with: "ben".into(), history: vec![entry(50, "ben: hello")], beside: Vec::new() });
        shown.say(entry(51, "No account fits."));
        shown.hear(entry(52, "ben: hello"));
        let text = seen_at(&mut shown, 80, 24);
        assert!(text.contains("08:50 ben: hello") && text.contains("08:51 No account fits."), "{text}");
        assert!(!text.contains("line 29") && !text.contains("08:52") && text.contains("to ben"), "{text}");
    }

    #[test]
    fn a_tiny_terminal_is_no_trouble() {
        for (columns, rows) in [(1, 1), (10, 3), (30, 2), (64, 14), (200, 3)] {
            seen_at(&mut full(), columns, rows);
        }
    }
}
