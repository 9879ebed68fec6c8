//! Five times as much as the cluster can do, open loop: whoever sends does not wait for answers. What cannot be done is
//! refused at once, memory stays bounded, and soon after nothing is to be felt of it.
//!
//! Alone in its program, so that no other test runs beside it. A few seconds by default: CARREL_OVERLOAD_SECONDS makes
//! it longer, CARREL_REPORT=FILE keeps what it found.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

#[path = "../first_light/stage.rs"]
#[allow(dead_code, reason = "the stage of the first light has props that are not needed here")]
mod stage;

use stage::{Demo, PASSWORD};

const OVERLOAD: u64 = 5;
const ACCOUNTS: usize = 24;
/// A connection carries a thousand calls at once; these carry more than all nodes take on.
const CONNECTIONS_PER_NODE: usize = 3;
/// More the connections do not carry: what is sent beyond it would wait with the sender and overload nobody else.
const OUTSTANDING_MAX: usize = 9_000;
/// Callers who wait for their answers, when it is measured how much the cluster can do.
const CLOSED_LOOP_CALLERS: usize = 96;
/// Like a person who has better things to do.
const CALL_LIMIT: Duration = Duration::from_secs(5);
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Nobody takes this for a pause.
const QUICK: Duration = Duration::from_millis(250);
const MEBIBYTE: u64 = 1 << 20;
/// What a replica may come to hold beyond what it held at rest: places, buffers of connections, log not yet on disk.
const GROWTH_MAX_BYTES: u64 = 400 * MEBIBYTE;

/// One who changes something small, again and again: moves a read cursor, which every replica writes to its log.
#[derive(Clone)]
struct Caller {
    channel: Channel,
    session: String,
    resume_token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    TurnedAway,
    /// No answer within the caller's time, or an outcome that is not known.
    Unanswered,
}

#[derive(Default)]
struct Tally {
    done: Vec<Duration>,
    /// How soon a no came.
    turned_away: Vec<Duration>,
    unanswered: u64,
}

impl Caller {
    async fn call(&self) -> (End, Duration) {
        let request =
            v1::AdvanceReadCursorRequest { request_id: String::new(), resume_token: self.resume_token.clone() };
        let started = Instant::now();
        let answer = InboxServiceClient::new(self.channel.clone()).advance_read_cursor(self.asks(request)).await;
        let end = match answer {
            Ok(_) => End::Done,
            Err(status) => match status.code() {
                Code::ResourceExhausted => End::TurnedAway,
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => End::Unanswered,
                // What came before the end of the connection: a server closes one whose calls are given up in masses.
                Code::Unknown if status.message() == "transport error" => End::Unanswered,
                _ => panic!("overload is no reason to answer so: {status:?}"),
            },
        };
        (end, started.elapsed())
    }

    fn asks<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.session).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request.set_timeout(CALL_LIMIT);
        request
    }
}

impl Tally {
    fn note(&mut self, (end, took): (End, Duration)) {
        match end {
            End::Done => self.done.push(took),
            End::TurnedAway => self.turned_away.push(took),
            End::Unanswered => self.unanswered += 1,
        }
    }

