//! How long writes stand still while a snapshot of a large library is taken, and how long a restart takes.
//!
//! `CARREL_SNAPSHOT_CLAIMS` makes the library larger; `make figures` takes a million, holds the result against its
//! bounds, and writes the report that is kept.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carrel_domain::format::{SnapshotReader, snapshot};
use carrel_domain::state::State;
use carrel_node::live::LiveNode;
use carrel_node::raft::node::{Node, Opening};
use carrel_node::raft::platform::Server;
use carrel_node::raft::settings::Settings;
use carrel_node::raft::transport::{Limits, Links};
use carrel_node::replica::Freshness;
use uuid::Uuid;

use crate::library::Library;
use crate::report::report;

const CLAIMS_IN_SHORT: u64 = 20_000;
/// Clients that book and cancel all the time, each after its answer.
const CLIENTS: u64 = 16;
/// Before the snapshot, for comparison.
const CALM: Duration = Duration::from_secs(3);
/// Snapshots one after the other, of which the one in the middle counts: a disk that others use has moments of its
/// own.
const SNAPSHOTS: usize = 5;

/// The allocator holds what is freed for ten seconds.
const RETURNED_AFTER: Duration = Duration::from_secs(20);

/// What is promised of a million claims, by a build for use.
const STALL_MAX: Duration = Duration::from_millis(50);
const RESTART_MAX: Duration = Duration::from_secs(5);
/// The same of the short form, in any build on a busy machine: an order of magnitude, no more.
const STALL_MAX_IN_SHORT: Duration = Duration::from_secs(2);
const RESTART_MAX_IN_SHORT: Duration = Duration::from_secs(30);

async fn open(mount: &Path, settings: &Settings) -> LiveNode {
    let opening = Opening {
        mount: mount.to_owned(),
        ordinal: 0,
        drawn_incarnation: Uuid::from_u128(1),
        settings: settings.clone(),
    };
    let alone = |me: carrel_node::raft::identity::MemberOf| {
        Links::<Server>::new(me.log_owner(), Limits::new(Duration::from_millis(200)), Arc::new(|_| None), None)
    };
    Node::open(Server::new(), opening, alone).await.expect("a directory for the test")
}

/// What clients noticed in some span of time.
#[derive(Clone, Copy, Debug)]
struct Noticed {
    span: Duration,
    writes: usize,
    /// The longest that one write took.
    longest: Duration,
    /// The 99.9th percentile.
    p999: Duration,
    /// The longest time without any answer at all.
    standstill: Duration,
}

impl Noticed {
    /// Of the writes that were under way in a span: when each was sent, when answered.
    fn of(writes: &[(Instant, Instant)], from: Instant, to: Instant) -> Self {
        let within: Vec<_> = writes.iter().filter(|(sent, answered)| *answered >= from && *sent <= to).collect();
        let mut durations: Vec<_> = within.iter().map(|(sent, answered)| *answered - *sent).collect();
        durations.sort_unstable();
        let mut answers: Vec<_> = within.iter().map(|(_, answered)| *answered).collect();
        answers.sort_unstable();
        let gaps = answers.windows(2).map(|pair| pair[1] - pair[0]);
        Self {
            span: to - from,
            writes: within.len(),
            longest: durations.last().copied().unwrap_or_default(),
            p999: durations.get(durations.len() * 999 / 1000).copied().unwrap_or_default(),
            standstill: gaps.max().unwrap_or_default(),
        }
    }
}

#[test]
fn writes_go_on_while_a_snapshot_is_taken_and_a_restart_is_short() {
    let asked = std::env::var("CARREL_SNAPSHOT_CLAIMS").ok().and_then(|claims| claims.parse().ok());
    let claims = asked.unwrap_or(CLAIMS_IN_SHORT);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(measure(claims, asked.is_some()));
}

