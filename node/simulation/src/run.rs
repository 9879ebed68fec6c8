//! One seed, from the founding of a cluster through the storm to calm weather, and everything that is wrong with it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use carrel_domain::claim::{Origin, StateName};
use carrel_domain::id::Position;
use carrel_domain::invariants;
use carrel_domain::query::ItemSubject;
use carrel_history::judge;
use carrel_node::replica::View;
use futures_util::future::{Either, select};
use openraft::type_config::TypeConfigExt;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use serde::{Deserialize, Serialize};

use crate::calm;
use crate::clients::{Client, Recorder, book, show, standing};
use crate::dice::Dice;
use crate::draw::Draw;
use crate::faults::Storm;
use crate::guests::{Heard, Post, bustle, watch};
use crate::library::{self, Person};
use crate::machine::TrueTime;
use crate::marks::{Counts, Mark, Marks};
use crate::steward::Steward;
use crate::story::Story;
use crate::witness::hash_of;
use crate::world::{Rt, World, spawn_outside};

/// Of virtual time; a run that is not over by then hangs.
const RUN_LIMIT: Duration = Duration::from_secs(400);

/// So long a run goes on after a promise was broken.
const AFTERMATH: Duration = Duration::from_secs(1);

/// For who was asked to stop to have stopped.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What one seed came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub seed: u64,
    pub size: u32,
    pub is_mixed: bool,
    /// What was drawn of faults.
    pub faults: Vec<String>,
    /// Every promise that was broken.
    pub broken: Vec<String>,
    /// Stands for everything that happened, and when.
    pub trace: u64,
    pub events: u64,
    pub marks: Counts,
    /// From the last fault to the last answer.
    pub calm_ms: Option<u64>,
    pub virtual_ms: u64,
    pub requests: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub repeated: u64,
    pub looks: u64,
    /// Empty unless it was wanted.
    pub story: Vec<String>,
}

thread_local! {
    /// While a seed runs on this thread.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Panics are heard of, wherever they happen: a task's own is told to nobody else.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_ours = PANICS.with(|panics| match &mut *panics.borrow_mut() {
                Some(panics) => {
                    panics.push(panic.to_string());
                    true
                }
                None => false,
            });
            if !is_ours {
                before(panic);
            }
        }));
    });
}

/// Runs one seed. The same seed gives the same outcome.
#[must_use]
pub fn run(seed: u64, is_story_wanted: bool) -> Outcome {
    listen_to_panics();
    PANICS.with(|panics| *panics.borrow_mut() = Some(Vec::new()));
    let draw = Draw::of(seed);
    let mut outcome = Outcome {
        seed,
        size: draw.size,
        is_mixed: draw.is_mixed,
        faults: draw.faults.iter().map(|fault| format!("{fault:?}")).collect(),
        ..Outcome::default()
    };
    let played = catch_unwind(AssertUnwindSafe(|| {
        SimRuntime::with_seed(seed).block_on(async {
            let stage = Stage::new(draw, is_story_wanted);
            let finished = Rt::timeout(RUN_LIMIT, stage.play_or_fall()).await;
            stage.tell(&mut outcome);
            stage.world.shut().await;
            finished
        })
    }));
    match played {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(how))) => outcome.broken.push(how),
        Ok(Err(_)) => outcome.broken.push(format!("the run was not over after {RUN_LIMIT:?}")),
        Err(panic) => outcome.broken.push(format!("the run panicked: {}", words(&*panic))),
    }
    let panics = PANICS.with(|panics| panics.borrow_mut().take()).unwrap_or_default();
    outcome.broken.extend(panics.into_iter().map(|panic| format!("a panic: {panic}")));
    outcome
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "without a word".to_owned())
}

struct Stage {
    world: Arc<World>,
    steward: Arc<Steward>,
    recorder: Arc<Recorder>,
    post: Arc<Post>,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    calm: Option<Duration>,
    requests: u64,
    acknowledged: u64,
    unknown: u64,
    repeated: u64,
    looks: u64,
}

