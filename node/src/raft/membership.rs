//! Running the cluster itself: ids, voters, leadership. Each operation is for the leader, which knows; others say who
//! it is. Each can be asked again after an unknown outcome without doing harm.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use carrel_domain::time::Timestamp;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, PreconditionFailed, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::{ChangeMembers, Instant, Precondition, RaftMetrics};
use openraft_rt::AsyncRuntime;
use thiserror::Error;
use uuid::Uuid;

use crate::raft::cluster::{Allocated, ClusterRefusal, ClusterReply};
use crate::raft::leading::peer;
use crate::raft::log_request::{ClusterRequest, LogRequest};
use crate::raft::node::{Identity, Node};
use crate::raft::peers::{LocalStatus, Peer, Transport};
use crate::raft::platform::Platform;
use crate::raft::proposer::{Outcome, Sender};
use crate::raft::running::Running;
use crate::raft::snapshots::StoredSnapshot;
use crate::raft::snapshotting::write_snapshot;
use crate::raft::types::{CommittedLeaderId, LogId, Member, NodeId, Response, Types};
use crate::replica::{LeaderFigures, PeerFigures};

/// How long a change of the membership may take: two entries on a majority's disks.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// How long a transfer may take. After the lease and an election timeout others lead in any case.
const TRANSFER_LIMIT: Duration = Duration::from_secs(2);

/// A transfer that is taken over takes less; one that is not is waited for in vain.
const DESERTED_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a member may take to say how it is.
const STATUS_LIMIT: Duration = Duration::from_millis(300);

/// Why the cluster was not changed, or not certainly.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdminError {
    #[error("this node has not joined a cluster")]
    NotJoined,
    #[error("this node does not lead")]
    NotLeader { leader: Option<NodeId> },
    #[error("the membership has changed since it was looked at")]
    MembershipChanged { current: Option<LogPosition> },
    #[error("another change of the membership is under way")]
    ChangeUnderWay,
    #[error("only {healthy} of the {voters} voters {whose} answer, and {needed} have to; this would lose the majority")]
    WouldLoseQuorum { whose: Whose, healthy: usize, voters: usize, needed: usize },
    #[error("a cluster has at least one voter")]
    NoVoters,
    #[error("node {0} is not a member")]
    NotAMember(NodeId),
    #[error(
        "node {id} is a voter; take its vote first: {healthy} of {voters} voters answer, and without it {needed} of the \
         other {} would have to",
        voters - 1
    )]
    IsVoter { id: NodeId, healthy: usize, voters: usize, needed: usize },
    #[error("no other voter answers and has the log")]
    NoSuccessor,
    #[error("the new leader has not appeared in time")]
    NotTakenOver,
    #[error("the snapshot was not written in time")]
    SnapshotNotWritten,
    #[error("this node has nothing yet that a snapshot could say")]
    NothingApplied,
    #[error("no majority can be reached, so what this node has may be old")]
    NoQuorum,
    #[error(transparent)]
    Refused(#[from] ClusterRefusal),
    /// Look, and ask again.
    #[error("the outcome is not known")]
    Unknown,
    #[error("replication has stopped: {0}")]
    Stopped(String),
}

/// Which voters would not be a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Present,
    Wanted,
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Present => "there are",
            Self::Wanted => "there would be",
        })
    }
}

/// A place in the log, told apart from what another leader put at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLeader {
    pub leader: NodeId,
    pub term: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Learner,
}

/// What one node knows of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    pub identity: Identity,
    /// None, too, for one that was removed: whom it followed is no leader of its.
    pub leader: Option<NodeId>,
    pub term: u64,
    /// `None` before this node is part of a cluster.
    pub vote: Option<OwnVote>,
    /// Since a majority confirmed it, if this node leads.
    pub since_quorum_ack: Option<Duration>,
    /// This node was taken out for good.
    pub is_removed: bool,
    /// By id.
    pub members: Vec<MemberStatus>,
    /// `None` before the cluster is founded.
    pub membership_position: Option<LogPosition>,
    pub is_membership_committed: bool,
    /// Who votes: one set, or two while a joint change is not finished, the outgoing first.
    pub voter_sets: Vec<BTreeSet<NodeId>>,
    /// Ids that were taken out for good.
    pub removed: BTreeSet<NodeId>,
    pub is_formed: bool,
    /// The end of this node's log, committed or not.
    pub last: Option<LogPosition>,
    /// The log's time of the last entry that is applied here.
    pub applied_at: Option<Timestamp>,
}

