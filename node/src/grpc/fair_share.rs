//! How much of this node one caller may take, so that nobody's flood keeps others out. Judged before anything is spent
//! on a call: before its body is read, before a password is hashed.
//!
//! A caller is an account, or the address of whoever names none. Each has a rate (a bucket that fills steadily), and
//! places for changes and for streams under way. Seats are asked for one after the other: whoever opens twenty
//! connections when the day opens waits twenty times, and stands in nobody's way. Letters have a rate of their own, for
//! others have to read them. Nothing of this is replicated: each node counts what it receives.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use carrel_domain::id::UserId;
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tonic::transport::server::TcpConnectInfo;

use crate::convert::refusal;
use crate::grpc::call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// A page that opens asks for a dozen things at once, a class that registers comes within seconds.
const BURST: Duration = Duration::from_secs(2);
const LOG_IN_BURST: Duration = Duration::from_secs(5);
/// Whoever has something to say says it at once.
const LETTER_BURST: Duration = Duration::from_secs(60);
/// Changes of one account that are under way: its part of what a node takes on, and a few for a program in any case.
const CHANGES_PART: usize = 8;
const CHANGES_LEAST: usize = 8;
/// For what the same account asked for before: longer than a leader takes to be replaced, shorter than people wait.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// Streams of one account: every window of every device that anybody has.
const STREAMS_MAX: u32 = 32;
/// Streams of all: each holds what is on its way to its reader, which is some hundred KiB at the worst.
const ALL_STREAMS_MAX: u32 = 8_192;
/// Callers that are remembered: those with a bucket that is not full. At 100 bytes each they are a few MiB; who comes
/// beyond shares one bucket with everybody else who does.
const CALLERS_MAX: usize = 65_536;
/// Looking for callers to forget takes a millisecond, so it is not done for every stranger.
const FORGET_EVERY: Duration = Duration::from_millis(100);

const LOG_INS: [&str; 3] =
    ["/carrel.v1.AuthService/Login", "/carrel.v1.AuthService/Register", "/carrel.v1.AuthService/ChangePassword"];
const LETTER: &str = "/carrel.v1.MessageService/SendMessage";
/// What may take a seat. Of each account one at a time is under way.
const CLAIMS: [&str; 6] = [
    "/carrel.v1.ReservationService/CreateReservation",
    "/carrel.v1.ReservationService/HoldSeat",
    "/carrel.v1.ReservationService/WalkIn",
    "/carrel.v1.ReservationService/CreateGroupReservation",
    "/carrel.v1.ReservationService/BatchCreateReservations",
    "/carrel.v1.WaitlistService/JoinWaitlist",
];
const STREAMS: [&str; 3] = [
    "/carrel.v1.InboxService/WatchInbox",
    "/carrel.v1.SeatService/WatchSeatMap",
    "/carrel.admin.v1.ClusterService/WatchCluster",
];

/// What this node grants to each caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// To an account, and to an address for calls without a session.
    pub requests_per_second: u32,
    /// To an address, which may be a whole building.
    pub log_ins_per_second: u32,
    /// To an account, whose letters others have to read.
    pub letters_per_minute: u32,
}

/// Cheap to clone; clones share what is counted.
#[derive(Clone, Debug)]
pub struct FairShare {
    rates: Rates,
    callers: Arc<Mutex<Callers>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Account(UserId),
    /// Somebody who writes letters.
    Writer(UserId),
    Address(IpAddr),
    /// Whoever logs in or registers from there.
    DoorOf(IpAddr),
    /// Everybody for whom there is no place in the table.
    Crowd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Read,
    Change,
    Claim,
    Letter,
    Stream,
    LogIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooMuch {
    Faster { per_second: u32, wait: Duration },
    Letters { per_minute: u32, wait: Duration },
    Changes { max: usize },
    Claims,
    Streams,
}

#[derive(Debug, Default)]
struct Callers {
    known: BTreeMap<Who, Usage>,
    streams: u32,
    forgot_at: Option<Instant>,
}

#[derive(Debug)]
struct Usage {
    /// When the bucket is full again.
    full_at: Instant,
    changes: u32,
    streams: u32,
    /// Who holds it asks for a seat; the others come in the order in which they asked.
    turn: Turn,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// A place of a call under way, given back when it is dropped.
#[derive(Debug)]
struct Place {
    callers: Arc<Mutex<Callers>>,
    who: Who,
    what: What,
    turn: Option<Turn>,
}

impl FairShare {
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, callers: Arc::default() }
    }

