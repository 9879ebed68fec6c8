//! Who may do what: every method, asked by everybody.
//!
//! `authority.txt` holds a line for each method and a letter for each caller: `y` done, `r` refused by the rules for
//! another reason than who asks, `n` not permitted, `u` not logged in. `UPDATE_GOLDEN=1` writes it anew: read what has
//! changed, each letter is a promise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::{Buf, BufMut};
use carrel_domain::presence::PresenceSecret;
use carrel_domain::request::{Action, Request};
use carrel_node::convert::time::to_timestamp;
use carrel_proto::v1;
use carrel_proto::v1::catalog_service_client::CatalogServiceClient;
use carrel_proto::v1::reservation_service_client::ReservationServiceClient;
use carrel_proto::v1::user_service_client::UserServiceClient;
use carrel_proto::v1::waitlist_service_client::WaitlistServiceClient;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::desk::{House, PASSWORD, Person, at, call, fresh_id, from_to, reserve};

const CALLERS: [&str; 8] =
    ["nobody", "a patron", "the holder", "staff here", "staff elsewhere", "admin", "auditor", "kiosk"];

/// Bytes as they are.
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

async fn outcome(channel: &Channel, caller: Option<&Person>, method: &str, body: Vec<u8>) -> char {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("a server");
    let request = match caller {
        Some(caller) => caller.asks(body),
        None => tonic::Request::new(body),
    };
    let path = PathAndQuery::from_str(&format!("/carrel.v1.{method}")).expect("a path");
    match grpc.server_streaming(request, path, Raw).await {
        Ok(_) => 'y',
        Err(status) => match status.code() {
            Code::PermissionDenied => 'n',
            Code::Unauthenticated => 'u',
            Code::Unimplemented | Code::Unavailable | Code::Internal | Code::Unknown => panic!("{method}: {status:?}"),
            _ => 'r',
        },
    }
}

/// A second branch, so that somebody can be staff elsewhere.
async fn with_two_branches(admin: &Person) {
    let export = v1::ExportCatalogRequest::default();
    let mut catalog =
        call!(admin, CatalogServiceClient, export_catalog, export).expect("a catalogue").catalog.unwrap_or_default();
    catalog.branches.push(v1::Branch { id: "law".into(), areas: Vec::new(), ..catalog.branches[0].clone() });
    let import = v1::ImportCatalogRequest { request_id: fresh_id(), catalog: Some(catalog), ..Default::default() };
    call!(admin, CatalogServiceClient, import_catalog, import).expect("a sound catalogue");
}

pub async fn in_role(house: &House, admin: &Person, name: &str, role: v1::Role, branch: Option<&str>) -> Person {
    let person = house.newcomer(name).await;
    let branches = branch.map(|branch| format!("branches/{branch}")).into_iter().collect();
    let request =
        v1::SetUserRoleRequest { request_id: fresh_id(), name: format!("users/{name}"), role: role.into(), branches };
    call!(admin, UserServiceClient, set_user_role, request).expect("an admin may");
    person
}

