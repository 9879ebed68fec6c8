//! How many connections a port has at once, of all callers and of one address, and an end to those that say nothing.
//!
//! Whoever comes beyond is closed at once, which costs nothing and sends a client to the next node.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::raft::transport::Listener;
use crate::tls::{self, Connection};

/// On the client port. A page or a program holds one, a proxy a handful for a building.
const CLIENTS_MAX: usize = 4_096;
/// Three from each of the nodes there may ever be, and as many that are being made again.
pub const PEERS_MAX: usize = 600;
/// Whoever runs the cluster: an operator and a few people.
pub const ADMINS_MAX: usize = 64;
/// Probes of a machine's agent, and whoever gathers metrics.
pub const PROBES_MAX: usize = 64;
/// Beyond this a node has no use for open files.
const OPEN_FILES_MAX: u64 = 65_536;
/// Whoever has connected has something to say.
const FIRST_WORD_LIMIT: Duration = Duration::from_secs(10);
/// Probes come every few seconds and each may come by a connection of its own; metrics are gathered once or twice a
/// minute, and whoever gathers them finds a closed connection every day.
const PROBE_SILENCE_LIMIT: Duration = Duration::from_secs(20);
const SAY_FULL_EVERY: Duration = Duration::from_secs(10);

/// How many connections clients may have: what is set above, but never so many that the log or a snapshot finds no
/// file left to open. Raises this process's limit as far as it may be.
#[must_use]
pub fn clients_max() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    let raised = current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let open_files = if raised { wanted } else { current.unwrap_or(OPEN_FILES_MAX) };
    CLIENTS_MAX.min(usize::try_from(open_files / 2).unwrap_or(CLIENTS_MAX))
}

/// The first `max` of the connections, of which one address has half at most; the others end where they begin.
pub fn bounded(
    incoming: impl Stream<Item = Result<Connection, Infallible>> + Send + 'static,
    port: &'static str,
    max: usize,
) -> BoxStream<'static, Result<Held, Infallible>> {
    bounded_within(incoming, port, max, Silence::AfterTheFirstWord(FIRST_WORD_LIMIT)).map(Ok).boxed()
}

/// The port of probes and metrics: [`PROBES_MAX`] connections, each closed once nothing is asked. If those of others
/// could stay, a probe would find no place, and a node that is well would be killed for it.
pub struct Probes {
    address: SocketAddr,
    held: BoxStream<'static, Held>,
}

impl Probes {
    /// # Errors
    ///
    /// The listener is not bound to an address.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let incoming = tls::incoming(Listener::new(listener), None);
        Ok(Self { address, held: bounded_within(incoming, "health", PROBES_MAX, Silence::Never(PROBE_SILENCE_LIMIT)) })
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").field("address", &self.address).finish_non_exhaustive()
    }
}

