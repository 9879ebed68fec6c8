//! Other people's accounts.

use carrel_domain::account::Role;
use carrel_domain::query::UserView;
use carrel_proto::v1;
use carrel_proto::v1::user_service_server::UserService;
use carrel_proto::v1::{
    DeleteUserRequest, DeleteUserResponse, ExportMyDataRequest, ExportMyDataResponse, ListStrikesRequest,
    ListStrikesResponse, ListUsersRequest, ListUsersResponse, SetAccessibilityRequest, SetAccessibilityResponse,
    SetUserRoleRequest, SetUserRoleResponse, SuspendUserRequest, SuspendUserResponse, UnsuspendUserRequest,
    UnsuspendUserResponse, WaiveStrikeRequest, WaiveStrikeResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::{history_unavailable, to_status};
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

/// Of one person: ten a day for a quarter of a century.
const HISTORY_MAX: usize = 100_000;

#[derive(Debug)]
pub struct Users<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> UserService for Users<L> {
    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let ListUsersRequest { filter, page_size, page_token: token, read } = request.into_inner();
        let (glob, limit) = (request::users_glob(&filter)?, request::page_size(page_size)?);
        let list = ListKey::new(&filter, "users", 0);
        let after = page_cursor(list, &token)?;
        let view = self.0.read(read).await?;
        let viewer = view.viewer(session).map_err(to_status)?.user;
        let page = view.users(&glob, after.as_ref(), limit);
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|user| page_token(list, &user.name)).unwrap_or_default();
        // What somebody needs is for those to know who see to it.
        let sees_to_it = matches!(viewer.role, Role::Librarian(_) | Role::Admin);
        let told = |user: &UserView| v1::User {
            needs_accessible: sees_to_it.then(|| view.needs_accessible(user.id)),
            ..reply::user_to(&viewer, user)
        };
        Ok(Response::new(ListUsersResponse { users: page.items.iter().map(told).collect(), next_page_token }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::delete_user(&call.message)?).await?;
        Ok(Response::new(DeleteUserResponse { commit: done.commit }))
    }

    async fn set_user_role(
        &self,
        request: Request<SetUserRoleRequest>,
    ) -> Result<Response<SetUserRoleResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::set_user_role(&call.message)?).await?;
        Ok(Response::new(SetUserRoleResponse { user: done.user()?, commit: done.commit }))
    }

    async fn suspend_user(
        &self,
        request: Request<SuspendUserRequest>,
    ) -> Result<Response<SuspendUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::suspend_user(&call.message)?).await?;
        Ok(Response::new(SuspendUserResponse { user: done.user()?, commit: done.commit }))
    }

    async fn unsuspend_user(
        &self,
        request: Request<UnsuspendUserRequest>,
    ) -> Result<Response<UnsuspendUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::unsuspend_user(&call.message)?).await?;
        Ok(Response::new(UnsuspendUserResponse { user: done.user()?, commit: done.commit }))
    }

    async fn list_strikes(
        &self,
        request: Request<ListStrikesRequest>,
    ) -> Result<Response<ListStrikesResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let name = request::list_strikes(&message)?;
        let view = self.0.read(message.read.take()).await?;
        let viewer = view.viewer(session).map_err(to_status)?.user;
        let strikes = view.strikes(viewer.id, name.as_ref().unwrap_or(&viewer.name)).map_err(to_status)?;
        Ok(Response::new(ListStrikesResponse { strikes: strikes.iter().map(reply::strike).collect() }))
    }

    async fn waive_strike(
        &self,
        request: Request<WaiveStrikeRequest>,
    ) -> Result<Response<WaiveStrikeResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::waive_strike(&call.message)?).await?;
        Ok(Response::new(WaiveStrikeResponse { user: done.user()?, commit: done.commit }))
    }

    async fn set_accessibility(
        &self,
        request: Request<SetAccessibilityRequest>,
    ) -> Result<Response<SetAccessibilityResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::set_accessibility(&call.message)?).await?;
        Ok(Response::new(SetAccessibilityResponse { user: done.user()?, commit: done.commit }))
    }

    async fn export_my_data(
        &self,
        request: Request<ExportMyDataRequest>,
    ) -> Result<Response<ExportMyDataResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.0.read_as(session, request.into_inner().read).await?;
        let mut export = view.export(user).map_err(to_status)?;
        if let Some(older) = view.newest_let_go(user) {
            let found = self.0.record()?.claims_of(user, older, None, HISTORY_MAX).await;
            let found = found.map_err(|trouble| history_unavailable(&trouble))?;
            let older = found.iter().rev().filter_map(|claim| view.reservation_of_history(user, Some(claim)).ok());
            export.claims.splice(0..0, older);
        }
        Ok(Response::new(reply::export(&export, self.0.library.lineage())))
    }
}
