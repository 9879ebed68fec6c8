//! Seat maps as they change. One task for each branch compares what it sees with what it saw and tells all who watch
//! the difference; nobody else looks at seats.
//!
//! The differences of the last while are remembered, also while nobody watches: so whoever comes with a token, of this
//! node or another, is told what has changed since. A token from before that is out of range. Whoever falls behind
//! while they watch is told everything anew. So nothing is skipped without a word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrel_domain::id::{Position, TokenDigest};
use carrel_domain::query::SeatSearch;
use carrel_domain::refusal::Refusal;
use carrel_domain::state::State;
use carrel_domain::text::Slug;
use carrel_proto::v1;
use carrel_proto::v1::watch_seat_map_response::{Bookmark, Changes, Draining, Event, Snapshot};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::convert::refusal::{changes_let_go, slow_consumer, to_status};
use crate::convert::reply;
use crate::convert::token::ResumeToken;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::watch::Patience;

pub type SeatMapStream = ReceiverStream<Result<v1::WatchSeatMapResponse, Status>>;

/// Changes that come in faster are told as one.
const PACE: Duration = Duration::from_millis(50);
/// Differences that wait for one reader; who falls further behind is told everything anew.
const CHANGES_MAX: usize = 64;
/// Frames on their way to one reader: a map of a large branch has half a megabyte.
const FRAMES_MAX: usize = 4;
/// Between two looks while nobody watches; whoever comes causes another at once. All seats of a campus take a tenth of
/// a second, which bookings have better use for.
const IDLE_PACE: Duration = Duration::from_secs(10);
/// Between two looks for branches that are new.
const LOOK_FOR_BRANCHES_EVERY: Duration = Duration::from_millis(500);
/// Seats in all differences that are remembered of a branch: some megabytes, and half an hour of a large one.
const REMEMBERED_MAX: usize = 20_000;

/// The seats of a branch, as they are now.
#[derive(Debug)]
struct Map {
    index: u64,
    /// The catalogue that the seats are from: another one is another map.
    revision: u64,
    seats: Vec<v1::Seat>,
}

/// What is different since the frame before.
#[derive(Clone, Debug)]
struct Difference {
    index: u64,
    /// None: everything may be.
    seats: Option<Arc<Vec<v1::Seat>>>,
}

/// The last differences, without a gap.
#[derive(Debug)]
struct History {
    /// Everything that has changed after this entry is in here.
    since: u64,
    differences: VecDeque<(u64, Arc<Vec<v1::Seat>>)>,
    /// How many seats they name.
    size: usize,
}

impl History {
    fn from(since: u64) -> Self {
        Self { since, differences: VecDeque::new(), size: 0 }
    }

    fn remember(&mut self, index: u64, seats: &Arc<Vec<v1::Seat>>) {
        self.size += seats.len();
        self.differences.push_back((index, seats.clone()));
        while self.size > REMEMBERED_MAX
            && let Some((index, seats)) = self.differences.pop_front()
        {
            self.size -= seats.len();
            self.since = index;
        }
    }

    /// Each seat that was told of after an entry, as it was told last, and the entry up to which; none if some of that
    /// is not remembered any more.
    fn after(&self, index: u64) -> Option<(Vec<v1::Seat>, u64)> {
        if index < self.since {
            return None;
        }
        let first = self.differences.partition_point(|(told, _)| *told <= index);
        let later = self.differences.range(first..);
        let seats: BTreeMap<&str, &v1::Seat> =
            later.clone().flat_map(|(_, seats)| seats.iter().map(|seat| (seat.name.as_str(), seat))).collect();
        let upto = self.differences.back().map_or(index, |(told, _)| index.max(*told));
        Some((seats.into_values().cloned().collect(), upto))
    }
}

#[derive(Clone, Debug)]
struct Hub {
    latest: watch::Receiver<Arc<Map>>,
    differences: broadcast::Sender<Difference>,
    history: Arc<Mutex<History>>,
    /// Somebody has come to watch.
    wake: Arc<Notify>,
}

/// The branches, each with what is remembered of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SeatMaps {
    hubs: Arc<Mutex<BTreeMap<Slug, Hub>>>,
}

