//! Transport security: who may call, how that is proven, and keys that change on disk while the node runs. The only
//! place that knows rustls.
//!
//! Peers and the admin port share one authority (`--tls-dir`), and a certificate's names say what its bearer may do:
//! one that is valid for a peer's host is a peer, one for [`ADMIN_NAME`] runs the cluster. A node's certificate is no
//! admin's: nodes never call that port, and whoever steals the key of one should not get to rearrange the others.
//!
//! What is in use follows the files. A new pair is taken for every new connection, on both ends; a connection whose
//! certificate the new authorities no longer accept is cut. Files that make no sense are refused, and the old keys
//! serve on.

mod certificate;
mod dial;
mod files;
mod incoming;
mod outside;
mod roles;

pub use certificate::{Certificate, KeysInUse};
pub use dial::Dialler;
pub use files::choose_cryptography;
pub use incoming::{Connection, Gate, incoming};
pub use outside::Outside;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Registry};
use rustls::client::WebPkiServerVerifier;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::catalogue::{self, Metric, registered};

use dial::Dialling;
use files::{Contents, Pair};
use incoming::Port;

/// The DNS name in the certificate of whoever runs the cluster.
pub const ADMIN_NAME: &str = "carrel-admin";

/// A mounted Secret follows its source within a minute or so: this adds little, and reads three small files.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Files that have just changed may still be changing: they must look the same for so long.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{file} is not PEM")]
    Pem { file: &'static str, source: rustls::pki_types::pem::Error },
    #[error("{0} holds no certificate")]
    Empty(&'static str),
    #[error("ca.crt holds something that is no authority")]
    Authorities { source: rustls::Error },
    #[error("tls.key is not the key of tls.crt, or one of them is unusable")]
    Pair { source: rustls::Error },
    #[error(
        "tls.crt would be refused by the other nodes: by ca.crt it must be valid, for clients as well as for servers, \
             and name a host of --peer-urls"
    )]
    NotAPeer { source: rustls::Error },
    #[error("the host of {url:?} cannot be the name in a certificate")]
    Host { url: String },
    #[error("rustls cannot be set up")]
    Setup { source: rustls::Error },
}

/// Where the keys of a node lie.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    /// Between nodes, and for whoever runs the cluster.
    pub cluster: Option<PathBuf>,
    /// For the client port.
    pub clients: Option<PathBuf>,
}

/// What each port asks for and each call shows, as the files say now.
#[derive(Clone, Debug)]
pub struct Tls {
    peers: Option<Gate>,
    admin: Option<Gate>,
    clients: Option<Gate>,
    to_peers: Option<Dialler>,
    to_clients: ToClients,
    in_use: InUse,
}

/// To the client ports of other nodes: trusting what clients trust if that is known here, else what peers trust.
#[derive(Clone, Debug, Default)]
pub struct ToClients {
    like_clients: Option<watch::Receiver<Option<Dialling>>>,
    like_peers: Option<Dialler>,
}

impl ToClients {
    /// As the files say now; none where nothing says whom to trust.
    #[must_use]
    pub fn dialler(&self) -> Option<Dialler> {
        let like_clients = self.like_clients.as_ref().and_then(|now| now.borrow().clone());
        like_clients.map(Dialler::fixed).or_else(|| self.like_peers.clone())
    }
}

/// What is shown and trusted at this moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    cluster: Option<watch::Receiver<KeysInUse>>,
    clients: Option<watch::Receiver<KeysInUse>>,
}

impl InUse {
    /// Between nodes, and on the admin port.
    #[must_use]
    pub fn cluster(&self) -> Option<KeysInUse> {
        self.cluster.as_ref().map(|now| now.borrow().clone())
    }

    /// On the client port.
    #[must_use]
    pub fn clients(&self) -> Option<KeysInUse> {
        self.clients.as_ref().map(|now| now.borrow().clone())
    }
}

/// Keeps a [`Tls`] as its files are.
#[derive(Debug)]
pub struct Follower {
    sources: Vec<Source>,
    reloads: IntCounterVec,
}

