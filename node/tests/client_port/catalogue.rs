//! The catalogue over the wire.

use carrel_proto::v1;
use carrel_proto::v1::catalog_service_client::CatalogServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use tonic::Code;
use tonic_types::StatusExt;

use crate::desk::{House, call, catalogue, fresh_id, reason, reserve};

fn import(catalog: v1::Catalog) -> v1::ImportCatalogRequest {
    v1::ImportCatalogRequest { request_id: fresh_id(), catalog: Some(catalog), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_sees_what_is_free() {
    let house = House::open().await;
    let mut desk = CatalogServiceClient::new(house.channel.clone());
    let branches = desk.list_branches(v1::ListBranchesRequest::default()).await.expect("no session is needed");
    let main = &branches.into_inner().branches[0];
    assert_eq!((main.name.as_str(), main.seat_count, main.available_count), ("branches/main", 4, 4));
    assert!(main.areas.iter().all(|area| area.open));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_can_be_imported_again() {
    let house = House::open().await;
    let admin = house.person("admin").await;
    let export = call!(admin, CatalogServiceClient, export_catalog, v1::ExportCatalogRequest::default());
    let export = export.expect("a catalogue");
    assert_eq!(export.catalog, Some(catalogue()));
    let request = v1::ImportCatalogRequest {
        expected_revision: Some(export.revision),
        ..import(export.catalog.expect("a catalogue"))
    };
    let imported = call!(admin, CatalogServiceClient, import_catalog, request.clone()).expect("nothing has changed");
    assert_eq!((imported.revision, imported.seat_count), (export.revision + 1, 4));
    let stale = v1::ImportCatalogRequest { request_id: fresh_id(), ..request };
    assert_eq!(reason(call!(admin, CatalogServiceClient, import_catalog, stale)), "ETAG_MISMATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_counts_what_it_would_displace_and_changes_nothing() {
    let house = House::open().await;
    let (admin, amy) = (house.person("admin").await, house.newcomer("amy").await);
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("h-1", (10, 0), (11, 0)));
    let name = booked.expect("a free seat").reservation.expect("a reservation").name;
    let mut smaller = catalogue();
    smaller.branches[0].areas[1].seats.clear();
    // What is left has no power, as hers has.
    smaller.branches[0].areas[0].seats.retain(|seat| seat.id == "r-103");
    let trial = v1::ImportCatalogRequest { validate_only: true, ..import(smaller) };
    let tried = call!(admin, CatalogServiceClient, import_catalog, trial).expect("a sound catalogue");
    assert_eq!((tried.displaced_count, tried.seat_count, tried.commit), (1, 1, None));
    let get = v1::GetReservationRequest { name, read: None };
    let hers = call!(amy, ReservationServiceClient, get_reservation, get).expect("hers").reservation;
    assert_eq!(hers.expect("a reservation").state(), v1::reservation::State::Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_told_at_once() {
    let house = House::open().await;
    let admin = house.person("admin").await;
    let mut faulty = catalogue();
    faulty.branches[0].time_zone = "Europe/Atlantis".into();
    faulty.branches[0].areas[0].seats[2].id = "r-101".into();
    faulty.branches[0].areas[1].seats[0].label = "a\u{7}b".into();
    let refused = call!(admin, CatalogServiceClient, import_catalog, import(faulty)).expect_err("three faults");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let bad = refused.get_details_bad_request().expect("violations");
    let mut fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["branches[0].areas[0].seats[2].id", "branches[0].areas[1].seats[0].label", "branches[0].time_zone"]
    );
    assert_eq!(reason::<()>(Err(refused)), "CATALOG_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_imports_and_only_so_much() {
    let house = House::open().await;
    let (admin, amy) = (house.person("admin").await, house.newcomer("amy").await);
    assert_eq!(reason(call!(amy, CatalogServiceClient, import_catalog, import(catalogue()))), "NOT_PERMITTED");
    let nobody = CatalogServiceClient::new(house.channel.clone()).import_catalog(import(catalogue())).await;
    assert_eq!(reason(nobody), "SESSION_EXPIRED");
    let mut huge = catalogue();
    huge.branches[0].display_name = "x".repeat(17 * 1024 * 1024);
    let refused = call!(admin, CatalogServiceClient, import_catalog, import(huge)).expect_err("too much");
    assert!(refused.message().contains("16384 KiB"), "{refused:?}");
}
