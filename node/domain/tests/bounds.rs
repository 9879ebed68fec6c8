//! What one person can make the state keep, and that nothing goes missing from it without a word.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::format::{SnapshotReader, snapshot};
use carrel_domain::id::{Position, RequestId, TokenDigest, UserId};
use carrel_domain::inbox::ITEMS_PER_STREAM_MAX;
use carrel_domain::invariants;
use carrel_domain::query::{ItemSubject, ItemView};
use carrel_domain::record::{RECORD_US, RECORDS_PER_USER_MAX};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, At, Caller, Request, RetryKey};
use carrel_domain::state::State;
use carrel_domain::text::{MessageText, Title, UserName};
use carrel_domain::time::{DAY_US, SECOND_US, Timestamp};

const AMY: UserId = UserId(1);
const BEN: UserId = UserId(2);
const CAT: UserId = UserId(3);
const ADMIN: TokenDigest = TokenDigest([9; 16]);

struct House {
    state: State,
    time: Timestamp,
}

impl House {
    /// With an admin and Amy and Ben, who are logged in.
    fn open() -> Self {
        let mut house = Self { state: State::default(), time: Timestamp(1_800_000_000_000_000) };
        let password = PasswordHash(Arc::from("hash"));
        let name = UserName::new("admin").expect("a name");
        house.apply(&Request::system(Action::CreateFirstAdmin { name, password: password.clone() }));
        for (who, user) in [("amy", AMY), ("ben", BEN), ("cat", CAT)] {
            let name = UserName::new(who).expect("a name");
            house.anonymous(Action::Register { name, password: password.clone() });
            house.anonymous(Action::StartSession { user, password: password.clone(), token: token(user) });
        }
        house
    }

    fn apply(&mut self, request: &Request) -> Answer {
        self.time = self.time.plus_us(1);
        self.state.apply(At { index: self.state.at().index + 1, time: self.time }, request).reply
    }

    fn anonymous(&mut self, action: Action) {
        let answer = self.apply(&Request { caller: Caller::Anonymous, retry: None, action });
        assert!(answer.result.is_ok(), "{answer:?}");
    }

    /// Something that changes little, under this id.
    fn read_nothing(&mut self, user: UserId, id: usize) -> Answer {
        let action = Action::AdvanceReadCursor { up_to: Position::default() };
        let retry = Some(RetryKey { id: RequestId(id as u128), digest: 1 });
        self.apply(&Request { caller: Caller::Session(token(user)), retry, action })
    }

    fn writes_to_amy(&mut self, user: UserId, text: &str) -> Answer {
        let recipients = vec![UserName::new("amy").expect("a name")];
        let action = Action::SendMessage { recipients, text: MessageText::new(text).expect("a text") };
        self.apply(&Request { caller: Caller::Session(token(user)), retry: None, action })
    }

    fn write_to_amy(&mut self, text: &str) -> Position {
        let answer = self.writes_to_amy(BEN, text);
        assert!(answer.result.is_ok(), "{answer:?}");
        Position { index: answer.at.index, ordinal: 0 }
    }

    /// In small steps: a gap in the log would be an outage.
    fn seconds_pass(&mut self, seconds: i64) {
        for _ in 0..seconds / 2 {
            self.time = self.time.plus_us(2 * SECOND_US);
            self.apply(&Request::system(Action::Tick));
        }
    }
}

fn token(user: UserId) -> TokenDigest {
    TokenDigest([user.0 as u8; 16])
}

fn restored(state: &State) -> State {
    let mut reader = SnapshotReader::default();
    for chunk in snapshot(state.clone()) {
        reader.read(&chunk).expect("what was just written");
    }
    reader.finish().expect("what was just written")
}

#[test]
fn the_records_of_one_account_are_bounded_and_the_young_ones_stay() {
    let mut house = House::open();
    for id in 0..RECORDS_PER_USER_MAX {
        assert!(house.read_nothing(AMY, id).result.is_ok(), "{id}");
    }
    assert_eq!(house.read_nothing(AMY, RECORDS_PER_USER_MAX).result, Err(Refusal::TooManyRequests));
    assert!(house.read_nothing(AMY, 0).replayed, "a retry is still free");
    assert!(house.read_nothing(BEN, 0).result.is_ok(), "it is nobody else's trouble");

    // Also after a restart from a snapshot.
    house.state = restored(&house.state);
    assert_eq!(house.read_nothing(AMY, RECORDS_PER_USER_MAX).result, Err(Refusal::TooManyRequests));
    assert!(house.read_nothing(AMY, 0).replayed);

    house.seconds_pass(RECORD_US / SECOND_US);
    let answer = house.read_nothing(AMY, RECORDS_PER_USER_MAX);
    assert!(answer.result.is_ok() && !answer.replayed, "the refusal was not recorded");
    assert_eq!(invariants::check(&house.state), vec![]);
}

