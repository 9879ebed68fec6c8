//! Clients that book, give back, look and list while a story is told, and the judgement of what they saw.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carrel_history::{
    Answer, Attempt, Claim, Command, Interval, Judgement, Listing, Look, Outcome, Person, Recorder, Refused, Seat,
    Standing, State, judge,
};
use carrel_proto::admin::v1 as admin;
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;
use tokio::task::JoinSet;

use crate::library::PATIENCE;
use crate::report::Figure;

const PASSWORD: &str = "correct horse battery";
/// Those that know every node by name, and those that know the Service of all, which a connection pins to one of them.
const BY_NODE: u32 = 4;
const BY_SERVICE: u32 = 2;
/// As in e2e/catalog.yaml.
const SEATS: u64 = 12;
const HALF_HOURS: u64 = 20;
const MINUTES_A_DAY: i64 = 24 * 60;
/// What one account has at most before it gives something back.
const LIVE_MAX: usize = 4;
/// Between two calls of one client, at most: faster clients would only give the judges more of the same.
const REST_MS: u64 = 25;
/// Until a call is given up for good, which is what a failed call is.
const DEADLINE: Duration = Duration::from_secs(20);
/// Who leads is looked at so often.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// Until the day that the first season books; each season has a day of its own, so that none touches another's.
const DAYS_AHEAD: u32 = 2;

/// Where clients find nodes.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub nodes: Vec<String>,
    pub service: String,
}

pub struct Workload {
    stage: Arc<Stage>,
    addresses: Addresses,
    clients: JoinSet<anyhow::Result<Account>>,
    observer: tokio::task::JoinHandle<()>,
}

struct Stage {
    recorder: Recorder,
    /// The minute at which the day begins that everybody wants to book.
    day: i64,
    stop: AtomicBool,
    /// Calls without an answer in the end, and answers that no rule gives.
    failed: Mutex<Vec<String>>,
    /// Terms that had a leader, as clients are told.
    leaders: Mutex<BTreeSet<(u64, u64)>>,
}

struct Account {
    person: Person,
    user_id: String,
    client: Client,
    live: Vec<(Claim, Seat)>,
}

/// What is left when the clients have stopped.
pub struct Judged {
    pub judgement: Judgement,
    pub books: Books,
    pub failed: Vec<String>,
    pub leader_changes: u64,
    /// Of clients that know every node, and of those that know the Service of all.
    pub longest_calls: [Duration; 2],
}

impl Judged {
    /// The rows that every story has.
    pub fn figures(&self) -> Vec<Figure> {
        let Judgement { requests, acknowledged, .. } = self.judgement;
        vec![
            Figure::seen("calls, acknowledged", format!("{requests}, {acknowledged}")),
            Figure::at_most("failed calls", self.failed.len() as u64, 0),
            Figure::seen(
                "longest single call, by clients of the nodes and of the Service",
                format!("{} ms, {} ms", self.longest_calls[0].as_millis(), self.longest_calls[1].as_millis()),
            ),
        ]
    }
}

/// What stood at the end, for who wants to know later whether it still does.
pub struct Books {
    accounts: Vec<Account>,
    standing: Vec<Standing>,
}

impl Books {
    /// Every one of these nodes has exactly these reservations of theirs; how many there are.
    pub async fn still_stand(&self, nodes: &[String]) -> anyhow::Result<usize> {
        for node in nodes {
            let standing = standing_at(node, &self.accounts).await?;
            let (now, then) = (standing.len(), self.standing.len());
            ensure!(standing == self.standing, "{node} has {now} reservations, and not the {then} that stood before");
        }
        Ok(self.standing.len())
    }
}

fn options(deadline: Duration) -> Options {
    Options { connect_timeout: Duration::from_millis(300), attempt_timeout: Duration::from_millis(1000), deadline }
}

/// For what costs seconds of a busy machine and is not measured: who registers or logs in has a password hashed.
pub fn patient() -> Options {
    Options { connect_timeout: Duration::from_secs(2), attempt_timeout: Duration::from_secs(30), deadline: PATIENCE }
}

