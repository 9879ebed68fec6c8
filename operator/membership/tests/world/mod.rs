//! A tiny world for the planner to act on: ordinals with volumes, one Raft membership, and the things that go wrong.
//!
//! It refuses what the real performers refuse, and asserts after everything that happens what must hold whatever
//! happens. Replication is an index per member, an election is the best voter a majority can elect: enough for a
//! planner, which sees no more than that.

mod faults;
mod observing;
mod performing;

use std::collections::{BTreeMap, BTreeSet};

use carrel_membership::{
    Cluster, ClusterId, Desired, Founding, Incarnation, LogId, NodeId, Ordinal, Plan, Quorum, Replicas, Running,
    Voters, plan,
};

/// Entries a member catches up between two looks: a few looks for a node that was away, one for a node that was not.
const CATCH_UP_ENTRIES: u64 = 4000;

/// Changes of membership are few; a story that needs more looks than this goes round in circles.
pub const MAX_LOOKS: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    pub wanted: Replicas,
    pub founding: Founding,
    pub running: Running,
    pub slots: BTreeMap<Ordinal, Slot>,
    pub raft: Option<Raft>,
    /// Incarnations and cluster ids, drawn in order.
    draws: u128,
}

/// What runs, or ran, under one ordinal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub volume: Volume,
    /// The volume that was here before this one.
    pub shelved: Option<Volume>,
    pub up: bool,
    /// Its peers cannot reach it.
    pub cut_off: bool,
    /// Nobody can ask it for its status.
    pub mute: bool,
    /// It does not catch up.
    pub slow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    pub incarnation: Incarnation,
    pub joined: Option<(Cluster, NodeId)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raft {
    pub cluster: Cluster,
    pub term: u64,
    /// Who last was elected; it goes on claiming to lead while it runs and nobody else was elected.
    pub leader: Option<NodeId>,
    pub members: BTreeMap<NodeId, Ordinal>,
    pub voters: Voters,
    pub log_id: LogId,
    pub last_index: u64,
    pub matched: BTreeMap<NodeId, u64>,
    pub allocated: BTreeMap<Incarnation, (NodeId, Ordinal)>,
    pub removed: BTreeSet<NodeId>,
    pub wanted_voters: Replicas,
    pub formed: bool,
}

impl World {
    /// Nothing runs and nothing was ever founded.
    pub fn empty(wanted: Replicas) -> World {
        World {
            wanted,
            founding: Founding::Never,
            running: Running { count: 0, generation: 0 },
            slots: BTreeMap::new(),
            raft: None,
            draws: 0,
        }
    }

    /// A cluster of any size, made by somebody else.
    pub fn with_voters(count: u32, wanted: Replicas) -> World {
        let mut world = World::empty(wanted);
        world.run(count);
        let cluster = Cluster { id: world.draw_cluster(), lineage: 0 };
        let mut raft = Raft::founded(cluster, Ordinal(0), Replicas::One);
        for (ordinal, slot) in &mut world.slots {
            let id = NodeId(u64::from(ordinal.0) + 1);
            slot.volume.joined = Some((cluster, id));
            raft.members.insert(id, *ordinal);
            raft.allocated.insert(slot.volume.incarnation, (id, *ordinal));
        }
        raft.voters = Voters::Uniform(raft.members.keys().copied().collect());
        raft.last_index = 20;
        raft.log_id.index = 20;
        raft.formed = true;
        raft.matched = raft.members.keys().map(|id| (*id, raft.last_index)).collect();
        world.founding = Founding::Done { cluster: cluster.id };
        world.raft = Some(raft);
        world
    }

    pub fn plan(&self) -> Plan {
        plan(&self.observe(), &Desired { replicas: self.wanted })
    }

    /// A little time passes. False if nothing came of it.
    pub fn advance(&mut self) -> bool {
        let before = self.raft.clone();
        self.elect();
        let (followers, slow) = (self.followers(), self.slow_members());
        if let Some(raft) = &mut self.raft {
            let led = quorum(&raft.voters, &followers).holds();
            for id in followers.iter().filter(|id| led && !slow.contains(id)) {
                let matched = raft.matched.entry(*id).or_insert(0);
                *matched = raft.last_index.min(*matched + CATCH_UP_ENTRIES);
            }
        }
        self.assert_sound();
        before != self.raft
    }

    /// Members that run on their own volume.
    pub fn present(&self) -> BTreeSet<NodeId> {
        let Some(raft) = &self.raft else { return BTreeSet::new() };
        let holds = |id: &NodeId, at: &Ordinal| self.slots.get(at).is_some_and(|slot| slot.holds(raft.cluster, *id));
        raft.members.iter().filter(|(id, at)| self.runs(**at) && holds(id, at)).map(|(id, _)| *id).collect()
    }

    /// Members that hear the one that was last elected, itself included.
    pub fn followers(&self) -> BTreeSet<NodeId> {
        let leader = self.raft.as_ref().and_then(|raft| raft.leader);
        leader.map_or_else(BTreeSet::new, |leader| self.reached_from(leader))
    }