    fn enter(&self, who: Who, what: What, changes_max: usize, now: Instant) -> Result<Place, TooMuch> {
        let (each, per, burst) = match what {
            What::Read | What::Change | What::Claim | What::Stream => (SECOND, self.rates.requests_per_second, BURST),
            What::LogIn => (SECOND, self.rates.log_ins_per_second, LOG_IN_BURST),
            What::Letter => (MINUTE, self.rates.letters_per_minute, LETTER_BURST),
        };
        let mut callers = self.callers.lock().expect("nothing panics while it holds the lock");
        let all_streams = callers.streams;
        let who = callers.place_for(who, now);
        let usage = callers.known.entry(who).or_insert_with(|| Usage::from(now));
        let full_at = usage.full_at.max(now) + each / per.max(1);
        let wait = full_at.saturating_duration_since(now).saturating_sub(burst);
        if !wait.is_zero() {
            return Err(match what {
                What::Letter => TooMuch::Letters { per_minute: per, wait },
                _ => TooMuch::Faster { per_second: per, wait },
            });
        }
        let (is_change, is_stream) = (what.is_change(), what == What::Stream);
        if is_change && usage.changes as usize >= changes_max {
            return Err(TooMuch::Changes { max: changes_max });
        }
        if is_stream && (usage.streams >= STREAMS_MAX || all_streams >= ALL_STREAMS_MAX) {
            return Err(TooMuch::Streams);
        }
        usage.changes += u32::from(is_change);
        usage.streams += u32::from(is_stream);
        usage.full_at = full_at;
        // An address may be a whole building, and its calls without a session take no seats.
        let turn = matches!((what, who), (What::Claim, Who::Account(_))).then(|| usage.turn.clone());
        callers.streams += u32::from(is_stream);
        Ok(Place { callers: self.callers.clone(), who, what, turn })
    }
}

impl Usage {
    fn from(now: Instant) -> Self {
        Self { full_at: now, changes: 0, streams: 0, turn: Turn::default() }
    }
}

impl Place {
    /// Waits until nothing is under way any more that the same account asked for before.
    async fn turn(&self) -> Result<Option<OwnedMutexGuard<()>>, TooMuch> {
        let Some(turn) = &self.turn else { return Ok(None) };
        timeout(TURN_WAIT, turn.clone().lock_owned()).await.map(Some).map_err(|_| TooMuch::Claims)
    }
}

impl Callers {
    /// Themselves, while the table has room.
    fn place_for(&mut self, who: Who, now: Instant) -> Who {
        if self.known.len() < CALLERS_MAX || self.known.contains_key(&who) {
            return who;
        }
        if self.forgot_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGET_EVERY) {
            self.forgot_at = Some(now);
            self.known.retain(|_, usage| usage.full_at > now || usage.changes > 0 || usage.streams > 0);
        }
        if self.known.len() < CALLERS_MAX { who } else { Who::Crowd }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut callers = self.callers.lock().expect("nothing panics while it holds the lock");
        callers.streams -= u32::from(self.what == What::Stream);
        // Nobody is forgotten who has something under way.
        if let Some(usage) = callers.known.get_mut(&self.who) {
            usage.changes -= u32::from(self.what.is_change());
            usage.streams -= u32::from(self.what == What::Stream);
        }
    }
}

