//! The inbox as it fills: nothing lost, nothing twice, whatever is cut in between.

use std::time::Duration;

use carrel_domain::id::Position;
use carrel_node::convert::token::ResumeToken;
use carrel_node::grpc::inbox::Inbox;
use carrel_node::grpc::watch::Patience;
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::inbox_service_server::InboxService;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use carrel_proto::v1::watch_inbox_response::Event;
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::desk::{House, Person, call, fresh_id, reason};

async fn write(from: &Person, to: &str, text: impl Into<String>) {
    let request =
        v1::SendMessageRequest { request_id: fresh_id(), recipients: vec![format!("users/{to}")], text: text.into() };
    call!(from, MessageServiceClient, send_message, request).expect("a message");
}

async fn watch(person: &Person, after: &str) -> Streaming<v1::WatchInboxResponse> {
    let request = v1::WatchInboxRequest { after: after.to_owned() };
    call!(person, InboxServiceClient, watch_inbox, request).expect("a stream")
}

/// The text of the next item, and its token.
async fn next(stream: &mut Streaming<v1::WatchInboxResponse>) -> (String, String) {
    loop {
        let response = stream.message().await.expect("a stream").expect("no end");
        match response.event.expect("an event") {
            Event::Item(item) => return (item.text, response.resume_token),
            Event::Bookmark(_) => {}
            Event::Draining(_) => panic!("nobody drains"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_cut() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    write(&amy, "ben", "0").await;
    write(&amy, "ben", "1").await;
    // At first everything unread, then whatever comes.
    let mut stream = watch(&ben, "").await;
    let mut seen = vec![next(&mut stream).await.0, next(&mut stream).await.0];
    write(&amy, "ben", "2").await;
    let (text, token) = next(&mut stream).await;
    seen.push(text);
    drop(stream);
    // While nobody listens, more than one stream holds comes in.
    for number in 3..203 {
        write(&amy, "ben", number.to_string()).await;
    }
    let mut stream = watch(&ben, &token).await;
    write(&amy, "ben", "203").await;
    while seen.len() < 204 {
        seen.push(next(&mut stream).await.0);
    }
    assert_eq!(seen, (0..204).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_people_hear_one_announcement_each_once() {
    let house = House::open().await;
    let (admin, amy, ben) = (house.person("admin").await, house.newcomer("amy").await, house.newcomer("ben").await);
    let mut streams = [watch(&amy, "").await, watch(&ben, "").await];
    let aloud = v1::BroadcastRequest { request_id: fresh_id(), text: "we close at eight".into(), audience: None };
    call!(admin, MessageServiceClient, broadcast, aloud).expect("an announcement");
    for stream in &mut streams {
        assert_eq!(next(stream).await.0, "we close at eight");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_its_stream() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let mut stream = watch(&amy, "").await;
    call!(amy, AuthServiceClient, logout, v1::LogoutRequest::default()).expect("a session");
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("at once");
    assert_eq!(reason(end), "SESSION_EXPIRED");

    let mut stream = watch(&ben, "").await;
    let delete = v1::DeleteUserRequest { request_id: fresh_id(), name: "users/ben".into() };
    call!(ben, UserServiceClient, delete_user, delete).expect("his own account");
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("at once");
    assert_eq!(reason(end), "SESSION_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_says_so() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut stream = watch(&amy, "").await;
    house.front.draining.cancel();
    let last = stream.message().await.expect("a stream").expect("a last word");
    assert!(matches!(last.event, Some(Event::Draining(_))), "{last:?}");
    assert!(!last.resume_token.is_empty());
    assert_eq!(stream.message().await.expect("an orderly end"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_history_is_refused() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let (here, elsewhere) = (Position { index: 1, ordinal: 0 }, Position { index: 1 << 40, ordinal: 0 });
    for token in [ResumeToken { lineage: 2, position: here }, ResumeToken { lineage: 1, position: elsewhere }] {
        let request = v1::WatchInboxRequest { after: token.encode() };
        assert_eq!(reason(call!(amy, InboxServiceClient, watch_inbox, request)), "RESUME_TOKEN_EXPIRED");
    }
    let request = v1::WatchInboxRequest { after: "abc".into() };
    assert_eq!(reason(call!(amy, InboxServiceClient, watch_inbox, request)), "RESUME_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_lives_and_an_unread_one_does_not() {
    let house = House::open().await;
    let patience = Patience { bookmark_every: Duration::from_millis(100), slow_after: Duration::from_millis(300) };
    let inbox = Inbox { front: house.front.clone(), patience };
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    // Without a network in between, which would take some events off the stream by itself.
    let open = |person: &Person| inbox.watch_inbox(person.asks(v1::WatchInboxRequest::default()));

    let mut stream = open(&amy).await.expect("a stream").into_inner();
    for _ in 0..3 {
        let response = stream.next().await.expect("no end").expect("no error");
        assert!(matches!(response.event, Some(Event::Bookmark(_))), "{response:?}");
    }
    drop(stream);

    for number in 0..200 {
        write(&ben, "amy", number.to_string()).await;
    }
    let unread = open(&amy).await.expect("a stream").into_inner();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told: Vec<_> = unread.collect().await;
    assert_eq!(told.len(), 17);
    let (last, items) = told.split_last().expect("not empty");
    assert!(items.iter().all(Result::is_ok));
    assert_eq!(reason(last.clone()), "SLOW_CONSUMER");
}
