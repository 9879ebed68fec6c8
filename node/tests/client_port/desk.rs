//! A library on one desk: a state under a lock, a clock that is set by hand, and people who come in through the port.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, At, Request};
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::{DAY_US, Date, MINUTE_US, Timestamp};
use carrel_node::connections::bounded;
use carrel_node::grpc::fair_share::{FairShare, Rates};
use carrel_node::grpc::front::{Front, Registration};
use carrel_node::grpc::library::Library;
use carrel_node::grpc::request_metrics::RequestMetrics;
use carrel_node::grpc::server::{self, ClientPort};
use carrel_node::grpc::watch::Patience;
use carrel_node::page::{Cluster, Node};
use carrel_node::passwords::Passwords;
use carrel_node::raft::transport::Listener;
use carrel_node::replica::{Freshness, ReadError, View, WriteError};
use carrel_node::{calendar, convert, tls};
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

pub const PASSWORD: &str = "correct horse";
/// Monday, 2027-01-11, 09:05 in Berlin.
const MORNING_US: i64 = 1_799_654_700_000_000;
const LINEAGE: u32 = 1;
/// No test means to be too fast by accident.
pub const GENEROUS: Rates =
    Rates { requests_per_second: 1_000_000, log_ins_per_second: 1_000_000, letters_per_minute: 60_000_000 };

/// The state that stands in for a replica.
#[derive(Debug)]
pub struct Desk {
    inner: Mutex<Inner>,
    index: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    now: Timestamp,
    trouble: Option<WriteError>,
    /// How long whoever wrote last would have waited.
    within: Option<Duration>,
}

impl Desk {
    fn new() -> Self {
        let inner = Inner { state: State::default(), now: Timestamp(MORNING_US), trouble: None, within: None };
        let desk = Self { inner: Mutex::new(inner), index: watch::Sender::new(0) };
        let draft = Box::new(convert::catalog::to_draft(&catalogue()).expect("a sound catalogue"));
        desk.commit(&Request::system(Action::ImportCatalog { draft, expected_revision: None }));
        desk
    }

    /// What the cluster does by itself: applies, and keeps the calendar filled.
    pub fn commit(&self, request: &Request) -> Answer {
        let mut inner = self.inner();
        let answer = inner.apply(request);
        inner.fill_calendars();
        self.index.send_replace(inner.state.at().index);
        answer
    }

    /// As it was before.
    #[allow(dead_code, reason = "only fuzzing goes back")]
    pub fn put(&self, state: State) {
        self.index.send_replace(state.at().index);
        self.inner().state = state;
    }

    /// Lets time pass.
    pub fn pass_minutes(&self, minutes: i64) {
        let mut inner = self.inner();
        // In small steps, as a leader ticks: a longer one would be an outage and give deadlines back.
        for _ in 0..minutes * 30 {
            inner.now = inner.now.plus_us(2_000_000);
            inner.apply(&Request::system(Action::Tick));
        }
        self.index.send_replace(inner.state.at().index);
    }

    /// From now on every write ends so.
    pub fn trouble(&self, trouble: Option<WriteError>) {
        self.inner().trouble = trouble;
    }

    /// How long whoever wrote last would have waited.
    pub fn within(&self) -> Option<Duration> {
        self.inner().within
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics with the desk in its hands")
    }
}

impl Inner {
    fn apply(&mut self, request: &Request) -> Answer {
        let at = At { index: self.state.at().index + 1, time: self.now };
        self.state.apply(at, request).reply
    }

    fn fill_calendars(&mut self) {
        let today = Date((self.now.0 / DAY_US) as i32);
        let branches: Vec<_> =
            self.state.catalog().branches().map(|(id, branch)| (id, branch.hours_revision)).collect();
        for (branch, hours_revision) in branches {
            let missing = self.state.missing_days(branch, today);
            if let (Some(&first), Some(&last)) = (missing.first(), missing.last()) {
                let days = calendar::expand(self.state.catalog(), branch, first..=last).expect("a zone we know");
                self.apply(&Request::system(Action::FillCalendar { branch, hours_revision, days }));
            }
        }
    }
}

