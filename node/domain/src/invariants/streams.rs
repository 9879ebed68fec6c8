//! The inbox.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Position;
use crate::inbox::{ITEMS_PER_STREAM_MAX, ItemKind, Stream};
use crate::state::State;

pub(super) fn streams_are_counted(state: &State, found: &mut Vec<String>) {
    let mut counts: BTreeMap<Stream, u32> = BTreeMap::new();
    for (stream, position) in state.inbox.items.keys() {
        *counts.entry(*stream).or_default() += 1;
        if *position > Position::end_of(state.at.index) {
            found.push(format!("{position:?} of {stream:?} is in the future"));
        }
        if let Stream::User(user) = stream
            && state.accounts.user(*user).is_none()
        {
            found.push(format!("{stream:?} belongs to nobody"));
        }
    }
    let by_age: BTreeSet<_> = state.inbox.items.keys().map(|(stream, position)| (*position, *stream)).collect();
    if !state.inbox.by_age.iter().copied().eq(by_age) {
        found.push("items by age are not the items".to_owned());
    }
    let announced = state.inbox.of(Stream::Everyone, Position::default()).map(|(position, _)| position);
    if !state.inbox.announced.iter().copied().eq(announced) {
        found.push("announcements in order are not the announcements".to_owned());
    }
    let of = |stream| counts.get(&stream).copied().unwrap_or(0);
    if state.inbox.everyone_count != of(Stream::Everyone) {
        found.push(format!("{} announcements, not {}", state.inbox.everyone_count, of(Stream::Everyone)));
    }
    for user in state.accounts.users.iter().flatten() {
        if user.item_count != of(Stream::User(user.id)) {
            found.push(format!("{:?} has {} items, not {}", user.id, user.item_count, of(Stream::User(user.id))));
        }
    }
    for (stream, let_go) in &state.inbox.let_go {
        if let Some((oldest, _)) = state.inbox.of(*stream, Position::default()).next().filter(|(old, _)| old <= let_go)
        {
            found.push(format!("{stream:?} let go of {let_go:?} and kept {oldest:?}"));
        }
        if let Stream::User(user) = stream
            && state.accounts.user(*user).is_none()
        {
            found.push(format!("{stream:?} is remembered and belongs to nobody"));
        }
    }
    found.extend(counts.iter().filter(|(_, n)| **n > ITEMS_PER_STREAM_MAX).map(|(s, n)| format!("{s:?} holds {n}")));
}

pub(super) fn unread_is_a_recount(state: &State, found: &mut Vec<String>) {
    for user in state.accounts.users.iter().flatten() {
        let unread = state.inbox.items.iter().filter(|((stream, position), item)| {
            let is_sent = matches!(&item.kind, ItemKind::Message { sender, recipients, .. }
                if *sender == user.id && !recipients.contains(&user.id));
            let is_theirs = match stream {
                Stream::User(other) => *other == user.id,
                Stream::Everyone => position.index > user.created.index,
            };
            let is_tombstone = matches!(item.kind, ItemKind::Unsent { .. });
            is_theirs && !is_sent && !is_tombstone && *position > user.read_up_to
        });
        let (unread, counted) = (unread.count() as u32, state.unread_count(user.id));
        if unread != counted {
            found.push(format!("{:?} has {unread} unread, counted {counted}", user.id));
        }
        if user.read_up_to > Position::end_of(state.at.index) {
            found.push(format!("{:?} has read the future", user.id));
        }
    }
}
