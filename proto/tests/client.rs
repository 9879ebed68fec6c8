//! The client against small real servers: it finds the one that answers, repeats the same request and resumes a stream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, ClientError, News, Options};
use carrel_proto::v1::inbox_service_server::{InboxService, InboxServiceServer};
use carrel_proto::v1::reservation_service_server::{ReservationService, ReservationServiceServer};
use carrel_proto::v1::watch_inbox_response::{Bookmark, Draining, Event};
use carrel_proto::v1::{self};
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Iter, iter};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

#[tokio::test]
async fn a_busy_node_is_asked_again_with_the_same_request_id() {
    let node = Node::answering([Answer::NoQuorum, Answer::NoQuorum, Answer::Yes]).await;
    let client = client([&node.url]);
    // In a task of its own: calls may move between threads.
    let reserved = tokio::spawn(async move { reserve(&client, "id-1").await }).await.expect("it does not panic");
    let reservation = reserved.expect("the third answer is yes");
    assert_eq!(reservation.seat, "branches/main/seats/a");
    assert_eq!(node.seen(), ["id-1", "id-1", "id-1"]);
}

#[tokio::test]
async fn a_dead_port_costs_nothing_once_it_is_known() {
    let (_held, dead) = dead_port();
    let node = Node::answering([Answer::Yes, Answer::Yes]).await;
    let client = client([&dead, &node.url]);
    reserve(&client, "id-1").await.expect("the second node lives");
    let started = Instant::now();
    reserve(&client, "id-2").await.expect("and is asked first now");
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(node.seen(), ["id-1", "id-2"]);
}

#[tokio::test]
async fn a_call_waits_for_no_timer() {
    let node = Node::answering(vec![Answer::Yes; 200]).await;
    let client = client([&node.url]);
    let mut quickest = Duration::MAX;
    for _ in 0..200 {
        let started = Instant::now();
        reserve(&client, "id-1").await.expect("a free seat");
        quickest = quickest.min(started.elapsed());
    }
    // A timer takes a millisecond or more each time, whatever else the machine does.
    assert!(quickest < Duration::from_millis(1), "{quickest:?}");
}

#[tokio::test]
async fn a_node_that_hangs_does_not_use_up_the_deadline() {
    let hung = Node::answering([Answer::Never]).await;
    let node = Node::answering([Answer::Yes]).await;
    reserve(&client([&hung.url, &node.url]), "id-1").await.expect("the second node answers");
    assert_eq!((hung.seen(), node.seen()), (vec!["id-1".to_owned()], vec!["id-1".to_owned()]));
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let first = Node::answering([Answer::Yes, Answer::Taken]).await;
    let second = Node::answering([Answer::Never]).await;
    let client = client([&first.url, &second.url]);
    reserve(&client, "id-0").await.expect("a free seat");
    let asked_early = second.seen().len();
    let Err(ClientError::Refused(refusal)) = reserve(&client, "id-1").await else { panic!("the seat is taken") };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "SEAT_TAKEN"));
    assert_eq!(second.seen().len(), asked_early);
}

#[tokio::test]
async fn nobody_there_names_every_address_and_is_not_in_doubt() {
    let ((_held, first), (_held_too, second)) = (dead_port(), dead_port());
    let started = Instant::now();
    let Err(ClientError::Unreachable(unreachable)) = reserve(&client([&first, &second]), "id-1").await else {
        panic!("nobody is there")
    };
    assert!(started.elapsed() < Duration::from_secs(3), "the deadline of two seconds holds");
    assert!(!unreachable.in_doubt, "no connection was ever made");
    for (endpoint, trouble) in &unreachable.endpoints {
        assert!([&first, &second].contains(&endpoint));
        assert!(trouble.as_ref().is_some_and(|text| text.contains("refused")), "{trouble:?}");
    }
}

#[tokio::test]
async fn no_quorum_until_the_end_leaves_the_outcome_in_doubt() {
    let node = Node::answering(std::iter::repeat_n(Answer::NoQuorum, 200)).await;
    let Err(ClientError::Unreachable(unreachable)) = reserve(&client([&node.url]), "id-1").await else {
        panic!("there is no quorum")
    };
    assert!(unreachable.in_doubt);
    assert!(unreachable.to_string().contains("no majority"));
    assert!(node.seen().len() < 100, "it paused as long as it was told to");
}

#[tokio::test]
async fn the_session_goes_with_every_attempt() {
    let node = Node::answering([Answer::NoQuorum, Answer::Yes]).await;
    let client = client([&node.url]).with_session("secret").expect("a token");
    reserve(&client, "id-1").await.expect("the second answer is yes");
    assert_eq!(node.state.lock().expect("not poisoned").authorizations, ["Bearer secret", "Bearer secret"]);
}

