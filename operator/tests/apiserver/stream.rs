//! The port on which a machine's kubelet carries streams: `/portForward`, over a WebSocket, as the API server asks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::task::AbortOnDropHandle;

/// Where each pod is, by its name.
pub type Addresses = Arc<Mutex<BTreeMap<String, Ipv4Addr>>>;

const PROTOCOL: &str = "v4.channel.k8s.io";
/// One port is forwarded at a time: a channel for its bytes, one for what goes wrong.
const BYTES: u8 = 0;
const TROUBLE: u8 = 1;

pub async fn serve(addresses: Addresses) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(tls()));
    let serving = tokio::spawn(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let (acceptor, addresses) = (acceptor.clone(), addresses.clone());
            tokio::spawn(async move {
                if let Ok(socket) = acceptor.accept(socket).await {
                    forward(socket, &addresses).await;
                }
            });
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

fn tls() -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("signed");
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a pair")
}

async fn forward<S: AsyncRead + AsyncWrite + Unpin>(socket: S, addresses: &Addresses) {
    let mut asked = None;
    #[allow(clippy::unnecessary_wraps, reason = "the shape of the callback")]
    let answer = |request: &Request, mut response: Response| {
        asked = target(request.uri());
        response.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().expect("a header"));
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(socket, answer).await else { return };
    let Some((pod, port)) = asked else { return };
    for channel in [BYTES, TROUBLE] {
        let [low, high] = port.to_le_bytes();
        if socket.send(Message::binary(vec![channel, low, high])).await.is_err() {
            return;
        }
    }
    let address = addresses.lock().expect("nobody panics in here").get(&pod).copied();
    let connected = match address {
        Some(address) => TcpStream::connect((address, port)).await,
        None => Err(std::io::Error::other("no such pod runs here")),
    };
    let mut pod = match connected {
        Ok(pod) => pod,
        Err(error) => {
            let mut text = vec![TROUBLE];
            text.extend(format!("cannot reach port {port}: {error}").into_bytes());
            let _ = socket.send(Message::binary(text)).await;
            return;
        }
    };
    let mut bytes = vec![0; 32 << 10];
    loop {
        tokio::select! {
            read = pod.read(&mut bytes) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let mut framed = vec![BYTES];
                    framed.extend_from_slice(&bytes[..count]);
                    if socket.send(Message::binary(framed)).await.is_err() {
                        break;
                    }
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(framed))) if framed.len() > 1 && framed[0] == BYTES => {
                    if pod.write_all(&framed[1..]).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    let _ = socket.close(None).await;
}

/// `/portForward/NAMESPACE/POD?port=7400`
fn target(uri: &http::Uri) -> Option<(String, u16)> {
    let mut parts = uri.path().trim_matches('/').split('/');
    let pod = (parts.next() == Some("portForward")).then(|| parts.nth(1)).flatten()?;
    let port = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("port="))?;
    Some((pod.to_owned(), port.parse().ok()?))
}
