//! Claims that are over leave the state once the record has them, and nothing that counts leaves with them.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::claim::StateName;
use carrel_domain::event::Change;
use carrel_domain::format::{MESSAGE_VERSION, SNAPSHOT_VERSION, SnapshotReader, encode_at, snapshot};
use carrel_domain::history::{LET_GO_MAX, PseudonymSecret};
use carrel_domain::id::{ClaimId, RequestId, TokenDigest, UserId};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, At, Caller, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use carrel_domain::time::{DAY_US, Interval, MINUTE_US, SECOND_US, Timestamp};

use library::house::House;
use library::slug;

mod library;

const AMY: TokenDigest = TokenDigest([1; 16]);
const BEN: TokenDigest = TokenDigest([2; 16]);

impl House {
    /// With Amy and Ben, and a record that has everything as soon as somebody says so.
    fn open() -> Self {
        let mut house = Self::empty();
        let password = PasswordHash(Arc::from("hash"));
        let name = |name| UserName::new(name).expect("a name");
        house.system(Action::CreateFirstAdmin { name: name("ada"), password: password.clone() });
        for (index, (who, token)) in [("amy", AMY), ("ben", BEN)].into_iter().enumerate() {
            let user = UserId(index as u64 + 1);
            for action in [
                Action::Register { name: name(who), password: password.clone() },
                Action::StartSession { user, password: password.clone(), token },
            ] {
                house.ask(Request { caller: Caller::Anonymous, retry: None, action }).expect("a newcomer");
            }
        }
        house
    }

    fn fill(&mut self) {
        let branches: Vec<_> = self.state.catalog().branches().map(|(id, _)| id).collect();
        for branch in branches {
            if let Some(fill) = library::fill(&self.state, branch) {
                self.ask(fill).expect("the cluster may");
            }
        }
    }

    /// Half an hour on a seat of the night room, so many half hours from now.
    fn reserve(&mut self, token: TokenDigest, seat: &str, halves: i64) -> ClaimId {
        let half = 30 * MINUTE_US;
        let start = Timestamp(self.time.0.div_euclid(half) * half + halves * half);
        let interval = Interval::new(start, start.plus_us(half)).expect("half an hour");
        let seat = SeatName { branch: slug("main"), seat: slug(seat) };
        let action = Action::Reserve { wish: Wish::of_seat(seat, interval) };
        match self.ask(Request { caller: Caller::Session(token), retry: None, action }) {
            Ok(Reply::Claim(view)) => view.claim.id,
            other => panic!("{other:?}"),
        }
    }

    fn cancel(&mut self, token: TokenDigest, claim: ClaimId) {
        let action = Action::Cancel { claim, reason: None };
        self.ask(Request { caller: Caller::Session(token), retry: None, action }).expect("it is theirs");
    }

    /// With the cluster at work, so that nobody is credited an outage.
    fn days_pass(&mut self, days: i64) {
        self.time = self.time.plus_us(days * DAY_US);
        self.system(Action::Tick);
        self.fill();
    }

    fn recorded(&mut self) -> u64 {
        let through = self.state.at().index;
        self.system(Action::Projected { through });
        through
    }

    /// What the record does not have yet.
    fn told(&self) -> Vec<Change> {
        let told = self.state.outbox().after(0).map(|told| told.expect("this release wrote it").events);
        told.flatten().map(|event| event.change).collect()
    }

    fn let_go(&mut self, recorded: u64, before: Timestamp) -> Vec<ClaimId> {
        let (claims, next) = self.state.may_let_go(recorded, before, ClaimId(0), 1_000);
        assert_eq!(next, None);
        let held = |state: &State, id: &ClaimId| state.claim(*id).is_some();
        let all: Vec<ClaimId> = (0..self.state.next_claim().0).map(ClaimId).collect();
        let before_it: Vec<_> = all.iter().copied().filter(|id| held(&self.state, id)).collect();
        // Whatever is named, no more goes than what may.
        self.system(Action::LetGo { recorded, before, claims: all });
        let gone: Vec<_> = before_it.into_iter().filter(|id| !held(&self.state, id)).collect();
        assert_eq!(gone, claims, "the leader names what may go");
        gone
    }
}

