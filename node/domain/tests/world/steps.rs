//! What people might do next, drawn without looking at the library.

use carrel_domain::time::SECOND_US;
use proptest::prelude::*;

pub const NAMES: [&str; 5] = ["ada", "amy", "ben", "cat", "dan"];
pub const SEATS: [(&str, &str); 9] = [
    ("main", "a1"),
    ("main", "a2"),
    ("main", "a3"),
    ("main", "n1"),
    ("main", "n2"),
    ("annex", "x1"),
    ("annex", "x2"),
    ("main", "nowhere"),
    ("moon", "a1"),
];

#[derive(Clone, Debug)]
pub struct Step {
    pub gap: Gap,
    /// Who, on which of their two devices. On the first they log in again whenever they have to.
    pub by: (usize, u8),
    pub retry: Id,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Id {
    None,
    Fresh,
    /// One of a few that everybody uses.
    Common(u8),
}

#[derive(Clone, Debug)]
pub enum Gap {
    Nothing,
    Micros(i64),
    /// While all is well, with an entry every three seconds.
    Minutes(i64),
    /// Nothing at all for so long.
    OutageMinutes(i64),
}

#[derive(Clone, Debug)]
pub enum Act {
    Tick,
    /// All but the last so many entries are in the relational record.
    Projected(u64),
    /// Whatever is over for so many minutes, as far as the record has everything but the last so many entries.
    LetGo(i64, u64),
    DrawPseudonyms(u8),
    /// A request of before, exactly as it was.
    Again(usize),
    Register(usize),
    LogIn,
    LogOut,
    DeleteUser(usize),
    SetRole(usize, u8),
    Import(u8),
    /// For whom, if not for oneself; beyond the rules.
    Reserve(usize, Slot, Option<(usize, bool)>),
    Hold(u8, Slot),
    Confirm(u64),
    WalkIn(usize, i64, Option<usize>, u8),
    StepAway(u64),
    Extend(u64, i64),
    Reschedule(u64, usize, Slot),
    Group(Vec<(usize, usize)>, Slot),
    Many(Vec<(u8, Slot)>),
    Report(usize),
    Close(u8, Slot),
    Reopen(u8, Slot),
    Suspend(usize, i64),
    Unsuspend(usize),
    Waive(usize, u64),
    Accessibility(usize, bool),
    DrawKey(u8),
    /// With the code that the seat shows, one that it showed, or none.
    CheckIn(u64, u8),
    CheckOut(u64),
    Cancel(u64),
    /// How many half hours of it; none: all.
    Join(u8, bool, Slot, Option<u32>),
    Leave(u64),
    Accept(u64),
    Decline(u64),
    Send(Vec<usize>),
    Broadcast,
    DeleteMessage(usize),
    Read(u64),
    Block(usize),
    Unblock(usize),
    ReportMessage(usize),
    Announce(u8),
    Follow(u8),
    ChangePassword,
    Revoke(usize),
    Feed(u8),
    Mail(u8),
    ProveMail(u8),
    /// All but so many of what is due.
    Sent(usize, bool),
    Hook(u8),
}

/// Half hours from the slot now running on, or nonsense.
#[derive(Clone, Debug)]
pub enum Slot {
    Near { start: i64, halves: i64 },
    Days { days: i64, start: i64, halves: i64 },
    Raw(i64, i64),
}

pub fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        20 => (0..5i64, 1..9i64).prop_map(|(start, halves)| Slot::Near { start, halves }),
        3 => (-1..16i64, 0..48i64, 1..24i64).prop_map(|(days, start, halves)| Slot::Days { days, start, halves }),
        1 => (any::<i64>(), any::<i64>()).prop_map(|(start, end)| Slot::Raw(start, end)),
    ]
}

