//! The steps, why one is taken, and why none can be: all in words a person can read.

use std::collections::BTreeSet;
use std::fmt;

use crate::desired::Replicas;
use crate::guards::{Denied, Quorum, VoterSet};
use crate::identity::{Cluster, ClusterId, Incarnation, LogId, NodeId, Ordinal};
use crate::observed::Founding;
use crate::wording::list;

/// One thing to do. Each names all that performing it needs, and is refused or does nothing if it was done already.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Run ordinals `0..count`, refused if [`Running`](crate::Running) is no longer of this generation. Whoever lowers
    /// the count asks the leader once more, just before, that no member lives above it: no generation can tell.
    Run { count: u32, generation: u64 },
    /// Draw a cluster id and record [`Founding::Claimed`] with it, refused if the record is no longer this one.
    ClaimFounding { ordinal: Ordinal, seed: Incarnation, wanted_voters: Replicas, expected: Founding },
    /// `Initialize` on this ordinal, if it still has this incarnation.
    Initialize { ordinal: Ordinal, seed: Incarnation, cluster: ClusterId, wanted_voters: Replicas },
    /// Record [`Founding::Done`].
    RecordFounded { cluster: ClusterId },
    /// `AllocateNode` on the leader, then `Join` on the node with the id that came back. Allocation gives an
    /// incarnation the same id every time, so a repetition is harmless.
    Admit { ordinal: Ordinal, incarnation: Incarnation },
    /// `AddLearner` on the leader, which refuses if its membership is not this one any more, and an id that was taken
    /// out for good.
    AddLearner { node_id: NodeId, expected: LogId },
    /// `ChangeVoters` on the leader, which refuses if its membership is not this one any more. Voters that leave stay
    /// members, as learners. Finishes a joint change just as well.
    ChangeVoters { voters: VoterSet, expected: LogId },
    /// `TransferLeadership` to a caught-up voter.
    TransferLeadership { to: NodeId },
    /// `RemoveNode` on the leader, which refuses to remove a voter. The id is never used again.
    RemoveNode { node_id: NodeId },
    /// Stop this ordinal, put its data aside, and start it on an empty volume, if it still has this incarnation.
    SetVolumeAside { ordinal: Ordinal, incarnation: Incarnation },
}

/// Why a step is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    TooFewRun {
        running: u32,
        wanted: u32,
    },
    TooManyRun {
        running: u32,
        wanted: u32,
    },
    NoClusterAnywhere {
        asked: usize,
    },
    SeedLost {
        seed: Incarnation,
    },
    FoundingClaimed,
    FirstLed {
        leader: NodeId,
    },
    ChangeLeftBehind {
        outgoing: BTreeSet<NodeId>,
        incoming: BTreeSet<NodeId>,
    },
    LeaderLeaves {
        leader: NodeId,
        voters: VoterSet,
    },
    Grow {
        from: usize,
        to: usize,
    },
    Shrink {
        from: usize,
        to: usize,
    },
    /// These voters' addresses answer from other volumes.
    Replace {
        lost: BTreeSet<NodeId>,
    },
    LearnerLost {
        ordinal: Ordinal,
    },
    BeyondReplicas {
        ordinal: Ordinal,
        replicas: u32,
    },
    WaitsToJoin {
        ordinal: Ordinal,
    },
    JoinedNotMember {
        ordinal: Ordinal,
    },
    IdRemoved {
        node_id: NodeId,
    },
}

/// What has to happen by itself before the next step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pending {
    /// Nothing is founded while somebody may hold a cluster.
    MayHoldCluster {
        silent: BTreeSet<Ordinal>,
    },
    /// A cluster exists, and nobody can say who its members are.
    MembersUnknown {
        silent: BTreeSet<Ordinal>,
    },
    NoLeader {
        quorum: Quorum,
    },
    /// One claims to lead, but a majority has not answered it lately.
    LeaderUnconfirmed {
        leader: NodeId,
        quorum: Quorum,
    },
    ChangeInFlight {
        membership: LogId,
    },
    Denied {
        voters: VoterSet,
        denied: Denied,
    },
    /// It answers the leader and is behind.
    CatchingUp {
        node_id: NodeId,
        ordinal: Ordinal,
        entries_behind: u64,
    },
    /// These do not answer. They are left alone.
    Silent {
        ordinals: BTreeSet<Ordinal>,
        quorum: Quorum,
    },
    /// Its address answers, but not the leader.
    Unheard {
        node_id: NodeId,
        ordinal: Ordinal,
    },
    NotFormed {
        voters: usize,
    },
}

