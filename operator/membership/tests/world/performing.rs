//! Performing a step, with the refusals of the real performers: none of them decides anything.

use std::collections::BTreeSet;

use carrel_membership::{Cluster, Founding, Incarnation, LogId, NodeId, Ordinal, Replicas, Step, Voters};

use super::{Raft, World, quorum};

/// A step that found the world other than it expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub &'static str);

impl World {
    pub fn perform(&mut self, step: &Step) -> Result<(), Refused> {
        let done = match step {
            Step::Run { count, generation } => self.perform_run(*count, *generation),
            Step::ClaimFounding { ordinal, seed, wanted_voters, expected } => {
                self.claim(*ordinal, *seed, *wanted_voters, *expected)
            }
            Step::Initialize { ordinal, seed, cluster, wanted_voters } => {
                let cluster = Cluster { id: *cluster, lineage: 0 };
                self.initialize(*ordinal, *seed, cluster, *wanted_voters)
            }
            Step::RecordFounded { cluster } => {
                self.founding = Founding::Done { cluster: *cluster };
                Ok(())
            }
            Step::Admit { ordinal, incarnation } => {
                self.allocate(*ordinal, *incarnation).and_then(|id| self.join(*ordinal, *incarnation, id))
            }
            Step::AddLearner { node_id, expected } => self.add_learner(*node_id, *expected),
            Step::ChangeVoters { voters, expected } => self
                .begin_change(voters.ids(), *expected)
                .and_then(|()| self.led())
                .map(|raft| raft.finish_change(voters.ids().clone())),
            Step::TransferLeadership { to } => self.transfer_leadership(*to),
            Step::RemoveNode { node_id } => self.remove_node(*node_id),
            Step::SetVolumeAside { ordinal, incarnation } => self.set_volume_aside(*ordinal, *incarnation),
        };
        self.elect();
        self.assert_sound();
        done
    }

    /// The performer dies between the two halves of a step. Steps of one half are not begun.
    pub fn perform_half(&mut self, step: &Step) -> Result<(), Refused> {
        let done = match step {
            Step::Admit { ordinal, incarnation } => self.allocate(*ordinal, *incarnation).map(|_| ()),
            Step::ChangeVoters { voters, expected } => self.begin_change(voters.ids(), *expected),
            Step::Initialize { ordinal, seed, cluster, .. } => {
                self.take_seat(*ordinal, *seed, Cluster { id: *cluster, lineage: 0 })
            }
            Step::Run { .. }
            | Step::ClaimFounding { .. }
            | Step::RecordFounded { .. }
            | Step::AddLearner { .. }
            | Step::TransferLeadership { .. }
            | Step::RemoveNode { .. }
            | Step::SetVolumeAside { .. } => Ok(()),
        };
        self.assert_sound();
        done
    }

    fn perform_run(&mut self, count: u32, generation: u64) -> Result<(), Refused> {
        if self.running.generation != generation {
            return Err(Refused("what runs has changed"));
        }
        let stops_member = self.raft.iter().flat_map(|raft| raft.members.values()).any(|at| at.0 >= count);
        if count < self.running.count && stops_member {
            return Err(Refused("a member would be stopped"));
        }
        self.run(count);
        Ok(())
    }

    fn claim(
        &mut self,
        ordinal: Ordinal,
        seed: Incarnation,
        wanted_voters: Replicas,
        expected: Founding,
    ) -> Result<(), Refused> {
        if self.founding != expected || !self.slots.contains_key(&ordinal) {
            return Err(Refused("the record has changed"));
        }
        let cluster = self.draw_cluster();
        self.founding = Founding::Claimed { cluster, seed, wanted_voters };
        Ok(())
    }

    fn initialize(
        &mut self,
        at: Ordinal,
        seed: Incarnation,
        cluster: Cluster,
        voters: Replicas,
    ) -> Result<(), Refused> {
        self.take_seat(at, seed, cluster)?;
        if self.raft.as_ref().is_some_and(|raft| raft.cluster == cluster) {
            return Ok(());
        }
        assert!(!self.raft.as_ref().is_some_and(|raft| raft.formed), "a second cluster beside one that serves");
        let mut raft = Raft::founded(cluster, at, voters);
        raft.allocated.insert(seed, (NodeId(1), at));
        self.raft = Some(raft);
        Ok(())
    }

    /// The first half of a founding: the volume says for good who it is.
    fn take_seat(&mut self, at: Ordinal, seed: Incarnation, cluster: Cluster) -> Result<(), Refused> {
        let answers = self.answers(at);
        let slot = self.slots.get_mut(&at).filter(|slot| answers && slot.volume.incarnation == seed);
        let Some(slot) = slot else { return Err(Refused("the node is another, or gone")) };
        match slot.volume.joined {
            Some((existing, _)) if existing != cluster => Err(Refused("the node is part of a cluster")),
            Some(_) | None => {
                slot.volume.joined = Some((cluster, NodeId(1)));
                Ok(())
            }
        }
    }

