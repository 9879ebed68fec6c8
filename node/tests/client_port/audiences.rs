//! What is said to some reaches them, live and listed, and nobody else.

use carrel_proto::v1;
use carrel_proto::v1::broadcast_request::Audience;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::watch_inbox_response::Event;

use crate::desk::{House, Person, call, fresh_id, reserve};

async fn inbox(person: &Person) -> (Vec<String>, i32) {
    let listed = call!(person, InboxServiceClient, list_inbox, v1::ListInboxRequest::default()).expect("an inbox");
    (listed.items.into_iter().map(|item| item.text).collect(), listed.unread_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_reaches_who_follows_the_branch() {
    let house = House::open().await;
    let (admin, amy, ben) = (house.person("admin").await, house.newcomer("amy").await, house.newcomer("ben").await);
    call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0))).expect("free");
    let mut stream = call!(amy, InboxServiceClient, watch_inbox, v1::WatchInboxRequest::default()).expect("a stream");
    let say = |text: &str, audience| v1::BroadcastRequest {
        request_id: fresh_id(),
        text: text.to_owned(),
        audience: Some(audience),
    };
    let to_main = say("the lift is back", Audience::Branch("branches/main".into()));
    call!(admin, MessageServiceClient, broadcast, to_main).expect("an admin may");
    call!(admin, MessageServiceClient, broadcast, say("to staff", Audience::Role(v1::Role::Admin.into())))
        .expect("an admin may");
    let heard = stream.message().await.expect("a stream").expect("no end");
    assert!(matches!(heard.event, Some(Event::Item(item)) if item.text == "the lift is back"));
    assert_eq!(inbox(&amy).await, (vec!["the lift is back".to_owned()], 1));
    assert_eq!(inbox(&ben).await, (vec![], 0));
    assert_eq!(inbox(&admin).await.0, ["to staff"]);

    let preferences =
        call!(amy, InboxServiceClient, get_notification_preferences, v1::GetNotificationPreferencesRequest::default());
    let preferences = preferences.expect("hers").preferences.expect("some");
    assert_eq!(preferences.followed_branches, ["branches/main"]);
    let nothing = v1::UpdateNotificationPreferencesRequest {
        request_id: fresh_id(),
        preferences: Some(v1::NotificationPreferences::default()),
    };
    call!(amy, InboxServiceClient, update_notification_preferences, nothing).expect("hers");
    assert_eq!(inbox(&amy).await, (vec![], 0));
}
