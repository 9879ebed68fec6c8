//! Writing with others as it happens: what was missed, then whatever comes, while one types.

mod screen;

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use carrel_proto::client::{Client, News, Options, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::watch_inbox_response::Event;
use clap::Subcommand;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::context::{Context, print};
use super::errors::Failure;
use super::inbox;
use super::names::{self, short};
use super::pages::PAGE_SIZE;
use super::table::{counted, plain, words};
use screen::Screen;

/// Someone who chats would rather wait through a restart of the whole cluster than start again.
const CHAT_DEADLINE: Duration = Duration::from_secs(60);
/// Lines that were typed, or piped, ahead of what is being done.
const LINES_MAX: usize = 16;
/// Names that one list shows.
const NAMES_SHOWN_MAX: usize = 200;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write with others as it happens: conversations, what was missed, and whatever comes
    #[command(after_help = "\
What to type:
  >> ben: see you at ten         a message; to several: >> ben,cleo: see you
  we close at eight              an announcement to all (librarians and admins)
  /list a*                       accounts whose name fits
  /conversations                 with whom you have written
  /delete 1207-0                 a message; with your name, /delete amy, your account
  /logout                        end the session
  /quit                          leave, and stay logged in

On a terminal it takes the whole screen: Page Up and Down look back, Ctrl-U clears the line, Ctrl-C leaves.")]
    Chat {
        /// Line by line, also on a terminal
        #[arg(long)]
        plain: bool,
    },
}

/// What was typed.
#[derive(Debug, PartialEq)]
enum Said {
    Nothing,
    To(Vec<String>, String),
    ToAll(String),
    List(String),
    Conversations,
    DeleteMessage(String),
    DeleteAccount(String),
    LogOut,
    Quit,
    Help,
    /// With what is wrong.
    Unclear(String),
}

impl Said {
    fn read(line: &str, own_name: &str) -> Said {
        let line = line.trim();
        if let Some(letter) = line.strip_prefix(">>") {
            let Some((people, text)) = letter.split_once(':') else {
                return Said::Unclear("say to whom and what: >> ben: see you at ten".into());
            };
            let people = people.split(',').map(|name| names::user(name.trim())).collect::<Result<Vec<_>, _>>();
            return match people {
                Ok(people) if !text.trim().is_empty() => Said::To(people, text.trim().to_owned()),
                Ok(_) => Said::Unclear("say something after the colon".into()),
                Err(problem) => Said::Unclear(problem),
            };
        }
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Said::Nothing } else { Said::ToAll(line.to_owned()) };
        };
        let (command, rest) = command.split_once(' ').map_or((command, ""), |(command, rest)| (command, rest.trim()));
        match (command, rest) {
            ("list", glob) => Said::List(glob.to_owned()),
            ("conversations", "") => Said::Conversations,
            ("delete", name) if name == short(own_name) => Said::DeleteAccount(own_name.to_owned()),
            ("delete", message) => match names::message(message) {
                Ok(message) => Said::DeleteMessage(message),
                Err(problem) => Said::Unclear(problem),
            },
            ("logout", "") => Said::LogOut,
            ("quit", "") => Said::Quit,
            ("help", "") => Said::Help,
            _ => Said::Unclear(format!("nobody knows /{command} {rest}: /help says what there is")),
        }
    }
}

/// With whom one writes.
#[derive(Debug, PartialEq)]
struct Talk {
    with: String,
    /// The first line of what was written last.
    last: String,
    unread: i32,
}

/// Where it is shown and typed: a whole screen, or line by line for files, pipes and people who read by ear.
trait Face {
    fn greet(&mut self, title: &str) -> Result<(), Failure>;
    fn say(&mut self, text: &str) -> Result<(), Failure>;
    fn talks(&mut self, talks: Vec<Talk>, was_asked_for: bool) -> Result<(), Failure>;
    /// The next line; none: whoever typed has left. Nothing is lost if it is not waited for to the end.
    async fn typed(&mut self) -> Result<Option<String>, Failure>;
}

struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// On a thread of its own, which nobody waits for: reading from a terminal cannot be called off.
    fn open() -> Self {
        let (lines, receiver) = mpsc::channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

impl Face for Lines {
    fn greet(&mut self, title: &str) -> Result<(), Failure> {
        print(title)
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        print(text)
    }

    fn talks(&mut self, talks: Vec<Talk>, was_asked_for: bool) -> Result<(), Failure> {
        for Talk { with, last, unread } in talks.iter().filter(|_| was_asked_for) {
            let unread = match unread {
                0 => String::new(),
                count => format!("  [{}]", counted((*count).into(), "unread", "unread")),
            };
            print(&plain(&format!("  {with}: {last}{unread}")))?;
        }
        Ok(())
    }

    async fn typed(&mut self) -> Result<Option<String>, Failure> {
        Ok(self.0.recv().await)
    }
}

pub(super) async fn run(context: &Context, Command::Chat { plain }: Command) -> Result<(), Failure> {
    // Before the screen is taken, so that a no is seen.
    let client = context.client()?;
    let session = context.wait(client.get_session(v1::GetSessionRequest::default())).await?;
    let user = session.user.unwrap_or_default();
    if !plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        chat(context, &client, &user, Screen::open()?).await
    } else {
        chat(context, &client, &user, Lines::open()).await
    }
}

async fn chat(context: &Context, client: &Client, user: &v1::User, mut face: impl Face) -> Result<(), Failure> {
    let here = TimeZone::system();
    let role = words(user.role().as_str_name(), "ROLE_");
    face.greet(&format!("{} ({role}). /help says what to type.", short(&user.name)))?;
    face.talks(talks(context, client).await?, true)?;
    // From what is unread on, so that nothing falls between what was missed and what comes.
    let patient = Options { deadline: CHAT_DEADLINE, ..Options::default() };
    let mut watch = client.clone().with_options(patient).watch_inbox("");
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            news = watch.next() => match news? {
                News::Item(response) => {
                    let Some(Event::Item(item)) = &response.event else { continue };
                    face.say(&inbox::line(item, &here))?;
                    // Only now: what could not be shown is not read.
                    let resume_token = response.resume_token.clone();
                    let read = v1::AdvanceReadCursorRequest { request_id: new_request_id(), resume_token };
                    context.wait(client.advance_read_cursor(read)).await?;
                    face.talks(talks(context, client).await?, false)?;
                }
                News::Missed => face.say("Something was missed here: an inbox keeps its newest thousand items.")?,
            },
            line = face.typed() => {
                // Who has typed all that they wanted has left.
                let Some(line) = line? else { return Ok(()) };
                let said = Said::read(&line, &user.name);
                let is_last = matches!(said, Said::LogOut | Said::Quit | Said::DeleteAccount(_));
                let was_asked_for = said == Said::Conversations;
                let is_told = matches!(said, Said::Conversations | Said::To(..) | Said::DeleteMessage(_));
                match act(context, client, said).await {
                    Ok(answer) => {
                        if !answer.is_empty() {
                            face.say(&answer)?;
                        }
                        if is_last {
                            return Ok(());
                        }
                        if is_told {
                            face.talks(talks(context, client).await?, was_asked_for)?;
                        }
                    }
                    // A no ends nothing: whoever hears it may say something else.
                    Err(failure @ Failure::Refused { .. }) => face.say(&format!("{failure}"))?,
                    Err(failure) => return Err(failure),
                }
            }
            _ = &mut interrupted => return Ok(()),
        }
    }
}

