//! One list of everything that happened to a person.

use carrel_domain::id::{Position, UserId};
use carrel_domain::request::Action;
use carrel_domain::state::State;
use carrel_proto::v1::inbox_service_server::InboxService;
use carrel_proto::v1::{
    AdvanceReadCursorRequest, AdvanceReadCursorResponse, ConfirmMailAddressRequest, ConfirmMailAddressResponse,
    GetMailDeliveryRequest, GetMailDeliveryResponse, GetNotificationPreferencesRequest,
    GetNotificationPreferencesResponse, ListInboxRequest, ListInboxResponse, NotificationPreferences,
    UpdateMailDeliveryRequest, UpdateMailDeliveryResponse, UpdateNotificationPreferencesRequest,
    UpdateNotificationPreferencesResponse, WatchInboxRequest,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::{items_let_go, no_mail_here, out_of_order, resume_token_expired, to_status};
use crate::convert::token::ResumeToken;
use crate::convert::{mail_code, names, reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;
use crate::grpc::watch::{InboxWatch, Patience, WatchStream};
use crate::replica::Freshness;

#[derive(Debug)]
pub struct Inbox<L> {
    pub front: Front<L>,
    pub patience: Patience,
}

#[tonic::async_trait]
impl<L: Library> InboxService for Inbox<L> {
    async fn list_inbox(&self, request: Request<ListInboxRequest>) -> Result<Response<ListInboxResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let ListInboxRequest { after, unread_only, page_size, read } = request.into_inner();
        let (after, limit) = (request::after(&after)?, request::page_size(page_size)?);
        let mut view = self.front.read(read).await?;
        if let Some(token) = after {
            view = self.front.reach(view, token).await?;
        }
        let viewer = view.viewer(session).map_err(to_status)?;
        let lineage = self.front.library.lineage();
        if let Some(token) = after {
            nothing_let_go(&view, viewer.user.id, token)?;
        }
        let read_up_to = if unread_only { view.read_up_to(viewer.user.id) } else { Position::default() };
        let after = after.map_or(read_up_to, |token| token.position.max(read_up_to));
        let page = view.inbox(viewer.user.id, after, limit);
        // All that this view holds has been told, unless the page was too small for it.
        let end = Position::end_of(view.at().index);
        let reached = page.items.last().filter(|_| page.more).map_or(end, |item| item.position);
        Ok(Response::new(ListInboxResponse {
            items: page.items.iter().map(|item| reply::inbox_item(item, &viewer.user.name, lineage)).collect(),
            resume_token: ResumeToken { lineage, position: reached }.encode(),
            unread_count: reply::count(viewer.unread_count),
            more: page.more,
        }))
    }

    type WatchInboxStream = WatchStream;

    async fn watch_inbox(&self, request: Request<WatchInboxRequest>) -> Result<Response<WatchStream>, Status> {
        let session = session::named_by(request.metadata())?;
        let after = request::after(&request.into_inner().after)?;
        // Linearizable, so that a session that was begun on another node is known here.
        let mut view = self.front.library.read(Freshness::Linearizable).await?;
        if let Some(token) = after {
            view = self.front.reach(view, token).await?;
        }
        let user = view.viewer(session).map_err(to_status)?.user;
        if let Some(token) = after {
            nothing_let_go(&view, user.id, token)?;
        }
        let cursor = after.map_or_else(|| view.read_up_to(user.id), |token| token.position);
        let (front, patience, let_go) = (self.front.clone(), self.patience, view.let_go_up_to(user.id));
        Ok(Response::new(InboxWatch { front, patience, session, user, cursor, let_go }.begin(view)))
    }

    async fn get_notification_preferences(
        &self,
        request: Request<GetNotificationPreferencesRequest>,
    ) -> Result<Response<GetNotificationPreferencesResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.front.read_as(session, request.into_inner().read).await?;
        let followed_branches = view.followed(user).iter().map(names::branch).collect();
        let preferences = Some(NotificationPreferences { followed_branches });
        Ok(Response::new(GetNotificationPreferencesResponse { preferences }))
    }

    async fn update_notification_preferences(
        &self,
        request: Request<UpdateNotificationPreferencesRequest>,
    ) -> Result<Response<UpdateNotificationPreferencesResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.front.write(&call, request::update_notification_preferences(&call.message)?).await?;
        Ok(Response::new(UpdateNotificationPreferencesResponse { commit: done.commit }))
    }

    async fn get_mail_delivery(
        &self,
        request: Request<GetMailDeliveryRequest>,
    ) -> Result<Response<GetMailDeliveryResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.front.read_as(session, request.into_inner().read).await?;
        Ok(Response::new(GetMailDeliveryResponse { delivery: Some(reply::mail_delivery(view.mail_of(user))) }))
    }

    async fn update_mail_delivery(
        &self,
        request: Request<UpdateMailDeliveryRequest>,
    ) -> Result<Response<UpdateMailDeliveryResponse>, Status> {
        let call = Call::of_session(request)?;
        let address = call.message.delivery.as_ref().map_or("", |delivery| delivery.address.as_str());
        if !self.front.sends_mail && !address.is_empty() {
            return Err(no_mail_here());
        }
        let code = mail_code::draw().map_err(|_| out_of_order())?;
        let done = self.front.write(&call, request::update_mail_delivery(&call.message, code)?).await?;
        Ok(Response::new(UpdateMailDeliveryResponse { commit: done.commit }))
    }

    async fn confirm_mail_address(
        &self,
        request: Request<ConfirmMailAddressRequest>,
    ) -> Result<Response<ConfirmMailAddressResponse>, Status> {
        let code = mail_code::read("code", &request.get_ref().code)?;
        let call = Call::of_session(request)?;
        let done = self.front.write(&call, Action::ConfirmMail { code }).await?;
        Ok(Response::new(ConfirmMailAddressResponse { commit: done.commit }))
    }

    async fn advance_read_cursor(
        &self,
        request: Request<AdvanceReadCursorRequest>,
    ) -> Result<Response<AdvanceReadCursorResponse>, Status> {
        let call = Call::of_session(request)?;
        let ResumeToken { lineage, position } = request::read_up_to(&call.message)?;
        if lineage != self.front.library.lineage() {
            return Err(resume_token_expired());
        }
        let done = self.front.write(&call, request::advance_read_cursor(position)).await?;
        Ok(Response::new(AdvanceReadCursorResponse { unread_count: done.unread_count()?, commit: done.commit }))
    }
}

/// Whether everything that came after the token is still there.
fn nothing_let_go(view: &State, user: UserId, ResumeToken { lineage, position }: ResumeToken) -> Result<(), Status> {
    let let_go = view.let_go_up_to(user);
    if position >= let_go {
        return Ok(());
    }
    Err(items_let_go(&ResumeToken { lineage, position: let_go }.encode()))
}
