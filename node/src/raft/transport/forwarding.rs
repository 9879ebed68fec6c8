//! Proposals to a peer, all on one stream: each message takes with it what has come while the one before was written,
//! and answers come as things are decided. A call for each would cost both ends more than what it carries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use carrel_proto::peer::v1 as wire;
use carrel_proto::peer::v1::peer_service_client::PeerServiceClient;
use carrel_proto::peer::v1::propose_request::Proposal;
use carrel_proto::peer::v1::propose_response::Outcome;
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::raft::peers::{Peer, PeerError, Proposed};
use crate::raft::transport::convert::{Malformed, Wire};
use crate::raft::transport::failure::Failure;
use crate::raft::transport::links::Line;
use crate::traces;

/// Of one message.
const PROPOSALS_MAX: usize = 64;
/// Nothing waits behind megabytes: a message that has so many takes no more.
const MESSAGE_BYTES: usize = 1 << 20;
/// Proposals that wait to be written: as many as a node takes on from its clients.
const QUEUE_MAX: usize = 2048;
/// Then a stream takes no more. The next one shows the certificate that is in force by then.
const STREAM_TIME: Duration = Duration::from_secs(10);

type Answer = Result<Proposed, PeerError>;

/// The streams that take proposals, by whom they are to: a handful.
#[derive(Debug, Default)]
pub(super) struct Forwarding(Mutex<BTreeMap<(u32, u64), mpsc::Sender<Handed>>>);

#[derive(Debug)]
struct Handed {
    body: Bytes,
    /// Until then somebody waits for the outcome.
    ends: Instant,
    traceparent: String,
    /// Dropped with a queue that ends: then it was certainly not sent.
    answer: oneshot::Sender<Answer>,
}

impl Forwarding {
    /// Waits without limit; `within` is what the peer is told.
    pub async fn propose(&self, to: Peer, line: Line, body: Bytes, within: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        let traceparent = traces::outgoing().and_then(|parent| parent.to_str().map(ToOwned::to_owned).ok());
        let ends = Instant::now() + within;
        let handed = Handed { body, ends, traceparent: traceparent.unwrap_or_default(), answer };
        if self.stream(to, line)?.send(handed).await.is_err() {
            return Err(not_sent());
        }
        answered.await.unwrap_or_else(|_| Err(not_sent()))
    }

    /// The one that takes proposals, or a new one.
    fn stream(&self, to: Peer, line: Line) -> Result<mpsc::Sender<Handed>, Failure> {
        let mut streams = self.0.lock().expect("nothing panics while it holds the lock");
        let key = (to.ordinal, to.id);
        if let Some(stream) = streams.get(&key).filter(|stream| !stream.is_closed()) {
            return Ok(stream.clone());
        }
        let client = line.client()?;
        let (stream, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(carry(line, client, queue));
        streams.insert(key, stream.clone());
        Ok(stream)
    }
}

fn not_sent() -> PeerError {
    PeerError::Unreachable("the stream of proposals to it has ended".to_owned())
}

/// One stream, from its first proposal to its last answer.
async fn carry(line: Line, mut client: PeerServiceClient<Channel>, queue: mpsc::Receiver<Handed>) {
    let sent = Arc::new(Mutex::new(Sent::default()));
    let call = line.request(messages(queue, Arc::clone(&sent)));
    let ended = match client.propose(call).await {
        Ok(answers) => answered(&line, answers.into_inner(), &sent).await,
        // What it says of the call is true of every proposal: a peer that refuses has read none of them.
        Err(status) => line.note::<()>(Err(status.into())).map_or_else(PeerError::from, |()| not_sent()),
    };
    let left = lock(&sent).end();
    for answer in left {
        // Who has gone needs no answer.
        let _ = answer.send(Err(ended.clone()));
    }
}

/// What is sent and not answered.
#[derive(Debug, Default)]
struct Sent {
    numbered: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    /// Nothing that is written from now on reaches anybody.
    is_over: bool,
}

impl Sent {
    fn note(&mut self, answer: oneshot::Sender<Answer>) -> u64 {
        self.numbered += 1;
        self.waiting.insert(self.numbered, answer);
        self.numbered
    }

    fn answered(&mut self, Outcome { number, proposed }: Outcome) -> Result<(), Malformed> {
        let proposed = Proposed::from_wire(proposed.ok_or(Malformed("an outcome without what it is"))?)?;
        let answer = self.waiting.remove(&number).ok_or(Malformed("an outcome of nothing that was proposed"))?;
        // Who has gone needs no answer.
        let _ = answer.send(Ok(proposed));
        Ok(())
    }

    fn end(&mut self) -> Vec<oneshot::Sender<Answer>> {
        self.is_over = true;
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().expect("nothing panics while it holds the lock")
}

/// Whatever is in the queue whenever the connection has room. It may be read after the call is over, and is noted as
/// sent before it leaves.
fn messages(queue: mpsc::Receiver<Handed>, sent: Arc<Mutex<Sent>>) -> impl Stream<Item = wire::ProposeRequest> {
    let until = Box::pin(sleep(STREAM_TIME));
    futures_util::stream::unfold((queue, until), move |(mut queue, mut until)| {
        let sent = Arc::clone(&sent);
        async move {
            let first = tokio::select! {
                biased;
                handed = queue.recv() => handed?,
                () = &mut until, if !queue.is_closed() => {
                    queue.close();
                    // What was put there before.
                    queue.recv().await?
                }
            };
            let mut proposals = Vec::new();
            let (mut bytes, mut more) = (0, Some(first));
            let mut sent = lock(&sent);
            if sent.is_over {
                return None;
            }
            while let Some(Handed { body, ends, traceparent, answer }) = more {
                bytes += body.len();
                let within = ends.saturating_duration_since(Instant::now());
                let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                proposals.push(Proposal { number: sent.note(answer), body, within_us, traceparent });
                let is_full = proposals.len() == PROPOSALS_MAX || bytes >= MESSAGE_BYTES;
                more = if is_full { None } else { queue.try_recv().ok() };
            }
            drop(sent);
            Some((wire::ProposeRequest { proposals }, (queue, until)))
        }
    })
}

/// Hands out the answers until there are no more: what that says of proposals that have none.
async fn answered(line: &Line, mut answers: tonic::Streaming<wire::ProposeResponse>, sent: &Mutex<Sent>) -> PeerError {
    let mut is_complete = false;
    let why = loop {
        match answers.message().await {
            Ok(Some(wire::ProposeResponse { outcomes, is_last })) => {
                // That it answers is all there is to note.
                let _ = line.note(Ok(()));
                is_complete = is_last;
                let mut sent = lock(sent);
                if let Err(nonsense) = outcomes.into_iter().try_for_each(|outcome| sent.answered(outcome)) {
                    break nonsense.to_string();
                }
            }
            Ok(None) if is_complete => return not_sent(),
            Ok(None) => break "the stream of answers was cut short".to_owned(),
            Err(status) => {
                break line.note::<()>(Err(status.into())).map_or_else(|why| why.to_string(), |()| String::new());
            }
        }
    };
    PeerError::NoAnswer(why)
}
