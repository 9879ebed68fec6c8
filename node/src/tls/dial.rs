//! Calls over TLS, each new connection with the keys of the day.

use std::fmt;
use std::io;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::roles;

/// How to call, for now.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    /// Grows with each change.
    pub(super) number: u64,
    pub(super) config: Arc<ClientConfig>,
}

/// Makes connections to `https://` addresses. Cheap to clone.
#[derive(Clone)]
pub struct Dialler {
    now: watch::Receiver<Dialling>,
}

impl Dialler {
    pub(super) fn new(now: watch::Receiver<Dialling>) -> Self {
        Self { now }
    }

    /// One that does not follow any files.
    pub(super) fn fixed(dialling: Dialling) -> Self {
        Self::new(watch::channel(dialling).1)
    }

    /// Another one than before: what was connected earlier showed an older certificate.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.now.borrow().number
    }

    /// Does not connect: the first call does. `shape` sets everything but TLS, the time to connect included, which is
    /// the handshake's too.
    pub fn connect_lazily(&self, address: Uri, shape: impl FnOnce(Endpoint) -> Endpoint) -> Channel {
        let now = self.now.clone();
        // tonic would insist on its own TLS, which is read once, for https.
        let mut parts = address.into_parts();
        parts.scheme = Some(Scheme::HTTP);
        let plain = Uri::from_parts(parts).expect("an address is as complete with another scheme");
        shape(Endpoint::from(plain)).connect_with_connector_lazy(service_fn(move |address: Uri| {
            let config = now.borrow().config.clone();
            async move {
                let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "the address has no host");
                let name = roles::name_of(&address).ok_or_else(unnamed)?;
                let host = address.host().ok_or_else(unnamed)?.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((host, address.port_u16().unwrap_or(HTTPS_PORT))).await?;
                stream.set_nodelay(true)?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        }))
    }
}

const HTTPS_PORT: u16 = 443;

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").finish_non_exhaustive()
    }
}
