//! The binary as its users meet it: exit codes, what goes where, and a session between two commands.
//!
//! The cluster here is a stand-in with fixed answers; the stories on a real one are told elsewhere.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use carrel_proto::v1;
use carrel_proto::v1::auth_service_server::{AuthService, AuthServiceServer};
use carrel_proto::v1::catalog_service_server::{CatalogService, CatalogServiceServer};
use carrel_proto::v1::inbox_service_server::{InboxService, InboxServiceServer};
use carrel_proto::v1::reservation_service_server::{ReservationService, ReservationServiceServer};
use carrel_proto::v1::watch_inbox_response::{Bookmark, Event};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};
use tonic_types::pb;

/// A loopback address of its own, where nothing listens.
const NOBODY: &str = "http://127.86.75.30:1";

#[test]
fn nobody_in_reach_is_exit_code_3_and_names_who_was_asked() {
    let home = TempDir::new().expect("a directory");
    let run = carrel(home.path(), NOBODY, &["branches", "--timeout", "1"]).output().expect("it runs");
    assert_eq!(run.status.code(), Some(3));
    assert!(run.stdout.is_empty());
    for part in ["no cluster in reach", NOBODY, "refused", "carrel demo"] {
        assert!(stderr(&run).contains(part), "{part} in {}", stderr(&run));
    }
    let args = ["cluster", "status", "--timeout", "1", "--output", "json"];
    let run = carrel(home.path(), NOBODY, &args).output().expect("it runs");
    assert_eq!(run.status.code(), Some(3));
    assert_eq!(stderr_json(&run)["error"]["code"], "UNAVAILABLE");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let home = TempDir::new().expect("a directory");
    for args in [
        &["reserve", "main/a", "--from", "soon", "--to", "12:00"][..],
        &["reserve", "main/a", "--from", "10:00", "--to", "12:00", "--request-id", "7"],
        &["borrow", "a-book"],
        &["login", "amy"],
        &["branches", "--endpoints", "127.0.0.1:7400"],
        &["users", "delete", "amy"],
        &["check-in", "abc"],
    ] {
        let run = carrel(home.path(), NOBODY, args).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(run.status.code(), Some(2), "{args:?}: {}", stderr(&run));
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn a_usage_is_of_what_was_typed_and_not_of_the_environment() {
    let home = TempDir::new().expect("a directory");
    let args = ["seats", "close", "--seat", "main/a", "--from", "10:00", "--to", "12:00", "--reason", "lamp"];
    let run = carrel(home.path(), NOBODY, &args).output().expect("it runs");
    assert_eq!(run.status.code(), Some(2));
    assert!(stderr(&run).contains("maintenance|closure") && !stderr(&run).contains("--endpoints"), "{}", stderr(&run));
}

#[test]
fn nobody_who_answers_is_told_apart_from_nobody_who_leads() {
    let home = TempDir::new().expect("a directory");
    let run = carrel(home.path(), NOBODY, &["top", "--metrics", "http://127.86.75.30:1/metrics"]).output();
    let text = String::from_utf8_lossy(&run.expect("it runs").stdout).into_owned();
    assert!(text.contains("nobody answers at 127.86.75.30:1") && text.contains("CARREL_METRICS"), "{text}");
}

#[test]
fn a_session_lasts_from_one_command_to_the_next() {
    let cluster = Cluster::start();
    let home = TempDir::new().expect("a directory");
    let refused = cluster.login(home.path(), "wrong\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(!home.path().join("session.json").exists());

    let login = cluster.login(home.path(), "secret\n");
    assert_eq!(login.status.code(), Some(0), "{}", stderr(&login));
    let login = stdout_json(&login);
    assert_eq!((&login["sessionToken"], &login["user"]["role"]), (&json!("token-1"), &json!("PATRON")));

    let reserve = cluster.json(home.path(), &["reserve", "main/free", "--from", "10:00", "--to", "12:00"]);
    assert_eq!(reserve.status.code(), Some(0), "{}", stderr(&reserve));
    assert_eq!(stdout_json(&reserve)["reservation"]["seat"], "branches/main/seats/free");
    let seen = cluster.state.lock().expect("not poisoned").seen.clone();
    let (authorization, request) = seen.last().expect("it was asked");
    assert_eq!(authorization, "Bearer token-1");
    assert_eq!(request.request_id.len(), 36, "a UUID was made");

    let logout = cluster.json(home.path(), &["logout"]);
    assert_eq!(logout.status.code(), Some(0), "{}", stderr(&logout));
    assert!(!home.path().join("session.json").exists());
    let again = cluster.json(home.path(), &["logout"]);
    assert_eq!(stdout_json(&again), json!({"commit": null}));
}

#[test]
fn a_taken_seat_is_exit_code_1_with_alternatives() {
    let cluster = Cluster::start();
    let home = TempDir::new().expect("a directory");
    let args = ["reserve", "main/taken", "--from", "2027-03-01T10:00:00Z", "--to", "2027-03-01T12:00:00Z"];
    let run = cluster.json(home.path(), &args);
    assert_eq!((run.status.code(), run.stdout.len()), (Some(1), 0));
    assert_eq!(
        stderr_json(&run),
        json!({"error": {
            "code": "FAILED_PRECONDITION",
            "reason": "SEAT_TAKEN",
            "message": "the seat is taken",
            "alternatives": ["branches/main/seats/free"],
        }})
    );
    let run = cluster.run(home.path(), &args).output().expect("it runs");
    let text = stderr(&run);
    let reserve = |from: &str, to: &str| {
        let args = ["reserve", "main/backwards", "--from", from, "--to", to];
        cluster.run(home.path(), &args).output().expect("it runs")
    };
    let backwards = reserve("2027-03-01T12:00:00Z", "2027-03-01T10:00:00Z");
    assert_eq!(backwards.status.code(), Some(2), "{}", stderr(&backwards));
    assert!(stderr(&backwards).contains("2027-03-01 13:00 CET"), "on the clock of the branch: {}", stderr(&backwards));
    assert!(text.starts_with("error: the seat is taken (SEAT_TAKEN)\n"), "no colour in a pipe: {text}");
    assert!(text.contains("carrel waitlist join --seat main/taken --from 2027-03-01T10:00:00Z"), "{text}");
}

#[test]
fn an_unknown_branch_has_no_clock() {
    let cluster = Cluster::start();
    let home = TempDir::new().expect("a directory");
    let run = cluster.json(home.path(), &["reserve", "attic/a", "--from", "10:00", "--to", "12:00"]);
    assert_eq!(run.status.code(), Some(1));
    let error = stderr_json(&run);
    assert_eq!(error["error"]["reason"], "BRANCH_NOT_FOUND");
    assert_eq!(error["error"]["message"], "there is no branch attic; known: main");
}

#[test]
fn reading_the_inbox_marks_what_was_shown() {
    let cluster = Cluster::start();
    let home = TempDir::new().expect("a directory");
    let kept = cluster.json(home.path(), &["inbox", "--keep-unread"]);
    assert_eq!(stdout_json(&kept)["items"][0]["kind"], "MESSAGE");
    assert_eq!(cluster.state.lock().expect("not poisoned").read_up_to, None);
    let read = cluster.json(home.path(), &["inbox"]);
    assert_eq!(read.status.code(), Some(0), "{}", stderr(&read));
    assert_eq!(cluster.state.lock().expect("not poisoned").read_up_to.as_deref(), Some("t1"));
}

#[test]
fn a_followed_inbox_is_a_line_per_item_and_ends_on_interrupt() {
    let cluster = Cluster::start();
    let home = TempDir::new().expect("a directory");
    let mut follow = cluster.run(home.path(), &["inbox", "--follow", "--output", "json"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("it is piped")).lines();
    for text in ["one", "two"] {
        let line = lines.next().expect("a line").expect("text");
        let item: Value = serde_json::from_str(&line).expect("one JSON document a line");
        assert_eq!(item["item"]["text"], text);
        assert!(item.get("bookmark").is_none());
    }
    let pid = rustix::process::Pid::from_child(&follow);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is alive");
    assert_eq!(follow.wait().expect("it ends").code(), Some(0));
}

#[test]
fn whoever_stops_reading_hears_no_complaint() {
    let home = TempDir::new().expect("a directory");
    let mut run = carrel(home.path(), NOBODY, &["completions", "bash"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(run.stdout.take());
    let run = run.wait_with_output().expect("it ends");
    assert_eq!((run.status.code(), stderr(&run)), (Some(0), String::new()));
}

fn carrel(home: &Path, endpoints: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carrel"));
    command.args(args).env("CARREL_CONFIG", home).env("CARREL_ENDPOINTS", endpoints).env_remove("CARREL_TIMEOUT");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stderr_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stderr).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn stdout_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// A stand-in for a cluster, on threads of its own while it lives.
struct Cluster {
    _runtime: Runtime,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Reservations asked for, with the authorization that came along.
    seen: Vec<(String, v1::CreateReservationRequest)>,
    read_up_to: Option<String>,
}

impl Cluster {
    fn start() -> Cluster {
        let runtime = Runtime::new().expect("threads");
        let state = Arc::new(Mutex::new(State::default()));
        let service = Service { state: state.clone() };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(AuthServiceServer::new(service.clone()))
                .add_service(CatalogServiceServer::new(service.clone()))
                .add_service(InboxServiceServer::new(service.clone()))
                .add_service(ReservationServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Cluster { _runtime: runtime, address, state }
    }

    fn run(&self, home: &Path, args: &[&str]) -> Command {
        carrel(home, &format!("http://{}", self.address), args)
    }

    fn json(&self, home: &Path, args: &[&str]) -> Output {
        self.run(home, args).args(["--output", "json"]).output().expect("it runs")
    }

    fn login(&self, home: &Path, input: &str) -> Output {
        let mut command = self.run(home, &["login", "amy", "--password-stdin", "--output", "json"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of these tests"))
}

fn refused(code: Code, reason: &str, message: &str, alternatives: Option<v1::Alternatives>) -> Status {
    let info = pb::ErrorInfo { reason: reason.into(), domain: "carrel.dev".into(), ..Default::default() };
    let any = |name: &str, value| prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value };
    let mut details = vec![any("google.rpc.ErrorInfo", info.encode_to_vec())];
    details.extend(alternatives.map(|seats| any("carrel.v1.Alternatives", seats.encode_to_vec())));
    let status = pb::Status { code: code.into(), message: message.into(), details };
    Status::with_details(code, message, status.encode_to_vec().into())
}

#[tonic::async_trait]
impl AuthService for Service {
    async fn login(&self, request: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        let request = request.into_inner();
        if request.password != "secret" {
            return Err(refused(Code::Unauthenticated, "CREDENTIALS_INVALID", "wrong name or password", None));
        }
        let name = format!("users/{}", request.user_id);
        let user = v1::User { name, role: v1::Role::Patron.into(), ..Default::default() };
        let session_token = "token-1".into();
        Ok(Response::new(v1::LoginResponse { user: Some(user), session_token, ..Default::default() }))
    }

    async fn logout(&self, _: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Status> {
        Ok(Response::new(v1::LogoutResponse::default()))
    }

    async fn register(&self, _: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        unused()
    }

    async fn get_session(&self, _: Request<v1::GetSessionRequest>) -> Result<Response<v1::GetSessionResponse>, Status> {
        unused()
    }

    async fn change_password(
        &self,
        _: Request<v1::ChangePasswordRequest>,
    ) -> Result<Response<v1::ChangePasswordResponse>, Status> {
        unused()
    }

    async fn list_sessions(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        unused()
    }

    async fn revoke_session(
        &self,
        _: Request<v1::RevokeSessionRequest>,
    ) -> Result<Response<v1::RevokeSessionResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl CatalogService for Service {
    async fn list_branches(
        &self,
        _: Request<v1::ListBranchesRequest>,
    ) -> Result<Response<v1::ListBranchesResponse>, Status> {
        let (name, time_zone) = ("branches/main".into(), "Europe/Berlin".into());
        let branch = v1::BranchSummary { name, time_zone, ..Default::default() };
        Ok(Response::new(v1::ListBranchesResponse { branches: vec![branch] }))
    }

    async fn export_catalog(
        &self,
        _: Request<v1::ExportCatalogRequest>,
    ) -> Result<Response<v1::ExportCatalogResponse>, Status> {
        unused()
    }

    async fn import_catalog(
        &self,
        _: Request<v1::ImportCatalogRequest>,
    ) -> Result<Response<v1::ImportCatalogResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl ReservationService for Service {
    async fn create_reservation(
        &self,
        request: Request<v1::CreateReservationRequest>,
    ) -> Result<Response<v1::CreateReservationResponse>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        let request = request.into_inner();
        let seat = request.seat.clone();
        self.state.lock().expect("not poisoned").seen.push((authorization, request));
        if seat.ends_with("/taken") {
            let free = v1::Seat { name: "branches/main/seats/free".into(), ..Default::default() };
            let free = v1::Alternatives { seats: vec![free], ..Default::default() };
            return Err(refused(Code::FailedPrecondition, "SEAT_TAKEN", "the seat is taken", Some(free)));
        }
        if seat.ends_with("/backwards") {
            let message = "interval: it ends at or before its start: 2027-03-01T12:00:00Z";
            return Err(refused(Code::InvalidArgument, "INTERVAL_INVALID", message, None));
        }
        let reservation = v1::Reservation { name: "reservations/1".into(), seat, ..Default::default() };
        Ok(Response::new(v1::CreateReservationResponse { reservation: Some(reservation), commit: None }))
    }

    async fn get_reservation(
        &self,
        _: Request<v1::GetReservationRequest>,
    ) -> Result<Response<v1::GetReservationResponse>, Status> {
        unused()
    }

    async fn list_reservations(
        &self,
        _: Request<v1::ListReservationsRequest>,
    ) -> Result<Response<v1::ListReservationsResponse>, Status> {
        unused()
    }

    async fn check_in(&self, _: Request<v1::CheckInRequest>) -> Result<Response<v1::CheckInResponse>, Status> {
        unused()
    }

    async fn hold_seat(&self, _: Request<v1::HoldSeatRequest>) -> Result<Response<v1::HoldSeatResponse>, Status> {
        unused()
    }

    async fn confirm_reservation(
        &self,
        _: Request<v1::ConfirmReservationRequest>,
    ) -> Result<Response<v1::ConfirmReservationResponse>, Status> {
        unused()
    }

    async fn walk_in(&self, _: Request<v1::WalkInRequest>) -> Result<Response<v1::WalkInResponse>, Status> {
        unused()
    }

    async fn create_group_reservation(
        &self,
        _: Request<v1::CreateGroupReservationRequest>,
    ) -> Result<Response<v1::CreateGroupReservationResponse>, Status> {
        unused()
    }

    async fn batch_create_reservations(
        &self,
        _: Request<v1::BatchCreateReservationsRequest>,
    ) -> Result<Response<v1::BatchCreateReservationsResponse>, Status> {
        unused()
    }

    async fn list_seat_reservations(
        &self,
        _: Request<v1::ListSeatReservationsRequest>,
    ) -> Result<Response<v1::ListSeatReservationsResponse>, Status> {
        unused()
    }

    async fn get_quota(&self, _: Request<v1::GetQuotaRequest>) -> Result<Response<v1::GetQuotaResponse>, Status> {
        unused()
    }

    async fn step_away(&self, _: Request<v1::StepAwayRequest>) -> Result<Response<v1::StepAwayResponse>, Status> {
        unused()
    }

    async fn extend_reservation(
        &self,
        _: Request<v1::ExtendReservationRequest>,
    ) -> Result<Response<v1::ExtendReservationResponse>, Status> {
        unused()
    }

    async fn reschedule_reservation(
        &self,
        _: Request<v1::RescheduleReservationRequest>,
    ) -> Result<Response<v1::RescheduleReservationResponse>, Status> {
        unused()
    }

    async fn report_empty_seat(
        &self,
        _: Request<v1::ReportEmptySeatRequest>,
    ) -> Result<Response<v1::ReportEmptySeatResponse>, Status> {
        unused()
    }

    async fn check_out(&self, _: Request<v1::CheckOutRequest>) -> Result<Response<v1::CheckOutResponse>, Status> {
        unused()
    }

    async fn cancel_reservation(
        &self,
        _: Request<v1::CancelReservationRequest>,
    ) -> Result<Response<v1::CancelReservationResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl InboxService for Service {
    type WatchInboxStream = Pin<Box<dyn Stream<Item = Result<v1::WatchInboxResponse, Status>> + Send>>;

    async fn list_inbox(&self, _: Request<v1::ListInboxRequest>) -> Result<Response<v1::ListInboxResponse>, Status> {
        let items = vec![item("one", 1)];
        let resume_token = "t9".into();
        Ok(Response::new(v1::ListInboxResponse { items, resume_token, unread_count: 1, more: false }))
    }

    async fn watch_inbox(&self, _: Request<v1::WatchInboxRequest>) -> Result<Response<Self::WatchInboxStream>, Status> {
        let events = [Event::Item(item("one", 1)), Event::Bookmark(Bookmark {}), Event::Item(item("two", 3))];
        let frames = events.into_iter().zip(1..).map(|(event, position)| {
            Ok(v1::WatchInboxResponse { event: Some(event), resume_token: format!("t{position}") })
        });
        // And then nothing more happens.
        Ok(Response::new(Box::pin(tokio_stream::iter(frames).chain(tokio_stream::pending()))))
    }

    async fn advance_read_cursor(
        &self,
        request: Request<v1::AdvanceReadCursorRequest>,
    ) -> Result<Response<v1::AdvanceReadCursorResponse>, Status> {
        self.state.lock().expect("not poisoned").read_up_to = Some(request.into_inner().resume_token);
        Ok(Response::new(v1::AdvanceReadCursorResponse::default()))
    }

    async fn get_mail_delivery(
        &self,
        _: Request<v1::GetMailDeliveryRequest>,
    ) -> Result<Response<v1::GetMailDeliveryResponse>, Status> {
        unused()
    }

    async fn update_mail_delivery(
        &self,
        _: Request<v1::UpdateMailDeliveryRequest>,
    ) -> Result<Response<v1::UpdateMailDeliveryResponse>, Status> {
        unused()
    }

    async fn confirm_mail_address(
        &self,
        _: Request<v1::ConfirmMailAddressRequest>,
    ) -> Result<Response<v1::ConfirmMailAddressResponse>, Status> {
        unused()
    }

    async fn get_notification_preferences(
        &self,
        _: Request<v1::GetNotificationPreferencesRequest>,
    ) -> Result<Response<v1::GetNotificationPreferencesResponse>, Status> {
        unused()
    }

    async fn update_notification_preferences(
        &self,
        _: Request<v1::UpdateNotificationPreferencesRequest>,
    ) -> Result<Response<v1::UpdateNotificationPreferencesResponse>, Status> {
        unused()
    }
}

fn item(text: &str, position: u32) -> v1::InboxItem {
    v1::InboxItem {
        kind: v1::inbox_item::Kind::Message.into(),
        text: text.into(),
        unread: true,
        resume_token: format!("t{position}"),
        ..Default::default()
    }
}
