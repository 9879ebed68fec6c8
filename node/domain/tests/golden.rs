//! Bytes that were written once must be read for ever, and written alike: every request and answer that may lie in
//! somebody's log, and a whole snapshot, in format versions 2 and 3. (Version 1 was never released.)
//!
//! `tests/golden/` holds one line per message, its name and its bytes in hex. `UPDATE_GOLDEN=1` writes the files anew:
//! before the first release, or beside the old ones when the version grows; never to make a red test green.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use carrel_domain::account::{PasswordHash, Role, RoleName};
use carrel_domain::calendar::Day;
use carrel_domain::claim::StateName;
use carrel_domain::format::{SnapshotReader, decode, encode_at, snapshot};
use carrel_domain::history::PseudonymSecret;
use carrel_domain::id::{
    AreaId, BranchId, ClaimId, Position, RequestId, SeatId, TokenDigest, UserId, WaitId, WebhookId,
};
use carrel_domain::inbox::Stream;
use carrel_domain::invariants;
use carrel_domain::mail::{MailCode, MailMark, MailSent, MailWishes};
use carrel_domain::presence::{PresenceSecret, Proof};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, Reply};
use carrel_domain::request::{
    Action, ActionName, At, Audience, Behalf, Caller, Closing, GroupSeat, Need, Place, Request, RetryKey, SeatName,
    Wish,
};
use carrel_domain::state::State;
use carrel_domain::text::{MailAddress, MessageText, UserName, WebhookUrl};
use carrel_domain::time::{DAY_US, Date, Interval, MINUTE_US, SECOND_US, Timestamp};
use carrel_domain::webhook::{WebhookMark, WebhookSecret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use library::{BERLIN, slug, title};

mod library;

#[test]
fn requests_are_read_and_written_as_ever() {
    let (new, old): (Vec<_>, Vec<_>) = requests().into_iter().partition(|(_, request)| request.action.level() > 0);
    compare(0, "requests.txt", &old);
    compare(1, "requests-3.txt", &new);
}

#[test]
fn answers_are_read_and_written_as_ever() {
    compare(0, "answers.txt", &answers());
}

#[test]
fn a_snapshot_is_read_and_written_as_ever() {
    let path = path("snapshot.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, hex(&with_something_let_go(small_library().0))).expect("golden files can be written");
    }
    let written = unhex(std::fs::read_to_string(&path).expect("a golden file").trim());
    let state = read_whole(&written);
    assert_eq!(state.let_go_up_to(UserId(2)), LET_GO);
    let bytes: Vec<u8> = snapshot(state).flatten().collect();
    assert_eq!(hex(&bytes), hex(&written));
}

/// The same library, after some of its claims have become history.
#[test]
fn a_snapshot_without_all_claims_is_read_and_written_as_ever() {
    let path = path("snapshot-3.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut state = read_whole(&small_library().0);
        for (index, action) in [
            Action::Projected { through: 0 },
            Action::SetPseudonymKey { secret: PseudonymSecret([6; 32]) },
            Action::LetGo { recorded: 900, before: Timestamp::MAX, claims: (0..9).map(ClaimId).collect() },
        ]
        .into_iter()
        .enumerate()
        {
            let at = At { index: 900 + index as u64, time: state.at().time.plus_us(index as i64 * 31 * MINUTE_US) };
            state.apply(at, &Request::system(action));
        }
        let written: Vec<u8> = snapshot(state).flatten().collect();
        std::fs::write(&path, hex(&written)).expect("golden files can be written");
    }
    let written = unhex(std::fs::read_to_string(&path).expect("a golden file").trim());
    let state = read_whole(&written);
    assert!(state.history().count() > 0 && state.is_let_go(ClaimId(1)));
    assert_eq!(state.history().pseudonym_secret(), Some(&PseudonymSecret([6; 32])));
    let bytes: Vec<u8> = snapshot(state).flatten().collect();
    assert_eq!(hex(&bytes), hex(&written));
}

/// What was written before there were audiences, calendars, an audit and seats that rest.
#[test]
fn a_snapshot_of_before_is_read() {
    let written = unhex(std::fs::read_to_string(path("snapshot-before-audiences.txt")).expect("a golden file").trim());
    let state = read_whole(&written);
    let amy = UserName::new("amy").expect("a name");
    assert!(state.find_user(&amy).is_some());
    let bytes: Vec<u8> = snapshot(state).flatten().collect();
    assert_eq!(hex(&bytes), hex(&written));
}

fn read_whole(written: &[u8]) -> State {
    let mut reader = SnapshotReader::default();
    reader.read(written).expect("what was written once");
    let state = reader.finish().expect("what was written once");
    assert_eq!(invariants::check(&state), vec![]);
    state
}

/// Before Ben's first item.
const LET_GO: Position = Position { index: 9, ordinal: 0 };

/// A stream lets go of its first item with its thousandth, which is too much for a golden file: so the part is added by
/// hand, in front of the end.
fn with_something_let_go(mut small: Vec<u8>) -> Vec<u8> {
    let end = small.pop().expect("a snapshot has an end");
    small.push(end - 2);
    small.extend(postcard::to_stdvec(&(Stream::User(UserId(2)), LET_GO)).expect("memory"));
    small.push(end);
    snapshot(read_whole(&small)).flatten().collect()
}

fn compare<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    level: u32,
    file: &str,
    messages: &[(String, T)],
) {
    let encode = |message: &T| encode_at(level, message);
    let path = path(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut lines = String::new();
        for (name, message) in messages {
            let _ = writeln!(lines, "{name} {}", hex(&encode(message)));
        }
        std::fs::write(&path, lines).expect("golden files can be written");
    }
    let written = std::fs::read_to_string(&path).expect("a golden file");
    let written: BTreeMap<&str, &str> = written.lines().filter_map(|line| line.split_once(' ')).collect();
    for (name, message) in messages {
        let bytes = written.get(name.as_str()).unwrap_or_else(|| panic!("{file} has no '{name}'"));
        assert_eq!(&decode::<T>(&unhex(bytes)).expect("what was written once"), message, "{name} is read otherwise");
        assert_eq!(&hex(&encode(message)), bytes, "{name} is written otherwise");
    }
    assert_eq!(written.len(), messages.len(), "{file} has something that nobody compares");
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect()
}

