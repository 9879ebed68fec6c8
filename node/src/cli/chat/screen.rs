//! The chat as a whole screen: with whom one writes on the left, what is said on the right, what is typed below.

use std::collections::VecDeque;
use std::io;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use super::{Face, Talk};
use crate::cli::errors::Failure;
use crate::cli::table::plain;

/// What was said longer ago is in the inbox.
const SAID_MAX: usize = 2_000;
/// More than a letter may have.
const TYPED_CHARS_MAX: usize = 4_200;
/// Keys that were pressed ahead of what is being done, a paste among them.
const KEYS_MAX: usize = 4_096;
const TALKS_COLUMNS: u16 = 28;
const SCROLL_ROWS: usize = 5;

/// What there is to see.
#[derive(Debug, Default)]
pub(super) struct Shown {
    title: String,
    talks: Vec<Talk>,
    said: VecDeque<String>,
    typed: String,
    /// Rows up from the newest.
    scrolled: usize,
}

/// What a key was pressed for.
#[derive(Debug, PartialEq)]
enum Pressed {
    Nothing,
    Line(String),
    Leave,
}

impl Shown {
    fn say(&mut self, text: &str) {
        self.said.extend(text.lines().map(ToOwned::to_owned));
        while self.said.len() > SAID_MAX {
            self.said.pop_front();
        }
    }

    fn press(&mut self, key: KeyEvent) -> Pressed {
        let is_held = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('c' | 'd') if is_held => return Pressed::Leave,
            KeyCode::Char('u') if is_held => self.typed.clear(),
            KeyCode::Char(_) if is_held => {}
            KeyCode::Char(letter) if self.typed.chars().count() < TYPED_CHARS_MAX => self.typed.push(letter),
            KeyCode::Backspace => {
                self.typed.pop();
            }
            KeyCode::PageUp => self.scrolled += SCROLL_ROWS,
            KeyCode::PageDown => self.scrolled = self.scrolled.saturating_sub(SCROLL_ROWS),
            KeyCode::Enter => {
                let line = std::mem::take(&mut self.typed);
                self.scrolled = 0;
                if !line.trim().is_empty() {
                    self.say(&plain(&format!("> {line}")));
                }
                return Pressed::Line(line);
            }
            _ => {}
        }
        Pressed::Nothing
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let rows = Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(3)]);
        let [head, middle, input] = frame.area().layout(&rows);
        frame.render_widget(Line::from(self.title.as_str()).bold(), head);
        let columns = Layout::horizontal([Constraint::Length(TALKS_COLUMNS), Constraint::Min(20)]);
        let [talks, said] = middle.layout(&columns);
        let lines: Vec<Line<'_>> = self.talks.iter().map(talk).collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" with ")), talks);

        let block = Block::bordered().title(" what is said ");
        let inner = block.inner(said);
        let rows: Vec<&str> = self.said.iter().flat_map(|line| wrapped(line, inner.width.into())).collect();
        let room = usize::from(inner.height);
        self.scrolled = self.scrolled.min(rows.len().saturating_sub(room));
        let end = rows.len() - self.scrolled;
        let seen = &rows[end.saturating_sub(room)..end];
        let lines: Vec<Line<'_>> = seen.iter().map(|row| Line::from(*row)).collect();
        frame.render_widget(Paragraph::new(lines).block(block), said);

        let block = Block::bordered().title(" >> NAME: TEXT, or /help ");
        let inner = block.inner(input);
        // The end of what is typed is what one looks at.
        let typed =
            wrapped(&self.typed, usize::from(inner.width).saturating_sub(1)).last().copied().unwrap_or_default();
        let column = u16::try_from(Span::raw(typed).width()).unwrap_or(inner.width);
        frame.render_widget(Paragraph::new(typed).block(block), input);
        frame.set_cursor_position((inner.x + column.min(inner.width.saturating_sub(1)), inner.y));
    }
}

fn talk(talk: &Talk) -> Line<'_> {
    let with = Span::raw(talk.with.as_str());
    match talk.unread {
        0 => Line::from(with),
        count => Line::from(vec![with.bold(), Span::raw(format!(" [{count}]")).bold()]),
    }
}

