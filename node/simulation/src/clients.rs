//! People who book: they ask node after node, repeat what they were not told the outcome of under the same id, look at
//! seats and at what is theirs, and write down everything they see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carrel_domain::claim::StateName;
use carrel_domain::id::{ClaimId, UserId};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer as Said, Reply};
use carrel_domain::request::{Action, Request as Asked, Wish};
use carrel_domain::state::State as Library;
use carrel_domain::time::MINUTE_US;
use carrel_history::{
    Answer, Attempt, Claim, Command, History, Interval, Listing, Look, Outcome, Person as Number, Refused, Request,
    Seat, Standing, State,
};
use carrel_node::replica::{Freshness, ReadError, View, WriteError};
use openraft::type_config::TypeConfigExt;

use crate::dice::Dice;
use crate::library::{JUDGED_SEATS, Person, seat, slot_of_time};
use crate::marks::Mark;
use crate::network::Slot;
use crate::world::{Rt, World};

/// How long a node is waited for before another is asked.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(1_500);
/// What nobody has answered after so many attempts is given up.
const ATTEMPTS_MAX: u32 = 30;
/// Between two attempts.
const AGAIN_MS: std::ops::Range<u64> = 5..120;
/// How long a screen stays with one node, and for how long it shows what it was told.
const LOYAL_MS: std::ops::Range<u64> = 2_000..6_000;
const SHOWN_MS: std::ops::Range<u64> = 20..60;
/// Different slots that people want: few, so that they want the same ones.
const WANTED_SLOTS: u64 = 12;

/// What all clients write into.
#[derive(Debug)]
pub struct Recorder {
    pub history: Mutex<History>,
    requests: AtomicU64,
    stop: AtomicBool,
    pub answered: AtomicU64,
}

impl Recorder {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            history: Mutex::default(),
            requests: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        })
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock().expect("nothing panics while it holds the lock"));
    }
}

/// One who asks, and at which node they are.
pub struct Client {
    pub world: Arc<World>,
    pub recorder: Arc<Recorder>,
    pub person: Person,
    pub dice: Dice,
    pub at: Slot,
}

/// What one attempt at one node came to.
pub enum Attempted {
    Said(Box<Said>),
    /// Certainly not done.
    NotDone,
    Unknown,
}

impl Client {
    /// Any machine where something runs, as a name that leads to all of them does; the same as before, mostly.
    pub fn go_on(&mut self, tried: bool) {
        let running = self.world.running();
        if (tried || self.dice.happens(200) || !running.contains(&self.at))
            && let Some(next) = self.dice.pick(&running)
        {
            self.at = *next;
        }
    }

    pub async fn attempt(&mut self, request: Asked) -> Attempted {
        if self.world.node(self.at).is_none() {
            return Attempted::NotDone;
        }
        let asked = self.world.ask(self.at, ATTEMPT_LIMIT + Duration::from_millis(100), move |node| async move {
            node.replica().write_within(request, ATTEMPT_LIMIT).await
        });
        match asked.await {
            Some(Ok(said)) => {
                if said.replayed {
                    self.world.marks.hit(Mark::AnsweredAgain);
                }
                self.recorder.answered.fetch_add(1, Ordering::Relaxed);
                Attempted::Said(Box::new(said))
            }
            Some(Err(WriteError::Unknown)) | None => {
                self.world.marks.hit(Mark::OutcomeUnknown);
                Attempted::Unknown
            }
            Some(Err(
                WriteError::NoLeader
                | WriteError::Overloaded
                | WriteError::Full
                | WriteError::EarlierRelease
                | WriteError::TooLarge
                | WriteError::Expired
                | WriteError::NotServing(_),
            )) => Attempted::NotDone,
        }
    }

    /// A view that has everything acknowledged before now; none if this node cannot say.
    pub async fn read(&mut self) -> Option<View> {
        let is_elsewhere = self.world.leader() != Some(self.at);
        let asked = self
            .world
            .ask(self.at, ATTEMPT_LIMIT, |node| async move { node.replica().read(Freshness::Linearizable).await });
        match asked.await {
            Some(Ok(view)) => {
                if is_elsewhere {
                    self.world.marks.hit(Mark::ReadElsewhere);
                }
                Some(view)
            }
            Some(Err(ReadError::NoQuorum | ReadError::Behind | ReadError::NotServing(_))) => {
                self.world.marks.hit(Mark::ReadRefused);
                None
            }
            Some(Err(ReadError::ForeignToken)) | None => None,
        }
    }

