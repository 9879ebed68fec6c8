//! Letters between people, and announcements to all.

use std::collections::BTreeSet;

use carrel_domain::id::Position;
use carrel_domain::refusal::Refusal;
use carrel_domain::text::UserName;
use carrel_proto::v1::message_service_server::MessageService;
use carrel_proto::v1::{
    BlockUserRequest, BlockUserResponse, BroadcastRequest, BroadcastResponse, DeleteMessageRequest,
    DeleteMessageResponse, ListBlocksRequest, ListBlocksResponse, ListConversationsRequest, ListConversationsResponse,
    ListMessagesRequest, ListMessagesResponse, ReportMessageRequest, ReportMessageResponse, SendMessageRequest,
    SendMessageResponse, UnblockUserRequest, UnblockUserResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::to_status;
use crate::convert::request::With;
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
        Ok(Response::new(SendMessageResponse { message: Some(done.message()?), commit: done.commit }))
    }

    async fn broadcast(&self, request: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::broadcast(&call.message)?).await?;
        Ok(Response::new(BroadcastResponse { name: done.message()?.name, commit: done.commit }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let (with, limit) = (request::list_messages(&message)?, request::page_size(message.page_size)?);
        let (token, read) = (std::mem::take(&mut message.page_token), message.read.take());
        message.page_size = 0;
        let list = ListKey::new(&message, "messages", 0);
        let after = page_cursor::<Position>(list, &token)?.unwrap_or_default();
        let (view, user) = self.0.read_as(session, read).await?;
        let find = |name: &UserName| view.find_user(name).ok_or(Refusal::UserNotFound).map_err(to_status);
        let page = match &with {
            With::Anybody => view.messages(user, None, after, limit),
            With::Person(name) => view.messages(user, Some(find(name)?), after, limit),
            With::Exactly(names) => {
                let others = names.iter().map(find).collect::<Result<BTreeSet<_>, _>>()?;
                let others = others.into_iter().filter(|&other| other != user).collect();
                view.conversation(user, &others, after, limit)
            }
        };
        let last = page.items.last().filter(|_| page.more);
        let next_page_token = last.map(|message| page_token(list, &message.position)).unwrap_or_default();
        let messages = page.items.iter().map(reply::message).collect();
        Ok(Response::new(ListMessagesResponse { messages, next_page_token }))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.0.read_as(session, request.into_inner().read).await?;
        let conversations = view.conversations(user).iter().map(reply::conversation).collect();
        Ok(Response::new(ListConversationsResponse { conversations }))
    }

    async fn block_user(&self, request: Request<BlockUserRequest>) -> Result<Response<BlockUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::block_user(&call.message)?).await?;
        Ok(Response::new(BlockUserResponse { commit: done.commit }))
    }

    async fn unblock_user(
        &self,
        request: Request<UnblockUserRequest>,
    ) -> Result<Response<UnblockUserResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::unblock_user(&call.message)?).await?;
        Ok(Response::new(UnblockUserResponse { commit: done.commit }))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Result<Response<ListBlocksResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.0.read_as(session, request.into_inner().read).await?;
        Ok(Response::new(ListBlocksResponse { users: view.blocks(user).iter().map(names::user).collect() }))
    }

    async fn report_message(
        &self,
        request: Request<ReportMessageRequest>,
    ) -> Result<Response<ReportMessageResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::report_message(&call.message)?).await?;
        Ok(Response::new(ReportMessageResponse { commit: done.commit }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::delete_message(&call.message)?).await?;
        Ok(Response::new(DeleteMessageResponse { commit: done.commit }))
    }
}
