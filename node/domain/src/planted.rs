//! Bugs that are planted on purpose, one at a time, to see whether the simulation finds them: tests that find none
//! prove little before it is known what they would find.
//!
//! Without the feature `planted-bugs` nothing can be planted, and the compiler removes every question for it.

/// The enum, and how a bug is called on a command line.
macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

bugs! {
    /// Entries are acknowledged from the page cache.
    LogNotSynced "log-not-synced",
    VoteNotSynced "vote-not-synced",
    /// A new segment of the log has no durable name.
    SegmentNameNotSynced "segment-name-not-synced",
    SnapshotNotSynced "snapshot-not-synced",
    SnapshotNameNotSynced "snapshot-name-not-synced",
    IdentityNotSynced "identity-not-synced",
    /// The log goes on after a sync that has failed.
    FailedSyncIgnored "failed-sync-ignored",
    /// After a sync that has failed, what is read is taken for what is on disk.
    UnsyncedTailTrusted "unsynced-tail-trusted",
    ChecksumNotChecked "checksum-not-checked",
    /// A torn tail is taken for damage.
    TornTailRefused "torn-tail-refused",
    /// What a later leader took back comes back with the next start.
    TruncationNotLogged "truncation-not-logged",
    /// A segment does not say for whom its node has voted before.
    VoteNotCarried "vote-not-carried",
    /// What is committed is noted before the entries that it speaks of, and believed at the next start.
    CommittedBeyondLog "committed-beyond-log",
    RecordsNotInSnapshot "records-not-in-snapshot",
    InboxNotInSnapshot "inbox-not-in-snapshot",
    MembershipNotInSnapshot "membership-not-in-snapshot",
    /// Those who watch are not told of a state that came as a snapshot.
    SnapshotNotPublished "snapshot-not-published",
    RepeatedRequestDoneAgain "repeated-request-done-again",
    /// A leader stamps what its own clock shows.
    OwnClockAlone "own-clock-alone",
    /// Each replica fires deadlines by its own clock.
    AppliedByLocalClock "applied-by-local-clock",
    TimeGoesBack "time-goes-back",
    /// As if what is due at once were kept in the order of a hash.
    DeadlinesInHashOrder "deadlines-in-hash-order",
    /// A read is answered from memory.
    ReadsFromMemory "reads-from-memory",
    /// A leader answers reads for as long as its lease lasts by its own clock.
    ReadsByLease "reads-by-lease",
    /// A node that does not lead says up to where a read may be served.
    ReadIndexOfFollower "read-index-of-follower",
    /// An empty disk takes the id of the one that was there before.
    IdOfLostDiskUsedAgain "id-of-lost-disk-used-again",
    /// Whatever volume is there answers, whoever was called.
    RouteNotChecked "route-not-checked",
    SeatOverlapNotChecked "seat-overlap-not-checked",
    /// What was held is never given free.
    HoldsNeverExpire "holds-never-expire",
    /// An empty answer is sent to who waits for one that got lost.
    UnknownTakenForRefused "unknown-taken-for-refused",
    /// The record's rows and how far it is are committed one after the other.
    CursorInSecondTransaction "cursor-in-second-transaction",
    /// Whoever writes the record writes it, wherever it is by now.
    CursorNotCompared "cursor-not-compared",
}

#[cfg(feature = "planted-bugs")]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static ASKED: Cell<u64> = const { Cell::new(0) };
    }

    /// From now on this thread has this bug and no other.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        ASKED.set(0);
    }

    #[must_use]
    pub fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Another answer each time, as a hash has another order on every replica.
    #[must_use]
    pub fn by_chance(bug: Bug) -> bool {
        has(bug) && {
            ASKED.set(ASKED.get() + 1);
            ASKED.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub use planting::{by_chance, has, plant};

#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn has(_: Bug) -> bool {
    false
}

#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn by_chance(_: Bug) -> bool {
    false
}
