//! Connections that have proven themselves, and an end to those that could not do so again.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use prometheus::{IntCounter, IntCounterVec};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A handshake takes milliseconds of work and two turns on the network. Whoever says nothing is not waited for longer.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// For a refused caller to read why and to hang up, and what it may have sent by then.
const PARTING_LIMIT: Duration = Duration::from_millis(500);
const PARTING_BYTES_MAX: u64 = 64 << 10;
/// Of one port at a time: those who only hold a place lose it after the limit above, and the next ones wait in the
/// listener's queue meanwhile.
const HANDSHAKES_MAX: usize = 256;
/// Strangers may knock as often as they like, but not fill the log.
const SAY_REFUSED_EVERY: Duration = Duration::from_secs(10);

/// What a port asks of callers, for now.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) server: Arc<ServerConfig>,
    /// None where nobody is asked who they are.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// Lets callers through to one port. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    name: &'static str,
    now: watch::Receiver<Port>,
    refused: IntCounter,
    said_at: Arc<Mutex<Option<Instant>>>,
}

impl Gate {
    pub(super) fn new(name: &'static str, now: watch::Receiver<Port>, refused: &IntCounterVec) -> Self {
        Self { name, now, refused: refused.with_label_values(&[name]), said_at: Arc::default() }
    }

    async fn admit(self, stream: TcpStream) -> Option<Connection> {
        let mut now = self.now.clone();
        let port = now.borrow_and_update().clone();
        let handshake = TlsAcceptor::from(port.server).accept(stream).into_fallible();
        let why = match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
            Ok(Ok(stream)) => return Some(Connection::Secured(Box::new(Secured::new(stream, now)))),
            Ok(Err((error, stream))) => {
                part_in_words(stream).await;
                error.to_string()
            }
            Err(_) => format!("no handshake within {} s", HANDSHAKE_LIMIT.as_secs()),
        };
        self.refused.inc();
        let mut said_at = self.said_at.lock().expect("nothing panics while it holds the lock");
        if said_at.is_none_or(|at| at.elapsed() >= SAY_REFUSED_EVERY) {
            *said_at = Some(Instant::now());
            tracing::warn!(port = self.name, "a connection is refused: {why}");
        }
        None
    }
}

/// A connection that is closed over unread bytes is reset, and what was said last, the reason, is lost on the way.
async fn part_in_words(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        let mut rest = stream.take(PARTING_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whoever is gone already needs no reason.
    let _ = tokio::time::timeout(PARTING_LIMIT, reading).await;
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("port", &self.name).finish_non_exhaustive()
    }
}

/// The connections that get through the gate; all of them if there is none. A slow handshake holds up nobody else's.
pub fn incoming(
    connections: impl Stream<Item = Result<TcpStream, Infallible>> + Send + 'static,
    gate: Option<Gate>,
) -> BoxStream<'static, Result<Connection, Infallible>> {
    let connections = connections.map(|Ok(connection)| connection);
    match gate {
        None => connections.map(|connection| Ok(Connection::Plain(connection))).boxed(),
        Some(gate) => connections
            .map(move |connection| gate.clone().admit(connection))
            .buffer_unordered(HANDSHAKES_MAX)
            .filter_map(async |admitted| admitted.map(Ok))
            .boxed(),
    }
}

/// What a server reads and writes.
#[derive(Debug)]
pub enum Connection {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

#[derive(Debug)]
pub struct Secured {
    stream: TlsStream<TcpStream>,
    /// Says so when the caller's certificate is no longer good enough. None where nobody was asked for one.
    cut: Option<oneshot::Receiver<()>>,
}

impl Secured {
    fn new(stream: TlsStream<TcpStream>, now: watch::Receiver<Port>) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.map(|chain| chain.iter().map(|part| part.clone().into_owned()).collect::<Vec<_>>());
        let cut = shown.map(|chain| {
            let (cutting, cut) = oneshot::channel();
            tokio::spawn(cut_when_distrusted(chain, now, cutting));
            cut
        });
        Self { stream, cut }
    }
}

/// Ends with the connection at the latest.
async fn cut_when_distrusted(
    chain: Vec<CertificateDer<'static>>,
    mut now: watch::Receiver<Port>,
    mut cutting: oneshot::Sender<()>,
) {
    loop {
        tokio::select! {
            () = cutting.closed() => return,
            changed = now.changed() => if changed.is_err() {
                // The node stops, and with it this connection.
                return cutting.closed().await;
            }
        }
        let verifier = now.borrow_and_update().verifier.clone();
        let is_good = verifier.is_some_and(|verifier| {
            let Some((leaf, intermediates)) = chain.split_first() else { return false };
            verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).is_ok()
        });
        if !is_good {
            // Whoever held the connection may have let go of it just now.
            let _ = cutting.send(());
            return;
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(secured) => {
                // A server always has a read under way, so this is where it hears of it.
                if let Some(cut) = &mut secured.cut
                    && let Poll::Ready(is_cut) = Pin::new(cut).poll(context)
                {
                    secured.cut = None;
                    if is_cut.is_ok() {
                        return Poll::Ready(Err(io::Error::new(
                            io::ErrorKind::ConnectionAborted,
                            "the caller's certificate is trusted no more",
                        )));
                    }
                }
                Pin::new(&mut secured.stream).poll_read(context, buffer)
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(secured) => secured.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_shutdown(context),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Self::Plain(stream) => stream.connect_info(),
            Self::Secured(secured) => secured.stream.get_ref().0.connect_info(),
        }
    }
}