pub fn act() -> impl Strategy<Value = Act> {
    // Ids count back from the newest: most of what people do is about what has just happened.
    let recent = || prop_oneof![6 => Just(0), 4 => 0..4u64, 1 => any::<u64>()];
    let seat = || prop_oneof![3 => 0..4usize, 1 => 0..SEATS.len()];
    let place = || prop_oneof![2 => 9..12u8, 1 => 0..4u8, 1 => 0..9u8];
    prop_oneof![
        2 => Just(Act::Tick),
        1 => (0..30u64).prop_map(Act::Projected),
        2 => (0..90i64, 0..5u64).prop_map(|(minutes, back)| Act::LetGo(minutes, back)),
        1 => any::<u8>().prop_map(Act::DrawPseudonyms),
        6 => (0..8usize).prop_map(Act::Again),
        1 => (0..NAMES.len()).prop_map(Act::Register),
        1 => Just(Act::LogIn),
        1 => Just(Act::LogOut),
        1 => (0..NAMES.len()).prop_map(Act::DeleteUser),
        1 => (0..NAMES.len(), 0..6u8).prop_map(|(user, role)| Act::SetRole(user, role)),
        1 => (0..9u8).prop_map(Act::Import),
        14 => (seat(), slot(), prop::option::weighted(0.1, (0..NAMES.len(), any::<bool>()))).prop_map(|(seat, slot, behalf)| Act::Reserve(seat, slot, behalf)),
        5 => (place(), slot()).prop_map(|(place, slot)| Act::Hold(place, slot)),
        4 => recent().prop_map(Act::Confirm),
        4 => (seat(), 0..9i64, prop::option::weighted(0.2, 0..NAMES.len()), 0..4u8).prop_map(|(seat, halves, who, code)| Act::WalkIn(seat, halves, who, code)),
        4 => recent().prop_map(Act::StepAway),
        4 => (recent(), -1..6i64).prop_map(|(claim, halves)| Act::Extend(claim, halves)),
        5 => (recent(), seat(), slot()).prop_map(|(claim, seat, slot)| Act::Reschedule(claim, seat, slot)),
        3 => (proptest::collection::vec((seat(), 0..NAMES.len()), 0..4), slot()).prop_map(|(seats, slot)| Act::Group(seats, slot)),
        2 => proptest::collection::vec((place(), slot()), 0..4).prop_map(Act::Many),
        4 => seat().prop_map(Act::Report),
        3 => (place(), slot()).prop_map(|(place, slot)| Act::Close(place, slot)),
        2 => (place(), slot()).prop_map(|(place, slot)| Act::Reopen(place, slot)),
        1 => (0..NAMES.len(), -1..400i64).prop_map(|(who, days)| Act::Suspend(who, days)),
        1 => (0..NAMES.len()).prop_map(Act::Unsuspend),
        2 => (0..NAMES.len(), 0..4u64).prop_map(|(who, claim)| Act::Waive(who, claim)),
        1 => (0..NAMES.len(), any::<bool>()).prop_map(|(who, needs)| Act::Accessibility(who, needs)),
        1 => any::<u8>().prop_map(Act::DrawKey),
        8 => (recent(), 0..4u8).prop_map(|(claim, code)| Act::CheckIn(claim, code)),
        4 => recent().prop_map(Act::CheckOut),
        6 => recent().prop_map(Act::Cancel),
        12 => (place(), prop::bool::weighted(0.2), slot(), prop::option::weighted(0.4, 0..5u32)).prop_map(|(place, picky, slot, halves)| Act::Join(place, picky, slot, halves)),
        2 => recent().prop_map(Act::Leave),
        5 => recent().prop_map(Act::Accept),
        3 => recent().prop_map(Act::Decline),
        3 => proptest::collection::vec(0..NAMES.len(), 0..4).prop_map(Act::Send),
        1 => Just(Act::Broadcast),
        2 => (0..4usize).prop_map(Act::DeleteMessage),
        2 => prop_oneof![0..5u64, any::<u64>()].prop_map(Act::Read),
        1 => (0..NAMES.len()).prop_map(Act::Block),
        1 => (0..NAMES.len()).prop_map(Act::Unblock),
        2 => (0..3usize).prop_map(Act::ReportMessage),
        2 => (0..4u8).prop_map(Act::Announce),
        1 => (0..4u8).prop_map(Act::Follow),
        1 => Just(Act::ChangePassword),
        1 => (0..3usize).prop_map(Act::Revoke),
        1 => (0..4u8).prop_map(Act::Feed),
        1 => (0..12u8).prop_map(Act::Mail),
        1 => (0..3u8).prop_map(Act::ProveMail),
        2 => (0..3usize, any::<bool>()).prop_map(|(which, is_given_up)| Act::Sent(which, is_given_up)),
        4 => (0..12u8).prop_map(Act::Hook),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let gap = prop_oneof![
        30 => Just(Gap::Nothing),
        10 => (1..SECOND_US).prop_map(Gap::Micros),
        20 => (1..16i64).prop_map(Gap::Minutes),
        3 => (1..30i64).prop_map(Gap::OutageMinutes),
        1 => (30..20_000i64).prop_map(Gap::OutageMinutes),
    ];
    let retry = prop_oneof![2 => Just(Id::None), 6 => Just(Id::Fresh), 1 => (0..6u8).prop_map(Id::Common)];
    let by = (0..NAMES.len(), prop_oneof![4 => Just(0u8), 1 => Just(1)]);
    (gap, by, retry, act()).prop_map(|(gap, mut by, retry, act)| {
        if is_staffs(&act) {
            by.0 %= 2;
        }
        Step { gap, by, retry, act }
    })
}

/// Often the same person goes on: who steps away comes back.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((step(), any::<bool>()), 1..120).prop_map(|drawn| {
        let mut steps: Vec<Step> = Vec::with_capacity(drawn.len());
        for (mut step, goes_on) in drawn {
            if let Some(last) = steps.last().filter(|_| goes_on && !is_staffs(&step.act)) {
                step.by = last.by;
            }
            steps.push(step);
        }
        steps
    })
}

pub fn is_staffs(act: &Act) -> bool {
    matches!(
        act,
        Act::Import(_)
            | Act::SetRole(..)
            | Act::Broadcast
            | Act::Announce(_)
            | Act::Close(..)
            | Act::Reopen(..)
            | Act::Suspend(..)
            | Act::Unsuspend(_)
            | Act::Waive(..)
            | Act::Accessibility(..)
            | Act::DrawKey(_)
    )
}