/// For whom a node voted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnVote {
    pub term: u64,
    pub node_id: NodeId,
    /// A majority did, too: that node leads in this term.
    pub committed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub id: NodeId,
    pub ordinal: u32,
    pub role: Role,
    /// As it says itself, if it answered.
    pub says: Option<LocalStatus>,
    /// What it is known to have on disk, if this node leads.
    pub matched_index: Option<u64>,
    /// When it last answered the leader, if this node leads.
    pub since_ack: Option<Duration>,
}

type Metrics<P> = RaftMetrics<Types<<P as Platform>::Runtime>>;
type Change = ChangeMembers<NodeId, Member>;
type Changed<P> = Result<
    ClientWriteResponse<Types<<P as Platform>::Runtime>>,
    RaftError<Types<<P as Platform>::Runtime>, ClientWriteError<Types<<P as Platform>::Runtime>>>,
>;

impl<P: Platform, N: Transport<P>> Node<P, N> {
    /// The id of this incarnation; the same however often it is asked for.
    pub async fn allocate_node(&self, incarnation: Uuid, ordinal: u32) -> Result<Allocated, AdminError> {
        let running = self.member()?;
        let request = ClusterRequest::AllocateNode { incarnation: *incarnation.as_bytes(), ordinal };
        match running.ask_cluster(request).await? {
            ClusterReply::Node(allocated) => Ok(allocated),
            ClusterReply::Done => Err(AdminError::Unknown),
        }
    }

    /// Begins to replicate to a node that has an id, if the membership is still the one it was decided on. Nothing if
    /// it is a member already.
    pub async fn add_learner(&self, id: NodeId, expected: LogPosition) -> Result<(), AdminError> {
        let running = self.member()?;
        let leader = running.leading()?;
        let _alone = running.changing.enter().ok_or(AdminError::ChangeUnderWay)?;
        let cluster = &running.views.newest().cluster;
        if cluster.is_retired(id) {
            return Err(ClusterRefusal::Retired(id).into());
        }
        let allocated = cluster.allocated(id).ok_or(ClusterRefusal::UnknownNode(id))?;
        if running.membership().get_node(&id).is_some() {
            return Ok(());
        }
        let nodes = BTreeMap::from([(id, Member { ordinal: allocated.ordinal })]);
        running.change(Change::AddNodes(nodes), vec![expected.unchanged(), leader]).await
    }

