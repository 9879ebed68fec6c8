//! Seat maps as they change. One task for each branch that somebody watches compares what it sees with what it saw and
//! tells all of them the difference; nobody else looks at seats.
//!
//! No history is kept: whoever comes with a token, or falls behind, is told everything anew, at a place in the log that
//! is not before the token's. So nothing is skipped without a word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrel_domain::id::{Position, TokenDigest};
use carrel_domain::query::SeatSearch;
use carrel_domain::refusal::Refusal;
use carrel_domain::state::State;
use carrel_domain::text::Slug;
use carrel_proto::v1;
use carrel_proto::v1::watch_seat_map_response::{Bookmark, Changes, Draining, Event, Snapshot};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::convert::refusal::{slow_consumer, to_status};
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
/// Looks with nobody watching until the task of a branch ends.
const IDLE_LOOKS: u32 = 200;

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

#[derive(Clone, Debug)]
struct Hub {
    latest: watch::Receiver<Arc<Map>>,
    differences: broadcast::Sender<Difference>,
}

/// The branches that are being watched. Cheap to clone.
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
            return Ok((hub.clone(), hub.differences.subscribe()));
        }
        let (tell, latest) = watch::channel(Arc::new(map_of(view, branch)?));
        let (differences, receiver) = broadcast::channel(CHANGES_MAX);
        let hub = Hub { latest, differences };
        hubs.insert(branch.clone(), hub.clone());
        tokio::spawn(self.clone().follow(library.clone(), branch.clone(), tell, hub.differences.clone()));
        Ok((hub, receiver))
    }

    /// Until nobody watches any more, or there is no such branch.
    async fn follow<L: Library>(
        self,
        library: Arc<L>,
        branch: Slug,
        tell: watch::Sender<Arc<Map>>,
        differences: broadcast::Sender<Difference>,
    ) {
        let mut idle_looks = 0;
        loop {
            sleep(PACE).await;
            let last = tell.borrow().clone();
            let view = library.view_after(last.index).await;
            let Ok(next) = map_of(&view, &branch) else { break };
            let seats = (next.revision == last.revision).then(|| Arc::new(changed(&last.seats, &next.seats)));
            if seats.as_ref().is_none_or(|seats| !seats.is_empty()) {
                // Nobody need be there to hear it.
                let _ = differences.send(Difference { index: next.index, seats });
            }
            // Only now: who sees this map has the differences up to it in front of them.
            tell.send_replace(Arc::new(next));
            idle_looks = if differences.receiver_count() > 0 { 0 } else { idle_looks + 1 };
            if idle_looks >= IDLE_LOOKS {
                let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
                // Somebody may have come meanwhile; who comes later finds no hub, and makes one.
                if differences.receiver_count() == 0 {
                    hubs.remove(&branch);
                    return;
                }
            }
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
    /// If there is no such branch.
    pub fn begin(self, view: &State) -> Result<SeatMapStream, Refusal> {
        let (hub, differences) = self.maps.join(&self.front.library, view, &self.branch)?;
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
        // What was seen when the stream began is in the map that it begins with.
        if let Err(end) = self.tell_everything(&mut hub, *told, frames, told).await {
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
