//! A TCP proxy for every link between two replicas. What one replica sends another can be held back, delayed or slowed,
//! each direction by itself, and lost: then the connection ends in the middle of what it carries, as it does where a
//! network loses more than TCP can send again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Chunks read ahead of a slow direction: more would only hide from the sender that it is slow.
const CHUNKS_AHEAD: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;

/// How one replica's bytes travel to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    Open,
    /// Held until the flow is another.
    Held,
    Delayed(Duration),
    Throttled {
        bytes_per_second: u32,
    },
    /// One piece of so many is lost, and with it the connection.
    Lossy {
        one_in: u64,
    },
}

#[derive(Debug)]
struct Direction {
    flow: watch::Sender<Flow>,
    /// Pieces that met anything but an open flow; of a lossy one, bytes that were lost.
    disturbed: AtomicU64,
    /// Pieces that met a lossy flow.
    risked: AtomicU64,
}

/// All links of a cluster.
#[derive(Debug)]
pub struct Links {
    count: u32,
    /// By sender, then receiver.
    directions: Vec<Arc<Direction>>,
    /// Where a sender reaches a receiver, in the same order; itself nowhere.
    ports: Vec<Option<u16>>,
}

impl Links {
    /// Between replicas that listen for each other on these ports.
    pub async fn open(peer_ports: &[u16]) -> Arc<Self> {
        let count = u32::try_from(peer_ports.len()).expect("fewer than ten replicas");
        let direction = || {
            let (disturbed, risked) = (AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Direction { flow: watch::Sender::new(Flow::Open), disturbed, risked })
        };
        let directions = (0..count * count).map(|_| direction()).collect();
        let mut links = Self { count, directions, ports: Vec::new() };
        for from in 0..count {
            for (to, peer_port) in (0..count).zip(peer_ports) {
                if from == to {
                    links.ports.push(None);
                    continue;
                }
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("some port is free");
                links.ports.push(Some(listener.local_addr().expect("it is bound").port()));
                let (there, back) = (links.direction(from, to), links.direction(to, from));
                tokio::spawn(accept(listener, *peer_port, there, back));
            }
        }
        Arc::new(links)
    }

    /// Where `from` reaches `to`; nowhere if it is itself.
    pub fn port(&self, from: u32, to: u32) -> Option<u16> {
        self.ports[(from * self.count + to) as usize]
    }

    pub fn set(&self, from: u32, to: u32, flow: Flow) {
        self.direction(from, to).flow.send_replace(flow);
    }

    pub fn heal(&self) {
        for direction in &self.directions {
            direction.flow.send_replace(Flow::Open);
        }
    }

    /// How much was in the way of what one sent the other.
    pub fn disturbed(&self, from: u32, to: u32) -> u64 {
        self.direction(from, to).disturbed.load(Ordering::Relaxed)
    }

    fn direction(&self, from: u32, to: u32) -> Arc<Direction> {
        self.directions[(from * self.count + to) as usize].clone()
    }
}

async fn accept(listener: TcpListener, port: u16, there: Arc<Direction>, back: Arc<Direction>) {
    while let Ok((caller, _)) = listener.accept().await {
        tokio::spawn(carry(caller, port, there.clone(), back.clone()));
    }
}

async fn carry(caller: TcpStream, port: u16, there: Arc<Direction>, back: Arc<Direction>) {
    let Ok(called) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    if caller.set_nodelay(true).and(called.set_nodelay(true)).is_err() {
        return;
    }
    let (caller_reads, caller_writes) = caller.into_split();
    let (called_reads, called_writes) = called.into_split();
    // Whatever ends first ends the connection in both directions.
    tokio::select! {
        () = pump(caller_reads, called_writes, &there) => {}
        () = pump(called_reads, caller_writes, &back) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: &Direction) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_AHEAD);
    let reading = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(length) = from.read(&mut buffer).await
            && length > 0
            && sender.send((Instant::now(), buffer[..length].to_vec())).await.is_ok()
        {}
    };
    let writing = async move {
        let mut flow = direction.flow.subscribe();
        while let Some((read_at, chunk)) = receiver.recv().await {
            let now = *flow.borrow_and_update();
            if !matches!(now, Flow::Open | Flow::Lossy { .. }) {
                direction.disturbed.fetch_add(1, Ordering::Relaxed);
            }
            match now {
                Flow::Open => {}
                Flow::Held => {
                    if flow.wait_for(|flow| *flow != Flow::Held).await.is_err() {
                        return;
                    }
                }
                Flow::Delayed(delay) => tokio::time::sleep_until((read_at + delay).into()).await,
                Flow::Throttled { bytes_per_second } => {
                    let seconds = chunk.len() as f64 / f64::from(bytes_per_second);
                    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                }
                Flow::Lossy { one_in } => {
                    if direction.risked.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in) {
                        // Half of it arrives.
                        let _ = to.write_all(&chunk[..chunk.len() / 2]).await;
                        direction.disturbed.fetch_add(chunk.len().div_ceil(2) as u64, Ordering::Relaxed);
                        return;
                    }
                }
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(writing);
    tokio::select! {
        // Nothing more arrives, so there is nothing more to read.
        () = &mut writing => {}
        () = reading => writing.await,
    }
}