/// What is done with the contents of a directory.
type Take = Box<dyn Fn(&Contents) -> Result<(), TlsError> + Send>;

/// One directory, and what becomes of its contents.
struct Source {
    dir: PathBuf,
    /// In use or refused: either way nothing more is to be said about it.
    seen: Contents,
    take: Take,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads what the directories hold. `peers` are the addresses of all nodes there may be.
    ///
    /// # Errors
    /// If a directory does not hold what it should.
    pub fn open(
        directories: &Directories,
        peers: &[String],
        registry: &Registry,
    ) -> Result<(Self, Follower), TlsError> {
        let counter = |metric: &Metric| registered(registry, metric.counters()).expect("the name is used once");
        let reloads = counter(&catalogue::TLS_RELOADS);
        for outcome in [TAKEN, REFUSED] {
            reloads.with_label_values(&[outcome]);
        }
        let refusals = counter(&catalogue::TLS_REFUSED);
        let mut tls = Self {
            peers: None,
            admin: None,
            clients: None,
            to_peers: None,
            to_clients: ToClients::default(),
            in_use: InUse::default(),
        };
        let mut sources = Vec::new();
        if let Some(dir) = &directories.cluster {
            let hosts = roles::peers(peers)?;
            let admin = roles::admin();
            let contents = Contents::read(dir)?;
            let first = ClusterKeys::new(&contents, &hosts, &admin, 0)?;
            let (in_use_now, in_use) = watch::channel(contents.in_use()?);
            tls.in_use.cluster = Some(in_use);
            let (peers_now, peers) = watch::channel(first.peers);
            let (admin_now, admins) = watch::channel(first.admin);
            let (dial_now, dial) = watch::channel(first.dial);
            let (anybody_now, anybody) = watch::channel(first.dial_anybody);
            tls.peers = Some(Gate::new("peers", peers, &refusals));
            tls.admin = Some(Gate::new("admin", admins, &refusals));
            tls.to_peers = Some(Dialler::new(dial));
            tls.to_clients.like_peers = Some(Dialler::new(anybody));
            let take = move |contents: &Contents| {
                let number = dial_now.borrow().number + 1;
                let keys = ClusterKeys::new(contents, &hosts, &admin, number)?;
                let in_use = contents.in_use()?;
                // What this node shows first, then what it asks for.
                dial_now.send_replace(keys.dial);
                anybody_now.send_replace(keys.dial_anybody);
                peers_now.send_replace(keys.peers);
                admin_now.send_replace(keys.admin);
                in_use_now.send_replace(in_use);
                Ok(())
            };
            sources.push(Source { dir: dir.clone(), seen: contents, take: Box::new(take) });
        }
        if let Some(dir) = &directories.clients {
            let contents = Contents::read(dir)?;
            let pair = contents.pair()?;
            let (port_now, port) = watch::channel(Port { server: for_clients(&pair)?, verifier: None });
            tls.clients = Some(Gate::new("clients", port, &refusals));
            let dialling =
                |contents: &Contents| contents.authorities()?.map(|roots| dial_anybody(roots, 0)).transpose();
            let (dial_now, dial) = watch::channel(dialling(&contents)?);
            tls.to_clients.like_clients = Some(dial);
            let (in_use_now, in_use) = watch::channel(contents.in_use()?);
            tls.in_use.clients = Some(in_use);
            let take = move |contents: &Contents| {
                let server = for_clients(&contents.pair()?)?;
                let (dialling, in_use) = (dialling(contents)?, contents.in_use()?);
                dial_now.send_replace(dialling);
                port_now.send_replace(Port { server, verifier: None });
                in_use_now.send_replace(in_use);
                Ok(())
            };
            sources.push(Source { dir: dir.clone(), seen: contents, take: Box::new(take) });
        }
        Ok((tls, Follower { sources, reloads }))
    }

    /// For callers that prove to be peers.
    #[must_use]
    pub fn peers(&self) -> Option<Gate> {
        self.peers.clone()
    }

