//! Three members of etcd as processes on loopback. A booking is a transaction that puts the key of a seat and slot if
//! it was never created; members and clients are as they come, and every write is synced by a majority.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use super::contender::{
    Answer, BRANCHES, CALL_LIMIT, CONNECTIONS, Contender, Killed, Place, READY_LIMIT, Replicated, SEATS,
    SEATS_PER_BRANCH, SLOTS, Turn, spread,
};

#[allow(missing_debug_implementations, clippy::all)]
mod api {
    tonic::include_proto!("etcdserverpb");
}

use api::kv_client::KvClient;
use api::maintenance_client::MaintenanceClient;
use api::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare, request_op};

const MEMBERS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// One member's time to answer before the next is asked, as Carrel's client has it.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
/// What a booking says besides its key: who, and since when.
const VALUE_BYTES: usize = 64;

pub struct Etcd {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    members: Mutex<Vec<Option<Child>>>,
    /// One list of channels for each connection of the clients, the preferred member first.
    connections: Vec<Vec<Channel>>,
    preferred: Vec<AtomicUsize>,
    next: AtomicUsize,
}

impl Etcd {
    /// # Errors
    /// If it does not come up.
    pub async fn start(program: &Path, dir: &Path, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut connections = Vec::new();
        for connection in 0..CONNECTIONS {
            let channel = |member: usize| -> anyhow::Result<Channel> {
                let member = (connection + member) % MEMBERS;
                let endpoint = Endpoint::from_shared(client_url(port, member))?;
                Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)).connect_lazy())
            };
            connections.push((0..MEMBERS).map(channel).collect::<anyhow::Result<Vec<_>>>()?);
        }
        let etcd = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            port,
            members: Mutex::new(Vec::new()),
            connections,
            preferred: (0..CONNECTIONS).map(|_| AtomicUsize::new(0)).collect(),
            next: AtomicUsize::new(0),
        };
        let started = (0..MEMBERS).map(|member| etcd.spawn(member).map(Some)).collect::<anyhow::Result<Vec<_>>>()?;
        *etcd.members.lock().expect("nobody panics with it") = started;
        etcd.wait_for_all().await?;
        Ok(etcd)
    }

    fn spawn(&self, member: usize) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.join(format!("member-{member}.log")))?;
        let all: Vec<String> =
            (0..MEMBERS).map(|member| format!("m{member}={}", peer_url(self.port, member))).collect();
        Command::new(&self.program)
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.dir.join(format!("member-{member}")))
            .args(["--listen-client-urls", &client_url(self.port, member)])
            .args(["--advertise-client-urls", &client_url(self.port, member)])
            .args(["--listen-peer-urls", &peer_url(self.port, member)])
            .args(["--initial-advertise-peer-urls", &peer_url(self.port, member)])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--quota-backend-bytes", "8589934592", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    async fn wait_for_all(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let mut leaders = Vec::new();
            for member in 0..MEMBERS {
                leaders.extend(self.leader_as_seen_by(member).await);
            }
            if leaders.len() == MEMBERS && leaders.iter().all(|leader| *leader != 0 && *leader == leaders[0]) {
                return Ok(());
            }
            if begun.elapsed() > READY_LIMIT {
                bail!("etcd has no leader that all agree on; its logs are in {}", self.dir.display());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn leader_as_seen_by(&self, member: usize) -> Option<u64> {
        Some(self.status(member).await?.leader)
    }

    async fn status(&self, member: usize) -> Option<api::StatusResponse> {
        // The first connection asks the members in their order.
        let mut client = MaintenanceClient::new(self.connections[0][member].clone());
        let answer = tokio::time::timeout(Duration::from_secs(1), client.status(api::StatusRequest {})).await;
        Some(answer.ok()?.ok()?.into_inner())
    }

    async fn take(&self, client: usize, place: Place) -> Answer {
        let key = key(place);
        let request = TxnRequest {
            compare: vec![Compare {
                result: compare::CompareResult::Equal as i32,
                target: compare::CompareTarget::Create as i32,
                key: key.clone(),
                target_union: Some(compare::TargetUnion::CreateRevision(0)),
            }],
            success: vec![RequestOp {
                request: Some(request_op::Request::RequestPut(PutRequest { key, value: vec![b'x'; VALUE_BYTES] })),
            }],
            failure: Vec::new(),
        };
        let connection = client % CONNECTIONS;
        let begun = Instant::now();
        loop {
            let preferred = self.preferred[connection].load(Ordering::Relaxed);
            let mut kv = KvClient::new(self.connections[connection][preferred % MEMBERS].clone());
            match tokio::time::timeout(ATTEMPT_LIMIT, kv.txn(request.clone())).await {
                Ok(Ok(answer)) if answer.get_ref().succeeded => return Answer::Done,
                Ok(Ok(_)) => return Answer::Taken,
                Ok(Err(status)) if begun.elapsed() > CALL_LIMIT => return Answer::Failed(status.message().to_owned()),
                Err(_) if begun.elapsed() > CALL_LIMIT => return Answer::Failed("no answer".to_owned()),
                Ok(Err(_)) | Err(_) => {
                    // Whoever comes first changes the member for all on this connection.
                    let _ = self.preferred[connection].compare_exchange(
                        preferred,
                        preferred + 1,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

impl Contender for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    async fn book(&self, turn: Turn) -> Answer {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place { seat: nth % SEATS, slot: spread(nth / SEATS) };
        self.take(turn.client, place).await
    }

    async fn contend(&self, client: usize, place: Place) -> Answer {
        self.take(client, place).await
    }

    /// Everything that is taken in a slot and branch, from which a client would know what is not.
    async fn search(&self, turn: Turn) -> Answer {
        let pick = turn.client.wrapping_mul(31).wrapping_add(turn.round);
        let prefix = format!("slots/{:05}/{}/", pick % SLOTS, pick % BRANCHES).into_bytes();
        let mut range_end = prefix.clone();
        if let Some(last) = range_end.last_mut() {
            *last += 1;
        }
        let request = RangeRequest {
            key: prefix,
            range_end,
            limit: SEATS_PER_BRANCH as i64,
            serializable: false,
            keys_only: true,
        };
        let connection = turn.client % CONNECTIONS;
        let preferred = self.preferred[connection].load(Ordering::Relaxed);
        let mut kv = KvClient::new(self.connections[connection][preferred % MEMBERS].clone());
        match tokio::time::timeout(CALL_LIMIT, kv.range(request)).await {
            Ok(Ok(_)) => Answer::Done,
            Ok(Err(status)) => Answer::Failed(status.message().to_owned()),
            Err(_) => Answer::Failed("no answer".to_owned()),
        }
    }
}

impl Replicated for Etcd {
    async fn kill_leader(&self) -> anyhow::Result<Killed> {
        for member in 0..MEMBERS {
            let Some(status) = self.status(member).await else { continue };
            let own = status.header.map_or(0, |header| header.member_id);
            if own == 0 || own != status.leader {
                continue;
            }
            let child = self.members.lock().expect("nobody panics with it")[member].take();
            let mut child = child.context("the leader of etcd was killed before")?;
            child.kill().await?;
            return Ok(Killed(member));
        }
        bail!("etcd has no leader")
    }

    async fn restore(&self, Killed(member): Killed) -> anyhow::Result<()> {
        let child = self.spawn(member)?;
        self.members.lock().expect("nobody panics with it")[member] = Some(child);
        self.wait_for_all().await
    }
}

fn key(place: Place) -> Vec<u8> {
    format!("slots/{:05}/{}/{:04}", place.slot, place.seat / SEATS_PER_BRANCH, place.seat).into_bytes()
}

fn client_url(port: u16, member: usize) -> String {
    format!("http://127.0.0.1:{}", usize::from(port) + 2 * member)
}

fn peer_url(port: u16, member: usize) -> String {
    format!("http://127.0.0.1:{}", usize::from(port) + 2 * member + 1)
}
