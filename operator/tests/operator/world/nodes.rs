//! Nodes that speak `carrel.admin.v1`: what they hold, who leads, who is a member. Replication is instant; everything
//! that may be refused is refused as by the real ones.
//!
//! One server answers for all of them: which node was called is told by the address it was called at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use carrel_proto::admin::v1 as wire;
use carrel_proto::admin::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::crash::Crash;

/// Of whatever backup they are told to read.
const BACKUP_LINEAGE: u32 = 4;
/// When everything was applied, by the log.
pub const APPLIED_SECONDS: i64 = 1_780_000_000;

#[derive(Clone)]
pub struct Nodes {
    state: Arc<Mutex<State>>,
    crash: Crash,
    pub port: u16,
}

#[derive(Default)]
struct State {
    /// By the uid of the claim.
    volumes: BTreeMap<String, Volume>,
    /// What runs: ordinal to claim.
    running: BTreeMap<u32, String>,
    /// Runs, and hears nothing.
    cut_off: BTreeSet<u32>,
    raft: Option<Raft>,
    violations: Vec<String>,
}

#[derive(Clone)]
struct Volume {
    incarnation: Uuid,
    member_of: Option<Member>,
    /// The end of its log, and the time of it.
    last: (u64, u64),
    /// What it held before, as orders have put it aside.
    aside: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    cluster_id: String,
    lineage: u32,
    id: u64,
}

#[derive(Clone)]
struct Raft {
    cluster_id: String,
    lineage: u32,
    leader: Option<u64>,
    term: u64,
    index: u64,
    members: BTreeMap<u64, u32>,
    voters: BTreeSet<u64>,
    membership: (u64, u64),
    removed: BTreeSet<u64>,
    allocated: BTreeMap<Uuid, u64>,
    wanted: u32,
    formed: bool,
    lagging: BTreeSet<u64>,
}

