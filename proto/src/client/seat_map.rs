//! Following a seat map across nodes: a stream that is cut goes on elsewhere with what has changed since.

use std::time::{Duration, Instant};

use tonic::Streaming;

use super::error::{RESUME_TOKEN_EXPIRED, Trouble, Verdict};
use super::methods::LARGEST_ANSWER_BYTES;
use super::watch::{DRAINING_REST, ENDED_REST, LONGEST_SILENCE, SETTLED, judge_stream, not_now};
use super::{Attempts, Client, ClientError};
use crate::v1::seat_service_client::SeatServiceClient;
use crate::v1::watch_seat_map_response::Event;
use crate::v1::{Seat, WatchSeatMapRequest, WatchSeatMapResponse};

/// One map, frame by frame, nothing left out without a word.
#[derive(Debug)]
pub struct SeatMapWatch {
    client: Client,
    /// With the token of the last frame that was handed out.
    request: WatchSeatMapRequest,
    open: Option<(usize, Instant, Streaming<WatchSeatMapResponse>)>,
    /// The attempts since the last stream that worked.
    outage: Option<Attempts>,
}

/// What there is to tell of a seat map.
#[derive(Clone, Debug, PartialEq)]
pub enum MapNews {
    /// All seats: at first, and whenever what has changed cannot be told one by one.
    Whole(Vec<Seat>),
    Changed(Vec<Seat>),
}

impl SeatMapWatch {
    pub(super) fn new(client: Client, request: WatchSeatMapRequest) -> SeatMapWatch {
        SeatMapWatch { client, request, open: None, outage: None }
    }

    /// Everything up to here was handed out: where another watch can go on.
    pub fn resume_token(&self) -> &str {
        &self.request.after
    }

    /// The next frame, whenever it comes. Nothing is lost if the future is dropped.
    ///
    /// An error if no node could be reached for the whole deadline, or the cluster refused.
    pub async fn next(&mut self) -> Result<MapNews, ClientError> {
        loop {
            let Some((.., frames)) = &mut self.open else {
                if let Err(error) = self.connect().await {
                    self.begin_anew(error)?;
                }
                continue;
            };
            let ended = match tokio::time::timeout(LONGEST_SILENCE, frames.message()).await {
                Ok(Ok(Some(response))) => match self.receive(response) {
                    Ok(Some(news)) => return Ok(news),
                    Ok(None) => continue,
                    Err(verdict) => verdict,
                },
                Ok(Ok(None)) => not_now("ended the stream", ENDED_REST),
                Ok(Err(status)) => judge_stream(status),
                Err(_) => Verdict::NodeFailed(Trouble::silent_for(LONGEST_SILENCE)),
            };
            if let Err(error) = self.disconnect(ended) {
                self.begin_anew(error)?;
            }
        }
    }

    fn receive(&mut self, response: WatchSeatMapResponse) -> Result<Option<MapNews>, Verdict> {
        if let Some((node, ..)) = &self.open {
            self.client.pool.answered(*node);
        }
        self.outage = None;
        if !response.resume_token.is_empty() {
            self.request.after = response.resume_token;
        }
        match response.event {
            Some(Event::Snapshot(whole)) => Ok(Some(MapNews::Whole(whole.seats))),
            Some(Event::Changes(changes)) => Ok(Some(MapNews::Changed(changes.seats))),
            Some(Event::Bookmark(_)) | None => Ok(None),
            Some(Event::Draining(_)) => Err(not_now("is shutting down", DRAINING_REST)),
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let client = &self.client;
        let attempts = self.outage.get_or_insert_with(|| client.attempts());
        let ask = |node: usize, _: Duration| {
            // No timeout in the request: it would be the stream's.
            let request = client.request(self.request.clone());
            let mut service =
                SeatServiceClient::new(client.pool.channel(node)).max_decoding_message_size(LARGEST_ANSWER_BYTES);
            async move { service.watch_seat_map(request).await.map_err(judge_stream) }
        };
        if let Some((node, response)) = attempts.try_once(ask).await? {
            self.open = Some((node, Instant::now(), response.into_inner()));
        }
        Ok(())
    }

    /// What has changed since cannot be told any more: so everything is.
    fn begin_anew(&mut self, error: ClientError) -> Result<(), ClientError> {
        match error {
            ClientError::Refused(refusal)
                if refusal.reason == RESUME_TOKEN_EXPIRED && !self.request.after.is_empty() =>
            {
                self.request.after.clear();
                self.outage = None;
                Ok(())
            }
            other => Err(other),
        }
    }

    fn disconnect(&mut self, verdict: Verdict) -> Result<(), ClientError> {
        let Some((node, since, _)) = self.open.take() else { return Ok(()) };
        if since.elapsed() >= SETTLED {
            self.outage = None;
        }
        let client = &self.client;
        self.outage.get_or_insert_with(|| client.attempts()).failed(node, verdict)
    }
}
