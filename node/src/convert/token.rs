//! Tokens that clients keep and bring back without looking inside. They carry no authority: whoever makes one up gets
//! nothing that they could not have asked for.
//!
//! A token is base64url of: version, kind, what it says, and the first bytes of a hash over all that, so that a token
//! which was cut or mistyped is told apart from one that is old.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carrel_domain::id::{ClaimId, Position, SeatId, WaitId};
use carrel_domain::text::UserName;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::convert::invalid::{Invalid, Reason};

const VERSION: u8 = 1;
const POSITION: u8 = 1;
const PAGE: u8 = 2;
const CHECKSUM_BYTES: usize = 4;
/// Longer than any token made here: the name of a user is what takes most.
const TOKEN_TEXT_BYTES_MAX: usize = 256;

/// A place in one of the cluster's histories: a recovery begins another lineage, in which positions mean other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    pub lineage: u32,
    pub position: Position,
}

impl ResumeToken {
    #[must_use]
    pub fn encode(self) -> String {
        let mut body = Vec::with_capacity(16);
        body.extend(self.lineage.to_be_bytes());
        body.extend(self.position.index.to_be_bytes());
        body.extend(self.position.ordinal.to_be_bytes());
        seal(POSITION, &body)
    }

    /// # Errors
    /// If it is not a token of this kind, whole.
    pub fn decode(field: &str, text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let problem = "it is not a resume token as this service gives them out: pass one unchanged, or none";
            Invalid::because(Reason::ResumeToken, field, problem)
        };
        let body = open(POSITION, text).ok_or_else(invalid)?;
        let (lineage, rest) = body.split_first_chunk().ok_or_else(invalid)?;
        let (index, ordinal) = rest.split_first_chunk().ok_or_else(invalid)?;
        let position = Position {
            index: u64::from_be_bytes(*index),
            ordinal: u32::from_be_bytes(ordinal.try_into().map_err(|_| invalid())?),
        };
        Ok(Self { lineage: u32::from_be_bytes(*lineage), position })
    }
}

/// What a page token is bound to: a token of one list means nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKey([u8; 8]);

impl ListKey {
    /// Of a list request without its page fields, and of whatever else the order of the list depends on.
    #[must_use]
    pub fn new(request: &impl Message, list: &str, edition: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(list.as_bytes());
        hash.update([0]);
        hash.update(edition.to_be_bytes());
        hash.update(request.encode_to_vec());
        Self(first_bytes(hash))
    }
}

/// After which entry of the list a page begins.
pub trait PageCursor: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number_cursor {
    ($($id:ident($of:ty)),*) => {
        $(impl PageCursor for $id {
            fn to_bytes(&self) -> Vec<u8> {
                self.0.to_be_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self(<$of>::from_be_bytes(bytes.try_into().ok()?)))
            }
        })*
    };
}

number_cursor!(SeatId(u32), ClaimId(u64), WaitId(u64));

impl PageCursor for Position {
    fn to_bytes(&self) -> Vec<u8> {
        [self.index.to_be_bytes().as_slice(), &self.ordinal.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (index, ordinal) = bytes.split_first_chunk()?;
        Some(Self { index: u64::from_be_bytes(*index), ordinal: u32::from_be_bytes(ordinal.try_into().ok()?) })
    }
}

impl PageCursor for UserName {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

#[must_use]
pub fn page_token(list: ListKey, after: &impl PageCursor) -> String {
    seal(PAGE, &[list.0.as_slice(), &after.to_bytes()].concat())
}

/// Where the page begins; none: at the beginning.
///
/// # Errors
/// If it is not a page token, or one of another list.
pub fn page_cursor<C: PageCursor>(list: ListKey, token: &str) -> Result<Option<C>, Invalid> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = |problem| Invalid::because(Reason::PageToken, "page_token", problem);
    let body = open(PAGE, token).ok_or_else(|| invalid("it is not a page token as this service gives them out"))?;
    match body.split_first_chunk() {
        Some((key, after)) if *key == list.0 => {
            C::from_bytes(after).map(Some).ok_or_else(|| invalid("it is not a page token of this list"))
        }
        _ => Err(invalid("it belongs to a list that was asked for differently or has changed: start without a token")),
    }
}

fn seal(kind: u8, body: &[u8]) -> String {
    let mut bytes = [&[VERSION, kind], body].concat();
    bytes.extend(checksum(&bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(kind: u8, text: &str) -> Option<Vec<u8>> {
    if text.len() > TOKEN_TEXT_BYTES_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    match content {
        [VERSION, of_kind, body @ ..] if *of_kind == kind && checksum(content) == *sum => Some(body.to_vec()),
        _ => None,
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    first_bytes(Sha256::new().chain_update(content))
}

fn first_bytes<const N: usize>(hash: Sha256) -> [u8; N] {
    *hash.finalize().first_chunk().expect("a SHA-256 has 32 bytes, and more are never asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ResumeToken = ResumeToken { lineage: 3, position: Position { index: 1_207, ordinal: 2 } };

    #[test]
    fn a_token_says_what_was_put_into_it() {
        assert_eq!(ResumeToken::decode("after", &HERE.encode()), Ok(HERE));
        let list = ListKey::new(&String::from("amy"), "users", 0);
        assert_eq!(page_cursor(list, &page_token(list, &ClaimId(7))), Ok(Some(ClaimId(7))));
        assert_eq!(page_cursor::<ClaimId>(list, ""), Ok(None));
    }

    #[test]
    fn no_single_character_can_be_changed_unnoticed() {
        let token = HERE.encode();
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("still ASCII");
            assert!(ResumeToken::decode("after", &changed).is_err(), "{changed}");
        }
        for cut in 0..token.len() {
            assert!(ResumeToken::decode("after", &token[..cut]).is_err());
        }
        assert!(ResumeToken::decode("after", &"A".repeat(100_000)).is_err());
    }

    #[test]
    fn a_token_of_another_list_or_kind_is_refused() {
        let (ours, theirs) = (ListKey::new(&7_u32, "users", 0), ListKey::new(&8_u32, "users", 0));
        let amy = UserName::new("amy").expect("a name");
        let token = page_token(ours, &amy);
        assert_eq!(page_cursor(ours, &token), Ok(Some(amy)));
        for refused in [
            page_cursor::<UserName>(theirs, &token),
            page_cursor::<UserName>(ListKey::new(&7_u32, "users", 1), &token),
            page_cursor::<UserName>(ours, &HERE.encode()),
        ] {
            assert_eq!(refused.map_err(|invalid| invalid.reason), Err(Reason::PageToken));
        }
        assert!(ResumeToken::decode("after", &token).is_err());
    }
}