/// What each method is asked. Reservation 1 is Amy's, for 10:00; so is waitlist entry 1.
#[allow(clippy::needless_update, reason = "of some requests every field is named")]
pub fn questions() -> Vec<(&'static str, Vec<u8>)> {
    let name = || "reservations/1".to_owned();
    let (amy, zoe) = (|| "users/amy".to_owned(), || "users/zoe".to_owned());
    let seat = || "branches/main/seats/r-101".to_owned();
    let reason = || "because".to_owned();
    let h1 = || Some(v1::wish::Target::Seat("branches/main/seats/h-1".into()));
    let wish = || Some(v1::Wish { target: h1(), interval: from_to((18, 0), (19, 0)), ..Default::default() });
    let behalf = || {
        let interval = from_to((16, 0), (17, 0));
        let (on_behalf_of, reason) = (zoe(), reason());
        Some(v1::Wish { target: h1(), interval, on_behalf_of, reason, ..Default::default() })
    };
    let scope = |branch: &str| Some(v1::ReportScope { branch: branch.to_owned(), interval: from_to((0, 0), (24, 0)) });
    macro_rules! asked {
        ($($method:literal $request:ident { $($field:ident: $value:expr),* };)*) => {
            vec![$(($method, v1::$request { $($field: $value,)* ..Default::default() }.encode_to_vec()),)*]
        };
    }
    asked! {
        "AuthService/GetSession" GetSessionRequest {};
        "AuthService/Login" LoginRequest { user_id: "amy".into(), password: PASSWORD.into() };
        "AuthService/Register" RegisterRequest { user_id: "new".into(), password: PASSWORD.into() };
        "CatalogService/ListBranches" ListBranchesRequest {};
        "CatalogService/ExportCatalog" ExportCatalogRequest {};
        "CatalogService/ImportCatalog" ImportCatalogRequest { catalog: Some(v1::Catalog::default()), validate_only: true };
        "SeatService/SearchSeats" SearchSeatsRequest { branch: "branches/main".into() };
        "SeatService/GetSeat" GetSeatRequest { name: seat() };
        "SeatService/WatchSeatMap" WatchSeatMapRequest { branch: "branches/main".into() };
        "SeatService/ExplainAvailability" ExplainAvailabilityRequest { wish: wish() };
        "SeatService/GetPresenceCode" GetPresenceCodeRequest { seat: seat() };
        "SeatService/RotatePresenceKey" RotatePresenceKeyRequest {};
        "SeatService/CloseSeats" CloseSeatsRequest {
            target: Some(v1::close_seats_request::Target::Seat("branches/main/seats/r-103".into())),
            interval: from_to((10, 0), (11, 0)), closing: v1::Closing::Maintenance.into(), reason: reason()
        };
        "SeatService/ReopenSeats" ReopenSeatsRequest {
            target: Some(v1::reopen_seats_request::Target::Seat("branches/main/seats/r-103".into())),
            interval: from_to((10, 0), (11, 0)), reason: reason()
        };
        "ReservationService/CreateReservation" CreateReservationRequest { wish: wish(), validate_only: true };
        "ReservationService/CreateReservation" CreateReservationRequest { wish: behalf(), validate_only: true };
        "ReservationService/HoldSeat" HoldSeatRequest { wish: wish(), validate_only: true };
        "ReservationService/WalkIn" WalkInRequest {
            seat: "branches/main/seats/r-102".into(), end_time: Some(to_timestamp(at(10, 0))), validate_only: true
        };
        "ReservationService/WalkIn" WalkInRequest {
            seat: "branches/main/seats/r-102".into(), end_time: Some(to_timestamp(at(10, 0))), on_behalf_of: zoe(),
            validate_only: true
        };
        "ReservationService/CreateGroupReservation" CreateGroupReservationRequest {
            places: vec![v1::create_group_reservation_request::Place {
                seat: "branches/main/seats/h-1".into(), user: amy()
            }],
            interval: from_to((18, 0), (19, 0)), validate_only: true
        };
        "ReservationService/BatchCreateReservations" BatchCreateReservationsRequest {
            wishes: vec![wish().unwrap_or_default()], validate_only: true
        };
        "ReservationService/GetReservation" GetReservationRequest { name: name() };
        "ReservationService/ListReservations" ListReservationsRequest {};
        "ReservationService/ListSeatReservations" ListSeatReservationsRequest { seat: seat() };
        "ReservationService/GetQuota" GetQuotaRequest { area: "branches/main/areas/west-hall".into() };
        "ReservationService/ConfirmReservation" ConfirmReservationRequest { name: name() };
        "ReservationService/ExtendReservation" ExtendReservationRequest {
            name: name(), end_time: Some(to_timestamp(at(12, 30)))
        };
        "ReservationService/RescheduleReservation" RescheduleReservationRequest {
            name: name(), interval: from_to((9, 0), (11, 0))
        };
        "ReservationService/CheckIn" CheckInRequest { name: name() };
        "ReservationService/ReportEmptySeat" ReportEmptySeatRequest { seat: seat() };
        "ReservationService/StepAway" StepAwayRequest { name: name() };
        "ReservationService/CheckOut" CheckOutRequest { name: name() };
        "ReservationService/CancelReservation" CancelReservationRequest { name: name() };
        "WaitlistService/JoinWaitlist" JoinWaitlistRequest {
            target: Some(v1::join_waitlist_request::Target::Branch("branches/main".into())),
            interval: from_to((18, 0), (19, 0)), validate_only: true
        };
        "WaitlistService/ListWaitlistEntries" ListWaitlistEntriesRequest {};
        "WaitlistService/AcceptOffer" AcceptOfferRequest { reservation: name() };
        "WaitlistService/DeclineOffer" DeclineOfferRequest { reservation: name() };
        "WaitlistService/LeaveWaitlist" LeaveWaitlistRequest { name: "waitlistEntries/1".into() };
        "InboxService/ListInbox" ListInboxRequest {};
        "InboxService/WatchInbox" WatchInboxRequest {};
        "InboxService/AdvanceReadCursor" AdvanceReadCursorRequest { resume_token: "x".into() };
        "MessageService/SendMessage" SendMessageRequest { recipients: vec![zoe()], text: "hello".into() };
        "MessageService/Broadcast" BroadcastRequest { text: "hello".into() };
        "MessageService/ListMessages" ListMessagesRequest {};
        "MessageService/DeleteMessage" DeleteMessageRequest { name: "messages/1-0".into() };
        "MessageService/ListConversations" ListConversationsRequest {};
        "MessageService/BlockUser" BlockUserRequest { name: zoe() };
        "MessageService/UnblockUser" UnblockUserRequest { name: zoe() };
        "MessageService/ListBlocks" ListBlocksRequest {};
        "MessageService/ReportMessage" ReportMessageRequest { name: "messages/1-0".into(), reason: reason() };
        "ReportService/GetUtilization" GetUtilizationRequest { scope: scope("") };
        "ReportService/GetUtilization" GetUtilizationRequest { scope: scope("branches/main") };
        "ReportService/GetNoShows" GetNoShowsRequest { scope: scope("branches/main") };
        "ReportService/GetWaits" GetWaitsRequest { scope: scope("branches/main") };
        "ReportService/GetPeaks" GetPeaksRequest { scope: scope("branches/main") };
        "ReportService/ExportReservations" ExportReservationsRequest { scope: scope("branches/main") };
        "ReportService/ExportReservations" ExportReservationsRequest { scope: scope("branches/main"), names: true };
        "UserService/ListUsers" ListUsersRequest {};
        "UserService/ListStrikes" ListStrikesRequest { name: amy() };
        "UserService/WaiveStrike" WaiveStrikeRequest { name: amy(), reservation: name(), reason: reason() };
        "UserService/SuspendUser" SuspendUserRequest {
            name: zoe(), until: Some(to_timestamp(at(33, 0))), reason: reason()
        };
        "UserService/UnsuspendUser" UnsuspendUserRequest { name: zoe(), reason: reason() };
        "UserService/SetAccessibility" SetAccessibilityRequest { name: zoe(), needs_accessible: true };
        "UserService/SetUserRole" SetUserRoleRequest { name: zoe(), role: v1::Role::Patron.into() };
        "UserService/ExportMyData" ExportMyDataRequest {};
        "UserService/DeleteUser" DeleteUserRequest { name: zoe() };
        "AuthService/ListSessions" ListSessionsRequest {};
        "AuthService/RevokeSession" RevokeSessionRequest { name: format!("sessions/{:032x}", 7) };
        "AuthService/ChangePassword" ChangePasswordRequest { password: PASSWORD.into(), new_password: PASSWORD.into() };
        "InboxService/GetNotificationPreferences" GetNotificationPreferencesRequest {};
        "InboxService/UpdateNotificationPreferences" UpdateNotificationPreferencesRequest {
            preferences: Some(v1::NotificationPreferences { followed_branches: vec!["branches/main".into()] })
        };
        "MessageService/Broadcast" BroadcastRequest {
            text: "hello".into(), audience: Some(v1::broadcast_request::Audience::Branch("branches/main".into()))
        };
        "MessageService/Broadcast" BroadcastRequest {
            text: "hello".into(), audience: Some(v1::broadcast_request::Audience::Role(v1::Role::Patron.into()))
        };
        "AuditService/ListAuditEvents" ListAuditEventsRequest {};
        "AuditService/ListAuditEvents" ListAuditEventsRequest { user: amy() };
        "AuditService/ListAuditEvents" ListAuditEventsRequest { reservation: name() };
        "InboxService/GetMailDelivery" GetMailDeliveryRequest {};
        "InboxService/UpdateMailDelivery" UpdateMailDeliveryRequest { delivery: Some(v1::MailDelivery::default()) };
        "InboxService/ConfirmMailAddress" ConfirmMailAddressRequest { code: "K7MQ-2QPX-9F3T".into() };
        "IntegrationService/ListWebhooks" ListWebhooksRequest {};
        "IntegrationService/CreateWebhook" CreateWebhookRequest { url: "https://example.org/".into() };
        "IntegrationService/RotateWebhookSecret" RotateWebhookSecretRequest { name: format!("webhooks/{:032x}", 7) };
        "IntegrationService/DeleteWebhook" DeleteWebhookRequest { name: format!("webhooks/{:032x}", 7) };
        "CalendarService/CreateCalendarFeed" CreateCalendarFeedRequest {};
        "CalendarService/RevokeCalendarFeed" RevokeCalendarFeedRequest {};
        "AuthService/Logout" LogoutRequest {};
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_what_is_not_theirs() {
    let house = House::open().await;
    let admin = house.person("admin").await;
    with_two_branches(&admin).await;
    house.desk.commit(&Request::system(Action::SetPresenceKey { secret: PresenceSecret([7; 32]) }));
    let (ben, amy) = (house.newcomer("ben").await, house.newcomer("amy").await);
    house.register("zoe").await.expect("a free name");
    let here = in_role(&house, &admin, "libby", v1::Role::Librarian, Some("main")).await;
    let elsewhere = in_role(&house, &admin, "lars", v1::Role::Librarian, Some("law")).await;
    let auditor = in_role(&house, &admin, "otto", v1::Role::Auditor, None).await;
    let kiosk = in_role(&house, &admin, "kiosk", v1::Role::Kiosk, None).await;
    let booked = call!(amy, ReservationServiceClient, create_reservation, reserve("r-101", (9, 0), (12, 0)));
    assert_eq!(booked.expect("a free seat").reservation.expect("hers").name, "reservations/1");
    let join = v1::JoinWaitlistRequest {
        request_id: fresh_id(),
        target: Some(v1::join_waitlist_request::Target::Seat("branches/main/seats/r-101".into())),
        interval: from_to((12, 0), (13, 0)),
        ..Default::default()
    };
    call!(amy, WaitlistServiceClient, join_waitlist, join).expect("a place");

    let callers =
        [None, Some(&ben), Some(&amy), Some(&here), Some(&elsewhere), Some(&admin), Some(&auditor), Some(&kiosk)];
    let questions = questions();
    let mut written = format!("{:60} {}\n", "", CALLERS.join(", "));
    for (method, body) in &questions {
        let mut letters = String::new();
        for caller in callers {
            letters.push(outcome(&house.channel, caller, method, body.clone()).await);
            letters.push(' ');
        }
        written += &format!("{method:60} {}\n", letters.trim_end());
    }

    let pool = DescriptorPool::decode(carrel_proto::DESCRIPTORS).expect("descriptors");
    let services = pool.services().filter(|service| service.package_name() == "carrel.v1");
    let served: BTreeSet<String> = services
        .flat_map(|service| {
            let methods: Vec<_> = service.methods().map(|m| format!("{}/{}", service.name(), m.name())).collect();
            methods
        })
        .collect();
    let asked: BTreeSet<String> = questions.iter().map(|(method, _)| (*method).to_owned()).collect();
    assert_eq!(served.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "nobody has asked for these");

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/client_port/authority.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).expect("the file can be written");
    }
    let promised = std::fs::read_to_string(&path).expect("authority.txt");
    for (promised, written) in promised.lines().zip(written.lines()) {
        assert_eq!(promised, written);
    }
    assert_eq!(promised.lines().count(), written.lines().count());
    for (method, body) in &questions {
        let open = ["AuthService/Login", "AuthService/Register", "CatalogService/ListBranches"].contains(method);
        let letter = outcome(&house.channel, None, method, body.clone()).await;
        assert_eq!(letter == 'u', !open, "{method}");
    }
}