#[test]
fn nothing_leaves_before_the_record_has_it() {
    let mut house = House::open();
    let claim = house.reserve(AMY, "n1", 2);
    house.cancel(AMY, claim);
    house.days_pass(1);
    let refused =
        house.ask(Request::system(Action::LetGo { recorded: u64::MAX, before: house.time, claims: vec![claim] }));
    assert_eq!(refused, Err(Refusal::NotPermitted), "nobody keeps a record");

    house.system(Action::Projected { through: 0 });
    let begun = house.state.outbox().through().expect("somebody keeps one");
    let early =
        house.ask(Request::system(Action::LetGo { recorded: begun - 1, before: house.time, claims: vec![claim] }));
    assert_eq!(early, Err(Refusal::NotPermitted), "a record that has not begun with everything");

    let later = house.reserve(BEN, "n2", 2);
    house.cancel(BEN, later);
    house.days_pass(1);
    assert_eq!(house.let_go(begun, house.time), [claim], "what happened since is not there yet");
    let through = house.recorded();
    assert_eq!(house.let_go(through, house.time), [later]);
    assert_eq!(house.told(), [Change::ClaimsLetGo { count: 1 }]);
    assert_eq!(house.let_go(through, house.time), []);
    assert_eq!(house.told().len(), 1, "where nothing goes, nothing is told");
    assert_eq!(house.state.history().count(), 2);
    assert_eq!(house.state.history().through(), through);
    assert!(house.state.is_let_go(claim) && !house.state.is_let_go(house.state.next_claim()));
}

#[test]
fn who_ends_again_what_was_over_long_ago_may_be_told_that_it_is_gone() {
    let mut house = House::open();
    house.system(Action::Projected { through: 0 });
    let claim = house.reserve(AMY, "n1", 2);
    house.cancel(AMY, claim);
    house.days_pass(1);
    let through = house.recorded();
    let retry = Some(RetryKey { id: RequestId(7), digest: 7 });
    let again = Request { caller: Caller::Session(AMY), retry, action: Action::Cancel { claim, reason: None } };
    let first = house.ask(again.clone());
    assert!(matches!(first, Ok(Reply::Claim(_))), "it changes nothing, and is no error: {first:?}");
    assert_eq!(house.ask(again.clone()), first);
    assert_eq!(house.let_go(through, house.time), [claim]);
    assert_eq!(house.ask(again), Err(Refusal::ReservationNotFound), "the relational record alone has it");
}

#[test]
fn what_is_live_young_or_not_the_oldest_of_a_person_stays() {
    let mut house = House::open();
    house.system(Action::Projected { through: 0 });
    // Made first, and going on longest.
    let far = house.reserve(AMY, "n1", 400);
    let near = house.reserve(AMY, "n1", 3);
    let of_ben = house.reserve(BEN, "n2", 3);
    house.cancel(AMY, near);
    house.cancel(BEN, of_ben);
    house.days_pass(1);
    let through = house.recorded();
    assert_eq!(house.let_go(through, house.time.plus_us(-2 * DAY_US)), [], "younger than the retention");
    assert_eq!(house.let_go(through, house.time), [of_ben]);
    assert_eq!(house.state.newest_let_go(UserId(1)), None);
    assert_eq!(house.state.newest_let_go(UserId(2)), Some(of_ben));
    house.cancel(AMY, far);
    let young = house.recorded();
    assert_eq!(house.let_go(young, house.time), [], "a repeated request is still answered with it");
    house.days_pass(1);
    let through = house.recorded();
    assert_eq!(house.let_go(through, house.time), [far, near]);
    assert_eq!(house.state.newest_let_go(UserId(1)), Some(near));
    assert_eq!(house.state.reservations(UserId(1), |_| true, None, 10).items, []);
}

