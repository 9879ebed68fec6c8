//! Bytes that nobody wrote: whatever is decoded is refused or means something, and whatever means something is applied,
//! without a panic and soon. It begins from the golden files and from a library in which something is going on, and
//! changes them: bits, bytes, pieces of one within another, lengths that are lies.
//!
//! `CARREL_DAMAGED=n` tries so many of each kind, `CARREL_SEED=n` others; what has ever gone wrong is kept in
//! `tests/damaged/`, one request in hex on a line, and tried first.

#![allow(clippy::disallowed_methods, reason = "how long it takes is what this is about")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use carrel_domain::format::{SnapshotReader, decode, encode_at, snapshot};
use carrel_domain::invariants;
use carrel_domain::reply::Answer;
use carrel_domain::request::{Action, At, Request};
use carrel_domain::state::State;
use carrel_domain::time::{SECOND_US, Timestamp};

use library::BERLIN;

mod library;

/// Of each kind; a second or two.
const TRIES: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
/// Nothing that came from anywhere takes longer; a debug build is some thirty times as slow, on a machine that does
/// other things as well.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 1 });

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn tries() -> u64 {
    number("CARREL_DAMAGED").unwrap_or(TRIES)
}

fn dice() -> Dice {
    Dice(number("CARREL_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15).max(1))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |place| u8::from_str_radix(text.get(place..place + 2).unwrap_or_default(), 16).expect("hex");
    (0..text.len() / 2).map(|place| digits(2 * place)).collect()
}

/// The bytes of each line of these files.
fn lines_of(files: &[&str]) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let texts = files.iter().map(|file| std::fs::read_to_string(folder.join(file)).expect("it is kept"));
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().filter_map(|line| line.split_whitespace().last()).map(unhex).collect()
}

/// One that is a little different.
fn damaged(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let place = dice.below(bytes.len());
        match dice.below(8) {
            0 if !bytes.is_empty() => bytes[place] ^= 1 << dice.below(8),
            1 if !bytes.is_empty() => bytes[place] = dice.next() as u8,
            2 => bytes.insert(place, dice.next() as u8),
            3 if !bytes.is_empty() => {
                bytes.remove(place);
            }
            4 => bytes.truncate(place),
            // The largest numbers there are, where a length or an id may be.
            5 => {
                let end = bytes.len().min(place + 1);
                bytes.splice(place.min(end)..end, [0xff; 9].into_iter().chain([1]));
            }
            6 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len());
                let until = from + dice.below(other.len() - from + 1);
                bytes.splice(place..place, other[from..until].iter().copied());
            }
            _ => bytes.extend((0..dice.below(16)).map(|_| dice.next() as u8)),
        }
    }
    bytes
}

/// Something is going on in it.
fn lived_in() -> State {
    let seeds = lines_of(&["golden/snapshot-3.txt"]);
    let mut reader = SnapshotReader::default();
    reader.read(seeds.first().expect("one snapshot")).expect("it is sound");
    let mut state = reader.finish().expect("it is whole");
    let branches: Vec<_> = state.catalog().branches().map(|(id, _)| id).collect();
    for branch in branches {
        if let Some(fill) = library::fill(&state, branch) {
            let at = At { index: state.at().index + 1, time: state.at().time.plus_us(1) };
            state.apply(at, &fill);
        }
    }
    state
}

/// Slow is what is slow every time: once may be the machine, which does other things as well.
fn soon<T>(mut act: impl FnMut() -> T, told: &dyn Fn() -> String) -> T {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        let outcome = act();
        fastest = fastest.min(begun.elapsed());
        if fastest < LIMIT {
            return outcome;
        }
    }
    panic!("{fastest:?} for {}", told());
}

fn apply_soon(state: &mut State, request: &Request) {
    let at = At { index: state.at().index + 1, time: state.at().time.plus_us(SECOND_US) };
    let before = state.clone();
    *state = soon(
        || {
            let mut after = before.clone();
            after.apply(at, request);
            after
        },
        &|| format!("{request:?}"),
    );
}

#[test]
fn no_bytes_of_a_request_are_more_than_the_rules_can_take() {
    let seeds = lines_of(&["golden/requests.txt", "golden/requests-3.txt"]);
    let kept = lines_of(&["damaged/requests.txt"]);
    let mut dice = dice();
    let fresh = lived_in();
    let mut state = fresh.clone();
    let (mut meant, mut refused) = (0_u64, 0_u64);
    for number in 0..kept.len() as u64 + tries() {
        let bytes = match kept.get(number as usize) {
            Some(bytes) => bytes.clone(),
            None => damaged(&mut dice, &seeds),
        };
        let Ok(mut request) = decode::<Request>(&bytes) else {
            refused += 1;
            continue;
        };
        meant += 1;
        if let Action::ImportCatalog { .. } = request.action {
            // Another catalogue every other time would leave nothing to be wrong about.
            state = fresh.clone();
        }
        // Most sessions of a damaged request are nobody's, and a stranger may do little.
        if dice.below(2) == 0 && !matches!(request.caller, carrel_domain::request::Caller::System) {
            let token = carrel_domain::id::TokenDigest([dice.below(4) as u8; 16]);
            request.caller = carrel_domain::request::Caller::Session(token);
        }
        let again = encode_at(request.action.level(), &request);
        assert_eq!(decode::<Request>(&again).as_ref(), Ok(&request), "what was read can be written and read");
        let told = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| apply_soon(&mut state, &request)));
        assert!(result.is_ok(), "a panic: keep this line in tests/damaged/requests.txt: {told}");
        if number % 5_000 == 0 {
            assert_eq!(invariants::check(&state), vec![], "after {told}");
            state = fresh.clone();
        }
    }
    println!("{meant} meant something, {refused} were refused");
    assert!(meant > tries() / 20 && refused > tries() / 20, "{meant} meant something, {refused} were refused");
}

#[test]
fn no_bytes_of_an_answer_or_a_snapshot_are_more_than_a_refusal() {
    let mut dice = dice();
    let answers = lines_of(&["golden/answers.txt"]);
    for _ in 0..tries() {
        let _ = decode::<Answer>(&damaged(&mut dice, &answers));
    }
    let chunks: Vec<Vec<u8>> = vec![snapshot(lived_in()).flatten().collect()];
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..tries() / 50 {
        let bytes = damaged(&mut dice, &chunks);
        let cut = dice.below(bytes.len());
        let read = || {
            let mut reader = SnapshotReader::default();
            reader.read(&bytes[..cut]).and_then(|()| reader.read(&bytes[cut..])).and_then(|()| reader.finish())
        };
        match soon(read, &|| format!("a snapshot of {} bytes", bytes.len())) {
            Ok(_) => whole += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{whole} snapshots were read, {refused} refused");
    assert!(refused > whole, "most damage is noticed here; the rest by the checksum of the file");
}

#[test]
fn no_time_of_an_entry_is_more_than_the_rules_can_take() {
    let mut dice = dice();
    let fresh = lived_in();
    for _ in 0..200 {
        let mut state = fresh.clone();
        for _ in 0..5 {
            let time = match dice.below(4) {
                0 => Timestamp(i64::MIN),
                1 => Timestamp(BERLIN.midnight(library::date(2026, 3, 12)).0),
                2 => Timestamp(state.at().time.0.saturating_sub(dice.next() as i64 >> 16)),
                _ => Timestamp(state.at().time.0.saturating_add((dice.next() >> 24) as i64)),
            };
            state.apply(At { index: state.at().index + 1, time }, &Request::system(Action::Tick));
        }
        assert_eq!(invariants::check(&state), vec![]);
    }
}
