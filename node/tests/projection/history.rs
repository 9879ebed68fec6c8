//! Years go by: what is over leaves the memory of the nodes, and is told from the record.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use carrel_node::demo::postgres::Postgres;
use carrel_proto::client::Client;
use carrel_proto::v1;
use serde_json::Value;
use tempfile::TempDir;

use crate::shim::{self, Control};
use crate::stage::{Demo, PASSWORD, free_port as free_ports};
use crate::world::{PATIENCE, free_port, proof};

const DAY_S: i64 = 86_400;

/// A cluster of one, whose clock is where it is put.
struct Ages {
    demo: Option<Demo>,
    postgres: Postgres,
    clock: Control,
    library: PathBuf,
    url_file: PathBuf,
    port: u16,
    days_ago: i64,
    dir: TempDir,
}

impl Ages {
    async fn begin(days_ago: i64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Postgres may run as somebody else.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), passable).expect("a directory of ours");
        let postgres = Postgres::start(dir.path(), free_port(), &["fsync=off"]).await.expect("Postgres starts");
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, postgres.url()).expect("a directory of ours");
        let library = shim::compile(dir.path());
        let clock = Control::new(dir.path().join("clock"));
        let mut ages = Self { demo: None, postgres, clock, library, url_file, port: free_ports(), days_ago, dir };
        ages.go_to(days_ago, true);
        ages
    }

    /// All processes end, and begin again so many days before today.
    fn go_to(&mut self, days_ago: i64, with_record: bool) {
        if let Some(demo) = self.demo.take() {
            demo.stop();
        }
        self.days_ago = days_ago;
        self.clock.shift_clock(-days_ago * DAY_S * 1_000_000);
        let url_file = self.url_file.to_str().expect("a path of ours");
        let record = ["--postgres-url-file", url_file];
        let args = [&["--replicas", "1"][..], if with_record { &record[..] } else { &[] }].concat();
        let shim = [("LD_PRELOAD", self.library.as_path()), ("CARREL_CHAOS_CONTROL", &self.clock.path)];
        self.demo = Some(Demo::start_in(&shim, &self.dir.path().join("demo"), self.port, &args));
    }

    fn demo(&self) -> &Demo {
        self.demo.as_ref().expect("it runs")
    }

    /// The half hour that runs now, and whole hours after it.
    fn slot(&self, hours: i64, half_hours: i64) -> v1::Interval {
        let now = jiff::Timestamp::now().as_second() - self.days_ago * DAY_S;
        let start = now - now.rem_euclid(1_800) + hours * 3_600;
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Interval { start_time: at(start), end_time: at(start + half_hours * 1_800) }
    }

    async fn person(&self, name: &str, password: &str) -> Client {
        let (user_id, password) = (name.to_owned(), password.to_owned());
        let response = self.demo().client().login(v1::LoginRequest { user_id, password }).await;
        let token = response.expect("a log-in").session_token;
        self.demo().client().with_session(&token).expect("a token is text")
    }

    async fn admin(&self) -> Client {
        self.person("admin", &self.demo().password_of("admin")).await
    }

    fn psql(&self, sql: &str) -> String {
        let ran = std::process::Command::new("psql").arg(self.postgres.url()).args(["-Atqc", sql]).output();
        let ran = ran.expect("psql comes with Postgres");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn projection(&self, words: &[&str]) -> crate::stage::Ran {
        let admin = self.demo().ready["admin"][0].as_str().expect("an admin port").to_owned();
        self.demo().carrel("nobody", &[&["projection"], words, &["--admin", &admin]].concat())
    }

    fn verify(&self) -> Value {
        proof(|| self.projection(&["verify"]))
    }

    fn metric(&self, name: &str) -> u64 {
        let url = self.demo().ready["metrics"][0].as_str().expect("a metrics port").to_owned();
        let text = crate::world::fetch(&url).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            // What is not acknowledged yet when the nodes look for what may go has to wait for a minute.
            assert!(begun.elapsed() < 2 * PATIENCE, "not {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn wish(seat: &str, interval: v1::Interval, person: Option<&str>) -> v1::Wish {
    v1::Wish {
        target: Some(v1::wish::Target::Seat(seat.to_owned())),
        interval: Some(interval),
        on_behalf_of: person.map(|person| format!("users/{person}")).unwrap_or_default(),
        reason: person.map(|_| "a test".to_owned()).unwrap_or_default(),
        exempt: person.is_some(),
        ..Default::default()
    }
}

async fn reserve(client: &Client, wish: v1::Wish) -> String {
    let request = v1::CreateReservationRequest {
        request_id: carrel_proto::client::new_request_id(),
        wish: Some(wish),
        ..Default::default()
    };
    client.create_reservation(request).await.expect("a free seat").reservation.expect("it is there").name
}

async fn cancel(client: &Client, name: &str) {
    let (request_id, name) = (carrel_proto::client::new_request_id(), name.to_owned());
    let request = v1::CancelReservationRequest { request_id, name, reason: "a test".to_owned() };
    client.cancel_reservation(request).await.expect("it is live");
}

/// Every report there is, without whose word it is.
async fn reports(client: &Client, scope: &v1::ReportScope) -> Vec<String> {
    let mut found = Vec::new();
    let scope = Some(scope.clone());
    for grouping in 0..4 {
        let said = client.get_utilization(v1::GetUtilizationRequest { scope: scope.clone(), grouping }).await;
        found.extend(said.expect("a report").lines.iter().map(|line| format!("utilization {line:?}")));
        let said = client.get_no_shows(v1::GetNoShowsRequest { scope: scope.clone(), grouping }).await;
        found.extend(said.expect("a report").lines.iter().map(|line| format!("no-shows {line:?}")));
        let said = client.get_waits(v1::GetWaitsRequest { scope: scope.clone(), grouping }).await;
        found.extend(said.expect("a report").lines.iter().map(|line| format!("waits {line:?}")));
        if grouping < 3 {
            let said = client.get_peaks(v1::GetPeaksRequest { scope: scope.clone(), grouping }).await;
            found.extend(said.expect("a report").lines.iter().map(|line| format!("peaks {line:?}")));
        }
    }
    found
}

async fn export(client: &Client, scope: &v1::ReportScope) -> String {
    let request = v1::ExportReservationsRequest { scope: Some(scope.clone()), names: false };
    let pieces = client.call(request, |channel, request| async move {
        v1::report_service_client::ReportServiceClient::new(channel).export_reservations(request).await
    });
    let mut pieces = pieces.await.expect("an export");
    let mut csv = Vec::new();
    while let Some(piece) = pieces.message().await.expect("it is whole") {
        csv.extend(piece.csv);
    }
    String::from_utf8(csv).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_over_leaves_memory_and_is_told_from_the_record() {
    let mut ages = Ages::begin(250).await;
    for who in ["amy", "ben"] {
        ages.demo().register(0, who).ok();
    }
    let (admin, amy, ben) =
        (ages.admin().await, ages.person("amy", PASSWORD).await, ages.person("ben", PASSWORD).await);
    let seats = ages.demo().free_seats();
    // Some come, some do not, some change their minds, some wait.
    let came = reserve(&amy, wish(&seats[0], ages.slot(0, 1), None)).await;
    let check_in = |name: &str| v1::CheckInRequest {
        request_id: carrel_proto::client::new_request_id(),
        name: name.to_owned(),
        ..Default::default()
    };
    amy.check_in(check_in(&came)).await.expect("the seat is hers");
    let left = reserve(&ben, wish(&seats[1], ages.slot(0, 1), None)).await;
    ben.check_in(check_in(&left)).await.expect("the seat is his");
    let request_id = carrel_proto::client::new_request_id();
    ben.check_out(v1::CheckOutRequest { request_id, name: left.clone() }).await.expect("he may go");
    for hour in 1..30 {
        let who = if hour % 2 == 0 { "amy" } else { "ben" };
        let slot = ages.slot(2 * hour, 1 + hour % 3);
        let name = reserve(&admin, wish(&seats[2 + hour as usize % 5], slot, Some(who))).await;
        if hour % 4 == 0 {
            cancel(&admin, &name).await;
        }
    }
    let taken = reserve(&admin, wish(&seats[8], ages.slot(70, 2), Some("amy"))).await;
    let join = v1::JoinWaitlistRequest {
        request_id: carrel_proto::client::new_request_id(),
        target: Some(v1::join_waitlist_request::Target::Seat(seats[8].clone())),
        interval: Some(ages.slot(70, 2)),
        ..Default::default()
    };
    ben.join_waitlist(join).await.expect("a place in line");
    cancel(&admin, &taken).await;
    ages.verify();

    // Seven weeks later all of it is over.
    ages.go_to(200, true);
    ages.verify();
    let scope = v1::ReportScope { branch: String::new(), interval: Some(ages.slot(-60 * 24, 2 * 24 * 30)) };
    let admin = ages.admin().await;
    let from_record = reports(&admin, &scope).await;
    assert!(!from_record[0].contains("used_minutes: 0,"), "{from_record:#?}");
    let exported = export(&admin, &scope).await;
    assert_eq!(exported.lines().count(), 1 + 2 + 29 + 1, "{exported}");
    assert!(!exported.contains("amy") && exported.contains("p-"), "{exported}");
    // An interval that cuts through some of them.
    let narrow = v1::ReportScope { interval: Some(ages.slot(-50 * 24 + 3, 31)), ..scope.clone() };
    let cut = reports(&admin, &narrow).await;
    assert_eq!(ages.metric("carrel_claims_let_go"), 0, "they are held for ninety days");

    // Without a record the nodes count, and come to the same.
    ages.go_to(199, false);
    let admin = ages.admin().await;
    // Waits that are over they have forgotten.
    let without_waits =
        |lines: &[String]| -> Vec<String> { lines.iter().filter(|line| !line.starts_with("waits")).cloned().collect() };
    assert_eq!(reports(&admin, &narrow).await, without_waits(&cut));
    assert_eq!(reports(&admin, &scope).await, without_waits(&from_record));
    assert_eq!(export(&admin, &scope).await, exported, "pseudonyms and lines are the same");
    let held = ages.metric("carrel_claims_held");

    // Today they are history.
    ages.go_to(0, true);
    ages.until("let go", || ages.metric("carrel_claims_let_go") == held);
    let proof = ages.verify();
    let archived = |proof: &Value| proof["tables"][4]["archivedRows"].as_str().and_then(|rows| rows.parse().ok());
    assert_eq!(archived(&proof), Some(held), "{proof}");
    let told = "SELECT sum((details->>'claims_let_go')::bigint), bool_and(actor = 'SYSTEM' AND reason = 'LET_GO') \
         FROM audit WHERE subject = 'HISTORY'";
    assert_eq!(ages.psql(told), format!("{held}|t"));
    // Drawn for the first export, by whoever asked for it.
    assert_eq!(ages.psql("SELECT actor, reason FROM audit WHERE subject = 'PSEUDONYM_KEY'"), "USER|SET_PSEUDONYM_KEY");
    let rows = ages.psql("SELECT count(*), md5(string_agg(c::text, ',' ORDER BY id)) FROM claims c");
    assert_eq!(ages.projection(&["rebuild"]).json()["proof"]["equal"], true);
    assert_eq!(ages.psql("SELECT count(*), md5(string_agg(c::text, ',' ORDER BY id)) FROM claims c"), rows);
    ages.demo()
        .carrel("nobody", &["cluster", "snapshot", "--admin", ages.demo().ready["admin"][0].as_str().expect("a port")])
        .ok();
    ages.go_to(0, true);
    assert_eq!(ages.metric("carrel_claims_let_go"), held, "as a snapshot has it");
    ages.verify();

    let admin = ages.admin().await;
    assert_eq!(reports(&admin, &scope).await, from_record);
    for who in ["amy", "ben"] {
        ages.demo().login(0, who, PASSWORD).ok();
    }
    let demo = ages.demo();
    let shown = demo.carrel("amy", &["reservation", "show", &came]).json();
    assert_eq!(shown["reservation"]["state"], "COMPLETED");
    assert_eq!(demo.carrel("ben", &["reservation", "show", &came]).refused().0, "NOT_PERMITTED");
    let history = demo.carrel("amy", &["history"]).json();
    assert_eq!(history["reservations"].as_array().map(Vec::len), Some(1 + 14 + 1), "{history}");
    let one = demo.carrel("amy", &["history", "--last", "1"]).json();
    assert_eq!(one["reservations"].as_array().map(Vec::len), Some(1));
    let everything = demo.carrel("amy", &["my-data"]).json();
    assert!(everything.to_string().contains(&came), "{everything}");

    // While Postgres is away people book on, and are told what is missing.
    let seats = demo.free_seats();
    ages.postgres.stop().await;
    let demo = ages.demo();
    for words in [vec!["reservation", "show", came.as_str()], vec!["history"], vec!["my-data"]] {
        let began = Instant::now();
        assert_eq!(demo.carrel("amy", &words).refused().0, "HISTORY_UNAVAILABLE", "{words:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{words:?} took {:?}", began.elapsed());
    }
    demo.login(0, "admin", &demo.password_of("admin")).ok();
    let (reason, error) = demo.carrel("admin", &["report", "utilization"]).refused();
    assert_eq!((reason.as_str(), &error["code"]), ("HISTORY_UNAVAILABLE", &Value::from("UNAVAILABLE")), "{error}");
    let (from, to) = crate::stage::slot(60, 30);
    demo.carrel("amy", &["reserve", &seats[0], "--from", &from, "--to", &to]).ok();
    let listed = demo.carrel("amy", &["reservations"]).json();
    assert_eq!(listed["reservations"].as_array().map(Vec::len), Some(1), "what the cluster holds: {listed}");
    ages.postgres.run().await.expect("Postgres starts again");
    ages.verify();
    let table = ages.demo().carrel("admin", &["report", "no-shows", "--csv", "--by", "branch"]).ok().stdout();
    assert!(table.starts_with("group,due,no_shows,released,cancelled"), "{table}");

    // A database that has lost what the nodes have let go of is nothing to go on with, unless somebody says so.
    ages.psql("TRUNCATE claims, projection_cursor");
    let trouble = || ages.projection(&["status"]).json()["trouble"].as_str().unwrap_or_default().to_owned();
    ages.until("halted", || trouble().contains("has let go of"));
    let rebuilt = ages.projection(&["rebuild", "--adopt"]).json();
    assert_eq!(rebuilt["proof"]["equal"], true, "{rebuilt}");
}
