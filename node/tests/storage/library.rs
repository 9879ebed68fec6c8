//! A large library for a node that runs: seats, people, and bookings as the log brings them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use carrel_domain::account::PasswordHash;
use carrel_domain::calendar::Day;
use carrel_domain::catalog::{Draft, SeatDraft};
use carrel_domain::id::{ClaimId, RequestId};
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, Caller, Request, RetryKey, SeatName, Wish};
use carrel_domain::text::UserName;
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, Timestamp};
use carrel_node::live::LiveReplica;
use carrel_node::replica::WriteError;
use futures_util::{StreamExt, stream};

use crate::campus::{Campus, scattered, slug, title, token};

const AREAS: usize = 5;
const SEATS_PER_AREA: usize = 200;
const SLOTS_PER_DAY: u64 = 24;
/// From tomorrow on, so that nothing falls due while a test runs.
const DAYS: u64 = 13;
const CLAIMS_PER_USER: u64 = 10;
/// Requests under way at once.
const AT_ONCE: usize = 512;
/// Ten seconds in all, as `carrel` waits.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const AGAIN_MAX: u32 = 500;

pub struct Library {
    replica: LiveReplica,
    today: i64,
    users: u64,
}

impl Library {
    /// Seats and people for so many claims at once, and half as many again.
    pub async fn open(replica: LiveReplica, claims: u64) -> Self {
        let capacity = claims + claims / 2;
        let per_branch = (AREAS * SEATS_PER_AREA) as u64 * SLOTS_PER_DAY * DAYS;
        let branches = usize::try_from(capacity / per_branch + 1).expect("a few branches");
        let today = replica.leader_time().expect("this node leads").0 / DAY_US;
        // Without a common factor with the slots, so that the same person comes again at another hour.
        let coprime = |users: &u64| [2, 3, 13, 7919].iter().all(|factor| !users.is_multiple_of(*factor));
        let users = (capacity / CLAIMS_PER_USER + 1..).find(coprime).expect("there are endless");
        let library = Self { replica, today, users };
        let import = Action::ImportCatalog { draft: Box::new(draft(branches)), expected_revision: None };
        library.system(import).await;
        library.fill_calendar().await;
        let everybody = stream::iter(0..library.users).map(|user| library.register(user));
        everybody.buffered(AT_ONCE).collect::<()>().await;
        library
    }

    /// The same library after a restart.
    pub fn reopened(self, replica: LiveReplica) -> Self {
        Self { replica, ..self }
    }

    pub async fn book(&self, claims: std::ops::Range<u64>) {
        stream::iter(claims).map(|claim| self.reserve(claim)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    }

    /// Booking number so-and-so: each has a seat, an hour and a person of its own.
    pub async fn reserve(&self, number: u64) -> ClaimId {
        let slots = SLOTS_PER_DAY * DAYS;
        let (seat, slot) = (number / slots, i64::try_from(number % slots).expect("small"));
        let in_branch = (AREAS * SEATS_PER_AREA) as u64;
        let (branch, seat) = (seat / in_branch, seat % in_branch);
        let (area, seat) = (seat / SEATS_PER_AREA as u64, seat % SEATS_PER_AREA as u64);
        let seat = SeatName { branch: slug(format!("branch-{branch}")), seat: slug(format!("s-{area}-{seat}")) };
        let start = Timestamp((self.today + 1) * DAY_US + slot * 60 * MINUTE_US);
        let interval = Interval::new(start, start.plus_us(60 * MINUTE_US)).expect("an hour");
        let user = number.wrapping_mul(7919) % self.users;
        match self.by(user, 2 * number, Action::Reserve { wish: Wish::of_seat(seat, interval) }).await {
            Reply::Claim(view) => view.claim.id,
            other => panic!("a booking is answered with a claim: {other:?}"),
        }
    }

    pub async fn cancel(&self, number: u64, claim: ClaimId) {
        let user = number.wrapping_mul(7919) % self.users;
        self.by(user, 2 * number + 1, Action::Cancel { claim, reason: None }).await;
    }

    async fn by(&self, user: u64, request: u64, action: Action) -> Reply {
        let retry = Some(RetryKey { id: RequestId(scattered(request)), digest: request });
        self.ask(Request { caller: Caller::Session(token(user)), retry, action }).await
    }

    async fn ask(&self, request: Request) -> Reply {
        // Somebody else may be using the machine: whoever is turned away comes again, as any client does.
        for _ in 0..AGAIN_MAX {
            match self.replica.write(request.clone()).await {
                Err(WriteError::Overloaded) => tokio::time::sleep(AGAIN_AFTER).await,
                answer => {
                    let result = answer.expect("a node that leads").result;
                    return result.unwrap_or_else(|refusal| panic!("{refusal:?} for {request:?}"));
                }
            }
        }
        panic!("overloaded for {:?}: {request:?}", AGAIN_AFTER * AGAIN_MAX)
    }

    async fn system(&self, action: Action) {
        let answer = self.replica.propose_system(action).await.expect("a node that leads");
        answer.result.expect("in order");
    }

    async fn fill_calendar(&self) {
        let view = self.replica.view();
        let branches: Vec<_> = view.catalog().branches().map(|(id, branch)| (id, branch.hours_revision)).collect();
        for (branch, hours_revision) in branches {
            let today = Date(i32::try_from(self.today).expect("in this century"));
            let days = view.missing_days(branch, today).into_iter().map(|date| {
                let midnight = Timestamp(i64::from(date.0) * DAY_US);
                let span = Interval::new(midnight, midnight.plus_us(DAY_US)).expect("a day");
                let area_open = BTreeMap::default();
                Day { date, span, grid_origin: midnight, open: vec![span], area_open, meals: Vec::new() }
            });
            self.system(Action::FillCalendar { branch, hours_revision, days: days.collect() }).await;
        }
    }

    async fn register(&self, user: u64) {
        let name = UserName::new(&format!("reader-{user}")).expect("a name");
        let password = PasswordHash(Arc::from("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"));
        let anonymous = |action| Request { caller: Caller::Anonymous, retry: None, action };
        let reply = self.ask(anonymous(Action::Register { name, password: password.clone() })).await;
        let Reply::User(view) = reply else { panic!("a registration is answered with a user: {reply:?}") };
        self.ask(anonymous(Action::StartSession { user: view.id, password, token: token(user) })).await;
    }
}

fn draft(branches: usize) -> Draft {
    let seat = |area: usize, seat: usize| SeatDraft {
        id: slug(format!("s-{area}-{seat}")),
        label: title("Seat"),
        amenities: Vec::new(),
        accessible: false,
        x_cm: 0,
        y_cm: 0,
    };
    let campus = Campus { branches, areas: AREAS, max_reservations: 100 };
    campus.draft(|area| (0..SEATS_PER_AREA).map(|number| seat(area, number)).collect())
}