    /// For callers that prove to run the cluster.
    #[must_use]
    pub fn admin(&self) -> Option<Gate> {
        self.admin.clone()
    }

    /// For anybody, who is shown a certificate and asked for none.
    #[must_use]
    pub fn clients(&self) -> Option<Gate> {
        self.clients.clone()
    }

    /// To the peer ports of other nodes.
    #[must_use]
    pub fn to_peers(&self) -> Option<Dialler> {
        self.to_peers.clone()
    }

    #[must_use]
    pub fn to_clients(&self) -> ToClients {
        self.to_clients.clone()
    }

    #[must_use]
    pub fn in_use(&self) -> InUse {
        self.in_use.clone()
    }
}

const TAKEN: &str = "taken";
const REFUSED: &str = "refused";

impl Follower {
    /// Looks at the files until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.sources.is_empty() {
            return;
        }
        while stop.run_until_cancelled(tokio::time::sleep(POLL_EVERY)).await.is_some() {
            self.look().await;
        }
    }

    /// Takes what has changed, if it makes sense.
    pub(crate) async fn look(&mut self) {
        for source in &mut self.sources {
            match changed(&source.dir, &source.seen).await {
                Ok(None) => {}
                Ok(Some(contents)) => {
                    match (source.take)(&contents) {
                        Ok(()) => {
                            self.reloads.with_label_values(&[TAKEN]).inc();
                            tracing::info!(dir = %source.dir.display(), "new certificates are in use");
                        }
                        Err(error) => {
                            self.reloads.with_label_values(&[REFUSED]).inc();
                            let error = anyhow::Error::new(error);
                            let dir = source.dir.display();
                            tracing::warn!(%dir, "new certificates are refused, the old ones serve on: {error:#}");
                        }
                    }
                    source.seen = contents;
                }
                // Gone for the moment, as in the middle of a swap; the next look tells.
                Err(error) => tracing::debug!(%error, "certificates cannot be read, the old ones serve on"),
            }
        }
    }
}

/// What the directory holds, if it is something else than before and has stopped changing.
async fn changed(dir: &Path, seen: &Contents) -> Result<Option<Contents>, TlsError> {
    let now = Contents::read_async(dir).await?;
    if now == *seen {
        return Ok(None);
    }
    tokio::time::sleep(SETTLED_AFTER).await;
    let settled = Contents::read_async(dir).await?;
    Ok((now == settled).then_some(settled))
}

/// All that follows from the cluster's directory.
struct ClusterKeys {
    peers: Port,
    admin: Port,
    dial: Dialling,
    dial_anybody: Dialling,
}

impl ClusterKeys {
    fn new(contents: &Contents, hosts: &roles::Names, admin: &roles::Names, number: u64) -> Result<Self, TlsError> {
        let roots = contents.authorities()?.ok_or(TlsError::Empty(files::AUTHORITIES))?;
        let pair = contents.pair()?;
        let peer_verifier = roles::verifier(roots.clone(), hosts)?;
        let admin_verifier = roles::verifier(roots.clone(), admin)?;
        // A node that the others refuse had better say so itself.
        let (leaf, intermediates) = pair.chain.split_first().ok_or(TlsError::Empty(files::CHAIN))?;
        peer_verifier
            .verify_client_cert(leaf, intermediates, rustls::pki_types::UnixTime::now())
            .map_err(|source| TlsError::NotAPeer { source })?;
        let mut dial = ClientConfig::builder_with_provider(files::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| TlsError::Setup { source })?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())
            .map_err(|source| TlsError::Pair { source })?;
        dial.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            peers: asking(&pair, peer_verifier)?,
            admin: asking(&pair, admin_verifier)?,
            dial: Dialling { number, config: Arc::new(dial) },
            dial_anybody: dial_anybody(roots, number)?,
        })
    }
}

