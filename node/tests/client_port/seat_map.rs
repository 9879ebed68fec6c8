//! The seat map as it changes: everything at first, then each change, and never anything older than what was asked for.

use std::collections::BTreeMap;

use carrel_proto::client::{Client, MapNews, Options};
use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;
use carrel_proto::v1::catalog_service_client::CatalogServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::watch_seat_map_response::Event;
use tonic::{Code, Status, Streaming};

use crate::desk::{House, Person, call, fresh_id, reason, reserve};

type Frames = Streaming<v1::WatchSeatMapResponse>;

async fn watch(person: &Person, area: &str, after: &str) -> Result<Frames, Status> {
    let branch = "branches/main".to_owned();
    let request = v1::WatchSeatMapRequest { branch, area: area.to_owned(), after: after.to_owned() };
    call!(person, SeatServiceClient, watch_seat_map, request)
}

async fn next(frames: &mut Frames) -> (Event, String) {
    loop {
        let frame = frames.message().await.expect("a stream").expect("no end");
        match frame.event.expect("an event") {
            Event::Bookmark(_) => {}
            event => return (event, frame.resume_token),
        }
    }
}

/// By the last part of their names: whether they are free.
fn free(seats: Vec<v1::Seat>) -> BTreeMap<String, bool> {
    let id = |seat: &v1::Seat| seat.name.rsplit('/').next().expect("a name").to_owned();
    seats.iter().map(|seat| (id(seat), seat.available)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_is_told_whole_and_then_as_it_changes() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let mut whole = watch(&amy, "", "").await.expect("a stream");
    let mut hall = watch(&ben, "branches/main/areas/west-hall", "").await.expect("a stream");
    let (Event::Snapshot(first), _) = next(&mut whole).await else { panic!("everything comes first") };
    assert_eq!(free(first.seats).len(), 4);
    let (Event::Snapshot(first), _) = next(&mut hall).await else { panic!("everything comes first") };
    assert_eq!(free(first.seats), BTreeMap::from([("h-1".to_owned(), true)]));
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (9, 0), (10, 0)));
    let booked = booked.expect("free");
    let (Event::Changes(changes), token) = next(&mut whole).await else { panic!("a change") };
    assert_eq!(free(changes.seats), BTreeMap::from([("r-101".to_owned(), false)]));
    // Of another area nothing is told; what comes next there is of its own.
    let hers = reserve("h-1", (10, 0), (11, 0));
    call!(ben, ReservationServiceClient, create_reservation, hers).expect("free");
    let (Event::Changes(changes), _) = next(&mut hall).await else { panic!("a change") };
    assert_eq!(free(changes.seats), BTreeMap::from([("h-1".to_owned(), true)]), "free until ten, no longer");
    // Time alone changes a map, too: twenty past nine Amy has lost her seat.
    house.desk.pass_minutes(16);
    drop(whole);
    let mut again = watch(&amy, "", &token).await.expect("a stream");
    let (Event::Changes(since), _) = next(&mut again).await else { panic!("what has changed since, and no more") };
    assert_eq!(free(since.seats), BTreeMap::from([("h-1".to_owned(), true), ("r-101".to_owned(), true)]));
    // It begins no earlier than what its caller has done.
    let commit = booked.commit.expect("a commit").resume_token;
    assert!(watch(&amy, "", &commit).await.is_ok());
    assert_eq!(reason(watch(&amy, "", "no token").await.map(drop)), "RESUME_TOKEN_INVALID");
    assert_eq!(reason(watch(&amy, "branches/main/areas/moon", "").await.map(drop)), "AREA_NOT_FOUND");
}

/// The watch of the one client: cut again and again, it misses nothing and begins anew only when it has to.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_before_what_is_remembered_is_out_of_range() {
    let house = House::open().await;
    let (admin, amy) = (house.person("admin").await, house.newcomer("amy").await);
    let mut frames = watch(&amy, "", "").await.expect("a stream");
    let (Event::Snapshot(_), token) = next(&mut frames).await else { panic!("everything comes first") };
    // With another catalogue seats may be gone, which no change can say.
    let export = v1::ExportCatalogRequest::default();
    let catalog = call!(admin, CatalogServiceClient, export_catalog, export).expect("a catalogue").catalog;
    let import = v1::ImportCatalogRequest { request_id: fresh_id(), catalog, ..Default::default() };
    call!(admin, CatalogServiceClient, import_catalog, import).expect("a sound catalogue");
    let (Event::Snapshot(_), later) = next(&mut frames).await else { panic!("everything, anew") };
    let refused = watch(&amy, "", &token).await.expect_err("it is of before the import");
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(reason::<()>(Err(refused)), "RESUME_TOKEN_EXPIRED");

    let client = Client::new([format!("http://{}", house.address)], Options::default()).expect("an address");
    let request = v1::WatchSeatMapRequest { branch: "branches/main".into(), after: token, ..Default::default() };
    let mut following = client.with_session(&amy.token).expect("a token").watch_seat_map(request);
    let MapNews::Whole(seats) = following.next().await.expect("a node") else { panic!("everything, anew") };
    assert_eq!(seats.len(), 4);

    // What is remembered is told to whoever comes back, as it is now.
    for (from, to) in [((9, 0), (10, 0)), ((10, 0), (11, 0))] {
        call!(amy, ReservationServiceClient, create_reservation, reserve("r-102", from, to)).expect("free");
    }
    let mut again = watch(&amy, "", &later).await.expect("a stream");
    let (Event::Changes(since), _) = next(&mut again).await else { panic!("what has changed since") };
    assert_eq!(free(since.seats), BTreeMap::from([("r-102".to_owned(), false)]));
    let MapNews::Changed(seats) = following.next().await.expect("a node") else { panic!("a change") };
    assert_eq!(free(seats), BTreeMap::from([("r-102".to_owned(), false)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut frames = watch(&amy, "", "").await.expect("a stream");
    next(&mut frames).await;
    let logout = v1::LogoutRequest { request_id: fresh_id() };
    call!(amy, AuthServiceClient, logout, logout).expect("a session");
    let ben = house.newcomer("ben").await;
    call!(ben, ReservationServiceClient, create_reservation, reserve("r-101", (9, 0), (10, 0))).expect("free");
    let end = frames.message().await.expect_err("nobody is logged in");
    assert_eq!(end.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_says_where_to_go_on() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut frames = watch(&amy, "", "").await.expect("a stream");
    next(&mut frames).await;
    house.front.draining.cancel();
    let (Event::Draining(_), token) = next(&mut frames).await else { panic!("a last word") };
    assert!(!token.is_empty());
}