    /// Asks until somebody answers, at node after node; none if nobody ever did.
    pub async fn insist(&mut self, request: &Asked) -> Option<Said> {
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                self.world.marks.hit(Mark::RequestRepeated);
            }
            if let Attempted::Said(said) = self.attempt(request.clone()).await {
                return Some(*said);
            }
            if self.recorder.is_stopped() && attempt > 3 {
                return None;
            }
            let pause = self.dice.millis(AGAIN_MS);
            Rt::sleep(pause).await;
            self.go_on(true);
        }
        None
    }

    pub async fn think(&mut self) {
        let pause = self.dice.millis(self.world.draw.pause_between_requests_ms.clone());
        Rt::sleep(pause).await;
    }

    fn number(&self) -> Number {
        Number(self.person.number)
    }
}

/// What a booker has: the claim, its seat, and whether they sit there.
#[derive(Clone, Copy, Debug)]
struct Own {
    claim: Claim,
    seat: Seat,
    is_checked_in: bool,
}

/// Books, gives back, looks and lists until told to stop.
pub async fn book(mut client: Client) {
    let mut own: Vec<Own> = Vec::new();
    while !client.recorder.is_stopped() {
        client.think().await;
        client.go_on(false);
        match client.dice.below(100) {
            0..=49 => reserve(&mut client, &mut own).await,
            50..=77 => change(&mut client, &mut own).await,
            78..=91 => look(&mut client).await,
            _ => list(&mut client).await,
        }
    }
}

/// A screen in the hall, which shows seats as whoever led when it was set up tells them, and is loyal for a while.
pub async fn show(mut client: Client) {
    while !client.recorder.is_stopped() {
        match client.world.leader() {
            Some(leader) => client.at = leader,
            None => client.go_on(true),
        }
        let ends = client.world.time.elapsed() + client.dice.millis(LOYAL_MS);
        while client.world.time.elapsed() < ends && !client.recorder.is_stopped() {
            look(&mut client).await;
            let pause = client.dice.millis(SHOWN_MS);
            Rt::sleep(pause).await;
        }
    }
}

async fn reserve(client: &mut Client, own: &mut Vec<Own>) {
    let number = client.dice.below(u64::from(JUDGED_SEATS)) as u32;
    let interval = slot_of_time(client.dice.below(WANTED_SLOTS), client.dice.within(1..3));
    let command = Command::Reserve { interval: minutes(interval) };
    let action = Action::Reserve { wish: Wish::of_seat(seat(number), interval) };
    if let Outcome::Done(answer) = ask(client, Seat(number), command, action).await {
        own.push(Own { claim: answer.claim, seat: Seat(number), is_checked_in: false });
    }
}

async fn change(client: &mut Client, own: &mut Vec<Own>) {
    if own.is_empty() {
        return;
    }
    let place = client.dice.below(own.len() as u64) as usize;
    let Own { claim, seat, is_checked_in } = own[place];
    let id = ClaimId(claim.0);
    let (command, action) = match client.dice.below(3) {
        _ if is_checked_in => (Command::CheckOut { claim }, Action::CheckOut { claim: id }),
        0 => (Command::CheckIn { claim }, Action::CheckIn { claim: id, proof: None }),
        _ => (Command::Cancel { claim }, Action::Cancel { claim: id, reason: None }),
    };
    let outcome = ask(client, seat, command, action).await;
    match (command, outcome) {
        (Command::CheckIn { .. }, Outcome::Done(_)) => own[place].is_checked_in = true,
        (Command::CheckIn { .. }, Outcome::Refused(_)) | (Command::Reserve { .. }, _) => {}
        // Whatever became of it: it is not touched again, so that nobody has to guess.
        _ => {
            own.swap_remove(place);
        }
    }
}

