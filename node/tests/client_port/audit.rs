//! "Why was I marked as a no-show?", answered with the entries; and who may ask what.

use carrel_proto::v1;
use carrel_proto::v1::audit_service_client::AuditServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;

use crate::desk::{House, Person, call, fresh_id, from_to, reason, reserve};

async fn audit(person: &Person, request: v1::ListAuditEventsRequest) -> Vec<v1::AuditEvent> {
    let mut events: Vec<v1::AuditEvent> = Vec::new();
    let mut page_token = String::new();
    loop {
        // In small pages, so that turning them is tried, too.
        let request = v1::ListAuditEventsRequest { page_size: 2, page_token, ..request.clone() };
        let page = call!(person, AuditServiceClient, list_audit_events, request).expect("theirs to see");
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return events;
        }
    }
}

fn of(reservation: &str) -> v1::ListAuditEventsRequest {
    v1::ListAuditEventsRequest { reservation: reservation.into(), ..Default::default() }
}

fn told(events: &[v1::AuditEvent]) -> Vec<String> {
    let change = |change: &v1::audit_event::Change| format!("{} {}>{}", change.field, change.before, change.after);
    let line = |event: &v1::AuditEvent| {
        let changes: Vec<String> =
            event.changes.iter().filter(|c| ["state", "strike"].contains(&c.field.as_str())).map(change).collect();
        format!("{} {} {}", event.actor, event.action, changes.join(" "))
    };
    events.iter().rev().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_show_is_explained_with_its_entries() {
    let house = House::open().await;
    let (admin, amy, ben) = (house.person("admin").await, house.newcomer("amy").await, house.newcomer("ben").await);
    call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (9, 30), (10, 30))).expect("free");
    house.desk.pass_minutes(45);
    let entries = audit(&amy, of("reservations/1")).await;
    assert_eq!(
        told(&entries),
        [
            "users/amy RESERVE state >CONFIRMED",
            "time TIME_PASSED strike >NO_SHOW",
            "time TIME_PASSED state CONFIRMED>NO_SHOW",
        ]
    );
    // The deadline that passed is there to be read.
    let deadline = entries[0].changes.iter().find(|change| change.field == "deadline").expect("it had one");
    assert_eq!((deadline.before.as_str(), deadline.after.as_str()), ("2027-01-11T08:45:00Z", ""));
    // It is nobody else's business, and an auditor sees no name.
    assert_eq!(reason(call!(ben, AuditServiceClient, list_audit_events, of("reservations/1"))), "NOT_PERMITTED");
    assert!(audit(&ben, v1::ListAuditEventsRequest::default()).await.iter().all(|event| event.user == "users/ben"));
    let auditor = v1::SetUserRoleRequest {
        request_id: fresh_id(),
        name: "users/ben".into(),
        role: v1::Role::Auditor.into(),
        branches: Vec::new(),
    };
    call!(admin, UserServiceClient, set_user_role, auditor).expect("an admin may");
    let seen = audit(&ben, of("reservations/1")).await;
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|event| event.user.starts_with("people/")), "{seen:?}");
    let of_amy = v1::ListAuditEventsRequest { user: "users/amy".into(), ..Default::default() };
    assert_eq!(reason(call!(ben, AuditServiceClient, list_audit_events, of_amy)), "NOT_PERMITTED");
    // With her account her name goes, and not what became of her reservation.
    let gone = v1::DeleteUserRequest { request_id: fresh_id(), name: "users/amy".into() };
    call!(admin, UserServiceClient, delete_user, gone).expect("an admin may");
    let left = audit(&admin, of("reservations/1")).await;
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|event| event.user != "users/amy"), "{left:?}");
    // What staff do has their words with it.
    let close = v1::CloseSeatsRequest {
        request_id: fresh_id(),
        target: Some(v1::close_seats_request::Target::Seat("branches/main/seats/r-102".into())),
        interval: from_to((12, 0), (13, 0)),
        closing: v1::Closing::Maintenance.into(),
        reason: "broken lamp".into(),
        ..Default::default()
    };
    call!(admin, SeatServiceClient, close_seats, close).expect("an admin may");
    let newest = audit(&admin, v1::ListAuditEventsRequest::default()).await.remove(0);
    assert_eq!((newest.action.as_str(), newest.note.as_str()), ("CLOSE_SEATS", "broken lamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reports_an_empty_seat_stays_unnamed() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let walk_in = v1::WalkInRequest {
        request_id: fresh_id(),
        seat: "branches/main/seats/r-101".into(),
        end_time: Some(carrel_node::convert::time::to_timestamp(crate::desk::at(12, 0))),
        ..Default::default()
    };
    call!(amy, ReservationServiceClient, walk_in, walk_in).expect("free");
    let report = v1::ReportEmptySeatRequest { request_id: fresh_id(), seat: "branches/main/seats/r-101".into() };
    call!(ben, ReservationServiceClient, report_empty_seat, report).expect("nobody is there");
    let entries = audit(&amy, of("reservations/1")).await;
    assert_eq!(told(&entries)[1], "users/- REPORT_EMPTY_SEAT state CHECKED_IN>AWAY");
}
