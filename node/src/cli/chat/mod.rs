//! Writing with others as it happens: what was missed, then whatever comes, while one types.

mod said;
mod typed;
mod rows;
mod work;
mod lines;
mod screen;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Duration;

use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::inbox_item::Kind;
use carrel_proto::v1::watch_inbox_response::Event;
use clap::Subcommand;
use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tonic::Code;

use super::Output;
use super::context::{Context, print};
use super::errors::Failure;
use super::inbox::{self, Known};
use super::messages;
use super::names::short;
use super::table::{counted, words};
use lines::Lines;
use rows::Entry;
use said::Said;
use screen::Screen;
use work::{Heard, Job, RETRY, Refreshed, Work, end_of, item_of, listen, moment, refresh};

/// What is read is noted, and who writes looked up, no more often than this.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// What takes longer is shown to be under way.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nothing is repeated for longer: the cluster remembers the outcome of a request for 15 minutes.
const GIVE_UP: Duration = Duration::from_secs(10 * 60);
/// What is typed ahead of what cannot be sent yet.
const JOBS_MAX: usize = 64;
/// Whoever leaves waits no longer than this for what was read to be noted.
const PARTING: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write with others as it happens: conversations, what was missed, and whatever comes
    #[command(after_help = "\
What to type:
  >> ben: see you at ten         a message; to several: >> ben,cleo: see you
  /open ben                      the conversation with ben: what is typed then goes to him; /close ends it
  we close at eight              an announcement to all (librarians and admins), once Enter is pressed again
  /announce we close at eight    the same without being asked, for programs
  /list a*                       accounts whose name fits
  /conversations                 with whom you have written
  /delete 1207-0                 a message; with your name, /delete amy, your account
  /logout                        end the session
  /quit                          leave, and stay logged in

On a terminal it takes the whole screen: Tab opens the next conversation and Esc closes it, Up and Down bring back what
was typed, Page Up and Down look back, Ctrl-C leaves. A paste is one text, and nothing of it is sent before Enter.

At the end of its input it has shown what was missed, and has sent what it was given; what could not be done of that is
exit code 1. With --output json everything is a line of JSON, as of inbox --follow, send and messages.")]
    Chat {
        /// Line by line, also on a terminal
        #[arg(long)]
        plain: bool,
        /// Ask nothing: plain text is announced, /delete with your name deletes your account
        #[arg(long)]
        yes: bool,
    },
}

/// With whom one writes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Talk {
    /// All but oneself.
    participants: Vec<String>,
    with: String,
    /// The first line of what was written last.
    last: String,
    unread: i32,
}

/// What became of something that was typed, for people and for programs.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    document: Option<serde_json::Value>,
}

/// What somebody does.
#[derive(Debug)]
enum Input {
    Line(String),
    /// To the next conversation, or to the one before.
    Turn {
        forward: bool,
    },
    /// Out of the conversation, or out of a question.
    Back,
    /// All was typed: what is under way is waited for.
    End,
    /// At once.
    Leave,
}

/// Where it is shown and typed: a whole screen, or line by line.
trait Face {
    fn greet(&mut self, title: &str) -> Result<(), Failure>;
    /// `is_in_view`: the conversation that is open will show it.
    fn arrived(&mut self, response: &v1::WatchInboxResponse, entry: Entry, is_in_view: bool) -> Result<(), Failure>;
    fn answered(&mut self, answer: &Answer) -> Result<(), Failure>;
    fn refused(&mut self, failure: &Failure) -> Result<(), Failure>;
    /// What is under way or in the way; empty: nothing is.
    fn status(&mut self, status: &str) -> Result<(), Failure>;
    fn talks(&mut self, talks: &[Talk], was_asked_for: bool) -> Result<(), Failure>;
    /// The conversation that is looked at, if one is; `is_new`: as of now.
    fn opened(&mut self, with: Option<&str>, history: Vec<Entry>, is_new: bool) -> Result<(), Failure>;
    /// Puts back what was typed and could not be done.
    fn keep(&mut self, text: &str);
    /// Shows all that there is to see by now.
    fn draw(&mut self) -> Result<(), Failure>;
    /// What is done next. Nothing is lost if it is not waited for to the end.
    async fn typed(&mut self) -> Result<Input, Failure>;
}