/// Lets a call through, or says when to come back.
pub async fn admit<L: Library, Answered>(
    front: &Front<L>,
    request: Request,
    next: impl FnOnce(Request) -> Answered,
) -> Response
where
    Answered: Future<Output = Response>,
{
    let what = What::of(request.uri().path());
    // What would come to nothing must not cost a password's hash first.
    let changes_max = match what {
        What::Change | What::Claim | What::Letter | What::LogIn => match front.library.takes_writes() {
            Ok(all) => (all / CHANGES_PART).max(CHANGES_LEAST),
            Err(no) => return tonic::Status::from(no).into_http(),
        },
        What::Read | What::Stream => 0,
    };
    let from = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let address = network(from.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip()));
    let who = match what {
        What::LogIn => Who::DoorOf(address),
        What::Letter => account_of(front, request.headers()).map_or(Who::Address(address), Who::Writer),
        What::Read | What::Change | What::Claim | What::Stream => {
            account_of(front, request.headers()).map_or(Who::Address(address), Who::Account)
        }
    };
    let place = match front.fair_share.enter(who, what, changes_max, Instant::now()) {
        Ok(place) => place,
        Err(too_much) => return too_much.into_status().into_http(),
    };
    let _turn = match place.turn().await {
        Ok(turn) => turn,
        Err(too_much) => return too_much.into_status().into_http(),
    };
    let response = next(request).await;
    match what {
        What::Stream => response.map(|body| {
            let mut held = Some(place);
            Body::new(body.map_frame(move |frame| {
                // To the end of the stream, with its last frame or without.
                let _ = &mut held;
                frame
            }))
        }),
        What::Read | What::Change | What::Claim | What::Letter | What::LogIn => response,
    }
}

impl What {
    fn is_change(self) -> bool {
        matches!(self, Self::Change | Self::Claim | Self::Letter)
    }

    fn of(path: &str) -> Self {
        if LOG_INS.contains(&path) {
            Self::LogIn
        } else if STREAMS.contains(&path) {
            Self::Stream
        } else if path == LETTER {
            Self::Letter
        } else if CLAIMS.contains(&path) {
            Self::Claim
        } else if call::is_mutation(path) {
            Self::Change
        } else {
            Self::Read
        }
    }
}

impl TooMuch {
    fn into_status(self) -> tonic::Status {
        match self {
            Self::Faster { per_second, wait } => refusal::too_fast(per_second, wait),
            Self::Letters { per_minute, wait } => refusal::too_many_letters(per_minute, wait),
            Self::Changes { max } => refusal::too_many_at_once("changes under way", max),
            Self::Claims => refusal::still_asking(TURN_WAIT),
            Self::Streams => refusal::too_many_at_once("open streams", STREAMS_MAX as usize),
        }
    }
}

/// As far as this node knows: a session that was begun elsewhere a moment ago counts for the address.
fn account_of<L: Library>(front: &Front<L>, headers: &HeaderMap) -> Option<UserId> {
    let session = session::named_in(headers).ok()?;
    front.library.view().session_user(session).ok()
}

