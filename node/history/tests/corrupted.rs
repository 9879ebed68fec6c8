//! The judges must be able to fail: a sound history passes, and each way of corrupting it is found by name.

use std::collections::BTreeMap;

use carrel_history::{
    Answer, Attempt, Claim, Command, History, Interval, Judgement, Listing, Look, Outcome, Person, Refused, Request,
    Seat, Standing, State, Violation, judge,
};
use proptest::prelude::*;

const SEAT: Seat = Seat(7);
const AMY: Person = Person(1);
const BEN: Person = Person(2);
const MORNING: Interval = Interval { start: 540, end: 600 };
const NOON: Interval = Interval { start: 720, end: 780 };

fn done(index: u64, claim: u64) -> Outcome {
    Outcome::Done(Answer { index, claim: Claim(claim) })
}

fn attempt(request: u64, person: Person, command: Command, span: (u64, u64), outcome: Outcome) -> Attempt {
    let (called_us, returned_us) = span;
    Attempt { request: Request(request), person, seat: SEAT, command, called_us, returned_us, outcome }
}

fn look(span: (u64, u64), taken: &[Interval]) -> Look {
    Look { seat: SEAT, called_us: span.0, returned_us: span.1, taken: taken.to_vec() }
}

fn standing(claim: u64, person: Person, interval: Interval, state: State, revision: u64) -> Standing {
    Standing { claim: Claim(claim), person, seat: SEAT, interval, state, revision }
}

/// Amy books the morning, Ben is refused it and books noon; Amy cancels, Ben books the morning too and checks in
/// at noon.
fn sound() -> (History, Vec<Standing>) {
    let reserve = |interval| Command::Reserve { interval };
    let attempts = vec![
        attempt(0, AMY, reserve(MORNING), (0, 10), done(5, 1)),
        attempt(0, AMY, reserve(MORNING), (12, 14), done(5, 1)),
        attempt(1, BEN, reserve(MORNING), (11, 20), Outcome::Refused(Refused::SeatTaken)),
        attempt(2, BEN, reserve(NOON), (21, 30), done(8, 2)),
        attempt(3, AMY, Command::Cancel { claim: Claim(1) }, (40, 45), Outcome::Unknown),
        attempt(3, AMY, Command::Cancel { claim: Claim(1) }, (46, 50), done(9, 1)),
        attempt(4, BEN, reserve(MORNING), (51, 60), done(10, 3)),
        attempt(5, BEN, Command::CheckIn { claim: Claim(2) }, (61, 70), done(12, 2)),
    ];
    let looks = vec![look((15, 18), &[MORNING]), look((31, 35), &[MORNING, NOON]), look((62, 66), &[MORNING, NOON])];
    let end = vec![
        standing(1, AMY, MORNING, State::Cancelled, 2),
        standing(2, BEN, NOON, State::CheckedIn, 2),
        standing(3, BEN, MORNING, State::Confirmed, 1),
    ];
    let listings = vec![Listing { person: BEN, called_us: 80, returned_us: 90, standing: end[1..].to_vec() }];
    (History { attempts, looks, listings }, end)
}

fn judged(corrupt: impl FnOnce(&mut History, &mut Vec<Standing>)) -> Judgement {
    let (mut history, mut end) = sound();
    corrupt(&mut history, &mut end);
    judge(&history, &end)
}

fn found(judgement: &Judgement, wanted: fn(&Violation) -> bool) {
    assert!(judgement.violations.iter().any(wanted), "{judgement:#?}");
}

#[test]
fn a_sound_history_passes() {
    let judgement = judged(|_, _| {});
    assert!(judgement.is_sound(), "{judgement:#?}");
    assert_eq!((judgement.requests, judgement.acknowledged, judgement.refused), (6, 5, 1));
    assert_eq!((judgement.unknown, judgement.repeated), (0, 2));
}

#[test]
fn a_lost_acknowledged_booking_is_found() {
    found(&judged(|_, end| end.truncate(2)), |v| matches!(v, Violation::Lost { .. }));
}

