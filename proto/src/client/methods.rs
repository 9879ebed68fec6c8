//! The methods of the services by name: each is [`Client::call`] with its request.

use super::{Client, ClientError, InboxWatch, SeatMapWatch};
use crate::admin::v1 as admin;
use crate::admin::v1::cluster_service_client::ClusterServiceClient;
use crate::admin::v1::projection_service_client::ProjectionServiceClient;
use crate::v1::audit_service_client::AuditServiceClient;
use crate::v1::auth_service_client::AuthServiceClient;
use crate::v1::calendar_service_client::CalendarServiceClient;
use crate::v1::catalog_service_client::CatalogServiceClient;
use crate::v1::inbox_service_client::InboxServiceClient;
use crate::v1::integration_service_client::IntegrationServiceClient;
use crate::v1::message_service_client::MessageServiceClient;
use crate::v1::report_service_client::ReportServiceClient;
use crate::v1::reservation_service_client::ReservationServiceClient;
use crate::v1::seat_service_client::SeatServiceClient;
use crate::v1::user_service_client::UserServiceClient;
use crate::v1::waitlist_service_client::WaitlistServiceClient;
use crate::v1::{self};

/// Largest answer taken: the catalogue of a large campus is a few megabytes.
pub(super) const LARGEST_ANSWER_BYTES: usize = 64 << 20;

macro_rules! methods {
    ($($client:ident { $($method:ident($request:ty) -> $response:ty;)* })*) => {
        impl Client {
            $($(
                pub async fn $method(&self, request: $request) -> Result<$response, ClientError> {
                    self.call(request, |channel, request| async move {
                        let mut service = $client::new(channel).max_decoding_message_size(LARGEST_ANSWER_BYTES);
                        service.$method(request).await
                    })
                    .await
                }
            )*)*
        }
    };
}

