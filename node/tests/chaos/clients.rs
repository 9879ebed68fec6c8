//! Clients that book, give back, check in, look and list, repeat what was not answered, send some requests several
//! times through different nodes at once, and write down everything.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use carrel_history::{
    Answer, Attempt, Claim, Command, Interval, Listing, Look, Outcome, Person, Recorder, Refused, Request, Seat,
    Standing, State,
};
use carrel_node::convert::token::ResumeToken;
use carrel_proto::client::{Client, ClientError, Options, new_request_id};
use carrel_proto::v1;

use crate::schedule::Dice;

const PASSWORD: &str = "correct horse battery";
/// What one account has at most before it gives something back, so that seats are contended and free again.
const LIVE_MAX: usize = 4;
/// Half hours of one day that everybody wants.
const HALF_HOURS: u64 = 10;

/// Between two calls of one client, at most: faster clients would only give the judges more of the same.
const REST_MS: u64 = 60;
/// For an answer when all faults are over.
const PATIENCE: Duration = Duration::from_secs(20);
/// Less than most writes take, and enough for them to arrive.
const HASTE: Duration = Duration::from_millis(12);

/// What all clients share.
pub struct Stage {
    pub recorder: Recorder,
    pub endpoints: Vec<String>,
    pub seats: u32,
    pub stop: AtomicBool,
    /// Refusals that are none of the rules' of booking, by reason.
    pub odd_refusals: Mutex<BTreeMap<String, u64>>,
    pub newest_token: Mutex<(u64, String)>,
    /// By entry, the log's time in microseconds since 1970, and how far that was ahead when its answer was there.
    pub times: Mutex<BTreeMap<u64, (i64, i64)>>,
}

/// One person with connections of their own.
pub struct Account {
    person: Person,
    /// Through any node, and through each by itself.
    any: Client,
    each: Vec<Client>,
    live: Vec<(Claim, Seat)>,
}

