//! Every field of every method, given what nobody means: an answer in good time that says so, and the node goes on.

use std::str::FromStr;
use std::time::{Duration, Instant};

use carrel_domain::account::PasswordHash;
use carrel_domain::presence::PresenceSecret;
use carrel_domain::request::{Action, Caller, Request};
use carrel_domain::text::UserName;
use carrel_proto::v1;
use carrel_proto::v1::user_service_client::UserServiceClient;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::authority::{Raw, in_role, questions};
use crate::desk::{House, Person, call};

/// Nobody waits longer for a no.
const LIMIT: Duration = Duration::from_secs(1);
/// Deeper than any request is.
const DEPTH_MAX: usize = 6;
/// Longer than any text may be, and shorter than what is refused before it is read.
const TOO_LONG: usize = 20_000;
const TOO_MANY: usize = 5_000;

/// One value, and whether it may be taken nowhere.
struct Bad {
    value: Value,
    is_out_of_bounds: bool,
}

fn perhaps(value: Value) -> Bad {
    Bad { value, is_out_of_bounds: false }
}

fn never(value: Value) -> Bad {
    Bad { value, is_out_of_bounds: true }
}

fn bad_values(kind: &Kind) -> Vec<Bad> {
    let text = |text: &str| Value::String(text.to_owned());
    match kind {
        Kind::String => vec![
            never(text(&"a".repeat(TOO_LONG))),
            never(text("a\u{0}b")),
            never(text("a\u{202e}b")),
            perhaps(text("")),
            perhaps(text("../../etc/passwd")),
            perhaps(text(&"*".repeat(60))),
            perhaps(text("branches/main/seats/r-101/../r-102")),
            perhaps(text("-9223372036854775808")),
        ],
        Kind::Bytes => vec![perhaps(Value::Bytes(vec![0xff; TOO_LONG].into()))],
        Kind::Bool => vec![perhaps(Value::Bool(true))],
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            [i32::MIN, -1, i32::MAX].map(|number| perhaps(Value::I32(number))).into()
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            [i64::MIN, -1, i64::MAX].map(|number| perhaps(Value::I64(number))).into()
        }
        Kind::Uint32 | Kind::Fixed32 => vec![perhaps(Value::U32(u32::MAX))],
        Kind::Uint64 | Kind::Fixed64 => vec![perhaps(Value::U64(u64::MAX))],
        Kind::Float => [f32::NAN, f32::INFINITY, -1e30].map(|number| perhaps(Value::F32(number))).into(),
        Kind::Double => [f64::NAN, f64::INFINITY, -1e300].map(|number| perhaps(Value::F64(number))).into(),
        Kind::Enum(_) => [-1, 42, i32::MAX].map(|number| perhaps(Value::EnumNumber(number))).into(),
        Kind::Message(message) => vec![perhaps(Value::Message(DynamicMessage::new(message.clone())))],
    }
}

/// The same message, with one field of it or of what is in it made bad, and the name of that field.
fn spoiled(message: &DynamicMessage, descriptor: &MessageDescriptor, depth: usize) -> Vec<(String, Bad)> {
    let mut all = Vec::new();
    if depth == DEPTH_MAX {
        return all;
    }
    for field in descriptor.fields() {
        assert!(!field.is_map(), "{} is of a kind that nothing here spoils", field.full_name());
        for (inner, bad) in spoiled_field(message, &field, depth) {
            let mut whole = message.clone();
            whole.set_field(&field, bad.value);
            let name = format!("{}{inner}", field.name());
            all.push((name, Bad { value: Value::Message(whole), is_out_of_bounds: bad.is_out_of_bounds }));
        }
    }
    all
}

fn spoiled_field(message: &DynamicMessage, field: &FieldDescriptor, depth: usize) -> Vec<(String, Bad)> {
    let kind = field.kind();
    let mut values: Vec<(String, Bad)> = bad_values(&kind).into_iter().map(|bad| (String::new(), bad)).collect();
    if let Kind::Message(inner) = &kind {
        let present = match message.get_field(field).as_ref() {
            Value::Message(present) => Some(present.clone()),
            Value::List(list) => list.first().and_then(Value::as_message).cloned(),
            _ => None,
        };
        let present = present.unwrap_or_else(|| DynamicMessage::new(inner.clone()));
        let within = spoiled(&present, inner, depth + 1);
        values.extend(within.into_iter().map(|(name, bad)| (format!(".{name}"), bad)));
    }
    if !field.is_list() {
        return values;
    }
    let single = |bad: Bad| Bad { value: Value::List(vec![bad.value]), ..bad };
    let mut lists: Vec<_> = values.into_iter().map(|(name, bad)| (format!("[]{name}"), single(bad))).collect();
    // Small ones, so that it is their number that is too much.
    let one = match &kind {
        Kind::String => Value::String("a".to_owned()),
        other => Value::default_value(other),
    };
    lists.push(("[many]".to_owned(), never(Value::List(vec![one; TOO_MANY]))));
    lists
}

