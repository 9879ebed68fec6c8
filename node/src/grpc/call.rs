//! A mutating call at the door: who makes it, what tells a repetition from a new one, and what it asks.

use std::mem;

use carrel_domain::id::TokenDigest;
use carrel_domain::request::{Action, Caller, Request, RetryKey};
use carrel_proto::v1;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::convert::invalid::Invalid;
use crate::convert::request::request_id;
use crate::grpc::bounds::Deadline;
use crate::grpc::session;

#[derive(Debug)]
pub struct Call<M> {
    pub message: M,
    pub deadline: Deadline,
    caller: Caller,
    retry: Option<RetryKey>,
}

impl<M: Mutation> Call<M> {
    /// By somebody who is logged in.
    ///
    /// # Errors
    /// If no session is named, or the request id is none.
    pub fn of_session(request: tonic::Request<M>) -> Result<Self, Status> {
        let caller = Caller::Session(session::named_by(request.metadata())?);
        Self::by(caller, request)
    }

    /// By whoever.
    ///
    /// # Errors
    /// If the request id is none.
    pub fn of_anybody(request: tonic::Request<M>) -> Result<Self, Status> {
        Self::by(Caller::Anonymous, request)
    }

    fn by(caller: Caller, request: tonic::Request<M>) -> Result<Self, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let retry = retry_key(&mut message)?;
        Ok(Self { message, deadline, caller, retry })
    }

    /// Whose call it is, if it is anybody's.
    pub fn session(&self) -> Option<TokenDigest> {
        match self.caller {
            Caller::Session(token) => Some(token),
            Caller::System | Caller::Anonymous => None,
        }
    }

    /// What goes into the log.
    pub fn asking_for(&self, action: Action) -> Request {
        Request { caller: self.caller, retry: self.retry, action }
    }
}

/// A request that changes something, and may be repeated.
pub trait Mutation: Message {
    /// Part of what makes two requests the same.
    const METHOD: &'static str;

    fn request_id_mut(&mut self) -> &mut String;

    /// What must leave no trace, not even in a hash.
    fn secret_mut(&mut self) -> Option<&mut String> {
        None
    }

    /// Whether the caller only wants to know what would be answered.
    fn validate_only(&self) -> bool {
        false
    }
}

macro_rules! mutations {
    ($($request:ident $method:literal $(secret $secret:ident)? $(or $validate_only:ident)?;)*) => {
        /// Whether calls on this path change something.
        pub fn is_mutation(path: &str) -> bool {
            matches!(path.strip_prefix('/'), Some($($method)|*))
        }

        $(impl Mutation for v1::$request {
            const METHOD: &'static str = $method;

            fn request_id_mut(&mut self) -> &mut String {
                &mut self.request_id
            }

            $(fn secret_mut(&mut self) -> Option<&mut String> {
                Some(&mut self.$secret)
            })?

            $(fn validate_only(&self) -> bool {
                self.$validate_only
            })?
        })*
    };
}