impl Nodes {
    pub async fn serve(crash: Crash, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a port of our own");
        let port = listener.local_addr().expect("bound").port();
        let nodes = Self { state: Arc::default(), crash, port };
        let service = ClusterServiceServer::new(nodes.clone());
        let incoming = TcpIncoming::from(listener);
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("keys that make sense");
        }
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        nodes
    }

    /// Where the pod of an ordinal is.
    pub fn address(ordinal: u32) -> String {
        format!("127.0.1.{}", ordinal + 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    /// With the order that lies where its pod finds it, if there is one.
    pub fn start(&self, ordinal: u32, claim: &str, order: Option<&Value>) {
        let mut state = self.lock();
        let fresh = Volume { incarnation: Uuid::new_v4(), member_of: None, last: (0, 0), aside: Vec::new() };
        state.volumes.entry(claim.to_owned()).or_insert(fresh);
        if let Some(order) = order {
            state.obey(ordinal, claim, order);
        }
        state.running.insert(ordinal, claim.to_owned());
        state.elect();
    }

    pub fn lineage(&self) -> Option<u32> {
        self.lock().raft.as_ref().map(|raft| raft.lineage)
    }

    /// Volumes of which orders have put something aside.
    pub fn put_aside(&self) -> usize {
        self.lock().volumes.values().filter(|volume| !volume.aside.is_empty()).count()
    }

    /// The log of an ordinal ends there.
    pub fn end_log_at(&self, ordinal: u32, term: u64, index: u64) {
        let mut state = self.lock();
        let claim = state.running[&ordinal].clone();
        state.volumes.get_mut(&claim).expect("it runs").last = (term, index);
    }

    /// The pod is gone, by whoever.
    pub fn stop(&self, ordinal: u32) {
        let mut state = self.lock();
        state.running.remove(&ordinal);
        state.elect();
    }

    pub fn is_running(&self, ordinal: u32, claim: &str) -> bool {
        self.lock().running.get(&ordinal).is_some_and(|running| running == claim)
    }

    pub fn running(&self) -> Vec<u32> {
        self.lock().running.keys().copied().collect()
    }

    /// It runs, and nobody hears it.
    pub fn cut_off(&self, ordinal: u32, is_cut_off: bool) {
        let mut state = self.lock();
        if is_cut_off {
            state.cut_off.insert(ordinal);
        } else {
            state.cut_off.remove(&ordinal);
        }
        state.elect();
    }

    /// Its log falls far behind.
    pub fn lag(&self, ordinal: u32, lags: bool) {
        let mut state = self.lock();
        let raft = state.raft.as_mut().expect("there is a cluster");
        let id = raft.members.iter().find(|(_, at)| **at == ordinal).map(|(id, _)| *id).expect("a member");
        if lags {
            raft.lagging.insert(id);
        } else {
            raft.lagging.remove(&id);
        }
    }

    pub fn lead(&self, ordinal: u32) {
        let mut state = self.lock();
        let raft = state.raft.as_mut().expect("there is a cluster");
        raft.leader = raft.members.iter().find(|(_, at)| **at == ordinal).map(|(id, _)| *id);
        raft.term += 1;
    }

    /// Ordinals of the voters, and their ids.
    pub fn voters(&self) -> BTreeMap<u32, u64> {
        let state = self.lock();
        let Some(raft) = &state.raft else { return BTreeMap::new() };
        raft.voters.iter().map(|id| (raft.members[id], *id)).collect()
    }

    pub fn members(&self) -> BTreeMap<u64, u32> {
        self.lock().raft.as_ref().map(|raft| raft.members.clone()).unwrap_or_default()
    }

    pub fn cluster_id(&self) -> Option<String> {
        self.lock().raft.as_ref().map(|raft| raft.cluster_id.clone())
    }

    /// Data of another cluster on the volume of this ordinal.
    pub fn make_foreign(&self, ordinal: u32) {
        let mut state = self.lock();
        let claim = state.running[&ordinal].clone();
        let volume = state.volumes.get_mut(&claim).expect("it runs");
        volume.member_of = Some(Member { cluster_id: Uuid::new_v4().to_string(), lineage: 0, id: 9 });
    }

    pub fn note(&self, violation: String) {
        self.lock().violations.push(violation);
    }

    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The operator stops what is at this ordinal.
    pub fn judge_stop(&self, ordinal: u32) {
        let mut state = self.lock();
        let Some(raft) = state.raft.clone() else { return };
        let Some(id) = state.member_at(ordinal) else { return };
        if !raft.voters.contains(&id) || raft.voters.len() == 1 {
            return;
        }
        let staying = raft.voters.iter().filter(|voter| **voter != id && state.takes_part(**voter)).count();
        let before = raft.voters.iter().filter(|voter| state.takes_part(**voter)).count();
        let majority = raft.voters.len() / 2 + 1;
        if state.takes_part(id) && before >= majority && staying < majority {
            state
                .violations
                .push(format!("stopping ordinal {ordinal} leaves {staying} of {} voters", raft.voters.len()));
        }
    }

    /// The set was made smaller: what it stops must not be a member.
    pub fn judge_scale(&self, count: u32) {
        let mut state = self.lock();
        let above = state.raft.iter().flat_map(|raft| raft.members.iter()).find(|(_, at)| **at >= count);
        if let Some((id, at)) = above.map(|(id, at)| (*id, *at)) {
            state.violations.push(format!("ordinal {at} was stopped while node {id} was a member"));
        }
    }

    fn called<T>(&self, request: &Request<T>) -> Result<u32, Status> {
        let address = request.local_addr().map(|address| address.ip());
        let Some(IpAddr::V4(address)) = address else { return Err(Status::internal("called nowhere")) };
        let ordinal = u32::from(address.octets()[3]) - 1;
        let state = self.lock();
        if state.running.contains_key(&ordinal) && !state.cut_off.contains(&ordinal) {
            Ok(ordinal)
        } else {
            Err(Status::unavailable("nobody is here"))
        }
    }

    /// One request, with the operator's death around it.
    async fn answer<T, R>(
        &self,
        request: Request<T>,
        act: impl FnOnce(&mut State, u32, T) -> Result<R, Status>,
    ) -> Result<Response<R>, Status> {
        let ordinal = self.called(&request)?;
        let done = {
            let mut state = self.lock();
            let done = act(&mut state, ordinal, request.into_inner());
            state.elect();
            state.judge();
            done
        };
        if done.is_ok() {
            self.crash.took_effect().await;
        }
        done.map(Response::new)
    }
}

impl State {
    /// Of the cluster as it goes on; what is of an earlier lineage is no member of it.
    fn member_at(&self, ordinal: u32) -> Option<u64> {
        let volume = self.volumes.get(self.running.get(&ordinal)?)?;
        let raft = self.raft.as_ref()?;
        let is_of_it = |member: &&Member| member.cluster_id == raft.cluster_id && member.lineage == raft.lineage;
        volume.member_of.as_ref().filter(is_of_it).map(|member| member.id)
    }

    /// As `carrel start --recovery-file` does.
    fn obey(&mut self, ordinal: u32, claim: &str, order: &Value) {
        let volume = self.volumes.get_mut(claim).expect("it is there");
        let is_meant = |whom: &Value| whom["incarnation"] == volume.incarnation.to_string();
        let cluster_id = order["clusterId"].as_str().expect("an order says of which cluster").to_owned();
        let (begins, lineage, voters) = match &volume.member_of {
            None if is_meant(&order["restore"]) => (true, BACKUP_LINEAGE + 1, order["restore"]["voters"].as_u64()),
            None => return,
            Some(member) => {
                let Some(lineage) = order["lineage"].as_u64().and_then(|lineage| u32::try_from(lineage).ok()) else {
                    return;
                };
                if member.cluster_id != cluster_id || member.lineage >= lineage {
                    return;
                }
                (is_meant(&order["survivor"]), lineage, None)
            }
        };
        if !begins {
            volume.aside.extend(volume.member_of.take());
            volume.incarnation = Uuid::new_v4();
            return;
        }
        volume.incarnation = if voters.is_some() { volume.incarnation } else { Uuid::new_v4() };
        let (incarnation, before) = (volume.incarnation, self.raft.clone());
        let known = before.filter(|raft| raft.cluster_id == cluster_id);
        if known.as_ref().is_some_and(|raft| raft.lineage >= lineage) {
            self.violations.push(format!("lineage {lineage} was begun twice"));
        }
        let alive = known.iter().flat_map(|raft| raft.voters.iter().map(|id| self.takes_part(*id))).filter(|is| *is);
        if known.as_ref().is_some_and(|raft| alive.count() > raft.voters.len() / 2) {
            self.violations.push(format!("lineage {lineage} was begun beside one that is served"));
        }
        let index = known.as_ref().map_or(100, |raft| raft.index + 1);
        let id = (u64::from(lineage) << 40) | index;
        let member = Member { cluster_id: cluster_id.clone(), lineage, id };
        self.volumes.get_mut(claim).expect("it is there").member_of = Some(member);
        let mut raft = Raft {
            cluster_id,
            lineage,
            leader: Some(id),
            term: known.as_ref().map_or(1, |raft| raft.term + 1),
            index,
            members: [(id, ordinal)].into(),
            voters: [id].into(),
            membership: (0, 0),
            removed: BTreeSet::new(),
            allocated: [(incarnation, id)].into(),
            wanted: voters
                .and_then(|voters| u32::try_from(voters).ok())
                .or(known.as_ref().map(|raft| raft.wanted))
                .unwrap_or(3),
            formed: known.as_ref().is_some_and(|raft| raft.formed),
            lagging: BTreeSet::new(),
        };
        raft.change();
        self.raft = Some(raft);
    }

    /// Runs on its own volume, and is heard.
    fn takes_part(&self, id: u64) -> bool {
        let Some(raft) = &self.raft else { return false };
        let Some(at) = raft.members.get(&id) else { return false };
        !self.cut_off.contains(at) && self.member_at(*at) == Some(id)
    }

    fn elect(&mut self) {
        let Some(raft) = self.raft.clone() else { return };
        let alive: Vec<u64> = raft.voters.iter().copied().filter(|id| self.takes_part(*id)).collect();
        let has_quorum = alive.len() > raft.voters.len() / 2;
        let raft = self.raft.as_mut().expect("there is one");
        if raft.leader.is_some_and(|leader| alive.contains(&leader)) && has_quorum {
            return;
        }
        let leader = alive.first().copied().filter(|_| has_quorum);
        if leader != raft.leader {
            raft.leader = leader;
            raft.term += 1;
        }
    }

    fn judge(&mut self) {
        let voters = self.raft.as_ref().map_or(1, |raft| raft.voters.len());
        if voters.is_multiple_of(2) {
            self.violations.push(format!("{voters} voters"));
        }
    }

    fn led(&mut self, ordinal: u32) -> Result<&mut Raft, Status> {
        let id = self.member_at(ordinal);
        let raft = self.raft.as_mut().ok_or_else(|| Status::failed_precondition("not joined"))?;
        if raft.leader.is_none() || raft.leader != id {
            return Err(Status::failed_precondition("not the leader"));
        }
        Ok(raft)
    }

    fn status(&self, ordinal: u32) -> wire::GetStatusResponse {
        let volume = &self.volumes[&self.running[&ordinal]];
        let mut status = wire::GetStatusResponse {
            identity: Some(wire::Identity {
                cluster_id: volume.member_of.as_ref().map(|member| member.cluster_id.clone()).unwrap_or_default(),
                lineage: volume.member_of.as_ref().map_or(0, |member| member.lineage),
                incarnation: volume.incarnation.to_string(),
                node_id: volume.member_of.as_ref().map_or(0, |member| member.id),
                ordinal,
            }),
            version: "0.1.0".to_owned(),
            ..wire::GetStatusResponse::default()
        };
        let (Some(raft), Some(own)) = (self.raft.as_ref(), self.member_at(ordinal)) else { return status };
        if !raft.members.contains_key(&own) {
            return status;
        }
        let leads = raft.leader == Some(own);
        let (term, index) = volume.last.max((raft.term, if raft.lagging.contains(&own) { 1 } else { raft.index }));
        status.last_log_id = Some(wire::LogId { term, index });
        status.applied_time = Some(prost_types::Timestamp { seconds: APPLIED_SECONDS, nanos: 0 });
        status.leader = raft.leader.unwrap_or(0);
        status.term = raft.term;
        status.membership_log_id = Some(wire::LogId { term: raft.membership.0, index: raft.membership.1 });
        status.membership_committed = true;
        status.formed = raft.formed;
        status.removed_node_ids = raft.removed.iter().copied().collect();
        status.voter_sets = vec![wire::VoterSet { node_ids: raft.voters.iter().copied().collect() }];
        let node = |(id, at): (&u64, &u32)| wire::NodeStatus {
            id: *id,
            ordinal: *at,
            last_log_index: if leads { raft.index + 10_000 } else { 0 },
            matched_index: leads.then_some(if raft.lagging.contains(id) { 0 } else { raft.index + 10_000 }),
            since_ack_ms: leads.then_some(if self.takes_part(*id) { 20 } else { 60_000 }),
            ..wire::NodeStatus::default()
        };
        status.nodes = raft.members.iter().map(node).collect();
        status
    }
}

impl Raft {
    /// Whoever decided on another membership decides again.
    fn check(&self, expected: Option<wire::LogId>) -> Result<(), Status> {
        let is_this = expected.is_some_and(|id| (id.term, id.index) == self.membership);
        if is_this { Ok(()) } else { Err(Status::aborted("the membership has changed")) }
    }

    fn change(&mut self) {
        self.index += 1;
        self.membership = (self.term, self.index);
        self.formed |= self.voters.len() == self.wanted as usize;
    }
}

#[tonic::async_trait]
impl ClusterService for Nodes {
    async fn initialize(
        &self,
        request: Request<wire::InitializeRequest>,
    ) -> Result<Response<wire::InitializeResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let claim = state.running[&ordinal].clone();
            let volume = state.volumes.get_mut(&claim).expect("it runs");
            match &volume.member_of {
                Some(member) if member.cluster_id != asked.cluster_id => {
                    return Err(Status::failed_precondition("part of another cluster"));
                }
                Some(_) => {}
                None => {
                    let cluster_id = asked.cluster_id.clone();
                    volume.member_of = Some(Member { cluster_id, lineage: 0, id: 1 });
                }
            }
            let incarnation = volume.incarnation;
            match &state.raft {
                Some(raft) if raft.cluster_id == asked.cluster_id => {}
                Some(_) => state.violations.push("a second cluster was founded".to_owned()),
                None => {
                    let mut raft = Raft {
                        cluster_id: asked.cluster_id,
                        lineage: 0,
                        leader: Some(1),
                        term: 1,
                        index: 1,
                        members: [(1, ordinal)].into(),
                        voters: [1].into(),
                        membership: (1, 1),
                        removed: BTreeSet::new(),
                        allocated: [(incarnation, 1)].into(),
                        wanted: asked.wanted_voters,
                        formed: false,
                        lagging: BTreeSet::new(),
                    };
                    raft.change();
                    state.raft = Some(raft);
                }
            }
            Ok(wire::InitializeResponse { identity: state.status(ordinal).identity })
        })
        .await
    }

    async fn allocate_node(
        &self,
        request: Request<wire::AllocateNodeRequest>,
    ) -> Result<Response<wire::AllocateNodeResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let incarnation = Uuid::parse_str(&asked.incarnation).map_err(|_| Status::invalid_argument("no UUID"))?;
            let raft = state.led(ordinal)?;
            raft.index += 1;
            let index = (u64::from(raft.lineage) << 40) | raft.index;
            let node_id = *raft.allocated.entry(incarnation).or_insert(index);
            Ok(wire::AllocateNodeResponse { node_id })
        })
        .await
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let identity = asked.identity.ok_or_else(|| Status::invalid_argument("no identity"))?;
            let claim = state.running[&ordinal].clone();
            let volume = state.volumes.get_mut(&claim).expect("it runs");
            if identity.incarnation != volume.incarnation.to_string() {
                return Err(Status::failed_precondition("another incarnation"));
            }
            let wire::Identity { cluster_id, lineage, node_id: id, .. } = identity;
            let told = Member { cluster_id, lineage, id };
            if volume.member_of.as_ref().is_some_and(|known| *known != told) {
                return Err(Status::failed_precondition("another identity"));
            }
            volume.member_of = Some(told);
            Ok(wire::JoinResponse {})
        })
        .await
    }

    async fn add_learner(
        &self,
        request: Request<wire::AddLearnerRequest>,
    ) -> Result<Response<wire::AddLearnerResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let running = state.running.clone();
            let at = running.keys().copied().find(|at| state.member_at(*at) == Some(asked.node_id));
            let raft = state.led(ordinal)?;
            raft.check(asked.expected_membership_log_id)?;
            if raft.removed.contains(&asked.node_id) {
                return Err(Status::failed_precondition("removed for good"));
            }
            let at = at.ok_or_else(|| Status::not_found("nobody has joined with this id"))?;
            if raft.members.insert(asked.node_id, at).is_none() {
                raft.change();
            }
            Ok(wire::AddLearnerResponse {})
        })
        .await
    }

    async fn change_voters(
        &self,
        request: Request<wire::ChangeVotersRequest>,
    ) -> Result<Response<wire::ChangeVotersResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let raft = state.led(ordinal)?;
            raft.check(asked.expected_membership_log_id)?;
            let voters: BTreeSet<u64> = asked.voters.into_iter().collect();
            if !voters.iter().all(|id| raft.members.contains_key(id)) {
                return Err(Status::not_found("not a member"));
            }
            raft.voters = voters;
            raft.change();
            Ok(wire::ChangeVotersResponse {})
        })
        .await
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let raft = state.led(ordinal)?;
            if raft.voters.contains(&asked.node_id) {
                return Err(Status::failed_precondition("a voter"));
            }
            raft.members.remove(&asked.node_id);
            raft.removed.insert(asked.node_id);
            raft.change();
            Ok(wire::RemoveNodeResponse {})
        })
        .await
    }

    async fn transfer_leadership(
        &self,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Result<Response<wire::TransferLeadershipResponse>, Status> {
        self.answer(request, |state, ordinal, asked| {
            let takes_part = state.takes_part(asked.node_id);
            let raft = state.led(ordinal)?;
            if !raft.voters.contains(&asked.node_id) || !takes_part {
                return Err(Status::failed_precondition("no successor"));
            }
            raft.leader = Some(asked.node_id);
            raft.term += 1;
            Ok(wire::TransferLeadershipResponse { leader: asked.node_id, term: raft.term })
        })
        .await
    }

    async fn trigger_snapshot(
        &self,
        _: Request<wire::TriggerSnapshotRequest>,
    ) -> Result<Response<wire::TriggerSnapshotResponse>, Status> {
        Err(Status::unimplemented("no operator asks for it"))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let ordinal = self.called(&request)?;
        Ok(Response::new(self.lock().status(ordinal)))
    }

    type WatchClusterStream = futures_util::stream::Empty<Result<wire::WatchClusterResponse, Status>>;

    async fn watch_cluster(
        &self,
        _: Request<wire::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        Err(Status::unimplemented("no operator asks for it"))
    }

    type CreateBackupStream = futures_util::stream::Empty<Result<wire::CreateBackupResponse, Status>>;

    async fn create_backup(
        &self,
        _: Request<wire::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        Err(Status::unimplemented("no operator asks for it"))
    }
}