/// A line cut into rows that fit.
fn wrapped(line: &str, columns: usize) -> Vec<&str> {
    let mut rows = Vec::new();
    let (mut start, mut width) = (0, 0);
    for (place, letter) in line.char_indices() {
        let letter = &line[place..place + letter.len_utf8()];
        let wide = Span::raw(letter).width();
        if width + wide > columns.max(1) {
            rows.push(&line[start..place]);
            (start, width) = (place, 0);
        }
        width += wide;
    }
    rows.push(&line[start..]);
    rows
}

/// Has the terminal while it lives.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    shown: Shown,
    events: mpsc::Receiver<Event>,
}

impl Screen {
    pub(super) fn open() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(drawing)?;
        let (sender, events) = mpsc::channel(KEYS_MAX);
        // On a thread of its own, which nobody waits for: reading from a terminal cannot be called off.
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { terminal, shown: Shown::default(), events })
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.terminal.draw(|frame| self.shown.draw(frame)).map(drop).map_err(drawing)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn drawing(source: io::Error) -> Failure {
    Failure::Local { doing: "drawing on the terminal".into(), source }
}

impl Face for Screen {
    fn greet(&mut self, title: &str) -> Result<(), Failure> {
        self.shown.title = title.to_owned();
        self.draw()
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.shown.say(text);
        self.draw()
    }

    fn talks(&mut self, talks: Vec<Talk>, _was_asked_for: bool) -> Result<(), Failure> {
        self.shown.talks = talks;
        self.draw()
    }

    async fn typed(&mut self) -> Result<Option<String>, Failure> {
        loop {
            // Whatever this is dropped for, the next call goes on with what was typed.
            let Some(event) = self.events.recv().await else { return Ok(None) };
            if let Event::Key(key) = event {
                match self.shown.press(key) {
                    Pressed::Nothing => {}
                    Pressed::Leave => return Ok(None),
                    Pressed::Line(line) => {
                        self.draw()?;
                        return Ok(Some(line));
                    }
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

    fn seen(shown: &mut Shown) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 12)).expect("memory");
        terminal.draw(|frame| shown.draw(frame)).expect("memory");
        let cells = terminal.backend().buffer().content();
        let row = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
        cells.chunks(80).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn who_writes_what_is_said_and_what_is_typed_can_be_seen() {
        let talks = vec![Talk { with: "ben".into(), last: "hello".into(), unread: 2 }];
        let mut shown = Shown { title: "amy (patron)".into(), talks, ..Shown::default() };
        for number in 0..30 {
            shown.say(&format!("line {number}"));
        }
        shown.say(&"long ".repeat(30));
        for letter in ">> ben: see you".chars() {
            assert_eq!(shown.press(KeyEvent::from(KeyCode::Char(letter))), Pressed::Nothing);
        }
        let text = seen(&mut shown);
        for said in ["amy (patron)", "ben [2]", "line 29", "long long", ">> ben: see you"] {
            assert!(text.contains(said), "{said} is missing:\n{text}");
        }
        assert!(!text.contains("line 1 "), "what is old has gone up:\n{text}");
        (0..20).for_each(|_| {
            shown.press(KeyEvent::from(KeyCode::PageUp));
        });
        assert!(seen(&mut shown).contains("line 0"), "and comes back");
        assert_eq!(shown.press(KeyEvent::from(KeyCode::Enter)), Pressed::Line(">> ben: see you".into()));
        let text = seen(&mut shown);
        assert!(text.contains("> >> ben: see you") && !text.contains("line 0 "), "{text}");
        let leave = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(shown.press(leave), Pressed::Leave);
    }

    #[test]
    fn rows_are_cut_by_what_they_take_on_the_screen() {
        assert_eq!(wrapped("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrapped("座位座位", 5), ["座位", "座位"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn a_tiny_terminal_is_no_trouble() {
        for (columns, rows) in [(1, 1), (10, 3), (30, 2)] {
            let mut shown = Shown { typed: "typed".into(), ..Shown::default() };
            shown.say("said");
            let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory");
            terminal.draw(|frame| shown.draw(frame)).expect("memory");
        }
    }
}
