//! Whatever people do, in whatever order and at whatever time: the invariants hold, nothing panics, and a state from a
//! snapshot is the state.
//!
//! Steps are drawn without looking at the library; what they mean (which claim, which slot) is worked out when they are
//! taken. `PROPTEST_CASES` asks for more than the few that fit into everyday tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use carrel_domain::account::PasswordHash;
use carrel_domain::claim::StateName;
use carrel_domain::closure::CLOSED_CLAIMS_MAX;
use carrel_domain::event::{Change, Event};
use carrel_domain::format::{MESSAGE_VERSION, SnapshotReader, decode, encode, encode_at};
use carrel_domain::id::{ClaimId, Position, RequestId, TokenDigest};
use carrel_domain::invariants;
use carrel_domain::query::SeatSearch;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, Reply};
use carrel_domain::request::{Action, ActionName, Behalf, Caller, Closing, Place, Request, RetryKey, SeatName, Wish};
use carrel_domain::state::State;
use carrel_domain::tally::Tally;
use carrel_domain::text::{Glob, UserName};
use carrel_domain::time::{Interval, MINUTE_US, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use library::{slug, title};
use world::steps::{Gap, NAMES, SEATS, Slot, slot, step, steps};
use world::witness::{Witness, explained};
use world::{World, anonymous, bytes, name, seat_name, text, through_a_snapshot};

mod library;
mod world;

fn few(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // What fails becomes a story; nothing is written beside the tests.
    let failure_persistence = None;
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        max_shrink_iters: 20_000,
        failure_persistence,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(few(96))]

    #[test]
    fn invariants_hold_after_every_entry(change in 0..12u8, steps in steps()) {
        let mut world = World::open(change);
        let mut witness = Witness::default();
        let mut seen = 0;
        for step in &steps {
            let taken = world.take(step);
            for applied in &world.answers[seen..] {
                witness.watch(applied)?;
            }
            if let Some((_, _, applied)) = &taken {
                let passed_over = invariants::passed_over(&world.state, &applied.events);
                prop_assert!(passed_over.is_empty(), "after {:?}: {:#?}", taken, passed_over);
            }
            seen = world.answers.len();
            let untold = witness.ledger.differences(&world.state);
            prop_assert!(untold.is_empty(), "after {:?}: {:#?}", taken, untold);
            let violations = invariants::check(&world.state);
            prop_assert!(violations.is_empty(), "after {:?}: {:#?}", taken, violations);
            if let Some((Request { retry: Some(retry), .. }, owner, applied)) = &taken
                && !matches!(
                    applied.reply.result,
                    Err(Refusal::RequestIdReused | Refusal::SessionExpired | Refusal::TooManyRequests)
                )
            {
                witness.compare(&world.state, *owner, *retry, &applied.reply)?;
            }
            for (who, shown) in NAMES.iter().enumerate() {
                if let Some(user) = world.state.find_user(&name(who)) {
                    let before = witness.read_up_to.insert(user, world.state.read_up_to(user)).unwrap_or_default();
                    prop_assert!(before <= world.state.read_up_to(user), "I13: the cursor of {shown} went back");
                }
            }
        }
    }

    #[test]
    fn a_state_from_a_snapshot_is_the_state(
        change in 0..12u8,
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        pieces in proptest::collection::vec(1..3000usize, 1..5),
    ) {
        let mut world = World::open(change);
        for step in &steps {
            world.take(step);
        }
        let cut = cut.index(world.log.len() + 1);
        let mut replica = State::default();
        let (head, tail) = world.log.split_at(cut);
        for (at, request) in head {
            replica.apply(*at, request);
        }
        let mut restored = through_a_snapshot(&replica, &pieces);
        prop_assert_eq!(invariants::check(&restored), vec![]);
        prop_assert_eq!(bytes(&replica), bytes(&restored));
        for ((at, request), answer) in tail.iter().zip(&world.answers[cut..]) {
            prop_assert_eq!(replica.next_deadline(), restored.next_deadline());
            prop_assert_eq!(&replica.apply(*at, request), answer);
            prop_assert_eq!(&restored.apply(*at, request), answer);
        }
        prop_assert_eq!(bytes(&world.state), bytes(&replica));
        prop_assert_eq!(bytes(&world.state), bytes(&restored));
        for (_, request) in world.log.iter().take(200) {
            prop_assert_eq!(&decode::<Request>(&encode_at(request.action.level(), request)).expect("what was written"), request);
        }
        for answer in &world.answers {
            prop_assert_eq!(&decode::<Answer>(&encode(&answer.reply)).expect("what was written"), &answer.reply);
        }
    }

    #[test]
    fn reading_never_panics_and_pages_are_whole(
        change in 0..12u8,
        steps in proptest::collection::vec(step(), 1..40),
        slot in slot(),
        after in (any::<u64>(), any::<u32>()),
        extreme in any::<bool>(),
        limit in 0..9usize,
        glob in "[a-d*?]{0,3}",
    ) {
        let mut world = World::open(change);
        for step in &steps {
            world.take(step);
        }
        let state = &world.state;
        let after = if extreme { Position::end_of(u64::MAX) } else { Position { index: after.0 % 500, ordinal: after.1 } };
        let interval = world.interval(&slot);
        for (branch, seat) in SEATS {
            let seat = SeatName { branch: slug(branch), seat: slug(seat) };
            let _ = state.seat_timetable(&seat);
            let mut search = SeatSearch {
                branch: slug(branch),
                area: None,
                amenities: Vec::new(),
                accessible: false,
                interval,
                available_only: extreme,
                after: None,
                limit: usize::MAX,
            };
            let Ok(all) = state.search_seats(&search) else { continue };
            (search.limit, search.after) = (limit.max(1), None);
            let mut paged = Vec::new();
            loop {
                let page = state.search_seats(&search).expect("it was found before");
                search.after = page.items.last().map(|seat| seat.id);
                paged.extend(page.items);
                if !page.more {
                    break;
                }
            }
            prop_assert_eq!(paged, all.items);
        }
        let _ = state.branches();
        let glob = Glob::new(&glob).expect("a glob");
        let matching = state.users(&glob, None, usize::MAX).items;
        let names = state.users(&Glob::new("*").expect("a glob"), None, usize::MAX).items;
        prop_assert_eq!(&matching, &names.iter().filter(|user| glob.matches(&user.name)).cloned().collect::<Vec<_>>());
        if let Some(first) = matching.first() {
            prop_assert_eq!(&matching[1..], state.users(&glob, Some(&first.name), usize::MAX).items);
        }
        for user in names.iter().map(|user| user.id) {
            let all = state.inbox(user, Position::default(), usize::MAX).items;
            prop_assert!(all.is_sorted_by_key(|item| item.position));
            let later: Vec<_> = all.iter().filter(|item| item.position > after).cloned().collect();
            prop_assert_eq!(later, state.inbox(user, after, usize::MAX).items);
            let _ = state.messages(user, Some(user), after, limit);
            let claims = state.reservations(user, |_| true, None, usize::MAX).items;
            for (place, view) in claims.iter().enumerate() {
                let older = state.reservations(user, |_| true, Some(view.claim.id), usize::MAX).items;
                prop_assert_eq!(&claims[place + 1..], older);
            }
            let _ = state.reservations(user, |_| true, Some(ClaimId(u64::MAX)), limit);
            prop_assert_eq!(state.export(user).expect("somebody with an account").claims.len(), claims.len());
            for view in state.waits(user, None, usize::MAX).items {
                let places = state.place_in_line(view.wait.id);
                prop_assert!(places.is_none_or(|places| places.start() <= places.end()));
            }
            explained(state, user, interval)?;
            let _ = state.reservation(user, ClaimId(u64::MAX));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), versioned in any::<bool>()) {
        if versioned && let Some(first) = bytes.first_mut() {
            *first = MESSAGE_VERSION;
        }
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
        let mut reader = SnapshotReader::default();
        if reader.read(&bytes).is_ok() {
            prop_assert!(reader.finish().is_err(), "a snapshot has an end");
        }
    }

    /// What an entry holds was checked before it entered the log; `apply` does not rely on it.
    #[test]
    fn requests_of_any_content_are_answered(
        change in 0..12u8,
        steps in proptest::collection::vec(step(), 20..60),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..60),
        times in proptest::collection::vec(any::<i64>(), 0..3),
    ) {
        let mut world = World::open(change);
        for step in &steps {
            world.take(step);
        }
        let written: Vec<Vec<u8>> = world.log.iter().map(|(_, request)| encode(request)).collect();
        for (which, at, byte) in damages {
            let mut bytes = written[which.index(written.len())].clone();
            // Behind the version, the caller and the id.
            let at = at.index(bytes.len()).max(1);
            bytes[at] = byte;
            let Ok(request) = decode::<Request>(&bytes) else { continue };
            let by_somebody = request.caller != Caller::System;
            world.apply(world.now(), request);
            if by_somebody {
                prop_assert_eq!(invariants::check(&world.state), vec![]);
            }
        }
        // Time may jump anywhere, too.
        for time in times {
            world.apply(Timestamp(time), Request::system(Action::Tick));
        }
    }

    #[test]
    fn damaged_snapshots_are_refused_or_read(steps in proptest::collection::vec(step(), 1..20), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut world = World::open(u8::MAX);
        for step in &steps {
            world.take(step);
        }
        let mut written = bytes(&world.state);
        let at = at.index(written.len());
        written[at] ^= flip;
        let mut reader = SnapshotReader::default();
        if reader.read(&written).is_ok() {
            let _ = reader.finish();
        }
    }
}