impl Stage {
    fn new(draw: Draw, is_story_wanted: bool) -> Self {
        let time = TrueTime::begin();
        let (marks, story) = (Arc::new(Marks::default()), Arc::new(Story::new(time, is_story_wanted)));
        story.tell(format_args!("{draw:?}"));
        let world = World::new(draw, time, marks, story);
        let steward = Steward::new(&world, fork(&world, 2));
        Self { world, steward, recorder: Recorder::new(), post: Arc::default(), ended: Mutex::default() }
    }

    fn client(&self, person: &Person, dice: Dice) -> Client {
        Client {
            world: Arc::clone(&self.world),
            recorder: Arc::clone(&self.recorder),
            person: person.clone(),
            dice,
            at: 0,
        }
    }

    /// Soon after a promise was broken it is over: what happens then says little.
    async fn play_or_fall(&self) -> Result<(), String> {
        let fallen = async {
            while self.world.witness.broken().is_empty() {
                Rt::sleep(AFTERMATH).await;
            }
            Rt::sleep(AFTERMATH).await;
        };
        match select(pin!(self.play()), pin!(fallen)).await {
            Either::Left((played, _)) => played,
            Either::Right(_) => Ok(()),
        }
    }

    async fn play(&self) -> Result<(), String> {
        let world = &self.world;
        drop(spawn_outside(Arc::clone(world).supervise()));
        drop(spawn_outside(Arc::clone(&self.steward).run()));
        let (bookers, guests) = (world.draw.bookers, world.draw.guests);
        let people = library::open(world, bookers + guests + 1).await?;
        world.story.tell(format_args!("the library is open"));
        let mut working = Vec::new();
        let mut heard: Vec<(Person, Arc<Mutex<Heard>>)> = Vec::new();
        for person in &people[..bookers as usize] {
            let client = self.client(person, fork(world, 100 + u64::from(person.number)));
            working.push(spawn_outside(book(client)));
        }
        if world.draw.has_screen {
            working.push(spawn_outside(show(self.client(&people[0], fork(world, 99)))));
        }
        let guests = people[bookers as usize..(bookers + guests) as usize].to_vec();
        for person in &guests {
            let client = self.client(person, fork(world, 200 + u64::from(person.number)));
            working.push(spawn_outside(bustle(client, guests.clone(), Arc::clone(&self.post))));
            let listens = Arc::<Mutex<Heard>>::default();
            let watcher = self.client(person, fork(world, 300 + u64::from(person.number)));
            working.push(spawn_outside(watch(watcher, Arc::clone(&listens))));
            heard.push((person.clone(), listens));
        }
        let dice = fork(world, 3);
        Storm { world: Arc::clone(world), steward: Arc::clone(&self.steward), dice }.rage().await;
        calm::calm_down(world);
        let tester = people.last().expect("one more than there are bookers and guests");
        let tester = self.client(tester, fork(world, 4));
        let calm = calm::serve(world, &self.steward, tester).await?;
        self.ended().calm = Some(calm);
        world.story.tell(format_args!("calm after {calm:?}"));
        self.recorder.stop();
        let stopped = Rt::timeout(STOP_LIMIT, futures_util::future::join_all(working)).await;
        if stopped.is_err() {
            return Err("clients do not come to an end in calm weather".to_owned());
        }
        let views = calm::meet(world).await?;
        if world.draw.has_record {
            calm::prove_record(world).await?;
        }
        self.compare(&views);
        let view = views.first().ok_or("nobody is left")?;
        self.judge(view);
        self.check_post(view, &guests, &heard);
        world.end();
        Ok(())
    }

    /// Everywhere the same, and all of it as the rules want it.
    fn compare(&self, views: &[View]) {
        let witness = &self.world.witness;
        for (view, other) in views.iter().zip(views.iter().skip(1)) {
            if view.at() == other.at() && hash_of(view) != hash_of(other) {
                let how = format!("in the end two replicas hold different states of entry {}", view.at().index);
                witness.accuse("state machine safety", how);
            }
            if standing(view) != standing(other) {
                witness.accuse("converged", "in the end two replicas have different bookings".to_owned());
            }
        }
        for view in views {
            if let Some(violation) = invariants::check(view).first() {
                witness.accuse("the rules", format!("{}: {}", violation.invariant, violation.what));
            }
        }
    }

