//! Reports over years of reservations that no node has ever seen: what they cost, and whom.

use std::fmt::Write;
use std::time::{Duration, Instant};

use carrel_proto::client::Options;
use carrel_proto::v1;

use crate::stage::Demo;
use crate::world::World;

/// Rows of five years, of which a report is made over a tenth.
const ROWS: &str = "CARREL_HISTORY_ROWS";

/// What a report over a tenth of them may take, where it is asked for as a figure.
const REPORT_MAX: Duration = Duration::from_secs(1);

/// As `carrel report` waits.
const PATIENT: Options = Options {
    connect_timeout: Duration::from_secs(1),
    attempt_timeout: Duration::from_secs(30),
    deadline: Duration::from_secs(30),
};

/// What a node may grow by while the record grows by ten million rows.
const GROWN_KIB_MAX: u64 = 64 << 10;

/// A statement that misses the figure is explained in the server's log.
const SETTINGS: [&str; 6] = [
    "fsync=off",
    "max_wal_size=8GB",
    "session_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=1000",
    "auto_explain.log_analyze=on",
    "auto_explain.log_nested_statements=off",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn years_of_history_cost_the_nodes_nothing_and_are_counted_at_once() {
    let asked: Option<u64> = std::env::var(ROWS).ok().and_then(|rows| rows.parse().ok());
    let rows = asked.unwrap_or(100_000);
    let mut world = World::start_own_with(1, &SETTINGS).await;
    world.verify();
    let before = resident_kib(&world.demo);
    // Two thousand people on the seats of the campus, mostly there when they said.
    let begun = Instant::now();
    world.psql(&format!(
        "INSERT INTO claims SELECT 1000000000 + n, s.id, at, at + interval '2 hours', 1000 + n % 2000, 'BOOKING', \
         (ARRAY['COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 'NO_SHOW', 'CANCELLED', 'COMPLETED'])\
         [1 + n % 8], NULL, 0, 3, at - interval '1 day', at + interval '1 minute' * (40 + n % 90), NULL, NULL, false \
         FROM (SELECT n, timestamptz '2021-01-01 06:30:00Z' + interval '30 minutes' * (n::bigint * 87600 / {rows}) AS at \
         FROM generate_series(0, {rows} - 1) AS n) drawn \
         JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM seats) s \
         ON s.place = n % (SELECT count(*) FROM seats)"
    ));
    // As autovacuum does by itself, some time after so many rows.
    world.psql("VACUUM ANALYZE claims");
    let inserted = begun.elapsed();
    let password = world.demo.password_of("admin");
    let login = v1::LoginRequest { user_id: "admin".to_owned(), password };
    let token = world.demo.client().login(login).await.expect("a log-in").session_token;
    // A report may take longer than a booking, and whoever asks for one waits for it.
    let admin = world.demo.client().with_session(&token).expect("a token is text").with_options(PATIENT);
    // Half of one of the five years.
    let at = |text: &str| {
        let at: jiff::Timestamp = text.parse().expect("an instant");
        Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 })
    };
    let interval = Some(v1::Interval { start_time: at("2023-01-01T00:00:00Z"), end_time: at("2023-07-02T12:00:00Z") });
    let scope = Some(v1::ReportScope { branch: String::new(), interval });
    let mut table =
        format!("| what | |\n|---|---|\n| {rows} rows of five years inserted in | {:.0} s |\n", inserted.as_secs_f64());
    let mut slowest = Duration::ZERO;
    for grouping in [v1::Grouping::Area, v1::Grouping::Hour, v1::Grouping::Unspecified] {
        let mut tries = Vec::new();
        let mut counted = 0;
        for _ in 0..5 {
            let request = v1::GetUtilizationRequest { scope: scope.clone(), grouping: grouping.into() };
            let begun = Instant::now();
            let report = admin.get_utilization(request).await.expect("a report");
            tries.push(begun.elapsed());
            counted = report.lines.iter().map(|line| line.reservation_count).sum();
            let source = report.source.unwrap_or_default();
            assert_eq!(source.kind(), v1::report_source::Kind::Record);
            assert!(source.applied_index > 0 && source.applied_time.is_some());
        }
        // Those that were cancelled kept nothing.
        let expected = rows as f64 / 10.0 * 7.0 / 8.0;
        assert!((counted as f64 - expected).abs() < expected / 50.0, "{counted} of about {expected}");
        tries.sort_unstable();
        slowest = slowest.max(tries[2]);
        let _ = writeln!(
            table,
            "| utilization over {} claims, {}, the middle one of five | {:.0} ms |",
            rows / 10,
            grouping.as_str_name(),
            tries[2].as_secs_f64() * 1e3
        );
    }
    let mut one = |what: &str, begun: Instant| {
        let _ = writeln!(table, "| {what} | {:.0} ms |", begun.elapsed().as_secs_f64() * 1e3);
    };
    let begun = Instant::now();
    admin.get_no_shows(v1::GetNoShowsRequest { scope: scope.clone(), grouping: 2 }).await.expect("a report");
    one("no-shows over the same", begun);
    let begun = Instant::now();
    admin.get_waits(v1::GetWaitsRequest { scope: scope.clone(), grouping: 2 }).await.expect("a report");
    one("waits over the same", begun);
    let begun = Instant::now();
    admin.get_peaks(v1::GetPeaksRequest { scope: scope.clone(), grouping: 2 }).await.expect("a report");
    one("peaks over the same", begun);
    let begun = Instant::now();
    let request = v1::ExportReservationsRequest { scope: scope.clone(), names: false };
    let pieces = admin.call(request, |channel, request| async move {
        v1::report_service_client::ReportServiceClient::new(channel).export_reservations(request).await
    });
    let mut pieces = pieces.await.expect("an export");
    let mut csv = pieces.message().await.expect("it goes on").expect("it begins").csv;
    one("the first rows of the same as CSV", begun);
    while let Some(piece) = pieces.message().await.expect("it is whole") {
        csv.extend(piece.csv);
    }
    let lines = csv.iter().filter(|byte| **byte == b'\n').count() - 1;
    one(&format!("all {lines} rows of it, {} MiB", csv.len() >> 20), begun);
    assert!((lines as f64 - rows as f64 / 10.0).abs() < rows as f64 / 500.0 + 100.0, "{lines} lines");
    world.demo.kill(0);
    world.demo.restarted(0);
    world.until_phase("FOLLOWING");
    let after = resident_kib(&world.demo);
    let _ = writeln!(table, "| memory of a node before | {} MiB |", before >> 10);
    let _ = writeln!(table, "| memory of a node after, and after a restart | {} MiB |", after >> 10);
    println!("{table}");
    if let Some(path) = std::env::var_os("CARREL_REPORT") {
        let mut report = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a report");
        std::io::Write::write_all(&mut report, format!("{table}\n").as_bytes()).expect("room for a report");
    }
    assert!(after < before + GROWN_KIB_MAX, "a node grew from {before} KiB to {after} KiB");
    if asked.is_some() && slowest >= REPORT_MAX {
        let log = std::fs::read_to_string(world.postgres().log()).unwrap_or_default();
        let plan = log.rfind("plan:").map_or("no plan was logged", |at| &log[at..]);
        panic!("a report took {slowest:?}: {plan}");
    }
}

fn resident_kib(demo: &Demo) -> u64 {
    let pid = demo.pids()[0];
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}
