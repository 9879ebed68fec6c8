//! What whoever watches is promised, held against real nodes of which the leader is killed, of which two come anew by a
//! snapshot, and between which readers go back and forth. One day is recorded; each promise is a test of its own.
//!
//! Ordered: never back. Unique: nothing twice. Atomic: what one entry did comes at once. Bookmarkable: silence has a
//! place. Resumable: from any token exactly what came after it, on any node. Reliable: nothing is left out.

mod day;
mod recorded;

#[path = "../first_light/stage.rs"]
#[allow(dead_code, reason = "the stage has more than these stories need")]
mod stage;

use std::collections::BTreeSet;

use recorded::{Day, day};

#[test]
fn ordered() {
    let Day { inboxes, maps, clusters, .. } = day();
    for inbox in inboxes {
        assert!(inbox.iter().is_sorted_by_key(|item| item.position), "{inbox:?}");
    }
    for map in maps {
        assert!(map.iter().is_sorted_by_key(|frame| frame.position), "{map:?}");
    }
    for cluster in clusters {
        assert!(
            cluster.len() > 3 && cluster.is_sorted(),
            "a membership never goes back, whoever tells it: {cluster:?}"
        );
    }
}

#[test]
fn unique() {
    for inbox in &day().inboxes {
        let positions: BTreeSet<_> = inbox.iter().map(|item| item.position).collect();
        assert_eq!(positions.len(), inbox.len(), "{inbox:?}");
    }
}

#[test]
fn reliable() {
    let Day { inboxes, written, .. } = day();
    assert!(inboxes.len() >= 4, "readers on several nodes");
    for inbox in inboxes {
        let texts: Vec<&str> = inbox.iter().map(|item| item.text.as_str()).collect();
        assert_eq!(&texts, written, "each letter that was acknowledged, as often as it was written");
    }
}

#[test]
fn atomic() {
    let Day { maps, closed, .. } = day();
    for map in maps {
        // All these seats were closed by one entry.
        let first = map.iter().find(|frame| !frame.is_snapshot && closed.iter().any(|seat| frame.taken.contains(seat)));
        let Some(first) = first else { continue };
        assert!(closed.iter().all(|seat| first.taken.contains(seat)), "a part of what one entry did: {first:?}");
    }
    let told_live = |map: &&Vec<recorded::Frame>| map.iter().any(|frame| !frame.is_snapshot);
    assert!(maps.iter().filter(told_live).count() > 0, "somebody saw it as it happened");
}

#[test]
fn bookmarkable() {
    let Day { bookmarks, .. } = day();
    for (what, waited) in bookmarks {
        assert!(waited.as_secs() < 16, "{what} was silent for {waited:?}");
    }
    assert_eq!(bookmarks.len(), 2, "an inbox and a map");
}

#[test]
fn resumable() {
    let Day { resumed, .. } = day();
    assert!(resumed.len() >= 20, "several tokens on each of five nodes, two of which came by a snapshot");
    for again in resumed {
        assert_eq!(again.got, again.expected, "on node {} after {:?}", again.node, again.after);
    }
}

#[test]
fn a_map_that_is_resumed_is_the_map_as_it_is() {
    let Day { maps_resumed, map_at_the_end, .. } = day();
    assert!(!maps_resumed.is_empty());
    for map in maps_resumed {
        assert_eq!(map, map_at_the_end);
    }
}