/// One request under one id, until its outcome is known or nobody answers for long; sometimes once more afterwards.
async fn ask(client: &mut Client, seat: Seat, command: Command, action: Action) -> Outcome {
    let number = client.recorder.next_request();
    let request = client.person.request(u128::from(number), action);
    let mut outcome = Outcome::Unknown;
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            client.world.marks.hit(Mark::RequestRepeated);
        }
        let called_us = client.world.time.elapsed_us();
        let attempted = client.attempt(request.clone()).await;
        let returned_us = client.world.time.elapsed_us();
        let is_remembered;
        (outcome, is_remembered) = match attempted {
            Attempted::Said(said) => outcome_of(client, &said),
            Attempted::Unknown => (Outcome::Unknown, true),
            Attempted::NotDone => {
                let pause = client.dice.millis(AGAIN_MS);
                Rt::sleep(pause).await;
                client.go_on(true);
                continue;
            }
        };
        let person = client.number();
        let entry = Attempt { request: Request(number), person, seat, command, called_us, returned_us, outcome };
        client.world.story.trace(&[7, number, client.at.into(), returned_us, u64::from(outcome == Outcome::Unknown)]);
        client.recorder.write(|history| history.attempts.push(entry));
        let is_known = outcome != Outcome::Unknown;
        // A retry is free, also of what was answered: it has to be answered alike.
        if is_known && !(is_remembered && client.dice.happens(80)) {
            return outcome;
        }
        if client.recorder.is_stopped() {
            return outcome;
        }
        let pause = client.dice.millis(AGAIN_MS);
        Rt::sleep(pause).await;
        client.go_on(true);
    }
    outcome
}

/// What was answered, and whether a repetition is answered alike.
fn outcome_of(client: &Client, said: &Said) -> (Outcome, bool) {
    match &said.result {
        Ok(Reply::Claim(view)) => (Outcome::Done(Answer { index: said.at.index, claim: Claim(view.claim.id.0) }), true),
        Ok(other) => {
            client.world.witness.accuse("answers fit their questions", format!("a booking was answered {other:?}"));
            (Outcome::Unknown, false)
        }
        Err(Refusal::SeatTaken) => {
            client.world.marks.hit(Mark::SeatTaken);
            (Outcome::Refused(Refused::SeatTaken), true)
        }
        Err(refusal) => (Outcome::Refused(Refused::Otherwise), refusal.is_recorded()),
    }
}

async fn look(client: &mut Client) {
    let number = client.dice.below(u64::from(JUDGED_SEATS)) as u32;
    let called_us = client.world.time.elapsed_us();
    let Some(view) = client.read().await else { return };
    let returned_us = client.world.time.elapsed_us();
    let standing = standing(&view);
    let mut taken: Vec<Interval> = standing
        .iter()
        .filter(|standing| standing.seat == Seat(number) && standing.state.is_live())
        .map(|standing| standing.interval)
        .collect();
    taken.sort_unstable();
    let look = Look { seat: Seat(number), called_us, returned_us, taken };
    client.recorder.write(|history| history.looks.push(look));
}

async fn list(client: &mut Client) {
    let called_us = client.world.time.elapsed_us();
    let Some(view) = client.read().await else { return };
    let returned_us = client.world.time.elapsed_us();
    let person = client.number();
    let standing = standing(&view).into_iter().filter(|standing| standing.person == person).collect();
    let listing = Listing { person, called_us, returned_us, standing };
    client.recorder.write(|history| history.listings.push(listing));
}

fn minutes(interval: carrel_domain::time::Interval) -> Interval {
    Interval { start: interval.start().0 / MINUTE_US, end: interval.end().0 / MINUTE_US }
}

/// Everything on the seats that are judged.
#[must_use]
pub fn standing(library: &Library) -> Vec<Standing> {
    let number_of = |user: UserId| library.user_name(user)?.as_str().strip_prefix('p')?.parse::<u32>().ok();
    let claims = library.every_claim().filter_map(|claim| {
        let seat = library.catalog().seat(claim.seat).slug.as_str().strip_prefix('s')?.parse::<u32>().ok()?;
        if seat >= JUDGED_SEATS {
            return None;
        }
        Some(Standing {
            claim: Claim(claim.id.0),
            person: Number(number_of(claim.holder?)?),
            seat: Seat(seat),
            interval: minutes(claim.interval),
            state: match claim.state.name() {
                StateName::Confirmed => State::Confirmed,
                StateName::CheckedIn => State::CheckedIn,
                StateName::Cancelled => State::Cancelled,
                StateName::Completed => State::Completed,
                StateName::Held
                | StateName::Away
                | StateName::Expired
                | StateName::Displaced
                | StateName::NoShow
                | StateName::Released => State::Other,
            },
            revision: u64::from(claim.revision),
        })
    });
    claims.collect()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("person", &self.person).finish_non_exhaustive()
    }
}
