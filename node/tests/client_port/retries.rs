//! The same request again: the same answer, done once.

use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;

use crate::desk::{House, PASSWORD, call, fresh_id, reason, reserve};

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_first_answer() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let request = reserve("r-101", (10, 0), (11, 0));
    let first = call!(amy, ReservationServiceClient, create_reservation, request.clone()).expect("a free seat");
    let again = call!(amy, ReservationServiceClient, create_reservation, request.clone()).expect("the same");
    assert_eq!(first.reservation, again.reservation);
    let (first, again) = (first.commit.expect("a commit"), again.commit.expect("a commit"));
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!((&first.resume_token, first.commit_time), (&again.resume_token, again.commit_time));

    // Another wish under the same id, or the same id for something else, is a mistake.
    let other =
        v1::CreateReservationRequest { request_id: request.request_id.clone(), ..reserve("r-102", (10, 0), (11, 0)) };
    assert_eq!(reason(call!(amy, ReservationServiceClient, create_reservation, other)), "REQUEST_ID_REUSED");
    let check_in =
        v1::CheckInRequest { request_id: request.request_id, name: "reservations/1".into(), ..Default::default() };
    assert_eq!(reason(call!(amy, ReservationServiceClient, check_in, check_in)), "REQUEST_ID_REUSED");
    let unnamed = v1::CreateReservationRequest { request_id: "17".into(), ..reserve("r-102", (12, 0), (13, 0)) };
    assert_eq!(reason(call!(amy, ReservationServiceClient, create_reservation, unnamed)), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_repeated_as_well() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let hers = reserve("r-101", (10, 0), (11, 0));
    let booked = call!(amy, ReservationServiceClient, create_reservation, hers).expect("a free seat");
    let his = reserve("r-101", (10, 0), (11, 0));
    assert_eq!(reason(call!(ben, ReservationServiceClient, create_reservation, his.clone())), "SEAT_TAKEN");
    let name = booked.reservation.expect("a reservation").name;
    let cancel = v1::CancelReservationRequest { request_id: fresh_id(), name, ..Default::default() };
    call!(amy, ReservationServiceClient, cancel_reservation, cancel).expect("it is hers");
    assert_eq!(reason(call!(ben, ReservationServiceClient, create_reservation, his)), "SEAT_TAKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_id_every_request_is_a_new_one() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let request = v1::CreateReservationRequest { request_id: String::new(), ..reserve("r-101", (10, 0), (11, 0)) };
    let first = call!(amy, ReservationServiceClient, create_reservation, request.clone()).expect("a free seat");
    assert!(!first.commit.expect("a commit").replayed);
    assert_eq!(reason(call!(amy, ReservationServiceClient, create_reservation, request)), "OWN_OVERLAP");
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_and_leaving_can_be_repeated() {
    let house = House::open().await;
    let request = v1::RegisterRequest { request_id: fresh_id(), user_id: "amy".into(), password: PASSWORD.to_owned() };
    let mut door = AuthServiceClient::new(house.channel.clone());
    let first = door.register(request.clone()).await.expect("a free name").into_inner();
    let again = door.register(request).await.expect("the same").into_inner();
    assert_eq!(first.user, again.user);
    assert!(again.commit.expect("a commit").replayed);

    let amy = house.person("amy").await;
    let leave = v1::LogoutRequest { request_id: fresh_id() };
    call!(amy, AuthServiceClient, logout, leave.clone()).expect("a session");
    let again = call!(amy, AuthServiceClient, logout, leave).expect("the same");
    assert!(again.commit.expect("a commit").replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_deleted_is_gone_from_everything() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let delete = v1::DeleteUserRequest { request_id: fresh_id(), name: "users/amy".into() };
    call!(amy, UserServiceClient, delete_user, delete).expect("her own account");
    assert_eq!(reason(house.log_in("amy", PASSWORD).await), "CREDENTIALS_INVALID");
    let list = v1::ListUsersRequest { filter: "a*".into(), ..Default::default() };
    let names: Vec<_> = call!(ben, UserServiceClient, list_users, list).expect("a list").users;
    assert_eq!(names.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["users/admin"]);
}
