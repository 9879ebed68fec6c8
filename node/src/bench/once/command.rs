//! One command: what is asked, how it is sent, what is answered.

use std::time::{Duration, Instant};

use anyhow::Context;
use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;

/// One node's time for a copy; then it goes through another.
pub const COPY_LIMIT: Duration = Duration::from_secs(2);
/// Until somebody has answered a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Before a copy is sent again that a node had no answer for.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub enum Deed {
    Book { seat: String, interval: v1::Interval },
    Cancel { name: String },
    Send { to: String, text: String },
}

#[derive(Clone, Debug)]
pub struct Command {
    request_id: String,
    deed: Deed,
}

/// What an answer says, apart from whether it was said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reservation { name: String, state: i32 },
    Message { name: String },
    Refused { reason: String },
}

impl Command {
    pub fn new(deed: Deed) -> Self {
        Self { request_id: new_request_id(), deed }
    }

    /// The answer, and whether it is told as a repetition.
    async fn send(&self, node: &Client) -> Result<(Answer, bool), ClientError> {
        let request_id = self.request_id.clone();
        let of_reservation = |reservation: Option<v1::Reservation>, commit: Option<v1::CommitInfo>| {
            let reservation = reservation.unwrap_or_default();
            let answer = Answer::Reservation { name: reservation.name, state: reservation.state };
            (answer, commit.is_some_and(|commit| commit.replayed))
        };
        match &self.deed {
            Deed::Book { seat, interval } => {
                let (seat, interval) = (seat.clone(), Some(*interval));
                let request = v1::CreateReservationRequest { request_id, seat, interval, ..Default::default() };
                node.create_reservation(request).await.map(|done| of_reservation(done.reservation, done.commit))
            }
            Deed::Cancel { name } => {
                let request = v1::CancelReservationRequest { request_id, name: name.clone(), ..Default::default() };
                node.cancel_reservation(request).await.map(|done| of_reservation(done.reservation, done.commit))
            }
            Deed::Send { to, text } => {
                let request = v1::SendMessageRequest { request_id, recipients: vec![to.clone()], text: text.clone() };
                node.send_message(request).await.map(|done| {
                    let name = done.message.unwrap_or_default().name;
                    (Answer::Message { name }, done.commit.is_some_and(|commit| commit.replayed))
                })
            }
        }
    }
}

/// Through this node, and as long as it has no answer through the next. With how often it was sent.
pub async fn until_answered(
    command: &Command,
    nodes: &[Client],
    first: usize,
) -> anyhow::Result<((Answer, bool), u64)> {
    let begun = Instant::now();
    for attempt in 0.. {
        let times = attempt as u64 + 1;
        match command.send(&nodes[(first + attempt) % nodes.len()]).await {
            Ok(answer) => return Ok((answer, times)),
            // What overload refuses is not decided.
            Err(ClientError::Refused(refusal)) if refusal.code != tonic::Code::ResourceExhausted => {
                return Ok(((Answer::Refused { reason: refusal.reason }, true), times));
            }
            Err(error) if begun.elapsed() > COMMAND_LIMIT => return Err(error).context("a command has no answer"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    unreachable!("the loop ends with an answer or at its limit")
}
