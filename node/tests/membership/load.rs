//! Messages that are counted: each one that was acknowledged is unread once, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;
use tokio::task::JoinSet;

use crate::nodes::Nodes;

pub const PASSWORD: &str = "correct horse battery";

/// A new account's session.
pub async fn newcomer(client: &Client, name: &str) -> Client {
    let (user_id, password) = (name.to_owned(), PASSWORD.to_owned());
    let request = v1::RegisterRequest { request_id: new_request_id(), user_id, password };
    client.register(request).await.expect("the name is free");
    client.clone().with_session(&token_of(client, name).await).expect("a token is text")
}

/// Of another session.
pub async fn token_of(client: &Client, name: &str) -> String {
    let (user_id, password) = (name.to_owned(), PASSWORD.to_owned());
    client.login(v1::LoginRequest { user_id, password }).await.expect("the password is right").session_token
}

/// How many items the session's owner has not read: a linearizable read.
pub async fn unread(reader: &Client) -> Result<u64, ClientError> {
    let session = reader.get_session(v1::GetSessionRequest::default()).await?;
    Ok(u64::try_from(session.unread_count).expect("a count"))
}

pub async fn send(writer: &Client, to: &str) -> Result<(), ClientError> {
    let request = v1::SendMessageRequest {
        request_id: new_request_id(),
        recipients: vec![format!("users/{to}")],
        text: "come".to_owned(),
    };
    writer.send_message(request).await.map(drop)
}

/// An inbox keeps a thousand items; what is counted must not fall out of it.
const MESSAGES_MAX: u64 = 900;

/// Writers, each at its own pace, until they are told to stop.
pub struct Load {
    pub sent: Arc<AtomicU64>,
    pub acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    writers: JoinSet<Vec<Instant>>,
}

impl Load {
    /// All of them write to this account, which has read everything so far.
    pub async fn to(reader: &str, client: &Client, writers: usize, pause: Duration) -> Self {
        Self::begin(client, writers, pause, Some(reader)).await
    }

    /// Each writes to itself, and in the end everything that was acknowledged is there, once.
    pub async fn of(writers: usize, nodes: &Nodes, pause: Duration) -> Self {
        Self::begin(&nodes.client(), writers, pause, None).await
    }

    async fn begin(client: &Client, writers: usize, pause: Duration, reader: Option<&str>) -> Self {
        let (sent, acknowledged): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..writers {
            let name = format!("writer-{number}");
            let client = newcomer(client, &name).await;
            let to = reader.unwrap_or(&name).to_owned();
            let writer = Writer { client, to, pause, is_alone: reader.is_none() };
            tasks.spawn(writer.write(sent.clone(), acknowledged.clone(), stop.clone()));
        }
        Self { sent, acknowledged, stop, writers: tasks }
    }

    /// When each was acknowledged.
    pub async fn end(mut self) -> Vec<Instant> {
        self.stop.store(true, Ordering::SeqCst);
        let mut answered = Vec::new();
        while let Some(writer) = self.writers.join_next().await {
            answered.extend(writer.expect("no message failed or is lost"));
        }
        answered.sort_unstable();
        answered
    }
}

struct Writer {
    client: Client,
    to: String,
    pause: Duration,
    is_alone: bool,
}

impl Writer {
    async fn write(self, sent: Arc<AtomicU64>, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Vec<Instant> {
        let mut answered = Vec::new();
        while !stop.load(Ordering::SeqCst) && acknowledged_below_max(&answered) {
            sent.fetch_add(1, Ordering::SeqCst);
            send(&self.client, &self.to).await.expect("every message is sent in the end");
            acknowledged.fetch_add(1, Ordering::SeqCst);
            answered.push(Instant::now());
            tokio::time::sleep(self.pause).await;
        }
        if self.is_alone {
            assert_eq!(unread(&self.client).await.expect("a majority"), answered.len() as u64, "each once");
        }
        answered
    }
}

fn acknowledged_below_max(answered: &[Instant]) -> bool {
    (answered.len() as u64) < MESSAGES_MAX
}

/// The longest time without an acknowledgement between these two instants.
pub fn longest_gap(answered: &[Instant], from: Instant, to: Instant) -> Duration {
    let within = answered.iter().copied().filter(|at| (from..=to).contains(at));
    let mut before = from;
    let mut longest = Duration::ZERO;
    for at in within.chain([to]) {
        longest = longest.max(at - before);
        before = at;
    }
    longest
}