impl SeatMaps {
    /// The hub of a branch, and a place in front of it.
    fn join<L: Library>(
        &self,
        library: &Arc<L>,
        view: &State,
        branch: &Slug,
    ) -> Result<(Hub, broadcast::Receiver<Difference>), Refusal> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(branch) {
            let differences = hub.differences.subscribe();
            hub.wake.notify_one();
            return Ok((hub.clone(), differences));
        }
        let map = Arc::new(map_of(view, branch)?);
        let history = Arc::new(Mutex::new(History::from(map.index)));
        let (tell, latest) = watch::channel(map);
        let (differences, receiver) = broadcast::channel(CHANGES_MAX);
        let hub = Hub { latest, differences, history, wake: Arc::default() };
        hubs.insert(branch.clone(), hub.clone());
        tokio::spawn(self.clone().follow(library.clone(), branch.clone(), tell, hub.clone()));
        Ok((hub, receiver))
    }

    /// Remembers every branch that there is until the node drains.
    pub async fn remember<L: Library>(self, library: Arc<L>, draining: CancellationToken) {
        let mut seen = None;
        loop {
            let view = library.view();
            if seen != Some(view.catalog().revision) {
                seen = Some(view.catalog().revision);
                for branch in view.branches() {
                    // It is there: this view says so.
                    let _ = self.join(&library, &view, &branch.slug);
                }
            }
            tokio::select! {
                () = draining.cancelled() => return,
                () = sleep(LOOK_FOR_BRANCHES_EVERY) => {}
            }
        }
    }

    /// Until there is no such branch.
    async fn follow<L: Library>(self, library: Arc<L>, branch: Slug, tell: watch::Sender<Arc<Map>>, hub: Hub) {
        loop {
            let pace = if hub.differences.receiver_count() > 0 { PACE } else { IDLE_PACE };
            tokio::select! {
                () = sleep(pace) => {}
                () = hub.wake.notified() => {}
            }
            let last = tell.borrow().clone();
            let view = library.view_after(last.index).await;
            let Ok(next) = map_of(&view, &branch) else { break };
            let seats = (next.revision == last.revision).then(|| Arc::new(changed(&last.seats, &next.seats)));
            {
                let mut history = hub.history.lock().unwrap_or_else(PoisonError::into_inner);
                match &seats {
                    Some(seats) if seats.is_empty() => {}
                    Some(seats) => history.remember(next.index, seats),
                    // Seats may be gone, which no difference can say.
                    None => *history = History::from(next.index),
                }
            }
            if seats.as_ref().is_none_or(|seats| !seats.is_empty()) {
                // Nobody need be there to hear it.
                let _ = hub.differences.send(Difference { index: next.index, seats });
            }
            // Only now: who sees this map has the differences up to it in front of them.
            tell.send_replace(Arc::new(next));
        }
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner).remove(&branch);
    }
}

fn map_of(view: &State, branch: &Slug) -> Result<Map, Refusal> {
    let everything = SeatSearch {
        branch: branch.clone(),
        area: None,
        amenities: Vec::new(),
        accessible: false,
        interval: None,
        available_only: false,
        after: None,
        limit: usize::MAX,
    };
    let seats = view.search_seats(&everything)?.items.iter().map(reply::seat).collect();
    Ok(Map { index: view.at().index, revision: view.catalog().revision, seats })
}

/// Of two lists of the same seats in the same order.
fn changed(before: &[v1::Seat], after: &[v1::Seat]) -> Vec<v1::Seat> {
    before.iter().zip(after).filter(|(before, after)| before != after).map(|(_, after)| after.clone()).collect()
}

/// One reader.
#[derive(Debug)]
pub struct SeatMapWatch<L> {
    pub front: Front<L>,
    pub maps: SeatMaps,
    pub patience: Patience,
    pub session: TokenDigest,
    pub branch: Slug,
    /// Only the seats of this area, by its resource name.
    pub area: Option<String>,
    /// Up to which entry the reader has been told everything; none: nothing yet.
    pub after: Option<u64>,
}

/// Why a stream is over.
enum End {
    Left,
    Draining,
    Refused(Status),
}

type Sender = mpsc::Sender<Result<v1::WatchSeatMapResponse, Status>>;

