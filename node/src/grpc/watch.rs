//! An inbox as it fills. The state is the buffer: a stream only knows how far it has told, and reads on from there
//! whenever this node has applied more. Nothing is lost between two looks, and nothing is told twice.

use std::time::Duration;

use carrel_domain::id::{Position, TokenDigest};
use carrel_domain::query::UserView;
use carrel_proto::v1::WatchInboxResponse;
use carrel_proto::v1::watch_inbox_response::{Bookmark, Draining, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::convert::refusal::{items_let_go, slow_consumer, to_status};
use crate::convert::reply;
use crate::convert::token::ResumeToken;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::replica::View;

pub type WatchStream = ReceiverStream<Result<WatchInboxResponse, Status>>;

/// Events on their way to one reader: a screenful. There may be thousands of readers, and a message has 4 KiB.
const EVENTS_MAX: usize = 16;
/// However fast the log grows, a stream looks at most 50 times a second.
const PACE: Duration = Duration::from_millis(20);
/// Items read from a view at once.
const BATCH: usize = 64;

/// How long a stream waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two signs of life.
    pub bookmark_every: Duration,
    /// For a reader who takes nothing: gone, or glad to begin again from the token.
    pub slow_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // Clients are promised a sign of life every 15 s; the rest is for the way.
        Self { bookmark_every: Duration::from_secs(10), slow_after: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
pub struct InboxWatch<L> {
    pub front: Front<L>,
    pub patience: Patience,
    pub session: TokenDigest,
    pub user: UserView,
    /// Everything up to here has been told.
    pub cursor: Position,
    /// What was gone when it began, and nobody expects.
    pub let_go: Position,
}

/// Why a stream is over.
enum End {
    /// Nobody reads it.
    Left,
    Draining,
    Refused(Status),
}

type Sender = mpsc::Sender<Result<WatchInboxResponse, Status>>;

impl<L: Library> InboxWatch<L> {
    /// The stream, with what is new in `view` first.
    pub fn begin(mut self, view: View) -> WatchStream {
        // One place more, kept for the last word: a reader who is too slow is told so.
        let (events, receiver) = mpsc::channel(EVENTS_MAX + 1);
        tokio::spawn(async move {
            let Ok(last_word) = events.clone().reserve_owned().await else { return };
            match self.follow(view, &events).await {
                End::Left => {}
                End::Draining => {
                    last_word.send(Ok(self.response(Event::Draining(Draining {}), self.cursor)));
                }
                End::Refused(status) => {
                    last_word.send(Err(status));
                }
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn follow(&mut self, mut view: View, events: &Sender) -> End {
        let mut bookmark_at = Instant::now() + self.patience.bookmark_every;
        loop {
            match self.tell_news(&view, events).await {
                Ok(true) => bookmark_at = Instant::now() + self.patience.bookmark_every,
                Ok(false) => {}
                Err(end) => return end,
            }
            let library = self.front.library.clone();
            let index = view.at().index;
            let newer = async move {
                sleep(PACE).await;
                library.view_after(index).await
            };
            tokio::select! {
                biased;
                () = self.front.draining.cancelled() => return End::Draining,
                () = events.closed() => return End::Left,
                () = sleep_until(bookmark_at) => {
                    let bookmark = self.response(Event::Bookmark(Bookmark {}), self.cursor);
                    if let Err(end) = self.send(events, bookmark).await {
                        return end;
                    }
                    bookmark_at = Instant::now() + self.patience.bookmark_every;
                }
                newer = newer => view = newer,
            }
        }
    }

    /// Whether there was any.
    async fn tell_news(&mut self, view: &View, events: &Sender) -> Result<bool, End> {
        view.session_user(self.session).map_err(|refusal| End::Refused(to_status(refusal)))?;
        let let_go = view.let_go_up_to(self.user.id);
        if self.let_go < let_go && self.cursor < let_go {
            let token = ResumeToken { lineage: self.front.library.lineage(), position: let_go };
            return Err(End::Refused(items_let_go(&token.encode())));
        }
        let mut told = false;
        while view.newest_item(self.user.id) > self.cursor {
            let page = view.inbox(self.user.id, self.cursor, BATCH);
            for item in &page.items {
                let event = Event::Item(reply::inbox_item(item, &self.user.name, self.front.library.lineage()));
                self.send(events, self.response(event, item.position)).await?;
                // Not before: what was not sent is told again after the token of what was.
                self.cursor = item.position;
                told = true;
            }
            if !page.more {
                break;
            }
        }
        self.cursor = self.cursor.max(Position::end_of(view.at().index));
        Ok(told)
    }

    async fn send(&self, events: &Sender, response: WatchInboxResponse) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.front.draining.cancelled() => Err(End::Draining),
            sent = timeout(self.patience.slow_after, events.send(Ok(response))) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Left),
                Err(_) => Err(End::Refused(slow_consumer())),
            },
        }
    }

    fn response(&self, event: Event, position: Position) -> WatchInboxResponse {
        let token = ResumeToken { lineage: self.front.library.lineage(), position };
        WatchInboxResponse { event: Some(event), resume_token: token.encode() }
    }
}
