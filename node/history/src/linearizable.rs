//! Is there an order of the calls on one seat, in agreement with real time, in which a seat that nobody else touches
//! would have given the same answers?
//!
//! The search goes through the calls and answers in the order they were seen, and keeps every configuration that is
//! possible so far: how the seat stands, and which calls without an answer yet have taken effect already. Equal
//! configurations are kept once. So it needs memory for calls that overlap, not for the length of the history; a call
//! that was never answered stays open until it has taken effect in every configuration, or to the end. The classic
//! depth-first search with a memory of where it has been finds the same, but remembers a set as long as the history for
//! each step of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::Violation;
use crate::call::{Claim, Command, Interval, Look, Outcome, Person, Refused, Seat, Standing, State};
use crate::operation::Operation;

/// More configurations at once than any history of a sound seat had by far; beyond, the judge gives up and says so.
const CONFIGURATIONS_MAX: usize = 200_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Illegal(Violation),
    /// Too many calls at once for the judge.
    Undecided(Seat),
}

/// What one call asks of the seat and was told.
#[derive(Clone, Debug)]
enum Step {
    Reserve {
        interval: Interval,
        person: Person,
        told: Told,
    },
    /// Cancelled or checked out.
    GiveBack {
        claim: Claim,
        person: Person,
        interval: Option<Interval>,
        known: bool,
    },
    Look {
        taken: Vec<Interval>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Claim(Claim),
    Taken,
    Nothing,
}

/// Who has the seat when. The claim is unknown if whoever made it was not told its number.
type Book = BTreeMap<Interval, (Person, Option<Claim>)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    book: Book,
    /// Calls without an answer yet that have taken effect.
    ahead: BTreeSet<usize>,
}

struct Call {
    step: Step,
    called_us: u64,
    /// None: never answered.
    returned_us: Option<u64>,
}

/// `end` says which calls without an outcome had an effect at all: those without are left out.
#[must_use]
pub fn check(seat: Seat, operations: &[&Operation], looks: &[&Look], end: &[Standing]) -> Verdict {
    let calls = calls(operations, looks, end);
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        // At the same microsecond, beginnings come first: the calls may have overlapped.
        moments.push((call.called_us, false, number));
        moments.extend(call.returned_us.map(|returned_us| (returned_us, true, number)));
    }
    moments.sort_unstable();

    let mut pending: BTreeSet<usize> = BTreeSet::new();
    let mut possible = HashSet::from([Configuration { book: Book::new(), ahead: BTreeSet::new() }]);
    for (moment_us, is_return, number) in moments {
        if !is_return {
            pending.insert(number);
            continue;
        }
        let Some(mut next) = having_done(number, possible, &pending, &calls) else { return Verdict::Undecided(seat) };
        if next.is_empty() {
            let what = format!("{:?}", calls[number].step);
            return Verdict::Illegal(Violation::NotLinearizable { seat, returned_us: moment_us, what });
        }
        let settled: Vec<usize> = settled(&next, &calls).chain([number]).collect();
        for number in &settled {
            pending.remove(number);
        }
        possible = next
            .drain()
            .map(|mut configuration| {
                for number in &settled {
                    configuration.ahead.remove(number);
                }
                configuration
            })
            .collect();
    }
    Verdict::Linearizable
}

/// Calls without an answer that have taken effect whatever has happened: as if they had been answered now. Without
/// this, those of a long history would all be carried to its end.
fn settled<'a>(possible: &'a HashSet<Configuration>, calls: &'a [Call]) -> impl Iterator<Item = usize> + 'a {
    let some = possible.iter().min_by_key(|configuration| configuration.ahead.len());
    let ahead = some.into_iter().flat_map(|configuration| &configuration.ahead).copied();
    ahead.filter(|number| {
        let was_answered = calls[*number].returned_us.is_some();
        !was_answered && possible.iter().all(|configuration| configuration.ahead.contains(number))
    })
}