pub(super) async fn run(context: &Context, Command::Chat { plain, yes }: Command) -> Result<(), Failure> {
    // All of this before the screen is taken, so that a no is seen.
    let client = context.client()?;
    let session = context.wait(client.get_session(v1::GetSessionRequest::default())).await?;
    let user = session.user.unwrap_or_default();
    let missed = inbox::every_item(context, &client, true).await?;
    let talks = context.wait(client.list_conversations(v1::ListConversationsRequest::default())).await?;
    let talks = talks.conversations.iter().map(Talk::of).collect();
    let mut chat = Chat {
        context,
        client,
        may_announce: matches!(user.role(), v1::Role::Librarian | v1::Role::Admin),
        user,
        asks: !yes && lines::can_be_asked(),
        is_sure: yes,
        here: TimeZone::system(),
        talks,
        open: None,
        is_opening: false,
        jobs: VecDeque::new(),
        tried_since: None,
        question: None,
        read_up_to: None,
        is_stale: false,
        undone: 0,
        ends: None,
        trouble: String::new(),
        silence: String::new(),
    };
    let here = chat.here.clone();
    let farewell = if !plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !context.is_json()
    {
        // The screen is gone before anything else is said.
        chat.go_on(Screen::open(here)?, missed).await?
    } else {
        let output = if context.is_json() { Output::Json } else { Output::Table };
        chat.go_on(Lines::open(output, here), missed).await?
    };
    if !farewell.is_empty() && !context.is_json() {
        print(&farewell)?;
    }
    chat.is_whole()
}

/// Asked before something is done that cannot be taken back.
#[derive(Debug, PartialEq)]
enum Question {
    Announce(String),
    DeleteAccount(String),
}

/// How it ends.
#[derive(Debug, PartialEq)]
enum End {
    /// Once everything that was typed is done.
    WhenDone,
    Now {
        farewell: String,
    },
}

struct Chat<'a> {
    context: &'a Context,
    client: Client,
    user: v1::User,
    may_announce: bool,
    /// Whether anybody is there to be asked, and whether nobody needs to be.
    asks: bool,
    is_sure: bool,
    here: TimeZone,
    talks: Vec<Talk>,
    open: Option<Vec<String>>,
    /// Its history was not shown yet.
    is_opening: bool,
    /// What was typed and is not done, in order; the first is under way.
    jobs: VecDeque<Job>,
    /// The first of them has been tried in vain since then.
    tried_since: Option<Instant>,
    question: Option<Question>,
    /// What was shown and is not noted as read.
    read_up_to: Option<String>,
    is_stale: bool,
    /// Lines that came to nothing.
    undone: i64,
    ends: Option<End>,
    /// Of what is typed, and of what is listened to.
    trouble: String,
    silence: String,
}

