//! What a chat asks of the cluster, beside what is typed meanwhile: nothing here draws or waits for a person.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use carrel_proto::client::{Client, ClientError, InboxWatch, News, Options, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::watch_inbox_response::Event;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::rows::Entry;
use super::said::Said;
use super::{Answer, Talk};
use crate::cli::context::Zones;
use crate::cli::inbox::Known;
use crate::cli::json;
use crate::cli::names::short;
use crate::cli::pages::PAGE_SIZE;
use crate::cli::table::plain;

/// Names that one list shows.
const NAMES_SHOWN_MAX: usize = 200;
/// Pages of a conversation that are read to its end: an inbox keeps no more letters.
const HISTORY_PAGES_MAX: usize = 10;
/// News that are shown at once, and for how long more of them are waited for.
const NEWS_MAX: usize = 100;
const NEWS_GAP: Duration = Duration::from_millis(30);
/// Batches of news that wait to be shown.
const BATCHES_MAX: usize = 4;
/// After so long without a node that answers, one is told; the chat goes on looking for one.
const WATCH_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks for a node that answers.
pub(super) const RETRY: Duration = Duration::from_secs(1);

pub(super) type Work<T> = Pin<Box<dyn Future<Output = Result<T, ClientError>>>>;

/// The end of what is under way; never, of nothing.
pub(super) async fn end_of<T>(work: &mut Option<Work<T>>) -> Result<T, ClientError> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// One thing that was typed, to be done once, however often it has to be tried.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) typed: String,
    pub(super) said: Said,
    pub(super) request_id: String,
}

impl Job {
    pub(super) fn new(typed: String, said: Said) -> Self {
        Self { typed, said, request_id: new_request_id() }
    }

    pub(super) async fn perform(self, client: Client) -> Result<Answer, ClientError> {
        let Self { said, request_id, .. } = self;
        Ok(match said {
            Said::To(recipients, text) => {
                let to: Vec<String> = recipients.iter().map(|name| short(name)).collect();
                let request = v1::SendMessageRequest { request_id, recipients, text: text.clone() };
                let sent = client.send_message(request).await?;
                let number = sent.message.as_ref().map(|message| short(&message.name)).unwrap_or_default();
                Answer::new(format!("to {}: {text}  ({number})", to.join(", ")), &sent)
            }
            Said::ToAll(text) => {
                let sent = client.broadcast(v1::BroadcastRequest { request_id, text, audience: None }).await?;
                Answer::new(format!("announced to everybody  ({})", short(&sent.name)), &sent)
            }
            Said::List(filter) => {
                let page_size = PAGE_SIZE.min(NAMES_SHOWN_MAX as i32);
                let listed =
                    client.list_users(v1::ListUsersRequest { filter, page_size, ..Default::default() }).await?;
                let names: Vec<String> = listed.users.iter().map(|user| short(&user.name)).collect();
                let more = if listed.next_page_token.is_empty() { "" } else { ", and more" };
                let text =
                    if names.is_empty() { "No account fits.".into() } else { format!("{}{more}", names.join(", ")) };
                Answer::new(text, &listed)
            }
            Said::Conversations => {
                let listed = client.list_conversations(v1::ListConversationsRequest::default()).await?;
                let line = |talk: &Talk| {
                    let unread = if talk.unread == 0 { String::new() } else { format!("  [{} unread]", talk.unread) };
                    format!("{}: {}{unread}", talk.with, talk.last)
                };
                let lines: Vec<String> = listed.conversations.iter().map(|one| line(&Talk::of(one))).collect();
                let text = if lines.is_empty() { "You have written with nobody yet.".into() } else { lines.join("\n") };
                Answer::new(text, &listed)
            }
            Said::DeleteMessage(name) => {
                let deleted =
                    client.delete_message(v1::DeleteMessageRequest { request_id, name: name.clone() }).await?;
                Answer::new(format!("deleted  ({})", short(&name)), &deleted)
            }
            Said::DeleteAccount(name) => {
                let deleted = client.delete_user(v1::DeleteUserRequest { request_id, name }).await?;
                Answer::new("Your account is deleted.".into(), &deleted)
            }
            Said::LogOut => Answer::new("Logged out.".into(), &client.logout(v1::LogoutRequest { request_id }).await?),
            // What needs no cluster has been answered without one.
            Said::Nothing
            | Said::Plain(_)
            | Said::Open(_)
            | Said::Close
            | Said::Quit
            | Said::Help
            | Said::Unclear(_) => Answer::default(),
        })
    }
}

/// What is new beside the news themselves.
#[derive(Debug)]
pub(super) struct Refreshed {
    /// Up to where it is known to be read.
    pub(super) read_up_to: Option<String>,
    pub(super) talks: Vec<Talk>,
    /// Of the conversation with these.
    pub(super) history: Option<(Vec<String>, Vec<Entry>)>,
}

