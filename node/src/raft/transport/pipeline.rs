//! Appends without waiting for each answer: several under way on one stream, answered in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use carrel_proto::peer::v1 as wire;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::base::BoxStream;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use crate::raft::transport::Served;
use crate::raft::transport::convert::{Malformed, Wire};
use crate::raft::transport::failure::Failure;
use crate::raft::transport::links::Line;
use crate::raft::types::LogId;

/// Requests that were sent and not answered. Enough to keep a disk and a network busy at once; as each carries up to
/// about 1 MiB, more would only take memory, and be sent in vain to a follower that answers with a conflict.
const UNDER_WAY_MAX: usize = 16;

/// What a request's size adds to its time: 10 MB a second, a tenth of a slow network.
const NANOSECONDS_PER_BYTE: u64 = 100;

/// Sends `first` and what `input` has, and gives the answers. Ends when `input` has ended and all is answered, or after
/// the first answer that is not a success, or after a failure.
pub(super) fn append<S>(
    line: &Line,
    limit: Duration,
    first: AppendEntriesRequest<Served>,
    input: S,
) -> Result<impl Stream<Item = Result<StreamAppendResult<Served>, Failure>> + Send + use<S>, Failure>
where
    S: Stream<Item = AppendEntriesRequest<Served>> + Unpin + Send + 'static,
{
    let (requests, body) = mpsc::channel(UNDER_WAY_MAX);
    let mut client = line.client()?;
    let call = line.request(ReceiverStream::new(body));
    let answers = async move { client.stream_append(call).await.map(Response::into_inner) };
    let mut pipeline = Pipeline {
        input,
        requests: Some(requests),
        answers: futures_util::stream::once(answers).try_flatten().boxed(),
        under_way: VecDeque::new(),
        limit,
        deadline: Box::pin(tokio::time::sleep(limit)),
    };
    pipeline.send(first);
    Ok(futures_util::stream::unfold(Some(pipeline), async |pipeline| {
        let mut pipeline = pipeline?;
        match pipeline.next().await {
            Some(Ok(Ok(matched))) => Some((Ok(Ok(matched)), Some(pipeline))),
            Some(last) => Some((last, None)),
            None => None,
        }
    }))
}

/// `input` is read here and not by the connection, which goes on reading a body after its call was dropped: openraft
/// takes a dropped stream to have stopped reading.
struct Pipeline<S> {
    input: S,
    /// `None` when nothing more is to be sent.
    requests: Option<mpsc::Sender<wire::StreamAppendRequest>>,
    answers: BoxStream<'static, Result<wire::StreamAppendResponse, Status>>,
    under_way: VecDeque<UnderWay>,
    limit: Duration,
    /// For the answer to the first that is under way.
    deadline: Pin<Box<Sleep>>,
}

/// What an answer must fit to.
struct UnderWay {
    previous: Option<LogId>,
    last: Option<LogId>,
    time: Duration,
}

impl<S> Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<Served>> + Unpin + Send,
{
    async fn next(&mut self) -> Option<Result<StreamAppendResult<Served>, Failure>> {
        loop {
            let waiting = !self.under_way.is_empty();
            let may_send = self.requests.is_some() && self.under_way.len() < UNDER_WAY_MAX;
            if !waiting && self.requests.is_none() {
                return None;
            }
            tokio::select! {
                biased;
                answer = self.answers.next() => return match answer {
                    Some(Ok(answer)) => Some(self.answered(answer)),
                    Some(Err(status)) => Some(Err(status.into())),
                    None if waiting => Some(Err(Failure::Broken("the peer ended the stream".to_owned()))),
                    None => None,
                },
                request = self.input.next(), if may_send => match request {
                    Some(request) => self.send(request),
                    None => self.requests = None,
                },
                () = &mut self.deadline, if waiting => {
                    let time = self.under_way.front().map_or(self.limit, |first| first.time);
                    return Some(Err(Failure::TimedOut(time)));
                }
            }
        }
    }

    fn send(&mut self, request: AppendEntriesRequest<Served>) {
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let message = wire::StreamAppendRequest { append: Some(request.to_wire()) };
        let bytes = u64::try_from(message.encoded_len()).unwrap_or(u64::MAX);
        let time = self.limit + Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_PER_BYTE));
        self.under_way.push_back(UnderWay { previous, last, time });
        if self.under_way.len() == 1 {
            self.deadline.as_mut().reset(Instant::now() + time);
        }
        // There is room: what waits here is under way, and no more may be. If the call is over, its end says why.
        if self.requests.as_ref().is_none_or(|requests| requests.try_send(message).is_err()) {
            self.requests = None;
        }
    }

    fn answered(&mut self, answer: wire::StreamAppendResponse) -> Result<StreamAppendResult<Served>, Failure> {
        let about = self.under_way.pop_front().ok_or(Malformed("an answer to nothing"))?;
        if let Some(next) = self.under_way.front() {
            self.deadline.as_mut().reset(Instant::now() + next.time);
        }
        let answer = StreamAppendResult::<Served>::from_wire(answer)?;
        let fits = match &answer {
            Ok(matched) => *matched <= about.last,
            Err(StreamAppendError::Conflict(log_id)) => Some(*log_id) == about.previous,
            Err(StreamAppendError::HigherVote(_)) => true,
        };
        if fits { Ok(answer) } else { Err(Malformed("an answer about entries that were not sent").into()) }
    }
}
