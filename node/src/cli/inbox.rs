//! The inbox: what happened to you, listed once or followed live.

use std::collections::HashMap;
use std::time::Duration;

use carrel_proto::client::{Client, News, Options, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::inbox_item::Kind;
use carrel_proto::v1::reservation::State;
use carrel_proto::v1::watch_inbox_response::Event;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::context::{Context, Zones};
use super::errors::Failure;
use super::names::short;
use super::pages::{MOST_PAGES, MOST_ROWS, PAGE_SIZE};
use super::reservations::place_and_time;
use super::table::{plain, words};
use super::time::shown;
use super::waitlist;

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
    let known = if context.is_json() {
        Known::default()
    } else {
        let of: Vec<&v1::InboxItem> = response.items.iter().collect();
        Known::of(&client, context.zones_for_text().await, &of).await
    };
    context.answer(&response, || {
        if response.items.is_empty() {
            return if unread_only { "Nothing new.".into() } else { "The inbox is empty.".into() };
        }
        let here = known.clock();
        response.items.iter().map(|item| line(item, &known, &here)).collect::<Vec<_>>().join("\n")
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
pub(super) async fn every_item(
    context: &Context,
    client: &Client,
    unread_only: bool,
) -> Result<v1::ListInboxResponse, Failure> {
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
    let client = context.client()?;
    let mut watch = client.clone().with_options(patient).watch_inbox("");
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
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
        let known = match &response.event {
            Some(Event::Item(item)) if !context.is_json() => {
                Known::of(&client, context.zones_for_text().await, &[item]).await
            }
            _ => Known::default(),
        };
        context.answer(&response, || match &response.event {
            Some(Event::Item(item)) => line(item, &known, &known.clock()),
            Some(Event::Bookmark(_) | Event::Draining(_)) | None => String::new(),
        })?;
    }
}

/// What is known of the things that items are about, which the items themselves only name.
#[derive(Debug, Default)]
pub(super) struct Known {
    reservations: HashMap<String, v1::Reservation>,
    waits: HashMap<String, v1::WaitlistEntry>,
    /// Of messages: to whom they went.
    recipients: HashMap<String, Vec<String>>,
    zones: Zones,
}

impl Known {
    /// Asks once for each kind of thing, however many items there are. What cannot be had is not told: an inbox without
    /// it is better than none.
    pub(super) async fn of(client: &Client, zones: &Zones, items: &[&v1::InboxItem]) -> Known {
        let client = client.clone().with_options(Options { deadline: KNOWN_DEADLINE, ..Options::default() });
        let mut known = Known { zones: zones.clone(), ..Known::default() };
        let is_about = |collection: &str| items.iter().any(|item| item.subject.starts_with(collection));
        if is_about("reservations/") {
            let request = v1::ListReservationsRequest { page_size: PAGE_SIZE, ..Default::default() };
            let listed = client.list_reservations(request).await.unwrap_or_default().reservations;
            known.reservations = listed.into_iter().map(|one| (one.name.clone(), one)).collect();
        }
        if is_about("waitlistEntries/") {
            let request = v1::ListWaitlistEntriesRequest { page_size: PAGE_SIZE, ..Default::default() };
            let listed = client.list_waitlist_entries(request).await.unwrap_or_default().entries;
            known.waits = listed.into_iter().map(|one| (one.name.clone(), one)).collect();
        }
        known.recipients = match items.iter().filter(|item| item.kind() == Kind::Message).count() {
            0 => HashMap::new(),
            // A letter that has just come is the last of its conversation.
            1..=FEW_LETTERS => {
                let request = v1::ListConversationsRequest::default();
                let listed = client.list_conversations(request).await.unwrap_or_default().conversations;
                let last = listed.into_iter().filter_map(|conversation| conversation.last_message);
                last.map(|message| (message.name, message.recipients)).collect()
            }
            _ => every_recipient(&client).await,
        };
        known
    }

    /// One for a whole listing: that of the library, where it has one, or else of this computer.
    pub(super) fn clock(&self) -> TimeZone {
        self.zones.shared_by(self.reservations.values().map(|reservation| reservation.seat.as_str()))
    }

    /// Whether a letter belongs to the conversation that somebody has with these and no others.
    pub(super) fn is_between(&self, item: &v1::InboxItem, own_name: &str, others: &[String]) -> bool {
        let Some(recipients) = self.recipients.get(&item.message) else { return false };
        let mut of: Vec<&String> =
            recipients.iter().chain([&item.sender]).filter(|name| name.as_str() != own_name).collect();
        of.sort();
        of.dedup();
        of.len() == others.len() && of.iter().all(|name| others.contains(name))
    }
}

async fn every_recipient(client: &Client) -> HashMap<String, Vec<String>> {
    let mut recipients = HashMap::new();
    let mut page_token = String::new();
    for _ in 0..MESSAGE_PAGES_MAX {
        let request = v1::ListMessagesRequest { page_size: PAGE_SIZE, page_token, ..Default::default() };
        let page = client.list_messages(request).await.unwrap_or_default();
        recipients.extend(page.messages.into_iter().map(|message| (message.name, message.recipients)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    recipients
}

/// Who reads waits for what happened, not for what else is known about it.
const KNOWN_DEADLINE: Duration = Duration::from_secs(2);
/// So few letters are looked for among the conversations.
const FEW_LETTERS: usize = 3;
/// An inbox keeps no more than a thousand items.
const MESSAGE_PAGES_MAX: usize = 4;

/// `* 2027-03-01 10:00 CET  message from ben: see you at ten  (1207-0)`
fn line(item: &v1::InboxItem, known: &Known, zone: &TimeZone) -> String {
    let mark = if item.unread { "* " } else { "  " };
    let mut text = words(item.kind().as_str_name(), "KIND_");
    if !item.sender.is_empty() {
        text += &format!(" from {}", short(&item.sender));
    }
    // What follows a line feed is indented, so that nobody's message looks like another item.
    let told = format!("{text}{}", rest(item, known, zone)).replace('\n', "\n      ");
    plain(&format!("{mark}{}  {told}", shown(item.create_time.as_ref(), zone)))
}

/// The same without the time, as a line of a chat: `ben: see you at ten  (1207-0)`.
pub(super) fn said(item: &v1::InboxItem, known: &Known, zone: &TimeZone) -> String {
    let who = match item.kind() {
        Kind::Message => short(&item.sender),
        Kind::Announcement => format!("announcement from {}", short(&item.sender)),
        Kind::Unsent => format!("{} has taken a message back", short(&item.sender)),
        kind => words(kind.as_str_name(), "KIND_"),
    };
    plain(&format!("{who}{}", rest(item, known, zone)))
}

/// What follows the kind and the sender.
fn rest(item: &v1::InboxItem, known: &Known, zone: &TimeZone) -> String {
    let mut text = String::new();
    let to = known.recipients.get(&item.message).filter(|to| to.len() > 1);
    if let Some(to) = to {
        text += &format!(" to {}", to.iter().map(|name| short(name)).collect::<Vec<_>>().join(", "));
    }
    if !item.text.is_empty() {
        text += &format!(": {}", item.text);
    }
    let reservation = known.reservations.get(&item.subject);
    if !item.subject.is_empty() {
        text += &format!(": {}", about(item, known));
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
    for advice in what_to_do(item, reservation) {
        text += &format!("\n{advice}");
    }
    text
}

/// `main/r-101, 2027-03-01 10:00–12:00 CET, to be taken by 2027-03-01 09:10 CET (reservation 17)`
fn about(item: &v1::InboxItem, known: &Known) -> String {
    let name = item.subject.replace("reservations/", "reservation ").replace("waitlistEntries/", "waitlist entry ");
    if let Some(reservation) = known.reservations.get(&item.subject) {
        let mut place = place_and_time(reservation, &known.zones);
        if reservation.state() == State::Held {
            let clock = known.zones.of_or_utc(&reservation.seat);
            place += &format!(", to be taken by {}", shown(reservation.deadline.as_ref(), &clock));
        }
        return format!("{place} ({name})");
    }
    match known.waits.get(&item.subject) {
        Some(wait) => format!("{} ({name})", waitlist::place_and_time(wait, &known.zones)),
        None => name,
    }
}

/// What to do next, a line each.
fn what_to_do(item: &v1::InboxItem, reservation: Option<&v1::Reservation>) -> Vec<String> {
    let number = short(&item.subject);
    let state = reservation.map(v1::Reservation::state);
    let object = "Were you there? Ask the staff: they can forgive a strike";
    match item.kind() {
        Kind::OfferMade => match state {
            None | Some(State::Held) => vec![
                format!("Take it with: carrel offers accept {number}"),
                format!("Leave it to the next with: carrel offers decline {number}"),
            ],
            Some(State::Expired | State::Cancelled) => vec!["It is over.".to_owned()],
            Some(_) => Vec::new(),
        },
        Kind::OfferExpired => vec!["See what you still wait for with: carrel waitlist list".into()],
        Kind::BookedForYou if state == Some(State::Held) => vec![format!("Take it with: carrel confirm {number}")],
        Kind::BookedForYou => vec![format!("Not for you? Give it back with: carrel cancel {number}")],
        Kind::SeatReported => vec![format!("Say that you are there with: carrel back {number}")],
        Kind::Moved => vec![format!("If that does not suit you: carrel move {number}, or carrel cancel {number}")],
        Kind::NoShow | Kind::Released => {
            vec![format!("See how that came about with: carrel audit {number}. {object}.")]
        }
        Kind::CancelledLate => vec![format!("It counts as a strike: carrel users strikes. {object}.")],
        Kind::Displaced => vec!["The seat was closed. Find another with: carrel seats search --available".into()],
        Kind::CancelledByStaff => vec![format!("See by whom and why with: carrel audit {number}")],
        Kind::Suspended => vec![format!("See what for with: carrel users strikes. {object}.")],
        Kind::HoldExpired => vec!["It is free for others. Look again with: carrel seats search --available".into()],
        Kind::WaitExpired => vec!["Nothing came free in time. Look again with: carrel seats search --available".into()],
        Kind::Unspecified
        | Kind::Message
        | Kind::Announcement
        | Kind::Completed
        | Kind::StrikeWaived
        | Kind::Unsent
        | Kind::Reported => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind) -> v1::InboxItem {
        let create_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        v1::InboxItem { kind: kind.into(), create_time, unread: true, ..Default::default() }
    }

    fn letter() -> v1::InboxItem {
        v1::InboxItem {
            sender: "users/ben".into(),
            text: "at ten?\n* forged".into(),
            message: "messages/1207-0".into(),
            ..item(Kind::Message)
        }
    }

    fn known() -> Known {
        let branch =
            v1::BranchSummary { name: "branches/main".into(), time_zone: "Europe/Berlin".into(), ..Default::default() };
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let reservation = v1::Reservation {
            name: "reservations/17".into(),
            seat: "branches/main/seats/r-101".into(),
            start_time: at(1_700_002_800),
            end_time: at(1_700_006_400),
            deadline: at(1_700_000_600),
            state: State::Held.into(),
            ..Default::default()
        };
        let recipients = ["users/amy", "users/cleo"].map(str::to_owned).to_vec();
        Known {
            reservations: HashMap::from([(reservation.name.clone(), reservation)]),
            recipients: HashMap::from([("messages/1207-0".to_owned(), recipients)]),
            zones: Zones::new(&[branch]),
            ..Known::default()
        }
    }

    #[test]
    fn an_item_is_a_line() {
        assert_eq!(
            line(&letter(), &Known::default(), &TimeZone::UTC),
            "* 2023-11-14 22:13 UTC  message from ben: at ten?\n      * forged  (1207-0)"
        );
        assert_eq!(said(&letter(), &Known::default(), &TimeZone::UTC), "ben: at ten?\n* forged  (1207-0)");
    }

    #[test]
    fn a_letter_to_several_says_to_whom() {
        let text = line(&letter(), &known(), &TimeZone::UTC);
        assert!(text.contains("message from ben to amy, cleo: at ten?"), "{text}");
        let with = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("users/{name}")).collect();
            known().is_between(&letter(), "users/amy", &names)
        };
        assert!(with(&["ben", "cleo"]) && !with(&["ben"]) && !with(&["ben", "dan"]));
    }

    #[test]
    fn an_offer_says_what_it_is_until_when_and_how_to_take_it() {
        let offer = v1::InboxItem { subject: "reservations/17".into(), ..item(Kind::OfferMade) };
        let advice = "\n      Take it with: carrel offers accept 17\n      \
                      Leave it to the next with: carrel offers decline 17";
        assert_eq!(
            line(&offer, &Known::default(), &TimeZone::UTC),
            format!("* 2023-11-14 22:13 UTC  offer made: reservation 17{advice}")
        );
        let known = known();
        assert_eq!(
            line(&offer, &known, &known.clock()),
            format!(
                "* 2023-11-14 23:13 CET  offer made: main/r-101, 2023-11-15 00:00–01:00 CET, \
                 to be taken by 2023-11-14 23:23 CET (reservation 17){advice}"
            )
        );
    }

    #[test]
    fn whatever_has_consequences_says_what_can_be_done() {
        for kind in [Kind::NoShow, Kind::Displaced, Kind::Suspended, Kind::CancelledLate, Kind::CancelledByStaff] {
            let item = v1::InboxItem { subject: "reservations/17".into(), ..item(kind) };
            assert!(line(&item, &Known::default(), &TimeZone::UTC).contains("carrel "), "{kind:?}");
        }
    }
}
