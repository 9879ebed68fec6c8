//! Every way to a seat and from it, as a client goes it: holds, codes, absences, exchanges, groups, closures.

use carrel_domain::presence::PresenceSecret;
use carrel_domain::request::{Action, Request};
use carrel_node::convert::time::to_timestamp;
use carrel_proto::v1;
use carrel_proto::v1::batch_create_reservations_response::outcome::Outcome;
use carrel_proto::v1::catalog_service_client::CatalogServiceClient;
use carrel_proto::v1::create_group_reservation_request::Place;
use carrel_proto::v1::inbox_item::Kind;
use carrel_proto::v1::inbox_service_client::InboxServiceClient;
use carrel_proto::v1::reservation::{Origin, State};
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::seat_service_client::SeatServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use carrel_proto::v1::waitlist_service_client::WaitlistServiceClient;
use prost::Message;
use tonic::Status;
use tonic_types::StatusExt;

use crate::desk::{House, Person, at, call, fresh_id, from_to, reason, reserve};

fn seat(id: &str) -> String {
    format!("branches/main/seats/{id}")
}

fn wish(id: &str, from: (i64, i64), to: (i64, i64)) -> v1::Wish {
    let target = Some(v1::wish::Target::Seat(seat(id)));
    v1::Wish { target, interval: from_to(from, to), ..Default::default() }
}

fn detail<M: Message + Default>(status: &Status, kind: &str) -> M {
    let details = tonic_types::pb::Status::decode(status.details()).expect("details").details;
    let packed = details.iter().find(|any| any.type_url.ends_with(kind));
    packed.map(|any| M::decode(any.value.as_slice()).expect(kind)).unwrap_or_default()
}

/// Entries follow each other by microseconds.
fn second(time: Option<prost_types::Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds)
}

async fn book(person: &Person, id: &str, from: (i64, i64), to: (i64, i64)) -> String {
    let booked = call!(person, ReservationServiceClient, create_reservation, reserve(id, from, to));
    booked.expect("a free seat").reservation.expect("a reservation").name
}

async fn kinds(person: &Person) -> Vec<Kind> {
    let inbox = call!(person, InboxServiceClient, list_inbox, v1::ListInboxRequest::default()).expect("an inbox");
    inbox.items.iter().map(v1::InboxItem::kind).collect()
}

/// The catalogue with other rules.
async fn with_policy(house: &House, change: impl FnOnce(&mut v1::Policy)) {
    let admin = house.person("admin").await;
    let export = v1::ExportCatalogRequest::default();
    let export = call!(admin, CatalogServiceClient, export_catalog, export).expect("a catalogue");
    let mut catalog = export.catalog.expect("a catalogue");
    change(&mut catalog.policies[0]);
    let import = v1::ImportCatalogRequest { request_id: fresh_id(), catalog: Some(catalog), ..Default::default() };
    call!(admin, CatalogServiceClient, import_catalog, import).expect("a sound catalogue");
}