impl Chat<'_> {
    /// Until somebody leaves; what is to be said once the screen is gone.
    async fn go_on(&mut self, mut face: impl Face, missed: v1::ListInboxResponse) -> Result<String, Failure> {
        let role = words(self.user.role().as_str_name(), "ROLE_");
        face.greet(&format!("{} ({role}). /help says what to type.", short(&self.user.name)))?;
        face.talks(&self.talks, true)?;
        face.draw()?;
        let zones = self.context.zones_for_text().await.clone();
        let after = missed.resume_token;
        let of: Vec<&v1::InboxItem> = missed.items.iter().collect();
        let known = Known::of(&self.client, &zones, &of).await;
        let frame = |item: v1::InboxItem| {
            let resume_token = item.resume_token.clone();
            v1::WatchInboxResponse { event: Some(Event::Item(item)), resume_token }
        };
        self.arrived(&mut face, missed.items.into_iter().map(frame).collect(), &known)?;
        let mut heard = listen(&self.client, zones, after);
        let mut signals = Signals::new()?;
        let mut doing: Option<Work<Answer>> = None;
        let mut refreshing: Option<Work<Refreshed>> = None;
        let (mut do_at, mut refresh_at, mut slow_at) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            if doing.is_none() && Instant::now() >= do_at {
                let job = self.jobs.front().cloned();
                doing = job.map(|job| Box::pin(job.perform(self.client.clone())) as Work<Answer>);
                slow_at = Instant::now() + PATIENCE;
            }
            let is_due = self.is_stale || self.read_up_to.is_some();
            if refreshing.is_none() && is_due && Instant::now() >= refresh_at {
                self.is_stale = false;
                let (own_name, read_up_to) = (self.user.name.clone(), self.read_up_to.clone());
                refreshing = Some(Box::pin(refresh(self.client.clone(), own_name, read_up_to, self.open.clone())));
                refresh_at = Instant::now() + REFRESH_EVERY;
            }
            match &self.ends {
                Some(End::Now { farewell }) => {
                    let farewell = self.parting(farewell.clone());
                    self.note_read().await;
                    return Ok(farewell);
                }
                Some(End::WhenDone) if self.jobs.is_empty() => {
                    self.note_read().await;
                    return Ok(String::new());
                }
                Some(End::WhenDone) | None => {}
            }
            let is_slow = doing.is_some() && Instant::now() >= slow_at;
            face.status(match (self.trouble.as_str(), is_slow) {
                ("", true) => "Waiting for an answer.",
                ("", false) => &self.silence,
                (trouble, _) => trouble,
            })?;
            face.draw()?;
            let waits = [
                (doing.is_none() && !self.jobs.is_empty()).then_some(do_at),
                (refreshing.is_none() && is_due).then_some(refresh_at),
                (doing.is_some() && !is_slow).then_some(slow_at),
            ];
            let wakes = waits.into_iter().flatten().min();
            let takes_more = self.ends.is_none() && self.jobs.len() < JOBS_MAX;
            tokio::select! {
                Some(news) = heard.recv() => self.hear(&mut face, news)?,
                input = face.typed(), if takes_more => {
                    let input = input?;
                    if self.take(&mut face, input)? {
                        refresh_at = Instant::now();
                    }
                }
                done = end_of(&mut doing) => {
                    doing = None;
                    match self.done(&mut face, done)? {
                        Next::Goes => do_at = Instant::now(),
                        Next::Waits => do_at = Instant::now() + RETRY,
                    }
                    if self.is_stale {
                        refresh_at = Instant::now();
                    }
                }
                refreshed = end_of(&mut refreshing) => {
                    refreshing = None;
                    self.refreshed(&mut face, refreshed)?;
                }
                () = tokio::time::sleep_until(wakes.unwrap_or_else(Instant::now)), if wakes.is_some() => {}
                () = signals.end() => self.ends = Some(End::Now { farewell: String::new() }),
            }
        }
    }

    fn hear(&mut self, face: &mut impl Face, news: Heard) -> Result<(), Failure> {
        match news {
            Heard::Items(responses, known) => {
                self.silence.clear();
                self.is_stale = true;
                self.arrived(face, responses, &known)
            }
            Heard::Missed => {
                self.silence.clear();
                face.answered(&remark("Something was missed here: an inbox keeps its newest thousand items."))
            }
            Heard::Trouble(ClientError::Unreachable(_)) => {
                self.silence = "No node answers: nothing new can come, looking for one.".into();
                // Whose answer says that one does again.
                self.is_stale = true;
                Ok(())
            }
            // The end of a session that was asked for reaches its inbox before the answer comes.
            Heard::Trouble(_) if self.is_ending_session() => Ok(()),
            Heard::Trouble(refused) => Err(refused.into()),
        }
    }

    fn arrived(
        &mut self,
        face: &mut impl Face,
        responses: Vec<v1::WatchInboxResponse>,
        known: &Known,
    ) -> Result<(), Failure> {
        for response in responses {
            let Some(item) = item_of(&response) else { continue };
            let entry = Entry { at: moment(item.create_time.as_ref()), text: inbox::said(item, known, &self.here) };
            let is_in_view = item.kind() == Kind::Message
                && self.open.as_ref().is_some_and(|open| known.is_between(item, &self.user.name, open));
            face.arrived(&response, entry, is_in_view)?;
            // Only now: what could not be shown is not read.
            self.read_up_to = Some(response.resume_token);
        }
        Ok(())
    }

    /// Whether something is to be looked up at once.
    fn take(&mut self, face: &mut impl Face, input: Input) -> Result<bool, Failure> {
        match input {
            Input::Line(line) => self.line(face, &line),
            Input::Turn { forward } => {
                let count = self.talks.len();
                let now = self.talks.iter().position(|talk| Some(&talk.participants) == self.open.as_ref());
                let next = match (now, forward) {
                    (None, true) => 0,
                    (None, false) => count.saturating_sub(1),
                    (Some(now), true) => (now + 1) % count.max(1),
                    (Some(now), false) => (now + count.saturating_sub(1)) % count.max(1),
                };
                match self.talks.get(next).map(|talk| talk.participants.clone()) {
                    Some(participants) => self.look_at(face, participants),
                    None => face.answered(&remark("You have written with nobody yet: >> NAME: TEXT")).map(|()| false),
                }
            }
            Input::Back => {
                self.trouble.clear();
                if self.question.take().is_some() { Ok(false) } else { self.look_away(face).map(|()| false) }
            }
            Input::End => {
                self.ends = Some(End::WhenDone);
                Ok(false)
            }
            Input::Leave => {
                self.ends = Some(End::Now { farewell: String::new() });
                Ok(false)
            }
        }
    }

    fn line(&mut self, face: &mut impl Face, line: &str) -> Result<bool, Failure> {
        if self.tried_since.is_none() {
            self.trouble.clear();
        }
        match self.question.take() {
            Some(Question::Announce(text)) if line.trim().is_empty() || line.trim() == text => {
                self.jobs.push_back(Job::new(line.to_owned(), Said::ToAll(text)));
                return Ok(false);
            }
            Some(Question::DeleteAccount(name)) => {
                if line.trim() == short(&name) {
                    self.jobs.push_back(Job::new(line.to_owned(), Said::DeleteAccount(name)));
                    return Ok(false);
                }
                return face.answered(&remark("That is not your name: nothing was deleted.")).map(|()| false);
            }
            Some(Question::Announce(_)) | None => {}
        }
        match Said::read(line, &self.user.name) {
            Said::Nothing => {}
            Said::Unclear(problem) => self.not_done(face, line, Failure::Usage(problem))?,
            Said::Help => face.answered(&remark(said::HELP))?,
            Said::Quit => self.ends = Some(End::WhenDone),
            Said::Open(people) => return self.look_at(face, people),
            Said::Close => self.look_away(face)?,
            Said::Plain(text) => match &self.open {
                Some(open) if open.is_empty() => {
                    self.jobs.push_back(Job::new(line.to_owned(), Said::To(vec![self.user.name.clone()], text)));
                }
                Some(open) => self.jobs.push_back(Job::new(line.to_owned(), Said::To(open.clone(), text))),
                None => self.announce(face, line, text)?,
            },
            Said::DeleteAccount(name) if !self.is_sure => {
                if self.asks {
                    self.trouble = format!("Type {} once more to delete your account for good.", short(&name));
                    self.question = Some(Question::DeleteAccount(name));
                } else {
                    let why = "nobody is there to be asked whether to delete this account: say so with --yes";
                    self.not_done(face, line, Failure::Usage(why.into()))?;
                }
            }
            said => self.jobs.push_back(Job::new(line.to_owned(), said)),
        }
        Ok(false)
    }

    fn announce(&mut self, face: &mut impl Face, line: &str, text: String) -> Result<(), Failure> {
        if !self.may_announce {
            let why = "say to whom: >> NAME: TEXT, or /open NAME first; to all only librarians and admins announce";
            return self.not_done(face, line, Failure::Usage(why.into()));
        }
        if self.is_sure {
            self.jobs.push_back(Job::new(line.to_owned(), Said::ToAll(text)));
        } else if self.asks {
            self.trouble = "Announce this to everybody? Enter again does it.".into();
            face.keep(&text);
            self.question = Some(Question::Announce(text));
        } else {
            let why = "nobody is there to be asked whether this goes to everybody: write /announce TEXT, or say --yes";
            self.not_done(face, line, Failure::Usage(why.into()))?;
        }
        Ok(())
    }

    fn not_done(&mut self, face: &mut impl Face, line: &str, failure: Failure) -> Result<(), Failure> {
        self.undone += 1;
        face.keep(line);
        face.refused(&failure)
    }

    fn look_at(&mut self, face: &mut impl Face, mut participants: Vec<String>) -> Result<bool, Failure> {
        participants.retain(|name| *name != self.user.name);
        participants.sort();
        participants.dedup();
        face.opened(Some(&Talk::called(&participants)), Vec::new(), true)?;
        self.open = Some(participants);
        (self.is_opening, self.is_stale) = (true, true);
        Ok(true)
    }

    fn look_away(&mut self, face: &mut impl Face) -> Result<(), Failure> {
        self.open = None;
        face.opened(None, Vec::new(), true)
    }

    fn done(&mut self, face: &mut impl Face, done: Result<Answer, ClientError>) -> Result<Next, Failure> {
        let Some(job) = self.jobs.front() else { return Ok(Next::Goes) };
        match done {
            Err(ClientError::Unreachable(unreachable)) => {
                let since = *self.tried_since.get_or_insert_with(Instant::now);
                let failure = Failure::from(ClientError::Unreachable(unreachable));
                if self.ends.is_some() {
                    return Err(failure.advise_if_unreachable(&self.parting(String::new())));
                }
                if since.elapsed() < GIVE_UP {
                    self.trouble = format!("No node answers: not done yet, trying again: {}", job.typed.trim());
                    return Ok(Next::Waits);
                }
                let typed = job.typed.clone();
                self.not_done(face, &typed, failure)?;
            }
            Err(refused) => {
                let mut failure = Failure::from(refused);
                if let Said::To(recipients, _) = &job.said {
                    failure = messages::named(failure, recipients);
                }
                let typed = job.typed.clone();
                self.not_done(face, &typed, failure)?;
            }
            Ok(answer) => match &job.said {
                Said::LogOut | Said::DeleteAccount(_) => {
                    self.context.store.remove()?;
                    if self.context.is_json() {
                        face.answered(&answer)?;
                    }
                    self.read_up_to = None;
                    self.jobs.pop_front();
                    self.ends = Some(End::Now { farewell: answer.text });
                    return Ok(Next::Goes);
                }
                Said::To(recipients, _) => {
                    // The conversation that is open shows it among what was said there.
                    let is_in_view = self.open.as_ref().is_some_and(|open| {
                        let others: Vec<&String> = recipients.iter().filter(|name| **name != self.user.name).collect();
                        others.len() == open.len() && others.iter().all(|name| open.contains(name))
                    });
                    if !is_in_view || self.context.is_json() {
                        face.answered(&answer)?;
                    }
                    self.is_stale = true;
                }
                said => {
                    self.is_stale |= matches!(said, Said::DeleteMessage(_));
                    face.answered(&answer)?;
                }
            },
        }
        self.jobs.pop_front();
        self.tried_since = None;
        self.trouble.clear();
        Ok(Next::Goes)
    }

    fn refreshed(&mut self, face: &mut impl Face, refreshed: Result<Refreshed, ClientError>) -> Result<(), Failure> {
        match refreshed {
            Ok(Refreshed { read_up_to, talks, history }) => {
                self.silence.clear();
                if self.read_up_to == read_up_to {
                    self.read_up_to = None;
                }
                self.talks = talks;
                face.talks(&self.talks, false)?;
                if let Some((participants, history)) = history
                    && self.open.as_ref() == Some(&participants)
                {
                    let is_new = std::mem::take(&mut self.is_opening);
                    face.opened(Some(&Talk::called(&participants)), history, is_new)?;
                }
            }
            // Asked again with the next news, or in a second.
            Err(ClientError::Unreachable(_)) => self.is_stale = true,
            Err(_) if self.is_ending_session() => {}
            Err(refused) => face.refused(&refused.into())?,
        }
        Ok(())
    }

    fn is_ending_session(&self) -> bool {
        self.jobs.front().is_some_and(|job| matches!(job.said, Said::LogOut | Said::DeleteAccount(_)))
    }

    /// As far as anybody answers: what is read twice does no harm.
    async fn note_read(&mut self) {
        if let Some(resume_token) = self.read_up_to.take() {
            let read = v1::AdvanceReadCursorRequest { request_id: new_request_id(), resume_token };
            let _ = tokio::time::timeout(PARTING, self.client.advance_read_cursor(read)).await;
        }
    }

    /// What to say at the end, with what was not done.
    fn parting(&self, farewell: String) -> String {
        let undone = self.jobs.iter().map(|job| format!("Not known to be done: {}", job.typed.trim()));
        std::iter::once(farewell).filter(|line| !line.is_empty()).chain(undone).collect::<Vec<_>>().join("\n")
    }

    /// Whoever was not there to hear a no is told by the exit code.
    fn is_whole(&self) -> Result<(), Failure> {
        if self.undone == 0 || lines::can_be_asked() {
            return Ok(());
        }
        let message = format!("{} came to nothing, each with its reason above", counted(self.undone, "line", "lines"));
        Err(Failure::refused(Code::FailedPrecondition, "LINES_UNDONE", message))
    }
}

/// After something was tried.
enum Next {
    Goes,
    Waits,
}

fn remark(text: &str) -> Answer {
    Answer { text: text.to_owned(), document: None }
}

/// Whatever ends a process politely: the terminal is given back first.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listening = |source| Failure::Local { doing: "listening for signals".into(), source };
        let of = |kind| signal(kind).map_err(listening);
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