    /// Present members that this one can reach, itself included. One that is cut off reaches nobody else.
    fn reached_from(&self, from: NodeId) -> BTreeSet<NodeId> {
        let mut present = self.present();
        let cut_off = self.raft.as_ref().into_iter().flat_map(|raft| &raft.members);
        let cut_off = cut_off.filter(|(_, at)| self.slots.get(at).is_some_and(|slot| slot.cut_off));
        let cut_off: BTreeSet<NodeId> = cut_off.map(|(id, _)| *id).collect();
        let alone = cut_off.contains(&from) || !present.contains(&from);
        present.retain(|id| if alone { *id == from } else { !cut_off.contains(id) });
        present
    }

    fn runs(&self, ordinal: Ordinal) -> bool {
        ordinal.0 < self.running.count && self.slots.get(&ordinal).is_some_and(|slot| slot.up)
    }

    fn slow_members(&self) -> BTreeSet<NodeId> {
        let members = self.raft.iter().flat_map(|raft| &raft.members);
        members.filter(|(_, at)| self.slots.get(at).is_some_and(|slot| slot.slow)).map(|(id, _)| *id).collect()
    }

    /// A leader that a majority follows stays; otherwise the furthest voter whom a majority can elect.
    pub fn elect(&mut self) {
        let Some(raft) = &self.raft else { return };
        let present = self.present();
        let elected = |id: &NodeId| raft.voters.contains(*id) && quorum(&raft.voters, &self.reached_from(*id)).holds();
        if raft.leader.is_some_and(|leader| elected(&leader)) {
            return;
        }
        let furthest = |id: &&NodeId| (raft.matched.get(id), std::cmp::Reverse(raft.members.get(id)));
        let best = present.iter().filter(|id| elected(id)).max_by_key(furthest).copied();
        let claims = raft.leader.filter(|leader| present.contains(leader) && raft.voters.contains(*leader));
        let raft = self.raft.as_mut().expect("seen above");
        match best {
            Some(best) => raft.lead(best),
            None => raft.leader = claims,
        }
    }

    fn fresh_volume(&mut self) -> Volume {
        self.draws += 1;
        Volume { incarnation: Incarnation(self.draws), joined: None }
    }

    fn draw_cluster(&mut self) -> ClusterId {
        self.draws += 1;
        ClusterId(self.draws)
    }

    fn run(&mut self, count: u32) {
        self.running = Running { count, generation: self.running.generation + 1 };
        for ordinal in (0..count).map(Ordinal) {
            if !self.slots.contains_key(&ordinal) {
                let volume = self.fresh_volume();
                self.slots.insert(
                    ordinal,
                    Slot { volume, shelved: None, up: true, cut_off: false, mute: false, slow: false },
                );
            }
        }
    }

    /// What holds whatever happens, because nobody but the planner changes the membership.
    pub fn assert_sound(&self) {
        let Some(raft) = &self.raft else { return };
        if let Voters::Uniform(voters) = &raft.voters {
            assert!(voters.len() % 2 == 1, "an even voter set: {voters:?}");
        }
        for voters in raft.voters.sets() {
            assert!(voters.iter().all(|id| raft.members.contains_key(id)), "a voter that is no member: {voters:?}");
        }
        assert!(raft.members.keys().all(|id| !raft.removed.contains(id)), "a removed id is a member again");
        let ids: BTreeSet<NodeId> = raft.allocated.values().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), raft.allocated.len(), "one id for two volumes");
        let held =
            self.slots.values().filter_map(|slot| slot.volume.joined).filter(|(cluster, _)| *cluster == raft.cluster);
        let held: Vec<NodeId> = held.map(|(_, id)| id).collect();
        assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "two volumes hold one id");
    }
}

impl Slot {
    pub fn holds(&self, cluster: Cluster, id: NodeId) -> bool {
        self.volume.joined == Some((cluster, id))
    }
}

impl Raft {
    fn founded(cluster: Cluster, seed: Ordinal, wanted_voters: Replicas) -> Raft {
        let first = NodeId(1);
        Raft {
            cluster,
            term: 1,
            leader: Some(first),
            members: BTreeMap::from([(first, seed)]),
            voters: Voters::Uniform(BTreeSet::from([first])),
            log_id: LogId { term: 0, index: 0 },
            last_index: 1,
            matched: BTreeMap::from([(first, 1)]),
            allocated: BTreeMap::new(),
            removed: BTreeSet::new(),
            wanted_voters,
            formed: wanted_voters == Replicas::One,
        }
    }

    fn lead(&mut self, id: NodeId) {
        self.term += 1;
        self.leader = Some(id);
        self.append();
    }

    /// One more entry in the log of the leader, committed at once.
    fn append(&mut self) -> LogId {
        self.last_index += 1;
        if let Some(leader) = self.leader {
            self.matched.insert(leader, self.last_index);
        }
        LogId { term: self.term, index: self.last_index }
    }
}

fn quorum(voters: &Voters, alive: &BTreeSet<NodeId>) -> Quorum {
    Quorum::weakest(voters, alive)
}
