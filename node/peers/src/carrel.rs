//! Three replicas of Carrel as processes on loopback, by `carrel demo`, with a catalogue in which everything is always
//! open and nobody's quota is in the way. Each client has an account, and asks as any program does.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;
use futures_util::StreamExt;
use futures_util::stream;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::contender::{
    Answer, BRANCHES, CALL_LIMIT, CONNECTIONS, Contender, Killed, PAGE, Place, READY_LIMIT, Replicated, SEATS,
    SEATS_PER_BRANCH, SLOT_SECONDS, SLOTS, Turn, first_slot_seconds, spread,
};

const REPLICAS: &str = "3";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// A hash costs tens of milliseconds, and two are worked on at once by each replica.
const HASHES_AT_ONCE: usize = 6;
const PASSWORD: &str = "peers peers peers";

pub struct Carrel {
    demo: Child,
    dir: PathBuf,
    status: Client,
    accounts: Vec<Account>,
    first_slot_seconds: u64,
}

struct Account {
    client: Client,
    /// Slots of its own seat that it has booked.
    booked: AtomicUsize,
}

#[derive(Deserialize)]
struct Ready {
    endpoints: Vec<String>,
    pids: Vec<u32>,
}

impl Carrel {
    /// # Errors
    /// If it does not come up.
    pub async fn start(program: &Path, dir: &Path, port: u16, accounts: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let catalogue = dir.join("catalogue.yaml");
        fs::write(&catalogue, catalogue_text())?;
        let dir = dir.join("demo");
        let mut demo = Command::new(program)
            .args(["demo", "--output", "json", "--no-restart", "--replicas", REPLICAS, "--port", &port.to_string()])
            .args(["--exit-with-parent", &std::process::id().to_string(), "--catalog"])
            .arg(&catalogue)
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(demo.stdout.take().expect("it was piped above")).lines();
        let line = tokio::time::timeout(READY_LIMIT, lines.next_line()).await.context("no cluster in time")??;
        let ready: Ready = serde_json::from_str(&line.context("the cluster did not start; see above")?)?;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let options = Options { deadline: CALL_LIMIT, ..Options::default() };
        let connections = (0..CONNECTIONS).map(|connection| {
            let mut endpoints = ready.endpoints.clone();
            endpoints.rotate_left(connection % ready.endpoints.len());
            Client::new(&endpoints, options)
        });
        let connections = connections.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<usize> = (0..accounts).collect();
        let mut made: Vec<(usize, Client)> = Vec::new();
        let mut making =
            stream::iter(names.into_iter().map(|number| make(&connections, number))).buffer_unordered(HASHES_AT_ONCE);
        while let Some(account) = making.next().await {
            made.push(account?);
        }
        drop(making);
        made.sort_by_key(|(number, _)| *number);
        let accounts = made.into_iter().map(|(_, client)| Account { client, booked: AtomicUsize::new(0) });
        Ok(Self {
            demo,
            dir,
            status: connections[0].clone(),
            accounts: accounts.collect(),
            first_slot_seconds: first_slot_seconds(),
        })
    }

    /// In order, so that nothing of it stays behind.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.demo.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(Duration::from_secs(20), self.demo.wait()).await.is_err() {
            let _ = self.demo.kill().await;
        }
    }

    async fn reserve(&self, account: &Account, place: Place) -> Answer {
        let request = v1::CreateReservationRequest {
            request_id: new_request_id(),
            seat: format!("branches/b{}/seats/s-{}", place.seat / SEATS_PER_BRANCH, place.seat),
            interval: Some(self.interval(place.slot, 1)),
            ..v1::CreateReservationRequest::default()
        };
        match account.client.create_reservation(request).await {
            Ok(_) => Answer::Done,
            Err(error) => refused(error),
        }
    }

    fn interval(&self, slot: usize, slots: u64) -> v1::Interval {
        let seconds = self.first_slot_seconds + slot as u64 * SLOT_SECONDS;
        let at = |seconds: u64| Some(prost_types::Timestamp { seconds: seconds.cast_signed(), nanos: 0 });
        v1::Interval { start_time: at(seconds), end_time: at(seconds + slots * SLOT_SECONDS) }
    }

    async fn leader(&self) -> Option<usize> {
        let status = self.status.get_status(admin::GetStatusRequest::default()).await.ok()?;
        let node = status.nodes.iter().find(|node| node.id == status.leader)?;
        let leads = node.reachable && node.role() == admin::node_status::Role::Leader;
        leads.then_some(node.ordinal as usize)
    }

    async fn is_whole(&self) -> bool {
        let Ok(status) = self.status.get_status(admin::GetStatusRequest::default()).await else { return false };
        status.leader != 0 && status.nodes.iter().all(|node| node.reachable)
    }
}