/// One of each kind.
fn requests() -> Vec<(String, Request)> {
    let token = TokenDigest([7; 16]);
    let retry = RetryKey { id: RequestId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), digest: 0xfeed_f00d_dead_beef };
    let actions = actions();
    let written: BTreeSet<ActionName> = actions.iter().map(Action::name).collect();
    assert!(ActionName::ALL.iter().all(|name| written.contains(name)), "a kind of request is missing: {written:?}");
    let request = |action: Action| {
        let kind = match &action {
            Action::SetRole { role: Role::Librarian(_), .. } => "-librarian",
            Action::JoinWaitlist { minutes: Some(_), .. } => "-flexible",
            Action::JoinWaitlist { need: Need { place: Place::Seat { .. }, .. }, .. } => "-seat",
            Action::JoinWaitlist { need: Need { place: Place::Area { .. }, .. }, .. } => "-area",
            Action::JoinWaitlist { need: Need { place: Place::Branch { .. }, .. }, .. } => "-branch",
            Action::Reserve { wish: Wish { behalf: Some(_), .. } } => "-for-somebody",
            Action::Announce { audience: Audience::Role(_), .. } => "-to-a-role",
            Action::SetCalendarFeed { token: None } | Action::SetMail { wanted: None, .. } => "-to-none",
            _ => "",
        };
        let (caller, retry) = match action.name() {
            ActionName::Tick
            | ActionName::FillCalendar
            | ActionName::CreateFirstAdmin
            | ActionName::SetPresenceKey
            | ActionName::Projected
            | ActionName::LetGo
            | ActionName::Sent
            | ActionName::SetPseudonymKey => (Caller::System, None),
            ActionName::Register => (Caller::Anonymous, Some(retry)),
            ActionName::StartSession => (Caller::Anonymous, None),
            _ => (Caller::Session(token), Some(retry)),
        };
        (kebab(action.name()) + kind, Request { caller, retry, action })
    };
    actions.into_iter().map(request).collect()
}