#[tokio::test]
async fn an_inbox_goes_on_at_another_node_without_loss_or_repetition() {
    // The first node breaks off after two items, the second says it is leaving, the third has the rest.
    let first = Node::streaming([item(1), item(2), Err(Status::unavailable("going down"))]).await;
    let second = Node::streaming([bookmark(3), item(4), draining(5)]).await;
    let third = Node::streaming([item(6)]).await;
    let mut watch = client([&first.url, &second.url, &third.url]).watch_inbox("t0");
    let mut names = Vec::new();
    for _ in 0..4 {
        let News::Item(response) = watch.next().await.expect("a node has the next one") else {
            panic!("all are there")
        };
        let Some(Event::Item(item)) = response.event else { panic!("only items are handed out") };
        names.push(item.name);
    }
    assert_eq!(names, ["item 1", "item 2", "item 4", "item 6"]);
    assert_eq!(watch.resume_token(), "t6");
    assert_eq!((first.seen(), second.seen(), third.seen()), (strings(["t0"]), strings(["t2"]), strings(["t5"])));
}

#[tokio::test]
async fn a_node_that_hangs_costs_the_first_call_no_more_than_a_moment() {
    let hung = Node::answering([Answer::Never, Answer::Never]).await;
    let hung_too = Node::answering([Answer::Never, Answer::Never]).await;
    let node = Node::answering(std::iter::repeat_n(Answer::Yes, 3)).await;
    let patient = Options { attempt_timeout: Duration::from_secs(20), ..Options::default() };
    let client = client([&hung.url, &hung_too.url, &node.url]).with_options(patient);
    let started = Instant::now();
    reserve(&client, "id-1").await.expect("the third node answers");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // From here on it is the one that is asked, alone.
    reserve(&client, "id-2").await.expect("the third node answers");
    assert_eq!((hung.seen(), hung_too.seen()), (strings(["id-1"]), strings(["id-1"])));
    assert_eq!(node.seen(), ["id-1", "id-2"]);
}

#[tokio::test]
async fn a_slow_node_that_has_answered_is_not_asked_twice() {
    let slow = Node::answering([Answer::Yes, Answer::After(Duration::from_millis(900))]).await;
    let second = Node::answering([Answer::Never]).await;
    let patient = Options { attempt_timeout: Duration::from_secs(5), ..Options::default() };
    let client = client([&slow.url, &second.url]).with_options(patient);
    reserve(&client, "id-1").await.expect("it answers");
    let asked_early = second.seen().len();
    reserve(&client, "id-2").await.expect("it takes its time");
    assert_eq!(slow.seen(), ["id-1", "id-2"]);
    assert_eq!(second.seen().len(), asked_early, "under load, asking twice would be the last thing to do");
}

#[tokio::test]
async fn who_is_turned_away_comes_back_when_told_to() {
    let away = Answer::TurnedAway("OVERLOADED", Duration::from_millis(60));
    let fast = Answer::TurnedAway("RATE_LIMITED", Duration::from_millis(60));
    let node = Node::answering([away, fast, Answer::Yes]).await;
    let started = Instant::now();
    reserve(&client([&node.url]), "id-1").await.expect("the third answer is yes");
    // The second time it waits twice as long.
    assert!(started.elapsed() >= Duration::from_millis(60 + 120), "{:?}", started.elapsed());
    assert_eq!(node.seen(), ["id-1", "id-1", "id-1"]);
}

#[tokio::test]
async fn who_would_be_late_in_coming_back_is_refused_at_once() {
    let node = Node::answering([Answer::TurnedAway("RATE_LIMITED", Duration::from_secs(60))]).await;
    let started = Instant::now();
    let Err(ClientError::Refused(refusal)) = reserve(&client([&node.url]), "id-1").await else {
        panic!("there is no time to wait")
    };
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
}

#[tokio::test]
async fn an_inbox_whose_token_is_too_old_goes_on_behind_the_gap_and_says_so() {
    let mut details = ErrorDetails::with_error_info(
        "RESUME_TOKEN_EXPIRED",
        "carrel.dev",
        HashMap::from([("resume_token".to_owned(), "t700".to_owned())]),
    );
    details.set_retry_info(None);
    let too_old = Status::with_error_details(Code::OutOfRange, "too old", details);
    let first = Node::streaming([item(1), Err(too_old)]).await;
    let mut watch = client([&first.url]).watch_inbox("");
    let mut told = Vec::new();
    for next in [vec![], vec![item(701)]] {
        told.push(watch.next().await.expect("a stream"));
        first.state.lock().expect("not poisoned").frames = next;
    }
    told.push(watch.next().await.expect("a stream"));
    let positions = told.iter().map(|news| match news {
        News::Item(response) => response.resume_token.clone(),
        News::Missed => "missed".to_owned(),
    });
    assert_eq!(positions.collect::<Vec<_>>(), ["t1", "missed", "t701"]);
    assert_eq!(first.seen(), ["", "t700"]);
}

#[tokio::test]
async fn a_watch_gives_up_when_no_stream_ever_works() {
    let node = Node::streaming([]).await;
    let mut watch = client([&node.url]).watch_inbox("");
    let ended = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("it ends by itself");
    assert!(matches!(ended, Err(ClientError::Unreachable(_))));
    assert!(node.seen().len() < 100, "without asking in a tight loop");
}

