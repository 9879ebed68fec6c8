//! The calendar behind its address: there for whoever has it, as things are, and gone once it is revoked.

use carrel_proto::v1;
use carrel_proto::v1::calendar_service_client::CalendarServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::desk::{House, call, fresh_id, from_to, reserve};

/// Status, headers and body, unfolded.
async fn get(house: &House, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(house.address).await.expect("a server");
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.replace("\r\n ", ""))
}

fn field<'a>(event: &'a str, name: &str) -> &'a str {
    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {event}")).trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_are_in_the_calendar_as_they_are() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0))).expect("free");
    let create = v1::CreateCalendarFeedRequest {};
    let path = call!(amy, CalendarServiceClient, create_calendar_feed, create).expect("her own").path;
    let (status, head, body) = get(&house, &path, "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/calendar"), "{head}");
    let (uid, sequence) = (field(&body, "UID:").to_owned(), field(&body, "SEQUENCE:").to_owned());
    assert_eq!(sequence, "0");
    assert_eq!(field(&body, "DTSTART;TZID=Europe/Berlin:"), "20270111T100000");
    assert_eq!(field(&body, "SUMMARY:"), "Seat R-101\\, Reading Room");
    assert!(body.contains("BEGIN:VTIMEZONE"), "{body}");

    // Whoever has seen it is told so.
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
    assert_eq!(get(&house, &path, &format!("If-None-Match: {tag}\r\n")).await.0, 304);

    // A change is the same event, later in its sequence; a cancellation, too.
    let moved = v1::RescheduleReservationRequest {
        request_id: fresh_id(),
        name: "reservations/1".into(),
        interval: from_to((14, 0), (15, 0)),
        ..Default::default()
    };
    call!(amy, ReservationServiceClient, reschedule_reservation, moved).expect("free");
    let (_, _, body) = get(&house, &path, "").await;
    assert_eq!((field(&body, "UID:"), field(&body, "SEQUENCE:")), (uid.as_str(), "1"));
    assert_eq!(field(&body, "DTSTART;TZID=Europe/Berlin:"), "20270111T140000");
    let cancel =
        v1::CancelReservationRequest { request_id: fresh_id(), name: "reservations/1".into(), ..Default::default() };
    call!(amy, ReservationServiceClient, cancel_reservation, cancel).expect("hers");
    let (_, _, body) = get(&house, &path, "").await;
    assert_eq!((field(&body, "UID:"), field(&body, "STATUS:")), (uid.as_str(), "CANCELLED"));

    // Another address makes this one worthless, and so does revoking it.
    let second = call!(amy, CalendarServiceClient, create_calendar_feed, create).expect("her own").path;
    assert_eq!((get(&house, &path, "").await.0, get(&house, &second, "").await.0), (404, 200));
    let revoke = v1::RevokeCalendarFeedRequest { request_id: fresh_id() };
    call!(amy, CalendarServiceClient, revoke_calendar_feed, revoke).expect("her own");
    assert_eq!(get(&house, &second, "").await.0, 404);
    for nonsense in ["/calendars/x.ics", "/calendars/", "/calendars/..%2f.ics"] {
        assert_eq!(get(&house, nonsense, "").await.0, 404, "{nonsense}");
    }
}
