//! The code that proves an address of a mailbox, as people copy it: twelve characters of the alphabet of presence
//! codes.

use carrel_domain::mail::MailCode;

use crate::convert::invalid::Invalid;
use crate::convert::presence_code::{ALPHABET, letters};

const CHARS: usize = 12;
/// Longer than a code with hyphens and some spaces.
const TYPED_BYTES_MAX: usize = 48;

/// # Errors
/// If the operating system has no random bytes.
pub fn draw() -> Result<MailCode, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(MailCode(u64::from_be_bytes(bytes) >> (64 - 5 * CHARS)))
}

/// "K7MQ-2QPX-9F3T"
#[must_use]
pub fn shown(code: MailCode) -> String {
    let letter = |place: usize| char::from(ALPHABET[(code.0 >> (5 * (CHARS - 1 - place))) as usize % ALPHABET.len()]);
    let group = |first: usize| (first..first + 4).map(letter).collect::<String>();
    [group(0), group(4), group(8)].join("-")
}

/// # Errors
/// If it can be no code at all.
pub fn read(field: &str, typed: &str) -> Result<MailCode, Invalid> {
    let letters = Some(typed).filter(|typed| typed.len() <= TYPED_BYTES_MAX).and_then(letters);
    let letters = letters.filter(|letters| letters.len() == CHARS);
    let letters = letters.ok_or_else(|| Invalid::field(field, "it is not a code like K7MQ-2QPX-9F3T"))?;
    let value = |letter: u8| ALPHABET.iter().position(|known| *known == letter).unwrap_or_default() as u64;
    Ok(MailCode(letters.into_iter().fold(0, |code, letter| code << 5 | value(letter))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_was_shown() {
        for code in [MailCode(0), MailCode((1 << 60) - 1), draw().expect("random bytes")] {
            let typed = shown(code);
            assert_eq!(read("code", &typed), Ok(code));
            assert_eq!(read("code", &typed.to_lowercase().replace('-', " ")), Ok(code));
        }
        for bad in ["", "K7M", "K7MQ-2QPX-9F3TT", "K7MQ-2QPX-9F3U", &"K".repeat(10_000)] {
            assert!(read("code", bad).is_err(), "{bad:.20}");
        }
    }
}