/// A record that was written over leaves its place in the queue behind, which a snapshot does not have: old records
/// must be cleared alike with and without it, also while more are due than one entry clears.
#[test]
fn old_records_are_cleared_alike_after_a_snapshot() {
    let mut world = World::open(u8::MAX);
    let seat = SeatName { branch: slug("main"), seat: slug("nowhere") };
    let interval = world.interval(&Slot::Near { start: 0, halves: 1 }).expect("half an hour");
    let action = Action::Reserve { wish: Wish::of_seat(seat, interval) };
    let caller = Caller::Session(world.tokens[&(1, 0)]);
    let request = |id| {
        let retry = Some(RetryKey { id: RequestId(id), digest: 1 });
        Request { caller, retry, action: action.clone() }
    };
    for id in 0..1000 {
        world.apply(world.now(), request(id));
    }
    world.pass(&Gap::OutageMinutes(16));
    assert!(!world.apply(world.now(), request(700)).reply.replayed);
    let mut restored = through_a_snapshot(&world.state, &[4096]);
    for _ in 0..20 {
        world.apply(world.now(), Request::system(Action::Tick));
        let (at, request) = world.log.last().expect("applied above");
        restored.apply(*at, request);
        assert!(bytes(&world.state) == bytes(&restored), "replica and restored replica differ");
    }
}