    fn allocate(&mut self, ordinal: Ordinal, incarnation: Incarnation) -> Result<NodeId, Refused> {
        let raft = self.led()?;
        if let Some((id, _)) = raft.allocated.get(&incarnation) {
            return Ok(*id);
        }
        let id = NodeId(raft.append().index);
        raft.allocated.insert(incarnation, (id, ordinal));
        Ok(id)
    }

    fn join(&mut self, ordinal: Ordinal, incarnation: Incarnation, id: NodeId) -> Result<(), Refused> {
        let cluster = self.led()?.cluster;
        let answers = self.answers(ordinal);
        let slot = self.slots.get_mut(&ordinal).filter(|slot| answers && slot.volume.incarnation == incarnation);
        let Some(slot) = slot else { return Err(Refused("the node is another, or gone")) };
        match slot.volume.joined {
            Some(identity) if identity != (cluster, id) => return Err(Refused("the node is somebody else")),
            _ => slot.volume.joined = Some((cluster, id)),
        }
        Ok(())
    }

    fn add_learner(&mut self, id: NodeId, expected: LogId) -> Result<(), Refused> {
        let raft = self.led()?.uniform()?;
        if raft.log_id != expected {
            return Err(Refused("the membership has changed"));
        }
        let allocated = raft.allocated.values().find(|(allocated, _)| *allocated == id);
        let Some((_, ordinal)) = allocated.copied() else { return Err(Refused("an id that was never given")) };
        if raft.removed.contains(&id) {
            return Err(Refused("an id that was removed for good"));
        }
        let known = raft.members.insert(id, ordinal).is_some();
        if !known {
            raft.matched.insert(id, 0);
            raft.log_id = raft.append();
        }
        Ok(())
    }

    /// Up to the joint membership.
    fn begin_change(&mut self, target: &BTreeSet<NodeId>, expected: LogId) -> Result<(), Refused> {
        let raft = self.led()?;
        if raft.log_id != expected {
            return Err(Refused("the membership has changed"));
        }
        if !target.iter().all(|id| raft.members.contains_key(id)) {
            return Err(Refused("a voter that is no member"));
        }
        let outgoing = raft.voters.sets().last().copied().cloned().expect("a membership has voters");
        if raft.voters.sets().contains(&target) {
            return Ok(());
        }
        raft.voters = Voters::Joint { outgoing, incoming: target.clone() };
        raft.log_id = raft.append();
        Ok(())
    }

    fn transfer_leadership(&mut self, to: NodeId) -> Result<(), Refused> {
        let followers = self.followers();
        let raft = self.led()?;
        if !followers.contains(&to) || !raft.voters.contains(to) {
            return Err(Refused("it cannot lead"));
        }
        if raft.leader != Some(to) {
            raft.matched.insert(to, raft.last_index);
            raft.lead(to);
        }
        Ok(())
    }

    fn remove_node(&mut self, id: NodeId) -> Result<(), Refused> {
        let raft = self.led()?.uniform()?;
        if raft.voters.contains(id) {
            return Err(Refused("a voter is not removed"));
        }
        if raft.members.remove(&id).is_some() {
            raft.matched.remove(&id);
            raft.log_id = raft.append();
        }
        raft.removed.insert(id);
        Ok(())
    }

    fn set_volume_aside(&mut self, ordinal: Ordinal, incarnation: Incarnation) -> Result<(), Refused> {
        let here = self.slots.get(&ordinal).is_some_and(|slot| slot.volume.incarnation == incarnation);
        if !here {
            return Err(Refused("the node is another"));
        }
        self.replace_volume(ordinal);
        Ok(())
    }

    fn answers(&self, ordinal: Ordinal) -> bool {
        self.runs(ordinal) && self.slots.get(&ordinal).is_some_and(|slot| !slot.mute)
    }

    /// The cluster, if somebody leads it with a majority behind.
    fn led(&mut self) -> Result<&mut Raft, Refused> {
        let followers = self.followers();
        let raft = self.raft.as_mut().ok_or(Refused("no cluster"))?;
        if quorum(&raft.voters, &followers).holds() { Ok(raft) } else { Err(Refused("no leader")) }
    }
}

impl Raft {
    fn uniform(&mut self) -> Result<&mut Raft, Refused> {
        if self.voters.is_joint() { Err(Refused("a change is not finished")) } else { Ok(self) }
    }

    fn finish_change(&mut self, target: BTreeSet<NodeId>) {
        self.formed |= target.len() == self.wanted_voters.count() as usize;
        self.voters = Voters::Uniform(target);
        self.log_id = self.append();
    }
}
