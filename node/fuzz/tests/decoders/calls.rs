//! Calls of the client port. Half of them are any bytes; the others are messages of the method's own kind, whose fields
//! hold what may well be there, or what should never be: the bytes decide which.

use std::cell::OnceCell;

use axum::body::Body;
use carrel_domain::state::State;
use carrel_node::grpc::library::Library;
use carrel_node::grpc::request_metrics::RequestMetrics;
use carrel_node::grpc::server::ClientPort;
use carrel_node::page::Cluster;
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use http_body_util::BodyExt;
use prost_reflect::prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::Code;
use tower::ServiceExt;

use crate::desk::{House, Person, at, call, reserve};
use carrel_fuzz::soon;

/// One after the other, of one input: to book, and then to cancel.
const CALLS_MAX: usize = 6;
/// Deep enough for every message that there is.
const DEPTH_MAX: usize = 6;
/// A password costs some hundredths of a second on purpose.
const PASSWORDS: [&str; 3] = ["Register", "Login", "ChangePassword"];

const PLAUSIBLE: [&str; 24] = [
    "amy",
    "users/amy",
    "users/ben",
    "users/lena",
    "-",
    "branches/main",
    "branches/main/areas/reading-room",
    "branches/main/seats/r-101",
    "branches/main/seats/h-1",
    "branches/other/seats/r-101",
    "reservations/1",
    "reservations/2",
    "waitlistEntries/1",
    "users/amy/inbox/9.1",
    "messages/9.1",
    "webhooks/1",
    "auditEvents/9.1",
    "power",
    "r-*",
    "standard",
    "https://example.org/hook",
    "amy@example.org",
    "6f1c2a44-7d0e-4f0a-9a56-1f2f8f0b9c11",
    "Back in ten minutes",
];

/// The bytes, one decision after the other; nothing is decided by what has run out.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % bound.max(1)
    }

    fn taken(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most).min(self.0.len());
        self.0.split_off(..count).expect("no more than there are").to_vec()
    }

    fn text(&mut self) -> String {
        match self.byte() % 8 {
            0..=4 => PLAUSIBLE[self.below(PLAUSIBLE.len())].to_owned(),
            5 => String::from_utf8_lossy(&self.taken(64)).into_owned(),
            6 => "*a".repeat(self.below(4_000)),
            _ => "\u{202e}é\0".repeat(self.below(200)),
        }
    }

    fn number(&mut self) -> i64 {
        const NUMBERS: [i64; 12] =
            [0, 1, 2, 30, 60, 1_000, -1, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, 253_402_300_800];
        NUMBERS[self.below(NUMBERS.len())]
    }

    /// The half hours of the morning, for whatever is to begin or to end.
    fn seconds(&mut self) -> i64 {
        match self.byte() % 4 {
            0 => self.number(),
            _ => at(9, 0).0 / 1_000_000 + 1_800 * (self.below(40) as i64 - 4),
        }
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.taken(64).into()),
            Kind::Bool => Value::Bool(self.byte().is_multiple_of(2)),
            Kind::Enum(_) => Value::EnumNumber(self.below(12) as i32 - 2),
            Kind::Double => Value::F64([0.0, 1.5, -1.0, f64::NAN, f64::INFINITY, f64::MIN][self.below(6)]),
            Kind::Float => Value::F32(self.number() as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number() as u64),
            Kind::Message(kind) => Value::Message(self.message(&kind, depth + 1)),
        }
    }

    fn message(&mut self, kind: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(kind.clone());
        if depth > DEPTH_MAX {
            return message;
        }
        if kind.full_name() == "google.protobuf.Timestamp" {
            message.set_field_by_name("seconds", Value::I64(self.seconds()));
            if self.byte().is_multiple_of(8) {
                message.set_field_by_name("nanos", Value::I32(self.number() as i32));
            }
            return message;
        }
        for field in kind.fields() {
            if self.byte().is_multiple_of(4) {
                continue;
            }
            if field.is_map() {
                continue;
            }
            let value = match field.cardinality() {
                Cardinality::Repeated => {
                    let count = [0, 1, 2, 3, 70][self.below(5)];
                    Value::List((0..count).map(|_| self.value(&field, depth)).collect())
                }
                Cardinality::Optional | Cardinality::Required => self.value(&field, depth),
            };
            message.set_field(&field, value);
        }
        message
    }
}

/// A library with people in it, to which everything is put back after each input.
struct Port {
    runtime: Runtime,
    house: House,
    router: axum::Router,
    /// None: nobody in particular.
    tokens: Vec<Option<String>>,
    methods: Vec<MethodDescriptor>,
    before: State,
    /// What the port is told about itself must not end.
    _serving: watch::Sender<bool>,
}

