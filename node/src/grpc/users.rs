//! Other people's accounts.

use carrel_proto::v1::user_service_server::UserService;
use carrel_proto::v1::{
    DeleteUserRequest, DeleteUserResponse, ListUsersRequest, ListUsersResponse, SetUserRoleRequest, SetUserRoleResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

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
        let (view, _) = self.0.read_as(session, read).await?;
        let page = view.users(&glob, after.as_ref(), limit);
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|user| page_token(list, &user.name)).unwrap_or_default();
        Ok(Response::new(ListUsersResponse { users: page.items.iter().map(reply::user).collect(), next_page_token }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::delete_user(&call.message)?).await?;
        Ok(Response::new(DeleteUserResponse { commit: Some(done.commit) }))
    }

    async fn set_user_role(
        &self,
        request: Request<SetUserRoleRequest>,
    ) -> Result<Response<SetUserRoleResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::set_user_role(&call.message)?).await?;
        Ok(Response::new(SetUserRoleResponse { user: done.user()?, commit: Some(done.commit) }))
    }
}
