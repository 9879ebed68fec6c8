//! Looks at the replicas for the planner, and performs its steps. It decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use carrel_membership::{ClusterId, Founding, Observed, Ordinal, Running, Step};
use carrel_proto::client::{Client, InvalidEndpoint, Options, Tls};
use carrel_steward::{Doors, Limits};
use uuid::Uuid;

use super::record::Record;
use super::replicas::{Ports, Processes};

const LIMITS: Limits = Limits {
    // On loopback an answer takes a millisecond; a replica that is busy for longer is silent for this look.
    look: Duration::from_millis(500),
    step: Duration::from_secs(10),
};

pub struct Steward {
    ports: Ports,
    /// None without TLS.
    tls: Option<Tls>,
    /// Kept connections.
    admins: BTreeMap<Ordinal, Client>,
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

    fn doors(&mut self, record: &Record) -> Doors {
        let options = Options { connect_timeout: LIMITS.look, ..Options::default() };
        let Self { ports, tls, admins } = self;
        let admin = |ordinal: Ordinal| {
            let kept = admins.entry(ordinal).or_insert_with(|| {
                connect([ports.admin_url(ordinal.0)], options, tls.as_ref())
                    .expect("addresses on loopback and our own keys are well-formed")
            });
            (ordinal, kept.clone())
        };
        Doors::new((0..record.running.count).map(Ordinal).map(admin), LIMITS)
    }

    pub async fn look(&mut self, record: &Record) -> Observed {
        let answers = self.doors(record).ask().await;
        Observed { founding: record.founding, running: record.running, nodes: answers.nodes(), view: answers.view() }
    }

    /// # Errors
    /// If the step was not done, or it is not known whether it was: the next look tells.
    pub async fn perform(&mut self, step: &Step, record: &mut Record, processes: &mut Processes) -> anyhow::Result<()> {
        let doors = self.doors(record);
        match step {
            Step::Run { count, generation } => {
                if record.running.generation != *generation {
                    bail!("decided on an old look");
                }
                if *count < record.running.count {
                    doors.check_nobody_lives_above(*count).await?;
                }
                record.running = Running { count: *count, generation: generation + 1 };
                record.save(processes.dir())?;
                processes.run(*count).await?;
            }
            Step::ClaimFounding { ordinal: _, seed, expected, wanted_voters } => {
                if record.founding != *expected {
                    bail!("the founding has changed");
                }
                let cluster = ClusterId(Uuid::new_v4().as_u128());
                record.founding = Founding::Claimed { cluster, seed: *seed, wanted_voters: *wanted_voters };
                record.save(processes.dir())?;
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                doors.initialize(*ordinal, *seed, *cluster, *wanted_voters).await?;
            }
            Step::RecordFounded { cluster } => {
                record.founding = Founding::Done { cluster: *cluster };
                record.save(processes.dir())?;
            }
            Step::Admit { ordinal, incarnation } => doors.admit(*ordinal, *incarnation).await?,
            Step::AddLearner { node_id, expected } => doors.add_learner(*node_id, *expected).await?,
            Step::ChangeVoters { voters, expected } => doors.change_voters(voters, *expected).await?,
            Step::TransferLeadership { to } => doors.transfer_leadership(*to).await?,
            Step::RemoveNode { node_id } => doors.remove_node(*node_id).await?,
            Step::SetVolumeAside { ordinal, incarnation: _ } => processes.set_volume_aside(ordinal.0).await?,
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
