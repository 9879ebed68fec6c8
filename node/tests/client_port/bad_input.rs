//! Everything that people get wrong: told clearly, and nothing changed.

use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use carrel_proto::v1::waitlist_service_client::WaitlistServiceClient;
use tonic::Code;

use crate::desk::{House, PASSWORD, Person, call, fresh_id, from_to, reason, reserve};

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_cannot_be() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    for (from, to, expected) in [
        ((12, 0), (10, 0), "INTERVAL_INVALID"),
        ((10, 0), (10, 0), "INTERVAL_INVALID"),
        ((10, 7), (11, 7), "INTERVAL_INVALID"),
        ((10, 0), (10, 45), "INTERVAL_INVALID"),
        ((10, 0), (16, 0), "INTERVAL_INVALID"),
        ((8, 0), (9, 0), "TOO_LATE"),
        ((19, 0), (21, 0), "CLOSED"),
        ((10 + 24 * 20, 0), (11 + 24 * 20, 0), "TOO_EARLY"),
        ((10 + 24 * 400, 0), (11 + 24 * 400, 0), "TOO_EARLY"),
    ] {
        let refused = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", from, to));
        assert_eq!(reason(refused), expected, "{from:?} to {to:?}");
    }
    let missing = v1::CreateReservationRequest { interval: None, ..reserve("r-101", (10, 0), (11, 0)) };
    let missing = call!(amy, ReservationServiceClient, create_reservation, missing);
    assert_eq!(reason(missing), "INTERVAL_INVALID");
    let list = v1::ListReservationsRequest::default();
    let list = call!(amy, ReservationServiceClient, list_reservations, list).expect("her list");
    assert!(list.reservations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_nothing() {
    let house = House::open().await;
    let (amy, admin) = (house.newcomer("amy").await, house.person("admin").await);
    let named = |seat: &str| v1::CreateReservationRequest { seat: seat.into(), ..reserve("", (10, 0), (11, 0)) };
    for (seat, expected) in [
        ("branches/main/seats/r-999", "SEAT_NOT_FOUND"),
        ("branches/nowhere/seats/r-101", "BRANCH_NOT_FOUND"),
        ("r-101", "FIELD_INVALID"),
        ("branches/main/seats/R 101", "FIELD_INVALID"),
        ("", "FIELD_INVALID"),
    ] {
        let refused = call!(amy, ReservationServiceClient, create_reservation, named(seat));
        assert_eq!(reason(refused), expected, "{seat}");
    }
    let search = |branch: &str, area: &str, amenity: &str| v1::SearchSeatsRequest {
        branch: branch.into(),
        area: area.into(),
        amenities: if amenity.is_empty() { vec![] } else { vec![amenity.into()] },
        ..Default::default()
    };
    for (request, expected) in [
        (search("branches/nowhere", "", ""), "BRANCH_NOT_FOUND"),
        (search("branches/main", "branches/main/areas/cellar", ""), "AREA_NOT_FOUND"),
        (search("branches/main", "branches/other/areas/west-hall", ""), "FIELD_INVALID"),
        (search("branches/main", "", "sauna"), "FIELD_INVALID"),
    ] {
        let refused = call!(amy, SeatServiceClient, search_seats, request.clone());
        assert_eq!(reason(refused), expected, "{request:?}");
    }
    let told = call!(amy, SeatServiceClient, search_seats, search("branches/main", "", "sauna"));
    let told = told.expect_err("no such amenity");
    assert!(told.message().contains("monitor, power"), "{}", told.message());
    let join = v1::JoinWaitlistRequest {
        request_id: fresh_id(),
        target: Some(v1::join_waitlist_request::Target::Branch("branches/main".into())),
        amenities: vec!["sauna".into()],
        interval: from_to((10, 0), (11, 0)),
        ..Default::default()
    };
    assert_eq!(reason(call!(amy, WaitlistServiceClient, join_waitlist, join)), "FIELD_INVALID");

    let role = |name: &str, role: i32| v1::SetUserRoleRequest {
        request_id: fresh_id(),
        name: name.into(),
        role,
        branches: vec![],
    };
    assert_eq!(reason(call!(admin, UserServiceClient, set_user_role, role("users/amy", 42))), "FIELD_INVALID");
    let nobody = call!(admin, UserServiceClient, set_user_role, role("users/zoe", v1::Role::Auditor.into()));
    assert_eq!(reason(nobody), "USER_NOT_FOUND");
    let last = call!(admin, UserServiceClient, set_user_role, role("users/admin", v1::Role::Patron.into()));
    assert_eq!(reason(last), "LAST_ADMIN");
    let unasked = call!(amy, UserServiceClient, set_user_role, role("users/amy", v1::Role::Admin.into()));
    assert_eq!(reason(unasked), "NOT_PERMITTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_too_long_or_not_text() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    for name in ["a".repeat(300), "a\u{7}b".to_owned(), "a\u{202e}b".to_owned(), String::new(), "a/b".to_owned()] {
        assert_eq!(reason(house.register(&name).await), "FIELD_INVALID", "{name:?}");
    }
    assert_eq!(reason(house.register("Amy").await), "USERNAME_TAKEN");
    let register = v1::RegisterRequest { user_id: "zoe".into(), password: "short".into(), ..Default::default() };
    let short = AuthServiceClient::new(house.channel.clone()).register(register).await;
    assert_eq!(reason(short), "FIELD_INVALID");

    let letter =
        |text: String| v1::SendMessageRequest { request_id: fresh_id(), recipients: vec!["users/amy".into()], text };
    for text in [String::new(), "a\u{7}b".into(), "a".repeat(4_097), "a".repeat(1_000_000)] {
        let length = text.len();
        let refused = call!(amy, MessageServiceClient, send_message, letter(text)).expect_err("no message");
        assert_eq!(refused.code(), Code::InvalidArgument, "{length}");
        assert_eq!(reason::<()>(Err(refused)), "FIELD_INVALID", "{length}");
    }
    let to_nobody = v1::SendMessageRequest { recipients: vec!["users/zoe".into()], ..letter("hello".into()) };
    assert_eq!(reason(call!(amy, MessageServiceClient, send_message, to_nobody)), "RECIPIENT_NOT_FOUND");
    let to_all = v1::SendMessageRequest { recipients: vec!["users/amy".into(); 17], ..letter("hello".into()) };
    assert_eq!(reason(call!(amy, MessageServiceClient, send_message, to_all)), "FIELD_INVALID");
    let aloud = v1::BroadcastRequest { request_id: fresh_id(), text: "hello".into(), audience: None };
    assert_eq!(reason(call!(amy, MessageServiceClient, broadcast, aloud)), "NOT_PERMITTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_none() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let whoami = v1::GetSessionRequest::default;
    let nobody = AuthServiceClient::new(house.channel.clone()).get_session(whoami()).await;
    assert_eq!(reason(nobody), "SESSION_EXPIRED");
    for token in ["", "x", "not-base-64!", &"A".repeat(43), &"A".repeat(4_000)] {
        let stranger = Person { token: token.to_owned(), ..amy.clone() };
        let refused = call!(stranger, AuthServiceClient, get_session, whoami()).expect_err("no session");
        assert_eq!(refused.code(), Code::Unauthenticated);
        let refused = call!(stranger, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0)));
        assert_eq!(reason(refused), "SESSION_EXPIRED");
    }
    call!(amy, AuthServiceClient, logout, v1::LogoutRequest::default()).expect("a session");
    assert_eq!(reason(call!(amy, AuthServiceClient, get_session, whoami())), "SESSION_EXPIRED");
    let revoked = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0)));
    assert_eq!(reason(revoked), "SESSION_EXPIRED");

    // Whether a name exists cannot be told from what a wrong password gets.
    let wrong = house.log_in("amy", "wrong horse").await.expect_err("the wrong password");
    let nobody = house.log_in("zoe", PASSWORD).await.expect_err("nobody of this name");
    assert_eq!((wrong.code(), wrong.message()), (nobody.code(), nobody.message()));
    assert_eq!(reason::<()>(Err(wrong)), "CREDENTIALS_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0)));
    let name = booked.expect("a free seat").reservation.expect("a reservation").name;
    let get = |name: &str| v1::GetReservationRequest { name: name.into(), read: None };
    let other = call!(ben, ReservationServiceClient, get_reservation, get(&name)).expect_err("Amy's");
    let none = call!(ben, ReservationServiceClient, get_reservation, get("reservations/4711")).expect_err("nobody's");
    assert_eq!((other.code(), other.message()), (Code::PermissionDenied, none.message()));
    let cancel = v1::CancelReservationRequest { request_id: fresh_id(), name, ..Default::default() };
    assert_eq!(reason(call!(ben, ReservationServiceClient, cancel_reservation, cancel)), "NOT_PERMITTED");
    let delete = v1::DeleteUserRequest { request_id: fresh_id(), name: "users/amy".into() };
    assert_eq!(reason(call!(ben, UserServiceClient, delete_user, delete)), "NOT_PERMITTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_tokens_that_are_none() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let list = |page_size, page_token: &str, at_least: Option<&str>| v1::ListUsersRequest {
        page_size,
        page_token: page_token.into(),
        read: at_least
            .map(|token| v1::ReadOptions { freshness: Some(v1::read_options::Freshness::AtLeast(token.to_owned())) }),
        ..Default::default()
    };
    for (request, expected) in [
        (list(-1, "", None), "FIELD_INVALID"),
        (list(0, "abc", None), "PAGE_TOKEN_INVALID"),
        (list(0, "", Some("abc")), "RESUME_TOKEN_INVALID"),
        (v1::ListUsersRequest { filter: "a(b)+".into(), ..Default::default() }, "FIELD_INVALID"),
    ] {
        assert_eq!(reason(call!(amy, UserServiceClient, list_users, request.clone())), expected, "{request:?}");
    }
}