impl axum::serve::Listener for Probes {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        let Some(held) = self.held.next().await else { return std::future::pending().await };
        (held, self.address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// When a caller may say nothing for longer than this.
#[derive(Debug, Clone, Copy)]
enum Silence {
    AfterTheFirstWord(Duration),
    Never(Duration),
}

fn bounded_within(
    incoming: impl Stream<Item = Result<Connection, Infallible>> + Send + 'static,
    port: &'static str,
    max: usize,
    silence: Silence,
) -> BoxStream<'static, Held> {
    let places = Arc::new(Mutex::new(Places { max, taken: 0, by_address: HashMap::new(), said_full_at: None }));
    let (Silence::AfterTheFirstWord(limit) | Silence::Never(limit)) = silence;
    let hold = move |Ok(connection): Result<Connection, Infallible>| {
        let place = Place::take(&connection, &places, port);
        let patience = || Some(Box::pin(tokio::time::sleep(limit)));
        std::future::ready(place.map(|place| Held { connection, silence, patience: patience(), _place: place }))
    };
    incoming.filter_map(hold).boxed()
}

/// A connection that has a place.
pub struct Held {
    connection: Connection,
    silence: Silence,
    /// Until the next byte, if it has to come.
    patience: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

/// Given back when it is dropped.
struct Place {
    address: Option<IpAddr>,
    places: Arc<Mutex<Places>>,
}

#[derive(Debug)]
struct Places {
    max: usize,
    taken: usize,
    by_address: HashMap<IpAddr, usize>,
    said_full_at: Option<Instant>,
}

impl Place {
    fn take(connection: &Connection, places: &Arc<Mutex<Places>>, port: &'static str) -> Option<Self> {
        let address = connection.connect_info().remote_addr().map(|address| address.ip().to_canonical());
        places.lock().expect("nothing panics while it holds the lock").take(address, port)?;
        Some(Self { address, places: Arc::clone(places) })
    }
}

impl Places {
    fn take(&mut self, address: Option<IpAddr>, port: &'static str) -> Option<()> {
        let of_one = address.and_then(|address| self.by_address.get(&address)).copied().unwrap_or(0);
        if self.taken >= self.max || of_one >= self.max.div_ceil(2) {
            if self.said_full_at.is_none_or(|at| at.elapsed() >= SAY_FULL_EVERY) {
                self.said_full_at = Some(Instant::now());
                tracing::warn!(port, open = self.taken, from_this_address = of_one, "more connections than are served");
            }
            return None;
        }
        self.taken += 1;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
        Some(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock().expect("nothing panics while it holds the lock");
        places.taken -= 1;
        if let Some(address) = self.address
            && let Some(count) = places.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                places.by_address.remove(&address);
            }
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.connection).poll_read(context, buffer);
        if read.is_ready() {
            this.patience = match this.silence {
                Silence::AfterTheFirstWord(_) => None,
                Silence::Never(limit) => Some(Box::pin(tokio::time::sleep(limit))),
            };
        } else if let Some(patience) = &mut this.patience
            && patience.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was said")));
        }
        read
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl Connected for Held {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.connection.connect_info()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    async fn port(max: usize) -> (SocketAddr, BoxStream<'static, Held>) {
        port_with(max, Silence::AfterTheFirstWord(LIMIT)).await
    }

    async fn port_with(max: usize, silence: Silence) -> (SocketAddr, BoxStream<'static, Held>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let incoming = tls::incoming(Listener::new(listener), None);
        (address, bounded_within(incoming, "test", max, silence))
    }

    #[tokio::test]
    async fn one_address_has_half_of_the_places_and_gets_them_back() {
        let (address, mut served) = port(5).await;
        let mut callers = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            callers.push(TcpStream::connect(address).await.expect("the port listens"));
            held.push(served.next().await);
        }
        let mut late = TcpStream::connect(address).await.expect("the port listens");
        let mut next = served.next();
        let closed = late.read_u8();
        tokio::select! {
            end = closed => assert!(end.is_err(), "closed at once"),
            _ = &mut next => panic!("there is no place"),
        }
        held.pop();
        let again = TcpStream::connect(address).await.expect("the port listens");
        assert!(next.await.is_some());
        drop((again, callers));
    }

    #[test]
    fn others_have_what_one_address_leaves() {
        let mut places = Places { max: 4, taken: 0, by_address: HashMap::new(), said_full_at: None };
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        assert!(places.take(address(1), "test").is_some() && places.take(address(1), "test").is_some());
        assert!(places.take(address(1), "test").is_none());
        assert!(places.take(address(2), "test").is_some() && places.take(address(3), "test").is_some());
        assert!(places.take(address(4), "test").is_none(), "all are taken");
    }

    #[tokio::test]
    async fn whoever_says_nothing_is_not_waited_for() {
        let (address, mut served) = port(5).await;
        let silent = TcpStream::connect(address).await.expect("the port listens");
        let Some(mut held) = served.next().await else { panic!("there is a place") };
        let error = held.read_u8().await.expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop((held, silent));
        let mut caller = TcpStream::connect(address).await.expect("the port listens");
        let Some(mut held) = served.next().await else { panic!("there is a place") };
        caller.write_u8(1).await.expect("somebody listens");
        assert_eq!(held.read_u8().await.expect("a byte"), 1);
        // Whoever has said something may take their time.
        let more = tokio::time::timeout(Duration::from_millis(600), held.read_u8()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test]
    async fn whoever_probes_does_not_stay() {
        let (address, mut served) = port_with(5, Silence::Never(LIMIT)).await;
        let mut caller = TcpStream::connect(address).await.expect("the port listens");
        let Some(mut held) = served.next().await else { panic!("there is a place") };
        caller.write_u8(1).await.expect("somebody listens");
        assert_eq!(held.read_u8().await.expect("a byte"), 1);
        let error = held.read_u8().await.expect_err("no more was sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
