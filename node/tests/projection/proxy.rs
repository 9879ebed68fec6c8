//! What stands between the nodes and Postgres: lets everything through, holds it up, or cuts it where it hurts most.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the next COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It never arrives.
    Lost = 1,
    /// It takes effect, and nobody is told.
    Unanswered = 2,
}

#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    behind: SocketAddr,
    /// A [`Commit`]; 0: it passes.
    next_commit: AtomicU8,
    /// Commits that were cut.
    cut: AtomicU64,
    /// Everything takes so much longer, each way.
    delay_ms: AtomicU64,
    /// Grows when all connections end.
    generation: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let shared = Arc::new(Shared {
            port: listener.local_addr().expect("it is bound").port(),
            behind,
            next_commit: AtomicU8::new(0),
            cut: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            generation: watch::channel(0).0,
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = accepting.clone();
                tokio::spawn(async move { shared.carry(client).await });
            }
        });
        Self { shared }
    }

    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// The next transaction that commits is cut there.
    pub fn cut_next(&self, commit: Commit) {
        self.shared.next_commit.store(commit as u8, Ordering::SeqCst);
    }

    pub fn cuts(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }

    pub fn delay(&self, each_way: Duration) {
        let ms = u64::try_from(each_way.as_millis()).expect("a short time");
        self.shared.delay_ms.store(ms, Ordering::SeqCst);
    }

    pub fn cut_all(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

impl Shared {
    async fn carry(&self, mut client: TcpStream) {
        let Ok(mut server) = TcpStream::connect(self.behind).await else { return };
        let mut generation = self.generation.subscribe();
        let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(count @ 1..) = read else { return };
                    let is_commit = asked[..count].windows(7).any(|bytes| bytes == b"COMMIT\0");
                    let fate = if is_commit { self.next_commit.swap(0, Ordering::SeqCst) } else { 0 };
                    if fate == Commit::Lost as u8 {
                        self.cut.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    self.hold_up().await;
                    if server.write_all(&asked[..count]).await.is_err() {
                        return;
                    }
                    if fate == Commit::Unanswered as u8 {
                        // The reply is the proof that it took effect, and is kept from whoever waits for it.
                        let _ = server.read(&mut answered).await;
                        self.cut.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Ok(count @ 1..) = read else { return };
                    self.hold_up().await;
                    if client.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
                _ = generation.changed() => return,
            }
        }
    }

    async fn hold_up(&self) {
        tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
    }
}