/// "CheckIn" is "check-in".
fn kebab(name: ActionName) -> String {
    let mut kebab = String::new();
    for c in format!("{name:?}").chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab
}

fn actions() -> Vec<Action> {
    let amy = UserName::new("amy").expect("a name");
    let password = PasswordHash(Arc::from("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"));
    let claim = ClaimId(300);
    let text = MessageText::new("see you at ten ☕").expect("a text");
    let (words, phc) = (text.clone(), password.clone());
    let address = MailAddress::new("amy@example.org").expect("an address");
    let wishes = MailWishes { notices: true, messages: false, announcements: true };
    let url = WebhookUrl::new("https://example.org/carrel").expect("an address");
    let sent = Position { index: 4_711, ordinal: 3 };
    let midnight = BERLIN.midnight(library::date(2026, 3, 9));
    let hours = |from: i64, to: i64| {
        let at = |hour: i64| midnight.plus_us(hour * 60 * MINUTE_US);
        Interval::new(at(from), at(to)).expect("in order")
    };
    let day = Day {
        date: Date(20_521),
        span: hours(0, 24),
        grid_origin: midnight,
        open: vec![hours(8, 12), hours(13, 20)],
        area_open: BTreeMap::from([(AreaId(2), vec![hours(0, 24)])]),
        meals: vec![hours(12, 13)],
    };
    let join = |place| Action::JoinWaitlist {
        need: Need { place, amenities: vec![title("power")], accessible: true },
        interval: hours(10, 12),
        minutes: None,
    };
    let main = || slug("main");
    let seat = || SeatName { branch: main(), seat: slug("a1") };
    let wish = || Wish::of_seat(seat(), hours(10, 12));
    let behalf = Behalf { person: amy.clone(), reason: title("no phone"), exempt: true };
    let reason = || title("broken lamp");
    let until = midnight.plus_us(7 * DAY_US);
    let proof = Some(Proof { seat: SeatId(3), shown_at: midnight, key_revision: 2 });
    vec![
        Action::Tick,
        Action::FillCalendar { branch: BranchId(1), hours_revision: 3, days: vec![day] },
        Action::CreateFirstAdmin { name: amy.clone(), password: password.clone() },
        Action::Register { name: amy.clone(), password: password.clone() },
        Action::StartSession { user: UserId(5), password, token: TokenDigest([9; 16]) },
        Action::EndSession,
        Action::DeleteUser { name: amy.clone() },
        Action::SetRole { name: amy.clone(), role: Role::Librarian(vec![main()]) },
        Action::SetRole { name: amy.clone(), role: Role::Kiosk },
        Action::ImportCatalog { draft: Box::new(library::draft()), expected_revision: Some(4) },
        Action::Reserve { wish: wish() },
        Action::Reserve { wish: Wish { behalf: Some(behalf), ..wish() } },
        Action::CheckIn { claim, proof },
        Action::CheckOut { claim },
        Action::Cancel { claim, reason: Some(reason()) },
        join(Place::Seat { branch: main(), seat: slug("a1") }),
        join(Place::Area { branch: main(), area: slug("night") }),
        join(Place::Branch { branch: main() }),
        Action::LeaveWaitlist { wait: WaitId(12) },
        Action::AcceptOffer { claim },
        Action::DeclineOffer { claim },
        Action::SendMessage { recipients: vec![amy.clone()], text: text.clone() },
        Action::Broadcast { text },
        Action::DeleteMessage { message: Position { index: 4711, ordinal: 2 } },
        Action::AdvanceReadCursor { up_to: Position { index: 4711, ordinal: u32::MAX } },
        Action::JoinWaitlist {
            need: Need { place: Place::Branch { branch: main() }, amenities: Vec::new(), accessible: false },
            interval: hours(10, 18),
            minutes: Some(60),
        },
        Action::Hold { wish: wish() },
        Action::Confirm { claim },
        Action::WalkIn { seat: seat(), end: until, person: Some(amy.clone()), proof },
        Action::StepAway { claim },
        Action::Extend { claim, end: until },
        Action::Reschedule { claim, seat: seat(), interval: hours(10, 12) },
        Action::ReserveGroup { seats: vec![GroupSeat { seat: seat(), person: amy.clone() }], interval: hours(10, 12) },
        Action::ReserveMany { wishes: vec![wish()] },
        Action::ReportEmptySeat { seat: seat() },
        Action::CloseSeats {
            place: Place::Area { branch: main(), area: slug("night") },
            interval: hours(10, 12),
            closing: Closing::Maintenance,
            reason: reason(),
        },
        Action::ReopenSeats { place: Place::Branch { branch: main() }, interval: hours(10, 12), reason: reason() },
        Action::Suspend { name: amy.clone(), until, reason: reason() },
        Action::Unsuspend { name: amy.clone(), reason: reason() },
        Action::WaiveStrike { name: amy.clone(), claim, reason: reason() },
        Action::SetAccessibility { name: amy.clone(), needs_accessible: true },
        Action::SetPresenceKey { secret: PresenceSecret([5; 32]) },
        Action::Projected { through: 4711 },
        Action::LetGo { recorded: 4711, before: midnight, claims: vec![claim, ClaimId(301), ClaimId(9_000)] },
        Action::SetPseudonymKey { secret: PseudonymSecret([6; 32]) },
        Action::Block { name: amy.clone() },
        Action::Unblock { name: amy },
        Action::ReportMessage { message: Position { index: 1_207, ordinal: 3 }, reason: reason() },
        Action::Announce { audience: Audience::Branch(main()), text: words.clone() },
        Action::Announce { audience: Audience::Role(RoleName::Auditor), text: words },
        Action::SetFollowed { branches: vec![main()] },
        Action::ChangePassword { old: phc.clone(), new: phc },
        Action::RevokeSession { session: TokenDigest([9; 16]) },
        Action::SetCalendarFeed { token: Some(TokenDigest([8; 16])) },
        Action::SetCalendarFeed { token: None },
        Action::SetMail { wanted: Some((address, wishes)), code: MailCode(0x0fed_cba9_8765_4321) },
        Action::SetMail { wanted: None, code: MailCode(1) },
        Action::ConfirmMail { code: MailCode(0x0fed_cba9_8765_4321) },
        Action::AddWebhook { webhook: WebhookId(7), url, secret: WebhookSecret([3; 32]) },
        Action::RotateWebhookSecret { webhook: WebhookId(7), secret: WebhookSecret([4; 32]) },
        Action::RemoveWebhook { webhook: WebhookId(7) },
        Action::Sent {
            mails: vec![
                MailMark { user: UserId(300), sent: MailSent::Code { asked: 4_711 } },
                MailMark { user: UserId(2), sent: MailSent::Through { position: sent, is_given_up: true } },
            ],
            webhooks: vec![WebhookMark { webhook: WebhookId(7), through: sent, given_up: 2 }],
        },
    ]
}