#[test]
fn a_cancellation_that_did_not_last_is_found() {
    let judgement = judged(|_, end| end[0] = standing(1, AMY, MORNING, State::Confirmed, 1));
    found(&judgement, |v| matches!(v, Violation::Undone { .. }));
    found(&judgement, |v| matches!(v, Violation::DoublyBooked(..)));
}

#[test]
fn a_claim_nobody_asked_for_is_found() {
    let evening = Interval { start: 1080, end: 1140 };
    let judgement = judged(|_, end| end.push(standing(4, AMY, evening, State::Confirmed, 1)));
    found(&judgement, |v| matches!(v, Violation::Uncaused(_)));
}

#[test]
fn one_request_with_two_effects_is_found() {
    let evening = Interval { start: 1080, end: 1140 };
    let judgement = judged(|history, end| {
        let reserve = Command::Reserve { interval: evening };
        history.attempts.push(attempt(9, AMY, reserve, (71, 75), Outcome::Unknown));
        end.push(standing(4, AMY, evening, State::Confirmed, 1));
        end.push(standing(5, AMY, evening, State::Confirmed, 1));
    });
    found(&judgement, |v| matches!(v, Violation::Uncaused(_)));
    let judgement = judged(|_, end| end[1].revision = 3);
    found(&judgement, |v| matches!(v, Violation::Repeated { changes: 2, .. }));
}

#[test]
fn a_repetition_with_another_answer_is_found() {
    let judgement = judged(|history, _| history.attempts[1].outcome = done(6, 1));
    found(&judgement, |v| matches!(v, Violation::AnswersDiffer { .. }));
    let judgement = judged(|history, _| history.attempts[1].outcome = Outcome::Refused(Refused::SeatTaken));
    found(&judgement, |v| matches!(v, Violation::AnswersDiffer { .. }));
}

#[test]
fn an_answer_given_to_two_requests_is_found() {
    let judgement = judged(|history, _| history.attempts[6].outcome = done(8, 2));
    found(&judgement, |v| matches!(v, Violation::OneEffectForTwo(..)));
    found(&judgement, |v| matches!(v, Violation::OneEntryForTwo(..)));
}

#[test]
fn a_stale_read_is_found() {
    let judgement = judged(|history, _| history.looks.push(look((31, 35), &[MORNING])));
    found(&judgement, |v| matches!(v, Violation::NotLinearizable { .. }));
    let judgement = judged(|history, _| history.looks.push(look((0, 3), &[NOON])));
    found(&judgement, |v| matches!(v, Violation::NotLinearizable { .. }));
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    let evening = Command::Reserve { interval: Interval { start: 1080, end: 1140 } };
    let judgement = judged(|history, _| {
        history.attempts.push(attempt(9, AMY, evening, (71, 75), Outcome::Refused(Refused::SeatTaken)));
    });
    found(&judgement, |v| matches!(v, Violation::NotLinearizable { .. }));
}

#[test]
fn two_holders_of_one_seat_are_found_in_the_order_of_the_log() {
    let judgement = judged(|history, _| history.attempts[6].outcome = done(7, 3));
    found(&judgement, |v| matches!(v, Violation::DoublyBooked(..)));
    found(&judgement, |v| matches!(v, Violation::AgainstTime { .. }));
}

#[test]
fn a_stale_list_is_found() {
    let judgement = judged(|history, _| history.listings[0].standing.truncate(1));
    found(&judgement, |v| matches!(v, Violation::StaleList { .. }));
    let judgement = judged(|history, _| history.listings[0].standing[0].state = State::Confirmed);
    found(&judgement, |v| matches!(v, Violation::StaleList { .. }));
}