impl<L: Library> SeatMapWatch<L> {
    /// The stream, not before what `view` has seen.
    ///
    /// # Errors
    /// If there is no such branch, or what has changed since the reader was there is not remembered any more.
    pub fn begin(self, view: &State) -> Result<SeatMapStream, Status> {
        let (hub, differences) = self.maps.join(&self.front.library, view, &self.branch).map_err(to_status)?;
        let is_remembered = |after: u64| {
            let history = hub.history.lock().unwrap_or_else(PoisonError::into_inner);
            after >= history.since
        };
        if !self.after.is_none_or(is_remembered) {
            return Err(changes_let_go());
        }
        let least = view.at().index;
        // One place more, kept for the last word.
        let (frames, receiver) = mpsc::channel(FRAMES_MAX + 1);
        tokio::spawn(async move {
            let Ok(last_word) = frames.clone().reserve_owned().await else { return };
            let mut told = least;
            match self.follow(hub, differences, &frames, &mut told).await {
                End::Left => {}
                End::Draining => drop(last_word.send(Ok(self.frame(Event::Draining(Draining {}), told)))),
                End::Refused(status) => drop(last_word.send(Err(status))),
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    async fn follow(
        &self,
        mut hub: Hub,
        mut differences: broadcast::Receiver<Difference>,
        frames: &Sender,
        told: &mut u64,
    ) -> End {
        // What was seen when the stream began is in what it begins with.
        let begun = match self.after {
            None => self.tell_everything(&mut hub, *told, frames, told).await,
            Some(after) => self.tell_since(&mut hub, after, frames, told).await,
        };
        if let Err(end) = begun {
            return end;
        }
        let mut bookmark_at = Instant::now() + self.patience.bookmark_every;
        loop {
            let difference = tokio::select! {
                biased;
                () = self.front.draining.cancelled() => return End::Draining,
                () = frames.closed() => return End::Left,
                difference = differences.recv() => Some(difference),
                () = sleep_until(bookmark_at) => None,
            };
            if let Err(refusal) = self.front.library.view().session_user(self.session) {
                return End::Refused(to_status(refusal));
            }
            let sent = match difference {
                Some(Ok(Difference { index, .. })) if index <= *told => continue,
                Some(Ok(Difference { index, seats: Some(seats) })) => {
                    let seats = self.in_area(&seats);
                    *told = index;
                    if seats.is_empty() {
                        continue;
                    }
                    self.send(frames, self.frame(Event::Changes(Changes { seats }), index)).await
                }
                // Another catalogue.
                Some(Ok(Difference { index, seats: None })) => {
                    self.tell_everything(&mut hub, index, frames, told).await
                }
                // What was lost is older than the newest that is known.
                Some(Err(broadcast::error::RecvError::Lagged(_))) => {
                    self.tell_everything(&mut hub, *told, frames, told).await
                }
                Some(Err(broadcast::error::RecvError::Closed)) => {
                    return End::Refused(to_status(Refusal::BranchNotFound));
                }
                None => {
                    let index = hub.latest.borrow().index;
                    // Every difference up to there was sent before, and none is left.
                    if differences.is_empty() {
                        *told = index.max(*told);
                    }
                    self.send(frames, self.frame(Event::Bookmark(Bookmark {}), *told)).await
                }
            };
            if let Err(end) = sent {
                return end;
            }
            bookmark_at = Instant::now() + self.patience.bookmark_every;
        }
    }

    /// The map, once it has seen the entry at `least`: it follows the differences.
    async fn tell_everything(&self, hub: &mut Hub, least: u64, frames: &Sender, told: &mut u64) -> Result<(), End> {
        let map = hub.latest.wait_for(|map| map.index >= least).await.map(|map| Arc::clone(&map));
        let map = map.map_err(|_| End::Refused(to_status(Refusal::BranchNotFound)))?;
        *told = map.index;
        let seats = self.in_area(&map.seats);
        self.send(frames, self.frame(Event::Snapshot(Snapshot { seats }), map.index)).await
    }

    /// What has changed since the reader was there; a bookmark if nothing has. The map has seen all that the reader
    /// had.
    async fn tell_since(&self, hub: &mut Hub, after: u64, frames: &Sender, told: &mut u64) -> Result<(), End> {
        let least = after.max(*told);
        let map = hub.latest.wait_for(|map| map.index >= least).await.map(|map| map.index);
        let index = map.map_err(|_| End::Refused(to_status(Refusal::BranchNotFound)))?;
        let later = hub.history.lock().unwrap_or_else(PoisonError::into_inner).after(after);
        // It may have been let go of since the stream began: then nothing is left out of everything.
        let Some((seats, upto)) = later else { return self.tell_everything(hub, least, frames, told).await };
        *told = index.max(upto);
        let seats = self.in_area(&seats);
        let event = if seats.is_empty() { Event::Bookmark(Bookmark {}) } else { Event::Changes(Changes { seats }) };
        self.send(frames, self.frame(event, *told)).await
    }

    fn in_area(&self, seats: &[v1::Seat]) -> Vec<v1::Seat> {
        let is_here = |seat: &&v1::Seat| self.area.as_ref().is_none_or(|area| *area == seat.area);
        seats.iter().filter(is_here).cloned().collect()
    }

    async fn send(&self, frames: &Sender, frame: v1::WatchSeatMapResponse) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.front.draining.cancelled() => Err(End::Draining),
            sent = timeout(self.patience.slow_after, frames.send(Ok(frame))) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Left),
                Err(_) => Err(End::Refused(slow_consumer())),
            },
        }
    }

    fn frame(&self, event: Event, index: u64) -> v1::WatchSeatMapResponse {
        let token = ResumeToken { lineage: self.front.library.lineage(), position: Position::end_of(index) };
        v1::WatchSeatMapResponse { event: Some(event), resume_token: token.encode() }
    }
}