impl Library for Desk {
    async fn write(&self, request: Request, within: Duration) -> Result<Answer, WriteError> {
        self.inner().within = Some(within);
        let trouble = self.inner().trouble.clone();
        match trouble {
            Some(trouble) => Err(trouble),
            None => Ok(self.commit(&request)),
        }
    }

    fn takes_writes(&self) -> Result<usize, WriteError> {
        match self.inner().trouble {
            Some(WriteError::Overloaded) => Err(WriteError::Overloaded),
            _ => Ok(2_048),
        }
    }

    async fn read(&self, freshness: Freshness) -> Result<View, ReadError> {
        match freshness {
            Freshness::Linearizable | Freshness::MaxStaleness(_) => Ok(self.view()),
            Freshness::AtLeast { lineage, index } if lineage == LINEAGE && index <= *self.index.borrow() => {
                Ok(self.view())
            }
            Freshness::AtLeast { .. } => Err(ReadError::ForeignToken),
        }
    }

    fn view(&self) -> View {
        Arc::new(self.inner().state.clone())
    }

    async fn view_after(&self, index: u64) -> View {
        let mut changes = self.index.subscribe();
        changes.wait_for(|&now| now > index).await.expect("the desk outlives its streams");
        self.view()
    }

    fn lineage(&self) -> u32 {
        LINEAGE
    }
}

// === The house around it ===

/// An open library: people come in through `channel`.
pub struct House {
    pub desk: Arc<Desk>,
    pub front: Front<Desk>,
    pub channel: Channel,
    pub address: std::net::SocketAddr,
    pub registry: prometheus::Registry,
    pub serving: watch::Sender<bool>,
}

impl House {
    pub async fn open() -> Self {
        Self::with(GENEROUS, Patience::default()).await
    }

    pub async fn with(rates: Rates, patience: Patience) -> Self {
        Self::furnished(rates, patience, Registration::Open).await
    }

    /// Where accounts are made by whoever that says.
    pub async fn where_accounts_are_made(registration: Registration) -> Self {
        Self::furnished(GENEROUS, Patience::default(), registration).await
    }

