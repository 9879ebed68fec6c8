//! All replicas there may be, the links between them, and what is seen of them from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_membership::{Ordinal, View};
use carrel_proto::admin::v1 as admin;
use carrel_steward::Answers;
use futures_util::future::join_all;

use crate::links::Links;
use crate::replica::{Ending, Launch, Ports, Replica};
use crate::volume::{Ground, Volume};

/// Slots that a replica can run in.
pub const SLOTS: u32 = 5;
/// For the cluster to be formed, and to be whole again after the last fault: many times what it takes.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// On loopback an answer takes a millisecond, on a busy machine some hundred; a replica that is paused gives none.
const LOOK_LIMIT: Duration = Duration::from_millis(700);
/// A replica that ended by itself is started again after so long, as anything that looks after processes would.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// One room that never closes, with rules that refuse nothing but what the seats themselves do, and no deadline that
/// falls due within a run.
const CATALOG: &str = r#"policies:
  - id: chaos
    grid_minutes: 30
    min_minutes: 30
    max_minutes: 480
    window_days: 14
    grace_minutes: 1440
    lead_minutes: 15
    offer_minutes: 10
    max_reservations: 1000
    max_minutes_per_day: 1440
    strikes_to_suspend: 0
    strike_days: 30
    suspension_days: 3
branches:
  - id: main
    display_name: Main
    time_zone: Etc/UTC
    policy: chaos
    hours:
      week: { mon-sun: "00:00-24:00" }
    areas:
      - id: hall
        display_name: Hall
        seats:
"#;

pub struct Cluster {
    dir: PathBuf,
    /// By slot, whether they run or not.
    pub replicas: Vec<Replica>,
    pub links: Arc<Links>,
    /// How many voters there shall be.
    pub wanted: AtomicU32,
    /// How many slots run.
    pub running: AtomicU32,
    pub endings: Mutex<Vec<Ending>>,
    pub hashes: Mutex<Hashes>,
}

/// What replicas said of their states, by index.
#[derive(Debug, Default)]
pub struct Hashes {
    /// With who said so first.
    by_index: BTreeMap<u64, (u32, Vec<u8>)>,
    /// Of one index by another replica.
    pub compared: u64,
    pub diverged: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub ordinal: u32,
    pub status: admin::GetStatusResponse,
}

pub fn answers(seen: &[Seen]) -> Answers {
    Answers::new(seen.iter().map(|seen| (Ordinal(seen.ordinal), Some(seen.status.clone()))))
}

impl Seen {
    pub fn node_id(&self) -> u64 {
        self.status.identity.as_ref().map_or(0, |identity| identity.node_id)
    }

    pub fn leads(&self) -> bool {
        self.status.leader != 0 && self.status.leader == self.node_id()
    }

    fn own(&self) -> Option<&admin::NodeStatus> {
        self.status.nodes.iter().find(|node| node.id == self.node_id())
    }

    pub fn applied(&self) -> u64 {
        self.own().map_or(0, |own| own.applied_index)
    }

    pub fn snapshot(&self) -> u64 {
        self.own().map_or(0, |own| own.snapshot_index)
    }
}