impl Workload {
    /// `season` counts from nought, and is another one for who begins again in the same library.
    pub async fn start(addresses: Addresses, season: u32) -> anyhow::Result<Self> {
        let today = jiff::Timestamp::now().as_second().div_euclid(MINUTES_A_DAY * 60) * MINUTES_A_DAY;
        let stage = Arc::new(Stage {
            recorder: Recorder::default(),
            day: today + i64::from(DAYS_AHEAD + season) * MINUTES_A_DAY,
            stop: AtomicBool::new(false),
            failed: Mutex::default(),
            leaders: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..BY_NODE + BY_SERVICE {
            let endpoints = if number < BY_NODE { &addresses.nodes } else { &vec![addresses.service.clone()] };
            let account = Account::open(Person(number), season, endpoints).await.context("a client cannot begin")?;
            let stage = stage.clone();
            clients.spawn(async move { work(&stage, account, Dice(u64::from(number) + 1)).await });
        }
        let observing = Client::new(&addresses.nodes, options(Duration::from_secs(2)))?;
        let observer = tokio::spawn(observe(stage.clone(), observing));
        Ok(Self { stage, addresses, clients, observer })
    }

    /// A moment of the recording.
    pub fn now_us(&self) -> u64 {
        self.stage.recorder.now_us()
    }

    /// Between acknowledged writes of all clients together, from then until now.
    pub fn longest_gap_since(&self, from_us: u64) -> Duration {
        let history = self.stage.recorder.history();
        let done = history.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Done(_)));
        let mut moments: Vec<u64> = done.map(|attempt| attempt.returned_us).filter(|at| *at >= from_us).collect();
        moments.sort_unstable();
        let (mut before, mut longest) = (from_us, 0);
        for at in moments.into_iter().chain([self.now_us()]) {
            longest = longest.max(at - before);
            before = at;
        }
        Duration::from_micros(longest)
    }

    /// Until so many more writes are acknowledged: everything goes on.
    pub async fn goes_on(&self, writes: usize, limit: Duration) -> anyhow::Result<()> {
        let count = || {
            let history = self.stage.recorder.history();
            history.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Done(_))).count()
        };
        let wanted = count() + writes;
        let mut tick = tokio::time::interval(OBSERVE_EVERY);
        let reached = async {
            while count() < wanted {
                tick.tick().await;
            }
        };
        tokio::time::timeout(limit, reached).await.with_context(|| {
            let history = self.stage.recorder.history();
            let failed = self.stage.failed.lock().expect("nothing panics while holding it");
            format!("no {writes} more writes in {} s; {} attempts; {failed:?}", limit.as_secs(), history.attempts.len())
        })
    }

    /// Stops the clients, asks every node what stands, and judges.
    pub async fn end(mut self, nodes: usize) -> anyhow::Result<Judged> {
        self.stage.stop.store(true, Ordering::Relaxed);
        let mut accounts = Vec::new();
        while let Some(account) = self.clients.join_next().await {
            accounts.push(account.context("a client panicked")??);
        }
        self.observer.abort();
        accounts.sort_by_key(|account| account.person);
        let mut by_node: Vec<Vec<Standing>> = Vec::new();
        for node in &self.addresses.nodes[..nodes] {
            by_node.push(standing_at(node, &accounts).await?);
        }
        for (node, standing) in by_node.iter().enumerate() {
            ensure!(*standing == by_node[0], "nodes 0 and {node} do not hold the same reservations");
        }
        let history = self.stage.recorder.history();
        let books = Books { accounts, standing: by_node.swap_remove(0) };
        let judgement = judge(&history, &books.standing);
        if !judgement.is_sound() {
            let first: Vec<String> = judgement.violations.iter().take(5).map(ToString::to_string).collect();
            bail!(
                "what clients saw is not sound: {} violations, {} seats undecided: {first:#?}",
                judgement.violations.len(),
                judgement.undecided.len()
            );
        }
        let longest = |is_by_node: bool| {
            let theirs = history.attempts.iter().filter(|attempt| (attempt.person.0 < BY_NODE) == is_by_node);
            let longest = theirs.map(|attempt| attempt.returned_us - attempt.called_us).max();
            Duration::from_micros(longest.unwrap_or(0))
        };
        let terms = self.stage.leaders.lock().expect("nothing panics while holding it").len();
        let failed = self.stage.failed.lock().expect("nothing panics while holding it").clone();
        Ok(Judged {
            judgement,
            books,
            failed,
            leader_changes: u64::try_from(terms).expect("few terms").saturating_sub(1),
            longest_calls: [longest(true), longest(false)],
        })
    }
}