mutations! {
    RegisterRequest "carrel.v1.AuthService/Register" secret password;
    LogoutRequest "carrel.v1.AuthService/Logout";
    DeleteUserRequest "carrel.v1.UserService/DeleteUser";
    SetUserRoleRequest "carrel.v1.UserService/SetUserRole";
    SuspendUserRequest "carrel.v1.UserService/SuspendUser";
    UnsuspendUserRequest "carrel.v1.UserService/UnsuspendUser";
    WaiveStrikeRequest "carrel.v1.UserService/WaiveStrike";
    SetAccessibilityRequest "carrel.v1.UserService/SetAccessibility";
    ImportCatalogRequest "carrel.v1.CatalogService/ImportCatalog" or validate_only;
    CloseSeatsRequest "carrel.v1.SeatService/CloseSeats" or validate_only;
    ReopenSeatsRequest "carrel.v1.SeatService/ReopenSeats" or validate_only;
    RotatePresenceKeyRequest "carrel.v1.SeatService/RotatePresenceKey";
    CreateReservationRequest "carrel.v1.ReservationService/CreateReservation" or validate_only;
    HoldSeatRequest "carrel.v1.ReservationService/HoldSeat" or validate_only;
    ConfirmReservationRequest "carrel.v1.ReservationService/ConfirmReservation";
    WalkInRequest "carrel.v1.ReservationService/WalkIn" or validate_only;
    CreateGroupReservationRequest "carrel.v1.ReservationService/CreateGroupReservation" or validate_only;
    BatchCreateReservationsRequest "carrel.v1.ReservationService/BatchCreateReservations" or validate_only;
    CheckInRequest "carrel.v1.ReservationService/CheckIn";
    StepAwayRequest "carrel.v1.ReservationService/StepAway";
    ExtendReservationRequest "carrel.v1.ReservationService/ExtendReservation" or validate_only;
    RescheduleReservationRequest "carrel.v1.ReservationService/RescheduleReservation" or validate_only;
    ReportEmptySeatRequest "carrel.v1.ReservationService/ReportEmptySeat";
    CheckOutRequest "carrel.v1.ReservationService/CheckOut";
    CancelReservationRequest "carrel.v1.ReservationService/CancelReservation";
    JoinWaitlistRequest "carrel.v1.WaitlistService/JoinWaitlist" or validate_only;
    LeaveWaitlistRequest "carrel.v1.WaitlistService/LeaveWaitlist";
    AcceptOfferRequest "carrel.v1.WaitlistService/AcceptOffer";
    DeclineOfferRequest "carrel.v1.WaitlistService/DeclineOffer";
    AdvanceReadCursorRequest "carrel.v1.InboxService/AdvanceReadCursor";
    SendMessageRequest "carrel.v1.MessageService/SendMessage";
    BroadcastRequest "carrel.v1.MessageService/Broadcast";
    DeleteMessageRequest "carrel.v1.MessageService/DeleteMessage";
    BlockUserRequest "carrel.v1.MessageService/BlockUser";
    UnblockUserRequest "carrel.v1.MessageService/UnblockUser";
    ReportMessageRequest "carrel.v1.MessageService/ReportMessage";
    UpdateMailDeliveryRequest "carrel.v1.InboxService/UpdateMailDelivery";
    ConfirmMailAddressRequest "carrel.v1.InboxService/ConfirmMailAddress" secret code;
    DeleteWebhookRequest "carrel.v1.IntegrationService/DeleteWebhook";
    RevokeSessionRequest "carrel.v1.AuthService/RevokeSession";
    UpdateNotificationPreferencesRequest "carrel.v1.InboxService/UpdateNotificationPreferences";
    RevokeCalendarFeedRequest "carrel.v1.CalendarService/RevokeCalendarFeed";
}

/// None without a request id: then every repetition is a request of its own.
fn retry_key<M: Mutation>(message: &mut M) -> Result<Option<RetryKey>, Invalid> {
    let Some(id) = request_id(&mem::take(message.request_id_mut()))? else { return Ok(None) };
    let secret = message.secret_mut().map(mem::take);
    let hash = Sha256::new().chain_update(M::METHOD).chain_update([0]).chain_update(message.encode_to_vec()).finalize();
    if let (Some(place), Some(secret)) = (message.secret_mut(), secret) {
        *place = secret;
    }
    let digest = u64::from_be_bytes(*hash.first_chunk().expect("a SHA-256 has 32 bytes"));
    Ok(Some(RetryKey { id, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c2a44-7d0e-4f0a-9a56-1f2f8f0b9c11";

    fn register(user_id: &str, password: &str) -> v1::RegisterRequest {
        v1::RegisterRequest { request_id: ID.into(), user_id: user_id.into(), password: password.into() }
    }

    #[test]
    fn a_secret_is_no_part_of_what_a_request_is() {
        let mut amy = register("amy", "correct horse");
        let key = retry_key(&mut amy).expect("a key");
        assert_eq!(amy.password, "correct horse");
        assert_eq!(retry_key(&mut register("amy", "another")).expect("a key"), key);
        assert_ne!(retry_key(&mut register("ben", "correct horse")).expect("a key"), key);
    }

    #[test]
    fn the_same_bytes_for_another_method_are_another_request() {
        let (request_id, name) = (ID.to_owned(), "reservations/1".to_owned());
        let mut check_in =
            v1::CheckInRequest { request_id: request_id.clone(), name: name.clone(), ..Default::default() };
        let mut check_out = v1::CheckOutRequest { request_id, name };
        assert_ne!(retry_key(&mut check_in), retry_key(&mut check_out));
    }

    #[test]
    fn without_an_id_nothing_is_remembered() {
        assert_eq!(retry_key(&mut v1::LogoutRequest::default()), Ok(None));
        assert!(retry_key(&mut v1::LogoutRequest { request_id: "7".into() }).is_err());
    }
}