impl Cluster {
    /// Nothing runs yet.
    pub async fn new(dir: &Path, wanted: u32, seats: u32, ground: Ground) -> Arc<Self> {
        let seats: String = (0..seats).map(|seat| format!("          - {{ id: s-{seat} }}\n")).collect();
        let catalog = dir.join("chaos.yaml");
        std::fs::write(&catalog, format!("{CATALOG}{seats}")).expect("the catalogue can be written");
        let admin = dir.join("first-admin.txt");
        std::fs::write(&admin, "admin\ncorrect horse battery\n").expect("a small file can be written");
        let shim = crate::shim::compile(dir);
        let ports: Vec<Ports> = (0..SLOTS).map(|_| Ports::reserve()).collect();
        let links = Links::open(&ports.iter().map(Ports::peer).collect::<Vec<_>>()).await;
        let clients = ports.iter().map(Ports::client_url).collect::<Vec<_>>().join(",");
        let replicas = ports.into_iter().zip(0..).map(|(ports, ordinal)| {
            let peers = (0..SLOTS).map(|to| match links.port(ordinal, to) {
                Some(port) => format!("http://127.0.0.1:{port}"),
                None => format!("http://127.0.0.1:{}", ports.peer()),
            });
            let flags = [
                ("--peer-urls", peers.collect::<Vec<_>>().join(",")),
                ("--client-urls", clients.clone()),
                ("--first-admin-file", admin.display().to_string()),
                ("--first-catalog-file", catalog.display().to_string()),
                // The smallest there is: snapshots and purging belong to what is tried.
                ("--snapshot-log-mib", "1".to_owned()),
                ("--log", "info,openraft=error".to_owned()),
            ];
            let arguments = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            let volume = Volume::new(dir.join(format!("replica-{ordinal}")), ground);
            Replica::new(ordinal, dir, ports, volume, Launch { shim: shim.clone(), arguments })
        });
        Arc::new(Self {
            dir: dir.to_owned(),
            replicas: replicas.collect(),
            links,
            wanted: AtomicU32::new(wanted),
            running: AtomicU32::new(0),
            endings: Mutex::default(),
            hashes: Mutex::default(),
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.ports.client_url()).collect()
    }

    pub fn replica(&self, ordinal: u32) -> &Replica {
        &self.replicas[ordinal as usize]
    }

    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::SeqCst)
    }

    pub fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// What each replica that answers says of itself.
    pub async fn look(&self) -> Vec<Seen> {
        let answers = self.replicas.iter().take(self.running() as usize).map(|replica| async move {
            let status = replica.status(LOOK_LIMIT).await?;
            Some(Seen { ordinal: replica.ordinal, status })
        });
        let seen: Vec<Seen> = join_all(answers).await.into_iter().flatten().collect();
        let mut hashes = self.hashes.lock().expect("nothing panics while holding it");
        for seen in &seen {
            if let Some(hash) = seen.own().and_then(|own| own.state_hash.as_ref()) {
                hashes.hear(seen.ordinal, hash.index, &hash.sha256);
            }
        }
        seen
    }

    /// The one that says so in the highest term.
    pub async fn leader(&self) -> Option<Seen> {
        self.look().await.into_iter().filter(Seen::leads).max_by_key(|seen| seen.status.term)
    }

    /// Whether every voter is there and still has what it had when it became one, and nobody is being replaced: then
    /// one may be lost.
    pub async fn is_intact(&self) -> bool {
        let seen = self.look().await;
        let View::Leader(view) = answers(&seen).view() else { return false };
        let carrel_membership::Voters::Uniform(voters) = &view.membership.voters else { return false };
        view.committed && voters.iter().all(|id| seen.iter().any(|seen| seen.node_id() == id.0))
    }

    /// As many voters as are wanted, one in each slot, all of them reachable, and everyone has applied at least this.
    pub async fn whole(&self, applied: u64, limit: Duration) -> Result<Vec<Seen>, Vec<Seen>> {
        let started = Instant::now();
        loop {
            let seen = self.look().await;
            if self.is_whole(&seen) && seen.iter().all(|seen| seen.applied() >= applied) {
                return Ok(seen);
            }
            if started.elapsed() > limit {
                return Err(seen);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn is_whole(&self, seen: &[Seen]) -> bool {
        let wanted = self.wanted() as usize;
        let votes = |seen: &Seen| match seen.status.voter_sets.as_slice() {
            [voters] => voters.node_ids.len() == wanted && voters.node_ids.contains(&seen.node_id()),
            _ => false,
        };
        let same_leader = seen.windows(2).all(|pair| pair[0].status.leader == pair[1].status.leader);
        seen.len() == wanted && same_leader && seen.iter().any(Seen::leads) && seen.iter().all(votes)
    }

    /// Starts again what has ended by itself, for as long as the suite runs.
    pub async fn keep_running(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for replica in &self.replicas {
                let Some(mut process) = replica.try_process() else { continue };
                if let Some(ending) = replica.ends(&mut process, Duration::ZERO).await {
                    println!("           replica {} ended by itself, {}", replica.ordinal, ending.status);
                    self.endings.lock().expect("nothing panics while holding it").push(ending);
                    tokio::time::sleep(RESTART_AFTER).await;
                    replica.start(&mut process);
                }
            }
        }
    }

    /// The ends of the replicas' logs, for a run that failed.
    pub fn logs(&self) -> String {
        self.replicas.iter().map(|replica| replica.tail(25)).collect()
    }

    pub async fn stop(&self) {
        join_all(self.replicas.iter().map(|replica| async move {
            replica.stop(&mut *replica.process().await).await;
        }))
        .await;
    }
}

impl Hashes {
    /// Two states after one entry are one state.
    pub fn hear(&mut self, ordinal: u32, index: u64, sha256: &[u8]) {
        let (first, hash) = self.by_index.entry(index).or_insert_with(|| (ordinal, sha256.to_vec()));
        if *first == ordinal {
            return;
        }
        self.compared += 1;
        if hash != sha256 {
            let (one, other) = (hex(hash), hex(sha256));
            self.diverged.push(format!("after entry {index} replica {first} has {one} and replica {ordinal} {other}"));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