    /// One joint change to exactly these voters, if the membership is still the one it was decided on. Who loses its
    /// vote stays as a learner.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>, expected: LogPosition) -> Result<(), AdminError> {
        let running = self.member()?;
        let leader = running.leading()?;
        let _alone = running.changing.enter().ok_or(AdminError::ChangeUnderWay)?;
        let membership = running.membership();
        if voters.is_empty() {
            return Err(AdminError::NoVoters);
        }
        // Its calls are refused, so its vote would count for nothing but the size of a majority.
        if let Some(retired) = voters.intersection(running.views.newest().cluster.retired()).next() {
            return Err(ClusterRefusal::Retired(*retired).into());
        }
        if let Some(stranger) = voters.iter().find(|id| membership.get_node(id).is_none()) {
            return Err(AdminError::NotAMember(*stranger));
        }
        let healthy = running.healthy();
        let keeps_quorum = |whose: Whose, voters: &BTreeSet<NodeId>| {
            let (healthy, needed) = (voters.intersection(&healthy).count(), voters.len() / 2 + 1);
            let lost = AdminError::WouldLoseQuorum { whose, healthy, voters: voters.len(), needed };
            if healthy >= needed { Ok(()) } else { Err(lost) }
        };
        membership.get_joint_config().iter().try_for_each(|present| keeps_quorum(Whose::Present, present))?;
        keeps_quorum(Whose::Wanted, &voters)?;
        running.change(Change::ReplaceAllVoters(voters), vec![expected.unchanged(), leader]).await
    }

    /// Finishes a joint change that was left half-way, if there is one.
    pub async fn finish_change(&self) -> Result<(), AdminError> {
        let running = self.member()?;
        let leader = running.leading()?;
        let _alone = running.changing.enter().ok_or(AdminError::ChangeUnderWay)?;
        if running.membership().get_joint_config().len() < 2 {
            return Ok(());
        }
        running.change(Change::AddVoterIds(BTreeSet::new()), vec![leader]).await
    }

    /// Takes a learner out for good: its id is never used again, and its calls are refused.
    pub async fn remove_node(&self, id: NodeId) -> Result<(), AdminError> {
        let running = self.member()?;
        let leader = running.leading()?;
        let _alone = running.changing.enter().ok_or(AdminError::ChangeUnderWay)?;
        let membership = running.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        if voters.contains(&id) {
            let answering = voters.intersection(&running.healthy()).count();
            let (voters, needed) = (voters.len(), (voters.len() - 1) / 2 + 1);
            return Err(AdminError::IsVoter { id, healthy: answering, voters, needed });
        }
        if membership.get_node(&id).is_some() {
            running.change(Change::RemoveNodes(BTreeSet::from([id])), vec![leader]).await?;
        }
        running.ask_cluster(ClusterRequest::RetireNode { id }).await?;
        Ok(())
    }

    /// Lets `to` lead, or the voter that has most of the log; returns when it does.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NewLeader, AdminError> {
        self.member()?.transfer_leadership(to).await
    }

    /// Writes a snapshot on this node, unless it has one of everything that is applied.
    pub async fn trigger_snapshot(&self) -> Result<LogPosition, AdminError> {
        let running = self.member()?;
        if running.views.newest().applied.is_none() {
            return Err(AdminError::NothingApplied);
        }
        let written = write_snapshot(&running.raft, None).await.ok_or(AdminError::SnapshotNotWritten)?;
        Ok(LogPosition::of(&written))
    }

    /// A snapshot, on this node, of at least everything that was acknowledged before now.
    pub async fn create_backup(&self) -> Result<StoredSnapshot<P>, AdminError> {
        let running = self.member()?;
        let acknowledged = running.read_log_id().await.map_err(|_| AdminError::NoQuorum)?;
        write_snapshot(&running.raft, Some(acknowledged)).await.ok_or(AdminError::SnapshotNotWritten)?;
        let snapshot = running.snapshots.latest().await;
        snapshot.filter(|found| found.meta().last_log_id >= Some(acknowledged)).ok_or(AdminError::SnapshotNotWritten)
    }

    /// Only what this node knows by itself.
    pub fn local_status(&self) -> ClusterStatus {
        let identity = self.identity();
        match self.shared.running() {
            Some(running) => running.status(identity),
            None => ClusterStatus {
                identity,
                leader: None,
                term: 0,
                vote: None,
                since_quorum_ack: None,
                is_removed: false,
                members: Vec::new(),
                membership_position: None,
                is_membership_committed: false,
                voter_sets: Vec::new(),
                removed: BTreeSet::new(),
                is_formed: false,
                last: None,
                applied_at: None,
            },
        }
    }

    /// Also what the other members say of themselves, if they answer in time.
    pub async fn status(&self) -> ClusterStatus {
        let mut status = self.local_status();
        let Some(running) = self.shared.running() else { return status };
        let asked =
            status.members.iter().map(|member| running.ask_status(Peer { id: member.id, ordinal: member.ordinal }));
        let answers = join_all(asked).await;
        for (member, says) in status.members.iter_mut().zip(answers) {
            member.says = says;
        }
        status
    }

    fn member(&self) -> Result<std::sync::Arc<Running<P, N>>, AdminError> {
        self.shared.running().ok_or(AdminError::NotJoined)
    }
}

impl<P: Platform, N: Transport<P>> Running<P, N> {
    /// Puts a request to the cluster itself into the log.
    pub(in crate::raft) async fn ask_cluster(&self, request: ClusterRequest) -> Result<ClusterReply, AdminError> {
        let ends = Types::<P::Runtime>::now() + self.settings.outcome_wait;
        match self.propose(LogRequest::Cluster(request).encode(), Sender::System, ends).await {
            Outcome::Applied { log_id: _, response: Response::Cluster(reply) } => Ok(reply?),
            Outcome::NotProposed { leader: _ } | Outcome::Overloaded | Outcome::Full | Outcome::Expired => {
                Err(AdminError::NotLeader { leader: self.leader.get() })
            }
            Outcome::Applied { log_id: _, response: Response::None | Response::Library(_) } | Outcome::Unknown => {
                Err(AdminError::Unknown)
            }
        }
    }

