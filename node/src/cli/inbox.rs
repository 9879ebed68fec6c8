//! The inbox: what happened to you, listed once or followed live.

use std::time::Duration;

use carrel_proto::client::{Client, News, Options, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::inbox_item::Kind;
use carrel_proto::v1::watch_inbox_response::Event;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::context::Context;
use super::errors::Failure;
use super::names::short;
use super::pages::{MOST_PAGES, MOST_ROWS, PAGE_SIZE};
use super::table::{plain, words};
use super::time::shown;

/// Someone who follows would rather wait through a restart of the whole cluster than start again.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what happened to you: messages, announcements, offers, no-shows
    #[command(after_help = "\
What is shown counts as read afterwards, unless --keep-unread or --follow is given; * marks what is new.

Example:
  carrel inbox --follow      (what is unread, then whatever comes, until Ctrl-C)")]
    Inbox(Inbox),
}

#[derive(Args, Debug)]
pub(super) struct Inbox {
    /// Show what is unread, then whatever comes, as it comes
    #[arg(long)]
    follow: bool,
    /// Only what is unread
    #[arg(long, conflicts_with = "follow")]
    unread: bool,
    /// Do not mark what is shown as read
    #[arg(long, conflicts_with = "follow")]
    keep_unread: bool,
}

pub(super) async fn run(context: &Context, Command::Inbox(inbox): Command) -> Result<(), Failure> {
    if inbox.follow { follow(context).await } else { list(context, inbox.unread, inbox.keep_unread).await }
}

async fn list(context: &Context, unread_only: bool, keep_unread: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let response = every_item(context, &client, unread_only).await?;
    context.answer(&response, || {
        if response.items.is_empty() {
            return if unread_only { "Nothing new.".into() } else { "The inbox is empty.".into() };
        }
        let here = TimeZone::system();
        response.items.iter().map(|item| line(item, &here)).collect::<Vec<_>>().join("\n")
    })?;
    if response.more {
        context.remark(&format!("Only the first {} items are shown.", response.items.len()));
    }
    // Only now: what could not be shown is not read.
    if let Some(last) = response.items.iter().rev().find(|item| item.unread).filter(|_| !keep_unread) {
        let request =
            v1::AdvanceReadCursorRequest { request_id: new_request_id(), resume_token: last.resume_token.clone() };
        context.wait(client.advance_read_cursor(request)).await?;
    }
    Ok(())
}

/// The whole inbox as one answer, within the bounds of any list.
async fn every_item(context: &Context, client: &Client, unread_only: bool) -> Result<v1::ListInboxResponse, Failure> {
    let fetch = async |after: String| {
        let request = v1::ListInboxRequest { after, unread_only, page_size: PAGE_SIZE, read: None };
        context.wait(client.list_inbox(request)).await
    };
    let mut whole = fetch(String::new()).await?;
    for _ in 1..MOST_PAGES {
        if !whole.more || whole.items.len() >= MOST_ROWS {
            break;
        }
        let next = fetch(whole.resume_token.clone()).await?;
        let items = std::mem::take(&mut whole.items).into_iter().chain(next.items);
        whole = v1::ListInboxResponse { items: items.collect(), ..next };
    }
    Ok(whole)
}

async fn follow(context: &Context) -> Result<(), Failure> {
    let patient = Options { deadline: FOLLOW_DEADLINE, ..Options::default() };
    let mut watch = context.client()?.with_options(patient).watch_inbox("");
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let here = TimeZone::system();
    loop {
        let response = tokio::select! {
            news = watch.next() => match news? {
                News::Item(response) => response,
                News::Missed => {
                    context.remark("Something was missed here: an inbox keeps its newest thousand items.");
                    continue;
                }
            },
            _ = &mut interrupted => return Ok(()),
        };
        context.answer(&response, || match &response.event {
            Some(Event::Item(item)) => line(item, &here),
            Some(Event::Bookmark(_) | Event::Draining(_)) | None => String::new(),
        })?;
    }
}

/// `* 2027-03-01 10:00 CET  message from ben: see you at ten  (1207-0)`
pub(super) fn line(item: &v1::InboxItem, zone: &TimeZone) -> String {
    let mut text = String::from(if item.unread { "* " } else { "  " });
    text += &shown(item.create_time.as_ref(), zone);
    text += "  ";
    text += &words(item.kind().as_str_name(), "KIND_");
    if !item.sender.is_empty() {
        text += &format!(" from {}", short(&item.sender));
    }
    if !item.text.is_empty() {
        // What follows a line feed is indented, so that nobody's message looks like another item.
        text += &format!(": {}", item.text.replace('\n', "\n      "));
    }
    if !item.subject.is_empty() {
        text += &format!(
            ": {}",
            item.subject.replace("reservations/", "reservation ").replace("waitlistEntries/", "waitlist entry ")
        );
    }
    if !item.message.is_empty() {
        text += &format!("  ({})", short(&item.message));
    }
    if !item.reporter.is_empty() {
        text += &format!("  (reported by {}: {})", short(&item.reporter), item.reason);
    }
    if item.until.is_some() {
        text += &format!(", until {}", shown(item.until.as_ref(), zone));
    }
    let number = short(&item.subject);
    for advice in what_to_do(item.kind()) {
        text += &format!("\n      {advice} {number}");
    }
    plain(&text)
}

/// Commands to type next, but for the number.
fn what_to_do(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::OfferMade => &["See it with: carrel reservation show", "Take it with: carrel offers accept"],
        Kind::BookedForYou => {
            &["See it with: carrel reservation show", "If it is held for you, take it with: carrel confirm"]
        }
        Kind::SeatReported => &["Say that you are there with: carrel back"],
        Kind::Moved => &["See where with: carrel reservation show"],
        Kind::Unspecified
        | Kind::Message
        | Kind::Announcement
        | Kind::OfferExpired
        | Kind::NoShow
        | Kind::Completed
        | Kind::Displaced
        | Kind::CancelledByStaff
        | Kind::Suspended
        | Kind::WaitExpired
        | Kind::HoldExpired
        | Kind::Released
        | Kind::CancelledLate
        | Kind::StrikeWaived
        | Kind::Unsent
        | Kind::Reported => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind) -> v1::InboxItem {
        let create_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        v1::InboxItem { kind: kind.into(), create_time, unread: true, ..Default::default() }
    }

    #[test]
    fn an_item_is_a_line() {
        let message = v1::InboxItem {
            sender: "users/ben".into(),
            text: "at ten?\n* forged".into(),
            message: "messages/1207-0".into(),
            ..item(Kind::Message)
        };
        assert_eq!(
            line(&message, &TimeZone::UTC),
            "* 2023-11-14 22:13 UTC  message from ben: at ten?\n      * forged  (1207-0)"
        );
    }

    #[test]
    fn an_offer_says_how_to_take_it() {
        let offer = v1::InboxItem { subject: "reservations/17".into(), ..item(Kind::OfferMade) };
        assert_eq!(
            line(&offer, &TimeZone::UTC),
            "* 2023-11-14 22:13 UTC  offer made: reservation 17\n      See it with: carrel reservation show 17\n      \
             Take it with: carrel offers accept 17"
        );
    }
}
