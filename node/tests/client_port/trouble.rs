//! A cluster that cannot, and a node that goes.

use std::time::Duration;

use carrel_node::replica::{NotServing, WriteError};
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use prometheus::TextEncoder;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::desk::{House, call, reserve};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_says_what_to_do() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    for (trouble, code, reason) in [
        (WriteError::NoLeader, Code::Unavailable, "NO_QUORUM"),
        (WriteError::Unknown, Code::Unavailable, "OUTCOME_UNKNOWN"),
        (WriteError::Overloaded, Code::ResourceExhausted, "OVERLOADED"),
        (WriteError::NotServing(NotServing::Forming), Code::Unavailable, "FORMING"),
        (WriteError::NotServing(NotServing::Draining), Code::Unavailable, "DRAINING"),
    ] {
        house.desk.trouble(Some(trouble));
        let refused = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0)));
        let refused = refused.expect_err("trouble");
        assert_eq!(refused.code(), code);
        assert_eq!(refused.get_details_error_info().expect("a reason").reason, reason);
        assert!(refused.get_details_retry_info().and_then(|info| info.retry_delay).is_some(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_node() {
    let house = House::open().await;
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(house.channel.clone()).check(request).await.expect("health");
        answer.into_inner().status()
    };
    let becomes = async |wanted| {
        for _ in 0..200 {
            if check("").await == wanted && check("carrel.v1.SeatService").await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {wanted:?}");
    };
    becomes(ServingStatus::Serving).await;
    house.serving.send_replace(false);
    becomes(ServingStatus::NotServing).await;
    house.serving.send_replace(true);
    becomes(ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_does_not_hold_up_the_end() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let watch = v1::WatchInboxRequest::default();
    let stream = call!(amy, InboxServiceClient, watch_inbox, watch).expect("a stream");
    house.front.draining.cancel();
    let gone = async {
        while tokio::net::TcpStream::connect(house.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), gone).await.expect("the port closes at once");
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_method_and_code() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0))).expect("a seat");
    let nobody = AuthServiceClient::new(house.channel.clone()).get_session(v1::GetSessionRequest::default()).await;
    nobody.expect_err("no session");
    let unknown: http::uri::PathAndQuery = "/carrel.v1.AuthService/MakeMeAdmin".parse().expect("a path");
    let mut raw = tonic::client::Grpc::new(house.channel.clone());
    raw.ready().await.expect("a channel");
    let codec = tonic_prost::ProstCodec::<v1::GetSessionRequest, v1::GetSessionResponse>::default();
    let refused = raw.unary(Request::new(v1::GetSessionRequest::default()), unknown, codec).await;
    assert_eq!(refused.expect_err("no such method").code(), Code::Unimplemented);
    let text = TextEncoder::new().encode_to_string(&house.registry.gather()).expect("text");
    for line in [
        r#"carrel_grpc_requests_total{code="OK",method="carrel.v1.ReservationService/CreateReservation"} 1"#,
        r#"carrel_grpc_requests_total{code="UNAUTHENTICATED",method="carrel.v1.AuthService/GetSession"} 1"#,
        r#"carrel_grpc_requests_total{code="UNIMPLEMENTED",method="other"} 1"#,
        r#"grpc_request_seconds_count{method="carrel.v1.ReservationService/CreateReservation"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
