//! Ports of pods, brought to this machine through the API server.
//!
//! Every connection here is a port-forward of its own, to whatever pod has the name by then: so a forward outlives its
//! pod, and goes on with the one that comes after it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carrel_operator::reconcile::brief;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::text::note;

/// At once through one forward: a page, a program and its retries. Each costs the API server a connection, too.
const CONNECTIONS_MAX: usize = 64;
/// An API server that cannot reach a pod's machine takes its time to say so.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// What the pod still says once the caller has said all.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(2);

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Forward {
    pub local: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Whether somebody is to be told of a pod that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    Aloud,
    Silent,
}

impl Forward {
    /// Listens on a local port, any if it is 0.
    pub async fn open(
        pods: Api<Pod>,
        pod: String,
        port: u16,
        local_port: u16,
        telling: Telling,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local_port)).await?;
        let local = listener.local_addr()?;
        let line = Arc::new(Line { pods, pod, port, telling, is_away: AtomicBool::new(false) });
        Ok(Self { local, accepting: tokio::spawn(accept(listener, line)) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Line {
    pods: Api<Pod>,
    pod: String,
    port: u16,
    telling: Telling,
    is_away: AtomicBool,
}

async fn accept(listener: TcpListener, line: Arc<Line>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with the forward.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            // Out of file handles, say. It passes, or the next attempt says the same.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let line = line.clone();
        connections.spawn(async move {
            let outcome = line.carry(socket).await;
            line.tell(outcome);
            drop(place);
        });
    }
}

impl Line {
    /// # Errors
    /// With why the pod cannot be reached.
    async fn carry(&self, mut socket: TcpStream) -> Result<(), String> {
        let opened = tokio::time::timeout(OPEN_LIMIT, self.pods.portforward(&self.pod, &[self.port])).await;
        let mut forwarder = match opened {
            Ok(Ok(forwarder)) => forwarder,
            Ok(Err(error)) => return Err(brief(&error)),
            Err(_) => return Err(format!("no answer within {} s", OPEN_LIMIT.as_secs())),
        };
        let (Some(stream), Some(refused)) = (forwarder.take_stream(self.port), forwarder.take_error(self.port)) else {
            return Err("the API server forwards another port".to_owned());
        };
        if self.is_away.swap(false, Ordering::Relaxed) && self.telling == Telling::Aloud {
            note(&format!("{} is back", self.pod));
        }
        let (mut from_pod, mut to_pod) = tokio::io::split(stream);
        let (mut from_caller, mut to_caller) = socket.split();
        let outcome = {
            let down = copy(&mut from_pod, &mut to_caller);
            let up = copy(&mut from_caller, &mut to_pod);
            tokio::pin!(down);
            tokio::pin!(up);
            tokio::pin!(refused);
            let mut is_refusal_open = true;
            loop {
                tokio::select! {
                    // The end of what one side says is not passed on by this protocol: the other is given a moment.
                    _ = &mut up => {
                        let _ = tokio::time::timeout(LAST_WORDS_LIMIT, &mut down).await;
                        break Ok(());
                    }
                    _ = &mut down => break Ok(()),
                    why = &mut refused, if is_refusal_open => match why {
                        Some(why) => break Err(why),
                        None => is_refusal_open = false,
                    },
                }
            }
        };
        // Else its task would go on for as long as the pod does.
        forwarder.abort();
        outcome
    }

    /// Once, however often callers try again.
    fn tell(&self, outcome: Result<(), String>) {
        let Err(why) = outcome else { return };
        if !self.is_away.swap(true, Ordering::Relaxed) && self.telling == Telling::Aloud {
            note(&format!("{} cannot be reached: {why}", self.pod));
        }
    }
}
