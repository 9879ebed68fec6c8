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
    let of = |stream| counts.get(&stream).copied().unwrap_or(0);
    let audiences = counts.keys().filter(|stream| !matches!(stream, Stream::User(_)));
    if !state.inbox.announced.keys().eq(audiences) {
        found.push("audiences are not those to whom something was said".to_owned());
    }
    for (stream, announced) in &state.inbox.announced {
        let positions = state.inbox.of(*stream, Position::default()).map(|(position, _)| position);
        if !announced.iter().copied().eq(positions) {
            found.push(format!("announcements to {stream:?} in order are not the announcements"));
        }
    }
    let feeds = state.reaches.iter().filter_map(|(user, reach)| Some((reach.feed?, *user)));
    if state.feeds.iter().map(|(token, user)| (*token, *user)).collect::<BTreeSet<_>>() != feeds.collect() {
        found.push("addresses of calendars do not lead to their owners".to_owned());
    }
    let strangers = state.reaches.keys().filter(|user| state.accounts.user(**user).is_none());
    found.extend(strangers.map(|user| format!("{user:?} is gone and follows something")));
    let strangers = state.mails.all.keys().filter(|user| state.accounts.user(**user).is_none());
    found.extend(strangers.map(|user| format!("{user:?} is gone and wants mail")));
    let now = Position::end_of(state.at.index);
    let mails = state.mails.all.values().map(|mail| mail.through);
    if mails.chain(state.webhooks.values().map(|webhook| webhook.through)).any(|through| through > now) {
        found.push("somebody was told the future".to_owned());
    }
    for user in state.accounts.users.iter().flatten() {
        if user.item_count != of(Stream::User(user.id)) {
            found.push(format!("{:?} has {} items, not {}", user.id, user.item_count, of(Stream::User(user.id))));
        }
    }
    for (stream, let_go) in &state.inbox.let_go {
        if state.inbox.items.contains_key(&(*stream, *let_go)) {
            found.push(format!("{stream:?} let go of {let_go:?} and kept it"));
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
        let heard: BTreeMap<Stream, Position> = state.heard_by(user).collect();
        let unread = state.inbox.items.iter().filter(|((stream, position), item)| {
            let is_sent = matches!(&item.kind, ItemKind::Message { sender, recipients, .. }
                if *sender == user.id && !recipients.contains(&user.id));
            let is_theirs = match stream {
                Stream::User(other) => *other == user.id,
                audience => heard.get(audience).is_some_and(|since| position > since),
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