/// What will not mend without a person, or without something coming back from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    QuorumLost {
        quorum: Quorum,
        silent: BTreeSet<Ordinal>,
        lost: BTreeSet<Ordinal>,
    },
    EveryVolumeLost {
        cluster: ClusterId,
    },
    /// The only node that was ever to vote is gone. It may have served before anybody could write that down.
    SeedLost {
        cluster: ClusterId,
    },
    /// Every node answers, some were told who they are, and none ever received the membership.
    MembershipLost {
        joined: BTreeSet<Ordinal>,
    },
    /// Data of some other cluster; everything stops until it is gone.
    ForeignVolume {
        ordinal: Ordinal,
        found: Cluster,
        expected: ClusterId,
    },
    OtherLineage {
        ordinal: Ordinal,
        found: Cluster,
        expected: u32,
    },
    /// A volume sits under another address than the one its members know it by.
    Misplaced {
        node_id: NodeId,
        found: Ordinal,
        belongs: Ordinal,
    },
    /// A joint change between two even voter sets: not ours, and neither end of it is safe to choose.
    EvenVoters {
        outgoing: BTreeSet<NodeId>,
        incoming: BTreeSet<NodeId>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Run { count: 1, .. } => write!(f, "run ordinal 0 alone"),
            Step::Run { count, .. } => write!(f, "run ordinals 0 to {}", count.saturating_sub(1)),
            Step::ClaimFounding { ordinal, .. } => write!(f, "record that ordinal {ordinal} may found a cluster"),
            Step::Initialize { ordinal, wanted_voters, .. } => {
                write!(f, "found the cluster on ordinal {ordinal}, to serve with {}", voters(wanted_voters.count()))
            }
            Step::RecordFounded { .. } => write!(f, "record that the cluster is founded"),
            Step::Admit { ordinal, .. } => write!(f, "give ordinal {ordinal} a node id"),
            Step::AddLearner { node_id, expected: _ } => write!(f, "add node {node_id} as a learner"),
            Step::ChangeVoters { voters, expected } => {
                write!(f, "let {voters} vote, if membership is still {expected}")
            }
            Step::TransferLeadership { to } => write!(f, "hand leadership to node {to}"),
            Step::RemoveNode { node_id } => write!(f, "remove node {node_id} for good"),
            Step::SetVolumeAside { ordinal, .. } => write!(f, "give ordinal {ordinal} an empty volume"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooFewRun { running, wanted } => write!(f, "{running} of {wanted} run"),
            Reason::TooManyRun { running, wanted } => {
                write!(f, "of {running} that run {wanted} are wanted, and no member is left above")
            }
            Reason::NoClusterAnywhere { asked } => {
                write!(f, "every node answers ({asked} asked) and none was ever part of a cluster")
            }
            Reason::SeedLost { .. } => {
                f.write_str("the volume that was to found it is gone, and no node was ever part of a cluster")
            }
            Reason::FoundingClaimed => f.write_str("it alone may, and it has not yet done so"),
            Reason::FirstLed { leader } => write!(f, "node {leader} leads it"),
            Reason::ChangeLeftBehind { outgoing, incoming } => {
                write!(f, "the change from {} to {} was left half way", list(outgoing), list(incoming))
            }
            Reason::LeaderLeaves { leader, voters } => {
                write!(f, "node {leader} leads and is not to vote any more, only {voters}")
            }
            Reason::Grow { from, to } => write!(f, "voters can go from {from} to {to}: the new ones are caught up"),
            Reason::Shrink { from, to } => write!(f, "voters go from {from} to {to} as wanted"),
            Reason::Replace { lost } if lost.len() == 1 => {
                write!(f, "the volume of node {} is gone and its successor is caught up", list(lost))
            }
            Reason::Replace { lost } => {
                write!(f, "the volumes of nodes {} are gone and their successors are caught up", list(lost))
            }
            Reason::LearnerLost { ordinal } => write!(f, "ordinal {ordinal} answers from another volume"),
            Reason::BeyondReplicas { ordinal, replicas } => {
                write!(f, "it has no vote, and ordinal {ordinal} is beyond the {replicas} wanted")
            }
            Reason::WaitsToJoin { ordinal } => write!(f, "ordinal {ordinal} is pristine and waits to be joined"),
            Reason::JoinedNotMember { ordinal } => write!(f, "ordinal {ordinal} has joined and is not a member yet"),
            Reason::IdRemoved { node_id } => {
                write!(f, "its volume is that of node {node_id}, which was removed for good")
            }
        }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pending::MayHoldCluster { silent } => {
                write!(
                    f,
                    "{} silent and may hold a cluster: nothing is founded before all answer",
                    ordinals_are(silent)
                )
            }
            Pending::MembersUnknown { silent } => {
                write!(f, "a cluster exists, but no node can say who its members are; {} silent", ordinals_are(silent))
            }
            Pending::NoLeader { quorum } => {
                write!(
                    f,
                    "no leader: {} of {} voters answer, {} needed",
                    quorum.healthy,
                    quorum.voters,
                    quorum.needed()
                )
            }
            Pending::LeaderUnconfirmed { leader, quorum } => {
                let Quorum { voters, healthy } = quorum;
                write!(
                    f,
                    "node {leader} claims to lead but hears {healthy} of {voters} voters, {} needed",
                    quorum.needed()
                )
            }
            Pending::ChangeInFlight { membership } => write!(f, "membership {membership} has not committed yet"),
            Pending::Denied { voters, denied } => write!(f, "cannot let {voters} vote: {denied}"),
            Pending::CatchingUp { node_id, ordinal, entries_behind } => {
                write!(f, "node {node_id} (ordinal {ordinal}) is {entries_behind} entries behind")
            }
            Pending::Silent { ordinals, quorum } => {
                write!(f, "{} silent and left alone; {quorum}", ordinals_are(ordinals))
            }
            Pending::Unheard { node_id, ordinal } => {
                write!(f, "node {node_id} (ordinal {ordinal}) runs, but the leader does not hear it")
            }
            Pending::NotFormed { voters } => write!(
                f,
                "voters are as wanted ({voters}), but it was founded for another number: ask for that one first"
            ),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::QuorumLost { quorum, silent, lost } => {
                let Quorum { voters, healthy } = quorum;
                write!(f, "quorum lost: {healthy} of {voters} voters answer, {} needed", quorum.needed())?;
                if !lost.is_empty() {
                    write!(f, "; volume gone: {}", ordinals(lost))?;
                }
                let missing = quorum.needed().saturating_sub(*healthy);
                if silent.len() >= missing {
                    write!(f, "; back once {missing} of {} silent return", silent.len())?;
                    write!(f, " ({})", ordinals(silent))
                } else {
                    f.write_str("; only a recovery or a backup brings it back")
                }
            }
            Problem::EveryVolumeLost { cluster } => {
                write!(f, "every node is empty but cluster {cluster} existed: bring a volume back or restore a backup")
            }
            Problem::SeedLost { cluster } => {
                write!(
                    f,
                    "the one volume of cluster {cluster} is gone and may have served: bring it back, restore a backup"
                )?;
                f.write_str(", or clear the record of the founding")
            }
            Problem::MembershipLost { joined } => {
                write!(f, "every node answers and none knows the members, though {} joined", ordinals(joined))?;
                f.write_str(": bring a voter's volume back or restore a backup")
            }
            Problem::ForeignVolume { ordinal, found, expected } => {
                let found = found.id;
                write!(
                    f,
                    "ordinal {ordinal} holds data of cluster {found}, this is {expected}: give it an empty volume"
                )
            }
            Problem::OtherLineage { ordinal, found, expected } => {
                let found = found.lineage;
                write!(f, "ordinal {ordinal} is of lineage {found}, this is {expected}: give it an empty volume")
            }
            Problem::Misplaced { node_id, found, belongs } => {
                write!(f, "the volume of node {node_id} belongs to ordinal {belongs} and is under ordinal {found}")
            }
            Problem::EvenVoters { outgoing, incoming } => write!(
                f,
                "the change from {} to {} was left half way and both are even: finish it by hand",
                list(outgoing),
                list(incoming)
            ),
        }
    }
}

fn voters(count: u32) -> String {
    if count == 1 { "1 voter".into() } else { format!("{count} voters") }
}

fn ordinals(ordinals: &BTreeSet<Ordinal>) -> String {
    let noun = if ordinals.len() == 1 { "ordinal" } else { "ordinals" };
    format!("{noun} {}", list(ordinals))
}

fn ordinals_are(set: &BTreeSet<Ordinal>) -> String {
    let verb = if set.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", ordinals(set))
}
