//! Sees what passes between nodes and what they say, and holds it against every invariant.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use carrel_domain::format;
use carrel_domain::state::State;
use carrel_node::raft::disk::simulated::{SimulatedDisk, Survival};
use carrel_node::raft::identity::DataDirectory;
use carrel_node::raft::types::{Entry, LogId, NodeId, Payload, Types, Vote};
use carrel_node::raft::wal::{self, LogContents};
use carrel_node::replica::View;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

use crate::invariants::{self, EntryId, Invariant, SeenEntry, SeenVote, Sight, Status};
use crate::machine::TrueTime;
use crate::marks::{Mark, Marks};
use crate::runtime::Processes;
use crate::story::Story;

/// Below it lies everything of a node, on every machine.
pub const MOUNT: &str = "/mount";

/// Of so many acknowledgements one is looked for on the disk: reading a log costs far more than a message.
const LOOK_AT_ONE_OF: u64 = 16;
/// Of every so many-th entry all replicas' states are compared, and of fewer the rules are checked.
const HASH_AT_ONE_OF: u64 = 16;
const RULES_AT_ONE_OF: u64 = 64;

/// States that are kept, by which rows can be judged that are somewhat behind.
const VIEWS_MAX: usize = 256;

/// One promise that was broken is enough, and a broken cluster breaks thousands.
const BROKEN_MAX: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub invariant: String,
    pub how: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.how)
    }
}

pub struct Witness {
    time: TrueTime,
    marks: Arc<Marks>,
    story: Arc<Story>,
    seen: Mutex<Seen>,
}

struct Seen {
    invariants: Vec<Box<dyn Invariant>>,
    broken: Vec<Broken>,
    disks: BTreeMap<NodeId, SimulatedDisk>,
    acknowledgements: u64,
    hashes: BTreeMap<u64, NodeId>,
    newest_term: u64,
    /// States of late, by their entries.
    views: BTreeMap<u64, View>,
}

impl Witness {
    #[must_use]
    pub fn new(time: TrueTime, marks: &Arc<Marks>, story: &Arc<Story>) -> Arc<Self> {
        let seen = Seen {
            invariants: invariants::all(),
            broken: Vec::new(),
            disks: BTreeMap::new(),
            acknowledgements: 0,
            hashes: BTreeMap::new(),
            newest_term: 0,
            views: BTreeMap::new(),
        };
        Arc::new(Self { time, marks: Arc::clone(marks), story: Arc::clone(story), seen: Mutex::new(seen) })
    }

    #[must_use]
    pub fn time(&self) -> TrueTime {
        self.time
    }

    /// From now on this node's volume is on this disk.
    pub fn lies_on(&self, node: NodeId, disk: SimulatedDisk) {
        self.seen().disks.insert(node, disk);
    }

    pub fn broken(&self) -> Vec<Broken> {
        self.seen().broken.clone()
    }

    /// A promise that is not among the invariants was broken.
    pub fn accuse(&self, invariant: &str, how: String) {
        self.story.tell(format_args!("BROKEN {invariant}: {how}"));
        let mut seen = self.seen();
        if seen.broken.len() < BROKEN_MAX {
            seen.broken.push(Broken { invariant: invariant.to_owned(), how });
        }
    }

    pub fn see(&self, sight: &Sight<'_>) {
        let mut found = Vec::new();
        for invariant in &mut self.seen().invariants {
            if let Err(how) = invariant.see(sight) {
                found.push((invariant.name(), how));
            }
        }
        for (name, how) in found {
            self.accuse(name, how);
        }
    }

    pub fn append_arrives(&self, to: NodeId, request: &AppendEntriesRequest<Types<Processes>>) {
        let leader = request.vote.leader_id;
        let entries: Vec<SeenEntry> = request.entries.iter().map(seen_entry).collect();
        {
            let mut seen = self.seen();
            if leader.term > seen.newest_term {
                seen.newest_term = leader.term;
                self.marks.hit(Mark::LeaderChanged);
                self.story.tell(format_args!("node {} leads term {}", leader.voted_for, leader.term));
            } else if leader.term < seen.newest_term {
                self.marks.hit(Mark::DeposedInIgnorance);
            }
        }
        let through = entries.last().map_or(0, |entry| entry.id.index);
        let committed = request.leader_commit.map(entry_id);
        let committed_index = committed.map_or(0, |committed| committed.index);
        self.story.trace(&[5, to, leader.term, leader.voted_for, through, committed_index]);
        self.see(&Sight::Append {
            term: leader.term,
            leader: leader.voted_for,
            before: request.prev_log_id.map(entry_id),
            entries: &entries,
            committed,
        });
    }

    /// In the process that has answered, before the answer leaves it.
    pub async fn append_answered(
        &self,
        by: NodeId,
        request: &AppendEntriesRequest<Types<Processes>>,
        answer: &AppendEntriesResponse<Types<Processes>>,
    ) {
        let last = request.entries.last().map(|entry| entry.log_id);
        let matched = match answer {
            AppendEntriesResponse::Success => last.or(request.prev_log_id),
            AppendEntriesResponse::PartialSuccess(matched) => *matched,
            AppendEntriesResponse::Conflict => {
                self.marks.hit(Mark::EntriesConflicted);
                None
            }
            AppendEntriesResponse::HigherVote(_) => None,
        };
        let Some(matched) = matched else { return };
        let term = request.vote.leader_id.term;
        self.see(&Sight::Matched { by, term, through: matched.index });
        if last.is_none() || !self.is_to_be_looked_at() {
            return;
        }
        let Some(contents) = self.what_would_be_left(by).await else { return };
        let contents = match contents {
            Ok(contents) => contents,
            Err(why) => return self.unreadable(by, why),
        };
        // A later leader may have taken it back meanwhile.
        if contents.vote.is_some_and(|vote| vote.leader_id.term > term) {
            return;
        }
        let is_purged = contents.purged.is_some_and(|purged| purged.index >= matched.index);
        let is_there = is_purged || contents.entries.iter().any(|entry| entry.log_id == matched);
        self.marks.hit(Mark::DurabilityLooked);
        self.see(&Sight::OnDisk { of: by, what: format!("the entry {:?}", entry_id(matched)), is_there });
    }

