//! A receiver at the other end of a connection: looked up, allowed, connected to and asked, each within a limit. What
//! it answers is not read beyond a little, and where it points to nobody goes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use carrel_domain::text::WebhookUrl;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::outward::BeginError;
use crate::outward::envelope::Signed;
use crate::outward::networks::Networks;
use crate::tls::Outside;

/// To look up, connect and shake hands.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// From the question to the end of the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Of an answer: beyond it the connection is not used again.
const ANSWER_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Error)]
pub(super) enum PostError {
    #[error("its address makes no sense")]
    Address,
    #[error("its address leads to no network that is allowed (--webhook-networks)")]
    NotAllowed,
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    #[error("no answer in time")]
    TooSlow,
    #[error("it answered {0}")]
    Refused(http::StatusCode),
}

/// Whoever calls receivers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    networks: Networks,
    outside: Outside,
}

impl Caller {
    pub fn new(networks: Networks) -> Result<Self, BeginError> {
        Ok(Self { networks, outside: Outside::new()? })
    }

    async fn connect(&self, url: &Uri) -> Result<Open, PostError> {
        let host = url.host().ok_or(PostError::Address)?.trim_start_matches('[').trim_end_matches(']');
        let is_secure = url.scheme() == Some(&Scheme::HTTPS);
        let port = url.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let found: Vec<_> = lookup_host((host, port)).await.map_err(PostError::Connect)?.collect();
        let mut trouble = PostError::NotAllowed;
        // What was allowed is what is connected to: the name is not looked up again.
        for address in found.into_iter().filter(|address| self.networks.allow(address.ip())) {
            let connected = TcpStream::connect(address).await;
            let stream = match connected {
                Ok(stream) => stream,
                Err(error) => {
                    trouble = PostError::Connect(error);
                    continue;
                }
            };
            return if is_secure {
                Open::over(self.outside.shake_hands(host, stream).await.map_err(PostError::Connect)?).await
            } else {
                Open::over(stream).await
            };
        }
        Err(trouble)
    }
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Open {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, PostError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // However it ends, the sender is told.
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender, driver })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The connection to one receiver, kept from one event to the next.
#[derive(Debug, Default)]
pub(super) struct Line {
    open: Option<Open>,
}

impl Line {
    pub async fn post(&mut self, caller: &Caller, url: &WebhookUrl, signed: Signed) -> Result<(), PostError> {
        let url: Uri = url.as_str().parse().map_err(|_| PostError::Address)?;
        if let Some(open) = self.open.take().filter(|open| !open.sender.is_closed()) {
            // One that was kept may have ended just now: that says nothing about the receiver.
            match self.ask(open, &url, signed.clone()).await {
                Err(PostError::Broken(_)) => {}
                answered => return answered,
            }
        }
        let connecting = timeout(CONNECT_LIMIT, caller.connect(&url)).await;
        let open = connecting.map_err(|_| PostError::TooSlow)??;
        self.ask(open, &url, signed).await
    }

    async fn ask(&mut self, mut open: Open, url: &Uri, signed: Signed) -> Result<(), PostError> {
        let Signed { id, timestamp, signature, body } = signed;
        let authority = url.authority().ok_or(PostError::Address)?.as_str();
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("carrel/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(body))
            .map_err(|_| PostError::Address)?;
        let asking = async {
            open.sender.ready().await?;
            let answer = open.sender.send_request(request).await?;
            let status = answer.status();
            let is_read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.is_ok();
            Ok::<_, PostError>((status, is_read))
        };
        let (status, is_read) = timeout(ANSWER_LIMIT, asking).await.map_err(|_| PostError::TooSlow)??;
        if is_read {
            self.open = Some(open);
        }
        if status.is_success() { Ok(()) } else { Err(PostError::Refused(status)) }
    }
}