#[test]
fn a_claim_stays_for_as_long_as_its_strike_counts_and_takes_it_along() {
    let mut house = House::open();
    house.system(Action::Projected { through: 0 });
    let missed = house.reserve(AMY, "n1", 1);
    house.time = house.time.plus_us(46 * MINUTE_US);
    // Without an outage that would be credited.
    for _ in 0..1_400 {
        house.time = house.time.plus_us(SECOND_US);
        let at = At { index: house.state.at().index + 1, time: house.time };
        house.state.apply(at, &Request::system(Action::Tick));
    }
    assert_eq!(house.state.claim(missed).map(|claim| claim.state.name()), Some(StateName::NoShow));
    house.days_pass(30);
    let through = house.recorded();
    assert_eq!(house.let_go(through, house.time), [], "30 days count it, and the suspension lasts 7");
    let struck = |house: &House| house.state.every_strike().count();
    assert_eq!(struck(&house), 1);
    house.days_pass(8);
    let through = house.recorded();
    assert_eq!(house.let_go(through, house.time), [missed]);
    assert_eq!(struck(&house), 0);
}

#[test]
fn a_state_without_its_history_has_one_encoding_however_it_came_to_be() {
    let mut house = House::open();
    house.system(Action::Projected { through: 0 });
    let claims: Vec<_> = (0..40)
        .map(|_| {
            let claim = house.reserve(AMY, "n1", 2);
            house.cancel(AMY, claim);
            claim
        })
        .collect();
    // Ben does not come: that counts for a while.
    house.reserve(BEN, "n2", 2);
    house.days_pass(1);
    let bytes = |state: &State| snapshot(state.clone()).flatten().collect::<Vec<u8>>();
    let restored = |bytes: &[u8]| {
        let mut reader = SnapshotReader::default();
        reader.read(bytes).expect("what was written");
        reader.finish().expect("what was written")
    };
    assert_eq!(bytes(&house.state)[0], SNAPSHOT_VERSION - 1, "the release before could read it");
    let through = house.recorded();
    let mut other = restored(&bytes(&house.state));
    assert_eq!(house.let_go(through, house.time), claims);
    let at = house.state.at();
    let all = (0..house.state.next_claim().0).map(ClaimId).collect();
    other.apply(at, &Request::system(Action::LetGo { recorded: through, before: at.time, claims: all }));
    let written = bytes(&house.state);
    assert_eq!(written[0], SNAPSHOT_VERSION, "the release before says that it needs another");
    assert_eq!(bytes(&other), written);
    let mut third = restored(&written);
    assert_eq!(bytes(&third), written);
    assert_eq!(third.next_claim(), house.state.next_claim());
    // And they go on alike.
    let made = house.reserve(AMY, "n1", 2);
    assert_eq!(made.0, 42);
    let half = 30 * MINUTE_US;
    let start = Timestamp(at.time.0.div_euclid(half) * half + 2 * half);
    let interval = Interval::new(start, start.plus_us(half)).expect("half an hour");
    let seat = SeatName { branch: slug("main"), seat: slug("n1") };
    let action = Action::Reserve { wish: Wish::of_seat(seat, interval) };
    for state in [&mut other, &mut third] {
        state.apply(house.state.at(), &Request { caller: Caller::Session(AMY), retry: None, action: action.clone() });
        assert_eq!(bytes(state), bytes(&house.state));
    }
}

#[test]
fn the_first_key_of_pseudonyms_stays_and_is_told_of_once() {
    let mut house = House::open();
    house.system(Action::Projected { through: 0 });
    for byte in [6, 7] {
        house.system(Action::SetPseudonymKey { secret: PseudonymSecret([byte; 32]) });
    }
    assert_eq!(house.state.history().pseudonym_secret(), Some(&PseudonymSecret([6; 32])));
    assert_eq!(house.told(), [Change::PseudonymKeySet]);
}

#[test]
fn an_entry_is_bounded_and_says_which_release_it_needs() {
    let claims: Vec<_> = (0..LET_GO_MAX as u64).map(|id| ClaimId(id + (1 << 40))).collect();
    let new = Request::system(Action::LetGo { recorded: 1 << 40, before: Timestamp::MAX, claims });
    let encoded = encode_at(new.action.level(), &new);
    assert_eq!(encoded[0], MESSAGE_VERSION);
    assert!(encoded.len() < 16 << 10, "{}", encoded.len());
    let old = Request::system(Action::Tick);
    assert_eq!(encode_at(old.action.level(), &old)[0], MESSAGE_VERSION - 1);
}