/// What a small library answered, and every refusal.
fn answers() -> Vec<(String, Answer)> {
    let at = At { index: 70_000, time: Timestamp(1_773_043_200_000_000) };
    let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
    for answer in small_library().1 {
        if let Ok(reply) = &answer.result {
            let name = match reply {
                Reply::Done => "done",
                Reply::User(_) => "user",
                Reply::Session { .. } => "session",
                Reply::Catalog(_) => "catalog",
                Reply::Claim(_) => "claim",
                Reply::Wait(_) => "wait",
                Reply::Message(_) => "message",
                Reply::Unread { .. } => "unread",
                Reply::Claims(_) => "claims",
                Reply::Closure(_) => "closure",
            };
            answers.entry(name.to_owned()).or_insert(answer);
        }
    }
    for refusal in refusals() {
        let debug = format!("{refusal:?}");
        let name = debug.split([' ', '{']).next().expect("a name").to_owned();
        answers.insert(format!("refused-{name}"), Answer { result: Err(refusal), at, replayed: true });
    }
    answers.into_iter().collect()
}

fn refusals() -> Vec<Refusal> {
    let at = Timestamp(1_773_043_200_000_000);
    use Refusal as R;
    vec![
        R::SessionExpired,
        R::NotPermitted,
        R::RequestIdReused,
        R::TooManyRequests,
        R::UserNameTaken,
        R::UserNotFound,
        R::PasswordChanged,
        R::LastAdmin,
        R::BranchNotFound,
        R::AreaNotFound,
        R::SeatNotFound,
        R::CatalogInvalid { fault_count: 812 },
        R::CatalogChanged { revision: 9 },
        R::CalendarOutdated,
        R::InThePast { earliest: at },
        R::TooFarAhead { window_days: 14 },
        R::Closed,
        R::CalendarPending,
        R::OffGrid { grid_minutes: 30 },
        R::TooShort { min_minutes: 30 },
        R::TooLong { max_minutes: 240 },
        R::Suspended { until: at },
        R::OwnOverlap { claim: ClaimId(300) },
        R::TooManyReservations { max: 3 },
        R::TooManyMinutes { max_per_day: 360, left: 60 },
        R::SeatTaken,
        R::ReservationNotFound,
        R::StateConflict { state: StateName::Completed },
        R::CheckInTooEarly { opens_at: at },
        R::GraceElapsed,
        R::OfferExpired,
        R::WaitNotFound,
        R::WaitIsOver,
        R::TooManyWaits { max: 10 },
        R::AlreadyWaiting,
        R::RecipientNotFound { position: 1 },
        R::MessageNotFound,
        R::TooSoon { notice_minutes: 60 },
        R::TooManyMinutesInWeek { max_per_week: 900, left: 30 },
        R::TooManyOnDay { max: 2 },
        R::TooManyInWeek { max: 7 },
        R::TooManyFuture { max: 4 },
        R::HoldExists { claim: ClaimId(300) },
        R::KeptAccessible { until: at },
        R::SeatNotOccupied,
        R::TooManyAtOnce { max: 8 },
        R::MemberUnavailable { position: 2 },
        R::GroupSeatTaken { position: 1 },
        R::HoldExpired,
        R::PresenceNotProven,
        R::TooLateToChange { minutes: 60 },
        R::TooManyReports { max: 3 },
        R::StrikeNotFound,
        R::SuspensionInvalid { max_days: 365 },
        R::TooFlexible { max_starts: 48 },
        R::TooManyBlocks { max: 200 },
        R::SessionNotFound,
        R::AddressNotProven,
        R::WebhookNotFound,
        R::TooManyWebhooks { max: 16 },
        R::ReasonMissing,
    ]
}

