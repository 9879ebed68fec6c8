//! Looks at the replicas for the planner, and performs its steps. It decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use carrel_membership::{
    Cluster, ClusterId, Founding, Incarnation, LeaderView, LogId, Membership, Node, NodeId, Observed, Ordinal,
    Progress, Running, Step, View, Voters,
};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, InvalidEndpoint, Options, Tls};
use futures_util::future::join_all;
use uuid::Uuid;

use super::record::Record;
use super::replicas::{Ports, Processes};

/// On loopback an answer takes a millisecond; a replica that is busy for longer is silent for this look.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// A step may wait for a change of membership to commit.
const STEP_LIMIT: Duration = Duration::from_secs(10);

pub struct Steward {
    ports: Ports,
    /// None without TLS.
    tls: Option<Tls>,
    /// Kept connections, by ordinal.
    admins: BTreeMap<u32, Client>,
}

impl Steward {
    pub fn new(ports: Ports, tls: Option<Tls>) -> Self {
        Self { ports, tls, admins: BTreeMap::new() }
    }

    /// For what clients do, on any replica.
    pub fn clients(&self, count: u32) -> anyhow::Result<Client> {
        let options = Options { deadline: Duration::from_secs(60), ..Options::default() };
        let urls = (0..count).map(|ordinal| self.ports.client_url(ordinal));
        Ok(connect(urls, options, self.tls.as_ref())?)
    }

    fn admin(&mut self, ordinal: u32, limit: Duration) -> Client {
        let url = self.ports.admin_url(ordinal);
        let options = Options { connect_timeout: LOOK_LIMIT, attempt_timeout: limit, deadline: limit };
        let kept = self.admins.entry(ordinal).or_insert_with(|| {
            connect([url], options, self.tls.as_ref()).expect("addresses on loopback and our own keys are well-formed")
        });
        kept.clone().with_options(options)
    }

    pub async fn look(&mut self, record: &Record) -> Observed {
        let clients: Vec<_> =
            (0..record.running.count).map(|ordinal| (ordinal, self.admin(ordinal, LOOK_LIMIT))).collect();
        let answers = join_all(clients.into_iter().map(|(ordinal, client)| async move {
            let answer = client.get_status(admin::GetStatusRequest { local: true }).await;
            (Ordinal(ordinal), answer.ok())
        }));
        let answers: BTreeMap<Ordinal, Option<admin::GetStatusResponse>> = answers.await.into_iter().collect();
        Observed {
            founding: record.founding,
            running: record.running,
            nodes: answers.iter().map(|(&ordinal, answer)| (ordinal, node(answer.as_ref()))).collect(),
            view: view(answers.values().flatten()),
        }
    }

    /// # Errors
    /// If the step was not done, or it is not known whether it was: the next look tells.
    pub async fn perform(&mut self, step: &Step, record: &mut Record, processes: &mut Processes) -> anyhow::Result<()> {
        match step {
            Step::Run { count, generation } => {
                if record.running.generation != *generation {
                    bail!("decided on an old look");
                }
                if *count < record.running.count {
                    self.check_nobody_lives_above(record, *count).await?;
                }
                record.running = Running { count: *count, generation: generation + 1 };
                record.save(processes.dir())?;
                processes.run(*count).await
            }
            Step::ClaimFounding { ordinal: _, seed, expected, wanted_voters } => {
                if record.founding != *expected {
                    bail!("the founding has changed");
                }
                let cluster = ClusterId(Uuid::new_v4().as_u128());
                record.founding = Founding::Claimed { cluster, seed: *seed, wanted_voters: *wanted_voters };
                record.save(processes.dir())
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                let status =
                    self.admin(ordinal.0, LOOK_LIMIT).get_status(admin::GetStatusRequest { local: true }).await?;
                let is_seed = match node(Some(&status)) {
                    Node::Pristine { incarnation } => incarnation == *seed,
                    // Stopped half way, it goes on.
                    Node::Joined { incarnation, cluster: taken, .. } => incarnation == *seed && taken.id == *cluster,
                    Node::Unknown => false,
                };
                if !is_seed {
                    bail!("ordinal {ordinal} is not what was to found the cluster");
                }
                let request = admin::InitializeRequest {
                    cluster_id: Uuid::from_u128(cluster.0).to_string(),
                    wanted_voters: wanted_voters.count(),
                };
                self.admin(ordinal.0, STEP_LIMIT).initialize(request).await?;
                Ok(())
            }
            Step::RecordFounded { cluster } => {
                record.founding = Founding::Done { cluster: *cluster };
                record.save(processes.dir())
            }
            Step::Admit { ordinal, incarnation } => self.admit(record, *ordinal, *incarnation).await,
            Step::AddLearner { node_id } => {
                let leader = self.leader(record).await?;
                leader.add_learner(admin::AddLearnerRequest { node_id: node_id.0 }).await?;
                Ok(())
            }
            Step::ChangeVoters { voters, expected } => {
                let leader = self.leader(record).await?;
                let request = admin::ChangeVotersRequest {
                    voters: voters.ids().iter().map(|id| id.0).collect(),
                    expected_membership_log_id: Some(admin::LogId { term: expected.term, index: expected.index }),
                };
                leader.change_voters(request).await?;
                Ok(())
            }
            Step::TransferLeadership { to } => {
                let leader = self.leader(record).await?;
                leader.transfer_leadership(admin::TransferLeadershipRequest { node_id: to.0 }).await?;
                Ok(())
            }
            Step::RemoveNode { node_id } => {
                let leader = self.leader(record).await?;
                leader.remove_node(admin::RemoveNodeRequest { node_id: node_id.0 }).await?;
                Ok(())
            }
            Step::SetVolumeAside { ordinal, incarnation: _ } => processes.set_volume_aside(ordinal.0).await,
        }
    }

