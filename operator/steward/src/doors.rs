//! The admin ports of the nodes, and what is asked of them.

use std::collections::BTreeMap;
use std::time::Duration;

use carrel_membership::{ClusterId, Incarnation, LogId, Node, NodeId, Ordinal, Replicas, View, VoterSet};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::translate::{Answers, node};

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Who does not say who it is within this time is silent for this look.
    pub look: Duration,
    /// A step may wait for a change of membership to commit.
    pub step: Duration,
}

/// Why a step was not done, or why it is not known whether it was: the next look tells.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error("nobody leads")]
    NoLeader,
    #[error("ordinal {0} has no address")]
    NoAddress(Ordinal),
    #[error("ordinal {0} is not what was to found the cluster")]
    NotTheSeed(Ordinal),
    #[error("a member lives above ordinal {0}")]
    MemberAbove(u32),
    #[error("ordinal {0} is another volume by now")]
    OtherVolume(Ordinal),
    #[error("the answer makes no sense: {0}")]
    Senseless(&'static str),
    #[error("{0}")]
    Call(#[from] ClientError),
}

/// One client for each ordinal that has an address.
#[derive(Clone, Debug)]
pub struct Doors {
    clients: BTreeMap<Ordinal, Client>,
    limits: Limits,
}

impl Doors {
    pub fn new(clients: impl IntoIterator<Item = (Ordinal, Client)>, limits: Limits) -> Self {
        Self { clients: clients.into_iter().collect(), limits }
    }

    /// Asks all at once. Who does not answer is in the answers as silent.
    pub async fn ask(&self) -> Answers {
        let asked = self.clients.keys().map(|ordinal| async move { (*ordinal, self.status(*ordinal).await.ok()) });
        Answers::new(join_all(asked).await)
    }

    /// Refused unless the node still is the volume that was claimed for it: the claim is its only right to found.
    ///
    /// # Errors
    /// See [`NotDone`].
    pub async fn initialize(
        &self,
        ordinal: Ordinal,
        seed: Incarnation,
        cluster: ClusterId,
        wanted_voters: Replicas,
    ) -> Result<(), NotDone> {
        let is_seed = match node(Some(&self.status(ordinal).await?)) {
            Node::Pristine { incarnation } => incarnation == seed,
            // Stopped half way, it goes on.
            Node::Joined { incarnation, cluster: taken, .. } => incarnation == seed && taken.id == cluster,
            Node::Unknown => false,
        };
        if !is_seed {
            return Err(NotDone::NotTheSeed(ordinal));
        }
        let request = admin::InitializeRequest {
            cluster_id: Uuid::from_u128(cluster.0).to_string(),
            wanted_voters: wanted_voters.count(),
            seed_incarnation: Uuid::from_u128(seed.0).to_string(),
        };
        self.for_step(ordinal)?.initialize(request).await?;
        Ok(())
    }

    /// # Errors
    /// See [`NotDone`].
    pub async fn admit(&self, ordinal: Ordinal, incarnation: Incarnation) -> Result<(), NotDone> {
        let leader = self.leader().await?;
        let incarnation = Uuid::from_u128(incarnation.0).to_string();
        let request = admin::AllocateNodeRequest { incarnation: incarnation.clone(), ordinal: ordinal.0 };
        let node_id = leader.allocate_node(request).await?.node_id;
        let status = leader.get_status(admin::GetStatusRequest { local: true }).await?;
        let cluster = status.identity.ok_or(NotDone::Senseless("a leader without identity"))?;
        let identity = admin::Identity { incarnation, node_id, ordinal: ordinal.0, ..cluster };
        self.for_step(ordinal)?.join(admin::JoinRequest { identity: Some(identity) }).await?;
        Ok(())
    }

    /// # Errors
    /// See [`NotDone`].
    pub async fn add_learner(&self, node_id: NodeId, expected: LogId) -> Result<(), NotDone> {
        let request = admin::AddLearnerRequest {
            node_id: node_id.0,
            expected_membership_log_id: Some(admin::LogId { term: expected.term, index: expected.index }),
        };
        self.leader().await?.add_learner(request).await?;
        Ok(())
    }

    /// # Errors
    /// See [`NotDone`].
    pub async fn change_voters(&self, voters: &VoterSet, expected: LogId) -> Result<(), NotDone> {
        let request = admin::ChangeVotersRequest {
            voters: voters.ids().iter().map(|id| id.0).collect(),
            expected_membership_log_id: Some(admin::LogId { term: expected.term, index: expected.index }),
        };
        self.leader().await?.change_voters(request).await?;
        Ok(())
    }

    /// # Errors
    /// See [`NotDone`].
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), NotDone> {
        self.leader().await?.transfer_leadership(admin::TransferLeadershipRequest { node_id: to.0 }).await?;
        Ok(())
    }

    /// # Errors
    /// See [`NotDone`].
    pub async fn remove_node(&self, node_id: NodeId) -> Result<(), NotDone> {
        self.leader().await?.remove_node(admin::RemoveNodeRequest { node_id: node_id.0 }).await?;
        Ok(())
    }

    /// To be asked just before fewer are run: the observation that said so may be old.
    ///
    /// # Errors
    /// If somebody does, or nobody leads who could tell.
    pub async fn check_nobody_lives_above(&self, count: u32) -> Result<(), NotDone> {
        let View::Leader(view) = self.ask().await.view() else { return Err(NotDone::NoLeader) };
        if view.membership.span() > count { Err(NotDone::MemberAbove(count)) } else { Ok(()) }
    }

    /// To be asked just before a volume is taken away.
    ///
    /// # Errors
    /// If the node answers from another one, or not at all.
    pub async fn check_volume(&self, ordinal: Ordinal, expected: Incarnation) -> Result<(), NotDone> {
        match node(Some(&self.status(ordinal).await?)) {
            Node::Pristine { incarnation } | Node::Joined { incarnation, .. } if incarnation == expected => Ok(()),
            Node::Pristine { .. } | Node::Joined { .. } | Node::Unknown => Err(NotDone::OtherVolume(ordinal)),
        }
    }

    async fn status(&self, ordinal: Ordinal) -> Result<admin::GetStatusResponse, NotDone> {
        let client = self.client(ordinal, self.limits.look)?;
        Ok(client.get_status(admin::GetStatusRequest { local: true }).await?)
    }

    /// The admin port of whoever leads now.
    async fn leader(&self) -> Result<Client, NotDone> {
        let View::Leader(view) = self.ask().await.view() else { return Err(NotDone::NoLeader) };
        let ordinal = view.membership.ordinals.get(&view.leader);
        self.for_step(*ordinal.ok_or(NotDone::Senseless("a leader that is no member"))?)
    }

    fn for_step(&self, ordinal: Ordinal) -> Result<Client, NotDone> {
        self.client(ordinal, self.limits.step)
    }

    fn client(&self, ordinal: Ordinal, limit: Duration) -> Result<Client, NotDone> {
        let client = self.clients.get(&ordinal).ok_or(NotDone::NoAddress(ordinal))?;
        // The time to connect was said when the client was made.
        let options = Options { attempt_timeout: limit, deadline: limit, ..Options::default() };
        Ok(client.clone().with_options(options))
    }
}