impl Port {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (house, people) = runtime.block_on(lived_in());
        let _inside = runtime.enter();
        let metrics = RequestMetrics::new(&prometheus::Registry::new()).expect("a fresh registry");
        let (serving, is_serving) = watch::channel(true);
        let cluster = Cluster { leader: Some(1), nodes: Vec::new() };
        let router = ClientPort::new(&house.front).router(
            &house.front,
            metrics,
            is_serving,
            std::sync::Arc::new(move || cluster.clone()),
        );
        let pool = DescriptorPool::decode(carrel_proto::DESCRIPTORS).expect("the descriptors of the messages");
        let mut methods: Vec<_> = pool
            .services()
            .filter(|service| service.package_name() == "carrel.v1")
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter(|method| !method.is_server_streaming())
            .collect();
        methods.sort_by_key(|method| place(method.full_name()));
        let tokens = std::iter::once(None).chain(people.into_iter().map(|person| Some(person.token))).collect();
        let before = house.desk.view().as_ref().clone();
        Self { runtime, house, router, tokens, methods, before, _serving: serving }
    }

    fn take(&self, input: &[u8]) {
        self.house.desk.put(self.before.clone());
        let mut choices = Choices(input);
        for _ in 0..CALLS_MAX {
            if choices.0.is_empty() {
                break;
            }
            let method = self.method(choices.below(usize::from(u16::MAX)));
            let who = choices.below(self.tokens.len());
            let body = match choices.byte() % 2 {
                0 => choices.taken(512),
                _ => choices.message(&method.input(), 0).encode_to_vec(),
            };
            if PASSWORDS.contains(&method.name()) && choices.byte() != 0 {
                continue;
            }
            let code = self.runtime.block_on(self.call(method, self.tokens[who].as_deref(), &body));
            let is_ours = !matches!(code, Code::Unknown | Code::Internal | Code::DataLoss | Code::Unimplemented);
            assert!(is_ours, "{code:?} by {} for {body:?}", method.full_name());
        }
        let violations = carrel_domain::invariants::check(&self.house.desk.view());
        assert!(violations.is_empty(), "{violations:?}");
    }

    /// Found by its name, so that what is kept means the same when there are more of them.
    fn method(&self, number: usize) -> &MethodDescriptor {
        let after = self.methods.partition_point(|method| usize::from(place(method.full_name())) < number);
        &self.methods[after % self.methods.len()]
    }

    async fn call(&self, method: &MethodDescriptor, token: Option<&str>, body: &[u8]) -> Code {
        let mut frame = vec![0];
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(body);
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut request = http::Request::post(path)
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(frame)).expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("the port cannot fail");
        let (head, body) = answer.into_parts();
        let rest = body.collect().await.expect("a whole answer");
        let status = head.headers.get("grpc-status").or_else(|| rest.trailers()?.get("grpc-status"));
        Code::from_bytes(status.expect("every answer has one").as_bytes())
    }
}

/// A place of a name on a circle of 65,536, the same for good (FNV-1a, folded).
fn place(name: &str) -> u16 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as u16 ^ hash as u16
}

/// Two patrons, a librarian of all branches and the admin; two stays and a letter.
async fn lived_in() -> (House, Vec<Person>) {
    let house = House::open().await;
    let admin = house.person("admin").await;
    let (amy, ben, lena) = (house.newcomer("amy").await, house.newcomer("ben").await, house.newcomer("lena").await);
    let role = v1::SetUserRoleRequest {
        name: "users/lena".to_owned(),
        role: v1::Role::Librarian.into(),
        branches: vec!["branches/main".to_owned()],
        ..Default::default()
    };
    call!(admin, UserServiceClient, set_user_role, role).expect("the admin may");
    for (person, seat) in [(&amy, "r-101"), (&ben, "h-1")] {
        let stay = reserve(seat, (11, 0), (12, 0));
        call!(person, ReservationServiceClient, create_reservation, stay).expect("it is free");
    }
    let letter = v1::SendMessageRequest {
        recipients: vec!["users/ben".to_owned()],
        text: "Is the seat by the window yours?".to_owned(),
        ..Default::default()
    };
    call!(amy, MessageServiceClient, send_message, letter).expect("she may write");
    call!(ben, AuthServiceClient, list_sessions, v1::ListSessionsRequest::default()).expect("his own");
    (house, vec![amy, ben, lena, admin])
}

#[test]
fn calls() {
    thread_local!(static PORT: OnceCell<Port> = const { OnceCell::new() });
    bolero::check!().with_max_len(1_024).for_each(|input: &[u8]| {
        PORT.with(|port| {
            let port = port.get_or_init(Port::open);
            soon(|| port.take(input));
        });
    });
}
