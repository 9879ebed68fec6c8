//! Where somebody is logged in, and how they make sure that nobody else is.

use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;

use carrel_node::grpc::front::Registration;

use crate::desk::{House, PASSWORD, Person, call, fresh_id, reason};

async fn sessions(person: &Person) -> Vec<v1::Session> {
    let listed = call!(person, AuthServiceClient, list_sessions, v1::ListSessionsRequest::default());
    listed.expect("a session").sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_ended_from_another() {
    let house = House::open().await;
    let (here, ben) = (house.newcomer("amy").await, house.newcomer("ben").await);
    let phone = house.person("amy").await;
    let listed = sessions(&here).await;
    assert_eq!(listed.iter().map(|session| session.current).collect::<Vec<_>>(), [true, false]);
    let revoke = |name: &str| v1::RevokeSessionRequest { request_id: fresh_id(), name: name.to_owned() };
    // Somebody else's is not told apart from one that never was.
    assert_eq!(reason(call!(ben, AuthServiceClient, revoke_session, revoke(&listed[1].name))), "SESSION_NOT_FOUND");
    call!(here, AuthServiceClient, revoke_session, revoke(&listed[1].name)).expect("her own");
    assert_eq!(
        reason(call!(phone, AuthServiceClient, list_sessions, v1::ListSessionsRequest::default())),
        "SESSION_EXPIRED"
    );
    assert_eq!(sessions(&here).await.len(), 1);
    assert_eq!(reason(call!(here, AuthServiceClient, revoke_session, revoke("sessions/7"))), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_logs_out_everybody_who_knew_the_old_one() {
    let house = House::open().await;
    let here = house.newcomer("amy").await;
    let phone = house.person("amy").await;
    let change = |password: &str, new_password: &str| v1::ChangePasswordRequest {
        password: password.to_owned(),
        new_password: new_password.to_owned(),
    };
    let wrong = call!(here, AuthServiceClient, change_password, change("guessed", "battery staple"));
    assert_eq!(reason(wrong), "CREDENTIALS_INVALID");
    let short = call!(here, AuthServiceClient, change_password, change(PASSWORD, "short"));
    assert_eq!(reason(short), "FIELD_INVALID");
    call!(here, AuthServiceClient, change_password, change(PASSWORD, "battery staple")).expect("her own");
    assert_eq!(
        reason(call!(phone, AuthServiceClient, list_sessions, v1::ListSessionsRequest::default())),
        "SESSION_EXPIRED"
    );
    assert_eq!(sessions(&here).await.len(), 1);
    assert_eq!(reason(house.log_in("amy", PASSWORD).await), "CREDENTIALS_INVALID");
    house.log_in("amy", "battery staple").await.expect("the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_registration_is_closed_staff_make_the_accounts() {
    let house = House::where_accounts_are_made(Registration::ByStaff).await;
    assert_eq!(reason(house.register("amy").await), "REGISTRATION_CLOSED");
    let admin = house.person("admin").await;
    let register = |name: &str| v1::RegisterRequest {
        request_id: fresh_id(),
        user_id: name.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let made = call!(admin, AuthServiceClient, register, register("amy")).expect("an admin makes it");
    assert_eq!(made.user.expect("an account").name, "users/amy");
    let amy = house.person("amy").await;
    assert_eq!(reason(call!(amy, AuthServiceClient, register, register("ben"))), "REGISTRATION_CLOSED");
    call!(admin, AuthServiceClient, logout, v1::LogoutRequest { request_id: fresh_id() }).expect("a session");
    assert_eq!(reason(call!(admin, AuthServiceClient, register, register("ben"))), "SESSION_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_registration_is_open_nobody_is_asked_who_they_are() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let register =
        v1::RegisterRequest { request_id: fresh_id(), user_id: "ben".to_owned(), password: PASSWORD.to_owned() };
    call!(amy, AuthServiceClient, logout, v1::LogoutRequest { request_id: fresh_id() }).expect("a session");
    call!(amy, AuthServiceClient, register, register).expect("a session that is over is no matter");
}