async fn act(context: &Context, client: &Client, said: Said) -> Result<String, Failure> {
    Ok(match said {
        Said::Nothing | Said::Quit => String::new(),
        Said::Unclear(problem) => problem,
        Said::Help => {
            ">> NAME: TEXT, TEXT to all, /list [GLOB], /conversations, /delete MESSAGE, /logout, /quit".into()
        }
        Said::To(recipients, text) => {
            let to: Vec<String> = recipients.iter().map(|name| short(name)).collect();
            let request = v1::SendMessageRequest { request_id: new_request_id(), recipients, text };
            let sent = context.wait(client.send_message(request)).await?;
            let number = sent.message.as_ref().map(|message| short(&message.name)).unwrap_or_default();
            format!("  sent to {}  ({number})", to.join(", "))
        }
        Said::ToAll(text) => {
            let request = v1::BroadcastRequest { request_id: new_request_id(), text, audience: None };
            context.wait(client.broadcast(request)).await?;
            String::new()
        }
        Said::List(filter) => {
            let page_size = PAGE_SIZE.min(NAMES_SHOWN_MAX as i32);
            let request = v1::ListUsersRequest { filter, page_size, ..Default::default() };
            let listed = context.wait(client.list_users(request)).await?;
            let names: Vec<String> = listed.users.iter().map(|user| short(&user.name)).collect();
            let more = if listed.next_page_token.is_empty() { "" } else { ", and more" };
            if names.is_empty() { "No account fits.".into() } else { format!("{}{more}", names.join(", ")) }
        }
        // Whoever shows what is said asks for them afterwards.
        Said::Conversations => String::new(),
        Said::DeleteMessage(name) => {
            let request = v1::DeleteMessageRequest { request_id: new_request_id(), name };
            context.wait(client.delete_message(request)).await?;
            "  deleted".into()
        }
        Said::DeleteAccount(name) => {
            let request = v1::DeleteUserRequest { request_id: new_request_id(), name };
            context.wait(client.delete_user(request)).await?;
            context.store.remove()?;
            "Your account is deleted.".into()
        }
        Said::LogOut => {
            context.wait(client.logout(v1::LogoutRequest { request_id: new_request_id() })).await?;
            context.store.remove()?;
            "Logged out.".into()
        }
    })
}

async fn talks(context: &Context, client: &Client) -> Result<Vec<Talk>, Failure> {
    let listed = context.wait(client.list_conversations(v1::ListConversationsRequest::default())).await?;
    let talk = |conversation: &v1::Conversation| {
        let with: Vec<String> = conversation.participants.iter().map(|name| short(name)).collect();
        let with = if with.is_empty() { "yourself".to_owned() } else { with.join(", ") };
        let last = conversation.last_message.as_ref().map(|message| message.text.as_str()).unwrap_or_default();
        let last = plain(last.lines().next().unwrap_or_default());
        Talk { with: plain(&with), last, unread: conversation.unread_count }
    };
    Ok(listed.conversations.iter().map(talk).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        let said = |line: &str| Said::read(line, "users/amy");
        let ben = || vec!["users/ben".to_owned()];
        assert_eq!(said(">> ben: see you: at ten"), Said::To(ben(), "see you: at ten".into()));
        assert_eq!(said(">>ben, cleo:hello"), Said::To(vec!["users/ben".into(), "users/cleo".into()], "hello".into()));
        assert_eq!(said("we close at eight"), Said::ToAll("we close at eight".into()));
        assert_eq!(said("  "), Said::Nothing);
        assert_eq!(said("/list"), Said::List(String::new()));
        assert_eq!(said("/list a*"), Said::List("a*".into()));
        assert_eq!(said("/delete 1207-0"), Said::DeleteMessage("messages/1207-0".into()));
        assert_eq!(said("/delete amy"), Said::DeleteAccount("users/amy".into()));
        assert_eq!((said("/logout"), said("/quit"), said("/help")), (Said::LogOut, Said::Quit, Said::Help));
        for unclear in [">> ben", ">> ben:", ">> a b: hello", "/delete", "/delete ben", "/dance"] {
            assert!(matches!(said(unclear), Said::Unclear(_)), "{unclear}");
        }
    }
}