/// For a port whose callers must prove who they are.
fn asking(pair: &Pair, verifier: Arc<dyn ClientCertVerifier>) -> Result<Port, TlsError> {
    let mut server = ServerConfig::builder_with_provider(files::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Setup { source })?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(pair.chain.clone(), pair.key.clone_key())
        .map_err(|source| TlsError::Pair { source })?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    // Every connection proves itself afresh: a resumed one would get past a certificate that has expired since.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Port { server: Arc::new(server), verifier: Some(verifier) })
}

/// For browsers and programs of all ages.
fn for_clients(pair: &Pair) -> Result<Arc<ServerConfig>, TlsError> {
    let mut server = ServerConfig::builder_with_provider(files::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Setup { source })?
        .with_no_client_auth()
        .with_single_cert(pair.chain.clone(), pair.key.clone_key())
        .map_err(|source| TlsError::Pair { source })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

/// Trusts these authorities, and shows nothing.
fn dial_anybody(roots: Arc<RootCertStore>, number: u64) -> Result<Dialling, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, files::provider())
        .build()
        .map_err(|error| TlsError::Setup { source: rustls::Error::General(error.to_string()) })?;
    let mut config = ClientConfig::builder_with_provider(files::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Setup { source })?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Dialling { number, config: Arc::new(config) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::{Authority, Purpose};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn put(dir: &Path, authority: &Authority, purpose: Purpose) {
        let signed = authority.sign(purpose, &["127.0.0.1".to_owned()], DAY).expect("signed");
        std::fs::write(dir.join("tls.crt"), signed.certificate).expect("written");
        std::fs::write(dir.join("tls.key"), signed.key).expect("written");
    }

    #[tokio::test]
    async fn whom_to_trust_in_passing_a_call_on_may_be_said_later_and_unsaid() {
        let (dir, authority) = (tempfile::tempdir().expect("a directory"), Authority::new("ours", DAY).expect("ours"));
        put(dir.path(), &authority, Purpose::Clients);
        let directories = Directories { cluster: None, clients: Some(dir.path().to_owned()) };
        let (tls, mut follower) = Tls::open(&directories, &[], &Registry::new()).expect("usable");
        let to_clients = tls.to_clients();
        assert!(to_clients.dialler().is_none(), "nothing says whom to trust");
        assert_eq!(tls.in_use().clients().expect("in use").authorities, []);
        std::fs::write(dir.path().join("ca.crt"), authority.certificate()).expect("written");
        follower.look().await;
        assert!(to_clients.dialler().is_some(), "it says so by now");
        assert_eq!(tls.in_use().clients().expect("in use").authorities.len(), 1);
        std::fs::remove_file(dir.path().join("ca.crt")).expect("removed");
        follower.look().await;
        assert!(to_clients.dialler().is_none(), "and no more");
        assert!(tls.in_use().cluster().is_none());
    }

    #[tokio::test]
    async fn what_is_in_use_is_told_and_what_is_refused_is_not() {
        let (old, new) = (Authority::new("old", DAY).expect("old"), Authority::new("new", DAY).expect("new"));
        let dir = tempfile::tempdir().expect("a directory");
        put(dir.path(), &old, Purpose::Peers);
        std::fs::write(dir.path().join("ca.crt"), old.certificate()).expect("written");
        let directories = Directories { cluster: Some(dir.path().to_owned()), clients: None };
        let peers = ["https://127.0.0.1:1".to_owned()];
        let (tls, mut follower) = Tls::open(&directories, &peers, &Registry::new()).expect("usable");
        let first = tls.in_use().cluster().expect("in use");
        // Signed by one that is not trusted: refused, and not in use.
        put(dir.path(), &new, Purpose::Peers);
        follower.look().await;
        assert_eq!(tls.in_use().cluster(), Some(first.clone()));
        std::fs::write(dir.path().join("ca.crt"), format!("{}{}", old.certificate(), new.certificate())).expect("put");
        follower.look().await;
        let both = tls.in_use().cluster().expect("in use");
        assert_eq!(both.authorities.len(), 2);
        assert_eq!(both.authorities[0], first.authorities[0]);
        assert_ne!(both.shown, first.shown);
    }
}