    fn sent(&self) -> u64 {
        (self.done.len() + self.turned_away.len()) as u64 + self.unanswered
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_times_too_much_is_refused_and_soon_forgotten() {
    let asked: Option<u64> = std::env::var("CARREL_OVERLOAD_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let length = Duration::from_secs(asked.unwrap_or(4));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(dir.path(), &[]);
    let (of_replicas, of_senders) = share_cores(&demo);
    let callers = callers(&demo).await;

    let capacity = capacity(&callers, (length / 3).max(Duration::from_secs(1))).await;
    sleep(Duration::from_secs(1)).await;
    let normal = latencies(&callers, 40).await;
    let usual = quantile(&normal, 0.99).max(Duration::from_millis(20));
    let at_rest: Vec<u64> = demo.pids().iter().map(|pid| memory_bytes(*pid, "VmRSS")).collect();

    let offered = capacity * OVERLOAD;
    let started = Instant::now();
    let tally = flood(&callers, offered, length).await;
    let sent_per_second = (tally.sent() as f64 / length.as_secs_f64()) as u64;
    let settled = settled(&callers, usual, started + length).await;
    let peaks: Vec<u64> = demo.pids().iter().map(|pid| memory_bytes(*pid, "VmHWM")).collect();

    let mut told = format!(
        "Measured capacity: {capacity} changes a second ({CLOSED_LOOP_CALLERS} callers in a closed loop). Offered for \
         {} s: {offered} a second, {OVERLOAD} times as much; sent: {sent_per_second} a second, at most \
         {OUTSTANDING_MAX} of them unanswered at any time. {of_replicas}; {of_senders}.\n\n",
        length.as_secs()
    );
    let share = |count: usize| 100.0 * count as f64 / tally.sent().max(1) as f64;
    let (turned_away, unanswered) = (share(tally.turned_away.len()), share(tally.unanswered as usize));
    let rows = [
        ("done".to_owned(), format!("{} ({:.1} %)", tally.done.len(), share(tally.done.len()))),
        ("done a second".to_owned(), format!("{:.0}", tally.done.len() as f64 / length.as_secs_f64())),
        ("refused, with a time to come back".to_owned(), format!("{} ({turned_away:.1} %)", tally.turned_away.len())),
        ("without an answer in 5 s".to_owned(), format!("{} ({unanswered:.1} %)", tally.unanswered)),
        ("latency of what was done, p50 / p99".to_owned(), both(&tally.done)),
        ("time until a refusal, p50 / p99".to_owned(), both(&tally.turned_away)),
        ("latency before, p50 / p99".to_owned(), both(&normal)),
        ("latency back to normal after".to_owned(), format!("{:.1} s", settled.as_secs_f64())),
    ];
    told.push_str("| what | |\n|---|---|\n");
    for (what, value) in rows {
        writeln!(told, "| {what} | {value} |").expect("a string takes all");
    }
    for (replica, (rest, peak)) in at_rest.iter().zip(&peaks).enumerate() {
        let (rest, peak) = (rest / MEBIBYTE, peak / MEBIBYTE);
        writeln!(told, "| memory of replica {replica}, at rest / peak | {rest} / {peak} MiB |").expect("a string");
    }
    println!("{told}");
    if let Ok(report) = std::env::var("CARREL_REPORT") {
        std::fs::write(&report, &told).expect("the report can be written");
    }

    assert!(!tally.done.is_empty(), "some of it was done");
    assert!(!tally.turned_away.is_empty(), "some of it was refused");
    assert!(settled < SETTLE_LIMIT, "normal again after {settled:?}");
    for (rest, peak) in at_rest.iter().zip(&peaks) {
        assert!(peak.saturating_sub(*rest) < GROWTH_MAX_BYTES, "from {rest} to {peak} bytes");
    }
    // Nobody was forgotten: the cluster still does what it is for.
    let list = v1::ListReservationsRequest::default();
    let mut reservations = ReservationServiceClient::new(callers[0].channel.clone());
    reservations.list_reservations(callers[0].asks(list)).await.expect("a read");
    demo.stop();
}

/// A core of their own for those who send, or they could not send five times as much as the others can do.
fn share_cores(demo: &Demo) -> (String, String) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return ("the replicas have all cores".to_owned(), "so have those who send".to_owned());
    }
    let (last, others) = (format!("{}", cores - 1), format!("0-{}", cores - 2));
    for pid in demo.pids() {
        pin(pid.cast_unsigned(), &last);
    }
    pin(std::process::id(), &others);
    (format!("The replicas share core {last}"), format!("those who send have cores {others}"))
}

/// All threads of a process, and those to come.
fn pin(pid: u32, cores: &str) {
    let pinned = Command::new("taskset").args(["-apc", cores, &pid.to_string()]).output().expect("util-linux");
    assert!(pinned.status.success(), "{pinned:?}");
}

/// Of all accounts on all nodes.
async fn callers(demo: &Demo) -> Vec<Caller> {
    let client = demo.client();
    let mut sessions = Vec::new();
    for number in 0..ACCOUNTS {
        let (user_id, password) = (format!("flood-{number}"), PASSWORD.to_owned());
        let request_id = new_request_id();
        let register = v1::RegisterRequest { request_id, user_id: user_id.clone(), password: password.clone() };
        client.register(register).await.expect("a new name");
        let session = client.login(v1::LoginRequest { user_id, password }).await.expect("the right password");
        sessions.push(session.session_token);
    }
    let signed_in = client.with_session(&sessions[0]).expect("a token");
    let inbox = signed_in.list_inbox(v1::ListInboxRequest::default()).await.expect("an inbox");
    let mut callers = Vec::new();
    for url in demo.endpoints() {
        let connect = || Endpoint::from_shared(url.clone()).expect("an address").connect_lazy();
        let channels: Vec<Channel> = (0..CONNECTIONS_PER_NODE).map(|_| connect()).collect();
        for (number, session) in sessions.iter().enumerate() {
            callers.push(Caller {
                channel: channels[number % channels.len()].clone(),
                session: session.clone(),
                resume_token: inbox.resume_token.clone(),
            });
        }
    }
    callers
}

/// Changes a second, by callers who send the next when the last is answered.
async fn capacity(callers: &[Caller], length: Duration) -> u64 {
    let mut tasks = JoinSet::new();
    let until = Instant::now() + length;
    for number in 0..CLOSED_LOOP_CALLERS {
        let caller = callers[number * 7 % callers.len()].clone();
        tasks.spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                done += u64::from(caller.call().await.0 == End::Done);
            }
            done
        });
    }
    let done: u64 = tasks.join_all().await.into_iter().sum();
    (done as f64 / length.as_secs_f64()) as u64
}