/// Every configuration that can be reached from these in which `number` has just taken effect or had before; none if
/// there are too many to go through.
fn having_done(
    number: usize,
    possible: HashSet<Configuration>,
    pending: &BTreeSet<usize>,
    calls: &[Call],
) -> Option<HashSet<Configuration>> {
    let mut done = HashSet::new();
    let mut seen = HashSet::new();
    let mut open: Vec<Configuration> = possible.into_iter().collect();
    while let Some(configuration) = open.pop() {
        if configuration.ahead.contains(&number) {
            done.insert(configuration);
            continue;
        }
        if !seen.insert(configuration.clone()) {
            continue;
        }
        if seen.len() + done.len() > CONFIGURATIONS_MAX {
            return None;
        }
        for &next in pending.iter().filter(|next| !configuration.ahead.contains(next)) {
            let Some(book) = calls[next].step.on(&configuration.book) else { continue };
            // Without an answer and without an effect, a call may as well never have happened.
            if calls[next].returned_us.is_none() && book == configuration.book {
                continue;
            }
            let mut ahead = configuration.ahead.clone();
            ahead.insert(next);
            open.push(Configuration { book, ahead });
        }
    }
    Some(done)
}

impl Step {
    /// The book afterwards; none if the answer would have been another.
    fn on(&self, book: &Book) -> Option<Book> {
        match self {
            Self::Reserve { interval, person, told } => {
                let free = !book.keys().any(|other| other.overlaps(*interval));
                let holder = match (told, free) {
                    (Told::Claim(claim), true) => (*person, Some(*claim)),
                    (Told::Nothing, true) => (*person, None),
                    (Told::Taken | Told::Nothing, false) => return Some(book.clone()),
                    (Told::Claim(_), false) | (Told::Taken, true) => return None,
                };
                let mut after = book.clone();
                after.insert(*interval, holder);
                Some(after)
            }
            Self::GiveBack { claim, person, interval, known } => {
                let held = book.iter().find(|(at, (holder, held))| match held {
                    Some(held) => held == claim,
                    None => holder == person && interval.is_some_and(|interval| interval == **at),
                });
                match held {
                    Some((&at, _)) => {
                        let mut after = book.clone();
                        after.remove(&at);
                        Some(after)
                    }
                    // Given back already, by another call that asked for the same.
                    None => known.then(|| book.clone()),
                }
            }
            Self::Look { taken } => taken.iter().eq(book.keys()).then(|| book.clone()),
        }
    }
}

fn calls(operations: &[&Operation], looks: &[&Look], end: &[Standing]) -> Vec<Call> {
    let standing: BTreeMap<Claim, &Standing> = end.iter().map(|standing| (standing.claim, standing)).collect();
    let told: BTreeSet<Claim> = operations
        .iter()
        .filter_map(|operation| match (operation.command, operation.outcome) {
            (Command::Reserve { .. }, Outcome::Done(answer)) => Some(answer.claim),
            _ => None,
        })
        .collect();
    let untold = end.iter().filter(|standing| !told.contains(&standing.claim));
    let untold: BTreeSet<(Person, Interval)> = untold.map(|standing| (standing.person, standing.interval)).collect();
    let commands = operations.iter().filter_map(|operation| {
        let person = operation.person;
        let gives_back = |claim: Claim, into: State| {
            let known = operation.outcome != Outcome::Unknown;
            let standing = standing.get(&claim);
            let happened = known || standing.is_some_and(|standing| standing.state == into);
            let interval = standing.map(|standing| standing.interval);
            happened.then_some(Step::GiveBack { claim, person, interval, known })
        };
        let step = match (operation.command, operation.outcome) {
            (Command::Reserve { interval }, Outcome::Done(answer)) => {
                Some(Step::Reserve { interval, person, told: Told::Claim(answer.claim) })
            }
            (Command::Reserve { interval }, Outcome::Refused(Refused::SeatTaken)) => {
                Some(Step::Reserve { interval, person, told: Told::Taken })
            }
            (Command::Reserve { interval }, Outcome::Unknown) => {
                let happened = untold.contains(&(person, interval));
                happened.then_some(Step::Reserve { interval, person, told: Told::Nothing })
            }
            (_, Outcome::Refused(_)) | (Command::CheckIn { .. }, _) => None,
            (Command::Cancel { claim }, _) => gives_back(claim, State::Cancelled),
            (Command::CheckOut { claim }, _) => gives_back(claim, State::Completed),
        };
        Some(Call { step: step?, called_us: operation.called_us, returned_us: operation.returned_us })
    });
    let looks = looks.iter().map(|look| Call {
        step: Step::Look { taken: look.taken.clone() },
        called_us: look.called_us,
        returned_us: Some(look.returned_us),
    });
    commands.chain(looks).collect()
}