/// Whoever has one IPv6 address has the rest of the network, too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const AMY: Who = Who::Account(UserId(1));
    const BEN: Who = Who::Account(UserId(2));

    /// Changes under way.
    const MANY: usize = 256;

    fn fair_share() -> FairShare {
        FairShare::new(Rates { requests_per_second: 10, log_ins_per_second: 1, letters_per_minute: 6 })
    }

    #[test]
    fn a_flood_is_slowed_to_the_rate_and_is_nobody_elses_trouble() {
        let (share, start) = (fair_share(), Instant::now());
        let granted = |from_ms: u64, to_ms: u64| {
            let times = (from_ms..to_ms).map(|ms| start + Duration::from_millis(ms));
            times.filter(|&now| share.enter(AMY, What::Read, MANY, now).is_ok()).count()
        };
        assert_eq!(granted(0, 1_000), 20 + 9, "the burst, and what came in meanwhile");
        assert_eq!(granted(1_000, 11_000), 100);
        let late = start + Duration::from_millis(10_950);
        let refused = share.enter(AMY, What::Change, MANY, late).map(|_| ());
        let Err(TooMuch::Faster { per_second: 10, wait }) = refused else { panic!("{refused:?}") };
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
        let then = late + wait;
        assert!(share.enter(AMY, What::Change, MANY, then).is_ok(), "it is true when it is said to be");
        assert!(share.enter(BEN, What::Change, MANY, then).is_ok());
    }

    #[test]
    fn nobody_writes_faster_than_people_talk() {
        let (share, start) = (fair_share(), Instant::now());
        let writer = Who::Writer(UserId(1));
        let sent = |seconds: u64| share.enter(writer, What::Letter, MANY, start + Duration::from_secs(seconds));
        assert_eq!((0..10).filter(|_| sent(0).is_ok()).count(), 6, "a minute's worth at once");
        let refused = sent(1).map(|_| ());
        let Err(TooMuch::Letters { per_minute: 6, wait }) = refused else { panic!("{refused:?}") };
        assert_eq!(wait, Duration::from_secs(9));
        assert!(sent(10).is_ok() && sent(11).is_err());
        assert!(share.enter(AMY, What::Change, MANY, start).is_ok(), "she may still book");
    }

    #[test]
    fn what_is_under_way_is_bounded_and_given_back() {
        let share =
            FairShare::new(Rates { requests_per_second: 1_000_000, log_ins_per_second: 1, letters_per_minute: 6 });
        let now = Instant::now();
        for (what, most) in [(What::Change, MANY as u32), (What::Stream, STREAMS_MAX)] {
            let mut places: Vec<_> = (0..most).map(|_| share.enter(AMY, what, MANY, now).expect("room")).collect();
            assert!(share.enter(AMY, what, MANY, now).is_err());
            let _hers = share.enter(BEN, what, MANY, now).expect("it is Amy who has so much");
            places.pop();
            assert!(share.enter(AMY, what, MANY, now).is_ok());
        }
    }

    #[tokio::test]
    async fn one_account_asks_for_one_seat_after_the_other() {
        let share = fair_share();
        let asks = |who| share.enter(who, What::Claim, MANY, Instant::now()).expect("room");
        let (first, second, third) = (asks(AMY), asks(AMY), asks(AMY));
        let turn = first.turn().await.expect("nobody is before her");
        let (after, bens) = (second.turn(), asks(BEN));
        tokio::pin!(after);
        assert!(after.as_mut().now_or_never().is_none(), "she asks already");
        assert!(bens.turn().await.is_ok_and(|turn| turn.is_some()), "it is Amy who asks");
        let stranger = asks(Who::Address(Ipv4Addr::LOCALHOST.into()));
        assert!(stranger.turn().await.is_ok_and(|turn| turn.is_none()), "a building is not one person");
        drop(turn);
        let turn = after.await.expect("the first has its answer");
        assert_eq!(third.turn().await.map(|_| ()), Err(TooMuch::Claims), "nobody waits without end");
        drop(turn);
        assert!(third.turn().await.is_ok());
    }

    #[test]
    fn what_takes_a_seat_is_a_change() {
        for path in CLAIMS {
            assert!(call::is_mutation(path), "{path}");
            assert_eq!(What::of(path), What::Claim);
        }
    }

    #[test]
    fn strangers_cannot_make_up_callers_without_end() {
        let (share, now) = (fair_share(), Instant::now());
        let under_way = share.enter(AMY, What::Change, MANY, now).expect("room");
        let stranger = |number: u32| Who::Address(IpAddr::V4(Ipv4Addr::from_bits(number)));
        for number in 0..2 * CALLERS_MAX as u32 {
            let _ = share.enter(stranger(number), What::Read, MANY, now);
        }
        let count = || share.callers.lock().expect("no panics").known.len();
        assert_eq!(count(), CALLERS_MAX + 1);
        assert!(share.enter(stranger(u32::MAX), What::Read, MANY, now).is_err(), "the crowd has had its share");
        // A second later all buckets are full, and only who has something under way is remembered.
        let later = now + Duration::from_secs(3);
        assert!(share.enter(stranger(u32::MAX), What::Read, MANY, later).is_ok());
        assert_eq!(count(), 2);
        drop(under_way);
    }

    #[test]
    fn a_network_is_one_caller() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8::1:2:3:4")), network(parse("2001:db8::5:6:7:8")));
        assert_ne!(network(parse("2001:db8:0:1::1")), network(parse("2001:db8:0:2::1")));
        assert_eq!(network(parse("::ffff:192.0.2.7")), parse("192.0.2.7"));
        assert_ne!(network(parse("192.0.2.7")), network(parse("192.0.2.8")));
    }
}
