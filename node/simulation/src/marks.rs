//! What has to have happened somewhere in a set of runs for the set to say anything: every kind of fault, and every
//! corner of the code that only a fault leads to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

marks! {
    MessageLost "a message was lost",
    MessageTwice "a message arrived twice",
    MessageOvertaken "a message was overtaken by a later one",
    CutOneWay "a way was cut in one direction",
    Partition "the machines were split in two",
    LeaderIsolated "a leader was cut off from everybody",
    Clog "a way became slow",
    Pause "a process was paused",
    LeaderPaused "a leader was paused",
    Suspended "a machine was suspended, and its clock stood still",
    Kill "a process was killed",
    PowerLost "a machine lost power, and what was not synced",
    AllPowerLost "all machines lost power at once",
    LongOutage "a machine was gone for long",
    StopOrderly "a process was asked to end",
    SlowDisk "a disk synced slowly",
    FullDisk "a disk was full",
    SyncFailed "a sync failed, and the process ended",
    Damage "bytes of a volume were damaged",
    DamageFound "a damaged volume was refused",
    DamageOfLog "bytes of a log were damaged",
    DamageHarmless "a damaged volume had lost nothing",
    DiskLost "a disk was lost with all that was on it",
    ClockWrong "a clock was wrong",
    ClockJump "a clock jumped",
    Transfer "a leader was asked to let another lead",
    Resized "another size of the cluster was wanted",
    Grown "a cluster grew",
    Shrunk "a cluster shrank",
    Founded "a cluster was founded",
    Joined "a volume became a member",
    Replaced "a lost member was replaced under a new id",
    VotersChanged "voters were changed",
    MemberRemoved "a member was taken out for good",
    VolumeSetAside "a volume of before was set aside",
    LeaderChanged "another leader was elected",
    DeposedInIgnorance "two nodes believed that they lead",
    EntriesConflicted "entries of a follower gave way to the leader's",
    SnapshotWritten "a snapshot was written",
    LogPurged "a log was purged",
    SnapshotSent "a follower was brought up by a snapshot",
    RestartedFromSnapshot "a node started from a snapshot and the log behind it",
    RestartedFromLog "a node started from its log alone",
    Forwarded "a request was handed to the leader",
    AnsweredAgain "a repeated request was answered from its record",
    OutcomeUnknown "a client was not told an outcome",
    RequestRepeated "a client repeated a request",
    ReadElsewhere "a client read at a follower",
    ReadRefused "a node could not answer a read",
    SeatTaken "a seat was taken",
    HoldExpired "a hold expired",
    Offered "what was given back was offered to who waited",
    MessageHeard "a message was heard by who watched their inbox",
    WatcherResumed "who watched resumed at another node",
    DurabilityLooked "what was acknowledged was looked for on the disk",
    RecordStopped "Postgres went away",
    RecordCut "a node could not reach Postgres",
    RecordSlow "Postgres was slow",
    RecordRestored "Postgres was restored to the past",
    RecordWritten "a transaction of the record was committed",
    CommitLost "a commit was lost on its way",
    CommitUnknown "a commit was done, and nobody was told",
    ProjectorsMet "a projector found the cursor moved by another",
    RecordBegunAgain "the record was written anew from the state",
    RecordCompared "rows and the state of their entry were compared",
    HashesCompared "states of one entry were compared",
    InvariantsLooked "the rules' invariants were checked",
    Calm "all faults were over, and the cluster served",
}

/// How often each has happened. Shared by all who see something.
#[derive(Default)]
pub struct Marks {
    counts: Mutex<BTreeMap<Mark, u64>>,
}

pub type Counts = BTreeMap<Mark, u64>;

impl Marks {
    pub fn hit(&self, mark: Mark) {
        self.add(mark, 1);
    }

    pub fn add(&self, mark: Mark, count: u64) {
        if count > 0 {
            *self.lock().entry(mark).or_default() += count;
        }
    }

    pub fn of(&self, mark: Mark) -> u64 {
        self.lock().get(&mark).copied().unwrap_or(0)
    }

    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("nothing panics while it holds the lock")
    }
}

/// The marks that never were hit.
#[must_use]
pub fn missing(counts: &Counts) -> Vec<Mark> {
    Mark::ALL.iter().copied().filter(|mark| counts.get(mark).copied().unwrap_or(0) == 0).collect()
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Marks").field(&*self.lock()).finish()
    }
}
