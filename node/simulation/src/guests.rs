//! People who hold, wait, are offered what others give back, and write to each other; and those who watch their inbox.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carrel_domain::id::{ClaimId, Position};
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, Need, Place, Wish};
use carrel_domain::text::MessageText;
use carrel_node::replica::{Freshness, ReadError};
use openraft::type_config::TypeConfigExt;

use crate::clients::Client;
use crate::library::{JUDGED_SEATS, LOUNGE, OTHER_SEATS, Person, seat, slot_of_time, slug};
use crate::marks::Mark;
use crate::world::Rt;

/// Slots that guests want: two, so that they wait for each other.
const WANTED_SLOTS: u64 = 2;

/// How long a watcher stays at one node at most.
const WATCH_MS: std::ops::Range<u64> = 200..2_500;

/// Items a watcher takes at once: fewer than there are, so that pages have ends.
const PAGE: usize = 7;

/// A message, as its text says: who sent it and which of theirs it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub from: u32,
    pub text: String,
    pub to: u32,
    /// The sender was told that it was sent.
    pub is_acknowledged: bool,
}

#[derive(Debug, Default)]
pub struct Post {
    pub sent: Mutex<Vec<Sent>>,
    numbers: AtomicU64,
}

/// What somebody who watched was told, in the order they were told it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub positions: Vec<Position>,
}

/// Holds, waits, accepts, gives back and writes until told to stop.
pub async fn bustle(mut client: Client, people: Vec<Person>, post: Arc<Post>) {
    let mut held: Vec<ClaimId> = Vec::new();
    let mut booked: Vec<ClaimId> = Vec::new();
    // When the doors open, all want to hold something at once; and where there is time to, they forget it.
    let wish = Wish::of_seat(seat(JUDGED_SEATS + client.person.number % OTHER_SEATS), slot_of_time(WANTED_SLOTS, 1));
    let hold = claim(&mut client, Action::Hold { wish }).await;
    held.extend(hold.filter(|_| !client.world.draw.is_slow));
    while !client.recorder.is_stopped() {
        client.think().await;
        client.go_on(false);
        let number = JUDGED_SEATS + client.dice.below(u64::from(OTHER_SEATS)) as u32;
        let interval = slot_of_time(client.dice.below(WANTED_SLOTS), 1);
        match client.dice.below(100) {
            0..=19 => {
                let wish = Wish::of_seat(seat(number), interval);
                held.extend(claim(&mut client, Action::Hold { wish }).await);
            }
            20..=34 => {
                let wish = Wish::of_seat(seat(number), interval);
                booked.extend(claim(&mut client, Action::Reserve { wish }).await);
            }
            35..=44 => {
                if let Some(hold) = held.pop() {
                    booked.extend(claim(&mut client, Action::Confirm { claim: hold }).await);
                }
            }
            45..=64 => {
                if let Some(booking) = booked.pop() {
                    claim(&mut client, Action::Cancel { claim: booking, reason: None }).await;
                }
            }
            65..=79 => {
                let place = Place::Area { branch: slug("house"), area: slug(LOUNGE) };
                let other = Place::Seat { branch: slug("house"), seat: seat(number).seat };
                let place = if client.dice.happens(500) { place } else { other };
                let need = Need { place, amenities: Vec::new(), accessible: false };
                claim(&mut client, Action::JoinWaitlist { need, interval, minutes: None }).await;
            }
            _ => write(&mut client, &people, &post).await,
        }
    }
}

/// The claim that came of it, if one did.
async fn claim(client: &mut Client, action: Action) -> Option<ClaimId> {
    let request = client.person.request(u128::from(client.recorder.next_request()), action);
    match client.insist(&request).await?.result {
        Ok(Reply::Claim(view)) => Some(view.claim.id),
        Ok(_) | Err(_) => None,
    }
}

async fn write(client: &mut Client, people: &[Person], post: &Post) {
    let others: Vec<Person> = people.iter().filter(|person| person.number != client.person.number).cloned().collect();
    let Some(to) = client.dice.pick(&others).cloned() else { return };
    let number = post.numbers.fetch_add(1, Ordering::Relaxed);
    let text = format!("message {number} of {}", client.person.name);
    let place = {
        let mut sent = post.sent.lock().expect("nothing panics while it holds the lock");
        let entry = Sent { from: client.person.number, text: text.clone(), to: to.number, is_acknowledged: false };
        sent.push(entry);
        sent.len() - 1
    };
    let text = MessageText::new(&text).expect("written here");
    let action = Action::SendMessage { recipients: vec![to.name], text };
    let request = client.person.request(u128::from(client.recorder.next_request()), action);
    let is_sent = client.insist(&request).await.is_some_and(|said| said.result.is_ok());
    post.sent.lock().expect("nothing panics while it holds the lock")[place].is_acknowledged = is_sent;
}

/// Follows an inbox from node to node by a token, until told to stop; tells what was heard.
pub async fn watch(mut client: Client, heard: Arc<Mutex<Heard>>) {
    let user = client.person.user;
    let mut after = Position::default();
    let mut seen_index = 0;
    while !client.recorder.is_stopped() {
        client.go_on(true);
        if seen_index > 0 {
            client.world.marks.hit(Mark::WatcherResumed);
        }
        let stay = client.dice.millis(WATCH_MS);
        let ends = client.world.time.elapsed() + stay;
        while client.world.time.elapsed() < ends && !client.recorder.is_stopped() {
            let token = Freshness::AtLeast { lineage: 0, index: seen_index };
            let left = ends.saturating_sub(client.world.time.elapsed()) + Duration::from_millis(300);
            let asked = client.world.ask(client.at, left, move |node| async move {
                let replica = node.replica();
                let mut changes = replica.changes();
                let before = changes.get();
                let view = replica.read(token).await?;
                let page = view.inbox(user, after, PAGE);
                if page.items.is_empty() {
                    // Nothing new: woken by the next entry, as whoever holds a stream open.
                    changes.wait_for(|applied| *applied != before).await;
                }
                let items: Vec<Position> = page.items.iter().map(|item| item.position).collect();
                Ok::<_, ReadError>((view.at().index, items))
            });
            match asked.await {
                Some(Ok((index, items))) => {
                    if items.iter().zip(items.iter().skip(1)).any(|(one, next)| one >= next)
                        || items.first().is_some_and(|first| *first <= after)
                    {
                        let how = format!("{} was told {items:?} after {after:?}", client.person.name);
                        client.world.witness.accuse("a stream is ordered and unique", how);
                    }
                    client.world.marks.add(Mark::MessageHeard, items.len() as u64);
                    let is_whole = items.len() < PAGE;
                    after = items.last().copied().unwrap_or(after);
                    heard.lock().expect("nothing panics while it holds the lock").positions.extend(items);
                    seen_index = seen_index.max(index);
                    if is_whole {
                        // A bookmark: nothing up to there is missing.
                        after = after.max(Position::end_of(index));
                    }
                }
                Some(Err(ReadError::ForeignToken)) => {
                    let how =
                        format!("{} has seen entry {seen_index}, and is told that it never was", client.person.name);
                    client.world.witness.accuse("a token of what was seen is honoured", how);
                    return;
                }
                Some(Err(ReadError::NoQuorum | ReadError::Behind | ReadError::NotServing(_))) | None => break,
            }
        }
        Rt::sleep(Duration::from_millis(20)).await;
    }
}
