//! What goes wrong, and right again, without the planner.

use std::collections::BTreeSet;

use carrel_membership::{NodeId, Ordinal, Voters};

use super::{Slot, World};

impl World {
    /// Something happens to an ordinal; then whoever can elects a leader.
    pub fn happen(&mut self, ordinal: Ordinal, event: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(&ordinal) {
            event(slot);
        }
        self.elect();
        self.assert_sound();
    }

    /// The volume is gone; the node comes back on an empty one.
    pub fn lose_volume(&mut self, ordinal: Ordinal) {
        self.replace_volume(ordinal);
        self.elect();
        self.assert_sound();
    }

    pub fn replace_volume(&mut self, ordinal: Ordinal) {
        let fresh = self.fresh_volume();
        if let Some(slot) = self.slots.get_mut(&ordinal) {
            slot.shelved = Some(std::mem::replace(&mut slot.volume, fresh));
        }
    }

    /// The volume that was there before turns up again, and the present one is gone.
    pub fn restore_volume(&mut self, ordinal: Ordinal) {
        self.happen(ordinal, |slot| {
            if let Some(old) = slot.shelved.take() {
                slot.shelved = Some(std::mem::replace(&mut slot.volume, old));
            }
        });
    }

    pub fn write_entries(&mut self, count: u64) {
        if let Some(raft) = &mut self.raft {
            raft.last_index += count;
            if let Some(leader) = raft.leader {
                raft.matched.insert(leader, raft.last_index);
            }
        }
    }

    /// The member under this ordinal wins an election.
    pub fn hand_leadership(&mut self, ordinal: Ordinal) {
        let raft = self.raft.as_mut().expect("leading needs a cluster");
        let member = raft.members.iter().find(|(id, at)| **at == ordinal && raft.voters.contains(**id));
        let (id, _) = member.expect("a voter lives there");
        raft.lead(*id);
    }

    /// Somebody changes what runs, whoever lives there.
    pub fn run_by_hand(&mut self, count: u32) {
        self.run(count);
        self.elect();
    }

    /// Somebody else begins a change and is gone before the second half.
    pub fn leave_joint(&mut self, incoming: BTreeSet<NodeId>) {
        let raft = self.raft.as_mut().expect("a change needs a cluster");
        assert!(incoming.iter().all(|id| raft.members.contains_key(id)), "members are {:?}", raft.members);
        if let Voters::Uniform(outgoing) = raft.voters.clone() {
            raft.voters = Voters::Joint { outgoing, incoming };
            raft.log_id = raft.append();
        }
    }

    /// All faults end; what is lost stays lost.
    pub fn calm(&mut self) {
        for slot in self.slots.values_mut() {
            slot.up = true;
            slot.cut_off = false;
            slot.mute = false;
            slot.slow = false;
        }
        self.elect();
    }
}
