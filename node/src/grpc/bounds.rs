//! What is true of every call whatever its method: how large a request may be, how long an answer may take, and that no
//! text of the machinery reaches a client.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use carrel_domain::account::Role;
use carrel_domain::refusal::Refusal;
use http::HeaderMap;
use tonic::{Code, Status};

use crate::convert::refusal;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;
use crate::replica::Freshness;
use crate::timeout;

pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Of the catalogue service: the largest catalogue, written out.
pub const CATALOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For an answer to begin, whatever deadline the client has set: a call that takes longer is lost to its caller.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const IMPORT: &str = "/carrel.v1.CatalogService/ImportCatalog";
const CATALOG_SERVICE: &str = "/carrel.v1.CatalogService/";

/// When the caller stops waiting, which every call has from [`in_time`]. What is asked of others on its behalf is asked
/// with what remains of it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    #[must_use]
    pub fn of<M>(request: &tonic::Request<M>) -> Self {
        request.extensions().get().copied().unwrap_or_else(|| Self(Instant::now() + ANSWER_TIMEOUT))
    }

    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Ends a call whose answer does not begin in time. What the caller's own time is, the server's outermost part sees to.
pub async fn in_time<Answered>(mut request: Request, next: impl FnOnce(Request) -> Answered) -> Response
where
    Answered: Future<Output = Response>,
{
    let within = timeout::of(request.headers()).map_or(ANSWER_TIMEOUT, |within| within.min(ANSWER_TIMEOUT));
    request.extensions_mut().insert(Deadline(Instant::now() + within));
    match tokio::time::timeout(ANSWER_TIMEOUT, next(request)).await {
        Ok(response) => response,
        Err(_) => refusal::took_too_long(ANSWER_TIMEOUT).into_http(),
    }
}

/// Nobody but an admin makes this node take in megabytes: judged before the body is read.
pub async fn large_from_admins<L: Library, Answered>(
    front: &Front<L>,
    request: Request,
    next: impl FnOnce(Request) -> Answered,
) -> Response
where
    Answered: Future<Output = Response>,
{
    if request.uri().path() == IMPORT
        && let Err(status) = is_admin(front, request.headers()).await
    {
        return status.into_http();
    }
    next(request).await
}

async fn is_admin<L: Library>(front: &Front<L>, headers: &HeaderMap) -> Result<(), Status> {
    let session = session::named_in(headers)?;
    let view = front.library.read(Freshness::Linearizable).await?;
    let viewer = view.viewer(session).map_err(refusal::to_status)?;
    match viewer.user.role {
        Role::Admin => Ok(()),
        Role::Patron | Role::Librarian(_) | Role::Auditor | Role::Kiosk => {
            Err(refusal::to_status(Refusal::NotPermitted))
        }
    }
}

/// What the transport refuses before a handler sees it, it refuses in its own words; clients hear ours.
pub async fn in_our_words<Answered>(request: Request, next: impl FnOnce(Request) -> Answered) -> Response
where
    Answered: Future<Output = Response>,
{
    let max_bytes =
        if request.uri().path().starts_with(CATALOG_SERVICE) { CATALOG_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    let response = next(request).await;
    // Every no of ours has details.
    match Status::from_header_map(response.headers()).filter(|status| status.details().is_empty()) {
        Some(status) if status.code() == Code::OutOfRange => refusal::message_too_large(max_bytes).into_http::<Body>(),
        Some(status) if status.code() == Code::Internal => refusal::malformed_message().into_http(),
        Some(status) if status.code() == Code::Unimplemented && status.message().is_empty() => no_such_method(),
        Some(_) | None => response,
    }
}

/// For a method or service that this server does not have.
pub fn no_such_method() -> Response {
    Status::unimplemented("this server has no such method: check that client and server are of one version").into_http()
}