async fn measure(claims: u64, is_long: bool) {
    let mount = tempfile::tempdir().expect("a directory for the test");
    let settings = Settings::default();
    let node = open(mount.path(), &settings).await;
    node.initialize(Uuid::from_u128(7), node.identity().incarnation, 1).await.expect("a pristine node");
    node.replica().leadership().wait_for(Option::is_some).await.expect("alone, it leads");

    let begun = Instant::now();
    let library = Arc::new(Library::open(node.replica(), claims).await);
    library.book(0..claims).await;
    let census = node.replica().view().census();
    assert_eq!(census.live_claims as u64, claims);
    let built = begun.elapsed();

    // Clients are there first, and for a while alone.
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(claims));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (library, stop, next) = (Arc::clone(&library), Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut writes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let sent = Instant::now();
                    let claim = library.reserve(number).await;
                    let booked = Instant::now();
                    library.cancel(number, claim).await;
                    writes.extend([(sent, booked), (booked, Instant::now())]);
                }
                writes
            })
        })
        .collect();
    let calm_from = Instant::now();
    tokio::time::sleep(CALM).await;
    let calm_to = Instant::now();
    let mut spans = Vec::new();
    let mut position = None;
    for _ in 0..if is_long { SNAPSHOTS } else { 1 } {
        let from = Instant::now();
        position = Some(node.trigger_snapshot().await.expect("there is room"));
        spans.push((from, Instant::now()));
        tokio::time::sleep(CALM / 3).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut writes = Vec::new();
    for client in clients {
        writes.extend(client.await.expect("no refusal"));
    }
    let calm = Noticed::of(&writes, calm_from, calm_to);
    let mut all_busy: Vec<Noticed> = spans.iter().map(|(from, to)| Noticed::of(&writes, *from, *to)).collect();
    all_busy.sort_unstable_by_key(|busy| busy.longest);
    let busy = all_busy[all_busy.len() / 2];
    let longest: Vec<Duration> = all_busy.iter().map(|busy| busy.longest).collect();
    let snapshot_bytes = files_of(mount.path(), "snapshot").iter().copied().max().unwrap_or_default();
    assert!(position.is_some_and(|position| node.figures().snapshot_index >= position.index));

    let library = Arc::into_inner(library).expect("the clients have ended");
    node.stop().await;
    drop(node);
    let begun = Instant::now();
    let node = open(mount.path(), &settings).await;
    let replayed = begun.elapsed();
    node.replica().leadership().wait_for(Option::is_some).await.expect("alone, it leads");
    let view = node.replica().read(Freshness::Linearizable).await.expect("it leads");
    let restarted = begun.elapsed();
    assert_eq!(view.census().live_claims as u64, claims);
    let library = library.reopened(node.replica());
    library.reserve(next.load(Ordering::Relaxed)).await;
    node.stop().await;
    let memory_bytes = memory_of_another(&view, if is_long { RETURNED_AFTER } else { Duration::ZERO }) / claims;

    let figures = Figures { claims, built, calm, busy, longest, snapshot_bytes, replayed, restarted, memory_bytes };
    report(&figures.table());
    let (stall_max, restart_max) =
        if is_long { (STALL_MAX, RESTART_MAX) } else { (STALL_MAX_IN_SHORT, RESTART_MAX_IN_SHORT) };
    assert!(busy.writes > 0 && busy.longest < stall_max, "writes stood still: {busy:?}");
    assert!(restarted < restart_max, "ready only after {restarted:?}");
}

struct Figures {
    claims: u64,
    built: Duration,
    calm: Noticed,
    busy: Noticed,
    /// Of each snapshot.
    longest: Vec<Duration>,
    snapshot_bytes: u64,
    replayed: Duration,
    restarted: Duration,
    /// Of a live claim, with everything that goes with it.
    memory_bytes: u64,
}

/// What the process grows by when it holds the same state a second time, nothing of it shared. What it had freed before
/// would be used for that first, and not be counted: it is given time to go back to the system.
fn memory_of_another(state: &State, returned_after: Duration) -> u64 {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("it is there on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
        let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number") << 10
    };
    std::thread::sleep(returned_after);
    let before = resident();
    let mut reader = SnapshotReader::default();
    snapshot(state.clone()).for_each(|chunk| reader.read(&chunk).expect("what was just written"));
    let other = reader.finish().expect("what was just written");
    let grown = resident().saturating_sub(before);
    assert_eq!(other.census(), state.census());
    grown
}

impl Figures {
    fn table(&self) -> String {
        let Self { claims, built, calm, busy, longest, snapshot_bytes, replayed, restarted, memory_bytes } = self;
        let ms = |duration: &Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
        let rate = |noticed: &Noticed| format!("{:.0}/s", noticed.writes as f64 / noticed.span.as_secs_f64());
        let mut table = String::from("| what | before | while the snapshot is taken |\n|---|---|---|\n");
        let mut row = |what: &str, before: String, during: String| {
            let _ = writeln!(table, "| {what} | {before} | {during} |");
        };
        row("span", ms(&calm.span), ms(&busy.span));
        row(&format!("writes by {CLIENTS} clients"), rate(calm), rate(busy));
        row("99.9 % of the writes within", ms(&calm.p999), ms(&busy.p999));
        row("longest write", ms(&calm.longest), ms(&busy.longest));
        row("longest time without any answer", ms(&calm.standstill), ms(&busy.standstill));
        let longest: Vec<String> = longest.iter().map(ms).collect();
        let _ = writeln!(
            table,
            "\nThe longest write of each snapshot, of which the middle one counts: {}.",
            longest.join(", ")
        );
        let _ = write!(
            table,
            "\n| what | |\n|---|---|\n| live claims | {claims} |\n| built, through the log, in | {:.1} s |\n\
             | snapshot | {:.1} MiB |\n| memory per live claim, with person, deadline, indexes and remembered answer | {memory_bytes} B |\n\
             | restart: state rebuilt after | {} |\n| restart: first linearizable read after \
             | {} |\n",
            built.as_secs_f64(),
            *snapshot_bytes as f64 / f64::from(1 << 20),
            ms(replayed),
            ms(restarted),
        );
        table
    }
}

/// Sizes of the files with this extension below the mount.
fn files_of(mount: &Path, extension: &str) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut folders = vec![mount.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|is| is == extension) {
                sizes.push(path.metadata().expect("there").len());
            }
        }
    }
    sizes
}
