//! What was changed, by whom and why.

use carrel_domain::id::Position;
use carrel_domain::query::AuditSearch;
use carrel_proto::v1::audit_service_server::AuditService;
use carrel_proto::v1::{ListAuditEventsRequest, ListAuditEventsResponse};
use tonic::{Request, Response, Status};

use crate::convert::refusal::to_status;
use crate::convert::token::{ListKey, page_cursor, page_token};
use crate::convert::{audit, request};
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

#[derive(Debug)]
pub struct Audit<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> AuditService for Audit<L> {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let mut message = request.into_inner();
        let ((user, claim), limit) = (request::list_audit_events(&message)?, request::page_size(message.page_size)?);
        let (token, read) = (std::mem::take(&mut message.page_token), message.read.take());
        message.page_size = 0;
        let list = ListKey::new(&message, "audit", 0);
        let before = page_cursor::<Position>(list, &token)?;
        let (view, viewer) = self.0.read_as(session, read).await?;
        let page = view.audit(viewer, &AuditSearch { user, claim, before, limit }).map_err(to_status)?;
        Ok(Response::new(ListAuditEventsResponse {
            events: page.entries.iter().map(audit::event).collect(),
            next_page_token: page.next.map(|next| page_token(list, &next)).unwrap_or_default(),
        }))
    }
}