/// Notes what was read, however much it was, in one entry of the log; then looks with whom one writes.
pub(super) async fn refresh(
    client: Client,
    own_name: String,
    read_up_to: Option<String>,
    open: Option<Vec<String>>,
) -> Result<Refreshed, ClientError> {
    if let Some(resume_token) = read_up_to.clone() {
        client.advance_read_cursor(v1::AdvanceReadCursorRequest { request_id: new_request_id(), resume_token }).await?;
    }
    let listed = client.list_conversations(v1::ListConversationsRequest::default()).await?;
    let talks = listed.conversations.iter().map(Talk::of).collect();
    let history = match open {
        Some(participants) => Some((participants.clone(), history(&client, &own_name, participants).await?)),
        None => None,
    };
    Ok(Refreshed { read_up_to, talks, history })
}

async fn history(client: &Client, own_name: &str, participants: Vec<String>) -> Result<Vec<Entry>, ClientError> {
    let mut entries = Vec::new();
    let mut page_token = String::new();
    for _ in 0..HISTORY_PAGES_MAX {
        let participants = if participants.is_empty() { vec![own_name.to_owned()] } else { participants.clone() };
        let request = v1::ListMessagesRequest { participants, page_size: PAGE_SIZE, page_token, ..Default::default() };
        let page = client.list_messages(request).await?;
        entries.extend(page.messages.iter().map(|message| {
            let who = if message.sender == own_name { "you".to_owned() } else { short(&message.sender) };
            let text = plain(&format!("{who}: {}  ({})", message.text, short(&message.name)));
            Entry { at: moment(message.create_time.as_ref()), text }
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(entries)
}

pub(super) fn moment(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()).unwrap_or_else(Timestamp::now)
}

/// What came, and what is known about it.
pub(super) enum Heard {
    Items(Vec<v1::WatchInboxResponse>, Known),
    Missed,
    /// Nobody answers, or the cluster said no, after which nothing comes.
    Trouble(ClientError),
}

/// Follows the inbox from here on, for as long as anybody listens.
pub(super) fn listen(client: &Client, zones: Zones, after: String) -> mpsc::Receiver<Heard> {
    let (sender, heard) = mpsc::channel(BATCHES_MAX);
    let client = client.clone();
    let patient = client.clone().with_options(Options { deadline: WATCH_DEADLINE, ..Options::default() });
    tokio::spawn(async move {
        let mut watch = patient.watch_inbox(after);
        loop {
            let (items, rest) = some_news(&mut watch).await;
            if !items.is_empty() {
                let of: Vec<&v1::InboxItem> = items.iter().filter_map(item_of).collect();
                let known = Known::of(&client, &zones, &of).await;
                if sender.send(Heard::Items(items, known)).await.is_err() {
                    return;
                }
            }
            let goes_on = match rest {
                None => true,
                Some(Ok(())) => sender.send(Heard::Missed).await.is_ok(),
                Some(Err(error)) => {
                    let is_final = matches!(error, ClientError::Refused(_));
                    let is_heard = sender.send(Heard::Trouble(error)).await.is_ok();
                    // One that has given up begins anew where it stopped.
                    watch = patient.watch_inbox(watch.resume_token().to_owned());
                    tokio::time::sleep(RETRY).await;
                    is_heard && !is_final
                }
            };
            if !goes_on {
                return;
            }
        }
    });
    heard
}

pub(super) fn item_of(response: &v1::WatchInboxResponse) -> Option<&v1::InboxItem> {
    match &response.event {
        Some(Event::Item(item)) => Some(item),
        Some(Event::Bookmark(_) | Event::Draining(_)) | None => None,
    }
}

/// What comes next, with whatever follows it closely; and what ended that, if it was no pause.
async fn some_news(watch: &mut InboxWatch) -> (Vec<v1::WatchInboxResponse>, Option<Result<(), ClientError>>) {
    let mut items = Vec::new();
    loop {
        let next =
            if items.is_empty() { Ok(watch.next().await) } else { tokio::time::timeout(NEWS_GAP, watch.next()).await };
        match next {
            Ok(Ok(News::Item(item))) => items.push(item),
            Ok(Ok(News::Missed)) => return (items, Some(Ok(()))),
            Ok(Err(error)) => return (items, Some(Err(error))),
            Err(_) => return (items, None),
        }
        if items.len() >= NEWS_MAX {
            return (items, None);
        }
    }
}

impl Answer {
    fn new<M: prost::Message + prost::Name>(text: String, answer: &M) -> Self {
        Self { text, document: Some(json::document(answer)) }
    }
}

impl Talk {
    pub(super) fn of(conversation: &v1::Conversation) -> Self {
        let last = conversation.last_message.as_ref().map(|message| message.text.as_str()).unwrap_or_default();
        Self {
            participants: conversation.participants.clone(),
            with: Self::called(&conversation.participants),
            last: plain(last.lines().next().unwrap_or_default()),
            unread: conversation.unread_count,
        }
    }

    pub(super) fn called(participants: &[String]) -> String {
        let names: Vec<String> = participants.iter().map(|name| short(name)).collect();
        if names.is_empty() { "yourself".to_owned() } else { plain(&names.join(", ")) }
    }
}
