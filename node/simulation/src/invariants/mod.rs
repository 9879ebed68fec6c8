//! What must hold at every moment, one file each, said of what can be seen from outside a node: messages, votes, what
//! nodes say of themselves, what lies on their disks, and the library after each entry.

// In reading order: who leads, what logs hold, what is committed, what a node says of itself, what is applied.
mod election_safety;
mod one_vote_a_term;
mod log_matching;
mod leader_completeness;
mod committed_immutable;
mod committed_on_quorum;
mod acknowledged_on_disk;
mod monotonic_term;
mod monotonic_vote;
mod votes_are_remembered;
mod one_id_one_volume;
mod monotonic_commit;
mod monotonic_applied;
mod state_ordering;
mod applied_is_shown;
mod state_machine_safety;
mod time_goes_on;
mod time_is_not_ahead;
mod rules;

use std::collections::BTreeSet;

use carrel_domain::state::State;
use carrel_node::raft::types::NodeId;

/// A place in the log, told apart from what another leader put at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    pub term: u64,
    pub index: u64,
}

#[derive(Clone, Debug)]
pub struct SeenEntry {
    pub id: EntryId,
    /// Of what it carries.
    pub digest: u64,
    /// Who votes from here on, if it says so.
    pub voters: Option<Vec<BTreeSet<NodeId>>>,
}

/// For whom a node has voted last, or whom it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenVote {
    pub term: u64,
    pub to: NodeId,
    /// A majority has voted so: whoever had voted for another in this term follows, too.
    pub leads: bool,
}

impl SeenVote {
    /// Whether a node that has voted like this may hold `later` afterwards.
    #[must_use]
    pub fn may_become(&self, later: &Self) -> bool {
        let is_same = (later.term, later.to) == (self.term, self.to);
        later.term > self.term || is_same || (later.term == self.term && later.leads && !self.leads)
    }
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub term: u64,
    pub voted_for: Option<SeenVote>,
    pub last: u64,
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub purged: u64,
}

/// Something that was seen. A node is the contents of one volume, and it lives from one start of its process to the
/// next.
#[derive(Debug)]
pub enum Sight<'a> {
    /// What a leader sends has arrived.
    Append {
        term: u64,
        leader: NodeId,
        before: Option<EntryId>,
        entries: &'a [SeenEntry],
        committed: Option<EntryId>,
    },
    /// A node has told the leader of a term that it has everything up to there.
    Matched {
        by: NodeId,
        term: u64,
        through: u64,
    },
    Granted {
        by: NodeId,
        term: u64,
        to: NodeId,
    },
    /// What a node has just acknowledged was looked for on its disk, as a loss of power would leave it.
    OnDisk {
        of: NodeId,
        what: String,
        is_there: bool,
    },
    Status {
        of: NodeId,
        life: u64,
        status: Status,
    },
    /// What a process finds on its disk before it does anything.
    Starts {
        of: NodeId,
        vote: Option<SeenVote>,
    },
    /// Who votes, as a leader counts them: also by an entry that nobody else has yet.
    Voters {
        of: NodeId,
        term: u64,
        sets: &'a [BTreeSet<NodeId>],
    },
    /// Which volume bears a node's id.
    Volume {
        of: NodeId,
        incarnation: u128,
    },
    /// What a node says that it has applied, and through which entry those who read there see everything.
    Shown {
        of: NodeId,
        applied: u64,
        shown: Option<u64>,
    },
    Applied {
        of: NodeId,
        index: u64,
        /// Of the log.
        time_us: i64,
        true_time_us: i64,
        hash: Option<u64>,
        /// Where the rules are to be checked.
        state: Option<&'a State>,
    },
}

pub trait Invariant: Send {
    fn name(&self) -> &'static str;

    /// # Errors
    /// Says how it is broken.
    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String>;
}

#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<election_safety::ElectionSafety>::default(),
        Box::<one_vote_a_term::OneVoteATerm>::default(),
        Box::<log_matching::LogMatching>::default(),
        Box::<leader_completeness::LeaderCompleteness>::default(),
        Box::<committed_immutable::CommittedImmutable>::default(),
        Box::<committed_on_quorum::CommittedOnQuorum>::default(),
        Box::<acknowledged_on_disk::AcknowledgedOnDisk>::default(),
        Box::<monotonic_term::MonotonicTerm>::default(),
        Box::<monotonic_vote::MonotonicVote>::default(),
        Box::<votes_are_remembered::VotesAreRemembered>::default(),
        Box::<one_id_one_volume::OneIdOneVolume>::default(),
        Box::<monotonic_commit::MonotonicCommit>::default(),
        Box::<monotonic_applied::MonotonicApplied>::default(),
        Box::<state_ordering::StateOrdering>::default(),
        Box::<applied_is_shown::AppliedIsShown>::default(),
        Box::<state_machine_safety::StateMachineSafety>::default(),
        Box::<time_goes_on::TimeGoesOn>::default(),
        Box::<time_is_not_ahead::TimeIsNotAhead>::default(),
        Box::<rules::Rules>::default(),
    ]
}