#[test]
fn a_full_stream_remembers_what_it_let_go_of() {
    let mut house = House::open();
    let first = house.write_to_amy("0");
    for number in 1..ITEMS_PER_STREAM_MAX {
        house.write_to_amy(&number.to_string());
    }
    assert_eq!(house.state.let_go_up_to(AMY), Position::default());
    let second = Position { index: first.index + 1, ordinal: 0 };
    house.write_to_amy("one too many");
    assert_eq!(house.state.let_go_up_to(AMY), first);
    // Ben's copies are not in his inbox, so nothing is missing there.
    assert_eq!(house.state.let_go_up_to(BEN), Position::default());
    assert_eq!(house.state.let_go_up_to(UserId(0)), Position::default());

    // A stream with room again has let go of it all the same.
    let delete = Action::DeleteMessage { message: second };
    house.apply(&Request { caller: Caller::Session(token(AMY)), retry: None, action: delete });
    for state in [house.state.clone(), restored(&house.state)] {
        assert_eq!(state.let_go_up_to(AMY), first);
        assert_eq!(invariants::check(&state), vec![]);
    }

    let gone = Action::DeleteUser { name: UserName::new("amy").expect("a name") };
    house.apply(&Request { caller: Caller::Session(token(AMY)), retry: None, action: gone });
    assert_eq!(invariants::check(&house.state), vec![]);
}

#[test]
fn nobody_drives_out_what_the_library_and_others_have_said() {
    let mut house = House::open();
    let until = house.time.plus_us(DAY_US);
    let (name, reason) = (UserName::new("amy").expect("a name"), Title::new("loud").expect("a reason"));
    let password = PasswordHash(Arc::from("hash"));
    house.anonymous(Action::StartSession { user: UserId(0), password, token: ADMIN });
    let suspend = Action::Suspend { name, until, reason };
    assert!(house.apply(&Request { caller: Caller::Session(ADMIN), retry: None, action: suspend }).result.is_ok());
    assert!(house.writes_to_amy(CAT, "is this seat taken?").result.is_ok());
    for number in 0..ITEMS_PER_STREAM_MAX + 200 {
        house.write_to_amy(&number.to_string());
    }
    let items = house.state.inbox(AMY, Position::default(), ITEMS_PER_STREAM_MAX as usize + 1).items;
    assert_eq!(items.len(), ITEMS_PER_STREAM_MAX as usize);
    assert_eq!(items.iter().filter(|item| matches!(item.subject, ItemSubject::Suspended { .. })).count(), 1);
    let cat = UserName::new("cat").ok();
    let of_cat = |item: &&ItemView| matches!(&item.subject, ItemSubject::Message { sender, .. } if *sender == cat);
    assert_eq!(items.iter().filter(of_cat).count(), 1);
    assert_eq!(invariants::check(&house.state), vec![]);
}

#[test]
fn announcements_before_an_account_was_made_are_not_missing_from_it() {
    let mut house = House::open();
    let password = PasswordHash(Arc::from("hash"));
    house.anonymous(Action::StartSession { user: UserId(0), password: password.clone(), token: ADMIN });
    let aloud = |house: &mut House| {
        let action = Action::Broadcast { text: MessageText::new("we close at eight").expect("a text") };
        house.apply(&Request { caller: Caller::Session(ADMIN), retry: None, action });
    };
    for _ in 0..=ITEMS_PER_STREAM_MAX {
        aloud(&mut house);
    }
    let zoe = UserId(4);
    house.anonymous(Action::Register { name: UserName::new("zoe").expect("a name"), password });
    aloud(&mut house);
    assert!(house.state.let_go_up_to(AMY) > Position::default());
    assert_eq!(house.state.let_go_up_to(zoe), Position::default());
}