impl Contender for Carrel {
    fn name(&self) -> &'static str {
        "Carrel"
    }

    /// Nobody's bookings overlap: each account books a seat of its own, slot by slot.
    async fn book(&self, turn: Turn) -> Answer {
        let number = (turn.client + turn.clients * turn.round) % self.accounts.len();
        let account = &self.accounts[number];
        let nth = account.booked.fetch_add(1, Ordering::Relaxed);
        self.reserve(account, Place { seat: number, slot: spread(nth) }).await
    }

    async fn contend(&self, client: usize, place: Place) -> Answer {
        self.reserve(&self.accounts[client % self.accounts.len()], place).await
    }

    async fn search(&self, turn: Turn) -> Answer {
        let pick = turn.client.wrapping_mul(31).wrapping_add(turn.round);
        let request = v1::SearchSeatsRequest {
            branch: format!("branches/b{}", pick % BRANCHES),
            amenities: vec!["power".to_owned()],
            interval: Some(self.interval(pick % SLOTS, 2)),
            available_only: true,
            page_size: PAGE,
            ..v1::SearchSeatsRequest::default()
        };
        match self.accounts[turn.client % self.accounts.len()].client.search_seats(request).await {
            Ok(_) => Answer::Done,
            Err(error) => refused(error),
        }
    }
}

impl Replicated for Carrel {
    async fn kill_leader(&self) -> anyhow::Result<Killed> {
        let leader = self.leader().await.context("Carrel has no leader")?;
        let ready: Ready = serde_json::from_slice(&fs::read(self.dir.join("demo.json"))?)?;
        let pid = ready.pids.get(leader).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("the demo does not say which process leads")?, Signal::KILL)?;
        Ok(Killed(leader))
    }

    async fn restore(&self, Killed(ordinal): Killed) -> anyhow::Result<()> {
        let program = fs::read_link(format!("/proc/{}/exe", self.demo.id().context("the demo has ended")?))?;
        let restarted = Command::new(program)
            .args(["demo", "restart", &ordinal.to_string(), "--dir"])
            .arg(&self.dir)
            .stdout(Stdio::null())
            .status()
            .await?;
        anyhow::ensure!(restarted.success(), "replica {ordinal} was not started again");
        let begun = Instant::now();
        while !self.is_whole().await {
            if begun.elapsed() > RECOVERY_LIMIT {
                bail!("Carrel is not whole again");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// An account over one of the connections, and its number.
async fn make(connections: &[Client], number: usize) -> anyhow::Result<(usize, Client)> {
    let client = connections[number % connections.len()].clone();
    let (user_id, password) = (format!("peer-{number}"), PASSWORD.to_owned());
    let request_id = new_request_id();
    client.register(v1::RegisterRequest { request_id, user_id: user_id.clone(), password: password.clone() }).await?;
    let session = client.login(v1::LoginRequest { user_id, password }).await?;
    Ok((number, client.with_session(&session.session_token)?))
}

fn refused(error: ClientError) -> Answer {
    match error {
        ClientError::Refused(refusal) if refusal.reason == "SEAT_TAKEN" => Answer::Taken,
        ClientError::Refused(refusal) if refusal.reason.is_empty() => Answer::Failed(refusal.code_name().to_owned()),
        ClientError::Refused(refusal) => Answer::Failed(refusal.reason),
        ClientError::Unreachable(_) => Answer::Failed("no answer".to_owned()),
    }
}

fn catalogue_text() -> String {
    let mut text = String::from(
        "policies:\n  - { id: open, grid_minutes: 30, min_minutes: 30, max_minutes: 480, window_days: 70, \
         grace_minutes: 1440, lead_minutes: 15, offer_minutes: 10, max_reservations: 1000, max_minutes_per_day: 1440, \
         strikes_to_suspend: 0, strike_days: 30, suspension_days: 3 }\nbranches:\n",
    );
    for branch in 0..BRANCHES {
        let _ = write!(
            text,
            "  - id: b{branch}\n    display_name: Branch {branch}\n    time_zone: Etc/UTC\n    policy: open\n    \
             hours: {{ week: {{ mon-sun: \"00:00-24:00\" }} }}\n    areas:\n      - id: a{branch}\n        \
             display_name: Hall\n        seats:\n"
        );
        for seat in (0..SEATS).filter(|seat| seat / SEATS_PER_BRANCH == branch) {
            let power = seat % 2 == 0;
            let _ = writeln!(text, "          - {{ id: s-{seat}, power: {power}, x: {}, y: 1 }}", seat % 20);
        }
    }
    text
}