    pub fn snapshot_installed(&self, by: NodeId, term: u64, through: u64, shown: Option<u64>) {
        self.see(&Sight::Shown { of: by, applied: through, shown });
        self.see(&Sight::Matched { by, term, through });
    }

    /// In the process that has granted it, before the answer leaves it.
    pub async fn vote_granted(&self, by: NodeId, vote: Vote) {
        let (term, to) = (vote.leader_id.term, vote.leader_id.voted_for);
        self.see(&Sight::Granted { by, term, to });
        let contents = match self.what_would_be_left(by).await {
            None => return,
            Some(Ok(contents)) => contents,
            Some(Err(why)) => return self.unreadable(by, why),
        };
        let granted = SeenVote { term, to, leads: false };
        let is_there = contents.vote.is_some_and(|left| granted.may_become(&seen_vote(left)));
        self.see(&Sight::OnDisk { of: by, what: format!("its vote for {to} in term {term}"), is_there });
    }

    /// What a process finds where it starts, before it does anything.
    pub async fn starts(&self, disk: &SimulatedDisk) {
        let disk = disk.imagine_crash(Survival::Everything);
        // What cannot be read is said by the process that tries.
        let Ok(Some((of, contents))) = owned_contents(&disk).await else { return };
        self.see(&Sight::Starts { of, vote: contents.vote.map(seen_vote) });
    }

    pub fn status(&self, of: NodeId, life: u64, status: Status) {
        self.see(&Sight::Status { of, life, status });
    }

    /// The state of an entry, if somebody was seen in it of late.
    pub fn view_at(&self, index: u64) -> Option<View> {
        self.seen().views.get(&index).cloned()
    }

    pub fn applied(&self, of: NodeId, state: &View) {
        let at = state.at();
        {
            let mut seen = self.seen();
            seen.views.insert(at.index, View::clone(state));
            if seen.views.len() > VIEWS_MAX {
                seen.views.pop_first();
            }
        }
        if at.index == 0 {
            return;
        }
        let hash = at.index.is_multiple_of(HASH_AT_ONE_OF).then(|| hash_of(state));
        if hash.is_some() {
            let first = *self.seen().hashes.entry(at.index).or_insert(of);
            if first != of {
                self.marks.hit(Mark::HashesCompared);
            }
        }
        let is_rules_turn = at.index.is_multiple_of(RULES_AT_ONE_OF);
        if is_rules_turn {
            self.marks.hit(Mark::InvariantsLooked);
        }
        self.story.trace(&[6, of, at.index, at.time.0.cast_unsigned(), hash.unwrap_or(0)]);
        self.see(&Sight::Applied {
            of,
            index: at.index,
            time_us: at.time.0,
            true_time_us: self.time.now_us(),
            hash,
            state: is_rules_turn.then_some(&**state),
        });
    }

    fn unreadable(&self, by: NodeId, why: String) {
        self.see(&Sight::OnDisk { of: by, what: format!("anything ({why})"), is_there: false });
    }

    fn is_to_be_looked_at(&self) -> bool {
        let mut seen = self.seen();
        seen.acknowledgements += 1;
        seen.acknowledgements.is_multiple_of(LOOK_AT_ONE_OF)
    }

    /// The log of a node if its machine lost power now.
    async fn what_would_be_left(&self, of: NodeId) -> Option<Result<LogContents, String>> {
        let disk = self.seen().disks.get(&of)?.clone();
        contents(&disk.imagine_crash(Survival::Nothing)).await.transpose()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds the lock")
    }
}

/// The log on a disk that no node uses; none if it is no member's.
pub async fn contents(disk: &SimulatedDisk) -> Result<Option<LogContents>, String> {
    Ok(owned_contents(disk).await?.map(|(_, contents)| contents))
}

async fn owned_contents(disk: &SimulatedDisk) -> Result<Option<(NodeId, LogContents)>, String> {
    let directory = DataDirectory::open_used(disk, Path::new(MOUNT)).await.map_err(|error| error.to_string())?;
    let Some(me) = directory.identity().membership else { return Ok(None) };
    let read = wal::read(disk, &directory.log_directory(), me.log_owner()).await;
    read.map(|contents| Some((me.node_id, contents))).map_err(|error| error.to_string())
}

#[must_use]
pub fn entry_id(id: LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}

fn seen_vote(vote: Vote) -> SeenVote {
    SeenVote { term: vote.leader_id.term, to: vote.leader_id.voted_for, leads: vote.committed }
}

fn seen_entry(entry: &Entry) -> SeenEntry {
    let (digest, voters) = match &entry.payload {
        Payload::Blank => (1, None),
        Payload::Normal(command) => (fnv(&command.body) ^ command.at.cast_unsigned(), None),
        Payload::Membership(membership) => {
            (fnv(format!("{membership:?}").as_bytes()), Some(membership.get_joint_config().clone()))
        }
    };
    SeenEntry { id: entry_id(entry.log_id), digest, voters }
}

pub fn hash_of(state: &State) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for part in format::snapshot(state.clone()) {
        hash = fnv_from(hash, &part);
    }
    hash
}

fn fnv(bytes: &[u8]) -> u64 {
    fnv_from(0xcbf2_9ce4_8422_2325, bytes)
}

fn fnv_from(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}