/// Until it is ended.
async fn observe(stage: Arc<Stage>, client: Client) {
    let mut tick = tokio::time::interval(OBSERVE_EVERY);
    loop {
        tick.tick().await;
        if let Ok(status) = client.get_status(admin::GetStatusRequest { local: true }).await
            && status.leader != 0
        {
            stage.leaders.lock().expect("nothing panics while holding it").insert((status.term, status.leader));
        }
    }
}

impl Account {
    async fn open(person: Person, season: u32, endpoints: &[String]) -> anyhow::Result<Self> {
        let client = Client::new(endpoints, patient())?;
        let user_id = format!("person-{season}-{}", person.0);
        let request =
            v1::RegisterRequest { request_id: new_request_id(), user_id: user_id.clone(), password: PASSWORD.into() };
        client.register(request).await?;
        let client = logged_in(client, &user_id).await?.with_options(options(DEADLINE));
        Ok(Self { person, user_id, client, live: Vec::new() })
    }

    /// The same person at one node and no other.
    async fn elsewhere(&self, node: &str) -> anyhow::Result<Client> {
        logged_in(Client::new([node], patient())?, &self.user_id).await
    }
}

/// What one node says stands of these, in order.
async fn standing_at(node: &str, accounts: &[Account]) -> anyhow::Result<Vec<Standing>> {
    let mut standing = Vec::new();
    for account in accounts {
        let client = account.elsewhere(node).await.with_context(|| format!("asking {node} at the end"))?;
        standing.extend(list(&client, account.person).await.with_context(|| format!("asking {node}"))?);
    }
    standing.sort_unstable();
    Ok(standing)
}

async fn logged_in(client: Client, user_id: &str) -> anyhow::Result<Client> {
    let login = v1::LoginRequest { user_id: user_id.to_owned(), password: PASSWORD.to_owned() };
    let token = client.login(login).await?.session_token;
    Ok(client.with_session(&token)?)
}

async fn list(client: &Client, person: Person) -> anyhow::Result<Vec<Standing>> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListReservationsRequest { page_size: 1000, page_token, ..Default::default() };
        let page = client.list_reservations(request).await?;
        for reservation in &page.reservations {
            all.push(standing(person, reservation)?);
        }
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        page_token = page.next_page_token;
    }
}