/// One entry never ends more claims than can be ended quickly: closing is refused as a whole, and works in parts.
#[test]
fn closing_is_bounded() {
    let mut world = World::open(u8::MAX);
    let mut draft = library::draft();
    for policy in &mut draft.policies {
        (policy.rules.grid_minutes, policy.rules.min_minutes) = (1, 1);
    }
    world
        .apply(world.now(), Request::system(Action::ImportCatalog { draft: Box::new(draft), expected_revision: None }));
    world.fill_calendar();
    let caller = Caller::Session(world.tokens[&(0, 0)]);
    let by = |action| Request { caller, retry: None, action };
    let first = Timestamp(world.now().0.div_euclid(MINUTE_US) * MINUTE_US).plus_minutes(60);
    let minute = |number: u32| Interval::new(first.plus_minutes(number), first.plus_minutes(number + 1));
    let behalf = Some(Behalf { person: name(1), reason: title("a marathon"), exempt: true });
    for number in 0..=CLOSED_CLAIMS_MAX {
        let wish = Wish { behalf: behalf.clone(), ..Wish::of_seat(seat_name(3), minute(number).expect("a minute")) };
        let applied = world.apply(world.now(), by(Action::Reserve { wish }));
        assert!(applied.reply.result.is_ok(), "{:?}", applied.reply);
    }
    let place = || Place::Seat { branch: slug("main"), seat: slug("n1") };
    let close = |minutes| Action::CloseSeats {
        place: place(),
        interval: Interval::new(first, first.plus_minutes(minutes)).expect("in order"),
        closing: Closing::Closure,
        reason: title("flood"),
    };
    let applied = world.apply(world.now(), by(close(CLOSED_CLAIMS_MAX + 1)));
    assert_eq!(applied.reply.result, Err(Refusal::TooManyAtOnce { max: CLOSED_CLAIMS_MAX }));
    assert_eq!(applied.events, vec![]);
    let applied = world.apply(world.now(), by(close(CLOSED_CLAIMS_MAX)));
    let Ok(Reply::Closure(summary)) = applied.reply.result else { panic!("{:?}", applied.reply) };
    // For the first of them another seat was looked for, and found.
    assert_eq!(summary.moved_count + summary.displaced_count, CLOSED_CLAIMS_MAX);
    assert!(summary.moved_count > 0 && summary.displaced_count > 0, "{summary:?}");
    assert_eq!(invariants::check(&world.state), vec![]);
}