async fn asked(house: &House, caller: &Person, method: &str, body: Vec<u8>) -> (Result<(), Status>, Duration) {
    let mut grpc = tonic::client::Grpc::new(house.channel.clone());
    grpc.ready().await.expect("a server");
    let path = PathAndQuery::from_str(&format!("/carrel.v1.{method}")).expect("a path");
    let started = Instant::now();
    let asking = grpc.server_streaming(caller.asks(body), path, Raw);
    let answer = tokio::time::timeout(20 * LIMIT, asking).await;
    let answer = answer.unwrap_or_else(|_| panic!("{method} is not answered at all"));
    (answer.map(|_| ()), started.elapsed())
}

/// A no that says what is wrong, and to whom it is up.
fn is_plain(status: &Status) -> bool {
    let is_theirs = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Aborted
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
    );
    is_theirs && !status.message().is_empty() && status.get_details_error_info().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_in_a_field_is_answered_plainly_and_at_once() {
    let house = House::open().await;
    house.desk.commit(&Request::system(Action::SetPresenceKey { secret: PresenceSecret([7; 32]) }));
    let root = house.person("admin").await;
    let pool = DescriptorPool::decode(carrel_proto::DESCRIPTORS).expect("descriptors");
    let services: Vec<_> = pool.services().filter(|service| service.package_name() == "carrel.v1").collect();
    let questions = questions();
    let (mut count, mut testers, mut wrong) = (0, 0, Vec::new());
    for (method, descriptor) in services
        .iter()
        .flat_map(|service| service.methods().map(move |m| (service, m)))
        .map(|(service, method)| (format!("{}/{}", service.name(), method.name()), method))
    {
        let usual = questions.iter().find(|(asked, _)| *asked == method);
        let (_, usual) = usual.unwrap_or_else(|| panic!("nobody has asked for {method}"));
        let input = descriptor.input();
        let whole = DynamicMessage::decode(input.clone(), usual.as_slice()).expect("it was made of this message");
        let mut bodies: Vec<(String, Vec<u8>, bool)> = spoiled(&whole, &input, 0)
            .into_iter()
            .map(|(field, bad)| {
                let body = bad.value.as_message().expect("a message around it").encode_to_vec();
                (field, body, bad.is_out_of_bounds)
            })
            .collect();
        bodies.push(("(no message)".to_owned(), vec![0xff; 200], true));
        bodies.push(("(a length that is a lie)".to_owned(), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], true));
        // Everybody may do the most, each to an account of their own.
        testers += 1;
        let mut tester = in_role(&house, &root, &format!("tester-{testers}"), v1::Role::Admin, None).await;
        for (field, body, is_out_of_bounds) in bodies {
            count += 1;
            let (mut answer, mut took) = asked(&house, &tester, &method, body.clone()).await;
            if answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated) {
                // What came before has ended the session.
                testers += 1;
                tester = in_role(&house, &root, &format!("tester-{testers}"), v1::Role::Admin, None).await;
                (answer, took) = asked(&house, &tester, &method, body.clone()).await;
            }
            if took > LIMIT {
                // Once may be the machine's fault.
                (answer, took) = asked(&house, &tester, &method, body).await;
            }
            if took > LIMIT {
                wrong.push(format!("{method}, {field}: it took {took:?}"));
            }
            match answer {
                Ok(()) if is_out_of_bounds => wrong.push(format!("{method}, {field}: taken")),
                Err(status) if !is_plain(&status) => wrong.push(format!("{method}, {field}: {status:?}")),
                Ok(()) | Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1_000, "only {count} were tried");
    house.newcomer("still-here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_pattern_is_no_slower_than_another() {
    let house = House::open().await;
    let admin = house.person("admin").await;
    let password = PasswordHash("hash".into());
    for number in 0..2_000 {
        let name = UserName::new(&format!("{}{number:05}", "a".repeat(59))).expect("a name");
        let action = Action::Register { name, password: password.clone() };
        house.desk.commit(&Request { caller: Caller::Anonymous, retry: None, action });
    }
    // Each star could begin anywhere, and nothing ends on b.
    let patterns = ["*a".repeat(31) + "*b", "*".repeat(63) + "b", "*?".repeat(31) + "*b", "a*".repeat(31) + "b"];
    for filter in patterns {
        let mut took = Duration::MAX;
        // Once may be the machine's fault.
        for _ in 0..2 {
            let request = v1::ListUsersRequest { filter: filter.clone(), ..Default::default() };
            let started = Instant::now();
            let found = call!(admin, UserServiceClient, list_users, request).expect("a pattern");
            took = took.min(started.elapsed());
            assert!(found.users.is_empty(), "{filter}");
        }
        assert!(took < LIMIT, "{filter}: {took:?}");
    }
    let longer = v1::ListUsersRequest { filter: "*".repeat(65), ..Default::default() };
    let refused = call!(admin, UserServiceClient, list_users, longer).expect_err("longer than a name");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