    pub(in crate::raft) async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NewLeader, AdminError> {
        self.leading()?;
        let me = self.me.node_id;
        let seen = self.raft.metrics().borrow_watched().clone();
        if to == Some(me) {
            return Ok(NewLeader { leader: me, term: seen.current_term });
        }
        let voters: BTreeSet<NodeId> = seen.membership_config.membership().voter_ids().collect();
        if let Some(stranger) = to.filter(|to| !voters.contains(to)) {
            return Err(AdminError::NotAMember(stranger));
        }
        // openraft cannot take a transfer back: to one that is gone it would leave the cluster without a leader for a
        // while.
        let healthy = self.healthy();
        let matched = |id: &NodeId| {
            let replication = seen.replication.as_ref()?;
            replication.get(id).copied().flatten()
        };
        let candidates =
            voters.iter().filter(|id| **id != me && healthy.contains(id) && to.is_none_or(|to| to == **id));
        let successor = *candidates.max_by_key(|id| matched(id)).ok_or(AdminError::NoSuccessor)?;

        self.raft.trigger().transfer_leader(successor).await.map_err(|fatal| AdminError::Stopped(fatal.to_string()))?;
        let taken_over = |metrics: &Metrics<P>| {
            let leader = metrics.current_leader.filter(|leader| *leader != me)?;
            (metrics.current_term > seen.current_term).then_some(NewLeader { leader, term: metrics.current_term })
        };
        let mut metrics = self.raft.metrics();
        let appears = async {
            loop {
                if let Some(new) = taken_over(&metrics.borrow_and_update()) {
                    return Some(new);
                }
                metrics.changed().await.ok()?;
            }
        };
        match Types::<P::Runtime>::timeout(TRANSFER_LIMIT, appears).await {
            Ok(Some(new)) if to.is_none_or(|to| to == new.leader) => Ok(new),
            Ok(Some(_) | None) | Err(_) => Err(AdminError::NotTakenOver),
        }
    }

    /// Returns when no other voter answers any more, as when all nodes are asked to end at once.
    pub(in crate::raft) async fn deserted(&self) {
        let membership = self.membership();
        let others = || membership.voter_ids().filter(|id| *id != self.me.node_id).map(|id| peer(&membership, id));
        loop {
            Types::<P::Runtime>::sleep(DESERTED_LOOK_EVERY).await;
            if join_all(others().map(|other| self.ask_status(other))).await.iter().all(Option::is_none) {
                return;
            }
        }
    }

    /// Proof of leadership for a change: refused if another leads by then.
    fn leading(&self) -> Result<Precondition<Types<P::Runtime>>, AdminError> {
        let leading = self.lead.leading().ok_or(AdminError::NotLeader { leader: self.leader.get() })?;
        Ok(Precondition::CommittedLeaderId { committed_leader_id: CommittedLeaderId::new(leading.term) })
    }

    async fn change(
        &self,
        change: Change,
        preconditions: Vec<Precondition<Types<P::Runtime>>>,
    ) -> Result<(), AdminError> {
        let changed: std::pin::Pin<Box<dyn Future<Output = Changed<P>> + Send>> =
            Box::pin(self.raft.change_membership_if(change, true, preconditions));
        let Ok(changed) = Types::<P::Runtime>::timeout(CHANGE_LIMIT, changed).await else {
            return Err(AdminError::Unknown);
        };
        match changed {
            Ok(written) => {
                self.seen_since(written.log_id.index).await;
                Ok(())
            }
            Err(RaftError::Fatal(fatal)) => Err(AdminError::Stopped(fatal.to_string())),
            Err(RaftError::APIError(error)) => Err(self.refusal(error)),
        }
    }

    /// What is looked at from here on includes the change: what openraft tells of itself comes a moment later.
    async fn seen_since(&self, index: u64) {
        let mut metrics = self.raft.metrics();
        let shown = async {
            while metrics.borrow_and_update().membership_config.log_id().is_none_or(|seen| seen.index < index) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // Done it is in any case.
        let _ = Types::<P::Runtime>::timeout(CHANGE_LIMIT, shown).await;
    }

    fn refusal(&self, error: ClientWriteError<Types<P::Runtime>>) -> AdminError {
        let position = |log_id: &Option<LogId>| log_id.as_ref().map(LogPosition::of);
        match error {
            ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::PreconditionFailed(PreconditionFailed::CommittedLeaderIdMismatch { .. }) => {
                AdminError::NotLeader { leader: self.leader.get() }
            }
            ClientWriteError::LogEntryDiscarded(_) => AdminError::Unknown,
            ClientWriteError::PreconditionFailed(_) => {
                let seen = self.raft.metrics().borrow_watched().membership_config.clone();
                AdminError::MembershipChanged { current: position(seen.log_id()) }
            }
            ClientWriteError::ChangeMembershipError(error) => match error {
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                    AdminError::ChangeUnderWay
                }
                ChangeMembershipError::EmptyMembership(_) => AdminError::NoVoters,
                ChangeMembershipError::LearnerNotFound(stranger) => AdminError::NotAMember(stranger.node_id),
                ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::NodeMetadataChanged(_) => AdminError::Unknown,
            },
        }
    }

