//! What a client was told, against what stands at the end.

use std::collections::{BTreeMap, BTreeSet};

use carrel_proto::v1;
use serde::Serialize;

use crate::bench::accounts::Account;
use crate::bench::ground::PAGE_SIZE;

/// What one client sent and was told.
#[derive(Default)]
pub struct Told {
    /// Names of bookings, and whether they were cancelled later.
    pub bookings: BTreeMap<String, bool>,
    pub messages: BTreeSet<String>,
    /// Commands by how often they were meant to be sent.
    pub copies: BTreeMap<u64, u64>,
    /// In all, those sent again for want of an answer included.
    pub sent: u64,
    pub differ: u64,
    /// Commands of which more than one copy was told that it was the first.
    pub firsts_too_many: u64,
}

/// What the cluster says at the end about one person.
pub struct Seen {
    pub reservations: Vec<v1::Reservation>,
    pub messages: Vec<v1::InboxItem>,
}

pub async fn seen(account: &Account) -> anyhow::Result<Seen> {
    let mut messages = Vec::new();
    let mut after = String::new();
    loop {
        let request = v1::ListInboxRequest { after, page_size: PAGE_SIZE, ..Default::default() };
        let page = account.client.list_inbox(request).await?;
        messages.extend(page.items.into_iter().filter(|item| item.kind() == v1::inbox_item::Kind::Message));
        if !page.more {
            break;
        }
        after = page.resume_token;
    }
    Ok(Seen { reservations: account.reservations().await?, messages })
}

/// What stands at the end, by kind: as it should be, and as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effects {
    pub bookings_asked: u64,
    pub bookings: u64,
    pub cancellations_asked: u64,
    pub cancellations: u64,
    pub messages_asked: u64,
    pub messages: u64,
    /// Acknowledged, and not there or not as it was acknowledged.
    pub wrong: u64,
}

impl Effects {
    pub fn add(&mut self, other: &Self) {
        self.bookings_asked += other.bookings_asked;
        self.bookings += other.bookings;
        self.cancellations_asked += other.cancellations_asked;
        self.cancellations += other.cancellations;
        self.messages_asked += other.messages_asked;
        self.messages += other.messages;
        self.wrong += other.wrong;
    }

    pub fn asked(&self) -> u64 {
        self.bookings_asked + self.cancellations_asked + self.messages_asked
    }

    pub fn found(&self) -> u64 {
        self.bookings + self.cancellations + self.messages
    }
}

impl Told {
    /// Cancelling twice would leave a revision more, booking twice a reservation more, sending twice a message more.
    pub fn compare(&self, reservations: &[v1::Reservation], inbox: &[v1::InboxItem], me: &str) -> Effects {
        let by_name: BTreeMap<&str, &v1::Reservation> = reservations.iter().map(|r| (r.name.as_str(), r)).collect();
        let is_right = |(name, cancelled): (&String, &bool)| {
            let state = if *cancelled { v1::reservation::State::Cancelled } else { v1::reservation::State::Confirmed };
            let revision = if *cancelled { 2 } else { 1 };
            by_name.get(name.as_str()).is_some_and(|found| found.state() == state && found.revision == revision)
        };
        let mine = inbox.iter().filter(|item| item.sender == me);
        let texts: BTreeSet<&str> = mine.clone().map(|item| item.text.as_str()).collect();
        let missing = self.messages.iter().filter(|text| !texts.contains(text.as_str())).count() as u64;
        let cancelled = |state| state == v1::reservation::State::Cancelled;
        Effects {
            bookings_asked: self.bookings.len() as u64,
            bookings: reservations.len() as u64,
            cancellations_asked: self.bookings.values().filter(|cancelled| **cancelled).count() as u64,
            cancellations: reservations.iter().filter(|found| cancelled(found.state())).count() as u64,
            messages_asked: self.messages.len() as u64,
            messages: mine.count() as u64,
            wrong: missing + self.bookings.iter().filter(|booked| !is_right(*booked)).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::reservation::State::{Cancelled, Confirmed};

    fn reservation(name: &str, state: v1::reservation::State, revision: i64) -> v1::Reservation {
        v1::Reservation { name: name.into(), state: state.into(), revision, ..Default::default() }
    }

    fn message(sender: &str, text: &str) -> v1::InboxItem {
        v1::InboxItem { sender: sender.into(), text: text.into(), ..Default::default() }
    }

    #[test]
    fn every_effect_too_few_or_too_many_is_counted() {
        let mut told = Told::default();
        told.bookings.insert("reservations/1".into(), true);
        told.bookings.insert("reservations/2".into(), false);
        told.messages.insert("message 7".into());
        let there = [reservation("reservations/1", Cancelled, 2), reservation("reservations/2", Confirmed, 1)];
        let inbox = [message("users/amy", "message 7"), message("users/ben", "message 7")];
        let count = |there: &[v1::Reservation], inbox: &[v1::InboxItem]| told.compare(there, inbox, "users/amy");

        let right = count(&there, &inbox);
        assert_eq!((right.asked(), right.found(), right.wrong), (4, 4, 0));

        let again = [&there[..], &[reservation("reservations/3", Confirmed, 1)]].concat();
        assert_eq!(count(&again, &inbox).bookings, 3, "booked twice");
        let cancelled_again = [reservation("reservations/1", Cancelled, 3), there[1].clone()];
        assert_eq!(count(&cancelled_again, &inbox).wrong, 1, "cancelled twice");
        let not_cancelled = [reservation("reservations/1", Confirmed, 1), there[1].clone()];
        assert_eq!((count(&not_cancelled, &inbox).cancellations, count(&not_cancelled, &inbox).wrong), (0, 1));
        assert_eq!(count(&there[..1], &inbox).wrong, 1, "lost");
        assert_eq!(count(&there, &[&inbox[..], &inbox[..1]].concat()).messages, 2, "sent twice");
        assert_eq!((count(&there, &[]).messages, count(&there, &[]).wrong), (0, 1), "not sent");
    }
}
