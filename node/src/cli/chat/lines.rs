//! The chat line by line: for files, pipes, programs, and people who read by ear.

use std::io::{BufRead, IsTerminal, Write};

use carrel_proto::v1;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::rows::Entry;
use super::{Answer, Face, Input, Talk};
use crate::cli::Output;
use crate::cli::context::print;
use crate::cli::errors::Failure;
use crate::cli::json;
use crate::cli::table::{counted, plain};

/// Lines that were typed, or piped, ahead of what is being done.
const LINES_MAX: usize = 16;

pub(super) struct Lines {
    typed: mpsc::Receiver<String>,
    output: Output,
    here: TimeZone,
    /// Under which things were told last.
    date: String,
    status: String,
}

impl Lines {
    /// On a thread of its own, which nobody waits for: reading from a terminal cannot be called off.
    pub(super) fn open(output: Output, here: TimeZone) -> Self {
        let (lines, typed) = mpsc::channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { typed, output, here, date: String::new(), status: String::new() }
    }

    fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    fn tell(&mut self, entry: &Entry) -> Result<(), Failure> {
        let date = entry.date(&self.here);
        if date != self.date {
            print(&format!("– {date} –"))?;
            self.date = date;
        }
        // What follows a line feed is indented, so that nobody's message looks like another.
        print(&plain(&format!("{} {}", entry.clock(&self.here), entry.text.replace('\n', "\n      "))))
    }
}

impl Face for Lines {
    fn greet(&mut self, title: &str) -> Result<(), Failure> {
        if self.is_json() { Ok(()) } else { print(title) }
    }

    fn arrived(&mut self, response: &v1::WatchInboxResponse, entry: Entry, _: bool) -> Result<(), Failure> {
        if self.is_json() { print(&json::document(response).to_string()) } else { self.tell(&entry) }
    }

    fn answered(&mut self, answer: &Answer) -> Result<(), Failure> {
        match &answer.document {
            Some(document) if self.is_json() => print(&document.to_string()),
            None if self.is_json() => Ok(()),
            _ if answer.text.is_empty() => Ok(()),
            _ => print(&plain(&answer.text)),
        }
    }

    fn refused(&mut self, failure: &Failure) -> Result<(), Failure> {
        failure.report(self.output);
        Ok(())
    }

    fn status(&mut self, status: &str) -> Result<(), Failure> {
        if self.status != status {
            status.clone_into(&mut self.status);
            if !status.is_empty() && !self.is_json() {
                // A remark that nobody can read is no reason to fail.
                let _ = writeln!(anstream::stderr(), "{}", plain(status));
            }
        }
        Ok(())
    }

    fn talks(&mut self, talks: &[Talk], was_asked_for: bool) -> Result<(), Failure> {
        for Talk { with, last, unread, .. } in talks.iter().filter(|_| was_asked_for && !self.is_json()) {
            let unread = match unread {
                0 => String::new(),
                count => format!("  [{}]", counted((*count).into(), "unread", "unread")),
            };
            print(&plain(&format!("  {with}: {last}{unread}")))?;
        }
        Ok(())
    }

    fn opened(&mut self, with: Option<&str>, history: Vec<Entry>, is_new: bool) -> Result<(), Failure> {
        if let Some(with) = with.filter(|_| is_new && !self.is_json()) {
            print(&plain(&format!("With {with}; what you type goes there, until /close:")))?;
            history.iter().try_for_each(|entry| self.tell(entry))?;
        }
        Ok(())
    }

    fn keep(&mut self, _: &str) {}

    fn draw(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn typed(&mut self) -> Result<Input, Failure> {
        Ok(self.typed.recv().await.map_or(Input::End, Input::Line))
    }
}

/// Whether somebody is there to be asked.
pub(super) fn can_be_asked() -> bool {
    std::io::stdin().is_terminal()
}