#[test]
fn a_call_that_was_never_answered_may_take_effect_at_any_time_or_never() {
    for happened in [true, false] {
        let reserve = Command::Reserve { interval: MORNING };
        let attempts = vec![attempt(0, AMY, reserve, (0, 10), Outcome::Unknown)];
        let looks = if happened {
            vec![look((20, 21), &[]), look((30, 31), &[MORNING])]
        } else {
            vec![look((20, 21), &[]), look((30, 31), &[])]
        };
        let end = happened.then(|| standing(1, AMY, MORNING, State::Confirmed, 1));
        let history = History { attempts, looks, listings: Vec::new() };
        let judgement = judge(&history, end.as_slice());
        assert!(judgement.is_sound(), "{judgement:#?}");
    }
    let attempts = vec![attempt(0, AMY, Command::Reserve { interval: MORNING }, (0, 10), Outcome::Unknown)];
    let looks = vec![look((20, 21), &[MORNING]), look((30, 31), &[])];
    let history = History { attempts, looks, listings: Vec::new() };
    let judgement = judge(&history, &[standing(1, AMY, MORNING, State::Confirmed, 1)]);
    found(&judgement, |v| matches!(v, Violation::NotLinearizable { .. }));
}

/// Calls on one seat, one after the other in the log, each seen for a while around its moment.
fn generated(steps: &[(u8, u64, u64, bool)]) -> (History, Vec<Standing>) {
    let slots = [MORNING, NOON, Interval { start: 840, end: 900 }];
    let mut history = History::default();
    let mut end: BTreeMap<u64, Standing> = BTreeMap::new();
    for (number, &(kind, before, after, known)) in steps.iter().enumerate() {
        let (number, moment) = (number as u64, 1000 + number as u64 * 10);
        let span = (moment - before, moment + after);
        let slot = slots[usize::from(kind % 3)];
        let held = end.values_mut().find(|standing| standing.interval == slot && standing.state.is_live());
        // Everybody is somebody else, so that only the seat refuses.
        let person = Person(u32::try_from(number).expect("few steps"));
        match (kind / 3, held) {
            (0, Some(_)) => {
                let refused = if known { Outcome::Refused(Refused::SeatTaken) } else { Outcome::Unknown };
                history.attempts.push(attempt(number, person, Command::Reserve { interval: slot }, span, refused));
            }
            (0, None) => {
                let outcome = if known { done(number, number) } else { Outcome::Unknown };
                history.attempts.push(attempt(number, person, Command::Reserve { interval: slot }, span, outcome));
                end.insert(number, standing(number, person, slot, State::Confirmed, 1));
            }
            (1, Some(held)) => {
                let outcome = if known { done(number, held.claim.0) } else { Outcome::Unknown };
                let command = Command::Cancel { claim: held.claim };
                history.attempts.push(attempt(number, held.person, command, span, outcome));
                (held.state, held.revision) = (State::Cancelled, 2);
            }
            _ => {
                let live = end.values().filter(|standing| standing.state.is_live());
                let mut taken: Vec<Interval> = live.map(|standing| standing.interval).collect();
                taken.sort_unstable();
                history.looks.push(look(span, &taken));
            }
        }
    }
    (history, end.into_values().collect())
}

proptest! {
    #[test]
    fn whatever_one_seat_in_one_order_answers_is_sound(
        steps in prop::collection::vec((0..9_u8, 0..25_u64, 0..25_u64, prop::bool::weighted(0.9)), 1..60),
    ) {
        let (history, end) = generated(&steps);
        let judgement = judge(&history, &end);
        prop_assert!(judgement.is_sound(), "{judgement:#?}");
    }

    #[test]
    fn a_look_that_no_moment_of_its_span_explains_is_found(
        steps in prop::collection::vec((0..9_u8, 0..4_u64, 0..4_u64, Just(true)), 1..60),
        which in any::<prop::sample::Index>(),
        slot in 0..3_usize,
    ) {
        // The spans do not overlap here, so that each look has one right answer.
        let (mut history, end) = generated(&steps);
        prop_assume!(!history.looks.is_empty());
        let look = which.get(&history.looks).clone();
        let position = history.looks.iter().position(|other| *other == look).expect("it is one of them");
        let slot = [MORNING, NOON, Interval { start: 840, end: 900 }][slot];
        let taken = &mut history.looks[position].taken;
        match taken.iter().position(|other| *other == slot) {
            Some(index) => drop(taken.remove(index)),
            None => { taken.push(slot); taken.sort_unstable(); }
        }
        prop_assert!(!judge(&history, &end).is_sound());
    }
}