    async fn admit(&mut self, record: &Record, ordinal: Ordinal, incarnation: Incarnation) -> anyhow::Result<()> {
        let leader = self.leader(record).await?;
        let incarnation = Uuid::from_u128(incarnation.0).to_string();
        let request = admin::AllocateNodeRequest { incarnation: incarnation.clone(), ordinal: ordinal.0 };
        let node_id = leader.allocate_node(request).await?.node_id;
        let status = leader.get_status(admin::GetStatusRequest { local: true }).await?;
        let cluster = status.identity.context("a leader has an identity")?;
        let identity = admin::Identity { incarnation, node_id, ordinal: ordinal.0, ..cluster };
        self.admin(ordinal.0, STEP_LIMIT).join(admin::JoinRequest { identity: Some(identity) }).await?;
        Ok(())
    }

    /// The admin port of whoever leads now.
    async fn leader(&mut self, record: &Record) -> anyhow::Result<Client> {
        let observed = self.look(record).await;
        let View::Leader(view) = &observed.view else { bail!("nobody leads") };
        let ordinal = view.membership.ordinals.get(&view.leader).context("the leader is not a member")?;
        Ok(self.admin(ordinal.0, STEP_LIMIT))
    }

    async fn check_nobody_lives_above(&mut self, record: &Record, count: u32) -> anyhow::Result<()> {
        let observed = self.look(record).await;
        let View::Leader(view) = &observed.view else { bail!("nobody leads") };
        if view.membership.span() > count {
            bail!("a member lives above ordinal {count}");
        }
        Ok(())
    }
}

fn connect(
    urls: impl IntoIterator<Item = String>,
    options: Options,
    tls: Option<&Tls>,
) -> Result<Client, InvalidEndpoint> {
    match tls {
        Some(tls) => Client::secured(urls, options, tls),
        None => Client::new(urls, options),
    }
}

fn node(answer: Option<&admin::GetStatusResponse>) -> Node {
    let Some(identity) = answer.and_then(|answer| answer.identity.as_ref()) else { return Node::Unknown };
    let Ok(incarnation) = Uuid::parse_str(&identity.incarnation) else { return Node::Unknown };
    let incarnation = Incarnation(incarnation.as_u128());
    match cluster(identity) {
        Some(cluster) => Node::Joined { incarnation, cluster, node_id: NodeId(identity.node_id) },
        None => Node::Pristine { incarnation },
    }
}

fn cluster(identity: &admin::Identity) -> Option<Cluster> {
    if identity.node_id == 0 {
        return None;
    }
    let id = Uuid::parse_str(&identity.cluster_id).ok()?;
    Some(Cluster { id: ClusterId(id.as_u128()), lineage: identity.lineage })
}

fn view<'a>(answers: impl Iterator<Item = &'a admin::GetStatusResponse> + Clone) -> View {
    let claims_to_lead = |answer: &&admin::GetStatusResponse| {
        answer.leader != 0 && answer.identity.as_ref().is_some_and(|identity| identity.node_id == answer.leader)
    };
    let leader = answers.clone().filter(claims_to_lead).max_by_key(|answer| answer.term);
    if let Some((answer, membership)) = leader.and_then(|answer| Some((answer, membership(answer)?))) {
        return View::Leader(LeaderView {
            leader: NodeId(answer.leader),
            term: answer.term,
            membership,
            committed: answer.membership_committed,
            last_log_index: answer.nodes.iter().map(|node| node.last_log_index).max().unwrap_or(0),
            progress: answer.nodes.iter().filter_map(progress).collect(),
            removed: answer.removed_node_ids.iter().map(|&id| NodeId(id)).collect(),
            formed: answer.formed,
        });
    }
    let newest = answers.filter_map(membership).max_by_key(|membership| membership.log_id);
    newest.map_or(View::Unknown, View::Remembered)
}

fn progress(node: &admin::NodeStatus) -> Option<(NodeId, Progress)> {
    let matched_index = node.matched_index?;
    Some((NodeId(node.id), Progress { matched_index, since_ack_ms: node.since_ack_ms }))
}

fn membership(answer: &admin::GetStatusResponse) -> Option<Membership> {
    let log_id = answer.membership_log_id?;
    let set = |set: &admin::VoterSet| set.node_ids.iter().map(|&id| NodeId(id)).collect();
    let voters = match answer.voter_sets.as_slice() {
        [uniform] => Voters::Uniform(set(uniform)),
        [outgoing, incoming] => Voters::Joint { outgoing: set(outgoing), incoming: set(incoming) },
        _ => return None,
    };
    Some(Membership {
        cluster: cluster(answer.identity.as_ref()?)?,
        log_id: LogId { term: log_id.term, index: log_id.index },
        ordinals: answer.nodes.iter().map(|node| (NodeId(node.id), Ordinal(node.ordinal))).collect(),
        voters,
    })
}
