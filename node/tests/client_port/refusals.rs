//! Groups and series hear every rule that stands against them, and what they could have instead.

use carrel_proto::client::{Client, ClientError, Options, Refusal};
use carrel_proto::v1;
use carrel_proto::v1::batch_create_reservations_response::outcome::Outcome;
use carrel_proto::v1::create_group_reservation_request::Place;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;

use crate::desk::{House, Person, call, fresh_id, from_to, reserve};

fn group(places: &[(&str, &str)], from: (i64, i64), to: (i64, i64)) -> v1::CreateGroupReservationRequest {
    let place = |(seat, user): &(&str, &str)| Place {
        seat: format!("branches/main/seats/{seat}"),
        user: format!("users/{user}"),
    };
    v1::CreateGroupReservationRequest {
        request_id: fresh_id(),
        places: places.iter().map(place).collect(),
        interval: from_to(from, to),
        ..Default::default()
    }
}

async fn refused(house: &House, person: &Person, request: v1::CreateGroupReservationRequest) -> Refusal {
    let client = Client::new([format!("http://{}", house.address)], Options::default()).expect("an address");
    let client = client.with_session(&person.token).expect("a token");
    match client.create_group_reservation(request).await {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn reasons(rules: &[v1::FailingRule]) -> Vec<&str> {
    rules.iter().map(|rule| rule.reason.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_hears_of_every_seat_and_is_offered_others() {
    let house = House::open().await;
    let (amy, _ben, cat) = (house.newcomer("amy").await, house.newcomer("ben").await, house.newcomer("cat").await);
    call!(cat, ReservationServiceClient, create_reservation, reserve("r-101", (14, 0), (15, 0))).expect("free");
    let refusal = refused(&house, &amy, group(&[("r-101", "amy"), ("r-102", "ben")], (14, 0), (15, 0))).await;
    assert_eq!((refusal.reason.as_str(), reasons(&refusal.rules)), ("SEAT_TAKEN", vec!["SEAT_TAKEN"]));
    let seats = |option: &v1::Alternative| -> Vec<String> {
        option.group_seats.iter().map(|seat| seat.label.clone()).collect()
    };
    let first = refusal.options.first().expect("there are other seats");
    assert_eq!((first.interval, seats(first)), (from_to((14, 0), (15, 0)), vec!["R-103".into(), "R-102".into()]));
    // What is offered is granted.
    let second = refusal.options.get(1).expect("there are other times");
    assert_eq!(seats(second), ["R-101", "R-102"]);
    let mut instead = group(&[("r-101", "amy"), ("r-102", "ben")], (14, 0), (15, 0));
    instead.interval = second.interval;
    call!(amy, ReservationServiceClient, create_group_reservation, instead).expect("it was offered");

    // Everything at once: the hours, the grid, somebody who is elsewhere.
    let late = group(&[("h-1", "amy"), ("r-103", "cat")], (19, 45), (20, 30));
    let rules = refused(&house, &amy, late).await.rules;
    assert_eq!(reasons(&rules), ["CLOSED", "INTERVAL_INVALID"]);
    let elsewhere = group(&[("h-1", "amy"), ("r-103", "cat")], (14, 30), (15, 30));
    let rules = refused(&house, &amy, elsewhere).await.rules;
    // By then she has what was offered, at three.
    assert_eq!(reasons(&rules), ["OWN_OVERLAP", "MEMBER_UNAVAILABLE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wish_of_a_series_hears_why_not_and_what_instead() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    call!(ben, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (11, 0))).expect("free");
    let wish = |from, to| v1::Wish {
        target: Some(v1::wish::Target::Seat("branches/main/seats/r-101".into())),
        interval: from_to(from, to),
        ..Default::default()
    };
    let request = v1::BatchCreateReservationsRequest {
        request_id: fresh_id(),
        wishes: vec![wish((9, 0), (10, 0)), wish((9, 30), (10, 30)), wish((11, 0), (12, 0))],
        ..Default::default()
    };
    let response = call!(amy, ReservationServiceClient, batch_create_reservations, request).expect("an answer");
    let [first, second, third] = response.outcomes.as_slice() else { panic!("three outcomes") };
    assert!(matches!(first.outcome, Some(Outcome::Reservation(_))) && first.rules.is_empty());
    assert!(matches!(third.outcome, Some(Outcome::Reservation(_))));
    let Some(Outcome::Refusal(refusal)) = &second.outcome else { panic!("it is taken") };
    // With the first wish granted she has a seat then, and it is taken besides.
    assert_eq!(refusal.reason, "OWN_OVERLAP");
    assert_eq!(reasons(&second.rules), ["OWN_OVERLAP", "SEAT_TAKEN"]);
    assert!(!second.alternatives.is_empty());
}
