//! Requests as they stand in the log, and the state as it stands in a snapshot, in a library where something goes on.
//! Beside `node/domain/tests/damaged.rs`, which changes what is whole: here the bytes are led by the code.

use std::path::PathBuf;
use std::sync::OnceLock;

use carrel_domain::format::{SnapshotReader, decode, encode_at};
use carrel_domain::id::TokenDigest;
use carrel_domain::invariants;
use carrel_domain::reply::Answer;
use carrel_domain::request::{At, Caller, Request};
use carrel_domain::state::State;
use carrel_domain::time::SECOND_US;

use carrel_fuzz::soon;

fn lived_in() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(|| {
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden/snapshot-3.txt");
        let text = std::fs::read_to_string(golden).expect("it is kept");
        let digits = text.split_whitespace().last().expect("one snapshot");
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|place| u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).expect("hex"))
            .collect();
        let mut reader = SnapshotReader::default();
        reader.read(&bytes).expect("it is sound");
        reader.finish().expect("it is whole")
    })
}

#[test]
fn requests() {
    bolero::check!().with_max_len(2_048).for_each(|input: &[u8]| {
        let Some((&who, bytes)) = input.split_first() else { return };
        let Ok(mut request) = decode::<Request>(bytes) else { return };
        // Most sessions of such a request are nobody's, and a stranger may do little.
        if who % 2 == 0 && !matches!(request.caller, Caller::System) {
            request.caller = Caller::Session(TokenDigest([who / 2 % 4; 16]));
        }
        let again = encode_at(request.action.level(), &request);
        assert_eq!(decode::<Request>(&again).as_ref(), Ok(&request), "what was read can be written and read");
        let state = soon(|| {
            let mut state = lived_in().clone();
            let at = At { index: state.at().index + 1, time: state.at().time.plus_us(SECOND_US) };
            state.apply(at, &request);
            state
        });
        assert_eq!(invariants::check(&state), vec![]);
    });
}

#[test]
fn answers() {
    bolero::check!().with_max_len(2_048).for_each(|input: &[u8]| {
        let _ = soon(|| decode::<Answer>(input));
    });
}

#[test]
fn states() {
    bolero::check!().with_max_len(16_384).for_each(|input: &[u8]| {
        soon(|| {
            let mut reader = SnapshotReader::default();
            let _ = reader.read(input).and_then(|()| reader.finish());
        });
    });
}
