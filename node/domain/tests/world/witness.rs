//! What holds between one state and the next, and between deciding and explaining.

use std::collections::BTreeMap;

use carrel_domain::event::Change;
use carrel_domain::explain::Alternative;
use carrel_domain::id::{Position, RequestId, TokenDigest, UserId};
use carrel_domain::invariants::Ledger;
use carrel_domain::query::ClaimView;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, Applied, Reply};
use carrel_domain::request::{Action, At, Caller, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::Glob;
use carrel_domain::time::Interval;
use proptest::prelude::*;

use crate::world::{anonymous, wish};

#[derive(Default)]
pub struct Witness {
    pub ledger: Ledger,
    pub read_up_to: BTreeMap<UserId, Position>,
    pub first_answers: BTreeMap<(Option<UserId>, RequestId), Answer>,
}

impl Witness {
    pub fn watch(&mut self, applied: &Applied) -> Result<(), TestCaseError> {
        self.ledger.follow(&applied.events);
        for event in &applied.events {
            let Change::Claim { before, after: claim } = &event.change else { continue };
            match before {
                Some(before) => {
                    prop_assert!(before.state.is_blocking(), "I6: {before:?} became {claim:?}");
                    prop_assert_eq!(claim.revision, before.revision + 1);
                    prop_assert_eq!((before.holder, before.created_at), (claim.holder, claim.created_at));
                    if !claim.state.is_blocking() {
                        prop_assert_eq!((before.seat, before.interval), (claim.seat, claim.interval));
                    }
                }
                None => prop_assert_eq!(claim.revision, 1),
            }
        }
        Ok(())
    }

    /// I5: a repetition is answered as the first time; only what has been deleted since is not told again, nor a claim
    /// that was over long before the first time and has left the state.
    pub fn compare(
        &mut self,
        state: &State,
        user: Option<UserId>,
        retry: RetryKey,
        answer: &Answer,
    ) -> Result<(), TestCaseError> {
        if answer.replayed {
            let first = &self.first_answers[&(user, retry.id)];
            prop_assert_eq!(first.at, answer.at);
            let is_gone = match (&first.result, &answer.result) {
                (_, Err(Refusal::MessageNotFound)) => true,
                (Ok(Reply::Claim(ClaimView { claim, .. })), Err(Refusal::ReservationNotFound)) => {
                    claim.changed_at < first.at.time && state.is_let_go(claim.id)
                }
                _ => false,
            };
            if !is_gone {
                prop_assert_eq!(without_names(&first.result), without_names(&answer.result));
            }
        } else {
            self.first_answers.insert((user, retry.id), answer.clone());
        }
        Ok(())
    }
}

/// Deciding and explaining agree: what would be refused is explained with that refusal first, and every alternative
/// would be granted.
pub fn explained(state: &State, user: UserId, interval: Option<Interval>) -> Result<(), TestCaseError> {
    let Some(interval) = interval else { return Ok(()) };
    let caller = state.users(&Glob::new("*").expect("a glob"), None, usize::MAX).items;
    let caller = caller.into_iter().find(|view| view.id == user).expect("somebody with an account");
    let token = TokenDigest([0xee; 16]);
    let mut copy = state.clone();
    let at = At { index: state.at().index + 1, time: state.at().time };
    let credentials = state.credentials(&caller.name).expect("they have a password");
    copy.apply(at, &anonymous(Action::StartSession { user, password: credentials.password, token }));
    if copy.next_deadline().is_some_and(|due| due <= copy.at().time.plus_us(1)) {
        // What falls due before the request is decided may change the answer.
        return Ok(());
    }
    let ask = |wish: Wish| {
        copy.validate(&Request { caller: Caller::Session(token), retry: None, action: Action::Reserve { wish } }).result
    };
    for at in 0..12 {
        let wish = wish(at, interval);
        match (copy.explain(user, &wish), ask(wish.clone())) {
            (Ok(explanation), Ok(_)) => prop_assert_eq!(explanation.failing, vec![]),
            (Ok(explanation), Err(refusal)) => {
                let first = explanation.failing.first().copied();
                prop_assert!(first.is_some(), "{refusal:?} is not explained");
                // Of an area it is said what is wrong with its first seat.
                if at < 9 {
                    prop_assert_eq!(first, Some(refusal));
                }
                for Alternative { seat, interval, .. } in explanation.alternatives {
                    let seat = SeatName { branch: seat.branch, seat: seat.seat };
                    let granted = ask(Wish::of_seat(seat.clone(), interval));
                    prop_assert!(granted.is_ok(), "{seat:?} for {interval:?} instead: {granted:?}");
                }
            }
            (Err(refusal), outcome) => prop_assert_eq!(Err(refusal), outcome),
        }
    }
    Ok(())
}

/// Names of those who are gone are not told again.
pub fn without_names(result: &Result<Reply, Refusal>) -> Result<Reply, Refusal> {
    let mut result = result.clone();
    match &mut result {
        Ok(Reply::Claim(view)) => view.holder = None,
        Ok(Reply::Claims(views)) => views.iter_mut().flatten().for_each(|view| view.holder = None),
        Ok(Reply::Wait(view)) => view.user = None,
        Ok(Reply::Message(view)) => {
            view.sender = None;
            view.recipients.fill(None);
        }
        _ => {}
    }
    result
}
