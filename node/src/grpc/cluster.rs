//! `carrel.admin.v1`: running the cluster. The whole service on the admin port; on the client port only its status,
//! once or as it changes, for anybody, and handing over leadership, for admins.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::account::Role as UserRole;
use carrel_domain::id::Position;
use carrel_domain::refusal::Refusal;
use carrel_proto::admin::v1 as wire;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use carrel_proto::admin::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use carrel_proto::client::ERROR_DOMAIN;
use http::Uri;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Extensions, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::config::Urls;
use crate::convert::time::to_timestamp;
use crate::convert::token::ResumeToken;
use crate::convert::{refusal, request};
use crate::grpc::session::named_by;
use crate::grpc::{backup, cluster_watch};
use crate::live::LiveNode;
use crate::raft::identity::{IdentityError, MemberOf};
use crate::raft::membership::{AdminError, ClusterStatus, LogPosition, MemberStatus, OwnVote, Role};
use crate::raft::node::{Identity, JoinError};
use crate::raft::snapshots::StateHash;
use crate::replica::Freshness;
use crate::tls::{Certificate, InUse, KeysInUse, Tls, ToClients};

/// Marks a call that came by way of another node.
const PASSED_ON: &str = "carrel-passed-on";
/// A transfer takes milliseconds, or fails after two seconds.
const PASS_ON_LIMIT: Duration = Duration::from_secs(3);
/// Each asks every member twice a second: a page for each of a few dozen people who look after the cluster.
const WATCHERS_MAX: usize = 64;
/// One that is made every hour, and one that somebody asks for meanwhile.
const BACKUPS_MAX: usize = 2;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Whoever reaches the port.
    Admin,
    /// Anybody for the status, an ADMIN session for the rest of what is served there.
    Client,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    node: LiveNode,
    clients: Arc<Urls>,
    /// For those that are `https://`.
    to_clients: ToClients,
    keys: InUse,
    door: Door,
    /// Ends the streams.
    draining: CancellationToken,
    watchers: Arc<Semaphore>,
    backups: Arc<Semaphore>,
}

impl Cluster {
    #[must_use]
    pub fn service(
        node: LiveNode,
        clients: Urls,
        tls: &Tls,
        door: Door,
        draining: CancellationToken,
    ) -> ClusterServiceServer<Self> {
        ClusterServiceServer::new(Self {
            node,
            clients: Arc::new(clients),
            to_clients: tls.to_clients(),
            keys: tls.in_use(),
            door,
            draining,
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        })
    }

    /// As this node and all whom it reaches have it.
    pub(super) async fn wire_status(&self) -> wire::GetStatusResponse {
        self.status(&self.node.status().await)
    }

    /// For nothing older than this status: the members that it names may be those of an entry that is not applied yet.
    pub(super) fn resume_token(&self, status: Option<&wire::GetStatusResponse>) -> String {
        let replica = self.node.replica();
        let membership = status.and_then(|status| status.membership_log_id).map_or(0, |id| id.index);
        let index = replica.view().at().index.max(membership);
        let token = |lineage| ResumeToken { lineage, position: Position::end_of(index) }.encode();
        replica.lineage().map(token).unwrap_or_default()
    }

    fn admin_port_only(&self) -> Result<(), Status> {
        match self.door {
            Door::Admin => Ok(()),
            Door::Client => Err(Status::permission_denied("this is served on the admin port alone")),
        }
    }