/// Of one call after the other.
async fn latencies(callers: &[Caller], count: usize) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for caller in callers.iter().cycle().take(count) {
        latencies.push(caller.call().await.1);
        sleep(Duration::from_millis(10)).await;
    }
    latencies
}

async fn flood(callers: &[Caller], per_second: u64, length: Duration) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut tasks = JoinSet::new();
    let mut beat = interval(Duration::from_millis(5));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (started, mut sent) = (Instant::now(), 0);
    while started.elapsed() < length {
        beat.tick().await;
        let due = (started.elapsed().as_secs_f64() * per_second as f64) as usize;
        for nth in sent..due {
            if tasks.len() >= OUTSTANDING_MAX {
                break;
            }
            let (caller, tally) = (callers[nth % callers.len()].clone(), tally.clone());
            tasks.spawn(async move {
                let ended = caller.call().await;
                tally.lock().expect("no panics").note(ended);
            });
        }
        sent = sent.max(due);
        while tasks.try_join_next().is_some() {}
    }
    let over = Instant::now();
    while tasks.join_next().await.is_some() {}
    assert!(over.elapsed() < CALL_LIMIT * 3, "everybody has an answer or has given up");
    let mut tally = tally.lock().expect("no panics");
    std::mem::take(&mut tally)
}

/// From the end of the flood until a second of calls are all as quick as usual, or as anybody could wish.
async fn settled(callers: &[Caller], usual: Duration, over: Instant) -> Duration {
    let mut quick_since = None;
    for caller in callers.iter().cycle() {
        let begun = Instant::now();
        let (end, took) = caller.call().await;
        // A machine that does other things besides stumbles now and then.
        let is_quick = end == End::Done && took <= (usual * 3).max(QUICK);
        quick_since = if is_quick { quick_since.or(Some(begun)) } else { None };
        match quick_since {
            Some(since) if since.elapsed() >= Duration::from_secs(1) => return since.saturating_duration_since(over),
            None if over.elapsed() > SETTLE_LIMIT * 3 => return over.elapsed(),
            Some(_) | None => sleep(Duration::from_millis(20)).await,
        }
    }
    unreachable!("a cycle of callers has no end")
}

fn quantile(durations: &[Duration], q: f64) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let index = ((sorted.len().saturating_sub(1)) as f64 * q) as usize;
    sorted.get(index).copied().unwrap_or_default()
}

fn both(durations: &[Duration]) -> String {
    let ms = |q| quantile(durations, q).as_secs_f64() * 1000.0;
    format!("{:.1} / {:.1} ms", ms(0.5), ms(0.99))
}

fn memory_bytes(pid: i32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the replica runs");
    let line = status.lines().find(|line| line.starts_with(what)).expect("Linux says so");
    let kibibytes = line.split_whitespace().nth(1).expect("a number");
    kibibytes.parse::<u64>().expect("a number") * 1024
}