    fn judge(&self, view: &View) {
        let tester = self.world.draw.bookers + self.world.draw.guests;
        let mut end = standing(view);
        // The one who tested calm weather is not among those whose every call is known.
        end.retain(|standing| standing.person.0 != tester);
        let mut history = self.recorder.history.lock().expect("nobody writes any more").clone();
        for look in &mut history.looks {
            look.taken.retain(|interval| interval.start < minute_of_tester());
        }
        let judgement = judge(&history, &end);
        for violation in judgement.violations.iter().take(3) {
            self.world.witness.accuse("what clients saw", violation.to_string());
        }
        for seat in &judgement.undecided {
            self.world.witness.accuse("the judge decides", format!("{seat:?} was too much for it"));
        }
        let mut ended = self.ended();
        ended.requests = judgement.requests as u64;
        ended.acknowledged = judgement.acknowledged as u64;
        ended.unknown = judgement.unknown as u64;
        ended.repeated = judgement.repeated as u64;
        ended.looks = history.looks.len() as u64;
        for claim in view.every_claim() {
            if claim.origin == Origin::Hold && claim.state.name() == StateName::Expired {
                self.world.marks.hit(Mark::HoldExpired);
            }
            if claim.origin == Origin::Offer {
                self.world.marks.hit(Mark::Offered);
            }
        }
    }

    /// Every message is there once, and whoever watched has heard all of theirs up to where they watched.
    fn check_post(&self, view: &View, guests: &[Person], heard: &[(Person, Arc<Mutex<Heard>>)]) {
        let witness = &self.world.witness;
        for sent in self.post.sent.lock().expect("nobody writes any more").iter() {
            let Some(to) = guests.iter().find(|person| person.number == sent.to) else { continue };
            let items = view.inbox(to.user, Position::default(), usize::MAX).items;
            let copies = items
                .iter()
                .filter(|item| matches!(&item.subject, ItemSubject::Message { text, .. } if text.as_str() == sent.text))
                .count();
            if copies > 1 || (sent.is_acknowledged && copies == 0) {
                witness.accuse("a message is sent once", format!("{sent:?} is there {copies} times"));
            }
        }
        for (person, heard) in heard {
            let told = heard.lock().expect("nobody watches any more").positions.clone();
            let there = view.inbox(person.user, Position::default(), usize::MAX).items;
            let last = told.last().copied().unwrap_or_default();
            let there: Vec<Position> =
                there.iter().map(|item| item.position).filter(|position| *position <= last).collect();
            if told != there {
                let how = format!("{} was told {told:?}, and there is {there:?}", person.name);
                witness.accuse("a stream is reliable", how);
            }
        }
    }

    fn tell(&self, outcome: &mut Outcome) {
        let ended = self.ended();
        outcome.broken.extend(self.world.witness.broken().iter().map(ToString::to_string));
        outcome.trace = self.world.story.hash();
        outcome.events = self.world.story.events();
        outcome.marks = self.world.marks.counts();
        outcome.calm_ms = ended.calm.map(|calm| u64::try_from(calm.as_millis()).expect("a run is short"));
        outcome.virtual_ms = self.world.time.elapsed_us() / 1000;
        outcome.requests = ended.requests;
        outcome.acknowledged = ended.acknowledged;
        outcome.unknown = ended.unknown;
        outcome.repeated = ended.repeated;
        outcome.looks = ended.looks;
        outcome.story = self.world.story.lines();
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.ended.lock().expect("nothing panics while it holds the lock")
    }
}

/// A stream of throws for one who takes part.
fn fork(world: &World, name: u64) -> Dice {
    world.dice().fork(name)
}

/// From here on intervals are those that test calm weather, of which no client knows.
fn minute_of_tester() -> i64 {
    library::slot_of_time(20, 1).start().0 / carrel_domain::time::MINUTE_US
}
