//! The line that is being typed: a cursor in it, those that were typed before, and what is pasted as one text.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// More than a letter may have.
const TYPED_CHARS_MAX: usize = 4_200;
/// Lines to go back to.
const HISTORY_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Typed {
    text: String,
    /// Where the next letter goes, in bytes.
    cursor: usize,
    history: VecDeque<String>,
    /// How far back in the history, and what was typed before one looked there.
    looking: Option<(usize, String)>,
}

/// What a key was pressed for.
#[derive(Debug, PartialEq)]
pub(super) enum Pressed {
    Nothing,
    Line(String),
    /// To the next conversation, or to the one before.
    Turn {
        forward: bool,
    },
    /// Out of whatever one is in.
    Back,
    Scroll {
        up: bool,
    },
    Leave,
}

impl Typed {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub(super) fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Puts a text back that could not be sent, unless something else is being typed by now.
    pub(super) fn keep(&mut self, text: &str) {
        if self.text.is_empty() {
            self.replace(text.to_owned());
        }
    }

    /// A paste is one text, whatever line breaks are in it: nothing of it is sent before Enter.
    pub(super) fn paste(&mut self, pasted: &str) {
        let pasted = pasted.replace("\r\n", "\n").replace('\r', "\n");
        let harmless = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
        pasted.chars().filter(harmless).for_each(|letter| self.insert(letter));
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Pressed {
        let is_held = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('c' | 'd') if is_held => return Pressed::Leave,
            KeyCode::Char('u') if is_held => {
                self.text.replace_range(..self.cursor, "");
                self.cursor = 0;
            }
            KeyCode::Char('k') if is_held => self.text.truncate(self.cursor),
            KeyCode::Char('w') if is_held => self.remove_word(),
            KeyCode::Char('a') if is_held => self.cursor = 0,
            KeyCode::Char('e') if is_held => self.cursor = self.text.len(),
            KeyCode::Char(_) if is_held => {}
            KeyCode::Char(letter) => self.insert(letter),
            KeyCode::Backspace => {
                if let Some(letter) = self.text[..self.cursor].chars().next_back() {
                    self.cursor -= letter.len_utf8();
                    self.text.remove(self.cursor);
                }
            }
            KeyCode::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            KeyCode::Left => {
                self.cursor -= self.text[..self.cursor].chars().next_back().map_or(0, char::len_utf8);
            }
            KeyCode::Right => {
                self.cursor += self.text[self.cursor..].chars().next().map_or(0, char::len_utf8);
            }
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Up => self.look(true),
            KeyCode::Down => self.look(false),
            KeyCode::Tab => return Pressed::Turn { forward: true },
            KeyCode::BackTab => return Pressed::Turn { forward: false },
            KeyCode::Esc => return Pressed::Back,
            KeyCode::PageUp => return Pressed::Scroll { up: true },
            KeyCode::PageDown => return Pressed::Scroll { up: false },
            KeyCode::Enter => return Pressed::Line(self.enter()),
            _ => {}
        }
        Pressed::Nothing
    }

    fn enter(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        (self.cursor, self.looking) = (0, None);
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        line
    }

    fn insert(&mut self, letter: char) {
        if self.text.chars().count() < TYPED_CHARS_MAX {
            self.text.insert(self.cursor, letter);
            self.cursor += letter.len_utf8();
        }
    }

    fn remove_word(&mut self) {
        let before = self.text[..self.cursor].trim_end();
        let start = before
            .rfind(char::is_whitespace)
            .map_or(0, |space| space + before[space..].chars().next().map_or(0, char::len_utf8));
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }

    fn replace(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    fn look(&mut self, back: bool) {
        let (now, typed) = match self.looking.take() {
            Some((steps, typed)) => (steps, typed),
            None => (0, self.text.clone()),
        };
        let steps = if back { (now + 1).min(self.history.len()) } else { now.saturating_sub(1) };
        match steps.checked_sub(1).and_then(|ago| self.history.iter().rev().nth(ago)).cloned() {
            Some(line) => {
                self.replace(line);
                self.looking = Some((steps, typed));
            }
            None => self.replace(typed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Typed {
        let mut typed = Typed::default();
        typed.paste(text);
        typed
    }

    fn press(typed: &mut Typed, codes: &[KeyCode]) {
        for &code in codes {
            assert_eq!(typed.press(KeyEvent::from(code)), Pressed::Nothing);
        }
    }

    #[test]
    fn a_paste_is_one_text_and_sends_nothing() {
        let mut typed = typed("one\r\ntwo\rthree\x1b[31m\n");
        assert_eq!(typed.text(), "one\ntwo\nthree[31m\n");
        assert_eq!(typed.press(KeyEvent::from(KeyCode::Enter)), Pressed::Line("one\ntwo\nthree[31m\n".into()));
        assert_eq!(typed.text(), "");
        typed.paste(&"x".repeat(10_000));
        assert_eq!(typed.text().len(), TYPED_CHARS_MAX);
    }

    #[test]
    fn a_line_is_mended_in_the_middle() {
        let mut typed = typed("säe you");
        press(&mut typed, &[KeyCode::Home, KeyCode::Right, KeyCode::Delete, KeyCode::Char('e'), KeyCode::Backspace]);
        assert_eq!((typed.text(), typed.before_cursor()), ("se you", "s"));
        press(&mut typed, &[KeyCode::Char('e'), KeyCode::End, KeyCode::Left, KeyCode::Left]);
        assert_eq!(typed.before_cursor(), "see y");
        typed.press(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::CONTROL));
        assert_eq!((typed.text(), typed.before_cursor()), ("see ou", "see "));
        press(&mut typed, &[KeyCode::Home, KeyCode::Left, KeyCode::Backspace]);
        typed.press(KeyEvent::new(KeyCode::Char('k'), KeyModifiers::CONTROL));
        assert_eq!(typed.text(), "");
    }

    #[test]
    fn what_was_typed_before_can_be_had_again() {
        let mut typed = Typed::default();
        for line in ["one", "two"] {
            typed.paste(line);
            typed.press(KeyEvent::from(KeyCode::Enter));
        }
        typed.paste("thr");
        press(&mut typed, &[KeyCode::Up]);
        assert_eq!(typed.text(), "two");
        press(&mut typed, &[KeyCode::Up, KeyCode::Up]);
        assert_eq!(typed.text(), "one");
        press(&mut typed, &[KeyCode::Down, KeyCode::Down, KeyCode::Down]);
        assert_eq!(typed.text(), "thr", "and what was under way is not lost");
        typed.keep("other");
        assert_eq!(typed.text(), "thr");
    }
}