async fn work(stage: &Stage, mut account: Account, mut dice: Dice) -> anyhow::Result<Account> {
    while !stage.stop.load(Ordering::Relaxed) {
        match dice.below(100) {
            0..=59 if account.live.len() < LIVE_MAX => {
                let start = stage.day + 30 * dice.below(HALF_HOURS).cast_signed();
                let interval = Interval { start, end: start + 30 };
                let seat = dice.seat();
                let outcome = ask(stage, &account, seat, Command::Reserve { interval }).await?;
                if let Outcome::Done(answer) = outcome {
                    account.live.push((answer.claim, seat));
                }
            }
            0..=79 if !account.live.is_empty() => {
                let which = usize::try_from(dice.below(account.live.len() as u64))?;
                let (claim, seat) = account.live.swap_remove(which);
                ask(stage, &account, seat, Command::Cancel { claim }).await?;
            }
            80..=96 => look(stage, &account, dice.seat()).await,
            _ => {
                let called_us = stage.recorder.now_us();
                if let Ok(standing) = list(&account.client, account.person).await {
                    let returned_us = stage.recorder.now_us();
                    stage.recorder.listing(Listing { person: account.person, called_us, returned_us, standing });
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.below(REST_MS))).await;
    }
    Ok(account)
}

async fn look(stage: &Stage, account: &Account, seat: Seat) {
    let called_us = stage.recorder.now_us();
    let request = v1::GetSeatRequest { name: seat_name(seat), read: None };
    match account.client.get_seat(request).await {
        Ok(answer) => {
            let returned_us = stage.recorder.now_us();
            let is_todays = |interval: &Interval| (stage.day..stage.day + MINUTES_A_DAY).contains(&interval.start);
            let mut taken: Vec<Interval> = answer.busy.iter().filter_map(interval_of).filter(is_todays).collect();
            taken.sort_unstable();
            stage.recorder.look(Look { seat, called_us, returned_us, taken });
        }
        Err(error) => stage.failed.lock().expect("nothing panics while holding it").push(format!("a read: {error}")),
    }
}

/// One request, through as many nodes as it takes.
async fn ask(stage: &Stage, account: &Account, seat: Seat, command: Command) -> anyhow::Result<Outcome> {
    let (request, request_id) = (stage.recorder.next_request(), new_request_id());
    let client = &account.client;
    let called_us = stage.recorder.now_us();
    let answer = match command {
        Command::Reserve { interval } => {
            let at = |minute: i64| Some(prost_types::Timestamp { seconds: minute * 60, nanos: 0 });
            let interval = Some(v1::Interval { start_time: at(interval.start), end_time: at(interval.end) });
            let request = v1::CreateReservationRequest {
                request_id,
                seat: seat_name(seat),
                interval,
                ..v1::CreateReservationRequest::default()
            };
            client.create_reservation(request).await.map(|answer| (answer.reservation, answer.commit))
        }
        Command::Cancel { claim } => {
            let request = v1::CancelReservationRequest {
                request_id,
                name: format!("reservations/{}", claim.0),
                ..v1::CancelReservationRequest::default()
            };
            client.cancel_reservation(request).await.map(|answer| (answer.reservation, answer.commit))
        }
        Command::CheckIn { .. } | Command::CheckOut { .. } => bail!("nobody sits down in these stories"),
    };
    let returned_us = stage.recorder.now_us();
    let outcome = match answer {
        Ok((reservation, commit)) => {
            let claim = claim_of(&reservation.context("an answer without what it is about")?.name)?;
            let index = index_of(&commit.context("an answer without its entry")?.resume_token)?;
            Outcome::Done(Answer { index, claim })
        }
        Err(ClientError::Refused(refusal)) => match refusal.reason.as_str() {
            "SEAT_TAKEN" => Outcome::Refused(Refused::SeatTaken),
            "OWN_OVERLAP" | "QUOTA_EXCEEDED" | "STATE_CONFLICT" => Outcome::Refused(Refused::Otherwise),
            _ => {
                let mut failed = stage.failed.lock().expect("nothing panics while holding it");
                failed.push(format!("a write: {refusal}"));
                Outcome::Unknown
            }
        },
        Err(error @ ClientError::Unreachable(_)) => {
            let mut failed = stage.failed.lock().expect("nothing panics while holding it");
            failed.push(format!("a write: {error}"));
            Outcome::Unknown
        }
    };
    let person = account.person;
    stage.recorder.attempt(Attempt { request, person, seat, command, called_us, returned_us, outcome });
    Ok(outcome)
}

/// A token is for no client to look into; a judge has to know which entry decided.
fn index_of(token: &str) -> anyhow::Result<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(token).context("a token is base64")?;
    // Version, kind, lineage; then the index.
    let index = bytes.get(6..14).and_then(|index| index.try_into().ok()).context("a token has an index")?;
    Ok(u64::from_be_bytes(index))
}

fn standing(person: Person, reservation: &v1::Reservation) -> anyhow::Result<Standing> {
    let interval = v1::Interval { start_time: reservation.start_time, end_time: reservation.end_time };
    let seat = reservation.seat.rsplit("/s-").next().and_then(|number| number.parse().ok());
    Ok(Standing {
        claim: claim_of(&reservation.name)?,
        person,
        seat: Seat(seat.with_context(|| format!("{} is none of the catalogue's", reservation.seat))?),
        interval: interval_of(&interval).context("a reservation has both ends")?,
        state: match reservation.state() {
            v1::reservation::State::Confirmed => State::Confirmed,
            v1::reservation::State::CheckedIn => State::CheckedIn,
            v1::reservation::State::Cancelled => State::Cancelled,
            v1::reservation::State::Completed => State::Completed,
            _ => State::Other,
        },
        revision: reservation.revision.cast_unsigned(),
    })
}

fn seat_name(seat: Seat) -> String {
    format!("branches/main/seats/s-{}", seat.0)
}

fn claim_of(name: &str) -> anyhow::Result<Claim> {
    let number = name.strip_prefix("reservations/").and_then(|number| number.parse().ok());
    Ok(Claim(number.with_context(|| format!("{name} is not the name of a reservation"))?))
}

fn interval_of(interval: &v1::Interval) -> Option<Interval> {
    let minute = |at: Option<prost_types::Timestamp>| Some(at?.seconds.div_euclid(60));
    Some(Interval { start: minute(interval.start_time)?, end: minute(interval.end_time)? })
}

/// The same calls in every run, as far as they depend on nobody else.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    fn seat(&mut self) -> Seat {
        Seat(u32::try_from(self.below(SEATS)).expect("few seats"))
    }
}