    /// Members that answered the leader lately, itself included.
    fn healthy(&self) -> BTreeSet<NodeId> {
        let silent_after = self.settings.silent_after();
        let metrics = self.raft.metrics();
        let seen = metrics.borrow_watched();
        let answered = seen
            .heartbeat
            .iter()
            .flatten()
            .filter(|(_, acked)| acked.is_some_and(|acked| acked.elapsed() <= silent_after));
        answered.map(|(id, _)| *id).chain([self.me.node_id]).collect()
    }

    /// For metrics, from what a leader knows by itself.
    pub(in crate::raft) fn leader_figures(&self, status: &ClusterStatus) -> LeaderFigures {
        let healthy = self.healthy();
        let margin = |voters: &BTreeSet<NodeId>| {
            let answering = voters.intersection(&healthy).count();
            i64::try_from(answering).unwrap_or(i64::MAX) - i64::try_from(voters.len() / 2 + 1).unwrap_or(i64::MAX)
        };
        let others = status.members.iter().filter(|member| member.id != self.me.node_id);
        LeaderFigures {
            quorum_margin: status.voter_sets.iter().map(margin).min().unwrap_or(0),
            since_quorum_ack: status.since_quorum_ack,
            clock_spread_us: self.measured.clock_spread_us(),
            peers: others
                .map(|member| PeerFigures {
                    id: member.id,
                    ordinal: member.ordinal,
                    matched_index: member.matched_index,
                    since_ack: member.since_ack,
                })
                .collect(),
        }
    }

    fn status(&self, identity: Identity) -> ClusterStatus {
        let seen = self.raft.metrics().borrow_watched().clone();
        let membership = seen.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let newest = self.views.newest();
        let cluster = &newest.cluster;
        let is_unfounded = cluster.founding().is_none() && membership.nodes().all(|(id, _)| *id == self.me.node_id);
        let member = |(id, member): (&NodeId, &Member)| MemberStatus {
            id: *id,
            ordinal: member.ordinal,
            role: match (seen.current_leader == Some(*id), voters.contains(id)) {
                (true, _) => Role::Leader,
                (false, true) => Role::Follower,
                (false, false) => Role::Learner,
            },
            says: (*id == self.me.node_id).then(|| self.local_status()),
            matched_index: seen.replication.as_ref().and_then(|matched| matched.get(id).copied()?).map(|id| id.index),
            since_ack: seen.heartbeat.as_ref().and_then(|acked| acked.get(id).copied()?).map(|acked| acked.elapsed()),
        };
        let is_removed = self.is_removed();
        ClusterStatus {
            identity,
            leader: seen.current_leader.filter(|_| !is_removed),
            term: seen.current_term,
            vote: Some(OwnVote {
                term: seen.vote.leader_id.term,
                node_id: seen.vote.leader_id.voted_for,
                committed: seen.vote.committed,
            }),
            since_quorum_ack: seen.last_quorum_acked.filter(|_| seen.state.is_leader()).map(|acked| acked.elapsed()),
            is_removed,
            members: membership.nodes().map(member).collect(),
            // What a seed has of itself before it is founded is no cluster's membership: who asks is to found it again.
            membership_position: seen
                .membership_config
                .log_id()
                .as_ref()
                .map(LogPosition::of)
                .filter(|_| !is_unfounded),
            is_membership_committed: seen.membership_config == seen.committed_membership_config,
            voter_sets: membership.get_joint_config().clone(),
            removed: cluster.retired().clone(),
            is_formed: cluster.is_formed(),
            last: self.log.reach().last.as_ref().map(LogPosition::of),
            applied_at: Some(newest.library.at().time),
        }
    }

    pub(in crate::raft) async fn ask_status(&self, peer: Peer) -> Option<LocalStatus> {
        if peer.id == self.me.node_id {
            return Some(self.local_status());
        }
        Types::<P::Runtime>::timeout(STATUS_LIMIT, self.peers.read_status(peer)).await.ok()?.ok()
    }
}

impl LogPosition {
    pub(in crate::raft) fn of(log_id: &LogId) -> Self {
        Self { term: log_id.leader_id.term, index: log_id.index }
    }

    /// Refuses a change that was decided on another membership than the one at this place.
    fn unchanged<RT: AsyncRuntime>(self) -> Precondition<Types<RT>> {
        let log_id = LogId::new(CommittedLeaderId::new(self.term), self.index);
        Precondition::LastMembershipLogId { last_membership_log_id: Some(log_id) }
    }
}
