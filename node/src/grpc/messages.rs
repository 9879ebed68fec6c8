//! Letters between people, and announcements to all.

use carrel_domain::id::Position;
use carrel_domain::refusal::Refusal;
use carrel_proto::v1::message_service_server::MessageService;
use carrel_proto::v1::{
    BroadcastRequest, BroadcastResponse, DeleteMessageRequest, DeleteMessageResponse, ListMessagesRequest,
    ListMessagesResponse, SendMessageRequest, SendMessageResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::to_status;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{names, reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

#[derive(Debug)]
pub struct Messages<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> MessageService for Messages<L> {
    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::send_message(&call.message)?).await?;
        Ok(Response::new(SendMessageResponse { message: Some(done.message()?), commit: Some(done.commit) }))
    }

    async fn broadcast(&self, request: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::broadcast(&call.message)?).await?;
        Ok(Response::new(BroadcastResponse { name: done.message()?.name, commit: Some(done.commit) }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let ListMessagesRequest { with, page_size, page_token: token, read } = request.into_inner();
        let limit = request::page_size(page_size)?;
        let list = ListKey::new(&with, "messages", 0);
        let after = page_cursor::<Position>(list, &token)?.unwrap_or_default();
        let with = if with.is_empty() { None } else { Some(names::parse_user("with", &with)?) };
        let (view, user) = self.0.read_as(session, read).await?;
        let find = |name| view.find_user(name).ok_or(Refusal::UserNotFound);
        let with = with.as_ref().map(find).transpose().map_err(to_status)?;
        let page = view.messages(user, with, after, limit);
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|message| page_token(list, &message.position)).unwrap_or_default();
        let messages = page.items.iter().map(reply::message).collect();
        Ok(Response::new(ListMessagesResponse { messages, next_page_token }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::delete_message(&call.message)?).await?;
        Ok(Response::new(DeleteMessageResponse { commit: Some(done.commit) }))
    }
}