fn client<const N: usize>(endpoints: [&str; N]) -> Client {
    let options =
        Options { attempt_timeout: Duration::from_millis(300), deadline: Duration::from_secs(2), ..Options::default() };
    Client::new(endpoints, options).expect("the addresses are ours")
}

async fn reserve(client: &Client, request_id: &str) -> Result<v1::Reservation, ClientError> {
    let request = v1::CreateReservationRequest {
        request_id: request_id.into(),
        seat: "branches/main/seats/a".into(),
        interval: None,
        ..Default::default()
    };
    Ok(client.create_reservation(request).await?.reservation.expect("the test server sends one"))
}

/// An address nobody listens on, kept from others while the socket lives.
fn dead_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("it is bound"));
    (socket, url)
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

type Frame = Result<v1::WatchInboxResponse, Status>;

fn frame(position: u32, event: Event) -> Frame {
    Ok(v1::WatchInboxResponse { event: Some(event), resume_token: format!("t{position}") })
}

fn item(position: u32) -> Frame {
    frame(position, Event::Item(v1::InboxItem { name: format!("item {position}"), ..Default::default() }))
}

fn bookmark(position: u32) -> Frame {
    frame(position, Event::Bookmark(Bookmark {}))
}

fn draining(position: u32) -> Frame {
    frame(position, Event::Draining(Draining {}))
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Yes,
    NoQuorum,
    Taken,
    Never,
    After(Duration),
    TurnedAway(&'static str, Duration),
}

/// One server with a script.
struct Node {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    frames: Vec<Frame>,
    /// Request ids, or the tokens a stream was asked to go on after.
    seen: Vec<String>,
    authorizations: Vec<String>,
}

impl Node {
    async fn answering(answers: impl IntoIterator<Item = Answer>) -> Node {
        Node::start(State { answers: answers.into_iter().collect(), ..State::default() }).await
    }

    async fn streaming<const N: usize>(frames: [Frame; N]) -> Node {
        Node::start(State { frames: frames.into(), ..State::default() }).await
    }

    async fn start(state: State) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = Arc::new(Mutex::new(state));
        let service = Service { state: state.clone() };
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(ReservationServiceServer::new(service.clone()))
                .add_service(InboxServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Node { url, state }
    }

    fn seen(&self) -> Vec<String> {
        self.state.lock().expect("not poisoned").seen.clone()
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of these tests"))
}

#[tonic::async_trait]
impl ReservationService for Service {
    async fn create_reservation(
        &self,
        request: Request<v1::CreateReservationRequest>,
    ) -> Result<Response<v1::CreateReservationResponse>, Status> {
        let answer = {
            let mut state = self.state.lock().expect("not poisoned");
            if let Some(authorization) = request.metadata().get("authorization") {
                let text = authorization.to_str().expect("it is text").to_owned();
                state.authorizations.push(text);
            }
            state.seen.push(request.get_ref().request_id.clone());
            state.answers.pop_front().expect("the script has an answer")
        };
        match answer {
            Answer::Yes | Answer::After(_) => {
                if let Answer::After(pause) = answer {
                    tokio::time::sleep(pause).await;
                }
                let seat = request.into_inner().seat;
                let reservation = v1::Reservation { name: "reservations/1".into(), seat, ..Default::default() };
                Ok(Response::new(v1::CreateReservationResponse { reservation: Some(reservation), commit: None }))
            }
            Answer::NoQuorum => {
                let mut details = ErrorDetails::with_error_info("NO_QUORUM", "carrel.dev", HashMap::new());
                details.set_retry_info(Some(Duration::from_millis(30)));
                Err(Status::with_error_details(Code::Unavailable, "no majority of the nodes answers", details))
            }
            Answer::Taken => {
                let details = ErrorDetails::with_error_info("SEAT_TAKEN", "carrel.dev", HashMap::new());
                Err(Status::with_error_details(Code::FailedPrecondition, "the seat is taken", details))
            }
            Answer::TurnedAway(reason, wait) => {
                let mut details = ErrorDetails::with_error_info(reason, "carrel.dev", HashMap::new());
                details.set_retry_info(Some(wait));
                Err(Status::with_error_details(Code::ResourceExhausted, "too much", details))
            }
            Answer::Never => std::future::pending().await,
        }
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
    type WatchInboxStream = Iter<std::vec::IntoIter<Frame>>;

    async fn watch_inbox(
        &self,
        request: Request<v1::WatchInboxRequest>,
    ) -> Result<Response<Self::WatchInboxStream>, Status> {
        let mut state = self.state.lock().expect("not poisoned");
        state.seen.push(request.into_inner().after);
        Ok(Response::new(iter(std::mem::take(&mut state.frames))))
    }

    async fn list_inbox(&self, _: Request<v1::ListInboxRequest>) -> Result<Response<v1::ListInboxResponse>, Status> {
        unused()
    }

    async fn advance_read_cursor(
        &self,
        _: Request<v1::AdvanceReadCursorRequest>,
    ) -> Result<Response<v1::AdvanceReadCursorResponse>, Status> {
        unused()
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
