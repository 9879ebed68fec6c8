//! Addresses of people's calendars, and what is behind them.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse, Response as HttpResponse};
use carrel_domain::request::{Action, Caller};
use carrel_proto::v1::calendar_service_server::CalendarService;
use carrel_proto::v1::{
    CreateCalendarFeedRequest, CreateCalendarFeedResponse, RevokeCalendarFeedRequest, RevokeCalendarFeedResponse,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use crate::convert::refusal::to_status;
use crate::grpc::bounds::Deadline;
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session::{self, SessionToken};
use crate::replica::Freshness;
use crate::{ical, page};

/// Where calendars are, on every node.
pub const PATH: &str = "/calendars/{file}";

#[derive(Debug)]
pub struct Calendars<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> CalendarService for Calendars<L> {
    async fn create_calendar_feed(
        &self,
        request: Request<CreateCalendarFeedRequest>,
    ) -> Result<Response<CreateCalendarFeedResponse>, Status> {
        let caller = Caller::Session(session::named_by(request.metadata())?);
        let token = SessionToken::draw()?;
        let action = Action::SetCalendarFeed { token: Some(token.digest()) };
        // Not recorded, as a log-in is not: an answer that is lost costs an address that nobody uses.
        let entry = carrel_domain::request::Request { caller, retry: None, action };
        let answer = self.0.library.write(entry, Deadline::of(&request).remaining()).await?;
        let done = self.0.decided(answer).done().map_err(to_status)?;
        let path = format!("/calendars/{}.ics", token.to_text());
        Ok(Response::new(CreateCalendarFeedResponse { path, commit: done.commit }))
    }

    async fn revoke_calendar_feed(
        &self,
        request: Request<RevokeCalendarFeedRequest>,
    ) -> Result<Response<RevokeCalendarFeedResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, Action::SetCalendarFeed { token: None }).await?;
        Ok(Response::new(RevokeCalendarFeedResponse { commit: done.commit }))
    }
}

/// The file behind an address. An address that leads nowhere is not told apart from one that never did.
pub async fn file<L: Library>(library: Arc<L>, Path(file): Path<String>, headers: HeaderMap) -> HttpResponse {
    let Some(token) = file.strip_suffix(".ics").and_then(SessionToken::parse) else { return page::not_found() };
    // What was revoked on another node is revoked here.
    let Ok(view) = library.read(Freshness::Linearizable).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
    };
    let Some(text) = view.calendar_of(token.digest()).and_then(|user| ical::calendar(&view, user)) else {
        return page::not_found();
    };
    let digest = Sha256::digest(&text);
    let tag = digest.iter().take(16).fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}")) + "\"";
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let about = [(ETAG, tag), (CACHE_CONTROL, "private, no-cache".to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(CONTENT_TYPE, "text/calendar; charset=utf-8")], text).into_response()
}