async fn staff(house: &House, name: &str, role: v1::Role) -> Person {
    let admin = house.person("admin").await;
    let person = house.newcomer(name).await;
    let branches = if role == v1::Role::Librarian { vec!["branches/main".to_owned()] } else { Vec::new() };
    let (request_id, name) = (fresh_id(), format!("users/{name}"));
    let request = v1::SetUserRoleRequest { request_id, name, role: role.into(), branches };
    call!(admin, UserServiceClient, set_user_role, request).expect("an admin may");
    person
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_kept_for_whoever_decides_and_no_longer() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let hold = |id: &str| v1::HoldSeatRequest {
        request_id: fresh_id(),
        wish: Some(wish(id, (10, 0), (12, 0))),
        validate_only: false,
    };
    let held = call!(amy, ReservationServiceClient, hold_seat, hold("r-101")).expect("free").reservation;
    let held = held.expect("a hold");
    assert_eq!((held.state(), held.origin()), (State::Held, Origin::Hold));
    let taken = call!(ben, ReservationServiceClient, create_reservation, reserve("r-101", (11, 0), (12, 0)));
    assert_eq!(reason(taken), "SEAT_TAKEN");
    assert_eq!(reason(call!(amy, ReservationServiceClient, hold_seat, hold("r-102"))), "QUOTA_EXCEEDED");
    let confirm = || v1::ConfirmReservationRequest { request_id: fresh_id(), name: held.name.clone() };
    let confirmed = call!(amy, ReservationServiceClient, confirm_reservation, confirm()).expect("in time").reservation;
    assert_eq!(confirmed.expect("a reservation").state(), State::Confirmed);

    let held = call!(ben, ReservationServiceClient, hold_seat, hold("r-102")).expect("free").reservation;
    let name = held.expect("a hold").name;
    house.desk.pass_minutes(3);
    let late = v1::ConfirmReservationRequest { request_id: fresh_id(), name };
    assert_eq!(reason(call!(ben, ReservationServiceClient, confirm_reservation, late)), "HOLD_EXPIRED");
    assert_eq!(kinds(&ben).await, [Kind::HoldExpired]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_every_rule_and_what_could_be_had() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    book(&ben, "r-101", (10, 0), (12, 0)).await;
    book(&amy, "r-102", (10, 0), (11, 0)).await;
    let refused = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (10, 0), (12, 0)));
    let refused = refused.expect_err("two rules fail");
    let rules: v1::FailingRules = detail(&refused, "/carrel.v1.FailingRules");
    let reasons: Vec<&str> = rules.rules.iter().map(|rule| rule.reason.as_str()).collect();
    assert_eq!(reasons, ["OWN_OVERLAP", "SEAT_TAKEN"]);
    assert_eq!(refused.get_details_error_info().expect("a reason").reason, "OWN_OVERLAP");
    let alternatives: v1::Alternatives = detail(&refused, "/carrel.v1.Alternatives");
    assert!((1..=3).contains(&alternatives.alternatives.len()), "{alternatives:?}");
    // What is offered is granted.
    for option in alternatives.alternatives {
        let (target, interval) = (option.seat.expect("a seat").name, option.interval);
        let tried = v1::CreateReservationRequest { seat: target, interval, validate_only: true, ..Default::default() };
        call!(amy, ReservationServiceClient, create_reservation, tried).expect("it was offered");
    }
    // The same is said before anybody asks for it.
    let explain = v1::ExplainAvailabilityRequest { wish: Some(wish("r-101", (10, 0), (12, 0))), read: None };
    let told = call!(amy, SeatServiceClient, explain_availability, explain).expect("an explanation");
    assert_eq!(told.rules, rules.rules);
    let explain = v1::ExplainAvailabilityRequest { wish: Some(wish("r-103", (14, 0), (15, 0))), read: None };
    assert_eq!(call!(amy, SeatServiceClient, explain_availability, explain).expect("nothing"), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_only_tried_changes_nothing() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let tried = v1::CreateReservationRequest { validate_only: true, ..reserve("r-101", (10, 0), (12, 0)) };
    let answer = call!(amy, ReservationServiceClient, create_reservation, tried.clone()).expect("it would be granted");
    assert_eq!((answer.reservation.expect("as it would be").state(), answer.commit), (State::Confirmed, None));
    let list = v1::ListReservationsRequest::default();
    let list = call!(amy, ReservationServiceClient, list_reservations, list).expect("her list");
    assert!(list.reservations.is_empty());
    // Nor is it remembered under its id.
    let earnest = v1::CreateReservationRequest { validate_only: false, ..tried };
    let answer = call!(amy, ReservationServiceClient, create_reservation, earnest).expect("granted");
    assert!(!answer.commit.expect("a commit").replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_checks_in_types_the_code_that_the_seat_shows() {
    let house = House::open().await;
    with_policy(&house, |policy| policy.proof_required = Some(true)).await;
    house.desk.commit(&Request::system(Action::SetPresenceKey { secret: PresenceSecret([7; 32]) }));
    let (amy, kiosk) = (house.newcomer("amy").await, staff(&house, "kiosk", v1::Role::Kiosk).await);
    let name = book(&amy, "r-101", (9, 0), (12, 0)).await;
    let code = |id: &str| v1::GetPresenceCodeRequest { seat: seat(id), read: None };
    let check_in = |presence_code: &str| v1::CheckInRequest {
        request_id: fresh_id(),
        name: name.clone(),
        presence_code: presence_code.to_owned(),
    };
    let attempt = async |typed: &str| call!(amy, ReservationServiceClient, check_in, check_in(typed));
    assert_eq!(reason(call!(amy, SeatServiceClient, get_presence_code, code("r-101"))), "NOT_PERMITTED");
    let other = call!(kiosk, SeatServiceClient, get_presence_code, code("r-102")).expect("a code").code;
    let old = call!(kiosk, SeatServiceClient, get_presence_code, code("r-101")).expect("a code").code;
    assert_eq!(reason(attempt("").await), "PRESENCE_NOT_PROVEN");
    assert_eq!(reason(attempt(&other).await), "PRESENCE_NOT_PROVEN");
    assert_eq!(reason(attempt("not a code").await), "FIELD_INVALID");
    // A code that is passed on is worth nothing two minutes later.
    house.desk.pass_minutes(2);
    assert_eq!(reason(attempt(&old).await), "PRESENCE_NOT_PROVEN");
    let shown = call!(kiosk, SeatServiceClient, get_presence_code, code("r-101")).expect("a code").code;
    // Nor is one from before the key was changed.
    let admin = house.person("admin").await;
    let rotate = v1::RotatePresenceKeyRequest { request_id: fresh_id() };
    call!(admin, SeatServiceClient, rotate_presence_key, rotate).expect("an admin may");
    assert_eq!(reason(attempt(&shown).await), "PRESENCE_NOT_PROVEN");
    let shown = call!(kiosk, SeatServiceClient, get_presence_code, code("r-101")).expect("a code").code;
    let sits = attempt(&shown.to_lowercase()).await.expect("there").reservation.expect("a reservation");
    assert_eq!(sits.state(), State::CheckedIn);

    // Staff seat somebody, who is told; a kiosk cannot tell who stands before it.
    let walk_in = v1::WalkInRequest {
        request_id: fresh_id(),
        seat: seat("r-103"),
        end_time: Some(to_timestamp(at(10, 0))),
        on_behalf_of: "users/ben".into(),
        ..Default::default()
    };
    let ben = house.newcomer("ben").await;
    assert_eq!(reason(call!(kiosk, ReservationServiceClient, walk_in, walk_in.clone())), "NOT_PERMITTED");
    let sits = call!(admin, ReservationServiceClient, walk_in, walk_in).expect("free").reservation;
    let sits = sits.expect("a reservation");
    assert_eq!((sits.state(), sits.origin(), sits.user.as_str()), (State::CheckedIn, Origin::WalkIn, "users/ben"));
    assert_eq!(kinds(&ben).await, [Kind::BookedForYou]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_for_a_while_comes_back_or_loses_the_seat() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let name = book(&amy, "r-101", (9, 0), (12, 0)).await;
    let check_in = || v1::CheckInRequest { request_id: fresh_id(), name: name.clone(), ..Default::default() };
    let away = || v1::StepAwayRequest { request_id: fresh_id(), name: name.clone() };
    let report = || v1::ReportEmptySeatRequest { request_id: fresh_id(), seat: seat("r-101") };
    assert_eq!(reason(call!(ben, ReservationServiceClient, report_empty_seat, report())), "SEAT_NOT_OCCUPIED");
    call!(amy, ReservationServiceClient, check_in, check_in()).expect("in time");
    let left = call!(amy, ReservationServiceClient, step_away, away()).expect("for a while").reservation;
    let left = left.expect("a reservation");
    assert_eq!((left.state(), second(left.deadline)), (State::Away, second(Some(to_timestamp(at(9, 35))))));
    call!(amy, ReservationServiceClient, check_in, check_in()).expect("she is back");
    call!(ben, ReservationServiceClient, report_empty_seat, report()).expect("nobody is there");
    let inbox = call!(amy, InboxServiceClient, list_inbox, v1::ListInboxRequest::default()).expect("hers").items;
    let until = second(Some(to_timestamp(at(9, 20))));
    assert_eq!((inbox[0].kind(), second(inbox[0].until)), (Kind::SeatReported, until));
    assert_eq!(inbox[0].sender, "");
    house.desk.pass_minutes(20);
    assert_eq!(kinds(&amy).await, [Kind::SeatReported, Kind::Released]);
    let strikes = v1::ListStrikesRequest::default();
    let strikes = call!(amy, UserServiceClient, list_strikes, strikes).expect("her strikes").strikes;
    assert_eq!(strikes[0].cause(), v1::strike::Cause::Released);
    let libby = staff(&house, "libby", v1::Role::Librarian).await;
    let waive = v1::WaiveStrikeRequest {
        request_id: fresh_id(),
        name: "users/amy".into(),
        reservation: name.clone(),
        reason: "she was at the printer".into(),
    };
    call!(libby, UserServiceClient, waive_strike, waive).expect("staff may");
    assert_eq!(kinds(&amy).await.last(), Some(&Kind::StrikeWaived));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_is_granted_whole_or_not_at_all() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let name = book(&amy, "r-101", (10, 0), (12, 0)).await;
    book(&ben, "r-102", (10, 0), (12, 0)).await;
    book(&ben, "r-101", (13, 0), (14, 0)).await;
    let exchange = |to: &str, interval| v1::RescheduleReservationRequest {
        request_id: fresh_id(),
        name: name.clone(),
        seat: to.to_owned(),
        interval,
        validate_only: false,
    };
    let taken = call!(amy, ReservationServiceClient, reschedule_reservation, exchange(&seat("r-102"), None));
    let taken = taken.expect_err("it is Ben's");
    let rules: v1::FailingRules = detail(&taken, "/carrel.v1.FailingRules");
    assert_eq!(rules.rules.len(), 1, "her own reservation does not stand in her way: {rules:?}");
    let moved = exchange("", from_to((14, 0), (16, 0)));
    let moved = call!(amy, ReservationServiceClient, reschedule_reservation, moved).expect("free").reservation;
    let moved = moved.expect("a reservation");
    assert_eq!((moved.name.as_str(), moved.start_time), (name.as_str(), Some(to_timestamp(at(14, 0)))));
    let back = exchange(&seat("r-101"), from_to((10, 0), (11, 0)));
    call!(amy, ReservationServiceClient, reschedule_reservation, back).expect("free");
    let longer = |hour, minute| v1::ExtendReservationRequest {
        request_id: fresh_id(),
        name: name.clone(),
        end_time: Some(to_timestamp(at(hour, minute))),
        validate_only: false,
    };
    let refused = call!(amy, ReservationServiceClient, extend_reservation, longer(13, 30)).expect_err("Ben is next");
    let options: v1::Alternatives = detail(&refused, "/carrel.v1.Alternatives");
    let latest = options.alternatives[0].interval.expect("until when she may stay");
    assert_eq!(latest.end_time, Some(to_timestamp(at(13, 0))));
    call!(amy, ReservationServiceClient, extend_reservation, longer(13, 0)).expect("free until then");
    assert_eq!(
        reason(call!(amy, ReservationServiceClient, reschedule_reservation, exchange("", None))),
        "FIELD_INVALID"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_sits_together_or_not_at_all() {
    let house = House::open().await;
    let (amy, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let group = |places: &[(&str, &str)]| v1::CreateGroupReservationRequest {
        request_id: fresh_id(),
        places: places.iter().map(|(at, user)| Place { seat: seat(at), user: format!("users/{user}") }).collect(),
        interval: from_to((10, 0), (12, 0)),
        validate_only: false,
    };
    let places = [("r-101", "amy"), ("r-102", "nobody-here")];
    let failed = call!(amy, ReservationServiceClient, create_group_reservation, group(&places));
    assert_eq!(reason(failed), "MEMBER_UNAVAILABLE");
    let places = [("r-101", "amy"), ("r-102", "ben")];
    let booked = call!(amy, ReservationServiceClient, create_group_reservation, group(&places)).expect("both free");
    let states: Vec<State> = booked.reservations.iter().map(v1::Reservation::state).collect();
    assert_eq!(states, [State::Confirmed, State::Held]);
    assert_eq!(kinds(&ben).await, [Kind::BookedForYou]);
    let confirm = v1::ConfirmReservationRequest { request_id: fresh_id(), name: booked.reservations[1].name.clone() };
    call!(ben, ReservationServiceClient, confirm_reservation, confirm).expect("he agrees");
    let too_many = vec![("r-101", "amy"); 9];
    assert_eq!(
        reason(call!(amy, ReservationServiceClient, create_group_reservation, group(&too_many))),
        "FIELD_INVALID"
    );

    let many = v1::BatchCreateReservationsRequest {
        request_id: fresh_id(),
        wishes: vec![wish("r-103", (13, 0), (14, 0)), wish("r-103", (13, 30), (14, 30)), wish("h-1", (15, 0), (16, 0))],
        validate_only: false,
    };
    let outcomes = call!(amy, ReservationServiceClient, batch_create_reservations, many).expect("an answer").outcomes;
    let told: Vec<String> = outcomes
        .into_iter()
        .map(|one| match one.outcome.expect("an outcome") {
            Outcome::Reservation(reservation) => reservation.state().as_str_name().to_owned(),
            Outcome::Refusal(rule) => rule.reason,
        })
        .collect();
    assert_eq!(told, ["STATE_CONFIRMED", "OWN_OVERLAP", "STATE_CONFIRMED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_seat_moves_whoever_had_it() {
    let house = House::open().await;
    let (amy, libby) = (house.newcomer("amy").await, staff(&house, "libby", v1::Role::Librarian).await);
    let name = book(&amy, "r-101", (10, 0), (12, 0)).await;
    let close = |target, validate_only| v1::CloseSeatsRequest {
        request_id: fresh_id(),
        target: Some(target),
        interval: from_to((10, 0), (20, 0)),
        closing: v1::Closing::Maintenance.into(),
        reason: "a broken lamp".into(),
        validate_only,
    };
    let r101 = || v1::close_seats_request::Target::Seat(seat("r-101"));
    let tried = call!(libby, SeatServiceClient, close_seats, close(r101(), true)).expect("staff may");
    assert_eq!((tried.moved_count, tried.commit), (1, None));
    let closed = call!(libby, SeatServiceClient, close_seats, close(r101(), false)).expect("staff may");
    assert_eq!((closed.seat_count, closed.moved_count, closed.displaced_count), (1, 1, 0));
    let get = v1::GetReservationRequest { name, read: None };
    let moved = call!(amy, ReservationServiceClient, get_reservation, get).expect("hers").reservation;
    assert_eq!(moved.expect("a reservation").seat, seat("r-102"));
    assert_eq!(kinds(&amy).await, [Kind::Moved]);
    let list = v1::ListSeatReservationsRequest { seat: seat("r-101"), read: None };
    let on_seat = call!(libby, ReservationServiceClient, list_seat_reservations, list).expect("staff may").reservations;
    assert_eq!(on_seat[0].origin(), Origin::Maintenance);
    let reopen = v1::ReopenSeatsRequest {
        request_id: fresh_id(),
        target: Some(v1::reopen_seats_request::Target::Branch("branches/main".into())),
        interval: from_to((10, 0), (20, 0)),
        reason: "repaired".into(),
        validate_only: false,
    };
    assert_eq!(call!(libby, SeatServiceClient, reopen_seats, reopen).expect("staff may").seat_count, 1);
    let unreasoned = v1::CloseSeatsRequest { reason: String::new(), ..close(r101(), false) };
    assert_eq!(reason(call!(libby, SeatServiceClient, close_seats, unreasoned)), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_knows_where_in_the_line() {
    let house = House::open().await;
    let people = [house.newcomer("amy").await, house.newcomer("ben").await, house.newcomer("cleo").await];
    for (person, id) in people.iter().zip(["r-101", "r-102", "r-103"]) {
        book(person, id, (10, 0), (12, 0)).await;
    }
    let dora = house.newcomer("dora").await;
    book(&dora, "h-1", (10, 0), (12, 0)).await;
    let (eve, fred) = (house.newcomer("eve").await, house.newcomer("fred").await);
    let join = |target, stay_minutes| v1::JoinWaitlistRequest {
        request_id: fresh_id(),
        target: Some(target),
        interval: from_to((10, 0), (12, 0)),
        stay_minutes,
        ..Default::default()
    };
    let branch = v1::join_waitlist_request::Target::Branch("branches/main".into());
    let first = call!(eve, WaitlistServiceClient, join_waitlist, join(branch.clone(), 0)).expect("a place").entry;
    let first = first.expect("an entry");
    assert_eq!((first.best_place, first.worst_place, first.stay_minutes), (1, 1, 120));
    let area = v1::join_waitlist_request::Target::Area("branches/main/areas/reading-room".into());
    let second = call!(fred, WaitlistServiceClient, join_waitlist, join(area, 60)).expect("a place").entry;
    let second = second.expect("an entry");
    assert_eq!((second.best_place, second.worst_place, second.stay_minutes), (1, 2, 60));
    let list = v1::ListWaitlistEntriesRequest::default();
    let entries = call!(fred, WaitlistServiceClient, list_waitlist_entries, list).expect("his places").entries;
    assert_eq!((entries[0].best_place, entries[0].worst_place), (1, 2));
    let negative = join(branch, -5);
    assert_eq!(reason(call!(fred, WaitlistServiceClient, join_waitlist, negative)), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_suspend_and_forgive_and_a_person_takes_their_data_away() {
    let house = House::open().await;
    let (amy, libby) = (house.newcomer("amy").await, staff(&house, "libby", v1::Role::Librarian).await);
    let name = book(&amy, "r-101", (10, 0), (12, 0)).await;
    let quota = v1::GetQuotaRequest { area: "branches/main/areas/reading-room".into(), ..Default::default() };
    let quota = call!(amy, ReservationServiceClient, get_quota, quota).expect("her quotas");
    let used = |usage: Option<v1::get_quota_response::Usage>| usage.map(|usage| (usage.used, usage.max));
    assert_eq!(used(quota.reservations), Some((1, Some(3))));
    assert_eq!(used(quota.minutes_on_day), Some((120, Some(480))));
    assert_eq!(used(quota.minutes_in_week), Some((120, None)));
    let suspend = |until| v1::SuspendUserRequest {
        request_id: fresh_id(),
        name: "users/amy".into(),
        until: Some(to_timestamp(until)),
        reason: "noise".into(),
    };
    assert_eq!(reason(call!(libby, UserServiceClient, suspend_user, suspend(at(8, 0)))), "FIELD_INVALID");
    let user = call!(libby, UserServiceClient, suspend_user, suspend(at(33, 0))).expect("staff may").user;
    assert_eq!(user.expect("a user").suspended_until, Some(to_timestamp(at(33, 0))));
    let refused = call!(amy, ReservationServiceClient, create_reservation, reserve("h-1", (13, 0), (14, 0)));
    assert_eq!(reason(refused), "SUSPENDED");
    // That is between her and the staff.
    let ben = house.newcomer("ben").await;
    for (viewer, knows) in [(&amy, true), (&libby, true), (&ben, false)] {
        let list = v1::ListUsersRequest { filter: "amy".into(), ..Default::default() };
        let users = call!(viewer, UserServiceClient, list_users, list).expect("a list").users;
        assert_eq!(users[0].suspended_until.is_some(), knows);
    }
    // And what she needs, between the staff and her: she finds it in all that is kept about her.
    let needs = |needs_accessible| v1::SetAccessibilityRequest {
        request_id: fresh_id(),
        name: "users/amy".into(),
        needs_accessible,
    };
    for needed in [true, false] {
        call!(libby, UserServiceClient, set_accessibility, needs(needed)).expect("staff may");
        for (viewer, told) in [(&amy, None), (&libby, Some(needed)), (&ben, None)] {
            let list = v1::ListUsersRequest { filter: "amy".into(), ..Default::default() };
            let users = call!(viewer, UserServiceClient, list_users, list).expect("a list").users;
            assert_eq!(users[0].needs_accessible, told);
        }
    }
    let forgive =
        v1::UnsuspendUserRequest { request_id: fresh_id(), name: "users/amy".into(), reason: "she said sorry".into() };
    call!(libby, UserServiceClient, unsuspend_user, forgive).expect("staff may");
    book(&amy, "h-1", (13, 0), (14, 0)).await;
    let data = call!(amy, UserServiceClient, export_my_data, v1::ExportMyDataRequest::default()).expect("her data");
    let names: Vec<&str> = data.reservations.iter().map(|reservation| reservation.name.as_str()).collect();
    assert_eq!((names[0], names.len(), data.session_expire_times.len()), (name.as_str(), 2, 1));
    assert_eq!(data.inbox_items[0].kind(), Kind::Suspended);
    assert_eq!(data.inbox_items[0].until, Some(to_timestamp(at(33, 0))));
}
