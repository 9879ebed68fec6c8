//! Whatever bytes come in, from a client, from a peer's disk, from a file: they are refused or they mean something,
//! soon and without a panic. The targets are in `tests/decoders/`, what reached something new in their `__fuzz__/`.
//!
//! `cargo test` goes through what is kept and a second of fresh bytes for each target; `make fuzz` is led by what the
//! bytes reach in the code, with libFuzzer.

use std::time::{Duration, Instant};

/// Nothing that comes from anywhere takes longer; a debug build is some thirty times as slow.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 1 });

/// Slow is what is slow every time: once may be the machine, which does other things as well.
///
/// # Panics
/// If it takes too long.
pub fn soon<T>(mut act: impl FnMut() -> T) -> T {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        let outcome = act();
        fastest = fastest.min(begun.elapsed());
        if fastest < LIMIT {
            return outcome;
        }
    }
    panic!("it takes {fastest:?}");
}

// An instrumented program can only be linked with libFuzzer in it, and this one has no other reason to name it.
#[cfg(test)]
use bolero as _;
