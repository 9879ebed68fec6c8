//! What every refusal of the rules says to programs and to people. `refusals.txt` holds a line for each;
//! `UPDATE_GOLDEN=1` writes it anew: reasons are part of the API and never change, sentences may get better.

use std::path::PathBuf;

use carrel_domain::claim::StateName;
use carrel_domain::id::ClaimId;
use carrel_domain::refusal::Refusal;
use carrel_domain::time::Timestamp;
use carrel_node::convert::refusal::{DOMAIN, failing_rule, to_status};
use carrel_proto::client::code_name;
use tonic_types::StatusExt;

const NOON: Timestamp = Timestamp(1_799_665_200_000_000);

macro_rules! refusals {
    ($($name:ident $({ $($field:ident: $value:expr),* })?;)*) => {
        fn every_refusal() -> Vec<(&'static str, Refusal)> {
            // A refusal that is missing below does not compile here.
            fn is_listed(refusal: Refusal) {
                match refusal {
                    $(Refusal::$name $({ $($field: _),* })? => {})*
                }
            }
            let all = vec![$((stringify!($name), Refusal::$name $({ $($field: $value),* })?),)*];
            all.iter().for_each(|&(_, refusal)| is_listed(refusal));
            all
        }
    };
}

refusals! {
    SessionExpired;
    NotPermitted;
    RequestIdReused;
    TooManyRequests;
    UserNameTaken;
    UserNotFound;
    PasswordChanged;
    LastAdmin;
    BranchNotFound;
    AreaNotFound;
    SeatNotFound;
    CatalogInvalid { fault_count: 3 };
    CatalogChanged { revision: 7 };
    CalendarOutdated;
    InThePast { earliest: NOON };
    TooSoon { notice_minutes: 60 };
    TooFarAhead { window_days: 14 };
    Closed;
    CalendarPending;
    OffGrid { grid_minutes: 30 };
    TooShort { min_minutes: 30 };
    TooLong { max_minutes: 240 };
    Suspended { until: NOON };
    OwnOverlap { claim: ClaimId(17) };
    TooManyReservations { max: 3 };
    TooManyMinutes { max_per_day: 360, left: 60 };
    TooManyMinutesInWeek { max_per_week: 900, left: 30 };
    TooManyOnDay { max: 2 };
    TooManyInWeek { max: 5 };
    TooManyFuture { max: 2 };
    HoldExists { claim: ClaimId(17) };
    KeptAccessible { until: NOON };
    SeatTaken;
    SeatNotOccupied;
    TooManyAtOnce { max: 31 };
    MemberUnavailable { position: 1 };
    GroupSeatTaken { position: 1 };
    ReservationNotFound;
    StateConflict { state: StateName::Held };
    CheckInTooEarly { opens_at: NOON };
    GraceElapsed;
    OfferExpired;
    HoldExpired;
    PresenceNotProven;
    TooLateToChange { minutes: 60 };
    TooManyReports { max: 3 };
    StrikeNotFound;
    SuspensionInvalid { max_days: 365 };
    WaitNotFound;
    WaitIsOver;
    TooManyWaits { max: 10 };
    AlreadyWaiting;
    TooFlexible { max_starts: 48 };
    RecipientNotFound { position: 1 };
    MessageNotFound;
    TooManyBlocks { max: 200 };
    SessionNotFound;
    AddressNotProven;
    WebhookNotFound;
    TooManyWebhooks { max: 16 };
    ReasonMissing;
}

#[test]
fn every_refusal_says_what_it_always_said() {
    let mut written = String::new();
    for (name, refusal) in every_refusal() {
        let status = to_status(refusal);
        let info = status.get_details_error_info().expect("every no has its reason");
        assert_eq!(info.domain, DOMAIN);
        let rule = failing_rule(refusal);
        assert_eq!((rule.reason.as_str(), rule.message.as_str()), (info.reason.as_str(), status.message()));
        let code = code_name(status.code());
        written += &format!("{name}: {code} {}: {}\n", info.reason, status.message());
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/refusals.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("refusals.txt");
    for (golden, written) in golden.lines().zip(written.lines()) {
        assert_eq!(golden, written);
    }
    assert_eq!(golden.lines().count(), written.lines().count());
}
