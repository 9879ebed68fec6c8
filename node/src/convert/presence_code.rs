//! The code that a seat shows, as people read and type it: the keyed hash of seat and half minute, cut to six
//! characters of an alphabet in which nobody mistakes one for another.
//!
//! Thirty bits last half a minute, and who guesses may do so some hundred times in it: one in a million gets through.

use carrel_domain::id::SeatId;
use carrel_domain::presence::{CODE_SHOWN_US, PresenceKey, PresenceSecret, Proof, code_message, codes_at};
use carrel_domain::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::convert::invalid::Invalid;

/// Without I, L, O and U.
pub(super) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARS: usize = 6;
/// Longer than a code with a hyphen and some spaces.
const TYPED_BYTES_MAX: usize = 32;

/// A key that nobody can guess.
///
/// # Errors
/// If the operating system has no random bytes.
pub fn draw_secret() -> Result<PresenceSecret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(PresenceSecret(bytes))
}

/// "K7M-2QP"
#[must_use]
pub fn shown(secret: &PresenceSecret, seat: SeatId, shown_at: Timestamp) -> String {
    let [a, b, c, d, e, f] = code(secret, seat, shown_at).map(char::from);
    format!("{a}{b}{c}-{d}{e}{f}")
}

/// What a code proves that somebody has typed for this seat, as far as this node can tell: whether it counts at the
/// time of the entry is for the rules to say. Nothing: it is no code that the seat shows about now.
///
/// # Errors
/// If it can be no code at all.
pub fn recognized(
    field: &str,
    typed: &str,
    key: Option<&PresenceKey>,
    seat: Option<SeatId>,
    now: Timestamp,
) -> Result<Option<Proof>, Invalid> {
    if typed.is_empty() {
        return Ok(None);
    }
    let Some(typed) = read(typed) else {
        return Err(Invalid::field(field, "it is not a code like K7M-2QP, as seats show them"));
    };
    let (Some(key), Some(seat)) = (key, seat) else { return Ok(None) };
    let [current, before] = codes_at(now);
    // The leader may be a moment ahead of this node.
    let about_now = [current, before, current.plus_us(CODE_SHOWN_US)];
    let shown_at = about_now.into_iter().find(|&shown_at| code(&key.secret, seat, shown_at) == typed);
    Ok(shown_at.map(|shown_at| Proof { seat, shown_at, key_revision: key.revision }))
}

fn code(secret: &PresenceSecret, seat: SeatId, shown_at: Timestamp) -> [u8; CHARS] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length will do");
    mac.update(&code_message(seat, shown_at));
    let hash = mac.finalize().into_bytes();
    // 256 is a multiple of 32: every character is as likely.
    std::array::from_fn(|place| ALPHABET[usize::from(hash[place] % 32)])
}

/// As it was typed, to the letters of the alphabet.
fn read(typed: &str) -> Option<[u8; CHARS]> {
    if typed.len() > TYPED_BYTES_MAX {
        return None;
    }
    letters(typed)?.try_into().ok()
}

/// Without what people put between them.
pub(super) fn letters(typed: &str) -> Option<Vec<u8>> {
    let meant = |byte: u8| match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let letters: Vec<u8> = typed.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).map(meant).collect();
    letters.iter().all(|letter| ALPHABET.contains(letter)).then_some(letters)
}

#[cfg(test)]
mod tests {
    use carrel_domain::time::SECOND_US;

    use super::*;

    const NOW: Timestamp = Timestamp(1_799_654_700_000_000);
    const SEAT: SeatId = SeatId(7);

    fn key() -> PresenceKey {
        PresenceKey { revision: 3, secret: PresenceSecret([7; 32]) }
    }

    fn proven(typed: &str, seat: SeatId, now: Timestamp) -> Option<Proof> {
        recognized("presence_code", typed, Some(&key()), Some(seat), now).expect("a code")
    }

    #[test]
    fn a_code_is_bound_to_its_seat_and_its_minute() {
        let typed = shown(&key().secret, SEAT, codes_at(NOW)[0]);
        let proof = proven(&typed, SEAT, NOW).expect("the code that is shown");
        assert_eq!((proof.seat, proof.key_revision), (SEAT, 3));
        assert_eq!(proven(&typed.to_lowercase().replace('-', " "), SEAT, NOW), Some(proof));
        assert_eq!(proven(&typed, SeatId(8), NOW), None);
        assert!(proven(&typed, SEAT, NOW.plus_us(59 * SECOND_US)).is_some());
        assert_eq!(proven(&typed, SEAT, NOW.plus_us(60 * SECOND_US)), None);
        let other = PresenceKey { revision: 4, secret: PresenceSecret([8; 32]) };
        assert_eq!(recognized("presence_code", &typed, Some(&other), Some(SEAT), NOW), Ok(None));
    }

    #[test]
    fn what_can_be_no_code_is_told() {
        for bad in ["K7M", "K7M-2QPX", "K7M-2Q☕", "U7M-2QP", &"K".repeat(10_000)] {
            assert!(recognized("presence_code", bad, Some(&key()), Some(SEAT), NOW).is_err(), "{bad:.20}");
        }
        assert_eq!(recognized("presence_code", "", Some(&key()), Some(SEAT), NOW), Ok(None));
    }

    #[test]
    fn letters_that_look_alike_are_the_same() {
        assert_eq!(read("oil-0il"), Some(*b"011011"));
    }
}