/// Whoever deletes their account is forgotten, at once in the state and with the last record of a request everywhere;
/// what they did stays, without a name.
#[test]
fn a_deleted_account_leaves_no_trace_of_the_person() {
    let mut world = World::open(u8::MAX);
    let canary = UserName::new("canary-7f3a").expect("a name");
    let secret = PasswordHash(Arc::from("canary-hash-91c2"));
    let register = Action::Register { name: canary.clone(), password: secret.clone() };
    let retry = Some(RetryKey { id: RequestId(77), digest: 1 });
    world.apply(world.now(), Request { retry, ..anonymous(register) });
    let user = world.state.find_user(&canary).expect("just registered");
    let token = TokenDigest([0xca; 16]);
    world.apply(world.now(), anonymous(Action::StartSession { user, password: secret, token }));
    let by = |action| Request { caller: Caller::Session(token), retry: None, action };
    let interval = world.interval(&Slot::Near { start: 0, halves: 2 }).expect("an hour");
    world.apply(world.now(), by(Action::Reserve { wish: Wish::of_seat(seat_name(0), interval) }));
    world.apply(world.now(), by(Action::SendMessage { recipients: vec![name(1)], text: text() }));
    let claim = world.state.reservations(user, |_| true, None, 1).items.remove(0).claim.id;
    world.apply(world.now(), by(Action::CheckIn { claim, proof: None }));
    world.apply(world.now(), by(Action::DeleteUser { name: canary }));
    world.pass(&Gap::OutageMinutes(16));
    world.apply(world.now(), Request::system(Action::Tick));
    let written = bytes(&world.state);
    assert!(!written.windows(6).any(|six| six == b"canary"), "a name or a hash is left");
    assert!(world.state.export(user).is_err());
    let history: Vec<_> = world.answers.iter().flat_map(|applied| &applied.events).collect();
    let last = history.iter().rev().find_map(|event| match &event.change {
        Change::Claim { after, .. } if after.id == claim => Some(after),
        _ => None,
    });
    assert_eq!(last.map(|claim| (claim.holder, claim.state.name())), Some((Some(user), StateName::Completed)));
}