    async fn admins_only<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if self.door == Door::Admin {
            return Ok(());
        }
        let token = named_by(request.metadata())?;
        let view = self.node.replica().read(Freshness::Linearizable).await?;
        match view.viewer(token) {
            Ok(viewer) if viewer.user.role == UserRole::Admin => Ok(()),
            Ok(_) => Err(refusal::to_status(Refusal::NotPermitted)),
            Err(refused) => Err(refusal::to_status(refused)),
        }
    }

    /// To the leader's client port, once: what was passed on is not passed on again.
    async fn pass_on(
        &self,
        leader: u64,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Result<Response<wire::TransferLeadershipResponse>, Status> {
        let not_leader = AdminError::NotLeader { leader: Some(leader) };
        let status = self.node.local_status();
        let ordinal = status.members.iter().find(|member| member.id == leader).map(|member| member.ordinal);
        let url = ordinal.and_then(|ordinal| self.clients.of(ordinal));
        let (Some(url), None) = (url, request.metadata().get(PASSED_ON)) else { return Err(not_done(&not_leader)) };
        let address: Uri = url.parse().map_err(|_| not_done(&not_leader))?;
        let in_time = |endpoint: Endpoint| endpoint.connect_timeout(PASS_ON_LIMIT).timeout(PASS_ON_LIMIT);
        let channel = match (address.scheme_str(), self.to_clients.dialler()) {
            (Some("https"), Some(dialler)) => dialler.connect_lazily(address, in_time),
            // Whom to trust is not configured here, so the caller goes there.
            (Some("https"), None) => return Err(not_done(&not_leader)),
            _ => in_time(Endpoint::from(address)).connect_lazy(),
        };
        let (mut metadata, _, message) = request.into_parts();
        metadata.insert(PASSED_ON, MetadataValue::from_static("1"));
        let request = Request::from_parts(metadata, Extensions::default(), message);
        ClusterServiceClient::new(channel).transfer_leadership(request).await
    }

    fn status(&self, status: &ClusterStatus) -> wire::GetStatusResponse {
        wire::GetStatusResponse {
            identity: Some(identity(&status.identity)),
            leader: status.leader.unwrap_or(0),
            term: status.term,
            nodes: status.members.iter().map(|member| self.member(member)).collect(),
            membership_log_id: status.membership_position.map(log_id),
            voter_sets: status
                .voter_sets
                .iter()
                .map(|set| wire::VoterSet { node_ids: set.iter().copied().collect() })
                .collect(),
            formed: status.is_formed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            membership_committed: status.is_membership_committed,
            removed_node_ids: status.removed.iter().copied().collect(),
            removed: status.is_removed,
            vote: status.vote.map(|OwnVote { term, node_id, committed }| wire::Vote { term, node_id, committed }),
            since_quorum_ack_ms: status.since_quorum_ack.map(whole_ms),
            cluster_keys: self.keys.cluster().as_ref().map(keys),
            client_keys: self.keys.clients().as_ref().map(keys),
            last_log_id: status.last.map(log_id),
            applied_time: status.applied_at.map(to_timestamp),
        }
    }

    fn member(&self, member: &MemberStatus) -> wire::NodeStatus {
        let said = member.says.unwrap_or_default();
        let role = match member.role {
            Role::Leader => wire::node_status::Role::Leader,
            Role::Follower => wire::node_status::Role::Follower,
            Role::Learner => wire::node_status::Role::Learner,
        };
        wire::NodeStatus {
            id: member.id,
            ordinal: member.ordinal,
            endpoint: self.clients.of(member.ordinal).unwrap_or_default(),
            role: role.into(),
            last_log_index: said.last_log_index,
            commit_index: said.commit_index,
            applied_index: said.applied_index,
            snapshot_index: said.snapshot_index,
            reachable: member.says.is_some(),
            matched_index: member.matched_index,
            state_hash: said.state_hash.map(state_hash),
            since_ack_ms: member.since_ack.map(whole_ms),
        }
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn initialize(
        &self,
        request: Request<wire::InitializeRequest>,
    ) -> Result<Response<wire::InitializeResponse>, Status> {
        self.admin_port_only()?;
        let wire::InitializeRequest { cluster_id, wanted_voters, seed_incarnation } = request.into_inner();
        let cluster_id = uuid("cluster_id", &cluster_id)?;
        let seed = uuid("seed_incarnation", &seed_incarnation)?;
        let initialized = self.node.initialize(cluster_id, seed, wanted_voters).await;
        let initialized = initialized.map_err(|error| not_joined(&error))?;
        Ok(Response::new(wire::InitializeResponse { identity: Some(identity(&initialized)) }))
    }

    async fn allocate_node(
        &self,
        request: Request<wire::AllocateNodeRequest>,
    ) -> Result<Response<wire::AllocateNodeResponse>, Status> {
        self.admin_port_only()?;
        let wire::AllocateNodeRequest { incarnation, ordinal } = request.into_inner();
        let allocated = self.node.allocate_node(uuid("incarnation", &incarnation)?, ordinal).await;
        Ok(Response::new(wire::AllocateNodeResponse { node_id: allocated.map_err(|error| not_done(&error))?.id }))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        self.admin_port_only()?;
        let Some(given) = request.into_inner().identity else {
            return Err(Status::invalid_argument("identity is missing"));
        };
        let incarnation = uuid("identity.incarnation", &given.incarnation)?;
        let cluster_id = uuid("identity.cluster_id", &given.cluster_id)?;
        if given.node_id == 0 {
            return Err(Status::invalid_argument("identity.node_id is missing: AllocateNode hands it out"));
        }
        let place = MemberOf { cluster_id, lineage: given.lineage, node_id: given.node_id };
        let joined = self.node.join(incarnation, given.ordinal, place).await;
        joined.map_err(|error| not_joined(&error))?;
        Ok(Response::new(wire::JoinResponse {}))
    }

    async fn add_learner(
        &self,
        request: Request<wire::AddLearnerRequest>,
    ) -> Result<Response<wire::AddLearnerResponse>, Status> {
        self.admin_port_only()?;
        let wire::AddLearnerRequest { node_id, expected_membership_log_id } = request.into_inner();
        let expected = looked_at(expected_membership_log_id)?;
        self.node.add_learner(node_id, expected).await.map_err(|error| not_done(&error))?;
        Ok(Response::new(wire::AddLearnerResponse {}))
    }

    async fn change_voters(
        &self,
        request: Request<wire::ChangeVotersRequest>,
    ) -> Result<Response<wire::ChangeVotersResponse>, Status> {
        self.admin_port_only()?;
        let wire::ChangeVotersRequest { voters, expected_membership_log_id } = request.into_inner();
        let expected = looked_at(expected_membership_log_id)?;
        let voters: BTreeSet<u64> = voters.into_iter().collect();
        self.node.change_voters(voters, expected).await.map_err(|error| not_done(&error))?;
        Ok(Response::new(wire::ChangeVotersResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Status> {
        self.admin_port_only()?;
        self.node.remove_node(request.into_inner().node_id).await.map_err(|error| not_done(&error))?;
        Ok(Response::new(wire::RemoveNodeResponse {}))
    }

    async fn transfer_leadership(
        &self,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Result<Response<wire::TransferLeadershipResponse>, Status> {
        self.admins_only(&request).await?;
        let to = request.get_ref().node_id;
        match self.node.transfer_leadership((to != 0).then_some(to)).await {
            Ok(new) => Ok(Response::new(wire::TransferLeadershipResponse { leader: new.leader, term: new.term })),
            // People ask any node; only the leader can let another lead.
            Err(AdminError::NotLeader { leader: Some(leader) }) if self.door == Door::Client => {
                self.pass_on(leader, request).await
            }
            Err(error) => Err(not_done(&error)),
        }
    }

    async fn trigger_snapshot(
        &self,
        _: Request<wire::TriggerSnapshotRequest>,
    ) -> Result<Response<wire::TriggerSnapshotResponse>, Status> {
        self.admin_port_only()?;
        let snapshot = self.node.trigger_snapshot().await.map_err(|error| not_done(&error))?;
        Ok(Response::new(wire::TriggerSnapshotResponse { snapshot: Some(log_id(snapshot)) }))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let status = if request.into_inner().local { self.node.local_status() } else { self.node.status().await };
        Ok(Response::new(self.status(&status)))
    }

    type WatchClusterStream = ReceiverStream<Result<wire::WatchClusterResponse, Status>>;

    async fn watch_cluster(
        &self,
        request: Request<wire::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        if let Some(ResumeToken { lineage, position }) = request::after(&request.into_inner().after)? {
            self.node.replica().read(Freshness::AtLeast { lineage, index: position.index }).await?;
        }
        let place = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| too_many("watchers"))?;
        Ok(Response::new(cluster_watch::begin(self.clone(), place, self.draining.clone())))
    }

    type CreateBackupStream = ReceiverStream<Result<wire::CreateBackupResponse, Status>>;

    async fn create_backup(
        &self,
        _: Request<wire::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        self.admin_port_only()?;
        let place = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| too_many("backups"))?;
        let snapshot = self.node.create_backup().await.map_err(|error| not_done(&error))?;
        Ok(Response::new(backup::begin(&self.node, snapshot, place, self.draining.clone())))
    }
}

pub(super) fn identity(identity: &Identity) -> wire::Identity {
    let member_of = identity.member_of;
    wire::Identity {
        cluster_id: member_of.map(|me| me.cluster_id.to_string()).unwrap_or_default(),
        lineage: member_of.map_or(0, |me| me.lineage),
        incarnation: identity.incarnation.to_string(),
        node_id: member_of.map_or(0, |me| me.node_id),
        ordinal: identity.ordinal,
    }
}

pub(super) fn log_id(position: LogPosition) -> wire::LogId {
    wire::LogId { term: position.term, index: position.index }
}

pub(super) fn state_hash(StateHash { index, sha256 }: StateHash) -> wire::StateHash {
    wire::StateHash { index, sha256: sha256.to_vec() }
}

fn keys(in_use: &KeysInUse) -> wire::Keys {
    let certificate = |certificate: &Certificate| wire::Certificate {
        sha256: certificate.sha256.to_vec(),
        not_after: certificate.not_after.map(|at| prost_types::Timestamp { seconds: at, nanos: 0 }),
    };
    wire::Keys {
        shown: Some(certificate(&in_use.shown)),
        authorities: in_use.authorities.iter().map(certificate).collect(),
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn too_many(what: &str) -> Status {
    admin_refusal(Code::ResourceExhausted, "TOO_MANY_STREAMS", format!("too many {what} at once on this node"))
}

/// The membership on which a change was decided.
fn looked_at(expected: Option<wire::LogId>) -> Result<LogPosition, Status> {
    let missing = || Status::invalid_argument("expected_membership_log_id is missing: take it from GetStatus");
    let wire::LogId { term, index } = expected.ok_or_else(missing)?;
    Ok(LogPosition { term, index })
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text).map_err(|_| Status::invalid_argument(format!("{field} is not a UUID")))
}

pub(super) fn admin_refusal(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::<String, String>::new());
    Status::with_error_details(code, message, details)
}

fn not_joined(error: &JoinError) -> Status {
    let (code, reason) = match error {
        JoinError::Identity(IdentityError::Io { .. }) => (Code::FailedPrecondition, "VOLUME_UNUSABLE"),
        JoinError::Identity(_) => (Code::FailedPrecondition, "OTHER_IDENTITY"),
        JoinError::OtherIncarnation { .. } => (Code::FailedPrecondition, "OTHER_INCARNATION"),
        JoinError::OtherOrdinal { .. } => (Code::FailedPrecondition, "OTHER_ORDINAL"),
        JoinError::Start(_) => (Code::Internal, "NOT_STARTED"),
        JoinError::Stopping => (Code::Unavailable, "DRAINING"),
        JoinError::NoVoters => (Code::InvalidArgument, "NO_VOTERS"),
        JoinError::NotFoundedInTime => (Code::Unavailable, "NOT_FOUNDED_IN_TIME"),
        JoinError::Refused(refused) => return not_done(refused),
    };
    // Whoever runs the nodes is to read of a full disk, not only of a directory that cannot be used.
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    admin_refusal(code, reason, message)
}

fn not_done(error: &AdminError) -> Status {
    let (code, reason) = match error {
        AdminError::NotJoined => (Code::FailedPrecondition, "NOT_JOINED"),
        AdminError::NotLeader { .. } => (Code::FailedPrecondition, "NOT_LEADER"),
        AdminError::MembershipChanged { .. } => (Code::Aborted, "MEMBERSHIP_CHANGED"),
        AdminError::ChangeUnderWay => (Code::Aborted, "CHANGE_UNDER_WAY"),
        AdminError::WouldLoseQuorum { .. } => (Code::FailedPrecondition, "WOULD_LOSE_QUORUM"),
        AdminError::NoVoters => (Code::InvalidArgument, "NO_VOTERS"),
        AdminError::NotAMember(_) => (Code::NotFound, "NOT_A_MEMBER"),
        AdminError::IsVoter { .. } => (Code::FailedPrecondition, "IS_VOTER"),
        AdminError::NoQuorum => (Code::Unavailable, "NO_QUORUM"),
        AdminError::NoSuccessor => (Code::FailedPrecondition, "NO_SUCCESSOR"),
        AdminError::NotTakenOver => (Code::DeadlineExceeded, "NOT_TAKEN_OVER"),
        AdminError::SnapshotNotWritten => (Code::DeadlineExceeded, "SNAPSHOT_NOT_WRITTEN"),
        AdminError::NothingApplied => (Code::FailedPrecondition, "NOTHING_APPLIED"),
        AdminError::Refused(_) => (Code::FailedPrecondition, "REFUSED"),
        AdminError::Unknown => (Code::Unavailable, "OUTCOME_UNKNOWN"),
        AdminError::Stopped(_) => (Code::Unavailable, "STOPPED"),
    };
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, figures(error));
    Status::with_error_details(code, error.to_string(), details)
}

/// What the message says in numbers, for programs.
fn figures(error: &AdminError) -> HashMap<String, String> {
    let count = |count: usize| count as u64;
    let figures = match *error {
        AdminError::NotLeader { leader: Some(leader) } => vec![("leader", leader)],
        AdminError::MembershipChanged { current: Some(LogPosition { term, index }) } => {
            vec![("term", term), ("index", index)]
        }
        AdminError::WouldLoseQuorum { whose: _, healthy, voters, needed }
        | AdminError::IsVoter { id: _, healthy, voters, needed } => {
            vec![("healthy", count(healthy)), ("voters", count(voters)), ("needed", count(needed))]
        }
        AdminError::NotAMember(id) => vec![("node_id", id)],
        AdminError::NotJoined
        | AdminError::NotLeader { leader: None }
        | AdminError::MembershipChanged { current: None }
        | AdminError::ChangeUnderWay
        | AdminError::NoVoters
        | AdminError::NoSuccessor
        | AdminError::NotTakenOver
        | AdminError::SnapshotNotWritten
        | AdminError::NothingApplied
        | AdminError::NoQuorum
        | AdminError::Refused(_)
        | AdminError::Unknown
        | AdminError::Stopped(_) => Vec::new(),
    };
    figures.into_iter().map(|(name, figure)| (name.to_owned(), figure.to_string())).collect()
}
