//! Letters to people and announcements to all.

use std::io::{self, Read};
use std::str::FromStr;

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use tonic::Code;

use super::context::Context;
use super::errors::Failure;
use super::names::{self, short};
use super::pages::{self, PAGE_SIZE};
use super::table::plain;
use super::time::shown;

/// The rules allow 4 KiB; a little more is sent so that the cluster can say so, a flood is not.
const LONGEST_SENT_BYTES: usize = 64 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send a message to one person or several
    #[command(after_help = "\
Examples:
  carrel send ben 'A seat beside me is free.'
  carrel send ben,cleo - < letter.txt")]
    Send {
        /// Whom: up to 16 names with commas between them
        #[arg(value_name = "USER")]
        recipients: Recipients,
        /// What; - reads it from standard input
        text: String,
    },
    /// Announce something to everyone (librarians and admins)
    Broadcast {
        /// What; - reads it from standard input
        text: String,
    },
    /// List your conversations, oldest first, or delete a message
    Messages(Messages),
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Messages {
    /// Only the conversation with this person
    #[arg(value_parser = names::user)]
    user: Option<String>,
    #[command(subcommand)]
    command: Option<MessagesCommand>,
}

#[derive(Debug, Subcommand)]
enum MessagesCommand {
    /// Delete a message: from your list, and for 15 minutes after sending it from everyone's
    Delete {
        /// Number of the message, for example 1207-0
        #[arg(value_name = "M", value_parser = names::message)]
        message: String,
    },
}

/// `ben` or `ben,cleo`.
#[derive(Clone, Debug)]
pub(super) struct Recipients(Vec<String>);

impl FromStr for Recipients {
    type Err = String;

    fn from_str(text: &str) -> Result<Recipients, String> {
        text.split(',').map(|name| names::user(name.trim())).collect::<Result<_, _>>().map(Recipients)
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Send { recipients, text } => send(context, recipients, content(text)?).await,
        Command::Broadcast { text } => broadcast(context, content(text)?).await,
        Command::Messages(Messages { command: Some(MessagesCommand::Delete { message }), .. }) => {
            delete(context, message).await
        }
        Command::Messages(Messages { user, command: None }) => list(context, user.unwrap_or_default()).await,
    }
}

async fn send(context: &Context, Recipients(recipients): Recipients, text: String) -> Result<(), Failure> {
    let to: Vec<String> = recipients.iter().map(|name| short(name)).collect();
    let request = v1::SendMessageRequest { request_id: new_request_id(), recipients, text };
    let response = context.wait(context.client()?.send_message(request)).await?;
    context.answer(&response, || {
        let name = response.message.as_ref().map(|message| short(&message.name)).unwrap_or_default();
        format!("Message {name} sent to {}.", to.join(", "))
    })
}

async fn broadcast(context: &Context, text: String) -> Result<(), Failure> {
    let request = v1::BroadcastRequest { request_id: new_request_id(), text };
    let response = context.wait(context.client()?.broadcast(request)).await?;
    context.answer(&response, || format!("Announcement {} sent to everyone.", short(&response.name)))
}

async fn list(context: &Context, with: String) -> Result<(), Failure> {
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request = v1::ListMessagesRequest { with: with.clone(), page_size: PAGE_SIZE, page_token, read: None };
        context.wait(client.list_messages(request)).await
    });
    let response = response.await?;
    context.answer(&response, || {
        if response.messages.is_empty() {
            return "No messages.".into();
        }
        let here = TimeZone::system();
        response.messages.iter().map(|message| line(message, &here)).collect::<Vec<_>>().join("\n")
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

async fn delete(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::DeleteMessageRequest { request_id: new_request_id(), name: name.clone() };
    let response = context.wait(context.client()?.delete_message(request)).await?;
    context.answer(&response, || format!("Message {} deleted.", short(&name)))
}

/// `2027-03-01 10:00 CET  amy to ben: see you at ten  (1207-0)`
fn line(message: &v1::Message, zone: &TimeZone) -> String {
    let to: Vec<String> = message.recipients.iter().map(|name| short(name)).collect();
    plain(&format!(
        "{}  {} to {}: {}  ({})",
        shown(message.create_time.as_ref(), zone),
        short(&message.sender),
        to.join(", "),
        // What follows a line feed is indented, so that nobody's message looks like another.
        message.text.replace('\n', "\n      "),
        short(&message.name)
    ))
}

fn content(text: String) -> Result<String, Failure> {
    let text = if text == "-" { from_input(io::stdin().lock())? } else { text };
    if text.len() > LONGEST_SENT_BYTES {
        let message = "the text is far too long; a message has at most 4096 bytes".into();
        return Err(Failure::refused(Code::InvalidArgument, "FIELD_INVALID", message));
    }
    Ok(text)
}

fn from_input(input: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = LONGEST_SENT_BYTES as u64 + 1;
    input
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| Failure::Local { doing: "reading the text".into(), source })?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    // The line feed that every file and every echo ends with is not part of the message.
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_people_are_one_argument() {
        let Recipients(names) = "ben, users/cleo".parse().expect("two names");
        assert_eq!(names, ["users/ben", "users/cleo"]);
        assert!("ben,,cleo".parse::<Recipients>().is_err());
    }

    #[test]
    fn text_may_come_from_a_file_but_not_without_end() {
        assert_eq!(from_input(&b"two\nlines\n"[..]).expect("text"), "two\nlines");
        let flood = from_input(io::repeat(b'x')).expect("text");
        assert!(matches!(content(flood), Err(Failure::Refused { .. })));
    }

    #[test]
    fn a_message_is_a_line() {
        let message = v1::Message {
            name: "messages/1207-0".into(),
            sender: "users/amy".into(),
            recipients: vec!["users/ben".into(), "users/cleo".into()],
            text: "hello".into(),
            create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        };
        assert_eq!(line(&message, &TimeZone::UTC), "2023-11-14 22:13 UTC  amy to ben, cleo: hello  (1207-0)");
    }
}