    async fn furnished(rates: Rates, patience: Patience, registration: Registration) -> Self {
        let desk = Arc::new(Desk::new());
        let passwords = Passwords::new().expect("hashes can be made");
        let password: PasswordHash = passwords.hash(PASSWORD.to_owned()).await.expect("a hash");
        let name = UserName::new("admin").expect("a name");
        desk.commit(&Request::system(Action::CreateFirstAdmin { name, password }));
        let fair_share = FairShare::new(rates);
        let draining = CancellationToken::new();
        let library = desk.clone();
        let front = Front { library, passwords, registration, sends_mail: true, fair_share, record: None, draining };
        let registry = prometheus::Registry::new();
        let metrics = RequestMetrics::new(&registry).expect("a fresh registry");
        let (serving, is_serving) = watch::channel(true);
        let node = Node { id: 1, endpoint: "http://<here>".to_owned(), role: "follower", is_reachable: true };
        let cluster = Cluster { leader: Some(1), nodes: vec![node] };
        let router = ClientPort::with_patience(&front, patience).router(
            &front,
            metrics,
            is_serving,
            Arc::new(move || cluster.clone()),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let incoming = bounded(tls::incoming(Listener::new(listener), None), "clients", 100);
        tokio::spawn(server::serve(router, incoming, front.draining.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        Self { desk, front, channel, address, registry, serving }
    }

    pub async fn register(&self, name: &str) -> Result<v1::RegisterResponse, Status> {
        let request =
            v1::RegisterRequest { request_id: fresh_id(), user_id: name.to_owned(), password: PASSWORD.to_owned() };
        AuthServiceClient::new(self.channel.clone()).register(request).await.map(tonic::Response::into_inner)
    }

    pub async fn log_in(&self, name: &str, password: &str) -> Result<v1::LoginResponse, Status> {
        let request = v1::LoginRequest { user_id: name.to_owned(), password: password.to_owned() };
        AuthServiceClient::new(self.channel.clone()).login(request).await.map(tonic::Response::into_inner)
    }

    /// Somebody new, logged in.
    pub async fn newcomer(&self, name: &str) -> Person {
        self.register(name).await.expect("a free name");
        self.person(name).await
    }

    /// Somebody who has an account, logged in.
    pub async fn person(&self, name: &str) -> Person {
        let login = self.log_in(name, PASSWORD).await.expect("the right password");
        Person { channel: self.channel.clone(), token: login.session_token }
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Person {
    pub channel: Channel,
    pub token: String,
}

impl Person {
    pub fn asks<M>(&self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        let value = format!("Bearer {}", self.token).parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
        request
    }
}

/// One call by a person: `call!(amy, ReservationServiceClient, check_in, request)`.
macro_rules! call {
    ($person:expr, $client:ident, $method:ident, $request:expr) => {
        $client::new($person.channel.clone()).$method($person.asks($request)).await.map(tonic::Response::into_inner)
    };
}
pub(crate) use call;

pub fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Minutes after the morning's 09:00 in Berlin, on the same day.
pub fn at(hour: i64, minute: i64) -> Timestamp {
    Timestamp(MORNING_US - 5 * MINUTE_US).plus_us(((hour - 9) * 60 + minute) * MINUTE_US)
}

pub fn from_to(from: (i64, i64), to: (i64, i64)) -> Option<v1::Interval> {
    let timestamp = |(hour, minute)| Some(convert::time::to_timestamp(at(hour, minute)));
    Some(v1::Interval { start_time: timestamp(from), end_time: timestamp(to) })
}

pub fn reserve(seat: &str, from: (i64, i64), to: (i64, i64)) -> v1::CreateReservationRequest {
    v1::CreateReservationRequest {
        request_id: fresh_id(),
        seat: format!("branches/main/seats/{seat}"),
        interval: from_to(from, to),
        ..Default::default()
    }
}

/// The reason for programs, after a look at the sentence for people.
pub fn reason<T: Debug>(answer: Result<T, Status>) -> String {
    let status = answer.expect_err("a no");
    assert!(!status.message().is_empty());
    let info = status.get_details_error_info().expect("every no has its reason");
    assert_eq!(info.domain, "carrel.dev");
    info.reason
}

pub fn catalogue() -> v1::Catalog {
    let day = v1::DayHours { spans: vec![v1::day_hours::Span { open_minute: 8 * 60, close_minute: 20 * 60 }] };
    let seat = |id: &str, amenities: &[&str], accessible, x| v1::area::Seat {
        id: id.to_owned(),
        label: id.to_uppercase(),
        amenities: amenities.iter().map(|&amenity| amenity.to_owned()).collect(),
        accessible,
        x,
        y: 1.0,
    };
    let area = |id: &str, name: &str, seats| v1::Area {
        id: id.to_owned(),
        display_name: name.to_owned(),
        seats,
        ..Default::default()
    };
    v1::Catalog {
        policies: vec![v1::Policy {
            id: "standard".to_owned(),
            grid_minutes: 30,
            min_minutes: 30,
            max_minutes: 240,
            window_days: 14,
            grace_minutes: 15,
            lead_minutes: 15,
            offer_minutes: 10,
            max_reservations: 3,
            max_minutes_per_day: 480,
            strikes_to_suspend: 3,
            strike_days: 30,
            suspension_days: 7,
            ..convert::policy::usual()
        }],
        branches: vec![v1::Branch {
            id: "main".to_owned(),
            display_name: "Main <Library>".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            policy: "standard".to_owned(),
            hours: Some(v1::Hours { week: vec![day; 7], ..Default::default() }),
            areas: vec![
                area(
                    "reading-room",
                    "Reading Room",
                    vec![
                        seat("r-101", &["power"], false, 1.0),
                        seat("r-102", &["power", "monitor"], false, 2.0),
                        seat("r-103", &[], true, 3.0),
                    ],
                ),
                area("west-hall", "West Hall", vec![seat("h-1", &["power"], false, 1.0)]),
            ],
            ..Default::default()
        }],
    }
}
