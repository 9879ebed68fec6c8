//! Too much, too fast, too late: told at once, and nobody else's trouble.

use std::time::Duration;

use carrel_node::grpc::fair_share::Rates;
use carrel_node::grpc::watch::Patience;
use carrel_node::replica::WriteError;
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::desk::{GENEROUS, House, PASSWORD, call, reason, reserve};

fn retry_delay(status: &Status) -> Duration {
    status.get_details_retry_info().and_then(|info| info.retry_delay).expect("when to come back")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_node_says_so_before_it_hashes_a_password() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    house.desk.trouble(Some(WriteError::Overloaded));
    // More than may wait for a hash: those beyond would be told that the passwords are too many.
    let names: Vec<String> = (0..200).map(|number| format!("reader-{number}")).collect();
    let refused = join_all(names.iter().map(|name| house.register(name))).await;
    for refusal in refused {
        let status = refusal.expect_err("no room");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(retry_delay(&status) > Duration::ZERO);
        assert_eq!(reason::<()>(Err(status)), "OVERLOADED");
    }
    assert_eq!(reason(house.log_in("amy", PASSWORD).await), "OVERLOADED");
    let list = v1::ListReservationsRequest::default();
    call!(amy, ReservationServiceClient, list_reservations, list).expect("whoever only looks is served");
    house.desk.trouble(None);
    call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0))).expect("room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_flood_keeps_nobody_else_out() {
    let house = House::with(Rates { requests_per_second: 50, ..GENEROUS }, Patience::default()).await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let list = v1::ListReservationsRequest::default();
    let flood = (0..600).map(|_| async { call!(amy, ReservationServiceClient, list_reservations, list.clone()) });
    let refused: Vec<Status> = join_all(flood).await.into_iter().filter_map(Result::err).collect();
    assert!(refused.len() >= 200, "only {} of 600 were refused", refused.len());
    call!(ben, ReservationServiceClient, list_reservations, list.clone()).expect("Ben asks for the first time");

    let last = loop {
        let asked = call!(amy, ReservationServiceClient, list_reservations, list.clone());
        if let Err(refused) = asked {
            break refused;
        }
    };
    assert_eq!(last.code(), Code::ResourceExhausted);
    assert!(last.message().contains("50 requests a second"), "{}", last.message());
    let wait = retry_delay(&last);
    assert!(wait <= Duration::from_millis(20), "one more request is due every 20 ms: {wait:?}");
    assert_eq!(reason::<()>(Err(last)), "RATE_LIMITED");
    tokio::time::sleep(wait).await;
    call!(amy, ReservationServiceClient, list_reservations, list).expect("it is true when it is said to be");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_passwords_is_slowed_before_they_are_checked() {
    let house = House::with(Rates { log_ins_per_second: 1, ..GENEROUS }, Patience::default()).await;
    let amy = house.newcomer("amy").await;
    let guesses = join_all((0..150).map(|_| house.log_in("amy", "a guess"))).await;
    let reasons: Vec<String> = guesses.into_iter().map(reason).collect();
    let checked = reasons.iter().filter(|reason| *reason == "CREDENTIALS_INVALID").count();
    let slowed = reasons.iter().filter(|reason| *reason == "RATE_LIMITED").count();
    assert!((1..=10).contains(&checked) && checked + slowed == 150, "{checked} checked, {slowed} slowed");
    let session = v1::GetSessionRequest::default();
    call!(amy, AuthServiceClient, get_session, session).expect("those inside are not concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_has_so_many_streams_and_no_more() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let watch = v1::WatchInboxRequest::default;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(call!(amy, InboxServiceClient, watch_inbox, watch()).expect("a stream"));
    }
    assert_eq!(reason(call!(amy, InboxServiceClient, watch_inbox, watch())), "RATE_LIMITED");
    streams.push(call!(ben, InboxServiceClient, watch_inbox, watch()).expect("his first"));
    streams.remove(0);
    let again = async {
        while call!(amy, InboxServiceClient, watch_inbox, watch()).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("its place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_has_left_goes_with_the_request() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut hasty = amy.asks(reserve("r-101", (10, 0), (11, 0)));
    hasty.set_timeout(Duration::from_secs(5));
    ReservationServiceClient::new(amy.channel.clone()).create_reservation(hasty).await.expect("a free seat");
    let within = house.desk.within().expect("somebody wrote");
    assert!((Duration::from_secs(2)..=Duration::from_secs(5)).contains(&within), "{within:?}");

    call!(amy, ReservationServiceClient, create_reservation, reserve("r-102", (12, 0), (13, 0))).expect("a free seat");
    let within = house.desk.within().expect("somebody wrote");
    assert!((Duration::from_secs(20)..=Duration::from_secs(30)).contains(&within), "{within:?}");

    let mut login = tonic::Request::new(v1::LoginRequest { user_id: "amy".into(), password: PASSWORD.into() });
    login.set_timeout(Duration::from_secs(9));
    AuthServiceClient::new(house.channel.clone()).login(login).await.expect("the right password");
    let within = house.desk.within().expect("somebody wrote");
    assert!((Duration::from_secs(1)..Duration::from_secs(9)).contains(&within), "the hash took its share: {within:?}");
}