/// The snapshot of a library in which a little of everything has happened, and what was answered meanwhile.
fn small_library() -> (Vec<u8>, Vec<Answer>) {
    let mut state = State::default();
    let mut answers = Vec::new();
    let mut time = BERLIN.instant(library::date(2026, 3, 9), 9 * 60).expect("an ordinary morning");
    let mut index = 0;
    let mut apply = |request: Request| {
        index += 1;
        time = time.plus_us(SECOND_US);
        let applied = state.apply(At { index, time }, &request);
        answers.push(applied.reply);
        state.clone()
    };
    let name = |who: &str| UserName::new(who).expect("a name");
    let password = PasswordHash(Arc::from("hash"));
    let anonymous = |action| Request { caller: Caller::Anonymous, retry: None, action };
    apply(Request::system(Action::ImportCatalog { draft: Box::new(library::draft()), expected_revision: None }));
    let view = apply(Request::system(Action::CreateFirstAdmin { name: name("ada"), password: password.clone() }));
    for (branch, _) in view.catalog().branches() {
        // A week is enough for a golden file.
        let mut fill = library::fill(&view, branch).expect("nothing is filled yet");
        if let Action::FillCalendar { days, .. } = &mut fill.action {
            days.drain(..8);
            days.truncate(7);
        }
        apply(fill);
    }
    for (index, who) in ["amy", "ben", "cat"].into_iter().enumerate() {
        let retry = RetryKey { id: RequestId(index as u128), digest: 1 };
        let register = Action::Register { name: name(who), password: password.clone() };
        apply(Request { retry: Some(retry), ..anonymous(register) });
    }
    let token = |user: u8| TokenDigest([user; 16]);
    for user in 0..4u8 {
        let password = password.clone();
        apply(anonymous(Action::StartSession { user: UserId(u64::from(user)), password, token: token(user) }));
    }
    let at = |hour: i64| BERLIN.instant(library::date(2026, 3, 9), hour * 60).expect("an ordinary hour");
    let interval = |from, to| Interval::new(at(from), at(to)).expect("in order");
    let seat_name = |seat: &str| SeatName { branch: slug("main"), seat: slug(seat) };
    let reserve = |seat: &str, from, to| Action::Reserve { wish: Wish::of_seat(seat_name(seat), interval(from, to)) };
    let wait = |place, from, to| Action::JoinWaitlist {
        need: Need { place, amenities: Vec::new(), accessible: false },
        interval: interval(from, to),
        minutes: None,
    };
    let (ada, amy, ben, cat) = (0, 1, 2, 3);
    let letter = MessageText::new("hello").expect("a text");
    let words = letter.clone();
    let script = [
        (amy, reserve("a1", 10, 12)),
        (ben, reserve("a1", 10, 12)),
        (ben, wait(Place::Seat { branch: slug("main"), seat: slug("a1") }, 10, 12)),
        (ben, wait(Place::Branch { branch: slug("annex") }, 14, 15)),
        (cat, reserve("a2", 10, 12)),
        (cat, reserve("n1", 9, 10)),
        (cat, Action::CheckIn { claim: ClaimId(4), proof: None }),
        (amy, Action::Cancel { claim: ClaimId(1), reason: None }),
        (amy, wait(Place::Area { branch: slug("main"), area: slug("night") }, 10, 11)),
        (ben, Action::AcceptOffer { claim: ClaimId(5) }),
        (ben, Action::SendMessage { recipients: vec![name("amy"), name("cat")], text: letter.clone() }),
        (ada, Action::Broadcast { text: letter }),
        (amy, Action::AdvanceReadCursor { up_to: Position { index: 21, ordinal: 9 } }),
        (ada, Action::SetRole { name: name("amy"), role: Role::Librarian(vec![slug("main"), slug("annex")]) }),
        (cat, Action::CheckOut { claim: ClaimId(4) }),
        (cat, Action::DeleteUser { name: name("cat") }),
        (amy, Action::LeaveWaitlist { wait: WaitId(1) }),
        (amy, Action::ReserveMany { wishes: vec![Wish::of_seat(seat_name("n2"), interval(13, 14))] }),
        (
            ada,
            Action::CloseSeats {
                place: Place::Seat { branch: slug("main"), seat: slug("n1") },
                interval: interval(10, 12),
                closing: Closing::Maintenance,
                reason: title("lamp"),
            },
        ),
        (ada, Action::SetPresenceKey { secret: PresenceSecret([5; 32]) }),
        (ada, Action::Announce { audience: Audience::Branch(slug("main")), text: words }),
        (ben, Action::SetCalendarFeed { token: Some(TokenDigest([8; 16])) }),
    ];
    for (index, (user, action)) in script.into_iter().enumerate() {
        let retry = (index % 4 != 3).then_some(RetryKey { id: RequestId(100 + index as u128), digest: index as u64 });
        apply(Request { caller: Caller::Session(token(user)), retry, action });
    }
    let view = apply(Request { caller: Caller::Session(token(ben)), retry: None, action: Action::EndSession });
    (snapshot(view).flatten().collect(), answers)
}
