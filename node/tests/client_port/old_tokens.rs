//! A stream that was away for too long, and a reader who does not read: nothing is skipped without a word.

use std::time::Duration;

use carrel_node::grpc::watch::Patience;
use carrel_proto::client::{Client, News, Options};
use carrel_proto::v1;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::watch_inbox_response::Event;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::desk::{GENEROUS, House, Person, call, fresh_id, reason};

/// As many as an inbox keeps.
const KEPT: usize = 1_000;

async fn write_to_amy(ben: &Person, texts: impl Iterator<Item = String>) {
    for text in texts {
        let request = v1::SendMessageRequest { request_id: fresh_id(), recipients: vec!["users/amy".into()], text };
        call!(ben, MessageServiceClient, send_message, request).expect("a message");
    }
}

async fn watch(person: &Person, after: &str) -> Result<Streaming<v1::WatchInboxResponse>, Status> {
    let request = v1::WatchInboxRequest { after: after.to_owned() };
    call!(person, InboxServiceClient, watch_inbox, request)
}

/// The texts of items until there are so many or the stream ends, and the last token.
async fn read(stream: &mut Streaming<v1::WatchInboxResponse>, most: usize) -> (Vec<String>, String, Option<Status>) {
    let (mut texts, mut token) = (Vec::new(), String::new());
    while texts.len() < most {
        match stream.message().await {
            Ok(Some(response)) => {
                token = response.resume_token;
                if let Some(Event::Item(item)) = response.event {
                    texts.push(item.text);
                }
            }
            Ok(None) => break,
            Err(status) => return (texts, token, Some(status)),
        }
    }
    (texts, token, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_older_than_what_is_kept_is_out_of_range() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    write_to_amy(&ben, ["first".to_owned()].into_iter()).await;
    let (texts, token, _) = read(&mut watch(&amy, "").await.expect("a stream"), 1).await;
    assert_eq!(texts, ["first"]);

    // The inbox is full to the brim, and nothing after the token is gone.
    write_to_amy(&ben, (1..=KEPT).map(|number| number.to_string())).await;
    let (texts, ..) = read(&mut watch(&amy, &token).await.expect("all is there"), KEPT).await;
    assert_eq!(texts, (1..=KEPT).map(|number| number.to_string()).collect::<Vec<_>>());

    write_to_amy(&ben, ["one too many".to_owned()].into_iter()).await;
    let refused = watch(&amy, &token).await.expect_err("message 1 is gone");
    assert_eq!(refused.code(), Code::OutOfRange);
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "RESUME_TOKEN_EXPIRED");
    let list = v1::ListInboxRequest { after: token.clone(), ..Default::default() };
    assert_eq!(reason(call!(amy, InboxServiceClient, list_inbox, list)), "RESUME_TOKEN_EXPIRED");

    // With the token that is offered instead it goes on right behind what is gone.
    let (texts, ..) = read(&mut watch(&amy, &info.metadata["resume_token"]).await.expect("a stream"), KEPT).await;
    assert_eq!((texts.len(), texts[0].as_str(), texts[KEPT - 1].as_str()), (KEPT, "2", "one too many"));
    // And without one it begins with what is unread.
    let (texts, ..) = read(&mut watch(&amy, "").await.expect("a stream"), KEPT).await;
    assert_eq!(texts[0], "2");

    let client = Client::new([format!("http://{}", house.address)], Options::default()).expect("an address");
    let mut following = client.with_session(&amy.token).expect("a token").watch_inbox(token);
    assert_eq!(following.next().await.expect("a node"), News::Missed);
    let News::Item(next) = following.next().await.expect("a node") else { panic!("there is more") };
    assert!(matches!(next.event, Some(Event::Item(item)) if item.text == "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_is_let_go_and_goes_on_later() {
    let slow_after = Duration::from_millis(400);
    let house = House::with(GENEROUS, Patience { slow_after, ..Patience::default() }).await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let number = |text: &str| text.trim_start_matches('.').parse::<usize>().expect("a number");
    // Much more than the network takes off the stream by itself.
    write_to_amy(&ben, (0..400).map(|number| format!("{number:.>4000}"))).await;

    let window_bytes = 64 << 10;
    let endpoint = Endpoint::from_shared(format!("http://{}", house.address)).expect("an address");
    let endpoint = endpoint.initial_stream_window_size(window_bytes).initial_connection_window_size(window_bytes);
    let sleepy = Person { channel: endpoint.connect_lazy(), ..amy.clone() };
    let mut stream = watch(&sleepy, "").await.expect("a stream");
    tokio::time::sleep(slow_after * 5).await;
    let (texts, token, end) = read(&mut stream, 400).await;
    assert_eq!(reason::<()>(Err(end.expect("the stream was ended"))), "SLOW_CONSUMER");
    assert!(texts.len() < 100, "{} were on their way", texts.len());

    let (rest, ..) = read(&mut watch(&amy, &token).await.expect("a stream"), 400 - texts.len()).await;
    let told: Vec<usize> = texts.iter().chain(&rest).map(|text| number(text)).collect();
    assert_eq!(told, (0..400).collect::<Vec<_>>());
}