/// Reads of the seats until the catalogue is there.
pub async fn opened(account: &Account, limit: Duration) -> bool {
    let asked = Instant::now();
    while asked.elapsed() < limit {
        let request = v1::GetSeatRequest { name: seat_name(Seat(0)), read: None };
        if account.any.get_seat(request).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

impl Account {
    pub async fn open(stage: &Stage, person: Person) -> Self {
        let options = |deadline_ms| Options {
            connect_timeout: Duration::from_millis(300),
            attempt_timeout: Duration::from_millis(1000),
            deadline: Duration::from_millis(deadline_ms),
        };
        let any = Client::new(&stage.endpoints, options(20_000)).expect("well-formed addresses");
        let user_id = format!("person-{}", person.0);
        let request = v1::RegisterRequest {
            request_id: new_request_id(),
            user_id: user_id.clone(),
            password: PASSWORD.to_owned(),
        };
        any.register(request).await.expect("a new name is free");
        let request = v1::LoginRequest { user_id, password: PASSWORD.to_owned() };
        let token = any.login(request).await.expect("the password is right").session_token;
        let each = stage.endpoints.iter().map(|endpoint| {
            let one = Client::new([endpoint], options(1500)).expect("a well-formed address");
            one.with_session(&token).expect("a token is text")
        });
        let each = each.collect();
        let any = any.with_options(options(2500)).with_session(&token).expect("a token is text");
        Self { person, any, each, live: Vec::new() }
    }

    /// Everything this person ever had, through one node, with patience, or through any.
    pub async fn list(&self, node: Option<u32>, read: Option<v1::ReadOptions>) -> Result<Vec<Standing>, ClientError> {
        let patient = Options { attempt_timeout: PATIENCE, deadline: PATIENCE, ..Options::default() };
        let client = match node {
            Some(node) => &self.each[node as usize].clone().with_options(patient),
            None => &self.any,
        };
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                v1::ListReservationsRequest { page_size: 1000, page_token, read: read.clone(), ..Default::default() };
            let page = client.list_reservations(request).await?;
            all.extend(page.reservations.iter().map(|reservation| standing(self.person, reservation)));
            if page.next_page_token.is_empty() {
                all.sort_unstable();
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }
}

/// One client, in turn as each of its accounts, until it is told to stop.
pub async fn work(stage: &Stage, mut accounts: Vec<Account>, mut dice: Dice) -> Vec<Account> {
    while !stage.stop.load(Ordering::Relaxed) {
        let account = dice.below(accounts.len() as u64);
        let account = &mut accounts[usize::try_from(account).expect("few accounts")];
        match dice.below(100) {
            0..=54 if account.live.len() < LIVE_MAX => reserve(stage, account, &mut dice).await,
            0..=69 if !account.live.is_empty() => cancel(stage, account, &mut dice).await,
            70..=77 => sit_for_a_moment(stage, account, &mut dice).await,
            78..=97 => look(stage, account, &mut dice).await,
            _ => refresh(stage, account).await,
        }
        tokio::time::sleep(Duration::from_millis(dice.below(REST_MS))).await;
    }
    accounts
}

fn some_seat(stage: &Stage, dice: &mut Dice) -> Seat {
    Seat(u32::try_from(dice.below(stage.seats.into())).expect("few seats"))
}

fn half_hour_now() -> i64 {
    jiff::Timestamp::now().as_second().div_euclid(1800) * 30
}

async fn reserve(stage: &Stage, account: &mut Account, dice: &mut Dice) {
    let start = half_hour_now().div_euclid(1440) * 1440 + 2 * 1440 + 30 * dice.below(HALF_HOURS).cast_signed();
    let interval = Interval { start, end: start + if dice.percent(30) { 60 } else { 30 } };
    let seat = some_seat(stage, dice);
    if let Outcome::Done(answer) = ask(stage, account, seat, Command::Reserve { interval }, dice).await {
        account.live.push((answer.claim, seat));
    }
}

async fn cancel(stage: &Stage, account: &mut Account, dice: &mut Dice) {
    let which = usize::try_from(dice.below(account.live.len() as u64)).expect("few claims");
    let (claim, seat) = account.live.swap_remove(which);
    ask(stage, account, seat, Command::Cancel { claim }, dice).await;
}

/// Books what is running now, checks in and, mostly, out again.
async fn sit_for_a_moment(stage: &Stage, account: &mut Account, dice: &mut Dice) {
    let start = half_hour_now();
    let interval = Interval { start, end: start + 480 };
    let seat = some_seat(stage, dice);
    let Outcome::Done(answer) = ask(stage, account, seat, Command::Reserve { interval }, dice).await else { return };
    let claim = answer.claim;
    ask(stage, account, seat, Command::CheckIn { claim }, dice).await;
    ask(stage, account, seat, Command::CheckOut { claim }, dice).await;
}

async fn look(stage: &Stage, account: &Account, dice: &mut Dice) {
    let seat = some_seat(stage, dice);
    let node = usize::try_from(dice.below(account.each.len() as u64)).expect("few nodes");
    let called_us = stage.recorder.now_us();
    let request = v1::GetSeatRequest { name: seat_name(seat), read: None };
    // A read that was not answered says nothing.
    let Ok(answer) = account.each[node].get_seat(request).await else { return };
    let returned_us = stage.recorder.now_us();
    let mut taken: Vec<Interval> = answer.busy.iter().map(interval_of).collect();
    taken.sort_unstable();
    stage.recorder.look(Look { seat, called_us, returned_us, taken });
}

/// Finds what was booked without being told, too.
async fn refresh(stage: &Stage, account: &mut Account) {
    let called_us = stage.recorder.now_us();
    let Ok(standing) = account.list(None, None).await else { return };
    let returned_us = stage.recorder.now_us();
    let confirmed = standing.iter().filter(|standing| standing.state == State::Confirmed);
    account.live = confirmed.map(|standing| (standing.claim, standing.seat)).collect();
    stage.recorder.listing(Listing { person: account.person, called_us, returned_us, standing });
}

/// Sends one request until it is answered, or given up for good: what happened then stays unknown.
async fn ask(stage: &Stage, account: &Account, seat: Seat, command: Command, dice: &mut Dice) -> Outcome {
    let (request, request_id) = (stage.recorder.next_request(), new_request_id());
    let send =
        |client: &Client| send(stage, client.clone(), account.person, seat, command, request, request_id.clone());
    if dice.percent(4) {
        // Gone before the answer can be there, and never back.
        let node = usize::try_from(dice.below(account.each.len() as u64)).expect("few nodes");
        let hasty = Options { deadline: HASTE, ..Options::default() };
        return send(&account.each[node].clone().with_options(hasty)).await;
    }
    let outcome = if dice.percent(30) {
        let nodes = account.each.len() as u64;
        let node = |nth: u64| &account.each[usize::try_from(nth % nodes).expect("few nodes")];
        let first = dice.below(nodes);
        let (one, other) = tokio::join!(send(node(first)), send(node(first + 1)));
        if one == Outcome::Unknown { other } else { one }
    } else {
        send(&account.any).await
    };
    if outcome != Outcome::Unknown || !dice.percent(70) {
        return outcome;
    }
    for _ in 0..3 {
        let again = send(&account.any).await;
        if again != Outcome::Unknown {
            return again;
        }
    }
    Outcome::Unknown
}

async fn send(
    stage: &Stage,
    client: Client,
    person: Person,
    seat: Seat,
    command: Command,
    request: Request,
    request_id: String,
) -> Outcome {
    let called_us = stage.recorder.now_us();
    let answer = match command {
        Command::Reserve { interval } => {
            let interval = Some(v1::Interval {
                start_time: Some(timestamp(interval.start)),
                end_time: Some(timestamp(interval.end)),
            });
            let request =
                v1::CreateReservationRequest { request_id, seat: seat_name(seat), interval, ..Default::default() };
            client.create_reservation(request).await.map(|answer| (answer.reservation, answer.commit))
        }
        Command::Cancel { claim } => {
            let request = v1::CancelReservationRequest { request_id, name: claim_name(claim), ..Default::default() };
            client.cancel_reservation(request).await.map(|answer| (answer.reservation, answer.commit))
        }
        Command::CheckIn { claim } => {
            let request = v1::CheckInRequest { request_id, name: claim_name(claim), ..Default::default() };
            client.check_in(request).await.map(|answer| (answer.reservation, answer.commit))
        }
        Command::CheckOut { claim } => {
            let request = v1::CheckOutRequest { request_id, name: claim_name(claim) };
            client.check_out(request).await.map(|answer| (answer.reservation, answer.commit))
        }
    };
    let returned_us = stage.recorder.now_us();
    let outcome = match answer {
        Ok((reservation, commit)) => {
            let claim = claim_of(&reservation.expect("an answer holds what it is about").name);
            let commit = commit.expect("an answer says which entry decided it");
            let token = commit.resume_token;
            let index = ResumeToken::decode("commit", &token).expect("the node's own token").position.index;
            let at = commit.commit_time.expect("every entry has its time");
            let at_us = at.seconds * 1_000_000 + i64::from(at.nanos) / 1000;
            let ahead_us = at_us - jiff::Timestamp::now().as_microsecond();
            stage.times.lock().expect("nothing panics while holding it").insert(index, (at_us, ahead_us));
            let mut newest = stage.newest_token.lock().expect("nothing panics while holding it");
            if newest.0 < index {
                *newest = (index, token);
            }
            Outcome::Done(Answer { index, claim })
        }
        Err(ClientError::Refused(refusal)) => match refusal.reason.as_str() {
            "SEAT_TAKEN" => Outcome::Refused(Refused::SeatTaken),
            "OWN_OVERLAP" | "QUOTA_EXCEEDED" | "STATE_CONFLICT" | "TOO_LATE" => Outcome::Refused(Refused::Otherwise),
            // Nothing that the rules say once and for all: it may still be done by another sending.
            reason => {
                let mut odd = stage.odd_refusals.lock().expect("nothing panics while holding it");
                *odd.entry(format!("{} {reason}", refusal.code_name())).or_default() += 1;
                Outcome::Unknown
            }
        },
        Err(ClientError::Unreachable(_)) => Outcome::Unknown,
    };
    stage.recorder.attempt(Attempt { request, person, seat, command, called_us, returned_us, outcome });
    outcome
}

fn standing(person: Person, reservation: &v1::Reservation) -> Standing {
    let interval = v1::Interval { start_time: reservation.start_time, end_time: reservation.end_time };
    let seat = reservation.seat.rsplit("/s-").next().expect("a name has an end");
    Standing {
        claim: claim_of(&reservation.name),
        person,
        seat: Seat(seat.parse().expect("the catalogue numbers its seats")),
        interval: interval_of(&interval),
        state: match reservation.state() {
            v1::reservation::State::Confirmed => State::Confirmed,
            v1::reservation::State::CheckedIn => State::CheckedIn,
            v1::reservation::State::Cancelled => State::Cancelled,
            v1::reservation::State::Completed => State::Completed,
            _ => State::Other,
        },
        revision: reservation.revision.cast_unsigned(),
    }
}

fn seat_name(seat: Seat) -> String {
    format!("branches/main/seats/s-{}", seat.0)
}

fn claim_name(claim: Claim) -> String {
    format!("reservations/{}", claim.0)
}

fn claim_of(name: &str) -> Claim {
    let number = name.strip_prefix("reservations/").and_then(|number| number.parse().ok());
    Claim(number.unwrap_or_else(|| panic!("{name} is not the name of a reservation")))
}

fn timestamp(minute: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: minute * 60, nanos: 0 }
}

fn interval_of(interval: &v1::Interval) -> Interval {
    let minute = |at: Option<prost_types::Timestamp>| at.expect("an interval has both ends").seconds.div_euclid(60);
    Interval { start: minute(interval.start_time), end: minute(interval.end_time) }
}