methods! {
    AuthServiceClient {
        register(v1::RegisterRequest) -> v1::RegisterResponse;
        login(v1::LoginRequest) -> v1::LoginResponse;
        logout(v1::LogoutRequest) -> v1::LogoutResponse;
        get_session(v1::GetSessionRequest) -> v1::GetSessionResponse;
        change_password(v1::ChangePasswordRequest) -> v1::ChangePasswordResponse;
        list_sessions(v1::ListSessionsRequest) -> v1::ListSessionsResponse;
        revoke_session(v1::RevokeSessionRequest) -> v1::RevokeSessionResponse;
    }
    UserServiceClient {
        list_users(v1::ListUsersRequest) -> v1::ListUsersResponse;
        delete_user(v1::DeleteUserRequest) -> v1::DeleteUserResponse;
        set_user_role(v1::SetUserRoleRequest) -> v1::SetUserRoleResponse;
        suspend_user(v1::SuspendUserRequest) -> v1::SuspendUserResponse;
        unsuspend_user(v1::UnsuspendUserRequest) -> v1::UnsuspendUserResponse;
        list_strikes(v1::ListStrikesRequest) -> v1::ListStrikesResponse;
        waive_strike(v1::WaiveStrikeRequest) -> v1::WaiveStrikeResponse;
        set_accessibility(v1::SetAccessibilityRequest) -> v1::SetAccessibilityResponse;
        export_my_data(v1::ExportMyDataRequest) -> v1::ExportMyDataResponse;
    }
    CatalogServiceClient {
        list_branches(v1::ListBranchesRequest) -> v1::ListBranchesResponse;
        export_catalog(v1::ExportCatalogRequest) -> v1::ExportCatalogResponse;
        import_catalog(v1::ImportCatalogRequest) -> v1::ImportCatalogResponse;
    }
    SeatServiceClient {
        search_seats(v1::SearchSeatsRequest) -> v1::SearchSeatsResponse;
        get_seat(v1::GetSeatRequest) -> v1::GetSeatResponse;
        explain_availability(v1::ExplainAvailabilityRequest) -> v1::ExplainAvailabilityResponse;
        close_seats(v1::CloseSeatsRequest) -> v1::CloseSeatsResponse;
        reopen_seats(v1::ReopenSeatsRequest) -> v1::ReopenSeatsResponse;
        get_presence_code(v1::GetPresenceCodeRequest) -> v1::GetPresenceCodeResponse;
        rotate_presence_key(v1::RotatePresenceKeyRequest) -> v1::RotatePresenceKeyResponse;
    }
    ReservationServiceClient {
        create_reservation(v1::CreateReservationRequest) -> v1::CreateReservationResponse;
        hold_seat(v1::HoldSeatRequest) -> v1::HoldSeatResponse;
        confirm_reservation(v1::ConfirmReservationRequest) -> v1::ConfirmReservationResponse;
        walk_in(v1::WalkInRequest) -> v1::WalkInResponse;
        create_group_reservation(v1::CreateGroupReservationRequest) -> v1::CreateGroupReservationResponse;
        batch_create_reservations(v1::BatchCreateReservationsRequest) -> v1::BatchCreateReservationsResponse;
        get_reservation(v1::GetReservationRequest) -> v1::GetReservationResponse;
        list_reservations(v1::ListReservationsRequest) -> v1::ListReservationsResponse;
        list_seat_reservations(v1::ListSeatReservationsRequest) -> v1::ListSeatReservationsResponse;
        get_quota(v1::GetQuotaRequest) -> v1::GetQuotaResponse;
        check_in(v1::CheckInRequest) -> v1::CheckInResponse;
        step_away(v1::StepAwayRequest) -> v1::StepAwayResponse;
        extend_reservation(v1::ExtendReservationRequest) -> v1::ExtendReservationResponse;
        reschedule_reservation(v1::RescheduleReservationRequest) -> v1::RescheduleReservationResponse;
        report_empty_seat(v1::ReportEmptySeatRequest) -> v1::ReportEmptySeatResponse;
        check_out(v1::CheckOutRequest) -> v1::CheckOutResponse;
        cancel_reservation(v1::CancelReservationRequest) -> v1::CancelReservationResponse;
    }
    WaitlistServiceClient {
        join_waitlist(v1::JoinWaitlistRequest) -> v1::JoinWaitlistResponse;
        leave_waitlist(v1::LeaveWaitlistRequest) -> v1::LeaveWaitlistResponse;
        list_waitlist_entries(v1::ListWaitlistEntriesRequest) -> v1::ListWaitlistEntriesResponse;
        accept_offer(v1::AcceptOfferRequest) -> v1::AcceptOfferResponse;
        decline_offer(v1::DeclineOfferRequest) -> v1::DeclineOfferResponse;
    }
    InboxServiceClient {
        list_inbox(v1::ListInboxRequest) -> v1::ListInboxResponse;
        advance_read_cursor(v1::AdvanceReadCursorRequest) -> v1::AdvanceReadCursorResponse;
        get_mail_delivery(v1::GetMailDeliveryRequest) -> v1::GetMailDeliveryResponse;
        update_mail_delivery(v1::UpdateMailDeliveryRequest) -> v1::UpdateMailDeliveryResponse;
        confirm_mail_address(v1::ConfirmMailAddressRequest) -> v1::ConfirmMailAddressResponse;
        get_notification_preferences(v1::GetNotificationPreferencesRequest) -> v1::GetNotificationPreferencesResponse;
        update_notification_preferences(v1::UpdateNotificationPreferencesRequest) -> v1::UpdateNotificationPreferencesResponse;
    }
    AuditServiceClient {
        list_audit_events(v1::ListAuditEventsRequest) -> v1::ListAuditEventsResponse;
    }
    CalendarServiceClient {
        create_calendar_feed(v1::CreateCalendarFeedRequest) -> v1::CreateCalendarFeedResponse;
        revoke_calendar_feed(v1::RevokeCalendarFeedRequest) -> v1::RevokeCalendarFeedResponse;
    }
    IntegrationServiceClient {
        list_webhooks(v1::ListWebhooksRequest) -> v1::ListWebhooksResponse;
        create_webhook(v1::CreateWebhookRequest) -> v1::CreateWebhookResponse;
        rotate_webhook_secret(v1::RotateWebhookSecretRequest) -> v1::RotateWebhookSecretResponse;
        delete_webhook(v1::DeleteWebhookRequest) -> v1::DeleteWebhookResponse;
    }
    MessageServiceClient {
        send_message(v1::SendMessageRequest) -> v1::SendMessageResponse;
        broadcast(v1::BroadcastRequest) -> v1::BroadcastResponse;
        list_messages(v1::ListMessagesRequest) -> v1::ListMessagesResponse;
        delete_message(v1::DeleteMessageRequest) -> v1::DeleteMessageResponse;
        list_conversations(v1::ListConversationsRequest) -> v1::ListConversationsResponse;
        block_user(v1::BlockUserRequest) -> v1::BlockUserResponse;
        unblock_user(v1::UnblockUserRequest) -> v1::UnblockUserResponse;
        list_blocks(v1::ListBlocksRequest) -> v1::ListBlocksResponse;
        report_message(v1::ReportMessageRequest) -> v1::ReportMessageResponse;
    }
    ReportServiceClient {
        get_utilization(v1::GetUtilizationRequest) -> v1::GetUtilizationResponse;
        get_no_shows(v1::GetNoShowsRequest) -> v1::GetNoShowsResponse;
        get_waits(v1::GetWaitsRequest) -> v1::GetWaitsResponse;
        get_peaks(v1::GetPeaksRequest) -> v1::GetPeaksResponse;
    }
    ClusterServiceClient {
        initialize(admin::InitializeRequest) -> admin::InitializeResponse;
        allocate_node(admin::AllocateNodeRequest) -> admin::AllocateNodeResponse;
        join(admin::JoinRequest) -> admin::JoinResponse;
        add_learner(admin::AddLearnerRequest) -> admin::AddLearnerResponse;
        change_voters(admin::ChangeVotersRequest) -> admin::ChangeVotersResponse;
        remove_node(admin::RemoveNodeRequest) -> admin::RemoveNodeResponse;
        transfer_leadership(admin::TransferLeadershipRequest) -> admin::TransferLeadershipResponse;
        trigger_snapshot(admin::TriggerSnapshotRequest) -> admin::TriggerSnapshotResponse;
        get_status(admin::GetStatusRequest) -> admin::GetStatusResponse;
    }
    ProjectionServiceClient {
        get_projection(admin::GetProjectionRequest) -> admin::GetProjectionResponse;
        verify_projection(admin::VerifyProjectionRequest) -> admin::VerifyProjectionResponse;
        rebuild_projection(admin::RebuildProjectionRequest) -> admin::RebuildProjectionResponse;
    }
}

impl Client {
    /// Follows the inbox of the session, after a token or, without one, from the first unread item.
    pub fn watch_inbox(&self, after: impl Into<String>) -> InboxWatch {
        InboxWatch::new(self.clone(), after.into())
    }

    /// Follows the seats of a branch or an area, after a token or, without one, from how they are.
    pub fn watch_seat_map(&self, request: v1::WatchSeatMapRequest) -> SeatMapWatch {
        SeatMapWatch::new(self.clone(), request)
    }
}
