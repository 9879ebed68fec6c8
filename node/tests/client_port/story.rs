//! One morning of two people.

use carrel_node::convert::time::to_timestamp;
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::message_service_client::MessageServiceClient;
use carrel_proto::v1::reservation::{Origin, State};
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use carrel_proto::v1::waitlist_service_client::WaitlistServiceClient;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::desk::{House, PASSWORD, at, call, fresh_id, from_to, reason, reserve};

#[tokio::test(flavor = "multi_thread")]
async fn a_morning_in_the_library() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);

    // Amy looks for a desk with power from ten to twelve, and takes the first.
    let search = v1::SearchSeatsRequest {
        branch: "branches/main".into(),
        amenities: vec!["power".into()],
        interval: from_to((10, 0), (12, 0)),
        available_only: true,
        ..Default::default()
    };
    let found = call!(amy, SeatServiceClient, search_seats, search).expect("seats").seats;
    let names: Vec<_> = found.iter().map(|seat| seat.name.as_str()).collect();
    assert_eq!(names, ["branches/main/seats/r-101", "branches/main/seats/r-102", "branches/main/seats/h-1"]);
    assert_eq!(found[0].free_until, Some(to_timestamp(at(20, 0))));
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (12, 0)));
    let reservation = booked.expect("a free seat").reservation.expect("a reservation");
    assert_eq!((reservation.user.as_str(), reservation.state()), ("users/amy", State::Confirmed));
    assert_eq!(reservation.deadline, Some(to_timestamp(at(10, 15))));

    // Ben wants the same one and is shown the nearest others.
    let taken = call!(ben, ReservationServiceClient, create_reservation, reserve("r-101", (11, 0), (12, 0)));
    let taken = taken.expect_err("the seat is Amy's");
    assert_eq!(taken.code(), Code::FailedPrecondition);
    assert_eq!(taken.get_details_error_info().expect("a reason").reason, "SEAT_TAKEN");
    let details = tonic_types::pb::Status::decode(taken.details()).expect("details").details;
    let packed = details.iter().find(|any| any.type_url.ends_with("/carrel.v1.Alternatives")).expect("alternatives");
    let free = v1::Alternatives::decode(packed.value.as_slice()).expect("alternatives").seats;
    assert_eq!(free[0].name, "branches/main/seats/r-102");
    assert!(free.iter().all(|seat| seat.available));

    // It is five past nine: check-in opens a quarter of an hour before ten.
    let check_in =
        || v1::CheckInRequest { request_id: fresh_id(), name: reservation.name.clone(), ..Default::default() };
    let early = call!(amy, ReservationServiceClient, check_in, check_in()).expect_err("too early");
    let info = early.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "TOO_EARLY");
    assert_eq!(info.metadata.get("opens_at").map(String::as_str), Some("2027-01-11T08:45:00Z"));
    // Nor is it Ben's to check in.
    assert_eq!(reason(call!(ben, ReservationServiceClient, check_in, check_in())), "NOT_PERMITTED");
    house.desk.pass_minutes(50);
    let sits = call!(amy, ReservationServiceClient, check_in, check_in()).expect("in time").reservation;
    assert_eq!(sits.expect("a reservation").state(), State::CheckedIn);

    // In the afternoon Ben waits for a desk that Amy then gives up.
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("h-1", (14, 0), (16, 0)));
    let afternoon = booked.expect("a free seat").reservation.expect("a reservation").name;
    let join = v1::JoinWaitlistRequest {
        request_id: fresh_id(),
        target: Some(v1::join_waitlist_request::Target::Seat("branches/main/seats/h-1".into())),
        interval: from_to((14, 0), (16, 0)),
        ..Default::default()
    };
    let entry = call!(ben, WaitlistServiceClient, join_waitlist, join).expect("a place").entry.expect("an entry");
    assert_eq!(entry.state(), v1::waitlist_entry::State::Waiting);
    let cancel = v1::CancelReservationRequest { request_id: fresh_id(), name: afternoon, ..Default::default() };
    call!(amy, ReservationServiceClient, cancel_reservation, cancel).expect("it is hers");
    let list = v1::ListWaitlistEntriesRequest::default();
    let waits = call!(ben, WaitlistServiceClient, list_waitlist_entries, list).expect("his places").entries;
    assert_eq!(waits[0].state(), v1::waitlist_entry::State::Offered);
    let accept = v1::AcceptOfferRequest { request_id: fresh_id(), reservation: waits[0].reservation.clone() };
    let accepted = call!(ben, WaitlistServiceClient, accept_offer, accept).expect("in time").reservation;
    let accepted = accepted.expect("a reservation");
    assert_eq!((accepted.state(), accepted.origin()), (State::Confirmed, Origin::Offer));

    // Ben goes. What is written to him meanwhile waits for him.
    let session = v1::LogoutRequest { request_id: fresh_id() };
    call!(ben, AuthServiceClient, logout, session).expect("a session");
    let gone = call!(ben, AuthServiceClient, get_session, v1::GetSessionRequest::default());
    assert_eq!(reason(gone), "SESSION_EXPIRED");
    let letter = v1::SendMessageRequest {
        request_id: fresh_id(),
        recipients: vec!["users/ben".into()],
        text: "coffee at twelve?".into(),
    };
    let sent = call!(amy, MessageServiceClient, send_message, letter).expect("a letter").message.expect("a message");
    let login = house.log_in("ben", PASSWORD).await.expect("a session");
    assert_eq!(login.unread_count, 2);
    let ben = house.person("ben").await;
    let list = v1::ListInboxRequest { unread_only: true, ..Default::default() };
    let inbox = call!(ben, InboxServiceClient, list_inbox, list).expect("his inbox");
    let kinds: Vec<_> = inbox.items.iter().map(v1::InboxItem::kind).collect();
    assert_eq!(kinds, [v1::inbox_item::Kind::OfferMade, v1::inbox_item::Kind::Message]);
    assert_eq!((inbox.items[1].sender.as_str(), &inbox.items[1].message), ("users/amy", &sent.name));
    let cursor = v1::AdvanceReadCursorRequest { request_id: fresh_id(), resume_token: inbox.resume_token };
    assert_eq!(call!(ben, InboxServiceClient, advance_read_cursor, cursor).expect("read").unread_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    for name in ["ben", "Bea", "carl"] {
        house.register(name).await.expect("a free name");
    }
    let list = |filter: &str, page_token: String| v1::ListUsersRequest {
        filter: filter.into(),
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let first = call!(amy, UserServiceClient, list_users, list("b*", String::new())).expect("a page");
    assert_eq!(first.users[0].name, "users/Bea");
    let second = call!(amy, UserServiceClient, list_users, list("b*", first.next_page_token.clone()));
    let second = second.expect("a page");
    assert_eq!((second.users[0].name.as_str(), second.next_page_token.as_str()), ("users/ben", ""));
    // A token of this list means nothing in another.
    let other = call!(amy, UserServiceClient, list_users, list("c*", first.next_page_token));
    assert_eq!(reason(other), "PAGE_TOKEN_INVALID");

    let mut seats = Vec::new();
    let mut page_token = String::new();
    loop {
        let search =
            v1::SearchSeatsRequest { branch: "branches/main".into(), page_size: 3, page_token, ..Default::default() };
        let page = call!(amy, SeatServiceClient, search_seats, search).expect("a page");
        seats.extend(page.seats.into_iter().map(|seat| seat.label));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seats, ["R-101", "R-102", "R-103", "H-1"]);

    for start in [10, 11, 12] {
        let request = reserve("r-101", (start, 0), (start + 1, 0));
        call!(amy, ReservationServiceClient, create_reservation, request).expect("a free seat");
    }
    let list = v1::ListReservationsRequest { page_size: 2, upcoming_only: true, ..Default::default() };
    let first = call!(amy, ReservationServiceClient, list_reservations, list.clone()).expect("a page");
    let starts: Vec<Option<prost_types::Timestamp>> = first.reservations.iter().map(|r| r.start_time).collect();
    assert_eq!(starts, [Some(to_timestamp(at(12, 0))), Some(to_timestamp(at(11, 0)))]);
    let list = v1::ListReservationsRequest { page_token: first.next_page_token, ..list };
    let second = call!(amy, ReservationServiceClient, list_reservations, list).expect("a page");
    assert_eq!(second.reservations.len(), 1);
}
