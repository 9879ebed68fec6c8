//! Following an inbox across nodes: a stream that is cut goes on elsewhere, after the last item that was handed out.

use std::time::{Duration, Instant};

use tonic::Streaming;

use super::error::{RESUME_TOKEN_EXPIRED, Trouble, Verdict, judge};
use super::methods::LARGEST_ANSWER_BYTES;
use super::{Attempts, Client, ClientError};
use crate::v1::inbox_service_client::InboxServiceClient;
use crate::v1::watch_inbox_response::Event;
use crate::v1::{WatchInboxRequest, WatchInboxResponse};

/// A node sends a bookmark at least every 15 s; one that is silent for longer, with some slack, is gone.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(25);
/// A stream that lived this long ends the outage before it even if nothing was sent: there may be nothing to send.
pub(super) const SETTLED: Duration = Duration::from_secs(1);
/// How long a node that is leaving is left alone.
pub(super) const DRAINING_REST: Duration = Duration::from_secs(1);
/// How long a node that ended a stream without saying why is left alone.
pub(super) const ENDED_REST: Duration = Duration::from_millis(50);

/// One inbox, item by item, in log order, none lost without a word and none twice.
#[derive(Debug)]
pub struct InboxWatch {
    client: Client,
    /// Everything up to here was handed out. The only thing that decides what comes next.
    after: String,
    open: Option<OpenStream>,
    /// The attempts since the last stream that worked.
    outage: Option<Attempts>,
}

#[derive(Debug)]
struct OpenStream {
    node: usize,
    since: Instant,
    events: Streaming<WatchInboxResponse>,
}

/// What there is to tell of an inbox.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one is handed out at a time, and nearly all are items")]
pub enum News {
    Item(WatchInboxResponse),
    /// Something came after the last item and is not in the inbox any more, which keeps only so many. What follows is
    /// newer.
    Missed,
}

/// What came off the stream.
enum Arrival {
    Item(WatchInboxResponse),
    /// Something that only moves the token.
    Sign,
    /// The stream is over.
    End(Verdict),
}

impl InboxWatch {
    pub(super) fn new(client: Client, after: String) -> InboxWatch {
        InboxWatch { client, after, open: None, outage: None }
    }

    /// Everything up to here was handed out: where another watch can go on.
    pub fn resume_token(&self) -> &str {
        &self.after
    }

    /// The next item, whenever it comes. Nothing is lost if the future is dropped.
    ///
    /// An error if no node could be reached for the whole deadline, or the cluster refused.
    pub async fn next(&mut self) -> Result<News, ClientError> {
        loop {
            let Some(stream) = &mut self.open else {
                match self.connect().await {
                    Ok(()) => continue,
                    Err(error) => return self.go_on_behind_a_gap(error),
                }
            };
            let arrival = match tokio::time::timeout(LONGEST_SILENCE, stream.events.message()).await {
                Ok(Ok(Some(response))) => self.receive(response),
                Ok(Ok(None)) => Arrival::End(not_now("ended the stream", ENDED_REST)),
                Ok(Err(status)) => Arrival::End(judge_stream(status)),
                Err(_) => Arrival::End(Verdict::NodeFailed(Trouble::silent_for(LONGEST_SILENCE))),
            };
            match arrival {
                Arrival::Item(response) => return Ok(News::Item(response)),
                Arrival::Sign => {}
                Arrival::End(verdict) => {
                    if let Err(error) = self.disconnect(verdict) {
                        return self.go_on_behind_a_gap(error);
                    }
                }
            }
        }
    }

    fn receive(&mut self, response: WatchInboxResponse) -> Arrival {
        if let Some(stream) = &self.open {
            self.client.pool.answered(stream.node);
        }
        self.outage = None;
        if !response.resume_token.is_empty() {
            self.after.clone_from(&response.resume_token);
        }
        match response.event {
            Some(Event::Item(_)) => Arrival::Item(response),
            Some(Event::Draining(_)) => Arrival::End(not_now("is shutting down", DRAINING_REST)),
            Some(Event::Bookmark(_)) | None => Arrival::Sign,
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let client = &self.client;
        let attempts = self.outage.get_or_insert_with(|| client.attempts());
        let ask = |node: usize, _: Duration| {
            // No timeout in the request: it would be the stream's.
            let request = client.request(WatchInboxRequest { after: self.after.clone() });
            let mut service =
                InboxServiceClient::new(client.pool.channel(node)).max_decoding_message_size(LARGEST_ANSWER_BYTES);
            async move { service.watch_inbox(request).await.map_err(judge_stream) }
        };
        if let Some((node, response)) = attempts.try_once(ask).await? {
            self.open = Some(OpenStream { node, since: Instant::now(), events: response.into_inner() });
        }
        Ok(())
    }

    /// The cluster cannot tell what came right after the last item any more, but what came later.
    fn go_on_behind_a_gap(&mut self, error: ClientError) -> Result<News, ClientError> {
        match error {
            ClientError::Refused(refusal) if refusal.reason == RESUME_TOKEN_EXPIRED && !self.after.is_empty() => {
                // Without a token, in another history, it begins anew with what is unread.
                self.after = refusal.metadata.get("resume_token").cloned().unwrap_or_default();
                self.outage = None;
                Ok(News::Missed)
            }
            other => Err(other),
        }
    }

    fn disconnect(&mut self, verdict: Verdict) -> Result<(), ClientError> {
        let Some(stream) = self.open.take() else { return Ok(()) };
        if stream.since.elapsed() >= SETTLED {
            self.outage = None;
        }
        let client = &self.client;
        self.outage.get_or_insert_with(|| client.attempts()).failed(stream.node, verdict)
    }
}

/// As for a call, but a reader that was too slow resumes where it was.
pub(super) fn judge_stream(status: tonic::Status) -> Verdict {
    match judge(status) {
        Verdict::Refused(refusal) if refusal.reason == "SLOW_CONSUMER" => not_now(&refusal.message, ENDED_REST),
        verdict => verdict,
    }
}

pub(super) fn not_now(text: &str, wait: Duration) -> Verdict {
    Verdict::NotNow(Trouble { text: text.to_owned(), in_doubt: false }, wait)
}
