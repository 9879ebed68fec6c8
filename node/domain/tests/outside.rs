//! Who is told by e-mail, and programs elsewhere: what is due, and what is noted as sent.

use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::format::{SnapshotReader, snapshot};
use carrel_domain::id::{ClaimId, Position, TokenDigest, UserId, WebhookId};
use carrel_domain::mail::{MailCode, MailContent, MailDue, MailSent, MailWishes};
use carrel_domain::query::ItemSubject;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::Reply;
use carrel_domain::request::{Action, Caller, Request, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::text::{MailAddress, MessageText, UserName, WebhookUrl};
use carrel_domain::time::{DAY_US, Interval, MINUTE_US};
use carrel_domain::webhook::{WEBHOOKS_MAX, WebhookContent, WebhookMark, WebhookSecret};

use library::house::House;
use library::{BERLIN, slug};

mod library;

const PEOPLE: [&str; 3] = ["ada", "amy", "ben"];
const ALL: MailWishes = MailWishes { notices: true, messages: true, announcements: true };

/// The first admin is Ada; the others are patrons.
fn user(who: &str) -> UserId {
    UserId(PEOPLE.iter().position(|name| *name == who).expect("one of them") as u64)
}

fn name(who: &str) -> UserName {
    UserName::new(who).expect("a name")
}

impl House {
    fn open() -> Self {
        let mut house = Self::empty();
        let password = PasswordHash(Arc::from("hash"));
        house.system(Action::CreateFirstAdmin { name: name("ada"), password: password.clone() });
        for who in PEOPLE {
            let anonymous = |action| Request { caller: Caller::Anonymous, retry: None, action };
            if who != "ada" {
                house.ask(anonymous(Action::Register { name: name(who), password: password.clone() })).expect("new");
            }
            let token = TokenDigest([user(who).0 as u8; 16]);
            let session = Action::StartSession { user: user(who), password: password.clone(), token };
            house.ask(anonymous(session)).expect("a session");
        }
        house
    }

    fn by(&mut self, who: &str, action: Action) -> Result<Reply, Refusal> {
        self.ask(Request { caller: Caller::Session(TokenDigest([user(who).0 as u8; 16])), retry: None, action })
    }

    fn wants_mail(&mut self, who: &str, wishes: MailWishes, code: u64) -> Result<Reply, Refusal> {
        let address = MailAddress::new(&format!("{who}@example.org")).expect("an address");
        self.by(who, Action::SetMail { wanted: Some((address, wishes)), code: MailCode(code) })
    }

    fn proven(&mut self, who: &str, wishes: MailWishes) {
        self.wants_mail(who, wishes, 7).expect("the first code");
        self.by(who, Action::ConfirmMail { code: MailCode(7) }).expect("the right code");
    }

    fn due(&self, who: &str) -> Option<MailDue> {
        self.state.mail_due(user(who), None)
    }

    /// As the leader does.
    fn sent(&mut self, who: &str) -> MailDue {
        let due = self.due(who).expect("something is due");
        self.system(Action::Sent { mails: vec![due.mark(user(who), false)], webhooks: vec![] });
        due
    }

    fn writes(&mut self, from: &str, to: &str, text: &str) {
        let text = MessageText::new(text).expect("a text");
        self.by(from, Action::SendMessage { recipients: vec![name(to)], text }).expect("a letter");
    }

    fn reads(&mut self, who: &str) {
        let up_to = Position::end_of(self.state.at().index);
        self.by(who, Action::AdvanceReadCursor { up_to }).expect("a reader");
    }

    fn reserves(&mut self, who: &str, seat: &str, hour: i64) -> ClaimId {
        let at = |hour| BERLIN.instant(library::date(2026, 3, 9), hour * 60).expect("an ordinary hour");
        let interval = Interval::new(at(hour), at(hour + 1)).expect("an hour");
        let wish = Wish::of_seat(SeatName { branch: slug("main"), seat: slug(seat) }, interval);
        match self.by(who, Action::Reserve { wish }) {
            Ok(Reply::Claim(view)) => view.claim.id,
            other => panic!("{other:?}"),
        }
    }
}

fn said_by(due: &MailDue) -> &'static str {
    match &due.what {
        MailContent::Code(_) => "a code",
        MailContent::Item(item) => match &item.subject {
            ItemSubject::Message { .. } => "a letter",
            ItemSubject::Announcement { .. } => "an announcement",
            ItemSubject::CancelledByStaff { .. } => "a cancellation",
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn an_address_gets_a_code_and_nothing_else_before_it_is_proven() {
    let mut house = House::open();
    house.wants_mail("amy", ALL, 7).expect("the first code");
    house.writes("ben", "amy", "hello");
    assert_eq!(said_by(&house.sent("amy")), "a code");
    assert_eq!(house.due("amy"), None, "the letter waits in the inbox");
    assert_eq!(house.by("amy", Action::ConfirmMail { code: MailCode(8) }), Err(Refusal::AddressNotProven));
    assert_eq!(house.by("ben", Action::ConfirmMail { code: MailCode(7) }), Err(Refusal::AddressNotProven));
    assert_eq!(house.wants_mail("amy", ALL, 9), Err(Refusal::TooManyRequests), "codes are rare");
    house.by("amy", Action::SetMail { wanted: None, code: MailCode(1) }).expect("no mail");
    assert_eq!(house.wants_mail("amy", ALL, 9), Err(Refusal::TooManyRequests), "and no way around that");
    house.time = house.time.plus_us(2 * MINUTE_US);
    house.wants_mail("amy", ALL, 9).expect("another code");
    house.time = house.time.plus_us(DAY_US);
    assert_eq!(house.by("amy", Action::ConfirmMail { code: MailCode(9) }), Err(Refusal::AddressNotProven), "too late");
    house.wants_mail("amy", ALL, 10).expect("another code");
    assert_eq!(said_by(&house.sent("amy")), "a code");
    house.by("amy", Action::ConfirmMail { code: MailCode(10) }).expect("the right code");
    house.by("amy", Action::ConfirmMail { code: MailCode(10) }).expect("said twice is said once");
    assert_eq!(house.due("amy"), None, "what came before is not sent");
    house.reads("amy");
    house.writes("ben", "amy", "hello again");
    assert_eq!(said_by(&house.sent("amy")), "a letter");
}

#[test]
fn each_thing_is_sent_once_it_is_noted_and_again_until_then() {
    let mut house = House::open();
    house.proven("amy", ALL);
    house.writes("ben", "amy", "hello");
    let first = house.due("amy").expect("a letter");
    house.writes("ben", "amy", "are you there?");
    assert_eq!(house.due("amy"), Some(first.clone()), "the same one, under the same id, whoever leads");
    let sent = first.mark(user("amy"), false).sent;
    assert_eq!(house.state.mail_due(user("amy"), Some(sent)), None, "one mail says that there are letters");
    house.by("ada", Action::Broadcast { text: MessageText::new("closed").expect("a text") }).expect("an admin");
    let next = house.state.mail_due(user("amy"), Some(sent)).expect("an announcement");
    assert_eq!(said_by(&next), "an announcement");
    // A mark that comes late takes nothing back, and one that comes twice counts once.
    house.system(Action::Sent { mails: vec![next.mark(user("amy"), true)], webhooks: vec![] });
    house.system(Action::Sent { mails: vec![next.mark(user("amy"), true)], webhooks: vec![] });
    house.system(Action::Sent { mails: vec![first.mark(user("amy"), false)], webhooks: vec![] });
    assert_eq!(house.due("amy"), None);
    assert_eq!(house.state.mail_of(user("amy")).expect("she wants mail").given_up_count, 1);
    house.reads("amy");
    house.writes("ben", "amy", "and now?");
    assert_eq!(said_by(&house.sent("amy")), "a letter", "she has read the others");
}

#[test]
fn people_are_told_what_they_asked_for_and_what_they_have_not_read() {
    let mut house = House::open();
    house.proven("amy", MailWishes { notices: true, ..MailWishes::default() });
    house.writes("ben", "amy", "hello");
    house.by("ada", Action::Broadcast { text: MessageText::new("closed").expect("a text") }).expect("an admin");
    assert_eq!(house.due("amy"), None);
    let claim = house.reserves("amy", "a1", 10);
    let reason = Some(library::title("repairs"));
    house.by("ada", Action::Cancel { claim, reason: reason.clone() }).expect("an admin");
    assert_eq!(said_by(&house.due("amy").expect("a notice")), "a cancellation");
    house.reads("amy");
    assert_eq!(house.due("amy"), None, "she knows");
    let claim = house.reserves("amy", "a1", 10);
    house.by("ada", Action::Cancel { claim, reason }).expect("an admin");
    house.by("amy", Action::DeleteUser { name: name("amy") }).expect("her own account");
    assert_eq!((house.due("amy"), house.state.mail_readers().count()), (None, 0), "nobody is left to be told");
}

#[test]
fn who_has_news_is_found_by_looking_at_what_is_new() {
    let mut house = House::open();
    house.proven("amy", ALL);
    let before = house.state.at().index;
    house.writes("ben", "amy", "hello");
    let with_news: Vec<_> = house.state.told_after(before).collect();
    assert_eq!(with_news, [Some(user("amy")), Some(user("ben"))]);
    assert_eq!(house.state.told_after(house.state.at().index).count(), 0);
    house.by("ada", Action::Broadcast { text: MessageText::new("closed").expect("a text") }).expect("an admin");
    assert_eq!(house.state.told_after(before).last(), Some(None), "an audience");
}

fn webhook(number: u128) -> Action {
    let url = WebhookUrl::new("https://example.org/carrel").expect("an address");
    Action::AddWebhook { webhook: WebhookId(number), url, secret: WebhookSecret([number as u8; 32]) }
}

#[test]
fn a_receiver_is_told_of_each_change_once_it_is_there() {
    let mut house = House::open();
    house.reserves("amy", "a1", 10);
    for who in ["amy", "ben"] {
        assert_eq!(house.by(who, webhook(1)), Err(Refusal::NotPermitted));
    }
    house.by("ada", webhook(1)).expect("an admin");
    let id = WebhookId(1);
    let next = |house: &House| {
        let through = house.state.webhook(id).expect("it is there").through;
        house.state.webhook_event_after(through)
    };
    assert!(next(&house).is_err(), "what was before is not told");
    let claim = house.reserves("ben", "a2", 10);
    let event = next(&house).expect("a reservation");
    match &event.what {
        WebhookContent::Claim { claim: told, before: None, seat, .. } => {
            assert_eq!((*told, seat.seat.as_str()), (claim, "a2"));
        }
        other => panic!("{other:?}"),
    }
    house.by("ben", Action::Cancel { claim, reason: None }).expect("his own");
    assert_eq!(next(&house), Ok(event.clone()), "until it is noted");
    let mark = WebhookMark { webhook: id, through: event.position, given_up: 0 };
    house.system(Action::Sent { mails: vec![], webhooks: vec![mark] });
    let second = next(&house).expect("the cancellation");
    assert!(second.position > event.position);
    house.system(Action::Sent { mails: vec![], webhooks: vec![mark] });
    assert_eq!(next(&house), Ok(second), "a late mark takes nothing back");
    let old = house.state.webhook(id).expect("it is there").secret.clone();
    let new = WebhookSecret([9; 32]);
    house.by("ada", Action::RotateWebhookSecret { webhook: id, secret: new.clone() }).expect("an admin");
    let rotated = house.state.webhook(id).expect("it is there").clone();
    assert_eq!(rotated.secrets(house.time).collect::<Vec<_>>(), [&new, &old]);
    assert_eq!(rotated.secrets(house.time.plus_us(DAY_US)).collect::<Vec<_>>(), [&new]);
    for number in 2..=u128::from(WEBHOOKS_MAX) {
        house.by("ada", webhook(number)).expect("room");
    }
    assert_eq!(house.by("ada", webhook(99)), Err(Refusal::TooManyWebhooks { max: WEBHOOKS_MAX }));
    house.by("ada", Action::RemoveWebhook { webhook: id }).expect("an admin");
    assert_eq!(house.by("ada", Action::RemoveWebhook { webhook: id }), Err(Refusal::WebhookNotFound));
}

#[test]
fn a_snapshot_forgets_nobody_who_is_to_be_told() {
    let mut house = House::open();
    house.proven("amy", ALL);
    house.wants_mail("ben", ALL, 11).expect("the first code");
    house.by("ada", webhook(1)).expect("an admin");
    house.writes("ben", "amy", "hello");
    house.reserves("ben", "a2", 10);
    let mut reader = SnapshotReader::default();
    for chunk in snapshot(house.state.clone()) {
        reader.read(&chunk).expect("a whole snapshot");
    }
    let restored = reader.finish().expect("a whole snapshot");
    for who in ["amy", "ben"] {
        assert_eq!(restored.mail_due(user(who), None), house.due(who));
    }
    assert_eq!(restored.mail_codes_due().collect::<Vec<_>>(), [user("ben")]);
    let through = house.state.webhook(WebhookId(1)).expect("it is there").through;
    assert_eq!(restored.webhook(WebhookId(1)), house.state.webhook(WebhookId(1)));
    assert_eq!(restored.webhook_event_after(through), house.state.webhook_event_after(through));
    let again = |state: State| snapshot(state).flatten().collect::<Vec<u8>>();
    assert_eq!(again(restored), again(house.state));
}

/// What an entry says of people and receivers that are not there changes nothing.
#[test]
fn marks_of_nobody_are_nothing() {
    let mut house = House::open();
    let stranger = carrel_domain::mail::MailMark { user: UserId(99), sent: MailSent::Code { asked: 1 } };
    let mark = WebhookMark { webhook: WebhookId(7), through: Position::end_of(1), given_up: 3 };
    house.system(Action::Sent { mails: vec![stranger], webhooks: vec![mark] });
    assert_eq!(house.by("ada", Action::Sent { mails: vec![], webhooks: vec![] }), Err(Refusal::NotPermitted));
    // Nor does it reach into the future.
    house.proven("amy", ALL);
    house.by("ada", webhook(7)).expect("an admin");
    let position = Position::end_of(u64::MAX);
    let mail =
        carrel_domain::mail::MailMark { user: user("amy"), sent: MailSent::Through { position, is_given_up: false } };
    let mark = WebhookMark { webhook: WebhookId(7), through: position, given_up: 0 };
    house.system(Action::Sent { mails: vec![mail], webhooks: vec![mark] });
    house.writes("ben", "amy", "hello");
    assert_eq!(said_by(&house.sent("amy")), "a letter");
    house.reserves("ben", "a2", 10);
    let through = house.state.webhook(WebhookId(7)).expect("it is there").through;
    assert!(house.state.webhook_event_after(through).is_ok());
}
