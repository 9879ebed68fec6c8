//! A TCP proxy for every link between two replicas. What one replica sends another can be held back, delayed or slowed,
//! each direction by itself, and connections can be dropped in the middle of whatever they carry.

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
}

#[derive(Debug)]
struct Direction {
    flow: watch::Sender<Flow>,
    /// Grows with every drop: what was connected before ends.
    drops: watch::Sender<u64>,
    /// Chunks that met anything but an open flow, and connections that were dropped.
    disturbed: AtomicU64,
}

/// All links of a cluster.
#[derive(Debug)]
pub struct Links {
    count: u32,
    /// By sender, then receiver.
    directions: Vec<Arc<Direction>>,
}

impl Links {
    /// Replica i reaches replica j at `port + 10 * i + j`, which leads to `peer_port + j`.
    pub async fn open(count: u32, port: u16, peer_port: u16) -> Arc<Self> {
        let direction = || {
            let (flow, drops) = (watch::Sender::new(Flow::Open), watch::Sender::new(0));
            Arc::new(Direction { flow, drops, disturbed: AtomicU64::new(0) })
        };
        let links = Arc::new(Self { count, directions: (0..count * count).map(|_| direction()).collect() });
        for from in 0..count {
            for to in (0..count).filter(|&to| to != from) {
                let at = |base: u16, offset: u32| base + u16::try_from(offset).expect("fewer than ten replicas");
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, at(port, 10 * from + to))).await;
                let listener = listener.expect("the port was free a moment ago");
                let (there, back) = (links.direction(from, to), links.direction(to, from));
                tokio::spawn(accept(listener, at(peer_port, to), there, back));
            }
        }
        links
    }

    pub fn set(&self, from: u32, to: u32, flow: Flow) {
        self.direction(from, to).flow.send_replace(flow);
    }

    /// Ends every connection that carries anything from one to the other.
    pub fn drop_connections(&self, from: u32, to: u32) {
        self.direction(from, to).drops.send_modify(|drops| *drops += 1);
    }

    pub fn heal(&self) {
        for direction in &self.directions {
            direction.flow.send_replace(Flow::Open);
        }
    }

    /// How often anything was in the way of what one sent the other.
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
    let mut dropped = [there.drops.subscribe(), back.drops.subscribe()];
    let (caller_reads, caller_writes) = caller.into_split();
    let (called_reads, called_writes) = called.into_split();
    let [first, second] = &mut dropped;
    // Whatever ends first ends the connection in both directions.
    tokio::select! {
        () = pump(caller_reads, called_writes, &there) => {}
        () = pump(called_reads, caller_writes, &back) => {}
        _ = first.changed() => { there.disturbed.fetch_add(1, Ordering::Relaxed); }
        _ = second.changed() => { back.disturbed.fetch_add(1, Ordering::Relaxed); }
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
            if now != Flow::Open {
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
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
