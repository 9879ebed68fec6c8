//! Letters to people and announcements to all.

use std::io::{self, Read};
use std::str::FromStr;

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use carrel_proto::v1::broadcast_request::Audience;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use tonic::Code;

use super::accounts::role_parser;
use super::context::Context;
use super::errors::{Failure, position};
use super::names::{self, short};
use super::pages::{self, PAGE_SIZE};
use super::table::{plain, table, words};
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
    /// Announce something to everyone, or to some (librarians and admins)
    #[command(after_help = "\
Examples:
  carrel broadcast 'We close at eight.'
  carrel broadcast 'The lift is out of order.' --branch main")]
    Broadcast {
        /// What; - reads it from standard input
        text: String,
        /// Only to those who follow this branch, and its librarians
        #[arg(long, value_name = "B", value_parser = names::branch)]
        branch: Option<String>,
        /// Only to accounts of this role (admins)
        #[arg(long, value_parser = role_parser(), ignore_case = true, conflicts_with = "branch")]
        role: Option<v1::Role>,
    },
    /// List your messages, oldest first; delete and report them, block people
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
    /// Show a message to the admins, and take it out of your list
    Report {
        /// Number of the message, for example 1207-0
        #[arg(value_name = "M", value_parser = names::message)]
        message: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List who you have written with, the last first
    Conversations,
    /// Get no messages from somebody any more; they are not told
    Block {
        /// Name of the account, for example ben
        #[arg(value_parser = names::user)]
        name: String,
    },
    /// Get messages from somebody again
    Unblock {
        /// Name of the account, for example ben
        #[arg(value_parser = names::user)]
        name: String,
    },
    /// List whose messages you do not get
    Blocks,
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
        Command::Broadcast { text, branch, role } => {
            let role = role.map(|role| Audience::Role(role.into()));
            broadcast(context, content(text)?, branch.map(Audience::Branch).or(role)).await
        }
        Command::Messages(Messages { command: Some(command), .. }) => match command {
            MessagesCommand::Delete { message } => delete(context, message).await,
            MessagesCommand::Report { message, reason } => report(context, message, reason).await,
            MessagesCommand::Conversations => conversations(context).await,
            MessagesCommand::Block { name } => block(context, name).await,
            MessagesCommand::Unblock { name } => unblock(context, name).await,
            MessagesCommand::Blocks => blocks(context).await,
        },
        Command::Messages(Messages { user, command: None }) => list(context, user.unwrap_or_default()).await,
    }
}

async fn send(context: &Context, Recipients(recipients): Recipients, text: String) -> Result<(), Failure> {
    let to: Vec<String> = recipients.iter().map(|name| short(name)).collect();
    let request = v1::SendMessageRequest { request_id: new_request_id(), recipients: recipients.clone(), text };
    let response = context.wait(context.client()?.send_message(request)).await;
    let response = response.map_err(|failure| named(failure, &recipients))?;
    context.answer(&response, || {
        let name = response.message.as_ref().map(|message| short(&message.name)).unwrap_or_default();
        format!("Message {name} sent to {}.", to.join(", "))
    })
}

/// Whom there is not: the cluster says only which of them.
pub(super) fn named(failure: Failure, recipients: &[String]) -> Failure {
    failure.reword("RECIPIENT_NOT_FOUND", |refusal| {
        let name = recipients.get(position(refusal)?)?;
        Some(format!("there is no account {}, nothing was sent", short(name)))
    })
}

async fn broadcast(context: &Context, text: String, audience: Option<Audience>) -> Result<(), Failure> {
    let to = match &audience {
        None => "everyone".to_owned(),
        Some(Audience::Branch(branch)) => format!("who follows {}", short(branch)),
        Some(Audience::Role(role)) => {
            let role = v1::Role::try_from(*role).unwrap_or_default();
            format!("every {}", words(role.as_str_name(), "ROLE_"))
        }
    };
    let request = v1::BroadcastRequest { request_id: new_request_id(), text, audience };
    let response = context.wait(context.client()?.broadcast(request)).await?;
    context.answer(&response, || format!("Announcement {} sent to {to}.", short(&response.name)))
}

async fn list(context: &Context, with: String) -> Result<(), Failure> {
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request =
            v1::ListMessagesRequest { with: with.clone(), page_size: PAGE_SIZE, page_token, ..Default::default() };
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

async fn report(context: &Context, name: String, reason: String) -> Result<(), Failure> {
    let request = v1::ReportMessageRequest { request_id: new_request_id(), name: name.clone(), reason };
    let response = context.wait(context.client()?.report_message(request)).await?;
    context.answer(&response, || format!("Message {} was shown to the admins and is out of your list.", short(&name)))
}

async fn conversations(context: &Context) -> Result<(), Failure> {
    let request = v1::ListConversationsRequest::default();
    let response = context.wait(context.client()?.list_conversations(request)).await?;
    context.answer(&response, || {
        let here = TimeZone::system();
        let row = |conversation: &v1::Conversation| {
            let with: Vec<String> = conversation.participants.iter().map(|name| short(name)).collect();
            let with = if with.is_empty() { "yourself".to_owned() } else { with.join(", ") };
            let last = conversation.last_message.clone().unwrap_or_default();
            let unread = conversation.unread_count.to_string();
            let first_line = last.text.lines().next().unwrap_or_default().chars().take(LINE_CHARS).collect();
            [with, unread, shown(last.create_time.as_ref(), &here), first_line]
        };
        let rows = response.conversations.iter().map(row).collect();
        table(["WITH", "UNREAD", "LAST", "TEXT"], rows, "No conversations.")
    })
}

/// Of the last message of a conversation.
const LINE_CHARS: usize = 40;

async fn block(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::BlockUserRequest { request_id: new_request_id(), name: name.clone() };
    let response = context.wait(context.client()?.block_user(request)).await?;
    context.answer(&response, || format!("You get no messages from {} any more. They are not told.", short(&name)))
}

async fn unblock(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::UnblockUserRequest { request_id: new_request_id(), name: name.clone() };
    let response = context.wait(context.client()?.unblock_user(request)).await?;
    context.answer(&response, || format!("You get messages from {} again.", short(&name)))
}

async fn blocks(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.list_blocks(v1::ListBlocksRequest::default())).await?;
    context.answer(&response, || {
        let names: Vec<String> = response.users.iter().map(|name| short(name)).collect();
        if names.is_empty() { "You get everybody's messages.".into() } else { names.join("\n") }
    })
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
    fn a_recipient_who_is_not_there_is_named() {
        let mut refused = Failure::refused(Code::NotFound, "RECIPIENT_NOT_FOUND", "recipient 2 was not found".into());
        let Failure::Refused { refusal, .. } = &mut refused else { panic!("a refusal") };
        refusal.metadata.insert("position".into(), "1".into());
        let to = ["users/ben".to_owned(), "users/cloe".to_owned()];
        assert!(named(refused, &to).told().starts_with("there is no account cloe"));
    }

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