/// What is counted from event to event is what there is.
#[test]
fn a_tally_that_is_kept_up_is_one_of_the_state() {
    let mut runner = TestRunner::deterministic();
    let mut met = [0; 6];
    for _ in 0..60 {
        let (change, drawn) = (0..12u8, steps()).new_tree(&mut runner).expect("steps can be drawn").current();
        let mut world = World::open(change);
        let (mut tally, mut seen) = (Tally::of(&world.state), world.answers.len());
        for step in &drawn {
            world.take(step);
            for applied in &world.answers[seen..] {
                tally.observe(world.state.catalog(), &applied.events);
            }
            seen = world.answers.len();
            let counted = Tally::of(&world.state);
            for (branch, _) in world.state.catalog().every_branch() {
                let standing = tally.branch(branch).standing;
                assert_eq!(standing, counted.branch(branch).standing, "after {step:?}");
                let counts = [standing.held, standing.confirmed, standing.checked_in, standing.away, standing.closed];
                for (met, count) in met.iter_mut().zip(counts.into_iter().chain([standing.waits])) {
                    *met += count;
                }
            }
        }
    }
    assert!(met.iter().all(|count| *count > 0), "some were never met: {met:?}");
}

/// What the steps above are worth: among a thousand of their sequences everything is asked for and granted, and
/// claims take every turn that there is.
#[test]
fn the_steps_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let (mut granted, mut turns) = (BTreeSet::new(), BTreeSet::new());
    let mut refused = BTreeSet::new();
    for _ in 0..1_000 {
        let (change, drawn) = (0..12u8, steps()).new_tree(&mut runner).expect("steps can be drawn").current();
        let mut world = World::open(change);
        for step in &drawn {
            world.take(step);
        }
        for ((_, request), applied) in world.log.iter().zip(&world.answers) {
            match &applied.reply.result {
                Ok(_) => drop(granted.insert(request.action.name())),
                Err(refusal) => drop(refused.insert(format!("{refusal:?}").split(' ').next().map(ToOwned::to_owned))),
            }
            for Event { change, .. } in &applied.events {
                let Change::Claim { before, after } = change else { continue };
                turns.insert((before.as_ref().map(|before| before.state.name()), after.state.name()));
            }
        }
    }
    let never: Vec<_> = ActionName::ALL.iter().filter(|name| !granted.contains(name)).collect();
    assert!(never.is_empty(), "never granted: {never:?}");
    let states = [
        (None, StateName::Held),
        (None, StateName::Confirmed),
        (None, StateName::CheckedIn),
        (Some(StateName::Held), StateName::Confirmed),
        (Some(StateName::Held), StateName::Cancelled),
        (Some(StateName::Held), StateName::Expired),
        (Some(StateName::Held), StateName::Displaced),
        (Some(StateName::Confirmed), StateName::Confirmed),
        (Some(StateName::Confirmed), StateName::CheckedIn),
        (Some(StateName::Confirmed), StateName::Cancelled),
        (Some(StateName::Confirmed), StateName::NoShow),
        (Some(StateName::Confirmed), StateName::Displaced),
        (Some(StateName::Confirmed), StateName::Completed),
        (Some(StateName::CheckedIn), StateName::Away),
        (Some(StateName::CheckedIn), StateName::Completed),
        (Some(StateName::CheckedIn), StateName::Displaced),
        (Some(StateName::Away), StateName::CheckedIn),
        (Some(StateName::Away), StateName::Completed),
        (Some(StateName::Away), StateName::Released),
    ];
    let missed: Vec<_> = states.iter().filter(|turn| !turns.contains(turn)).collect();
    assert!(missed.is_empty(), "never taken: {missed:?}; refused were {refused:?}");
    assert!(refused.len() > 40, "only these refusals were met: {refused:?}");
}
